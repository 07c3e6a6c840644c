// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte strings as the recorded cases write them: a JSON string where they are UTF-8, else `{"$bytes": "HEX"}`.

use serde_json::{Value, json};

/// The bytes that a recorded value stands for; `None` for anything that is not a byte string.
pub(crate) fn read(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let hex = value.get("$bytes")?.as_str()?.as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The recorded form of `bytes`.
pub(crate) fn write(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "$bytes": hex })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        for bytes in [&b"abc"[..], &[0xff, 0x00, 0x61], b""] {
            assert_eq!(read(&write(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(read(&json!(null)), None);
    }
}
