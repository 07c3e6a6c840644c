// SPDX-License-Identifier: MIT OR Apache-2.0
//! The topics that are covered: a file each, listed here.

mod backup_names;
mod cloudinit;
mod free_disk_name;
mod life_world;
mod list_images;
mod path_to_volume_id;
mod pmxcfs;
mod pmxcfs_clog;
mod pmxcfs_db;
mod pmxcfs_fsm;
mod pmxcfs_mount;
mod pmxcfs_state;
mod property_string;
mod prune;
mod qemu_command;
mod qemu_conf;
mod rescan;
mod section_config;
mod snapshot_conf;
mod storage_cfg;
mod storage_commands;
mod storage_entry;
mod storage_world;
mod vm_bootorder;
mod vm_clone;
mod vm_create;
mod vm_destroy;
mod vm_move;
mod vm_power;
mod vm_template;
mod vm_update;
mod volume_names;

use crate::Topic;

/// Every covered topic, in the order of their names.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "BACKUP_NAMES", run: backup_names::run },
    Topic { name: "CLOUDINIT", run: cloudinit::run },
    Topic { name: "FREE_DISK_NAME", run: free_disk_name::run },
    Topic { name: "LIST_IMAGES", run: list_images::run },
    Topic { name: "PATH_TO_VOLUME_ID", run: path_to_volume_id::run },
    Topic { name: "PMXCFS", run: pmxcfs::run },
    Topic { name: "PMXCFS_CLOG", run: pmxcfs_clog::run },
    Topic { name: "PMXCFS_DB", run: pmxcfs_db::run },
    Topic { name: "PMXCFS_FSM", run: pmxcfs_fsm::run },
    Topic { name: "PROPERTY_STRING", run: property_string::run },
    Topic { name: "PRUNE", run: prune::run },
    Topic { name: "QEMU_COMMAND", run: qemu_command::run },
    Topic { name: "QEMU_COMMAND_DEVICES", run: qemu_command::run },
    Topic { name: "QEMU_CONF", run: qemu_conf::run },
    Topic { name: "RESCAN", run: rescan::run },
    Topic { name: "SECTION_CONFIG", run: section_config::run },
    Topic { name: "SNAPSHOT_CONF", run: snapshot_conf::run },
    Topic { name: "STORAGE_CFG", run: storage_cfg::run },
    Topic { name: "STORAGE_COMMANDS", run: storage_commands::run },
    Topic { name: "VM_BOOTORDER", run: vm_bootorder::run },
    Topic { name: "VM_CLONE", run: vm_clone::run },
    Topic { name: "VM_CREATE", run: vm_create::run },
    Topic { name: "VM_DESTROY", run: vm_destroy::run },
    Topic { name: "VM_MOVE", run: vm_move::run },
    Topic { name: "VM_POWER", run: vm_power::run },
    Topic { name: "VM_TEMPLATE", run: vm_template::run },
    Topic { name: "VM_UPDATE", run: vm_update::run },
    Topic { name: "VOLUME_NAMES", run: volume_names::run },
];
