// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shell words: quoting an argument vector for display, and splitting the option `args` into words.

use bstr::{BStr, BString, ByteSlice};

/// Joins `words` with blanks, each quoted on its own so that a POSIX shell reads the same words again
/// (spec: qemu-command, "`args` and quoting").
///
/// ```
/// assert_eq!(pve_qemu::shell::join(["-name", "it's", ""].iter().map(|w| w.as_bytes())), r"-name 'it'\''s' ''");
/// ```
pub fn join<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> BString {
    let mut out = Vec::new();
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        quote(word, &mut out);
    }
    out.into()
}

/// The pretty form of a joined line: every option on a line of its own.
///
/// As in the reference this is a replacement in the finished text, so a blank before a minus sign inside a quoted
/// argument is broken as well.
#[must_use]
pub fn pretty(line: &BStr) -> BString {
    line.replace(" -", " \\\n  -").into()
}

/// Appends `word`, quoted if needed.
fn quote(word: &[u8], out: &mut Vec<u8>) {
    if word.is_empty() {
        out.extend_from_slice(b"''");
        return;
    }
    if word.iter().all(|byte| plain(*byte)) {
        out.extend_from_slice(word);
        return;
    }
    let start = out.len();
    out.push(b'\'');
    let mut rest = word;
    while let Some(at) = rest.find_byte(b'\'') {
        let (before, quotes) = rest.split_at(at);
        let run = quotes.iter().take_while(|byte| **byte == b'\'').count();
        out.extend_from_slice(before);
        if run == 1 {
            out.extend_from_slice(br"'\''");
        } else {
            out.extend_from_slice(b"'\"");
            out.extend_from_slice(&quotes[..run.min(quotes.len())]);
            out.extend_from_slice(b"\"'");
        }
        rest = quotes.get(run..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
    // one empty pair of quotes goes at either end
    if out.get(start..).is_some_and(|text| text.starts_with(b"''")) {
        out.drain(start..start + 2);
    }
    if out.get(start..).is_some_and(|text| text.ends_with(b"''")) {
        out.truncate(out.len() - 2);
    }
}

/// Bytes that need no quotes. The equals sign is not among them.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_!%+,-./:@^".contains(&byte)
}

/// Splits a text into words as the reference does with `args`: quotes and backslashes, no variables, globs or
/// comments. `None` if a quote is not closed or the text ends in a lone backslash; the reference then ignores the
/// whole text.
///
/// Inside single quotes a backslash stays in the word, but the character after it does not close the quotes.
///
/// ```
/// use pve_qemu::shell::split;
/// assert_eq!(split(br#"-a "b \"c" 'd e'f"#).unwrap(), ["-a", "b \"c", "d ef"]);
/// assert_eq!(split(b"'open"), None);
/// ```
#[must_use]
pub fn split(text: &[u8]) -> Option<Vec<BString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r' => words.extend(word.take().map(BString::from)),
            b'\\' => word.get_or_insert_default().push(bytes.next()?),
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        b'"' => break,
                        b'\\' => word.push(bytes.next()?),
                        other => word.push(other),
                    }
                }
            }
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        b'\'' => break,
                        b'\\' => word.extend([b'\\', bytes.next()?]),
                        other => word.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word.map(BString::from));
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(word: &str) -> String {
        join([word.as_bytes()]).to_string()
    }

    #[test]
    fn quotes_as_the_reference() {
        assert_eq!(quoted("a,b+c:@/%^!_-."), "a,b+c:@/%^!_-.");
        assert_eq!(quoted("a=b"), "'a=b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("''"), r#""''""#);
        assert_eq!(quoted("\\'"), r"'\'\'");
        assert_eq!(quoted("'a"), r"\''a'");
        assert_eq!(quoted("é"), "'é'");
    }

    #[test]
    fn pretty_breaks_before_every_minus() {
        let line = join(["kvm", "-a", "x -y"].iter().map(|w| w.as_bytes()));
        assert_eq!(pretty(line.as_bstr()), "kvm \\\n  -a 'x \\\n  -y'");
    }

    #[test]
    fn splits_as_the_reference() {
        assert_eq!(split(br"'a\'b'").unwrap(), [r"a\'b"]);
        assert_eq!(split(b"'' a\\ b").unwrap(), ["", "a b"]);
        assert_eq!(split(b"a\\"), None);
        assert_eq!(split(b"  ").unwrap(), Vec::<BString>::new());
    }

    proptest! {
        #[test]
        fn splitting_undoes_joining(words in prop::collection::vec("[^\\\\\0]*", 0..5)) {
            // (a backslash inside single quotes is where the two rules differ)
            let line = join(words.iter().map(|w| w.as_bytes()));
            let back = split(&line).unwrap();
            prop_assert_eq!(back, words);
        }
    }
}
