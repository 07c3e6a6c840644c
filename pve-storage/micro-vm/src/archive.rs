// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initial file system of a machine: a cpio archive in the form that the kernel unpacks.

use std::collections::BTreeSet;

use crate::error::Error;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// A file system in the making. Directories above a file are made when they are missing; what is there already is
/// not added again.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    present: BTreeSet<String>,
}

impl Archive {
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.present.contains(path.trim_start_matches('/'))
    }

    pub(crate) fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.add(path, DIRECTORY, b"")
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        self.add(path, FILE | mode, content)
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.add(path, LINK, target.as_bytes())
    }

    fn add(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        let path = path.trim_matches('/');
        if self.contains(path) {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above)?;
        }
        self.present.insert(path.to_owned());
        self.entry(path, mode, content)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        let number =
            |length: usize| u32::try_from(length).map_err(|_| Error::new(format!("{name}: too big")));
        let (name_size, size) = (number(name.len() + 1)?, number(content.len())?);
        self.entries += 1;
        // inode, mode, owner, group, links, time, size, device, special device, length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.entry("TRAILER!!!", 0, b"")?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_once_and_directories_first() {
        let mut archive = Archive::default();
        archive.file("/etc/lvm/lvm.conf", 0o644, b"global {}\n").unwrap();
        archive.file("etc/lvm/lvm.conf", 0o644, b"another").unwrap();
        archive.link("/etc/link", "lvm").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<&str> = text.split("070701").skip(1).map(|entry| &entry[104..]).collect();
        let names: Vec<&str> = names.iter().map(|rest| rest.split('\0').next().unwrap()).collect();
        assert_eq!(names, ["etc", "etc/lvm", "etc/lvm/lvm.conf", "etc/link", "TRAILER!!!"]);
        assert!(!text.contains("another"));
    }
}
