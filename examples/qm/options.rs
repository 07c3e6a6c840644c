// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of a VM as arguments: every one that the schema has, with its explanation.

use std::collections::BTreeMap;
use std::fs;

use bstr::BString;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use pve_config::rule::Kind;
use pve_config::schema::{self, GuestOption};
use pve_qemu::cloudinit::encode_ssh_keys;

const HEADING: &str = "Options of the virtual machine";

/// Options that were given, by name.
pub(crate) struct ConfigOptions(BTreeMap<String, String>);

impl ConfigOptions {
    /// The options as they are stored: for `sshkeys` the content of the file that was named.
    pub(crate) fn stored(&self) -> Result<BTreeMap<BString, BString>, String> {
        let stored = self.0.iter().map(|(key, value)| {
            let value = match key.as_str() {
                "sshkeys" => {
                    let text = fs::read(value).map_err(|error| format!("cannot read {value}: {error}"))?;
                    encode_ssh_keys(&text).into()
                }
                _ => BString::from(value.as_str()),
            };
            Ok((BString::from(key.as_str()), value))
        });
        stored.collect()
    }
}

impl FromArgMatches for ConfigOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let value = |key: String| Some((key.clone(), matches.get_one::<String>(&key)?.clone()));
        Ok(ConfigOptions(keys().filter_map(|(key, _, _)| value(key)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.extend(ConfigOptions::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl Args for ConfigOptions {
    fn augment_args(command: Command) -> Command {
        keys().fold(command, |command, (key, option, index)| command.arg(argument(key, option, index)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// All keys that a request can set: `cores`, `net0` to `net31` …
fn keys() -> impl Iterator<Item = (String, &'static GuestOption, Option<u16>)> {
    let options = schema::VM.options().iter().filter(|option| option.settable);
    options.flat_map(|option| {
        let indexes: Vec<Option<u16>> = match option.slots {
            Some(slots) => (0..slots).map(Some).collect(),
            None => vec![None],
        };
        indexes.into_iter().map(move |index| (option.key(index), option, index))
    })
}

fn argument(key: String, option: &'static GuestOption, index: Option<u16>) -> Arg {
    let mut argument = Arg::new(key.clone()).long(key).help_heading(HEADING).value_name("VALUE");
    let mut help = option.doc.trim_end_matches('.').to_owned();
    if let (Some(0), Some(slots)) = (index, option.slots) {
        help.push_str(&format!(" (to {}{})", option.name, slots.saturating_sub(1)));
    }
    if let Some(default) = option.default {
        help.push_str(&format!(" [{default} if left out]"));
    }
    if option.name == "sshkeys" {
        argument = argument.value_name("FILE");
    }
    if option.rule.kind == Kind::Boolean {
        argument = argument.num_args(0..=1).default_missing_value("1").value_name("0|1");
    }
    // negative numbers are values
    argument
        .help(help)
        .hide(index.is_some_and(|index| index > 0))
        .allow_hyphen_values(option.rule.kind == Kind::Integer)
}
