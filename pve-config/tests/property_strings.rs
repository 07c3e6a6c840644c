// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any property string: the checks of the fuzz target, with texts made from the declarations and
//! with arbitrary bytes.

#[cfg(test)]
#[path = "../fuzz/checks/property_string.rs"]
mod property_string;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pve_config::property::formats;

/// Values that keys of some format accept, and some that none does.
const VALUES: &[&str] = &[
    "0",
    "1",
    "on",
    "No",
    "TRUE",
    "5",
    "+08",
    "-3",
    "64",
    "4096",
    "1.5",
    ".5",
    "1e3",
    "32G",
    "1.5T",
    "0K",
    "host",
    "none",
    "cdrom",
    "/dev/sda",
    "local:x",
    "local-lvm:vm-100-disk-0",
    "local:a=b",
    "vmbr0",
    "BC:24:11:00:00:01",
    "10.0.0.1",
    "10.0.0.5/24",
    "fe80::1",
    "fe80::1/64",
    "dhcp",
    "auto",
    "q35",
    "pc-i440fx-9.2+pve1",
    "scsi0;net0",
    "0000:01:00.0",
    "01:00;02:00.1",
    "1234:abcd",
    "1-2.3",
    "spice",
    "+aes;-pcid",
    "EPYC",
    "x86-64-v3",
    "0-3;5",
    "u:0:100000:65536;g:0:0:1",
    "passthrough",
    "0660",
    "ab",
    "a%20b",
    "YWJj",
    "9.2.0",
    "0x1234",
    "64m",
    "\n",
    " ",
    "6f4c1d2e-8b7a-4c1d-9e2f-0123456789ab",
    "/mnt/x",
    "..",
    "99999999999999999999999",
    "nofail",
    "é",
];

/// Format by number, and a text that is made of its keys and of values that some keys accept.
fn string_of_a_format() -> impl Strategy<Value = Vec<u8>> {
    (0..formats().len()).prop_flat_map(|number| {
        let format = formats()[number];
        let mut names: Vec<&str> = format.keys().map(|key| key.name).collect();
        names.extend(format.aliases().map(|alias| alias.name));
        names.extend(["", "cyls", "bogus"]);
        let words: Vec<&str> = format.keys().flat_map(|key| key.rule.words.iter().copied()).collect();
        let words = if words.is_empty() { vec!["x"] } else { words };
        let value = prop_oneof![4 => select(VALUES), 2 => select(words)];
        let part = (select(names), value, 0..10_u8).prop_map(|(name, value, form)| match form {
            0..=6 => format!("{name}={value}"),
            7..=8 => value.to_owned(),
            _ => name.to_owned(),
        });
        vec(part, 0..6).prop_map(move |parts| {
            let mut data = vec![number as u8];
            data.extend_from_slice(parts.join(",").as_bytes());
            data
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn strings_made_from_declarations(data in string_of_a_format()) {
        property_string::check(&data);
    }

    #[test]
    fn damaged_strings(data in string_of_a_format(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut data = data;
        let at = at.index(data.len());
        data[at] = byte;
        property_string::check(&data);
    }

    #[test]
    fn arbitrary_bytes(data in vec(any::<u8>(), 0..80)) {
        property_string::check(&data);
    }
}

/// A value of blanks has a meaning only behind its key; found by chance, so it is tried each time.
#[test]
fn values_of_blanks() {
    for number in 0..formats().len() {
        for text in ["volume= ", "file=\t", "file=\x0b,size=1G"] {
            property_string::check(&[&[number as u8], text.as_bytes()].concat());
        }
    }
}
