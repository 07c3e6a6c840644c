// SPDX-License-Identifier: MIT OR Apache-2.0
//! What commands do to files and device nodes, as far as operations look at them later.

use bstr::{BStr, BString, ByteSlice};

use crate::command::Command;
use crate::plugin::concat;

/// A change that a command makes to the tree of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TreeEffect {
    /// A file appears.
    File(BString),
    /// A directory with this mode appears.
    Directory(BString, u32),
    /// The device of a logical volume appears, in a directory named after its group.
    LogicalVolume { directory: BString, name: BString },
    /// The device of a ZFS volume appears.
    ZfsDevice(BString),
    /// Something is copied with all below it.
    Copied(BString, BString),
    /// Something is renamed.
    Moved(BString, BString),
    /// Something goes away with all below it.
    Removed(BString),
}

/// The effects of a command that succeeds.
pub(crate) fn effects(command: &Command) -> Vec<TreeEffect> {
    let program: &[u8] = command.program();
    let program = program.rsplit_once_str("/").map_or(program, |(_, name)| name);
    let args: Vec<&[u8]> = command.arguments().iter().map(|arg| arg.as_bytes()).collect();
    match (program, args.as_slice()) {
        (b"qemu-img", [b"create", rest @ ..]) => {
            // the file is the only absolute path: a backing file is named relative to it
            let file = rest.iter().find(|arg| arg.starts_with(b"/"));
            let file = file.filter(|file| !file.starts_with(b"/dev/"));
            file.map(|file| TreeEffect::File((*file).into())).into_iter().collect()
        }
        (b"btrfs", [_, b"subvolume", b"create", _, path]) => {
            let mode = 0o777 & !command.permission_mask().unwrap_or(0o022);
            vec![TreeEffect::Directory((*path).into(), mode)]
        }
        (b"btrfs", [_, b"subvolume", b"snapshot", .., from, to]) => {
            vec![TreeEffect::Copied((*from).into(), (*to).into())]
        }
        (b"btrfs", [_, b"subvolume", b"delete", rest @ ..]) => rest
            .iter()
            .filter(|path| path.starts_with(b"/"))
            .map(|path| TreeEffect::Removed((*path).into()))
            .collect(),
        (b"lvcreate", args) => created(args).into_iter().collect(),
        (b"lvrename", [group, old, new]) => {
            let path = |lv: &[u8]| concat([b"/dev/", group, b"/", lv]);
            vec![TreeEffect::Moved(path(old), path(new))]
        }
        (b"lvremove", [.., lv]) => vec![TreeEffect::Removed(concat([b"/dev/", lv]))],
        (b"zfs", [b"create", rest @ .., dataset]) if rest.contains(&&b"-V"[..]) => {
            vec![TreeEffect::ZfsDevice(concat([b"/dev/zvol/", dataset]))]
        }
        _ => Vec::new(),
    }
}

/// The logical volume that `lvcreate` makes: the group is its last argument, or stands before the `/` in the name of
/// its pool or origin.
fn created(args: &[&[u8]]) -> Option<TreeEffect> {
    let after = |options: &[&[u8]]| {
        let at = args.iter().position(|arg| options.contains(arg))?;
        args.get(at + 1).copied()
    };
    let home = after(&[b"--thinpool", b"-s"]).or_else(|| args.last().copied())?;
    let group = home.split_once_str("/").map_or(home, |(group, _)| group);
    let name = BStr::new(after(&[b"--name", b"-n"])?).to_owned();
    Some(TreeEffect::LogicalVolume { directory: concat([b"/dev/", group]), name })
}
