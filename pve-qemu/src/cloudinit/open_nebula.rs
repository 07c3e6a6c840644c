// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one file of the OpenNebula form: variables in shell syntax.

use base64ct::{Base64, Encoding as _};

use super::address::{dotted_mask, split_cidr};
use super::settings::is_true;
use super::ssh_keys::context_keys;
use super::text::Text;
use super::{GenerateError, Interface, Ipv4, Ipv6, Settings};

/// Longest line of the encoded password.
const BASE64_LINE: usize = 76;

/// `context.sh` (spec: cloud-init, "opennebula").
pub(super) fn context(settings: &Settings) -> Result<Vec<u8>, GenerateError> {
    let mut text = Text::default();
    let user = settings.user.as_deref().filter(|user| is_true(user)).map_or(&b"root"[..], |user| user);
    text.line(&[b"USERNAME=", user]);
    if let Some(password) = &settings.password {
        text.line(&[b"CRYPTED_PASSWORD_BASE64=", &mime_base64(password)]);
    }
    if let Some(keys) = settings.decoded_ssh_keys() {
        text.line(&[b"SSH_PUBLIC_KEY=\"", &context_keys(&keys), b"\""]);
    }
    let (host, _) = settings.host_names();
    text.line(&[b"SET_HOSTNAME=", &host]);
    text.joined(b"DNS=\"", &settings.effective_name_servers(), b"\"");
    text.joined(b"SEARCH_DOMAIN=\"", &settings.effective_search_domains(), b"\"");
    for interface in &settings.interfaces {
        variables(&mut text, interface)?;
    }
    let mut addresses = settings.interfaces.iter().map(|interface| &interface.addresses);
    if addresses.any(|addresses| addresses.ipv4.is_some() || addresses.ipv6.is_some()) {
        text.line(&[b"NETWORK=YES"]);
    }
    Ok(text.into_bytes())
}

/// The variables of one interface. Those of the hardware address are always empty, as in the reference.
fn variables(text: &mut Text, interface: &Interface) -> Result<(), GenerateError> {
    let index = interface.index;
    let prefix = format!("ETH{index}");
    let mut set = |name: &str, value: &[u8]| text.line(&[prefix.as_bytes(), name.as_bytes(), b"=", value]);
    match &interface.addresses.ipv4 {
        None => {}
        Some(Ipv4::Dhcp) => set("_DHCP", b"YES"),
        Some(Ipv4::Manual) => return Err(GenerateError::ManualAddress { index }),
        Some(Ipv4::Static { address, prefix, gateway }) => {
            set("_IP", address);
            set("_MASK", dotted_mask(*prefix).as_bytes());
            set("_MAC", b"");
            gateway.iter().for_each(|gateway| set("_GATEWAY", gateway));
        }
    }
    if let (Some(_), Some(mtu)) = (&interface.addresses.ipv4, &interface.mtu) {
        set("_MTU", mtu);
    }
    match &interface.addresses.ipv6 {
        None => {}
        Some(Ipv6::Dhcp) => set("_DHCP6", b"YES"),
        Some(Ipv6::Auto) => set("_AUTO6", b"YES"),
        Some(Ipv6::Static { cidr, gateway }) => {
            let (address, length) = split_cidr(cidr);
            set("_IP6", address);
            set("_MASK6", length);
            set("_MAC6", b"");
            gateway.iter().for_each(|gateway| set("_GATEWAY6", gateway));
        }
    }
    if let (Some(_), Some(mtu)) = (&interface.addresses.ipv6, &interface.mtu) {
        set("_MTU", mtu);
    }
    Ok(())
}

/// Base64 in lines, each of them ended; nothing for nothing.
fn mime_base64(data: &[u8]) -> Vec<u8> {
    let encoded = Base64::encode_string(data);
    encoded.as_bytes().chunks(BASE64_LINE).flat_map(|line| [line, b"\n"]).flatten().copied().collect()
}
