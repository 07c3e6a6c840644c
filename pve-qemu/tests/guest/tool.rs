// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that the tests run, and the folder where they keep what is expensive to make.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder for images and kernels, kept between runs.
pub(crate) fn cache() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guest");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// What is wrong, in a form to be shown: the program is not there, or what it complained about.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String, String> {
    run_in(Path::new("."), program, arguments)
}

/// The same in another folder.
pub(crate) fn run_in<A: AsRef<OsStr>>(
    folder: &Path,
    program: &str,
    arguments: &[A],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    let output = command.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// The first of `programs` that is not installed.
pub(crate) fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    programs.iter().copied().find(|program| !folders.iter().any(|folder| folder.join(program).exists()))
}
