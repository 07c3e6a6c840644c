// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog card (option `watchdog`).

use crate::format::is_falsy;
use crate::property::{Key, properties, words};
use crate::rule::ValueError;

words! {
    /// What happens when the guest does not poll the watchdog in time.
    pub enum WatchdogAction {
        /// The VM is reset.
        Reset = "reset",
        /// The guest is asked to shut down.
        Shutdown = "shutdown",
        /// The VM is switched off.
        Poweroff = "poweroff",
        /// The VM is paused.
        Pause = "pause",
        /// A message is printed.
        Debug = "debug",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// The watchdog card that the guest sees.
    pub enum WatchdogModel {
        /// Intel 6300ESB, on the PCI bus.
        I6300esb = "i6300esb",
        /// iBASE 700, on the ISA bus.
        Ib700 = "ib700",
    }
}

properties! {
    /// A watchdog card.
    #[derive(Copy, Default)]
    pub struct Watchdog: WATCHDOG = "vm:watchdog" {
        /// What happens when the guest hangs.
        pub action: Option<WatchdogAction> = Key::string("action").words(WatchdogAction::WORDS),
        /// The card.
        pub model: Option<WatchdogModel> =
            Key::string("model").words(WatchdogModel::WORDS).default_key().default("i6300esb"),
    }
    registered: ["pve-qm-watchdog"];
    aliases: [];
}

impl Watchdog {
    /// The watchdog as its users see it: a falsy text (empty or `0`) is none.
    ///
    /// # Errors
    ///
    /// As [`Watchdog::parse`].
    pub fn read(text: Option<&[u8]>) -> Result<Option<Self>, ValueError> {
        text.filter(|text| !is_falsy(text)).map(Self::parse).transpose()
    }
}
