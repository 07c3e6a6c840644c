// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process itself: program, name, sockets, start-up behaviour, and the system information tables.

use bstr::{BString, ByteSlice};

use crate::argument::{Arguments, put};
use crate::assembly::{Arch, Assembly};
use crate::origin::{Key, Rule};
use crate::version::Feature;

/// Directory of the sockets and files of running guests.
pub(crate) const RUN_DIR: &str = "/var/run/qemu-server/";

/// Keys of the option `smbios1` that are printed, in this order.
const SMBIOS: &[&str] = &["family", "manufacturer", "product", "serial", "sku", "uuid", "version"];

impl Assembly<'_> {
    /// The program, pinned to CPUs if configured.
    pub(crate) fn put_program(&mut self, list: &mut Arguments) {
        if let Some(cpus) = self.conf.truthy("affinity") {
            let origin = Rule::Affinity.of(Key::new("affinity"));
            for word in ["/usr/bin/taskset", "--cpu-list", "--all-tasks"] {
                list.push(word, origin);
            }
            list.push(cpus, origin);
        }
        let arch = Key::new("arch");
        let configured = self.conf.get("arch").is_some();
        list.push(
            match self.arch {
                _ if self.native => "/usr/bin/kvm",
                Arch::Arm => "/usr/bin/qemu-system-aarch64",
                _ => "/usr/bin/qemu-system-x86_64",
            },
            Rule::Binary.of_or_default(arch, configured),
        );
    }

    /// The name of the guest, for people.
    pub(crate) fn guest_name(&self) -> BString {
        match self.conf.truthy("name") {
            Some(name) => name.to_owned(),
            None => format!("vm{}", self.vmid.get()).into(),
        }
    }

    /// Number, name, monitors, files.
    pub(crate) fn put_process(&mut self) {
        let vmid = self.vmid.get();
        self.main.pair("-id", vmid, Rule::Vmid.rule());

        let named = self.conf.truthy("name").is_some();
        let (name, names_threads) = (self.guest_name(), self.has(Feature::ThreadNames));
        let mut element = self.main.option("-name", Rule::Name.of_or_default(Key::new("name"), named));
        element.put(&name);
        if !names_threads {
            element.because(Rule::ThreadNames.host("qemu", Key::NONE)).put(",debug-threads=on");
        }
        drop(element);

        self.main.push("-no-shutdown", Rule::Always.rule());
        let monitor = Rule::Monitor.rule();
        put!(
            self.main.option("-chardev", monitor),
            "socket,id=qmp,path=",
            RUN_DIR,
            vmid,
            ".qmp,server=on,wait=off"
        );
        self.main.pair("-mon", "chardev=qmp,mode=control", monitor);
        if self.has(Feature::EventMonitor) {
            let milliseconds = self.has(Feature::ReconnectMs);
            let events = Rule::EventMonitor.rule();
            let mut element = self.main.option("-chardev", events);
            element.put("socket,id=qmp-event,path=/var/run/qmeventd.sock");
            element.because(Rule::Reconnect.host("qemu", Key::NONE));
            element.put(if milliseconds { ",reconnect-ms=5000" } else { ",reconnect=5" });
            drop(element);
            self.main.pair("-mon", "chardev=qmp-event,mode=control", events);
        }
        put!(self.main.option("-pidfile", Rule::Vmid.rule()), RUN_DIR, vmid, ".pid");
        self.main.push("-daemonize", Rule::Always.rule());
    }

    /// System information (spec: qemu-command, "smbios").
    pub(crate) fn put_smbios(&mut self) {
        if self.conf.truthy("smbios1").is_none() {
            return;
        }
        let Some(smbios) = self.conf.props("smbios1") else { return };
        let key = Key::new("smbios1");
        let encoded = smbios.truthy("base64").is_some();
        let mut element = self.main.option("-smbios", Rule::Smbios.of(key));
        element.put("type=1");
        for name in SMBIOS {
            let Some(text) = smbios.get(name) else { continue };
            let value = if encoded && *name != "uuid" { decode_base64(text) } else { text.to_vec() };
            if value.is_empty() || value == b"0" {
                continue;
            }
            element.because(Rule::Smbios.of(key.sub(name)));
            put!(element, ",", *name, "=", value.replace(",", ",,"));
        }
    }

    /// No default devices, the boot menu, and what a reboot does.
    pub(crate) fn put_start_up(&mut self) {
        self.main.push("-nodefaults", Rule::Always.rule());
        let boot = "menu=on,strict=on,reboot-timeout=1000,splash=/usr/share/qemu-server/bootsplash.jpg";
        self.main.pair("-boot", boot, Rule::Always.rule());
        if self.conf.get("reboot").is_some_and(|reboot| reboot == "0") {
            self.main.push("-no-reboot", Rule::Reboot.of(Key::new("reboot")));
        }
    }

    /// Freezing at start, keyboard.
    pub(crate) fn put_interaction(&mut self) {
        if self.conf.truthy("freeze").is_some() {
            self.main.push("-S", Rule::Freeze.of(Key::new("freeze")));
        }
        if let Some(layout) = self.conf.get("keyboard") {
            self.main.pair("-k", layout, Rule::Keyboard.of(Key::new("keyboard")));
        }
    }
}

/// Decodes as the reference does: foreign characters are skipped, `=` ends the text, an incomplete last group gives
/// the bytes that are complete.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut group, mut digits) = (0u32, 0);
    for byte in text.iter().take_while(|byte| **byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        group = group << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            out.extend_from_slice(group.to_be_bytes().get(1..).unwrap_or_default());
            (group, digits) = (0, 0);
        }
    }
    match digits {
        2 => out.push((group >> 4) as u8),
        3 => out.extend_from_slice(&[(group >> 10) as u8, (group >> 2) as u8]),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_leniently() {
        assert_eq!(decode_base64(b"QWNtZQ=="), b"Acme");
        assert_eq!(decode_base64(b"QWNtZQ"), b"Acme");
        assert_eq!(decode_base64(b"Q W-N.t"), b"Acm");
        assert_eq!(decode_base64(b"QWN"), b"Ac");
        assert_eq!(decode_base64(b"Q"), b"");
        assert_eq!(decode_base64(b"MA==ignored"), b"0");
    }
}
