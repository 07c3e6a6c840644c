// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm features`: what a storage offers, what a volume can do, and why not.

use anstyle::{AnsiColor, Style};
use bstr::{BStr, ByteSlice};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use pve_storage::{Feature, Storage, StreamFormat, TransferScope, VolumeState};
use pve_volid::VolumeIdRef;
use serde_json::{Map, Value, json};

use crate::place::Place;
use crate::{Out, Outcome};

#[derive(clap::Args)]
pub(crate) struct Features {
    /// A storage, or a volume (STORAGE:VOLNAME)
    subject: String,
    /// What a snapshot of the volume can do
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
}

const STATES: [(VolumeState, &str); 3] =
    [(VolumeState::Current, "VOLUME"), (VolumeState::Base, "BASE"), (VolumeState::Snapshot, "SNAPSHOT")];

impl Features {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        match self.subject.contains(':') {
            true => self.volume(place, out),
            false => storage(place, out, place.storages.require(&self.subject)?),
        }
    }

    fn volume(&self, place: &Place, out: &mut Out) -> Outcome {
        let id = VolumeIdRef::from_bytes(self.subject.as_bytes())?;
        let storage = place.storages.require(id.storage().as_str())?;
        let volume = storage.volume(id.volname())?;
        let snapshot = self.snapshot.as_ref().map(BStr::new);
        let can = |feature: &Feature| volume.can(*feature, snapshot, None);
        let scope = TransferScope { snapshot: snapshot.is_some(), ..TransferScope::default() };
        let export = volume.export_formats(scope).unwrap_or_default();
        let import = volume.import_formats(scope).unwrap_or_default();
        if place.json {
            let features: Map<String, Value> = Feature::ALL
                .iter()
                .map(|feature| (feature.to_string(), json!(can(feature).err().map(|why| why.to_string()))))
                .map(|(name, why)| (name, json!({ "has": why.is_null(), "why": why })))
                .collect();
            writeln!(out, "{:#}", json!({ "features": features, "export": export, "import": import }))?;
            return Ok(());
        }
        for feature in Feature::ALL {
            let (word, style, why) = match can(feature) {
                Ok(()) => ("yes", AnsiColor::Green.on_default(), String::new()),
                Err(why) => ("no", Style::new().dimmed(), why.to_string()),
            };
            let line = format!("{feature:10} {style}{word:3}{style:#} {why}");
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out, "export     {}", formats(&export))?;
        writeln!(out, "import     {}", formats(&import))?;
        Ok(())
    }
}

fn formats(formats: &[StreamFormat]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn storage(place: &Place, out: &mut Out, storage: &Storage) -> Outcome {
    let offered = storage.features();
    if place.json {
        writeln!(out, "{:#}", json!(offered))?;
        return Ok(());
    }
    let names = |names: Vec<String>| names.join(", ");
    let content = names(storage.content().iter().map(ToString::to_string).collect());
    writeln!(out, "type      {}", storage.type_name().to_str_lossy())?;
    writeln!(out, "shared    {}", if offered.shared { "yes" } else { "no" })?;
    writeln!(
        out,
        "content   {content} (of {})",
        names(offered.content.iter().map(ToString::to_string).collect())
    )?;
    writeln!(out, "formats   {}\n", names(offered.formats.iter().map(ToString::to_string).collect()))?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(std::iter::once("FEATURE").chain(STATES.map(|(_, title)| title)));
    for feature in Feature::ALL {
        let cell = |(state, _): (VolumeState, &str)| {
            let mut rules =
                offered.rules.iter().filter(|rule| rule.feature == *feature && rule.states.contains(&state));
            match rules.next() {
                None => "-".to_owned(),
                Some(rule) => match rule.formats {
                    None => "yes".to_owned(),
                    Some(formats) => names(formats.iter().map(ToString::to_string).collect()),
                },
            }
        };
        table.add_row(std::iter::once(feature.to_string()).chain(STATES.map(cell)));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
