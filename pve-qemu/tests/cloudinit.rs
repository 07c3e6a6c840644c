// SPDX-License-Identifier: MIT OR Apache-2.0
//! Laws that hold for the cloud-init data of any configuration, however odd.
#![cfg(test)]

use proptest::prelude::*;
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{
    CloudInitType, CustomParts, DumpPart, Resolver, Settings, image_drives, pending_changes,
};
use pve_volid::VmId;

/// Lines that matter to cloud-init, likely and damaged ones.
fn line() -> impl Strategy<Value = String> {
    let address = "(ip=(dhcp|manual|10\\.0\\.0\\.[0-9]{1,3}/[0-9]{1,2}))?,?(gw=10\\.0\\.0\\.1)?,?(ip6=(auto|dhcp|manual|fe80::1/[0-9]{1,3}))?";
    prop_oneof![
        "(name|ciuser|cipassword|searchdomain|nameserver|ostype): [a-z0-9. :#'\"]{1,20}",
        "citype: (nocloud|configdrive2|opennebula|other)",
        "ostype: (l26|win11|w2k8|win|win99999999999)",
        "sshkeys: ([a-zA-Z0-9._-]|%[0-9A-Fa-f]{2}|%0A){1,40}",
        address.prop_flat_map(|value| (0..40_u32).prop_map(move |n| format!("ipconfig{n}: {value}"))),
        "net[0-9]{1,2}: (virtio|e1000)(=BC:24:11:0[0-9]:00:0[a-f])?,bridge=vmbr0(,mtu=[0-9]{1,5})?",
        "(ide|scsi|sata|virtio)[0-9]: (local|lvm):(100/)?vm-1?00-cloudinit(\\.qcow2)?(,media=cdrom)?",
        Just("[special:cloudinit]".to_owned()),
        "(added|ciuser|name|net1): [a-z0-9,]{1,20}",
        "\\PC{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_configuration_gives_data_or_an_error_and_always_the_same(lines in prop::collection::vec(line(), 0..16)) {
        let text = lines.join("\n");
        let (config, _) = VmConfig::parse(text.as_bytes());
        let settings = Settings::of_config(&config.main, VmId::MIN, Resolver::parse(text.as_bytes()));
        let _ = (image_drives(&config.main, VmId::MIN).count(), pending_changes(&config));
        for part in [DumpPart::User, DumpPart::Network, DumpPart::Meta] {
            let _ = (settings.dump(part), settings.masked().dump(part));
        }
        let Ok(files) = settings.files(CustomParts::default()) else { return Ok(()) };
        prop_assert_eq!(&settings.files(CustomParts::default()).unwrap(), &files);
        prop_assert_eq!(files.image().unwrap(), files.image().unwrap());
        prop_assert_eq!(files.instance_id.is_none(), files.kind == CloudInitType::OpenNebula);
        // what user data say counts, not who wrote them; vendor data do not count
        let user = files.files[0].1.clone();
        if let Some(id) = &files.instance_id {
            let same = settings.files(CustomParts { user: Some(user.clone()), ..CustomParts::default() }).unwrap();
            prop_assert_eq!(same.instance_id.as_ref(), Some(id));
            let vendor = settings.files(CustomParts { vendor: Some(user), ..CustomParts::default() }).unwrap();
            prop_assert_eq!(vendor.instance_id.as_ref(), Some(id));
        }
    }
}
