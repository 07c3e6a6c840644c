// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of a container.

use super::option::{GuestOption, Schema, boolean, integer, list, number, properties, scalar, string};
use crate::container;
use crate::format::Scalar;
use crate::rule::pattern;

/// The options of a container (`lxc/VMID.conf`). Values keep their quotes.
pub static CONTAINER: Schema = Schema::new(OPTIONS_OF_A_CONTAINER, false);

const OPTIONS_OF_A_CONTAINER: &[GuestOption] = &[
    string("arch")
        .words(&["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"])
        .default("amd64")
        .doc("Architecture of the container."),
    string("cmode")
        .words(&["shell", "console", "tty"])
        .default("tty")
        .doc("What a console shows: a terminal with login, `/dev/console`, or a shell."),
    boolean("console").default("1").doc("Offer a console."),
    integer("cores").min(1.0).max(8192.0).doc("Number of CPUs; all of the host if left out."),
    number("cpulimit")
        .min(0.0)
        .max(8192.0)
        .default("0")
        .doc("Most CPUs of the host that the container may use up; 0 lifts the limit."),
    integer("cpuunits")
        .min(0.0)
        .max(500000.0)
        .default("cgroup v1: 1024, cgroup v2: 100")
        .doc("Weight of the container when CPU time is scarce."),
    boolean("debug").default("0").doc("Write a more verbose log at the start."),
    string("description").max_length(8192).doc("Free text, shown to people; kept in comment lines."),
    properties("dev", &container::DEV).slots(256).doc("A device of the host."),
    string("entrypoint")
        .pattern(pattern!(r"[\x09\x20-\x7e\x80-\xff]+"))
        .default("/sbin/init")
        .doc("Command that is run as init."),
    string("env")
        .pattern(pattern!(
            r"[0-9A-Z_a-z]+=[\x09\x20-\x7e\x80-\xff]*(\x00[0-9A-Z_a-z]+=[\x09\x20-\x7e\x80-\xff]*)*"
        ))
        .doc("Environment of init: `NAME=VALUE` separated by NUL."),
    properties("features", &container::FEATURES).doc("What the container is allowed beyond the usual."),
    scalar("hookscript", Scalar::VolumeId)
        .doc("Script that is run at several points in the life of the container."),
    scalar("hostname", Scalar::DnsName).max_length(255).doc("Name of the container."),
    string("lock")
        .words(&[
            "backup",
            "create",
            "destroyed",
            "disk",
            "fstrim",
            "migrate",
            "mounted",
            "rollback",
            "snapshot",
            "snapshot-delete",
        ])
        .doc("Operation that is going on, or has failed."),
    integer("memory").min(16.0).default("512").doc("Memory, MiB."),
    properties("mp", &container::MP).slots(256).doc("A mount point."),
    list("nameserver", Scalar::LxcIpWithLinkLocalInterface).doc("Name servers."),
    properties("net", &container::NET).slots(32).doc("A network card."),
    boolean("onboot").default("0").doc("Start the container when the node boots."),
    string("ostype")
        .words(&[
            "debian",
            "devuan",
            "ubuntu",
            "centos",
            "fedora",
            "opensuse",
            "archlinux",
            "alpine",
            "gentoo",
            "nixos",
            "unmanaged",
        ])
        .doc("Distribution, which decides how the container is configured."),
    scalar("parent", Scalar::ConfigId).max_length(40).internal().doc("Snapshot that the state is based on."),
    boolean("protection").default("0").doc("Refuse to remove the container and its volumes."),
    properties("rootfs", &container::ROOTFS).doc("The root disk."),
    list("searchdomain", Scalar::DnsName).doc("DNS search domains."),
    integer("snaptime").min(0.0).internal().doc("Time of the snapshot, seconds since 1970."),
    scalar("startup", Scalar::StartupOrder).doc("When the container starts and stops with its node."),
    integer("swap").min(0.0).default("512").doc("Swap, MiB."),
    list("tags", Scalar::Tag).doc("Tags, shown to people."),
    boolean("template").default("0").doc("The container is a template."),
    scalar("timezone", Scalar::ContainerTimeZone).doc("Time zone: `host`, `UTC`, or a name."),
    integer("tty").min(0.0).max(6.0).default("2").doc("Number of terminals."),
    boolean("unprivileged").default("0").doc("Run with mapped user ids, without privileges on the host."),
    properties("unused", &container::UNUSED).slots(256).doc("A volume that was detached."),
];
