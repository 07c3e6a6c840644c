// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line being built: what is known of guest and host, and the lists that the parts write to.
//!
//! The order of the steps is the reference's; see [`Assembly::run`]. Every step lives in the file of its subject.

use std::cell::RefCell;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::VmId;

use crate::argument::Arguments;
use crate::boot::BootOrder;
use crate::builder::{Builder, Options};
use crate::cloudinit::windows_version;
use crate::command_line::{CommandLine, Effects};
use crate::conf::Conf;
use crate::drive::Drives;
use crate::error::{CommandError, Notice, Reason, Warning};
use crate::host::{FileType, Host};
use crate::origin::{Key, Origin, Rule};
use crate::passthrough::Passthrough;
use crate::pci::{self, Address, Buses};
use crate::version::{Feature, MachineVersion, QemuVersion, Scale};

/// Result of a step.
pub(crate) type Step<T = ()> = Result<T, CommandError>;

/// Architecture of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch<'a> {
    X86,
    Arm,
    Other(&'a BStr),
}

impl<'a> Arch<'a> {
    pub(crate) fn from_bytes(text: &'a [u8]) -> Self {
        match text {
            b"x86_64" => Arch::X86,
            b"aarch64" => Arch::Arm,
            other => Arch::Other(other.as_bstr()),
        }
    }

    /// The name, for look-ups in [`Host`]; architectures without name there are never found.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Arch::X86 => "x86_64",
            Arch::Arm => "aarch64",
            Arch::Other(name) => std::str::from_utf8(name).unwrap_or("unknown"),
        }
    }
}

/// Everything the steps share.
pub(crate) struct Assembly<'a> {
    pub(crate) builder: &'a Builder<'a>,
    pub(crate) host: &'a Host,
    pub(crate) options: &'a Options<'a>,
    pub(crate) vmid: VmId,
    pub(crate) conf: Conf<'a>,

    pub(crate) arch: Arch<'a>,
    /// The guest's architecture is the host's.
    pub(crate) native: bool,
    /// KVM rather than emulation.
    pub(crate) kvm: bool,
    pub(crate) template: bool,
    /// Version of Windows, 0 for everything else.
    pub(crate) windows: u32,
    pub(crate) ostype: &'a BStr,
    pub(crate) ovmf: bool,
    /// Version of the emulator that runs the guest.
    pub(crate) emulator: QemuVersion,
    /// The configured machine is a q35.
    pub(crate) q35: bool,
    /// The configured machine type, as text.
    pub(crate) configured_machine: Option<&'a BStr>,
    /// The machine that is forced, see [`Options`].
    pub(crate) forced_machine: Option<&'a BStr>,
    /// The CPU that is forced.
    pub(crate) forced_cpu: Option<&'a BStr>,
    /// MTU of the cards on the source of a migration, see [`Options`].
    pub(crate) nets_host_mtu: Option<&'a BStr>,
    /// The effective machine type, without `.pxe`.
    pub(crate) machine: BString,
    pub(crate) machine_origin: Origin,
    pub(crate) machine_version: MachineVersion,
    /// Network cards boot from ROM files.
    pub(crate) rom_files: bool,
    /// Machine version by which the front ends of drives go.
    pub(crate) front_end_version: MachineVersion,
    /// The revision that what was used so far needs.
    pub(crate) required_revision: u32,

    pub(crate) drives: Drives<'a>,
    pub(crate) boot: BootOrder,
    pub(crate) passthrough: Passthrough<'a>,
    pub(crate) features: HotplugFeatures,

    pub(crate) main: Arguments,
    /// What goes before the devices, known only after them.
    pub(crate) front: Arguments,
    pub(crate) devices: Arguments,
    pub(crate) rtc: Arguments,
    pub(crate) machine_flags: Arguments,
    pub(crate) buses: Buses,
    /// Paths whose type was asked for, if anybody wants to know.
    asked: Option<RefCell<Vec<String>>>,
    /// The host's CD-ROM drive was wanted, and there is none.
    pub(crate) missed_cdrom: bool,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) effects: Effects,
}

/// What can be plugged while the guest runs (spec: qemu-command, "CPU topology").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HotplugFeatures {
    pub(crate) cpu: bool,
    pub(crate) memory: bool,
}

impl HotplugFeatures {
    fn of(conf: &Conf<'_>) -> Self {
        let listed = conf.get("hotplug").unwrap_or_default();
        let mut features = HotplugFeatures::default();
        for word in listed.split(|b| matches!(b, b',' | b';') || b.is_ascii_whitespace()) {
            features.cpu |= word == b"cpu";
            features.memory |= word == b"memory";
        }
        features
    }
}

impl<'a> Assembly<'a> {
    /// What is known before the first argument.
    pub(crate) fn new(
        builder: &'a Builder<'a>,
        vmid: VmId,
        conf: Conf<'a>,
        options: &'a Options<'a>,
    ) -> Self {
        let host = builder.host();
        let arch_text = conf.get("arch").filter(|text| truthy(Some(text)));
        let arch = Arch::from_bytes(arch_text.map_or(host.arch.as_bytes(), |text| text.as_bytes()));
        let native = arch == Arch::from_bytes(host.arch.as_bytes());
        let ostype = conf.get("ostype").unwrap_or_default();
        let configured_machine = conf.props("machine").and_then(|machine| machine.get("type"));
        let of_snapshot = |name| conf.get(name).filter(|_| options.snapshot.is_some());
        let forced =
            |given: Option<&'a BStr>, saved| given.or_else(|| of_snapshot(saved)).filter(|t| truthy(Some(t)));
        let forced_machine = forced(options.force_machine, "runningmachine");
        let forced_cpu = forced(options.force_cpu, "runningcpu");
        let nets_host_mtu = options.nets_host_mtu.or_else(|| of_snapshot("running-nets-host-mtu"));
        let mut assembly = Assembly {
            builder,
            host,
            options,
            vmid,
            arch,
            native,
            kvm: conf.get("kvm").map_or(native, |kvm| truthy(Some(kvm))),
            template: conf.is_template(),
            windows: windows_version(ostype),
            ostype,
            ovmf: conf.get("bios").is_some_and(|bios| bios == "ovmf"),
            emulator: QemuVersion::OLDEST,
            q35: configured_machine.is_some_and(|machine| machine.contains_str("q35")),
            configured_machine,
            forced_machine,
            forced_cpu,
            nets_host_mtu,
            machine: BString::default(),
            machine_origin: Origin::default(),
            machine_version: MachineVersion::new(0, 0, 0),
            rom_files: false,
            front_end_version: MachineVersion::new(0, 0, 0),
            required_revision: 0,
            drives: Drives::default(),
            boot: BootOrder::default(),
            passthrough: Passthrough::default(),
            features: HotplugFeatures::of(&conf),
            conf,
            main: Arguments::with_capacity(96, 4096),
            front: Arguments::default(),
            devices: Arguments::with_capacity(96, 8192),
            rtc: Arguments::default(),
            machine_flags: Arguments::default(),
            buses: Buses::default(),
            asked: None,
            missed_cdrom: false,
            warnings: Vec::new(),
            notices: Vec::new(),
            effects: Effects::default(),
        };
        assembly.read_drives();
        assembly
    }

    /// All steps in order (spec: qemu-command, "Emission order").
    pub(crate) fn run(&mut self) -> Step<CommandLine> {
        if !self.host.vm_running {
            self.check_volumes()?;
        }
        self.choose_machine()?;
        self.boot = BootOrder::of(&self.conf, &self.drives);

        let mut program = std::mem::take(&mut self.main);
        self.put_program(&mut program);
        self.main = program;
        self.put_process();
        self.put_smbios();
        self.put_firmware()?;
        self.put_hotplug_fixup();
        self.put_topology()?;
        self.put_start_up();
        self.resolve_passthrough()?;
        let display = self.put_display_backend();
        self.put_clock()?;
        self.put_cpu()?;
        self.put_memory()?;
        self.put_interaction();

        self.put_vmgenid();
        self.put_usb_controllers();
        self.put_tablet(&display);
        self.put_passthrough()?;
        self.put_usb_devices()?;
        self.put_serial_ports()?;
        self.put_audio();
        self.put_tpm()?;
        self.put_display(&display)?;
        self.put_agent();
        self.put_random_numbers()?;
        self.put_spice(&display)?;
        self.put_balloon();
        self.put_watchdog();
        self.put_drives()?;
        self.put_networks()?;
        self.put_ivshmem();
        self.put_iommu()?;
        self.put_confidential()?;
        self.put_virtiofs()?;
        self.put_bridges();
        self.put_power_states();
        self.finish()
    }

    /// Joins the lists and adds the tail.
    fn finish(&mut self) -> Step<CommandLine> {
        self.put_machine_flags();
        let mut command = std::mem::take(&mut self.main);
        command.reserve(&[&self.front, &self.devices]);
        command.append(&self.front);
        command.append(&self.devices);
        if !self.rtc.is_empty() {
            command.push("-rtc", Rule::ClockBase.rule());
            command.push_joined(&self.rtc, ",");
        }
        command.push("-machine", self.machine_origin);
        command.push_joined(&self.machine_flags, ",");
        self.put_saved_state(&mut command)?;
        if self.template {
            command.push("-snapshot", Rule::Template.of(Key::new("template")));
        }
        self.put_args(&mut command)?;
        self.put_launch(&mut command);
        if command.contains_nul() {
            return Err(self.error(Key::NONE, Reason::Nul));
        }
        let (warnings, notices) = (std::mem::take(&mut self.warnings), std::mem::take(&mut self.notices));
        Ok(CommandLine::new(command, warnings, notices, std::mem::take(&mut self.effects)))
    }

    /// The saved state of a suspended machine or snapshot.
    fn put_saved_state(&mut self, command: &mut Arguments) -> Step {
        let key = Key::new("vmstate");
        let Some(volume) = self.conf.truthy("vmstate") else { return Ok(()) };
        let path = self.volume_path(key, volume)?;
        command.pair("-loadstate", &path, Rule::SavedState.of(key));
        self.notices.push(Notice { key, text: format!("the state saved in {volume} is loaded") });
        Ok(())
    }

    /// The option `args`.
    fn put_args(&mut self, command: &mut Arguments) -> Step {
        let Some(args) = self.conf.truthy("args") else { return Ok(()) };
        let origin = Rule::Args.of(Key::new("args"));
        let args = args.trim_with(|c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r'));
        for word in crate::shell::split(args).unwrap_or_default() {
            command.push(&word, origin);
        }
        Ok(())
    }

    /// An error about `key`.
    pub(crate) fn error(&self, key: Key, reason: impl Into<Reason>) -> CommandError {
        CommandError::new(key, reason)
    }

    /// Notes something odd.
    pub(crate) fn warn(&mut self, key: Key, text: impl Into<String>) {
        self.warnings.push(Warning { key, text: text.into() });
    }

    /// What `path` is on the host.
    pub(crate) fn file_type(&self, path: &str) -> FileType {
        self.note_path(path);
        self.host.file_type(path)
    }

    /// Whether `path` is a `kind` on the host.
    pub(crate) fn is(&self, path: &str, kind: FileType) -> bool {
        self.note_path(path);
        self.host.is(path, kind)
    }

    /// The result depends on what `path` is.
    pub(crate) fn note_path(&self, path: &str) {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().push(path.to_owned());
        }
    }

    /// The paths that the result depends on, sorted.
    pub(crate) fn consulted(mut self) -> Vec<String> {
        self.asked = Some(RefCell::default());
        // a command line that cannot be built still depends on the paths that were looked at until then
        let _ = self.run();
        let mut paths = self.asked.map(RefCell::into_inner).unwrap_or_default();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Whether the guest, or the emulator, has `feature`; a feature that came with a revision of exactly this machine
    /// version makes that revision required (spec: qemu-command, "`atleast`, `guard`, revisions").
    pub(crate) fn has(&mut self, feature: Feature) -> bool {
        let threshold = feature.threshold();
        let since = threshold.since;
        if threshold.scale == Scale::Emulator {
            return self.emulator.at_least(since.major, since.minor);
        }
        let has = self.machine_version >= since;
        let same = (self.machine_version.major, self.machine_version.minor) == (since.major, since.minor);
        let beyond = self.machine_version.pve > crate::version::highest_revision(since.major, since.minor);
        if has && threshold.scale == Scale::MachineRevision && same && !beyond {
            self.required_revision = self.required_revision.max(since.pve);
        }
        has
    }

    /// Whether drives are seen by the guest as from machine version 10.0 on.
    pub(crate) fn front_end_is_new(&self) -> bool {
        self.front_end_version >= Feature::Blockdev.threshold().since
    }

    /// The fixed place of a device, as `,bus=…,addr=…`; its bus is needed from now on.
    pub(crate) fn address(&mut self, name: &str, number: Option<u8>) -> Option<Address> {
        let slot = pci::slot(name, number)?;
        self.buses.need(slot.bus);
        Some(Address { slot, arm: self.arch == Arch::Arm })
    }
}

/// Whether a value counts: set, not empty, not `0` (spec: qemu-command, "Conventions").
pub(crate) fn truthy(value: Option<&[u8]>) -> bool {
    value.is_some_and(|text| !text.is_empty() && text != b"0")
}
