// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm status`: the storages with their space, in KiB.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use pve_storage::{Session, Status as Space, Storage};
use pve_volid::ContentType;
use serde_json::{Value, json};

use crate::place::{Place, complain};
use crate::{Out, Outcome};

#[derive(clap::Args)]
pub(crate) struct Status {
    /// Only this storage
    #[arg(long, value_name = "STORAGE")]
    storage: Option<String>,
    /// Only storages for this kind of content
    #[arg(long, value_name = "TYPE")]
    content: Option<ContentType>,
    /// Only storages that are enabled on the node
    #[arg(long)]
    enabled: bool,
}

/// A storage and what became of the question for its space.
struct Row<'a> {
    storage: &'a Storage,
    enabled: bool,
    space: Option<Space>,
}

impl Status {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        if let Some(id) = &self.storage {
            place.storages.require(id)?;
        }
        let is_wanted = |storage: &&Storage| {
            self.storage.as_ref().is_none_or(|id| id == storage.id().as_str())
                && self.content.is_none_or(|content| storage.has_content(content))
                && (!self.enabled || storage.is_enabled_on(&place.node))
        };
        let mut storages: Vec<&Storage> = place.storages.iter().filter(is_wanted).collect();
        storages.sort_by(|one, other| one.id().cmp(other.id()));
        let rows = place.ask(|session| {
            Ok(storages.iter().map(|storage| Row::of(session, storage)).collect::<Vec<_>>())
        })?;
        if place.json {
            writeln!(out, "{:#}", rows.iter().map(Row::document).collect::<Value>())?;
        } else {
            write!(out, "{}", table(&rows))?;
        }
        Ok(())
    }
}

impl<'a> Row<'a> {
    /// A storage that cannot be asked is inactive, and the reason is told.
    fn of(session: &Session<'_>, storage: &'a Storage) -> Self {
        let id = storage.id().as_str();
        let enabled = storage.is_enabled_on(session.node());
        let ask = || {
            session.activate_storage(id)?;
            session.status(id)
        };
        let space = enabled.then(ask).and_then(|answer| {
            answer.unwrap_or_else(|error| {
                complain("warning", &format!("storage '{id}': {error}"));
                None
            })
        });
        Row { storage, enabled, space }
    }

    fn state(&self) -> (&'static str, Style) {
        match self.space {
            Some(space) if space.active => ("active", AnsiColor::Green.on_default()),
            _ if self.enabled => ("inactive", AnsiColor::Red.on_default()),
            _ => ("disabled", Style::new().dimmed()),
        }
    }

    fn document(&self) -> Value {
        let space = self.space.unwrap_or_default();
        let content: Vec<String> = self.storage.content().iter().map(ToString::to_string).collect();
        json!({
            "storage": self.storage.id().as_str(),
            "type": self.storage.type_name().to_string(),
            "enabled": self.enabled,
            "active": space.active,
            "shared": self.storage.is_shared(),
            "content": content,
            "total": space.total,
            "used": space.used,
            "avail": space.available,
            "used_fraction": (space.total > 0).then(|| space.used as f64 / space.total as f64),
        })
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let width = rows.iter().map(|row| row.storage.id().as_str().len()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    let mut line = |name: &str, kind: &str, (state, style): (&str, Style), sizes: [&str; 3], share: &str| {
        let [total, used, available] = sizes;
        // a String takes everything
        let _ = writeln!(
            text,
            "{name:width$} {kind:>10} {style}{state:>10}{style:#} {total:>15} {used:>15} {available:>15} {share:>8}"
        );
    };
    line("Name", "Type", ("Status", Style::new()), ["Total", "Used", "Available"], "%");
    for row in rows {
        let space = row.space.unwrap_or_default();
        let sizes = [space.total, space.used, space.available].map(|size| (size / 1024).to_string());
        let share = match (row.enabled, space.total) {
            (false, _) => "N/A".to_owned(),
            (true, 0) => "0.00%".to_owned(),
            (true, total) => format!("{:.2}%", space.used as f64 * 100.0 / total as f64),
        };
        let kind = row.storage.type_name().to_string();
        line(row.storage.id().as_str(), &kind, row.state(), sizes.each_ref().map(String::as_str), &share);
    }
    text
}
