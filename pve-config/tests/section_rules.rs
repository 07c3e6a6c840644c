// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of section files and of storage.cfg, one by one, on the smallest text that shows each.

use bstr::{BStr, BString};
use pve_config::rule::Rule;
use pve_config::section::{
    Mode, OptionFlags, PropertySchema, Purpose, Schema, Section, SectionConfig, SectionFormat,
    TypeDeclaration, Value, WriteError, check_digest,
};
use pve_config::storage::StorageConfig;

/// Two types: `a` with a property of every kind, `b` with a required one.
fn format() -> SectionFormat<'static> {
    let word = || PropertySchema::one(Rule::string());
    let a = TypeDeclaration::new("a")
        .property("flag", PropertySchema::one(Rule::boolean()))
        .property("count", PropertySchema::one(Rule::integer().minimum(0.0).maximum(10.0)))
        .property("ratio", PropertySchema::one(Rule::number()))
        .property("text", word())
        .property("list", PropertySchema::array(Rule::string()))
        .property("only", word())
        .option("comment", OptionFlags::OPTIONAL)
        .option("disable", OptionFlags::OPTIONAL)
        .option("flag", OptionFlags::OPTIONAL)
        .option("count", OptionFlags::OPTIONAL)
        .option("ratio", OptionFlags::OPTIONAL)
        .option("text", OptionFlags::OPTIONAL)
        .option("list", OptionFlags::OPTIONAL)
        .option("only", OptionFlags::OPTIONAL_FIXED);
    let b = TypeDeclaration::new("b")
        .property("must", word())
        .option("must", OptionFlags::REQUIRED)
        .option("text", OptionFlags::OPTIONAL);
    let base = vec![("comment".into(), word()), ("disable".into(), PropertySchema::one(Rule::boolean()))];
    SectionFormat::plain(Schema::new(Mode::Unified, base, vec![a, b]).unwrap_or_default())
}

/// What is in a file, in the order of ids: `id{key=value …}`, `id!` for a broken section.
fn shown(file: &SectionConfig<'_>) -> String {
    let section = |section: &Section<'_>| {
        let mut properties: Vec<String> = section
            .properties()
            .filter(|(key, _)| *key != "type")
            .map(|(key, value)| match value {
                Value::Null => format!("{key}"),
                Value::List(list) => {
                    let items: Vec<_> = list.iter().map(|item| item.to_text().to_string()).collect();
                    format!("{key}=[{}]", items.join("|"))
                }
                value => format!("{key}={}", value.to_text()),
            })
            .collect();
        properties.sort();
        format!("{{{}}}", properties.join(" "))
    };
    let ids = file.ids().map(|(id, found)| match found {
        Some(found) => format!("{id}{}", section(found)),
        None => format!("{id}!"),
    });
    ids.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn reads(text: &str, expected: &str, warnings: usize, errors: usize) {
    let file = format().parse(text.as_bytes());
    assert_eq!(
        (shown(&file).as_str(), file.warnings(), file.errors().len()),
        (expected, warnings, errors),
        "{text:?}"
    );
}

#[test]
fn lines() {
    reads("", "", 0, 0);
    reads("\n\n\na: x\n\n\n\n", "x{}", 0, 0);
    // no continuation, no quoting
    reads("a: x\n\ttext a\\\n\tcount 1\n", "x{count=1 text=a\\}", 0, 0);
    reads("a: x\n\ttext \"a b\"\n", "x{text=\"a b\"}", 0, 0);
    // comments anywhere, and a `#` later is data
    reads("#c\n  # c\na: x\n# c\n\t#c\n\ttext a # b\n", "x{text=a # b}", 0, 0);
    // a `0` is a blank line, ` 0` and `00` are not
    reads("0\na: x\n0\na: y\n", "x{} y{}", 0, 0);
    reads("00\na: x\n00\n", "x{}", 2, 0);
    // white space alone ends nothing
    reads("a: x\n \na: y\n\tflag\n", "x{flag=1}", 2, 0);
    reads(" \na: x\n", "x{}", 1, 0);
    // CR is white space: the second section is no section
    reads("a: x\r\n\ttext v\r\n\r\na: y\r\n\ttext w\r\n", "x{text=v}", 3, 1);
    // VT and FF too, and values keep what is inside
    reads("a: x\n\x0b\x0ctext\x0bv \t w\x0c\n", "x{text=v \t w}", 0, 0);
    // LF is the only end of a line, also the last one may be missing
    reads("a: x\n\ttext v", "x{text=v}", 0, 0);
}

#[test]
fn headers() {
    // TYPE is as long as possible
    reads("a:b:c\n", "", 1, 0);
    reads("a: b:c\n", "b:c{}", 0, 0);
    reads("a:x\n\na:\t y \n", "x{} y{}", 0, 0);
    for text in [" a: x\n", "a : x\n", "a: x y\n", "a:\n", ": x\n", "a x\n", "A: x\n"] {
        reads(text, "", 1, 0);
    }
    // no blank line, no new section
    reads("a: x\n\tflag 1\na: y\n\tcount 1\n", "x{count=1 flag=1}", 1, 0);
    // lines between sections are reported one by one, those of a skipped section are not
    reads("x\n\tflag\ny\n\na: x\n", "x{}", 3, 0);
    reads("nope: x\n\tflag\nz\n \n\na: x\n", "x{}", 1, 0);
    // a later section of the same id takes the place of the earlier one, whole
    let file = format().parse(b"a: x\n\ttext v\n\na: y\n\na: x\n\tflag\n");
    assert_eq!(shown(&file), "x{flag=1} y{}");
    assert_eq!((file.order(b"x"), file.order(b"y"), file.warnings()), (Some(3), Some(2), 0));
    // skipped sections have no number, broken ones do
    let file = format().parse(b"nope: w\n\nb: x\n\na: y\n");
    assert_eq!((shown(&file).as_str(), file.order(b"x"), file.order(b"y")), ("x! y{}", Some(1), Some(2)));
}

#[test]
fn properties() {
    // the first wins; one that failed does not count
    reads("a: x\n\ttext v\n\ttext w\n", "x{text=v}", 1, 1);
    reads("a: x\n\tcount z\n\tcount 2\n\tcount 3\n", "x{count=2}", 2, 2);
    // not in the type's table, or nowhere
    reads("a: x\n\tmust 1\n\tzz 1\n", "x{}", 2, 2);
    // `type` is fine if it says the type
    reads("a: x\n\ttype a\n", "x{}", 0, 0);
    reads("a: x\n\ttype b\n", "x{}", 1, 1);
    // booleans: no word but 0 and 1, no value is 1
    reads("a: x\n\tflag\n", "x{flag=1}", 0, 0);
    reads("a: x\n\tflag 0\n", "x{flag=0}", 0, 0);
    for word in ["yes", "on", "true", "01", "+1", "2"] {
        reads(&format!("a: x\n\tflag {word}\n"), "x{}", 1, 1);
    }
    // no value otherwise is an error, also for arrays
    reads("a: x\n\ttext\n\tcount\n\tlist\n", "x{}", 3, 3);
    // numbers are numbers
    reads("a: x\n\tcount +5\n\tratio 007\n", "x{count=5 ratio=7}", 0, 0);
    reads("a: x\n\tcount 1.0\n\tratio 1e1\n", "x{ratio=10}", 1, 1);
    for (number, is_one) in
        [("1.", true), (".5", true), ("-.5e+2", true), (".", false), ("1e", false), ("0x1", false)]
    {
        let file = format().parse(format!("a: x\n\tratio {number}\n").as_bytes()).into_owned();
        assert_eq!(file.warnings() == 0, is_one, "{number}");
    }
    reads("a: x\n\tcount 11\n\tcount -1\n\tcount -0\n", "x{count=0}", 2, 2);
    // arrays gather, duplicates and all
    reads("a: x\n\tlist b\n\ttext t\n\tlist a\n\tlist b\n", "x{list=[b|a|b] text=t}", 0, 0);
    // a CR inside of a value
    reads("a: x\n\ttext v\rw\n", "x{}", 1, 1);
    // indentation is needed, of any white space
    reads("a: x\ntext v\n ratio 1\n", "x{ratio=1}", 1, 0);
    // bytes are bytes
    let file = format().parse(b"a: x\n\ttext \xff\x00\n");
    assert_eq!(file.get(b"x").unwrap().text("text").unwrap(), BStr::new(b"\xff\x00"));
}

#[test]
fn the_end_of_a_section() {
    reads("b: x\n\ttext v\n", "x!", 1, 0);
    reads("b: x\n\tmust v\n\nb: y\n", "x{must=v} y!", 1, 0);
    // a broken section takes the place of a good one
    reads("b: x\n\tmust v\n\nb: x\n", "x!", 1, 0);
    let broken = format().parse(b"b: x\n");
    assert!(matches!(format().write(&broken), Err(WriteError::Broken { .. })));
    // with "allow unknown" that does not fail
    let lenient = format().allow_unknown(true);
    assert_eq!(lenient.write(&lenient.parse(b"b: x\n")).unwrap(), ": x\n\n");
}

#[test]
fn unknown_types_that_are_kept() {
    let lenient = format().allow_unknown(true);
    let shown_of = |text: &str| shown(&lenient.parse(text.as_bytes()));
    assert_eq!(shown_of("z: x\n\tk\n\tl v\n\tl w\n\tflag yes\n"), "x{flag=yes k l=[v|w]}");
    // without a value first, the later one takes its place; the other way round it is a list
    assert_eq!(shown_of("z: x\n\tk\n\tk v\n"), "x{k=v}");
    let file = lenient.parse(b"z: x\n\tm v\n\tk v\n\tk\n\tcomment c\n\tn\n\tdisable 0\n");
    assert_eq!(file.warnings(), 0);
    assert_eq!(lenient.write(&file).unwrap(), "z: x\n\tcomment c\n\tdisable 0\n\tk v\n\tk \n\tm v\n\tn \n\n");
}

#[track_caller]
fn writes(text: &str, expected: &str) {
    let format = format();
    let written = format.write(&format.parse(text.as_bytes()));
    assert_eq!(written, Ok(expected.into()), "{text:?}");
    let again = format.write(&format.parse(expected.as_bytes()));
    assert_eq!(again, written, "the second writing changes nothing");
}

#[test]
fn writing() {
    writes("", "");
    // comment and disable first, then what must be there, then the rest, by name; one tab, one blank
    writes(
        "a: x\n   text   v w\n\tratio 1\n\tlist b\n\tlist a\n\tflag 0\n\tdisable\n\tcomment c d\n",
        "a: x\n\tcomment c d\n\tdisable\n\tflag 0\n\tlist b\n\tlist a\n\tratio 1\n\ttext v w\n\n",
    );
    writes("b: x\n\ttext a\n\tmust z\n", "b: x\n\tmust z\n\ttext a\n\n");
    // a comment of 0, and a disable of 0, are lost; a flag of 0 is not
    writes("a: x\n\tcomment 0\n\tdisable 0\n\tflag 0\n", "a: x\n\tflag 0\n\n");
    // comments and unknown things are lost
    writes("# c\na: x\n\tzz 1\n\nnope: y\n\na: z\n", "a: x\n\na: z\n\n");
    // a repeated section is written where it stood last
    writes("a: x\n\na: y\n\na: x\n\tflag\n", "a: y\n\na: x\n\tflag 1\n\n");

    let format = format();
    let mut file = format.parse(b"a: m\n");
    for id in ["z", "b"] {
        file.insert(BStr::new(id), Section::new(BStr::new("a")));
    }
    // sections without a number follow, by id
    assert_eq!(format.write(&file).unwrap(), "a: m\n\na: b\n\na: z\n\n");
    // empty values and empty elements are left out, line breaks are refused
    let mut odd = Section::new(BStr::new("a"));
    odd.set(BStr::new("text"), Value::text(b""));
    odd.set(BStr::new("list"), Value::List(vec![Value::text(b"p"), Value::text(b""), Value::text(b"q")]));
    file.insert(BStr::new("m"), odd);
    assert!(format.write(&file).unwrap().starts_with(b"a: m\n\tlist p\n\tlist q\n\n"));
    let mut bad = Section::new(BStr::new("a"));
    bad.set(BStr::new("text"), Value::text(b"v\rw"));
    file.insert(BStr::new("m"), bad);
    assert!(format.write(&file).is_err());
    // a section that lacks what it must have cannot be written
    let mut file = SectionConfig::default();
    file.insert(BStr::new("m"), Section::new(BStr::new("b")));
    assert!(format.write(&file).is_err());
}

#[test]
fn updates() {
    let format = format();
    let values = |pairs: &[(&str, &str)], kind: &'static str| {
        let mut section = Section::new(BStr::new(kind));
        for (key, value) in pairs {
            section.set(BString::from(*key), Value::Text(std::borrow::Cow::Owned((*value).into())));
        }
        section.into_owned()
    };
    let check = |pairs: &[(&str, &str)], kind: &'static str, purpose| {
        format.check_config(kind.as_bytes(), b"x", values(pairs, kind), purpose).map_err(|error| error.code())
    };
    // fixed: fine at creation, an error later, whatever the value
    assert!(check(&[("only", "v")], "a", Purpose::Create).is_ok());
    assert_eq!(check(&[("only", "v")], "a", Purpose::Update).unwrap_err(), "fixed-property");
    // required: at creation only
    assert_eq!(check(&[], "b", Purpose::Create).unwrap_err(), "missing-property");
    assert!(check(&[], "b", Purpose::Update).is_ok());
    assert_eq!(
        check(&[("must", "v"), ("flag", "1")], "b", Purpose::Create).unwrap_err(),
        "unexpected-property"
    );
    assert_eq!(check(&[("zz", "1")], "a", Purpose::Create).unwrap_err(), "unknown-property");
    // the schema of single values is not checked again
    assert!(check(&[("count", "99")], "a", Purpose::Update).is_ok());

    let delete = |names: &[&str], set: &[(&str, &str)], kind: &'static str| {
        let mut section = values(&[("text", "v"), ("must", "m")], kind);
        let names = names.iter().map(|name| name.as_bytes());
        format.delete_properties(&mut section, names, &values(set, kind)).map_err(|error| error.code())?;
        Ok::<usize, &str>(section.properties().filter(|(key, _)| *key != "type").count())
    };
    assert_eq!(delete(&["text"], &[], "b"), Ok(1));
    assert_eq!(delete(&["must"], &[], "b"), Err("required-property"));
    assert_eq!(delete(&["flag"], &[], "b"), Err("unexpected-property"));
    assert_eq!(delete(&["zz"], &[], "b"), Err("unexpected-property"));
    assert_eq!(delete(&["only"], &[], "a"), Err("fixed-property"));
    assert_eq!(delete(&["text"], &[("text", "w")], "b"), Err("set-and-deleted"));
    // what is not set can be deleted
    assert_eq!(delete(&["count", "flag"], &[], "a"), Ok(2));

    let digest = format.parse(b"a: x\n").digest();
    assert!(check_digest(digest, "").is_ok() && check_digest(digest, &digest.to_string()).is_ok());
    assert!(check_digest(digest, "da39a3ee5e6b4b0d3255bfef95601890afd80709").is_err());
}

// storage.cfg

/// What storage.cfg becomes when it is written again, without the storage `local` that is added.
fn rewritten(text: &str) -> Result<String, String> {
    let config = StorageConfig::parse(text.as_bytes());
    let written = config.write().map_err(|error| error.to_string())?.to_string();
    let local = "dir: local\n\tpath /var/lib/vz\n\tcontent backup,images,iso,rootdir,snippets,vztmpl\n\tprune-backups keep-all=1\n\n";
    Ok(written.replace(local, "+local\n"))
}

#[track_caller]
fn stores(text: &str, expected: &str, warnings: usize) {
    let config = StorageConfig::parse(text.as_bytes());
    assert_eq!(
        (rewritten(text).as_deref(), config.diagnostics().warnings()),
        (Ok(expected), warnings),
        "{text:?}"
    );
}

#[track_caller]
fn breaks(text: &str, id: &str) {
    let config = StorageConfig::parse(text.as_bytes());
    assert_eq!(config.broken().collect::<Vec<_>>(), [id], "{text:?}");
    assert!(rewritten(text).is_err());
}

#[test]
fn storage_headers() {
    stores(
        "DIR: d1\n path /x//y/\n  shared 0\n  disable\n",
        "dir: d1\n\tdisable\n\tpath /x/y\n\tcontent images,rootdir\n\tshared 0\n\n+local\n",
        0,
    );
    for bad in
        ["dir: d", "dir: 1d", "dir: d-", "dir: d_", "dir: a/b", "glusterfs: gg", "drbd: dd", "nope: x!"]
    {
        stores(&format!("{bad}\n\tpath /x\n"), "+local\n", 1);
    }
    stores("lvm: ID.a_b-9\n\tvgname vg\n", "lvm: ID.a_b-9\n\tvgname vg\n\tcontent images\n\n+local\n", 0);
    // no comments here, no old options
    for line in ["comment x", "maxfiles 3", "authsupported cephx", "storage x", "redundancy 2"] {
        stores(&format!("rbd: rr\n\t{line}\n"), "rbd: rr\n\tcontent images\n\n+local\n", 1);
    }
}

#[test]
fn storage_content() {
    let dir = |lines: &str| format!("dir: dd\n\tpath /x\n\t{lines}\n");
    let good = |content: &str| format!("dir: dd\n\tpath /x\n\tcontent {content}\n\n+local\n");
    stores(&dir("content iso,backup;images rootdir"), &good("backup,images,iso,rootdir"), 0);
    stores(&dir("content none"), &good("none"), 0);
    // one element that nobody knows: the line is ignored
    stores(&dir("content iso,foo"), &good("images,rootdir"), 1);
    breaks(&dir("content iso,none"), "dd");
    // what the type cannot hold is dropped, with a warning for each
    let lvm = |content: &str| format!("lvm: ll\n\tvgname vg\n\tcontent {content}\n");
    stores(&lvm("images,iso,backup"), "lvm: ll\n\tvgname vg\n\tcontent images\n\n+local\n", 2);
    breaks(&lvm("iso"), "ll");
    breaks(&lvm("none"), "ll");
    // `none` is left when the type has it, and an empty set is a set
    stores(
        "iscsi: ii\n\tportal p\n\ttarget t\n\tcontent rootdir\n",
        "iscsi: ii\n\tportal p\n\ttarget t\n\tcontent none\n\n+local\n",
        1,
    );
    stores(
        "iscsi: ii\n\tportal p\n\ttarget t\n\tcontent ,\n",
        "iscsi: ii\n\tportal p\n\ttarget t\n\tcontent none\n\n+local\n",
        0,
    );
    breaks(&lvm(","), "ll");
}

#[test]
fn storage_values() {
    let dir = |lines: &str| format!("dir: dd\n\tpath /x\n\t{lines}\n");
    let good = |lines: &str| format!("dir: dd\n\tpath /x\n\tcontent images,rootdir\n{lines}\n+local\n");
    stores(&dir("format qcow2"), &good("\tformat qcow2\n"), 0);
    stores(
        "btrfs: bb\n\tpath /x\n\tformat qcow2\n",
        "btrfs: bb\n\tpath /x\n\tcontent images,rootdir\n\n+local\n",
        1,
    );
    stores("cephfs: cc\n\tformat raw\n", "cephfs: cc\n\tpath /mnt/pve/cc\n\tcontent backup\n\n+local\n", 1);
    // an empty list of nodes is not written, and means no node
    stores(&dir("nodes ,"), &good(""), 0);
    assert!(!StorageConfig::parse(dir("nodes ,").as_bytes()).get(b"dd").unwrap().is_enabled_on("n1"));
    stores(&dir("nodes c a;b,a"), &good("\tnodes a,b,c\n"), 0);
    stores(&dir("nodes a,-b"), &good(""), 1);
    stores(&dir("content-dirs iso=/i,backup=b,iso=x=y"), &good("\tcontent-dirs backup=b,iso=x=y\n"), 0);
    stores(&dir("max-protected-backups -1"), &good("\tmax-protected-backups -1\n"), 0);
    stores(&dir("max-protected-backups -2"), &good(""), 1);
    stores(&dir("prune-backups keep-last=0"), &good("\tprune-backups keep-last=0\n"), 0);
    stores(&dir("prune-backups keep-all=1,keep-last=1"), &good(""), 1);
    let limited = good("").replace("\tcontent", "\tbwlimit clone=5,default=1.5\n\tcontent");
    stores(&dir("bwlimit clone=5,default=1.5"), &limited, 0);
    stores(&dir("bwlimit 5"), &good(""), 1);
    stores(&dir("preallocation none"), &good(""), 1);
    stores(&dir("is_mountpoint whatever"), &good("\tis_mountpoint whatever\n"), 0);
    let lvm = |line: &str| format!("lvm: ll\n\tvgname vg\n\t{line}\n");
    for (line, is_good) in [
        ("saferemove-stepsize 16", true),
        ("saferemove-stepsize 3", false),
        ("saferemove-stepsize 016", false),
        ("base ss:anything at all", true),
        ("base s:x", false),
        ("tagged_only", true),
        ("shared yes", false),
    ] {
        let config = lvm(line);
        assert_eq!(StorageConfig::parse(config.as_bytes()).diagnostics().warnings() == 0, is_good, "{line}");
    }
    for vgname in ["v", "-v", "v-", "v g", "v+g", "v_"] {
        breaks(&format!("lvm: ll\n\tvgname {vgname}\n"), "ll");
    }
}

#[test]
fn storage_paths() {
    let path = |path: &str| rewritten(&format!("dir: dd\n\tpath {path}\n"));
    // the rule wants something behind the slash
    assert!(path("/").is_err());
    for (from, to) in
        [("//", "/"), ("/a/./b/", "/a/b"), ("/../a/../b", "/a/../b"), ("/a@b-c_d.e", "/a@b-c_d.e")]
    {
        assert_eq!(
            path(from).unwrap(),
            format!("dir: dd\n\tpath {to}\n\tcontent images,rootdir\n\n+local\n")
        );
    }
    for bad in ["a/b", "/a b", "/a;b", "/ä", "/a:b"] {
        assert!(path(bad).is_err(), "{bad}");
    }
    // mounted types: a default, and nothing made canonical
    let nfs = |line: &str| rewritten(&format!("nfs: nn\n\tserver h\n\texport /e\n{line}"));
    let good =
        |path: &str| format!("nfs: nn\n\texport /e\n\tpath {path}\n\tserver h\n\tcontent images\n\n+local\n");
    assert_eq!(nfs("").unwrap(), good("/mnt/pve/nn"));
    assert_eq!(nfs("\tpath /a//b/\n").unwrap(), good("/a//b/"));
    assert_eq!(nfs("\tpath /a;b\n").unwrap(), good("/a;b"));
    assert_eq!(nfs("\tpath /;b\n").unwrap(), good("/mnt/pve/nn"));
}

#[test]
fn the_storage_local() {
    let built_in = "dir: local\n\tpath /var/lib/vz\n\tcontent backup,images,iso,rootdir,snippets,vztmpl\n\tprune-backups keep-all=1\n\n";
    let written = |text: &str| StorageConfig::parse(text.as_bytes()).write().unwrap().to_string();
    assert_eq!(written(""), built_in);
    let behind = "dir: zz\n\tpath /z\n\tcontent iso\n\n";
    // what is not the local directory is replaced in its place
    for bad in
        ["dir: local\n\tpath /srv\n\tdisable\n\tnodes a\n\n", "lvm: local\n\tvgname vg\n\n", "dir: local\n\n"]
    {
        assert_eq!(written(&format!("{bad}{behind}")), format!("{built_in}{behind}"), "{bad}");
    }
    // a skipped section is none: it is added behind the others
    assert_eq!(written(&format!("nope: local\n\n{behind}")), format!("{behind}{built_in}"));
    // a good one keeps what it has, but for the nodes; the path counts in canonical form
    assert_eq!(
        written("dir: local\n\tpath //var/lib/./vz/\n\tnodes a\n\tdisable\n\tcontent iso\n"),
        "dir: local\n\tdisable\n\tpath /var/lib/vz\n\tcontent iso\n\n"
    );
}

#[test]
fn shared_by_type() {
    let text = b"rbd: rr\n\nlvm: ll\n\tvgname vg\n\nesxi: ee\n\tserver s\n\tusername u\n\npbs: pp\n\tserver s\n\tdatastore d\n";
    let config = StorageConfig::parse(text);
    let shared = |id: &[u8]| config.get(id).unwrap().is_shared();
    assert!(shared(b"rr") && shared(b"pp") && !shared(b"ll") && !shared(b"ee"));
    // the flag of the type is not written where there is no option
    assert!(!config.write().unwrap().to_string().contains("shared"));
}
