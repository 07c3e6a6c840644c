// SPDX-License-Identifier: MIT OR Apache-2.0
//! The database schema as constants: the one table, its columns, and the values that have a meaning.

/// Usual place of the database on a node.
pub const DEFAULT_DATABASE: &str = "/var/lib/pve-cluster/config.db";

/// File that the daemon holds an exclusive `flock` on while it runs; lies beside the database.
pub const LOCK_FILE: &str = ".pmxcfs.lockfile";

/// Name of the one table.
pub const TABLE: &str = "tree";

/// Name of the row with inode 0, which holds version, writer and time of the last change of the whole tree.
pub const VERSION_ROW_NAME: &[u8] = b"__version__";

/// The columns of [`TABLE`], in the order in which they are declared, read and written.
pub const COLUMNS: [&str; 8] = ["inode", "parent", "version", "writer", "mtime", "type", "name", "data"];

/// The schema text, byte for byte as the reference stores it in `sqlite_schema` (without the `IF NOT EXISTS`,
/// which SQLite does not store).
pub const CREATE_TABLE: &str = "CREATE TABLE tree (  inode INTEGER PRIMARY KEY NOT NULL,  \
     parent INTEGER NOT NULL CHECK(typeof(parent)=='integer'),  \
     version INTEGER NOT NULL CHECK(typeof(version)=='integer'),  \
     writer INTEGER NOT NULL CHECK(typeof(writer)=='integer'),  \
     mtime INTEGER NOT NULL CHECK(typeof(mtime)=='integer'),  \
     type INTEGER NOT NULL CHECK(typeof(type)=='integer'),  \
     name TEXT NOT NULL,  data BLOB)";

/// Reads all rows; SQLite delivers them in ascending order of the row id, as the loader needs them.
pub(crate) const SELECT_ROWS: &str =
    "SELECT inode, parent, version, writer, mtime, type, name, data FROM tree";

/// Greatest size of a file's content in bytes; a write or truncation that would exceed it is refused.
pub const MAX_FILE_SIZE: usize = 1_048_576;

/// Total size of all contents that `statfs` announces, in bytes; nothing enforces it.
pub const ANNOUNCED_TOTAL_SIZE: u64 = 128 * 1024 * 1024;

/// Number of entries that `statfs` announces; nothing enforces it.
pub const ANNOUNCED_INODES: u64 = 262_144;

/// Longest name that `statfs` announces, in bytes; nothing enforces it.
pub const ANNOUNCED_NAME_LENGTH: usize = 256;

/// Block size that `statfs` announces and attributes count in, in bytes.
pub const BLOCK_SIZE: u32 = 4096;

/// What an entry of the tree is; the numbers are those of column `type` (`DT_DIR` and `DT_REG` of `readdir(3)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EntryType {
    /// A directory (4).
    Directory = 4,
    /// A regular file (8).
    File = 8,
}

impl EntryType {
    /// The type with this number; only the low eight bits of the column count.
    ///
    /// ```
    /// use pve_cfs::schema::EntryType;
    /// assert_eq!(EntryType::from_column(4), Some(EntryType::Directory));
    /// assert_eq!(EntryType::from_column(256 + 8), Some(EntryType::File));
    /// assert_eq!(EntryType::from_column(10), None);
    /// ```
    pub const fn from_column(value: i64) -> Option<Self> {
        match value & 0xff {
            4 => Some(Self::Directory),
            8 => Some(Self::File),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_text_doubles_its_spaces() {
        assert!(
            CREATE_TABLE.starts_with("CREATE TABLE tree (  inode INTEGER PRIMARY KEY NOT NULL,  parent ")
        );
        for column in COLUMNS {
            assert!(CREATE_TABLE.contains(&format!("  {column} ")), "{column}");
        }
        assert!(CREATE_TABLE.ends_with(",  name TEXT NOT NULL,  data BLOB)"));
    }
}
