// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any bytes read as the configuration of a guest. Called by the fuzz targets, and by
//! `tests/guest_confs.rs` with the stable toolchain.

use std::collections::BTreeSet;

use bstr::{BStr, ByteSlice};
use pve_config::format::Context;
use pve_config::guest::{
    Config, Document, Guest, GuestKind, Secrets, SectionId, backup_copy, lines, option_lines, volume_mentions,
};
use pve_config::{Digest, Severity};

/// Sections and keys that are tried in a document, at most.
const TRIED: usize = 12;

/// Checks `text` as a configuration of the kind `G`.
pub(crate) fn check<G: Guest>(text: &[u8]) {
    lossless(G::KIND, text);
    edits(G::KIND, text);
    settles::<G>(text);
    volumes::<G>(text);
    typed::<G>(text);
    snapshots::<G>(text);
    let copy = backup_copy(text, &[]);
    assert_eq!(backup_copy(&copy, &[]).as_bstr(), copy.as_bstr());
}

/// Lines and document keep every byte.
fn lossless(kind: GuestKind, text: &[u8]) {
    let mut rebuilt = Vec::new();
    for line in lines(kind, text) {
        assert_eq!(&text[line.span()], line.text.as_bytes());
        assert_eq!(&text[line.key_span()], line.key.as_bytes());
        assert_eq!(&text[line.value_span()], line.value.as_bytes());
        rebuilt.extend_from_slice(line.text);
        rebuilt.push(b'\n');
    }
    if !text.ends_with(b"\n") {
        rebuilt.pop();
    }
    assert_eq!(rebuilt.as_bstr(), text.as_bstr());
    assert_eq!(Document::parse(kind, text).into_bytes().as_bstr(), text.as_bstr());
}

/// An edit does what it says, and touches no other line.
fn edits(kind: GuestKind, text: &[u8]) {
    let document = Document::parse(kind, text);
    for section in document.sections().take(TRIED) {
        let mut keys: Vec<&BStr> = document.entries(section).map(|(key, _)| key).take(TRIED).collect();
        keys.push("zz".into());
        for key in keys {
            let mut changed = document.clone();
            match changed.set(section, key, "prepare") {
                Ok(()) => {
                    assert_eq!(changed.get(section, key), Some("prepare".into()));
                    differs_in_one_line(&document, &changed);
                    assert!(changed.delete(section, key) > 0);
                    assert_eq!(changed.get(section, key), None);
                }
                Err(_) => assert_eq!(changed.as_bytes(), text),
            }
        }
        let mut changed = document.clone();
        changed.set_description(section, "a\nb").expect("the section is there");
        assert!(changed.description(section).expect("it was set").starts_with(b"a\nb"));
        if section != SectionId::Main {
            assert!(changed.remove_section(section));
            assert!(changed.sections().all(|other| other != section));
            changed.add_section(section).expect("the name was read from a text");
            assert_eq!(changed.entries(section).count(), 0);
        }
    }
}

/// One line was replaced or inserted.
fn differs_in_one_line(before: &Document<'_>, after: &Document<'_>) {
    let texts = |document: &Document<'_>| -> Vec<Vec<u8>> {
        document.lines().map(|line| line.text.to_vec()).collect()
    };
    let (before, after) = (texts(before), texts(after));
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = after.get(same + 1..).unwrap_or_default();
    let replaced = before.get(same + 1..).unwrap_or_default() == rest;
    assert!(replaced || &before[same..] == rest, "{before:?} {after:?}");
}

/// What is written is read back without a finding, and writing settles. It need not at once: the reference takes quotes
/// off at every reading and writing, lets blank values grow by one blank, makes a comment of a blank description, splits
/// `env` at NUL, and writes a container's pending section that holds nothing which can be written.
fn settles<G: Guest>(text: &[u8]) {
    let (config, found) = Config::<G>::parse(text);
    let strict = Config::<G>::parse_strict(text, &Context::default());
    assert_eq!(strict.is_err(), found.count(Severity::Error) > 0);
    for found in &found {
        assert!(found.span.end <= text.len() && found.line > 0 && found.column > 0, "{found:?}");
    }
    let config = config.into_owned();
    assert_eq!(config.digest(), Some(Digest::of(text)));
    let _ = (config.lint(&Context::default()), config.effective(), config.clone().cleanup_pending());
    let _ = (config.to_json(Secrets::Masked), config.pending_to_json(Secrets::Shown));

    let Ok(mut written) = config.to_bytes() else { return };
    let quirks: [&[u8]; 6] = [b"\"", b"env:", b"\0", b": \n", b"pending]\n\n", b"description:"];
    let seen = [text, &written, b"\n"].concat();
    let plain = !quirks.iter().any(|quirk| seen.contains_str(quirk));
    for round in 0..6 {
        let (again, found) = Config::<G>::parse(&written);
        assert!(G::KIND == GuestKind::Lxc || found.warnings() == 0, "{:?}", found.as_slice());
        let next = again.to_bytes().expect("what was written can be written again");
        if next == written {
            assert!(round == 0 || !plain, "{:?}", written.as_bstr());
            return;
        }
        written = next;
    }
    // every round takes at most two pairs of quotes off
    assert!(written.contains(&b'"'), "does not settle: {:?}", written.as_bstr());
}

/// Every volume that the configuration names stands in some line.
fn volumes<G: Guest>(text: &[u8]) {
    let (config, _) = Config::<G>::parse(text);
    let mentions: BTreeSet<_> =
        volume_mentions(G::KIND, text).map(|found| (found.line, found.volume)).collect();
    for found in config.volume_references() {
        let line = found.line.expect("from a text");
        assert!(mentions.contains(&(line, found.volume)), "{found:?} {mentions:?}");
    }
}

/// A typed value is there whenever the reference takes the line, but for sizes beyond 64 bits.
fn typed<G: Guest>(text: &[u8]) {
    let context = Context::default();
    let (_, found) = Config::<G>::parse(text);
    let refused: BTreeSet<usize> =
        found.iter().filter(|found| found.severity == Severity::Error).map(|found| found.line).collect();
    for line in option_lines(G::KIND, text) {
        let (number, value) = match line {
            Ok(found) => (found.line.number, found.value(&context)),
            Err(line) => {
                assert!(refused.contains(&line.number) || found.left_out() > 0, "{line:?}");
                continue;
            }
        };
        match value {
            Ok(_) => assert!(!refused.contains(&number), "line {number}"),
            Err(error) => {
                let known = refused.contains(&number) || found.left_out() > 0;
                assert!(known || error.code() == "too-large", "line {number}: {error}");
            }
        }
    }
}

/// Snapshots can be gone back to and removed, and leave a configuration that can be read.
fn snapshots<G: Guest>(text: &[u8]) {
    let (config, _) = Config::<G>::parse(text);
    for (name, _) in config.snapshots().take(TRIED) {
        let mut changed = config.clone();
        changed.apply_snapshot(name).expect("it is there");
        assert!(changed.pending.is_empty());
        changed.remove_snapshot(name).expect("it is still there");
        assert!(changed.snapshots().all(|(_, other)| other.get("parent") != Some(name)) || name.is_empty());
        let _ = changed.to_bytes();
    }
    let mut changed = config.clone();
    let _ = changed.add_unused("local:zz").map(|_| changed.to_bytes());
}
