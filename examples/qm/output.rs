// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing answers that may hold any bytes.

use std::error::Error;

use crate::Out;

/// Writes `bytes` and a line feed.
pub(crate) fn line(out: &mut Out, bytes: impl AsRef<[u8]>) -> Result<(), Box<dyn Error>> {
    out.write_all(bytes.as_ref())?;
    Ok(out.write_all(b"\n")?)
}
