// SPDX-License-Identifier: MIT OR Apache-2.0
//! LVM as the installer of Proxmox VE leaves it: a volume group `pve` with a thin pool `data`.

use crate::setup::Setup;

/// No daemon and no udev answers in the machine; thin-provisioning-tools are not there.
const LVM_CONF: &str = r#"devices {
    use_devicesfile = 0
}
activation {
    udev_sync = 0
    udev_rules = 0
    monitoring = 0
}
global {
    thin_check_executable = ""
}
"#;

/// The names under which `lvm` does one thing.
const COMMANDS: [&str; 13] = [
    "lvchange", "lvcreate", "lvextend", "lvremove", "lvrename", "lvresize", "lvs", "pvcreate", "pvs",
    "vgchange", "vgcreate", "vgs", "vgscan",
];

/// Size of the disk below, in bytes.
const DISK: u64 = 2 << 30;

impl Setup {
    /// Brings LVM along, with device-mapper, snapshots and thin provisioning in the kernel.
    #[must_use]
    pub fn lvm(mut self) -> Self {
        let lvm = "/usr/sbin/lvm";
        for command in COMMANDS {
            self = self.link(&format!("/usr/sbin/{command}"), lvm).link(&format!("/sbin/{command}"), lvm);
        }
        self.modules(&["dm-mod", "dm-snapshot", "dm-thin-pool"])
            .program(lvm)
            .file("/etc/lvm/lvm.conf", 0o644, LVM_CONF)
            .script("mkdir -p /run/lock/lvm /run/lvm /dev/mapper")
    }

    /// Brings LVM along, and adds a disk of 2 GiB with a volume group `pve` and in it a thin pool `data` of 1 GiB.
    /// It must be the first disk.
    #[must_use]
    pub fn thin_pool(self) -> Self {
        self.lvm().disk(DISK).script(
            "pvcreate -q /dev/vda
vgcreate -q pve /dev/vda
lvcreate -q -T -L1G -n data pve",
        )
    }
}
