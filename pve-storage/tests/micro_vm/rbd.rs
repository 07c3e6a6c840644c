// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images of a Ceph cluster that consists of one monitor and one OSD, through librbd.

use micro_vm::{Error, Packages, Setup};
use pve_storage::{Session, StreamFormat, Transfer};
use pve_volid::{Invisible, Wanted};

use crate::node::{host, listed, storages, tool, vmid};

/// Monitor, OSD and clients, and the Python that `ceph` is written in.
const PACKAGES: [&str; 35] = [
    "ceph-mon",
    "ceph-osd",
    "ceph-base",
    "ceph-common",
    "librados2",
    "librbd1",
    "libradosstriper1",
    "libcephfs2",
    "libboost-thread1.74.0",
    "libboost-context1.74.0",
    "libboost-iostreams1.74.0",
    "libfmt9",
    "libtcmalloc-minimal4",
    "libgoogle-perftools4",
    "liblua5.3-0",
    "liboath0",
    "librabbitmq4",
    "libsnappy1v5",
    "libleveldb1d",
    "python3-ceph-argparse",
    "python3-ceph-common",
    "python3-rados",
    "python3-prettytable",
    "python3-wcwidth",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libunwind8",
    "libexpat1",
    "libargon2-1",
    "libboost-program-options1.74.0",
    "libcryptsetup12",
    "libfuse2",
    "libjson-c5",
    "libncurses6",
];

const CEPH_CONF: &str = "[global]
fsid = 11111111-2222-3333-4444-555555555555
mon_host = v1:127.0.0.1:6789
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
osd_objectstore = memstore
memstore_device_bytes = 536870912
ms_bind_ipv6 = false
osd_erasure_code_plugins =
[mon.a]
mon_addr = 127.0.0.1:6789
[osd.0]
public_addr = 127.0.0.1
";

const CLUSTER: &str = r#"
printf 'root:x:0:0::/root:/bin/sh\n' > /etc/passwd
echo 'root:x:0:' > /etc/group
hostname pve1
echo '127.0.0.1 localhost' > /etc/hosts
mkdir -p /etc/pve/priv/lock /var/lib/ceph/mon/ceph-a /var/lib/ceph/osd/ceph-0 /var/log/ceph /run/ceph
ln -s /etc/pve/ceph.conf /etc/ceph/ceph.conf
monmaptool --create --fsid 11111111-2222-3333-4444-555555555555 --addv a '[v1:127.0.0.1:6789]' /tmp/monmap
ceph-mon --mkfs -i a --monmap /tmp/monmap
ceph-mon -i a
ceph-osd -i 0 --mkfs --osd-uuid 22222222-2222-3333-4444-555555555555
ceph osd new 22222222-2222-3333-4444-555555555555
# it gives up if it asks the monitor for its place before it knows of which cluster that is
for again in 1 2 3 4 5; do ceph-osd -i 0 && break; done
ceph osd pool create rbd 8 8
until ceph osd stat | grep -q '1 up'; do sleep 0.5; done
"#;

const STORAGE_CFG: &str = "rbd: own\n\tpool rbd\n\tcontent images\n\n\
                           rbd: other\n\tpool rbd\n\tmonhost 127.0.0.1:6789\n\tnamespace customer\n\tcontent images\n";

/// A machine with the cluster.
pub(crate) fn setup(setup: Setup) -> Result<Setup, Error> {
    let packages = Packages::fetch("ceph", &PACKAGES)?;
    let setup = setup.memory(2048).packages(&packages).link("/usr/bin/python3", "/usr/bin/python3.11");
    Ok(setup.file("/etc/pve/ceph.conf", 0o644, CEPH_CONF).script(CLUSTER))
}

#[test]
#[ignore = "runs in a micro-VM"]
fn from_allocation_to_clone() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    assert_eq!(listed(&session, "own"), []);
    // a size is rounded up to whole MiB
    let disk = session.allocate("own", vmid(100), None, None, 16_001).unwrap().to_string();
    assert_eq!(disk, "own:vm-100-disk-0");
    assert_eq!(listed(&session, "own"), [(disk.clone(), "100".to_owned(), 16 << 20)]);
    let taken = session.allocate("own", vmid(100), None, Some("vm-100-disk-0".into()), 1024).unwrap_err();
    assert!(taken.to_string().contains("exists"), "{taken}");
    session.resize(disk.as_str().into(), None, 20 << 20, false).unwrap();
    assert_eq!(session.size_info(disk.as_str().into()).unwrap().size, 20 << 20);

    // a namespace is a storage of its own
    tool(&["rbd", "namespace", "create", "rbd/customer"]);
    let foreign = session.allocate("other", vmid(100), None, None, 4096).unwrap();
    assert_eq!(foreign.to_string(), "other:vm-100-disk-0");
    assert_eq!(listed(&session, "other").len(), 1);
    session.free(foreign.as_bstr()).unwrap();
    assert_eq!((listed(&session, "other").len(), listed(&session, "own").len()), (0, 1));

    // a snapshot keeps what was there
    let content = || tool(&["rbd", "export", "vm-100-disk-0", "-"]);
    let empty = content();
    session.create_snapshot(disk.as_str().into(), "s1".into()).unwrap();
    tool(&["rbd", "bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", "vm-100-disk-0"]);
    assert_ne!(content(), empty);
    session.rollback(disk.as_str().into(), "s1".into()).unwrap();
    assert_eq!(content(), empty);
    session.delete_snapshot(disk.as_str().into(), "s1".into(), false).unwrap();

    let mut stream = Vec::new();
    let transfer = Transfer::new(StreamFormat::RawSize);
    session.export(disk.as_str().into(), &transfer, &mut stream).unwrap();
    assert_eq!(stream.len(), 8 + (20 << 20));
    let copy = session.import("own:vm-103-disk-0".into(), &transfer, &mut stream.as_slice()).unwrap();
    assert_eq!(session.size_info(copy.as_bstr()).unwrap().size, 20 << 20);

    // a template has a protected snapshot, of which clones are made
    let base = session.create_base(disk.as_str().into()).unwrap();
    assert_eq!(base.to_string(), "own:base-100-disk-0");
    let clone = session.clone_volume(base.as_bstr(), vmid(101), None).unwrap();
    assert_eq!(clone.to_string(), "own:base-100-disk-0/vm-101-disk-0");
    let moved = session.rename(clone.as_bstr(), vmid(102), None).unwrap();
    assert_eq!(moved.to_string(), "own:base-100-disk-0/vm-102-disk-0");
    let images = session.images("own", Wanted::Everything).unwrap();
    let parents: Vec<String> =
        images.iter().filter_map(|image| Some(image.parent.as_ref()?.to_string())).collect();
    assert_eq!(parents, ["base-100-disk-0@__base__"]);
    let refused = session.free(base.as_bstr()).unwrap_err();
    assert!(refused.to_string().contains("linked clone"), "{refused}");
    tool(&["rbd", "create", "--size", "1", "backup-data-important"]);
    let survey = session.survey("own").unwrap();
    let hidden: Vec<(String, Invisible)> =
        survey.hidden().iter().map(|hidden| (hidden.name.to_string(), hidden.reason)).collect();
    assert!(hidden.contains(&("backup-data-important".to_owned(), Invisible::NoMatch)), "{hidden:?}");

    for volume in [moved, copy, base] {
        session.free(volume.as_bstr()).unwrap();
    }
    assert_eq!(tool(&["rbd", "ls"]), "backup-data-important\n");
}
