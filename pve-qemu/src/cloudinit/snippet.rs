// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snippets as they lie on storages.

use std::io;

use bstr::BStr;
use pve_storage::Session;
use pve_volid::{VolumeIdRef, VolumeType};

use super::SnippetSource;

/// Reads the files that `cicustom` names from the storages of a session.
#[derive(Debug, Clone, Copy)]
pub struct StoredSnippets<'s, 'h>(pub &'s Session<'h>);

impl SnippetSource for StoredSnippets<'_, '_> {
    fn read(&mut self, volid: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        let session = self.0;
        let refuse = |error: pve_storage::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let id = VolumeIdRef::from_bytes(volid).map_err(|error| refuse(error.into()))?;
        let storage = session.storages().require(id.storage().as_str()).map_err(refuse)?;
        if storage.volume(id.volname()).map_err(refuse)?.vtype != VolumeType::Snippets {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = session.path(volid, None).map_err(io::Error::other)?;
        let path: &BStr = path.as_ref();
        if session
            .host()
            .metadata(path)
            .is_some_and(|file| usize::try_from(file.size).is_ok_and(|size| size > limit))
        {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let content = session.host().read(path)?;
        content.map(Vec::from).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
