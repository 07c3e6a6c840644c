// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be changed while a VM runs (option `hotplug`).

use crate::format::{Context, Format, Scalar, split_list};
use crate::property::words;
use crate::rule::{Rule, ValueError};

words! {
    /// Something that can be changed while the VM runs.
    pub enum HotplugFeature {
        /// Network cards.
        Network = "network",
        /// Disks.
        Disk = "disk",
        /// Number of CPUs.
        Cpu = "cpu",
        /// Amount of memory.
        Memory = "memory",
        /// USB devices.
        Usb = "usb",
        /// Cloud-init images are generated anew.
        Cloudinit = "cloudinit",
    }
}

/// The set of features that can be changed while the VM runs.
///
/// ```
/// use pve_config::vm::{Hotplug, HotplugFeature};
///
/// assert!(Hotplug::default().has(HotplugFeature::Disk));
/// let hotplug = Hotplug::parse(b"network;memory").unwrap();
/// assert!(hotplug.has(HotplugFeature::Memory) && !hotplug.has(HotplugFeature::Disk));
/// assert_eq!(Hotplug::parse(b"0").unwrap().features().count(), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hotplug(u8);

impl Hotplug {
    /// No feature.
    pub const NONE: Hotplug = Hotplug(0);

    /// Reads the value of the option: `0`, `1` for the default, or a list of features.
    ///
    /// # Errors
    ///
    /// An item that is no feature.
    pub fn parse(text: &[u8]) -> Result<Self, ValueError> {
        let rule = const { Rule::string().format(Format::Scalar(Scalar::HotplugFeatures)) };
        rule.check(text, &Context::default())?;
        Ok(match text {
            b"0" => Self::NONE,
            b"1" => Self::default(),
            _ => split_list(text).filter_map(HotplugFeature::from_word).collect(),
        })
    }

    /// Whether `feature` can be changed.
    #[must_use]
    pub fn has(self, feature: HotplugFeature) -> bool {
        self.0 >> feature as u8 & 1 == 1
    }

    /// Every feature that can be changed.
    pub fn features(self) -> impl Iterator<Item = HotplugFeature> {
        let words =
            HotplugFeature::WORDS.iter().filter_map(|word| HotplugFeature::from_word(word.as_bytes()));
        words.filter(move |feature| self.has(*feature))
    }
}

impl Default for Hotplug {
    /// Network, disks and USB.
    fn default() -> Self {
        [HotplugFeature::Network, HotplugFeature::Disk, HotplugFeature::Usb].into_iter().collect()
    }
}

impl FromIterator<HotplugFeature> for Hotplug {
    fn from_iter<I: IntoIterator<Item = HotplugFeature>>(features: I) -> Self {
        Hotplug(features.into_iter().fold(0, |bits, feature| bits | 1 << feature as u8))
    }
}
