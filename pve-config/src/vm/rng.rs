// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random numbers from the host (option `rng0`).

use crate::property::{Integer, Key, properties, words};

words! {
    /// Where the host takes random numbers from.
    pub enum RngSource {
        /// The kernel, never blocking.
        Urandom = "/dev/urandom",
        /// The kernel, blocking until it is seeded.
        Random = "/dev/random",
        /// A hardware generator.
        Hwrng = "/dev/hwrng",
    }
}

properties! {
    /// A virtio random number generator.
    #[derive(Copy)]
    pub struct Rng<'t>: RNG = "vm:rng" {
        /// Bytes that the guest gets in a period; 0 lifts the limit.
        pub max_bytes: Option<Integer<'t>> = Key::integer("max_bytes").default("1024"),
        /// Length of a period, ms.
        pub period: Option<Integer<'t>> = Key::integer("period").default("1000"),
        /// Where the numbers come from.
        pub source: RngSource = Key::string("source").words(RngSource::WORDS).required().default_key(),
    }
    registered: ["pve-qm-rng"];
    aliases: [];
}
