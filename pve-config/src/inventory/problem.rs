// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a reference of a guest, judged from configuration alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, NameRule, VolumeId, VolumeName, VolumeType};
use serde::{Serialize, Serializer};

use super::Guest;
use super::volume::{Referenced, Target, Volume};
use crate::guest::{GuestKind, SectionId, VolumeReference, VolumeRole};
use crate::storage::{Storage, StorageConfig};

/// Why a reference does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is neither a volume id nor an absolute path.
    #[error("neither a volume id nor an absolute path")]
    NotAVolume,
    /// The storage is not declared.
    #[error("storage {storage:?} does not exist")]
    NoStorage {
        /// The storage.
        storage: String,
    },
    /// The storage is declared, but its section is broken or of a type that is not known.
    #[error("storage {storage:?} is declared, but its section in storage.cfg cannot be used")]
    UnusableStorage {
        /// The storage.
        storage: String,
    },
    /// The storage is switched off.
    #[error("storage {storage:?} is disabled")]
    Disabled {
        /// The storage.
        storage: String,
    },
    /// The storage exists, but not on the guest's node.
    #[error("storage {storage:?} is not available on node {node:?}")]
    OtherNodes {
        /// The storage.
        storage: String,
        /// The guest's node.
        node: String,
    },
    /// The storage is not allowed to hold that.
    #[error("storage {storage:?} is not configured for content {content}")]
    Content {
        /// The storage.
        storage: String,
        /// What it would have to hold.
        content: ContentType,
    },
    /// The name means nothing on a storage of that type.
    #[error("the volume name cannot be understood: {0}")]
    Name(NameRule),
    /// The volume is not of the kind that the option needs.
    #[error("the volume is of type {actual}, which cannot be used here")]
    Type {
        /// What the volume is.
        actual: VolumeType,
    },
    /// The name says that another guest owns the volume.
    #[error("the volume belongs to guest {owner}, which {}", if *exists { "is another guest" } else { "does not exist" })]
    Owner {
        /// The owner, as written in the name.
        owner: BString,
        /// Whether there is such a guest.
        exists: bool,
    },
    /// The volume is a linked clone, and nothing in the configuration knows its base.
    #[error("it is a linked clone of {base:?}, {}", match owner { BaseState::NoGuest => "whose guest does not exist", BaseState::NotReferenced => "which its guest does not refer to" })]
    Base {
        /// Name of the base volume.
        base: BString,
        /// What is wrong with it.
        owner: BaseState,
    },
    /// Another guest refers to the same volume.
    #[error("guest {other} refers to the same volume")]
    Shared {
        /// The other guest.
        other: u32,
    },
}

/// What is wrong with the base of a linked clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaseState {
    /// The template does not exist.
    NoGuest,
    /// The template exists, but has no such disk.
    NotReferenced,
}

impl Problem {
    /// Stable name of the rule, in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Problem::NotAVolume => "not-a-volume",
            Problem::NoStorage { .. } => "no-storage",
            Problem::UnusableStorage { .. } => "unusable-storage",
            Problem::Disabled { .. } => "storage-disabled",
            Problem::OtherNodes { .. } => "storage-on-other-nodes",
            Problem::Content { .. } => "content-not-configured",
            Problem::Name(_) => "volume-name",
            Problem::Type { .. } => "volume-type",
            Problem::Owner { exists: true, .. } => "other-owner",
            Problem::Owner { exists: false, .. } => "missing-owner",
            Problem::Base { .. } => "missing-base",
            Problem::Shared { .. } => "used-twice",
        }
    }

    /// Whether the guest refers to something that cannot be there: the reference is dangling.
    #[must_use]
    pub fn is_dangling(&self) -> bool {
        matches!(
            self,
            Problem::NotAVolume
                | Problem::NoStorage { .. }
                | Problem::UnusableStorage { .. }
                | Problem::OtherNodes { .. }
                | Problem::Name(_)
                | Problem::Base { .. }
        )
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Problem", 3)?;
        out.serialize_field("code", self.code())?;
        out.serialize_field("dangling", &self.is_dangling())?;
        out.serialize_field("message", &self.to_string())?;
        out.end()
    }
}

/// What a reference is judged by.
pub(super) struct Surroundings<'s> {
    pub(super) storages: &'s StorageConfig<'s>,
    pub(super) guests: &'s HashMap<u32, Owner<'s>>,
    /// The guests that use a volume, but for media and scripts.
    pub(super) users: &'s BTreeMap<&'s BStr, BTreeSet<u32>>,
}

/// What others need to know of a guest.
#[derive(Default)]
pub(super) struct Owner<'s> {
    volumes: Vec<&'s BStr>,
}

impl Surroundings<'_> {
    pub(super) fn resolve(&self, guest: &Guest<'_>, reference: &VolumeReference<'_>) -> Referenced {
        let mut problems = Vec::new();
        let target = if reference.is_path() {
            Target::Path(reference.volume.to_owned())
        } else {
            match VolumeId::from_bytes(reference.volume.to_vec()) {
                Ok(id) => Target::Volume(self.volume(guest, reference, id, &mut problems)),
                Err(_) => {
                    problems.push(Problem::NotAVolume);
                    Target::Other(reference.volume.to_owned())
                }
            }
        };
        Referenced {
            section: match reference.section {
                SectionId::Main => String::new(),
                SectionId::Pending => "pending".to_owned(),
                SectionId::Snapshot(name) | SectionId::Special(name) => name.to_str_lossy().into_owned(),
            },
            key: reference.key.to_owned(),
            role: reference.role,
            target,
            size: reference.size,
            problems,
        }
    }

    fn volume(
        &self,
        guest: &Guest<'_>,
        reference: &VolumeReference<'_>,
        id: VolumeId,
        problems: &mut Vec<Problem>,
    ) -> Volume {
        let storage = self.storages.get(id.storage().as_str().as_bytes());
        match &storage {
            None => problems.push(self.missing_storage(id.storage().as_str())),
            Some(storage) => {
                storage_problems(guest, storage, problems);
                match VolumeName::read(storage.kind(), id.volname()) {
                    Err(rule) => problems.push(Problem::Name(rule)),
                    Ok(name) => self.name_problems(guest, reference, storage, &name, problems),
                }
            }
        }
        if reference.role.is_guest_data() {
            let others = self.users.get(reference.volume).into_iter().flatten();
            let others = others.filter(|other| **other != guest.vmid);
            problems.extend(others.map(|other| Problem::Shared { other: *other }));
        }
        let kind = storage.map(|storage| storage.kind());
        Volume::new(id, kind)
    }

    fn missing_storage(&self, storage: &str) -> Problem {
        let broken = self.storages.broken().any(|id| id == storage);
        let unknown = self.storages.unknown().any(|section| section.id.as_bytes() == storage.as_bytes());
        let storage = storage.to_owned();
        if broken || unknown { Problem::UnusableStorage { storage } } else { Problem::NoStorage { storage } }
    }

    fn name_problems(
        &self,
        guest: &Guest<'_>,
        reference: &VolumeReference<'_>,
        storage: &Storage<'_>,
        name: &VolumeName<'_>,
        problems: &mut Vec<Problem>,
    ) {
        match needed_content(guest.kind(), reference.role, name.vtype) {
            None => problems.push(Problem::Type { actual: name.vtype }),
            Some(content) if !storage.holds(content) => {
                problems.push(Problem::Content { storage: storage.id().as_str().to_owned(), content });
            }
            Some(_) => {}
        }
        if name.vtype != VolumeType::Images {
            return;
        }
        // digits as written: 0100 is not guest 100
        let number = |owner: &[u8]| owner.to_str().ok()?.parse::<u32>().ok();
        if let Some(owner) = name.owner
            && owner.as_bstr() != guest.vmid.to_string().as_str()
        {
            let exists = number(owner.as_bstr()).is_some_and(|id| self.guests.contains_key(&id));
            problems.push(Problem::Owner { owner: owner.as_bstr().to_owned(), exists });
        }
        if let Some(base) = name.base {
            let owner = number(base.owner.as_bstr()).and_then(|id| self.guests.get(&id));
            let state = match owner {
                None => Some(BaseState::NoGuest),
                Some(owner) if !owner.has_volume(storage.id().as_str(), base.name) => {
                    Some(BaseState::NotReferenced)
                }
                Some(_) => None,
            };
            problems.extend(state.map(|owner| Problem::Base { base: base.name.to_owned(), owner }));
        }
    }
}

impl<'s> Owner<'s> {
    pub(super) fn add(&mut self, volume: &'s BStr) {
        self.volumes.push(volume);
    }

    /// Whether the guest refers to a volume of that storage whose last part is `name`.
    fn has_volume(&self, storage: &str, name: &[u8]) -> bool {
        self.volumes.iter().any(|volume| {
            let rest = volume.strip_prefix(storage.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            rest.is_some_and(|rest| rest == name || rest.ends_with(&[b"/", name].concat()))
        })
    }
}

fn storage_problems(guest: &Guest<'_>, storage: &Storage<'_>, problems: &mut Vec<Problem>) {
    let id = storage.id().as_str().to_owned();
    let node = guest.node.to_str_lossy();
    if storage.is_disabled() {
        problems.push(Problem::Disabled { storage: id });
    } else if !storage.is_enabled_on(&node) {
        problems.push(Problem::OtherNodes { storage: id, node: node.into_owned() });
    }
}

/// What a storage must be allowed to hold for a guest to use a volume of that type in that role; `None`: it cannot be
/// used so.
fn needed_content(kind: GuestKind, role: VolumeRole, vtype: VolumeType) -> Option<ContentType> {
    match (role, vtype) {
        (VolumeRole::Hookscript | VolumeRole::CustomCloudInit, VolumeType::Snippets) => {
            Some(ContentType::Snippets)
        }
        (VolumeRole::Hookscript | VolumeRole::CustomCloudInit, _) => None,
        (VolumeRole::Cdrom, VolumeType::Iso) => Some(ContentType::Iso),
        (_, VolumeType::Images) => Some(match kind {
            GuestKind::Qemu => ContentType::Images,
            GuestKind::Lxc => ContentType::RootDir,
        }),
        _ => None,
    }
}
