// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a configuration says, building its command line ends in a command line or an error, and both are sound.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::sync::LazyLock;

use bstr::{BStr, ByteSlice};
use proptest::prelude::*;
use pve_config::guest::VmConfig;
use pve_config::schema::VM;
use pve_qemu::{Builder, Host, Launch, Options, State, diff, shell};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;

static STORAGES: LazyLock<Storages> = LazyLock::new(|| {
    let storage =
        |id: &str, kind: &str| Storage::new(id.parse().unwrap(), kind).with("content", "images,iso");
    [
        storage("local", "dir").with("path", "/var/lib/vz").with("snapshot-as-volume-chain", "1"),
        storage("thin", "lvmthin").with("vgname", "pve").with("thinpool", "data"),
        storage("ceph", "rbd").with("monhost", "192.0.2.1 [2001:db8::1]:6789"),
        storage("krbd", "rbd").with("krbd", "1"),
        storage("zfs", "zfspool").with("pool", "tank"),
        storage("iscsi", "iscsidirect").with("portal", "192.0.2.1").with("target", "iqn.x"),
        storage("nowhere", "dir"),
    ]
    .into_iter()
    .collect()
});

/// Texts that mean something somewhere, alone or put together.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "0",
                "1",
                "on",
                "off",
                "none",
                "cdrom",
                "q35",
                "pc",
                "virt",
                "pc-i440fx-9.2+pve1",
                "pc-q35-2.3.pxe",
                "host",
                "kvm64",
                "custom-x",
                "x86-64-v3",
                "local:100/vm-100-disk-0.qcow2",
                "thin:vm-100-disk-0",
                "ceph:vm-1-x",
                "iscsi:lun3",
                "zfs:subvol-1-x",
                "krbd:base-1-x/vm-2-y",
                "/dev/sda",
                "local:iso/a.iso",
                "nope:x",
                "media=cdrom",
                "cache=none",
                "iothread=1",
                "mbps=1e300",
                "iops=99999999999999999999",
                "bps=1",
                "snapshot=1",
                "format=qcow2",
                "virtio",
                "virtio=BC:24:11:00:00:01",
                "bridge=vmbr0",
                "mtu=1",
                "queues=64",
                "ovmf",
                "win11",
                "l26",
                "wxp",
                "solaris",
                "memory",
                "cpu",
                "any",
                "1024",
                "2",
                "cpus=0-3;5",
                "hostnodes=0;1",
                "policy=bind",
                "memory=1024.5",
                "0000:01:00.0",
                "01:00",
                "mapping=x",
                "pcie=1",
                "x-vga=1",
                "legacy-igd=1",
                "mdev=nvidia-1",
                "spice",
                "usb3=1",
                "qxl4",
                "virtio-gl",
                "serial0",
                "clipboard=vnc",
                "order=scsi0;net0",
                "legacy=acdn",
                "enabled=1",
                "type=isa",
                "phys-bits=host",
                "flags=+nested-virt;-aes",
                "hidden=1",
                "snp",
                "std",
                "tdx",
                "attestation=1",
                "vsock-cid=3",
                "socket",
                "aarch64",
                "x86_64",
                "riscv64",
                "intel",
                "aw-bits=48",
                "current=99999999999",
                "4294967295",
                "18446744073709551616",
                "'unbalanced",
                "\\\\",
                "-x \"y\"",
                "base64=1",
                "family=!!",
                "source=/dev/hwrng",
            ][..]
        )
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
        "(viommu|type|file|host|model|device|driver|size|name|dirid|source|action|cputype|creation-qemu)=[a-z0-9.:/-]{0,9}",
    ]
}

fn option() -> impl Strategy<Value = (String, String)> {
    let names: Vec<String> = VM
        .options()
        .iter()
        .flat_map(|option| match option.slots {
            // the first two and the last
            Some(slots) => vec![0, 1, slots - 1].into_iter().map(|n| option.key(Some(n))).collect(),
            None => vec![option.key(None)],
        })
        .collect();
    let value = prop::collection::vec(word(), 1..5).prop_map(|words| words.join(","));
    (prop::sample::select(names), value)
}

fn configuration() -> impl Strategy<Value = String> {
    prop::collection::vec(option(), 0..14).prop_map(|options| {
        options.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
    })
}

fn host() -> impl Strategy<Value = Host> {
    let version = prop::sample::select(
        &["6.0.1", "7.2.0", "9.0.2", "9.2.0", "10.0.95", "10.1.0", "11.0.0", "unknown"][..],
    );
    (version, any::<bool>(), prop::sample::select(&["x86_64", "aarch64", "s390x"][..])).prop_map(|(version, kvm, arch)| {
        let mut host: Host = serde_json::from_value(serde_json::json!({
            "arch": arch, "kvm": kvm, "qemu": {"x86_64": version, "aarch64": version},
            "cpu_models_conf": "cpu-model: x\n\tflags +nested-virt;-svm\n\treported-model max\n\tphys-bits host\n",
            "pci_mapping": "x\n\tmap node=pve,path=0000:01:00.0,id=10de:1eb8\n",
            "snapshot_chains": {"local:100/vm-100-disk-0.qcow2": {
                "current": {"file": "/a", "parent": "one"}, "one": {"file": "/b", "parent": "one"}
            }},
            "numa_nodes": 2
        }))
        .unwrap();
        if arch == "s390x" {
            host.qemu.insert("s390x".into(), Some(version.into()));
        }
        host
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn building_never_panics_and_parts_add_up(text in configuration(), host in host(), start in any::<bool>()) {
        let builder = Builder::new(&host, &STORAGES);
        let (config, _) = VmConfig::parse_with(text.as_bytes(), &builder.context());
        let mut options = Options::default();
        if start {
            options.launch = Launch::Start { state: Some(State::IncomingTcp), paused: true };
            options.nets_host_mtu = Some(BStr::new("net0=0,net1=1500"));
        }
        let built = builder.build(VmId::MIN, &config, &options);
        let Ok(command) = built else { return Ok(()) };
        let again = builder.build(VmId::MIN, &config, &options).unwrap();
        prop_assert_eq!(&command, &again, "the same input gives the same output");
        prop_assert!(diff(&command, &again).is_empty());
        for (index, argument) in command.iter().enumerate() {
            let parts: Vec<u8> = command.parts(index).flat_map(|part| part.text.to_vec()).collect();
            prop_assert_eq!(parts.as_bstr(), argument, "the parts of argument {} are its text", index);
            prop_assert!(command.parts(index).next().is_some());
        }
        for explained in command.explain() {
            prop_assert!(!explained.parts().is_empty());
            prop_assert!(!explained.to_string().is_empty());
        }
        prop_assert!(!builder.consulted(VmId::MIN, &config, &options).contains(&String::new()));
        let line = command.shell_line();
        if !line.contains(&b'\\') {
            let words = shell::split(&line).unwrap();
            prop_assert_eq!(words.len(), command.iter().len());
        }
    }

    #[test]
    fn broken_values_never_panic(options in prop::collection::vec(option(), 0..10), host in host()) {
        // values that no file could bring: a program set them
        let mut config = VmConfig::new();
        for (name, value) in options {
            config.main.set(name, value);
        }
        let builder = Builder::new(&host, &STORAGES);
        let _ = builder.build(VmId::MAX, &config, &Options::default());
    }
}
