// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory, NUMA nodes and shared memory (options `memory`, `numaN`, `ivshmem`).

use bstr::BStr;

use crate::property::{Integer, Key, Number, properties, words};
use crate::rule::{ValueError, pattern};

properties! {
    /// Memory of a VM.
    #[derive(Copy)]
    pub struct Memory<'t>: MEMORY = "vm:memory" {
        /// Memory that the guest sees, MiB; the most it can have if it is ballooned.
        pub current: Integer<'t> = Key::integer("current").min(16.0).required().default_key().default("512"),
    }
    registered: [];
    aliases: [];
}

impl<'t> Memory<'t> {
    /// The memory as its users see it: 512 MiB without the option.
    ///
    /// # Errors
    ///
    /// As [`Memory::parse`].
    ///
    /// ```
    /// use pve_config::vm::Memory;
    ///
    /// assert_eq!(Memory::read(None).unwrap().current.get(), Some(512));
    /// assert_eq!(Memory::read(Some(b"4096")).unwrap().current.get(), Some(4096));
    /// ```
    pub fn read(text: Option<&'t [u8]>) -> Result<Self, ValueError> {
        text.map_or(Ok(Memory { current: Integer::from(512) }), Self::parse)
    }
}

words! {
    /// How memory of a NUMA node is placed on the nodes of the host.
    pub enum NumaPolicy {
        /// On these if there is room.
        Preferred = "preferred",
        /// Only on these.
        Bind = "bind",
        /// Evenly over these.
        Interleave = "interleave",
    }
}

properties! {
    /// A NUMA node of the guest.
    #[derive(Copy)]
    pub struct Numa<'t>: NUMA = "vm:numa" {
        /// CPUs of the node: numbers and ranges separated by `;`, see [`ranges`].
        pub cpus: &'t BStr = Key::string("cpus").pattern(pattern!("[0-9]+(-[0-9]+)?(;[0-9]+(-[0-9]+)?)*")).required(),
        /// Nodes of the host to use: numbers and ranges separated by `;`, see [`ranges`].
        pub hostnodes: Option<&'t BStr> =
            Key::string("hostnodes").pattern(pattern!("[0-9]+(-[0-9]+)?(;[0-9]+(-[0-9]+)?)*")),
        /// Memory of the node, MiB.
        pub memory: Option<Number<'t>> = Key::number("memory"),
        /// How the memory is placed.
        pub policy: Option<NumaPolicy> = Key::string("policy").words(NumaPolicy::WORDS),
    }
    registered: ["pve-qm-numanode"];
    aliases: [];
}

/// The ranges in a text such as `1;3-5`: first and last number of each; for a single number, last is `None`.
///
/// Parts that are not numbers, or numbers that do not fit, are left out; a text that passed the check has none.
///
/// ```
/// use pve_config::vm::ranges;
///
/// let found: Vec<_> = ranges("1;3-5".into()).collect();
/// assert_eq!(found, [(1, None), (3, Some(5))]);
/// ```
#[must_use]
pub fn ranges(text: &BStr) -> Ranges<'_> {
    Ranges { rest: Some(text) }
}

/// The iterator that [`ranges`] returns.
#[derive(Debug, Clone)]
pub struct Ranges<'t> {
    rest: Option<&'t [u8]>,
}

impl Iterator for Ranges<'_> {
    type Item = (u64, Option<u64>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            self.rest = after.get(1..);
            let mut ends = part.splitn(2, |byte| *byte == b'-').map(number);
            match (ends.next().flatten(), ends.next()) {
                (Some(first), None) => return Some((first, None)),
                (Some(first), Some(Some(last))) => return Some((first, Some(last))),
                _ => {}
            }
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_ascii_end().parse().ok()
}

properties! {
    /// Memory that guests and the host share.
    #[derive(Copy)]
    pub struct Ivshmem<'t>: IVSHMEM = "vm:ivshmem" {
        /// Name of the file in `/dev/shm`, after `pve-shm-`; the id of the VM if left out.
        pub name: Option<&'t BStr> = Key::string("name").pattern(pattern!("[-0-9A-Za-z]+")),
        /// Size, MiB.
        pub size: Integer<'t> = Key::integer("size").min(1.0).required(),
    }
    registered: [];
    aliases: [];
}
