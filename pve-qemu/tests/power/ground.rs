// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ground that VMs run on in tests: a node in a directory of its own, whose VMs end with it.

mod mortal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_qemu::Host;
use pve_qemu::node::{DirectoryStore, Facts, Machines, Node, StoredVolumes, SystemChance, Volumes};
use pve_qemu::power::{Dialect, LocalProcesses, Power, Process, RunDir};
use pve_storage::{LocalHost, Session, Storage, Storages};
use pve_volid::VmId;

/// The VM.
pub(crate) const ID: VmId = VmId::MIN;
/// A VM that needs nothing: what every test starts from, in the order in which a configuration is written.
pub(crate) const PLAIN: &str = "kvm: 0\nmemory: 64\n";
const MARK: &[u8] = b"the guest's data";

/// A VM with a guest that knows one thing: to power off when the button is pressed.
pub(crate) const OBEDIENT: &str = "ide0: local:100/vm-100-disk-0.raw\nkvm: 0\nmemory: 64\n";
/// The guest: enables the event of the power button of an i440FX board, waits for it, powers off.
const BUTTON: [u8; 26] = [
    0xba, 0x02, 0x06, // mov dx, 602h: events that are enabled
    0xb8, 0x00, 0x01, // mov ax, 100h: the power button
    0xef, // out dx, ax
    0xba, 0x00, 0x06, // mov dx, 600h: events that have happened
    0xed, // wait: in ax, dx
    0xf6, 0xc4, 0x01, // test ah, 1
    0x74, 0xfa, // jz wait
    0xba, 0x04, 0x06, // mov dx, 604h: control
    0xb8, 0x00, 0x20, // mov ax, 2000h: soft off
    0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfe, // jmp $
];

/// Whether there is a QEMU; says so if not.
pub(crate) fn has_qemu() -> bool {
    has("/usr/bin/qemu-system-x86_64")
}

/// Whether there is `qemu-img`; says so if not.
pub(crate) fn has_qemu_img() -> bool {
    has("/usr/bin/qemu-img")
}

/// Whether there is a program; says so if not.
pub(crate) fn has(program: &str) -> bool {
    let found = Path::new(program).exists() && cfg!(target_arch = "x86_64");
    if !found {
        assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "{program} is not installed");
        eprintln!("SKIPPED: {program} is not installed, so nothing was started");
    }
    found
}

/// A node in a directory.
pub(crate) struct Ground {
    root: PathBuf,
    run_dir: RunDir,
    storages: Storages,
    host: LocalHost,
    _directory: Option<tempfile::TempDir>,
}

impl Ground {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ground = Self::at(directory.path().to_owned());
        fs::create_dir(ground.run_dir.path()).unwrap();
        ground._directory = Some(directory);
        ground
    }

    /// One whose VM has this configuration; `None`, after saying so, without QEMU.
    pub(crate) fn with_vm(config: &str) -> Option<Self> {
        has_qemu().then(|| {
            let ground = Self::new();
            ground.configure(config);
            ground
        })
    }

    /// One that is there already.
    pub(crate) fn at(root: PathBuf) -> Self {
        let storage = Storage::new("local".parse().unwrap(), "dir")
            .with("path", root.join("vz").to_str().unwrap())
            .with("content", "images,iso,snippets");
        let host = LocalHost::new(|event| eprintln!("{event:?}")).with_locks_in(root.join("lock"));
        let run_dir = RunDir::new(root.join("run"));
        Ground { run_dir, storages: [storage].into_iter().collect(), host, root, _directory: None }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    fn file(&self) -> PathBuf {
        self.root.join("pve/nodes/pve1/qemu-server/100.conf")
    }

    /// Writes the configuration of the VM.
    pub(crate) fn configure(&self, text: &str) {
        fs::create_dir_all(self.file().parent().unwrap()).unwrap();
        fs::write(self.file(), text).unwrap();
    }

    /// The configuration of the VM.
    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// What `qm unlock` does.
    pub(crate) fn unlock(&self) {
        let config = self.config();
        let lines = config.lines().filter(|line| !line.starts_with("lock: "));
        self.configure(&lines.map(|line| format!("{line}\n")).collect::<String>());
    }

    /// What deleting `vmstate` does: the volume goes, and what describes the saved machine.
    pub(crate) fn forget_state(&self) {
        let config = self.config();
        let (state, rest): (Vec<&str>, Vec<&str>) =
            config.lines().partition(|line| line.starts_with("vmstate: ") || line.starts_with("running"));
        for volume in state.iter().filter_map(|line| line.strip_prefix("vmstate: ")) {
            // a resumption may have freed it already
            let _ = fs::remove_file(self.root.join("vz/images").join(volume.strip_prefix("local:").unwrap()));
        }
        self.configure(&rest.iter().map(|line| format!("{line}\n")).collect::<String>());
    }

    fn configs(&self) -> DirectoryStore {
        DirectoryStore::new(self.root.join("pve"), "pve1").with_locks_in(self.root.join("lock"))
    }

    fn volumes(&self) -> StoredVolumes<'_> {
        let cloudinit = self.root.join("cloudinit").to_str().unwrap().to_owned();
        StoredVolumes::new(Session::new(&self.storages, &self.host, "pve1"), Default::default())
            .with_cloudinit_in(cloudinit)
    }

    /// Lets `body` work on the node.
    pub(crate) fn on<T>(&self, body: impl FnOnce(Power<'_>, &LocalProcesses<'_>) -> T) -> T {
        let (configs, volumes, facts) = (self.configs(), self.volumes(), Facts::default());
        let processes = LocalProcesses::new(self.run_dir.clone(), Host::probe(), &volumes, &self.host)
            .with_dialect(Dialect::Stock)
            .with_listener(|message| eprintln!("{message}"));
        let node = Node {
            configs: &configs,
            volumes: &volumes,
            machines: processes.machines(),
            chance: &SystemChance,
            facts: &facts,
        };
        body(Power::new(node, &processes), &processes)
    }

    /// The version of the installed QEMU.
    pub(crate) fn qemu_version(&self) -> Option<String> {
        Host::probe().qemu.get("x86_64").cloned().flatten()
    }

    /// Whether the installed QEMU is of this major version, or a later one.
    pub(crate) fn qemu_is_at_least(&self, major: u32) -> bool {
        let version = self.qemu_version().unwrap_or_default();
        version
            .split('.')
            .next()
            .and_then(|number| number.parse().ok())
            .is_some_and(|number: u32| number >= major)
    }

    /// What lies in the run directory.
    pub(crate) fn left_in_run_dir(&self) -> Vec<String> {
        let entries = fs::read_dir(self.run_dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What a guest sees in a qcow2 volume.
    pub(crate) fn content(&self, volume: &BStr) -> BString {
        let raw = self.root.join("content.raw");
        // a running machine holds it
        let converted = Command::new("qemu-img")
            .args(["convert", "-U", "-f", "qcow2", "-O", "raw"])
            .arg(self.volumes().path(volume).unwrap().to_path().unwrap())
            .arg(&raw)
            .status();
        assert!(converted.unwrap().success());
        fs::read(raw).unwrap().into()
    }

    fn disk(&self) -> PathBuf {
        self.root.join("vz/images/100/vm-100-disk-0.raw")
    }

    /// Makes a disk with something on it.
    pub(crate) fn make_disk(&self) {
        let mut content = vec![0; 1 << 20];
        content[..MARK.len()].copy_from_slice(MARK);
        fs::create_dir_all(self.disk().parent().unwrap()).unwrap();
        fs::write(self.disk(), content).unwrap();
    }

    /// Makes a disk with the obedient guest.
    pub(crate) fn make_obedient_disk(&self) {
        let mut content = vec![0; 1 << 20];
        content[..BUTTON.len()].copy_from_slice(&BUTTON);
        content[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::create_dir_all(self.disk().parent().unwrap()).unwrap();
        fs::write(self.disk(), content).unwrap();
    }

    /// Waits until the obedient guest runs.
    pub(crate) fn wait_for_guest(&self, machines: &dyn Machines) {
        let look = serde_json::json!({ "command-line": "xp /3xb 0x7c00" });
        for _ in 0..600 {
            let seen = machines.qmp(ID, "human-monitor-command", look.clone(), None).unwrap();
            if seen.as_str().unwrap().contains("0xba 0x02 0x06") {
                std::thread::sleep(Duration::from_millis(300));
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the guest has not booted");
    }

    /// Whether it is still there.
    pub(crate) fn disk_is_whole(&self) -> bool {
        let content = fs::read(self.disk()).unwrap();
        content.starts_with(MARK) && content.len() == 1 << 20
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(process) = Process::qemu(&self.run_dir, ID) {
            let _ = process.end(Duration::from_secs(5));
        }
    }
}
