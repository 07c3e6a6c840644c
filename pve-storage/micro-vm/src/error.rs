// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with a machine, told to the person who reads the test's output.

use std::fmt;

/// What went wrong, with everything that is known about it: the console of the machine, what a program complained
/// about. `Debug` prints it as text too, as that is what a failing test shows.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// An error that reads so.
    pub fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }

    /// An error of the operating system about something.
    pub(crate) fn about(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Error(format!("{what}: {error}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
