// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `lvs` and `vgs` report (spec: volumes, "LVM"; storage-commands, "lvm").

use bstr::{BStr, BString, ByteSlice};

use crate::command::{Command, lines};
use crate::error::Result;
use crate::session::{Cache, Session, number};

/// The columns of `lvs`, in this order.
const LV_COLUMNS: &str = "vg_name,lv_name,lv_size,lv_attr,pool_lv,data_percent,metadata_percent,snap_percent,uuid,\
                          tags,metadata_size,time";

/// The answer of `lvs`, read on demand.
#[derive(Debug, Clone, Default)]
pub struct Lvs {
    text: BString,
}

/// A logical volume, borrowed from the line that reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lv<'a> {
    /// Its volume group.
    pub group: &'a BStr,
    /// Its name.
    pub name: &'a BStr,
    /// Its size in bytes.
    pub size: u64,
    /// Its attribute characters: the first is the type, the fifth the state.
    pub attributes: &'a BStr,
    /// The thin pool that it belongs to; empty if none.
    pub pool: &'a BStr,
    /// How full it is, in percent, as printed.
    pub data_percent: &'a BStr,
    /// Its tags, joined by commas.
    pub tags: &'a BStr,
    /// When it was created, in seconds since 1970, as printed; empty if unknown.
    pub time: &'a BStr,
}

impl Lvs {
    /// Takes what `lvs` printed, in the columns and with the options that are used here: saved output of a machine
    /// will do.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Lvs { text: BString::new(text.into()) }
    }

    /// The logical volumes, in the order in which they were reported. Lines without volume group or name are
    /// skipped.
    pub fn iter(&self) -> impl Iterator<Item = Lv<'_>> {
        lines(&self.text).filter_map(Lv::read)
    }

    /// The logical volume of this name in this group.
    #[must_use]
    pub fn find(&self, group: &[u8], name: &[u8]) -> Option<Lv<'_>> {
        self.iter().find(|lv| lv.group == group && lv.name == name)
    }
}

impl<'a> Lv<'a> {
    fn read(line: &'a BStr) -> Option<Self> {
        let mut fields = line.trim_ascii().split(|byte| *byte == b':').map(BStr::new);
        let mut next = || fields.next().unwrap_or_default();
        let (group, name, size, attributes, pool, data_percent) =
            (next(), next(), next(), next(), next(), next());
        let (_metadata_percent, _snap_percent, _uuid, tags, _metadata_size, time) =
            (next(), next(), next(), next(), next(), next());
        if group.is_empty() || name.is_empty() {
            return None;
        }
        let size = leading_integer(size);
        Some(Lv { group, name, size, attributes, pool, data_percent, tags, time })
    }

    /// The character that tells its type: `-` plain, `V` thin, `t` thin pool …
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.attributes.first().copied().unwrap_or(b' ')
    }

    /// Whether its device is there.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.attributes.get(4) == Some(&b'a')
    }

    /// The used part of a thin pool, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        let percent: f64 = self.data_percent.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        // as the reference computes it; a pool's size is far below 2^53
        (percent * self.size as f64 / 100.0) as u64
    }

    /// When it was created, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> Option<i64> {
        self.time.to_str().ok()?.parse().ok()
    }
}

/// The whole number at the beginning of a text: what follows a decimal point is cut off.
fn leading_integer(text: &BStr) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .unwrap_or(u64::MAX)
}

/// The command whose output [`Lvs`] reads, for one volume group or all.
pub(in super::super) fn lvs_command(group: Option<&BStr>) -> Command {
    let command = Command::query("/sbin/lvs").args([
        "--separator",
        ":",
        "--noheadings",
        "--units",
        "b",
        "--unbuffered",
        "--nosuffix",
        "--config",
        "report/time_format=\"%s\"",
        "--options",
        LV_COLUMNS,
    ]);
    match group {
        Some(group) => command.operand(group),
        None => command,
    }
}

/// The logical volumes of a group.
pub(in super::super) fn lvs(session: &Session<'_>, group: &BStr) -> Result<Lvs> {
    Ok(Lvs { text: session.run(&lvs_command(Some(group)))?.stdout })
}

/// The logical volumes of all groups, asked once.
pub(in super::super) fn all_lvs<'c>(session: &Session<'_>, cache: &'c mut Cache) -> Result<&'c Lvs> {
    if cache.lvs.is_none() {
        cache.lvs = Some(Lvs { text: session.run(&lvs_command(None))?.stdout });
    }
    Ok(cache.lvs.get_or_insert_default())
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeGroup {
    pub(crate) name: BString,
    pub(crate) size: u64,
    pub(crate) free: u64,
}

/// The volume groups; what was reported counts even if the command fails.
pub(in super::super) fn groups(session: &Session<'_>) -> Result<Vec<VolumeGroup>> {
    let command = Command::query("/sbin/vgs").args([
        "--separator",
        ":",
        "--noheadings",
        "--units",
        "b",
        "--unbuffered",
        "--nosuffix",
        "--options",
        "vg_name,vg_size,vg_free,lv_count",
    ]);
    let output = session.ask(&command)?;
    if !output.succeeded() {
        session.warn(format!("{command}: {}", output.complaint()));
    }
    let mut groups: Vec<VolumeGroup> = Vec::new();
    for line in output.lines() {
        let fields: Vec<&BStr> = line.trim_ascii().split_str(":").map(BStr::new).collect();
        let [name, size, free, ..] = fields.as_slice() else { continue };
        if !name.is_empty() && !groups.iter().any(|group| group.name == *name) {
            let (size, free) = (number(size).unwrap_or(0), number(free).unwrap_or(0));
            groups.push(VolumeGroup { name: (*name).to_owned(), size, free });
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_lvs() {
        let lvs = Lvs::new(
            "  pve:data:147203293184:twi-aotz--::3.52:1.25::uuid::1506803712:1690000000\n  pve::1:-wi:::::::::\n\
             pve:swap:85.9:-wi-------:::::u:a,b::\n",
        );
        let all: Vec<Lv<'_>> = lvs.iter().collect();
        assert_eq!(all.len(), 2);
        let pool = lvs.find(b"pve", b"data").unwrap();
        assert_eq!((pool.kind(), pool.is_active(), pool.created()), (b't', true, Some(1_690_000_000)));
        assert_eq!(pool.used(), 5_181_555_920);
        let swap = lvs.find(b"pve", b"swap").unwrap();
        assert_eq!(
            (swap.size, swap.tags, swap.created(), swap.is_active()),
            (85, BStr::new("a,b"), None, false)
        );
    }
}
