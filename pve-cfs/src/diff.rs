// SPDX-License-Identifier: MIT OR Apache-2.0
//! What differs between two listings, by path, and how two texts differ, line by line.

use std::collections::HashMap;
use std::time::Duration;

use bstr::BStr;
use similar::TextDiff;

use crate::listing::{Item, Listing};
use crate::path;

/// Time after which a comparison of two long texts settles for a diff that is correct, but not the shortest.
const PATIENCE: Duration = Duration::from_millis(500);

/// One path that two listings do not have alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The path; of what was moved, the new one.
    pub path: &'a BStr,
    /// What was there before.
    pub before: Option<&'a Item>,
    /// What is there after.
    pub after: Option<&'a Item>,
    /// The path that it had before, if it was moved.
    pub moved_from: Option<&'a BStr>,
}

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is only in the second listing.
    Added,
    /// It is only in the first listing.
    Removed,
    /// The file has other bytes.
    Changed,
    /// It has the same inode in both, at different paths; perhaps with other bytes.
    Moved,
    /// A file became a directory, or the other way round.
    Type,
}

impl Difference<'_> {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match (self.before, self.after) {
            _ if self.moved_from.is_some() => Kind::Moved,
            (Some(before), Some(after)) if before.is_directory() != after.is_directory() => Kind::Type,
            (Some(_), Some(_)) => Kind::Changed,
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
        }
    }

    /// Whether it is about a directory (afterwards, if it is there afterwards).
    pub fn is_directory(&self) -> bool {
        self.after.or(self.before).is_some_and(Item::is_directory)
    }

    /// The lines that differ; see [`lines`]. Nothing for a directory, or if the bytes are the same.
    pub fn lines(&self, context: usize) -> Lines {
        let bytes = |item: Option<&Item>| item.and_then(|item| item.content.clone()).unwrap_or_default();
        lines(&bytes(self.before), &bytes(self.after), context)
    }
}

/// All differences from `before` to `after`, in the order of the paths' bytes.
///
/// A file that has the same inode in both listings but another path was *moved*: that is how a guest migrates. Because inodes of two
/// unrelated databases can be equal by chance, it must also have kept its content or its name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let (old, new) = (folder.path().join("old"), folder.path().join("new"));
/// # std::fs::create_dir(&old)?; std::fs::create_dir(&new)?;
/// # std::fs::write(old.join("storage.cfg"), "dir: local\n\tpath /var/lib/vz\n")?;
/// # std::fs::write(new.join("storage.cfg"), "dir: local\n\tpath /srv\n")?;
/// use pve_cfs::diff::{Kind, Lines, diff};
/// use pve_cfs::Listing;
///
/// let (before, after) = (Listing::of_folder(&old)?, Listing::of_folder(&new)?);
/// let found = diff(&before, &after);
/// assert_eq!((found[0].path, found[0].kind()), ("storage.cfg".into(), Kind::Changed));
/// let Lines::Text(text) = found[0].lines(3) else { panic!() };
/// assert_eq!(text, "@@ -1,2 +1,2 @@\n dir: local\n-\tpath /var/lib/vz\n+\tpath /srv\n");
/// # Ok(()) }
/// ```
pub fn diff<'a>(before: &'a Listing, after: &'a Listing) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    let mut gone = HashMap::new();
    for (path, item) in before.iter() {
        match after.get(path) {
            None => {
                if let Some(row) = item.row.filter(|_| !item.is_directory()) {
                    gone.insert(row.inode, (path, item));
                }
            }
            Some(now) if now.content != item.content => {
                found.push(Difference { path, before: Some(item), after: Some(now), moved_from: None });
            }
            Some(_) => {}
        }
    }
    for (path, item) in after.iter().filter(|(path, _)| before.get(path).is_none()) {
        let source = item.row.filter(|_| !item.is_directory()).and_then(|row| gone.get(&row.inode).copied());
        let moved = source
            .filter(|(from, was)| was.content == item.content || path::split(from).1 == path::split(path).1);
        if let (Some(_), Some(row)) = (moved, item.row) {
            gone.remove(&row.inode);
        }
        found.push(Difference {
            path,
            before: moved.map(|(_, was)| was),
            after: Some(item),
            moved_from: moved.map(|(from, _)| from),
        });
    }
    let moved: std::collections::HashSet<&BStr> = found.iter().filter_map(|found| found.moved_from).collect();
    let removed = before.iter().filter(|(path, _)| after.get(path).is_none() && !moved.contains(path));
    let removed: Vec<_> = removed
        .map(|(path, item)| Difference { path, before: Some(item), after: None, moved_from: None })
        .collect();
    found.extend(removed);
    found.sort_by_key(|difference| difference.path);
    found
}

/// How two contents differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    /// Not at all.
    Same,
    /// The hunks of a unified diff, without its two header lines; bytes, as the contents need not be UTF-8.
    Text(bstr::BString),
    /// One of them is no text (it has a NUL byte): only the sizes say something.
    Binary {
        /// Size before, in bytes.
        before: usize,
        /// Size after, in bytes.
        after: usize,
    },
}

/// Compares two texts line by line, with `context` equal lines around each change. A last line without a line feed is marked as `diff`
/// does.
pub fn lines(before: &[u8], after: &[u8], context: usize) -> Lines {
    if before == after {
        return Lines::Same;
    }
    if before.contains(&0) || after.contains(&0) {
        return Lines::Binary { before: before.len(), after: after.len() };
    }
    let compared = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    let mut text = Vec::new();
    for hunk in compared.unified_diff().context_radius(context).iter_hunks() {
        // writing into memory cannot fail
        let _ = hunk.to_writer(&mut text);
    }
    Lines::Text(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Database, Row};

    fn listing(files: &[(u64, &str, &str)]) -> Listing {
        let row = |inode, name: &str, data: &str| Row {
            inode,
            parent: 0,
            version: inode,
            writer: 0,
            mtime: 0,
            kind: 8,
            name: name.into(),
            data: Some(data.as_bytes().into()),
        };
        let mut rows = vec![row(0, "__version__", "")];
        rows.extend(files.iter().map(|(inode, name, data)| row(*inode, name, data)));
        Listing::of_tree(Database::from_rows(rows).tree())
    }

    #[test]
    fn kinds_of_differences() {
        let before =
            listing(&[(2, "same", "1"), (3, "old", "text"), (4, "changed", "a\n"), (5, "gone", "x")]);
        let after =
            listing(&[(2, "same", "1"), (3, "new", "text"), (4, "changed", "b\n"), (5, "fresh", "y")]);
        let found: Vec<_> = diff(&before, &after).iter().map(|d| (d.path.to_string(), d.kind())).collect();
        let expected = [
            ("changed", Kind::Changed),
            ("fresh", Kind::Added),
            ("gone", Kind::Removed),
            ("new", Kind::Moved),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
        assert!(diff(&before, &before).is_empty());
    }

    #[test]
    fn texts_and_others() {
        assert_eq!(lines(b"a", b"a", 3), Lines::Same);
        assert_eq!(lines(b"a\0", b"b", 3), Lines::Binary { before: 2, after: 1 });
        let Lines::Text(text) = lines(b"\xff\n", b"\xfe", 3) else { panic!() };
        assert_eq!(text, b"@@ -1 +1 @@\n-\xff\n+\xfe\n\\ No newline at end of file\n");
    }

    #[test]
    fn long_texts_without_a_common_line_end_in_time() {
        let text = |step: usize| (0..40_000).map(|n| format!("{}\n", n * 2 + step)).collect::<String>();
        let start = std::time::Instant::now();
        assert!(matches!(lines(text(0).as_bytes(), text(1).as_bytes(), 3), Lines::Text(_)));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
