// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small ISO 9660 images with Rock Ridge and Joliet names; equal files make equal images.

use std::collections::BTreeMap;
use std::io::Cursor;

use hadris_iso::joliet::JolietLevel;
use hadris_iso::read::PathSeparator;
use hadris_iso::rrip::RripOptions;
use hadris_iso::write::options::{BaseIsoLevel, CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{InputEntry, InputMetadata, InputTree, IsoImageWriter};
use thiserror::Error;

/// Size of a logical block, in bytes.
pub const BLOCK: usize = 2048;

/// Longest volume label, in bytes: what the Joliet descriptor has room for.
pub const MAX_LABEL: usize = 16;

/// Why an image cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The label does not fit.
    #[error("the volume label {0:?} is longer than {MAX_LABEL} bytes")]
    Label(String),
    /// A path is empty, has an empty component, or is both a file and a directory.
    #[error("{0:?} is no path of a file in an image; write /NAME or /FOLDER/NAME, each file once")]
    Path(String),
    /// The writer failed.
    #[error("cannot lay out the image")]
    Write(#[source] std::io::Error),
}

/// An image of interchange level 3 with the label and the files. Paths begin with a slash, or not; directories come
/// from them.
///
/// All files belong to root and can be read by everybody. Every date in the image is 1980-01-01, so that equal
/// files make equal images.
///
/// ```
/// let image = pve_qemu::iso::image("cidata", &[("/meta-data", "instance-id: 1\n"), ("/user-data", "")])?;
/// assert_eq!(image.get(0x8001..0x8006), Some(&b"CD001"[..]));
/// assert_eq!(image.len() % pve_qemu::iso::BLOCK, 0);
/// # Ok::<(), pve_qemu::iso::ImageError>(())
/// ```
///
/// # Errors
/// See [`ImageError`].
pub fn image<P: AsRef<str>, C: AsRef<[u8]>>(label: &str, files: &[(P, C)]) -> Result<Vec<u8>, ImageError> {
    if label.len() > MAX_LABEL {
        return Err(ImageError::Label(label.to_owned()));
    }
    let mut root = Folder::default();
    for (path, content) in files {
        let path = path.as_ref();
        let relative = path.strip_prefix('/').unwrap_or(path);
        root.add(relative, content.as_ref()).ok_or_else(|| ImageError::Path(path.to_owned()))?;
    }
    let tree = InputTree::new(PathSeparator::ForwardSlash, root.entries());
    let written = IsoImageWriter::create(Cursor::new(Vec::new()), tree, format(label));
    let mut image = written.map_err(|error| ImageError::Write(std::io::Error::other(error)))?.into_inner();
    dates::settle(&mut image);
    Ok(image)
}

fn format(label: &str) -> IsoFormatOptions {
    // without Rock Ridge time stamps readers take those of the directory records
    let rock_ridge = RripOptions { preserve_timestamps: false, ..RripOptions::default() };
    IsoFormatOptions {
        volume_name: label.to_owned(),
        system_id: Some("LINUX".to_owned()),
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        sector_size: BLOCK,
        path_separator: PathSeparator::ForwardSlash,
        strict_charset: false,
        features: CreationFeatures {
            filenames: BaseIsoLevel::Level3 { supports_lowercase: false, supports_rrip: true },
            joliet: Some(JolietLevel::Level3),
            rock_ridge: Some(rock_ridge),
            ..CreationFeatures::default()
        },
    }
}

/// A directory of the image, in the order of names.
#[derive(Default)]
struct Folder<'a>(BTreeMap<&'a str, Node<'a>>);

enum Node<'a> {
    File(&'a [u8]),
    Folder(Folder<'a>),
}

impl<'a> Folder<'a> {
    /// Puts a file in its place; `None` if there is none for it.
    fn add(&mut self, path: &'a str, content: &'a [u8]) -> Option<()> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        if matches!(name, "" | "." | "..") || name.contains('\0') {
            return None;
        }
        match (rest, self.0.get_mut(name)) {
            (None, None) => self.0.insert(name, Node::File(content)).map_or(Some(()), |_| None),
            (Some(rest), None) => {
                let mut folder = Folder::default();
                folder.add(rest, content)?;
                self.0.insert(name, Node::Folder(folder)).map_or(Some(()), |_| None)
            }
            (Some(rest), Some(Node::Folder(folder))) => folder.add(rest, content),
            (_, Some(_)) => None,
        }
    }

    fn entries(self) -> Vec<InputEntry> {
        let entry = |(name, node): (&str, Node<'_>)| match node {
            Node::File(content) => InputEntry::file(name, content).with_metadata(owner(0o444)),
            Node::Folder(folder) => InputEntry::directory(name, folder.entries()).with_metadata(owner(0o555)),
        };
        self.0.into_iter().map(entry).collect()
    }
}

fn owner(mode: u32) -> InputMetadata {
    InputMetadata { mode: Some(mode), uid: Some(0), gid: Some(0), ..InputMetadata::default() }
}

/// The writer stamps the time of day into descriptors and directory records; here it is taken out again.
mod dates {
    use super::BLOCK;

    /// Date and time of the descriptors: digits, then the offset from UTC.
    const LONG: [u8; 17] = *b"1980010100000000\0";
    /// Date and time of the directory records: years since 1900, month, day, time, offset from UTC.
    const SHORT: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

    /// First block behind the system area.
    const FIRST_DESCRIPTOR: usize = 16;
    /// Where a volume descriptor has its dates of creation and modification.
    const DESCRIPTOR_DATES: [usize; 2] = [813, 830];
    /// Where a volume descriptor has the record of its root directory.
    const ROOT_RECORD: usize = 156;
    /// Directories deeper than this do not occur in ISO 9660.
    const MAX_DEPTH: usize = 8;

    /// Sets every date in the image to the same one.
    pub(super) fn settle(image: &mut [u8]) {
        for block in FIRST_DESCRIPTOR.. {
            let start = block * BLOCK;
            match image.get(start) {
                // primary and supplementary volume descriptor
                Some(1 | 2) => {
                    for offset in DESCRIPTOR_DATES {
                        put(image, start + offset, &LONG);
                    }
                    put(image, start + ROOT_RECORD + 18, &SHORT);
                    if let Some((at, length)) = extent(image, start + ROOT_RECORD) {
                        directory(image, at, length, MAX_DEPTH);
                    }
                }
                Some(255) | None => return,
                Some(_) => {}
            }
        }
    }

    /// Settles the records of a directory and of those below it.
    fn directory(image: &mut [u8], start: usize, length: usize, depth: usize) {
        let mut at = start;
        while at < start.saturating_add(length) {
            match image.get(at).copied().map(usize::from) {
                None => return,
                // records do not cross blocks: the rest of this one is empty
                Some(0) => at = (at / BLOCK + 1) * BLOCK,
                Some(size) => {
                    put(image, at + 18, &SHORT);
                    let is_directory = image.get(at + 25).is_some_and(|flags| flags & 2 != 0);
                    let is_itself_or_parent =
                        image.get(at + 32) == Some(&1) && image.get(at + 33).is_some_and(|byte| *byte < 2);
                    if is_directory
                        && !is_itself_or_parent
                        && depth > 0
                        && let Some((below, length)) = extent(image, at)
                    {
                        directory(image, below, length, depth - 1);
                    }
                    at += size;
                }
            }
        }
    }

    /// Offset and length of the data of a record, in bytes.
    fn extent(image: &[u8], record: usize) -> Option<(usize, usize)> {
        let number = |at: usize| {
            let bytes = image.get(record + at..)?.first_chunk::<4>()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        Some((number(2)?.checked_mul(BLOCK)?, number(10)?))
    }

    fn put(image: &mut [u8], at: usize, date: &[u8]) {
        if let Some(place) = image.get_mut(at..at + date.len()) {
            place.copy_from_slice(date);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_make_equal_images() {
        let files = [
            ("/openstack/latest/user_data", &b"#cloud-config\n"[..]),
            ("/openstack/content/0000", b"auto lo\n"),
        ];
        let first = image("config-2", &files).unwrap();
        // the writer's clock counts in hundredths of seconds, its records in seconds
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(image("config-2", &files).unwrap(), first);
        let reversed = [files[1], files[0]];
        assert_eq!(image("config-2", &reversed).unwrap(), first);
    }

    #[test]
    fn paths_and_labels_are_checked() {
        for path in ["", "/", "a//b", "/a/", "..", "a/../b", "a/./b"] {
            assert!(matches!(image("x", &[(path, b"")]), Err(ImageError::Path(_))), "{path:?}");
        }
        for pair in [["a", "a"], ["a", "a/b"], ["a/b", "a"]] {
            assert!(image("x", &pair.map(|path| (path, b""))).is_err(), "{pair:?}");
        }
        assert!(matches!(image("a label that is too long", &[("a", b"")]), Err(ImageError::Label(_))));
    }
}
