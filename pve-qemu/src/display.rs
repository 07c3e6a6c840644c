// SPDX-License-Identifier: MIT OR Apache-2.0
//! Display, VNC, SPICE and clipboard (spec: qemu-command-devices, "Display, SPICE, clipboard").

use bstr::{BStr, ByteSlice};

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step, truthy};
use crate::conf::Props;
use crate::error::Reason;
use crate::host::FileType;
use crate::origin::{Key, Origin, Rule};
use crate::pci;
use crate::process::RUN_DIR;
use crate::version::Feature;

const VGA: Key = Key::new("vga");
const MIB: u64 = 1 << 20;
/// Memory of several QXL heads, in bytes.
const QXL_RAM: u64 = 128 * MIB;
const QXL_VRAM: u64 = 64 * MIB;

/// The display of a guest.
pub(crate) struct Display<'a> {
    kind: &'a BStr,
    /// Heads of a QXL display, 0 for others.
    heads: u8,
    origin: Origin,
    props: Option<Props<'a>>,
}

impl<'a> Display<'a> {
    fn is_serial(&self) -> bool {
        self.kind.starts_with(b"serial")
    }

    /// No display device at all.
    fn is_none(&self) -> bool {
        self.kind == "none"
    }

    fn memory(&self) -> Option<&'a BStr> {
        self.props.as_ref()?.truthy("memory")
    }

    fn shares_clipboard(&self) -> bool {
        self.props.as_ref().and_then(|vga| vga.get("clipboard")).is_some_and(|clipboard| clipboard == "vnc")
    }

    /// The display can make use of a SPICE server.
    fn is_spice(&self) -> bool {
        self.heads > 0 || self.kind.starts_with(b"virtio")
    }
}

impl<'a> Assembly<'a> {
    /// The display as configured, or the default.
    fn display(&mut self) -> Display<'a> {
        let props = if self.conf.truthy("vga").is_some() { self.conf.props("vga") } else { None };
        let configured = props.as_ref().and_then(|vga| vga.truthy("type"));
        let (kind, origin) = match configured {
            Some(kind) => (kind, Rule::Display.of(VGA.sub("type"))),
            None => (BStr::new(self.default_display()), Rule::Display.default(VGA)),
        };
        let heads = match kind.strip_prefix(b"qxl") {
            None => 0,
            Some([digit]) => digit.saturating_sub(b'0').clamp(1, 4),
            Some(_) => 1,
        };
        let kind = if heads > 0 { BStr::new("qxl") } else { kind };
        Display { kind, heads, origin, props }
    }

    fn default_display(&mut self) -> &'static str {
        if self.arch == Arch::Arm {
            "virtio"
        } else if self.has(Feature::StdDisplay) {
            if (1..6).contains(&self.windows) { "cirrus" } else { "std" }
        } else if self.windows >= 6 {
            "std"
        } else {
            "cirrus"
        }
    }

    /// Whether there is neither VNC nor display device.
    pub(crate) fn is_headless(&mut self) -> bool {
        let display = self.effective_display();
        display.is_serial() || display.is_none()
    }

    /// The display after pass-through of a primary display.
    fn effective_display(&mut self) -> Display<'a> {
        let mut display = self.display();
        if self.passthrough.primary_display() && self.conf.get("vga").is_none() {
            display.kind = BStr::new("none");
            display.heads = 0;
            display.origin = Rule::DisplayNone.of(Key::new("hostpci").sub("x-vga"));
        }
        display
    }

    /// VNC, or nothing to look at.
    pub(crate) fn put_display_backend(&mut self) -> Display<'a> {
        let display = self.effective_display();
        let origin = Rule::DisplayNone.of(VGA);
        if display.is_none() {
            self.main.pair("-vga", "none", display.origin);
        }
        if display.is_none() || display.is_serial() {
            self.main.push("-nographic", if display.is_none() { display.origin } else { origin });
            return display;
        }
        if display.kind == "virtio-gl" {
            self.main.pair("-display", "egl-headless,gl=core", display.origin);
        }
        let vmid = self.vmid.get();
        put!(self.main.option("-vnc", Rule::DisplayVnc.rule()), "unix:", RUN_DIR, vmid, ".vnc,password=on");
        display
    }

    /// Tablet and keyboard (spec: qemu-command-devices, "Tablet and keyboard").
    pub(crate) fn put_tablet(&mut self, _display: &Display<'a>) {
        let tablet = self.conf.get("tablet");
        let wanted = match tablet {
            Some(tablet) => truthy(Some(tablet)),
            // decided before a primary display is passed through
            None => {
                let display = self.display();
                display.heads == 0 && !display.is_serial()
            }
        };
        if !wanted {
            return;
        }
        let origin = Rule::Tablet.of_or_default(Key::new("tablet"), tablet.is_some());
        let arm = self.arch == Arch::Arm;
        let bus = if arm || self.q35 { "ehci" } else { "uhci" };
        put!(self.devices.option("-device", origin), "usb-tablet,id=tablet,bus=", bus, ".0,port=1");
        if arm {
            self.devices.pair("-device", "usb-kbd,id=keyboard,bus=ehci.0,port=2", origin);
        }
    }

    /// The first display device.
    pub(crate) fn put_display(&mut self, display: &Display<'a>) -> Step {
        if display.is_serial() || display.is_none() {
            return Ok(());
        }
        self.put_head(display, None)
    }

    /// A display device: the first, or a further head.
    fn put_head(&mut self, display: &Display<'a>, head: Option<u8>) -> Step {
        let arm = self.arch == Arch::Arm;
        if display.kind == "virtio-gl" {
            self.check_opengl()?;
        }
        let model: &BStr = match display.kind.as_bytes() {
            b"std" => BStr::new("VGA"),
            b"cirrus" => BStr::new("cirrus-vga"),
            b"vmware" => BStr::new("vmware-svga"),
            b"virtio" => BStr::new(if arm { "virtio-gpu" } else { "virtio-vga" }),
            b"virtio-gl" => BStr::new(if arm { "virtio-gpu-gl" } else { "virtio-vga-gl" }),
            b"qxl" => BStr::new(if head.is_none() { "qxl-vga" } else { "qxl" }),
            _ => display.kind,
        };
        let outputs = display.heads > 0 && self.has(Feature::QxlOutputs) && self.guest_has_outputs();
        let express = pci::express_slot("vga").filter(|_| self.q35 && head.is_none());
        let address = if express.is_none() { self.address("vga", head) } else { None };
        let no_edid = model == "VGA" && self.windows > 0 && !self.ovmf;

        let mut element = self.devices.option("-device", display.origin);
        put!(element, model, ",id=vga");
        if let Some(head) = head {
            element.put(head);
        }
        let memory = display.memory();
        element.because(Rule::DisplayMemory.of_or_default(VGA.sub("memory"), memory.is_some()));
        let mib = memory.and_then(|memory| memory.to_str().ok()?.parse::<u64>().ok());
        match (memory, mib) {
            (Some(_), Some(mib)) if display.kind.starts_with(b"virtio") => {
                put!(element, ",max_hostmem=", mib * MIB);
            }
            (Some(text), Some(mib)) if display.heads > 0 => {
                put!(element, ",vgamem_mb=", text, ",ram_size_mb=", mib * 4, ",vram_size_mb=", mib * 2);
            }
            (Some(text), _) => put!(element, ",vgamem_mb=", text),
            (None, _) if display.heads > 0 && head.is_some() => {
                element.put(",ram_size=67108864,vram_size=33554432");
            }
            (None, _) => {}
        }
        if outputs {
            element.because(display.origin).put(",max_outputs=4");
        }
        element.because(Rule::Address.about(VGA));
        if let Some(slot) = express {
            pci::put_express(&mut element, slot);
        }
        if let Some(address) = address {
            element.put(address);
        }
        if no_edid {
            element.because(Rule::Display.of(Key::new("ostype"))).put(",edid=off");
        }
        Ok(())
    }

    /// Guests whose driver switches outputs: Linux, other, and those that are not named.
    fn guest_has_outputs(&self) -> bool {
        let ostype = self.ostype.as_bytes();
        let linux = matches!(ostype, [b'l', a, b, ..] if a.is_ascii_digit() && b.is_ascii_digit());
        self.conf.get("ostype").is_none() || linux || ostype.ends_with(b"other")
    }

    fn check_opengl(&self) -> Step {
        for library in ["libEGL.so.1", "libGL.so.1"] {
            let path = format!("/usr/lib/{}-linux-gnu/{library}", self.host.arch);
            if self.file_type(&path) == FileType::Missing {
                return Err(self.error(VGA.sub("type"), Reason::OpenGl(path)));
            }
        }
        if self.host.render_node {
            return Ok(());
        }
        Err(self.error(VGA.sub("type"), Reason::OpenGl("a render node (/dev/dri/renderD*)".into())))
    }

    /// Further heads, SPICE, clipboard.
    pub(crate) fn put_spice(&mut self, display: &Display<'a>) -> Step {
        let clipboard = display.shares_clipboard();
        if clipboard && (display.is_serial() || display.is_none()) {
            let reason = Reason::Clipboard(display.kind.to_owned());
            return Err(self.error(VGA.sub("clipboard"), reason));
        }
        if !display.is_spice() && !clipboard {
            return Ok(());
        }
        if display.heads > 1 {
            if self.windows > 0 {
                for head in 1..display.heads {
                    self.put_head(display, Some(head))?;
                }
            } else {
                self.put_head_memory(display);
            }
        }
        let origin =
            if display.is_spice() { display.origin } else { Rule::Clipboard.of(VGA.sub("clipboard")) };
        let address = self.address("spice", None);
        {
            let mut element = self.devices.option("-device", origin);
            element.put("virtio-serial,id=spice");
            if let Some(address) = address {
                element.because(Rule::Address.rule()).put(address);
            }
        }
        if clipboard {
            let origin = Rule::Clipboard.of(VGA.sub("clipboard"));
            self.devices.pair("-chardev", "qemu-vdagent,id=vdagent,name=vdagent,clipboard=on", origin);
        } else {
            self.devices.pair("-chardev", "spicevmc,id=vdagent,name=vdagent", origin);
        }
        self.devices.pair("-device", "virtserialport,chardev=vdagent,name=com.redhat.spice.0", origin);
        if display.is_spice() { self.put_spice_server(origin) } else { Ok(()) }
    }

    /// Memory of several heads that share one device.
    fn put_head_memory(&mut self, display: &Display<'a>) {
        let heads = u64::from(display.heads);
        let mib = display.memory().and_then(|memory| memory.to_str().ok()?.parse::<u64>().ok());
        let (ram, vram) = match mib {
            Some(mib) => (heads * 4 * mib * MIB, heads * 2 * mib * MIB),
            None => (QXL_RAM, QXL_VRAM),
        };
        let origin = Rule::DisplayMemory.of_or_default(VGA.sub("memory"), mib.is_some());
        put!(self.main.option("-global", origin), "qxl-vga.ram_size=", ram);
        put!(self.main.option("-global", origin), "qxl-vga.vram_size=", vram);
    }

    fn put_spice_server(&mut self, origin: Origin) -> Step {
        let key = Key::new("spice_enhancements");
        let extra = if self.conf.truthy(key.name()).is_some() { self.conf.props(key.name()) } else { None };
        let folders = extra.as_ref().is_some_and(|extra| extra.truthy("foldersharing").is_some());
        let streaming = extra.as_ref().and_then(|extra| extra.truthy("videostreaming"));
        if folders {
            let origin = Rule::SpiceExtra.of(key.sub("foldersharing"));
            self.devices.pair("-chardev", "spiceport,id=foldershare,name=org.spice-space.webdav.0", origin);
            let port = "virtserialport,chardev=foldershare,name=org.spice-space.webdav.0";
            self.devices.pair("-device", port, origin);
        }
        let Some(address) = self.host.spice_addr else {
            return Err(self.error(VGA, Reason::NoSpiceAddress));
        };
        self.effects.spice_port = Some(self.host.spice_port);
        let mut element = self.devices.option("-spice", origin);
        element.because(Rule::Spice.host("spice_port", VGA));
        put!(element, "tls-port=", self.host.spice_port);
        element.because(Rule::Spice.host("spice_addr", VGA));
        put!(element, ",addr=", address.to_string());
        element.because(origin).put(",tls-ciphers=HIGH,seamless-migration=on");
        if let Some(streaming) = streaming {
            element.because(Rule::SpiceExtra.of(key.sub("videostreaming")));
            put!(element, ",streaming-video=", streaming);
        }
        Ok(())
    }
}
