// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network and meta data of the NoCloud form.

use super::address::dotted_mask;
use super::text::Text;
use super::{GenerateError, Ipv4, Ipv6, Settings};

/// The network configuration, version 1 of cloud-init's format (spec: cloud-init, "network-config").
pub(super) fn network_config(settings: &Settings) -> Result<Vec<u8>, GenerateError> {
    let mut text = Text::default();
    text.line(&[b"version: 1"]);
    text.line(&[b"config:"]);
    for interface in &settings.interfaces {
        let index = interface.index;
        let mac = interface.mac.as_ref().ok_or(GenerateError::NoMac { index })?.to_ascii_lowercase();
        text.line(&[b"    - type: physical"]);
        text.line(&[b"      name: eth", index.to_string().as_bytes()]);
        text.line(&[b"      mac_address: '", &mac, b"'"]);
        text.line(&[b"      subnets:"]);
        match &interface.addresses.ipv4 {
            None => {}
            Some(Ipv4::Dhcp) => text.line(&[b"      - type: dhcp4"]),
            Some(Ipv4::Manual) => return Err(GenerateError::ManualAddress { index }),
            Some(Ipv4::Static { address, prefix, gateway }) => {
                text.line(&[b"      - type: static"]);
                text.line(&[b"        address: '", address, b"'"]);
                text.line(&[b"        netmask: '", dotted_mask(*prefix).as_bytes(), b"'"]);
                gateway.iter().for_each(|gateway| text.line(&[b"        gateway: '", gateway, b"'"]));
            }
        }
        match &interface.addresses.ipv6 {
            None => {}
            Some(Ipv6::Dhcp) => text.line(&[b"      - type: dhcp6"]),
            Some(Ipv6::Auto) => text.line(&[b"      - type: ipv6_slaac"]),
            Some(Ipv6::Static { cidr, gateway }) => {
                text.line(&[b"      - type: static6"]);
                text.line(&[b"        address: '", cidr, b"'"]);
                gateway.iter().for_each(|gateway| text.line(&[b"        gateway: '", gateway, b"'"]));
            }
        }
    }
    text.line(&[b"    - type: nameserver"]);
    text.list(b"      address:", &settings.effective_name_servers(), b"      - '", b"'");
    text.list(b"      search:", &settings.effective_search_domains(), b"      - '", b"'");
    Ok(text.into_bytes())
}

/// The meta data: the instance id and nothing else.
pub(super) fn meta_data(instance_id: &str) -> Vec<u8> {
    format!("instance-id: {instance_id}\n").into_bytes()
}
