// SPDX-License-Identifier: MIT OR Apache-2.0
//! What commands do to the tree of a machine in memory, and what `qemu-img info` tells of it.

use bstr::{BStr, BString, ByteSlice};
use serde_json::json;

use super::ImageFile;
use super::tree::{Node, NodeKind, Tree};
use crate::command::{Command, Exit, Output};
use crate::effect::{TreeEffect, effects};
use crate::plugin::concat;

impl Tree {
    /// The effect of a command that succeeded; `devices`: whether those of ZFS volumes appear.
    pub(super) fn effect(&mut self, command: &Command, now: i64, devices: bool) {
        for effect in effects(command) {
            match effect {
                TreeEffect::File(path) => self.insert(&path, Node { changed: now, ..Node::sized(0) }),
                TreeEffect::Directory(path, mode) => {
                    self.insert(&path, Node { mode, changed: now, ..Node::directory() });
                }
                TreeEffect::LogicalVolume { directory, name } => {
                    if self.get(directory.as_bstr()).is_some() {
                        let path = concat([&directory, b"/", &name]);
                        self.insert(&path, Node { changed: now, ..Node::block() });
                    }
                }
                TreeEffect::ZfsDevice(path) => {
                    if devices {
                        self.insert(&path, Node { changed: now, ..Node::block() });
                    }
                }
                TreeEffect::Copied(from, to) => self.copy(&from, &to),
                // a node that was put at the new name beforehand stays
                TreeEffect::Moved(from, to) if self.get(to.as_bstr()).is_none() => self.rename(&from, &to),
                TreeEffect::Moved(path, _) | TreeEffect::Removed(path) => self.remove(&path),
            }
        }
    }

    /// The answer of `qemu-img info`.
    pub(super) fn measure(&self, command: &Command) -> Option<Output> {
        let args: Vec<&[u8]> = command.arguments().iter().map(|arg| arg.as_bytes()).collect();
        let (file, format) = match args.as_slice() {
            [b"info", b"--output=json", file, b"-f", format, ..] => (file, Some(*format)),
            [b"info", b"--output=json", file, ..] => (file, None),
            _ => return None,
        };
        if !command.program().ends_with(b"qemu-img") {
            return None;
        }
        let real = self.resolve(BStr::new(file))?;
        let NodeKind::File { size, image, .. } = &self.get(real.as_bstr())?.kind else { return None };
        let raw = ImageFile { format: "raw".into(), ..ImageFile::default() };
        Some(tell(file, format, *size, image.as_ref().unwrap_or(&raw)))
    }
}

/// What `qemu-img info` says of an image that it is to take for `format`.
fn tell(file: &[u8], format: Option<&[u8]>, size: u64, image: &ImageFile) -> Output {
    let fail = |stderr: BString| Output { exit: Exit::Code(1), stdout: BString::default(), stderr };
    if let Some(error) = &image.error {
        return fail(error.clone());
    }
    if image.silent {
        return fail(BString::default());
    }
    if image.garbage {
        return Output::success("{");
    }
    if let Some(format) = format.filter(|format| *format != b"raw" && *format != image.format.as_bytes()) {
        let text: [&[u8]; 5] =
            [b"qemu-img: Could not open '", file, b"': Image is not in ", format, b" format\n"];
        return fail(concat(text));
    }
    let as_raw = format == Some(b"raw") || image.format == "raw";
    let mut answer = json!({
        "virtual-size": if as_raw { size } else { image.virtual_size.unwrap_or(size) },
        "actual-size": if as_raw { size } else { image.actual_size.unwrap_or(size) },
        "format": if as_raw { "raw" } else { &image.format },
        "filename": BStr::new(file).to_str_lossy(),
    });
    if let (Some(backing), false, Some(members)) = (&image.backing, as_raw, answer.as_object_mut()) {
        members.insert("backing-filename".into(), json!(backing.to_str_lossy()));
    }
    Output::success(answer.to_string())
}
