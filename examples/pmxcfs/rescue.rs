// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs for broken databases: `repair`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use pve_cfs::Finding;
use pve_cfs::repair::{Repair, Step};
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
