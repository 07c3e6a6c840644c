// SPDX-License-Identifier: MIT OR Apache-2.0
//! The topics that are covered: a file each, listed here.

use crate::Topic;

/// Every covered topic, in the order of their names.
pub(crate) const TOPICS: &[Topic] = &[];
