// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an installed emulator says of itself over QMP, and what it would object to in a command line.
//!
//! The builder computes what the reference would run; whether the QEMU of a machine can run it is another question. An
//! [`Emulator`] knows the machine types and CPU models of one, asked once and kept with the facts of the host:
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//! use pve_qemu::emulator::Emulator;
//!
//! let emulator = Emulator::ask(Path::new("/usr/bin/qemu-system-x86_64"), Duration::from_secs(10))?;
//! println!("QEMU {} has {} machine types", emulator.version, emulator.machines.len());
//! assert!(emulator.machine("pc-q35-7.2").is_some());
//! # Ok::<(), pve_qemu::emulator::EmulatorError>(())
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bstr::ByteSlice as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command_line::CommandLine;
use crate::error::Warning;
use crate::explain::is_option;
use crate::host::Host;
use crate::origin::Key;
use crate::qmp::{Qmp, QmpError};
use crate::version::QemuVersion;

/// An installed emulator, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Emulator {
    /// Its version, `11.0.0` (`query-version`).
    pub version: String,
    /// The package it comes from, `pve-qemu-kvm_11.0.0-2`; empty if it does not say.
    pub package: String,
    /// Whether it answered with KVM in use: what CPU models lack depends on it.
    pub kvm: bool,
    /// The machine types that it can be (`query-machines`), by name.
    pub machines: Vec<Machine>,
    /// The CPU models that it can give to a guest (`query-cpu-definitions`), by name.
    pub cpu_models: Vec<CpuModel>,
}

/// A machine type of an emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Machine {
    /// Its name, `pc-i440fx-10.0`.
    pub name: String,
    /// Another name that stands for it, `pc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The most CPUs that it can have.
    pub cpus: u32,
    /// It will be dropped from a later version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

/// A CPU model of an emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CpuModel {
    /// Its name, `EPYC-Rome`.
    pub name: String,
    /// Properties that this machine cannot give it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<String>,
    /// It will be dropped from a later version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

/// An emulator that does not tell about itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The program cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not answer as an emulator does.
    #[error("{} does not tell about itself: {source}", program.display())]
    Answer {
        /// The program.
        program: PathBuf,
        /// What went wrong.
        source: QmpError,
    },
}

/// The emulator is started with no machine at all: nothing of the host is opened, and no guest code runs.
const ARGUMENTS: &[&str] = &[
    "-S",
    "-no-user-config",
    "-nodefaults",
    "-display",
    "none",
    "-machine",
    "none,accel=kvm:tcg",
    "-qmp",
    "stdio",
];

impl Emulator {
    /// Starts `program` without a machine, asks, and ends it. `patience` holds for each answer.
    ///
    /// # Errors
    ///
    /// If there is no such program, or it does not speak QMP in time. The process is gone in any case.
    pub fn ask(program: &Path, patience: Duration) -> Result<Self, EmulatorError> {
        let start = |source| EmulatorError::Start { program: program.to_owned(), source };
        let answer = |source| EmulatorError::Answer { program: program.to_owned(), source };
        let (ours, theirs) = UnixStream::pair().map_err(start)?;
        let output: OwnedFd = theirs.try_clone().map_err(start)?.into();
        let child = Command::new(program)
            .args(ARGUMENTS)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            .spawn()
            .map_err(start)?;
        let mut process = Process(child);
        let mut qmp = Qmp::over(ours, patience).map_err(answer)?;
        let mut execute = |command: &str| qmp.execute(command, None).map_err(answer);
        let version = execute("query-version")?;
        let machines = execute("query-machines")?;
        let cpu_models = execute("query-cpu-definitions")?;
        let kvm = execute("query-kvm")?;
        let emulator = Emulator::of_answers(&version, &machines, &cpu_models, &kvm);
        if execute("quit").is_ok() {
            // it is about to end; waiting here lets it do so in peace
            let _ = process.0.wait();
        }
        Ok(emulator)
    }

    /// Reads the answers to `query-version`, `query-machines`, `query-cpu-definitions` and `query-kvm`.
    fn of_answers(version: &Value, machines: &Value, cpu_models: &Value, kvm: &Value) -> Self {
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let flag = |value: &Value, key: &str| value[key].as_bool().unwrap_or(false);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut machines: Vec<Machine> = list(machines)
            .iter()
            .filter_map(|machine| {
                Some(Machine {
                    name: text(machine, "name")?,
                    alias: text(machine, "alias"),
                    cpus: machine["cpu-max"].as_u64().and_then(|most| most.try_into().ok()).unwrap_or(0),
                    deprecated: flag(machine, "deprecated"),
                })
            })
            .collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        let mut cpu_models: Vec<CpuModel> = list(cpu_models)
            .iter()
            .filter_map(|model| {
                let lacks = list(&model["unavailable-features"]);
                Some(CpuModel {
                    name: text(model, "name")?,
                    unavailable: lacks.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
                    deprecated: flag(model, "deprecated"),
                })
            })
            .collect();
        cpu_models.sort_by(|a, b| a.name.cmp(&b.name));
        Emulator {
            version: QemuVersion::of_answer(version).map(|version| version.to_string()).unwrap_or_default(),
            package: text(version, "package").unwrap_or_default(),
            kvm: flag(kvm, "enabled"),
            machines,
            cpu_models,
        }
    }

    /// The machine type `name`, which may be an alias, and may have a revision (`pc-q35-9.2+pve1`).
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        let name = name.split_once("+pve").map_or(name, |(base, _)| base);
        self.machines.iter().find(|machine| machine.name == name || machine.alias.as_deref() == Some(name))
    }

    /// The CPU model `name`.
    #[must_use]
    pub fn cpu_model(&self, name: &str) -> Option<&CpuModel> {
        self.cpu_models.iter().find(|model| model.name == name)
    }

    /// What this emulator would object to in a command line: machine types and CPU models that it does not know or
    /// cannot offer, and more CPUs than the machine can have.
    #[must_use]
    pub fn objections(&self, command: &CommandLine) -> Vec<Warning> {
        let mut objections = Vec::new();
        let mut object = |key: Key, text: String| objections.push(Warning { key, text });
        let version = &self.version;
        let value = |option: &str| {
            let mut arguments = command.iter().skip_while(|argument| *argument != option);
            arguments.nth(1).filter(|value| !is_option(value)).and_then(|value| value.to_str().ok())
        };
        let flags: Vec<&str> = value("-machine").map(|flags| flags.split(',').collect()).unwrap_or_default();
        let machine = flags.iter().find_map(|flag| flag.strip_prefix("type="));
        let known = machine.and_then(|name| self.machine(name));
        match (machine, known) {
            (Some(name), None) => {
                let newest = match self.newest_like(name) {
                    Some(newest) => format!("; its newest of that kind is {newest}"),
                    None => String::new(),
                };
                object(
                    Key::new("machine"),
                    format!("the installed QEMU {version} has no machine type {name}{newest}"),
                );
            }
            (Some(name), Some(machine)) => {
                if machine.deprecated {
                    let text = format!("machine type {name} is deprecated in the installed QEMU {version}");
                    object(Key::new("machine"), text);
                }
                let most = value("-smp")
                    .and_then(|smp| smp.split(',').find_map(|part| part.strip_prefix("maxcpus=")))
                    .and_then(|most| most.parse::<u32>().ok());
                if let Some(most) = most.filter(|most| machine.cpus > 0 && *most > machine.cpus) {
                    let text = format!("machine type {name} has at most {} CPUs, not {most}", machine.cpus);
                    object(Key::new("cores"), text);
                }
            }
            (None, _) => {}
        }
        let mut cpu = value("-cpu").unwrap_or_default().split(',');
        let model = cpu.next().filter(|model| !model.is_empty());
        match model.map(|name| (name, self.cpu_model(name))) {
            Some((name, None)) => {
                let text = format!("the installed QEMU {version} has no CPU model {name}");
                object(Key::new("cpu").sub("cputype"), text);
            }
            Some((name, Some(model))) => {
                let wants_kvm = !flags.contains(&"accel=tcg");
                if wants_kvm == self.kvm && cpu.any(|flag| flag == "enforce") && !model.unavailable.is_empty()
                {
                    let lacks = model.unavailable.join(", ");
                    object(
                        Key::new("cpu").sub("cputype"),
                        format!("this machine cannot give CPU model {name} to a guest, it lacks {lacks}"),
                    );
                }
                if model.deprecated {
                    let text = format!("CPU model {name} is deprecated in the installed QEMU {version}");
                    object(Key::new("cpu").sub("cputype"), text);
                }
            }
            None => {}
        }
        objections
    }

    /// The newest machine type of the same kind: what stands before the version is the same.
    fn newest_like(&self, name: &str) -> Option<&str> {
        let kind = |name: &str| Some(name.rsplit_once('-')?.0.to_owned());
        let version = |name: &str| -> Option<Vec<u32>> {
            name.rsplit_once('-')?.1.split('.').map(|part| part.parse().ok()).collect()
        };
        let wanted = kind(name.split_once("+pve").map_or(name, |(base, _)| base))?;
        let alike = self.machines.iter().filter(|machine| kind(&machine.name).as_ref() == Some(&wanted));
        alike
            .filter_map(|machine| Some((version(&machine.name)?, machine.name.as_str())))
            .max()
            .map(|(_, name)| name)
    }
}

impl Host {
    /// What the emulator that `command` starts would object to, if it is among [`Host::emulators`].
    #[must_use]
    pub fn objections(&self, command: &CommandLine) -> Vec<Warning> {
        // before the program there may be `taskset` with its arguments
        let mut programs = command.iter().take_while(|argument| *argument != "-id");
        let foreign = programs.find_map(|program| {
            let program: &[u8] = program;
            program.strip_prefix(b"/usr/bin/qemu-system-")?.to_str().ok()
        });
        let arch = foreign.unwrap_or(&self.arch);
        self.emulators.get(arch).map(|emulator| emulator.objections(command)).unwrap_or_default()
    }
}

/// A process that does not outlive its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // both fail if it has ended already, which is as good
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Builder, Options};
    use pve_config::guest::VmConfig;
    use pve_storage::Storages;
    use serde_json::json;

    /// An emulator with few machine types and CPU models.
    fn small() -> Emulator {
        Emulator::of_answers(
            &json!({"qemu": {"major": 9, "minor": 2, "micro": 4}, "package": "pve-qemu-kvm_9.2.4-1"}),
            &json!([
                {"name": "pc-i440fx-9.2", "alias": "pc", "cpu-max": 255},
                {"name": "pc-i440fx-2.4", "cpu-max": 255, "deprecated": true},
                {"name": "pc-i440fx-9.10", "cpu-max": 255},
                {"name": "pc-q35-9.2", "alias": "q35", "cpu-max": 4096},
                {"name": "none", "cpu-max": 1},
            ]),
            &json!([
                {"name": "kvm64", "unavailable-features": []},
                {"name": "host"},
                {"name": "EPYC", "unavailable-features": ["npt", "sse4a"], "deprecated": true},
            ]),
            &json!({"enabled": true, "present": true}),
        )
    }

    fn objections(config: &str, host: &Host) -> Vec<String> {
        let storages = Storages::default();
        let builder = Builder::new(host, &storages);
        let (config, findings) = VmConfig::parse_with(config.as_bytes(), &builder.context());
        assert!(findings.is_empty(), "{findings:?}");
        let command = builder.build(pve_volid::VmId::MIN, &config, &Options::default()).unwrap();
        host.objections(&command).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn answers_are_read() {
        let emulator = small();
        assert_eq!(emulator.version, "9.2.4");
        assert_eq!(emulator.package, "pve-qemu-kvm_9.2.4-1");
        assert!(emulator.kvm);
        assert_eq!(emulator.machine("q35+pve1").unwrap().name, "pc-q35-9.2");
        assert_eq!(emulator.machine("pc-i440fx-9.2+pve1").unwrap().cpus, 255);
        assert_eq!(emulator.machine("pc-i440fx-9.3"), None);
        assert_eq!(emulator.newest_like("pc-i440fx-11.0+pve2"), Some("pc-i440fx-9.10"));
        assert_eq!(emulator.newest_like("virt-11.0"), None);
        let text = serde_json::to_string(&emulator).unwrap();
        assert_eq!(serde_json::from_str::<Emulator>(&text).unwrap(), emulator);
    }

    #[test]
    fn command_lines_are_held_against_the_emulator() {
        let mut host = Host::default();
        assert_eq!(objections("machine: pc-i440fx-9.0\n", &host), [""; 0], "nothing is known");
        host.emulators.insert("x86_64".into(), small());
        host.cpus = 1000;
        assert_eq!(objections("machine: q35\naffinity: 1\n", &host), [""; 0]);
        assert_eq!(
            objections("machine: pc-i440fx-11.0\ncpu: EPYC-Rome\n", &host),
            [
                "machine: the installed QEMU 9.2.4 has no machine type pc-i440fx-11.0+pve0; its newest of that kind is \
                 pc-i440fx-9.10",
                "cpu.cputype: the installed QEMU 9.2.4 has no CPU model EPYC-Rome",
            ]
        );
        assert_eq!(
            objections("machine: pc-i440fx-2.4\ncpu: EPYC\nsockets: 4\ncores: 64\n", &host),
            [
                "machine: machine type pc-i440fx-2.4+pve0 is deprecated in the installed QEMU 9.2.4",
                "cores: machine type pc-i440fx-2.4+pve0 has at most 255 CPUs, not 256",
                "cpu.cputype: this machine cannot give CPU model EPYC to a guest, it lacks npt, sse4a",
                "cpu.cputype: CPU model EPYC is deprecated in the installed QEMU 9.2.4",
            ]
        );
        // what the model lacks with KVM says nothing about emulation; the guest of another architecture has another
        assert_eq!(
            objections("kvm: 0\ncpu: EPYC\n", &host),
            ["cpu.cputype: CPU model EPYC is deprecated in the installed QEMU 9.2.4"]
        );
        assert_eq!(objections("arch: aarch64\n", &host), [""; 0]);
    }

    #[test]
    fn a_program_that_is_none_is_an_error() {
        let ask = |program: &str| Emulator::ask(Path::new(program), Duration::from_secs(5)).unwrap_err();
        assert!(matches!(ask("/no/such/program"), EmulatorError::Start { .. }));
        assert!(matches!(ask("/bin/true"), EmulatorError::Answer { .. }));
        let waiting = Emulator::ask(Path::new("/usr/bin/yes"), Duration::from_millis(300)).unwrap_err();
        assert!(waiting.to_string().starts_with("/usr/bin/yes does not tell about itself"), "{waiting}");
    }
}
