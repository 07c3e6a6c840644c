// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tools of one node reported, as they printed it or as it was asked for.

use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use pve_volid::{ContentType, VolumeType};
use serde::Deserialize;

use crate::host::FileKind;
use crate::listing::Listing;

/// What is known of the storages of one node: the saved output of the listing tools, or what
/// [`collect`](super::collect) asked them.
#[derive(Debug, Clone, Default)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// `lvs` with the columns of [`LvLine`](pve_volid::LvLine), of all volume groups.
    pub lvs: Option<BString>,
    /// `zfs list` with the columns of [`ZfsDataset`](pve_volid::ZfsDataset), of one or more storages.
    pub zfs: Option<BString>,
    /// What there is by storage id.
    pub storages: BTreeMap<String, StorageReport>,
    /// What is known of single images, by storage id. Without it a linked clone in a directory has the base that the
    /// configuration names, and every image takes its whole size.
    pub images: BTreeMap<String, Vec<ImageReport>>,
    /// Storages that did not answer, with the reason.
    pub silent: BTreeMap<String, String>,
    /// Storages whose directory is that of another storage, although their sections do not say so: a symbolic link, a
    /// mount that two sections use. By storage id the id of the other.
    pub same: BTreeMap<String, String>,
}

/// What is known of one storage.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StorageReport {
    /// `rbd ls -l --format json`.
    Rbd(BString),
    /// `zfs list` with the columns of [`ZfsDataset`](pve_volid::ZfsDataset), of this storage.
    Zfs(BString),
    /// `find -printf '%y %s %P\n'` in the directory of the storage.
    Files(BString),
    /// The files in the content directories of the storage.
    Directory(Vec<FileReport>),
    /// What the plugin of the storage lists and hides.
    Listing(Listing),
}

/// A file or directory below a content directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// What its directory is for.
    pub content: ContentType,
    /// Its path below that directory.
    pub path: BString,
    /// What it is, links followed; [`FileKind::Link`] for one that leads nowhere.
    pub kind: FileKind,
    /// Its size in bytes; unknown for directories.
    pub size: Option<u64>,
}

/// What files on a storage are for; each has a directory.
pub(super) fn file_contents() -> impl Iterator<Item = ContentType> {
    VolumeType::ALL.iter().map(|vtype| ContentType::from(*vtype))
}

/// What `qemu-img info` tells of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageReport {
    /// Its file or device.
    pub file: BString,
    /// Space that it takes, in bytes.
    pub used: Option<u64>,
    /// Its backing file: a path, or an address of another kind.
    pub backing: Option<BString>,
    /// Whether the backing file is there, if somebody looked.
    pub backing_exists: Option<bool>,
    /// Why it cannot be read, if it cannot.
    pub complaint: Option<String>,
}

impl ImageReport {
    /// Reads what `qemu-img info --output=json` printed for any number of images, one behind the other.
    ///
    /// ```
    /// use pve_storage::audit::ImageReport;
    ///
    /// let text = r#"{"filename": "/a/images/100/vm-100-disk-0.qcow2", "actual-size": 200704, "virtual-size": 1,
    ///                "backing-filename": "../900/base-900-disk-0.raw"}
    ///               {"filename": "/a/images/900/base-900-disk-0.raw", "actual-size": 0, "virtual-size": 1}"#;
    /// let images = ImageReport::read(text.as_bytes())?;
    /// assert_eq!(images[0].backing.as_ref().unwrap(), "/a/images/900/base-900-disk-0.raw");
    /// assert_eq!((images[1].used, &images[1].backing), (Some(0), &None));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the text is not the JSON of that command.
    pub fn read(text: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        let told = serde_json::Deserializer::from_slice(text).into_iter::<Told>();
        told.map(|told| told.map(Told::report)).collect()
    }
}

/// An answer of `qemu-img info --output=json`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Told {
    filename: String,
    actual_size: Option<u64>,
    backing_filename: Option<String>,
}

impl Told {
    fn report(self) -> ImageReport {
        let backing = self.backing_filename.map(|backing| resolve(self.filename.as_bytes(), &backing));
        ImageReport {
            file: self.filename.into(),
            used: self.actual_size,
            backing,
            backing_exists: None,
            complaint: None,
        }
    }
}

/// The path of a backing file as `file` names it: relative to its directory, `.` and `..` taken out. An address with a
/// protocol stays as it is.
fn resolve(file: &[u8], backing: &str) -> BString {
    let protocol = backing.split_once(':').is_some_and(|(word, _)| !word.contains('/'));
    if protocol {
        return backing.into();
    }
    let directory = file.rsplit_once_str("/").map_or(&b""[..], |(directory, _)| directory);
    let whole = if backing.starts_with('/') {
        backing.into()
    } else {
        [directory, b"/", backing.as_bytes()].concat()
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in whole.split_str("/") {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    [&b"/"[..], &parts.join(&b'/')].concat().into()
}

/// The output of a tool that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("what node {node:?} reports of storage {storage:?} is not the JSON of `{command}`: {source}")]
pub struct ReportError {
    /// The node.
    pub node: String,
    /// The storage.
    pub storage: String,
    /// The command whose output it should be.
    pub command: &'static str,
    /// What is wrong.
    pub source: serde_json::Error,
}
