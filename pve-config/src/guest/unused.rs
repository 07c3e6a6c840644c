// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that belong to a guest and are attached nowhere: `unused0` to `unused255`.

use bstr::{BStr, BString, ByteSlice};

use super::section::Section;
use super::{Config, Guest};

/// Number of `unusedN` options.
const MOST: usize = 256;

/// What became of a volume that was to be added as unused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unused {
    /// It is now the value of this option.
    Added(String),
    /// It already was the value of this option.
    Present(String),
    /// It holds generated cloud-init data: not added, the caller has to free it.
    Free,
}

/// No `unusedN` is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot add volume {volume:?}: all of unused0 to unused255 are taken; remove or attach some first")]
pub struct NoFreeUnused {
    /// The volume.
    pub volume: BString,
}

impl<G: Guest> Section<'_, G> {
    /// Keeps a volume as unused, under the lowest free number, unless some `unusedN` has that value already
    /// (spec: qemu-conf, "Add unused volume").
    ///
    /// The value is compared as a text. Whether a drive uses the volume is not looked at: the writer drops such entries.
    ///
    /// ```
    /// use pve_config::guest::{Unused, VmSection};
    ///
    /// let mut main = VmSection::new();
    /// main.set("unused0", "local-lvm:vm-100-disk-3");
    /// assert_eq!(main.add_unused("local-lvm:vm-100-disk-7")?, Unused::Added("unused1".into()));
    /// assert_eq!(main.add_unused("local-lvm:vm-100-disk-3")?, Unused::Present("unused0".into()));
    /// assert_eq!(main.add_unused("local-lvm:vm-100-cloudinit")?, Unused::Free);
    /// # Ok::<(), pve_config::guest::NoFreeUnused>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NoFreeUnused`] when all numbers are taken by other volumes.
    pub fn add_unused<V: AsRef<[u8]>>(&mut self, volume: V) -> Result<Unused, NoFreeUnused> {
        let volume = BStr::new(volume.as_ref());
        if is_generated_cloudinit(volume) {
            return Ok(Unused::Free);
        }
        let mut free = None;
        for number in (0..MOST).rev() {
            let key = format!("unused{number}");
            match self.get(&key) {
                Some(value) if value == volume => return Ok(Unused::Present(key)),
                // an empty value or `0` counts as free
                Some(_) if self.truthy(&key).is_some() => {}
                _ => free = Some(key),
            }
        }
        let key = free.ok_or_else(|| NoFreeUnused { volume: volume.to_owned() })?;
        self.set(key.as_str(), volume);
        Ok(Unused::Added(key))
    }
}

impl<G: Guest> Config<'_, G> {
    /// [`Section::add_unused`] for the main section.
    ///
    /// # Errors
    ///
    /// [`NoFreeUnused`]
    pub fn add_unused<V: AsRef<[u8]>>(&mut self, volume: V) -> Result<Unused, NoFreeUnused> {
        self.main.add_unused(volume)
    }
}

/// Whether the volume id contains `vm-DIGITS-cloudinit`: data that is generated anew whenever it is needed.
#[must_use]
pub fn is_generated_cloudinit<V: AsRef<[u8]>>(volume: V) -> bool {
    let volume = volume.as_ref();
    volume.find_iter("-cloudinit").any(|end| {
        let before = volume.get(..end).unwrap_or_default();
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && before.get(..end - digits).unwrap_or_default().ends_with(b"vm-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::VmSection;

    #[test]
    fn generated_cloudinit_volumes() {
        for volume in
            ["local:vm-1-cloudinit", "local:100/vm-100-cloudinit.qcow2", "a:vm-x-cloudinit-vm-7-cloudinit"]
        {
            assert!(is_generated_cloudinit(volume), "{volume}");
        }
        for volume in ["local:cloudinit", "local:vm--cloudinit", "local:vm-1-disk-0", "local:1-cloudinit"] {
            assert!(!is_generated_cloudinit(volume), "{volume}");
        }
    }

    #[test]
    fn a_full_list_still_knows_what_it_has() {
        let mut main = VmSection::new();
        for number in 0..MOST {
            main.set(format!("unused{number}"), format!("local:v{number}"));
        }
        assert_eq!(main.add_unused("local:v9"), Ok(Unused::Present("unused9".into())));
        assert!(main.add_unused("local:x").is_err());
        main.remove("unused200");
        assert_eq!(main.add_unused("local:x"), Ok(Unused::Added("unused200".into())));
    }
}
