// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `lvs` and `vgs` report (spec: storage-commands, "lvm").

use bstr::{BStr, BString, ByteSlice};
use pve_volid::LvLine;

use crate::command::{Command, lines};
use crate::error::Result;
use crate::session::{Cache, Session, number};

/// The columns of `lvs`, in this order.
const LV_COLUMNS: &str = "vg_name,lv_name,lv_size,lv_attr,pool_lv,data_percent,metadata_percent,snap_percent,uuid,\
                          tags,metadata_size,time";

/// The answer of `lvs`, read on demand.
///
/// ```
/// use pve_storage::plugin::lvm::Lvs;
///
/// let lvs = Lvs::new("  pve:vm-100-disk-0:1073741824:Vwi-a-tz--:data:0.00:::u:::1700000000\n");
/// let lv = lvs.find(b"pve", b"vm-100-disk-0").unwrap();
/// assert_eq!((lv.size(), lv.created()), (1_073_741_824, Some(1_700_000_000)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Lvs {
    text: BString,
}

impl Lvs {
    /// Takes what `lvs` printed, with the options that are used here: saved output of a machine will do.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Lvs { text: BString::new(text.into()) }
    }

    /// What was reported, as it was printed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The logical volumes, in the order in which they were reported. Lines without volume group or name are
    /// skipped.
    pub fn iter(&self) -> impl Iterator<Item = LvLine<'_>> {
        lines(&self.text).filter_map(|line| LvLine::parse(line))
    }

    /// How many lines were reported, near enough to make room for the volumes in them.
    pub(super) fn count(&self) -> usize {
        self.text.find_iter("\n").count()
    }

    /// The logical volume of this name in this group.
    #[must_use]
    pub fn find(&self, group: &[u8], name: &[u8]) -> Option<LvLine<'_>> {
        self.iter().find(|lv| lv.vg == group && lv.lv == name)
    }
}

/// The command whose output [`Lvs`] reads, for one volume group or all.
fn lvs_command(group: Option<&BStr>) -> Command {
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
pub(crate) fn lvs(session: &Session<'_>, group: &BStr) -> Result<Lvs> {
    Ok(Lvs { text: session.run(&lvs_command(Some(group)))?.stdout })
}

/// The logical volumes of all groups, asked once.
pub(crate) fn all_lvs<'c>(session: &Session<'_>, cache: &'c mut Cache) -> Result<&'c Lvs> {
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
pub(crate) fn groups(session: &Session<'_>) -> Result<Vec<VolumeGroup>> {
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
