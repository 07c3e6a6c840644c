// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives from machine version 10.0 on: a throttle group and a graph of block nodes (spec: qemu-command-drives, "New
//! form (`-blockdev`), MV >= 10.0").

use bstr::{BStr, BString, ByteSlice};
use pve_storage::Volume;
use pve_volid::StorageType;
use sha2::{Digest as _, Sha256};

use super::node::{Node, Value};
use super::{CacheMode, Drive, Place};
use crate::assembly::{Assembly, Step, truthy};
use crate::error::{DriveReason, Reason};
use crate::host::FileType;
use crate::origin::{Origin, Rule};

/// What is asked of the nodes besides what the drive configures.
#[derive(Clone, Copy, Default)]
pub(crate) struct NodeOptions<'o> {
    /// Nothing is written, whatever the drive says.
    pub(crate) read_only: bool,
    /// Size of the image in bytes, for raw images that may be larger than what the guest should see.
    pub(crate) size: Option<u64>,
    /// Cache mode instead of the drive's.
    pub(crate) cache: Option<CacheMode>,
    /// It is an EFI disk.
    pub(crate) firmware: bool,
    /// The snapshot that is opened.
    pub(crate) snapshot: Option<&'o BStr>,
    /// The file of the snapshot, as found in the chain.
    pub(crate) chain_file: Option<&'o str>,
    /// The file is made when the guest starts.
    pub(crate) is_copy: bool,
    /// How many snapshots lie in front of this one.
    pub(crate) depth: usize,
}

/// Drivers that are told how requests are made.
const AIO_DRIVERS: &[&str] = &["file", "host_cdrom", "host_device"];

impl<'a> Assembly<'a> {
    /// Throttle group and nodes of a drive.
    pub(crate) fn put_blockdev(&mut self, drive: &Drive<'a>) -> Step {
        if drive.file == "none" {
            return Ok(());
        }
        let options = NodeOptions { read_only: self.template, ..NodeOptions::default() };
        let place = self.place(drive)?;
        self.check_host_cdrom(drive, place);
        let chain = self.block_chain(drive, place, &options)?;
        self.put_throttle_group(drive);
        chain.put(&mut self.devices.option("-blockdev", drive.origin(Rule::Blockdev, "file")));
        Ok(())
    }

    /// The throttle group of a drive, also if nothing refers to it.
    pub(crate) fn put_throttle_group(&mut self, drive: &Drive<'_>) {
        let origin = Rule::Throttle.about(drive.key);
        let mut group = Node::default();
        group.set("id", throttle_group(drive), origin);
        group.set("limits", drive.throttle_limits(), origin);
        group.set("qom-type", "throttle-group", origin);
        group.put(&mut self.main.option("-object", origin));
    }

    /// The graph: throttle, format, file.
    pub(crate) fn block_chain<'t>(
        &self,
        drive: &Drive<'t>,
        place: Place<'t>,
        options: &NodeOptions<'_>,
    ) -> Step<Node<'t>>
    where
        'a: 't,
    {
        if drive.truthy("snapshot").is_some() {
            return Err(self.error(drive.key.sub("snapshot"), Reason::from(DriveReason::TemporarySnapshot)));
        }
        self.check_iso(drive, place)?;
        let common = self.common_keys(drive, options);
        let mut format = self.format_node(drive, place, options, &common)?;
        let name = prefixed("drive-", drive);
        let named = Rule::NodeName.about(drive.key);
        if drive.truthy("scsiblock").is_some() {
            format.set("node-name", name, named);
            return Ok(format);
        }
        if let Some(backing) = self.options.live_restore(drive.id.as_bstr()) {
            let mut track = Node::default();
            let origin = Rule::LiveRestore.caller("live restore");
            track.set("auto-remove", true, origin);
            track.set("backing", Value::Json(backing.node), origin);
            track.set("driver", "alloc-track", origin);
            track.set("file", format, origin);
            track.set("node-name", NodeName::of(drive, options.snapshot).text('a'), named);
            format = track;
        }
        let origin = Rule::Throttle.about(drive.key);
        let mut node = common;
        node.set("node-name", name, named);
        node.set("driver", "throttle", origin);
        node.set("throttle-group", throttle_group(drive), origin);
        node.set("file", format, origin);
        Ok(node)
    }

    /// The node that knows the image's format, with the file below it and the snapshots behind it.
    fn format_node<'t>(
        &self,
        drive: &Drive<'t>,
        place: Place<'t>,
        options: &NodeOptions<'_>,
        common: &Node<'t>,
    ) -> Step<Node<'t>>
    where
        'a: 't,
    {
        let format = self.drive_format(drive, place)?;
        let name = NodeName::of(drive, options.snapshot);
        let mut file = common.clone();
        file.set("node-name", name.text('e'), Rule::NodeName.about(drive.key));
        let cache = self.put_file_keys(&mut file, drive, place, options)?;
        let mut node = common.clone();
        node.set("node-name", name.text('f'), Rule::NodeName.about(drive.key));
        node.set("cache", cache_node(drive, cache), drive.origin(Rule::Cache, "cache"));
        node.set("file", file, Rule::Blockdev.about(drive.key));
        if let Some(size) = options.size {
            if format != "raw" {
                let reason = DriveReason::SizeOfFormat(format.to_string());
                return Err(self.error(drive.key.sub("format"), Reason::from(reason)));
            }
            node.set("size", size, Rule::FirmwareSize.host("firmware", drive.key));
        }
        if let Place::Volume(volume) = place
            && format == "qcow2"
        {
            if volume.storage().has_volume_chains() {
                node.set("discard-no-unref", true, Rule::ChainFlag.about(drive.key));
            }
            if let Some(backing) = self.backing_node(drive, volume, options)? {
                node.set("backing", backing, Rule::Backing.host("snapshot_chains", drive.key));
            }
        }
        node.set("driver", format, drive.origin(Rule::DriveFormat, "format"));
        Ok(node)
    }

    /// The snapshot that the image, or another snapshot, is based on.
    fn backing_node<'t>(
        &self,
        drive: &Drive<'t>,
        volume: Volume<'t>,
        options: &NodeOptions<'_>,
    ) -> Step<Option<Node<'t>>>
    where
        'a: 't,
    {
        let chains = volume.storage().has_volume_chains();
        let kind = volume.storage().storage_type();
        let chained =
            matches!(kind, Some(StorageType::Dir | StorageType::Nfs | StorageType::Cifs | StorageType::Lvm));
        let images = drive.file.to_str().ok().and_then(|volume| self.host.snapshot_chains.get(volume));
        let (Some(images), true) = (images, chains && chained) else { return Ok(None) };
        let current = options.snapshot.and_then(|snapshot| snapshot.to_str().ok()).unwrap_or("current");
        let Some(parent) = images.get(current).and_then(|image| image.parent.as_deref()) else {
            return Ok(None);
        };
        let Some(image) = images.get(parent) else { return Ok(None) };
        if options.depth > images.len() {
            // a loop in the facts must not become one here
            return Ok(None);
        }
        let options = NodeOptions {
            depth: options.depth + 1,
            snapshot: Some(BStr::new(parent)),
            chain_file: Some(&image.file),
            cache: options.cache,
            firmware: options.firmware,
            ..NodeOptions::default()
        };
        let common = self.common_keys(drive, &options);
        self.format_node(drive, Place::Volume(volume), &options, &common).map(Some)
    }

    /// What the node that reads and writes has besides the common keys and its name; returns its cache mode.
    fn put_file_keys<'t>(
        &self,
        node: &mut Node<'t>,
        drive: &Drive<'t>,
        place: Place<'t>,
        options: &NodeOptions<'_>,
    ) -> Step<CacheMode>
    where
        'a: 't,
    {
        let path_origin = drive.origin(Rule::DrivePath, "file");
        let driver: BString = match place {
            Place::Nothing => return Err(self.error(drive.key, Reason::from(DriveReason::NoVolume))),
            Place::HostCdrom => {
                let device = self.host.cdrom.clone().unwrap_or_default();
                node.set("filename", device, Rule::DrivePath.host("cdrom", drive.key));
                "host_cdrom".into()
            }
            Place::Path(path) => {
                node.set("filename", path, path_origin);
                let kind = path.to_str().map_or(FileType::File, |path| self.file_type(path));
                match kind {
                    _ if options.is_copy => "file".into(),
                    FileType::Missing => {
                        return Err(
                            self.error(drive.key, Reason::from(DriveReason::Missing(path.to_owned())))
                        );
                    }
                    FileType::Block | FileType::Char if drive.is_cdrom() => "host_cdrom".into(),
                    FileType::Block | FileType::Char => "host_device".into(),
                    FileType::File | FileType::Dir => "file".into(),
                }
            }
            Place::Volume(volume) => {
                let (_, facts) = self.locate(drive.key, &volume, options.snapshot)?;
                let mut device = volume
                    .block_device(options.snapshot, &facts)
                    .map_err(|error| self.error(drive.key, error))?;
                device.restrict();
                for (name, value) in device.options() {
                    node.set(name.clone(), Value::from(value), path_origin);
                }
                if let Some(file) = options.chain_file {
                    node.set("filename", file.to_owned(), Rule::Backing.host("snapshot_chains", drive.key));
                }
                device.driver().into()
            }
        };
        let mut cache = options.cache.unwrap_or_else(|| self.cache_mode(drive, place));
        if AIO_DRIVERS.iter().any(|with_aio| driver == *with_aio) {
            node.set("aio", self.aio(drive, place, cache.direct), drive.origin(Rule::Aio, "aio"));
        }
        if options.firmware && driver == "rbd" {
            cache = CacheMode { direct: false, no_flush: false };
        }
        node.set("driver", driver, path_origin);
        node.set("cache", cache_node(drive, cache), drive.origin(Rule::Cache, "cache"));
        Ok(cache)
    }

    /// The keys that every node of a drive has.
    fn common_keys<'t>(&self, drive: &Drive<'t>, options: &NodeOptions<'_>) -> Node<'t> {
        let mut node = Node::with_capacity(10);
        if !drive.is_cdrom() {
            let detect = drive.origin(Rule::DetectZeroes, "detect_zeroes");
            node.set("detect-zeroes", self.detect_zeroes(drive), detect);
            let on = drive.get("discard").is_some_and(|discard| discard == "on");
            node.set("discard", if on { "unmap" } else { "ignore" }, drive.origin(Rule::Discard, "discard"));
        }
        let own = truthy(drive.get("ro").map(|ro| ro.as_bytes()));
        node.set("read-only", own || drive.is_cdrom() || options.read_only, read_only_origin(drive));
        node
    }
}

fn read_only_origin(drive: &Drive<'_>) -> Origin {
    drive.origin(Rule::ReadOnly, if drive.is_cdrom() { "media" } else { "ro" })
}

fn cache_node(drive: &Drive<'_>, cache: CacheMode) -> Node<'static> {
    let origin = drive.origin(Rule::Cache, "cache");
    let mut node = Node::default();
    node.set("direct", cache.direct, origin);
    node.set("no-flush", cache.no_flush, origin);
    node
}

fn throttle_group(drive: &Drive<'_>) -> BString {
    prefixed("throttle-drive-", drive)
}

/// `prefix` and the drive's id.
fn prefixed(prefix: &str, drive: &Drive<'_>) -> BString {
    [prefix.as_bytes(), &drive.id].concat().into()
}

/// What names the nodes of a drive: the same whenever the same volume is attached to the same drive (spec:
/// qemu-command-drives, "Node names").
pub(crate) struct NodeName([u8; NodeName::DIGITS]);

impl NodeName {
    /// With the letter in front the 31 bytes that QEMU takes at most.
    const DIGITS: usize = 30;

    /// The name of the nodes for a drive, or for a snapshot of its volume.
    pub(crate) fn of(drive: &Drive<'_>, snapshot: Option<&BStr>) -> Self {
        let mut hash = Sha256::new();
        hash.update("drive=");
        hash.update(&drive.id);
        if let Some(snapshot) = snapshot.filter(|snapshot| *snapshot != "current") {
            hash.update(",snap=");
            hash.update(snapshot);
        }
        hash.update(",volid=");
        hash.update(drive.file);
        let mut digits = [0; NodeName::DIGITS];
        let nibbles = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for (digit, nibble) in digits.iter_mut().zip(nibbles) {
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        NodeName(digits)
    }

    /// The name of the node that `letter` stands for.
    pub(crate) fn text(&self, letter: char) -> BString {
        let mut name = Vec::with_capacity(1 + NodeName::DIGITS);
        name.push(letter as u8);
        name.extend_from_slice(&self.0);
        name.into()
    }
}
