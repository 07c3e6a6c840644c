// SPDX-License-Identifier: MIT OR Apache-2.0
//! When an image is made, and when what was recorded about the old one is forgotten.

/// Something that happens to a VM with a cloud-init drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The VM is created, cloned or made a template: its volume is allocated, and stays empty.
    Made,
    /// The VM starts, after pending changes were applied and before the hook script runs.
    Start {
        /// It is started to receive a migration; the image of the other node is used.
        migration: bool,
    },
    /// Pending changes are applied while the VM does not run: by an update, or at its stop or start.
    Applied {
        /// One of the values applied is a cloud-init drive.
        drive: bool,
    },
    /// A running VM gets a cloud-init drive, or another one; after all other changes.
    Plugged,
    /// Other options of a running VM change.
    Changed {
        /// `hotplug` contains `cloudinit`.
        hotplug: bool,
        /// The section `cloudinit` has entries after the change.
        recorded: bool,
    },
    /// Somebody asks for it: `qm cloudinit update`.
    Command,
}

impl Occasion {
    /// Whether the images are made anew (spec: cloud-init, "When it is generated").
    ///
    /// ```
    /// use pve_qemu::cloudinit::Occasion;
    ///
    /// assert!(Occasion::Start { migration: false }.makes_image());
    /// assert!(!Occasion::Made.makes_image());
    /// assert!(!Occasion::Changed { hotplug: false, recorded: true }.makes_image());
    /// ```
    #[must_use]
    pub fn makes_image(self) -> bool {
        match self {
            Occasion::Made => false,
            Occasion::Start { migration } => !migration,
            Occasion::Applied { drive } => drive,
            Occasion::Changed { hotplug, recorded } => hotplug && recorded,
            Occasion::Plugged | Occasion::Command => true,
        }
    }

    /// Whether the section `cloudinit`, if it has entries, is removed afterwards.
    #[must_use]
    pub fn forgets_record(self) -> bool {
        match self {
            Occasion::Start { .. } | Occasion::Changed { .. } | Occasion::Command => self.makes_image(),
            Occasion::Made | Occasion::Applied { .. } | Occasion::Plugged => false,
        }
    }

    /// Whether the running guest is shown the new image by changing the medium of the drive.
    #[must_use]
    pub fn changes_medium(self) -> bool {
        matches!(self, Occasion::Changed { .. } | Occasion::Command) && self.makes_image()
    }
}
