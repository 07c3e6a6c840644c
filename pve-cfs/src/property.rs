// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single properties of guests, read from their configurations by a plain line scan.

use bstr::ByteSlice;
use nix::errno::Errno;

use crate::filesystem::FileSystem;
use crate::guest::Guest;
use crate::tree::Tree;

/// The JSON text of the properties `names` of guest `vmid`, or of all guests for 0 (spec: pmxcfs, "Property extraction").
///
/// # Errors
/// `EIO` for a single guest whose configuration is empty.
pub(crate) fn text(files: &FileSystem, vmid: u32, names: &[&[u8]]) -> Result<Vec<u8>, Errno> {
    let engine = files.replica().engine();
    let (tree, guests) = (engine.tree(), engine.guests());
    let mut text = b"{\n".to_vec();
    if vmid == 0 {
        let mut first = true;
        for (vmid, guest) in guests.iter() {
            let separator = if first { "" } else { ",\n" };
            if describe(tree, vmid, guest, names, separator, &mut text) == Outcome::Described {
                first = false;
            }
        }
    } else if let Some(guest) = guests.get(vmid)
        && describe(tree, vmid, guest, names, "", &mut text) == Outcome::NoContent
    {
        return Err(Errno::EIO);
    }
    text.extend_from_slice(b"\n}\n");
    Ok(text)
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Described,
    NothingFound,
    NoContent,
}

fn describe(
    tree: &Tree,
    vmid: u32,
    guest: &Guest,
    names: &[&[u8]],
    separator: &str,
    text: &mut Vec<u8>,
) -> Outcome {
    let path = format!("{}/{vmid}.conf", guest.kind.directory());
    let path = [b"nodes/", guest.node.as_slice(), b"/", path.as_bytes()].concat();
    let content = tree.get(&path).map(|entry| entry.content()).unwrap_or_default();
    if content.is_empty() {
        return Outcome::NoContent;
    }
    let values = values(content, names);
    if values.iter().all(Option::is_none) {
        return Outcome::NothingFound;
    }
    text.extend_from_slice(format!("{separator}\"{vmid}\":{{").as_bytes());
    let mut first = true;
    for (name, value) in names.iter().zip(values) {
        let Some(value) = value else { continue };
        text.extend_from_slice(if first { b"\"" } else { b",\"" });
        text.extend_from_slice(name);
        text.extend_from_slice(b"\": \"");
        for byte in value {
            if matches!(byte, b'\\' | b'"') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
        first = false;
    }
    text.push(b'}');
    Outcome::Described
}

/// The value of each of `names` in a configuration, without its snapshots.
fn values<'c>(content: &'c [u8], names: &[&[u8]]) -> Vec<Option<&'c [u8]>> {
    let mut found: Vec<Option<&[u8]>> = vec![None; names.len()];
    let mut overwritten = 0;
    for line in content.lines_with_terminator().map(|line| line.strip_suffix(b"\n").unwrap_or(line)) {
        if line.first() == Some(&b'[') {
            break;
        }
        for (name, value) in names.iter().zip(&mut found) {
            let Some(rest) = line.strip_prefix(*name).and_then(|rest| rest.strip_prefix(b":")) else {
                continue;
            };
            if rest.is_empty() {
                continue;
            }
            if value.is_some() {
                overwritten += 1;
            }
            *value = Some(trim(rest));
        }
        // this is where the reference stops looking; it makes a third occurrence of a single name invisible
        if overwritten >= names.len() {
            break;
        }
    }
    found
}

/// `text` without white space at both ends; of white space alone the last character stays.
fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else {
        return text.last_chunk::<1>().map_or(&[], |last| last);
    };
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_occurrence_wins_and_the_third_is_not_seen() {
        let content = b"name: a\nname: b\nname: c\n[snap]\nname: d\n";
        assert_eq!(values(content, &[b"name"]), [Some(&b"b"[..])]);
        assert_eq!(values(content, &[b"name", b"tags"]), [Some(&b"c"[..]), None]);
    }

    #[test]
    fn white_space_alone_leaves_its_last_character() {
        assert_eq!(trim(b" \t"), b"\t");
        assert_eq!(trim(b"  a b \r"), b"a b");
        assert_eq!(values(b"name:\nname:x", &[b"name"]), [Some(&b"x"[..])]);
    }
}
