// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that come from outside: where they are in a virtual appliance (OVA, a tar archive), and whether they stand alone.

use std::fs::File;
use std::io;

use bstr::{BStr, ByteSlice};
use serde_json::Value;
use tar::{Archive, EntryType};

/// The bytes of an archive that are a file in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Of its first byte, from the start of the archive.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) size: u64,
}

/// Size of a sector, to which disks are rounded up; and of a block of an archive, to which files in it are.
const SECTOR: u64 = 512;

/// Where a file is in an archive, with what it is filled up with to whole sectors.
///
/// # Errors
/// If the archive cannot be read, or the file is no plain one: a link would lead elsewhere, and a sparse file is in pieces.
pub(super) fn find(archive: &BStr, name: &BStr) -> io::Result<Option<Member>> {
    let file = File::open(archive.to_path().map_err(io::Error::other)?)?;
    for entry in Archive::new(file).entries_with_seek()? {
        let entry = entry?;
        if entry.path_bytes().as_bstr() != name {
            continue;
        }
        if entry.header().entry_type() != EntryType::Regular {
            let reason = format!("{name} is no plain file in it; extract it, and import that");
            return Err(io::Error::other(reason));
        }
        let size = entry.size().next_multiple_of(SECTOR);
        return Ok(Some(Member { offset: entry.raw_file_position(), size }));
    }
    Ok(None)
}

/// A file of its own choice that an image would make QEMU read, from what `qemu-img info` says of it.
pub(super) fn foreign_file(info: &Value) -> Option<String> {
    let data = &info["format-specific"]["data"];
    let named = [&info["backing-filename"], &data["data-file"]].into_iter().find_map(Value::as_str);
    // the other kinds of VMDK are descriptions of further files
    let alone = ["monolithicSparse", "streamOptimized"];
    let kind = data["create-type"].as_str().filter(|kind| info["format"] == "vmdk" && !alone.contains(kind));
    named.or(kind).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_found_in_archives_and_links_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ova");
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        let long = format!("{}.raw", "x".repeat(150));
        archive.append_data(&mut header.clone(), "a.ovf", b"<ovf>".as_slice()).unwrap();
        archive.append_data(&mut header.clone(), &long, b"disk!".as_slice()).unwrap();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "link.raw", "/etc/shadow").unwrap();
        archive.finish().unwrap();
        let path = path.to_str().unwrap();
        let bytes = std::fs::read(path).unwrap();
        for (name, content) in [("a.ovf", b"<ovf>"), (long.as_str(), b"disk!")] {
            let Member { offset, size } = find(path.into(), name.into()).unwrap().unwrap();
            let from = usize::try_from(offset).unwrap();
            assert_eq!((&bytes[from..from + content.len()], size), (content.as_slice(), 512), "{name}");
        }
        let error = find(path.into(), "link.raw".into()).unwrap_err().to_string();
        assert_eq!(error, "link.raw is no plain file in it; extract it, and import that");
        assert_eq!(find(path.into(), "none.raw".into()).unwrap(), None);
        assert!(find("/no/such.ova".into(), "a.raw".into()).is_err());
    }

    #[test]
    fn images_that_read_other_files_are_told() {
        let backed = json!({ "format": "qcow2", "backing-filename": "/etc/shadow" });
        assert_eq!(foreign_file(&backed).unwrap(), "/etc/shadow");
        let external = json!({ "format": "qcow2", "format-specific": { "data": { "data-file": "x" } } });
        assert_eq!(foreign_file(&external).unwrap(), "x");
        let vmdk = |kind: &str| {
            foreign_file(&json!({ "format": "vmdk", "format-specific": { "data": { "create-type": kind } } }))
        };
        assert_eq!(vmdk("monolithicFlat").unwrap(), "monolithicFlat");
        assert_eq!(vmdk("streamOptimized"), None);
        assert_eq!(foreign_file(&json!({ "format": "raw" })), None);
    }
}
