// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm scan`: what could become a storage.

use std::io::BufRead;

use clap::Subcommand;
use pve_storage::scan::{self, Login};
use serde::Serialize;
use serde_json::json;

use crate::place::Place;
use crate::{Out, Outcome};

#[derive(Subcommand)]
pub(crate) enum Scan {
    /// List the directories that an NFS server exports
    Nfs {
        /// Its name or address
        server: String,
    },
    /// List the shares of a CIFS server
    Cifs {
        /// Its name or address
        server: String,
        /// Log in as this user; as a guest if left out
        #[arg(long, value_name = "USER")]
        username: Option<String>,
        /// Read the password from the first line of standard input
        #[arg(long, requires = "username")]
        password_stdin: bool,
        /// Domain of the user
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
    },
    /// List the targets of an iSCSI portal
    Iscsi {
        /// ADDRESS[:PORT]
        portal: String,
    },
    /// List the volume groups of this machine
    Lvm,
    /// List the thin pools of a volume group
    Lvmthin {
        /// The volume group
        vg: String,
    },
    /// List the ZFS pools and file systems of this machine
    Zfs,
}

impl Scan {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        match self {
            Scan::Nfs { server } => {
                let found = place.ask(|session| scan::nfs(session, server))?;
                show(place, out, &found, |export| format!("{:40} {}", export.path, export.clients))
            }
            Scan::Cifs { server, username, password_stdin, domain } => {
                let mut password = String::new();
                if *password_stdin {
                    std::io::stdin().lock().read_line(&mut password)?;
                }
                let login = Login {
                    user: username.as_deref(),
                    password: Some(password.trim_end_matches(['\r', '\n'])),
                    domain: domain.as_deref(),
                };
                let found = place.ask(|session| scan::cifs(session, server, &login))?;
                show(place, out, &found, |share| format!("{:30} {}", share.name, share.description))
            }
            Scan::Iscsi { portal } => {
                let found = place.ask(|session| scan::iscsi(session, portal))?;
                show(place, out, &found, |target| {
                    let portals: Vec<String> = target.portals.iter().map(ToString::to_string).collect();
                    format!("{} {}", target.target, portals.join(","))
                })
            }
            Scan::Lvm => show(place, out, &place.ask(scan::lvm)?, |group| group.name.to_string()),
            Scan::Lvmthin { vg } => {
                let found = place.ask(|session| scan::lvmthin(session, vg))?;
                show(place, out, &found, |pool| pool.name.to_string())
            }
            Scan::Zfs => show(place, out, &place.ask(scan::zfs)?, |pool| pool.name.to_string()),
        }
    }
}

fn show<T: Serialize>(place: &Place, out: &mut Out, found: &[T], line: impl Fn(&T) -> String) -> Outcome {
    if place.json {
        writeln!(out, "{:#}", json!(found))?;
        return Ok(());
    }
    for entry in found {
        writeln!(out, "{}", line(entry).trim_end())?;
    }
    Ok(())
}
