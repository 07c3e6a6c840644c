// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that really run: started, paused, saved, resumed and stopped, with a QEMU of the system and at most 26 bytes of an
//! operating system in them; and starts that go wrong.
//!
//! Without QEMU the tests say so and do nothing; with `PVE_TEST_SYSTEM=1` that is a failure.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default,
    reason = "a failed step fails the test"
)]

mod deaths;
mod ends;
mod failures;
mod ground;
mod hotplug;
mod life;
#[allow(dead_code, reason = "the tests of other operations need more of it")]
#[path = "../interrupted/mortal.rs"]
mod mortal;

use pve_qemu::power::Suspend;

/// A suspension that frees the host of the machine.
fn to_disk() -> Suspend<'static> {
    let mut suspend = Suspend::default();
    suspend.to_disk = true;
    suspend
}
