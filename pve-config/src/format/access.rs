// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users, tokens and other names of access control, high availability and replication.

use super::{all_digits, chomp, is_white_space, name};

/// USER`@`HOST
pub(super) fn is_email(value: &[u8]) -> bool {
    let value = chomp(value);
    let Some(at) = value.iter().position(|byte| *byte == b'@') else { return false };
    let (user, host) = value.split_at(at);
    is_email_user(user)
        && joined_by_dots(host.get(1..).unwrap_or_default(), |byte| is_word(byte) || byte == b'-')
}

/// Runs of letters (Latin-1 ones too), digits, `_`, `+`, `-`, `~`, joined by `.`.
pub(super) fn is_email_user(user: &[u8]) -> bool {
    joined_by_dots(user, |byte| {
        is_word(byte) || matches!(byte, b'_' | b'+' | b'-' | b'~') || is_latin_1_letter(byte)
    })
}

fn joined_by_dots(value: &[u8], is_part: fn(u8) -> bool) -> bool {
    value.split(|byte| *byte == b'.').all(|part| !part.is_empty() && part.iter().all(|byte| is_part(*byte)))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Letters of ISO 8859-1 above ASCII.
fn is_latin_1_letter(byte: u8) -> bool {
    matches!(byte, 0xaa | 0xb5 | 0xba | 0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0xff)
}

pub(super) fn is_ldap_simple_attribute(value: &[u8]) -> bool {
    let value = chomp(value);
    !value.is_empty() && value.iter().all(u8::is_ascii_alphanumeric)
}

pub(super) fn is_tfa_secret(value: &[u8]) -> bool {
    let value = chomp(value);
    let is_base32 = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7' | b'='));
    let is_hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    let long = 16..=128;
    if let Some(secret) = value.strip_prefix(b"v2-") {
        let hex = secret.strip_prefix(b"0x").is_some_and(|hex| long.contains(&hex.len()) && is_hex(hex));
        return hex || (long.contains(&secret.len()) && is_base32(secret));
    }
    (value.len() == 16 && is_base32(value)) || (value.len() == 40 && is_hex(value))
}

pub(super) fn is_realm(value: &[u8]) -> bool {
    let value = chomp(value);
    value.len() >= 2
        && value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| name::is_name_byte(*byte))
}

/// USER`@`REALM of 3 to 64 bytes, USER without white space, `:` and `/`. The last `@` separates.
pub(super) fn is_user_id(value: &[u8]) -> bool {
    let value = chomp(value);
    let Some(at) = value.iter().rposition(|byte| *byte == b'@') else { return false };
    let (user, realm) = value.split_at(at);
    (3..=64).contains(&value.len())
        && !user.is_empty()
        && !user.iter().any(|byte| is_white_space(*byte) || matches!(byte, b':' | b'/'))
        && is_realm(realm.get(1..).unwrap_or_default())
}

/// USERID`!`TOKEN, TOKEN being named like a realm.
pub(super) fn is_token_id(value: &[u8]) -> bool {
    let value = chomp(value);
    let Some(mark) = value.iter().rposition(|byte| *byte == b'!') else { return false };
    let (user, token) = value.split_at(mark);
    is_user_id(user) && is_realm(token.get(1..).unwrap_or_default())
}

pub(super) fn is_pool_id(value: &[u8]) -> bool {
    let levels = chomp(value).split(|byte| *byte == b'/');
    levels.clone().count() <= 3
        && levels
            .into_iter()
            .all(|level| !level.is_empty() && level.iter().all(|byte| name::is_name_byte(*byte)))
}

/// Every privilege of the access control system.
const PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

pub(super) fn is_privilege(value: &[u8]) -> bool {
    PRIVILEGES.iter().any(|known| known.as_bytes() == value)
}

/// Lower-case letters, `:`, and anything but white space.
pub(super) fn is_ha_resource_id(value: &[u8]) -> bool {
    let value = chomp(value);
    let Some(colon) = value.iter().position(|byte| *byte == b':') else { return false };
    let (kind, rest) = value.split_at(colon);
    !kind.is_empty()
        && kind.iter().all(u8::is_ascii_lowercase)
        && rest.len() > 1
        && !rest.iter().any(|byte| is_white_space(*byte))
}

pub(super) fn is_ha_node(value: &[u8]) -> bool {
    let mut parts = chomp(value).splitn(2, |byte| *byte == b':');
    parts.next().is_some_and(name::is_label) && parts.next().is_none_or(all_digits)
}

/// GUEST`-`NUMBER with GUEST >= 100; leading zeros do not count as digits of it.
pub(super) fn is_replication_job_id(value: &[u8]) -> bool {
    let mut parts = chomp(value).splitn(2, |byte| *byte == b'-');
    let (Some(guest), Some(number)) = (parts.next(), parts.next()) else { return false };
    let significant = guest.iter().skip_while(|digit| **digit == b'0').count();
    all_digits(guest) && all_digits(number) && significant >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_tokens() {
        assert!(is_user_id(b"root@pam") && is_user_id(b"a@b@pve"));
        assert!(
            !is_user_id(b"root")
                && !is_user_id(b"a b@pam")
                && !is_user_id(b"@pam")
                && !is_user_id(b"a/b@pam")
        );
        assert!(is_token_id(b"root@pam!ci") && !is_token_id(b"root@pam!") && !is_token_id(b"root@pam"));
    }

    #[test]
    fn jobs_pools_and_resources() {
        assert!(
            is_replication_job_id(b"100-0")
                && !is_replication_job_id(b"99-0")
                && !is_replication_job_id(b"0099-1")
        );
        assert!(is_pool_id(b"a/b/c") && !is_pool_id(b"a/b/c/d") && !is_pool_id(b"a//b"));
        assert!(is_ha_resource_id(b"vm:100") && !is_ha_resource_id(b"vm:") && !is_ha_resource_id(b"VM:1"));
        assert!(is_ha_node(b"n1:2") && is_ha_node(b"n1") && !is_ha_node(b"n1:"));
    }
}
