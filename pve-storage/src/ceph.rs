// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a storage reaches its Ceph cluster: configuration, keyring, user and monitors.

use bstr::{BStr, BString, ByteSlice};

use crate::error::{Error, Result};
use crate::storage::Storage;

/// What must be known of the host and the cluster to name things in Ceph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CephFacts {
    /// `/etc/pve/priv/ceph/ID.keyring` (cephfs: `ID.secret`) exists.
    pub keyring_exists: bool,
    /// `/etc/pve/priv/ceph/ID.conf` exists.
    pub conf_exists: bool,
    /// The fsid of the cluster: its own answer if the storage has `monhost`, else `global.fsid` of ceph.conf.
    pub fsid: Option<BString>,
    /// Only `/dev/rbd/…` and no `/dev/rbd-pve/…` exists for the volume, and it belongs to this cluster.
    pub older_device: bool,
}

/// The connection options of a storage (spec: volumes, "rbd details").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CephConnection {
    /// Path of the configuration file, if there is one.
    pub conf: Option<BString>,
    /// Path of the key, if there is one.
    pub keyring: Option<BString>,
    /// The user, without `client.`.
    pub user: BString,
    /// The monitors of `monhost`, normalised: IPv6 addresses in brackets, ports kept. Empty without `monhost`.
    pub monitors: Vec<BString>,
}

impl CephConnection {
    /// The configuration file of the cluster that runs on the nodes themselves.
    pub const CLUSTER_CONF: &'static str = "/etc/pve/ceph.conf";

    /// The options of `storage`, given what exists on the host.
    #[must_use]
    pub fn new(storage: &Storage, facts: &CephFacts) -> Self {
        let monitors = monitors(storage);
        let conf = if monitors.is_empty() {
            Some(Self::CLUSTER_CONF.into())
        } else {
            facts.conf_exists.then(|| conf_path(storage))
        };
        CephConnection {
            conf,
            keyring: facts.keyring_exists.then(|| keyring_path(storage)),
            user: storage.get("username").unwrap_or(BStr::new("admin")).to_owned(),
            monitors,
        }
    }

    /// `cephx` with a key, else `none`.
    #[must_use]
    pub fn auth(&self) -> &'static str {
        if self.keyring.is_some() { "cephx" } else { "none" }
    }
}

/// Where the key of a storage lies.
pub(crate) fn keyring_path(storage: &Storage) -> BString {
    let kind = if storage.type_name() == "cephfs" { "secret" } else { "keyring" };
    format!("/etc/pve/priv/ceph/{}.{kind}", storage.id()).into()
}

/// Where the configuration of an external cluster lies.
pub(crate) fn conf_path(storage: &Storage) -> BString {
    format!("/etc/pve/priv/ceph/{}.conf", storage.id()).into()
}

/// The entries of `monhost`, normalised.
fn monitors(storage: &Storage) -> Vec<BString> {
    let Some(list) = storage.get("monhost") else { return Vec::new() };
    list.split(|b| matches!(b, b',' | b';' | 0) || b.is_ascii_whitespace())
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let monitor = Monitor::read(entry);
            match (monitor.is_ipv6(), monitor.port) {
                (true, Some(port)) => format!("[{}]:{}", monitor.host, port.as_bstr()).into(),
                (true, None) => format!("[{}]", monitor.host).into(),
                (false, Some(port)) => format!("{}:{}", monitor.host, port.as_bstr()).into(),
                (false, None) => monitor.host.to_owned(),
            }
        })
        .collect()
}

/// Host and port of a *portal* (spec: storage.cfg, "Property schemas").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Monitor<'a> {
    pub(crate) host: &'a BStr,
    pub(crate) port: Option<&'a [u8]>,
}

impl<'a> Monitor<'a> {
    /// Reads `host`, `host:port`, `[host]`, `[host]:port`, `ipv6` or `ipv6.port`.
    pub(crate) fn read(text: &'a [u8]) -> Self {
        let digits =
            |port: &'a [u8]| (!port.is_empty() && port.iter().all(u8::is_ascii_digit)).then_some(port);
        if let Some((host, rest)) = text.strip_prefix(b"[").and_then(|inner| inner.split_once_str("]")) {
            return Monitor { host: host.as_bstr(), port: rest.strip_prefix(b":").and_then(digits) };
        }
        let separator = if text.find_iter(b":").count() > 1 { b'.' } else { b':' };
        if let Some(at) = text.rfind_byte(separator)
            && let Some(port) = text.get(at + 1..).and_then(digits)
        {
            return Monitor { host: text.get(..at).unwrap_or_default().as_bstr(), port: Some(port) };
        }
        Monitor { host: text.as_bstr(), port: None }
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.host.contains(&b':')
    }
}

/// The entries of a section of ceph.conf, names with `_` for the spaces between their words.
fn entries(conf: &BStr, wanted: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    let mut inside = false;
    conf.lines().filter_map(move |line| {
        let line = line.trim_ascii();
        if let Some(section) = line.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            inside = wanted(section.trim_ascii());
            return None;
        }
        if !inside || line.starts_with(b"#") || line.starts_with(b";") {
            return None;
        }
        let (name, value) = line.split_once_str("=")?;
        let words: Vec<&[u8]> =
            name.split(|b| b.is_ascii_whitespace() || *b == b'_').filter(|word| !word.is_empty()).collect();
        Some((bstr::join("_", words), value.trim_ascii()))
    })
}

/// `fsid` in section `global` of a ceph.conf.
pub(crate) fn conf_fsid(conf: &BStr) -> Option<BString> {
    entries(conf, |section| section == b"global")
        .find_map(|(name, value)| (name == b"fsid").then(|| value.into()))
}

/// The addresses of monitors in a ceph.conf, sorted, each once.
pub(crate) fn monitor_addresses(conf: &BStr) -> Vec<BString> {
    let global = entries(conf, |section| section == b"global")
        .filter(|(name, _)| name == b"mon_host")
        .flat_map(|(_, value)| value.split(|b| matches!(b, b',' | b';' | b' ' | b'\t')));
    let each = entries(conf, |section| section.starts_with(b"mon."))
        .filter(|(name, _)| name == b"mon_addr" || name == b"public_addr")
        .map(|(_, value)| value);
    let mut addresses: Vec<BString> =
        global.chain(each).filter(|address| !address.is_empty()).map(BString::from).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Checks that a fsid looks like a UUID.
pub(crate) fn check_fsid(storage: &Storage, fsid: &BStr) -> Result<()> {
    let groups: Vec<&[u8]> = fsid.split_str("-").collect();
    let shape = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    if shape && groups.iter().all(|group| group.iter().all(u8::is_ascii_hexdigit)) {
        return Ok(());
    }
    Err(Error::Value {
        storage: storage.id().clone(),
        what: "fsid".into(),
        reason: format!("'{fsid}' is not a UUID"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_portals() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", None),
            ("mon3:3300", "mon3", Some("3300")),
            ("[fe80::1]:6789", "fe80::1", Some("6789")),
            ("[fe80::1]", "fe80::1", None),
            ("fe80::2", "fe80::2", None),
            ("fe80::2.6789", "fe80::2", Some("6789")),
        ] {
            let monitor = Monitor::read(text.as_bytes());
            assert_eq!((monitor.host, monitor.port), (BStr::new(host), port.map(str::as_bytes)), "{text}");
        }
    }

    #[test]
    fn reads_ceph_conf() {
        let conf = BStr::new(
            "[global]\n\tfsid = 1-2\n mon host = 10.0.0.2 10.0.0.1\n[mon.a]\nmon addr = 10.0.0.3\n",
        );
        assert_eq!(conf_fsid(conf), Some("1-2".into()));
        assert_eq!(monitor_addresses(conf), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(conf_fsid(BStr::new("[osd]\nfsid = 1")), None);
    }

    #[test]
    fn monitors_come_from_monhost_alone() {
        let storage = Storage::new("ceph".parse().unwrap(), "rbd");
        let connection = CephConnection::new(&storage, &CephFacts::default());
        assert_eq!(connection.conf, Some(CephConnection::CLUSTER_CONF.into()));
        let storage = storage.with("monhost", "10.0.0.1 fe80::2;[fe80::1]:6789");
        let connection = CephConnection::new(&storage, &CephFacts::default());
        assert_eq!(connection.monitors, ["10.0.0.1", "[fe80::2]", "[fe80::1]:6789"]);
        assert_eq!(connection.conf, None);
    }
}
