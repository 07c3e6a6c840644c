// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three forms in which a guest can be handed its settings, and which of them a VM gets.

use std::fmt;

/// The form of the image: the value of `citype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloudInitType {
    /// OpenStack's config drive, version 2; cloudbase-init on Windows reads it.
    ConfigDrive2,
    /// cloud-init's own NoCloud form.
    NoCloud,
    /// OpenNebula's contextualisation: one shell script of variables.
    OpenNebula,
}

/// Type, value of `citype`, label of the image.
const TYPES: [(CloudInitType, &str, &str); 3] = [
    (CloudInitType::ConfigDrive2, "configdrive2", "config-2"),
    (CloudInitType::NoCloud, "nocloud", "cidata"),
    (CloudInitType::OpenNebula, "opennebula", "CONTEXT"),
];

impl CloudInitType {
    /// The type that a value of `citype` names; `None` for any other text.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        TYPES.iter().find(|(_, name, _)| name.as_bytes() == text).map(|(kind, ..)| *kind)
    }

    /// The type of a VM without `citype`: config drive for Windows, NoCloud for everything else.
    #[must_use]
    pub fn default_of(windows: bool) -> Self {
        if windows { CloudInitType::ConfigDrive2 } else { CloudInitType::NoCloud }
    }

    /// The value of `citype`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The volume label by which a guest recognises the image.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, &'static str) {
        let [config_drive, no_cloud, open_nebula] = TYPES;
        match self {
            CloudInitType::ConfigDrive2 => config_drive,
            CloudInitType::NoCloud => no_cloud,
            CloudInitType::OpenNebula => open_nebula,
        }
    }
}

impl fmt::Display for CloudInitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_finds_its_own_row() {
        for (kind, name, label) in TYPES {
            assert_eq!((kind.as_str(), kind.label()), (name, label));
            assert_eq!(CloudInitType::from_bytes(name.as_bytes()), Some(kind));
        }
        assert_eq!(CloudInitType::from_bytes(b"NoCloud"), None);
    }
}
