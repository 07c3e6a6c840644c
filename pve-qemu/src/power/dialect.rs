// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which QEMU is run: Proxmox's own, or one as its makers release it, which does not know all of the command line.

mod board;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use serde_json::Value;

use super::RunDir;
use crate::command_line::CommandLine;

/// The QEMU that command lines are made for.
///
/// Command lines are always computed for Proxmox's QEMU. [`Dialect::Stock`] changes them so that another QEMU runs the
/// same machine, as far as it can; [`Adapted::changes`] says what was changed:
///
/// | what | becomes |
/// | --- | --- |
/// | `-id VMID` | left out: an option of Proxmox's QEMU |
/// | `+pveN` in the machine type | left out: a revision of Proxmox's machine types |
/// | `/usr/bin/kvm`, if it is not installed | `/usr/bin/qemu-system-ARCH`, with `-accel kvm` unless CPUs are emulated |
/// | `splash=`, if the picture is not installed | left out |
/// | `-readconfig` of a file of Proxmox VE that is not installed | the same devices, in a file in the run directory |
/// | `aio=io_uring` | `aio=threads`: many builds and containers have no io_uring |
/// | files and devices of disks | with `locking=off`, Proxmox's default: otherwise `qemu-img` could not look at disks in use |
/// | `-nographic` | `-display none -machine graphics=off`: another QEMU refuses it together with `-daemonize` |
/// | `-no-shutdown` and the second monitor, if no event daemon listens | left out: QEMU ends when the guest has shut down |
/// | `-loadstate FILE` | `-incoming defer`; the state is then read as that of a migration |
///
/// Its machine can be suspended to disk as well: `savevm-start` and its companions, which only Proxmox's QEMU has, are
/// replaced by a migration into the state volume ([`LocalMachines`](super::LocalMachines)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// Proxmox's QEMU: command lines are run as they are.
    #[default]
    Proxmox,
    /// A QEMU of a distribution.
    Stock,
}

/// A command line that can be run here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Adapted {
    /// The arguments, the program first.
    pub arguments: Vec<BString>,
    /// What was changed and why, in sentences.
    pub changes: Vec<String>,
    /// Files to be written first, with their content.
    pub files: BTreeMap<PathBuf, &'static str>,
    /// The file with the state of the machine, which must be given to it when it runs.
    pub state: Option<BString>,
}

/// What is found on a machine, of what command lines refer to.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Whether a file exists.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// Whether an event daemon listens.
    pub has_event_daemon: bool,
    /// `x86_64`, `aarch64`.
    pub arch: &'a str,
}

const EVENTS: &str = "/var/run/qmeventd.sock";
const SHARE: &str = "/usr/share/qemu-server/";
const SPLASH: &str = ",splash=/usr/share/qemu-server/bootsplash.jpg";
const KVM: &str = "/usr/bin/kvm";

/// Makes a command line fit for a QEMU, a run directory and a machine.
#[must_use]
pub fn adapt(command: &CommandLine, dialect: Dialect, run_dir: &RunDir, around: Surroundings<'_>) -> Adapted {
    let mut adapted = Adapted::default();
    let mut arguments = command.iter().peekable();
    while let Some(argument) = arguments.next() {
        let value = if argument.starts_with(b"-") { arguments.peek().copied() } else { None };
        if dialect == Dialect::Stock
            && let Some(taken) = adapted.translate(argument, value, run_dir, &around)
        {
            if taken == 2 {
                arguments.next();
            }
            continue;
        }
        adapted.arguments.push(argument.to_owned());
    }
    // the name of the program stands for the accelerator as well
    let is_named = |argument: &BString| *argument == KVM || argument.contains_str("accel=tcg");
    if dialect == Dialect::Stock
        && command.iter().any(|argument| argument == KVM)
        && !adapted.arguments.iter().any(is_named)
    {
        adapted.arguments.extend(["-accel", "kvm"].map(BString::from));
    }
    adapted.move_to(run_dir);
    adapted
}

impl Adapted {
    /// Translates an argument and perhaps its value; returns how many it took, `None` if it can stay.
    fn translate(
        &mut self,
        argument: &BStr,
        value: Option<&BStr>,
        run_dir: &RunDir,
        around: &Surroundings<'_>,
    ) -> Option<usize> {
        let text = value.map_or(BStr::new(""), |value| value);
        let put = |this: &mut Self, words: &[&[u8]]| {
            this.arguments.extend(words.iter().map(|word| BString::from(*word)));
        };
        match argument.as_bytes() {
            b"/usr/bin/kvm" if !(around.exists)(Path::new(KVM)) => {
                let program = format!("/usr/bin/qemu-system-{}", around.arch);
                put(self, &[program.as_bytes()]);
                self.because(format!("{KVM} is not installed: {program} is run"));
                Some(1)
            }
            b"-id" => {
                self.because("-id left out: only Proxmox's QEMU has it");
                Some(2)
            }
            b"-nographic" => {
                put(self, &[b"-display", b"none", b"-machine", b"graphics=off"]);
                self.because(
                    "no display and graphics=off instead of -nographic, which does not go with -daemonize",
                );
                Some(1)
            }
            b"-machine" => {
                let (without, cut) = without_revision(text)?;
                put(self, &[argument, &without]);
                self.because(format!(
                    "{cut} left out of the machine type: only Proxmox's QEMU has revisions"
                ));
                Some(2)
            }
            b"-boot"
                if text.contains_str(SPLASH)
                    && !(around.exists)(&Path::new(SHARE).join("bootsplash.jpg")) =>
            {
                put(self, &[argument, &text.replace(SPLASH, "")]);
                self.because("no boot splash: the picture is not installed");
                Some(2)
            }
            b"-readconfig" => {
                let path = Path::new(text.to_str().ok()?);
                let name = path.strip_prefix(SHARE).ok()?.to_str()?;
                let content = board::file(name).filter(|_| !(around.exists)(path))?;
                let here = run_dir.path().join(name);
                put(self, &[argument, here.to_string_lossy().as_bytes()]);
                self.because(format!("{} instead of {text}, which is not installed", here.display()));
                self.files.insert(here, content);
                Some(2)
            }
            b"-no-shutdown" if !around.has_event_daemon => {
                self.because(
                    "-no-shutdown left out: no event daemon would end QEMU when the guest has shut down",
                );
                Some(1)
            }
            b"-chardev" | b"-mon" if text.contains_str("qmp-event") && !around.has_event_daemon => Some(2),
            b"-loadstate" => {
                put(self, &[b"-incoming", b"defer"]);
                self.because("-incoming defer instead of -loadstate, which only Proxmox's QEMU has");
                self.state = Some(text.to_owned());
                Some(2)
            }
            b"-drive" | b"-blockdev" => {
                let parsed = text.starts_with(b"{").then(|| serde_json::from_slice::<Value>(text).ok());
                let new: BString = match parsed {
                    Some(node) => {
                        let mut node = node?;
                        adapt_node(&mut node);
                        node.to_string().into()
                    }
                    None => adapt_drive(text),
                };
                if new == text {
                    return None;
                }
                put(self, &[argument, &new]);
                self.because("disks without io_uring and without locks on their files");
                Some(2)
            }
            _ => None,
        }
    }

    /// Notes a reason, once.
    fn because(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.changes.contains(&reason) {
            self.changes.push(reason);
        }
    }

    /// Sockets and files in another run directory.
    fn move_to(&mut self, run_dir: &RunDir) {
        if run_dir.is_reference() {
            return;
        }
        let here = format!("{}/", run_dir.path().display());
        let names = RunDir::REFERENCE_NAMES.map(|name| format!("{name}/"));
        let events = run_dir.events().display().to_string();
        for argument in &mut self.arguments {
            // not one after the other: the new directory may hold the name of the old one
            if let Some(found) = names.iter().find(|name| argument.contains_str(name)) {
                *argument = argument.replace(found, &here).into();
            } else if argument.contains_str(EVENTS) {
                *argument = argument.replace(EVENTS, &events).into();
            }
        }
    }
}

/// A block node, and those below it, with files as Proxmox's QEMU opens them by default.
fn adapt_node(node: &mut Value) {
    let Value::Object(members) = node else { return };
    if members.get("aio").is_some_and(|aio| aio == "io_uring") {
        members.insert("aio".into(), "threads".into());
    }
    let driver = members.get("driver").and_then(Value::as_str);
    if driver.is_some_and(|driver| ["file", "host_device"].contains(&driver)) {
        members.insert("locking".into(), "off".into());
    }
    members.values_mut().for_each(adapt_node);
}

/// The same for the older form of drives.
fn adapt_drive(text: &BStr) -> BString {
    let mut drive = BString::from(text.replace("aio=io_uring", "aio=threads"));
    let mut parts = text.split_str(",");
    let on_file = parts.any(|part| part.starts_with(b"file=/") && !part.starts_with(b"file=/dev/cdrom"));
    if on_file {
        drive.extend_from_slice(b",file.locking=off");
    }
    drive
}

/// The value of `-machine` without `+pveN`, and what was cut.
fn without_revision(value: &BStr) -> Option<(BString, BString)> {
    let at = value.find("+pve")?;
    let (before, rest) = value.split_at(at);
    let end = rest.find(",").unwrap_or(rest.len());
    let (cut, after) = rest.split_at(end);
    Some(([before, after].concat().into(), cut.into()))
}

#[cfg(test)]
mod tests {
    use pve_config::guest::VmConfig;
    use pve_storage::{Storage, Storages};
    use pve_volid::VmId;

    use super::*;
    use crate::builder::{Builder, Launch, Options, State};
    use crate::host::Host;

    fn line(config: &str, state: Option<&str>) -> CommandLine {
        let host = Host::default().with_qemu_version("9.2.0".parse().unwrap());
        let storage =
            Storage::new("local".parse().unwrap(), "dir").with("path", "/vz").with("content", "images");
        let storages: Storages = [storage].into_iter().collect();
        let (config, findings) = VmConfig::parse(config.as_bytes());
        assert!(findings.is_empty(), "{findings:?}");
        let state = state.map(|state| State::File(state.into()));
        let options = Options { launch: Launch::Start { state, paused: false }, ..Options::default() };
        Builder::new(&host, &storages).build(VmId::MIN, &config, &options).unwrap()
    }

    fn adapted(config: &str, dialect: Dialect, run_dir: &str, installed: bool) -> Adapted {
        let around = Surroundings { exists: &|_| installed, has_event_daemon: installed, arch: "x86_64" };
        adapt(&line(config, Some("/vz/state")), dialect, &RunDir::new(run_dir), around)
    }

    fn has(adapted: &Adapted, text: &str) -> bool {
        adapted.arguments.iter().any(|argument| argument.contains_str(text))
    }

    const CONFIG: &str = "kvm: 0\nmachine: pc-q35-9.2+pve1\nserial0: socket\nvga: serial0\nscsi0: local:100/vm-100-disk-0.raw\n";

    #[test]
    fn proxmox_gets_what_was_computed() {
        let command = line(CONFIG, Some("/vz/state"));
        let adapted = adapted(CONFIG, Dialect::Proxmox, RunDir::REFERENCE, false);
        assert!(adapted.arguments.iter().eq(command.iter()));
        assert_eq!(adapted.changes, [""; 0]);
    }

    #[test]
    fn another_run_directory_has_all_sockets() {
        let adapted = adapted(CONFIG, Dialect::Proxmox, "/tmp/var/run/qemu-server/x", false);
        assert!(has(&adapted, "path=/tmp/var/run/qemu-server/x/100.qmp,"), "{:?}", adapted.arguments);
        assert!(has(&adapted, "/tmp/var/run/qemu-server/x/100.serial0"));
        assert!(has(&adapted, "path=/tmp/var/run/qemu-server/x/qmeventd.sock"));
    }

    #[test]
    fn a_stock_qemu_gets_only_what_it_knows() {
        let adapted = adapted(CONFIG, Dialect::Stock, "/tmp/x", false);
        for gone in [
            "+pve",
            "-nographic",
            "io_uring",
            "-loadstate",
            "splash",
            "/usr/share/qemu-server/",
            "qmp-event",
            "-no-shutdown",
        ] {
            assert!(!has(&adapted, gone), "{gone} is in {:?}", adapted.arguments);
        }
        assert!(!adapted.arguments.iter().any(|argument| argument == "-id" || argument == "100"));
        assert_eq!(adapted.arguments[0], "/usr/bin/qemu-system-x86_64");
        assert_eq!(adapted.state, Some("/vz/state".into()));
        assert!(has(&adapted, "type=q35") || has(&adapted, "pc-q35-9.2"));
        let files: Vec<_> = adapted.files.keys().collect();
        assert_eq!(files, [Path::new("/tmp/x/pve-q35-4.0.cfg")]);
        assert!(adapted.changes.len() >= 8, "{:?}", adapted.changes);
    }

    #[test]
    fn what_is_installed_is_used() {
        let adapted = adapted(CONFIG, Dialect::Stock, RunDir::REFERENCE, true);
        assert!(has(&adapted, "/usr/share/qemu-server/pve-q35-4.0.cfg") && has(&adapted, "-no-shutdown"));
        assert!(adapted.files.is_empty());
    }

    #[test]
    fn disks_are_opened_as_by_proxmox() {
        assert_eq!(
            adapt_drive("file=/vz/a.raw,if=none,aio=io_uring".into()),
            "file=/vz/a.raw,if=none,aio=threads,file.locking=off"
        );
        for other in ["if=none,id=drive-ide2,media=cdrom", "file=rbd:a/b,if=none", "file=/dev/cdrom,if=none"]
        {
            assert_eq!(adapt_drive(other.into()), other);
        }
        let mut node = serde_json::json!({
            "driver": "throttle",
            "file": { "driver": "raw", "file": { "driver": "file", "filename": "/a", "aio": "io_uring" } },
        });
        adapt_node(&mut node);
        assert_eq!(
            node["file"]["file"],
            serde_json::json!({ "driver": "file", "filename": "/a", "aio": "threads", "locking": "off" })
        );
    }

    #[test]
    fn revisions_are_cut_out() {
        let cut = |text: &str| without_revision(text.into()).map(|(rest, _)| rest.to_string());
        assert_eq!(cut("hpet=off,type=pc+pve0").as_deref(), Some("hpet=off,type=pc"));
        assert_eq!(cut("type=pc-i440fx-9.2+pve1,x=1").as_deref(), Some("type=pc-i440fx-9.2,x=1"));
        assert_eq!(cut("type=pc"), None);
    }
}
