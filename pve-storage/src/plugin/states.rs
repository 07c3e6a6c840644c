// SPDX-License-Identifier: MIT OR Apache-2.0
//! The states of [`VolumeState`] by the letters of the specification (spec: volumes, "Capabilities").

use crate::features::VolumeState::{self, Base as B, Current as C, Snapshot as S};

pub(super) const CURRENT: &[VolumeState] = &[C];
pub(super) const BASE: &[VolumeState] = &[B];
pub(super) const SNAPSHOT: &[VolumeState] = &[S];
pub(super) const CURRENT_SNAPSHOT: &[VolumeState] = &[C, S];
pub(super) const BASE_CURRENT: &[VolumeState] = &[B, C];
pub(super) const BASE_SNAPSHOT: &[VolumeState] = &[B, S];
pub(super) const ALL: &[VolumeState] = &[B, C, S];
