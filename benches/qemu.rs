// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines: from the text of a configuration to the argument vector, for one machine and for ten thousand.

#![allow(clippy::expect_used, reason = "a failed step fails the measurement")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pve_config::guest::VmConfig;
use pve_qemu::{Builder, Host, Options, diff};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;
use rayon::prelude::*;

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
    const MACHINES: u32 = 10_000;
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

criterion_group!(benches, one_machine, comparison, many_machines);
criterion_main!(benches);
