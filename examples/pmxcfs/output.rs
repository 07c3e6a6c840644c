// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all verbs share about their output: JSON, bytes in it, and colours, on a terminal alone.

use std::io::Write;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use base64ct::{Base64, Encoding};
use bstr::ByteSlice;
use serde_json::{Map, Value};

/// Why a verb failed.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Prints indented JSON.
pub(crate) fn print_json(out: &mut impl Write, value: &Value) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Sets `key` to `bytes` if they are UTF-8; otherwise sets `key_base64`, so that no byte is lost or made up.
pub(crate) fn set_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match bytes.to_str() {
        Ok(text) => object.insert(key.to_owned(), text.into()),
        Err(_) => object.insert(format!("{key}_base64"), Base64::encode_string(bytes).into()),
    };
}

/// The styles of an output; all plain if it is no terminal.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Colours {
    pub(crate) added: Style,
    pub(crate) removed: Style,
    pub(crate) changed: Style,
    pub(crate) quiet: Style,
    /// The output is a terminal: bytes that would steer it must be escaped.
    pub(crate) terminal: bool,
}

impl Colours {
    /// Of the standard output, as `NO_COLOR` and the like have it.
    pub(crate) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let terminal = std::io::IsTerminal::is_terminal(&stdout);
        if anstream::AutoStream::choice(&stdout) == ColorChoice::Never {
            return Self { terminal, ..Self::default() };
        }
        Self {
            added: AnsiColor::Green.on_default(),
            removed: AnsiColor::Red.on_default(),
            changed: AnsiColor::Yellow.on_default(),
            quiet: AnsiColor::Cyan.on_default(),
            terminal,
        }
    }
}
