// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content directories of path-based storages: ISO images, templates, backups, snippets, things to import (spec:
//! volumes, "Volumes by content").

use bstr::{BStr, ByteSlice};
use pve_volid::{ContentFile, Digits, Invisible, VolumeType, Wanted};

use crate::error::Result;
use crate::host::FileKind;
use crate::listing::{BackupAttributes, Image, Listing};
use crate::plugin::concat;
use crate::session::Session;
use crate::storage::Storage;

/// The files of a content directory that are volumes.
pub(crate) fn list(
    session: &Session<'_>,
    storage: &Storage,
    vtype: VolumeType,
    directory: &BStr,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let guest: Option<Digits<'_>> = match wanted {
        Wanted::Guest(guest) => Some(guest),
        _ => None,
    };
    for name in session.list(directory)? {
        let shown = concat([vtype.as_str().as_bytes(), b"/", &name]);
        let path = concat([directory, b"/", &name]);
        let Some(meta) = session.host().metadata(path.as_bstr()) else {
            listing.hide(&shown, None, Invisible::Dangling);
            continue;
        };
        let judged = ContentFile::judge(vtype, &name, guest).and_then(|file| {
            wanted.volname(&file.volname)?;
            if meta.kind == FileKind::Directory { Err(Invisible::Directory) } else { Ok(file) }
        });
        let file = match judged {
            Ok(file) => file,
            Err(reason) => {
                listing.hide(&shown, Some(meta.size), reason);
                continue;
            }
        };
        // a name with a line feed can be in no volume id
        let Ok(volid) = storage.volid(&file.volname) else {
            listing.hide(&shown, Some(meta.size), Invisible::WhiteSpace);
            continue;
        };
        let backup = match vtype {
            VolumeType::Backup => Some(attributes(session, &path, file.subtype())?),
            _ => None,
        };
        let written = file.archive.and_then(|archive| session.host().local_epoch(archive.standard?.time));
        listing.show(Image {
            owner: file.owner.map(|owner| owner.as_bstr().to_owned()),
            size: Some(meta.size),
            ctime: written.or(Some(meta.changed)),
            backup: backup.map(Box::new),
            ..Image::new(volid, file.format.as_ref())
        });
    }
    Ok(())
}

/// What the files beside a backup tell of it.
fn attributes(session: &Session<'_>, path: &[u8], subtype: &'static str) -> Result<BackupAttributes> {
    let notes = session.read(concat([path, b".notes"]).as_bstr())?.filter(|notes| !notes.is_empty());
    Ok(BackupAttributes {
        subtype,
        notes: notes.map(|notes| notes.lines().next().unwrap_or_default().into()),
        protected: session.exists(concat([path, b".protected"]).as_bstr()),
        ..BackupAttributes::default()
    })
}
