// SPDX-License-Identifier: MIT OR Apache-2.0
//! What requests to create or change a VM make of the values of options, beyond the schema: completed, rewritten, refused.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::format::{Context, split_list};
use pve_config::rule::ValueError;
use pve_config::schema;
use pve_config::vm::{Bus, Clipboard, DriveId, Machine, Net, Vga, VgaType, Viommu};

use crate::cloudinit::{SshKeyError, windows_version};
use crate::new_disk::{self, NewDiskError};
use crate::node::{Facts, Node, WorldError};
use crate::version::{QemuVersion, highest_revision};
use crate::vm_file;

/// The largest weight that cgroup v2 knows.
const MOST_CPU_UNITS: u32 = 10_000;

/// Why a request cannot set an option to a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// There is no such option, or the value breaks a rule of it.
    #[error("{key}: {source}")]
    Value {
        /// The option.
        key: BString,
        /// The rule.
        source: Box<ValueError>,
    },
    /// The system itself sets it.
    #[error("{key} cannot be set; the system itself does that")]
    Internal {
        /// The option.
        key: BString,
    },
    /// It names a disk that cannot be had.
    #[error("{key}: {source}")]
    Disk {
        /// The option.
        key: BString,
        /// Why.
        source: Box<NewDiskError>,
    },
    /// A line of it is no public key.
    #[error("sshkeys: {0}")]
    SshKeys(#[from] SshKeyError),
    /// It is no script of a storage.
    #[error("hookscript: {volume} is no script; name an existing volume of content 'snippets'")]
    Hookscript {
        /// The value.
        volume: BString,
    },
    /// A file of the cluster cannot be read.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The parts of the machine do not go together.
    #[error("machine: {0}")]
    Machine(&'static str),
    /// The clipboard needs a graphical display.
    #[error("vga: the clipboard cannot be shared with display type {0}; leave clipboard out")]
    Clipboard(&'static str),
    /// The installed QEMU is not known.
    #[error("the version of QEMU is {0:?}, which is none")]
    QemuVersion(String),
}

impl OptionError {
    pub(crate) fn value(key: &BStr, source: ValueError) -> Self {
        OptionError::Value { key: key.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn disk(key: &BStr, source: NewDiskError) -> Self {
        OptionError::Disk { key: key.to_owned(), source: Box::new(source) }
    }
}

/// The drive that an option is, unless it is an unused one.
pub(crate) fn drive_id(key: &BStr) -> Option<DriveId> {
    DriveId::from_key(key).filter(|id| id.bus != Bus::Unused)
}

/// The options of a request as they are meant; `cdrom` takes the place of an `ide2` beside it.
pub(crate) fn normalise_all(
    node: Node<'_>,
    mut options: BTreeMap<BString, BString>,
) -> Result<BTreeMap<BString, BString>, OptionError> {
    if let Some(value) = options.remove(BStr::new("cdrom")) {
        let (key, value) = cdrom_alias(value.as_bstr());
        options.insert(key, value);
    }
    for (key, value) in &mut options {
        *value = normalise(node, key.as_bstr(), value.as_bstr())?;
    }
    Ok(options)
}

/// `cdrom=X` as what it stands for: `ide2`.
fn cdrom_alias(value: &BStr) -> (BString, BString) {
    let media: &[u8] = if value.contains_str("media=") { b"" } else { b",media=cdrom" };
    (BString::from("ide2"), [value.as_bytes(), media].concat().into())
}

/// The value that a request means: checked against the schema, paths of disks found, network cards with an address.
fn normalise(node: Node<'_>, key: &BStr, value: &BStr) -> Result<BString, OptionError> {
    let failed = |source| OptionError::value(key, source);
    let (option, _) = schema::VM.find(key).ok_or_else(|| failed(schema::VM.unknown(key)))?;
    if !option.settable {
        return Err(OptionError::Internal { key: key.to_owned() });
    }
    let custom = vm_file::custom_cpu_models(node, [value])?;
    let context = Context::default().with_custom_cpu_models(&custom);
    schema::VM.check_request(key, value, &context).map_err(failed)?;
    if let Some(id) = drive_id(key) {
        return new_disk::normalise(node, id, value).map_err(|source| OptionError::disk(key, source));
    }
    match option.name {
        "net" => complete_net(node, value).map_err(failed),
        "cpuunits" => {
            let units = value.to_str().ok().and_then(|units| units.parse::<u32>().ok());
            let most =
                units.filter(|units| *units > MOST_CPU_UNITS).map(|_| MOST_CPU_UNITS.to_string().into());
            Ok(most.unwrap_or_else(|| value.to_owned()))
        }
        "vga" => {
            check_vga(&Vga::read(Some(value)).map_err(failed)?)?;
            Ok(value.to_owned())
        }
        _ => Ok(value.to_owned()),
    }
}

fn complete_net(node: Node<'_>, value: &BStr) -> Result<BString, ValueError> {
    let net = Net::parse(value)?;
    let drawn: String;
    let macaddr = match net.macaddr {
        Some(macaddr) => macaddr,
        None => {
            drawn = node.chance.mac(&node.facts.mac_prefix);
            BStr::new(&drawn)
        }
    };
    Net { macaddr: Some(macaddr), ..net }.print()
}

/// That the parts of a display go together.
pub(crate) fn check_vga(vga: &Vga<'_>) -> Result<(), OptionError> {
    let kind = vga.kind.unwrap_or(VgaType::Std);
    let is_text = matches!(
        kind,
        VgaType::None | VgaType::Serial0 | VgaType::Serial1 | VgaType::Serial2 | VgaType::Serial3
    );
    if is_text && vga.clipboard == Some(Clipboard::Vnc) {
        return Err(OptionError::Clipboard(kind.as_str()));
    }
    Ok(())
}

/// Tags as they are stored: lower case, each once, sorted.
pub(crate) fn unique_tags(value: &BStr) -> BString {
    let tags: BTreeSet<Vec<u8>> = split_list(value).map(<[u8]>::to_ascii_lowercase).collect();
    bstr::join(";", tags).into()
}

/// The machine as it is stored: in the order of its parts, and with a version for Windows, which does not like other
/// hardware at every start. `None` if there is nothing to store (spec: vm-lifecycle, "Create", 7).
pub(crate) fn stored_machine(
    facts: &Facts,
    arch: &BStr,
    ostype: Option<&BStr>,
    value: Option<&BStr>,
) -> Result<Option<BString>, OptionError> {
    let failed = |source| OptionError::value("machine".into(), source);
    let machine = Machine::read(value.map(|text| text.as_bytes())).map_err(failed)?;
    check_machine(&machine)?;
    let pinned: String;
    let mut stored = machine;
    if ostype.is_some_and(|ostype| windows_version(ostype) > 0) {
        let base = match (machine.kind.map(|kind| kind.as_bytes()), arch.as_bytes()) {
            (None, b"aarch64") | (Some(b"virt"), _) => Some("virt"),
            (None, _) | (Some(b"pc"), _) => Some("pc-i440fx"),
            (Some(b"q35"), _) => Some("pc-q35"),
            (Some(_), _) => None,
        };
        if let Some(base) = base {
            pinned = format!("{base}-{}", newest_version(facts)?);
            stored.kind = Some(BStr::new(&pinned));
        }
    }
    let text = stored.print().map_err(failed)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// That the parts of a machine go together.
fn check_machine(machine: &Machine<'_>) -> Result<(), OptionError> {
    let is_q35 = machine.kind.is_some_and(|kind| kind.contains_str("q35"));
    let is_intel = machine.viommu == Some(Viommu::Intel);
    if is_intel && !is_q35 {
        return Err(OptionError::Machine("viommu=intel needs a machine of type q35"));
    }
    let Some(bits) = machine.aw_bits.map(|bits| bits.get()) else { return Ok(()) };
    if machine.viommu.is_none() {
        return Err(OptionError::Machine("aw-bits needs viommu"));
    }
    if is_intel && bits != 39.0 && bits != 48.0 {
        return Err(OptionError::Machine("aw-bits must be 39 or 48 with viommu=intel"));
    }
    Ok(())
}

/// The newest machine version of the installed QEMU, with Proxmox's revision if there is one.
fn newest_version(facts: &Facts) -> Result<String, OptionError> {
    let unknown = || OptionError::QemuVersion(facts.qemu_version.clone());
    let QemuVersion { major, minor, .. } = QemuVersion::parse(&facts.qemu_version).ok_or_else(unknown)?;
    Ok(match highest_revision(major, minor) {
        0 => format!("{major}.{minor}"),
        revision => format!("{major}.{minor}+pve{revision}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_unique_and_sorted() {
        assert_eq!(unique_tags("b;A,a c".into()), "a;b;c");
        assert_eq!(unique_tags("".into()), "");
    }

    #[test]
    fn only_windows_gets_a_version() {
        let facts = Facts { qemu_version: "9.2.0".into(), ..Facts::default() };
        let stored = |arch: &str, ostype: &str, value: Option<&str>| {
            let stored = stored_machine(&facts, arch.into(), Some(ostype.into()), value.map(Into::into));
            stored.map(|machine| machine.unwrap_or_default().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(stored("x86_64", "win11", None).unwrap(), "pc-i440fx-9.2+pve1");
        assert_eq!(stored("aarch64", "win11", None).unwrap(), "virt-9.2+pve1");
        assert_eq!(stored("x86_64", "win11", Some("q35")).unwrap(), "pc-q35-9.2+pve1");
        assert_eq!(stored("x86_64", "win11", Some("pc-q35-8.1")).unwrap(), "pc-q35-8.1");
        assert_eq!(stored("x86_64", "l26", None).unwrap(), "");
        assert_eq!(stored("x86_64", "l26", Some("viommu=virtio,type=q35")).unwrap(), "q35,viommu=virtio");
        let error = stored("x86_64", "l26", Some("pc,viommu=intel")).unwrap_err();
        assert_eq!(error, "machine: viommu=intel needs a machine of type q35");
    }
}
