// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came into being, when, where, and for how long.

use comfy_table::{Table, presets};

/// Where something exists; what is only there as long as something runs does not outlive it.
#[derive(Clone, Copy)]
pub(crate) enum Layer {
    /// As a text.
    Logical,
    /// On a storage.
    Physical,
    /// As long as something runs.
    Process,
}

/// The checklist.
#[derive(Default)]
pub(crate) struct Checklist(Vec<[String; 5]>);

impl Checklist {
    /// `phase`: what it was made in.
    pub(crate) fn add(&mut self, object: &str, phase: &str, layer: Layer, measured: impl Into<String>) {
        let (layer, lives) = match layer {
            Layer::Logical => ("logical", "persistent"),
            Layer::Physical => ("physical", "persistent"),
            Layer::Process => ("process", "ephemeral"),
        };
        self.0.push([object, phase, layer, lives, &measured.into()].map(str::to_owned));
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["OBJECT", "MADE IN", "LAYER", "LIVES", "MEASURED"]);
        table.add_rows(&self.0);
        table
    }
}
