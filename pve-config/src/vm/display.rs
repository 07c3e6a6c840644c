// SPDX-License-Identifier: MIT OR Apache-2.0
//! Display hardware and SPICE (options `vga`, `spice_enhancements`).

use crate::format::is_falsy;
use crate::property::{Integer, Key, properties, words};
use crate::rule::ValueError;

words! {
    /// Where the clipboard is shared.
    pub enum Clipboard {
        /// With the VNC client.
        Vnc = "vnc",
    }
}

words! {
    /// The graphics card that the guest sees.
    pub enum VgaType {
        /// Cirrus Logic GD5446.
        Cirrus = "cirrus",
        /// QXL, for SPICE.
        Qxl = "qxl",
        /// QXL with two heads.
        Qxl2 = "qxl2",
        /// QXL with three heads.
        Qxl3 = "qxl3",
        /// QXL with four heads.
        Qxl4 = "qxl4",
        /// No graphics.
        None = "none",
        /// Serial port 0 as terminal.
        Serial0 = "serial0",
        /// Serial port 1 as terminal.
        Serial1 = "serial1",
        /// Serial port 2 as terminal.
        Serial2 = "serial2",
        /// Serial port 3 as terminal.
        Serial3 = "serial3",
        /// Standard VGA with Bochs extensions.
        Std = "std",
        /// Paravirtualised.
        Virtio = "virtio",
        /// Paravirtualised with 3D acceleration by the host.
        VirtioGl = "virtio-gl",
        /// VMware SVGA-II.
        Vmware = "vmware",
    }
}

properties! {
    /// Display hardware.
    #[derive(Copy, Default)]
    pub struct Vga<'t>: VGA = "vm:vga" {
        /// Where the clipboard is shared, other than by SPICE.
        pub clipboard: Option<Clipboard> = Key::string("clipboard").words(Clipboard::WORDS),
        /// Video memory, MiB; no effect on serial terminals.
        pub memory: Option<Integer<'t>> = Key::integer("memory").min(4.0).max(512.0),
        /// The graphics card.
        pub kind: Option<VgaType> = Key::string("type").words(VgaType::WORDS).default_key().default("std"),
    }
    registered: [];
    aliases: [];
}

impl<'t> Vga<'t> {
    /// The display as its users see it: a falsy text (empty or `0`) is no setting at all.
    ///
    /// # Errors
    ///
    /// As [`Vga::parse`].
    pub fn read(text: Option<&'t [u8]>) -> Result<Self, ValueError> {
        text.filter(|text| !is_falsy(text)).map_or(Ok(Self::default()), Self::parse)
    }
}

words! {
    /// Whether SPICE finds regions with moving pictures and compresses them as video.
    pub enum VideoStreaming {
        /// Never.
        Off = "off",
        /// Every such region.
        All = "all",
        /// Regions that a heuristic takes for video.
        Filter = "filter",
    }
}

properties! {
    /// Additional features of SPICE.
    #[derive(Copy, Default)]
    pub struct SpiceEnhancements: SPICE_ENHANCEMENTS = "vm:spice_enhancements" {
        /// Share a folder of the client with the guest over WebDAV.
        pub foldersharing: Option<bool> = Key::boolean("foldersharing").default("0"),
        /// Compress moving pictures as video.
        pub videostreaming: Option<VideoStreaming> =
            Key::string("videostreaming").words(VideoStreaming::WORDS).default("off"),
    }
    registered: [];
    aliases: [];
}
