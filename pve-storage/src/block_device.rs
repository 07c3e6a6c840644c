// SPDX-License-Identifier: MIT OR Apache-2.0
//! How QEMU is told where a volume is: a block driver with its options.

use std::borrow::Cow;

use bstr::{BString, ByteSlice};
use serde::ser::{SerializeMap, Serializer};
use serde::{Serialize, ser::SerializeSeq};

/// A value of a block driver's option.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockValue {
    /// Text; most things, ports too.
    Text(BString),
    /// A number.
    Integer(u64),
    /// Several values.
    List(Vec<BlockValue>),
    /// Named values.
    Object(Vec<(Cow<'static, str>, BlockValue)>),
}

impl<T: AsRef<[u8]>> From<T> for BlockValue {
    fn from(text: T) -> Self {
        BlockValue::Text(text.as_ref().into())
    }
}

/// A block driver of QEMU with the options that lead it to a volume (spec: volumes, "QEMU block device description").
///
/// Serialised, it is the JSON object that QEMU's `-blockdev` takes, without `node-name` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    driver: Cow<'static, str>,
    options: Vec<(Cow<'static, str>, BlockValue)>,
}

/// The options that a plugin may set, a row for each driver.
const ALLOWED: &[(&str, &[&str])] = &[
    ("file", &["filename"]),
    ("host_device", &["filename"]),
    ("iscsi", &["transport", "portal", "target", "lun", "initiator-name", "header-digest", "timeout"]),
    ("nbd", &["server", "export", "reconnect-delay", "open-timeout"]),
    (
        "rbd",
        &[
            "pool",
            "namespace",
            "image",
            "conf",
            "snapshot",
            "encrypt",
            "user",
            "auth-client-required",
            "server",
        ],
    ),
];

impl BlockDevice {
    /// A driver without options.
    #[must_use]
    pub fn new(driver: impl Into<Cow<'static, str>>) -> Self {
        BlockDevice { driver: driver.into(), options: Vec::new() }
    }

    /// A file or device at a path.
    #[must_use]
    pub fn at_path(driver: &'static str, path: impl AsRef<[u8]>) -> Self {
        Self::new(driver).with("filename", path.as_ref())
    }

    /// The same with an option more.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<BlockValue>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// The same with a numeric option more.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, value: u64) -> Self {
        self.options.push((name.into(), BlockValue::Integer(value)));
        self
    }

    /// The driver's name.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The options in the order in which they were set.
    #[must_use]
    pub fn options(&self) -> &[(Cow<'static, str>, BlockValue)] {
        &self.options
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&BlockValue> {
        self.options.iter().find(|(option, _)| option == name).map(|(_, value)| value)
    }

    /// Drops the options which are not on the list of the driver and returns their names; a driver without list
    /// keeps none.
    pub fn restrict(&mut self) -> Vec<String> {
        let driver = self.driver.as_ref();
        let allowed =
            ALLOWED.iter().find(|(name, _)| *name == driver).map_or(&[][..], |(_, options)| options);
        let mut dropped = Vec::new();
        self.options.retain(|(name, _)| {
            let keep = allowed.contains(&name.as_ref());
            if !keep {
                dropped.push(name.clone().into_owned());
            }
            keep
        });
        dropped
    }
}

impl Serialize for BlockDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.options.len() + 1))?;
        map.serialize_entry("driver", &self.driver)?;
        for (name, value) in &self.options {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for BlockValue {
    /// Text that is not UTF-8 is written with replacement characters: QEMU's JSON cannot carry it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            BlockValue::Text(text) => serializer.serialize_str(&text.to_str_lossy()),
            BlockValue::Integer(number) => serializer.serialize_u64(*number),
            BlockValue::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(value)?;
                }
                list.end()
            }
            BlockValue::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlisted_options_are_dropped() {
        let mut device = BlockDevice::at_path("file", "/x").with("locking", "off");
        assert_eq!(device.restrict(), ["locking"]);
        assert_eq!(device, BlockDevice::at_path("file", "/x"));
        let mut foreign = BlockDevice::new("weird").with("a", "b");
        assert_eq!(foreign.restrict(), ["a"]);
    }
}
