// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bandwidth limit of an operation on storages. (spec: storage-cfg, "Bandwidth limit")

use super::config::StorageConfig;
use super::entry::UnusableStorage;
use crate::cluster::BwLimit;

/// An operation that has a limit of its own in `bwlimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitedOperation {
    /// Restoring guests from backups.
    Restore,
    /// Migrating guests.
    Migration,
    /// Cloning disks.
    Clone,
    /// Moving disks.
    Move,
}

impl LimitedOperation {
    /// The key in `bwlimit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitedOperation::Restore => "restore",
            LimitedOperation::Migration => "migration",
            LimitedOperation::Clone => "clone",
            LimitedOperation::Move => "move",
        }
    }

    /// The operation with this key.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let all = [Self::Restore, Self::Migration, Self::Clone, Self::Move];
        all.into_iter().find(|operation| operation.as_str().as_bytes() == text)
    }

    /// The limit for this operation, in KiB/s; 0 is none.
    #[must_use]
    pub fn limit(self, limits: &BwLimit<'_>) -> Option<f64> {
        let own = match self {
            LimitedOperation::Restore => limits.restore,
            LimitedOperation::Migration => limits.migration,
            LimitedOperation::Clone => limits.clone,
            LimitedOperation::Move => limits.r#move,
        };
        own.or(limits.default).map(|number| number.get())
    }
}

/// Who asks for a limit, and what they may do.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Privileges<'p> {
    /// Whether they may administer a storage.
    pub may_administer: &'p dyn Fn(&[u8]) -> bool,
    /// Whether they may change the options of the cluster.
    pub may_change_cluster: bool,
}

impl<'p> Privileges<'p> {
    /// Somebody who may administer the storages that the function tells, and perhaps change the cluster's options.
    #[must_use]
    pub fn new(may_administer: &'p dyn Fn(&[u8]) -> bool, may_change_cluster: bool) -> Self {
        Privileges { may_administer, may_change_cluster }
    }

    /// Somebody who may do nothing of that.
    #[must_use]
    pub fn none() -> Self {
        Privileges { may_administer: &|_| false, may_change_cluster: false }
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'t> {
    /// The operation.
    pub operation: LimitedOperation,
    /// The storages that take part; repetitions count once.
    pub storages: &'t [&'t [u8]],
    /// The limit that was asked for, in KiB/s; 0 is none.
    pub requested: Option<f64>,
}

impl StorageConfig<'_> {
    /// The limit for an operation, in KiB/s: the least of those that the storages and the cluster set, unless the
    /// caller asked for one and may override them. `None` and 0 both mean that there is none.
    ///
    /// A quirk of the reference is kept: a limit of 0 in the configuration beats any other that was asked for, and a
    /// following one beats that 0 again.
    ///
    /// ```
    /// use pve_config::cluster::BwLimit;
    /// use pve_config::storage::{LimitedOperation, Privileges, StorageConfig, Transfer};
    ///
    /// let config = StorageConfig::parse(b"dir: fast\n\tpath /f\n\tbwlimit move=1000\n\ndir: slow\n\tpath /s\n");
    /// let cluster = BwLimit::parse(b"default=500").unwrap();
    /// let limit = |storages| {
    ///     let transfer = Transfer { operation: LimitedOperation::Move, storages, requested: None };
    ///     config.bandwidth_limit(transfer, Privileges::none(), Some(&cluster)).unwrap()
    /// };
    /// assert_eq!(limit(&[b"fast"]), Some(1000.0));
    /// assert_eq!(limit(&[b"fast", b"slow"]), Some(500.0));
    /// ```
    ///
    /// # Errors
    /// [`UnusableStorage::NotFound`].
    pub fn bandwidth_limit(
        &self,
        transfer: Transfer<'_>,
        privileges: Privileges<'_>,
        cluster: Option<&BwLimit<'_>>,
    ) -> Result<Option<f64>, UnusableStorage> {
        let Transfer { operation, storages, requested } = transfer;
        let may_administer = privileges.may_administer;
        let mut limit = requested;
        let mut use_cluster = storages.is_empty();
        let mut apply = |limits: Option<&BwLimit<'_>>| match limits.and_then(|limits| operation.limit(limits))
        {
            Some(value) => {
                if limit.is_none_or(|limit| limit == 0.0 || value < limit) {
                    limit = Some(value);
                }
                true
            }
            None => false,
        };
        if requested.is_some() && !storages.is_empty() && storages.iter().all(|id| may_administer(id)) {
            return Ok(requested);
        }
        for (at, id) in storages.iter().enumerate() {
            let is_repeated = storages.iter().take(at).any(|earlier| earlier == id);
            if is_repeated || (requested.is_some() && may_administer(id)) {
                continue;
            }
            let storage = self.get(id).ok_or_else(|| UnusableStorage::NotFound { id: (*id).into() })?;
            use_cluster |= !apply(storage.bwlimit().as_ref());
        }
        if use_cluster && !(requested.is_some() && privileges.may_change_cluster) {
            apply(cluster);
        }
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"dir: sa\n\tpath /a\n\tbwlimit migration=70,default=0\n\ndir: sb\n\tpath /b\n\tbwlimit default=100\n\n\
        dir: sc\n\tpath /c\n";

    fn limit(
        operation: LimitedOperation,
        storages: &[&[u8]],
        requested: Option<f64>,
        may: bool,
    ) -> Option<f64> {
        let config = StorageConfig::parse(TEXT);
        let cluster = BwLimit::parse(b"clone=5,restore=200").unwrap();
        let privileges = Privileges::new(if may { &|_| true } else { &|_| false }, may);
        config
            .bandwidth_limit(Transfer { operation, storages, requested }, privileges, Some(&cluster))
            .unwrap()
    }

    #[test]
    fn the_least_limit_counts_and_zero_is_strange() {
        use LimitedOperation::{Clone, Migration, Move, Restore};
        assert_eq!(limit(Migration, &[b"sa", b"sb"], None, false), Some(70.0));
        assert_eq!(limit(Restore, &[b"sa"], Some(1000.0), false), Some(0.0));
        assert_eq!(limit(Restore, &[b"sa", b"sb"], Some(1000.0), false), Some(100.0));
        assert_eq!(limit(Clone, &[b"sb", b"sc"], None, false), Some(5.0));
        assert_eq!(limit(Move, &[b"sc"], Some(15.0), false), Some(15.0));
        assert_eq!(limit(Move, &[], None, false), None);
    }

    #[test]
    fn who_may_administer_gets_what_is_asked_for() {
        use LimitedOperation::{Clone, Migration};
        assert_eq!(limit(Migration, &[b"sa", b"sb"], Some(1000.0), true), Some(1000.0));
        assert_eq!(limit(Migration, &[b"sa", b"sb"], None, true), Some(70.0));
        assert_eq!(limit(Clone, &[], Some(9.0), true), Some(9.0));
        assert_eq!(limit(Clone, &[], Some(9.0), false), Some(5.0));
    }
}
