// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories of another machine: an NFS server and its clients, in versions 3 and 4.

use micro_vm::{Error, Packages, Setup};
use pve_storage::Session;
use pve_volid::{ImageFormat, Wanted};

use crate::node::{host, storages, tool, vmid};

/// What a server and a client need.
const PACKAGES: [&str; 11] = [
    "nfs-kernel-server",
    "nfs-common",
    "rpcbind",
    "libnfsidmap1",
    "libtirpc3",
    "libtirpc-common",
    "libevent-core-2.1-7",
    "libwrap0",
    "keyutils",
    "mount",
    "netbase",
];

/// The server comes up. Its directory is in memory.
const SERVER: &str = r#"
printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n_rpc:x:101:65534::/:/bin/sh\n' > /etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' > /etc/group
echo '127.0.0.1 localhost' > /etc/hosts
echo '/srv/pve 127.0.0.1(rw,fsid=1,no_root_squash,no_subtree_check)' > /etc/exports
mkdir -p /srv/pve /run/rpcbind /var/lib/nfs/v4recovery /etc/pve/priv/lock
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount -t tmpfs srv /srv/pve
mount -t nfsd nfsd /proc/fs/nfsd
rpcbind -w
exportfs -a
rpc.mountd
# nobody comes back after a crash, for whom locks would be kept
rpc.nfsd --grace-time 10 --lease-time 10 2
"#;

const STORAGE_CFG: &str = "nfs: three\n\tserver 127.0.0.1\n\texport /srv/pve\n\tpath /mnt/pve/three\n\t\
                           content images\n\toptions vers=3,nolock\n\n\
                           nfs: four\n\tserver 127.0.0.1\n\texport /srv/pve\n\tpath /mnt/pve/four\n\t\
                           content images\n\toptions vers=4.2\n\n\
                           nfs: gone\n\tserver 127.0.0.1\n\texport /srv/gone\n\tpath /mnt/pve/gone\n\t\
                           content images\n\toptions vers=4.2,retry=0\n";

/// A machine with the server.
pub(crate) fn setup(setup: Setup) -> Result<Setup, Error> {
    let packages = Packages::fetch("nfs", &PACKAGES)?;
    Ok(setup.packages(&packages).modules(&["nfsd", "nfsv3", "nfsv4"]).script(SERVER))
}

#[test]
#[ignore = "runs in a micro-VM"]
fn mounted_used_and_unmounted() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    let mounts = || {
        let table = std::fs::read_to_string("/proc/mounts").unwrap();
        let nfs = table.lines().filter(|line| line.starts_with("127.0.0.1:/srv/pve "));
        nfs.map(|line| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert!(mounts().is_empty());
    session.activate_storages(["three", "four"]).unwrap();
    let mut mounted = mounts();
    mounted.sort();
    assert_eq!(mounted, ["/mnt/pve/four nfs4", "/mnt/pve/three nfs"]);
    // once more changes nothing
    session.activate_storages(["three", "four"]).unwrap();
    assert_eq!(mounts().len(), 2);
    let status = session.status("four").unwrap().unwrap();
    assert!(status.active && status.total > 100 << 20, "{status:?}");

    // the server does not export it
    let refused = session.activate_storages(["gone"]).unwrap_err();
    assert!(refused.to_string().contains("mount"), "{refused}");

    let disk = session.allocate("four", vmid(100), Some(ImageFormat::Qcow2), None, 4096).unwrap();
    session.create_snapshot(disk.as_bstr(), "s1".into()).unwrap();
    let raw = session.allocate("three", vmid(100), Some(ImageFormat::Raw), None, 1024).unwrap();
    assert_eq!(raw.to_string(), "three:100/vm-100-disk-0.raw", "the suffix makes another name");
    // both lead to the same directory
    let ids = |storage: &str| {
        let images = session.images(storage, Wanted::Everything).unwrap();
        let mut ids: Vec<String> = images.iter().map(|image| image.volid.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("three"), ["three:100/vm-100-disk-0.qcow2", "three:100/vm-100-disk-0.raw"]);
    assert_eq!(ids("four"), ["four:100/vm-100-disk-0.qcow2", "four:100/vm-100-disk-0.raw"]);
    let snapshots = session.snapshots("three:100/vm-100-disk-0.qcow2".into()).unwrap();
    assert_eq!(snapshots[0].name, "s1");
    assert!(std::path::Path::new("/srv/pve/images/100/vm-100-disk-0.qcow2").exists());

    session.delete_snapshot(disk.as_bstr(), "s1".into(), false).unwrap();
    let template = session.create_base(disk.as_bstr()).unwrap();
    let clone = session.clone_volume(template.as_bstr(), vmid(101), None).unwrap();
    let moved = session.rename(clone.as_bstr(), vmid(102), None).unwrap();
    session.resize(moved.as_bstr(), None, 8 << 20, false).unwrap();
    assert_eq!(session.size_info(moved.as_bstr()).unwrap().size, 8 << 20);
    for volume in [moved, template, raw] {
        session.free(volume.as_bstr()).unwrap();
    }
    assert_eq!(ids("four"), [""; 0]);

    session.deactivate_storage("three").unwrap();
    session.deactivate_storage("four").unwrap();
    assert!(mounts().is_empty());
    // the server is gone: the storage says so instead of hanging
    tool(&["rpc.nfsd", "0"]);
    tool(&["killall", "rpc.mountd", "rpcbind"]);
    let status = session.status("three").unwrap();
    assert!(status.is_none_or(|status| !status.active), "{status:?}");
    assert!(session.activate_storages(["three"]).is_err());
}
