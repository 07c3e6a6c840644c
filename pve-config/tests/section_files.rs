// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any section file, and of any storage.cfg: the checks of the fuzz targets, with texts in which much
//! is right and something wrong, with damaged and arbitrary ones, and with some that are extreme.

#[cfg(test)]
#[path = "../fuzz/checks/section_file.rs"]
mod section_file;
#[cfg(test)]
#[path = "../fuzz/checks/storage_cfg.rs"]
mod storage_cfg;

mod laws;

use laws::{SIZE, laws, numbered, repeated};
use proptest::prelude::*;

fn lines() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "(aa|bb|dir|nfs|lvm|lvmthin|zfspool|rbd|pbs|esxi|cephfs|DIR|x): ?(a1|b2|local|x-|y)",
        1 => "\n|0|#.?| |\r",
        2 => "[\t ](name|size|on|map|must|comment|disable|type)( [0-9a-c ]{1,6}\r?)?",
        3 => "\t(path|export|server|vgname|thinpool|pool|datastore|username) [/a-c.1]{1,5}",
        2 => "\tcontent (images|iso|none|import|backup|,|x)(,(images|none|rootdir))?",
        1 => "\t(nodes [n12,]{1,5}|shared ?[01]?|disable|format (raw|qcow2|subvol)|port [0-9]{1,5})",
        1 => "\t(content-dirs (iso|images|import)=[a./]{1,3}|prune-backups keep-(all|last)=[01]|bwlimit clone=[0-9])",
        1 => "(a1|b2)",
        1 => "\\PC{0,8}",
    ]
}

fn check(text: &[u8]) {
    section_file::check(text);
    storage_cfg::check(text);
}

laws!(lines, 20, check);

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
        repeated("a: b\n\n"),
        repeated("#\n"),
        repeated("dir: a1\n\tpath /a\n\n"),
        repeated("dir: a1\n\tpath /a\r\n"),
        [b"dir: a1\n".to_vec(), repeated("\tpath /a\n")].concat(),
        [b"dir: a1\n".to_vec(), repeated("\tfoo /a\n")].concat(),
        [b"dir: a1\n\tpath /".to_vec(), repeated("a/")].concat(),
        [b"dir: a1\n\tpath /a\n\tnodes ".to_vec(), repeated("a,")].concat(),
        vec![0xff; SIZE],
        numbered(SIZE / 16, |number| format!("dir: d{number}\n\tpath /a\n\n")),
        numbered(SIZE / 16, |number| format!("foo: d{number}\n\tpath /a\n\n")),
        numbered(SIZE / 16, |number| format!("lvm: d{number}\n\tvgname a\n\n")),
    ];
    for text in &texts {
        let config = pve_config::storage::StorageConfig::parse(text);
        let _ = config.write();
        assert!(config.storages().count() > 0);
        let document = pve_config::section::Document::parse(text);
        assert!(document.to_bytes() == text[..]);
    }
}
