// SPDX-License-Identifier: MIT OR Apache-2.0
//! The blind spots of the listing: every reason for which something on a storage is not shown.

use std::fmt;

use serde::{Serialize, Serializer};

/// Declares the reasons: the variant, its code, and the sentence that completes "It is not listed because …".
macro_rules! reasons {
    ($( $(#[$attr:meta])* $variant:ident = $code:literal, $sentence:literal; )+) => {
        /// Why the listing does not show something that exists on a storage.
        ///
        /// `Display` completes the sentence "it is not listed because …".
        ///
        /// ```
        /// use pve_volid::{Invisible, LvLine, LvmFilter, Wanted};
        ///
        /// let filter = LvmFilter { vg: "vg0".into(), tagged_only: false, wanted: Wanted::Everything };
        /// let lv = LvLine::parse(b"  vg0:vm-106-disk-0:5:owi-a-s---:::::uuid:::").unwrap();
        /// let reason = filter.judge(&lv).unwrap_err();
        /// assert_eq!(reason, Invisible::SnapshotOrigin);
        /// assert_eq!(reason.code(), "snapshot-origin");
        /// assert_eq!(
        ///     reason.to_string(),
        ///     "it has a classic LVM snapshot, and the listing leaves out the origins of snapshots",
        /// );
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Invisible {
            $( $(#[$attr])* $variant, )+
        }

        impl Invisible {
            /// Every reason.
            pub const ALL: &'static [Invisible] = &[ $( Invisible::$variant, )+ ];

            /// A stable name for programs, in kebab case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Invisible::$variant => $code, )+ }
            }

            const fn sentence(self) -> &'static str {
                match self { $( Invisible::$variant => $sentence, )+ }
            }
        }
    };
}

reasons! {
    // what the caller asked for
    /// Volumes of one guest were asked for, and it belongs to another.
    OtherOwner = "other-owner", "it belongs to another guest than the one asked for";
    /// Volumes of one guest were asked for, and it belongs to nobody.
    Unowned = "unowned", "volumes of one guest were asked for, and this belongs to no guest";
    /// Certain volumes were asked for, and not this one.
    NotAskedFor = "not-asked-for", "certain volumes were asked for, and this is none of them";

    // names
    /// The name does not follow the naming convention of the type.
    NoMatch = "no-match", "its name is not that of a guest's volume";
    /// A snapshot: `snap_…`, `snap-….qcow2`, `…@…`.
    Snapshot = "snapshot", "it is a snapshot of a volume, not a volume";
    /// `lvm`: the name begins like a volume's, but is no name of a volume. **The whole listing fails.**
    NotLvmName = "not-an-lvm-name",
        "its name begins like that of a volume, but contains other characters than letters, digits, '-', '_', '.', \
         or does not end in a letter or digit: the whole listing fails until it is renamed";
    /// `lvm`: `base-…`; there are no templates on thick LVM.
    TemplateOnLvm = "template-on-lvm", "thick LVM has no templates, so names that begin with 'base-' are ignored";
    /// `lvm`: `del-…`, a removed volume that waits to be wiped.
    AwaitsWiping = "awaits-wiping", "it is a removed volume that waits to be wiped";

    // LVM
    /// It lies in another volume group.
    OtherVolumeGroup = "other-volume-group", "it lies in another volume group";
    /// It lies in another thin pool.
    OtherPool = "other-pool", "it lies in another thin pool";
    /// It is itself a thin pool.
    ThinPool = "thin-pool", "it is a thin pool";
    /// `lvm`: a thin volume.
    ThinVolume = "thin-volume", "it is a thin volume, and a storage of type lvm shows thick ones only";
    /// `lvmthin`: a thick volume.
    ThickVolume = "thick-volume", "it is not a thin volume, and a storage of type lvmthin shows nothing else";
    /// A classic (thick) LVM snapshot.
    ClassicSnapshot = "classic-snapshot", "it is a classic LVM snapshot";
    /// The origin of a classic LVM snapshot.
    SnapshotOrigin = "snapshot-origin",
        "it has a classic LVM snapshot, and the listing leaves out the origins of snapshots";
    /// A volume with a cache.
    Cached = "cached", "it is a cached volume";
    /// A volume that `pvmove` is moving, or that is being converted.
    Moving = "moving", "it is being moved or converted by LVM";
    /// Another kind of logical volume: integrity, VDO, metadata …
    OtherLvType = "other-lv-type", "it is a logical volume of a kind that is never listed";
    /// `lvm` with `tagged_only`: no tag `pve-vm-VMID`.
    Untagged = "untagged", "the storage shows tagged volumes only, and it has no tag 'pve-vm-VMID'";

    // ZFS and RBD
    /// The dataset that the storage itself stands for.
    PoolItself = "pool-itself", "it is the dataset of the storage itself";
    /// A dataset outside of the storage's.
    ForeignDataset = "foreign-dataset", "it lies outside of the dataset of the storage";
    /// Neither a volume nor a file system: a snapshot or bookmark.
    NoVolumeOrFileSystem = "no-volume-or-file-system", "it is neither a ZFS volume nor a file system";

    // files
    /// Not at the depth where volumes lie.
    WrongDepth = "wrong-depth", "it does not lie exactly where volumes of the storage lie, but higher or deeper";
    /// The name of the file or its directory begins with a dot.
    HiddenFile = "hidden-file", "its name or that of its directory begins with a dot";
    /// The directory below `images` is not a number.
    NoGuestDirectory = "no-guest-directory", "its directory is not called by the number of a guest";
    /// The directory below `images` is one digit.
    OneDigitDirectory = "one-digit-directory", "directories of one digit are never searched";
    /// White space in the name of an image.
    WhiteSpace = "white-space", "its name contains white space";
    /// No extension, an unknown one, or one in the wrong case.
    UnknownExtension = "unknown-extension", "the extension of its name is not one of those that are listed";
    /// The extension is that of an image format that storages of the type do not have.
    FormatNotOfType = "format-not-of-type", "storages of this type do not have its image format";
    /// `btrfs`: a dot in the name before the extension.
    DotInName = "dot-in-name", "there is a dot in its name before the extension";
    /// `btrfs`: a file with the extension `.raw`; raw volumes are directories without it.
    RawFileOnBtrfs = "raw-file-on-btrfs", "raw volumes on btrfs are directories without extension, and it ends in '.raw'";
    /// `btrfs`: a directory without `disk.raw`.
    NoDiskFile = "no-disk-file", "the directory of a raw volume must hold a file 'disk.raw'";
    /// It cannot be inspected: a dangling link.
    Dangling = "dangling", "it cannot be inspected, most likely since it is a link to nowhere";
    /// `qemu-img` had nothing to say about it.
    Unmeasurable = "unmeasurable", "its size cannot be found out";
    /// A directory where files are listed.
    Directory = "directory", "it is a directory";
    /// `import`: characters in the name that are not allowed there.
    ForbiddenCharacter = "forbidden-character",
        "its name contains other characters than letters, digits and '-', '.', '+', '=', '_'";
    /// A listing for one guest leaves it out: it belongs to no guest, or its name does not hold the guest's number.
    NotOfGuest = "not-of-guest", "files of one guest were asked for, and its name does not hold the guest's number";
    /// The storage's `content` does not include what it is.
    ContentNotEnabled = "content-not-enabled", "the storage is not configured for content of its kind";

    // LUNs
    /// Not a disk (a CD drive, an enclosure …).
    NotADisk = "not-a-disk", "it is not a disk";
    /// No stable link in /dev/disk/by-id.
    NoStableLink = "no-stable-link", "it has no link 'scsi-*' or 'dm-uuid-mpath-*' in /dev/disk/by-id";
    /// Size 0.
    Empty = "empty", "its size is 0";
    /// It belongs to another iSCSI target.
    OtherTarget = "other-target", "it belongs to another iSCSI target";
    /// `iscsidirect`: not a line about a LUN with a size in k, M, G or T.
    NoSizedLun = "no-sized-lun", "it is not reported as a LUN with a size in k, M, G or T";
}

impl Invisible {
    /// Whether meeting such a thing makes the whole listing fail, instead of just being left out.
    #[must_use]
    pub const fn fails_listing(self) -> bool {
        matches!(self, Invisible::NotLvmName)
    }
}

impl fmt::Display for Invisible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Invisible {}

/// As its [`Invisible::code`].
impl Serialize for Invisible {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_sentences_are_well_formed_and_different() {
        let mut codes: Vec<_> = Invisible::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Invisible::ALL.len());
        for reason in Invisible::ALL {
            let (code, sentence) = (reason.code(), reason.to_string());
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
            assert!(!sentence.ends_with('.') && !sentence.contains("  "), "{sentence}");
        }
    }
}
