// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of this machine, and the folder where what is expensive to make is kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// The folder for images and kernels: in the target directory that the running program was built in, kept between
/// runs.
///
/// # Errors
/// If the program does not lie in a target directory, or the folder cannot be made.
pub fn cache() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(Error::about("the running program"))?;
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target =
        target.ok_or_else(|| Error::new(format!("{}: not in a target directory", program.display())))?;
    let folder = target.join("tmp").join("micro-vm");
    std::fs::create_dir_all(&folder).map_err(Error::about(folder.display()))?;
    Ok(folder)
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// What is wrong, in a form to be shown: the program is not there, or what it complained about.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String, Error> {
    run_in(Path::new("."), program, arguments)
}

/// The same in another folder.
///
/// # Errors
/// As [`run`].
pub fn run_in<A: AsRef<OsStr>>(folder: &Path, program: &str, arguments: &[A]) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    let output = command.output().map_err(Error::about(format_args!("cannot run {program}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{command:?}: {}\n{complaint}", output.status)))
}

/// The first of `programs` that is not installed.
#[must_use]
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    programs.iter().copied().find(|program| find(Path::new(program)).is_none())
}

/// Where a program is; an absolute path is where it is.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
