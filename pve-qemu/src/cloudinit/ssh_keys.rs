// SPDX-License-Identifier: MIT OR Apache-2.0
//! The value of `sshkeys`: authorised keys, one a line, percent-encoded into one word.

use base64ct::{Base64, Encoding as _};
use bstr::{BString, ByteSlice};
use thiserror::Error;

/// The value of `sshkeys` for the text of an `authorized_keys` file: every byte but letters, digits and `-._~`
/// becomes `%XX` (spec: cloud-init, "Password hashing", last paragraph).
///
/// ```
/// use pve_qemu::cloudinit::{decode_ssh_keys, encode_ssh_keys};
///
/// let value = encode_ssh_keys(b"ssh-ed25519 AAAA ops@example\n");
/// assert_eq!(value, "ssh-ed25519%20AAAA%20ops%40example%0A");
/// assert_eq!(decode_ssh_keys(value.as_bytes()), "ssh-ed25519 AAAA ops@example\n");
/// ```
#[must_use]
pub fn encode_ssh_keys(text: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
    let mut value = String::with_capacity(text.len() + text.len() / 4);
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                value.push(char::from(*byte));
            }
            _ => value.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    value
}

/// The text that a value of `sshkeys` stands for: `%XX` in either case becomes that byte, everything else stays.
#[must_use]
pub fn decode_ssh_keys(value: &[u8]) -> BString {
    let mut text = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, after @ ..])
                if let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) =>
            {
                text.push(high << 4 | low);
                after
            }
            _ => {
                text.push(*byte);
                tail
            }
        };
    }
    text.into()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The keys of a decoded text: its lines, except those of white space only. Nothing but the line feed is taken off.
pub(super) fn key_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(|byte| is_space(*byte)))
}

/// The keys of a decoded text joined by line feeds, as OpenNebula gets them: blank lines and blanks around line ends
/// vanish, a leading blank line stays as a line feed.
pub(super) fn context_keys(text: &[u8]) -> Vec<u8> {
    let mut keys = Vec::with_capacity(text.len());
    let mut rest = text;
    // a separator is the longest run of white space that holds a line feed
    while let Some(at) = rest.find_byte(b'\n') {
        let (before, after) = rest.split_at(at);
        keys.extend_from_slice(trim_end(before));
        keys.push(b'\n');
        let start = after.iter().position(|byte| !is_space(*byte)).unwrap_or(after.len());
        rest = after.get(start..).unwrap_or_default();
    }
    keys.extend_from_slice(rest);
    let end = keys.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
    keys.truncate(end);
    keys
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// White space as the reference counts it: blank, tab, line feed, vertical tab, form feed, carriage return.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A line of `sshkeys` that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "line {line} of the ssh keys is no public key: {text:?}; it must read TYPE BASE64 [COMMENT], options before it are fine"
)]
#[non_exhaustive]
pub struct SshKeyError {
    /// Number of the line, counted from 1.
    pub line: usize,
    /// The line.
    pub text: BString,
}

/// Checks every line of a decoded text that is not blank, as creating and changing a VM do.
///
/// A key is a word naming its type and a base64 word whose data start with the same name; options may stand before
/// it and a comment behind it, lines starting with `#` are comments.
///
/// # Errors
/// The first line that is no key.
pub fn check_ssh_keys(text: &[u8]) -> Result<(), SshKeyError> {
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let bare = line.trim_with(|character| character.is_ascii_whitespace());
        if !bare.is_empty() && !bare.starts_with(b"#") && !is_key(bare) {
            return Err(SshKeyError { line: index + 1, text: line.into() });
        }
    }
    Ok(())
}

fn is_key(line: &[u8]) -> bool {
    let after_options = words(line).nth(1).map(|(start, _)| line.get(start..).unwrap_or_default());
    [Some(line), after_options].into_iter().flatten().any(|text| {
        let mut fields = text.fields_with(|character| character.is_ascii_whitespace());
        let (Some(kind), Some(data)) = (fields.next(), fields.next()) else { return false };
        let data = data.to_str().ok().and_then(|data| Base64::decode_vec(data).ok()).unwrap_or_default();
        let named = data.split_first_chunk::<4>().map(|(length, rest)| (u32::from_be_bytes(*length), rest));
        named.is_some_and(|(length, rest)| {
            usize::try_from(length).is_ok_and(|length| length == kind.len() && rest.len() > length)
                && rest.starts_with(kind)
        })
    })
}

/// The words of a line with their offsets; blanks between double quotes separate nothing.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut quoted = false;
    let mut start = 0;
    let mut cuts = Vec::new();
    for (at, byte) in line.iter().enumerate() {
        quoted ^= *byte == b'"';
        if !quoted && byte.is_ascii_whitespace() {
            cuts.push((start, at));
            start = at + 1;
        }
    }
    cuts.push((start, line.len()));
    cuts.into_iter()
        .filter(|(start, end)| start < end)
        .map(|(start, end)| (start, line.get(start..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5nXm8uQvKxZq5cT1b0yqv9WmEw7i3o4Xx2m6c8RkLt ops@example";

    #[test]
    fn half_escapes_stay() {
        assert_eq!(decode_ssh_keys(b"%41%4a%4A%%4%zz%2"), "AJJ%%4%zz%2");
    }

    #[test]
    fn lines_keep_their_blanks_but_blank_lines_go() {
        let lines: Vec<_> = key_lines(b"\n a \r\n \t\n\nb").collect();
        assert_eq!(lines, [&b" a \r"[..], b"b"]);
    }

    #[test]
    fn context_keys_lose_blanks_around_line_ends() {
        assert_eq!(context_keys(b"a \r\n \n  b\nc \n\n"), b"a\nb\nc");
        assert_eq!(context_keys(b" \n a"), b"\na");
        assert_eq!(context_keys(b" a "), b" a ");
        assert_eq!(context_keys(b"\n\n"), b"");
    }

    #[test]
    fn keys_are_checked_line_by_line() {
        let options = format!("\n# admin\ncommand=\"echo a b\",no-pty {KEY}\n{KEY}\n");
        assert_eq!(check_ssh_keys(options.as_bytes()), Ok(()));
        let bad =
            format!("{KEY}\nssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJ5nXm8uQvKxZq5cT1b0yqv9WmEw7i3o4Xx2m6c8RkLt\n");
        assert_eq!(check_ssh_keys(bad.as_bytes()).map_err(|error| error.line), Err(2));
        assert!(check_ssh_keys(b"hello world").is_err());
    }

    proptest! {
        #[test]
        fn encoding_is_reversible(text: Vec<u8>) {
            prop_assert_eq!(decode_ssh_keys(encode_ssh_keys(&text).as_bytes()), text);
        }

        #[test]
        fn any_bytes_decode(value: Vec<u8>) {
            let text = decode_ssh_keys(&value);
            let _ = (check_ssh_keys(&text), context_keys(&text), key_lines(&text).count());
        }
    }
}
