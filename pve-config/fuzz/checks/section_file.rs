// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any bytes read as a section file, with and without a schema. Called by the fuzz target, and by
//! `tests/section_files.rs` with the stable toolchain.

use std::sync::LazyLock;

use bstr::{BStr, ByteSlice};
use pve_config::rule::Rule;
use pve_config::section::{
    Document, HeaderSyntax, Lexer, Mode, OptionFlags, Outline, PropertySchema, Schema, SectionFormat,
    TypeDeclaration,
};

/// Sections that are tried in a document, at most.
const TRIED: usize = 12;

/// Checks `text` as a section file.
pub(crate) fn check(text: &[u8]) {
    for syntax in [HeaderSyntax::TypeAndId, HeaderSyntax::IdOnly] {
        lossless(syntax, text);
        edits(syntax, text);
    }
    for format in FORMATS.iter() {
        settles(format, text);
    }
}

/// Lines and document keep every byte; outline and document see the same sections.
fn lossless(syntax: HeaderSyntax, text: &[u8]) {
    let mut rebuilt = Vec::new();
    for (line, number) in Lexer::with_syntax(text, syntax).zip(1..) {
        assert_eq!(line.number, number);
        rebuilt.extend_from_slice(line.text);
        rebuilt.push(b'\n');
    }
    if !text.ends_with(b"\n") {
        rebuilt.pop();
    }
    assert_eq!(rebuilt.as_bstr(), text.as_bstr());
    let document = Document::with_syntax(text, syntax);
    assert_eq!(document.to_bytes(), text.as_bstr());
    let outline = Outline::with_syntax(text, syntax);
    let of_outline = outline.sections().map(|section| {
        let properties: Vec<_> = section.properties.iter().map(|set| (set.key, set.value)).collect();
        (section.kind, section.id, properties)
    });
    let of_document = document
        .sections()
        .map(|section| (section.kind, section.id, section.properties().collect::<Vec<_>>()));
    assert!(of_outline.eq(of_document));
}

/// An edit does what it says, and undone leaves the sections as they were.
fn edits(syntax: HeaderSyntax, text: &[u8]) {
    let document = Document::with_syntax(text, syntax);
    let count = document.sections().count();
    let ids: Vec<&BStr> = document.sections().map(|section| section.id).take(TRIED).collect();
    for id in ids {
        let mut changed = document.clone();
        assert_eq!(changed.set(id, b"zz", Some(b"a b")), Ok(()));
        assert_eq!(changed.section(id).and_then(|section| section.get(b"zz")), Some(Some("a b".into())));
        assert!(changed.unset(id, b"zz").is_ok_and(|lines| lines > 0));
        assert_eq!(changed.section(id).and_then(|section| section.get(b"zz")), None);
        assert_eq!(changed.sections().count(), count);
        let removed = changed.remove_section(id);
        assert!(removed > 0 && changed.section(id).is_none());
        assert_eq!(changed.sections().count(), count - removed);
    }
    let mut changed = document.clone();
    let kind: &[u8] = if syntax == HeaderSyntax::IdOnly { b"" } else { b"t" };
    if document.section(b"fresh").is_none() {
        assert_eq!(changed.add_section(kind, b"fresh"), Ok(()));
        assert_eq!(changed.sections().last().map(|section| section.id), Some("fresh".into()));
        assert_eq!(changed.sections().count(), count + 1);
    }
}

/// What is written reads back, and from the second time on it is written the same again: the reference writes numbers of
/// more than 15 digits in one form, and reads them in another.
fn settles(format: &SectionFormat<'_>, text: &[u8]) {
    let file = format.parse(text);
    assert_eq!(file.diagnostics().len() + file.diagnostics().left_out(), {
        file.warnings() + file.diagnostics().count(pve_config::Severity::Note)
    });
    for found in file.diagnostics() {
        assert!(found.span.end <= text.len() && found.line > 0 && found.column > 0);
    }
    let owned = file.clone().into_owned();
    assert_eq!(owned.digest(), file.digest());
    assert!(owned.sections().eq(file.sections()));
    let Ok(written) = format.write(&file) else {
        assert!(file.ids().any(|(id, _)| file.is_broken(id)));
        return;
    };
    // the reference writes a number that is too large as "Inf", which it does not read
    if written.contains_str("Inf") {
        return;
    }
    let again = format.parse(&written);
    let Ok(second) = format.write(&again) else { panic!("{again:?} cannot be written") };
    assert_eq!(format.write(&format.parse(&second)).as_ref(), Ok(&second));
    assert_eq!(file.ids().count(), again.ids().count());
}

static FORMATS: LazyLock<Vec<SectionFormat<'static>>> = LazyLock::new(|| {
    let types = || {
        let aa = TypeDeclaration::new("aa")
            .property("name", PropertySchema::one(Rule::string().max_length(5)).optional())
            .property("size", PropertySchema::one(Rule::integer().minimum(1.0)).optional())
            .property("on", PropertySchema::one(Rule::boolean()).optional())
            .property("map", PropertySchema::array(Rule::string()).optional());
        let names = ["comment", "disable", "name", "size", "on", "map"];
        let aa = names.into_iter().fold(aa, |aa, name| aa.option(name, OptionFlags::OPTIONAL));
        let bb = TypeDeclaration::new("bb")
            .property("must", PropertySchema::one(Rule::number()))
            .option("must", OptionFlags::FIXED);
        vec![aa, bb]
    };
    let base = || {
        vec![
            ("comment".into(), PropertySchema::one(Rule::string())),
            ("disable".into(), PropertySchema::one(Rule::boolean())),
        ]
    };
    let schemas = [Mode::Unified, Mode::Isolated].into_iter();
    let schemas = schemas.filter_map(|mode| Schema::new(mode, base(), types()).ok());
    let formats: Vec<_> = schemas.map(SectionFormat::plain).collect();
    assert_eq!(formats.len(), 2, "the schemas are sound");
    formats
});
