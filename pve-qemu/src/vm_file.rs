// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of a VM as an operation reads and writes it.

use bstr::{BStr, BString, ByteSlice};
use pve_config::Digest;
use pve_config::format::Context;
use pve_config::guest::{GuestKind, LockError, VmConfig, WriteError};
use pve_config::vm::CustomModels;
use pve_volid::VmId;

use crate::node::{Node, WorldError};

/// Why a configuration is not at an operation's disposal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmFileError {
    /// There is no such VM.
    #[error("there is no VM {vmid}")]
    Missing {
        /// The id.
        vmid: VmId,
    },
    /// Only its own node may change it.
    #[error("guest {vmid} is on node {node}; run this there")]
    OtherNode {
        /// The id.
        vmid: VmId,
        /// Where it is.
        node: String,
    },
    /// A container has that id.
    #[error("guest {vmid} is a container, not a VM")]
    Container {
        /// The id.
        vmid: VmId,
    },
    /// Another operation has locked it.
    #[error("VM {vmid}: {source}")]
    Locked {
        /// The id.
        vmid: VmId,
        /// The lock.
        source: LockError,
    },
    /// It is not the one that the caller has seen.
    #[error(
        "VM {vmid}: the configuration was changed by somebody else (digest {actual}, not {expected}); read it again"
    )]
    Digest {
        /// The id.
        vmid: VmId,
        /// The digest of the request.
        expected: BString,
        /// That of the file.
        actual: String,
    },
    /// It cannot be written.
    #[error("VM {vmid}: {source}")]
    Write {
        /// The id.
        vmid: VmId,
        /// Why.
        source: Box<WriteError>,
    },
    /// The store refused.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// Reads the configuration of a VM of this node.
pub(crate) fn load(node: Node<'_>, vmid: VmId) -> Result<VmConfig<'static>, VmFileError> {
    let Some((entry, text)) = node.configs.read(vmid)? else { return Err(VmFileError::Missing { vmid }) };
    if entry.kind != GuestKind::Qemu {
        return Err(VmFileError::Container { vmid });
    }
    if entry.node != node.configs.node() {
        return Err(VmFileError::OtherNode { vmid, node: entry.node });
    }
    parse(node, &text)
}

/// Reads the configuration of a VM that must not be locked.
pub(crate) fn load_unlocked(node: Node<'_>, vmid: VmId) -> Result<VmConfig<'static>, VmFileError> {
    let config = load(node, vmid)?;
    config.require_unlocked().map_err(|source| VmFileError::Locked { vmid, source })?;
    Ok(config)
}

/// That the file is still the one that the caller has seen; an empty digest asks for nothing.
pub(crate) fn check_digest(
    vmid: VmId,
    config: &VmConfig<'_>,
    expected: Option<&BStr>,
) -> Result<(), VmFileError> {
    let Some(expected) = expected.filter(|digest| !digest.is_empty()) else { return Ok(()) };
    let actual = config.digest().unwrap_or_else(|| Digest::of(b"")).to_string();
    if actual.as_bytes().as_bstr() == expected {
        return Ok(());
    }
    Err(VmFileError::Digest { vmid, expected: expected.to_owned(), actual })
}

/// Writes the configuration, and returns it as it is read again.
pub(crate) fn store(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
) -> Result<VmConfig<'static>, VmFileError> {
    let cpu = config.sections().filter_map(|(_, section)| section.get("cpu"));
    let custom = custom_cpu_models(node, cpu)?;
    let context = Context::default().with_custom_cpu_models(&custom);
    let text = config.to_bytes_with(&context);
    let text = text.map_err(|source| VmFileError::Write { vmid, source: Box::new(source) })?;
    node.configs.write(vmid, text.as_bstr())?;
    parse(node, &text)
}

/// A configuration as this cluster reads it.
fn parse(node: Node<'_>, text: &[u8]) -> Result<VmConfig<'static>, VmFileError> {
    let custom = custom_cpu_models(node, [text])?;
    let context = Context::default().with_custom_cpu_models(&custom);
    Ok(VmConfig::parse_with(text, &context).0.into_owned())
}

/// The custom CPU models of the cluster, if one of the texts names one: a model that is not known is none, and its line
/// would be lost.
pub(crate) fn custom_cpu_models<T: AsRef<[u8]>>(
    node: Node<'_>,
    texts: impl IntoIterator<Item = T>,
) -> Result<Vec<BString>, WorldError> {
    if !texts.into_iter().any(|text| text.as_ref().contains_str("custom-")) {
        return Ok(Vec::new());
    }
    let Some(file) = node.configs.file("virtual-guest/cpu-models.conf")? else { return Ok(Vec::new()) };
    let models = CustomModels::parse(&file, &Context::default());
    Ok(models.models().map(|model| model.name.to_owned()).collect())
}

/// How long an operation waits for the lock of a configuration.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
