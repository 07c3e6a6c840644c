// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of `qemu-img` that operations are built of (spec: storage-commands, "Building blocks").

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::ImageFormat;
use serde_json::Value;

use crate::command::{Command, lines};
use crate::error::{Error, Result};
use crate::host::FileKind;
use crate::operation::SizeInfo;
use crate::session::{Session, strange};
use crate::storage::Storage;

const PROGRAM: &str = "/usr/bin/qemu-img";

/// How qcow2 images with a backing file are laid out.
const CLONE_LAYOUT: &str = "extended_l2=on,cluster_size=128k";

/// `qemu-img info`: the JSON text, `None` if it printed nothing at all.
///
/// Another exit than 0 is only a warning; a complaint without any output is the error.
pub(super) fn info(
    session: &Session<'_>,
    file: &BStr,
    format: Option<ImageFormat>,
    chain: bool,
    limit: Option<Duration>,
) -> Result<Option<Value>> {
    let mut command = Command::query(PROGRAM).args(["info", "--output=json"]).operand(file);
    if let Some(format) = format {
        command = command.args(["-f", format.as_str()]);
    }
    if chain {
        command = command.arg("--backing-chain");
    }
    if let Some(limit) = limit {
        command = command.timeout(limit);
    }
    let output = session.ask(&command)?;
    if !output.succeeded() {
        session.warn(format!("{command}: {}", output.exit));
    }
    if output.stdout.is_empty() {
        if output.stderr.is_empty() {
            return Ok(None);
        }
        let complaint = output.stderr.trim_ascii().to_str_lossy().into_owned();
        return Err(Error::Failed { command: command.to_string(), exit: output.exit, complaint });
    }
    for line in lines(&output.stderr) {
        session.warn(format!("{command}: {line}"));
    }
    let value =
        serde_json::from_slice(&output.stdout).map_err(|e| strange(&command, format!("not JSON: {e}")))?;
    Ok(Some(value))
}

/// Size and format of an image file or device, `None` if it is not there or `qemu-img` says nothing; both with a
/// warning. What is called an image of a format and is none is measured as raw and has format `invalid`.
pub(super) fn measure_file(
    session: &Session<'_>,
    file: &BStr,
    format: ImageFormat,
    limit: Option<Duration>,
) -> Result<Option<SizeInfo>> {
    let Some(meta) = session.host().metadata(file) else {
        session.warn(format!("{file} does not exist"));
        return Ok(None);
    };
    let ctime = Some(meta.changed);
    if meta.kind == FileKind::Directory {
        if format != ImageFormat::Subvol {
            session.warn(format!("{file} is a directory, but is called an image of format '{format}'"));
        }
        let format = format.to_string();
        return Ok(Some(SizeInfo { size: 0, format, used: 0, parent: None, ctime }));
    }
    let mut asked = format;
    if format == ImageFormat::Subvol {
        session.warn(format!("{file} is no directory, although it is called one; measuring it as raw"));
        asked = ImageFormat::Raw;
    }
    let mut told = format.to_string();
    let value = match info(session, file, Some(asked), false, limit) {
        Err(Error::Failed { complaint, .. })
            if complaint.ends_with(&format!("Image is not in {asked} format")) =>
        {
            session.warn(format!("{file}: {complaint}; measuring it as raw"));
            told = "invalid".to_owned();
            info(session, file, Some(ImageFormat::Raw), false, limit)?
        }
        other => other?,
    };
    let Some(value) = value else {
        session.warn(format!("qemu-img tells nothing about {file}"));
        return Ok(None);
    };
    let number = |member: &str| {
        value.get(member).and_then(Value::as_u64).ok_or_else(|| Error::Answer {
            command: format!("qemu-img info {file}"),
            reason: format!("'{member}' is no whole number"),
        })
    };
    let (size, used) = (number("virtual-size")?, number("actual-size")?);
    let parent = value.get("backing-filename").and_then(Value::as_str);
    let parent = match parent {
        Some(parent) if parent.contains(char::is_whitespace) => {
            session.warn(format!("{file}: the name of its backing file contains white space: '{parent}'"));
            None
        }
        other => other.map(BString::from),
    };
    Ok(Some(SizeInfo { size, format: told, used, parent, ctime }))
}

/// [`measure_file`] where nothing but an answer will do.
pub(super) fn require_size(
    session: &Session<'_>,
    file: &BStr,
    format: ImageFormat,
    limit: Option<Duration>,
) -> Result<SizeInfo> {
    measure_file(session, file, format, limit)?.ok_or_else(|| Error::Missing(file.to_owned()))
}

/// The value of `preallocation` for images of a format (spec: storage.cfg, "Derived facts").
pub(super) fn preallocation(storage: &Storage, format: ImageFormat) -> Option<&BStr> {
    let option = storage.get("preallocation");
    match format {
        ImageFormat::Qcow2 => Some(option.unwrap_or(BStr::new("metadata"))),
        ImageFormat::Raw => Some(match option {
            None => BStr::new("off"),
            Some(value) if value == "metadata" => BStr::new("off"),
            Some(value) => value,
        }),
        _ => None,
    }
}

/// `qemu-img create`: a new image.
pub(crate) fn create(storage: &Storage, format: ImageFormat, file: &BStr, size_kib: u64) -> Command {
    let mut command = Command::change(PROGRAM).arg("create");
    if let Some(value) = preallocation(storage, format) {
        command = command.arg("-o").value(super::concat([b"preallocation=", value]));
    }
    command.args(["-f", format.as_str()]).operand(file).arg(format!("{size_kib}K"))
}

/// `qemu-img create` of a qcow2 image on top of another. The backing file is named relative to the new one.
pub(super) fn create_on_top(
    storage: &Storage,
    backing: &BStr,
    backing_format: ImageFormat,
    file: &BStr,
    preallocation_of: ImageFormat,
) -> Command {
    let mut options = BString::from(CLONE_LAYOUT);
    if let Some(value) = preallocation(storage, preallocation_of) {
        options.extend_from_slice(b",preallocation=");
        options.extend_from_slice(value);
    }
    Command::change(PROGRAM)
        .args(["create", "-F", backing_format.as_str(), "-b"])
        .operand(backing)
        .args(["-f", "qcow2"])
        .operand(file)
        .arg("-o")
        .value(options)
}

/// `qemu-img resize`.
pub(crate) fn resize(storage: &Storage, format: ImageFormat, file: &BStr, size: u64) -> Command {
    let mut command = Command::change(PROGRAM).arg("resize");
    if let Some(value) = preallocation(storage, format) {
        command = command.value(super::concat([b"--preallocation=", value]));
    }
    command.args(["-f", format.as_str()]).operand(file).arg(size.to_string()).timeout(Duration::from_secs(10))
}

/// `qemu-img measure`: how much space a fully written qcow2 image of this size takes, in bytes.
pub(super) fn measure(session: &Session<'_>, size_kib: u64, on_top: bool) -> Result<u64> {
    let mut command = Command::query(PROGRAM)
        .args(["measure", "--output=json", "--size", &format!("{size_kib}K"), "-O", "qcow2"])
        .timeout(Duration::from_secs(5));
    if on_top {
        command = command.args(["-o", CLONE_LAYOUT]);
    }
    let output = session.run(&command)?;
    let value: Value =
        serde_json::from_slice(&output.stdout).map_err(|e| strange(&command, format!("not JSON: {e}")))?;
    let size = value.get("fully-allocated").and_then(Value::as_u64);
    size.ok_or_else(|| strange(&command, "'fully-allocated' is no whole number"))
}

/// `qemu-img snapshot`: `-c` makes, `-a` goes back to, `-d` deletes a snapshot inside the image.
pub(super) fn snapshot(action: &str, snapshot: &BStr, file: &BStr) -> Command {
    Command::change(PROGRAM).args(["snapshot", action]).operand(snapshot).operand(file)
}

/// `qemu-img commit`: writes an image down into its backing file.
pub(super) fn commit(file: &BStr) -> Command {
    Command::change(PROGRAM).arg("commit").operand(file)
}

/// `qemu-img rebase`: gives a qcow2 image another qcow2 backing file, keeping its content.
pub(super) fn rebase(backing: &BStr, file: &BStr) -> Command {
    Command::change(PROGRAM)
        .args(["rebase", "-b"])
        .operand(backing)
        .args(["-F", "qcow2", "-f", "qcow2"])
        .operand(file)
}
