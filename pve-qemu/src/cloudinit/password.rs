// SPDX-License-Identifier: MIT OR Apache-2.0
//! The password of the cloud-init user: whether it is hashed already, and hashing it.

use base64ct::{Base64, Base64ShaCrypt, Encoding as _};
use sha_crypt::{PasswordHasher as _, ShaCrypt};

/// Prefixes of the crypt schemes that Proxmox VE recognises as hashes. yescrypt (`$y$`) is not among them: such a
/// value is hashed once more.
const SCHEMES: [&[u8]; 5] = [b"$1$", b"$5$", b"$6$", b"$2a$", b"$2y$"];

/// Whether a value of `cipassword` counts as hashed, so that an update stores it as it is: a known scheme and two
/// more parts, each introduced by `$` (spec: cloud-init, "Password hashing").
///
/// ```
/// use pve_qemu::cloudinit::is_hashed;
///
/// assert!(is_hashed(b"$6$salt$hash"));
/// assert!(!is_hashed(b"secret"));
/// assert!(!is_hashed(b"$y$j9T$salt$hash"));
/// ```
#[must_use]
pub fn is_hashed(password: &[u8]) -> bool {
    let rest = SCHEMES.iter().find_map(|scheme| password.strip_prefix(*scheme));
    // the parts may hold further `$`, but neither may be empty, and a line end ends the search
    let parts = rest.and_then(|rest| rest.split(|byte| *byte == b'\n').next()).unwrap_or_default();
    let inner = parts.len().checked_sub(1).and_then(|last| parts.get(1..last)).unwrap_or_default();
    inner.contains(&b'$')
}

/// The salt of a password hash: eight characters of the base64 alphabet, `X` in place of `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 6]);

impl Salt {
    /// The salt made of six random bytes. Take them from the operating system's generator.
    #[must_use]
    pub fn from_entropy(entropy: [u8; 6]) -> Self {
        Salt(entropy)
    }

    fn text(self) -> String {
        Base64::encode_string(&self.0).replace('+', "X")
    }
}

/// The SHA-256-crypt hash (`$5$SALT$HASH`, default rounds) of a password, as an update stores it.
///
/// ```
/// use pve_qemu::cloudinit::{Salt, hash_password};
///
/// let hash = hash_password(b"secret", Salt::from_entropy([0, 1, 2, 3, 4, 5]));
/// assert_eq!(hash, "$5$AAECAwQF$AVYJ.l.Ao4ViLyT1l8L7O/1w4dPBXJqa6eI3YskS2F8");
/// ```
#[must_use]
pub fn hash_password(password: &[u8], salt: Salt) -> String {
    let salt = salt.text();
    // the hasher takes salts as bytes and spells them in crypt's own base64, of whose alphabet the salt is a part
    let bytes = Base64ShaCrypt::decode_vec(&salt).unwrap_or_default();
    let hashed = ShaCrypt::SHA256.hash_password_with_salt(password, &bytes);
    let hash = hashed.ok().and_then(|hash| hash.fields().last().map(|field| field.as_str().to_owned()));
    // neither step can fail for eight characters of that alphabet
    format!("$5${salt}${}", hash.unwrap_or_default())
}

/// The value to store for a new `cipassword`: hashed where an update hashes it, i.e. unless the guest is Windows or
/// the value is a hash already. (Creating a VM stores the password as given.)
#[must_use]
pub fn stored_password(password: &[u8], windows: bool, salt: Salt) -> Vec<u8> {
    match windows || is_hashed(password) {
        true => password.to_vec(),
        false => hash_password(password, salt).into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bstr::ByteSlice;

    #[test]
    fn two_non_empty_parts_make_a_hash() {
        for hashed in
            ["$1$a$b", "$5$a$b", "$6$a$b", "$2a$05$x", "$2y$a$b", "$5$rounds=5000$a$b", "$5$$$$", "$5$a$b\nc"]
        {
            assert!(is_hashed(hashed.as_bytes()), "{hashed}");
        }
        for plain in [
            "",
            "$5$",
            "$5$a",
            "$5$a$",
            "$5$$b",
            "$5$$$",
            "$7$a$b",
            "$y$j9T$a$b",
            "5$a$b",
            "$5$a\n$b",
            " $5$a$b",
        ] {
            assert!(!is_hashed(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn the_salt_uses_base64_without_plus() {
        let salt = Salt::from_entropy([0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff]);
        assert_eq!(salt.text(), "XXXX////");
        let hash = hash_password(b"p", salt);
        assert_eq!(hash, "$5$XXXX////$2OtMNvnmJBlyaFRPRU2rmyK5N1KXwa1XhpJBIbsvEeB");
    }

    #[test]
    fn windows_and_hashes_are_kept() {
        let salt = Salt::from_entropy([7; 6]);
        assert_eq!(stored_password(b"secret", true, salt), b"secret");
        assert_eq!(stored_password(b"$6$a$b", false, salt), b"$6$a$b");
        assert!(stored_password(b"$y$j9T$a$b", false, salt).starts_with_str("$5$"));
    }
}
