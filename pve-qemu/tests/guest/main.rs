// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real guests that read the images: a kernel with nothing but a shell, and a Debian with cloud-init.
//!
//! Both need QEMU and Debian's tools and are skipped, audibly, without them. The first takes seconds and runs when
//! `PVE_TEST_SYSTEM=1` is set; the second takes a minute or two (some more the first time, when it builds its disk,
//! which needs root) and runs when `PVE_TEST_GUEST=1` is set. A missing tool is a failure then.
#![cfg(test)]

mod console;
mod debian;

use std::net::TcpListener;
use std::time::Duration;

use bstr::ByteSlice;
use console::Console;
use micro_vm::{Machine, Setup, cache, missing, run};
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{
    CloudInitType, CustomParts, FileSet, Resolver, Salt, Settings, encode_ssh_keys, hash_password,
    write_images,
};
use pve_storage::{LocalHost, Session, Storage, Storages};
use pve_volid::VmId;
use sha1::{Digest as _, Sha1};

/// How long a Debian may take to boot and apply its data; an idle machine needs about a minute.
const BOOT: Duration = Duration::from_secs(900);

/// Whether the environment asks for a test. Programs that are then not there are a failure.
fn wanted(variable: &str, programs: &[&str]) -> bool {
    if std::env::var_os(variable).is_none_or(|value| value != "1") {
        eprintln!("skipped: set {variable}=1 to run this test");
        return false;
    }
    assert_eq!(missing(programs), None, "{variable} is set, but a program is not installed");
    true
}

/// A configuration that gives the guest everything: names, user, password, key, both kinds of address, DNS.
fn configuration(name: &str, public_key: &str) -> String {
    let password = hash_password(b"secret", Salt::from_entropy(*b"123456"));
    let keys = encode_ssh_keys(public_key.as_bytes());
    format!(
        "cipassword: {password}\nciupgrade: 0\nciuser: admin\nide2: local:9001/vm-9001-cloudinit.qcow2,media=cdrom\n\
         ipconfig0: ip=10.0.2.15/24,gw=10.0.2.2,ip6=fec0::15/64,gw6=fec0::2\nname: {name}\nnameserver: 10.0.2.3\n\
         net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nsearchdomain: lab.example\nsshkeys: {keys}\n"
    )
}

fn files(configuration: &str) -> FileSet {
    let (config, findings) = VmConfig::parse(configuration.as_bytes());
    assert!(findings.is_empty(), "{configuration}");
    let settings = Settings::of_config(&config.main, vmid(), Resolver::default());
    settings.files(CustomParts::default()).unwrap()
}

fn vmid() -> VmId {
    9001.try_into().unwrap()
}

#[test]
fn a_kernel_reads_the_same_files_in_every_tree() {
    if !wanted("PVE_TEST_SYSTEM", &micro_vm::PROGRAMS) {
        return;
    }
    let folder = tempfile::tempdir_in(cache().unwrap()).unwrap();
    let kinds = [CloudInitType::NoCloud, CloudInitType::ConfigDrive2, CloudInitType::OpenNebula];
    let kinds =
        kinds.map(|kind| files(&format!("citype: {kind}\n{}", configuration("web", "ssh-ed25519 AAAA"))));
    // one machine with an image of each kind as disk
    let mut setup = Setup::new().memory(256).modules(&["isofs"]);
    for files in &kinds {
        let mut image = files.image().unwrap();
        eprintln!("{:?}: {} bytes", files.kind, image.len());
        image.resize(4 << 20, 0);
        let volume = folder.path().join(files.kind.to_string());
        std::fs::write(&volume, image).unwrap();
        setup = setup.image(volume);
    }
    let mut vm = setup.boot().unwrap();
    for (files, disk) in kinds.iter().zip(["/dev/vda", "/dev/vdb", "/dev/vdc"]) {
        let label = vm.shell(&format!("dd if={disk} bs=1 skip=32808 count=32 2> /dev/null")).unwrap();
        assert_eq!(label.output.trim_end(), files.kind.label());
        let mut read = |options: &str| {
            let mounted = vm.check(&["mount", "-t", "iso9660", "-o", options, disk, "/mnt"]);
            mounted.unwrap();
            let found = vm.shell("cd /mnt; find . -type f -exec sha1sum {} +").unwrap().output;
            vm.check(&["umount", "/mnt"]).unwrap();
            found
        };
        check_found(&read("ro"), files);
        check_found(&read("ro,norock"), files);
        // without any extension names are short and without case, but the files are there
        let plain = read("ro,norock,nojoliet");
        assert_eq!(plain.lines().count(), files.files.len(), "{plain}");
    }
}

/// What `sha1sum` must have printed.
fn check_found(found: &str, files: &FileSet) {
    assert_eq!(found.lines().count(), files.files.len(), "{found}");
    for (path, content) in &files.files {
        let digest: String = Sha1::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{digest}  .{path}");
        assert!(found.lines().any(|found| found == line), "{line:?} not in\n{found}");
    }
}

#[test]
fn debian_becomes_what_its_configuration_says() {
    let programs = ["qemu-system-x86_64", "ssh", "ssh-keygen"];
    if !wanted("PVE_TEST_GUEST", &[&programs[..], &debian::PROGRAMS].concat()) {
        return;
    }
    // a storage with the disk as the template's base volume, and a linked clone of it
    let folder = tempfile::tempdir_in(cache().unwrap()).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir_all(path("images/9000")).unwrap();
    std::fs::hard_link(debian::disk().unwrap(), path("images/9000/base-9000-disk-0.qcow2")).unwrap();
    let root = folder.path().display().to_string();
    let storages: Storages =
        [Storage::new("local".parse().unwrap(), "dir").with("path", root)].into_iter().collect();
    let host = LocalHost::new(|event| eprintln!("{event:?}")).with_locks_in(path("locks"));
    let session = Session::new(&storages, &host, "pve1");
    let clone = session.clone_volume(b"local:9000/base-9000-disk-0.qcow2".as_bstr(), vmid(), None).unwrap();
    eprintln!("linked clone {clone}");
    let disk = session.path(clone.as_bstr(), None).unwrap().to_string();
    let write = |configuration: &str| {
        let (config, _) = VmConfig::parse(configuration.as_bytes());
        let folder = path("cloudinit");
        let written =
            write_images(&session, &config.main, vmid(), Resolver::default(), folder.as_bytes().as_bstr())
                .unwrap();
        eprintln!("image {} in {}", written[0].label, written[0].volid);
        written[0].path.to_string()
    };

    // first boot: everything arrives
    let key = path("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "ops@example", "-f", &key]).unwrap();
    let public_key = std::fs::read_to_string(format!("{key}.pub")).unwrap();
    let web = configuration("web", &public_key);
    let volume = write(&web);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut machine = boot(&disk, &volume, port);
    let mut console = Console::log_in(&mut machine, "admin", "secret");
    assert_eq!(console.ask("hostname"), "web");
    assert_eq!(console.ask("hostname -f"), "web.lab.example");
    assert_eq!(console.ask("cat ~/.ssh/authorized_keys"), public_key.trim());
    assert_eq!(console.ask("sudo -n id -un"), "root");
    assert!(console.ask("ip -4 -o address show dev eth0").contains("inet 10.0.2.15/24"));
    assert!(console.ask("ip -4 route show default").contains("default via 10.0.2.2 dev eth0"));
    assert!(console.ask("ip -6 -o address show dev eth0").contains("inet6 fec0::15/64"));
    assert!(console.ask("ip -6 route show default").contains("via fec0::2 dev eth0"));
    let resolver = console.ask("grep -v '^#' /etc/resolv.conf");
    assert!(
        resolver.contains("nameserver 10.0.2.3") && resolver.contains("search lab.example"),
        "{resolver}"
    );
    let first_id = console.ask("cat /run/cloud-init/.instance-id");
    assert_eq!(Some(&first_id), files(&web).instance_id.as_ref());
    assert!(console.ask("cloud-init status").contains("status: done"));
    log_in_over_network(&key, port, "web");
    console.power_off();

    // second boot: another image makes another instance of the same disk
    let db = configuration("db", &public_key);
    assert_eq!(write(&db), volume);
    let mut machine = boot(&disk, &volume, port);
    let mut console = Console::log_in(&mut machine, "admin", "secret");
    assert_eq!(console.ask("hostname -f"), "db.lab.example");
    assert_eq!(Some(console.ask("cat /run/cloud-init/.instance-id")), files(&db).instance_id);
    console.power_off();
    eprintln!("linked clone after two boots, KiB: {}", run("du", &["-k", &disk]).unwrap());
}

/// Boots the disk as a VM with defaults would, with the volume as CD on `ide2`, and waits for cloud-init's end.
fn boot(disk: &str, volume: &str, port: u16) -> Machine {
    let drive = format!("file={disk},format=qcow2,if=none,id=drive-scsi0,cache=unsafe");
    let medium = format!("file={volume},format=qcow2,if=none,id=drive-ide2,media=cdrom,readonly=on");
    let network = format!("user,id=net0,ipv4=on,ipv6=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22");
    let mut machine = Machine::start(&[
        ["-machine", "pc"],
        ["-cpu", "max"],
        ["-smp", "2"],
        ["-m", "1024"],
        ["-drive", &drive],
        ["-device", "virtio-scsi-pci,id=scsihw0"],
        ["-device", "scsi-hd,bus=scsihw0.0,drive=drive-scsi0,bootindex=100"],
        ["-drive", &medium],
        ["-device", "ide-cd,bus=ide.1,unit=0,drive=drive-ide2"],
        ["-netdev", &network],
        ["-device", "virtio-net-pci,netdev=net0,mac=BC:24:11:00:00:01"],
    ])
    .unwrap();
    machine.wait_for("finished at", BOOT).unwrap();
    eprintln!("cloud-init finished {:.1} s after power-on", machine.uptime().as_secs_f64());
    machine
}

/// The key opens the door from outside, at the static address.
fn log_in_over_network(key: &str, port: u16, host_name: &str) {
    let port = port.to_string();
    let options =
        ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=300"];
    let mut arguments = vec!["-q", "-i", key, "-p", &port];
    arguments.extend(options.iter().flat_map(|option| ["-o", *option]));
    arguments.extend(["admin@127.0.0.1", "hostname"]);
    assert_eq!(run("ssh", &arguments).unwrap().trim(), host_name);
    eprintln!("ssh with the key: {host_name}");
}
