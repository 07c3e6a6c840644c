// SPDX-License-Identifier: MIT OR Apache-2.0
//! The next free id of a cluster (spec: vm-lifecycle, "Ids").

use std::collections::BTreeSet;
use std::ops::Range;

use pve_config::cluster::NextId;
use pve_config::rule::ValueError;
use pve_volid::VmId;

use crate::host::datacenter_option;
use crate::node::{ConfigStore, WorldError};

/// Where ids are looked for if the cluster does not say otherwise.
const RANGE: Range<u32> = 100..1_000_000;

/// Why there is no next id.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NextIdError {
    /// All of them are taken.
    #[error(
        "no id is free from {} to below {}; widen the range: option next-id of datacenter.cfg",
        range.start, range.end
    )]
    Full {
        /// The range.
        range: Range<u32>,
    },
    /// The option of the cluster cannot be read.
    #[error("datacenter.cfg: next-id: {0}")]
    Range(#[source] Box<ValueError>),
    /// The configurations cannot be listed.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// The smallest id that no guest of the cluster has, in the range that `datacenter.cfg` gives. It is not reserved: whoever
/// creates a guest with it first has it.
///
/// ```
/// use pve_qemu::guest_id::next_free_id;
/// use pve_qemu::node::MemoryStore;
///
/// let store = MemoryStore::new("pve1").with_file("nodes/pve2/lxc/100.conf", "");
/// assert_eq!(next_free_id(&store)?.get(), 101);
/// let store = store.with_file("datacenter.cfg", "next-id: lower=2000,upper=3000\n");
/// assert_eq!(next_free_id(&store)?.get(), 2000);
/// # Ok::<(), pve_qemu::guest_id::NextIdError>(())
/// ```
///
/// # Errors
/// If none is free, or the range cannot be read.
pub fn next_free_id(configs: &dyn ConfigStore) -> Result<VmId, NextIdError> {
    let range = range(configs)?;
    let taken: BTreeSet<u32> = configs.guests()?.iter().map(|guest| guest.vmid.get()).collect();
    let mut free = range.clone().filter(|id| !taken.contains(id));
    free.find_map(VmId::new).ok_or(NextIdError::Full { range })
}

fn range(configs: &dyn ConfigStore) -> Result<Range<u32>, NextIdError> {
    let text = configs.file("datacenter.cfg")?.unwrap_or_default();
    let Some(value) = datacenter_option(&text, "next-id") else { return Ok(RANGE) };
    let next = NextId::parse(value).map_err(|error| NextIdError::Range(Box::new(error)))?;
    let bound = |bound: Option<pve_config::property::Integer<'_>>, default| {
        bound.and_then(|bound| bound.to()).unwrap_or(default)
    };
    Ok(bound(next.lower, RANGE.start)..bound(next.upper, RANGE.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::MemoryStore;

    #[test]
    fn the_range_ends_before_its_upper_bound() {
        let store = MemoryStore::new("pve1")
            .with_file("datacenter.cfg", "next-id: lower=100,upper=102\n")
            .with_file("nodes/pve1/qemu-server/100.conf", "")
            .with_file("nodes/pve2/qemu-server/101.conf", "");
        let error = next_free_id(&store).unwrap_err().to_string();
        assert_eq!(
            error,
            "no id is free from 100 to below 102; widen the range: option next-id of datacenter.cfg"
        );
        let store = store.with_file("datacenter.cfg", "next-id: upper=103\n");
        assert_eq!(next_free_id(&store).unwrap().get(), 102);
        let store = store.with_file("datacenter.cfg", "next-id: lower=x\n");
        assert!(matches!(next_free_id(&store), Err(NextIdError::Range(_))));
    }
}
