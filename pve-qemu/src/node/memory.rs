// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations in memory, for tests and for trying things out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bstr::{BStr, BString};
use pve_volid::VmId;

use super::files::{Alone, ConfigFiles};
use super::{LockGuard, LockMode, WorldError};

/// Configurations that are gone with the value.
///
/// ```
/// use pve_qemu::node::{ConfigStore, MemoryStore};
///
/// let store = MemoryStore::new("pve1").with_file("nodes/pve2/lxc/101.conf", "hostname: db\n");
/// store.create("100".parse()?, "name: web\n".into())?;
/// assert_eq!(store.guests()?.len(), 2);
/// assert!(store.create("101".parse()?, "".into()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    node: String,
    files: RefCell<BTreeMap<String, BString>>,
}

impl MemoryStore {
    /// No configurations, seen from `node`.
    pub fn new(node: impl Into<String>) -> Self {
        MemoryStore { node: node.into(), files: RefCell::default() }
    }

    /// The same with a file; its path is relative to `/etc/pve`.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<String>, content: impl Into<BString>) -> Self {
        self.files.get_mut().insert(path.into(), content.into());
        self
    }
}

fn failed(path: &str, reason: &str) -> WorldError {
    WorldError::File { path: path.to_owned(), reason: reason.to_owned() }
}

impl ConfigFiles for MemoryStore {
    fn own_node(&self) -> &str {
        &self.node
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, WorldError> {
        let files = self.files.borrow();
        let below = files.keys().filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
        let names: BTreeSet<&str> = below.filter_map(|rest| rest.split('/').next()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn content(&self, path: &str) -> Result<Option<BString>, WorldError> {
        Ok(self.files.borrow().get(path).cloned())
    }

    fn exists(&self, path: &str) -> Result<bool, WorldError> {
        Ok(self.files.borrow().contains_key(path))
    }

    fn replace(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        match self.files.borrow_mut().get_mut(path) {
            Some(file) => {
                *file = content.to_owned();
                Ok(())
            }
            None => Err(failed(path, "there is no such file")),
        }
    }

    fn add(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        if self.exists(path)? {
            return Err(failed(path, "the file exists"));
        }
        self.files.borrow_mut().insert(path.to_owned(), content.to_owned());
        Ok(())
    }

    fn delete(&self, path: &str) -> Result<(), WorldError> {
        let removed = self.files.borrow_mut().remove(path);
        removed.map(drop).ok_or_else(|| failed(path, "there is no such file"))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), WorldError> {
        let content = self.content(from)?.ok_or_else(|| failed(from, "there is no such file"))?;
        self.add(to, content.as_ref())?;
        self.delete(from)
    }

    /// Nobody else has the memory.
    fn take_lock(&self, _: VmId, _: LockMode, _: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        Ok(Box::new(Alone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws() {
        super::super::laws::hold(&MemoryStore::new("pve1").with_file("datacenter.cfg", "keyboard: de\n"));
    }
}
