// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any configuration of a guest: the checks of the fuzz targets, with texts in which much is right and
//! something wrong, with damaged and arbitrary ones, and with some that are extreme.

#[cfg(test)]
#[path = "../fuzz/checks/guest_conf.rs"]
mod guest_conf;

mod laws;

use laws::{SIZE, laws, numbered, repeated};
use proptest::prelude::*;
use pve_config::guest::{Lxc, LxcConfig, Qemu, VmConfig};

fn lines() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(cores|sockets|smp|vcpus|memory|swap): ?[0-9]{1,3}",
        2 => "(scsi|ide|mp|unused)[0-3]: (local:[ab]|none|/dev/x)(,size=[0-9]G|,mp=/x|,media=cdrom|,x=y)?",
        1 => "(cdrom|ide2): (none|local:vm-1-cloudinit)",
        1 => "(args|ciuser|env|delete|name): ?\"?[a-z ,!]{0,5}\"?\r?",
        1 => "(parent|snaptime|vmstate|cicustom): ?(sn|s2|5|local:x|user=local:y)",
        1 => "#[a-z%0-9: ]{0,6}|description: [0a-b]",
        1 => "\\[(PENDING|pve:pending|sn|s2|special:(cloudinit|fleecing)|a b)\\] ?",
        1 => "fleecing-images: local:[ab]|added: name",
        1 => ".?snapstate: (delete|prepare)",
        1 => "lxc\\.(cap\\.drop|environment\\.runtime|utsname|x) ?[:=] ?[a-z=\0]{0,4}",
        1 => "\\PC{0,8}",
    ]
}

fn check(text: &[u8]) {
    guest_conf::check::<Qemu>(text);
    guest_conf::check::<Lxc>(text);
}

laws!(lines, 14, check);

/// Long lines, many lines, many sections: read and written without loss of time or data. The sizes are such that
/// a cost that grows with the square would be felt.
#[test]
fn extreme_texts() {
    let texts = [
        repeated("a"),
        repeated(" "),
        repeated("\n"),
        repeated("\r\n"),
        repeated("\0"),
        repeated("["),
        repeated("#\n"),
        repeated("#%41\n"),
        repeated("cores: 1\n"),
        repeated("[sn]\ncores: 1\n"),
        repeated("e snapstate: delete\n"),
        repeated("lxc.environment.runtime: A=b\nfoo: 1\n"),
        vec![0xff; SIZE],
        [b"ciuser: ".to_vec(), repeated("a")].concat(),
        [b"cores: ".to_vec(), repeated("9")].concat(),
        [b"scsi0: local:a".to_vec(), repeated(",")].concat(),
        [b"tags: ".to_vec(), repeated("a;")].concat(),
        numbered(SIZE / 8, |number| format!("[s{number}]\n")),
        numbered(SIZE / 8, |number| format!("foo{}: 1\n", number * 7919 % 100_003)),
        [
            b"[special:cloudinit]\n".to_vec(),
            numbered(SIZE / 8, |number| format!("a{}: 1\n", number * 7919 % 100_003)),
        ]
        .concat(),
    ];
    for text in &texts {
        let (vm, found) = VmConfig::parse(text);
        assert_eq!(
            found.len() + found.left_out(),
            found.warnings() + found.count(pve_config::Severity::Note)
        );
        let _ = vm.to_bytes();
        let (container, _) = LxcConfig::parse(text);
        let _ = container.to_bytes();
        for kind in [pve_config::guest::GuestKind::Qemu, pve_config::guest::GuestKind::Lxc] {
            let document = pve_config::guest::Document::parse(kind, &text[..]);
            assert!(document.as_bytes() == &text[..]);
        }
    }
}
