// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that bring files from elsewhere into a database: `import` and `merge`.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Write, stdin};
use std::path::{Path, PathBuf};

use pve_cfs::Listing;
use pve_cfs::draft::Draft;
use pve_cfs::import::{Imported, Refused, Why, import};
use serde_json::{Map, Value};

use crate::compare::{inner, read};
use crate::edit::{Target, Writing, change_with};
use crate::output::{Failure, set_bytes};

/// What happens to files that are there already, or that a rule refuses.
#[derive(clap::Args)]
struct Policy {
    /// Replace files that are there with another content
    #[arg(long)]
    overwrite: bool,
    /// Leave out what is refused, and import the rest. Otherwise one refusal means that nothing is written
    #[arg(long)]
    skip_refused: bool,
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The database
    db: PathBuf,
    /// A folder, or a tar archive; - is an archive from the standard input
    from: PathBuf,
    /// Only what is below this path of the archive or folder: etc/pve of a backup of everything
    #[arg(long, value_name = "PATH")]
    below: Option<PathBuf>,
    /// Where it goes in the database [default: the root]
    #[arg(long, value_name = "PATH")]
    into: Option<PathBuf>,
    /// Make the database if there is none
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    writing: Writing,
}

impl Import {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let mut listing = source(&self.from)?;
        if let Some(below) = &self.below {
            listing = listing.below(inner(below));
        }
        // what can be no entry is part of the listing, and must not get lost with another place
        let mut refused: Vec<Refused> = Vec::new();
        if let Some(into) = &self.into {
            let missed = listing.missed();
            refused.extend(
                missed
                    .map(|left| Refused { path: left.path.clone(), why: Why::NoEntry(left.reason.clone()) }),
            );
            listing = listing.subtree(b"", inner(into));
        }
        let target = Target { writing: &self.writing, create: self.create };
        bring(out, &self.db, &target, json, &self.policy, &refused, &[listing])
    }
}

fn source(from: &Path) -> Result<Listing, Failure> {
    if from.as_os_str() == "-" {
        return Ok(Listing::of_archive(stdin().lock())?);
    }
    if from.is_dir() {
        return Ok(Listing::of_folder(from)?);
    }
    let archive = File::open(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    Listing::of_archive(std::io::BufReader::new(archive))
        .map_err(|error| format!("{}: {error}", from.display()).into())
}

#[derive(clap::Args)]
pub(crate) struct Merge {
    /// The database that gets the files
    db: PathBuf,
    /// The database, or the folder, that has them; it is not changed
    from: PathBuf,
    /// What to take: files, or directories with all that is in them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Where it goes, if elsewhere; for one PATH only
    #[arg(long = "as", value_name = "NEW")]
    place: Option<PathBuf>,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    writing: Writing,
}

impl Merge {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        if self.place.is_some() && self.paths.len() > 1 {
            return Err("--as is for one path: merge the others by themselves".into());
        }
        let from = read(&self.from)?;
        let mut listings = Vec::new();
        for path in &self.paths {
            let listing = from.subtree(inner(path), inner(self.place.as_ref().unwrap_or(path)));
            if listing.is_empty() {
                return Err(format!("there is no {} in {}", path.display(), self.from.display()).into());
            }
            listings.push(listing);
        }
        let target = Target { writing: &self.writing, create: false };
        bring(out, &self.db, &target, json, &self.policy, &[], &listings)
    }
}

/// Imports `listings`, all or, if the policy says so, what is not refused. `refused` is what is refused already.
fn bring(
    out: &mut impl Write,
    db: &Path,
    target: &Target<'_>,
    json: bool,
    policy: &Policy,
    refused: &[Refused],
    listings: &[Listing],
) -> Result<(), Failure> {
    // the same is done twice, in memory and on the database; what was refused the last time counts
    let left_out = RefCell::new(Vec::new());
    let apply = |draft: &mut Draft| {
        let done: Vec<Imported> =
            listings.iter().map(|listing| import(draft, listing, policy.overwrite)).collect();
        let all: Vec<&Refused> = refused.iter().chain(done.iter().flat_map(|done| &done.refused)).collect();
        if !all.is_empty() && !policy.skip_refused {
            let lines: Vec<String> = all.iter().map(|refused| format!("  {}", line(refused))).collect();
            return Err(format!(
                "nothing was written, because {} (--skip-refused imports the rest):\n{}",
                if lines.len() == 1 {
                    "one path is refused".to_owned()
                } else {
                    format!("{} paths are refused", lines.len())
                },
                lines.join("\n")
            )
            .into());
        }
        let values = all.iter().map(|refused| (line(refused), value(refused))).collect();
        left_out.replace(values);
        Ok(())
    };
    change_with(out, db, target, json, apply, &|| {
        left_out.borrow().iter().map(|(_, value): &(String, Value)| value.clone()).collect()
    })?;
    for (line, _) in left_out.borrow().iter() {
        anstream::eprintln!("pmxcfs: left out: {line}");
    }
    Ok(())
}

fn line(refused: &Refused) -> String {
    let errno = match &refused.why {
        Why::Rule(refusal) => format!(" ({:?})", refusal.errno()),
        _ => String::new(),
    };
    format!("{:?}: {}{errno}", refused.path, refused.why)
}

fn value(refused: &Refused) -> Value {
    let mut object = Map::new();
    set_bytes(&mut object, "path", &refused.path);
    object.insert("reason".to_owned(), refused.why.to_string().into());
    Value::Object(object)
}
