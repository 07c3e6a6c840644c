// SPDX-License-Identifier: MIT OR Apache-2.0
//! The topics that are covered: a file each, listed here.

mod storage_entry;
mod volume_names;

use crate::Topic;

/// Every covered topic, in the order of their names.
pub(crate) const TOPICS: &[Topic] = &[Topic { name: "VOLUME_NAMES", run: volume_names::run }];
