// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types that nobody here serves: they stay visible and answer everything with an error.

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, VolumeName, Wanted};

use super::Plugin;
use crate::error::{Error, Result};
use crate::features::FeatureRule;
use crate::listing::Listing;
use crate::operation::{Allocation, SizeInfo, Status};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::volume::{Facts, Volume};

/// The plugin of a type without plugin.
#[derive(Debug)]
pub(crate) struct Unknown;

pub(crate) fn refuse(storage: &Storage) -> Error {
    Error::UnknownType { storage: storage.id().clone(), kind: storage.type_name().to_owned() }
}

impl Plugin for Unknown {
    fn parse<'a>(&self, storage: &Storage, _volname: &'a [u8]) -> Result<VolumeName<'a>> {
        Err(refuse(storage))
    }

    fn content(&self) -> &'static [ContentType] {
        &[]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        Vec::new()
    }

    fn features(&self) -> &'static [FeatureRule] {
        &[]
    }

    fn path(&self, volume: &Volume<'_>, _snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        Err(refuse(volume.storage()))
    }

    fn check_connection(&self, _session: &Session<'_>, storage: &Storage) -> Result<bool> {
        Err(refuse(storage))
    }

    fn status(
        &self,
        _session: &Session<'_>,
        storage: &Storage,
        _cache: &mut Cache,
    ) -> Result<Option<Status>> {
        Err(refuse(storage))
    }

    fn list_images(
        &self,
        _session: &Session<'_>,
        storage: &Storage,
        _wanted: Wanted<'_>,
        _listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        Err(refuse(storage))
    }

    fn allocate(
        &self,
        _session: &Session<'_>,
        storage: &Storage,
        _request: &Allocation<'_>,
    ) -> Result<BString> {
        Err(refuse(storage))
    }

    fn size_info(&self, _session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        Err(refuse(volume.storage()))
    }
}
