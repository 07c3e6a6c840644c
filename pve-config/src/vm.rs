// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed values of the options of a VM: drives, network cards, CPU, display and all others that are property strings.
//!
//! Every struct is made from the declaration of its format, so it has exactly the keys that the format has. It is
//! read with `parse` and printed back, in the reference's order, with `print`. Texts borrow from the input; numbers
//! keep the form in which they were written.
//!
//! ```
//! use pve_config::vm::{Net, NetModel};
//!
//! let mut net = Net::parse(b"virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1").unwrap();
//! assert_eq!(net.model, NetModel::Virtio);
//! assert_eq!(net.bridge.unwrap(), "vmbr0");
//! net.link_down = Some(true);
//! assert_eq!(net.print().unwrap(), "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,link_down=1");
//! ```

mod agent;
mod audio;
mod boot;
mod cloudinit;
mod confidential;
mod cpu;
mod cpu_models;
mod custom_models;
mod display;
mod drive;
mod hostpci;
mod hotplug;
mod machine;
mod memory;
mod meta;
mod net;
mod rng;
mod smbios;
mod startup;
mod usb;
mod virtiofs;
mod watchdog;

pub use agent::{AGENT, Agent, AgentType};
pub use audio::{AUDIO, Audio, AudioDevice, AudioDriver};
pub use boot::{BOOT, Boot};
pub use cloudinit::{CICUSTOM, CiCustom, IPCONFIG, IpConfig, IpConfigError};
pub use confidential::{AMD_SEV, AmdSev, INTEL_TDX, IntelTdx, SevType, TdxType};
pub use cpu::{CPU, CUSTOM_CPU, Cpu, CpuFlag, VM_CPU_FLAGS};
pub use cpu_models::{BUILT_IN_MODELS, CPU_MODELS, CpuModel, Vendor, is_known_cpu_type};
pub use custom_models::{CustomModel, CustomModels};
pub use display::{Clipboard, SPICE_ENHANCEMENTS, SpiceEnhancements, VGA, Vga, VgaType, VideoStreaming};
pub use drive::{
    Aio, Bus, Cache, Discard, Drive, DriveId, EFIDISK, EfiType, IDE, ImageFormat, Media, MsCert, OnReadError,
    OnWriteError, PRINT_DRIVE, SATA, SCSI, TPMSTATE, TpmVersion, UNUSED, VIRTIO,
};
pub use hostpci::{HOSTPCI, HostPci, HostPciDriver, PciAddress};
pub use hotplug::{Hotplug, HotplugFeature};
pub use machine::{MACHINE, Machine, Viommu};
pub use memory::{IVSHMEM, Ivshmem, MEMORY, Memory, NUMA, Numa, NumaPolicy, Ranges, ranges};
pub use meta::{META, Meta};
pub use net::{NET, Net, NetModel};
pub use rng::{RNG, Rng, RngSource};
pub use smbios::{SMBIOS1, Smbios1};
pub use startup::Startup;
pub use usb::{USB, Usb, UsbHost};
pub use virtiofs::{VIRTIOFS, Virtiofs, VirtiofsCache};
pub use watchdog::{WATCHDOG, Watchdog, WatchdogAction, WatchdogModel};
