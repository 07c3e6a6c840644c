// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids, `STORAGE:VOLUME`: a name for every disk, image and backup of a cluster.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{IdError, StorageIdRef};

/// A volume id that owns its text: `local-lvm:vm-100-disk-0`.
///
/// The part before the first `:` is a storage id, the rest is a volume name: any bytes but LF (names need not be
/// UTF-8). What the name means depends on the type of the storage: [`VolumeName::parse`](crate::VolumeName::parse).
/// The order is that of the bytes of the whole text.
///
/// ```
/// use pve_volid::VolumeId;
///
/// let volid: VolumeId = "local:iso/debian-13.iso".parse()?;
/// assert_eq!(volid.storage().as_str(), "local");
/// assert_eq!(volid.volname(), "iso/debian-13.iso");
/// assert_eq!(volid.to_string(), "local:iso/debian-13.iso");
/// // a path is not a volume id
/// assert!("/dev/sda".parse::<VolumeId>().is_err());
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId {
    text: BString,
    /// Offset of the colon; everything before it is a storage id.
    colon: usize,
}

impl VolumeId {
    /// The id of volume `volname` on `storage`.
    ///
    /// # Errors
    /// [`IdError::VolumeName`] if `volname` is empty or contains LF. Whether a storage of some type accepts the
    /// name is another question: [`VolumeName::parse`](crate::VolumeName::parse).
    pub fn new<'s>(storage: impl Into<StorageIdRef<'s>>, volname: &[u8]) -> Result<Self, IdError> {
        let storage = storage.into().as_str();
        let mut text = Vec::with_capacity(storage.len() + 1 + volname.len());
        text.extend_from_slice(storage.as_bytes());
        text.push(b':');
        text.extend_from_slice(volname);
        let id = VolumeId { text: text.into(), colon: storage.len() };
        if is_volname(volname) { Ok(id) } else { Err(IdError::VolumeName(id.text)) }
    }

    /// Reads an id from bytes that need not be UTF-8.
    ///
    /// # Errors
    /// [`IdError`] says whether the colon, the storage id or the volume name is wrong.
    pub fn from_bytes(text: impl Into<Vec<u8>>) -> Result<Self, IdError> {
        let text = text.into();
        let colon = VolumeIdRef::from_bytes(&text)?.storage.as_str().len();
        Ok(VolumeId { text: text.into(), colon })
    }

    /// The same id, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> VolumeIdRef<'_> {
        VolumeIdRef { text: self.as_bstr(), storage: self.storage(), volname: self.volname() }
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> StorageIdRef<'_> {
        StorageIdRef::known(self.text.get(..self.colon).unwrap_or_default())
    }

    /// The volume name: everything behind the first colon.
    #[must_use]
    pub fn volname(&self) -> &BStr {
        self.text.get(self.colon + 1..).unwrap_or_default().as_bstr()
    }

    /// The whole text.
    #[must_use]
    pub fn as_bstr(&self) -> &BStr {
        self.text.as_bstr()
    }

    /// Gives up the text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into()
    }

    /// The order of `volume_list`: ASCII letters compared in lower case; ids that differ in case alone are equal.
    #[must_use]
    pub fn list_order(&self, other: &Self) -> Ordering {
        self.borrowed().list_order(other.borrowed())
    }
}

/// A [`VolumeId`] that borrows its text: checked, nothing copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeIdRef<'a> {
    text: &'a BStr,
    storage: StorageIdRef<'a>,
    volname: &'a BStr,
}

impl<'a> VolumeIdRef<'a> {
    /// Reads an id.
    ///
    /// # Errors
    /// [`IdError`] says whether the colon, the storage id or the volume name is wrong.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, IdError> {
        let Some((storage, volname)) = text.split_once_str(":") else {
            return Err(IdError::NoColon(text.into()));
        };
        let storage = StorageIdRef::from_bytes(storage)?;
        if !is_volname(volname) {
            return Err(IdError::VolumeName(text.into()));
        }
        Ok(VolumeIdRef { text: text.as_bstr(), storage, volname: volname.as_bstr() })
    }

    /// The storage.
    #[must_use]
    pub fn storage(self) -> StorageIdRef<'a> {
        self.storage
    }

    /// The volume name: everything behind the first colon.
    #[must_use]
    pub fn volname(self) -> &'a BStr {
        self.volname
    }

    /// The whole text.
    #[must_use]
    pub fn as_bstr(self) -> &'a BStr {
        self.text
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> VolumeId {
        VolumeId { text: self.text.to_owned(), colon: self.storage.as_str().len() }
    }

    /// The order of `volume_list`: ASCII letters compared in lower case; ids that differ in case alone are equal.
    #[must_use]
    pub fn list_order(self, other: VolumeIdRef<'_>) -> Ordering {
        let lower = u8::to_ascii_lowercase;
        self.text.iter().map(lower).cmp(other.text.iter().map(lower))
    }
}

/// Spec: volumes, "Volume id": one or more bytes except LF.
fn is_volname(text: &[u8]) -> bool {
    !text.is_empty() && !text.contains(&b'\n')
}

impl FromStr for VolumeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_bytes(text)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bstr().fmt(f)
    }
}

impl fmt::Display for VolumeIdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<'a> From<&'a VolumeId> for VolumeIdRef<'a> {
    fn from(id: &'a VolumeId) -> Self {
        id.borrowed()
    }
}

impl PartialOrd for VolumeIdRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VolumeIdRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(other.text)
    }
}

/// By the whole text, so that a map of ids can be asked with borrowed bytes.
impl Borrow<BStr> for VolumeId {
    fn borrow(&self) -> &BStr {
        self.as_bstr()
    }
}

/// As text; an id that is not UTF-8 as bytes.
impl Serialize for VolumeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::serde_text::bytes(&self.text, serializer)
    }
}

/// As text; an id that is not UTF-8 as bytes.
impl Serialize for VolumeIdRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::serde_text::bytes(self.text, serializer)
    }
}

impl<'de> Deserialize<'de> for VolumeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::serde_text::from_bytes(deserializer, VolumeId::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon() {
        let id = VolumeIdRef::from_bytes(b"local:iso/a:b.iso").unwrap();
        assert_eq!((id.storage().as_str(), id.volname()), ("local", BStr::new("iso/a:b.iso")));
        assert_eq!(id.to_owned().borrowed(), id);
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |text: &[u8]| VolumeId::from_bytes(text).unwrap_err();
        assert_eq!(wrong(b"/dev/sda"), IdError::NoColon("/dev/sda".into()));
        assert_eq!(wrong(b"a:x"), IdError::StorageId("a".into()));
        assert_eq!(wrong(b":x"), IdError::StorageId("".into()));
        assert_eq!(wrong(b"ab:"), IdError::VolumeName("ab:".into()));
        assert_eq!(wrong(b"ab:x\n"), IdError::VolumeName("ab:x\n".into()));
    }

    #[test]
    fn holds_any_bytes() {
        let id = VolumeId::from_bytes(b"ab:\xff\0 x".as_slice()).unwrap();
        assert_eq!(id.volname(), BStr::new(b"\xff\0 x"));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "[97,98,58,255,0,32,120]");
        assert_eq!(serde_json::from_str::<VolumeId>(&json).unwrap(), id);
        assert_eq!(serde_json::from_str::<VolumeId>("\"ab:x\"").unwrap().to_string(), "ab:x");
    }

    #[test]
    fn is_looked_up_by_bytes() {
        let set = std::collections::BTreeSet::from([VolumeId::from_bytes("ab:x").unwrap()]);
        assert!(set.contains(BStr::new("ab:x")));
    }
}
