// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory and directories shared with the host and other guests: ivshmem and virtiofs.

use bstr::{BStr, BString, ByteSlice};

use crate::argument::put;
use crate::assembly::{Assembly, Step, truthy};
use crate::command_line::SharedDirectory;
use crate::conf::Props;
use crate::error::{Reason, ShareReason};
use crate::host::FileType;
use crate::memory::SHARES;
use crate::origin::{Key, Rule};
use crate::pci;
use crate::peripheral::put_address;

impl<'a> Assembly<'a> {
    /// Memory shared with other guests (spec: qemu-command-devices, "ivshmem").
    pub(crate) fn put_ivshmem(&mut self) {
        if self.conf.truthy("ivshmem").is_none() {
            return;
        }
        let Some(ivshmem) = self.conf.props("ivshmem") else { return };
        let key = Key::new("ivshmem");
        let express = pci::express_slot("ivshmem").filter(|_| self.q35);
        let address = if express.is_none() { self.address("ivshmem", None) } else { None };
        let origin = Rule::SharedMemoryDevice.of(key);
        let mut element = self.devices.option("-device", origin);
        element.put("ivshmem-plain,memdev=ivshmem");
        if let Some(slot) = express {
            element.because(Rule::Address.about(key));
            pci::put_express(&mut element, slot);
        }
        put_address(&mut element, address);
        // the reference leaves this comma
        element.because(origin).put(",");
        drop(element);
        let name = ivshmem.truthy("name");
        let size = ivshmem.get("size").unwrap_or_default();
        let vmid = self.vmid.get();
        let mut element = self.devices.option("-object", origin);
        element.put("memory-backend-file,id=ivshmem,share=on,mem-path=/dev/shm/pve-shm-");
        match name {
            Some(name) => element.because(Rule::SharedMemoryDevice.of(key.sub("name"))).put(name),
            None => element.put(vmid),
        };
        element.because(Rule::SharedMemoryDevice.of(key.sub("size")));
        put!(element, ",size=", size, "M");
    }

    /// Directories of the host (spec: qemu-command-devices, "virtiofs").
    pub(crate) fn put_virtiofs(&mut self) -> Step {
        for index in 0..SHARES {
            if !truthy(self.conf.nth("virtiofs", index).map(|text| text.as_bytes())) {
                continue;
            }
            let Some(props) = self.conf.nth_props("virtiofs", index) else { continue };
            self.put_share(index, &props)?;
        }
        Ok(())
    }

    fn put_share(&mut self, index: u8, props: &Props<'a>) -> Step {
        let key = Key::nth("virtiofs", index);
        let id = props.get("dirid").unwrap_or_default();
        if props.truthy("expose-acl").is_some() && self.windows > 0 {
            return Err(self.error(key.sub("expose-acl"), Reason::from(ShareReason::AclOnWindows)));
        }
        let path = self.shared_path(key, id)?.to_owned();
        let vmid = self.vmid.get();
        let origin = Rule::Virtiofs.of(key);
        let socket = format!("/run/qemu-server/virtiofsd/vm{vmid}-fs{index}");
        put!(self.devices.option("-chardev", origin), "socket,id=virtiofs", index, ",path=", &socket);
        let mut element = self.devices.option("-device", origin);
        put!(element, "vhost-user-fs-pci,queue-size=1024,chardev=virtiofs", index);
        element.because(Rule::Virtiofs.of(key.sub("dirid")));
        put!(element, ",tag=", id);
        drop(element);
        let flag = |name: &str| props.truthy(name).is_some();
        self.effects.shared_directories.push(SharedDirectory {
            socket: socket.into(),
            path,
            cache: props.get("cache").map(BStr::to_owned),
            xattr: flag("expose-xattr") || flag("expose-acl"),
            acl: flag("expose-acl"),
            direct_io: flag("direct-io"),
            windows: self.windows > 0,
        });
        Ok(())
    }

    /// The directory of a mapping on this node.
    fn shared_path(&self, key: Key, id: &'a BStr) -> Step<&'a BString> {
        let key = key.sub("dirid");
        let entries = self.builder.mappings().directory(id);
        let mut here = entries.iter().filter(|entry| entry.node == self.host.node.as_str());
        let (Some(entry), None) = (here.next(), here.next()) else {
            let reason = ShareReason::NoMapping { mapping: id.to_owned(), node: self.host.node.clone() };
            return Err(self.error(key, Reason::from(reason)));
        };
        if entry.path.to_str().is_ok_and(|path| self.is(path, FileType::Dir)) {
            return Ok(&entry.path);
        }
        Err(self.error(key, Reason::from(ShareReason::NotADirectory(entry.path.clone()))))
    }
}
