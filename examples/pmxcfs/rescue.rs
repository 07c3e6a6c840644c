// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs for broken databases: `repair`, and `salvage` for those that SQLite cannot read.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::ByteSlice;
use pve_cfs::repair::{Repair, Step};
use pve_cfs::salvage::{Lost, Place, Recovered, Salvage, salvage_file};
use pve_cfs::{Database, Finding, Row};
use serde_json::{Map, Value, json};

use crate::look::finding;
use crate::output::{Colours, Failure, print_json, set_bytes};

#[derive(clap::Args)]
pub(crate) struct RepairArgs {
    /// The database; it is not changed
    db: PathBuf,
    /// A new file for the repaired database; without it only the plan is shown
    new: Option<PathBuf>,
    /// Do not ask whether the plan may be carried out
    #[arg(long, short)]
    yes: bool,
}

impl RepairArgs {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<ExitCode, Failure> {
        let repair = Repair::plan(&self.db)?;
        if !json {
            self.show(out, &repair)?;
        }
        let mut written = None;
        if let Some(new) = &self.new {
            if repair.steps().is_empty() {
                if !json {
                    writeln!(out, "nothing to repair: {} was not made", new.display())?;
                }
            } else if self.may_write(out, json)? {
                repair.write(new)?;
                written = Some(new);
            }
        }
        if json {
            let value = json!({
                "steps": repair.steps().iter().map(step).collect::<Vec<_>>(),
                "remaining": repair.remaining().iter().map(finding).collect::<Vec<_>>(),
                "untouched_rows": repair.untouched(),
                "written": written.map(|path| path.display().to_string()),
            });
            print_json(out, &value)?;
        } else if let Some(new) = written {
            let rows = repair.untouched();
            writeln!(
                out,
                "written to {}; {rows} rows are as they were, and the daemon would start with it",
                new.display()
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, out: &mut impl Write, repair: &Repair) -> Result<(), Failure> {
        let colours = Colours::of_stdout();
        let mut last: Option<&Finding> = None;
        for step in repair.steps() {
            if let Some(finding) = &step.finding
                && last != Some(finding)
            {
                writeln!(out, "{0}{finding}{0:#}", colours.removed)?;
            }
            last = step.finding.as_ref();
            let indent = if last.is_some() { "  " } else { "" };
            writeln!(out, "{indent}{0}{step}{0:#}", colours.added)?;
        }
        for finding in repair.remaining() {
            writeln!(out, "stays: {finding}")?;
        }
        match (repair.steps().len(), &self.new) {
            (0, None) => writeln!(out, "nothing to repair")?,
            (steps, None) => writeln!(
                out,
                "{steps} steps; to carry them out name a new file: pmxcfs repair {} NEW",
                self.db.display()
            )?,
            _ => {}
        }
        Ok(())
    }

    /// Asks who sits at a terminal; elsewhere naming a new file is consent enough.
    fn may_write(&self, out: &mut impl Write, json: bool) -> Result<bool, Failure> {
        let stdin = std::io::stdin();
        if self.yes || json || !stdin.is_terminal() {
            return Ok(true);
        }
        write!(out, "carry this out? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        stdin.read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

fn step(step: &Step) -> Value {
    let mut object = Map::new();
    set_bytes(&mut object, "name", &step.name);
    object.insert("inode".to_owned(), step.inode.into());
    object.insert("remedy".to_owned(), step.remedy.name().into());
    object.insert("message".to_owned(), step.to_string().into());
    object.insert("finding".to_owned(), step.finding.as_ref().map_or(Value::Null, finding));
    Value::Object(object)
}

#[derive(clap::Args)]
pub(crate) struct SalvageArgs {
    /// The damaged database, with its -wal beside it if there is one; it is not changed
    db: PathBuf,
    /// A new file for the rows; without it only the report is shown
    new: Option<PathBuf>,
    /// Repair the rows, too, so that a daemon starts with NEW
    #[arg(long, requires = "new")]
    repair: bool,
    /// A new folder for what could be read of the contents that cannot be read to their end
    #[arg(long, value_name = "FOLDER")]
    parts: Option<PathBuf>,
    /// List every row that was found, not only the doubtful ones
    #[arg(long, short)]
    verbose: bool,
}

impl SalvageArgs {
    /// Exit code 0: everything was read; 1: something is missing.
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<ExitCode, Failure> {
        let found =
            salvage_file(&self.db).map_err(|error| format!("cannot read {}: {error}", self.db.display()))?;
        let repaired =
            self.new.as_deref().map(|new| self.write(&found, new)).transpose()?.unwrap_or_default();
        if let Some(parts) = &self.parts {
            write_parts(&found.lost, parts)?;
        }
        if json {
            let value = json!({
                "complete": found.complete,
                "pages": found.pages,
                "problems": found.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "rows": found.rows.iter().map(recovered).collect::<Vec<_>>(),
                "lost": found.lost.iter().map(lost).collect::<Vec<_>>(),
                "repair": repaired,
            });
            print_json(out, &value)?;
        } else {
            self.show(out, &found, &repaired)?;
        }
        Ok(if found.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Writes the rows to `new`; the steps of the repair, if there was one.
    fn write(&self, found: &Salvage, new: &Path) -> Result<Vec<String>, Failure> {
        if !self.repair {
            found.write(new)?;
            return Ok(Vec::new());
        }
        if new.symlink_metadata().is_ok() {
            return Err(format!("{} exists: name a new file", new.display()).into());
        }
        let folder = tempfile::tempdir()?;
        let raw = folder.path().join("rows.db");
        found.write(&raw)?;
        let repair = Repair::plan(&raw)?;
        repair.write(new)?;
        Ok(repair.steps().iter().map(ToString::to_string).collect())
    }

    fn show(&self, out: &mut impl Write, found: &Salvage, repaired: &[String]) -> Result<(), Failure> {
        let colours = Colours::of_stdout();
        for problem in &found.problems {
            writeln!(out, "{0}{problem}{0:#}", colours.removed)?;
        }
        for Recovered { row, place, doubts, .. } in &found.rows {
            if self.verbose {
                writeln!(
                    out,
                    "row {} {} {:?}, {} bytes",
                    row.inode,
                    way(*place),
                    row.name,
                    row.content().len()
                )?;
            }
            for doubt in doubts {
                let (name, inode, style) = (&row.name, row.inode, colours.changed);
                writeln!(out, "{style}doubtful: {name:?} (inode {inode}): {doubt}{style:#}")?;
            }
        }
        for lost in &found.lost {
            let (read, row) = (lost.row.content().len(), &lost.row);
            writeln!(
                out,
                "{red}lost: {:?} (inode {}), {read} of {} bytes were read: {}{red:#}",
                row.name,
                row.inode,
                lost.size,
                lost.reason,
                red = colours.removed
            )?;
        }
        for place in [Place::Tree, Place::CutOff, Place::Carved, Place::OlderCopy] {
            let count = found.rows.iter().filter(|found| found.place == place).count();
            if count > 0 {
                writeln!(out, "{count} rows {}", way(place))?;
            }
        }
        if found.rows.is_empty() {
            writeln!(out, "no row could be read")?;
        }
        match (&self.new, self.repair) {
            (None, _) if found.rows.is_empty() => {}
            (None, _) => {
                writeln!(out, "to keep them name a new file: pmxcfs salvage {} NEW", self.db.display())?;
            }
            (Some(new), true) => {
                for step in repaired {
                    writeln!(out, "{step}")?;
                }
                writeln!(out, "written to {}, repaired: the daemon would start with it", new.display())?;
            }
            (Some(new), false) => {
                let rows: Vec<Row> = found.rows.iter().map(|found| found.row.clone()).collect();
                let new = new.display();
                let starts = Database::from_rows(rows).refusals().is_empty();
                let verdict = if starts { "start with it" } else { "refuse it: repair it next" };
                writeln!(out, "written to {new}; the daemon would {verdict}")?;
            }
        }
        Ok(())
    }
}

/// How rows were found, in words.
const fn way(place: Place) -> &'static str {
    match place {
        Place::CutOff => "on pages that the damage cut off",
        Place::Carved => "found byte by byte on damaged pages",
        Place::OlderCopy => "in older copies of damaged pages",
        _ => "in their place",
    }
}

/// Writes what was read of each lost content into a file named by the inode alone: names of a damaged row are not to be trusted.
fn write_parts(lost: &[Lost], folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for Lost { row, .. } in lost {
        std::fs::write(folder.join(format!("inode-{}", row.inode)), row.content())?;
    }
    Ok(())
}

fn recovered(found: &Recovered) -> Value {
    let mut value = crate::listing::row(&found.row);
    value["place"] = json!(found.place);
    value["page"] = json!(found.page);
    value["doubts"] = json!(found.doubts);
    value
}

fn lost(lost: &Lost) -> Value {
    let mut value = crate::listing::row(&lost.row);
    value["place"] = json!(lost.place);
    value["page"] = json!(lost.page);
    value["size"] = json!(lost.size);
    value["reason"] = json!(lost.reason.to_string());
    if let Some(object) = value.as_object_mut() {
        set_bytes(object, "beginning", lost.row.content().as_bytes());
    }
    value
}
