// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cloud-config document that NoCloud and the config drive hand to the guest.

use super::Settings;
use super::ssh_keys::key_lines;
use super::text::Text;

/// `#cloud-config` with host name, user, password and keys (spec: cloud-init, "user-data").
pub(super) fn user_data(settings: &Settings) -> Vec<u8> {
    let (host, full) = settings.host_names();
    let user = settings.user.as_deref();
    let is_root = user.is_some_and(|name| name == b"root");
    let mut text = Text::default();
    text.line(&[b"#cloud-config"]);
    text.line(&[b"hostname: ", &host]);
    text.line(&[b"manage_etc_hosts: true"]);
    text.line(&[b"fqdn: ", &full]);
    if let Some(name) = user {
        text.line(&[b"user: ", name]);
    }
    if is_root {
        text.line(&[b"disable_root: False"]);
    }
    if let Some(password) = &settings.password {
        text.line(&[b"password: ", password]);
    }
    if let Some(keys) = settings.decoded_ssh_keys() {
        text.line(&[b"ssh_authorized_keys:"]);
        key_lines(&keys).for_each(|key| text.line(&[b"  - ", key]));
    }
    text.line(&[b"chpasswd:"]);
    text.line(&[b"  expire: False"]);
    if !is_root {
        text.line(&[b"users:"]);
        text.line(&[b"  - default"]);
    }
    if settings.upgrade {
        text.line(&[b"package_upgrade: true"]);
    }
    text.into_bytes()
}
