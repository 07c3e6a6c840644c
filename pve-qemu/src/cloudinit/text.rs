// SPDX-License-Identifier: MIT OR Apache-2.0
//! A text under construction, line by line.

/// Bytes with LF line ends.
#[derive(Default)]
pub(super) struct Text(Vec<u8>);

impl Text {
    /// A line of several parts.
    pub(super) fn line(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.push(b'\n');
    }

    /// A line that introduces `values`, and one line for each of them between `before` and `after`. Nothing without
    /// values.
    pub(super) fn list<V: AsRef<[u8]>>(&mut self, head: &[u8], values: &[V], before: &[u8], after: &[u8]) {
        if !values.is_empty() {
            self.line(&[head]);
            values.iter().for_each(|value| self.line(&[before, value.as_ref(), after]));
        }
    }

    /// A line with `values` between `before` and `after`, one blank between them. Nothing without values.
    pub(super) fn joined<V: AsRef<[u8]>>(&mut self, before: &[u8], values: &[V], after: &[u8]) {
        if !values.is_empty() {
            self.line(&[before, &bstr::join(" ", values), after]);
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
