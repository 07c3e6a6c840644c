// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of cluster nodes.

use crate::IdError;
use crate::text_id::text_id;

/// The name of a cluster node: one label of a DNS name (spec: named formats, `pve-node`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// Checks `text` without copying it and gives it back as text.
    ///
    /// # Errors
    /// [`IdError::NodeName`] if it is not a node name.
    pub fn check(text: &[u8]) -> Result<&str, IdError> {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let good = ends(text.first()) && ends(text.last()) && text.iter().all(inner);
        std::str::from_utf8(text).ok().filter(|_| good).ok_or_else(|| IdError::NodeName(text.into()))
    }

    /// Checks `text` and copies it.
    ///
    /// # Errors
    /// [`IdError::NodeName`] if it is not a node name.
    pub fn from_bytes(text: &[u8]) -> Result<Self, IdError> {
        Self::check(text).map(|text| NodeName(text.into()))
    }
}

text_id!(NodeName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_dns_label() {
        for good in ["pve1", "a", "0", "n-1", "N--2"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "a.b", "a_b", "ä", "a b", "a\n"] {
            assert_eq!(bad.parse::<NodeName>(), Err(IdError::NodeName(bad.into())));
        }
    }
}
