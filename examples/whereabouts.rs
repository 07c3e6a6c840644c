// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a program works: the configurations of a cluster, and the node that it works as.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

/// Where the cluster file system is mounted.
pub const MOUNTED: &str = "/etc/pve";
/// Its database.
pub const DATABASE: &str = "/var/lib/pve-cluster/config.db";

/// The database of a cluster of three nodes, as the daemon of a real one wrote it, with the mistakes that people make.
pub const SAMPLE: &[u8] = include_bytes!("sample/config.db");

/// The arguments that say where a program works.
#[derive(Debug, clap::Args)]
pub struct Whereabouts {
    /// A folder like /etc/pve, or a config.db; the one of this machine if left out
    #[arg(long, visible_alias = "cluster", alias = "config", global = true, value_name = "PATH")]
    pub root: Option<PathBuf>,
    /// Work as this node; this machine if left out, or the only node that there is
    #[arg(long, global = true, value_name = "NODE")]
    pub node: Option<String>,
}

impl Whereabouts {
    /// The configurations of a cluster: those asked for, or those of this machine.
    ///
    /// # Errors
    /// If there are none here, or what was asked for does not exist.
    pub fn root(&self) -> Result<PathBuf, String> {
        match &self.root {
            Some(root) if root.exists() => Ok(root.clone()),
            Some(root) => Err(format!("{} does not exist", root.display())),
            None => [MOUNTED, DATABASE]
                .map(PathBuf::from)
                .into_iter()
                .find(|path| path.exists())
                .ok_or_else(|| format!("neither {MOUNTED} nor {DATABASE} exists here: say --root PATH")),
        }
    }

    /// The node to work as: the one asked for, this machine, or the only one that there is.
    ///
    /// # Errors
    /// If there is no such node, or several to choose from.
    pub fn node(&self, nodes: &[String]) -> Result<String, String> {
        let name = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let here = name.split('.').next().unwrap_or_default();
        let is_known = |node: &str| nodes.is_empty() || nodes.iter().any(|known| known == node);
        match (&self.node, nodes) {
            (Some(node), _) if is_known(node) => Ok(node.clone()),
            (Some(node), _) => Err(format!("there is no node '{node}', only {}", nodes.join(", "))),
            (None, _) if is_known(here) => Ok(here.to_owned()),
            (None, [only]) => Ok(only.clone()),
            (None, _) => {
                let known = nodes.join(", ");
                Err(format!("'{here}' is no node of the cluster: say --node with one of {known}"))
            }
        }
    }
}

/// Writes a remark to standard error: `warning: …`, `error: …`.
pub fn complain(kind: &str, text: &str) {
    let style: Style = match kind {
        "error" | "left behind" => AnsiColor::Red.on_default().bold(),
        "would run" | "note" => AnsiColor::Cyan.on_default(),
        _ => AnsiColor::Yellow.on_default(),
    };
    anstream::eprintln!("{style}{kind}:{style:#} {text}");
}
