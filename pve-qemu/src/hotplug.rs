// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applying pending changes to a VM that runs (spec: vm-lifecycle, "Hot-plug").
//!
//! What QEMU can do while the guest runs is done: devices are plugged and unplugged, media and limits changed. The rest
//! stays pending until the VM stops. Which kinds of devices the VM lets be changed at all is its option `hotplug`; the
//! value counts that it had before the change.
//!
//! | option | changed at once |
//! |---|---|
//! | `name`, `description`, `onboot`, `tags`, `lock`, `protection` …, cloud-init options | always, also those that were pending before |
//! | `netN` | with feature `network`; bridge, VLAN, firewall, rate and link also without |
//! | `scsiN`, `virtioN` | with feature `disk`; limits of throughput, and what only the host cares about, also without |
//! | media of CD-ROM drives on any bus | always |
//! | `usbN`, `tablet` | with feature `usb` |
//! | `vcpus`, `memory` | with feature `cpu`, `memory` |
//! | `balloon`, `cpuunits`, `cpulimit` | always, unless `balloon` would add or remove the device |
//! | the drive with the cloud-init image | as other drives, after everything else, with a new image |
//! | all others | never |

mod drive;
mod network;

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, VmSection, is_cloudinit_option, is_cloudinit_volume};
use pve_config::rule::ValueError;
use pve_config::vm::{Agent, Bus, DriveId, Hotplug as Features, HotplugFeature, Memory};
use pve_volid::VmId;

use crate::cloudinit::{Occasion, windows_version};
use crate::left_behind::LeftBehind;
use crate::node::{MachineChange, Node, WorldError};
use crate::pending;
use crate::release::{Release, ReleaseError};
use crate::update::UpdateError;
use crate::version::Feature;
use crate::vm_file;

/// Options that QEMU does not know, or learns only at the next start; they change at once, as do those of cloud-init.
const IMMEDIATE: [&str; 12] = [
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "protection",
    "shares",
    "startup",
    "tags",
    "vmstatestorage",
];

/// Why a change could not be made. It stays pending.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HotplugError {
    /// The VM boots from the disk.
    #[error("the VM boots from this disk, so it cannot be unplugged while it runs")]
    BootDisk,
    /// A disk cannot become a CD-ROM drive, nor the other way round.
    #[error("a disk cannot become a CD-ROM drive while the VM runs, nor the other way round")]
    MediaType,
    /// More CPUs than the VM was started with places for.
    #[error("{wanted} CPUs are more than sockets times cores ({most})")]
    TooManyCpus {
        /// The option `vcpus`.
        wanted: u64,
        /// The most.
        most: u64,
    },
    /// The value cannot be read.
    #[error("{0}")]
    Value(#[source] Box<ValueError>),
    /// The volume of the drive cannot be let go.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// QEMU or a storage refused.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl From<ValueError> for HotplugError {
    fn from(error: ValueError) -> Self {
        HotplugError::Value(Box::new(error))
    }
}

/// What became of pending changes of a running VM.
pub(crate) struct Plugged {
    /// The configuration now.
    pub(crate) config: VmConfig<'static>,
    /// Options whose change failed.
    pub(crate) refused: Vec<(BString, HotplugError)>,
    /// Volumes that nothing names any more, and that could not be freed.
    pub(crate) left_behind: Vec<LeftBehind>,
}

/// What is done with one option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is as it should be.
    Done,
    /// It stays pending.
    Later,
}

/// Applies what can be applied while the VM runs, of the options `requested`; the caller holds the lock.
pub(crate) fn apply(
    node: Node<'_>,
    vmid: VmId,
    config: VmConfig<'static>,
    requested: &BTreeSet<BString>,
) -> Result<Plugged, UpdateError> {
    if config.pending.is_empty() {
        return Ok(Plugged { config, refused: Vec::new(), left_behind: Vec::new() });
    }
    let features = config.main.hotplug().unwrap_or_default();
    let release = Release::new(node, vmid);
    let mut work = Hotplug { node, vmid, config, features, release };
    work.apply_immediate();
    work.store()?;
    let mut refused = Vec::new();
    let deletions = pending::deletions(&work.config);
    for (key, force) in deletions.into_iter().filter(|(key, _)| requested.contains(key)) {
        match work.delete(key.as_bstr(), force) {
            Ok(Outcome::Done) => work.change(key.as_bstr(), None),
            Ok(Outcome::Later) => {}
            Err(error) => refused.push((key, error)),
        }
    }
    // the image of a cloud-init drive is made when everything else is in place
    let values = pending::values(&work.config).into_iter().filter(|(key, _)| requested.contains(key));
    let (last, first): (Vec<_>, Vec<_>) = values.partition(|(key, value)| is_cloudinit_drive(key, value));
    for (key, value) in first.into_iter().chain(last) {
        match work.set(key.as_bstr(), &value) {
            Ok(Outcome::Done) => work.change(key.as_bstr(), Some(value)),
            Ok(Outcome::Later) => {}
            Err(error) => refused.push((key, error)),
        }
    }
    work.store()?;
    work.refresh_cloudinit()?;
    Ok(Plugged { config: work.config, refused, left_behind: work.release.left_behind })
}

fn is_cloudinit_drive(key: &BString, value: &BString) -> bool {
    pending::drive(key.as_bstr(), value).is_some_and(|drive| is_cloudinit_volume(drive.file))
}

fn is_immediate(key: &BStr) -> bool {
    let is_net = DeviceKind::of(key) == Some(DeviceKind::Net);
    IMMEDIATE.iter().any(|name| key == *name) || is_cloudinit_option(key) && !is_net
}

/// Devices with a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DeviceKind {
    Net,
    Usb,
    Drive(DriveId),
}

impl DeviceKind {
    fn of(key: &BStr) -> Option<Self> {
        if let Some(id) = DriveId::from_key(key) {
            return (id.bus != Bus::Unused).then_some(DeviceKind::Drive(id));
        }
        match pve_config::schema::VM.find(key) {
            Some((option, Some(_))) if option.name == "net" => Some(DeviceKind::Net),
            Some((option, Some(_))) if option.name == "usb" => Some(DeviceKind::Usb),
            _ => None,
        }
    }
}

/// Changes of one running VM.
struct Hotplug<'a> {
    node: Node<'a>,
    vmid: VmId,
    config: VmConfig<'static>,
    features: Features,
    release: Release<'a>,
}

impl Hotplug<'_> {
    fn store(&mut self) -> Result<(), UpdateError> {
        self.config = vm_file::store(self.node, self.vmid, &self.config)?;
        Ok(())
    }

    fn has(&self, feature: HotplugFeature) -> bool {
        self.features.has(feature)
    }

    fn tell(&self, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.node.machines.change(self.vmid, change)
    }

    /// Gives an option its new value in the main section, or removes it there.
    fn change(&mut self, key: &BStr, new: Option<BString>) {
        let old = self.config.main.get(key).map(BStr::to_owned);
        if let Ok(key) = key.to_str() {
            self.config.record_cloudinit_change(key, old.as_ref(), new.as_ref());
        }
        if new.is_some() {
            self.config.pending.remove(key);
        } else {
            self.config.pending.unqueue_deletion(key);
        }
        match new {
            Some(value) => drop(self.config.main.set(key, value)),
            None => drop(self.config.main.remove(key)),
        }
    }

    fn apply_immediate(&mut self) {
        for (key, value) in pending::values(&self.config) {
            if is_immediate(key.as_bstr()) {
                self.change(key.as_bstr(), Some(value));
            }
        }
    }

    fn delete(&mut self, key: &BStr, force: bool) -> Result<Outcome, HotplugError> {
        if is_immediate(key) {
            return Ok(Outcome::Done);
        }
        match DeviceKind::of(key) {
            Some(DeviceKind::Drive(id)) => return self.delete_drive(id, key, force),
            Some(DeviceKind::Net) => {
                return self.needs(HotplugFeature::Network, |work| work.unplug(key));
            }
            Some(DeviceKind::Usb) if !self.has_modern_usb() => return Ok(Outcome::Later),
            Some(DeviceKind::Usb) => return self.needs(HotplugFeature::Usb, |work| work.unplug(key)),
            None => {}
        }
        match key.as_bytes() {
            b"hotplug" if self.plugs_board() => Ok(Outcome::Later),
            b"hotplug" => Ok(Outcome::Done),
            b"tablet" => self.needs(HotplugFeature::Usb, |work| work.plug(key, &work.config.main)),
            b"vcpus" => self.needs(HotplugFeature::Cpu, |work| {
                let (from, to) = (work.vcpus(), work.most_cpus());
                work.tell(&MachineChange::Cpus { from, to, configured: None, section: &work.config.main })
            }),
            b"balloon" if !self.has_balloon() => Ok(Outcome::Later),
            b"balloon" => {
                let mib = self.memory()?;
                self.done(&MachineChange::Balloon { mib })
            }
            b"memory" => self.needs(HotplugFeature::Memory, |work| {
                work.tell(&MachineChange::Memory { mib: 512, section: &work.config.main })
            }),
            b"cpuunits" => self.done(&MachineChange::CpuWeight { weight: None }),
            b"cpulimit" => self.done(&MachineChange::CpuQuota { percent: None }),
            _ => Ok(Outcome::Later),
        }
    }

    fn set(&mut self, key: &BStr, value: &BString) -> Result<Outcome, HotplugError> {
        match DeviceKind::of(key) {
            Some(DeviceKind::Drive(id)) => return self.set_drive(id, key, value),
            Some(DeviceKind::Net) => return self.set_net(key, value),
            Some(DeviceKind::Usb) => return self.set_usb(key, value),
            None => {}
        }
        let number = || value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        match key.as_bytes() {
            b"hotplug" => {
                let board = [HotplugFeature::Memory, HotplugFeature::Cpu];
                let new = Features::parse(value)?;
                let stays = self.plugs_board() || board.into_iter().any(|feature| new.has(feature));
                Ok(if stays { Outcome::Later } else { Outcome::Done })
            }
            b"tablet" => self.needs(HotplugFeature::Usb, |work| {
                let wanted = value != "0" && !value.is_empty();
                if wanted { work.plug(key, &work.config.main) } else { work.unplug(key) }
            }),
            b"vcpus" => {
                let (wanted, most) = (number().unwrap_or(0), self.most_cpus());
                if self.has(HotplugFeature::Cpu) && wanted > most {
                    return Err(HotplugError::TooManyCpus { wanted, most });
                }
                self.needs(HotplugFeature::Cpu, |work| {
                    let from = work.vcpus();
                    work.tell(&MachineChange::Cpus {
                        from,
                        to: wanted,
                        configured: Some(wanted),
                        section: &work.config.main,
                    })
                })
            }
            b"balloon" => {
                let mib = number().unwrap_or(0);
                if self.has_balloon() != (mib > 0) {
                    return Ok(Outcome::Later);
                }
                // otherwise the balloon is moved with those of other VMs
                if self.config.main.get("shares").is_some_and(|shares| shares == "0") {
                    self.tell(&MachineChange::Balloon { mib })?;
                }
                Ok(Outcome::Done)
            }
            b"memory" => {
                let mib = Memory::read(Some(value))?.current.get().unwrap_or_default();
                self.needs(HotplugFeature::Memory, |work| {
                    let mib = u64::try_from(mib).unwrap_or_default();
                    work.tell(&MachineChange::Memory { mib, section: &work.config.main })
                })
            }
            b"cpuunits" => self.done(&MachineChange::CpuWeight { weight: number() }),
            b"cpulimit" => {
                let limit = value.to_str().ok().and_then(|text| text.parse::<f64>().ok());
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the schema allows 0 to 128"
                )]
                let percent = limit.map(|limit| (limit * 100.0) as u64).filter(|percent| *percent > 0);
                self.done(&MachineChange::CpuQuota { percent })
            }
            b"agent" => Ok(if self.agent_stays(value)? { Outcome::Done } else { Outcome::Later }),
            _ => Ok(Outcome::Later),
        }
    }

    fn done(&self, change: &MachineChange<'_>) -> Result<Outcome, HotplugError> {
        self.tell(change)?;
        Ok(Outcome::Done)
    }

    /// Does something if the VM lets it be done.
    fn needs(
        &self,
        feature: HotplugFeature,
        act: impl FnOnce(&Self) -> Result<(), WorldError>,
    ) -> Result<Outcome, HotplugError> {
        if !self.has(feature) {
            return Ok(Outcome::Later);
        }
        act(self)?;
        Ok(Outcome::Done)
    }

    fn plug(&self, key: &BStr, section: &VmSection<'_>) -> Result<(), WorldError> {
        self.tell(&MachineChange::Plug { key, section })
    }

    fn unplug(&self, key: &BStr) -> Result<(), WorldError> {
        self.tell(&MachineChange::Unplug { key, section: &self.config.main })
    }

    /// The main section with another value for one option.
    fn with(&self, key: &BStr, value: &BStr) -> VmSection<'_> {
        let mut section = self.config.main.borrowed();
        section.set(key, value);
        section
    }

    fn set_usb(&mut self, key: &BStr, value: &BString) -> Result<Outcome, HotplugError> {
        if !self.has(HotplugFeature::Usb) || !self.has_modern_usb() {
            return Ok(Outcome::Later);
        }
        if self.config.main.contains(key) {
            self.unplug(key)?;
        }
        self.tell(&MachineChange::PlugUsb { key, section: &self.with(key, value.as_bstr()) })?;
        Ok(Outcome::Done)
    }

    /// Whether machine and guest have one controller that takes all devices.
    fn has_modern_usb(&self) -> bool {
        let ostype = self.config.main.get("ostype").map_or(&b""[..], |ostype| ostype.as_bytes());
        self.node.has_feature(self.vmid, Feature::QemuXhci)
            && (ostype == b"l26" || windows_version(ostype) > 7)
    }

    /// Whether CPUs or memory can be plugged, which decides how the machine was started.
    fn plugs_board(&self) -> bool {
        self.has(HotplugFeature::Cpu) || self.has(HotplugFeature::Memory)
    }

    fn most_cpus(&self) -> u64 {
        let main = &self.config.main;
        let number = |key: &str| main.integer(key).unwrap_or(1);
        number("sockets").saturating_mul(number("cores"))
    }

    fn vcpus(&self) -> u64 {
        self.config.main.integer("vcpus").filter(|cpus| *cpus > 0).unwrap_or_else(|| self.most_cpus())
    }

    fn memory(&self) -> Result<u64, HotplugError> {
        let text = self.config.main.get("memory").map(|text| text.as_bytes());
        let mib = Memory::read(text)?.current.get().unwrap_or_default();
        Ok(u64::try_from(mib).unwrap_or_default())
    }

    fn has_balloon(&self) -> bool {
        self.config.main.get("balloon").is_none_or(|balloon| balloon != "0")
    }

    /// Whether nothing changes that QEMU knows of.
    fn agent_stays(&self, value: &BString) -> Result<bool, HotplugError> {
        let Some(old) = self.config.main.get("agent") else { return Ok(false) };
        let known = |text: &[u8]| -> Result<Agent, HotplugError> {
            Ok(Agent { fstrim_cloned_disks: None, ..Agent::read(Some(text))? })
        };
        Ok(known(old)? == known(value)?)
    }

    /// Shows the guest a new image if its data have changed and the VM wants that.
    fn refresh_cloudinit(&mut self) -> Result<(), UpdateError> {
        let recorded = self.config.special_section("cloudinit").is_some_and(|section| !section.is_empty());
        let hotplug = self.has(HotplugFeature::Cloudinit);
        if !(Occasion::Changed { hotplug, recorded }).makes_image() {
            return Ok(());
        }
        pending::write_images(self.node, self.vmid, &self.config)?;
        self.change_cloudinit_medium()?;
        self.config.remove_special_section("cloudinit");
        self.store()
    }

    fn change_cloudinit_medium(&self) -> Result<(), WorldError> {
        change_cloudinit_medium(self.node, self.vmid, &self.config)
    }
}

/// Puts the image, made anew, into the last cloud-init drive of a running VM once more.
pub(crate) fn change_cloudinit_medium(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
) -> Result<(), WorldError> {
    let last = config.main.drives().filter(|(_, drive)| is_cloudinit_volume(drive.file)).last();
    let Some((id, drive)) = last else { return Ok(()) };
    let key = BString::from(id.to_string());
    let change = MachineChange::Medium { key: key.as_bstr(), file: drive.file, section: &config.main };
    node.machines.change(vmid, &change)
}
