// SPDX-License-Identifier: MIT OR Apache-2.0
//! ZFS datasets, as `zfs list` reports them (spec: volumes, "zfspool, zfs, rbd, iscsi, iscsidirect").

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use super::lv::leading_number;
use super::{Invisible, Listed, Wanted, on_base};
use crate::name::lexeme::{is_nw, is_white_space, zfs_name};
use crate::{BASE_SNAPSHOT, ImageFormat};

/// A line of `zfs list -o name,volsize,origin,type,refquota -Hp`, fields as printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZfsDataset<'a> {
    /// The whole name of the dataset.
    pub dataset: &'a BStr,
    /// Size of a volume in bytes.
    pub volsize: &'a BStr,
    /// The snapshot that it is a clone of, or `-`.
    pub origin: &'a BStr,
    /// `volume`, `filesystem` …
    pub kind: &'a BStr,
    /// Quota of a file system in bytes, `none` or 0 for no limit.
    pub refquota: &'a BStr,
}

impl<'a> ZfsDataset<'a> {
    /// Splits a line at white space. None for an empty line.
    ///
    /// A name with a space in it shifts the fields behind it, so that such datasets turn out
    /// [`Invisible::NoVolumeOrFileSystem`].
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields =
            line.split(|byte| is_white_space(*byte)).filter(|field| !field.is_empty()).map(BStr::new);
        let dataset = fields.next()?;
        let mut next = || fields.next().unwrap_or_default();
        Some(ZfsDataset { dataset, volsize: next(), origin: next(), kind: next(), refquota: next() })
    }

    /// The size in bytes: of a volume its own, of a file system its quota, 0 for none.
    #[must_use]
    pub fn size(&self) -> u64 {
        leading_number(if self.kind == "filesystem" { self.refquota } else { self.volsize })
    }
}

/// Which datasets a storage of type `zfspool` or `zfs` shows.
#[derive(Debug, Clone, Copy)]
pub struct ZfsFilter<'f> {
    /// The dataset of the storage (option `pool`).
    pub pool: &'f BStr,
    /// What the caller asked for.
    pub wanted: Wanted<'f>,
}

impl ZfsFilter<'_> {
    /// Judges one dataset.
    ///
    /// # Errors
    /// The reason why it is not shown.
    pub fn judge<'a>(&self, dataset: &ZfsDataset<'a>) -> Result<Listed<'a>, Invisible> {
        if dataset.dataset == self.pool {
            return Err(Invisible::PoolItself);
        }
        let below =
            dataset.dataset.strip_prefix(self.pool.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
        let name = below.ok_or(Invisible::ForeignDataset)?;
        if name.contains(&b'/') {
            return Err(Invisible::WrongDepth);
        }
        let format = match dataset.kind.as_bytes() {
            b"filesystem" => ImageFormat::Subvol,
            b"volume" => ImageFormat::Raw,
            _ => return Err(Invisible::NoVolumeOrFileSystem),
        };
        let owner = match zfs_name(name) {
            Ok((rest, (_, owner))) if is_nw(rest) => owner,
            _ => return Err(Invisible::NoMatch),
        };
        self.wanted.owner(Some(owner))?;
        let parent =
            (dataset.origin != "-" && !dataset.origin.is_empty()).then(|| self.parent(dataset.origin));
        let base =
            parent.and_then(|parent| parent.strip_suffix(BASE_SNAPSHOT.as_bytes())?.strip_suffix(b"@"));
        let volname = on_base(base.filter(|base| !base.is_empty()), name);
        self.wanted.volname(&volname)?;
        Ok(Listed { volname, owner: Some(owner), format, parent: parent.map(Cow::Borrowed) })
    }

    /// The origin without the storage's own dataset before it. In the dataset's name a `.` stands for any character
    /// here, as in the reference.
    fn parent<'a>(&self, origin: &'a BStr) -> &'a BStr {
        let own = origin.get(..self.pool.len()).is_some_and(|start| {
            start.iter().zip(self.pool.iter()).all(|(found, own)| found == own || *own == b'.')
        });
        match origin.get(self.pool.len()..) {
            Some([b'/', rest @ ..]) if own && !rest.is_empty() => rest.as_bstr(),
            _ => origin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pool: &str, line: &str) -> String {
        let filter = ZfsFilter { pool: pool.into(), wanted: Wanted::Everything };
        let dataset = ZfsDataset::parse(line.as_bytes()).unwrap();
        match filter.judge(&dataset) {
            Ok(volume) => {
                let parent = volume.parent.map(|parent| format!(" < {parent}")).unwrap_or_default();
                format!("{} {} {}{parent}", volume.volname, volume.format, dataset.size())
            }
            Err(reason) => reason.code().to_owned(),
        }
    }

    #[test]
    fn what_is_shown() {
        let of = |line| judged("rpool/data", line);
        assert_eq!(of("rpool/data/vm-100-disk-0\t10\t-\tvolume\t-"), "vm-100-disk-0 raw 10");
        assert_eq!(of("rpool/data/subvol-1-disk-0\t-\t-\tfilesystem\t8"), "subvol-1-disk-0 subvol 8");
        assert_eq!(of("rpool/data/vm-1-disk-0\t-\t-\tfilesystem\tnone"), "vm-1-disk-0 subvol 0");
        assert_eq!(
            of("rpool/data/vm-1-disk-0 5 rpool/data/base-9-disk-0@__base__ volume -"),
            "base-9-disk-0/vm-1-disk-0 raw 5 < base-9-disk-0@__base__"
        );
        assert_eq!(
            of("rpool/data/vm-1-disk-0 5 rpool/data/base-9-disk-0@other volume -"),
            "vm-1-disk-0 raw 5 < base-9-disk-0@other"
        );
        assert_eq!(
            of("rpool/data/vm-1-disk-0 5 tank/base-9-disk-0@__base__ volume -"),
            "tank/base-9-disk-0/vm-1-disk-0 raw 5 < tank/base-9-disk-0@__base__"
        );
    }

    #[test]
    fn what_is_not() {
        let of = |line| judged("rpool/data", line);
        assert_eq!(of("rpool/data - - filesystem 0"), "pool-itself");
        assert_eq!(of("rpoolXdata/vm-1-a 1 - volume -"), "foreign-dataset");
        assert_eq!(of("rpool/data2/vm-1-a 1 - volume -"), "foreign-dataset");
        assert_eq!(of("rpool/data/x/vm-1-a 1 - volume -"), "wrong-depth");
        assert_eq!(of("rpool/data/vm-1-a@s 1 - snapshot -"), "no-volume-or-file-system");
        assert_eq!(of("rpool/data/vm-1-a b 1 - volume -"), "no-volume-or-file-system");
        assert_eq!(of("rpool/data/vm-1- 1 - volume -"), "no-match");
        assert_eq!(of("rpool/data/vm-disk-1 1 - volume -"), "no-match");
        assert_eq!(ZfsDataset::parse(b" \t "), None);
    }

    #[test]
    fn a_dot_in_the_pool_is_any_character_of_an_origin() {
        let line = "a.b/vm-1-x 5 aXb/base-9-x@__base__ volume -";
        assert_eq!(judged("a.b", line), "base-9-x/vm-1-x raw 5 < base-9-x@__base__");
    }
}
