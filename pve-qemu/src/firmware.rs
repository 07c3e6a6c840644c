// SPDX-License-Identifier: MIT OR Apache-2.0
//! OVMF and AAVMF: firmware code, and the variables on the EFI disk (spec: qemu-command-drives, "EFI disk (OVMF), `bios:
//! ovmf`").

use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_config::vm::{self as config, AmdSev, SevType};

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step};
use crate::conf::Props;
use crate::drive::{CacheMode, Drive, Node, NodeOptions, Place};
use crate::error::Reason;
use crate::origin::{Key, Rule};
use crate::version::Feature;

/// Where the firmware lies. The second slash is the reference's.
const DIRECTORY: &str = "/usr/share/pve-edk2-firmware//";
/// The same for the host's file system.
const HOST_DIRECTORY: &str = "/usr/share/pve-edk2-firmware";

const EFIDISK: Key = Key::new("efidisk0");
const BIOS: Key = Key::new("bios");

/// Files of a firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    code: &'static str,
    /// `None`: the code is loaded as a whole and keeps no variables.
    vars: Option<&'static str>,
}

/// The firmware of 64-bit Arm that checks signatures.
const SECURE_ARM: &str = "AAVMF_CODE.secboot.fd";

/// Kind of guest whose memory is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Sev,
    Snp,
    Tdx,
}

/// What decides which variables a firmware starts with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variables<'a> {
    arch: Arch<'a>,
    encryption: Option<Encryption>,
    /// Room for 4 MiB of firmware: `efitype=4m`.
    large: bool,
    /// With keys for secure boot.
    enrolled: bool,
}

impl<'a> Variables<'a> {
    /// The files with keys for secure boot.
    pub(crate) const WITH_KEYS: [&'static str; 2] = ["OVMF_VARS_4M.ms.fd", "AAVMF_VARS.ms.fd"];

    /// Those of a new EFI disk of a VM; `arch` is that of the host.
    pub(crate) fn of_new_disk(arch: &'a str, main: &'a VmSection<'_>, disk: &config::Drive<'_>) -> Self {
        let arch = main.truthy("arch").map_or(arch.as_bytes(), |arch| arch.as_bytes());
        let sev = main.truthy("amd-sev").map(|text| {
            let is_snp = AmdSev::parse(text).is_ok_and(|sev| sev.kind == SevType::Snp);
            if is_snp { Encryption::Snp } else { Encryption::Sev }
        });
        Variables {
            arch: Arch::from_bytes(arch),
            encryption: sev.or(main.truthy("intel-tdx").map(|_| Encryption::Tdx)),
            large: disk.efitype == Some(config::EfiType::FourMiB),
            enrolled: disk.pre_enrolled_keys == Some(true),
        }
    }

    /// Where they lie; `None` if this firmware keeps no variables. `exists` tells whether there is a file of that path.
    pub(crate) fn path(self, exists: impl Fn(&BStr) -> bool) -> Option<BString> {
        let in_directory = |file: &str| BString::from(format!("{HOST_DIRECTORY}/{file}"));
        let secure = self.arch == Arch::Arm && self.enrolled && exists(in_directory(SECURE_ARM).as_bstr());
        self.file(secure).map(in_directory)
    }

    /// The name of their file; `secure` tells whether the host has the firmware of Arm that checks signatures.
    fn file(self, secure: bool) -> Option<&'static str> {
        match (self.arch, self.encryption) {
            (Arch::X86, Some(Encryption::Snp | Encryption::Tdx)) | (Arch::Other(_), _) => None,
            (Arch::X86, Some(Encryption::Sev)) => Some("OVMF_SEV_VARS_4M.fd"),
            (Arch::X86, None) if self.large && self.enrolled => Some("OVMF_VARS_4M.ms.fd"),
            (Arch::X86, None) if self.large => Some("OVMF_VARS_4M.fd"),
            (Arch::X86, None) => Some("OVMF_VARS.fd"),
            (Arch::Arm, _) if self.enrolled && secure => Some("AAVMF_VARS.ms.fd"),
            (Arch::Arm, _) => Some("AAVMF_VARS.fd"),
        }
    }
}

impl<'a> Assembly<'a> {
    /// Firmware arguments of guests with `bios: ovmf`.
    pub(crate) fn put_firmware(&mut self) -> Step {
        if !self.ovmf {
            return Ok(());
        }
        self.check_ovmf_cpu()?;
        let efidisk = self.drives.special("efidisk0").cloned();
        let props = self.conf.props("efidisk0").filter(|_| efidisk.is_some());
        let files = self.firmware_files(props.as_ref())?;
        self.require(files.code)?;
        let Some(vars) = files.vars else {
            put!(self.main.option("-bios", Rule::Firmware.of(BIOS)), DIRECTORY, files.code);
            if efidisk.is_some() {
                self.warn(EFIDISK, "the EFI disk is ignored: this firmware keeps no variables");
            }
            return Ok(());
        };
        let size = self.require(vars)?;
        let copy = format!("/run/qemu-server/efidisk/{}-ovmf.fd", self.vmid.get());
        if efidisk.is_none() {
            self.warn(BIOS, "without an EFI disk the firmware's variables are lost when the guest stops");
            self.effects.copies.push(crate::command_line::Copy {
                from: PathBuf::from(HOST_DIRECTORY).join(vars),
                to: PathBuf::from(&copy),
            });
        }
        if self.has(Feature::Blockdev) {
            self.put_firmware_nodes(files.code, efidisk.as_ref(), &copy, size)
        } else {
            self.put_firmware_drives(files.code, efidisk.as_ref(), &copy, size)
        }
    }

    /// The form from machine version 10.0 on.
    fn put_firmware_nodes(&mut self, code: &str, efidisk: Option<&Drive<'a>>, copy: &str, size: u64) -> Step {
        let origin = Rule::Firmware.of(BIOS);
        let mut file = Node::default();
        file.set("driver", "file", origin);
        file.set("filename", format!("{DIRECTORY}{code}"), origin);
        let mut code = Node::default();
        code.set("driver", "raw", origin);
        code.set("file", file, origin);
        code.set("node-name", "pflash0", origin);
        code.set("read-only", true, origin);

        let options = NodeOptions {
            read_only: self.template,
            cache: Some(CacheMode { direct: false, no_flush: false }),
            firmware: true,
            ..NodeOptions::default()
        };
        let chain = match efidisk {
            Some(drive) => {
                let place = self.place(drive)?;
                if matches!(place, Place::Path(_)) && drive.truthy("format").is_none() {
                    return Err(self.error(EFIDISK.sub("format"), Reason::EfiFormat));
                }
                let raw = self.drive_format(drive, place)? == "raw";
                self.put_throttle_group(drive);
                self.note_librbd(place);
                self.block_chain(drive, place, &NodeOptions { size: raw.then_some(size), ..options })?
            }
            None => {
                let path = BStr::new(copy);
                let Some(drive) = Drive::efidisk(EFIDISK, path) else { return Ok(()) };
                self.put_throttle_group(&drive);
                let options = NodeOptions { size: Some(size), is_copy: true, ..options };
                self.block_chain(&drive, Place::Path(path), &options)?
            }
        };
        code.put(&mut self.main.option("-blockdev", origin));
        chain.put(
            &mut self.main.option("-blockdev", Rule::FirmwareVars.of_or_default(EFIDISK, efidisk.is_some())),
        );
        self.machine_flags.push("pflash0=pflash0", origin);
        self.machine_flags.push("pflash1=drive-efidisk0", Rule::FirmwareVars.of(EFIDISK));
        Ok(())
    }

    /// The form before machine version 10.0.
    fn put_firmware_drives(
        &mut self,
        code: &str,
        efidisk: Option<&Drive<'a>>,
        copy: &str,
        size: u64,
    ) -> Step {
        let (path, format) = match efidisk {
            Some(drive) => {
                let place = self.place(drive)?;
                let configured = drive.truthy("format");
                let format: BString = match (configured, place) {
                    (Some(format), _) => format.to_owned(),
                    (None, Place::Volume(volume)) => self.volume_format(EFIDISK, &volume)?.into(),
                    (None, _) => return Err(self.error(EFIDISK.sub("format"), Reason::EfiFormat)),
                };
                self.note_librbd(place);
                let path = match place {
                    Place::Volume(volume) => self.locate(EFIDISK, &volume, None)?.0,
                    _ => drive.file.to_owned(),
                };
                (path, format)
            }
            None => (BString::from(copy), BString::from("raw")),
        };
        let sized = format == "raw" && self.has(Feature::FirmwareSize);
        let template = self.template;
        let origin = Rule::Firmware.of(BIOS);
        put!(
            self.main.option("-drive", origin),
            "if=pflash,unit=0,format=raw,readonly=on,file=",
            DIRECTORY,
            code
        );
        let vars = Rule::FirmwareVars.of_or_default(EFIDISK, efidisk.is_some());
        let rbd = path.starts_with(b"rbd:");
        let mut element = self.main.option("-drive", vars);
        element.put("if=pflash,unit=1,id=drive-efidisk0");
        if rbd {
            element.put(",cache=writeback");
        }
        put!(element, ",format=", &format, ",file=", &path);
        if rbd {
            element.put(":rbd_cache_policy=writeback");
        }
        if sized {
            element.because(Rule::FirmwareSize.host("firmware", EFIDISK));
            put!(element, ",size=", size);
        }
        if template && efidisk.is_some() {
            element.because(Rule::ReadOnly.of(Key::new("template"))).put(",readonly=on");
        }
        Ok(())
    }

    /// Which files the guest needs.
    fn firmware_files(&mut self, efidisk: Option<&Props<'a>>) -> Step<Files> {
        let enrolled = efidisk.is_some_and(|disk| disk.truthy("pre-enrolled-keys").is_some());
        let large = efidisk.and_then(|disk| disk.get("efitype")).is_some_and(|kind| kind == "4m");
        let encryption = self.encryption();
        let secure = self.host.firmware_size(SECURE_ARM).is_some();
        let code = match (self.arch, encryption) {
            (Arch::X86, Some(Encryption::Snp)) => "OVMF_SEV_4M.fd",
            (Arch::X86, Some(Encryption::Sev)) => "OVMF_SEV_CODE_4M.fd",
            (Arch::X86, Some(Encryption::Tdx)) => "OVMF_TDX_4M.ms.fd",
            (Arch::X86, None) if large && self.q35 => "OVMF_CODE_4M.secboot.fd",
            (Arch::X86, None) if large => "OVMF_CODE_4M.fd",
            (Arch::X86, None) => "OVMF_CODE.fd",
            (Arch::Arm, _) if enrolled && secure => SECURE_ARM,
            (Arch::Arm, _) => {
                if enrolled {
                    self.warn(EFIDISK.sub("pre-enrolled-keys"), "the host has no firmware for secure boot");
                }
                "AAVMF_CODE.fd"
            }
            (Arch::Other(_), _) => {
                return Err(self.error(Key::new("arch"), Reason::Architecture(self.arch.name().into())));
            }
        };
        let vars = Variables { arch: self.arch, encryption, large, enrolled }.file(secure);
        Ok(Files { code, vars })
    }

    fn encryption(&self) -> Option<Encryption> {
        if self.conf.truthy("amd-sev").is_some() {
            let kind = self.conf.props("amd-sev").and_then(|sev| sev.get("type"));
            return Some(match kind.map(|kind| kind.as_bytes()) {
                Some(b"snp") => Encryption::Snp,
                _ => Encryption::Sev,
            });
        }
        self.conf.truthy("intel-tdx").map(|_| Encryption::Tdx)
    }

    /// Size of a firmware file, which must be there.
    fn require(&self, file: &str) -> Step<u64> {
        let missing = || self.error(BIOS, Reason::NoFirmware(format!("{HOST_DIRECTORY}/{file}")));
        self.host.firmware_size(file).ok_or_else(missing)
    }

    /// librbd is told to keep writes in its cache for firmware variables.
    fn note_librbd(&mut self, place: Place<'a>) {
        let Place::Volume(volume) = place else { return };
        let storage = volume.storage();
        if storage.storage_type() == Some(pve_volid::StorageType::Rbd) && !storage.flag("krbd") {
            self.effects.rbd_writeback.push(volume.volid());
        }
    }
}
