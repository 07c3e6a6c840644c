// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be written in a property string, in one line for people.

use std::fmt::Write;

use super::table::{Key, PropertyFormat};
use crate::format::Format;
use crate::rule::{Kind, Rule};

impl PropertyFormat {
    /// The keys and what their values may be, in the order in which they are printed; what may be left out is in
    /// brackets.
    ///
    /// ```
    /// use pve_config::vm;
    ///
    /// assert_eq!(vm::WATCHDOG.synopsis(), "[[model=]<i6300esb|ib700>] [,action=<reset|shutdown|poweroff|pause|debug|none>]");
    /// assert_eq!(vm::MEMORY.synopsis(), "[current=]<integer (16 - N)>");
    /// ```
    #[must_use]
    pub fn synopsis(&self) -> String {
        let default = self.keys().filter(|key| key.default_key);
        let required = self.keys().filter(|key| key.required && !key.default_key);
        let others = self.keys().filter(|key| !key.required && !key.default_key);
        let mut text = String::new();
        for key in default.chain(required).chain(others) {
            append(&mut text, key);
        }
        text
    }
}

fn append(text: &mut String, key: &Key) {
    let comma = if text.is_empty() { "" } else { "," };
    let (open, close) = if key.required { ("", "") } else { ("[", "]") };
    let space = if text.is_empty() || key.required { "" } else { " " };
    let (name, value) = (key.name, key.rule.hint());
    let name = if key.default_key { format!("[{name}=]") } else { format!("{name}=") };
    // writing to a string cannot fail
    let _ = write!(text, "{space}{open}{comma}{name}{value}{close}");
}

impl Rule<'_> {
    /// What a value may be, for people: `<1|0>`, `<integer (1 - 4094)>`, `<pve-volume-id>`.
    #[must_use]
    pub fn hint(&self) -> String {
        if !self.words.is_empty() {
            return format!("<{}>", self.words.join("|"));
        }
        let name = match (self.kind, self.format) {
            (Kind::Boolean, _) => return "<1|0>".to_owned(),
            (Kind::Integer, _) => "integer",
            (Kind::Number, _) => "number",
            (Kind::String, None) => "string",
            (Kind::String, Some(Format::Scalar(scalar) | Format::Optional(scalar))) => scalar.name(),
            (Kind::String, Some(Format::List(scalar))) => return format!("<{}-list>", scalar.name()),
            (Kind::String, Some(Format::Properties(format))) => return format.synopsis(),
        };
        let bound = |bound: Option<f64>| bound.map_or_else(|| "N".to_owned(), |bound| bound.to_string());
        match (self.minimum, self.maximum) {
            (None, None) => format!("<{name}>"),
            (minimum, maximum) => format!("<{name} ({} - {})>", bound(minimum), bound(maximum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::vm;

    #[test]
    fn required_keys_have_no_brackets() {
        let net = vm::NET.synopsis();
        assert!(net.starts_with("[model=]<e1000|"), "{net}");
        assert!(net.contains(" [,tag=<integer (1 - 4094)>]"), "{net}");
        assert!(vm::NUMA.synopsis().starts_with("cpus=<string> [,hostnodes=<string>]"));
        assert!(vm::INTEL_TDX.synopsis().starts_with("[type=]<tdx>,attestation=<1|0> ["));
        assert!(vm::BOOT.synopsis().ends_with("[,order=<pve-qm-bootdev-list>]"));
    }
}
