// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every store of configurations has to obey.

use std::time::Duration;

use pve_config::guest::GuestKind;
use pve_volid::VmId;

use super::{ConfigStore, LockMode};

fn id(text: &str) -> VmId {
    VmId::from_bytes(text.as_bytes()).unwrap()
}

/// Goes through the laws with a store of node `pve1` that holds `datacenter.cfg` with `keyboard: de` and no guests.
pub(super) fn hold(store: &dyn ConfigStore) {
    assert_eq!(store.node(), "pve1");
    assert_eq!(store.guests().unwrap(), []);
    assert_eq!(store.read(id("100")).unwrap(), None);

    // what is written is read, byte for byte, and the last text counts
    store.create(id("100"), "memory: 512\n".into()).unwrap();
    let text = b"name: w\xe4b\nmemory: 1024\n\n[PENDING]\n\0";
    store.write(id("100"), text.as_slice().into()).unwrap();
    let (entry, read) = store.read(id("100")).unwrap().unwrap();
    assert_eq!(read, text.as_slice());
    assert_eq!((entry.vmid, entry.kind, entry.node.as_str()), (id("100"), GuestKind::Qemu, "pve1"));
    store.write(id("100"), "".into()).unwrap();
    assert_eq!(store.read(id("100")).unwrap().unwrap().1, "");

    // an id is unique, and only what exists is written or removed
    assert!(store.create(id("100"), "".into()).is_err());
    assert!(store.write(id("101"), "".into()).is_err());
    assert!(store.remove(id("101")).is_err());
    assert!(store.move_to(id("101"), "pve2").is_err());
    store.create(id("9999"), "".into()).unwrap();
    store.create(id("101"), "".into()).unwrap();
    let ids = |store: &dyn ConfigStore| -> Vec<u32> {
        store.guests().unwrap().iter().map(|guest| guest.vmid.get()).collect()
    };
    assert_eq!(ids(store), [100, 101, 9999], "sorted as numbers");

    // on another node it is seen, and its id is taken, but it is not this node's to change
    for name in ["", ".", "..", "../pve2", "a/b", "pve1"] {
        assert!(store.move_to(id("101"), name).is_err(), "{name:?}");
    }
    store.write(id("101"), "name: moved\n".into()).unwrap();
    store.move_to(id("101"), "pve2").unwrap();
    let (entry, read) = store.read(id("101")).unwrap().unwrap();
    assert_eq!((entry.node.as_str(), read), ("pve2", "name: moved\n".into()));
    let refusal = store.write(id("101"), "".into()).unwrap_err().to_string();
    assert_eq!(refusal, "configuration of guest 101: it is on node pve2, not on pve1");
    assert!(store.remove(id("101")).is_err());
    assert!(store.move_to(id("101"), "pve3").is_err());
    let refusal = store.create(id("101"), "".into()).unwrap_err().to_string();
    assert_eq!(refusal, "configuration of guest 101: the id is taken on node pve2; choose another");
    assert_eq!(ids(store), [100, 101, 9999]);

    // a removed one is gone, and its id free
    store.remove(id("100")).unwrap();
    assert_eq!(store.read(id("100")).unwrap(), None);
    store.create(id("100"), "name: again\n".into()).unwrap();
    assert_eq!(store.read(id("100")).unwrap().unwrap().1, "name: again\n");

    // other files are found, but none outside
    assert_eq!(store.file("datacenter.cfg").unwrap().unwrap(), "keyboard: de\n");
    assert_eq!(store.file("ha/resources.cfg").unwrap(), None);
    assert_eq!(store.file("nodes/pve2/qemu-server/101.conf").unwrap().unwrap(), "name: moved\n");
    for path in ["../x", "/datacenter.cfg", "nodes/../datacenter.cfg", "", "nodes//x"] {
        assert!(store.file(path).is_err(), "{path:?}");
    }

    // a lock that this store holds is granted again
    let guard = store.lock(id("100"), LockMode::Exclusive, Duration::ZERO).unwrap();
    let again = store.lock(id("100"), LockMode::Shared, Duration::ZERO).unwrap();
    let other = store.lock(id("101"), LockMode::Exclusive, Duration::ZERO).unwrap();
    drop((guard, again, other));
    drop(store.lock(id("100"), LockMode::Exclusive, Duration::ZERO).unwrap());
}
