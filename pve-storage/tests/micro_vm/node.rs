// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node inside the machine: its storage.cfg, its tools, and what lies on its devices.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use bstr::{BStr, BString};
use pve_config::storage::StorageConfig;
use pve_storage::{LocalHost, Session, Storages};
use pve_volid::{VmId, Wanted};

/// The storages of a storage.cfg. Fails on any other machine than a micro-VM, as what follows changes devices.
pub(crate) fn storages(config: &str) -> Storages {
    assert!(micro_vm::is_inside(), "this would change the devices of this machine");
    let config = StorageConfig::parse(config.as_bytes());
    Storages::from_config(&config)
}

pub(crate) fn host() -> LocalHost {
    LocalHost::new(|event| eprintln!("{event:?}"))
}

pub(crate) fn vmid(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

/// Runs a tool as an administrator would, and returns what it printed.
pub(crate) fn tool(words: &[&str]) -> BString {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.into()
}

/// The attributes of a logical volume as `lvs` shows them.
pub(crate) fn attributes(lv: &str) -> String {
    tool(&["lvs", "--noheadings", "-o", "lv_attr", lv]).to_string().trim().to_owned()
}

/// Writes text to the beginning of a volume.
pub(crate) fn write(session: &Session<'_>, volid: &str, text: &str) {
    let device = session.path(volid.into(), None).unwrap().to_string();
    let device = File::options().write(true).open(device).unwrap();
    device.write_all_at(text.as_bytes(), 0).unwrap();
    device.sync_all().unwrap();
}

/// What is at the beginning of a volume, as long as `expected`.
pub(crate) fn read(session: &Session<'_>, volid: &str, snapshot: Option<&BStr>, length: usize) -> String {
    let device = session.path(volid.into(), snapshot).unwrap().to_string();
    let mut text = vec![0; length];
    File::open(&device).unwrap().read_exact_at(&mut text, 0).unwrap();
    String::from_utf8(text).unwrap()
}

/// The volumes that the listing shows: volume id, owner and size.
pub(crate) fn listed(session: &Session<'_>, storage: &str) -> Vec<(String, String, u64)> {
    let images = session.images(storage, Wanted::Everything).unwrap();
    let entry = |image: &pve_storage::Image| {
        (
            image.volid.to_string(),
            image.owner.clone().unwrap_or_default().to_string(),
            image.size.unwrap_or(0),
        )
    };
    images.iter().map(entry).collect()
}
