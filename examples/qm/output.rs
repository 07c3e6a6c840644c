// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to standard output, any bytes, without a fuss when nobody reads any more.

use std::io::{self, Write};

/// Writes `bytes` and a line feed.
pub(crate) fn line(bytes: impl AsRef<[u8]>) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes.as_ref()).and_then(|()| out.write_all(b"\n"));
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write: {error}")),
    }
}
