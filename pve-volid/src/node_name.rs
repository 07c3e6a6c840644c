// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of cluster nodes.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::IdError;

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

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::check(text.as_bytes()).map(|text| NodeName(text.into()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for NodeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::serde_text::from_str(deserializer)
    }
}

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
