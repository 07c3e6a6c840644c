// SPDX-License-Identifier: MIT OR Apache-2.0
//! RBD images, as `rbd ls -l` reports them (spec: volumes, "zfspool, zfs, rbd, iscsi, iscsidirect").

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use super::{Invisible, Listed, Wanted, on_base};
use crate::name::lexeme::vm_or_base;
use crate::{BASE_SNAPSHOT, ImageFormat};

/// An entry of `rbd ls -l --format json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RbdImage<'a> {
    /// The image.
    pub image: &'a BStr,
    /// The snapshot that the entry is about, if it is about one.
    pub snapshot: Option<&'a BStr>,
    /// Image and snapshot that the image is a clone of; their pool and namespace do not matter.
    pub parent: Option<(&'a BStr, &'a BStr)>,
}

/// Which images a storage of type `rbd` shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct RbdFilter<'f> {
    /// What the caller asked for.
    pub wanted: Wanted<'f>,
}

impl RbdFilter<'_> {
    /// Judges one entry.
    ///
    /// # Errors
    /// The reason why it is not shown.
    pub fn judge<'a>(&self, entry: &RbdImage<'a>) -> Result<Listed<'a>, Invisible> {
        if entry.snapshot.is_some() {
            return Err(Invisible::Snapshot);
        }
        let (_, (_, owner)) = vm_or_base(entry.image).map_err(|_| Invisible::NoMatch)?;
        self.wanted.owner(Some(owner))?;
        let base = entry
            .parent
            .filter(|(_, snapshot)| *snapshot == BASE_SNAPSHOT)
            .map(|(image, _)| image.as_bytes());
        let is_template =
            |image: &&[u8]| vm_or_base(image).is_ok_and(|(rest, (is_base, _))| is_base && !rest.is_empty());
        let volname = on_base(base.filter(is_template), entry.image);
        self.wanted.volname(&volname)?;
        let parent =
            entry.parent.map(|(image, snapshot)| [image.as_bytes(), b"@", snapshot.as_bytes()].concat());
        Ok(Listed {
            volname,
            owner: Some(owner),
            format: ImageFormat::Raw,
            parent: parent.map(|parent| Cow::Owned(parent.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(image: &str, parent: Option<(&str, &str)>) -> String {
        let parent = parent.map(|(image, snapshot)| (image.into(), snapshot.into()));
        match RbdFilter::default().judge(&RbdImage { image: image.into(), snapshot: None, parent }) {
            Ok(volume) => {
                let parent = volume.parent.map(|parent| format!(" < {parent}")).unwrap_or_default();
                format!("{}{parent}", volume.volname)
            }
            Err(reason) => reason.code().to_owned(),
        }
    }

    #[test]
    fn images_and_clones() {
        assert_eq!(judged("vm-104-", None), "vm-104-");
        assert_eq!(judged("vm-x-disk-0", None), "no-match");
        assert_eq!(judged("subvol-1-disk-0", None), "no-match");
        assert_eq!(judged("vm-1-a", Some(("base-9-x", "__base__"))), "base-9-x/vm-1-a < base-9-x@__base__");
        assert_eq!(judged("vm-1-a", Some(("base-9-x", "s1"))), "vm-1-a < base-9-x@s1");
        assert_eq!(judged("vm-1-a", Some(("vm-9-x", "__base__"))), "vm-1-a < vm-9-x@__base__");
        assert_eq!(judged("vm-1-a", Some(("base-a-b", "__base__"))), "vm-1-a < base-a-b@__base__");
        let snapshot = RbdImage { image: "vm-1-a".into(), snapshot: Some("s".into()), parent: None };
        assert_eq!(RbdFilter::default().judge(&snapshot), Err(Invisible::Snapshot));
    }
}
