// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs recorded cases of the reference (`DIR/*.jsonl`) against the crates and shows where they differ.
//!
//! A topic is a file of cases, one JSON object a line. For each topic in [`TOPICS`] a function computes what the
//! crates make of a case; this file compares that with what the reference did. It knows nothing of any topic.

mod bytes;
mod compare;
mod topics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rayon::prelude::*;
use serde_json::Value;

/// What a topic makes of a case: the value to compare with the member `expect`, or why the operation failed.
type Actual = Result<Value, String>;

/// A topic that the crates are measured against.
struct Topic {
    /// Name of the file of cases, without `.jsonl`.
    name: &'static str,
    /// Computes the actual result of one case; `dir` is the folder of the cases, for shared inputs.
    run: fn(case: &Value, dir: &Path) -> Actual,
}

/// Compares the crates with recorded behaviour of the reference.
///
/// Every DIR/TOPIC.jsonl whose topic is known is run, case by case; files of unknown topics are listed as "not
/// covered" and count neither as passed nor as failed. The exit code is 1 if any case differs.
#[derive(Parser)]
#[command(
    name = "conformance",
    after_help = "Example: conformance path/to/vectors --topic QEMU_CONF --show 3"
)]
struct Args {
    /// Folder of the recorded cases; the selection that comes with this program if left out
    dir: Option<PathBuf>,
    /// Run only this topic (may be given several times)
    #[arg(long)]
    topic: Vec<String>,
    /// Run only cases whose name contains this text
    #[arg(long)]
    case: Option<String>,
    /// Show the first N differing cases of each topic
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let dir = args.dir.clone().unwrap_or_else(own_vectors);
    match run(&args, &dir) {
        Ok(reports) => {
            print(&args, &reports);
            let failed = reports.iter().any(|r| !r.failures.is_empty());
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(message) => {
            eprintln!("conformance: {message}");
            ExitCode::from(2)
        }
    }
}

/// The selection of cases in this repository.
fn own_vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/vectors")
}

/// The outcome of one file of cases.
struct Report {
    topic: String,
    /// No function in [`topics::TOPICS`] knows this topic.
    covered: bool,
    total: usize,
    failures: Vec<Failure>,
}

/// A case in which the crates and the reference differ.
struct Failure {
    case: String,
    differences: Vec<String>,
}

fn run(args: &Args, dir: &Path) -> Result<Vec<Report>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("cannot read folder {}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
        .collect();
    files.sort();
    let mut reports = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if args.topic.is_empty() || args.topic.contains(&name) {
            reports.push(run_file(args, dir, &file, name)?);
        }
    }
    match args.topic.iter().find(|topic| !reports.iter().any(|r| r.topic == **topic)) {
        Some(topic) => Err(format!("no file {topic}.jsonl in {}", dir.display())),
        None if reports.is_empty() => Err(format!("no *.jsonl file in {}", dir.display())),
        None => Ok(reports),
    }
}

fn run_file(args: &Args, dir: &Path, file: &Path, name: String) -> Result<Report, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let mut cases = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line)
            .map_err(|e| format!("{} line {}: not JSON: {e}", file.display(), number + 1))?;
        let wanted = args.case.as_ref().is_none_or(|part| case_name(&case).contains(part.as_str()));
        if wanted {
            cases.push(case);
        }
    }
    let Some(topic) = topics::TOPICS.iter().find(|topic| topic.name == name) else {
        return Ok(Report { topic: name, covered: false, total: cases.len(), failures: Vec::new() });
    };
    let failures = cases.par_iter().filter_map(|case| failure(topic, case, dir)).collect();
    Ok(Report { topic: name, covered: true, total: cases.len(), failures })
}

fn failure(topic: &Topic, case: &Value, dir: &Path) -> Option<Failure> {
    let differences = compare::outcome(case, &(topic.run)(case, dir));
    (!differences.is_empty()).then(|| Failure { case: case_name(case).to_owned(), differences })
}

fn case_name(case: &Value) -> &str {
    case["name"].as_str().unwrap_or("(a case without name)")
}

fn print(args: &Args, reports: &[Report]) {
    if args.json {
        let rows: Vec<Value> = reports
            .iter()
            .map(|r| {
                let names: Vec<&str> = r.failures.iter().map(|f| f.case.as_str()).collect();
                serde_json::json!({
                    "topic": r.topic, "covered": r.covered, "total": r.total,
                    "passed": if r.covered { r.total - r.failures.len() } else { 0 }, "differing": names,
                })
            })
            .collect();
        println!("{}", Value::Array(rows));
        return;
    }
    let (mut passed, mut failed) = (0, 0);
    for report in reports {
        if !report.covered {
            println!("{:<22} {:>13}  ({} cases)", report.topic, "not covered", report.total);
            continue;
        }
        let good = report.total - report.failures.len();
        passed += good;
        failed += report.failures.len();
        let mark = if report.failures.is_empty() { "" } else { "  DIFFERS" };
        println!("{:<22} {:>13}{mark}", report.topic, format!("{good}/{}", report.total));
        for failure in report.failures.iter().take(args.show) {
            println!("  {}", failure.case);
            for difference in &failure.differences {
                println!("    {}", difference.replace('\n', "\n    "));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every case that comes with this program behaves as recorded.
    #[test]
    fn own_selection_passes() {
        let dir = own_vectors();
        let args = Args { dir: None, topic: Vec::new(), case: None, show: 3, json: false };
        let reports = run(&args, &dir).unwrap();
        print(&args, &reports);
        for report in &reports {
            assert!(report.covered, "no code for topic {}", report.topic);
            assert!(report.failures.is_empty(), "{} cases of {} differ", report.failures.len(), report.topic);
            assert!(report.total > 0, "no case of {}", report.topic);
        }
    }
}
