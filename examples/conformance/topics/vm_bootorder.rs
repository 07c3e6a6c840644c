// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_BOOTORDER: which devices a VM boots from.

use std::path::Path;

use pve_config::guest::VmConfig;
use pve_qemu::boot_order::{boot_disks, boot_index, default_devices, default_value};
use serde_json::{Map, Value, json};

use crate::Actual;
use crate::bytes;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let text = bytes::read(&case["config"]).ok_or("no config")?;
    let (config, _) = VmConfig::parse(&text);
    let index = boot_index(&config.main).into_iter().map(|(device, index)| (device, json!(index)));
    Ok(json!({
        "default_devices": default_devices(&config.main),
        "default_boot_value": default_value(&config.main),
        "bootindex": index.collect::<Map<_, _>>(),
        "bootdisks": boot_disks(&config.main),
    }))
}
