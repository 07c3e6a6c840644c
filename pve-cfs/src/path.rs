// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths below the root and what they mean: virtual, private, a lock, a guest's configuration, an observed file.
//!
//! A path is bytes. Leading slashes and empty components do not count; `.` and `..` are names like any other
//! (spec: pmxcfs, "Names and path resolution inside the daemon").

use bstr::{BStr, ByteSlice};

/// The components of `path`, empty ones left out.
///
/// ```
/// let parts: Vec<_> = pve_cfs::path::components(b"//nodes/pve1//lxc/").collect();
/// assert_eq!(parts, ["nodes", "pve1", "lxc"]);
/// ```
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &BStr> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(ByteSlice::as_bstr)
}

/// `path` without its leading slashes.
pub fn relative(path: &[u8]) -> &BStr {
    path.trim_start_with(|byte| byte == '/').as_bstr()
}

/// Directory and base name, as operations that create something cut them: trailing slashes do not count, and a path
/// without a slash lies in `.`, the root.
///
/// ```
/// use pve_cfs::path::split;
/// assert_eq!(split(b"priv/lock/vm/"), (b"priv/lock".into(), b"vm".into()));
/// assert_eq!(split(b"storage.cfg"), (b".".into(), b"storage.cfg".into()));
/// ```
pub fn split(path: &[u8]) -> (&BStr, &BStr) {
    let path = path.trim_end_with(|byte| byte == '/');
    match path.rfind_byte(b'/') {
        Some(slash) => {
            let directory = path[..slash].trim_end_with(|byte| byte == '/');
            (directory.as_bstr(), path[slash + 1..].as_bstr())
        }
        None => (b".".as_bstr(), path.as_bstr()),
    }
}

/// Whether only root may see what lies at `path`: everything under `priv`, and under `priv` of each node.
///
/// ```
/// use pve_cfs::path::is_private;
/// assert!(is_private(b"priv/shadow.cfg") && is_private(b"nodes/pve1/priv") && is_private(b"nodes/any.thing/priv/k"));
/// assert!(!is_private(b"private") && !is_private(b"nodes/priv") && !is_private(b"x/priv"));
/// ```
pub fn is_private(path: &[u8]) -> bool {
    let path = relative(path);
    let mut parts = path.split(|byte| *byte == b'/');
    match parts.next() {
        Some(b"priv") => true,
        Some(b"nodes") => parts.nth(1) == Some(b"priv"),
        _ => false,
    }
}

/// Whether `path` lies below the directory of locks; nested paths count.
pub fn is_lock(path: &[u8]) -> bool {
    path.strip_prefix(b"priv/lock/").is_some_and(|rest| !rest.is_empty())
}

/// Whether a file of this name gets the execute bit: the hook scripts of the old container system, `vps.mount` or
/// `101.start` for example (spec: pmxcfs, "Attributes").
pub fn is_openvz_script(name: &[u8]) -> bool {
    const ACTIONS: [&[u8]; 6] = [b"mount", b"umount", b"start", b"stop", b"premount", b"postumount"];
    let Some((owner, action)) = name.split_once_str(".") else { return false };
    ACTIONS.contains(&action) && (owner == b"vps" || is_number_from_one(owner))
}

/// Whether `name` can be a node's: letters, digits and inner hyphens.
pub fn is_node_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !name.is_empty()
        && !name.starts_with(b"-")
        && !name.ends_with(b"-")
}

/// Digits that do not start with a zero.
pub(crate) fn is_number_from_one(text: &[u8]) -> bool {
    text.first().is_some_and(|first| (b'1'..=b'9').contains(first)) && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_the_old_containers() {
        for name in ["vps.mount", "101.start", "99999999999999999999.stop", "1.postumount"] {
            assert!(is_openvz_script(name.as_bytes()), "{name}");
        }
        for name in ["vps.conf", "0101.start", "mount", "vps.", "a.mount", ".mount", "101.mount.x"] {
            assert!(!is_openvz_script(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn node_names() {
        for name in ["a", "pve-1", "A9", "0"] {
            assert!(is_node_name(name.as_bytes()), "{name}");
        }
        for name in ["", "-", "a-", "-a", "a.b", "a_b", "a b"] {
            assert!(!is_node_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_lock_needs_a_name() {
        assert!(is_lock(b"priv/lock/a") && is_lock(b"priv/lock/a/b"));
        assert!(!is_lock(b"priv/lock/") && !is_lock(b"priv/lock") && !is_lock(b"/priv/lock/a"));
    }
}
