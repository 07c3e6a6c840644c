// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adoption experiment: a volume belongs to whom its name says, and a name that says nothing belongs to nobody.

use bstr::BString;
use pve_config::inventory::Inventory;
use pve_storage::audit::{Trouble, audit, collect};
use pve_storage::{Planning, Session};
use pve_volid::{ImageFormat, Invisible};

use crate::node::{host, listed, read, storages, tool, vmid, write};

const STORAGE_CFG: &str = "lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\tcontent rootdir,images\n";
/// A guest that waits for its disk.
const GUEST: &str = "name: adopter\nscsi0: local-lvm:vm-8888-disk-0,size=1G\n";
const GIB: u64 = 1 << 30;

#[test]
#[ignore = "runs in a micro-VM"]
fn a_volume_changes_hands_by_its_name_alone() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    let alloc = |session: &Session<'_>| {
        let name = Some("vm-9999-disk-0".into());
        session.allocate("local-lvm", vmid(9999), Some(ImageFormat::Raw), name, GIB / 1024).unwrap()
    };

    // what would happen, and that nothing has
    let plan = Planning::new(&host);
    alloc(&Session::new(&storages, &plan, "pve1"));
    let plan = plan.to_string();
    assert!(
        plan.contains("/sbin/lvcreate -aly -V 1048576k --name vm-9999-disk-0 --thinpool pve/data\n"),
        "{plan}"
    );
    assert_eq!(listed(&session, "local-lvm"), []);

    // pvesm alloc local-lvm 9999 vm-9999-disk-0 1G
    assert_eq!(alloc(&session).to_string(), "local-lvm:vm-9999-disk-0");
    write(&session, "local-lvm:vm-9999-disk-0", "important");
    tool(&["lvcreate", "-q", "-V", "100m", "-n", "backup-data-important", "--thinpool", "pve/data"]);
    let before = [("local-lvm:vm-9999-disk-0".to_owned(), "9999".to_owned(), GIB)];
    assert_eq!(listed(&session, "local-lvm"), before);
    assert_eq!(
        findings(&session),
        [
            ("backup-data-important".into(), Trouble::Invisible(Invisible::NoMatch)),
            (
                "vm-8888-disk-0".into(),
                Trouble::Dangling { guest: 8888, key: "scsi0".into(), section: String::new() }
            ),
            ("vm-9999-disk-0".into(), Trouble::NoGuest { owner: "9999".into() }),
        ]
    );

    // nothing but the name changes, and behind the back of everybody
    tool(&["lvrename", "pve", "vm-9999-disk-0", "vm-8888-disk-0"]);
    let after = [("local-lvm:vm-8888-disk-0".to_owned(), "8888".to_owned(), GIB)];
    assert_eq!(listed(&session, "local-lvm"), after);
    assert_eq!(read(&session, "local-lvm:vm-8888-disk-0", None, 9), "important");
    assert_eq!(
        findings(&session),
        [("backup-data-important".into(), Trouble::Invisible(Invisible::NoMatch))]
    );

    // the blind spot, and why it is one
    let survey = session.survey("local-lvm").unwrap();
    let hidden = survey.hidden().iter().find(|hidden| hidden.name == "backup-data-important").unwrap();
    assert_eq!((hidden.reason, hidden.size), (Invisible::NoMatch, Some(100 << 20)));
    assert_eq!(hidden.reason.to_string(), "its name is not that of a guest's volume");
    let pool = survey.hidden().iter().find(|hidden| hidden.name == "data").unwrap();
    assert_eq!(pool.reason, Invisible::ThinPool);

    session.free("local-lvm:vm-8888-disk-0".into()).unwrap();
    tool(&["lvremove", "-fq", "pve/backup-data-important"]);
}

/// What the audit says of this node as it is now.
fn findings(session: &Session<'_>) -> Vec<(BString, Trouble)> {
    let files =
        [("storage.cfg", STORAGE_CFG.as_bytes()), ("nodes/pve1/qemu-server/8888.conf", GUEST.as_bytes())];
    let found = audit(&Inventory::new(files), &[collect(session)]).unwrap().findings;
    found.into_iter().map(|finding| (finding.name, finding.trouble)).collect()
}
