// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies in the directory of a storage.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Inode number of the root of every btrfs subvolume.
const SUBVOLUME_INODE: u64 = 256;

/// Files by path below `root` with their size, and subvolumes (with size 0). A directory that is empty holds no
/// volume, so directories do not count.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, u64>) {
    // what is being made and removed meanwhile may be gone again
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if meta.is_dir() {
            if is_subvolume(&meta) {
                found.insert(name, 0);
            }
            collect(root, &path, found);
        } else {
            found.insert(name, meta.len());
        }
    }
}

fn is_subvolume(meta: &Metadata) -> bool {
    meta.ino() == SUBVOLUME_INODE
}
