// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verb `mount`: shows a database as a file system, until it is told to stop.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pve_cfs::Database;
use pve_cfs::filesystem::{FileSystem, FileSystemOptions, WWW_DATA};
use pve_cfs::mount::{self, MountOptions};
use pve_cfs::store::{Store, StoreOptions};
use serde_json::json;

use crate::compare::warn;
use crate::output::{Failure, print_json};

#[derive(clap::Args)]
pub(crate) struct Mount {
    /// The database
    db: PathBuf,
    /// An empty directory; a stale mount there, whose daemon died, is unmounted first
    mountpoint: PathBuf,
    /// Change nothing and lock nothing: also for a copy, or beside a running daemon (what it writes later is not seen)
    #[arg(long)]
    read_only: bool,
    /// Name of the node to be, for the links local, qemu-server and lxc [default: the name of this machine]
    #[arg(long, value_name = "NAME")]
    nodename: Option<String>,
    /// Stay in the foreground: Ctrl-C unmounts
    #[arg(long, short)]
    foreground: bool,
    /// Started by another process that waits for the mount to be ready
    #[arg(long, hide = true)]
    detached: bool,
}

/// What a detached process tells the one that started it when everything is ready.
const READY: &str = "ready";

impl Mount {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        if !self.foreground && !self.detached {
            return self.start_detached(out, json);
        }
        let node = self.node()?;
        let mut options = FileSystemOptions::local(&node);
        options.group =
            nix::unistd::Group::from_name("www-data")?.map_or(WWW_DATA, |group| group.gid.as_raw());
        let now = u32::try_from(jiff::Timestamp::now().as_second())?;
        let stale = mount::is_stale(&self.mountpoint);
        let files = if self.read_only {
            let (database, findings) = Database::open_read_only(&self.db)?;
            warn(&findings);
            FileSystem::new(database.into_loaded(), None, options)
        } else {
            let store = StoreOptions { create: false, ..StoreOptions::default() };
            let (store, loaded) = Store::open(&self.db, &store, now)?;
            FileSystem::new(loaded, Some(store), options)
        };
        self.say_whether_known(&files, &node);
        let mount_options = MountOptions { read_only: self.read_only, ..MountOptions::default() };
        let mount = mount::Mount::new(Arc::new(files), &self.mountpoint, &mount_options)?;
        if stale {
            anstream::eprintln!("pmxcfs: a stale mount on {} was unmounted first", self.mountpoint.display());
        }
        if self.detached {
            rustix::process::setsid()?;
            writeln!(out, "{READY}")?;
            out.flush()?;
            let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
        } else {
            self.report(out, json, std::process::id())?;
        }
        mount.wait()?;
        mount.unmount()?;
        Ok(())
    }

    /// Starts this program again, and returns as soon as its mount is ready. What it has to say until then it says itself.
    fn start_detached(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .arg("--detached")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim_end() == READY {
            return self.report(out, json, child.id());
        }
        child.wait()?;
        Err(format!("{} was not mounted", self.db.display()).into())
    }

    fn report(&self, out: &mut impl Write, json: bool, process: u32) -> Result<(), Failure> {
        let place = self.mountpoint.display();
        if json {
            let value = json!({
                "mountpoint": place.to_string(), "process": process, "read_only": self.read_only,
            });
            print_json(out, &value)?;
        } else {
            let how = if self.read_only { "read-only, " } else { "" };
            writeln!(out, "mounted on {place} ({how}process {process}); end it with: umount {place}")?;
        }
        out.flush()?;
        Ok(())
    }

    fn node(&self) -> Result<String, Failure> {
        if let Some(name) = &self.nodename {
            if !pve_cfs::path::is_node_name(name.as_bytes()) {
                return Err(format!(
                    "{name:?} cannot be the name of a node: letters, digits and inner hyphens"
                )
                .into());
            }
            return Ok(name.clone());
        }
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(name.split('.').next().unwrap_or_default().to_owned())
    }

    /// The links of a node that the tree does not have lead nowhere.
    fn say_whether_known(&self, files: &FileSystem, node: &str) {
        let engine = files.replica().engine();
        let Some(nodes) = engine.tree().get(b"nodes") else { return };
        if nodes.child_count() > 0 && nodes.child(node.as_bytes()).is_none() {
            let known: Vec<_> = nodes.children().map(|entry| entry.name().to_string()).collect();
            anstream::eprintln!(
                "pmxcfs: the tree has no node {node:?}, so `local` and the links beside it lead nowhere: choose one of {} with \
                 --nodename",
                known.join(", ")
            );
        }
    }
}
