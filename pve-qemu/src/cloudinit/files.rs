// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an image: which ones there are, where they lie, and what identifies the instance.

use std::fmt::Write as _;

use sha1::{Digest as _, Sha1};

use super::{CloudInitType, CustomParts, GenerateError, Settings};
use super::{config_drive, nocloud, open_nebula, user_data};
use crate::iso;

/// Largest sum of the lengths of all files of an image, in bytes.
pub const MAX_FILES: usize = 3 * 1024 * 1024;

/// The files of a cloud-init image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// The form; its label goes onto the image.
    pub kind: CloudInitType,
    /// Path in the image, with a leading slash, and content.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// What the guest recognises itself by, where it was generated: neither OpenNebula nor custom meta data have it.
    pub instance_id: Option<String>,
}

impl Settings {
    /// The files that hand these settings to the guest (spec: cloud-init, "Choice of type and file sets").
    ///
    /// OpenNebula knows no custom parts; they are ignored.
    ///
    /// # Errors
    /// See [`GenerateError`]: an address that the form cannot express, a missing hardware address, or too much data.
    pub fn files(&self, custom: CustomParts) -> Result<FileSet, GenerateError> {
        let kind = self.kind()?;
        if kind == CloudInitType::OpenNebula {
            let files = vec![("/context.sh", open_nebula::context(self)?)];
            return Ok(FileSet { kind, files, instance_id: None });
        }
        let network = custom.network.map_or_else(|| self.network(kind), Ok)?;
        let user = custom.user.unwrap_or_else(|| user_data::user_data(self));
        let instance_id = custom.meta.is_none().then(|| instance_id(&user, &network));
        let meta = match (custom.meta, &instance_id) {
            (Some(meta), _) => meta,
            (None, Some(id)) if kind == CloudInitType::NoCloud => nocloud::meta_data(id),
            (None, Some(id)) if self.windows => config_drive::windows_meta_data(self, id),
            (None, id) => config_drive::meta_data(id.as_deref().unwrap_or_default()),
        };
        let vendor = custom.vendor.unwrap_or_default();
        let size = network.len() + user.len() + meta.len() + vendor.len();
        if size > MAX_FILES {
            return Err(GenerateError::TooLarge { size });
        }
        let [user_path, network_path, meta_path, vendor_path] = match kind {
            CloudInitType::NoCloud => ["/user-data", "/network-config", "/meta-data", "/vendor-data"],
            _ => [
                "/openstack/latest/user_data",
                "/openstack/content/0000",
                "/openstack/latest/meta_data.json",
                "/openstack/latest/vendor_data.json",
            ],
        };
        let files =
            vec![(user_path, user), (network_path, network), (meta_path, meta), (vendor_path, vendor)];
        Ok(FileSet { kind, files, instance_id })
    }

    fn network(&self, kind: CloudInitType) -> Result<Vec<u8>, GenerateError> {
        match kind {
            CloudInitType::NoCloud => nocloud::network_config(self),
            _ if self.windows => config_drive::windows_network(self),
            _ => config_drive::network(self),
        }
    }
}

impl FileSet {
    /// The content of a file; `None` if the image has no such file.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.files.iter().find(|(name, _)| *name == path).map(|(_, content)| content.as_slice())
    }

    /// The ISO 9660 image of the files, with the label of their form. Equal files make equal images.
    ///
    /// # Errors
    /// [`GenerateError::Image`].
    pub fn image(&self) -> Result<Vec<u8>, GenerateError> {
        Ok(iso::image(self.kind.label(), &self.files)?)
    }
}

/// SHA-1 of user data and network configuration: whatever changes one of them makes the guest see a new instance
/// (spec: cloud-init, "Instance id").
pub(super) fn instance_id(user: &[u8], network: &[u8]) -> String {
    let digest = Sha1::new().chain_update(user).chain_update(network).finalize();
    digest.iter().fold(String::with_capacity(40), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
