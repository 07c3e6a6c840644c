// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUNs of an iSCSI target, through the kernel and directly.

use micro_vm::{Error, Packages, Setup};
use pve_storage::{Session, StreamFormat, Transfer};
use pve_volid::Wanted;

use crate::node::{host, storages, tool};

/// The target in user space, the initiator with its daemon, udev for the names of devices, and the other initiator.
const PACKAGES: [&str; 9] = [
    "tgt",
    "open-iscsi",
    "libopeniscsiusr",
    "libisns0",
    "udev",
    "libkmod2",
    "libiscsi-bin",
    "libiscsi7",
    "libcunit1",
];

/// A target with two LUNs, and an initiator that is not logged in.
const TARGET: &str = r#"
printf 'root:x:0:0::/root:/bin/sh\n' > /etc/passwd
for group in root:0 disk:6 tty:5 kmem:15 input:99 video:44 audio:29 cdrom:24 tape:26 lp:7 dialout:20 render:106 \
    sgx:107 kvm:108; do echo "${group%:*}:x:${group#*:}:" >> /etc/group; done
echo '127.0.0.1 localhost' > /etc/hosts
mkdir -p /run/lock/iscsi
echo 'InitiatorName=iqn.2026-11.example:node' > /etc/iscsi/initiatorname.iscsi
/lib/systemd/systemd-udevd --daemon
tgtd
truncate -s 64M /tmp/one
truncate -s 32M /tmp/two
until tgtadm --op new --mode target --tid 1 -T iqn.2026-11.example:disks; do sleep 0.2; done
tgtadm --op new --mode logicalunit --tid 1 --lun 1 -b /tmp/one
tgtadm --op new --mode logicalunit --tid 1 --lun 2 -b /tmp/two
tgtadm --op bind --mode target --tid 1 -I ALL
iscsid
"#;

const STORAGE_CFG: &str = "iscsi: san\n\tportal 127.0.0.1\n\ttarget iqn.2026-11.example:disks\n\tcontent images\n\n\
                           iscsidirect: direct\n\tportal 127.0.0.1\n\ttarget iqn.2026-11.example:disks\n\t\
                           content images\n\n\
                           iscsi: gone\n\tportal 127.0.0.1:3261\n\ttarget iqn.2026-11.example:gone\n\t\
                           content images\n";

/// A machine with target and initiator.
pub(crate) fn setup(setup: Setup) -> Result<Setup, Error> {
    let packages = Packages::fetch("iscsi", &PACKAGES)?;
    Ok(setup.packages(&packages).modules(&["iscsi_tcp", "sd_mod", "sg"]).script(TARGET))
}

#[test]
#[ignore = "runs in a micro-VM"]
fn logged_in_listed_and_logged_out() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    let status = session.status("san").unwrap();
    assert!(status.is_none_or(|status| !status.active), "{status:?}");

    session.activate_storages(["san"]).unwrap();
    tool(&["udevadm", "settle"]);
    assert!(session.status("san").unwrap().unwrap().active);
    assert!(session.activate_storages(["gone"]).is_err());
    let images = session.images("san", Wanted::Everything).unwrap();
    let mut found: Vec<(String, u64)> =
        images.iter().map(|image| (image.volid.to_string(), image.size.unwrap_or(0))).collect();
    found.sort();
    let name = |lun: u32| format!("san:0.0.{lun}.scsi-360000000000000000e0000000001000{lun}");
    assert_eq!(found, [(name(1), 64 << 20), (name(2), 32 << 20)]);
    // the controller, LUN 0, is no disk
    let survey = session.survey("san").unwrap();
    assert!(survey.hidden().iter().any(|hidden| hidden.name.ends_with(b":0:0:0")), "{survey:?}");

    let lun = name(1);
    let path = session.path(lun.as_str().into(), None).unwrap();
    assert_eq!(path, "/dev/disk/by-id/scsi-360000000000000000e00000000010001");
    std::fs::write("/tmp/one.start", b"content").unwrap();
    tool(&["dd", "if=/tmp/one.start", &format!("of={path}"), "conv=notrunc,fsync"]);
    session.activate_volumes(&[&lun], None, pve_storage::Hints::default()).unwrap();
    let info = session.size_info(lun.as_str().into()).unwrap();
    assert_eq!(info.size, 64 << 20);
    let mut stream = Vec::new();
    session.export(name(2).as_str().into(), &Transfer::new(StreamFormat::RawSize), &mut stream).unwrap();
    assert_eq!(stream.len(), 8 + (32 << 20));
    assert!(session.free(lun.as_str().into()).is_err(), "nothing is removed on a target");

    // the same target without the kernel; the tool tells whole MiB and rounds down
    let images = session.images("direct", Wanted::Everything).unwrap();
    let found: Vec<(String, Option<u64>)> =
        images.iter().map(|image| (image.volid.to_string(), image.size)).collect();
    assert_eq!(
        found,
        [("direct:lun1".to_owned(), Some(63 << 20)), ("direct:lun2".to_owned(), Some(31 << 20))]
    );
    assert_eq!(
        session.path("direct:lun1".into(), None).unwrap(),
        "iscsi://127.0.0.1/iqn.2026-11.example:disks/1"
    );

    assert_eq!(session.size_info("direct:lun2".into()).unwrap().size, 31 << 20);

    session.deactivate_storage("san").unwrap();
    let sessions = std::process::Command::new("iscsiadm").args(["--mode", "session"]).output().unwrap();
    assert!(String::from_utf8_lossy(&sessions.stderr).contains("No active sessions"));
    assert_eq!(std::fs::read("/tmp/one").unwrap()[..7], *b"content");
}
