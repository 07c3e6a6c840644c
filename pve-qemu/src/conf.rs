// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration as the builder reads it: one section, indexed, with the reduction that templates undergo.

use bstr::BStr;
use pve_config::format::Context;
use pve_config::guest::VmSection;
use pve_config::property::{Properties, PropertyFormat};
use pve_config::rule::ValueError;
use pve_config::schema::{GuestOption, VM};
use pve_config::vm::{Drive, DriveId};
use smallvec::SmallVec;

use crate::assembly::truthy;

/// Options without number that a template keeps (spec: qemu-command, "Callers").
const TEMPLATE_KEEPS: &[&str] = &["scsihw", "bios", "name", "efidisk0", "tpmstate0"];
/// Options that a template has whatever it configures.
const TEMPLATE_SETS: &[(&str, &str)] = &[("kvm", "0"), ("vga", "none")];

/// One section of a configuration.
#[derive(Clone)]
pub(crate) struct Conf<'a> {
    template: bool,
    /// Entries by the hash of their key, as number of the entry plus one: 0 where there is none.
    slots: [u16; SLOTS],
    /// All entries, in the order of the section.
    entries: SmallVec<[Entry<'a>; 32]>,
    /// Options with a number, sorted by name and number.
    numbered: SmallVec<[Numbered<'a>; 16]>,
    context: Context<'a>,
    /// Property strings that many steps read.
    parsed: Parsed<'a>,
}

/// An entry of the section, and the one before it in the same slot.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a BStr,
    value: &'a BStr,
    before: u16,
}

/// Values of options that many steps read, parsed once.
#[derive(Clone, Default)]
struct Parsed<'a> {
    cpu: Option<Props<'a>>,
    machine: Option<Props<'a>>,
    vga: Option<Props<'a>>,
}

/// An option with a number.
#[derive(Clone, Copy)]
struct Numbered<'a> {
    option: &'static GuestOption,
    number: u8,
    value: &'a BStr,
}

/// The values of a property string.
#[derive(Clone)]
pub(crate) struct Props<'a>(Properties<'a>);

impl<'a> Props<'a> {
    /// Reads a property string.
    pub(crate) fn parse(format: &'static PropertyFormat, text: &'a BStr) -> Option<Self> {
        format.parse(text).ok().map(Props)
    }

    /// The value of a key as written, booleans `0` or `1`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a BStr> {
        self.0.get(key)
    }

    /// The keys that have a value.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|(key, _)| key)
    }

    /// The drive that these are the values of, or what keeps the reference from using it.
    pub(crate) fn drive(&self, id: DriveId, text: &'a BStr) -> Result<Drive<'a>, ValueError> {
        Drive::read_parsed(id, text, &self.0)
    }

    /// The value, if it counts.
    pub(crate) fn truthy(&self, key: &str) -> Option<&'a BStr> {
        self.get(key).filter(|value| truthy(Some(value)))
    }
}

impl<'a> Conf<'a> {
    /// Indexes a section. `context` is what checks of values need to know.
    pub(crate) fn new(section: &'a VmSection<'a>, context: Context<'a>) -> Self {
        let template = section.truthy("template").is_some();
        let mut numbered: SmallVec<[Numbered<'a>; 16]> = SmallVec::new();
        let mut slots = [0; SLOTS];
        let mut entries: SmallVec<[Entry<'a>; 32]> = SmallVec::new();
        for (key, value) in section.iter() {
            if let Some(slot) = slots.get_mut(slot_of(key)) {
                entries.push(Entry { key, value, before: *slot });
                *slot = u16::try_from(entries.len()).unwrap_or(0);
            }
            let Some((option, Some(number))) = VM.find(key) else { continue };
            let is_drive = matches!(option.name, "ide" | "sata" | "scsi" | "virtio");
            if let Ok(number) = u8::try_from(number)
                && (!template || is_drive)
            {
                numbered.push(Numbered { option, number, value });
            }
        }
        numbered.sort_unstable_by_key(|entry| (entry.option.name, entry.number));
        let mut conf = Conf { template, slots, entries, numbered, context, parsed: Parsed::default() };
        conf.parsed = Parsed {
            cpu: conf.parse_single("cpu"),
            machine: conf.parse_single("machine"),
            vga: conf.parse_single("vga"),
        };
        conf
    }

    /// Whether this is a template: most options then do not count.
    pub(crate) fn is_template(&self) -> bool {
        self.template
    }

    /// The value of an option without number.
    pub(crate) fn get(&self, name: &str) -> Option<&'a BStr> {
        if self.template {
            if let Some((_, value)) = TEMPLATE_SETS.iter().find(|(set, _)| *set == name) {
                return Some(BStr::new(value));
            }
            if !TEMPLATE_KEEPS.contains(&name) {
                return None;
            }
        }
        let mut at = *self.slots.get(slot_of(name.as_bytes()))?;
        while let Some(entry) = self.entries.get(usize::from(at).checked_sub(1)?) {
            if entry.key == name {
                return Some(entry.value);
            }
            at = entry.before;
        }
        None
    }

    /// The value of an option without number, if it counts.
    pub(crate) fn truthy(&self, name: &str) -> Option<&'a BStr> {
        self.get(name).filter(|value| truthy(Some(value)))
    }

    /// The value of a numbered option.
    pub(crate) fn nth(&self, name: &str, number: u8) -> Option<&'a BStr> {
        self.entry(name, number).map(|entry| entry.value)
    }

    /// All options of a name with their numbers, ascending.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = (u8, &'a BStr)> + '_ {
        let entries = self.numbered.iter().filter(move |entry| entry.option.name == name);
        entries.map(|entry| (entry.number, entry.value))
    }

    /// The values of an option whose value is a property string; `None` if it is not set, or unreadable.
    pub(crate) fn props(&self, name: &str) -> Option<Props<'a>> {
        match name {
            "cpu" => self.parsed.cpu.clone(),
            "machine" => self.parsed.machine.clone(),
            "vga" => self.parsed.vga.clone(),
            _ => self.parse_single(name),
        }
    }

    fn parse_single(&self, name: &str) -> Option<Props<'a>> {
        let text = self.get(name)?;
        self.parse(VM.find(name.as_bytes())?.0, text)
    }

    /// The values of a numbered option.
    pub(crate) fn nth_props(&self, name: &str, number: u8) -> Option<Props<'a>> {
        let entry = self.entry(name, number)?;
        self.parse(entry.option, entry.value)
    }

    fn entry(&self, name: &str, number: u8) -> Option<&Numbered<'a>> {
        self.numbered.iter().find(|entry| entry.number == number && entry.option.name == name)
    }

    fn parse(&self, option: &GuestOption, text: &'a BStr) -> Option<Props<'a>> {
        option.property_format()?.parse_with(text, &self.context).ok().map(Props)
    }
}

/// Number of slots for keys: most options that are asked for are not there, and are found so at once.
const SLOTS: usize = 128;

/// The slot of a key: keys that differ mostly have different ones.
fn slot_of(key: &[u8]) -> usize {
    let byte = |at: usize| usize::from(key.get(at).copied().unwrap_or(0));
    let mixed = byte(0).wrapping_mul(31)
        ^ byte(2).wrapping_mul(7)
        ^ byte(key.len().saturating_sub(1))
        ^ key.len() << 3;
    mixed % SLOTS
}
