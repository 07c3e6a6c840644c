// SPDX-License-Identifier: MIT OR Apache-2.0
//! `esxi`: the virtual machines of a VMware ESXi host, for import only.

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeFormat, VolumeName};

use super::{Plugin, concat, no_snapshots, parse_as, states, unsupported};
use crate::error::Result;
use crate::features::{Feature, FeatureRule, Refusal, VolumeState, look_up};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `esxi`.
#[derive(Debug)]
pub(crate) struct Esxi;

const FEATURES: &[FeatureRule] = &[FeatureRule::any(Feature::Copy, states::CURRENT)];

impl Plugin for Esxi {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Esxi, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Import]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Import]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        StorageType::Esxi.image_formats().to_vec()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn has_feature(
        &self,
        volume: &Volume<'_>,
        feature: Feature,
        state: VolumeState,
        _targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        if volume.format == VolumeFormat::Vmx {
            return Err(Refusal::Other("a .vmx file describes a machine, it is no disk".into()));
        }
        let kind = volume.storage().type_name();
        look_up(FEATURES, kind, feature, state, volume.format.image(), &volume.format)
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        Ok(concat([&mount_point(volume.storage()), b"/", volume.volname]))
    }

    fn export_formats(&self, volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Err(unsupported(volume.storage(), "export volumes", "they are read through its file system"))
    }

    fn import_formats(&self, volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Err(unsupported(volume.storage(), "import volumes", "it is read-only"))
    }
}

/// The directory of run-time files.
pub(super) fn run_directory(storage: &Storage) -> BString {
    format!("/run/pve/import/esxi/{}", storage.id()).into()
}

/// Where the host's datastores are mounted.
pub(super) fn mount_point(storage: &Storage) -> BString {
    concat([&run_directory(storage), b"/mnt"])
}
