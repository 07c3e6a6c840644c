// SPDX-License-Identifier: MIT OR Apache-2.0
//! The storages of a storage.cfg in the compact form in which they are kept: what is set, with its text.
//!
//! A section in which there is nothing to tell about is read straight to this form. Any other is read by the general
//! engine for section files, which tells about it, and what becomes of it is brought to the same form.

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry;
use pve_volid::{ContentType, StorageIdRef, StorageType};

use super::content::ContentTypes;
use super::dialect::{StorageDialect, base_path, content_types, default_path};
use super::schema::{LOCAL, LOCAL_CONTENT, LOCAL_PATH, LOCAL_SETTINGS, TypeFacts, fill_in, format};
use crate::format::split_list;
use crate::section::{
    Dialect, Event, Lexer, PieceReader, Place, ReadPiece, Section, SectionConfig, Seen, TypeView, Value,
};

/// A property that is set, with its value as storage.cfg would have it.
#[derive(Debug, Clone)]
pub(super) struct Setting<'a> {
    pub(super) name: &'static str,
    pub(super) text: Cow<'a, BStr>,
}

/// A storage without its id.
#[derive(Debug, Clone)]
struct Record {
    kind: StorageType,
    content: ContentTypes,
    /// Place of its settings among those of all storages.
    settings: (usize, usize),
}

/// What [`Records`] know of a storage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'r> {
    pub(super) id: &'r str,
    pub(super) kind: StorageType,
    pub(super) content: ContentTypes,
    pub(super) settings: &'r [Setting<'r>],
}

/// Usual length of a line, in bytes.
const USUAL_LINE: usize = 20;

/// Most settings that room is made for before they are seen.
const MOST_RESERVED: usize = 1 << 18;

/// Usable storages, in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Records<'a> {
    records: IndexMap<Cow<'a, str>, Record, RandomState>,
    settings: Vec<Setting<'a>>,
}

/// A section that is being read.
struct Open<'a> {
    id: &'a str,
    section_type: TypeView<'static>,
    facts: &'static TypeFacts,
    seen: Seen,
    content: Option<ContentTypes>,
    first: usize,
}

impl<'a> Records<'a> {
    /// Reads a text in which ids do not repeat and `local` is as it must be, with what there is to tell about it: the
    /// findings, the broken and the skipped sections. `None` for every other text.
    pub(super) fn read(text: &'a [u8]) -> Option<(Self, Option<SectionConfig<'a>>)> {
        let mut records = Records::default();
        records.settings.reserve((text.len() / USUAL_LINE).min(MOST_RESERVED));
        // CR is white space that no value may contain; few texts have one
        let has_cr = memchr::memchr(b'\r', text).is_some();
        let mut odd: Option<PieceReader<'a, 'static, StorageDialect>> = None;
        let mut lexer = Lexer::new(text);
        // where the section that is being read began, or the line between sections, and the settings before it
        let (mut start, mut kept) = (lexer.clone(), 0);
        let mut open: Option<Open<'a>> = None;
        loop {
            let event = lexer.advance().map(|(_, event)| event);
            let is_end = event.is_none();
            let good = match event {
                Some(Event::Property { value: Some(value), .. }) if has_cr && value.contains(&b'\r') => None,
                Some(Event::Property { key, value }) => {
                    open.as_mut().and_then(|open| records.property(open, key, value))
                }
                Some(Event::Header { kind, id }) => {
                    let opened = records.open(kind, id);
                    opened.map(|opened| open = Some(opened))
                }
                Some(Event::Blank) | None => match open.take() {
                    Some(open) if odd.as_ref().is_some_and(|odd| odd.holds(open.id.as_bytes())) => {
                        return None;
                    }
                    Some(open) => records.close(&open)?,
                    None => Some(()),
                },
                Some(Event::Comment) => Some(()),
                Some(Event::Invalid) => None,
            };
            if good.is_none() {
                open = None;
                records.settings.truncate(kept);
                lexer = start.clone();
                let odd = odd.get_or_insert_with(|| PieceReader::new(format(), text));
                match odd.read(&mut lexer) {
                    ReadPiece::Section(id, section) => records.adopt(id, section)?,
                    ReadPiece::Broken(id) if records.get(id).is_some() => return None,
                    ReadPiece::Repeated => return None,
                    ReadPiece::Broken(_) | ReadPiece::Nothing => {}
                }
            } else if is_end {
                break;
            }
            if open.is_none() {
                (start, kept) = (lexer.clone(), records.settings.len());
            }
        }
        let odd = odd.map(PieceReader::finish);
        if odd.as_ref().is_some_and(|odd| odd.is_broken(LOCAL.as_bytes())) {
            return None;
        }
        records.ensure_local()?;
        Some((records, odd))
    }

    /// The usable sections of a file.
    pub(super) fn of(sections: &SectionConfig<'a>) -> Self {
        let mut records = Records::default();
        for (id, section) in sections.sections() {
            let Ok(id) = StorageIdRef::from_bytes(id) else { continue };
            records.put(Cow::Owned(id.as_str().to_owned()), section.clone());
        }
        records
    }

    /// Takes over what the general engine made of a section. `None` if there is one of the same id.
    fn adopt(&mut self, id: &'a BStr, mut section: Section<'a>) -> Option<()> {
        // the header was accepted, so the id is one
        let id = StorageIdRef::from_bytes(id).ok()?.as_str();
        if self.records.contains_key(id) {
            return None;
        }
        fill_in(&mut section);
        self.put(Cow::Borrowed(id), section);
        Some(())
    }

    /// Puts a complete section behind the others.
    fn put(&mut self, id: Cow<'a, str>, section: Section<'a>) {
        let kind = StorageType::from_bytes(section.kind());
        let section_type = format().schema().section_type(section.kind());
        let (Some(kind), Some(section_type)) = (kind, section_type) else { return };
        let first = self.settings.len();
        let mut content = ContentTypes::EMPTY;
        for (key, value) in section.into_properties().filter(|(key, _)| key.as_ref() != "type") {
            let Some(property) = section_type.property(&key) else { continue };
            if let ("content", Value::Set(set)) = (property.name, &value) {
                content = set.iter().filter_map(|item| ContentType::from_bytes(item)).collect();
            }
            self.settings.push(Setting { name: property.name, text: undecoded(value) });
        }
        let settings = (first, self.settings.len());
        self.records.insert(id, Record { kind, content, settings });
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.records.iter().map(|(id, record)| self.found(id, record))
    }

    /// The one with this id.
    pub(super) fn get(&self, id: &[u8]) -> Option<Found<'_>> {
        let (id, record) = self.records.get_key_value(std::str::from_utf8(id).ok()?)?;
        Some(self.found(id, record))
    }

    /// The same without borrowing.
    pub(super) fn into_owned(self) -> Records<'static> {
        let settings = self.settings.into_iter();
        let settings =
            settings.map(|Setting { name, text }| Setting { name, text: Cow::Owned(text.into_owned()) });
        let records = self.records.into_iter().map(|(id, record)| (Cow::Owned(id.into_owned()), record));
        Records { records: records.collect(), settings: settings.collect() }
    }

    fn found<'r>(&'r self, id: &'r str, record: &Record) -> Found<'r> {
        let (first, end) = record.settings;
        let settings = self.settings.get(first..end).unwrap_or_default();
        Found { id, kind: record.kind, content: record.content, settings }
    }

    #[inline]
    fn open(&mut self, kind: &'a BStr, id: &'a BStr) -> Option<Open<'a>> {
        let facts = TypeFacts::named(kind)?;
        let section_type = format().schema().section_type(kind)?;
        let id = StorageIdRef::from_bytes(id).ok()?.as_str();
        let first = self.settings.len();
        Some(Open { id, section_type, facts, seen: Seen::default(), content: None, first })
    }

    #[inline(always)]
    fn property(&mut self, open: &mut Open<'a>, key: &BStr, value: Option<&'a BStr>) -> Option<()> {
        let (position, property) = open.section_type.property_with_position(key)?;
        property.flags?;
        if !open.seen.insert(position) {
            return None;
        }
        let mut value: Cow<'a, BStr> = Cow::Borrowed(match value {
            Some(value) => value,
            None if property.schema.is_boolean() => BStr::new("1"),
            None => return None,
        });
        match property.name {
            // that each item is known to the type says more than the rule does
            "content" => {
                let mut warned = false;
                let content = content_types(open.facts, &value, &mut |_| warned = true).ok()?;
                open.content = (!warned).then_some(content);
                open.content?;
            }
            name => {
                property.schema.check(&value).ok()?;
                match name {
                    "path" if matches!(open.facts.kind, StorageType::Dir | StorageType::Btrfs) => {
                        value = base_path(value).ok()?;
                    }
                    "format" | "content-dirs" => open.accepts(name, &value).then_some(())?,
                    _ => {}
                }
            }
        }
        self.settings.push(Setting { name: property.name, text: value });
        Some(())
    }

    /// Ends a section. `None` if there is one of the same id; `Some(None)` if something is missing.
    #[inline]
    fn close(&mut self, open: &Open<'a>) -> Option<Option<()>> {
        let Open { id, section_type, facts, seen, content, first } = *open;
        for (position, name) in section_type.required() {
            if !seen.contains(position) {
                let Some(path) = default_path(facts.kind, id.as_bytes()).filter(|_| name == "path") else {
                    return Some(None);
                };
                self.settings.push(Setting { name: "path", text: Cow::Owned(path) });
            }
        }
        if content.is_none() {
            let text = Cow::Borrowed(facts.default_content_text.as_bytes().as_bstr());
            self.settings.push(Setting { name: "content", text });
        }
        if facts.spec.shared {
            self.settings.push(Setting { name: "shared", text: Cow::Borrowed(BStr::new("1")) });
        }
        let content = content.unwrap_or(facts.default_content);
        match self.records.entry(Cow::Borrowed(id)) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                let settings = (first, self.settings.len());
                place.insert(Record { kind: facts.kind, content, settings });
                Some(Some(()))
            }
        }
    }

    /// Adds the storage `local` if it is not there. `None` if it is, but not as it must be.
    fn ensure_local(&mut self) -> Option<()> {
        let Some(local) = self.get(LOCAL.as_bytes()) else {
            let first = self.settings.len();
            self.settings.extend(
                LOCAL_SETTINGS.map(|(name, text)| Setting { name, text: Cow::Borrowed(BStr::new(text)) }),
            );
            let settings = (first, self.settings.len());
            let local = Record { kind: StorageType::Dir, content: LOCAL_CONTENT, settings };
            self.records.insert(Cow::Borrowed(LOCAL), local);
            return Some(());
        };
        let text = |name| local.settings.iter().find(|set| set.name == name).map(|set| set.text.as_ref());
        let is_good = local.kind == StorageType::Dir
            && text("path") == Some(BStr::new(LOCAL_PATH))
            && text("nodes").is_none();
        is_good.then_some(())
    }
}

impl Open<'_> {
    /// Whether the value means something for the type, without anything left out.
    fn accepts(&self, key: &str, text: &BStr) -> bool {
        let place = Place { kind: self.section_type.name(), id: self.id.into(), key };
        let mut warned = false;
        let decoded = StorageDialect.decode(&place, Value::text(text), &mut |_| warned = true);
        decoded.is_ok() && !warned
    }
}

/// A text that decodes to this value: the one that storage.cfg would have, unless a member of a list has bytes that
/// would separate members there. Such a member comes from a list that is separated by NUL.
fn undecoded(value: Value<'_>) -> Cow<'_, BStr> {
    let is_one_item = |item: &[u8]| split_list(item).eq([item]);
    let mut items: Vec<Vec<u8>> = match &value {
        Value::Set(set) if set.iter().all(|item| is_one_item(item)) => return Cow::Owned(value.to_text()),
        Value::Set(set) => set.iter().map(|item| item.to_vec()).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| [key.as_bytes(), b"=", value].concat()).collect(),
        Value::Number(number) if number.as_i64() == Some(1) => return Cow::Borrowed(BStr::new("1")),
        _ => Vec::new(),
    };
    if let Value::Text(text) = value {
        return text;
    }
    if items.iter().all(|item| is_one_item(item)) {
        return Cow::Owned(value.to_text());
    }
    // NUL at the end, so that a single item is a list too
    items.push(Vec::new());
    Cow::Owned(items.join(&0).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Storage, StorageConfig};
    use super::*;

    /// The generic view and the storages say the same.
    fn check(text: &[u8]) -> Result<(), TestCaseError> {
        let config = StorageConfig::parse(text);
        let sections = config.sections();
        let mut storages = config.storages();
        for (id, section) in sections.sections() {
            let Some(storage) = storages.next() else {
                return Err(TestCaseError::fail(format!("{id} is missing")));
            };
            prop_assert_eq!(storage.id().as_str(), id.to_string());
            prop_assert_eq!(storage.kind().as_str(), section.kind().to_string());
            let values = |storage: &Storage<'_>| -> Vec<_> {
                storage.properties().map(|(name, text)| (name.to_string(), text)).collect()
            };
            let mut expected: Vec<_> = section
                .properties()
                .filter(|(key, _)| *key != "type")
                .map(|(key, value)| (key.to_string(), value.to_text()))
                .collect();
            expected.sort();
            prop_assert_eq!(values(&storage), expected);
            for (key, value) in section.properties().filter(|(key, _)| *key != "type") {
                let name = key.to_string();
                prop_assert_eq!(storage.value(&name), Some(value.clone()));
                if value.as_number().is_some_and(|number| matches!(number.as_i64(), Some(0 | 1))) {
                    prop_assert_eq!(storage.switch(&name), Some(value.is_true()), "{}", name);
                }
            }
            if let Some(Value::Set(content)) = section.get("content") {
                let listed: Vec<_> = storage.content().iter().map(|item| item.as_str()).collect();
                prop_assert_eq!(content.iter().map(ToString::to_string).collect::<Vec<_>>(), listed);
            }
            let found = config.get(id).map(|storage| storage.id().as_str().to_owned());
            prop_assert_eq!(found, Some(id.to_string()));
        }
        prop_assert!(storages.next().is_none());
        // what was read piece by piece tells the same as the whole
        let whole = StorageConfig::of(text, super::super::config::sections(text));
        prop_assert_eq!(config.diagnostics(), whole.diagnostics());
        prop_assert_eq!(config.broken().collect::<Vec<_>>(), whole.broken().collect::<Vec<_>>());
        prop_assert_eq!(config.unknown().collect::<Vec<_>>(), whole.unknown().collect::<Vec<_>>());
        prop_assert_eq!(config.digest(), whole.digest());
        let owned = config.clone().into_owned();
        prop_assert_eq!(owned.write().ok(), config.write().ok());
        prop_assert_eq!(owned.storages().count(), config.storages().count());
        Ok(())
    }

    /// Whether nothing of the text is left to the general engine.
    fn is_straight(text: &[u8]) -> bool {
        matches!(Records::read(text), Some((_, None)))
    }

    #[test]
    fn a_usual_text_is_read_straight() {
        let text = b"# mine\ndir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n\
            nfs: nas\n\tserver 10.0.0.1\n\texport /srv\n\tdisable\n\tbwlimit clone=5\n\n\
            dir: d1\n\tpath /a//b/\n\tcontent-dirs iso=x\n\tmax-protected-backups 007\n\tshared 0\n0\n\
            lvm: v1\n\tvgname vv\n\tsaferemove-stepsize 4\n\tnodes b,a;b\n";
        assert!(is_straight(text));
        check(text).unwrap();
        let config = StorageConfig::parse(text);
        assert_eq!(config.get(b"d1").unwrap().path().unwrap(), "/a/b");
        assert_eq!(config.get(b"d1").unwrap().integer("max-protected-backups"), Some(7));
        assert_eq!(config.get(b"nas").unwrap().path().unwrap(), "/mnt/pve/nas");
        assert!(!config.get(b"nas").unwrap().is_enabled_on("a"));
        assert_eq!(config.get(b"v1").unwrap().nodes().unwrap().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn everything_else_is_left_to_the_general_engine() {
        let good = "dir: d1\n\tpath /a\n\tcontent iso\n";
        assert!(is_straight(good.as_bytes()));
        for (from, to) in [
            ("dir:", "DIR:"),
            ("dir:", "glusterfs:"),
            ("dir: d1", "dir: d-"),
            ("dir: d1", "dir: local"),
            ("/a", "/a b"),
            ("/a", "/"),
            ("path /a", "path"),
            ("\tpath /a\n", ""),
            ("\tpath /a\n", "path /a\n"),
            ("/a\n", "/a\rb\n"),
            ("/a\n", "/a\n\tpath /a\n"),
            ("content iso", "content foo"),
            ("content iso", "content iso,none"),
            ("content iso", "vgname abc"),
            ("content iso", "foo 1"),
            ("content iso", "type dir"),
            ("content iso", "format raw2"),
            ("content iso", "shared yes"),
            ("content iso\n", "content iso\n\ndir: d1\n\tpath /b\n"),
            ("content iso\n", "content iso\n\nlvm: e1\n\tvgname ab\n\tcontent iso\n"),
        ] {
            let text = good.replacen(from, to, 1);
            if to != "/" {
                assert!(!is_straight(text.as_bytes()), "{text}");
            }
            check(text.as_bytes()).unwrap();
            // the same between sections that are read straight
            let text = format!(
                "lvm: v0\n\tvgname v0\n\n# x\n{text}\n\nlvm: v1\n\tvgname v1\n\tfoo\n\nlvm: v2\n\tvgname v2\n"
            );
            check(text.as_bytes()).unwrap();
        }
    }

    /// A list with a NUL is separated by NULs only.
    #[test]
    fn odd_lists_keep_their_members() {
        for list in ["iso=/a,b\0", "iso=a b\0backup=c;d", "\0\0iso=x"] {
            check(format!("dir: d1\n\tpath /a\n\tcontent-dirs {list}x\n\tfoo 1\n").as_bytes()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn both_readers_agree(sections in prop::collection::vec((
            prop::sample::select(vec!["dir", "nfs", "lvm", "lvmthin", "rbd", "esxi", "pbs", "cephfs", "zfs", "Dir", "x"]),
            prop::sample::select(vec!["local", "ab", "cd", "e-", "store", "f1", "f2", "f3", "f4", "f5", "f6"]),
            prop::collection::vec(prop::sample::select(vec![
                "path /var/lib/vz", "path /a/./b", "path /", "path a", "server h", "export /e", "vgname vg", "thinpool t0",
                "content images", "content none", "content iso,backup", "content import", "content x", "nodes a,b,a",
                "nodes ,", "disable", "shared 0", "shared", "format raw", "format qcow2", "format subvol",
                "content-dirs iso=/x,iso=y", "content-dirs images=i", "content-dirs import=q", "port 0080", "port 1e3",
                "username u", "datastore d", "pool p", "portal p", "target t", "iscsiprovider LIO", "blocksize 8k",
                "max-protected-backups -1", "max-protected-backups +5", "type dir", "bogus 1", "bwlimit clone=1,move=2",
                "prune-backups keep-all=1", "comment c", "krbd\r", "#c", "mkdir 0", "share s", "saferemove-stepsize 8",
                "username a\rb", "\t", "\n#x", "\nnothing", "\n\n0",
            ]), 0..7),
        ), 0..7), order in any::<bool>()) {
            let mut text = String::new();
            for (kind, id, lines) in sections {
                text.push_str(&format!("{kind}: {id}\n"));
                for line in lines {
                    text.push_str(&format!("\t{line}\n"));
                }
                text.push_str(if order { "\n" } else { "0\n" });
            }
            check(text.as_bytes())?;
        }
    }
}
