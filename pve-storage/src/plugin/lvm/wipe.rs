// SPDX-License-Identifier: MIT OR Apache-2.0
//! Overwriting removed volumes with zeros (spec: storage-commands, "Wipe job (saferemove)").

use bstr::{BStr, BString, ByteSlice};

use super::device;
use super::image::remove;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::operation::Wipe;
use crate::session::{Session, number};
use crate::storage::Storage;

/// Largest step of one discard, in MiB, unless `saferemove-stepsize` says less.
const LARGEST_STEP: u64 = 32;

pub(super) fn wipe(session: &Session<'_>, storage: &Storage, wipe: &Wipe) -> Result<()> {
    let mut errors = Vec::new();
    for lv in &wipe.volumes {
        if let Err(error) = wipe_one(session, storage, lv) {
            session.warn(error.to_string());
            errors.push(error);
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.swap_remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

fn wipe_one(session: &Session<'_>, storage: &Storage, lv: &BString) -> Result<()> {
    let path = device(storage, lv)?;
    session.run(&Command::change("/sbin/lvchange").arg("-aly").operand(&path))?;
    session.run(&Command::change("/sbin/lvchange").arg("--refresh").operand(&path))?;
    match zeroing_limit(session, path.as_bstr())? {
        None => session.warn(format!("{path} is no device of the device mapper, it is not wiped")),
        Some(0) => {
            let rate = storage.get("saferemove_throughput").unwrap_or(BStr::new("-10485760"));
            let command = Command::change("/usr/bin/cstream")
                .args(["-i", "/dev/zero", "-o"])
                .operand(&path)
                .args(["-T", "10", "-v", "1", "-b", "1048576", "-t"])
                .value(rate)
                .progress();
            // ends with "no space left on device" when everything is written
            session.attempt(&command);
        }
        Some(limit) => {
            let step = storage.number("saferemove-stepsize").unwrap_or(LARGEST_STEP) * 1024 * 1024;
            let command = Command::change("blkdiscard")
                .operand(&path)
                .args(["-v", "--zeroout", "--step", &step.min(limit).to_string()])
                .progress();
            session.attempt(&command);
        }
    }
    session.locked(storage, || remove(session, storage, lv))
}

/// How many bytes the device can be told to zero at once, 0 if it cannot; `None` if it is no `dm-N`.
fn zeroing_limit(session: &Session<'_>, path: &BStr) -> Result<Option<u64>> {
    let Some(real) = session.host().real_path(path) else { return Ok(None) };
    let Some(name) = real.strip_prefix(b"/dev/").filter(|name| is_device_mapper(name)) else {
        return Ok(None);
    };
    let file = super::super::concat([b"/sys/block/", name, b"/queue/write_zeroes_max_bytes"]);
    Ok(Some(session.read(file.as_bstr())?.and_then(|text| number(text.as_bstr())).unwrap_or(0)))
}

fn is_device_mapper(name: &[u8]) -> bool {
    name.strip_prefix(b"dm-")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}
