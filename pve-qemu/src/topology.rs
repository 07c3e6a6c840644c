// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets, cores and CPUs that can be plugged (spec: qemu-command, "CPU topology").

use bstr::{BStr, BString, ByteSlice};

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step};
use crate::cpu::models;
use crate::error::Reason;
use crate::origin::{Key, Rule};
use crate::version::Feature;

/// No machine of QEMU has more CPUs; a configuration that wants more is wrong, and listing them would take for ever.
const MOST_VCPUS: u64 = 1 << 16;

impl<'a> Assembly<'a> {
    /// `-smp`, and a device for each CPU that can be plugged.
    pub(crate) fn put_topology(&mut self) -> Step {
        let (sockets, cores) = self.sockets_and_cores()?;
        let most = sockets.checked_mul(cores).filter(|most| *most <= u64::from(self.host.cpus));
        let Some(most) = most else {
            let wanted = format!("{sockets} x {cores}");
            return Err(
                self.error(Key::new("cores"), Reason::TooManyCpus { wanted, available: self.host.cpus })
            );
        };
        let vcpus = self.conf.truthy("vcpus");
        let hotplug = self.features.cpu && self.has(Feature::CpuHotplug);

        let origin = Rule::Topology.of_or_default(Key::new("vcpus"), vcpus.is_some());
        let mut element = self.main.option("-smp", origin);
        match vcpus {
            _ if hotplug => element.because(Rule::CpuHotplug.of(Key::new("hotplug"))).put("1"),
            Some(text) => element.put(text),
            None => element.put(most),
        };
        let set = self.conf.truthy("sockets").is_some();
        element.because(Rule::Topology.of_or_default(Key::new("sockets"), set));
        put!(element, ",sockets=", sockets);
        let set = self.conf.truthy("cores").is_some();
        element.because(Rule::Topology.of_or_default(Key::new("cores"), set));
        put!(element, ",cores=", cores);
        element.because(Rule::Topology.rule());
        put!(element, ",maxcpus=", most);
        drop(element);

        if !hotplug {
            return Ok(());
        }
        let vcpus = match vcpus {
            Some(text) => match text.to_str().ok().and_then(|text| text.parse().ok()) {
                Some(number) if number <= MOST_VCPUS => number,
                _ => {
                    let reason = Reason::TooManyVcpus(text.to_str_lossy().into_owned());
                    return Err(self.error(Key::new("vcpus"), reason));
                }
            },
            None => most,
        };
        if vcpus >= 2 && self.arch != Arch::X86 {
            return Err(self.error(Key::new("hotplug"), Reason::CpuHotplug));
        }
        let model = self.hotplug_model();
        for cpu in 1..vcpus {
            let core = cpu % cores;
            let socket = (cpu - core) / cores;
            let mut element = self.main.option("-device", Rule::CpuHotplug.of(Key::new("hotplug")));
            put!(element, &model, "-x86_64-cpu,id=cpu", cpu + 1);
            put!(element, ",socket-id=", socket, ",core-id=", core, ",thread-id=0");
        }
        Ok(())
    }

    /// Sockets and cores per socket.
    pub(crate) fn sockets_and_cores(&self) -> Step<(u64, u64)> {
        let sockets = match self.conf.truthy("sockets") {
            Some(sockets) => self.whole_number(Key::new("sockets"), sockets)?,
            None => match self.conf.truthy("smp") {
                Some(sockets) => self.whole_number(Key::new("smp"), sockets)?,
                None => 1,
            },
        };
        let cores = match self.conf.truthy("cores") {
            Some(cores) => self.whole_number(Key::new("cores"), cores)?,
            None => 1,
        };
        Ok((sockets, cores))
    }

    /// The option `sockets` alone, or 1.
    pub(crate) fn sockets_option(&self) -> Step<u64> {
        match self.conf.truthy("sockets") {
            Some(sockets) => Ok(self.whole_number(Key::new("sockets"), sockets)?.max(1)),
            None => Ok(1),
        }
    }

    /// A number of CPUs. Integers beyond 64 bits have become floating point texts on load; they are too many anyway.
    fn whole_number(&self, key: Key, text: &BStr) -> Step<u64> {
        let number = text.to_str().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            let wanted = text.to_str_lossy().into_owned();
            self.error(key, Reason::TooManyCpus { wanted, available: self.host.cpus })
        })
    }

    /// The model of CPU devices. Unlike for `-cpu`, a custom model counts only if the option begins with its name.
    fn hotplug_model(&self) -> BString {
        let cpu = self.conf.props("cpu");
        let Some(cputype) = cpu.as_ref().and_then(|cpu| cpu.get("cputype")) else {
            return if self.kvm { "kvm64".into() } else { "qemu64".into() };
        };
        let text = self.conf.get("cpu").unwrap_or_default();
        let reported: &[u8] = if let Some(model) = models::abstract_model(cputype) {
            model.reported.as_bytes()
        } else if text.starts_with_str("custom-") {
            let custom = self.builder.custom_model(cputype);
            custom.map_or(models::CUSTOM_DEFAULT.as_bytes(), |custom| custom.reported_model.as_bytes())
        } else {
            cputype
        };
        models::renamed(reported).into()
    }
}
