// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines: from the text of a configuration to the argument vector, for one machine and for ten thousand.

#![allow(clippy::expect_used, reason = "a failed step fails the measurement")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pve_cfs::tree::Entry;
use pve_cfs::{Database, schema};
use pve_config::guest::VmConfig;
use pve_config::storage::StorageConfig;
use pve_qemu::{Builder, Host, Options, diff};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;
use rayon::prelude::*;
use tempfile::TempDir;

/// Guests of the large cluster.
const MACHINES: u32 = 10_000;

/// As little as a machine can have.
const MINIMAL: &str = "memory: 1024\nname: small\nostype: l26\n";

/// A usual web server.
const USUAL: &str = "\
agent: 1
boot: order=scsi0;ide2;net0
cores: 4
cpu: x86-64-v2-AES
ide2: none,media=cdrom
memory: 8192
meta: creation-qemu=9.0.2,ctime=1718000000
name: web-frontend-01
net0: virtio=BC:24:11:5E:01:AA,bridge=vmbr0,firewall=1,tag=120
numa: 0
onboot: 1
ostype: l26
scsi0: local-lvm:vm-100-disk-0,discard=on,iothread=1,size=64G,ssd=1
scsihw: virtio-scsi-single
smbios1: uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11
sockets: 1
vmgenid: 5b1f8a2e-3c4d-4e5f-8a9b-0c1d2e3f4a5b
";

/// A q35 with four disks, two cards, EFI disk, TPM and two pass-through devices.
const HEAVY: &str = "\
agent: 1,fstrim_cloned_disks=1
balloon: 0
bios: ovmf
boot: order=scsi0;ide2;net0
cores: 8
cpu: host,flags=+pcid;+md-clear
efidisk0: local-lvm:vm-100-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M
hostpci0: 0000:01:00,pcie=1,x-vga=1
hostpci1: 0000:02:00.0,pcie=1
ide2: local:iso/virtio-win.iso,media=cdrom,size=600M
machine: pc-q35-11.0
memory: 65536
meta: creation-qemu=11.0.0,ctime=1718000000
name: workstation
net0: virtio=BC:24:11:5E:01:AA,bridge=vmbr0,firewall=1,queues=8
net1: virtio=BC:24:11:5E:01:AB,bridge=vmbr1,mtu=9000
numa: 1
ostype: win11
scsi0: local-lvm:vm-100-disk-1,cache=writeback,discard=on,iothread=1,size=256G,ssd=1
scsi1: local-lvm:vm-100-disk-2,discard=on,iothread=1,size=1T,ssd=1
scsi2: ceph:vm-100-disk-0,discard=on,iothread=1,mbps_rd=500,mbps_wr=250,size=2T
scsi3: local:100/vm-100-disk-3.qcow2,iothread=1,size=32G
scsihw: virtio-scsi-single
smbios1: uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11
sockets: 2
tpmstate0: local-lvm:vm-100-disk-4,size=4M,version=v2.0
usb0: host=0627:0001
vmgenid: 5b1f8a2e-3c4d-4e5f-8a9b-0c1d2e3f4a5b
";

fn storages() -> Storages {
    let storage = |id: &str, kind: &str| Storage::new(id.parse().expect("a storage id"), kind);
    [
        storage("local", "dir").with("path", "/var/lib/vz").with("content", "images,iso"),
        storage("local-lvm", "lvmthin").with("vgname", "pve").with("thinpool", "data"),
        storage("ceph", "rbd").with("pool", "vms").with("content", "images"),
    ]
    .into_iter()
    .collect()
}

fn host() -> Host {
    serde_json::from_str(
        r#"{
            "bridges": {"vmbr0": 1500, "vmbr1": 9000}, "numa_nodes": 2,
            "pci_devices": [
                {"id": "0000:01:00.0", "vendor": "10de", "device": "1eb8", "iommugroup": 1},
                {"id": "0000:01:00.1", "vendor": "10de", "device": "10f8", "iommugroup": 1},
                {"id": "0000:02:00.0", "vendor": "8086", "device": "1521", "iommugroup": 2}
            ]
        }"#,
    )
    .expect("host facts")
}

/// Text in, argument vector out: what a program does for each machine.
fn command_line(builder: &Builder<'_>, vmid: VmId, text: &str) -> usize {
    let (config, _) = VmConfig::parse_with(text.as_bytes(), &builder.context());
    let command = builder.build(vmid, &config, &Options::default()).expect("a command line");
    command.arguments().len()
}

fn one_machine(criterion: &mut Criterion) {
    let (host, storages) = (host(), storages());
    let builder = Builder::new(&host, &storages);
    let vmid = VmId::MIN;
    let mut group = criterion.benchmark_group("command line");
    for (name, text) in [("minimal", MINIMAL), ("usual", USUAL), ("heavy q35", HEAVY)] {
        group.bench_function(format!("{name}/text to arguments"), |b| {
            b.iter(|| command_line(&builder, vmid, black_box(text)));
        });
        let (config, _) = VmConfig::parse_with(text.as_bytes(), &builder.context());
        group.bench_function(format!("{name}/parse only"), |b| {
            b.iter(|| VmConfig::parse_with(black_box(text).as_bytes(), &builder.context()));
        });
        group.bench_function(format!("{name}/build only"), |b| {
            b.iter(|| builder.build(vmid, black_box(&config), &Options::default()));
        });
        let command = builder.build(vmid, &config, &Options::default()).expect("a command line");
        group.bench_function(format!("{name}/shell line"), |b| b.iter(|| black_box(&command).shell_line()));
        group.bench_function(format!("{name}/explain"), |b| {
            b.iter(|| black_box(&command).explain().map(|explained| explained.parts().len()).sum::<usize>());
        });
    }
    group.finish();
}

fn comparison(criterion: &mut Criterion) {
    let (host, storages) = (host(), storages());
    let old_host: Host = host.clone().with_qemu_version("9.2.0".parse().expect("a version"));
    let text = USUAL.replace("machine: pc-q35-11.0\n", "");
    let build = |host: &Host| {
        let builder = Builder::new(host, &storages);
        let (config, _) = VmConfig::parse(text.as_bytes());
        builder.build(VmId::MIN, &config, &Options::default()).expect("a command line")
    };
    let (old, new) = (build(&old_host), build(&host));
    criterion.bench_function("diff/QEMU 9.2 and 11.0", |b| b.iter(|| diff(black_box(&old), black_box(&new))));
}

fn many_machines(criterion: &mut Criterion) {
    let (host, storages) = (host(), storages());
    let builder = Builder::new(&host, &storages);
    let texts: Vec<(VmId, &str)> = (0..MACHINES)
        .filter_map(|number| {
            Some((VmId::new(100 + number)?, [USUAL, USUAL, USUAL, HEAVY, MINIMAL][number as usize % 5]))
        })
        .collect();
    let mut group = criterion.benchmark_group("10,000 machines");
    group
        .throughput(Throughput::Elements(MACHINES.into()))
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    group.bench_function("one thread", |b| {
        b.iter(|| texts.iter().map(|(vmid, text)| command_line(&builder, *vmid, text)).sum::<usize>());
    });
    group.bench_function("all threads", |b| {
        b.iter(|| texts.par_iter().map(|(vmid, text)| command_line(&builder, *vmid, text)).sum::<usize>());
    });
    group.finish();
}

/// The storages of [`storages`], as a cluster has them.
const STORAGE_CFG: &str = "\
dir: local
	path /var/lib/vz
	content images,iso

lvmthin: local-lvm
	vgname pve
	thinpool data
	content images,rootdir

rbd: ceph
	pool vms
	content images
";

/// A cluster of 16 nodes with [`MACHINES`] guests, each with a name, addresses and volumes of its own.
fn database(folder: &TempDir) -> PathBuf {
    const NODES: u32 = 16;
    let path = folder.path().join("config.db");
    let mut connection = rusqlite::Connection::open(&path).expect("a database");
    let transaction = connection.transaction().expect("a transaction");
    transaction.execute_batch(schema::CREATE_TABLE).expect("the table");
    let mut last = 1;
    let mut insert = |parent: i64, directory: bool, name: &str, content: &str| {
        last += 1;
        let (kind, content) = if directory { (4, None) } else { (8, Some(content.as_bytes())) };
        transaction
            .prepare_cached("INSERT INTO tree VALUES (?1, ?2, ?1, 0, 1700000000, ?3, ?4, ?5)")
            .and_then(|mut insert| insert.execute(rusqlite::params![last, parent, kind, name, content]))
            .expect("a row");
        last
    };
    insert(0, false, "storage.cfg", STORAGE_CFG);
    let nodes = insert(0, true, "nodes", "");
    let folders: Vec<i64> = (1..=NODES)
        .map(|node| {
            let node = insert(nodes, true, &format!("pve{node}"), "");
            insert(node, true, "qemu-server", "")
        })
        .collect();
    for number in 0..MACHINES {
        let vmid = 100 + number;
        let template = [USUAL, USUAL, USUAL, HEAVY, MINIMAL][number as usize % 5];
        let text = template
            .replace("vm-100-", &format!("vm-{vmid}-"))
            .replace("100/", &format!("{vmid}/"))
            .replace("BC:24:11:5E:", &format!("BC:24:{:02X}:{:02X}:", number >> 8, number & 0xff))
            .replace("name: ", &format!("name: vm{vmid}-"));
        let parent = folders[number as usize % folders.len()];
        insert(parent, false, &format!("{vmid}.conf"), &text);
    }
    transaction
        .execute("INSERT INTO tree VALUES (0, 0, ?1, 0, 1700000000, 8, '__version__', NULL)", [last])
        .expect("the version");
    transaction.commit().expect("a commit");
    path
}

/// A file of the configuration of a guest.
fn vmid_of(file: &Entry<'_>) -> Option<VmId> {
    VmId::from_bytes(file.name().strip_suffix(b".conf")?).ok()
}

/// From the file of a database to all command lines of the cluster; returns how many arguments they have.
fn command_lines(path: &Path, host: &Host) -> usize {
    let (database, _) = Database::open_read_only(path).expect("a database");
    let tree = database.tree();
    let storage_cfg = tree.get(b"storage.cfg").expect("storage.cfg");
    let storages = Storages::from_config(&StorageConfig::parse(storage_cfg.content()));
    let nodes: Vec<Entry<'_>> = tree.get(b"nodes").expect("nodes").children().collect();
    let machines: Vec<(usize, VmId, &[u8])> = nodes
        .iter()
        .enumerate()
        .flat_map(|(node, entry)| {
            let folder = entry.child(b"qemu-server");
            let files = folder.into_iter().flat_map(|folder| folder.children());
            files.filter_map(move |file| Some((node, vmid_of(&file)?, file.content())))
        })
        .collect();
    let hosts: Vec<Host> = nodes
        .iter()
        .map(|node| {
            let mut host = host.clone();
            host.node = node.name().to_string();
            host
        })
        .collect();
    let builders: Vec<Builder<'_>> = hosts.iter().map(|host| Builder::new(host, &storages)).collect();
    machines
        .par_iter()
        .map(|(node, vmid, text)| {
            let builder = &builders[*node];
            let (config, _) = VmConfig::parse_with(text, &builder.context());
            let command = builder.build(*vmid, &config, &Options::default()).expect("a command line");
            black_box(&command).arguments().len()
        })
        .sum()
}

fn whole_cluster(criterion: &mut Criterion) {
    let memory = Path::new("/dev/shm");
    let folder =
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let (path, host) = (database(&folder), host());
    let mut group = criterion.benchmark_group("10,000 machines of a config.db");
    group
        .throughput(Throughput::Elements(MACHINES.into()))
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    group.bench_function("open the database", |b| b.iter(|| Database::open_read_only(black_box(&path))));
    group.bench_function("file to command lines", |b| b.iter(|| command_lines(black_box(&path), &host)));
    group.finish();
}

criterion_group!(benches, one_machine, comparison, many_machines, whole_cluster);
criterion_main!(benches);
