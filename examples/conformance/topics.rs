// SPDX-License-Identifier: MIT OR Apache-2.0
//! The topics that are covered: a file each, listed here.

mod property_string;
mod storage_entry;
mod volume_names;

use crate::Topic;

/// Every covered topic, in the order of their names.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "PROPERTY_STRING", run: property_string::run },
    Topic { name: "VOLUME_NAMES", run: volume_names::run },
];
