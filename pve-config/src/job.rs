// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cluster does by the clock: backups and other jobs of `jobs.cfg`, and replication of guests.
//!
//! Both are section files. They are read as they stand: a property that is not known here is kept, and can be asked for.
//! To change one and leave all other bytes alone use [`section::Document`](crate::section::Document).
//!
//! How sections are written, and the form of a replication job's id, are those of the reference (spec: section-config;
//! formats, "Access control, HA, replication"). Names and meanings of the properties are those of the public manual pages
//! `vzdump(1)` and `pvesr(1)`: no recorded case has them, so they were not checked against the reference.
//!
//! ```
//! use pve_config::job::{Jobs, ReplicationJobs, Selection};
//!
//! let text = b"vzdump: nightly\n\tschedule 21:00\n\tstorage pbs\n\tall 1\n\texclude 105\n\tprune-backups keep-daily=7\n";
//! let jobs = Jobs::parse(text);
//! let nightly = jobs.backups().next().unwrap();
//! assert_eq!(nightly.storage(), Some("pbs".into()));
//! assert_eq!(nightly.selection(), Selection::AllBut(vec![105]));
//! assert_eq!(jobs.backups_of(100, b"pve1").count(), 1);
//! assert_eq!(jobs.backups_of(105, b"pve1").count(), 0);
//!
//! let replication = ReplicationJobs::parse(b"local: 100-0\n\ttarget pve2\n\trate 10\n");
//! let job = replication.of_guest(100).next().unwrap();
//! assert_eq!((job.target(), job.section.text("rate")), (Some("pve2".into()), Some("10".into())));
//! ```

use bstr::{BStr, ByteSlice};

use crate::format::{Context, Scalar, split_list};
use crate::section::{GuestIndex, Outline, RawSection};

/// What `jobs.cfg` says.
#[derive(Debug, Clone, Default)]
pub struct Jobs<'a> {
    outline: Outline<'a>,
}

impl<'a> Jobs<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "jobs.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        Jobs { outline: Outline::parse(text).effective() }
    }

    /// Every job that counts, in file order, of whatever type (`vzdump`, `realm-sync` …), disabled ones included.
    pub fn jobs(&self) -> impl Iterator<Item = Job<'a, '_>> {
        self.outline.sections().map(|section| Job { section })
    }

    /// The backup jobs.
    pub fn backups(&self) -> impl Iterator<Item = Job<'a, '_>> {
        self.jobs().filter(|job| job.section.kind == "vzdump")
    }

    /// The backup jobs that are enabled and take this guest along, which is on `node`. Which guests are in a pool is not
    /// known here, so jobs of a pool are not among them.
    pub fn backups_of(&self, vmid: u32, node: &[u8]) -> impl Iterator<Item = Job<'a, '_>> {
        self.backups().filter(move |job| {
            job.is_enabled()
                && job.node().is_none_or(|only| only == node)
                && job.selection().contains(vmid) == Some(true)
        })
    }
}

/// Something that is done by the clock.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a, 'o> {
    /// The section as it stands in the file.
    pub section: RawSection<'a, 'o>,
}

impl<'a> Job<'a, '_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'a BStr {
        self.section.id
    }

    /// Whether it is done at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.section.switch("enabled").unwrap_or(true)
    }

    /// Of a backup: the storage that takes it.
    #[must_use]
    pub fn storage(&self) -> Option<&'a BStr> {
        self.section.text("storage")
    }

    /// Of a backup: the node whose guests are backed up; without, those of all nodes.
    #[must_use]
    pub fn node(&self) -> Option<&'a BStr> {
        self.section.text("node")
    }

    /// Of a backup: which guests are backed up.
    #[must_use]
    pub fn selection(&self) -> Selection<'a> {
        let numbers = |key| {
            let list = self.section.text(key).unwrap_or_default();
            split_list(list).filter_map(|item| item.to_str().ok()?.parse().ok()).collect()
        };
        if let Some(pool) = self.section.text("pool") {
            Selection::Pool(pool)
        } else if self.section.text("vmid").is_some() {
            Selection::Guests(numbers("vmid"))
        } else {
            Selection::AllBut(numbers("exclude"))
        }
    }
}

/// The guests that a backup job takes along.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection<'a> {
    /// These.
    Guests(Vec<u32>),
    /// All but these.
    AllBut(Vec<u32>),
    /// Those of a pool.
    Pool(&'a BStr),
}

impl Selection<'_> {
    /// Whether a guest is among them; `None` if a pool decides.
    #[must_use]
    pub fn contains(&self, vmid: u32) -> Option<bool> {
        match self {
            Selection::Guests(guests) => Some(guests.contains(&vmid)),
            Selection::AllBut(excluded) => Some(!excluded.contains(&vmid)),
            Selection::Pool(_) => None,
        }
    }
}

/// What `replication.cfg` says.
#[derive(Debug, Clone, Default)]
pub struct ReplicationJobs<'a> {
    outline: Outline<'a>,
    guests: GuestIndex,
}

impl<'a> ReplicationJobs<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "replication.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let outline = Outline::parse(text).effective();
        let guests = GuestIndex::new(&outline, |section| ReplicationJob { section }.vmid());
        ReplicationJobs { outline, guests }
    }

    /// Every job that counts, in file order, disabled ones included.
    pub fn jobs(&self) -> impl Iterator<Item = ReplicationJob<'a, '_>> {
        self.outline.sections().map(|section| ReplicationJob { section })
    }

    /// The jobs of a guest.
    pub fn of_guest(&self, vmid: u32) -> impl Iterator<Item = ReplicationJob<'a, '_>> {
        self.guests.sections(&self.outline, vmid).map(|section| ReplicationJob { section })
    }
}

/// The copying of a guest's volumes to another node.
#[derive(Debug, Clone, Copy)]
pub struct ReplicationJob<'a, 'o> {
    /// The section as it stands in the file.
    pub section: RawSection<'a, 'o>,
}

impl<'a> ReplicationJob<'a, '_> {
    /// Its id: `VMID-NUMBER`.
    #[must_use]
    pub fn id(&self) -> &'a BStr {
        self.section.id
    }

    /// The guest; `None` if the id is not of the form `VMID-NUMBER` (spec: formats, "Access control, HA, replication").
    #[must_use]
    pub fn vmid(&self) -> Option<u32> {
        let is_id = Scalar::ReplicationJobId.accepts(self.section.id, &Context::default());
        let (vmid, _) = self.section.id.split_once_str("-").filter(|_| is_id)?;
        vmid.to_str().ok()?.parse().ok()
    }

    /// The node that gets the copies.
    #[must_use]
    pub fn target(&self) -> Option<&'a BStr> {
        self.section.text("target")
    }

    /// Whether it is switched off.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.section.switch("disable").unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_say_whom_they_back_up() {
        let jobs = Jobs::parse(
            b"vzdump: a\n\tvmid 100,101;102 x\n\nvzdump: b\n\tpool p\n\nvzdump: c\n\tenabled 0\n\nrealm-sync: d\n\
            \nvzdump: e\n\tall 1\n\tnode n\n",
        );
        let selections: Vec<_> = jobs.backups().map(|job| job.selection()).collect();
        assert_eq!(
            selections,
            [
                Selection::Guests(vec![100, 101, 102]),
                Selection::Pool("p".into()),
                Selection::AllBut(vec![]),
                Selection::AllBut(vec![]),
            ]
        );
        let ids: Vec<_> = jobs.backups_of(101, b"n").map(|job| job.id().to_string()).collect();
        assert_eq!(ids, ["a", "e"]);
        // e is done on its node alone
        assert_eq!(jobs.backups_of(101, b"m").count(), 1);
        assert_eq!((jobs.jobs().count(), jobs.backups_of(7, b"n").count()), (5, 1));
    }

    #[test]
    fn replication_ids_name_the_guest() {
        for (id, vmid) in [
            ("100-0", Some(100)),
            ("100-12", Some(100)),
            ("99-0", None),
            ("100", None),
            ("100-", None),
            ("-1", None),
            ("100-a", None),
            ("+100-0", None),
            ("100-0-0", None),
        ] {
            let text = format!("local: {id}\n\tdisable\n");
            let jobs = ReplicationJobs::parse(text.as_bytes());
            let job = jobs.jobs().next().unwrap();
            assert_eq!(job.vmid(), vmid, "{id}");
            assert!(job.is_disabled() && job.target().is_none());
        }
    }
}
