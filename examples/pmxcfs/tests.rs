// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stories: what an administrator does with a database, verb by verb, on the sample that comes with the programs.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use crate::output::Failure;
use crate::{Args, run};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sample/config.db");

/// A folder with a copy of the sample, in which verbs are run.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(SAMPLE, folder.path().join("config.db")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a verb; words that start with `@` are names of files in the folder.
    fn try_run(&self, line: &str) -> Result<(ExitCode, String), Failure> {
        let words = line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name),
            None => word.to_owned(),
        });
        let args = Args::try_parse_from(std::iter::once("pmxcfs".to_owned()).chain(words))?;
        let mut out = Vec::new();
        let code = run(&args, &mut out)?;
        Ok((code, String::from_utf8(out)?))
    }

    fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|error| panic!("{line}: {error}")).1
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} --json"))).unwrap()
    }

    fn refused(&self, line: &str) -> String {
        match self.try_run(line) {
            Ok((_, output)) => panic!("{line} was not refused: {output}"),
            Err(error) => error.to_string(),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn looking() {
    let desk = Desk::new();
    assert!(desk.run("ls @config.db /").contains("storage.cfg"));
    assert!(desk.run("cat @config.db storage.cfg").starts_with("dir: local\n"));
    assert!(desk.run("tree @config.db nodes/alpha").contains("  100.conf\n"));
    assert!(desk.run("find @config.db nodes/alpha/lxc").contains("nodes/alpha/lxc/200.conf\n"));
    assert!(desk.run("sql @config.db").contains("__version__"));
    assert!(desk.run("check @config.db").ends_with("the daemon would start with it\n"));
    assert!(desk.run("export @config.db @pve").contains("directories"));
    assert!(Path::new(&desk.path("pve/nodes/alpha/lxc/200.conf")).is_file());
    assert_eq!(desk.files(), ["config.db", "pve"]);
}

#[test]
fn an_empty_shell_is_called_what_it_is() {
    let desk = Desk::new();
    desk.write("empty.db", "");
    assert!(desk.run("check @empty.db").contains("an empty shell"));
    assert_eq!(desk.json("check @empty.db")["empty"], true);
    assert_eq!(desk.json("check @config.db")["empty"], false);
}

#[test]
fn bytes_that_are_no_text_survive_json() {
    let desk = Desk::new();
    desk.write("bytes", b"\xff\0x");
    desk.run("put @config.db odd @bytes");
    let value = desk.json("cat @config.db odd");
    assert_eq!((&value["content"], &value["content_base64"]), (&Value::Null, &Value::from("/wB4")));
    assert_eq!(desk.json("cat @config.db user.cfg")["content_base64"], Value::Null);
}

#[test]
fn a_file_is_put_in_its_place_and_the_old_state_kept() {
    let desk = Desk::new();
    desk.write("new.cfg", "dir: local\n\tpath /srv\n");
    let rehearsal = desk.run("put @config.db storage.cfg @new.cfg --dry-run");
    assert!(rehearsal.contains("\n  +\tpath /srv\n") && rehearsal.contains("nothing was written"));
    assert_eq!(desk.files(), ["config.db", "new.cfg"]);

    let done = desk.json("put @config.db storage.cfg @new.cfg");
    assert_eq!((&done["written"], &done["changes"][0]["path"]), (&true.into(), &"storage.cfg".into()));
    let backup = done["backup"].as_str().unwrap();
    assert_eq!(desk.run("cat @config.db storage.cfg"), "dir: local\n\tpath /srv\n");
    let (code, shown) = desk.try_run(&format!("diff {backup} @config.db")).unwrap();
    assert_eq!(code, ExitCode::from(1));
    assert!(shown.starts_with("changed storage.cfg\n  @@ -1,38 +1,2 @@\n   dir: local\n"), "{shown}");
    assert_eq!(desk.try_run(&format!("diff {backup} {SAMPLE}")).unwrap().0, ExitCode::SUCCESS);
    assert!(desk.run("put @config.db storage.cfg @new.cfg").contains("nothing to change"));
}

#[test]
fn a_guest_moves_and_is_never_there_twice() {
    let desk = Desk::new();
    desk.write("guest", "name: x\n");
    let refused = desk.refused("put @config.db nodes/beta/lxc/100.conf @guest");
    assert!(refused.contains("VMID 100 belongs to a qemu guest on node \"alpha\" (EEXIST)"), "{refused}");
    let moved =
        desk.run("mv @config.db nodes/alpha/qemu-server/100.conf nodes/beta/qemu-server/ --no-backup");
    assert!(moved.starts_with("moved nodes/alpha/qemu-server/100.conf -> nodes/beta/qemu-server/100.conf\n"));
    let moved = desk.json(&format!("diff {SAMPLE} @config.db"));
    assert_eq!(moved[0]["moved_from"], "nodes/alpha/qemu-server/100.conf");
    assert_eq!(moved.as_array().unwrap().len(), 1);
    assert!(desk.refused("mv @config.db nodes/alpha nodes/delta").contains("ENOTEMPTY"));
    assert!(!desk.files().iter().any(|name| name.ends_with(".bak")));
}

#[test]
fn directories_come_and_go() {
    let desk = Desk::new();
    assert!(desk.refused("mkdir @config.db a/b").contains("ENOENT"));
    assert!(desk.run("mkdir -p @config.db a/b c").starts_with("added a/\nadded a/b/\nadded c/\n"));
    assert!(desk.refused("mkdir @config.db c").contains("EEXIST"));
    assert!(desk.refused("rm @config.db a").contains("ENOTEMPTY"));
    assert!(desk.refused("rm @config.db a/b none").contains("ENOENT"));
    assert!(desk.run("rm -r @config.db a c").starts_with("removed a/\nremoved a/b/\nremoved c/\n"));
    assert!(desk.refused("put @config.db x/y/z @config.db").contains("ENOENT"));
    assert!(desk.run("put -p @config.db x/y/z @config.db").contains("added x/y/z\n"));
    assert!(desk.refused("put @config.db .members @config.db").contains("EACCES"));
    assert!(desk.run("check @config.db").ends_with("the daemon would start with it\n"));
}

#[test]
fn a_daemon_at_work_is_not_disturbed() {
    let desk = Desk::new();
    let lock = std::fs::File::create(desk.path(".pmxcfs.lockfile")).unwrap();
    lock.lock().unwrap();
    assert!(desk.refused("mkdir @config.db a").contains("in use by a daemon"));
    assert!(desk.run("mkdir @config.db a --dry-run").contains("nothing was written"));
    assert!(desk.run("mkdir @config.db a --force").contains("added a/\n"));
    drop(lock);
    assert!(desk.run("rm @config.db a").contains("removed a/\n"));
}

#[test]
fn trees_are_compared_with_folders() {
    let desk = Desk::new();
    desk.run("export @config.db @pve");
    assert_eq!(desk.run("diff @config.db @pve"), "");
    std::fs::write(desk.path("pve/user.cfg"), "\u{1b}[31m").unwrap();
    std::fs::remove_file(desk.path("pve/nodes/alpha/lxc/200.conf")).unwrap();
    std::fs::create_dir(desk.path("pve/ha")).unwrap();
    let names = desk.run("diff @config.db @pve --names");
    assert_eq!(names, "added ha/\nremoved nodes/alpha/lxc/200.conf\nchanged user.cfg\n");
    assert_eq!(desk.run("diff @config.db @pve --names --only /nodes/"), "removed nodes/alpha/lxc/200.conf\n");
    assert!(desk.refused("diff @config.db @none").contains("cannot read"));
}

impl Desk {
    fn sql(&self, name: &str, sql: &str) {
        rusqlite::Connection::open(self.path(name)).unwrap().execute_batch(sql).unwrap();
    }
}

#[test]
fn a_database_that_the_daemon_refuses_is_repaired_into_a_new_file() {
    let desk = Desk::new();
    assert_eq!(desk.run("repair @config.db"), "nothing to repair\n");
    desk.sql(
        "config.db",
        "INSERT INTO tree SELECT 900, parent, 900, 0, 7, 8, name, CAST('newer' AS BLOB) FROM tree WHERE name = 'user.cfg';
         INSERT INTO tree VALUES (901, 777, 901, 0, 7, 8, 'orphan', CAST('text' AS BLOB));",
    );
    let before = std::fs::read(desk.path("config.db")).unwrap();
    assert_eq!(desk.try_run("check @config.db").unwrap().0, ExitCode::FAILURE);
    assert!(desk.refused("put @config.db a @config.db").contains("repair it first"));
    let plan = desk.run("repair @config.db");
    assert!(plan.contains("user.cfg.duplicate-"), "{plan}");
    assert!(plan.contains("make the directory \"lost+found-777\" (inode 777)"), "{plan}");
    assert!(plan.contains("to carry them out name a new file"));
    let done = desk.json("repair @config.db @new.db");
    assert_eq!(done["remaining"].as_array().unwrap().len(), 0);
    assert_eq!(std::fs::read(desk.path("config.db")).unwrap(), before);
    assert_eq!(desk.run("cat @new.db user.cfg"), "newer");
    assert_eq!(desk.run("cat @new.db lost+found-777/orphan"), "text");
    assert_eq!(desk.try_run("check @new.db").unwrap().0, ExitCode::SUCCESS);
    assert!(desk.refused("repair @config.db @new.db").contains("new.db: File exists"));
    let untouched = done["untouched_rows"].as_u64().unwrap();
    let same = desk.json("sql @config.db")["rows"].as_array().unwrap().len() as u64 - 2;
    assert_eq!(untouched, same);
}

#[test]
fn rows_are_salvaged_from_a_file_that_sqlite_cannot_read() {
    let desk = Desk::new();
    assert!(desk.run("salvage @config.db").contains("40 rows in their place\n"));
    let mut bytes = std::fs::read(desk.path("config.db")).unwrap();
    bytes[..4096 + 60].fill(0);
    desk.write("broken.db", bytes);
    assert!(desk.try_run("check @broken.db").is_err());
    let (code, report) = desk.try_run("salvage @broken.db @rows.db --parts @parts").unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert!(report.contains("the header of the file is damaged"), "{report}");
    let (_, report) = desk.try_run("salvage @broken.db @new.db --repair").unwrap();
    assert!(report.contains("repaired: the daemon would start with it"), "{report}");
    assert_eq!(desk.try_run("check @new.db").unwrap().0, ExitCode::SUCCESS);
    let found = desk.json("find @new.db");
    let (was, found) = (desk.json("find @config.db"), found.as_array().unwrap().len());
    assert!(found >= was.as_array().unwrap().len(), "{found}");
    assert!(desk.refused("salvage @broken.db @new.db --repair").contains("exists"));
    assert!(desk.refused("salvage @none").contains("cannot read"));
}

#[test]
fn a_folder_becomes_a_database() {
    let desk = Desk::new();
    desk.run("export @config.db @pve");
    assert!(desk.try_run("import @new.db @pve").is_err());
    assert!(desk.run("import --create @new.db @pve").contains("added nodes/alpha/lxc/200.conf\n"));
    assert_eq!(desk.run("diff @config.db @new.db"), "");
    assert!(desk.run("import @new.db @pve").contains("nothing to change"));

    std::fs::create_dir_all(desk.path("pve/nodes/delta/lxc")).unwrap();
    std::fs::write(desk.path("pve/nodes/delta/lxc/100.conf"), "arch: amd64\n").unwrap();
    std::fs::write(desk.path("pve/nodes/delta/lxc/999.conf"), "arch: amd64\n").unwrap();
    std::fs::write(desk.path("pve/user.cfg"), "changed").unwrap();
    let refused = desk.refused("import @new.db @pve");
    assert!(refused.contains("\"nodes/delta/lxc/100.conf\": VMID 100 belongs to a qemu guest"), "{refused}");
    assert!(refused.contains("\"user.cfg\": a file with another content"), "{refused}");
    assert_eq!(desk.run("diff @config.db @new.db"), "");
    let done = desk.json("import @new.db @pve --skip-refused --overwrite");
    assert_eq!(done["refused"].as_array().unwrap().len(), 1);
    assert!(desk.run("cat @new.db nodes/delta/lxc/999.conf").starts_with("arch"));
    assert_eq!(desk.run("cat @new.db user.cfg"), "changed");
}

#[test]
fn an_archive_of_a_whole_backup() {
    let desk = Desk::new();
    let mut archive = tar::Builder::new(std::fs::File::create(desk.path("backup.tar")).unwrap());
    for (name, content) in [("./etc/hosts", "x"), ("./etc/pve/ha/groups.cfg", "group: a\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let done = desk.run("import @config.db @backup.tar --below etc/pve");
    assert!(done.starts_with("added ha/\nadded ha/groups.cfg\n"), "{done}");
    let done = desk.run("import @config.db @backup.tar --below etc/pve/ha --into saved");
    assert!(done.starts_with("added saved/\nadded saved/groups.cfg\n"), "{done}");
    desk.write("x.tar.gz", b"\x1f\x8b\x08\0");
    assert!(desk.refused("import @config.db @x.tar.gz").contains("compressed with gzip"));
}

#[test]
fn guests_of_a_dead_node_are_brought_into_another_cluster() {
    let desk = Desk::new();
    desk.run("export @config.db @pve");
    for node in ["alpha", "gamma"] {
        std::fs::remove_dir_all(desk.path(&format!("pve/nodes/{node}"))).unwrap();
    }
    desk.run("import --create @cluster.db @pve");
    let merge = "merge @cluster.db @config.db nodes/alpha/qemu-server --as nodes/beta/qemu-server";
    assert!(desk.run(&format!("{merge} -n")).contains("added nodes/beta/qemu-server/100.conf\n"));
    desk.run(merge);
    assert!(desk.run("cat @cluster.db nodes/beta/qemu-server/100.conf").contains("name:"));
    // now the same guests at their old place collide
    let refused = desk.refused("merge @cluster.db @config.db nodes/alpha nodes/gamma");
    assert!(refused.contains("VMID 100 belongs to a qemu guest on node \"beta\" (EEXIST)"), "{refused}");
    desk.run("merge @cluster.db @config.db nodes/alpha nodes/gamma --skip-refused");
    assert_eq!(
        desk.run("cat @cluster.db nodes/alpha/lxc/200.conf"),
        desk.run("cat @config.db nodes/alpha/lxc/200.conf")
    );
    assert!(desk.refused("merge @cluster.db @config.db none").contains("there is no none"));
    assert!(desk.refused("merge @cluster.db @config.db priv nodes --as x").contains("--as is for one path"));
    assert_eq!(desk.try_run("check @cluster.db").unwrap().0, ExitCode::SUCCESS);
}

#[test]
fn copies_tell_what_changed_when() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("copies")).unwrap();
    let keep =
        |name: &str| std::fs::copy(desk.path("config.db"), desk.path(&format!("copies/{name}"))).unwrap();
    keep("monday.db");
    desk.write("new.cfg", "dir: local\n\tpath /srv\n");
    desk.run("put @config.db storage.cfg @new.cfg --no-backup");
    desk.run("mv @config.db nodes/alpha/qemu-server/100.conf nodes/beta/qemu-server --no-backup");
    keep("tuesday.db");
    let told = desk.run("history @copies");
    assert!(told.contains(" changed storage.cfg\n"), "{told}");
    assert!(
        told.contains(" moved nodes/alpha/qemu-server/100.conf -> nodes/beta/qemu-server/100.conf\n"),
        "{told}"
    );
    assert!(desk.run("history @copies storage.cfg --lines").contains("  +\tpath /srv\n"));
    let value = desk.json("history @copies nodes");
    assert_eq!(
        (value["copies"].as_array().unwrap().len(), &value["events"][0]["kind"]),
        (2, &"moved".into())
    );
    assert!(desk.refused("history @none").contains("cannot read"));
}

#[test]
fn a_database_is_mounted_changed_and_unmounted() {
    let desk = Desk::new();
    let ready = nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !ready {
        assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "mounting needs root and /dev/fuse");
        eprintln!("skipped: mounting needs root and /dev/fuse");
        return;
    }
    std::fs::create_dir(desk.path("pve")).unwrap();
    let file = desk.path("pve/new.cfg");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    std::thread::scope(|scope| {
        let mount = scope.spawn(|| desk.run("mount @config.db @pve --foreground --nodename alpha"));
        while !Path::new(&desk.path("pve/local")).is_symlink() {
            assert!(!mount.is_finished() && std::time::Instant::now() < deadline, "it was not mounted");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::fs::write(&file, "text").unwrap();
        assert!(Path::new(&desk.path("pve/qemu-server/100.conf")).is_file());
        assert!(desk.refused("rm @config.db storage.cfg").contains("in use by a daemon"));
        // not by the program: for an instant its process would have the locks of the other tests, too
        nix::mount::umount(desk.path("pve").as_str()).unwrap();
        assert!(mount.join().unwrap().contains("end it with: umount"));
    });
    assert_eq!(desk.run("cat @config.db new.cfg"), "text");
    assert!(desk.refused("mount @config.db @config.db -f").contains("config.db"));
    assert!(desk.refused("mount @config.db @pve -f --nodename a.b").contains("cannot be the name of a node"));
}

#[test]
fn every_recorded_database_that_the_reference_refuses_is_repaired_or_named_unreadable() {
    let cases =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/vectors/PMXCFS_DB.jsonl"));
    let mut repaired = 0;
    for case in cases.unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let name = &case["name"];
        let (Some(sql), Some(true)) = (case["sql"].as_str(), case["expect"]["refused"].as_bool()) else {
            continue;
        };
        let desk = Desk::new();
        desk.write("config.db", "");
        desk.sql("config.db", sql);
        if desk.try_run("sql @config.db").is_err() {
            // a table without one of the columns, or none at all: there is nothing that a repair could start from
            assert!(desk.try_run("repair @config.db").is_err(), "{name}");
            continue;
        }
        let done = desk.json("repair @config.db @new.db");
        assert!(done["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{name}");
        let verdict = desk.json("check @new.db");
        assert_eq!(verdict["would_start"], true, "{name}: {verdict}");
        repaired += 1;
    }
    assert!(repaired >= 5, "{repaired}");
}
