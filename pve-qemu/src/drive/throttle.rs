// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of a drive, in both forms of the command line (spec: qemu-command-drives, "Throttle limits").

use bstr::{BStr, ByteSlice};

use super::Drive;
use super::node::{Node, Value};
use crate::argument::{Element, Float};
use crate::origin::{Origin, Rule};

/// How the number of a limit is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// MiB per second in the configuration, bytes per second for QEMU.
    Megabytes,
    /// The same number.
    Plain,
}

/// Every limit: key of the configuration, name in QEMU, unit. In the order of the old form.
const LIMITS: &[(&str, &str, Unit)] = &[
    ("mbps", "bps-total", Unit::Megabytes),
    ("mbps_max", "bps-total-max", Unit::Megabytes),
    ("bps_max_length", "bps-total-max-length", Unit::Plain),
    ("iops", "iops-total", Unit::Plain),
    ("iops_max", "iops-total-max", Unit::Plain),
    ("iops_max_length", "iops-total-max-length", Unit::Plain),
    ("mbps_rd", "bps-read", Unit::Megabytes),
    ("mbps_rd_max", "bps-read-max", Unit::Megabytes),
    ("bps_rd_max_length", "bps-read-max-length", Unit::Plain),
    ("iops_rd", "iops-read", Unit::Plain),
    ("iops_rd_max", "iops-read-max", Unit::Plain),
    ("iops_rd_max_length", "iops-read-max-length", Unit::Plain),
    ("mbps_wr", "bps-write", Unit::Megabytes),
    ("mbps_wr_max", "bps-write-max", Unit::Megabytes),
    ("bps_wr_max_length", "bps-write-max-length", Unit::Plain),
    ("iops_wr", "iops-write", Unit::Plain),
    ("iops_wr_max", "iops-write-max", Unit::Plain),
    ("iops_wr_max_length", "iops-write-max-length", Unit::Plain),
];

impl<'a> Drive<'a> {
    fn limits(&self) -> impl Iterator<Item = (&'static str, Unit, &'a BStr, Origin)> + '_ {
        // most drives have none, and are asked for 18 of them
        let limited = self.keys().any(|key| key.contains("bps") || key.starts_with("iops"));
        LIMITS.iter().filter(move |_| limited).filter_map(|(key, name, unit)| {
            let value = self.truthy(key)?;
            Some((*name, *unit, value, Rule::Throttle.of(self.key.sub(key))))
        })
    }

    /// The limits as QEMU's `throttle-group` takes them.
    pub(super) fn throttle_limits(&self) -> Node<'a> {
        let mut node = Node::default();
        for (name, unit, text, origin) in self.limits() {
            let value = match unit {
                Unit::Megabytes => bytes_value(text),
                Unit::Plain => integer_value(text),
            };
            node.set(name, value, origin);
        }
        node
    }

    /// Appends the limits in the old form.
    pub(super) fn put_throttling(&self, element: &mut Element<'_>) {
        for (name, unit, text, origin) in self.limits() {
            element.because(origin).put(",throttling.").put(name).put("=");
            match unit {
                Unit::Plain => element.put(text),
                Unit::Megabytes => match bytes_value(text) {
                    Value::Integer(number) => element.put(number),
                    Value::Large(number) => element.put(number),
                    Value::Float(number) => element.put(Float(number)),
                    _ => element,
                },
            };
        }
    }
}

/// MiB per second in bytes per second, truncated.
fn bytes_value(text: &BStr) -> Value<'static> {
    float_value((parse_float(text) * 1_048_576.0).trunc())
}

/// An integer without sign and leading zeros.
fn integer_value(text: &BStr) -> Value<'static> {
    let number = text.to_str().ok().and_then(|text| text.parse::<i128>().ok());
    match number.map(|number| (i64::try_from(number), u64::try_from(number))) {
        Some((Ok(number), _)) => Value::Integer(number),
        Some((_, Ok(number))) => Value::Large(number),
        _ => float_value(parse_float(text)),
    }
}

fn float_value(number: f64) -> Value<'static> {
    // 2^63 and 2^64 as floating point numbers: the first ones that do not fit
    if number.abs() < 9_223_372_036_854_775_808.0 {
        Value::Integer(number as i64)
    } else if (0.0..18_446_744_073_709_551_616.0).contains(&number) {
        Value::Large(number as u64)
    } else {
        Value::Float(number)
    }
}

fn parse_float(text: &BStr) -> f64 {
    text.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
