// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two kinds of guest, and the names of the sections of their files.

use std::fmt;

use bstr::BStr;
use serde::{Deserialize, Serialize};

/// Whose configuration a text is: the two file formats look alike and differ in many details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine, `qemu-server/VMID.conf`.
    Qemu,
    /// A container, `lxc/VMID.conf`.
    Lxc,
}

impl GuestKind {
    /// The folder of a node that holds the configurations of this kind: `qemu-server` or `lxc`.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu-server",
            GuestKind::Lxc => "lxc",
        }
    }

    /// Kind and number of the guest whose configuration lies at `path`: `…/qemu-server/DIGITS.conf` or
    /// `…/lxc/DIGITS.conf`, also without anything before the folder. `None` for every other path.
    ///
    /// ```
    /// use pve_config::guest::GuestKind;
    ///
    /// let path = "nodes/pve1/qemu-server/100.conf";
    /// assert_eq!(GuestKind::of_path(path), Some((GuestKind::Qemu, "100")));
    /// assert_eq!(GuestKind::of_path("nodes/pve1/lxc/100.conf.tmp"), None);
    /// ```
    #[must_use]
    pub fn of_path(path: &str) -> Option<(GuestKind, &str)> {
        let (folder, file) = path.rsplit_once('/')?;
        let folder = folder.rsplit_once('/').map_or(folder, |(_, name)| name);
        let kind = [GuestKind::Qemu, GuestKind::Lxc].into_iter().find(|kind| kind.directory() == folder)?;
        let digits = file.strip_suffix(".conf")?;
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then_some((kind, digits))
    }
}

impl fmt::Display for GuestKind {
    /// `qemu` or `lxc`, as the cluster's guest list names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Qemu {}
    impl Sealed for super::Lxc {}
}

/// A [`GuestKind`] as a type, so that what only virtual machines or only containers have is not there for the others.
pub trait Guest: sealed::Sealed + fmt::Debug + Clone + PartialEq + 'static {
    /// The kind.
    const KIND: GuestKind;
}

/// Virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qemu {}

/// Containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lxc {}

impl Guest for Qemu {
    const KIND: GuestKind = GuestKind::Qemu;
}

impl Guest for Lxc {
    const KIND: GuestKind = GuestKind::Lxc;
}

/// Name of a section of a guest configuration. The order is that in which the reference writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionId<'a> {
    /// What stands before the first header: the current configuration.
    Main,
    /// Changes that wait for the next start: `[PENDING]`, in containers `[pve:pending]`.
    Pending,
    /// `[special:NAME]`, in virtual machines only; the reference knows `cloudinit` and `fleecing`.
    Special(&'a BStr),
    /// `[NAME]`, a snapshot.
    Snapshot(&'a BStr),
}

impl<'a> SectionId<'a> {
    /// The snapshot of that name.
    #[must_use]
    pub fn snapshot<N: AsRef<[u8]> + ?Sized>(name: &'a N) -> Self {
        SectionId::Snapshot(BStr::new(name.as_ref()))
    }

    /// The special section of that name.
    #[must_use]
    pub fn special<N: AsRef<[u8]> + ?Sized>(name: &'a N) -> Self {
        SectionId::Special(BStr::new(name.as_ref()))
    }

    /// The header line, without its ending; `None` for sections that have none in files of that kind.
    pub(super) fn header(self, kind: GuestKind) -> Option<Vec<u8>> {
        let name: &[u8] = match (self, kind) {
            (SectionId::Main, _) | (SectionId::Special(_), GuestKind::Lxc) => return None,
            (SectionId::Pending, GuestKind::Qemu) => b"PENDING",
            (SectionId::Pending, GuestKind::Lxc) => b"pve:pending",
            (SectionId::Special(name), GuestKind::Qemu) => &[&b"special:"[..], name].concat(),
            (SectionId::Snapshot(name), _) => name,
        };
        Some([b"[", name, b"]"].concat())
    }
}

impl fmt::Display for SectionId<'_> {
    /// `main section`, `pending section`, `special section "cloudinit"`, `snapshot "before"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionId::Main => f.write_str("main section"),
            SectionId::Pending => f.write_str("pending section"),
            SectionId::Special(name) => write!(f, "special section {name:?}"),
            SectionId::Snapshot(name) => write!(f, "snapshot {name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(GuestKind::of_path("/etc/pve/lxc/7.conf"), Some((GuestKind::Lxc, "7")));
        assert_eq!(GuestKind::of_path("qemu-server/100.conf"), Some((GuestKind::Qemu, "100")));
        for path in ["100.conf", "qemu/100.conf", "lxc/.conf", "lxc/1a.conf", "lxc/1xconf", "a/lxc/100/conf"]
        {
            assert_eq!(GuestKind::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn sections_sort_as_they_are_written() {
        let mut ids =
            [SectionId::snapshot("aa"), SectionId::special("z"), SectionId::Pending, SectionId::Main];
        ids.sort();
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["main section", "pending section", "special section \"z\"", "snapshot \"aa\""]);
    }
}
