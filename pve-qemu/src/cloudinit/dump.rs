// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `qm cloudinit dump` prints.

use super::files::instance_id;
use super::{CloudInitType, GenerateError, Settings};
use super::{config_drive, nocloud, user_data};

/// What a password is replaced by where it must not be shown.
pub const MASK: &str = "**********";

/// A part of the generated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpPart {
    /// `user`
    User,
    /// `network`
    Network,
    /// `meta`
    Meta,
}

impl Settings {
    /// The generated text of one part. The command line prints a line feed behind it.
    ///
    /// It is not always what the image holds: custom parts are ignored, and every type but NoCloud is shown in the
    /// config drive's form for Unix, also OpenNebula and Windows (spec: cloud-init, "cloudinit dump").
    ///
    /// # Errors
    /// As [`Settings::files`].
    pub fn dump(&self, part: DumpPart) -> Result<Vec<u8>, GenerateError> {
        let no_cloud = matches!(self.kind(), Ok(CloudInitType::NoCloud));
        let network = || if no_cloud { nocloud::network_config(self) } else { config_drive::network(self) };
        match part {
            DumpPart::User => Ok(user_data::user_data(self)),
            DumpPart::Network => network(),
            DumpPart::Meta => {
                let id = instance_id(&user_data::user_data(self), &network()?);
                Ok(if no_cloud { nocloud::meta_data(&id) } else { config_drive::meta_data(&id) })
            }
        }
    }

    /// The same settings with the password, if there is one, replaced by [`MASK`]: for showing user data to somebody
    /// who may not see it.
    #[must_use]
    pub fn masked(&self) -> Settings {
        Settings { password: self.password.as_ref().map(|_| MASK.into()), ..self.clone() }
    }
}
