// SPDX-License-Identifier: MIT OR Apache-2.0
//! Brings files from a folder, an archive or another database into a tree, every one under the rules, with every refusal named.

use bstr::{BStr, BString, ByteSlice};

use crate::draft::Draft;
use crate::listing::{Listing, Reason};
use crate::refusal::Refusal;

/// What came of an import. Paths are in the order in which they were tried.
#[derive(Debug, Default)]
pub struct Imported {
    /// Files and directories that are new.
    pub added: Vec<BString>,
    /// Files that got another content.
    pub replaced: Vec<BString>,
    /// Number of files and directories that were there already, with the same content.
    pub same: usize,
    /// What was not imported.
    pub refused: Vec<Refused>,
}

/// Something that was not imported.
#[derive(Debug)]
pub struct Refused {
    /// Where it would have been.
    pub path: BString,
    /// Why not.
    pub why: Why,
}

/// Why something was not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// A rule of the cluster file system; for a guest's configuration most often that its VMID is taken.
    #[error(transparent)]
    Rule(#[from] Refusal),
    /// A file of another content is there, and nothing is overwritten unless asked.
    #[error("a file with another content is there already")]
    Different,
    /// It can be no entry at all.
    #[error(transparent)]
    NoEntry(Reason),
}

/// Imports everything in `listing` into `draft`; files that are there with another content are replaced only with `overwrite`.
/// Directories that are missing are made, also those that the listing itself does not have.
///
/// The draft then has all that no rule refuses: who wants all or nothing commits it only if [`Imported::refused`] is empty.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # for node in ["a", "b"] {
/// #     std::fs::create_dir_all(folder.path().join("nodes").join(node).join("lxc"))?;
/// #     std::fs::write(folder.path().join("nodes").join(node).join("lxc/200.conf"), "arch: amd64\n")?;
/// # }
/// use pve_cfs::draft::Draft;
/// use pve_cfs::{Database, Listing, import::import};
///
/// let listing = Listing::of_folder(folder.path())?;
/// let mut draft = Draft::new(Database::from_rows(Vec::new()).into_loaded(), 1_700_000_000);
/// let imported = import(&mut draft, &listing, false);
/// assert_eq!(imported.refused[0].path, "nodes/b/lxc/200.conf");
/// assert_eq!(imported.refused[0].why.to_string(), "VMID 200 belongs to a lxc guest on node \"a\"");
/// # Ok(()) }
/// ```
pub fn import(draft: &mut Draft, listing: &Listing, overwrite: bool) -> Imported {
    let mut done = Imported::default();
    for left in listing.missed() {
        done.refused.push(Refused { path: left.path.clone(), why: Why::NoEntry(left.reason.clone()) });
    }
    for (path, item) in listing.iter() {
        let before = draft
            .tree()
            .get(path)
            .map(|entry| (entry.is_directory(), entry.content() == content(item.content())));
        let result = match (before, item.content()) {
            (Some((true, _)), None) | (Some((false, true)), Some(_)) => {
                done.same += 1;
                continue;
            }
            (Some((false, false)), Some(_)) if !overwrite => Err(Why::Different),
            (_, None) => draft.make_directories(path).map_err(Why::Rule),
            (_, Some(content)) => put(draft, path, content).map_err(Why::Rule),
        };
        match result {
            Ok(()) if before.is_some() => done.replaced.push(path.to_owned()),
            Ok(()) => done.added.push(path.to_owned()),
            Err(why) => done.refused.push(Refused { path: path.to_owned(), why }),
        }
    }
    done
}

const fn content(content: Option<&[u8]>) -> &[u8] {
    match content {
        Some(content) => content,
        None => b"",
    }
}

fn put(draft: &mut Draft, path: &BStr, content: &[u8]) -> Result<(), Refusal> {
    if let Some(slash) = path.rfind_byte(b'/') {
        draft.make_directories(&path[..slash])?;
    }
    draft.put(path, content)
}

impl Listing {
    /// What is at `from` and below it, as it would be at `to`: the guests of a dead node's `nodes/dead/qemu-server` at
    /// `nodes/alive/qemu-server`, for example. Nothing, if nothing is there.
    #[must_use]
    pub fn subtree(&self, from: &[u8], to: &[u8]) -> Self {
        let normal = |path: &[u8]| BString::from(bstr::join("/", crate::path::components(path)));
        let (from, to) = (normal(from), normal(to));
        let items = self.iter().filter_map(|(path, item)| {
            let rest =
                if from.is_empty() { Some(path.as_bytes()) } else { path.strip_prefix(from.as_slice()) }?;
            let rest = match rest.strip_prefix(b"/") {
                Some(rest) => rest,
                None if from.is_empty() || rest.is_empty() => rest,
                None => return None,
            };
            let parts = [to.as_slice(), rest].into_iter().filter(|part| !part.is_empty());
            Some((BString::from(bstr::join("/", parts)), item.clone()))
        });
        Self::from_items(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Database;

    fn draft() -> Draft {
        Draft::new(Database::from_rows(Vec::new()).into_loaded(), 7)
    }

    fn listing(files: &[(&str, &str)]) -> Listing {
        let mut draft = draft();
        for (path, content) in files {
            put(&mut draft, (*path).into(), content.as_bytes()).unwrap();
        }
        Listing::of_tree(draft.tree())
    }

    fn refusals(done: &Imported) -> Vec<String> {
        done.refused.iter().map(|refused| format!("{}: {}", refused.path, refused.why)).collect()
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let mut draft = draft();
        draft.put(b"storage.cfg", b"mine").unwrap();
        draft.put(b"user.cfg", b"same").unwrap();
        let source = listing(&[("storage.cfg", "theirs"), ("user.cfg", "same"), ("a/b/new", "x")]);
        let done = import(&mut draft, &source, false);
        assert_eq!(refusals(&done), ["storage.cfg: a file with another content is there already"]);
        assert_eq!((done.added.len(), done.same), (3, 1));
        assert_eq!(draft.tree().get(b"storage.cfg").unwrap().content(), b"mine");
        let done = import(&mut draft, &source, true);
        assert_eq!(
            (done.replaced, done.same, done.refused.len()),
            (vec![BString::from("storage.cfg")], 4, 0)
        );
        assert_eq!(draft.tree().get(b"storage.cfg").unwrap().content(), b"theirs");
    }

    #[test]
    fn guests_of_a_dead_node() {
        let dead = listing(&[
            ("nodes/dead/qemu-server/100.conf", "name: a\n"),
            ("nodes/dead/qemu-server/101.conf", "name: b\n"),
            ("nodes/dead/priv/key", "secret"),
        ]);
        let mut cluster = draft();
        put(&mut cluster, "nodes/alive/lxc/101.conf".into(), b"hostname: x\n").unwrap();
        let done = import(
            &mut cluster,
            &dead.subtree(b"/nodes/dead/qemu-server/", b"nodes/alive/qemu-server"),
            false,
        );
        assert_eq!(
            refusals(&done),
            ["nodes/alive/qemu-server/101.conf: VMID 101 belongs to a lxc guest on node \"alive\""]
        );
        assert_eq!(done.added, ["nodes/alive/qemu-server", "nodes/alive/qemu-server/100.conf"]);
        assert!(dead.subtree(b"nodes/dea", b"x").is_empty());
        assert_eq!(dead.subtree(b"", b"").len(), dead.len());
        assert_eq!(dead.subtree(b"nodes/dead/priv/key", b"k").iter().next().unwrap().0, "k");
    }

    #[test]
    fn files_and_directories_do_not_take_each_others_place() {
        let mut draft = draft();
        draft.put(b"a", b"file").unwrap();
        draft.make_directories(b"b/c").unwrap();
        let done = import(&mut draft, &listing(&[("a/x", "1"), ("b/c", "2")]), true);
        let expected =
            ["a: its directory is a file", "a/x: its directory is a file", "b/c: it is a directory"];
        assert_eq!(refusals(&done), expected);
    }
}
