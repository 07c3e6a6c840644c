// SPDX-License-Identifier: MIT OR Apache-2.0
//! The QEMU guest agent (option `agent`).

use crate::property::{Alias, Key, properties, words};
use crate::rule::ValueError;

words! {
    /// How the guest agent is connected.
    pub enum AgentType {
        /// By a virtio serial port.
        Virtio = "virtio",
        /// By an ISA serial port.
        Isa = "isa",
    }
}

properties! {
    /// Whether the guest runs the QEMU agent, and what it is asked to do.
    #[derive(Copy, Default)]
    pub struct Agent: AGENT = "vm:agent" {
        /// Talk to the agent in the guest.
        pub enabled: bool = Key::boolean("enabled").required().default_key().default("0"),
        /// Freeze the file systems of the guest for backups and snapshots.
        pub freeze_fs: Option<bool> = Key::boolean("freeze-fs").default("1"),
        /// Trim the file systems of the guest after a disk was cloned, moved or migrated.
        pub fstrim_cloned_disks: Option<bool> = Key::boolean("fstrim_cloned_disks").default("0"),
        /// How the agent is connected.
        pub kind: Option<AgentType> = Key::string("type").words(AgentType::WORDS).default("virtio"),
    }
    registered: [];
    aliases: [
        Alias::new("freeze-fs-on-backup", "freeze-fs"),
        Alias::new("guest-fsfreeze", "freeze-fs")
    ];
}

impl Agent {
    /// The agent as its users see it: without the option, and while it is not enabled, no other key counts.
    ///
    /// # Errors
    ///
    /// As [`Agent::parse`].
    ///
    /// ```
    /// use pve_config::vm::Agent;
    ///
    /// assert_eq!(Agent::read(Some(b"0,type=isa")).unwrap(), Agent::default());
    /// assert_eq!(Agent::read(None).unwrap(), Agent::default());
    /// ```
    pub fn read(text: Option<&[u8]>) -> Result<Self, ValueError> {
        let agent = text.map_or(Ok(Self::default()), Self::parse)?;
        Ok(if agent.enabled { agent } else { Self::default() })
    }
}
