// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cloud-init: from a VM's configuration text to the files and to the image that its volume gets.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{CustomParts, FileSet, Resolver, Salt, Settings, hash_password};
use pve_volid::VmId;

const CONFIG: &[u8] = b"agent: 1\nboot: order=scsi0\ncipassword: $5$AAECAwQF$AVYJ.l.Ao4ViLyT1l8L7O/1w4dPBXJqa6eI3YskS2F8\n\
    ciuser: admin\ncores: 4\nide2: local-lvm:vm-100-cloudinit,media=cdrom\n\
    ipconfig0: ip=192.0.2.10/24,gw=192.0.2.1,ip6=2001:db8::10/64,gw6=2001:db8::1\nmemory: 4096\nname: web\n\
    nameserver: 192.0.2.53\nnet0: virtio=BC:24:11:AA:BB:01,bridge=vmbr0,firewall=1\nostype: l26\n\
    scsi0: local-lvm:vm-100-disk-0,discard=on,size=32G\nscsihw: virtio-scsi-single\nsearchdomain: lan.example\n\
    sshkeys: ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIJ5nXm8uQvKxZq5cT1b0yqv9WmEw7i3o4Xx2m6c8RkLt%20ops%40example%0A\n";

fn files(vmid: VmId, config: &[u8]) -> FileSet {
    let (config, _) = VmConfig::parse(config);
    let settings = Settings::of_config(&config.main, vmid, Resolver::default());
    settings.files(CustomParts::default()).unwrap_or_else(|error| unreachable!("{error}"))
}

fn cloudinit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cloudinit");
    let vmid = VmId::MIN;
    group.bench_function("configuration to files", |bencher| bencher.iter(|| files(vmid, black_box(CONFIG))));
    let set = files(vmid, CONFIG);
    group.bench_function("files to image", |bencher| bencher.iter(|| black_box(&set).image()));
    group.bench_function("password to hash", |bencher| {
        bencher
            .iter(|| hash_password(black_box(b"correct horse battery staple"), Salt::from_entropy([7; 6])));
    });
    group.finish();
}

criterion_group!(benches, cloudinit);
criterion_main!(benches);
