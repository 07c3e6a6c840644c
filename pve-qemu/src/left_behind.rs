// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operation could not remove from a storage.

use std::fmt;

use bstr::BString;

use crate::node::WorldError;

/// Something on a storage that an operation could not remove. Printed, it comes with the reason.
#[derive(Debug)]
#[non_exhaustive]
pub struct LeftBehind {
    /// The volume.
    pub volume: BString,
    /// The snapshot of it, if not the volume as a whole.
    pub snapshot: Option<BString>,
    /// Why it could not be removed.
    pub error: WorldError,
}

impl LeftBehind {
    /// A whole volume.
    pub(crate) fn volume(volume: impl Into<BString>, error: WorldError) -> Self {
        LeftBehind { volume: volume.into(), snapshot: None, error }
    }
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.snapshot {
            write!(f, "snapshot {name} of ")?;
        }
        write!(f, "{} could not be removed: {}", self.volume, self.error)
    }
}

/// What is left, as the rest of a sentence.
pub(crate) fn and_left(left: &[LeftBehind]) -> String {
    left.iter().map(|left| format!("; {left}; remove it by hand")).collect()
}
