// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which backups of a guest are kept (spec: volumes, "Pruning").

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;
use crate::{ArchiveName, BackupType, CivilTime, LocalZone, VmId};

/// How many backups of each guest to keep: the counts of `prune-backups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Retention {
    /// Keep everything, whatever the counts say.
    pub keep_all: bool,
    /// The newest.
    pub keep_last: u64,
    /// One of each of so many hours that have a backup.
    pub keep_hourly: u64,
    /// One of each of so many days.
    pub keep_daily: u64,
    /// One of each of so many weeks (ISO 8601: they begin on Monday).
    pub keep_weekly: u64,
    /// One of each of so many months.
    pub keep_monthly: u64,
    /// One of each of so many years.
    pub keep_yearly: u64,
}

impl Retention {
    /// Whether nothing is ever removed: asked for, or no count is above 0.
    #[must_use]
    pub fn keeps_everything(&self) -> bool {
        self.keep_all || self.rules().iter().all(|(count, _)| *count == 0)
    }

    /// The rules in the order in which they choose.
    fn rules(&self) -> [(u64, Period); 6] {
        [
            (self.keep_last, Period::Instant),
            (self.keep_hourly, Period::Hour),
            (self.keep_daily, Period::Day),
            (self.keep_weekly, Period::Week),
            (self.keep_monthly, Period::Month),
            (self.keep_yearly, Period::Year),
        ]
    }
}

/// A backup as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PruneCandidate {
    /// The guest; none for an archive that has no standard name.
    pub group: Option<(BackupType, VmId)>,
    /// When the backup was made, seconds since 1970.
    pub ctime: i64,
    /// Whether it is protected from removal.
    pub protected: bool,
}

impl PruneCandidate {
    /// The candidate for a file: guest and time are those in its name if it is a standard name, else it has no guest,
    /// and its time is `changed`, when the file last changed (seconds since 1970). Not protected.
    #[must_use]
    pub fn of(archive: Option<&ArchiveName<'_>>, changed: i64, zone: &impl LocalZone) -> Self {
        let named = archive.and_then(|archive| {
            let standard = archive.standard?;
            Some(((archive.guest, standard.vmid), zone.epoch(standard.time)?))
        });
        match named {
            Some((group, ctime)) => PruneCandidate { group: Some(group), ctime, protected: false },
            None => PruneCandidate { group: None, ctime: changed, protected: false },
        }
    }
}

text_enum! {
    /// What becomes of a backup.
    pub enum PruneMark: "prune mark" {
        /// A rule keeps it.
        Keep = "keep",
        /// No rule keeps it: it is to be removed.
        Remove = "remove",
        /// It is protected: never removed, and no rule counts it.
        Protected = "protected",
        /// It has no standard name: never removed, and no rule counts it.
        Renamed = "renamed",
    }
}

/// Chooses what to keep: a mark for each of `backups`, in their order. Of backups of the same guest with the same time
/// the earlier in the list goes first. Hours, days, weeks … are those of `zone`.
///
/// ```
/// use pve_volid::{BackupType, FixedOffset, PruneCandidate, PruneMark, Retention, VmId, prune};
///
/// let backup = |ctime| PruneCandidate { group: Some((BackupType::Qemu, VmId::MIN)), ctime, protected: false };
/// let backups = [backup(1_700_000_000), backup(1_700_003_600), backup(1_700_086_400)];
/// let retention = Retention { keep_daily: 2, ..Retention::default() };
/// let marks = prune(&backups, &retention, &FixedOffset::UTC);
/// assert_eq!(marks, [PruneMark::Remove, PruneMark::Keep, PruneMark::Keep]);
/// ```
#[must_use]
pub fn prune(backups: &[PruneCandidate], retention: &Retention, zone: &impl LocalZone) -> Vec<PruneMark> {
    let mut groups: BTreeMap<(BackupType, VmId), Vec<usize>> = BTreeMap::new();
    let mut marks: Vec<Option<PruneMark>> = Vec::with_capacity(backups.len());
    for (index, backup) in backups.iter().enumerate() {
        marks.push(match backup.group {
            _ if backup.protected => Some(PruneMark::Protected),
            None => Some(PruneMark::Renamed),
            Some(group) => {
                groups.entry(group).or_default().push(index);
                None
            }
        });
    }
    let rest = if retention.keeps_everything() {
        PruneMark::Keep
    } else {
        for members in groups.values() {
            choose(backups, members, retention, zone, &mut marks);
        }
        PruneMark::Remove
    };
    marks.into_iter().map(|mark| mark.unwrap_or(rest)).collect()
}

/// Marks the members of one group; what no rule touches stays without a mark.
fn choose(
    backups: &[PruneCandidate],
    members: &[usize],
    retention: &Retention,
    zone: &impl LocalZone,
    marks: &mut [Option<PruneMark>],
) {
    let mut newest_first: Vec<(usize, i64, Option<CivilTime>)> = members
        .iter()
        .filter_map(|index| {
            backups.get(*index).map(|backup| (*index, backup.ctime, zone.civil(backup.ctime)))
        })
        .collect();
    newest_first.sort_by_key(|(_, ctime, _)| std::cmp::Reverse(*ctime));
    for (count, period) in retention.rules().into_iter().filter(|(count, _)| *count > 0) {
        let id = |(_, ctime, civil): &(usize, i64, Option<CivilTime>)| period.id(*ctime, *civil);
        let kept = |(index, ..): &(usize, i64, Option<CivilTime>)| {
            marks.get(*index).is_some_and(|mark| *mark == Some(PruneMark::Keep))
        };
        let covered: HashSet<_> = newest_first.iter().filter(|entry| kept(entry)).map(id).collect();
        let mut taken = HashSet::new();
        for entry in &newest_first {
            let id = id(entry);
            let Some(mark) = marks.get_mut(entry.0).filter(|mark| mark.is_none()) else { continue };
            if covered.contains(&id) {
                continue;
            }
            if taken.contains(&id) {
                *mark = Some(PruneMark::Remove);
            } else if u64::try_from(taken.len()).is_ok_and(|taken| taken >= count) {
                break;
            } else {
                taken.insert(id);
                *mark = Some(PruneMark::Keep);
            }
        }
    }
}

/// The stretch of time of which a rule keeps one backup.
#[derive(Clone, Copy)]
enum Period {
    Instant,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// Two backups have the same id if they lie in the same stretch. Where the zone does not know the local time (years
    /// beyond 9999), every instant is a stretch of its own.
    fn id(self, ctime: i64, civil: Option<CivilTime>) -> [i64; 4] {
        let Some(time) = civil else { return [ctime, -1, -1, -1] };
        let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
        match self {
            Period::Instant => [ctime, 0, 0, 0],
            Period::Hour => [year, month, day, i64::from(time.hour())],
            Period::Day => [year, month, day, 0],
            Period::Week => {
                let (year, week) = time.iso_week();
                [i64::from(year), i64::from(week), 0, 0]
            }
            Period::Month => [year, month, 0, 0],
            Period::Year => [year, 0, 0, 0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FixedOffset;

    const GUEST: (BackupType, VmId) = (BackupType::Qemu, VmId::MIN);

    fn marks(ctimes: &[i64], retention: Retention) -> String {
        let backups: Vec<_> = ctimes
            .iter()
            .map(|ctime| PruneCandidate { group: Some(GUEST), ctime: *ctime, protected: false })
            .collect();
        let mark = |mark: &PruneMark| mark.as_str().chars().next().unwrap();
        prune(&backups, &retention, &FixedOffset::UTC).iter().map(mark).collect()
    }

    #[test]
    fn without_a_count_everything_is_kept() {
        assert_eq!(marks(&[1, 2, 3], Retention::default()), "kkk");
        assert_eq!(marks(&[1, 2], Retention { keep_all: true, keep_last: 1, ..Retention::default() }), "kk");
    }

    #[test]
    fn a_later_rule_starts_where_earlier_rules_ended() {
        let day = 86_400;
        let ctimes: Vec<i64> = (0..6).map(|n| n * day).collect();
        assert_eq!(marks(&ctimes, Retention { keep_last: 2, ..Retention::default() }), "rrrrkk");
        let both = Retention { keep_last: 2, keep_daily: 2, ..Retention::default() };
        assert_eq!(marks(&ctimes, both), "rrkkkk");
    }

    #[test]
    fn of_the_same_instant_one_is_kept() {
        assert_eq!(marks(&[5, 5, 4], Retention { keep_last: 2, ..Retention::default() }), "krk");
    }

    #[test]
    fn protected_and_renamed_ones_take_no_part() {
        let backup = |group, ctime, protected| PruneCandidate { group, ctime, protected };
        let backups = [
            backup(Some(GUEST), 3, true),
            backup(None, 2, false),
            backup(None, 2, true),
            backup(Some(GUEST), 1, false),
            backup(Some((BackupType::Lxc, VmId::MIN)), 0, false),
            backup(Some(GUEST), 0, false),
        ];
        let retention = Retention { keep_last: 1, ..Retention::default() };
        use PruneMark::{Keep, Protected, Remove, Renamed};
        assert_eq!(
            prune(&backups, &retention, &FixedOffset::UTC),
            [Protected, Renamed, Protected, Keep, Keep, Remove]
        );
    }
}
