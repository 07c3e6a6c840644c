// SPDX-License-Identifier: MIT OR Apache-2.0
//! The next free name for a guest's disk (spec: volumes, "Next free name").

use bstr::Finder;

use crate::{ImageFormat, Owner, StorageType};

/// Searches for the lowest disk number of a guest that no name uses.
///
/// Which names must be shown to it depends on the type: [`StorageType::free_name_source`]. The rule is textual, and has
/// surprising corners that are kept, since every node of a cluster must choose alike: `vm-100-disk-1x` and
/// `snap_vm-100-disk-1_s` use up number 1, `vm-100-disk-01` uses up nothing, and of several numbers in one text only
/// the first counts.
///
/// ```
/// use pve_volid::{FreeName, StorageType, VmId};
///
/// let mut search = FreeName::for_allocation(StorageType::LvmThin, VmId::MIN, None);
/// for lv in ["root", "vm-100-disk-0", "snap_vm-100-disk-1_s", "vm-101-disk-2"] {
///     search.see(lv.as_bytes());
/// }
/// assert_eq!(search.name()?, "vm-100-disk-2");
/// # Ok::<(), pve_volid::NoFreeName>(())
/// ```
#[derive(Debug, Clone)]
pub struct FreeName {
    prefix: String,
    suffix: Option<ImageFormat>,
    words: &'static [&'static [u8]],
    /// The suffix must follow the digits.
    suffix_matters: bool,
    /// `-VMID-disk-`
    finder: Finder<'static>,
    used: Box<[bool; NUMBERS]>,
}

/// Disk numbers are 0 ..= 1023.
const NUMBERS: usize = 1024;

/// Every disk number of a guest is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no free disk name: all {NUMBERS} names '{prefix}N{suffix}' are in use, remove unused disks")]
pub struct NoFreeName {
    /// The name before the number.
    pub prefix: String,
    /// The name behind the number.
    pub suffix: String,
}

/// The texts among which a type looks for used numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FreeNameSource {
    /// The volume ids that the listing shows for the guest: what the listing hides does not count.
    ListedVolumes,
    /// The names of everything in the volume group or pool, whoever owns it.
    EveryName,
}

impl StorageType {
    /// The texts to show to [`FreeName::see`] before a volume is allocated; none for types that allocate nothing.
    #[must_use]
    pub const fn free_name_source(self) -> Option<FreeNameSource> {
        match self {
            Self::Dir | Self::Nfs | Self::Cifs | Self::CephFs | Self::Btrfs | Self::ZfsPool | Self::Zfs => {
                Some(FreeNameSource::ListedVolumes)
            }
            Self::Lvm | Self::LvmThin | Self::Rbd => Some(FreeNameSource::EveryName),
            Self::Iscsi | Self::IscsiDirect | Self::Pbs | Self::Esxi => None,
        }
    }
}

impl FreeName {
    /// The search that allocating a volume of `format` on a storage of type `kind` makes: whether the name gets the
    /// format as a suffix, and whether it counts at all, depends on the type.
    #[must_use]
    pub fn for_allocation(kind: StorageType, owner: impl Owner, format: Option<ImageFormat>) -> Self {
        match kind {
            StorageType::LvmThin | StorageType::Rbd => Self::new(kind, owner, None, false),
            StorageType::Lvm => Self::new(kind, owner, format, format == Some(ImageFormat::Qcow2)),
            _ => Self::new(kind, owner, format, kind.is_path_based()),
        }
    }

    /// The search itself: for a name of `format` (`subvol` gives `subvol-…`, all else `vm-…`), followed by `.FORMAT` if
    /// `suffixed` and there is a format.
    #[must_use]
    pub fn new(kind: StorageType, owner: impl Owner, format: Option<ImageFormat>, suffixed: bool) -> Self {
        let word = if format == Some(ImageFormat::Subvol) { "subvol" } else { "vm" };
        let has_subvol = kind.image_formats().contains(&ImageFormat::Subvol);
        FreeName {
            prefix: format!("{word}-{owner}-disk-"),
            suffix: format.filter(|_| suffixed),
            words: if has_subvol { &[b"vm", b"base", b"subvol", b"basevol"] } else { &[b"vm", b"base"] },
            suffix_matters: !has_subvol,
            finder: Finder::new(&format!("-{owner}-disk-")).into_owned(),
            used: Box::new([false; NUMBERS]),
        }
    }

    /// Takes notice of a text: of the number in the first (leftmost) name of the guest in it, if there is one.
    pub fn see(&mut self, text: &[u8]) {
        let needle = self.finder.needle().len();
        let mut from = 0;
        while let Some(at) = text.get(from..).and_then(|rest| self.finder.find(rest)).map(|at| from + at) {
            let before = text.get(..at).unwrap_or_default();
            let after = text.get(at + needle..).unwrap_or_default();
            if self.words.iter().any(|word| before.ends_with(word))
                && let Some(digits) = self.number(after)
            {
                if let Some(used) = plain_number(digits).and_then(|number| self.used.get_mut(number)) {
                    *used = true;
                }
                return;
            }
            from = at + 1;
        }
    }

    /// The digits at the beginning of `text`: as many as possible such that the suffix, if it matters, follows.
    fn number<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let most = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let suffix = self.suffix.filter(|_| self.suffix_matters);
        let fits = |count: &usize| match (suffix, text.get(*count..)) {
            // the dot of the suffix stands for any character
            (Some(format), Some([dot, rest @ ..])) => {
                *dot != b'\n' && rest.starts_with(format.as_str().as_bytes())
            }
            (Some(_), _) => false,
            (None, _) => true,
        };
        (1..=most).rev().find(fits).and_then(|count| text.get(..count))
    }

    /// The name with the lowest number that no text used.
    ///
    /// # Errors
    /// [`NoFreeName`] if all of 0 ..= 1023 are used.
    pub fn name(&self) -> Result<String, NoFreeName> {
        let suffix = self.suffix.map(|format| format!(".{format}")).unwrap_or_default();
        match self.used.iter().position(|used| !used) {
            Some(number) => Ok(format!("{}{number}{suffix}", self.prefix)),
            None => Err(NoFreeName { prefix: self.prefix.clone(), suffix }),
        }
    }
}

/// The number that `digits` are the decimal text of: none with leading zeros, or from 1024 on.
fn plain_number(digits: &[u8]) -> Option<usize> {
    if digits.len() > 4 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VmId;

    fn next(kind: StorageType, format: Option<ImageFormat>, seen: &[&str]) -> String {
        let mut search = FreeName::for_allocation(kind, VmId::MIN, format);
        for text in seen {
            search.see(text.as_bytes());
        }
        search.name().unwrap()
    }

    #[test]
    fn only_the_leftmost_name_of_a_text_counts() {
        let raw = Some(ImageFormat::Raw);
        let seen = ["vm-100-disk-5:100/vm-100-disk-0.raw"];
        assert_eq!(next(StorageType::Dir, raw, &seen), "vm-100-disk-0.raw");
        let seen = ["vm-100-disk-x-vm-100-disk-0"];
        assert_eq!(next(StorageType::LvmThin, raw, &seen), "vm-100-disk-1");
    }

    #[test]
    fn the_suffix_matters_where_the_type_has_no_subvolumes() {
        let raw = Some(ImageFormat::Raw);
        assert_eq!(next(StorageType::Nfs, raw, &["100/vm-100-disk-0.qcow2"]), "vm-100-disk-0.raw");
        assert_eq!(next(StorageType::Dir, raw, &["100/vm-100-disk-0.qcow2"]), "vm-100-disk-1.raw");
        // any character may stand in the place of the dot, even a digit of the number
        assert_eq!(next(StorageType::Nfs, raw, &["vm-100-disk-0Xraw"]), "vm-100-disk-1.raw");
        assert_eq!(next(StorageType::Nfs, raw, &["vm-100-disk-07raw"]), "vm-100-disk-1.raw");
        assert_eq!(next(StorageType::Nfs, raw, &["vm-100-disk-0"]), "vm-100-disk-0.raw");
    }

    #[test]
    fn numbers_are_texts() {
        let thin = |seen: &[&str]| next(StorageType::LvmThin, None, seen);
        assert_eq!(thin(&["vm-100-disk-00", "vm-100-disk-000001", "vm-100-disk-"]), "vm-100-disk-0");
        assert_eq!(
            thin(&["vm-1100-disk-0", "vm-100-disk-0x", "base-100-disk-1", "subvol-100-disk-2"]),
            "vm-100-disk-2"
        );
        assert_eq!(next(StorageType::ZfsPool, None, &["z:basevol-100-disk-0"]), "vm-100-disk-1");
    }

    #[test]
    fn the_numbers_end() {
        let mut search = FreeName::for_allocation(StorageType::Rbd, VmId::MIN, None);
        for number in 0..1024 {
            search.see(format!("vm-100-disk-{number}").as_bytes());
        }
        assert_eq!(
            search.name().unwrap_err().to_string(),
            "no free disk name: all 1024 names 'vm-100-disk-N' are in use, remove unused disks"
        );
    }
}
