// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands behind the steps of a plan: what a session would run and change on the storages.

use bstr::{BStr, ByteSlice};
use pve_storage::Planning;
use pve_volid::VolumeId;

use super::{StoredVolumes, WorldError};

/// Volumes on which every change is only noted, as the commands that would make it.
///
/// ```
/// use pve_qemu::node::{PlannedVolumes, StoredVolumes};
/// use pve_storage::{MemoryHost, Planning, Session, Storage, Storages};
///
/// let storages: Storages = [Storage::new("vg".parse()?, "lvm").with("vgname", "pve")].into_iter().collect();
/// let host = MemoryHost::new();
/// let plan = Planning::new(&host);
/// let session = Session::new(&storages, &plan, "pve1").assume_active();
/// let planned = PlannedVolumes::new(StoredVolumes::new(session, Default::default()), &plan);
/// # let _ = planned;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PlannedVolumes<'a> {
    volumes: StoredVolumes<'a>,
    plan: &'a Planning<'a>,
}

impl<'a> PlannedVolumes<'a> {
    /// Volumes of a session that runs on `plan`.
    #[must_use]
    pub fn new(volumes: StoredVolumes<'a>, plan: &'a Planning<'a>) -> Self {
        PlannedVolumes { volumes, plan }
    }

    /// The commands of one change, ready to be pasted into a POSIX shell; a comment where they depend on something that does
    /// not exist yet.
    pub(super) fn commands<T>(
        &self,
        change: impl FnOnce(&StoredVolumes<'a>) -> Result<T, WorldError>,
    ) -> Vec<String> {
        self.noted(change).0
    }

    /// The commands of a change that gives a volume its name. Every change is planned by itself, so a storage may offer the
    /// same free name twice; `expected` is the one that it will be.
    pub(super) fn commands_naming(
        &self,
        expected: &VolumeId,
        change: impl FnOnce(&StoredVolumes<'a>) -> Result<VolumeId, WorldError>,
    ) -> Vec<String> {
        let (mut commands, offered) = self.noted(change);
        let file = |volid: &VolumeId| volid.volname().rsplit_str("/").next().unwrap_or_default().to_owned();
        if let Some(offered) = offered.map(|volid| file(&volid))
            && offered != file(expected)
        {
            let (old, new) = (BStr::new(&offered).to_string(), BStr::new(&file(expected)).to_string());
            commands.iter_mut().for_each(|command| *command = command.replace(&old, &new));
        }
        commands
    }

    fn noted<T>(
        &self,
        change: impl FnOnce(&StoredVolumes<'a>) -> Result<T, WorldError>,
    ) -> (Vec<String>, Option<T>) {
        let before = self.plan.steps().len();
        let result = change(&self.volumes);
        let steps = self.plan.steps();
        let mut commands: Vec<String> = steps.iter().skip(before).map(ToString::to_string).collect();
        match result {
            Ok(value) => (commands, Some(value)),
            Err(error) => {
                commands.push(format!("# what follows depends on what is not made yet: {error}"));
                (commands, None)
            }
        }
    }
}
