// SPDX-License-Identifier: MIT OR Apache-2.0
//! An audit of 10,000 guests against 50,000 volumes: from the texts to the findings.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pve_config::inventory::Inventory;
use pve_storage::audit::{NodeReport, StorageReport, audit};

const GUESTS: u32 = 10_000;

const STORAGE_CFG: &str = "\
lvmthin: local-lvm
\tvgname pve
\tthinpool data
\tcontent images,rootdir

zfspool: tank
\tpool tank/vmdata
\tcontent images,rootdir

nfs: nas
\tserver 192.0.2.1
\texport /srv
\tpath /mnt/pve/nas
\tcontent images,iso,backup

rbd: ceph
\tpool vm
\tmonhost 192.0.2.11 192.0.2.12
\tcontent images
";

/// What the guests of a cluster and the tools of its nodes say.
struct Cluster {
    files: Vec<(String, String)>,
    reports: Vec<NodeReport>,
}

/// Three nodes; each guest with five volumes on four storages, a snapshot and a pending change; one volume in fifty
/// belongs to nobody, every hundredth guest misses one.
fn cluster() -> Cluster {
    let mut files = vec![("storage.cfg".to_owned(), STORAGE_CFG.to_owned())];
    let mut lvs = [const { String::new() }; 3];
    let mut zfs = [const { String::new() }; 3];
    let (mut nas, mut ceph) = (String::new(), Vec::new());
    for (lvs, zfs) in lvs.iter_mut().zip(&mut zfs) {
        lvs.push_str("  pve:data:147203293184:twi-aotz--::3.52:1.25::u::1506803712:1690000000\n");
        zfs.push_str("tank/vmdata\t-\t-\tfilesystem\t0\n");
    }
    for number in 0..GUESTS {
        let vmid = 100 + number;
        let node = number as usize % 3;
        let drives = format!(
            "scsi0: local-lvm:vm-{vmid}-disk-0,discard=on,size=32G\n\
             scsi1: tank:base-9000-disk-0/vm-{vmid}-disk-0,size=32G\n\
             scsi2: nas:{vmid}/vm-{vmid}-disk-0.qcow2,size=8G\n\
             scsi3: ceph:vm-{vmid}-disk-0,size=8G\n"
        );
        let text = format!(
            "cores: 4\nmemory: 4096\nname: guest-{vmid}\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nostype: l26\n\
             {drives}scsihw: virtio-scsi-single\n\n[PENDING]\nmemory: 8192\n\n\
             [before]\n{drives}snaptime: 1700000000\nvmstate: local-lvm:vm-{vmid}-state-before\n"
        );
        files.push((format!("nodes/node{node}/qemu-server/{vmid}.conf"), text));
        let owner = if number % 50 == 0 { vmid + 1_000_000 } else { vmid };
        let line = |name: &str| format!("  pve:{name}:34359738368:Vwi-aotz--:data:12.50:::u:::1700000101\n");
        lvs[node].push_str(&line(&format!("vm-{owner}-disk-0")));
        lvs[node].push_str(&line(&format!("vm-{vmid}-state-before")));
        let written = writeln!(
            zfs[node],
            "tank/vmdata/vm-{vmid}-disk-0\t34359738368\ttank/vmdata/base-9000-disk-0@__base__\tvolume\t-"
        )
        .and_then(|()| writeln!(nas, "f 8589934592 images/{vmid}/vm-{vmid}-disk-0.qcow2"));
        written.unwrap_or_else(|error| unreachable!("{error}"));
        if number % 100 != 1 {
            ceph.push(format!(
                "{{\"image\":\"vm-{vmid}-disk-0\",\"id\":\"1f{vmid}\",\"size\":8589934592,\"format\":2}}"
            ));
        }
    }
    let ceph = format!("[{}]", ceph.join(","));
    let report = |(node, (lvs, zfs)): (usize, (String, String))| {
        let mut zfs = zfs;
        zfs.push_str("tank/vmdata/base-9000-disk-0\t34359738368\t-\tvolume\t-\n");
        let mut report = NodeReport {
            node: format!("node{node}"),
            lvs: Some(lvs.into()),
            zfs: Some(zfs.into()),
            ..NodeReport::default()
        };
        if node == 0 {
            report.storages.insert("nas".to_owned(), StorageReport::Files(nas.clone().into()));
            report.storages.insert("ceph".to_owned(), StorageReport::Rbd(ceph.clone().into()));
        }
        report
    };
    let reports = lvs.into_iter().zip(zfs).enumerate().map(report).collect();
    Cluster { files, reports }
}

fn whole(criterion: &mut Criterion) {
    let Cluster { files, reports } = cluster();
    let read = || Inventory::new(files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())));
    let inventory = read();
    let mut group = criterion.benchmark_group("audit");
    group.sample_size(20);
    group.bench_function("10,000 guests, 50,000 volumes", |bencher| {
        bencher.iter(|| audit(black_box(&inventory), black_box(&reports)));
    });
    group.bench_function("10,000 guests, 50,000 volumes, configurations read", |bencher| {
        bencher.iter(|| audit(&read(), black_box(&reports)).map(|audit| audit.findings.len()));
    });
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
