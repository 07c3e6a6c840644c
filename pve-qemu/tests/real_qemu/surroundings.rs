// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines with something around them: firmware, TPM, SPICE, taps, shared directories.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use serde_json::json;

use crate::machine::{FIRMWARE, Machine, PATIENCE, Workshop, has, installed};
use crate::{new_machine, old_machine};

/// The certificate of a SPICE server.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes a certificate; `None`, after saying so, without `openssl`.
    pub(crate) fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("/usr/bin/openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=localhost", "-keyout", "server-key.pem", "-out", "server-cert.pem"])
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .status();
        if !has(made.is_ok_and(|status| status.success()), "program openssl, for the certificate of SPICE") {
            return None;
        }
        fs::copy(folder.path().join("server-cert.pem"), folder.path().join("ca-cert.pem")).unwrap();
        Some(Certificates { folder })
    }

    /// Puts it where QEMU looks for it, and finds a port.
    pub(crate) fn put_into(&self, workshop: &mut Workshop) {
        for name in ["server-key.pem", "server-cert.pem", "ca-cert.pem"] {
            fs::copy(self.folder.path().join(name), workshop.root().join(name)).unwrap();
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        workshop.host.spice_port = listener.local_addr().unwrap().port();
    }
}

/// A program that runs beside a machine.
struct Companion(Child);

impl Drop for Companion {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `done`, with patience.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The variables of a machine with OVMF: where they are, and what they are at first.
fn firmware_runs(mut machine: Machine, variables: &Path) {
    let before = fs::read(variables).unwrap();
    let flash = machine.property("/machine", "pflash1");
    assert!(!flash.is_empty(), "the machine has no flash for variables");
    machine.ask("cont");
    wait_for("a change of the firmware's variables", || fs::read(variables).unwrap() != before);
    machine.quit();
}

#[test]
fn firmware_finds_its_variables_on_the_efi_disk() {
    let Some(version) = installed() else { return };
    let original = format!("{FIRMWARE}OVMF_VARS_4M.fd");
    if !has(Path::new(&original).exists(), "OVMF (package ovmf)") {
        return;
    }
    let new = new_machine(version);
    for (version, machine) in
        [(old_machine(version), "pc"), (old_machine(version), "q35"), (new, "pc"), (new, "q35")]
    {
        let workshop = Workshop::new(version);
        let image = workshop.image("images/100/vm-100-disk-0.raw");
        fs::copy(&original, &image).unwrap();
        let config = format!(
            "kvm: 0\nmachine: {machine}\nbios: ovmf\nefidisk0: local:100/vm-100-disk-0.raw,efitype=4m\nmemory: 256\nvga: none\n"
        );
        firmware_runs(workshop.start(&config), &image);
    }
}

#[test]
fn firmware_without_efi_disk_has_a_copy_of_its_variables() {
    let Some(version) = installed() else { return };
    if !has(Path::new(&format!("{FIRMWARE}OVMF_VARS.fd")).exists(), "OVMF (package ovmf)") {
        return;
    }
    let new = new_machine(version);
    for version in [old_machine(version), new] {
        let workshop = Workshop::new(version);
        let command = workshop.build("kvm: 0\nbios: ovmf\nmemory: 256\nvga: none\n");
        // what a start has to do first
        let [copy] = command.effects.copies.as_slice() else { panic!("{:?}", command.effects) };
        let from = Path::new(FIRMWARE).join(copy.from.file_name().unwrap());
        let to = workshop.root().join(copy.to.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        firmware_runs(workshop.run(command), &to);
    }
}

#[test]
fn a_tpm_answers() {
    let Some(version) = installed() else { return };
    if !has(Path::new("/usr/bin/swtpm").exists(), "program swtpm") {
        return;
    }
    let workshop = Workshop::new(version);
    let state = workshop.image("images/100/vm-100-disk-1.raw");
    fs::File::create(&state).unwrap().set_len(4 << 20).unwrap();
    let socket = workshop.root().join("100.swtpm");
    let command = workshop.build(
        "kvm: 0\nmemory: 128\nvga: none\nmachine: q35\ntpmstate0: local:100/vm-100-disk-1.raw,version=v2.0\n",
    );
    assert!(command.effects.tpm);
    // as a start runs it (spec: qemu-command-drives, "TPM"), in the foreground
    let child = Command::new("/usr/bin/swtpm")
        .args(["socket", "--tpmstate"])
        .arg(format!("backend-uri=file://{},mode=0600", state.display()))
        .args([
            "--ctrl",
            &format!("type=unixio,path={},mode=0600", socket.display()),
            "--terminate",
            "--tpm2",
        ])
        .stdout(Stdio::null())
        .spawn();
    let _tpm = Companion(child.unwrap());
    wait_for("the socket of the TPM", || socket.exists());
    let mut machine = workshop.run(command);
    let tpms = machine.ask("query-tpm");
    assert_eq!(tpms[0]["id"], "tpmdev", "{tpms}");
    assert_eq!(tpms[0]["model"], "tpm-tis", "{tpms}");
    assert_eq!(tpms[0]["options"]["type"], "emulator", "{tpms}");
    machine.quit();
}

#[test]
fn spice_listens_with_tls_only() {
    let (Some(version), Some(certificates)) = (installed(), Certificates::new()) else { return };
    let displays =
        [("qxl", "l26"), ("qxl2", "l26"), ("qxl4", "win10"), ("virtio", "l26"), ("qxl,clipboard=vnc", "l26")];
    for (display, ostype) in displays {
        let mut workshop = Workshop::new(old_machine(version));
        certificates.put_into(&mut workshop);
        let port = workshop.host.spice_port;
        let mut machine = workshop.start(&format!(
            "kvm: 0\nmemory: 128\nvga: {display}\nostype: {ostype}\nusb1: spice\naudio0: device=ich9-intel-hda\n\
             spice_enhancements: foldersharing=1,videostreaming=filter\n"
        ));
        let spice = machine.ask("query-spice");
        assert_eq!(spice["enabled"], true, "{spice}");
        assert_eq!(spice["tls-port"], port, "{spice}");
        assert!(spice["port"].is_null(), "{spice}");
        assert_eq!(spice["host"], "127.0.0.1", "{spice}");
        machine.check_addresses();
        let heads =
            machine.objects("/machine/peripheral").iter().filter(|name| name.starts_with("vga")).count();
        assert_eq!(heads, if ostype == "win10" { 4 } else { 1 });
        machine.quit();
    }
}

#[test]
fn taps_are_made_and_their_scripts_run() {
    let Some(version) = installed() else { return };
    // a network of its own keeps the taps away from that of this machine
    let alone = Command::new("/usr/bin/unshare").args(["--net", "/bin/test", "-c", "/dev/net/tun"]).status();
    if !has(alone.is_ok_and(|status| status.success()), "right to make network namespaces with /dev/net/tun")
    {
        return;
    }
    let mut workshop = Workshop::new(old_machine(version));
    workshop.taps = true;
    workshop.program = ["/usr/bin/unshare", "--net", crate::QEMU].map(str::to_owned).to_vec();
    let calls = workshop.root().join("calls");
    for (script, word) in [("pve-bridge", "up"), ("pve-bridgedown", "down")] {
        use std::os::unix::fs::PermissionsExt;
        let path = workshop.root().join(script);
        let text = format!(
            "#!/bin/sh\necho {word} \"$1\" $(cat \"/sys/class/net/$1/tun_flags\") >> {}\n",
            calls.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut machine = workshop.start(
        "kvm: 0\nmemory: 128\nvga: none\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400\n\
         net1: e1000=BC:24:11:00:00:02,bridge=vmbr1\nnet31: virtio=BC:24:11:00:00:03,bridge=vmbr0\n",
    );
    machine.check_addresses();
    assert_eq!(machine.value("/machine/peripheral/net0", "host_mtu"), 1400);
    let said = fs::read_to_string(&calls).unwrap();
    let names: Vec<&str> = said.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(names, ["tap100i0", "tap100i1", "tap100i31"], "{said}");
    machine.ask("quit");
    wait_for("the end of the taps", || {
        fs::read_to_string(&calls).unwrap().lines().filter(|line| line.starts_with("down")).count() == 3
    });
}

#[test]
fn directories_are_shared() {
    let Some(version) = installed() else { return };
    let daemons = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];
    let daemon = daemons.iter().find(|path| Path::new(path).exists());
    let root = nix::unistd::geteuid().is_root();
    if !has(daemon.is_some() && root, "program virtiofsd, or no right to run it") {
        return;
    }
    let mut workshop = Workshop::new(old_machine(version));
    let shared = workshop.root().join("shared");
    fs::create_dir(&shared).unwrap();
    let node = &workshop.host.node;
    workshop.host.dir_mapping = format!("share\n\tmap node={node},path={}\n", shared.display());
    workshop.host.paths.insert(shared.to_str().unwrap().to_owned(), pve_qemu::host::FileType::Dir);
    for numa in [0, 1] {
        let command = workshop
            .build(&format!("kvm: 0\nmemory: 128\nvga: none\nnuma: {numa}\nvirtiofs0: share,cache=always\n"));
        let [share] = command.effects.shared_directories.as_slice() else { panic!("{:?}", command.effects) };
        assert_eq!(share.path.as_bstr(), shared.to_str().unwrap());
        let socket = workshop.root().join(share.socket.file_name().unwrap());
        let child = Command::new(daemon.unwrap())
            .arg(format!("--socket-path={}", socket.display()))
            .args(["-o", &format!("source={}", shared.display()), "-o", "cache=always"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _daemon = Companion(child.unwrap());
        wait_for("the socket of virtiofsd", || socket.exists());
        let host = workshop.host.clone();
        let mut machine = workshop.run(command);
        let memory = machine.ask("query-memdev");
        assert!(memory.as_array().unwrap().iter().all(|part| part["share"] == true), "{memory}");
        let devices = machine.ask("query-pci").to_string();
        // 1af4:105a is the file system of virtio
        assert!(devices.contains(&json!(0x105a).to_string()), "{devices}");
        machine.quit();
        workshop = Workshop::new(old_machine(version));
        fs::create_dir_all(&shared).unwrap();
        workshop.host = host;
    }
    fs::remove_dir_all(&shared).unwrap();
}
