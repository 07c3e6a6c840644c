// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long commands may take (spec: vm-lifecycle, "QMP time-outs").

use std::time::Duration;

/// Commands that take longer than others, by their name or its beginning; the first line that fits counts.
const TABLE: &[(u64, &[&str], Match)] = &[
    (
        3600,
        &[
            "query-migrate",
            "guest-fsfreeze-freeze",
            "blockdev-snapshot-internal-sync",
            "blockdev-snapshot-delete-internal-sync",
        ],
        Match::Name,
    ),
    (
        600,
        &[
            "backup-cancel",
            "block-commit",
            "block-export-del",
            "block-stream",
            "blockdev-del",
            "blockdev-mirror",
            "blockdev-remove-medium",
            "blockdev-reopen",
            "block-job-cancel",
            "job-complete",
            "drive-mirror",
            "guest-fstrim",
            "guest-shutdown",
            "query-backup",
            "query-block-jobs",
            "query-savevm",
            "savevm-end",
            "savevm-start",
        ],
        Match::Name,
    ),
    (180, &["guest-fsfreeze-thaw"], Match::Name),
    (
        60,
        &[
            "blockdev-add",
            "blockdev-insert-medium",
            "block-export-add",
            "device_add",
            "device_del",
            "netdev_add",
            "netdev_del",
            "object-add",
            "object-del",
            "quit",
        ],
        Match::Name,
    ),
    (60, &["eject", "change"], Match::Beginning),
];

/// What everything else may take, in seconds.
const OTHERS: u64 = 5;

/// What must fit.
#[derive(PartialEq)]
enum Match {
    Name,
    Beginning,
}

/// How long a command may take if nobody says otherwise; commands of the guest agent are in the same table.
///
/// ```
/// use pve_qemu::qmp::patience;
///
/// assert_eq!(patience("query-status").as_secs(), 5);
/// assert_eq!(patience("device_del").as_secs(), 60);
/// assert_eq!(patience("guest-fsfreeze-freeze").as_secs(), 3600);
/// ```
#[must_use]
pub fn patience(command: &str) -> Duration {
    let fits = |names: &[&str], kind: &Match| match kind {
        Match::Name => names.contains(&command),
        Match::Beginning => names.iter().any(|name| command.starts_with(name)),
    };
    let line = TABLE.iter().find(|(_, names, kind)| fits(names, kind));
    Duration::from_secs(line.map_or(OTHERS, |(seconds, ..)| *seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_but_for_two() {
        let seconds = |command| patience(command).as_secs();
        assert_eq!(seconds("quit"), 60);
        assert_eq!(seconds("quit-now"), 5);
        assert_eq!(seconds("change-backing-file"), 60);
        assert_eq!(seconds("eject"), 60);
        assert_eq!(seconds("guest-fsfreeze-thaw"), 180);
        assert_eq!(seconds("guest-fsfreeze-status"), 5);
        assert_eq!(seconds("blockdev-mirror"), 600);
        assert_eq!(seconds("query-migrate"), 3600);
    }
}
