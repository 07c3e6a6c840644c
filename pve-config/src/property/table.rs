// SPDX-License-Identifier: MIT OR Apache-2.0
//! The declaration of a property-string format: its keys and their aliases.

use bstr::BStr;

use crate::format::{Context, Format, Scalar};
use crate::name_index::{NameIndex, same, sorts_before};
use crate::rule::{Kind, Pattern, Reason, Rule};

/// A key of a property string.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Key {
    /// Its name; case matters.
    pub name: &'static str,
    /// What its value must look like.
    pub rule: Rule<'static>,
    /// The string is invalid without it.
    pub required: bool,
    /// Its value may stand without `KEY=`.
    pub default_key: bool,
    /// Key that must be there too.
    pub requires: Option<&'static str>,
    /// What its absence means; never filled in.
    pub default: Option<&'static str>,
    /// Exists only in requests that may allocate a volume.
    pub alloc_only: bool,
    /// What it is for.
    pub doc: &'static str,
    /// Members of the family of formats that share the table (the buses of a drive), one bit each.
    pub(crate) members: u8,
}

impl Key {
    const fn new(name: &'static str, rule: Rule<'static>) -> Self {
        Key {
            name,
            rule,
            required: false,
            default_key: false,
            requires: None,
            default: None,
            alloc_only: false,
            doc: "",
            members: u8::MAX,
        }
    }

    /// A key with a boolean value.
    pub(crate) const fn boolean(name: &'static str) -> Self {
        Self::new(name, Rule::boolean())
    }

    /// A key with an integer value.
    pub(crate) const fn integer(name: &'static str) -> Self {
        Self::new(name, Rule::integer())
    }

    /// A key with a number as value.
    pub(crate) const fn number(name: &'static str) -> Self {
        Self::new(name, Rule::number())
    }

    /// A key with a text as value.
    pub(crate) const fn string(name: &'static str) -> Self {
        Self::new(name, Rule::string())
    }

    /// A key whose value is in a scalar format.
    pub(crate) const fn scalar(name: &'static str, format: Scalar) -> Self {
        Self::new(name, Rule::string().format(Format::Scalar(format)))
    }

    /// A key whose value is a list of a scalar format.
    pub(crate) const fn list(name: &'static str, format: Scalar) -> Self {
        Self::new(name, Rule::string().format(Format::List(format)))
    }

    pub(crate) const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.rule = self.rule.words(words);
        self
    }

    pub(crate) const fn pattern(mut self, pattern: Pattern<'static>) -> Self {
        self.rule = self.rule.pattern(pattern);
        self
    }

    pub(crate) const fn min(mut self, minimum: f64) -> Self {
        self.rule = self.rule.minimum(minimum);
        self
    }

    pub(crate) const fn max(mut self, maximum: f64) -> Self {
        self.rule = self.rule.maximum(maximum);
        self
    }

    pub(crate) const fn max_length(mut self, length: usize) -> Self {
        self.rule = self.rule.max_length(length);
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn default_key(mut self) -> Self {
        self.default_key = true;
        self
    }

    pub(crate) const fn requires(mut self, key: &'static str) -> Self {
        self.requires = Some(key);
        self
    }

    pub(crate) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    pub(crate) const fn alloc_only(mut self) -> Self {
        self.alloc_only = true;
        self
    }

    pub(crate) const fn on(mut self, members: u8) -> Self {
        self.members = members;
        self
    }

    pub(crate) const fn documented(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// Another name of a key.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Alias {
    /// The other name.
    pub name: &'static str,
    /// The key that gets the value.
    pub target: &'static str,
    /// The key that gets `name` itself as value (`virtio=MAC` of a network card: `model` is `virtio`).
    pub key_alias: Option<&'static str>,
    pub(crate) members: u8,
}

impl Alias {
    pub(crate) const fn new(name: &'static str, target: &'static str) -> Self {
        Alias { name, target, key_alias: None, members: u8::MAX }
    }

    pub(crate) const fn with_key_alias(mut self, key: &'static str) -> Self {
        self.key_alias = Some(key);
        self
    }

    pub(crate) const fn on(mut self, members: u8) -> Self {
        self.members = members;
        self
    }
}

/// Looks up values by key, for [`Validator`]s.
pub(crate) type Lookup<'l> = &'l dyn Fn(&str) -> Option<&'l BStr>;

/// A check across keys: the key that is wrong, and why.
pub(crate) type Validator = fn(Lookup<'_>, &Context<'_>) -> Result<(), (&'static str, Reason)>;

/// Largest number of aliases in a format.
const MAX_ALIASES: usize = 16;

/// A property-string format: a table of keys.
///
/// Formats are declared in this crate; [`PropertyFormat::named`] finds them by name.
#[derive(Debug)]
pub struct PropertyFormat {
    name: &'static str,
    registered: &'static [&'static str],
    keys: &'static [Key],
    aliases: &'static [Alias],
    /// Bits of the keys that exist, by position in `keys`.
    pub(super) existing: u64,
    /// Bits of the keys that exist only where volumes may be allocated.
    pub(super) alloc_only: u64,
    pub(super) required: u64,
    pub(super) requiring: u64,
    pub(super) default: Option<usize>,
    /// Positions of the key that an alias names, and of the one that it gives a value (`model`, `macaddr`).
    pub(super) key_alias: Option<(usize, usize)>,
    /// Positions of targets and key aliases (or `NONE`) of the aliases.
    alias_positions: [(u8, u8); MAX_ALIASES],
    index: NameIndex<128>,
    pub(super) validator: Option<Validator>,
}

/// No position.
const NONE: u8 = u8::MAX;

/// What a name in a property string refers to.
pub(super) enum Named {
    /// The key at this position.
    Key(usize),
    /// An alias of the key at this position, and the key that gets the alias's name, if any.
    Alias(usize, Option<usize>),
}

impl PropertyFormat {
    /// The format of `keys` and `aliases`. Keys must be sorted by name. Mistakes do not compile.
    pub(crate) const fn new(
        name: &'static str,
        registered: &'static [&'static str],
        keys: &'static [Key],
        aliases: &'static [Alias],
    ) -> Self {
        Self::member(name, registered, keys, aliases, u8::MAX)
    }

    /// The format of those keys and aliases that are on one of `members`.
    pub(crate) const fn member(
        name: &'static str,
        registered: &'static [&'static str],
        keys: &'static [Key],
        aliases: &'static [Alias],
        members: u8,
    ) -> Self {
        assert!(keys.len() <= 64 && aliases.len() <= MAX_ALIASES);
        let mut format = PropertyFormat {
            name,
            registered,
            keys,
            aliases,
            existing: 0,
            alloc_only: 0,
            required: 0,
            requiring: 0,
            default: None,
            key_alias: None,
            alias_positions: [(NONE, NONE); MAX_ALIASES],
            index: NameIndex::new(),
            validator: None,
        };
        let mut at = 0;
        while at < keys.len() {
            let key = &keys[at];
            assert!(at == 0 || sorts_before(keys[at - 1].name, key.name));
            assert!(!matches!(key.rule.kind, Kind::Boolean) || key.rule.is_type_alone());
            if key.members & members != 0 {
                format.existing |= 1 << at;
                format.index = format.index.with(key.name, at);
                if key.alloc_only {
                    format.alloc_only |= 1 << at;
                }
                if key.required {
                    format.required |= 1 << at;
                }
                if key.requires.is_some() {
                    format.requiring |= 1 << at;
                }
                if key.default_key {
                    assert!(format.default.is_none());
                    format.default = Some(at);
                }
            }
            at += 1;
        }
        let mut at = 0;
        while at < aliases.len() {
            let alias = &aliases[at];
            if alias.members & members != 0 {
                format.index = format.index.with(alias.name, keys.len() + at);
                let target = position(keys, alias.target);
                format.alias_positions[at].0 = target as u8;
                if let Some(key_alias) = alias.key_alias {
                    let key_alias = position(keys, key_alias);
                    format.alias_positions[at].1 = key_alias as u8;
                    format.key_alias = Some((key_alias, target));
                }
            }
            at += 1;
        }
        format
    }

    /// The same with a check across keys.
    pub(crate) const fn with_validator(mut self, validator: Validator) -> Self {
        self.validator = Some(validator);
        self
    }

    /// The format called `name`: one of `vm:NAME`, `lxc:NAME`, or a registered name such as `pve-qm-boot`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static PropertyFormat> {
        super::registry::formats()
            .iter()
            .copied()
            .find(|format| format.name == name || format.registered.contains(&name))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Names under which schemas of the reference refer to it.
    #[must_use]
    pub fn registered_names(&self) -> &'static [&'static str] {
        self.registered
    }

    /// Its keys, ascending by name, including those that exist only in requests that allocate volumes.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + '_ {
        let existing = self.existing;
        self.keys.iter().enumerate().filter(move |(at, _)| existing >> at & 1 == 1).map(|(_, key)| key)
    }

    /// Other names of its keys.
    pub fn aliases(&self) -> impl Iterator<Item = &'static Alias> + '_ {
        let used = self.alias_positions;
        self.aliases.iter().zip(used).filter(|(_, (target, _))| *target != NONE).map(|(alias, _)| alias)
    }

    /// The key called `name`; an alias gives the key that it stands for.
    #[must_use]
    pub fn key(&self, name: &[u8]) -> Option<&'static Key> {
        match self.find(name)? {
            Named::Key(at) | Named::Alias(at, _) => self.key_at(at),
        }
    }

    #[inline]
    pub(super) fn key_at(&self, position: usize) -> Option<&'static Key> {
        self.keys.get(position)
    }

    /// What `name` refers to.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Named> {
        let found = self.index.find(name, |position| match self.keys.get(position) {
            Some(key) => Some(key.name),
            None => self.aliases.get(position - self.keys.len()).map(|alias| alias.name),
        })?;
        if found < self.keys.len() {
            return Some(Named::Key(found));
        }
        let (target, key_alias) = *self.alias_positions.get(found - self.keys.len())?;
        Some(Named::Alias(usize::from(target), (key_alias != NONE).then_some(usize::from(key_alias))))
    }
}

/// Bit of the key called `name`, which must be there, among `keys`.
pub(crate) const fn bit(keys: &[Key], name: &str) -> u64 {
    1 << position(keys, name)
}

/// Position of the key called `name`, which must be there.
const fn position(keys: &[Key], name: &str) -> usize {
    let mut at = 0;
    loop {
        // the name of a key that does not exist ends here
        assert!(at < keys.len());
        if same(keys[at].name, name) {
            return at;
        }
        at += 1;
    }
}
