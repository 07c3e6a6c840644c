// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files whose changes are counted, so that programs can notice them without reading.

/// Paths of the observed files, in the order in which `.version` lists them (spec: pmxcfs, ".version and observed
/// files").
pub const OBSERVED: [&str; 43] = [
    "corosync.conf",
    "corosync.conf.new",
    "storage.cfg",
    "user.cfg",
    "domains.cfg",
    "notifications.cfg",
    "priv/notifications.cfg",
    "priv/shadow.cfg",
    "priv/acme/plugins.cfg",
    "priv/tfa.cfg",
    "priv/token.cfg",
    "priv/wg-keys.cfg",
    "datacenter.cfg",
    "vzdump.cron",
    "vzdump.conf",
    "jobs.cfg",
    "ha/crm_commands",
    "ha/manager_status",
    "ha/resources.cfg",
    "ha/rules.cfg",
    "ha/groups.cfg",
    "ha/fence.cfg",
    "status.cfg",
    "replication.cfg",
    "ceph.conf",
    "sdn/vnets.cfg",
    "sdn/zones.cfg",
    "sdn/controllers.cfg",
    "sdn/subnets.cfg",
    "sdn/ipams.cfg",
    "sdn/mac-cache.json",
    "sdn/pve-ipam-state.json",
    "sdn/dns.cfg",
    "sdn/fabrics.cfg",
    "sdn/route-maps.cfg",
    "sdn/prefix-lists.cfg",
    "sdn/.running-config",
    "virtual-guest/cpu-models.conf",
    "virtual-guest/profiles.cfg",
    "firewall/cluster.fw",
    "mapping/directory.cfg",
    "mapping/pci.cfg",
    "mapping/usb.cfg",
];

/// A counter per observed file; lives as long as the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    counters: [u32; OBSERVED.len()],
}

impl Default for Observed {
    fn default() -> Self {
        Self { counters: [0; OBSERVED.len()] }
    }
}

impl Observed {
    /// All paths with their counters.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        OBSERVED.into_iter().zip(self.counters.iter().copied())
    }

    /// The counter of `path`, if it is observed.
    pub fn get(&self, path: &[u8]) -> Option<u32> {
        Some(self.counters[position(path)?])
    }

    /// Counts a change of `path`, if it is observed.
    pub(crate) fn count(&mut self, path: &[u8]) {
        if let Some(at) = position(path) {
            self.counters[at] = self.counters[at].wrapping_add(1);
        }
    }

    /// Counts a change of everything: the database was loaded anew.
    pub(crate) fn count_all(&mut self) {
        for counter in &mut self.counters {
            *counter = counter.wrapping_add(1);
        }
    }
}

fn position(path: &[u8]) -> Option<usize> {
    OBSERVED.iter().position(|observed| observed.as_bytes() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_path_is_observed() {
        let mut observed = Observed::default();
        observed.count_all();
        observed.count(b"storage.cfg");
        observed.count(b"/storage.cfg");
        observed.count(b"other");
        assert_eq!(observed.get(b"storage.cfg"), Some(2));
        assert_eq!(observed.get(b"user.cfg"), Some(1));
        assert_eq!(observed.get(b"/storage.cfg"), None);
    }
}
