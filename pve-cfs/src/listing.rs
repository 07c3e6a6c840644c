// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and directories by path, wherever they come from: a database, a folder, a tar archive.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use crate::database::OpenError;
use crate::path;
use crate::row::Content;
use crate::schema::MAX_FILE_SIZE;
use crate::tree::Tree;
use crate::virtual_file::VirtualFile;

/// Files and directories by their path, which has no leading slash; every directory comes before what is in it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// std::fs::create_dir(folder.path().join("priv"))?;
/// std::fs::write(folder.path().join("storage.cfg"), "dir: local\n")?;
///
/// let listing = pve_cfs::Listing::of_folder(folder.path())?;
/// assert_eq!(listing.get(b"storage.cfg").unwrap().content(), Some(&b"dir: local\n"[..]));
/// assert!(listing.get(b"priv").unwrap().is_directory());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Listing {
    items: BTreeMap<BString, Item>,
    left_out: Vec<LeftOut>,
}

/// A file or a directory of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The bytes of a file; `None` for a directory.
    pub content: Option<Content>,
    /// Time of the last change in seconds since the epoch.
    pub mtime: u32,
    /// Inode and version, of an entry of a database.
    pub row: Option<Identity>,
}

/// What a database tells of an entry beside its path and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its inode, which it keeps when it is moved.
    pub inode: u64,
    /// Version of the tree at its last change.
    pub version: u64,
    /// Id of the node that changed it last.
    pub writer: u32,
}

impl Item {
    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        self.content.is_none()
    }

    /// The bytes of a file.
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }
}

/// Something that cannot be an entry of the cluster file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path.
    pub path: BString,
    /// Why.
    pub reason: Reason,
}

/// Why something was left out of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// One of the virtual entries, which a mounted cluster file system shows but does not hold.
    #[error("a virtual entry: a view of what is elsewhere in the tree")]
    Virtual,
    /// Neither a regular file nor a directory.
    #[error("a {0}: only regular files and directories can be entries")]
    Kind(&'static str),
    /// More bytes than a file can have.
    #[error("{size} bytes: a file can have 1048576 at most")]
    TooBig {
        /// Its size in bytes.
        size: u64,
    },
    /// The path names something outside.
    #[error("the path has a component \"..\" or a NUL byte")]
    Path,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Reason {
    /// Whether nothing is lost by leaving it out.
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Virtual)
    }
}

/// A listing that cannot be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// The path cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The archive is compressed.
    #[error("the archive is compressed with {0}: decompress it first, for example with `zcat FILE | … -`")]
    Compressed(&'static str),
    /// The archive cannot be read to its end.
    #[error("the archive cannot be read: {0}")]
    Archive(io::Error),
}

impl Listing {
    /// Everything in `tree` that a path leads to. Contents are shared, not copied.
    pub fn of_tree(tree: &Tree) -> Self {
        let items = tree.walk().map(|(path, entry)| {
            let row = Identity { inode: entry.inode(), version: entry.version(), writer: entry.writer() };
            let content = (!entry.is_directory()).then(|| entry.shared_content());
            (path, Item { content, mtime: entry.mtime(), row: Some(row) })
        });
        Self { items: items.collect(), left_out: Vec::new() }
    }

    /// The files and directories in a folder. Symbolic links are not followed.
    ///
    /// # Errors
    /// The folder itself cannot be read; what cannot be read in it is in [`left_out`](Self::left_out).
    pub fn of_folder(folder: &Path) -> Result<Self, ListingError> {
        let mut listing = Self::default();
        let io = |source| ListingError::Io { path: folder.to_owned(), source };
        let mut pending = vec![(folder.to_owned(), BString::default())];
        let mut first = true;
        while let Some((folder, below)) = pending.pop() {
            match fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => {
                    for entry in entries {
                        let path = joined(&below, entry.file_name().as_bytes());
                        match listing.read_entry(&entry, &path) {
                            Ok(true) => pending.push((entry.path(), path)),
                            Ok(false) => {}
                            Err(reason) => listing.left_out.push(LeftOut { path, reason }),
                        }
                    }
                }
                Err(error) if first => return Err(io(error)),
                Err(error) => {
                    let reason = Reason::Unreadable(error.to_string());
                    listing.left_out.push(LeftOut { path: below, reason });
                }
            }
            first = false;
        }
        listing.left_out.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(listing)
    }

    /// Enters what is in a folder; whether it is a folder itself.
    fn read_entry(&mut self, entry: &fs::DirEntry, path: &BString) -> Result<bool, Reason> {
        if VirtualFile::by_name(path).is_some() {
            return Err(Reason::Virtual);
        }
        let unreadable = |error: io::Error| Reason::Unreadable(error.to_string());
        let meta = entry.metadata().map_err(unreadable)?;
        let mtime = clamped(meta.mtime());
        if meta.is_dir() {
            self.items.insert(path.clone(), Item { content: None, mtime, row: None });
            return Ok(true);
        }
        if !meta.is_file() {
            return Err(Reason::Kind(if meta.is_symlink() { "symbolic link" } else { "special file" }));
        }
        let content = limited(fs::File::open(entry.path()).map_err(unreadable)?, meta.len())?;
        self.items.insert(path.clone(), Item { content: Some(content), mtime, row: None });
        Ok(false)
    }

    /// The files and directories in a tar archive. Leading slashes and `./` of the names do not count; a file that occurs twice
    /// is the later one, as `tar` extracts it.
    ///
    /// # Errors
    /// The archive is compressed or broken; members that cannot be entries are in [`left_out`](Self::left_out).
    pub fn of_archive(archive: impl Read) -> Result<Self, ListingError> {
        let mut start = Vec::new();
        let mut archive = archive;
        archive.by_ref().take(6).read_to_end(&mut start).map_err(ListingError::Archive)?;
        let known: [(&[u8], &str); 4] =
            [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2")];
        if let Some((_, name)) = known.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(ListingError::Compressed(name));
        }
        let mut listing = Self::default();
        let mut archive = tar::Archive::new(start.as_slice().chain(archive));
        for member in archive.entries().map_err(ListingError::Archive)? {
            let mut member = member.map_err(ListingError::Archive)?;
            let name = BString::from(member.path_bytes().into_owned());
            match member_item(&mut member) {
                Ok(item) => {
                    let Some(path) = inner_path(&name) else {
                        listing.left_out.push(LeftOut { path: name, reason: Reason::Path });
                        continue;
                    };
                    let first = path::components(&path).next();
                    if first.is_some_and(|first| VirtualFile::by_name(first).is_some()) {
                        listing.left_out.push(LeftOut { path, reason: Reason::Virtual });
                    } else if !path.is_empty() {
                        listing.items.insert(path, item);
                    }
                }
                Err(Reason::Kind("symbolic link"))
                    if inner_path(&name).is_some_and(|path| VirtualFile::by_name(&path).is_some()) =>
                {
                    listing.left_out.push(LeftOut { path: name, reason: Reason::Virtual });
                }
                Err(reason) => listing.left_out.push(LeftOut { path: name, reason }),
            }
        }
        Ok(listing)
    }

    /// What is below `directory` alone, with the paths that it has from there: `etc/pve` of a backup of the whole `/etc`, for
    /// example.
    #[must_use]
    pub fn below(self, directory: &[u8]) -> Self {
        let prefix = bstr::join("/", path::components(directory));
        if prefix.is_empty() {
            return self;
        }
        let inner = |path: &BString| -> Option<BString> {
            let rest = path.strip_prefix(prefix.as_slice())?.strip_prefix(b"/")?;
            Some(BString::from(rest))
        };
        let mut below = Self::default();
        for (path, item) in self.items {
            let Some(path) = inner(&path).filter(|path| !path.is_empty()) else { continue };
            if VirtualFile::by_name(&path).is_some() {
                below.left_out.push(LeftOut { path, reason: Reason::Virtual });
            } else {
                below.items.insert(path, item);
            }
        }
        for LeftOut { path, reason } in self.left_out {
            let normal = inner_path(&path).unwrap_or(path);
            let Some(path) = inner(&normal) else { continue };
            // the links of a mounted cluster file system were mere links as long as nobody knew what the folder is
            let reason = if VirtualFile::by_name(&path).is_some() { Reason::Virtual } else { reason };
            below.left_out.push(LeftOut { path, reason });
        }
        below
    }

    pub(crate) fn from_items(items: impl Iterator<Item = (BString, Item)>) -> Self {
        Self { items: items.collect(), left_out: Vec::new() }
    }

    /// Everything, in the order of the paths' bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&BStr, &Item)> {
        self.items.iter().map(|(path, item)| (path.as_bstr(), item))
    }

    /// The file or directory at `path`, which has no leading slash.
    pub fn get(&self, path: &[u8]) -> Option<&Item> {
        self.items.get(path.as_bstr())
    }

    /// The files with their contents, in the order of the paths' bytes.
    pub fn files(&self) -> impl Iterator<Item = (&BStr, &[u8])> {
        self.iter().filter_map(|(path, item)| Some((path, item.content()?)))
    }

    /// The content of the file at `path`; a leading slash does not matter.
    pub fn file(&self, path: &[u8]) -> Option<&[u8]> {
        self.get(path::relative(path))?.content()
    }

    /// The directories, in the order of the paths' bytes.
    pub fn directories(&self) -> impl Iterator<Item = &BStr> {
        self.iter().filter(|(_, item)| item.is_directory()).map(|(path, _)| path)
    }

    /// Number of files and directories.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What was met but cannot be an entry, with the reason.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// What was left out and would be missed: [`left_out`](Self::left_out) without what is a view of something else.
    pub fn missed(&self) -> impl Iterator<Item = &LeftOut> {
        self.left_out.iter().filter(|left| !left.reason.is_harmless())
    }
}

fn joined(directory: &BString, name: &[u8]) -> BString {
    let mut path = directory.clone();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn clamped(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// All bytes of a file of `size`, none of them read if they are too many.
fn limited(file: impl Read, size: u64) -> Result<Content, Reason> {
    if size > MAX_FILE_SIZE as u64 {
        return Err(Reason::TooBig { size });
    }
    let mut content = Vec::new();
    // it may have grown since, or its size was a lie
    let most = MAX_FILE_SIZE as u64 + 1;
    file.take(most).read_to_end(&mut content).map_err(|error| Reason::Unreadable(error.to_string()))?;
    if content.len() > MAX_FILE_SIZE {
        return Err(Reason::TooBig { size: content.len() as u64 });
    }
    Ok(Arc::from(content))
}

fn member_item(member: &mut tar::Entry<'_, impl Read>) -> Result<Item, Reason> {
    let mtime = member.header().mtime().ok().and_then(|time| u32::try_from(time).ok()).unwrap_or(u32::MAX);
    let kind = member.header().entry_type();
    if kind.is_dir() {
        return Ok(Item { content: None, mtime, row: None });
    }
    if kind.is_symlink() {
        return Err(Reason::Kind("symbolic link"));
    }
    if kind.is_hard_link() {
        return Err(Reason::Kind("hard link"));
    }
    if !kind.is_file() && !kind.is_contiguous() && !kind.is_gnu_sparse() {
        return Err(Reason::Kind("special file"));
    }
    let size = member.size();
    Ok(Item { content: Some(limited(member, size)?), mtime, row: None })
}

/// The path of an archive's member from the archive's top; `None` if it leads out.
fn inner_path(name: &[u8]) -> Option<BString> {
    let parts: Vec<&BStr> = path::components(name).filter(|part| *part != ".").collect();
    let leads_out = parts.iter().any(|part| *part == ".." || part.contains(&0));
    (!leads_out).then(|| BString::from(bstr::join("/", parts)))
}

/// `path` of the system as bytes, without leading or trailing slashes.
pub fn path_bytes(path: &OsStr) -> &BStr {
    path.as_bytes().trim_with(|byte| byte == '/').as_bstr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in members {
            let mut header = tar::Header::new_ustar();
            // `set_path` would refuse what leads out
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mtime(7);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_of_the_whole_of_etc() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let bytes = archive(&[
            ("./etc/", Directory, b""),
            ("./etc/hosts", Regular, b"127.0.0.1 localhost\n"),
            ("./etc/pve/", Directory, b""),
            ("./etc/pve/local", Symlink, b""),
            ("./etc/pve/.version", Regular, b"{}"),
            ("./etc/pve/storage.cfg", Regular, b"old"),
            ("./etc/pve/storage.cfg", Regular, b"new"),
            ("./etc/pve/link", Symlink, b""),
            ("./etc/pve/../../x", Regular, b"x"),
        ]);
        let listing = Listing::of_archive(bytes.as_slice()).unwrap();
        assert!(listing.left_out().iter().any(|left| left.reason == Reason::Path));
        let listing = listing.below(b"/etc/pve");
        let paths: Vec<_> = listing.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["storage.cfg"]);
        assert_eq!(listing.get(b"storage.cfg").unwrap().content(), Some(&b"new"[..]));
        let left: Vec<_> =
            listing.left_out().iter().map(|left| (left.path.as_bstr(), &left.reason)).collect();
        assert!(left.contains(&("local".into(), &Reason::Virtual)), "{left:?}");
        assert!(left.contains(&(".version".into(), &Reason::Virtual)), "{left:?}");
        assert!(left.contains(&("link".into(), &Reason::Kind("symbolic link"))), "{left:?}");
    }

    #[test]
    fn what_is_no_archive() {
        let gzip = Listing::of_archive(&b"\x1f\x8b\x08\0\0\0\0\0"[..]);
        assert!(matches!(gzip, Err(ListingError::Compressed("gzip"))));
        let text = [b'x'; 1024];
        assert!(matches!(Listing::of_archive(&text[..]), Err(ListingError::Archive(_))));
        assert!(Listing::of_archive(&b""[..]).unwrap().is_empty());
    }

    #[test]
    fn a_folder_with_what_cannot_be_an_entry() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("nodes/a")).unwrap();
        fs::write(folder.path().join("nodes/a/.version"), "deeper down it is a name like any other").unwrap();
        fs::write(folder.path().join(".version"), "{}").unwrap();
        fs::write(folder.path().join("big"), vec![0; MAX_FILE_SIZE + 1]).unwrap();
        std::os::unix::fs::symlink("nodes/a", folder.path().join("local")).unwrap();
        let listing = Listing::of_folder(folder.path()).unwrap();
        let paths: Vec<_> = listing.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["nodes", "nodes/a", "nodes/a/.version"]);
        assert_eq!(listing.directories().collect::<Vec<_>>(), ["nodes", "nodes/a"]);
        assert_eq!(listing.files().count(), 1);
        assert!(listing.file(b"/nodes/a/.version").is_some() && listing.file(b"nodes").is_none());
        let left: Vec<_> = listing.left_out().iter().map(|left| left.path.as_bstr()).collect();
        assert_eq!(left, [".version", "big", "local"]);
    }
}
