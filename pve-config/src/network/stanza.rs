// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stanzas of an interfaces file, and the file as a whole.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bstr::{BStr, ByteSlice};
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry;

use super::check;
use super::interface::Interface;
use super::line::{Line, LineKind, lines};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::rule::span_in;

/// An option of an `iface` stanza, or a line of a `mapping`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IfaceOption<'a> {
    /// Its name as written.
    pub key: Cow<'a, BStr>,
    /// Its value without white space at both ends.
    pub value: Cow<'a, BStr>,
    /// Number of its line, counted from 1.
    pub line: usize,
    /// Whether it comes from the stanza that is named behind `inherits`.
    pub inherited: bool,
    /// Place of the line in the text.
    span: Range<usize>,
}

impl<'a> IfaceOption<'a> {
    fn of(line: &Line<'a>) -> Self {
        let (key, value) = (line.keyword(), line.rest());
        IfaceOption { key, value, line: line.number, inherited: false, span: line.span() }
    }

    /// Whether this is the option called `key`; `bridge_ports` and `bridge-ports` are the same.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        same_key(&self.key, key.as_bytes())
    }

    /// Place of the line in the text.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// Whether two names are the same option: older packages write `_` where newer ones write `-`.
pub(super) fn same_key(a: &[u8], b: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    a.iter().map(plain).eq(b.iter().map(plain))
}

/// A stanza `iface NAME [FAMILY] [METHOD] [inherits TEMPLATE …]` with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Iface<'a> {
    /// The name of the interface.
    pub name: Cow<'a, BStr>,
    /// The address family: `inet`, `inet6`, `ipx`, `can`. ifupdown2 does without.
    pub family: Option<Cow<'a, BStr>>,
    /// How it is configured: `static`, `dhcp`, `manual` … ifupdown2 does without.
    pub method: Option<Cow<'a, BStr>>,
    /// The names of stanzas whose options it inherits.
    pub inherits: Vec<Cow<'a, BStr>>,
    /// Its options in file order, inherited ones first.
    pub options: Vec<IfaceOption<'a>>,
    /// Number of its first line, counted from 1.
    pub line: usize,
    pub(super) place: (usize, usize),
    pub(super) span: Range<usize>,
}

impl<'a> Iface<'a> {
    /// Most options that a stanza inherits here: templates of templates would grow without bounds.
    pub const MOST_INHERITED: usize = 1000;

    /// Most options that all stanzas of a file together inherit here.
    pub const MOST_INHERITED_IN_ALL: usize = 100_000;

    /// Values of the option called `key`, those of other spellings included.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &BStr> {
        self.options.iter().filter(move |option| option.is(key)).map(|option| option.value.as_ref())
    }

    /// Reads the line that opens a stanza; `None` if it does not even have a name. Words that mean nothing are given
    /// to `extra`.
    pub(super) fn open(line: &Line<'a>, mut extra: impl FnMut(&BStr)) -> Option<Self> {
        let mut words = line.words().into_iter().peekable();
        let name = words.next()?;
        let mut iface = Iface {
            name,
            family: None,
            method: None,
            inherits: Vec::new(),
            options: Vec::new(),
            line: line.number,
            place: line.place(),
            span: line.span(),
        };
        for slot in [&mut iface.family, &mut iface.method] {
            *slot = words.next_if(|word| **word != "inherits");
        }
        let mut inherits = false;
        for word in words {
            match (inherits, *word == "inherits") {
                (_, true) => inherits = true,
                (true, false) => iface.inherits.push(word),
                (false, false) => extra(&word),
            }
        }
        Some(iface)
    }
}

/// A stanza `mapping PATTERN …`: the script that chooses a logical interface for a physical one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Mapping<'a> {
    /// Patterns of physical names.
    pub patterns: Vec<Cow<'a, BStr>>,
    /// The program that is asked.
    pub script: Option<Cow<'a, BStr>>,
    /// The lines that the program gets.
    pub map: Vec<Cow<'a, BStr>>,
    /// Number of its first line, counted from 1.
    pub line: usize,
    pub(super) span: Range<usize>,
}

/// A line `source PATTERN` or `source-directory PATTERN`. Nothing is read here: whoever has the files reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source<'a> {
    /// What is read: a path, wildcards allowed. Relative to the directory of the file.
    pub pattern: Cow<'a, BStr>,
    /// The pattern stands for directories, all of whose files are read that are named with letters, digits, `_`
    /// and `-`.
    pub is_directory: bool,
    /// Number of its line, counted from 1.
    pub line: usize,
}

/// An interfaces file: what it says about each interface, and what is wrong with it.
///
/// ```
/// use pve_config::network::Network;
///
/// let network = Network::parse(b"auto bond0\niface bond0 inet manual\n\tbond-slaves eno1 eno2\n\tbond-mode 802.3ad\n");
/// let bond = network.get(b"bond0").unwrap();
/// assert!(bond.is_auto());
/// assert_eq!(bond.bond().unwrap().mode.unwrap(), "802.3ad");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Network<'a> {
    pub(super) interfaces: IndexMap<Cow<'a, BStr>, Interface<'a>, RandomState>,
    /// Words `auto` (as the class `auto`) and `allow-CLASS` with the names on their line.
    pub(super) selections: Vec<Selection<'a>>,
    mappings: Vec<Mapping<'a>>,
    sources: Vec<Source<'a>>,
    renames: Vec<Cow<'a, BStr>>,
    not_downed: Vec<Cow<'a, BStr>>,
    without_scripts: Vec<Cow<'a, BStr>>,
    diagnostics: Diagnostics,
}

/// A name on a line `auto` or `allow-CLASS`.
#[derive(Debug, Clone)]
pub(super) struct Selection<'a> {
    pub(super) class: Cow<'a, BStr>,
    pub(super) name: Cow<'a, BStr>,
    pub(super) place: (usize, usize),
    pub(super) span: Range<usize>,
}

impl<'a> Network<'a> {
    /// Reads a text. Nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let mut reader = Reader {
            text,
            network: Network::default(),
            open: Open::Nothing,
            room_for_inherited: Iface::MOST_INHERITED_IN_ALL,
        };
        let mut last = None;
        for line in lines(text) {
            reader.line(&line);
            last = Some(line);
        }
        if let Some(line) = last.filter(|line| line.kind != LineKind::Comment && line.text.ends_with(b"\\")) {
            reader.report(
                Severity::Note,
                "continued-last-line",
                &line,
                "the last line is to go on, but nothing follows",
                None,
            );
        }
        reader.close();
        let mut network = reader.network;
        let mut known = HashSet::with_hasher(RandomState::default());
        for Selection { class, name, .. } in &network.selections {
            if let Some(interface) = network.interfaces.get_mut(name)
                && known.insert((class, name))
            {
                interface.classes.push(class.clone());
            }
        }
        let mut found = std::mem::take(&mut network.diagnostics);
        check::check(text, &network, &mut found);
        found.sort();
        Network { diagnostics: found, ..network }
    }

    /// The interfaces that have a stanza, in the order of their first one.
    pub fn interfaces(&self) -> impl ExactSizeIterator<Item = &Interface<'a>> {
        self.interfaces.values()
    }

    /// The interface with this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Interface<'a>> {
        self.interfaces.get(name.as_bstr())
    }

    /// Names, or patterns of names, in lines `allow-CLASS`, those of `auto` being of the class `auto`.
    pub fn allowed(&self, class: &str) -> impl Iterator<Item = &BStr> {
        let of_class = move |selection: &&Selection<'a>| *selection.class == class;
        self.selections.iter().filter(of_class).map(|selection| selection.name.as_ref())
    }

    /// The mappings of physical to logical names.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping<'a>] {
        &self.mappings
    }

    /// The other files that ifupdown reads.
    #[must_use]
    pub fn sources(&self) -> &[Source<'a>] {
        &self.sources
    }

    /// The pairs `OLD=NEW` of interfaces to rename.
    #[must_use]
    pub fn renames(&self) -> &[Cow<'a, BStr>] {
        &self.renames
    }

    /// Interfaces that are not brought down by `ifdown -a`.
    #[must_use]
    pub fn not_downed(&self) -> &[Cow<'a, BStr>] {
        &self.not_downed
    }

    /// Interfaces for which no scripts are run.
    #[must_use]
    pub fn without_scripts(&self) -> &[Cow<'a, BStr>] {
        &self.without_scripts
    }

    /// What is wrong, in the order of the text.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }
}

/// What options belong to.
enum Open<'a> {
    Nothing,
    Iface(Iface<'a>),
    Mapping(Mapping<'a>),
    /// A stanza that ifupdown refuses.
    Bad,
}

struct Reader<'a> {
    text: &'a [u8],
    network: Network<'a>,
    open: Open<'a>,
    room_for_inherited: usize,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &Line<'a>) {
        if line.kind.starts_stanza() {
            self.close();
        }
        let network = &mut self.network;
        match line.kind {
            LineKind::Blank | LineKind::Comment => {}
            LineKind::Iface => self.iface(line),
            LineKind::Mapping => {
                self.open = Open::Mapping(Mapping {
                    patterns: line.words(),
                    line: line.number,
                    span: line.span(),
                    ..Mapping::default()
                });
            }
            LineKind::Auto | LineKind::Allow => self.select(line),
            LineKind::NoAutoDown => network.not_downed.extend(line.words()),
            LineKind::NoScripts => network.without_scripts.extend(line.words()),
            LineKind::Rename => network.renames.extend(line.words()),
            LineKind::Source | LineKind::SourceDirectory => network.sources.push(Source {
                pattern: line.rest(),
                is_directory: line.kind == LineKind::SourceDirectory,
                line: line.number,
            }),
            LineKind::Option => self.option(line),
            LineKind::Misplaced => self.report(
                Severity::Error,
                "misplaced-option",
                line,
                "an option outside of \"iface\" and \"mapping\"",
                Some(
                    "ifupdown refuses the whole file: move the line behind the \"iface\" that it belongs to",
                ),
            ),
        }
    }

    fn iface(&mut self, line: &Line<'a>) {
        let mut extra = Vec::new();
        let opened = Iface::open(line, |word| extra.push(word.to_owned()));
        for word in &extra {
            let reason = format!("{word:?} at the end of an \"iface\" line means nothing");
            self.report(Severity::Warning, "extra-word", line, &reason, None);
        }
        let Some(mut iface) = opened else {
            let help = Some("write \"iface NAME FAMILY METHOD\"");
            self.report(Severity::Error, "unnamed-interface", line, "an \"iface\" without a name", help);
            self.open = Open::Bad;
            return;
        };
        for template in iface.inherits.clone() {
            let Some(options) = self.template(&template, iface.family.as_deref()) else {
                let reason = format!("no interface {template:?} to inherit from stands above");
                let help = Some("ifupdown refuses the whole file: put the template before its heirs");
                self.report(Severity::Error, "unknown-template", line, &reason, help);
                continue;
            };
            let room = self.room_for_inherited.min(Iface::MOST_INHERITED.saturating_sub(iface.options.len()));
            let all = options.len();
            let options: Vec<_> = options.iter().take(room).cloned().collect();
            if options.len() < all {
                let reason = "more inherited options than are kept";
                self.report(
                    Severity::Note,
                    "too-many-inherited",
                    line,
                    reason,
                    Some("the rest is left out here"),
                );
            }
            self.room_for_inherited -= options.len();
            iface.options.extend(options.into_iter().map(|option| IfaceOption { inherited: true, ..option }));
        }
        self.open = Open::Iface(iface);
    }

    /// The options of the stanza above that a stanza of `family` inherits from.
    fn template(&self, name: &BStr, family: Option<&BStr>) -> Option<&[IfaceOption<'a>]> {
        let interface = self.network.get(name)?;
        let of_family = |iface: &&Iface<'a>| family.is_none() || iface.family.as_deref() == family;
        interface.stanzas().iter().find(of_family).map(|template| template.options.as_slice())
    }

    fn option(&mut self, line: &Line<'a>) {
        let option = IfaceOption::of(line);
        if option.value.is_empty() {
            let reason = format!("option {:?} has no value", option.key);
            let help = Some("ifupdown refuses the whole file: give it a value, or remove the line");
            self.report(Severity::Error, "empty-option", line, &reason, help);
            return;
        }
        match &mut self.open {
            Open::Iface(iface) => iface.options.push(option),
            Open::Mapping(mapping) if *option.key == "script" => mapping.script = Some(option.value),
            Open::Mapping(mapping) if *option.key == "map" => mapping.map.push(option.value),
            Open::Mapping(_) => {
                let reason = format!("{:?} is not a line of a mapping", option.key);
                let help =
                    Some("ifupdown refuses the whole file: a mapping has \"script\" and \"map\" lines");
                self.report(Severity::Error, "misplaced-option", line, &reason, help);
            }
            Open::Bad | Open::Nothing => {}
        }
    }

    fn select(&mut self, line: &Line<'a>) {
        let class: Cow<'a, BStr> = match line.keyword() {
            Cow::Borrowed(keyword) => Cow::Borrowed(class_of(keyword)),
            Cow::Owned(keyword) => Cow::Owned(class_of(keyword.as_ref()).to_owned()),
        };
        let selected = line.words().into_iter().map(|name| Selection {
            class: class.clone(),
            name,
            place: line.place(),
            span: line.span(),
        });
        self.network.selections.extend(selected);
    }

    /// The open stanza is complete.
    fn close(&mut self) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing | Open::Bad => {}
            Open::Mapping(mapping) => self.network.mappings.push(mapping),
            Open::Iface(iface) => match self.network.interfaces.entry(iface.name.clone()) {
                Entry::Occupied(mut known) => known.get_mut().add(iface),
                Entry::Vacant(place) => {
                    place.insert(Interface::new(iface));
                }
            },
        }
    }

    fn report(
        &mut self,
        severity: Severity,
        code: &'static str,
        line: &Line<'_>,
        reason: &str,
        help: Option<&str>,
    ) {
        let text = self.text;
        self.network.diagnostics.add(severity, || {
            let shown = line.text.trim_ascii();
            let found = Diagnostic::on_line(severity, code, text, span_in(text, shown), line.place(), reason);
            match help {
                Some(help) => found.with_help(help),
                None => found,
            }
        });
    }
}

/// The class of a line `allow-CLASS`; `auto` is a class too.
fn class_of(keyword: &BStr) -> &BStr {
    keyword.strip_prefix(b"allow-").unwrap_or(keyword).as_bstr()
}
