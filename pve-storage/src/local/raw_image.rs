// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `qemu-img` does to raw images, for machines without it: a raw image is a file as large as the disk, and no more.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;

use bstr::{BStr, ByteSlice};
use serde_json::json;

use super::os;
use crate::command::{Command, Exit, Output};

/// Carries out a command of `qemu-img` on a raw image, if nothing but a file is needed for it; `None` for all others.
pub(super) fn stand_in(command: &Command) -> Option<Output> {
    let failed = |error: io::Error| Output {
        exit: Exit::Code(1),
        stdout: "".into(),
        stderr: format!("{error}\n").into(),
    };
    Some(carry_out(command)?.unwrap_or_else(failed))
}

fn carry_out(command: &Command) -> Option<io::Result<Output>> {
    let program: &[u8] = command.program();
    if program.rsplit_str("/").next() != Some(b"qemu-img") {
        return None;
    }
    let arguments: Vec<&[u8]> = command.arguments().iter().map(|argument| argument.as_bytes()).collect();
    match arguments.as_slice() {
        [b"create", b"-o", b"preallocation=off", b"-f", b"raw", file, size] => {
            let size = number(size.strip_suffix(b"K")?)?.checked_mul(1024)?;
            Some(create(file, size))
        }
        [b"info", b"--output=json", file, b"-f", b"raw"] => Some(info(file)),
        [b"resize", b"--preallocation=off", b"-f", b"raw", file, size] => Some(resize(file, number(size)?)),
        _ => None,
    }
}

/// The image that a command makes or changes, as far as [`stand_in`] goes.
pub(super) fn image(command: &Command) -> Option<&BStr> {
    let arguments = command.arguments();
    let changes = arguments.first().is_some_and(|verb| verb == "create" || verb == "resize");
    let file = arguments.iter().find(|argument| argument.starts_with(b"/"));
    file.filter(|_| changes).map(|file| file.as_bstr())
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.to_str().ok()?.parse().ok()
}

fn create(file: &[u8], size: u64) -> io::Result<Output> {
    let image = OpenOptions::new().write(true).create_new(true).open(os(file))?;
    image.set_len(size).inspect_err(|_| drop(fs::remove_file(os(file))))?;
    Ok(Output::success(""))
}

fn info(file: &[u8]) -> io::Result<Output> {
    let meta = fs::metadata(os(file))?;
    let info = json!({
        "virtual-size": meta.len(),
        "filename": file.to_str_lossy(),
        "format": "raw",
        "actual-size": meta.blocks().saturating_mul(512),
        "dirty-flag": false,
    });
    Ok(Output::success(info.to_string()))
}

fn resize(file: &[u8], size: u64) -> io::Result<Output> {
    let image = OpenOptions::new().write(true).open(os(file))?;
    if size < image.metadata()?.len() {
        return Err(io::Error::other("the image would lose what is behind its new end"));
    }
    image.set_len(size)?;
    Ok(Output::success(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::qemu_img;
    use crate::storage::Storage;
    use pve_volid::ImageFormat;

    /// The commands are those that operations build, so that the two cannot drift apart.
    #[test]
    fn a_raw_image_from_beginning_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new("local".parse().unwrap(), "dir").with("path", "/srv");
        let path = folder.path().join("image.raw");
        let file = BStr::new(path.as_os_str().as_encoded_bytes());
        let create = qemu_img::create(&storage, ImageFormat::Raw, file, 4096);
        assert!(stand_in(&create).unwrap().succeeded());
        assert!(!stand_in(&create).unwrap().succeeded(), "it exists");
        assert_eq!(image(&create), Some(file));
        let grow = qemu_img::resize(&storage, ImageFormat::Raw, file, 8 << 20);
        assert!(stand_in(&grow).unwrap().succeeded());
        let shrunk = stand_in(&qemu_img::resize(&storage, ImageFormat::Raw, file, 1)).unwrap();
        assert!(shrunk.complaint().contains("would lose"), "{}", shrunk.complaint());
        let ask = Command::query("/usr/bin/qemu-img").args(["info", "--output=json"]).operand(file);
        assert!(stand_in(&ask).is_none(), "the format is not said, so it would have to be found out");
        let answer = stand_in(&ask.args(["-f", "raw"])).unwrap();
        let info: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!((&info["virtual-size"], &info["actual-size"]), (&json!(8 << 20), &json!(0)));
    }

    #[test]
    fn all_that_needs_qemu_img() {
        let storage = Storage::new("local".parse().unwrap(), "dir").with("path", "/srv");
        let file = BStr::new("/srv/x");
        assert!(stand_in(&qemu_img::create(&storage, ImageFormat::Qcow2, file, 4096)).is_none());
        let full = storage.with("preallocation", "full");
        assert!(stand_in(&qemu_img::create(&full, ImageFormat::Raw, file, 4096)).is_none());
        assert!(
            stand_in(&Command::query("/bin/ls").args(["info", "--output=json", "/x", "-f", "raw"])).is_none()
        );
    }
}
