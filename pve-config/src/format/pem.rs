// SPDX-License-Identifier: MIT OR Apache-2.0
//! PEM blocks (RFC 7468): whether a text is one block, or a chain of certificates. What they encode is not looked at.

/// One block labelled `CERTIFICATE`.
pub(super) fn is_certificate(text: &[u8]) -> bool {
    labels(text).is_some_and(|labels| matches!(labels.as_slice(), [b"CERTIFICATE"]))
}

/// One or more blocks labelled `CERTIFICATE`.
pub(super) fn is_certificate_chain(text: &[u8]) -> bool {
    labels(text)
        .is_some_and(|labels| !labels.is_empty() && labels.iter().all(|label| *label == b"CERTIFICATE"))
}

/// One block of any label.
pub(super) fn is_block(text: &[u8]) -> bool {
    labels(text).is_some_and(|labels| labels.len() == 1)
}

/// The labels of the blocks that `text` consists of; `None` if there is anything else in it but blank lines.
fn labels(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut labels = Vec::new();
    let mut open: Option<(&[u8], usize)> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        open = match (open, boundary(line, b"-----BEGIN "), boundary(line, b"-----END ")) {
            (None, Some(label), _) => Some((label, 0)),
            (None, None, None) if line.is_empty() => None,
            (Some((label, lines)), None, Some(end)) if label == end && lines > 0 => {
                labels.push(label);
                None
            }
            (Some((label, lines)), None, None) if is_base64(line) => Some((label, lines + 1)),
            _ => return None,
        };
    }
    open.is_none().then_some(labels)
}

/// The label in `-----BEGIN LABEL-----`.
fn boundary<'l>(line: &'l [u8], prefix: &[u8]) -> Option<&'l [u8]> {
    let label = line.strip_prefix(prefix)?.strip_suffix(b"-----")?;
    (!label.is_empty() && !label.contains(&b'-')).then_some(label)
}

fn is_base64(line: &[u8]) -> bool {
    let padding = line.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = line.get(..line.len() - padding).unwrap_or_default();
    padding <= 2
        && !digits.is_empty()
        && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----";

    #[test]
    fn counts_blocks() {
        assert!(is_certificate(CERTIFICATE.as_bytes()));
        let chain = CERTIFICATE.repeat(3);
        assert!(is_certificate_chain(chain.as_bytes()) && !is_certificate(chain.as_bytes()));
        assert!(is_block(KEY.as_bytes()) && !is_certificate(KEY.as_bytes()));
    }

    #[test]
    fn refuses_what_is_not_a_block() {
        for bad in [
            "",
            "x",
            "-----BEGIN A-----\n",
            "-----BEGIN A-----\nAA\n-----END B-----",
            "-----BEGIN A-----\n-----END A-----",
        ] {
            assert!(!is_block(bad.as_bytes()), "{bad}");
        }
    }
}
