// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a program ends: its exit code, and what it says of an error.

use std::error::Error;
use std::io;
use std::process::{ExitCode, Termination};

use crate::whereabouts::complain;

/// The exit code of a program. An error is told, after `label`; that nobody reads any more is none: enough was seen.
#[must_use]
pub fn exit_code(label: &str, result: Result<impl Termination, Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(ending) => ending.report(),
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(label, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Whether a reader went away, directly or in the middle of a JSON text.
#[must_use]
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let json = error.downcast_ref().and_then(serde_json::Error::io_error_kind);
    json.or_else(|| error.downcast_ref().map(io::Error::kind)) == Some(io::ErrorKind::BrokenPipe)
}
