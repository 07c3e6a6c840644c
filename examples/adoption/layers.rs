// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two layers: rows of the database, and what lies on the storage.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bstr::ByteSlice;
use pve_cfs::Row;
use pve_config::format::format_size;
use pve_storage::Command;

use crate::Outcome;
use crate::ground::{Backing, Ground};
use crate::story::{OTHER, VM};
use crate::teller::Teller;

/// Both layers, as far as they concern the VMs of the story.
pub(crate) fn show(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    let rows = ground.configs.store().rows()?;
    let named: Vec<&Row> = rows.iter().filter(|row| names_us(row)).collect();
    let version = rows.iter().map(|row| row.version).max().unwrap_or(0);
    if named.is_empty() {
        teller.shown(&format!("logical   tree version {version}, no row names {VM} or {OTHER}"))?;
    }
    for row in named {
        teller.shown(&format!("logical   tree version {version}, {}", described(row)))?;
    }
    let things = physical(ground)?;
    if things.is_empty() {
        teller.shown("physical  nothing")?;
    }
    things.iter().try_for_each(|thing| teller.shown(&format!("physical  {thing}")))
}

/// A row, short.
pub(crate) fn described(row: &Row) -> String {
    let kind = if row.data.is_some() || row.kind == 8 { "file" } else { "directory" };
    format!(
        "inode {} ({kind} {}, parent {}, written at version {}, {} bytes)",
        row.inode,
        row.used_name(),
        row.parent,
        row.version,
        row.content().len()
    )
}

fn names_us(row: &Row) -> bool {
    [VM, OTHER].iter().any(|id| {
        row.used_name() == format!("{id}.conf").as_str() || row.content().contains_str(format!("-{id}-"))
    })
}

/// Files or logical volumes.
fn physical(ground: &Ground) -> Outcome<Vec<String>> {
    match &ground.backing {
        Backing::Directory => {
            let mut found = Vec::new();
            files(&ground.folder().join("store"), &mut found)?;
            found.sort();
            Ok(found)
        }
        Backing::Thin { group, .. } => {
            let question = Command::query("/sbin/lvs")
                .args(["--noheadings", "--separator", "  ", "-o", "lv_name,lv_size,pool_lv,data_percent"])
                .operand(group);
            let answer = ground.session().run(&question)?;
            let ours = answer.lines().map(|line| line.to_string().trim().to_owned());
            Ok(ours
                .filter(|line| [VM, OTHER].iter().any(|id| line.contains(&format!("-{id}-"))))
                .map(|line| format!("{group}/{line}% of it in use"))
                .collect())
        }
    }
}

fn files(folder: &Path, found: &mut Vec<String>) -> Outcome {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            files(&entry.path(), found)?;
        } else {
            let (size, used) = (format_size(meta.len()), format_size(meta.blocks() * 512));
            found.push(format!("{}  {size}, {used} of it on the disk", entry.path().display()));
        }
    }
    Ok(())
}
