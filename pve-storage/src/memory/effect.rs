// SPDX-License-Identifier: MIT OR Apache-2.0
//! What commands do to the tree of a machine in memory, and what `qemu-img info` tells of it.

use bstr::{BStr, BString, ByteSlice};
use serde_json::json;

use super::ImageFile;
use super::tree::{Node, NodeKind, Tree};
use crate::command::{Command, Exit, Output};
use crate::plugin::concat;

impl Tree {
    /// The effect of a command that succeeded.
    pub(super) fn effect(&mut self, command: &Command, now: i64, devices: bool) {
        let argv: Vec<&BStr> = command.argv().collect();
        let program = argv.first().map_or(&b""[..], |program| {
            program.rsplit_once_str("/").map_or(program.as_bytes(), |(_, name)| name)
        });
        let args: Vec<&[u8]> = argv.iter().skip(1).map(|arg| arg.as_bytes()).collect();
        match (program, args.as_slice()) {
            (b"qemu-img", [b"create", rest @ ..]) => self.create_image(rest, now),
            (b"btrfs", [_, b"subvolume", b"create", _, path]) => {
                let mode = 0o777 & !command.permission_mask().unwrap_or(0o022);
                self.insert(path, Node { mode, changed: now, ..Node::directory() });
            }
            (b"btrfs", [_, b"subvolume", b"snapshot", .., from, to]) => self.copy(from, to),
            (b"btrfs", [_, b"subvolume", b"delete", rest @ ..]) => {
                for path in rest.iter().filter(|path| path.starts_with(b"/")) {
                    self.remove(path);
                }
            }
            (b"lvcreate", args) => self.create_lv(args, now),
            (b"lvrename", [group, old, new]) => {
                let path = |lv: &[u8]| concat([b"/dev/", group, b"/", lv]);
                let (old, new) = (path(old), path(new));
                if self.get(new.as_bstr()).is_none() {
                    self.rename(&old, &new);
                } else {
                    self.remove(&old);
                }
            }
            (b"lvremove", [.., lv]) => self.remove(&concat([b"/dev/", lv])),
            (b"zfs", [b"create", rest @ .., dataset]) if devices && rest.contains(&&b"-V"[..]) => {
                self.insert(&concat([b"/dev/zvol/", dataset]), Node { changed: now, ..Node::block() });
            }
            _ => {}
        }
    }

    /// The file is the first argument behind the format that is no option.
    fn create_image(&mut self, args: &[&[u8]], now: i64) {
        let file = args.iter().find(|arg| arg.starts_with(b"/"));
        if let Some(file) = file.filter(|file| !file.starts_with(b"/dev/")) {
            self.insert(file, Node { changed: now, ..Node::sized(0) });
        }
    }

    fn create_lv(&mut self, args: &[&[u8]], now: i64) {
        let after = |option: &[&[u8]]| {
            let at = args.iter().position(|arg| option.contains(arg))?;
            args.get(at + 1).copied()
        };
        let pool = after(&[b"--thinpool", b"-s"]).or_else(|| args.last().copied()).unwrap_or_default();
        let group = pool.split_once_str("/").map_or(pool, |(group, _)| group);
        let directory = concat([b"/dev/", group]);
        if let Some(name) = after(&[b"--name", b"-n"])
            && self.get(directory.as_bstr()).is_some()
        {
            self.insert(&concat([&directory, b"/", name]), Node { changed: now, ..Node::block() });
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
        let fail = |stderr: BString| Output { exit: Exit::Code(1), stdout: BString::default(), stderr };
        let real = self.resolve(BStr::new(file))?;
        let NodeKind::File { size, image, .. } = &self.get(real.as_bstr())?.kind else { return None };
        let raw = ImageFile { format: "raw".into(), ..ImageFile::default() };
        let image = image.as_ref().unwrap_or(&raw);
        if let Some(error) = &image.error {
            return Some(fail(error.clone()));
        }
        if image.silent {
            return Some(fail(BString::default()));
        }
        if image.garbage {
            return Some(Output::success("{"));
        }
        let is_raw = format == Some(b"raw") || image.format == "raw";
        if let Some(format) = format
            && format != image.format.as_bytes()
            && format != b"raw"
        {
            let message =
                concat([b"qemu-img: Could not open '", file, b"': Image is not in ", format, b" format\n"]);
            return Some(fail(message));
        }
        let told = if format == Some(b"raw") { "raw" } else { &image.format };
        let mut answer = json!({
            "virtual-size": if is_raw { *size } else { image.virtual_size.unwrap_or(*size) },
            "actual-size": if is_raw { *size } else { image.actual_size.unwrap_or(*size) },
            "format": told,
            "filename": BStr::new(file).to_str_lossy(),
        });
        if let (Some(backing), false, Some(members)) = (&image.backing, is_raw, answer.as_object_mut()) {
            members.insert("backing-filename".into(), json!(backing.to_str_lossy()));
        }
        Some(Output::success(answer.to_string()))
    }
}
