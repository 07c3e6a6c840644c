// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON objects as QEMU's command line takes them: keys sorted, no white space, each member with its reason.

use std::borrow::Cow;

use bstr::{BStr, BString};
use pve_storage::BlockValue;
use smallvec::SmallVec;

use crate::argument::{Element, Float, Piece};
use crate::origin::Origin;

/// A JSON object in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node<'a> {
    /// In the order in which they were set; they are sorted when they are written.
    members: Vec<(Cow<'a, str>, Value<'a>, Origin)>,
}

/// A JSON value.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Flag(bool),
    Integer(i64),
    /// An unsigned number beyond `i64`.
    Large(u64),
    /// A number too large for an integer.
    Float(f64),
    Text(Cow<'a, BStr>),
    Object(Box<Node<'a>>),
    List(Vec<Value<'a>>),
    /// JSON that is there already.
    Json(&'a BStr),
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Value::Large(number), Value::Integer)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(BStr::new(text)))
    }
}

impl<'a> From<&'a BStr> for Value<'a> {
    fn from(text: &'a BStr) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<BString> for Value<'_> {
    fn from(text: BString) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text.into()))
    }
}

impl<'a> From<Node<'a>> for Value<'a> {
    fn from(node: Node<'a>) -> Self {
        Value::Object(Box::new(node))
    }
}

impl From<&BlockValue> for Value<'_> {
    fn from(value: &BlockValue) -> Self {
        match value {
            BlockValue::Text(text) => text.clone().into(),
            BlockValue::Integer(number) => (*number).into(),
            BlockValue::List(values) => Value::List(values.iter().map(Value::from).collect()),
            BlockValue::Object(members) => {
                let mut node = Node::default();
                for (name, value) in members {
                    node.set(name.clone().into_owned(), Value::from(value), Origin::default());
                }
                node.into()
            }
            other => Value::Text(Cow::Owned(format!("{other:?}").into())),
        }
    }
}

impl<'a> Node<'a> {
    /// An object with room for members.
    pub(crate) fn with_capacity(members: usize) -> Self {
        Node { members: Vec::with_capacity(members) }
    }

    /// Sets a member, replacing one of that name.
    pub(crate) fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>, origin: Origin) {
        let (name, value) = (name.into(), value.into());
        match self.members.iter_mut().find(|(other, ..)| *other == name) {
            Some(member) => (member.1, member.2) = (value, origin),
            None => self.members.push((name, value, origin)),
        }
    }

    /// Writes the object.
    pub(crate) fn put(&self, element: &mut Element<'_>) {
        let mut members: SmallVec<[&(Cow<'a, str>, Value<'a>, Origin); 16]> = self.members.iter().collect();
        members.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        for (place, (name, value, origin)) in members.into_iter().enumerate() {
            element.because(*origin).put(if place == 0 { "{" } else { "," });
            put_text(element, name.as_bytes());
            element.put(":");
            value.put(element);
        }
        element.put(if self.members.is_empty() { "{}" } else { "}" });
    }
}

impl Value<'_> {
    fn put(&self, element: &mut Element<'_>) {
        match self {
            Value::Flag(flag) => element.put(if *flag { "true" } else { "false" }),
            Value::Integer(number) => element.put(*number),
            Value::Large(number) => element.put(*number),
            Value::Float(number) => element.put(Float(*number)),
            Value::Text(text) => {
                put_text(element, text);
                element
            }
            Value::Object(node) => {
                node.put(element);
                element
            }
            Value::Json(text) => element.put(*text),
            Value::List(values) => {
                element.put("[");
                for (place, value) in values.iter().enumerate() {
                    if place > 0 {
                        element.put(",");
                    }
                    value.put(element);
                }
                element.put("]")
            }
        };
    }
}

/// Writes a JSON string. Bytes from 0x80 on stay as they are.
fn put_text(element: &mut Element<'_>, text: &[u8]) {
    let out = element.buffer();
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = after.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x08 => out.extend_from_slice(b"\\b"),
            other => format!("\\u{other:04x}").write(out),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argument::Arguments;

    #[test]
    fn members_are_sorted_at_every_level() {
        let mut inner = Node::default();
        inner.set("z", true, Origin::default());
        inner.set("a", 7u64, Origin::default());
        let mut node = Node::default();
        node.set("file", inner, Origin::default());
        node.set("driver", "ra\"w\u{1}\n/", Origin::default());
        node.set("empty", Node::default(), Origin::default());
        node.set("list", Value::List(vec!["x".into(), Value::Float(1e20)]), Origin::default());
        let mut list = Arguments::default();
        node.put(&mut list.element(Origin::default()));
        let expected = r#"{"driver":"ra\"w\u0001\n/","empty":{},"file":{"a":7,"z":true},"list":["x",1e+20]}"#;
        assert_eq!(list.get(0).unwrap(), expected);
    }
}
