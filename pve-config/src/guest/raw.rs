// SPDX-License-Identifier: MIT OR Apache-2.0
//! The raw keys of containers (`lxc.…`), which are handed through to LXC: which ones the reference accepts.

use bstr::BStr;

use crate::suggestion::nearest;

/// The raw key whose values become `env` instead of being kept as raw keys.
pub(super) const RUNTIME_ENVIRONMENT: &str = "lxc.environment.runtime";

/// What the reference says to a raw key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing.
    Accepted,
    /// It warns and keeps the line, also in strict mode.
    Deprecated(&'static str),
    /// It reports an error and drops the line.
    Rejected(&'static str),
}

/// Judges a raw key (spec: lxc-conf, "Raw keys").
pub(super) fn judge(key: &BStr) -> Judgement {
    let among = |names: &[&str]| names.binary_search_by(|name| name.as_bytes().cmp(key)).is_ok();
    if key.starts_with(b"lxc.limit.") {
        Judgement::Deprecated("lxc.limit.* is deprecated; use lxc.prlimit.*")
    } else if among(DEPRECATED) {
        Judgement::Deprecated("the raw key is deprecated and has another name in current LXC")
    } else if among(ACCEPTED) {
        Judgement::Accepted
    } else if among(OWNED) {
        Judgement::Rejected("the root file system is set by the option rootfs; the line is dropped")
    } else if key.starts_with(b"lxc.cgroup.") {
        Judgement::Deprecated("lxc.cgroup.* has no effect on hosts with cgroup v2; use lxc.cgroup2.*")
    } else if PREFIXES.iter().any(|prefix| key.starts_with(prefix.as_bytes())) {
        Judgement::Accepted
    } else {
        Judgement::Rejected("not a raw key that the reference knows; the line is dropped")
    }
}

/// A remedy for a key that was not simply accepted.
pub(super) fn help(key: &BStr) -> Option<String> {
    if judge(key) != judge(BStr::new("lxc.")) {
        return None;
    }
    nearest(key, ACCEPTED.iter().copied()).map(|name| format!("did you mean {name:?}?"))
}

/// Names that are accepted, sorted.
const ACCEPTED: &[&str] = &[
    "lxc.apparmor.allow_incomplete",
    "lxc.apparmor.allow_nesting",
    "lxc.apparmor.profile",
    "lxc.apparmor.raw",
    "lxc.arch",
    "lxc.autodev",
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.console.logfile",
    "lxc.console.path",
    "lxc.devtty.dir",
    "lxc.environment",
    "lxc.environment.hooks",
    "lxc.environment.runtime",
    "lxc.group",
    "lxc.hook.autodev",
    "lxc.hook.clone",
    "lxc.hook.destroy",
    "lxc.hook.mount",
    "lxc.hook.post-stop",
    "lxc.hook.pre-mount",
    "lxc.hook.pre-start",
    "lxc.hook.start",
    "lxc.hook.stop",
    "lxc.hook.version",
    "lxc.idmap",
    "lxc.include",
    "lxc.init.cmd",
    "lxc.init.cwd",
    "lxc.init.gid",
    "lxc.init.groups",
    "lxc.init.uid",
    "lxc.kmsg",
    "lxc.log.file",
    "lxc.log.level",
    "lxc.mount.auto",
    "lxc.mount.entry",
    "lxc.mount.fstab",
    "lxc.pty.max",
    "lxc.rootfs.mount",
    "lxc.seccomp.notify.cookie",
    "lxc.seccomp.notify.proxy",
    "lxc.seccomp.profile",
    "lxc.selinux.context",
    "lxc.signal.halt",
    "lxc.signal.reboot",
    "lxc.signal.stop",
    "lxc.start.auto",
    "lxc.start.delay",
    "lxc.start.order",
    "lxc.sysctl.fs.mqueue",
    "lxc.sysctl.kernel.msgmax",
    "lxc.sysctl.kernel.msgmnb",
    "lxc.sysctl.kernel.msgmni",
    "lxc.sysctl.kernel.sem",
    "lxc.sysctl.kernel.shm_rmid_forced",
    "lxc.sysctl.kernel.shmall",
    "lxc.sysctl.kernel.shmmax",
    "lxc.sysctl.kernel.shmmni",
    "lxc.tty.max",
    "lxc.uts.name",
];

/// Beginnings of names that are accepted.
const PREFIXES: &[&str] = &["lxc.cgroup2.", "lxc.net.", "lxc.prlimit."];

/// Names that are accepted with a warning, sorted.
const DEPRECATED: &[&str] = &[
    "lxc.aa_allow_incomplete",
    "lxc.aa_profile",
    "lxc.console",
    "lxc.devttydir",
    "lxc.haltsignal",
    "lxc.id_map",
    "lxc.init_cmd",
    "lxc.logfile",
    "lxc.loglevel",
    "lxc.mount",
    "lxc.network.flags",
    "lxc.network.hwaddr",
    "lxc.network.ipv4",
    "lxc.network.ipv4.gateway",
    "lxc.network.ipv6",
    "lxc.network.ipv6.gateway",
    "lxc.network.link",
    "lxc.network.mtu",
    "lxc.network.name",
    "lxc.network.script.down",
    "lxc.network.script.up",
    "lxc.network.type",
    "lxc.pts",
    "lxc.rebootsignal",
    "lxc.se_context",
    "lxc.seccomp",
    "lxc.stopsignal",
    "lxc.tty",
    "lxc.utsname",
];

/// Names that are rejected because an option stands for them, sorted.
const OWNED: &[&str] = &["lxc.rootfs.options", "lxc.rootfs.path"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for table in [ACCEPTED, DEPRECATED, OWNED] {
            assert!(table.is_sorted());
        }
    }

    #[test]
    fn judgements() {
        let judge = |key: &'static str| judge(key.into());
        assert_eq!(judge("lxc.cap.drop"), Judgement::Accepted);
        assert_eq!(judge("lxc.cgroup2.memory.max"), Judgement::Accepted);
        assert!(matches!(judge("lxc.cgroup.memory"), Judgement::Deprecated(_)));
        assert!(matches!(judge("lxc.utsname"), Judgement::Deprecated(_)));
        assert!(matches!(judge("lxc.limit.nofile"), Judgement::Deprecated(_)));
        assert!(matches!(judge("lxc.rootfs.path"), Judgement::Rejected(_)));
        assert!(matches!(judge("lxc.capdrop"), Judgement::Rejected(_)));
        assert_eq!(help("lxc.capdrop".into()).as_deref(), Some("did you mean \"lxc.cap.drop\"?"));
        assert_eq!(help("lxc.rootfs.path".into()), None);
    }
}
