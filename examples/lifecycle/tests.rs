// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life, really lived.

use clap::CommandFactory;

use super::ground::Ground;
use super::{Args, TEMPLATE, run};

#[test]
fn every_argument_is_explained() {
    Args::command().debug_assert();
}

#[test]
fn a_base_volume_is_cleared_away() {
    let ground = Ground::make().unwrap();
    let (folder, base) = (ground.folder().to_owned(), ground.image(TEMPLATE, "base-9000-disk-0.qcow2"));
    std::fs::create_dir_all(base.parent().unwrap()).unwrap();
    std::fs::write(&base, "data").unwrap();
    // only root can, and not on every file system
    let _ = std::process::Command::new("chattr").arg("+i").arg(&base).output();
    drop(ground);
    assert!(!folder.exists());
}

#[test]
fn from_template_to_nothing() {
    if std::env::var_os("PVE_TEST_SYSTEM").is_none_or(|value| value != "1") {
        eprintln!("SKIPPED: set PVE_TEST_SYSTEM=1 to let a virtual machine live");
        return;
    }
    let mut out = anstream::StripStream::new(Vec::new());
    let lived = run(&mut out);
    let text = String::from_utf8(out.into_inner()).unwrap();
    lived.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(text.contains("guest# hostname\n    lively\n"), "{text}");
    assert!(text.ends_with("the guest applied its data; nothing is left\n"), "{text}");
}
