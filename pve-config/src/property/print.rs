// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing a property string (spec: VM configuration, "Print" of property strings).

use bstr::{BStr, BString};
use smallvec::SmallVec;

use super::table::{Named, PropertyFormat};
use crate::format::size::write_size;
use crate::format::{Context, Format, Scalar, parse_size};
use crate::rule::{Reason, ValueError};
use crate::suggestion::nearest;

/// Writes the values of one property string in the reference's order, checking each.
///
/// The caller asks for the next position and then writes that value, until there is none.
pub(crate) struct Printer<'p> {
    format: &'static PropertyFormat,
    present: u64,
    /// Keys that are checked, but not written.
    skipped: u64,
    /// Keys still to be written, of the group that is being written, and of the later ones.
    group: u64,
    later: [u64; 3],
    /// Bit of the value that is written as `MODEL=VALUE`.
    joined: u64,
    out: &'p mut Vec<u8>,
    start: usize,
    /// Where the values stand in the output.
    values: SmallVec<[(u8, std::ops::Range<usize>); 10]>,
    /// Values that are checked, but not written.
    unwritten: Vec<(u8, BString)>,
}

impl<'p> Printer<'p> {
    /// A printer of the keys `present`, appending to `out`; the keys of `skip` are not written.
    pub(crate) fn new(
        format: &'static PropertyFormat,
        present: u64,
        skip: &[&str],
        out: &'p mut Vec<u8>,
    ) -> Self {
        let default = format.default.map_or(0, |position| 1_u64 << position);
        let skipped = skip.iter().fold(0_u64, |bits, name| match format.find(name.as_bytes()) {
            Some(Named::Key(position)) => bits | 1 << position,
            _ => bits,
        });
        // MODEL=MAC instead of MODEL and macaddr=MAC: that value comes directly after the model
        let joined = format.key_alias.filter(|(model, target)| {
            format.default == Some(*model)
                && [model, target].iter().all(|at| (present & !skipped) >> **at & 1 == 1)
        });
        let joined = joined.map_or(0, |(_, target)| 1_u64 << target);
        let others = present & !default & !joined;
        let later = [others & !format.required, others & format.required, joined];
        let start = out.len();
        Printer {
            format,
            present,
            skipped,
            group: present & default,
            later,
            joined,
            out,
            start,
            values: SmallVec::new(),
            unwritten: Vec::new(),
        }
    }

    /// The position of the next value to write.
    #[inline]
    pub(crate) fn next_position(&mut self) -> Option<usize> {
        while self.group == 0 {
            self.group = std::mem::take(self.later.iter_mut().rfind(|group| **group != 0)?);
        }
        let position = self.group.trailing_zeros() as usize;
        self.group &= self.group - 1;
        Some(position)
    }

    /// Writes `value`, a text, at `position`. A size is written with the largest unit that divides it.
    pub(crate) fn text(&mut self, position: usize, value: &[u8]) {
        let is_size = self
            .format
            .key_at(position)
            .is_some_and(|key| matches!(key.rule.format, Some(Format::Scalar(Scalar::DiskSize))));
        match is_size.then(|| parse_size(value)) {
            Some(Ok(bytes)) => self.value(position, |out| write_size(bytes, out)),
            _ => self.value(position, |out| out.extend_from_slice(value)),
        }
    }

    /// Writes the value at `position`, which `write` appends to the output.
    #[inline]
    pub(crate) fn value(&mut self, position: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(key) = self.format.key_at(position) else { return };
        if self.skipped >> position & 1 == 1 {
            let mut value = Vec::new();
            write(&mut value);
            self.unwritten.push((position as u8, BString::from(value)));
            return;
        }
        if self.joined >> position & 1 == 1 {
            self.out.push(b'=');
        } else {
            if !self.values.is_empty() {
                self.out.push(b',');
            }
            if self.format.default != Some(position) {
                self.out.extend_from_slice(key.name.as_bytes());
                self.out.push(b'=');
            }
        }
        let value = self.out.len();
        write(self.out);
        self.values.push((position as u8, value..self.out.len()));
    }

    /// Checks what was written. On failure nothing stays in the output.
    pub(crate) fn finish(self, context: &Context<'_>) -> Result<(), ValueError> {
        let checked = self.check(context);
        if checked.is_err() {
            self.out.truncate(self.start);
        }
        checked
    }

    fn check(&self, context: &Context<'_>) -> Result<(), ValueError> {
        let written = self.values.iter().map(|(position, range)| {
            (usize::from(*position), self.out.get(range.clone()).unwrap_or_default(), true)
        });
        let unwritten =
            self.unwritten.iter().map(|(position, value)| (usize::from(*position), value.as_slice(), false));
        for (position, value, is_written) in written.chain(unwritten) {
            let Some(key) = self.format.key_at(position) else { continue };
            key.rule.check(value, context).map_err(|error| error.within(0, key.name))?;
            if is_written && memchr::memchr(b',', value).is_some() {
                return Err(ValueError::whole(value, Reason::Comma).within(0, key.name));
            }
        }
        if let Some(reason) = self.format.missing(self.present) {
            return Err(ValueError::whole(b"", reason));
        }
        if let Some((position, key)) = self.format.unmet(self.present) {
            let name = self.format.key_at(position).map(|key| key.name).unwrap_or_default();
            let value = self.lookup(name).unwrap_or_default();
            return Err(ValueError::whole(value, Reason::Requires { key }).within(0, name));
        }
        if let Some(validator) = self.format.validator {
            let lookup = |key: &str| self.lookup(key);
            validator(&lookup, context).map_err(|(key, reason)| {
                ValueError::whole(self.lookup(key).unwrap_or_default(), reason).within(0, key)
            })?;
        }
        Ok(())
    }

    fn lookup(&self, key: &str) -> Option<&BStr> {
        let Some(Named::Key(position)) = self.format.find(key.as_bytes()) else { return None };
        let written = self.values.iter().find(|value| usize::from(value.0) == position);
        match written {
            Some((_, range)) => self.out.get(range.clone()).map(BStr::new),
            None => self
                .unwritten
                .iter()
                .find(|value| usize::from(value.0) == position)
                .map(|(_, value)| BStr::new(value.as_slice())),
        }
    }
}

impl PropertyFormat {
    /// Prints `data`, pairs of keys (or aliases) and values, leaving out the keys of `skip`, which need not be keys of
    /// this format. The value of a size is a number of bytes.
    ///
    /// # Errors
    ///
    /// A key that is unknown or given twice, a required key that is missing, a value that breaks a rule or contains a
    /// comma.
    ///
    /// ```
    /// use pve_config::property::PropertyFormat;
    ///
    /// let agent = PropertyFormat::named("vm:agent").unwrap();
    /// let data = [("guest-fsfreeze", "0"), ("enabled", "1")];
    /// assert_eq!(agent.print(data, &[], &Default::default()).unwrap(), "1,freeze-fs=0");
    /// ```
    pub fn print<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &'static self,
        data: impl IntoIterator<Item = (K, V)>,
        skip: &[&str],
        context: &Context<'_>,
    ) -> Result<BString, ValueError> {
        let mut present = 0_u64;
        let mut values: Vec<(usize, V)> = Vec::new();
        for (key, value) in data {
            let name = key.as_ref();
            let position = match self.find(name) {
                Some(Named::Key(position) | Named::Alias(position, _)) => position,
                None if skip.iter().any(|skipped| skipped.as_bytes() == name) => continue,
                None => {
                    let suggestion = nearest(name, self.keys().map(|key| key.name)).map(str::to_owned);
                    return Err(ValueError::whole(
                        name,
                        Reason::UnknownKey { format: self.name(), suggestion },
                    ));
                }
            };
            if present >> position & 1 == 1 {
                return Err(ValueError::whole(name, Reason::Duplicate));
            }
            present |= 1 << position;
            values.push((position, value));
        }
        let mut out = Vec::new();
        let mut printer = Printer::new(self, present, skip, &mut out);
        while let Some(position) = printer.next_position() {
            if let Some((_, value)) = values.iter().find(|(at, _)| *at == position) {
                printer.text(position, value.as_ref());
            }
        }
        printer.finish(context)?;
        Ok(BString::from(out))
    }
}
