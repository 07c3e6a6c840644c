// SPDX-License-Identifier: MIT OR Apache-2.0
//! The option `lock`: an operation in progress that keeps others away.

use bstr::{BStr, BString};

use super::{Config, Guest};

/// The lock is not as an operation needs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another operation has locked the guest.
    #[error(
        "the guest is locked ({lock}); wait for the operation to end, or unlock the guest if it has died"
    )]
    Locked {
        /// Value of the option.
        lock: BString,
    },
    /// The lock that was to be taken away is not there.
    #[error("the guest is not locked ({wanted})")]
    NotLocked {
        /// The lock that was expected.
        wanted: BString,
    },
    /// Another lock is there than the one that was to be taken away.
    #[error("the guest is locked by another operation ({lock}, not {wanted})")]
    OtherLock {
        /// Value of the option.
        lock: BString,
        /// The lock that was expected.
        wanted: BString,
    },
}

/// A lock is an option of the main section that counts as true (spec: qemu-conf, "Internal keys").
///
/// ```
/// use pve_config::guest::{LockError, VmConfig};
///
/// let mut config = VmConfig::new();
/// config.set_lock("backup")?;
/// assert!(config.has_lock("backup"));
/// assert!(matches!(config.require_unlocked(), Err(LockError::Locked { .. })));
/// assert!(matches!(config.remove_lock(Some("migrate")), Err(LockError::OtherLock { .. })));
/// config.remove_lock(Some("backup"))?;
/// config.require_unlocked()?;
/// # Ok::<(), LockError>(())
/// ```
impl<G: Guest> Config<'_, G> {
    /// Whether the guest has this lock.
    #[must_use]
    pub fn has_lock<L: AsRef<[u8]>>(&self, lock: L) -> bool {
        self.main.lock() == Some(BStr::new(lock.as_ref()))
    }

    /// That the guest is not locked.
    ///
    /// # Errors
    ///
    /// [`LockError::Locked`]
    pub fn require_unlocked(&self) -> Result<(), LockError> {
        self.main.lock().map_or(Ok(()), |lock| Err(LockError::Locked { lock: lock.to_owned() }))
    }

    /// Locks the guest.
    ///
    /// # Errors
    ///
    /// [`LockError::Locked`], even by the same lock.
    pub fn set_lock<L: Into<BString>>(&mut self, lock: L) -> Result<(), LockError> {
        self.require_unlocked()?;
        self.main.set("lock", lock);
        Ok(())
    }

    /// Takes the lock away: whatever it is, or the one that is expected.
    ///
    /// # Errors
    ///
    /// [`LockError::NotLocked`] or [`LockError::OtherLock`] if one is expected and not there.
    pub fn remove_lock(&mut self, wanted: Option<&str>) -> Result<(), LockError> {
        if let Some(wanted) = wanted.map(BStr::new) {
            match self.main.lock() {
                None => return Err(LockError::NotLocked { wanted: wanted.to_owned() }),
                Some(lock) if lock != wanted => {
                    return Err(LockError::OtherLock { lock: lock.to_owned(), wanted: wanted.to_owned() });
                }
                Some(_) => {}
            }
        }
        self.main.remove("lock");
        Ok(())
    }
}
