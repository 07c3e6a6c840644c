// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster file system of one node, by paths: the tree, the virtual entries and the status as one, with the operations and
//! errors that the reference's daemon has. It knows nothing of FUSE or of the kernel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bstr::{BString, ByteSlice};

use crate::attributes::{Attributes, Statistics, mode_is_allowed};
use crate::clock::{Clock, SystemClock};
use crate::cluster_log::SHOWN_ENTRIES;
use crate::engine::Engine;
use crate::load::Loaded;
use crate::operation::{Fidelity, Operation};
use crate::path;
use crate::refusal::Refusal;
use crate::replica::{Local, Replica, Request, Sequencer};
use crate::row::Content;
use crate::schema::EntryType;
use crate::status::Status;
use crate::store::Store;
use crate::virtual_file::VirtualFile;

/// Group id of `www-data` on Debian.
pub const WWW_DATA: u32 = 33;

/// What a file system is made with.
#[derive(Debug, Clone)]
pub struct FileSystemOptions {
    /// Name of this node, without a domain.
    pub node: String,
    /// Id of this process, for the cluster log.
    pub process: u32,
    /// Group that everything belongs to.
    pub group: u32,
    /// Whether the reference's defects are reproduced.
    pub fidelity: Fidelity,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How changes are put in order.
    pub sequencer: Arc<dyn Sequencer>,
}

impl FileSystemOptions {
    /// The options of the node `node` by itself.
    pub fn local(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            process: std::process::id(),
            group: WWW_DATA,
            fidelity: Fidelity::default(),
            clock: Arc::new(SystemClock),
            sequencer: Arc::new(Local),
        }
    }
}

/// An entry of a directory as `readdir` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: BString,
    /// Its type.
    pub kind: EntryKind,
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file of the tree.
    File,
    /// A virtual entry of the root directory.
    Virtual(VirtualFile),
}

/// The cluster file system of one node.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
/// use pve_cfs::store::{Store, StoreOptions};
///
/// let folder = tempfile::tempdir()?;
/// let (store, loaded) = Store::open(&folder.path().join("config.db"), &StoreOptions::default(), 1_700_000_000)?;
/// let files = FileSystem::new(loaded, Some(store), FileSystemOptions::local("pve1"));
///
/// files.create(b"/storage.cfg")?;
/// files.write(b"/storage.cfg", 0, b"dir: local\n\tpath /var/lib/vz\n")?;
/// assert_eq!(&files.read(b"/storage.cfg", 5, 5)?, b"local");
/// // names and places have rules; each refusal says which one, and has the errno that a program would get
/// let refused = files.make_directory(b"/storage.cfg/x").unwrap_err();
/// assert_eq!(refused.to_string(), "its directory is a file");
/// assert_eq!(refused.errno(), nix::errno::Errno::ENOTDIR);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FileSystem {
    replica: Replica,
    status: Mutex<Status>,
    options: FileSystemOptions,
    start: u64,
    quorate: AtomicBool,
    debug: AtomicBool,
    /// Text of each virtual file as its attributes were asked for last: what is read fits the size that was shown.
    texts: Mutex<HashMap<VirtualFile, Content>>,
}

/// A write to an entry whose path is not settled yet.
struct InodeChange<'d> {
    offset: u64,
    data: &'d [u8],
    truncate: bool,
}

impl<'d> InodeChange<'d> {
    fn operation<'p>(&self, path: &'p [u8]) -> Operation<'p>
    where
        'd: 'p,
    {
        Operation::Write { path, offset: self.offset, data: self.data, truncate: self.truncate }
    }
}

/// What a path leads to, before the tree is looked at.
enum Place<'p> {
    Root,
    Virtual(VirtualFile),
    /// Something below a virtual entry, which can never be.
    BelowVirtual,
    /// A path for the tree, without leading slashes.
    Tree(&'p [u8]),
}

impl FileSystem {
    /// The file system of what was loaded from `store`; without a store it is read-only. It starts quorate.
    pub fn new(loaded: Loaded, store: Option<Store>, options: FileSystemOptions) -> Self {
        let start = options.clock.now();
        let engine = Engine::new(loaded, options.fidelity, start);
        let status = Status::new(options.node.as_bytes().as_bstr(), options.process, start);
        Self {
            replica: Replica::new(engine, store),
            status: Mutex::new(status),
            options,
            start,
            quorate: AtomicBool::new(true),
            debug: AtomicBool::new(false),
            texts: Mutex::default(),
        }
    }

    /// The tree with its database.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The status store.
    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name of this node.
    pub fn node(&self) -> &str {
        &self.options.node
    }

    /// Group that everything belongs to.
    pub const fn group(&self) -> u32 {
        self.options.group
    }

    /// The time now.
    pub fn now(&self) -> u64 {
        self.options.clock.now()
    }

    /// Whether the node has quorum; without it nothing can be changed.
    pub fn is_quorate(&self) -> bool {
        self.quorate.load(Ordering::SeqCst)
    }

    /// Sets whether the node has quorum.
    pub fn set_quorate(&self, quorate: bool) {
        if self.quorate.swap(quorate, Ordering::SeqCst) != quorate {
            self.replica.attributes_changed();
        }
    }

    /// Whether more is to be logged, as a program switched it through `.debug`.
    pub fn is_debug(&self) -> bool {
        self.debug.load(Ordering::SeqCst)
    }

    /// Attributes of what is at `path`. For a virtual file this also fixes the text that is read next.
    ///
    /// # Errors
    /// [`Refusal::Missing`], or [`Refusal::Virtual`] below a virtual entry.
    pub fn attributes(&self, path: &[u8]) -> Result<Attributes, Refusal> {
        let quorate = self.is_quorate();
        match place(path) {
            Place::BelowVirtual => Err(Refusal::Virtual),
            Place::Virtual(file) => {
                let size = match file.target(self.node()) {
                    Some(target) => target.len(),
                    None => {
                        let text: Content = self.text(file).into();
                        let size = text.len();
                        self.texts().insert(file, text);
                        size
                    }
                };
                Ok(Attributes::of_virtual(file, size as u64, quorate))
            }
            Place::Root => {
                let engine = self.replica.engine();
                Ok(Attributes::of_entry(engine.tree().root(), b"", quorate))
            }
            Place::Tree(path) => {
                let engine = self.replica.engine();
                let entry = engine.tree().get(path).ok_or(Refusal::Missing)?;
                Ok(Attributes::of_entry(entry, path, quorate))
            }
        }
    }

    /// The entries of a directory, without `.` and `..`. Of a file, and of nothing, there are none.
    ///
    /// # Errors
    /// [`Refusal::Virtual`] for a virtual entry.
    pub fn read_directory(&self, path: &[u8]) -> Result<Vec<DirectoryEntry>, Refusal> {
        let (path, root) = match place(path) {
            Place::Virtual(_) | Place::BelowVirtual => return Err(Refusal::Virtual),
            Place::Root => (&b""[..], true),
            Place::Tree(path) => (path, false),
        };
        let mut entries = Vec::new();
        if root {
            for file in VirtualFile::ALL {
                entries.push(DirectoryEntry { name: file.name().into(), kind: EntryKind::Virtual(file) });
            }
        }
        let engine = self.replica.engine();
        for (name, _, kind) in engine.tree().get(path).into_iter().flat_map(|directory| directory.names()) {
            if is_listed(name, root) {
                let kind = match kind {
                    EntryType::Directory => EntryKind::Directory,
                    EntryType::File => EntryKind::File,
                };
                entries.push(DirectoryEntry { name: name.to_owned(), kind });
            }
        }
        Ok(entries)
    }

    /// Whether what is at `path` can be opened; nothing is kept open.
    ///
    /// # Errors
    /// The root directory, symlinks and missing entries cannot.
    pub fn open(&self, path: &[u8]) -> Result<(), Refusal> {
        match place(path) {
            Place::Root => Err(Refusal::Root),
            Place::BelowVirtual => Err(Refusal::Virtual),
            Place::Virtual(file) if file.is_symlink() => Err(Refusal::Virtual),
            Place::Virtual(_) => Ok(()),
            Place::Tree(path) => match self.replica.engine().tree().get(path) {
                Some(_) => Ok(()),
                None => Err(Refusal::Missing),
            },
        }
    }

    /// At most `size` bytes from `offset`; none behind the end.
    ///
    /// # Errors
    /// Only files can be read.
    pub fn read(&self, path: &[u8], offset: u64, size: usize) -> Result<Vec<u8>, Refusal> {
        let content = self.content(path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(size).min(content.len());
        Ok(content[start..end].to_vec())
    }

    /// All bytes of a file. Of a virtual file, those whose size was shown last.
    ///
    /// # Errors
    /// Only files can be read.
    pub fn content(&self, path: &[u8]) -> Result<Content, Refusal> {
        match place(path) {
            Place::Root => Err(Refusal::Root),
            Place::BelowVirtual => Err(Refusal::Virtual),
            Place::Virtual(file) if file.is_symlink() => Err(Refusal::Virtual),
            Place::Virtual(file) => {
                if let Some(text) = self.texts().get(&file) {
                    return Ok(text.clone());
                }
                Ok(self.text(file).into())
            }
            Place::Tree(path) => match self.replica.engine().tree().get(path) {
                Some(entry) if !entry.is_directory() => Ok(entry.shared_content()),
                _ => Err(Refusal::Missing),
            },
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn make_directory(&self, path: &[u8]) -> Result<(), Refusal> {
        self.submit(Operation::MakeDirectory { path: tree_path(path)? })
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn create(&self, path: &[u8]) -> Result<(), Refusal> {
        self.submit(Operation::Create { path: tree_path(path)? })
    }

    /// Writes `data` at `offset`; the number of bytes taken is returned, always all for a file of the tree.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn write(&self, path: &[u8], offset: u64, data: &[u8]) -> Result<usize, Refusal> {
        match place(path) {
            Place::Virtual(file) if !file.is_symlink() => self.write_virtual(file, offset, data),
            _ => {
                let path = tree_path(path)?;
                self.submit(Operation::Write { path, offset, data, truncate: false })?;
                Ok(data.len())
            }
        }
    }

    /// Cuts or extends a file to `size` bytes.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn truncate(&self, path: &[u8], size: u64) -> Result<(), Refusal> {
        match place(path) {
            Place::Virtual(VirtualFile::Debug) => Ok(()),
            Place::Virtual(file) if !file.is_symlink() => Err(Refusal::VirtualContent),
            _ => {
                let path = tree_path(path)?;
                self.submit(Operation::Write { path, offset: size, data: b"", truncate: true })
            }
        }
    }

    /// Removes a file or an empty directory, whichever it is.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn delete(&self, path: &[u8]) -> Result<(), Refusal> {
        self.submit(Operation::Delete { path: tree_path(path)? })
    }

    /// Moves a file or an empty directory, replacing a file or an empty directory in the place, as one change.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Refusal> {
        self.submit(Operation::Rename { from: tree_path(from)?, to: tree_path(to)? })
    }

    /// Sets the time of the last change. Time 0 on a lock asks to remove it if it has expired.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn set_time(&self, path: &[u8], mtime: u32) -> Result<(), Refusal> {
        let path = tree_path(path)?;
        if mtime == 0 && path::is_lock(path) {
            self.refuse_without_quorum()?;
            if self.options.sequencer.request_unlock(&self.replica, path, self.now())? {
                return Ok(());
            }
        }
        self.submit(Operation::SetTime { path, mtime })
    }

    /// [`write`](Self::write) to the entry with this inode, wherever it is now.
    ///
    /// # Errors
    /// The rule that refuses it; [`Refusal::Missing`] if the entry is gone.
    pub fn write_inode(&self, inode: u64, offset: u64, data: &[u8]) -> Result<usize, Refusal> {
        self.on_inode(inode, &InodeChange { offset, data, truncate: false })?;
        Ok(data.len())
    }

    /// [`truncate`](Self::truncate) of the entry with this inode, wherever it is now.
    ///
    /// # Errors
    /// The rule that refuses it; [`Refusal::Missing`] if the entry is gone.
    pub fn truncate_inode(&self, inode: u64, size: u64) -> Result<(), Refusal> {
        self.on_inode(inode, &InodeChange { offset: size, data: b"", truncate: true })
    }

    /// Submits an operation on an entry by its path, which is looked up again when the entry was moved meanwhile.
    fn on_inode(&self, inode: u64, change: &InodeChange<'_>) -> Result<(), Refusal> {
        loop {
            let path = self.path_of(inode).ok_or(Refusal::Missing)?;
            match self.submit_on(change.operation(&path), Some(inode)) {
                Err(Refusal::Missing) if self.path_of(inode).is_some_and(|now| now != path) => {}
                result => return result,
            }
        }
    }

    /// Path of the entry with this inode, without a leading slash.
    pub fn path_of(&self, inode: u64) -> Option<BString> {
        self.replica.engine().tree().by_inode(inode)?.path()
    }

    /// Accepts the permission bits that files at `path` have, and no others.
    ///
    /// # Errors
    /// [`Refusal::FixedAttributes`].
    pub fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), Refusal> {
        if mode_is_allowed(path, mode) { Ok(()) } else { Err(Refusal::FixedAttributes) }
    }

    /// Accepts the owner and group that everything has (`None`: unchanged), and no others.
    ///
    /// # Errors
    /// [`Refusal::FixedAttributes`].
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Refusal> {
        let allowed = uid.is_none_or(|uid| uid == 0) && gid.is_none_or(|gid| gid == self.group());
        if allowed { Ok(()) } else { Err(Refusal::FixedAttributes) }
    }

    /// Target of a symlink.
    ///
    /// # Errors
    /// [`Refusal::NotALink`] for everything but the virtual symlinks.
    pub fn read_link(&self, path: &[u8]) -> Result<String, Refusal> {
        match place(path) {
            Place::Virtual(file) => file.target(self.node()).ok_or(Refusal::NotALink),
            _ => Err(Refusal::NotALink),
        }
    }

    /// Sizes and limits of the file system.
    pub fn statistics(&self) -> Statistics {
        Statistics::of(self.replica.engine().tree())
    }

    /// The text of a virtual file as it is now; nothing for a symlink.
    pub fn text(&self, file: VirtualFile) -> Vec<u8> {
        match file {
            VirtualFile::Version => self.version_text(),
            VirtualFile::Members => self.status().members_text(self.is_quorate()),
            VirtualFile::VmList => self.replica.engine().guests().text(),
            VirtualFile::Rrd => self.status().rrd_text(self.now()).0.to_vec(),
            VirtualFile::ClusterLog => self.status().log().text(SHOWN_ENTRIES, None),
            VirtualFile::Debug => if self.is_debug() { b"1\n" } else { b"0\n" }.to_vec(),
            VirtualFile::Local | VirtualFile::Guests(_) => Vec::new(),
        }
    }

    /// The text of `.version` (spec: pmxcfs, ".version and observed files").
    fn version_text(&self) -> Vec<u8> {
        let status = self.status();
        let engine = self.replica.engine();
        let mut text = format!(
            "{{\n\"starttime\": {},\n\"clinfo\": {},\n\"vmlist\": {},\n",
            self.start,
            status.cluster_version(),
            engine.guests().version()
        );
        for (path, count) in engine.observed().iter() {
            text.push_str(&format!("\"{path}\": {count},\n"));
        }
        let mut text = text.into_bytes();
        text.extend_from_slice(&status.keys_text());
        text.extend_from_slice(b"}\n");
        text
    }

    fn write_virtual(&self, file: VirtualFile, offset: u64, data: &[u8]) -> Result<usize, Refusal> {
        if file != VirtualFile::Debug || offset != 0 {
            return Err(Refusal::VirtualContent);
        }
        let on = match data {
            [b'0', b'\n', ..] => false,
            [b'1', b'\n', ..] => true,
            _ => return Err(Refusal::VirtualContent),
        };
        self.debug.store(on, Ordering::SeqCst);
        Ok(2)
    }

    fn submit(&self, operation: Operation<'_>) -> Result<(), Refusal> {
        self.submit_on(operation, None)
    }

    fn submit_on(&self, operation: Operation<'_>, inode: Option<u64>) -> Result<(), Refusal> {
        self.refuse_without_quorum()?;
        self.options.sequencer.submit(&self.replica, &Request { operation, inode }, self.now())
    }

    fn refuse_without_quorum(&self) -> Result<(), Refusal> {
        if self.is_quorate() { Ok(()) } else { Err(Refusal::NoQuorum) }
    }

    fn texts(&self) -> MutexGuard<'_, HashMap<VirtualFile, Content>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a child called `name` is listed: those of a crafted database that the kernel would take for something else are not.
pub(crate) fn is_listed(name: &[u8], in_root: bool) -> bool {
    name != b"." && name != b".." && !(in_root && VirtualFile::by_name(name).is_some())
}

/// What `path` leads to (spec: pmxcfs, "Names and path resolution inside the daemon").
fn place(path: &[u8]) -> Place<'_> {
    let path = path::relative(path).as_bytes();
    if path.is_empty() {
        return Place::Root;
    }
    let (first, rest) = path.split_once_str("/").unwrap_or((path, b""));
    match VirtualFile::by_name(first) {
        Some(file) if rest.is_empty() => Place::Virtual(file),
        Some(_) => Place::BelowVirtual,
        None => Place::Tree(path),
    }
}

/// The path for the tree, of an operation that only the tree knows.
pub(crate) fn tree_path(path: &[u8]) -> Result<&[u8], Refusal> {
    match place(path) {
        Place::Root => Err(Refusal::Root),
        Place::Virtual(_) | Place::BelowVirtual => Err(Refusal::Virtual),
        Place::Tree(path) => Ok(path),
    }
}
