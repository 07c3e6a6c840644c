// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory, NUMA nodes, huge pages and memory modules (spec: qemu-command, "Memory (main 18)").

use bstr::{BStr, ByteSlice};

use crate::argument::{Element, Float, Piece, put};
use crate::assembly::{Assembly, Step, truthy};
use crate::conf::Props;
use crate::error::{MemoryReason, Reason};
use crate::origin::{Key, Rule};

/// MiB of guests that configure none.
const DEFAULT: &[u8] = b"512";
/// MiB that are not hot-pluggable; with pages of 1 GiB that much for each socket.
const STATIC: u64 = 1024;
/// NUMA nodes that can be configured.
const NODES: u8 = 8;
/// Directories that can be shared.
pub(crate) const SHARES: u8 = 10;
/// Memory modules of one size.
const MODULES: u32 = 32;
/// Sizes of memory modules, each twice the one before.
const MODULE_SIZES: u32 = 8;
/// Most address bits that the size of hot-pluggable memory assumes for models other than the host's.
const MODEL_PHYS_BITS: u32 = 40;
/// Address bits of hosts that do not tell.
const UNKNOWN_PHYS_BITS: u32 = 36;
/// Most hot-pluggable memory, in MiB.
const MOST: u64 = 4 << 20;

const MEMORY: Key = Key::new("memory");
const NUMA: Key = Key::new("numa");
const HUGEPAGES: Key = Key::new("hugepages");

/// A size in MiB: as it is written, and as a number.
#[derive(Clone, Copy)]
enum Size<'a> {
    Written(&'a BStr, f64),
    Computed(f64),
}

impl Size<'_> {
    fn number(self) -> f64 {
        match self {
            Size::Written(_, number) | Size::Computed(number) => number,
        }
    }

    /// The integer part; saturates.
    fn whole(self) -> i64 {
        self.number() as i64
    }
}

impl Piece for Size<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Size::Written(text, _) => text.write(out),
            Size::Computed(number) => Float(*number).write(out),
        }
    }
}

impl std::fmt::Display for Size<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&text.to_str_lossy())
    }
}

/// A memory object: which id, for which node.
#[derive(Clone, Copy)]
struct Object {
    name: &'static str,
    number: u32,
    key: Key,
}

impl<'a> Assembly<'a> {
    /// `-m`, memory objects, NUMA nodes, modules.
    pub(crate) fn put_memory(&mut self) -> Step {
        let memory = self.conf.props("memory").and_then(|memory| memory.get("current"));
        let set = memory.is_some();
        let memory = self.written(MEMORY, memory.unwrap_or(BStr::new(DEFAULT)))?;
        let numa = self.conf.truthy("numa").is_some();
        let shares = self.has_shares();
        let huge = self.conf.truthy("hugepages").is_some();
        let hot = self.features.memory;
        let origin = Rule::Memory.of_or_default(MEMORY, set);
        if huge && !numa {
            return self.refuse(HUGEPAGES, MemoryReason::HugepagesWithoutNuma);
        }
        let fixed = if hot {
            self.check_hotplug(numa, shares)?;
            let most = self.maximum_memory();
            if memory.number() > most as f64 {
                return self.refuse(MEMORY, MemoryReason::TooMuch { wanted: memory.to_string(), most });
            }
            let fixed = self.static_memory()?;
            if memory.number() < fixed as f64 {
                return self
                    .refuse(MEMORY, MemoryReason::TooLittle { wanted: memory.to_string(), least: fixed });
            }
            let mut element = self.main.option("-m", Rule::MemoryHotplug.of(Key::new("hotplug")));
            put!(element, "size=", fixed, ",slots=255,maxmem=", most, "M");
            Size::Computed(fixed as f64)
        } else {
            self.main.pair("-m", memory, origin);
            memory
        };
        if numa {
            self.put_nodes(fixed, shares, huge)?;
        } else if shares {
            let text = self.conf.get("memory").unwrap_or_default();
            let mut element = self.main.option("-object", Rule::SharedMemory.of(MEMORY));
            put!(element, "memory-backend-memfd,id=virtiofs-mem,size=", text, "M,share=on");
        }
        if hot && memory.number() > fixed.number() {
            self.put_modules(fixed, memory)?;
        }
        Ok(())
    }

    /// Whether the guest shares directories.
    pub(crate) fn has_shares(&self) -> bool {
        (0..SHARES).any(|index| truthy(self.conf.nth("virtiofs", index).map(|v| v.as_bytes())))
    }

    /// Whether all memory is one shared object.
    pub(crate) fn shares_plain_memory(&self) -> bool {
        self.has_shares() && self.conf.truthy("numa").is_none()
    }

    fn check_hotplug(&self, numa: bool, shares: bool) -> Step {
        if !numa {
            return self.refuse(MEMORY, MemoryReason::HotplugWithoutNuma);
        }
        let node = (0..NODES).find(|node| truthy(self.conf.nth("numa", *node).map(|v| v.as_bytes())));
        if let Some(node) = node {
            return self.refuse(Key::nth("numa", node), MemoryReason::HotplugWithNodes);
        }
        if shares {
            return self.refuse(MEMORY, MemoryReason::HotplugWithVirtiofs);
        }
        Ok(())
    }

    /// MiB of a guest with memory hot-plug that are there from the start.
    fn static_memory(&self) -> Step<u64> {
        Ok(if self.has_gigabyte_pages() { STATIC * self.sockets_option()? } else { STATIC })
    }

    fn has_gigabyte_pages(&self) -> bool {
        self.conf.get("hugepages").is_some_and(|pages| pages == "1024")
    }

    /// MiB that the guest's CPU can address.
    fn maximum_memory(&self) -> u64 {
        let cpu = self.conf.props("cpu");
        let host = self.host.phys_bits;
        let configured = match cpu.as_ref().and_then(|cpu| cpu.get("phys-bits")).map(|bits| bits.as_bytes()) {
            Some(b"host") => host,
            Some(bits) => bits.to_str().ok().and_then(|bits| bits.parse().ok()),
            None => None,
        };
        let bits = configured.unwrap_or_else(|| {
            let host = host.unwrap_or(UNKNOWN_PHYS_BITS);
            let model = cpu.as_ref().and_then(|cpu| cpu.get("cputype")).map(|model| model.as_bytes());
            if matches!(model, Some(b"host" | b"max")) { host } else { host.min(MODEL_PHYS_BITS) }
        });
        let even = bits & !1;
        even.checked_sub(21).map_or(0, |shift| 1u64.checked_shl(shift).unwrap_or(u64::MAX).min(MOST))
    }

    /// A size that stands in the configuration.
    fn written<'t>(&self, key: Key, text: &'t BStr) -> Step<Size<'t>> {
        match text.to_str().ok().and_then(|text| text.parse::<f64>().ok()) {
            Some(number) => Ok(Size::Written(text, number)),
            None => Err(self.error(key, Reason::NotANumber(text.to_owned()))),
        }
    }

    /// NUMA nodes, configured or one for each socket.
    fn put_nodes(&mut self, total: Size<'_>, shares: bool, huge: bool) -> Step {
        let name = if shares { "virtiofs-mem" } else { "ram-node" };
        let mut sum = 0.0;
        let mut configured = false;
        for index in 0..NODES {
            if !truthy(self.conf.nth("numa", index).map(|v| v.as_bytes())) {
                continue;
            }
            let Some(node) = self.conf.nth_props("numa", index) else { continue };
            configured = true;
            let object = Object { name, number: index.into(), key: Key::nth("numa", index) };
            sum += self.put_configured_node(object, &node, huge)?;
        }
        if configured {
            if sum != total.number() {
                let nodes = Size::Computed(sum).to_string();
                return self.refuse(NUMA, MemoryReason::Sum { nodes, total: total.to_string() });
            }
            return Ok(());
        }
        let (sockets, cores) = self.sockets_and_cores()?;
        let size = Size::Computed(total.number() / sockets as f64);
        for socket in 0..sockets {
            if huge && socket >= u64::from(self.host.numa_nodes) {
                return self.refuse(HUGEPAGES, MemoryReason::NoHostNode(socket.to_string()));
            }
            let object = Object { name, number: u32::try_from(socket).unwrap_or(u32::MAX), key: NUMA };
            self.put_object(object, size)?;
            let mut element = self.main.option("-numa", Rule::Numa.of(NUMA));
            let first = socket.saturating_mul(cores);
            put!(element, "node,nodeid=", socket, ",cpus=", first);
            if cores > 1 {
                put!(element, "-", first.saturating_add(cores - 1));
            }
            put!(element, ",memdev=", name, socket);
        }
        Ok(())
    }

    /// A configured node; returns its MiB.
    fn put_configured_node(&mut self, object: Object, node: &Props<'a>, huge: bool) -> Step<f64> {
        let key = object.key;
        let Some(memory) = node.truthy("memory") else {
            return self.refuse(key, MemoryReason::NodeWithoutMemory);
        };
        let memory = self.written(key, memory)?;
        let host_nodes = match node.get("hostnodes") {
            Some(text) => Some(self.ranges(key, text)?),
            None => None,
        };
        let policy = node.truthy("policy");
        if let Some(host_nodes) = &host_nodes {
            if policy.is_none() {
                return self.refuse(key, MemoryReason::NoPolicy);
            }
            for (first, last) in host_nodes {
                let last_number = last.unwrap_or(*first);
                if number(last_number).is_none_or(|last| last >= u64::from(self.host.numa_nodes)) {
                    return self
                        .refuse(key, MemoryReason::NoHostNode(last_number.to_str_lossy().into_owned()));
                }
            }
        } else if huge {
            return self.refuse(key, MemoryReason::NoHostNodes);
        }
        let cpus = self.ranges(key, node.get("cpus").unwrap_or_default())?;
        let mut element = self.put_object(object, memory)?;
        if let (Some(host_nodes), Some(policy)) = (&host_nodes, policy) {
            element.because(Rule::Numa.of(key.sub("hostnodes"))).put(",host-nodes=");
            let start = element.buffer().len();
            for range in host_nodes {
                // the reference forgets the comma while the text so far is a single zero
                let written = element.buffer().get(start..).unwrap_or_default();
                if !written.is_empty() && written != b"0" {
                    element.put(",");
                }
                put_range(&mut element, range);
            }
            element.because(Rule::Numa.of(key.sub("policy")));
            put!(element, ",policy=", policy);
        }
        drop(element);
        let mut element = self.main.option("-numa", Rule::Numa.of(key));
        put!(element, "node,nodeid=", object.number, ",cpus=");
        for (place, range) in cpus.iter().enumerate() {
            if place > 0 {
                element.put(",cpus=");
            }
            put_range(&mut element, range);
        }
        put!(element, ",memdev=", object.name, object.number);
        Ok(memory.number())
    }

    /// Ranges `a-b` and numbers, separated by semicolons.
    fn ranges<'t>(&self, key: Key, text: &'t BStr) -> Step<Vec<(&'t BStr, Option<&'t BStr>)>> {
        let mut ranges = Vec::new();
        for part in text.split_str(";").filter(|part| !part.is_empty()) {
            let (first, last) = match part.split_once_str("-") {
                Some((first, last)) => (first.as_bstr(), Some(last.as_bstr())),
                None => (part.as_bstr(), None),
            };
            let in_order = match (number(first), last.map(|last| number(last))) {
                (Some(_), None) => true,
                (Some(first), Some(Some(last))) => first <= last,
                _ => false,
            };
            if !in_order {
                return self.refuse(key, MemoryReason::Range(part.into()));
            }
            ranges.push((first, last));
        }
        Ok(ranges)
    }

    /// `-object` with a piece of memory; the caller may add to it.
    fn put_object(&mut self, object: Object, size: Size<'_>) -> Step<Element<'_>> {
        let page = match self.conf.truthy("hugepages") {
            Some(wanted) => Some(self.page_size(object.key, wanted, size)?),
            None => None,
        };
        let key = object.key;
        let shared = object.name == "virtiofs-mem";
        let mut element = self.main.option("-object", Rule::Numa.of(key));
        let kind = match (page, shared) {
            (Some(_), _) => "memory-backend-file,id=",
            (None, true) => "memory-backend-memfd,id=",
            (None, false) => "memory-backend-ram,id=",
        };
        put!(element, kind, object.name, object.number, ",size=", size, "M");
        if let Some(page) = page {
            element.because(Rule::Hugepages.of(HUGEPAGES));
            put!(element, ",mem-path=/run/hugepages/kvm/", page * 1024, "kB,share=on,prealloc=yes");
        } else if shared {
            element.because(Rule::SharedMemory.about(Key::new("virtiofs"))).put(",share=on");
        }
        Ok(element)
    }

    /// Size of the huge pages for a piece of memory, in MiB.
    fn page_size(&self, key: Key, wanted: &BStr, size: Size<'_>) -> Step<u32> {
        let whole = size.whole();
        let offers = |pages: u32| self.host.hugepages.contains(&pages);
        let fits = |pages: u32| offers(pages) && whole % i64::from(pages) == 0;
        if whole <= 0 || whole % 2 != 0 {
            return self.refuse(key, MemoryReason::NoPages(size.to_string()));
        }
        if !offers(2) && !offers(1024) {
            return self.refuse(HUGEPAGES, MemoryReason::HostHasNoPages);
        }
        let chosen = if wanted == "any" {
            [1024, 2].into_iter().find(|pages| fits(*pages))
        } else {
            wanted.to_str().ok().and_then(|text| text.parse().ok()).filter(|pages| fits(*pages))
        };
        match chosen {
            Some(pages) => Ok(pages),
            None => {
                let reason = MemoryReason::PageSize { size: wanted.to_owned(), memory: size.to_string() };
                self.refuse(HUGEPAGES, reason)
            }
        }
    }

    /// Memory modules from the static memory up to what the guest has.
    fn put_modules(&mut self, fixed: Size<'_>, memory: Size<'_>) -> Step {
        let sockets = self.sockets_option()?;
        let mut module: u64 = if self.has_gigabyte_pages() { 1024 } else { 512 };
        let mut sum = fixed.number();
        let mut number = 0u32;
        for _ in 0..MODULE_SIZES {
            for place in 0..MODULES {
                sum += module as f64;
                let object = Object { name: "mem-dimm", number, key: MEMORY };
                self.put_object(object, Size::Computed(module as f64))?;
                let mut element = self.main.option("-device", Rule::MemoryHotplug.of(MEMORY));
                put!(element, "pc-dimm,id=dimm", number, ",memdev=mem-dimm", number, ",node=");
                element.put(u64::from(place) % sockets);
                drop(element);
                number += 1;
                if sum > memory.number() {
                    return self.refuse(MEMORY, MemoryReason::NotAligned(memory.to_string()));
                }
                if sum == memory.number() {
                    return Ok(());
                }
            }
            module *= 2;
        }
        Ok(())
    }

    fn refuse<T>(&self, key: Key, reason: MemoryReason) -> Step<T> {
        Err(self.error(key, reason))
    }
}

fn number(text: &[u8]) -> Option<u64> {
    text.to_str().ok()?.parse().ok()
}

fn put_range(element: &mut Element<'_>, (first, last): &(&BStr, Option<&BStr>)) {
    element.put(*first);
    if let Some(last) = last {
        put!(*element, "-", *last);
    }
}
