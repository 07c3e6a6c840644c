// SPDX-License-Identifier: MIT OR Apache-2.0
//! Explanations: what every argument is there for.

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::{Serialize, Serializer};

use crate::argument::Part;
use crate::command_line::CommandLine;
use crate::origin::{Origin, Source};

impl CommandLine {
    /// Explains every argument: an option together with its value, part by part.
    ///
    /// ```
    /// # use pve_qemu::{Builder, Host, Options};
    /// # let host = Host::default();
    /// # let storages = pve_storage::Storages::default();
    /// # let builder = Builder::new(&host, &storages);
    /// let (config, _) = pve_config::guest::VmConfig::parse(b"net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n");
    /// let command = builder.build("100".parse()?, &config, &Options::default())?;
    ///
    /// // where does host_mtu=1500 come from?
    /// let found = command.explain().find_map(|explained| explained.part("host_mtu=1500")).unwrap();
    /// assert_eq!(found.origin.key.to_string(), "net0.bridge");
    /// assert_eq!(
    ///     found.origin.to_string(),
    ///     "net0.bridge and host's bridges: virtio cards on a bridge are told its MTU, always from machine version \
    ///      10.0+pve1 on [qemu-command-devices, \"Network\"]"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self) -> impl Iterator<Item = Explained<'_>> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let index = next;
            let first = self.arguments().get(index)?;
            let value = self.arguments().get(index + 1).filter(|_| is_option(first));
            let value = value.filter(|value| !is_option(value));
            next += if value.is_some() { 2 } else { 1 };
            Some(Explained { command: self, index, has_value: value.is_some() })
        })
    }
}

/// Whether an argument is an option rather than a value of one.
pub(crate) fn is_option(argument: &BStr) -> bool {
    matches!(argument.as_bytes(), [b'-', next, ..] if next.is_ascii_alphabetic() || *next == b'-')
}

/// An option with its value, or an argument that stands alone.
#[derive(Clone, Copy)]
pub struct Explained<'a> {
    command: &'a CommandLine,
    index: usize,
    has_value: bool,
}

impl<'a> Explained<'a> {
    /// Place of the option in the argument vector, counted from 0 (the program).
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The option, `-device`.
    #[must_use]
    pub fn option(&self) -> &'a BStr {
        self.command.arguments().get(self.index).unwrap_or_default()
    }

    /// Its value, if it has one.
    #[must_use]
    pub fn value(&self) -> Option<&'a BStr> {
        self.command.arguments().get(self.index + 1).filter(|_| self.has_value)
    }

    /// The parts of the value (or of the option itself, if it has none), neighbours with the same reason joined.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'a>> {
        let argument = self.index + usize::from(self.has_value);
        let text = self.command.arguments().get(argument).unwrap_or_default();
        let mut joined: Vec<(usize, usize, Origin)> = Vec::new();
        let mut at = 0;
        for part in self.command.parts(argument) {
            let end = at + part.text.len();
            match joined.last_mut() {
                Some((_, last_end, origin)) if *origin == part.origin => *last_end = end,
                _ => joined.push((at, end, part.origin)),
            }
            at = end;
        }
        let part = |(from, to, origin): (usize, usize, Origin)| {
            Some(Part { text: text.get(from..to)?.as_bstr(), origin })
        };
        joined.into_iter().filter_map(part).collect()
    }

    /// The first part that contains `text`.
    #[must_use]
    pub fn part(&self, text: &str) -> Option<Part<'a>> {
        self.parts().into_iter().find(|part| part.text.contains_str(text))
    }
}

/// Where the reasons begin.
const COLUMN: usize = 36;

impl fmt::Display for Explained<'_> {
    /// The option and its value on a line, then each part with its reason beside it, or below if the part is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => write!(f, "{} {value}", self.option())?,
            None => write!(f, "{}", self.option())?,
        }
        for part in self.parts() {
            let text = part.text.trim_start_with(|c| c == ',').as_bstr().to_string();
            write!(f, "\n    {text:<COLUMN$}")?;
            if text.chars().count() > COLUMN {
                write!(f, "\n    {:<COLUMN$}", "")?;
            }
            write!(f, " {}", part.origin)?;
        }
        Ok(())
    }
}

impl Serialize for Explained<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct PartRecord {
            text: String,
            source: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            fact: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            option: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'static str>,
            rule: &'static str,
            document: &'static str,
            section: &'static str,
        }
        #[derive(Serialize)]
        struct Record {
            index: usize,
            option: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            value: Option<String>,
            parts: Vec<PartRecord>,
        }
        let parts = self.parts().into_iter().map(|part| {
            let described = part.origin.rule.description();
            let (source, fact) = match part.origin.source {
                Source::Config => ("config", None),
                Source::Default => ("default", None),
                Source::Host(fact) => ("host", Some(fact)),
                Source::Caller(what) => ("caller", Some(what)),
                Source::Rule => ("rule", None),
            };
            PartRecord {
                text: part.text.to_string(),
                source,
                fact,
                option: (!part.origin.key.is_none()).then(|| part.origin.key.option()),
                key: part.origin.key.sub_option(),
                rule: described.what,
                document: described.document,
                section: described.section,
            }
        });
        Record {
            index: self.index,
            option: self.option().to_string(),
            value: self.value().map(ToString::to_string),
            parts: parts.collect(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, Host, Options};
    use pve_config::guest::VmConfig;

    #[test]
    fn reasons_stand_in_one_column() {
        let (host, storages) = (Host::default(), pve_storage::Storages::default());
        let (config, _) = VmConfig::parse(b"cores: 2\n");
        let command = Builder::new(&host, &storages);
        let command = command.build(pve_volid::VmId::MIN, &config, &Options::default()).unwrap();
        let text: String = command.explain().map(|explained| format!("{explained}\n")).collect();
        for line in text.lines().filter(|line| line.starts_with("    ")) {
            let (part, reason) = line.split_at(line.char_indices().nth(40).map_or(line.len(), |(at, _)| at));
            assert!(reason.is_empty() || reason.starts_with(' ') || !part.ends_with(' '), "{line}");
        }
        assert!(text.contains("\n    cores=2                              cores: "), "{text}");
        assert!(text.contains("qmeventd.sock\n      "), "{text}");
    }
}
