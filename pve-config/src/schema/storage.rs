// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of storages and the properties of their definitions in `storage.cfg`.

use crate::cluster;
use crate::format::{Format, Scalar};
use crate::name_index::{NameIndex, sorts_before};
use crate::property::PropertyFormat;
use crate::rule::{Pattern, Rule, pattern};

/// A property of storage definitions. It is the same for every type that has it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StorageProperty {
    /// Its name.
    pub name: &'static str,
    /// What its value must look like.
    pub rule: Rule<'static>,
    /// What its absence means; never filled in.
    pub default: Option<&'static str>,
    /// What it is for.
    pub doc: &'static str,
}

/// A type of storage.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StorageTypeSpec {
    /// Its name in section headers.
    pub name: &'static str,
    /// Content types that it can hold, ascending.
    pub content: &'static [&'static str],
    /// Content types of a storage that does not say.
    pub default_content: &'static [&'static str],
    /// Image formats that it can hold, ascending; empty if there is no choice.
    pub formats: &'static [&'static str],
    /// Image format of new volumes, unless the storage says otherwise.
    pub default_format: Option<&'static str>,
    /// Volumes are files below a directory.
    pub path_based: bool,
    /// Volumes cannot be allocated, only chosen from those that exist.
    pub select_existing: bool,
    /// The storage is the same on all nodes, whatever the property `shared` says.
    pub shared: bool,
    /// Properties that are kept in a file of their own, away from `storage.cfg`.
    pub sensitive: &'static [&'static str],
    /// Properties that a storage of this type may have, ascending by name.
    pub options: &'static [StorageOption],
}

/// A property in the definition of a storage of some type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageOption {
    /// Its name.
    pub name: &'static str,
    /// The definition is invalid without it.
    pub required: bool,
    /// It cannot be changed once the storage exists.
    pub fixed: bool,
}

impl StorageTypeSpec {
    /// The option called `name`.
    #[must_use]
    pub fn option(&self, name: &[u8]) -> Option<&'static StorageOption> {
        let found = self.options.binary_search_by(|option| option.name.as_bytes().cmp(name)).ok()?;
        self.options.get(found)
    }
}

/// The type called `name`, in lower case.
///
/// ```
/// let lvm = pve_config::schema::storage_type(b"lvm").unwrap();
/// assert!(lvm.option(b"vgname").unwrap().required);
/// assert!(lvm.option(b"path").is_none());
/// ```
#[must_use]
pub fn storage_type(name: &[u8]) -> Option<&'static StorageTypeSpec> {
    STORAGE_TYPES.iter().find(|spec| spec.name.as_bytes() == name)
}

/// The property called `name`, if any type has it.
#[must_use]
pub fn storage_property(name: &[u8]) -> Option<&'static StorageProperty> {
    static INDEX: NameIndex<128> = {
        let mut index = NameIndex::new();
        let mut at = 0;
        while at < STORAGE_PROPERTIES.len() {
            assert!(at == 0 || sorts_before(STORAGE_PROPERTIES[at - 1].name, STORAGE_PROPERTIES[at].name));
            index = index.with(STORAGE_PROPERTIES[at].name, at);
            at += 1;
        }
        index
    };
    let at = |position: usize| STORAGE_PROPERTIES.get(position);
    at(INDEX.find(name, |position| at(position).map(|property| property.name))?)
}

// how the tables are written
const fn property(name: &'static str, rule: Rule<'static>) -> StorageProperty {
    StorageProperty { name, rule, default: None, doc: "" }
}

const fn boolean(name: &'static str) -> StorageProperty {
    property(name, Rule::boolean())
}

const fn integer(name: &'static str) -> StorageProperty {
    property(name, Rule::integer())
}

const fn string(name: &'static str) -> StorageProperty {
    property(name, Rule::string())
}

const fn scalar(name: &'static str, format: Scalar) -> StorageProperty {
    property(name, Rule::string().format(Format::Scalar(format)))
}

const fn list(name: &'static str, format: Scalar) -> StorageProperty {
    property(name, Rule::string().format(Format::List(format)))
}

const fn properties(name: &'static str, format: &'static PropertyFormat) -> StorageProperty {
    property(name, Rule::string().format(Format::Properties(format)))
}

impl StorageProperty {
    const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.rule = self.rule.words(words);
        self
    }

    const fn pattern(mut self, pattern: Pattern<'static>) -> Self {
        self.rule = self.rule.pattern(pattern);
        self
    }

    const fn min(mut self, minimum: f64) -> Self {
        self.rule = self.rule.minimum(minimum);
        self
    }

    const fn max(mut self, maximum: f64) -> Self {
        self.rule = self.rule.maximum(maximum);
        self
    }

    const fn max_length(mut self, length: usize) -> Self {
        self.rule = self.rule.max_length(length);
        self
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// An option that can be left out and changed.
const fn optional(name: &'static str) -> StorageOption {
    StorageOption { name, required: false, fixed: false }
}

/// An option that cannot be changed.
const fn fixed(name: &'static str) -> StorageOption {
    StorageOption { name, required: false, fixed: true }
}

/// An option that must be there.
const fn required(name: &'static str) -> StorageOption {
    StorageOption { name, required: true, fixed: false }
}

/// An option that must be there and cannot be changed.
const fn key(name: &'static str) -> StorageOption {
    StorageOption { name, required: true, fixed: true }
}

/// Every property, ascending by name.
pub const STORAGE_PROPERTIES: &[StorageProperty] = &[
    scalar("base", Scalar::VolumeId).doc("Volume on which the volume group lies."),
    scalar("blocksize", Scalar::ZfsBlockSize).doc("Block size of volumes."),
    properties("bwlimit", &cluster::BWLIMIT).doc("Limits of transfers, KiB/s."),
    string("comstar_hg").doc("Host group of COMSTAR views."),
    string("comstar_tg").doc("Target group of COMSTAR views."),
    list("content", Scalar::StorageContent).doc("What may be kept on the storage."),
    list("content-dirs", Scalar::DirOverride).doc("Other directories for content types."),
    boolean("create-base-path").default("1").doc("Create the directory `path` itself."),
    boolean("create-subdirs").default("1").doc("Create the directories of content types."),
    string("data-pool").doc("Pool for data, where `pool` keeps only metadata."),
    string("datastore").doc("Datastore of the backup server."),
    boolean("disable").doc("The storage is not used."),
    string("domain").max_length(256).doc("Windows domain."),
    string("encryption-key").doc("Key for backups, or `autogen`."),
    scalar("export", Scalar::StoragePath).doc("Path that the server exports."),
    string("fingerprint")
        .pattern(pattern!(r"([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}"))
        .doc("SHA-256 fingerprint of the certificate."),
    string("format").words(&["raw", "qcow2", "subvol", "vmdk"]).doc("Image format of new volumes."),
    scalar("fs-name", Scalar::ConfigId).doc("Name of the Ceph file system."),
    boolean("fuse").doc("Mount by FUSE."),
    string("is_mountpoint").default("no").doc("The path must be a mount point; or that path must be one."),
    string("iscsiprovider").doc("Software that serves the targets."),
    string("keyring").doc("Key of the client."),
    boolean("krbd").default("0").doc("Map volumes by the kernel."),
    string("lio_tpg").doc("Target portal group of LIO."),
    string("master-pubkey").doc("Public key with which the key for backups is kept beside them."),
    integer("max-protected-backups").min(-1.0).doc("Most protected backups of a guest; -1 lifts the limit."),
    boolean("mkdir")
        .default("1")
        .doc("Create directories. Deprecated by `create-base-path` and `create-subdirs`."),
    list("monhost", Scalar::StoragePortal).doc("Monitors of the Ceph cluster."),
    scalar("mountpoint", Scalar::StoragePath).doc("Where the pool is mounted."),
    string("namespace").doc("Namespace in the pool or datastore."),
    boolean("nocow").default("0").doc("Create images without copy-on-write, and so without checksums."),
    list("nodes", Scalar::Node).doc("Nodes that have the storage; all if left out."),
    boolean("nowritecache").doc("Switch off the write cache of targets."),
    scalar("options", Scalar::StorageOptions).doc("Options of the mount."),
    string("password").max_length(256).doc("Password of the user."),
    scalar("path", Scalar::StoragePath).doc("Directory of the storage."),
    string("pool").doc("Pool."),
    integer("port").min(1.0).max(65535.0).doc("Port of the server."),
    scalar("portal", Scalar::StoragePortal).doc("Server of the targets."),
    string("preallocation")
        .words(&["off", "metadata", "falloc", "full"])
        .default("metadata")
        .doc("How much of a new image is allocated at once."),
    properties("prune-backups", &cluster::PRUNE_BACKUPS).doc("Which backups are kept."),
    boolean("saferemove").doc("Overwrite volumes with zeroes before they are removed."),
    integer("saferemove-stepsize")
        .words(&["1", "2", "4", "8", "16", "32"])
        .default("32")
        .doc("How much is overwritten at once, MiB."),
    string("saferemove_throughput").doc("Limit of overwriting, as `cstream -t` takes it."),
    scalar("server", Scalar::StorageServer).doc("Server of the storage."),
    string("share").doc("Share of the server."),
    boolean("shared").doc("The storage is the same on all nodes."),
    boolean("skip-cert-verification").default("0").doc("Do not check the certificate."),
    string("smbversion")
        .words(&["default", "2.0", "2.1", "3", "3.0", "3.11"])
        .default("default")
        .doc("Version of the protocol."),
    boolean("snapshot-as-volume-chain").default("0").doc("Keep snapshots as chains of volumes."),
    boolean("sparse").doc("Create volumes without reserving their space."),
    scalar("subdir", Scalar::StoragePath).doc("Directory below the share or file system."),
    boolean("tagged_only").doc("Use only logical volumes with the tag `pve-vm-ID`."),
    string("target").doc("Target."),
    scalar("thinpool", Scalar::StorageVolumeGroup).doc("Thin pool."),
    string("username").doc("User."),
    scalar("vgname", Scalar::StorageVolumeGroup).doc("Volume group."),
    scalar("zfs-base-path", Scalar::StoragePath)
        .doc("Directory of the volumes' block devices on the server."),
];

/// Every type, ascending by name.
pub const STORAGE_TYPES: &[StorageTypeSpec] = &[
    StorageTypeSpec {
        name: "btrfs",
        content: &["backup", "images", "import", "iso", "none", "rootdir", "snippets", "vztmpl"],
        default_content: &["images", "rootdir"],
        formats: &["raw", "subvol"],
        default_format: Some("raw"),
        path_based: true,
        select_existing: false,
        shared: false,
        sensitive: &[],
        options: &[
            optional("content"),
            optional("create-base-path"),
            optional("create-subdirs"),
            optional("disable"),
            optional("format"),
            optional("is_mountpoint"),
            optional("max-protected-backups"),
            optional("mkdir"),
            optional("nocow"),
            optional("nodes"),
            key("path"),
            optional("preallocation"),
            optional("prune-backups"),
            optional("shared"),
        ],
    },
    StorageTypeSpec {
        name: "cephfs",
        content: &["backup", "import", "iso", "snippets", "vztmpl"],
        default_content: &["backup"],
        formats: &[],
        default_format: None,
        path_based: true,
        select_existing: false,
        shared: true,
        sensitive: &["keyring"],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("content-dirs"),
            optional("create-base-path"),
            optional("create-subdirs"),
            optional("disable"),
            optional("format"),
            optional("fs-name"),
            optional("fuse"),
            optional("keyring"),
            optional("max-protected-backups"),
            optional("mkdir"),
            optional("monhost"),
            optional("nodes"),
            optional("options"),
            key("path"),
            optional("prune-backups"),
            optional("subdir"),
            optional("username"),
        ],
    },
    StorageTypeSpec {
        name: "cifs",
        content: &["backup", "images", "import", "iso", "rootdir", "snippets", "vztmpl"],
        default_content: &["images"],
        formats: &["qcow2", "raw", "vmdk"],
        default_format: Some("raw"),
        path_based: true,
        select_existing: false,
        shared: true,
        sensitive: &["password"],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("content-dirs"),
            optional("create-base-path"),
            optional("create-subdirs"),
            optional("disable"),
            optional("domain"),
            optional("format"),
            optional("max-protected-backups"),
            optional("mkdir"),
            optional("nodes"),
            optional("options"),
            optional("password"),
            key("path"),
            optional("preallocation"),
            optional("prune-backups"),
            key("server"),
            key("share"),
            optional("smbversion"),
            fixed("snapshot-as-volume-chain"),
            optional("subdir"),
            optional("username"),
        ],
    },
    StorageTypeSpec {
        name: "dir",
        content: &["backup", "images", "import", "iso", "none", "rootdir", "snippets", "vztmpl"],
        default_content: &["images", "rootdir"],
        formats: &["qcow2", "raw", "subvol", "vmdk"],
        default_format: Some("raw"),
        path_based: true,
        select_existing: false,
        shared: false,
        sensitive: &[],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("content-dirs"),
            optional("create-base-path"),
            optional("create-subdirs"),
            optional("disable"),
            optional("format"),
            optional("is_mountpoint"),
            optional("max-protected-backups"),
            optional("mkdir"),
            optional("nodes"),
            key("path"),
            optional("preallocation"),
            optional("prune-backups"),
            optional("shared"),
            fixed("snapshot-as-volume-chain"),
        ],
    },
    StorageTypeSpec {
        name: "esxi",
        content: &["import"],
        default_content: &["import"],
        formats: &["qcow2", "raw", "vmdk"],
        default_format: Some("raw"),
        path_based: false,
        select_existing: false,
        shared: false,
        sensitive: &["password"],
        options: &[
            optional("content"),
            optional("disable"),
            optional("nodes"),
            optional("password"),
            optional("port"),
            required("server"),
            optional("shared"),
            optional("skip-cert-verification"),
            required("username"),
        ],
    },
    StorageTypeSpec {
        name: "iscsi",
        content: &["images", "none"],
        default_content: &["images"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: true,
        shared: true,
        sensitive: &[],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("disable"),
            optional("nodes"),
            key("portal"),
            key("target"),
        ],
    },
    StorageTypeSpec {
        name: "iscsidirect",
        content: &["images", "none"],
        default_content: &["images"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: true,
        shared: true,
        sensitive: &[],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("disable"),
            optional("nodes"),
            key("portal"),
            key("target"),
        ],
    },
    StorageTypeSpec {
        name: "lvm",
        content: &["images", "rootdir"],
        default_content: &["images"],
        formats: &["qcow2", "raw"],
        default_format: Some("raw"),
        path_based: false,
        select_existing: false,
        shared: false,
        sensitive: &[],
        options: &[
            fixed("base"),
            optional("bwlimit"),
            optional("content"),
            optional("disable"),
            optional("nodes"),
            optional("saferemove"),
            optional("saferemove-stepsize"),
            optional("saferemove_throughput"),
            optional("shared"),
            optional("snapshot-as-volume-chain"),
            optional("tagged_only"),
            key("vgname"),
        ],
    },
    StorageTypeSpec {
        name: "lvmthin",
        content: &["images", "rootdir"],
        default_content: &["images", "rootdir"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: false,
        shared: false,
        sensitive: &[],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("disable"),
            optional("nodes"),
            key("thinpool"),
            key("vgname"),
        ],
    },
    StorageTypeSpec {
        name: "nfs",
        content: &["backup", "images", "import", "iso", "rootdir", "snippets", "vztmpl"],
        default_content: &["images"],
        formats: &["qcow2", "raw", "vmdk"],
        default_format: Some("raw"),
        path_based: true,
        select_existing: false,
        shared: true,
        sensitive: &[],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("content-dirs"),
            optional("create-base-path"),
            optional("create-subdirs"),
            optional("disable"),
            key("export"),
            optional("format"),
            optional("max-protected-backups"),
            optional("mkdir"),
            optional("nodes"),
            optional("options"),
            key("path"),
            optional("preallocation"),
            optional("prune-backups"),
            key("server"),
            fixed("snapshot-as-volume-chain"),
        ],
    },
    StorageTypeSpec {
        name: "pbs",
        content: &["backup", "none"],
        default_content: &["backup"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: false,
        shared: true,
        sensitive: &["encryption-key", "master-pubkey", "password"],
        options: &[
            optional("content"),
            key("datastore"),
            optional("disable"),
            optional("encryption-key"),
            optional("fingerprint"),
            optional("master-pubkey"),
            optional("max-protected-backups"),
            optional("namespace"),
            optional("nodes"),
            optional("password"),
            optional("port"),
            optional("prune-backups"),
            key("server"),
            optional("username"),
        ],
    },
    StorageTypeSpec {
        name: "rbd",
        content: &["images", "rootdir"],
        default_content: &["images"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: false,
        shared: true,
        sensitive: &["keyring"],
        options: &[
            optional("bwlimit"),
            optional("content"),
            optional("data-pool"),
            optional("disable"),
            optional("keyring"),
            optional("krbd"),
            optional("monhost"),
            optional("namespace"),
            optional("nodes"),
            optional("pool"),
            optional("username"),
        ],
    },
    StorageTypeSpec {
        name: "zfs",
        content: &["images"],
        default_content: &["images"],
        formats: &[],
        default_format: None,
        path_based: false,
        select_existing: false,
        shared: true,
        sensitive: &[],
        options: &[
            key("blocksize"),
            optional("bwlimit"),
            optional("comstar_hg"),
            optional("comstar_tg"),
            optional("content"),
            optional("disable"),
            key("iscsiprovider"),
            optional("lio_tpg"),
            optional("nodes"),
            optional("nowritecache"),
            key("pool"),
            key("portal"),
            optional("sparse"),
            key("target"),
            optional("zfs-base-path"),
        ],
    },
    StorageTypeSpec {
        name: "zfspool",
        content: &["images", "rootdir"],
        default_content: &["images", "rootdir"],
        formats: &["raw", "subvol"],
        default_format: Some("raw"),
        path_based: false,
        select_existing: false,
        shared: false,
        sensitive: &[],
        options: &[
            optional("blocksize"),
            optional("bwlimit"),
            optional("content"),
            optional("disable"),
            optional("mountpoint"),
            optional("nodes"),
            key("pool"),
            optional("sparse"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::assert_patterns_compile;

    #[test]
    fn options_are_sorted_properties() {
        for spec in STORAGE_TYPES {
            assert!(spec.options.is_sorted_by_key(|option| option.name), "{}", spec.name);
            for option in spec.options {
                assert!(storage_property(option.name.as_bytes()).is_some(), "{} {}", spec.name, option.name);
                assert_eq!(spec.option(option.name.as_bytes()), Some(option));
            }
            assert!(spec.default_content.iter().all(|content| spec.content.contains(content)));
            assert!(spec.default_format.is_none_or(|format| spec.formats.contains(&format)));
        }
    }

    #[test]
    fn every_property_belongs_to_a_type() {
        for property in STORAGE_PROPERTIES {
            let name = property.name.as_bytes();
            assert!(STORAGE_TYPES.iter().any(|spec| spec.option(name).is_some()), "{}", property.name);
            assert!(!property.doc.is_empty());
        }
        assert_patterns_compile(STORAGE_PROPERTIES.iter().map(|property| &property.rule));
    }
}
