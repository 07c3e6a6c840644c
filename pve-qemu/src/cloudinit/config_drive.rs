// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network and meta data of the config drive, in the form for Unix and in that for cloudbase-init on Windows.

use bstr::{BStr, BString};
use serde_json::{Map, Value, json};

use super::address::{dotted_mask, split_cidr};
use super::settings::is_true;
use super::ssh_keys::key_lines;
use super::text::Text;
use super::{GenerateError, Interface, Ipv4, Ipv6, Settings};

/// Debian's `interfaces`, name servers and search domains first, before any stanza (spec: cloud-init, "Normal variant").
pub(super) fn network(settings: &Settings) -> Result<Vec<u8>, GenerateError> {
    let mut text = Text::default();
    text.line(&[b"auto lo"]);
    text.line(&[b"iface lo inet loopback"]);
    text.line(&[]);
    text.joined(b"        dns_nameservers ", &settings.effective_name_servers(), b"");
    text.joined(b"        dns_search ", &settings.effective_search_domains(), b"");
    for interface in &settings.interfaces {
        stanzas(&mut text, interface, &[])?;
    }
    Ok(text.into_bytes())
}

/// The same without loopback, the name servers in each stanza with fixed addresses (spec: cloud-init, "Windows
/// (cloudbase) variant"). Where there is no name server at all the reference prints an artefact; here the line is
/// left out.
pub(super) fn windows_network(settings: &Settings) -> Result<Vec<u8>, GenerateError> {
    let mut text = Text::default();
    let servers = settings.effective_name_servers();
    for interface in &settings.interfaces {
        stanzas(&mut text, interface, &servers)?;
    }
    Ok(text.into_bytes())
}

fn stanzas(text: &mut Text, interface: &Interface, servers: &[&BStr]) -> Result<(), GenerateError> {
    let index = interface.index;
    let name = format!("eth{index}");
    text.line(&[b"auto ", name.as_bytes()]);
    match &interface.addresses.ipv4 {
        None => {}
        Some(Ipv4::Dhcp) => text.line(&[b"iface ", name.as_bytes(), b" inet dhcp"]),
        Some(Ipv4::Manual) => return Err(GenerateError::ManualAddress { index }),
        Some(Ipv4::Static { address, prefix, gateway }) => {
            text.line(&[b"iface ", name.as_bytes(), b" inet static"]);
            let mask = dotted_mask(*prefix);
            fixed(text, address, mask.as_bytes(), gateway.as_ref(), servers);
        }
    }
    match &interface.addresses.ipv6 {
        None => {}
        Some(Ipv6::Dhcp) => text.line(&[b"iface ", name.as_bytes(), b" inet6 dhcp"]),
        Some(Ipv6::Auto) => text.line(&[b"iface ", name.as_bytes(), b" inet6 auto"]),
        Some(Ipv6::Static { cidr, gateway }) => {
            text.line(&[b"iface ", name.as_bytes(), b" inet6 static"]);
            let (address, prefix) = split_cidr(cidr);
            fixed(text, address, prefix, gateway.as_ref(), servers);
        }
    }
    Ok(())
}

/// The lines of a stanza with a fixed address.
fn fixed(text: &mut Text, address: &[u8], mask: &[u8], gateway: Option<&BString>, servers: &[&BStr]) {
    text.line(&[b"        address ", address]);
    text.line(&[b"        netmask ", mask]);
    gateway.iter().for_each(|gateway| text.line(&[b"        gateway ", gateway]));
    text.joined(b"        dns-nameservers ", servers, b"");
}

/// Instance id and place of the network configuration.
pub(super) fn meta_data(instance_id: &str) -> Vec<u8> {
    let lines = [
        "{".to_owned(),
        format!("     \"uuid\": \"{instance_id}\","),
        "     \"network_config\": { \"content_path\": \"/content/0000\" }".to_owned(),
        "}\n".to_owned(),
    ];
    lines.join("\n").into_bytes()
}

/// The same for cloudbase-init, with the password and the keys that it takes from here.
pub(super) fn windows_meta_data(settings: &Settings, instance_id: &str) -> Vec<u8> {
    let mut document = json!({ "uuid": instance_id, "network_config": { "content_path": "/content/0000" } });
    if let Some(password) = settings.password.as_deref().filter(|password| is_true(password)) {
        document["admin_pass"] = latin1(password).into();
    }
    if let Some(text) = settings.decoded_ssh_keys() {
        let keys =
            key_lines(&text).enumerate().map(|(number, key)| (format!("key-{number}"), latin1(key).into()));
        let keys: Map<String, Value> = keys.collect();
        if !keys.is_empty() {
            document["public_keys"] = keys.into();
        }
    }
    document.to_string().into_bytes()
}

/// Each byte as the character of that number: JSON holds characters, the configuration holds bytes, and the
/// reference takes the ones for the others.
fn latin1(text: &[u8]) -> String {
    text.iter().copied().map(char::from).collect()
}
