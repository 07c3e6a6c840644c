// SPDX-License-Identifier: MIT OR Apache-2.0
//! Argument vectors that remember, span by span, why each byte is there.
//!
//! An argument is written piece by piece; [`Element::because`] says from where on another reason holds. Texts of
//! all arguments share one buffer and the reasons are small copies, so the memory costs little more than a plain
//! vector of strings would.

use std::fmt;

use bstr::{BStr, ByteSlice};

use crate::origin::Origin;

/// A vector of arguments, each with the reasons for its parts.
#[derive(Clone)]
pub struct Arguments {
    text: Vec<u8>,
    /// Where each argument ends in `text`; it begins where the one before ends.
    ends: Vec<u32>,
    /// From which offset of `text` on which reason holds, as its place in `origins`, ascending; every argument begins with
    /// a mark.
    marks: Vec<(u32, u32)>,
    /// The reasons. There are far fewer than marks, and they are large.
    origins: Vec<Origin>,
    /// Places in `origins` of reasons that were given before, by [`Origin::slot`], plus one.
    recent: [u16; RECENT],
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments::with_capacity(0, 0)
    }
}

/// Arguments are equal if their texts and all reasons are.
impl PartialEq for Arguments {
    fn eq(&self, other: &Self) -> bool {
        let reason = |list: &Self, at: u32| list.origins.get(at as usize).copied().unwrap_or_default();
        self.text == other.text
            && self.ends == other.ends
            && self.marks.len() == other.marks.len()
            && self
                .marks
                .iter()
                .zip(&other.marks)
                .all(|(mine, theirs)| mine.0 == theirs.0 && reason(self, mine.1) == reason(other, theirs.1))
    }
}

impl Eq for Arguments {}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Slots for the reasons that were given last: most come back soon, and are found there at once.
const RECENT: usize = 64;

impl Arguments {
    /// Number of arguments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no argument.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The argument at `index`, counted from 0 (the program).
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&BStr> {
        let end = *self.ends.get(index)? as usize;
        self.text.get(self.start(index)..end).map(BStr::new)
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &BStr> + '_ {
        (0..self.ends.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// The parts of the argument at `index`, in order and without gaps, each with its reason.
    pub fn parts(&self, index: usize) -> impl Iterator<Item = Part<'_>> + '_ {
        let (start, end) = (self.start(index), self.ends.get(index).map_or(0, |end| *end as usize));
        let first = self.marks.partition_point(|mark| (mark.0 as usize) < start);
        let marks = self.marks.get(first..).unwrap_or_default();
        marks
            .iter()
            .enumerate()
            .take_while(move |(_, mark)| (mark.0 as usize) < end || start == end && mark.0 as usize == start)
            .filter_map(move |(at, mark)| {
                let next = marks.get(at + 1).map_or(end, |next| (next.0 as usize).min(end));
                let text = self.text.get(mark.0 as usize..next)?;
                let origin = self.origins.get(mark.1 as usize).copied().unwrap_or_default();
                (start == end || !text.is_empty()).then(|| Part { text: text.as_bstr(), origin })
            })
            .take(if start == end { 1 } else { usize::MAX })
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize)
    }

    /// An empty vector with room for the usual virtual machine.
    pub(crate) fn with_capacity(arguments: usize, bytes: usize) -> Self {
        Arguments {
            text: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(arguments),
            marks: Vec::with_capacity(arguments * 2),
            origins: Vec::with_capacity(arguments),
            recent: [0; RECENT],
        }
    }

    /// From here on `origin` holds.
    fn mark(&mut self, origin: Origin) {
        let slot = origin.slot() % RECENT;
        let recent = self.recent.get(slot).map_or(0, |place| usize::from(*place));
        let known = recent
            .checked_sub(1)
            .filter(|at| self.origins.get(*at).is_some_and(|other| other.is_same(&origin)));
        let at = known.unwrap_or_else(|| {
            self.origins.push(origin);
            if let (Some(place), Ok(count)) = (self.recent.get_mut(slot), u16::try_from(self.origins.len())) {
                *place = count;
            }
            self.origins.len() - 1
        });
        self.marks.push((self.here(), at as u32));
    }

    /// Begins an argument; it ends when the returned [`Element`] is dropped.
    pub(crate) fn element(&mut self, origin: Origin) -> Element<'_> {
        self.mark(origin);
        Element { list: self }
    }

    /// Adds an argument of one piece.
    pub(crate) fn push(&mut self, text: impl Piece, origin: Origin) {
        self.element(origin).put(text);
    }

    /// Adds `option` and begins its value, both for the same reason.
    pub(crate) fn option(&mut self, option: &'static str, origin: Origin) -> Element<'_> {
        self.push(option, origin);
        self.element(origin)
    }

    /// Adds `option` with a value of one piece.
    pub(crate) fn pair(&mut self, option: &'static str, value: impl Piece, origin: Origin) {
        self.option(option, origin).put(value);
    }

    /// Whether an argument contains a NUL byte, which no program can be given.
    pub(crate) fn contains_nul(&self) -> bool {
        self.text.find_byte(0).is_some()
    }

    /// Makes room for the arguments of `others`.
    pub(crate) fn reserve(&mut self, others: &[&Arguments]) {
        self.text.reserve(others.iter().map(|other| other.text.len()).sum());
        self.ends.reserve(others.iter().map(|other| other.ends.len()).sum());
        self.marks.reserve(others.iter().map(|other| other.marks.len()).sum());
        self.origins.reserve(others.iter().map(|other| other.origins.len()).sum());
    }

    /// Copies all arguments of `other` to the end of this vector.
    pub(crate) fn append(&mut self, other: &Arguments) {
        let shift = self.here();
        self.text.extend_from_slice(&other.text);
        self.ends.extend(other.ends.iter().map(|end| end + shift));
        let known = self.origins.len() as u32;
        self.marks.extend(other.marks.iter().map(|(at, origin)| (at + shift, origin + known)));
        self.origins.extend_from_slice(&other.origins);
    }

    /// Adds one argument: all of `others` joined by `separator`, each with its own reasons.
    pub(crate) fn push_joined(&mut self, others: &Arguments, separator: &str) {
        let start = self.here();
        let known = self.origins.len() as u32;
        self.origins.extend_from_slice(&others.origins);
        let mut marks = others.marks.iter().peekable();
        let mut from = 0;
        for (index, end) in others.ends.iter().enumerate() {
            let separated = if index == 0 { 0 } else { separator.len() as u32 };
            // the separator belongs to what follows it
            let shift = self.here() - from;
            while let Some((at, origin)) = marks.next_if(|(at, _)| at < end || *at == from && from == *end) {
                let extra = if *at == from { 0 } else { separated };
                self.marks.push((at + shift + extra, origin + known));
            }
            if index > 0 {
                self.text.extend_from_slice(separator.as_bytes());
            }
            self.text.extend_from_slice(others.text.get(from as usize..*end as usize).unwrap_or_default());
            from = *end;
        }
        if self.marks.last().is_none_or(|mark| mark.0 < start) {
            self.mark(Origin::default());
        }
        self.ends.push(self.here());
    }

    /// Offset of the next byte. A command line beyond 4 GiB does not exist: configurations are at most 1 MiB.
    fn here(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

/// A part of an argument that is there for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The bytes of the part.
    pub text: &'a BStr,
    /// Why they are there.
    pub origin: Origin,
}

/// An argument being written.
pub(crate) struct Element<'a> {
    list: &'a mut Arguments,
}

impl Element<'_> {
    /// Appends a piece.
    pub(crate) fn put(&mut self, piece: impl Piece) -> &mut Self {
        piece.write(&mut self.list.text);
        self
    }

    /// What follows has another reason.
    pub(crate) fn because(&mut self, origin: Origin) -> &mut Self {
        self.list.mark(origin);
        self
    }

    /// The buffer, for writers that are not pieces.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.list.text
    }
}

impl Drop for Element<'_> {
    fn drop(&mut self) {
        let here = self.list.here();
        self.list.ends.push(here);
    }
}

/// Something that can be written into an argument.
pub(crate) trait Piece {
    /// Appends itself to `out`.
    fn write(&self, out: &mut Vec<u8>);
}

impl Piece for str {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Piece for [u8] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for BStr {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for bstr::BString {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl<T: Piece + ?Sized> Piece for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

macro_rules! number_pieces {
    ($($number:ty),*) => {$(
        impl Piece for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}

number_pieces!(u8, u16, u32, u64, usize, i64);

/// A number in lower-case hexadecimal.
pub(crate) struct Hex(pub(crate) u64);

impl Piece for Hex {
    fn write(&self, out: &mut Vec<u8>) {
        let digits = (u64::BITS - self.0.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = (self.0 >> (digit * 4)) & 0xf;
            out.push(char::from_digit(value as u32, 16).map_or(b'0', |c| c as u8));
        }
    }
}

/// A number the reference computes in floating point: printed like C's `%.15g`.
pub(crate) struct Float(pub(crate) f64);

impl Piece for Float {
    fn write(&self, out: &mut Vec<u8>) {
        // most numbers are whole; zero may have a sign
        if self.0.trunc() == self.0 && self.0 != 0.0 && self.0.abs() < 1e15 {
            return (self.0 as i64).write(out);
        }
        // The first format gives the decimal exponent after rounding to 15 digits.
        let scientific = format!("{:.14e}", self.0);
        let Some((digits, exponent)) = scientific.split_once('e') else {
            out.extend_from_slice(scientific.as_bytes());
            return;
        };
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let shorten = |text: &str| -> String {
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text.to_owned()
            }
        };
        if (-4..15).contains(&exponent) {
            let decimals = usize::try_from(14 - exponent).unwrap_or(0);
            out.extend_from_slice(shorten(&format!("{:.decimals$}", self.0)).as_bytes());
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            let text = format!("{}e{sign}{:02}", shorten(digits), exponent.unsigned_abs());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The value of a property in an argument of the form `a=b,c=d`.
pub(crate) fn property<'t>(argument: &'t [u8], name: &str) -> Option<&'t BStr> {
    let mut parts = argument.split(|byte| *byte == b',');
    parts.find_map(|part| part.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).map(BStr::new)
}

/// Appends several pieces to an [`Element`].
macro_rules! put {
    ($element:expr $(, $piece:expr)+ $(,)?) => {{
        let element = &mut $element;
        $(element.put($piece);)+
    }};
}
pub(crate) use put;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Key, Rule};

    fn text(piece: impl Piece) -> String {
        let mut out = Vec::new();
        piece.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_cover_every_argument() {
        let (a, b) = (Rule::Name.of(Key::new("name")), Rule::Name.default(Key::new("name")));
        let mut list = Arguments::default();
        list.push("-name", a);
        list.element(a).put("x").because(b).put(",y=").put(7u32);
        list.push("", b);
        list.push("z", a);
        assert_eq!(list.iter().collect::<Vec<_>>(), ["-name", "x,y=7", "", "z"]);
        let parts = |index| list.parts(index).map(|p| (p.text.to_string(), p.origin)).collect::<Vec<_>>();
        assert_eq!(parts(0), [("-name".into(), a)]);
        assert_eq!(parts(1), [("x".into(), a), (",y=7".into(), b)]);
        assert_eq!(parts(2), [(String::new(), b)]);
        assert_eq!(parts(3), [("z".into(), a)]);
        assert_eq!(parts(4), []);
    }

    #[test]
    fn joins_keep_the_reasons() {
        let (a, b) = (Rule::Name.of(Key::new("name")), Rule::Name.default(Key::new("name")));
        let mut flags = Arguments::default();
        flags.element(a).put("type=").because(b).put("pc");
        flags.push("acpi=off", a);
        let mut list = Arguments::default();
        list.push("-machine", a);
        list.push_joined(&flags, ",");
        assert_eq!(list.get(1).unwrap(), "type=pc,acpi=off");
        let parts: Vec<_> = list.parts(1).map(|p| p.text.to_string()).collect();
        assert_eq!(parts, ["type=", "pc", ",acpi=off"]);
        let mut twice = list.clone();
        twice.append(&list);
        assert_eq!(twice.iter().collect::<Vec<_>>(), ["-machine", "type=pc,acpi=off"].repeat(2));
        assert_eq!(twice.parts(3).count(), 3);
    }

    #[test]
    fn numbers_print_as_in_the_reference() {
        assert_eq!(text(Hex(0)), "0");
        assert_eq!(text(Hex(0x1f)), "1f");
        assert_eq!(text(Hex(0x10)), "10");
        assert_eq!(text(Float(1000.0 / 7.0)), "142.857142857143");
        assert_eq!(text(Float(512.0)), "512");
        assert_eq!(text(Float(1e20)), "1e+20");
        assert_eq!(text(Float(18446744073709551616.0)), "1.84467440737096e+19");
        assert_eq!(text(Float(0.00001)), "1e-05");
        assert_eq!(text(Float(0.1 + 0.2)), "0.3");
    }
}
