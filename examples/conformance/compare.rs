// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what the crates made of a case with what the reference did, and names each difference by its path.

use serde_json::Value;

use crate::Actual;
use crate::bytes;

/// Differences shown of one case.
const MOST: usize = 12;
/// Longest value shown in a difference, in bytes.
const WIDEST: usize = 600;

/// The differences between a case's `expect` (or `error: true`) and the actual result; none: they agree.
pub(crate) fn outcome(case: &Value, actual: &Actual) -> Vec<String> {
    match (case["error"] == Value::Bool(true), actual) {
        (true, Err(_)) => Vec::new(),
        (true, Ok(value)) => vec![format!("the reference fails, the crates give {}", short(value))],
        (false, Err(message)) => {
            vec![format!("expected {}", short(&case["expect"])), format!("the crates fail: {message}")]
        }
        (false, Ok(value)) => {
            let mut found = Vec::new();
            walk("", &case["expect"], value, &mut found);
            if found.len() > MOST {
                let more = found.len() - MOST;
                found.truncate(MOST);
                found.push(format!("… and {more} more differences"));
            }
            found
        }
    }
}

fn walk(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        // a text may be recorded in either form, for example when it holds a non-character
        (Value::Object(_), Value::String(_))
            if bytes::read(expected).is_some_and(|e| bytes::read(actual) == Some(e)) => {}
        (Value::Object(e), Value::Object(a)) => {
            for (key, value) in e {
                match a.get(key) {
                    Some(other) => walk(&format!("{path}/{key}"), value, other, found),
                    None => found.push(format!("{path}/{key}: missing, expected {}", short(value))),
                }
            }
            for (key, value) in a.iter().filter(|(key, _)| !e.contains_key(*key)) {
                found.push(format!("{path}/{key}: unexpected {}", short(value)));
            }
        }
        (Value::Array(e), Value::Array(a)) => {
            for (index, (value, other)) in e.iter().zip(a).enumerate() {
                walk(&format!("{path}/{index}"), value, other, found);
            }
            for (index, value) in e.iter().enumerate().skip(a.len()) {
                found.push(format!("{path}/{index}: missing, expected {}", short(value)));
            }
            for (index, value) in a.iter().enumerate().skip(e.len()) {
                found.push(format!("{path}/{index}: unexpected {}", short(value)));
            }
        }
        (Value::Number(e), Value::Number(a)) if e == a || e.as_f64() == a.as_f64() => {}
        _ if expected == actual => {}
        _ => found.push(format!("{path}: expected {}\n{path}:      got {}", short(expected), short(actual))),
    }
}

fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > WIDEST {
        let cut = (0..=WIDEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_each_difference_by_its_path() {
        let case = json!({"expect": {"a": [1, 2], "b": "x", "c": null}});
        let found = outcome(&case, &Ok(json!({"a": [1, 3, 4], "b": "x", "d": 1})));
        assert_eq!(
            found,
            [
                "/a/1: expected 2\n/a/1:      got 3",
                "/a/2: unexpected 4",
                "/c: missing, expected null",
                "/d: unexpected 1"
            ]
        );
    }

    #[test]
    fn an_expected_error_must_happen() {
        let case = json!({"error": true});
        assert!(outcome(&case, &Err("no".into())).is_empty());
        assert_eq!(outcome(&case, &Ok(json!(1))).len(), 1);
        assert_eq!(outcome(&json!({"expect": 1}), &Err("no".into())).len(), 2);
    }
}
