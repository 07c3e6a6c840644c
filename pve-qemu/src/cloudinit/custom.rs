// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts of the data that the administrator wrote by hand: the files that `cicustom` names.

use std::io;

use bstr::{BStr, BString};
use pve_config::guest::VmSection;
use pve_config::vm::CiCustom;

use super::{CloudInitType, GenerateError};

/// Largest custom file, in bytes.
pub const MAX_PART: usize = 1024 * 1024;

/// Contents that replace what would be generated. An empty file counts as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomParts {
    /// In place of the network configuration.
    pub network: Option<Vec<u8>>,
    /// In place of the user data.
    pub user: Option<Vec<u8>>,
    /// In place of the meta data.
    pub meta: Option<Vec<u8>>,
    /// In place of the empty vendor data.
    pub vendor: Option<Vec<u8>>,
}

/// Where snippets come from: a storage, or a map in tests.
pub trait SnippetSource {
    /// The content of a snippet. More than `limit` bytes of it are not wanted.
    ///
    /// # Errors
    /// `InvalidInput` where the volume is not of content type snippets, `FileTooLarge` where it has more than
    /// `limit` bytes (returning them is as good), everything else where it cannot be read.
    fn read(&mut self, volid: &BStr, limit: usize) -> io::Result<Vec<u8>>;
}

impl<F: FnMut(&BStr, usize) -> io::Result<Vec<u8>>> SnippetSource for F {
    fn read(&mut self, volid: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        self(volid, limit)
    }
}

impl CustomParts {
    /// Reads the files that a main section's `cicustom` names; nothing without that option, and nothing for
    /// OpenNebula, whose one file cannot be replaced.
    ///
    /// # Errors
    /// As [`CustomParts::read`].
    pub fn of_config(main: &VmSection<'_>, source: &mut impl SnippetSource) -> Result<Self, GenerateError> {
        let kind = main.get("citype").and_then(|word| CloudInitType::from_bytes(word));
        if kind == Some(CloudInitType::OpenNebula) {
            return Ok(CustomParts::default());
        }
        let volumes = main.get("cicustom").and_then(|value| CiCustom::parse(value).ok());
        CustomParts::read(volumes.unwrap_or_default(), source)
    }

    /// Reads the files, in the order network, user, meta, vendor.
    ///
    /// # Errors
    /// The first file that is no snippet, cannot be read, or is larger than [`MAX_PART`].
    pub fn read(volumes: CiCustom<'_>, source: &mut impl SnippetSource) -> Result<Self, GenerateError> {
        let mut part = |part: &'static str, volid: Option<&BStr>| {
            let Some(volid) = volid else { return Ok(None) };
            let place = || BString::from(volid);
            match source.read(volid, MAX_PART) {
                Ok(content) if content.len() > MAX_PART => {
                    Err(GenerateError::PartTooLarge { part, volid: place() })
                }
                Ok(content) => Ok(Some(content)),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    Err(GenerateError::NotASnippet { part, volid: place() })
                }
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    Err(GenerateError::PartTooLarge { part, volid: place() })
                }
                Err(source) => Err(GenerateError::Unreadable { part, volid: place(), source }),
            }
        };
        Ok(CustomParts {
            network: part("network", volumes.network)?,
            user: part("user", volumes.user)?,
            meta: part("meta", volumes.meta)?,
            vendor: part("vendor", volumes.vendor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bstr::ByteSlice;

    #[test]
    fn reads_in_order_and_stops_at_the_first_failure() {
        let mut asked = Vec::new();
        let mut source = |volid: &BStr, limit: usize| {
            asked.push(volid.to_string());
            match volid.as_bytes() {
                b"s:snippets/big" => Ok(vec![0; limit + 1]),
                b"s:images/1" => Err(io::ErrorKind::InvalidInput.into()),
                _ => Ok(Vec::new()),
            }
        };
        let volid = |text| Some(BStr::new(text));
        let volumes =
            CiCustom { network: volid("s:snippets/n"), user: volid("s:snippets/u"), ..Default::default() };
        let parts = CustomParts::read(volumes, &mut source).unwrap();
        assert_eq!((parts.network, parts.user, parts.meta), (Some(Vec::new()), Some(Vec::new()), None));
        let volumes =
            CiCustom { meta: volid("s:snippets/big"), vendor: volid("s:snippets/v"), ..Default::default() };
        let error = CustomParts::read(volumes, &mut source).unwrap_err();
        assert!(matches!(error, GenerateError::PartTooLarge { part: "meta", .. }), "{error}");
        let volumes = CiCustom { user: volid("s:images/1"), ..Default::default() };
        let error = CustomParts::read(volumes, &mut source).unwrap_err();
        assert!(matches!(error, GenerateError::NotASnippet { part: "user", .. }), "{error}");
        assert_eq!(asked, ["s:snippets/n", "s:snippets/u", "s:snippets/big", "s:images/1"]);
    }
}
