// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations ask of a drive's volume: whose it is, what it can do, who uses it.

use bstr::{BStr, BString};
use pve_config::guest::{VmConfig, VmSection};
use pve_config::vm::Drive;
use pve_storage::{Facts, Feature, Refusal, Storages, Volume};
use pve_volid::{VmId, VolumeIdRef};

use crate::node::Node;

/// The volume of this id, if its storage exists and takes the name.
pub(crate) fn volume<'s>(node: Node<'s>, volid: &'s BStr) -> Option<Volume<'s>> {
    volume_on(node.volumes.storages(), volid)
}

/// As [`volume`], where there are no more than storages.
pub(crate) fn volume_on<'s>(storages: &'s Storages, volid: &'s BStr) -> Option<Volume<'s>> {
    let id = VolumeIdRef::from_bytes(volid).ok()?;
    storages.get(id.storage().as_str())?.volume(id.volname()).ok()
}

/// The owner that the volume's name tells; none for paths and for ids that no storage reads.
pub(crate) fn owner(node: Node<'_>, volid: &BStr) -> Option<VmId> {
    volume(node, volid)?.owner?.vmid()
}

/// Whether a volume, or a snapshot of it, has a feature.
pub(crate) fn can(node: Node<'_>, volid: &BStr, feature: Feature, snapshot: Option<&BStr>) -> bool {
    volume(node, volid).is_some_and(|volume| volume.can(feature, snapshot, None).is_ok())
}

/// As [`can`], with the reason.
pub(crate) fn require(
    node: Node<'_>,
    volid: &BStr,
    feature: Feature,
    snapshot: Option<&BStr>,
) -> Result<(), Refusal> {
    match volume(node, volid) {
        Some(volume) => volume.can(feature, snapshot, None),
        None => Err(Refusal::Other(format!("{volid} is no volume of a storage"))),
    }
}

/// Where a volume is; an absolute path is its own answer.
pub(crate) fn path(node: Node<'_>, volid: &BStr) -> Option<BString> {
    if volid.starts_with(b"/") {
        return Some(volid.to_owned());
    }
    volume(node, volid)?.path(None, &Facts::default()).ok()
}

/// Whether a drive other than `except` uses the volume, in the main section or in a snapshot (spec: vm-lifecycle,
/// "Volume in use"). In snapshots no drive is excepted. Pending drives do not count.
pub(crate) fn is_in_use(node: Node<'_>, config: &VmConfig<'_>, volume: &BStr, except: Option<&BStr>) -> bool {
    let wanted = path(node, volume);
    let same = |drive: &Drive<'_>| {
        !drive.is_cdrom() && (drive.file == volume || wanted.is_some() && path(node, drive.file) == wanted)
    };
    let main = config
        .main
        .drives()
        .any(|(id, drive)| except.is_none_or(|except| except != id.to_string().as_str()) && same(&drive));
    main || config.snapshots().any(|(_, snapshot)| uses(snapshot, &same))
}

/// Whether a snapshot's drive uses the volume.
pub(crate) fn is_in_snapshot(node: Node<'_>, config: &VmConfig<'_>, volume: &BStr) -> bool {
    let mut snapshots = config.clone();
    snapshots.main = VmSection::new();
    is_in_use(node, &snapshots, volume, None)
}

fn uses(section: &VmSection<'_>, same: &impl Fn(&Drive<'_>) -> bool) -> bool {
    section.drives().any(|(_, drive)| same(&drive))
}
