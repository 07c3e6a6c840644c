// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers and the clock of the guest (spec: qemu-command, "Clock").

use crate::argument::put;
use crate::assembly::{Assembly, Step};
use crate::origin::{Key, Rule};

impl Assembly<'_> {
    /// Timer policy and the flags of `-rtc`.
    pub(crate) fn put_clock(&mut self) -> Step {
        let windows = self.windows >= 5;
        let acpi_off = self.conf.get("acpi").is_some_and(|acpi| acpi == "0");
        let ostype = Rule::ClockBase.default(Key::new("ostype"));

        if self.windows >= 6 {
            let origin = Rule::LostTicks.of(Key::new("ostype"));
            self.main.pair("-global", "kvm-pit.lost_tick_policy=discard", origin);
        }
        self.check_base_type()?;

        let drift = match self.conf.get("tdf") {
            Some(_) => self.conf.truthy("tdf").map(|_| Rule::ClockDrift.of(Key::new("tdf"))),
            None => (windows && !acpi_off).then_some(Rule::ClockDrift.default(Key::new("ostype"))),
        };
        if let Some(origin) = drift {
            self.rtc.push("driftfix=slew", origin);
        }
        let local = match self.conf.get("localtime") {
            Some(_) => self.conf.truthy("localtime").map(|_| Rule::ClockBase.of(Key::new("localtime"))),
            None => windows.then_some(ostype),
        };
        match self.conf.get("startdate").filter(|date| *date != "now") {
            Some(date) => {
                put!(self.rtc.element(Rule::ClockBase.of(Key::new("startdate"))), "base=", date);
            }
            None => {
                if let Some(origin) = local {
                    self.rtc.push("base=localtime", origin);
                }
            }
        }
        Ok(())
    }
}
