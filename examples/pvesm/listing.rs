// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm list`: the volumes of a storage, and with `--all-names` also what Proxmox VE would not show.

use std::collections::HashSet;
use std::fmt::Write as _;

use anstyle::Style;
use bstr::ByteSlice;
use pve_storage::{Image, Storage};
use pve_volid::{ContentType, Digits, VmId, VolumeId, Wanted};
use serde_json::{Value, json};

use crate::place::Place;
use crate::{Out, Outcome};

#[derive(clap::Args)]
pub(crate) struct List {
    /// The storage
    storage: String,
    /// Only volumes of this guest
    #[arg(long, value_name = "VMID")]
    vmid: Option<VmId>,
    /// Only this kind of content
    #[arg(long, value_name = "TYPE")]
    content: Option<ContentType>,
    /// Show also what the storage holds beside, under the names that the tool reported, and why Proxmox VE never shows it
    #[arg(long)]
    all_names: bool,
}

/// Something that is there and not listed.
struct Unseen {
    name: String,
    size: Option<u64>,
    code: &'static str,
    reason: String,
}

impl List {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let storage = place.storages.require(&self.storage)?;
        let digits = self.vmid.map(|vmid| vmid.to_string());
        let owner = digits.as_ref().and_then(|digits| Digits::new(digits.as_bytes()));
        let wanted = owner.map_or(Wanted::Everything, Wanted::Guest);
        let (images, unseen) = place.ask(|session| {
            session.enabled_storage(&self.storage)?;
            let images = session.volumes(&self.storage, wanted, self.content, &place.containers)?;
            if !self.all_names {
                return Ok((images, Vec::new()));
            }
            let shown = session.volumes(&self.storage, Wanted::Everything, None, &place.containers)?;
            Ok((images, unseen(storage, &shown, &session.survey(&self.storage)?)))
        })?;
        if place.json {
            let unseen: Vec<Value> = unseen.iter().map(Unseen::document).collect();
            let document = match self.all_names {
                true => json!({ "volumes": images, "unseen": unseen }),
                false => json!(images),
            };
            writeln!(out, "{document:#}")?;
        } else {
            write!(out, "{}", table(storage, &images))?;
            if self.all_names {
                write!(out, "{}", blind_spots(&unseen))?;
            }
        }
        Ok(())
    }
}

/// What a survey found beside what is shown: names that are hidden, and volumes that the storage is not used for.
fn unseen(storage: &Storage, shown: &[Image], found: &pve_storage::Listing) -> Vec<Unseen> {
    let shown: HashSet<&VolumeId> = shown.iter().map(|image| &image.volid).collect();
    let content: Vec<String> = storage.content().iter().map(ToString::to_string).collect();
    let unused = found.images.iter().filter(|image| !shown.contains(&image.volid)).map(|image| Unseen {
        name: image.volid.volname().to_str_lossy().into_owned(),
        size: image.size,
        code: "content-not-used",
        reason: format!("the storage is only used for: {}", content.join(", ")),
    });
    let hidden = found.hidden().iter().map(|hidden| Unseen {
        name: hidden.name.to_str_lossy().into_owned(),
        size: hidden.size,
        code: hidden.reason.code(),
        reason: hidden.reason.to_string(),
    });
    hidden.chain(unused).collect()
}

impl Unseen {
    fn document(&self) -> Value {
        json!({ "name": self.name, "size": self.size, "code": self.code, "reason": self.reason })
    }
}

/// What a volume is used for, by the listing or else by its name.
fn content(storage: &Storage, image: &Image) -> String {
    let by_name = || Some(storage.volume(image.volid.volname()).ok()?.vtype.to_string());
    image.content.map(|content| content.to_string()).or_else(by_name).unwrap_or_default()
}

fn table(storage: &Storage, images: &[Image]) -> String {
    let sizes: Vec<String> =
        images.iter().map(|image| image.size.map_or_else(String::new, |size| size.to_string())).collect();
    let names: Vec<_> = images.iter().map(|image| image.volid.as_bstr().to_str_lossy()).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let digits = sizes.iter().map(String::len).max().unwrap_or(0).max(4);
    let mut text = String::new();
    let mut line = |name: &str, format: &str, content: &str, size: &str, owner: &str| {
        let line = format!("{name:widest$} {format:7} {content:9} {size:>digits$} {owner}");
        // a String takes everything
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line("Volid", "Format", "Type", "Size", "VMID");
    for ((image, name), size) in images.iter().zip(&names).zip(&sizes) {
        let owner = image.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        line(name, &image.format, &content(storage, image), size, &owner);
    }
    text
}

fn blind_spots(unseen: &[Unseen]) -> String {
    if unseen.is_empty() {
        return "\nNothing else is there.\n".to_owned();
    }
    let dim = Style::new().dimmed();
    let widest = unseen.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = String::from("\nNot shown by Proxmox VE:\n");
    let mut line = |name: &str, size: &str, reason: &str| {
        let _ = writeln!(text, "{name:widest$} {size:>15} {dim}{reason}{dim:#}");
    };
    line("Name", "Size", "Why");
    for entry in unseen {
        line(&entry.name, &entry.size.map_or_else(String::new, |size| size.to_string()), &entry.reason);
    }
    text
}
