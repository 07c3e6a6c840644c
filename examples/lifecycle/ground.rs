// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node that the VM lives on: a folder for configurations, images, locks, sockets.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bstr::BString;
use pve_config::format::format_size;
use pve_qemu::Host;
use pve_qemu::node::{ConfigStore, DirectoryStore, Facts, Node, StoredVolumes, SystemChance};
use pve_qemu::power::{Dialect, LocalProcesses, Power, RunDir};
use pve_storage::{Event, LocalHost, Session, Storage, Storages};
use tempfile::TempDir;

use crate::Outcome;

const NODE: &str = "pve1";

/// A node in a temporary folder.
pub(crate) struct Ground {
    folder: TempDir,
    storages: Storages,
    host: LocalHost,
    configs: DirectoryStore,
    facts: Host,
}

impl Ground {
    pub(crate) fn make() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("lifecycle-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let storage = Storage::new("store".parse()?, "dir")
            .with("path", path("store").as_os_str().as_bytes())
            .with("content", "images");
        let host = LocalHost::new(|event| {
            if let Event::Warning(text) = event {
                examples::whereabouts::complain("note", &text);
            }
        });
        let mut facts = Host::probe();
        NODE.clone_into(&mut facts.node);
        Ok(Ground {
            storages: [storage].into_iter().collect(),
            host: host.with_locks_in(path("lock")),
            configs: DirectoryStore::new(path("pve"), NODE).with_locks_in(path("lock")),
            facts,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets `act` work on the node.
    pub(crate) fn on<T>(&self, act: impl FnOnce(Power<'_>) -> T) -> T {
        let session = Session::new(&self.storages, &self.host, NODE);
        let volumes = StoredVolumes::new(session, Default::default())
            .with_cloudinit_in(self.folder().join("cloudinit").as_os_str().as_bytes());
        let facts = Facts::default();
        let processes =
            LocalProcesses::new(RunDir::new(self.run()), self.facts.clone(), &volumes, &self.host)
                .with_dialect(Dialect::Stock);
        let node = Node {
            configs: &self.configs,
            volumes: &volumes,
            machines: processes.machines(),
            chance: &SystemChance,
            facts: &facts,
        };
        act(Power::new(node, &processes))
    }

    fn run(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// The serial port of a VM.
    pub(crate) fn serial(&self, vmid: u32) -> PathBuf {
        self.run().join(format!("{vmid}.serial0"))
    }

    /// An image.
    pub(crate) fn image(&self, owner: u32, name: &str) -> PathBuf {
        self.folder().join(format!("store/images/{owner}/{name}"))
    }

    /// A configuration.
    pub(crate) fn text(&self, vmid: u32) -> Outcome<BString> {
        let found = self.configs.read(vmid.try_into()?)?;
        Ok(found.ok_or_else(|| format!("there is no VM {vmid}"))?.1)
    }

    /// The size of a configuration, in words.
    pub(crate) fn conf_size(&self, vmid: u32) -> Outcome<String> {
        Ok(format!("{} bytes", self.text(vmid)?.len()))
    }

    /// What lies in the run directory.
    pub(crate) fn run_files(&self) -> Outcome<Vec<String>> {
        names(&self.run())
    }

    /// Configurations and images that are still there.
    pub(crate) fn remains(&self) -> Outcome<Vec<String>> {
        let configs = names(&self.folder().join(format!("pve/nodes/{NODE}/qemu-server")))?;
        Ok([configs, names(&self.folder().join("store/images"))?].concat())
    }
}

impl Drop for Ground {
    /// If the story ended midway, base volumes are still there: immutable, so that the folder could not be removed.
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(self.folder().join("store")).output();
    }
}

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Space that a file takes, in bytes.
pub(crate) fn used(meta: &Metadata) -> u64 {
    meta.blocks().saturating_mul(512)
}

/// The same in words.
pub(crate) fn allocated(file: &Path) -> Outcome<String> {
    let meta = fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(format!("{} allocated", format_size(used(&meta))))
}
