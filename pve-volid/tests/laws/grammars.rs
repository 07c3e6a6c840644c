// SPDX-License-Identifier: MIT OR Apache-2.0
//! The grammars of volume names as regular expressions, to compare the parsers with.

use bstr::ByteSlice;
use pve_volid::{Digits, StorageType, VolumeName};
use regex::bytes::{Captures, Regex};

/// What a grammar makes of a name.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    name: Vec<u8>,
    owner: Option<Vec<u8>>,
    base: Option<(Vec<u8>, Vec<u8>)>,
    is_base: bool,
    format: String,
}

impl From<VolumeName<'_>> for Parsed {
    fn from(volume: VolumeName<'_>) -> Self {
        Parsed {
            name: volume.name.to_vec(),
            owner: volume.owner.map(|owner| owner.as_bstr().to_vec()),
            base: volume.base.map(|base| (base.name.to_vec(), base.owner.as_bstr().to_vec())),
            is_base: volume.is_base,
            format: volume.format.to_string(),
        }
    }
}

/// Reads a name, or refuses it.
pub(crate) type Grammar = fn(&[u8]) -> Option<Parsed>;

/// The grammars of the specification as regular expressions, whose greedy groups decide where a base part ends.
pub(crate) fn all() -> [(StorageType, Grammar); 7] {
    [
        (StorageType::Dir, images),
        (StorageType::Lvm, lvm),
        (StorageType::LvmThin, lvm_thin),
        (StorageType::ZfsPool, zfs),
        (StorageType::Rbd, rbd),
        (StorageType::Iscsi, iscsi),
        (StorageType::Pbs, pbs),
    ]
}

macro_rules! matches_of {
    ($pattern:literal, $text:expr) => {{
        static PATTERN: std::sync::LazyLock<Regex> =
            std::sync::LazyLock::new(|| Regex::new($pattern).unwrap());
        PATTERN.captures($text).filter(|_| !$text.contains(&b'\n'))
    }};
}

fn group(found: &Captures<'_>, name: &str) -> Option<Vec<u8>> {
    found.name(name).map(|found| found.as_bytes().to_vec())
}

fn parsed(found: &Captures<'_>, is_base: bool, format: &str) -> Option<Parsed> {
    Some(Parsed {
        name: group(found, "name")?,
        owner: group(found, "owner"),
        base: group(found, "base").zip(group(found, "of")),
        is_base,
        format: format.to_owned(),
    })
}

fn zfs(text: &[u8]) -> Option<Parsed> {
    let found = matches_of!(
        r"(?-u)^(?:(?P<base>(?:base|basevol)-(?P<of>[0-9]+)-\S+)/)?(?P<name>(?P<word>base|basevol|vm|subvol)-(?P<owner>[0-9]+)-\S+)$",
        text
    )?;
    let word = group(&found, "word")?;
    parsed(&found, word.starts_with(b"base"), if word.ends_with(b"vol") { "subvol" } else { "raw" })
}

fn rbd(text: &[u8]) -> Option<Parsed> {
    let found = matches_of!(
        r"(?-u)^(?:(?P<base>base-(?P<of>[0-9]+)-\S+)/)?(?P<name>(?P<word>base)?(?:vm)?-(?P<owner>[0-9]+)-\S+)$",
        text
    )?;
    parsed(&found, found.name("word").is_some(), "raw")
}

fn lvm(text: &[u8]) -> Option<Parsed> {
    matches_of!(r"(?-u)^[A-Za-z0-9][A-Za-z0-9_.-]*[A-Za-z0-9]$", text)?;
    let found = matches_of!(r"(?-u)^(?P<name>vm-(?P<owner>[0-9]+)-\S+)$", text)?;
    parsed(&found, false, if text.ends_with(b".qcow2") { "qcow2" } else { "raw" })
}

fn lvm_thin(text: &[u8]) -> Option<Parsed> {
    matches_of!(r"(?-u)^[A-Za-z0-9][A-Za-z0-9_.-]*[A-Za-z0-9]$", text)?;
    let found = matches_of!(r"(?-u)^(?P<name>(?P<word>vm|base)-(?P<owner>[0-9]+)-\S+)$", text)?;
    parsed(&found, group(&found, "word")? == b"base", "raw")
}

fn iscsi(text: &[u8]) -> Option<Parsed> {
    parsed(&matches_of!(r"(?-u)^[0-9]+\.[0-9]+\.[0-9]+\.(?P<name>[^/\s]+)$", text)?, false, "raw")
}

fn pbs(text: &[u8]) -> Option<Parsed> {
    let found = matches_of!(
        r"(?-u)^backup/(?P<name>(?P<type>[^\s_]+)/(?P<id>[^\s_]+)/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)$",
        text
    )?;
    let owner = group(&found, "id").filter(|id| Digits::new(id).is_some());
    let format = format!("pbs-{}", group(&found, "type")?.as_bstr());
    Some(Parsed { owner, ..parsed(&found, false, &format)? })
}

/// Path-based names; other content than images is told by its first component and a pattern.
fn images(text: &[u8]) -> Option<Parsed> {
    if let Some(found) =
        matches_of!(r"(?-u)^(?P<of>[0-9]+)/(?P<base>\S+)/(?P<owner>[0-9]+)/(?P<name>\S+)$", text)
    {
        image(&group(&found, "base")?)?;
        let (is_base, format) = image(&group(&found, "name")?)?;
        return parsed(&found, is_base, &format);
    }
    if let Some(found) = matches_of!(r"(?-u)^(?P<owner>[0-9]+)/(?P<name>.+)$", text) {
        let (is_base, format) = image(&group(&found, "name")?)?;
        return parsed(&found, is_base, &format);
    }
    let plain = matches_of!(r"(?i-u)^(?:(?-i)iso)/(?P<name>[^/]+\.(?:iso|img))$", text)
        .or_else(|| {
            matches_of!(r"(?i-u)^(?:(?-i)vztmpl)/(?P<name>[^/]+\.tar(?:\.(?:gz|xz|zst|bz2))?)$", text)
        })
        .or_else(|| matches_of!(r"(?-u)^snippets/(?P<name>[^/]+)$", text));
    if let Some(found) = plain {
        return parsed(&found, false, "raw");
    }
    if let Some(found) =
        matches_of!(r"(?-u)^backup/(?P<name>[^/]+\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?))$", text)
    {
        let name = group(&found, "name")?;
        let owner = matches_of!(r"(?-u)^vzdump-(?:openvz|lxc|qemu)-(?P<owner>[0-9]+)-.+$", &name[..])
            .and_then(|found| group(&found, "owner"));
        return Some(Parsed { owner, ..parsed(&found, false, "raw")? });
    }
    if let Some(found) = matches_of!(
        r"(?-u)^import/(?P<name>[ A-Za-z0-9.+=_-]+\.ova/[ A-Za-z0-9.+=_-]+\.(?P<format>qcow2|raw|vmdk))$",
        text
    ) {
        let format = format!("ova+{}", group(&found, "format")?.as_bstr());
        return parsed(&found, false, &format);
    }
    let found =
        matches_of!(r"(?-u)^import/(?P<name>[ A-Za-z0-9.+=_-]+\.(?P<format>ova|ovf|qcow2|raw|vmdk))$", text)?;
    let format = group(&found, "format")?.as_bstr().to_string();
    parsed(&found, false, &format)
}

/// `IMG`, rule by rule: whether it is a template's, and its format.
fn image(file: &[u8]) -> Option<(bool, String)> {
    let format = |found: &Captures<'_>| Some(group(found, "format")?.as_bstr().to_string());
    if let Some(found) = matches_of!(
        r"(?-u)^(?P<word>vm-|base-|subvol-)[0-9]+-[^/\s]+\.(?P<format>raw|qcow2|vmdk|subvol)$",
        file
    ) {
        return Some((group(&found, "word")? == b"base-", format(&found)?));
    }
    if file.starts_with(b"snap-") && file.ends_with(b".qcow2") {
        return None;
    }
    let found = matches_of!(r"(?-u)^(?P<word>base-)?[^/\s]+\.(?P<format>raw|qcow2|vmdk|subvol)$", file)?;
    Some((found.name("word").is_some(), format(&found)?))
}
