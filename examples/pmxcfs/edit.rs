// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that change a database without a daemon: `put`, `rm`, `mv`, `mkdir`; and how all verbs write.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use pve_cfs::draft::Draft;
use pve_cfs::refusal::Refusal;
use pve_cfs::store::{self, Store, StoreOptions};
use pve_cfs::{Database, Listing, diff};
use serde_json::{Value, json};

use crate::compare::{self, inner};
use crate::output::{Colours, Failure, print_json};

/// How a database is written to.
#[derive(clap::Args)]
pub(crate) struct Writing {
    /// Show what would change, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Write although a daemon has the database open. It will not notice, and may overwrite the change
    #[arg(long)]
    force: bool,
    /// Make no copy of the database (DB.SECONDS.bak) before it is changed
    #[arg(long)]
    no_backup: bool,
}

#[derive(clap::Args)]
pub(crate) struct Put {
    /// The database
    db: PathBuf,
    /// Path in the database; a file that is there is replaced
    path: PathBuf,
    /// The file to read; the standard input if left out
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// Make the directories above it where they are missing
    #[arg(long, short = 'p')]
    parents: bool,
    #[command(flatten)]
    writing: Writing,
}

impl Put {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let mut content = Vec::new();
        // one byte more than any file can have is enough to refuse it
        let most = pve_cfs::schema::MAX_FILE_SIZE as u64 + 1;
        if self.file.as_os_str() == "-" {
            std::io::stdin().take(most).read_to_end(&mut content)?;
        } else {
            std::fs::File::open(&self.file)
                .and_then(|file| file.take(most).read_to_end(&mut content))
                .map_err(|error| format!("cannot read {}: {error}", self.file.display()))?;
        }
        let path = inner(&self.path);
        change(out, &self.db, &self.writing, json, |draft| {
            if self.parents {
                let directory = path.rfind_byte(b'/').map_or(&b""[..], |slash| &path[..slash]);
                refused(directory, draft.make_directories(directory))?;
            }
            refused_place(path, draft.put(path, &content))
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct Rm {
    /// The database
    db: PathBuf,
    /// Paths in the database
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Remove directories with all that is in them
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    writing: Writing,
}

impl Rm {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        change(out, &self.db, &self.writing, json, |draft| {
            self.paths.iter().map(|path| inner(path)).try_for_each(|path| {
                let removed =
                    if self.recursive { draft.delete_all(path).map(drop) } else { draft.delete(path) };
                refused(path, removed)
            })
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct Mv {
    /// The database
    db: PathBuf,
    /// Path of a file or an empty directory
    from: PathBuf,
    /// Its path afterwards; or a directory to move it into
    to: PathBuf,
    #[command(flatten)]
    writing: Writing,
}

impl Mv {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let (from, to) = (inner(&self.from), inner(&self.to));
        change(out, &self.db, &self.writing, json, |draft| {
            let mut to = BString::from(to);
            if draft.tree().get(&to).is_some_and(|entry| entry.is_directory()) {
                if !to.is_empty() {
                    to.push(b'/');
                }
                to.extend_from_slice(pve_cfs::path::split(from).1);
            }
            refused(from, draft.rename(from, &to))
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct Mkdir {
    /// The database
    db: PathBuf,
    /// Paths in the database
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Make the directories above, too, and do not mind those that exist
    #[arg(long, short)]
    parents: bool,
    #[command(flatten)]
    writing: Writing,
}

impl Mkdir {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        change(out, &self.db, &self.writing, json, |draft| {
            self.paths.iter().map(|path| inner(path)).try_for_each(|path| {
                let made =
                    if self.parents { draft.make_directories(path) } else { draft.make_directory(path) };
                refused_place(path, made)
            })
        })
    }
}

fn refused(path: &[u8], result: Result<(), Refusal>) -> Result<(), Failure> {
    result.map_err(|refusal| {
        let errno = refusal.errno();
        format!("{:?}: {refusal} ({errno:?})", path.as_bstr()).into()
    })
}

/// As [`refused`], of a verb that can make the directories above.
fn refused_place(path: &[u8], result: Result<(), Refusal>) -> Result<(), Failure> {
    let is_missing = matches!(result, Err(Refusal::ParentMissing));
    refused(path, result)
        .map_err(|failure| if is_missing { format!("{failure}; --parents makes it").into() } else { failure })
}

/// Changes the database `path` as `apply` says, as one transaction, and says what changed.
pub(crate) fn change(
    out: &mut impl Write,
    path: &Path,
    writing: &Writing,
    json: bool,
    apply: impl Fn(&mut Draft) -> Result<(), Failure>,
) -> Result<(), Failure> {
    change_with(out, path, &Target { writing, create: false }, json, apply, &Vec::new)
}

/// What may be done to a database.
pub(crate) struct Target<'w> {
    pub(crate) writing: &'w Writing,
    /// Make it if there is none.
    pub(crate) create: bool,
}

/// As [`change`]; `left_out` is what was left out, for JSON.
///
/// Everything is tried in memory first, so that a change that is refused leaves not even a backup copy behind.
pub(crate) fn change_with(
    out: &mut impl Write,
    path: &Path,
    target: &Target<'_>,
    json: bool,
    apply: impl Fn(&mut Draft) -> Result<(), Failure>,
    left_out: &dyn Fn() -> Vec<Value>,
) -> Result<(), Failure> {
    let writing = target.writing;
    let now = u32::try_from(jiff::Timestamp::now().as_second())?;
    let in_use = store::is_in_use(path);
    if in_use && !writing.force && !writing.dry_run {
        return Err(format!(
            "{} is in use by a daemon, which would not notice the change: stop it first, or change the files where it \
             shows them",
            path.display()
        )
        .into());
    }
    let create = target.create && path.symlink_metadata().is_err();
    let database = if create {
        Database::from_rows(Vec::new())
    } else {
        let (database, findings) = Database::open_read_only(path)?;
        compare::warn(&findings);
        database
    };
    if !database.refusals().is_empty() {
        return Err("the database breaks rules that every change relies on: repair it first".into());
    }
    let before = Listing::of_tree(database.tree());
    let mut draft = Draft::new(database.into_loaded(), now);
    apply(&mut draft)?;
    let mut backup = None;
    if !writing.dry_run && !draft.is_empty() {
        backup = (!writing.no_backup && !create).then(|| backup_path(path, now));
        let options =
            StoreOptions { lock: !writing.force, create, backup: backup.clone(), ..StoreOptions::default() };
        let (store, loaded) = Store::open(path, &options, now)?;
        draft = Draft::new(loaded, now);
        apply(&mut draft)?;
        draft.commit(&store)?;
        if !in_use {
            store.checkpoint()?;
        }
    }
    let after = Listing::of_tree(draft.tree());
    let found = diff::diff(&before, &after);
    if json {
        let context = writing.dry_run.then_some(3);
        let changes: Vec<_> = found.iter().map(|found| compare::value(found, context)).collect();
        let value = json!({
            "written": !writing.dry_run && !draft.is_empty(),
            "version": draft.tree().version(),
            "backup": backup.map(|path| path.display().to_string()),
            "changes": changes,
            "refused": left_out(),
        });
        return print_json(out, &value);
    }
    compare::print(out, &found, writing.dry_run.then_some(3), Colours::of_stdout())?;
    match (&backup, draft.is_empty(), writing.dry_run) {
        (_, true, _) => writeln!(out, "nothing to change")?,
        (_, _, true) => writeln!(out, "nothing was written: leave out --dry-run to do it")?,
        (Some(backup), ..) => {
            writeln!(
                out,
                "version {}; the database as it was: {}",
                draft.tree().version(),
                backup.display()
            )?;
        }
        (None, ..) => writeln!(out, "version {}", draft.tree().version())?,
    }
    Ok(())
}

/// A name for a copy of the database that is not taken: that which is usual for such copies, with a number behind it if need be.
fn backup_path(path: &Path, now: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{now}.bak"));
    let mut candidate = PathBuf::from(&name);
    let mut number = 1;
    while candidate.symlink_metadata().is_ok() {
        number += 1;
        let mut numbered = name.clone();
        numbered.push(format!(".{number}"));
        candidate = numbered.into();
    }
    candidate
}
