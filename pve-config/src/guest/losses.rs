// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the reference will drop or bend, without a word, when it next writes a configuration that it has read.

use bstr::{BStr, ByteSlice};

use super::drive;
use super::section::Entry;
use super::{Config, Guest, GuestKind, SectionId};
use crate::{Diagnostic, Diagnostics, Severity};

/// Notes what happens to whole sections: options replaced by others, leftovers.
pub(super) fn note_losses<G: Guest>(config: &Config<'_, G>, text: &[u8], found: &mut Diagnostics) {
    if G::KIND == GuestKind::Qemu {
        note_smp(config, text, found);
        note_cloudinit(config, text, found);
    }
    note_unused(config, text, found);
}

/// Whether [`note_losses`] may have something to say about an option.
#[inline]
pub(super) fn is_fleeting(key: &[u8]) -> bool {
    key == b"smp" || key.starts_with(b"unused")
}

fn note_smp<G: Guest>(config: &Config<'_, G>, text: &[u8], found: &mut Diagnostics) {
    if config.main.truthy("smp").is_none() {
        return;
    }
    let reason = if config.main.truthy("sockets").is_some() {
        "smp is dropped when the file is written: sockets is set"
    } else {
        "smp becomes sockets when the file is written, and cores is dropped"
    };
    if let Some(entry) = config.main.entry(b"smp") {
        note(found, "legacy-smp", text, entry, reason.into());
    }
}

fn note_cloudinit<G: Guest>(config: &Config<'_, G>, text: &[u8], found: &mut Diagnostics) {
    let Some(section) = config.special().get(BStr::new("cloudinit")) else { return };
    let is_drive =
        |(key, value): (&BStr, &BStr)| drive::file(key, value).is_some_and(drive::is_cloudinit_volume);
    if let Some(entry) = section.entries().first()
        && !config.main.iter().any(is_drive)
    {
        let reason = "the section is dropped when the file is written: there is no cloud-init drive";
        note(found, "cloudinit-without-drive", text, entry, reason.into());
    }
}

fn note_unused<G: Guest>(config: &Config<'_, G>, text: &[u8], found: &mut Diagnostics) {
    let first = config.main.entries().partition_point(|entry| entry.key.as_ref() < BStr::new("unused"));
    let unused =
        config.main.entries().iter().skip(first).take_while(|entry| entry.key.starts_with(b"unused"));
    let mut unused = unused.peekable();
    if unused.peek().is_none() {
        return;
    }
    let used = match G::KIND {
        GuestKind::Qemu => drive::attached(config.main.iter().chain(config.pending.iter())),
        GuestKind::Lxc => drive::mounted(config.main.iter()),
    };
    for entry in unused.filter(|entry| used.contains(&*entry.value)) {
        let reason = "the option is dropped when the file is written: the volume is attached";
        note(found, "unused-in-use", text, entry, reason.into());
    }
}

/// What will become of a value of `args`.
pub(super) fn of_args(value: &[u8]) -> Option<(&'static str, &'static str)> {
    if value.contains(&b'\r') {
        Some(("unwritable", "the value has a carriage return: the reference can read but not write the file"))
    } else if matches!(value, [b'"', .., b'"']) {
        Some(("lost-quotes", "the value loses its quotes when the file is written"))
    } else {
        None
    }
}

/// What will become of an integer beyond 64 bits.
pub(super) const UNWRITABLE_NUMBER: (&str, &str) =
    ("unwritable", "the number is too large: the reference can read but not write the file");

/// What will become of a description. A container has none if what its lines say counts as false.
pub(super) fn of_description(
    section: SectionId<'_>,
    text: Option<&BStr>,
) -> Option<(&'static str, &'static str)> {
    match text {
        None => Some(("lost-description", "a description `0` is dropped")),
        Some(text) if text == "0" && section == SectionId::Pending => {
            Some(("lost-description", "a description `0` becomes an empty one when the file is written"))
        }
        Some(text) if text == "0" => {
            Some(("lost-description", "a description `0` is dropped when the file is written"))
        }
        Some(_) => None,
    }
}

/// What happens to text before `snapstate:`.
pub(super) const SWALLOWED: (&str, &str) = (
    "swallowed-by-snapstate",
    "the line is read as the state of a snapshot only; what stands before that is dropped",
);

fn note(found: &mut Diagnostics, code: &'static str, text: &[u8], entry: &Entry<'_>, reason: String) {
    found.add(Severity::Note, || entry_note(code, text, entry, reason));
}

/// A note on the whole line of an entry.
pub(super) fn entry_note(code: &'static str, text: &[u8], entry: &Entry<'_>, reason: String) -> Diagnostic {
    let start = entry.origin.start;
    let rest = text.get(start..).unwrap_or_default();
    let end = start + rest.find_byte(b'\n').unwrap_or(rest.len());
    Diagnostic::on_line(Severity::Note, code, text, start..end, (entry.origin.line, start), reason)
}

#[cfg(test)]
mod tests {
    use crate::Severity;
    use crate::guest::{Config, Guest, Lxc, Qemu};

    /// Line and code of the notes on a text.
    fn notes<G: Guest>(text: &str) -> Vec<(usize, &'static str)> {
        let (_, found) = Config::<G>::parse(text.as_bytes());
        assert_eq!(found.warnings(), 0, "{text}: {:?}", found.as_slice());
        assert!(found.iter().all(|found| found.severity == Severity::Note));
        found.iter().map(|found| (found.line, found.code)).collect()
    }

    #[test]
    fn virtual_machines() {
        let notes = notes::<Qemu>;
        assert_eq!(notes("cores: 1\n#x\nargs: a \"b\"\n"), []);
        assert_eq!(notes("cores: 1\nsmp: 2\n"), [(2, "legacy-smp")]);
        assert_eq!(notes("smp: 0\n"), []);
        assert_eq!(notes("#0\n"), [(1, "lost-description")]);
        assert_eq!(
            notes("args: \"-x\"\nargs: a\rb\n"),
            [(1, "repeated-option"), (1, "lost-quotes"), (2, "unwritable")]
        );
        assert_eq!(notes("cores: 18446744073709551616\n"), [(1, "unwritable")]);
        assert_eq!(notes("cores: 1\ncores: 01\ncores: 2\n"), [(2, "repeated-option")]);
        assert_eq!(notes("[special:cloudinit]\nname: a\n"), [(2, "cloudinit-without-drive")]);
        assert_eq!(notes("ide0: local:cloudinit\n[special:cloudinit]\nname: a\n"), []);
        assert_eq!(notes("scsi0: local:a\nunused0: local:a\nunused1: local:b\n"), [(2, "unused-in-use")]);
        assert_eq!(notes("unused0: local:a\n[PENDING]\nscsi0: local:a\n"), [(1, "unused-in-use")]);
        assert_eq!(notes("args: x snapstate: delete\n"), [(1, "swallowed-by-snapstate")]);
    }

    #[test]
    fn containers() {
        let notes = notes::<Lxc>;
        assert_eq!(notes("cores: 1\n#0\n"), []);
        assert_eq!(notes("description: 0\n"), [(1, "lost-description")]);
        assert_eq!(notes("[sn]\ncores: 1\n[sn]\n"), [(3, "repeated-section")]);
        assert_eq!(notes("rootfs: local:a\nunused0: local:a\n"), [(2, "unused-in-use")]);
        assert_eq!(notes("cores: 18446744073709551616\n"), []);
    }
}
