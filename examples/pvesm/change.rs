// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that make, move and remove volumes.

use bstr::{BStr, ByteSlice};
use pve_volid::{ImageFormat, VmId};
use serde_json::json;

use crate::place::Place;
use crate::{Out, Outcome};

#[derive(clap::Args)]
pub(crate) struct Alloc {
    /// The storage
    storage: String,
    /// The guest that will own it
    vmid: VmId,
    /// Its name, vm-100-disk-1; '' for the next free one
    name: String,
    /// Its size: a number in KiB, or with a unit (512M, 32G)
    #[arg(value_parser = crate::kibibytes)]
    size: u64,
    /// Its format; the default of the storage if left out
    #[arg(long, value_name = "FORMAT")]
    format: Option<ImageFormat>,
}

#[derive(clap::Args)]
pub(crate) struct Free {
    /// The volume, STORAGE:VOLNAME
    volume: String,
}

#[derive(clap::Args)]
pub(crate) struct Path {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// Of this snapshot
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Rename {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// The guest that will own it
    vmid: VmId,
    /// Its new name; the next free one if left out
    name: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Clone {
    /// The base volume, STORAGE:VOLNAME
    volume: String,
    /// The guest that will own the clone
    vmid: VmId,
    /// Clone this snapshot
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Template {
    /// The volume, STORAGE:VOLNAME
    volume: String,
}

#[derive(clap::Args)]
pub(crate) struct Resize {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// Its new size: a number in bytes, or with a unit (512M, 32G); with + in front it grows by so much
    size: String,
}

/// The text of an optional argument.
fn given(text: Option<&String>) -> Option<&BStr> {
    text.map(BStr::new)
}

impl Alloc {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let name = Some(BStr::new(&self.name)).filter(|name| !name.is_empty());
        place.change(out, "successfully created '{}'", |session| {
            session.enabled_storage(&self.storage)?;
            session.allocate(&self.storage, self.vmid, self.format, name, self.size)
        })
    }
}

impl Free {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(out, "Removed volume '{}'", |session| {
            session.free(BStr::new(&self.volume)).map(|()| &self.volume)
        })
    }
}

impl Path {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let path =
            place.ask(|session| session.path(BStr::new(&self.volume), given(self.snapshot.as_ref())))?;
        if place.json {
            writeln!(out, "{}", json!({ "path": path.to_str_lossy() }))?;
        } else {
            writeln!(out, "{path}")?;
        }
        Ok(())
    }
}

impl Rename {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(out, "successfully renamed to '{}'", |session| {
            session.rename(BStr::new(&self.volume), self.vmid, given(self.name.as_ref()))
        })
    }
}

impl Clone {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(out, "successfully created '{}'", |session| {
            session.clone_volume(BStr::new(&self.volume), self.vmid, given(self.snapshot.as_ref()))
        })
    }
}

impl Template {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(out, "'{}' is a base volume now", |session| session.create_base(BStr::new(&self.volume)))
    }
}

impl Resize {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let volume = BStr::new(&self.volume);
        let size = match self.size.strip_prefix('+') {
            None => crate::bytes(&self.size)?,
            Some(more) => {
                let before = place.ask(|session| session.size_info(volume))?.size;
                let size = before.checked_add(crate::bytes(more)?);
                size.ok_or_else(|| format!("{more} more than {before} bytes is too much"))?
            }
        };
        place.change(out, "resized '{}'", |session| {
            session.resize(volume, None, size, false).map(|()| &self.volume)
        })
    }
}
