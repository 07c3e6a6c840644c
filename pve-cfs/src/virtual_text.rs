// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts of virtual files that the kernel knows.
//!
//! Virtual files change by themselves, and what is read must fit the size that was shown. So each text is a file of its own for the
//! kernel: whoever looks the name up gets the number of the text as it is now, and the text behind a number never changes. It is kept
//! until the kernel forgets the number.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::node_id::NodeIds;
use crate::row::Content;
use crate::virtual_file::VirtualFile;

/// The texts of one mount.
#[derive(Debug, Default)]
pub(crate) struct VirtualTexts {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    texts: HashMap<u64, Text>,
    /// The text that was looked up last, by file.
    latest: HashMap<VirtualFile, u64>,
    count: u64,
}

#[derive(Debug)]
struct Text {
    content: Content,
    /// How often the kernel was told of it, less what it forgot.
    lookups: u64,
}

impl VirtualTexts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of `file` with the text `content`, which the kernel is told now.
    pub(crate) fn look_up(&self, file: VirtualFile, content: Vec<u8>) -> u64 {
        let mut known = self.known();
        let known = &mut *known;
        if let Some(id) = known.latest.get(&file)
            && let Some(text) = known.texts.get_mut(id)
            && *text.content == *content
        {
            text.lookups += 1;
            return *id;
        }
        known.count += 1;
        let id = NodeIds::of_virtual(file, known.count);
        known.texts.insert(id, Text { content: content.into(), lookups: 1 });
        known.latest.insert(file, id);
        id
    }

    /// The text behind a number.
    pub(crate) fn get(&self, id: u64) -> Option<Content> {
        Some(self.known().texts.get(&id)?.content.clone())
    }

    /// The number under which `file` was looked up last; any other one before that.
    pub(crate) fn latest(&self, file: VirtualFile) -> u64 {
        self.known().latest.get(&file).copied().unwrap_or_else(|| NodeIds::of_virtual(file, 0))
    }

    /// The kernel forgets `lookups` times what it was told.
    pub(crate) fn forget(&self, id: u64, lookups: u64) {
        let mut known = self.known();
        if let Some(text) = known.texts.get_mut(&id) {
            text.lookups = text.lookups.saturating_sub(lookups);
            if text.lookups == 0 {
                known.texts.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_long_as_the_kernel_knows_it() {
        let texts = VirtualTexts::default();
        let first = texts.look_up(VirtualFile::Version, b"one".to_vec());
        assert_eq!(texts.look_up(VirtualFile::Version, b"one".to_vec()), first);
        let other = texts.look_up(VirtualFile::VmList, b"one".to_vec());
        let second = texts.look_up(VirtualFile::Version, b"two".to_vec());
        assert!(first != second && first != other && texts.latest(VirtualFile::Version) == second);
        texts.forget(first, 1);
        assert_eq!(texts.get(first).as_deref(), Some(&b"one"[..]));
        texts.forget(first, 1);
        assert_eq!(texts.get(first), None);
        assert_eq!(texts.get(second).as_deref(), Some(&b"two"[..]));
        texts.forget(second, 1);
        let third = texts.look_up(VirtualFile::Version, b"two".to_vec());
        assert!(third != second, "a number is never given to another text");
    }
}
