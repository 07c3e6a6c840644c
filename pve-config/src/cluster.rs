// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed property strings of storages, jobs and the data center: limits, retention, backup, remote hosts.

use bstr::BStr;
use pve_volid::Retention;

use crate::format::{Context, Scalar, is_falsy, numeric_value};
use crate::property::{Integer, Key, Lookup, Number, properties};
use crate::rule::{Reason, pattern};

properties! {
    /// Limits of transfers, KiB/s; 0 lifts the limit.
    ///
    /// ```
    /// let limits = pve_config::cluster::BwLimit::parse(b"restore=10240,default=51200").unwrap();
    /// assert_eq!(limits.restore.unwrap().get(), 10240.0);
    /// assert_eq!(limits.print().unwrap(), "default=51200,restore=10240");
    /// ```
    #[derive(Copy, Default)]
    pub struct BwLimit<'t>: BWLIMIT = "bwlimit" {
        /// Cloning disks.
        pub clone: Option<Number<'t>> = Key::number("clone").min(0.0),
        /// Everything that has no limit of its own.
        pub default: Option<Number<'t>> = Key::number("default").min(0.0),
        /// Migrating guests.
        pub migration: Option<Number<'t>> = Key::number("migration").min(0.0),
        /// Moving disks.
        pub r#move: Option<Number<'t>> = Key::number("move").min(0.0),
        /// Restoring guests from backups.
        pub restore: Option<Number<'t>> = Key::number("restore").min(0.0),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// Which backups are kept when others are pruned.
    #[derive(Copy, Default)]
    pub struct PruneBackups<'t>: PRUNE_BACKUPS = "prune-backups" {
        /// Keep all; excludes everything else.
        pub keep_all: Option<bool> = Key::boolean("keep-all"),
        /// Keep the last backup of each of so many days.
        pub keep_daily: Option<Integer<'t>> = Key::integer("keep-daily").min(0.0),
        /// Keep the last backup of each of so many hours.
        pub keep_hourly: Option<Integer<'t>> = Key::integer("keep-hourly").min(0.0),
        /// Keep the last so many backups.
        pub keep_last: Option<Integer<'t>> = Key::integer("keep-last").min(0.0),
        /// Keep the last backup of each of so many months.
        pub keep_monthly: Option<Integer<'t>> = Key::integer("keep-monthly").min(0.0),
        /// Keep the last backup of each of so many weeks.
        pub keep_weekly: Option<Integer<'t>> = Key::integer("keep-weekly").min(0.0),
        /// Keep the last backup of each of so many years.
        pub keep_yearly: Option<Integer<'t>> = Key::integer("keep-yearly").min(0.0),
    }
    registered: [];
    aliases: [];
    validator: validate_prune_backups;
}

/// The keys of [`PruneBackups`] that count backups.
const KEEP_COUNTS: [&str; 6] =
    ["keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"];

/// `keep-all` excludes every count above zero.
fn validate_prune_backups(lookup: Lookup<'_>, _: &Context<'_>) -> Result<(), (&'static str, Reason)> {
    let is_positive =
        |key: &&str| lookup(key).and_then(|value| numeric_value(value)).is_some_and(|n| n > 0.0);
    let keep_all = lookup("keep-all").is_some_and(|value| !is_falsy(value));
    if keep_all && KEEP_COUNTS.iter().any(is_positive) {
        return Err(("keep-all", Reason::KeepAll));
    }
    Ok(())
}

impl<'t> PruneBackups<'t> {
    /// What is kept in effect: everything, unless a count is above zero (spec: storage.cfg, "prune-backups").
    ///
    /// ```
    /// use pve_config::cluster::PruneBackups;
    ///
    /// let kept = PruneBackups::parse(b"keep-last=0").unwrap().effective();
    /// assert_eq!(kept.keep_all, Some(true));
    /// assert_eq!(kept.keep_last, None);
    /// ```
    #[must_use]
    pub fn effective(self) -> Self {
        let counts = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        if counts.iter().flatten().any(|count| count.as_f64() > 0.0) {
            return self;
        }
        PruneBackups { keep_all: Some(true), ..Self::default() }
    }

    /// The counts as numbers, for [`pve_volid::prune`]. A count that is too large for one keeps as many as there are.
    #[must_use]
    pub fn retention(self) -> Retention {
        let count = |count: Option<Integer<'_>>| match count {
            Some(count) => count.to().unwrap_or(if count.as_f64() > 0.0 { u64::MAX } else { 0 }),
            None => 0,
        };
        Retention {
            keep_all: self.keep_all == Some(true),
            keep_last: count(self.keep_last),
            keep_hourly: count(self.keep_hourly),
            keep_daily: count(self.keep_daily),
            keep_weekly: count(self.keep_weekly),
            keep_monthly: count(self.keep_monthly),
            keep_yearly: count(self.keep_yearly),
        }
    }
}

properties! {
    /// Copying of old data while a backup runs, to a storage of its own.
    #[derive(Copy, Default)]
    pub struct BackupFleecing<'t>: BACKUP_FLEECING = "backup-fleecing" {
        /// Use fleecing images.
        pub enabled: Option<bool> = Key::boolean("enabled").default_key().requires("storage"),
        /// Storage of the fleecing images.
        pub storage: Option<&'t BStr> = Key::scalar("storage", Scalar::StorageId),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// Speed of backups.
    #[derive(Copy, Default)]
    pub struct BackupPerformance<'t>: BACKUP_PERFORMANCE = "backup-performance" {
        /// Number of threads that read.
        pub max_workers: Option<Integer<'t>> = Key::integer("max-workers").min(1.0).max(256.0),
        /// Number of directory entries that are held in memory (containers to a backup server).
        pub pbs_entries_max: Option<Integer<'t>> = Key::integer("pbs-entries-max").min(1.0),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// Where the ids of new guests are looked for.
    #[derive(Copy, Default)]
    pub struct NextId<'t>: NEXT_ID = "next-id" {
        /// The smallest id, 100 if it is left out.
        pub lower: Option<Integer<'t>> = Key::integer("lower").min(100.0).max(999_999_999.0),
        /// The first id beyond, 1000000 if it is left out.
        pub upper: Option<Integer<'t>> = Key::integer("upper").min(100.0).max(1_000_000_000.0),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// How to reach another cluster.
    #[derive(Copy)]
    pub struct RemoteEndpoint<'t>: REMOTE_ENDPOINT = "proxmox-remote" {
        /// API token, with its secret.
        pub apitoken: &'t BStr = Key::string("apitoken").required(),
        /// SHA-256 fingerprint of the certificate.
        pub fingerprint: Option<&'t BStr> =
            Key::string("fingerprint").pattern(pattern!("([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")),
        /// Host name or address.
        pub host: &'t BStr = Key::string("host").required(),
        /// Port.
        pub port: Option<Integer<'t>> = Key::integer("port"),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// Where a node stands.
    #[derive(Copy, Default)]
    pub struct NodeLocation<'t>: NODE_LOCATION = "pve-node-location" {
        /// Degrees north of the equator.
        pub latitude: Option<Number<'t>> = Key::number("latitude").min(-90.0).max(90.0),
        /// Degrees east of Greenwich.
        pub longitude: Option<Number<'t>> = Key::number("longitude").min(-180.0).max(180.0),
        /// Name of the place.
        pub name: Option<&'t BStr> = Key::string("name").max_length(128),
    }
    registered: [];
    aliases: [];
}
