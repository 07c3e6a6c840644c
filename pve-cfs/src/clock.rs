// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the time comes from: the system, or a test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A clock in whole seconds since the epoch.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> u64;
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// A clock that shows what it was set to.
///
/// ```
/// use pve_cfs::clock::{Clock, ManualClock};
/// let clock = ManualClock::new(1_700_000_000);
/// clock.set(1_700_000_121);
/// assert_eq!(clock.now(), 1_700_000_121);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `time`.
    pub const fn new(time: u64) -> Self {
        Self(AtomicU64::new(time))
    }

    /// Lets it show `time`.
    pub fn set(&self, time: u64) {
        self.0.store(time, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
