// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named formats: the languages that the schemas refer to by name (`dns-name`, `pve-volume-id`, `pve-tag-list`).
//!
//! A format accepts a value or rejects it; the value itself stays as typed. Values are bytes: every class of letters
//! and digits is ASCII, and a byte outside it is just another byte.
//!
//! ```
//! use pve_config::format::{Context, Format, Scalar};
//!
//! let none = Context::default();
//! assert!(Scalar::VolumeId.accepts(b"local-lvm:vm-100-disk-0", &none));
//! assert!(!Scalar::VolumeId.accepts(b"vm-100-disk-0", &none));
//!
//! // lists and "may be empty" variants are formed by a suffix of the name
//! let tags = Format::named("pve-tag-list").unwrap();
//! assert!(tags.accepts(b"prod;web front", &none));
//! assert!(!tags.accepts(b"prod;-web", &none));
//! assert!(Format::named("pve-storage-id-opt").unwrap().accepts(b"", &none));
//! ```
//!
//! Values read from a file cannot contain a line feed. Where the reference tests a pattern it lets one trailing line
//! feed pass, which shows when text from the API is checked; the functions here do the same.

mod access;
mod address;
mod boolean;
mod calendar;
mod guest;
mod list;
mod name;
mod number;
mod pair;
mod pem;
pub(crate) mod size;
mod storage;
mod text;
mod volume;

use bstr::BString;

use crate::property::PropertyFormat;

pub use boolean::parse_boolean;
pub(crate) use boolean::{boolean_word, is_falsy};
pub(crate) use list::is_white_space;
pub use list::{ListItems, split_list};
pub(crate) use number::numeric_value;
pub use number::{is_integer, is_number};
pub use size::{SizeError, format_size, parse_size};
pub use text::{decode_text, encode_text};

/// What a check needs to know of the world outside the text. The default knows nothing of it, which is right for
/// values that do not refer to it.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Context<'c> {
    /// Names of the custom CPU models in `virtual-guest/cpu-models.conf`, without the prefix `custom-`.
    pub custom_cpu_models: &'c [BString],
    /// CPU models of the installed QEMU, if they are known; otherwise the list that is compiled in.
    pub cpu_models: Option<&'c [BString]>,
    /// Time zones of the host: the third column of `/usr/share/zoneinfo/zone.tab`.
    pub time_zones: &'c [BString],
}

impl<'c> Context<'c> {
    /// The same with these custom CPU models.
    #[must_use]
    pub const fn with_custom_cpu_models(mut self, names: &'c [BString]) -> Self {
        self.custom_cpu_models = names;
        self
    }

    /// The same with these CPU models instead of those compiled in.
    #[must_use]
    pub const fn with_cpu_models(mut self, names: &'c [BString]) -> Self {
        self.cpu_models = Some(names);
        self
    }

    /// The same with these time zones.
    #[must_use]
    pub const fn with_time_zones(mut self, names: &'c [BString]) -> Self {
        self.time_zones = names;
        self
    }
}

/// A format as a schema names it: a scalar, a list of one, one that may be left empty, or a property string.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Format {
    /// `NAME`
    Scalar(Scalar),
    /// `NAME-list`: split by [`split_list`], every item is checked; an empty list is valid.
    List(Scalar),
    /// `NAME-opt`: a falsy text (empty or `0`) is valid, anything else is checked.
    Optional(Scalar),
    /// A table of keys and values.
    Properties(&'static PropertyFormat),
}

impl Format {
    /// The format that a schema calls `name`. `None` for a name that is not known, which in a schema is a mistake of
    /// the programmer.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        if let Some(scalar) = Scalar::named(name) {
            return Some(Format::Scalar(scalar));
        }
        if let Some(scalar) = name.strip_suffix("-list").and_then(Scalar::named) {
            return Some(Format::List(scalar));
        }
        if let Some(scalar) = name.strip_suffix("-opt").and_then(Scalar::named) {
            return Some(Format::Optional(scalar));
        }
        PropertyFormat::named(name).map(Format::Properties)
    }

    /// Whether `value` is in the language.
    #[must_use]
    pub fn accepts(&self, value: &[u8], context: &Context<'_>) -> bool {
        match self {
            Format::Scalar(scalar) => scalar.accepts(value, context),
            Format::List(scalar) => split_list(value).all(|item| scalar.accepts(item, context)),
            Format::Optional(scalar) => is_falsy(value) || scalar.accepts(value, context),
            Format::Properties(format) => format.parse_with(value, context).is_ok(),
        }
    }
}

/// Declares the scalar formats: variant, name in schemas, what it accepts in words, and the check.
macro_rules! scalars {
    (($value:ident, $context:ident)
     $($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $what:literal => $check:expr;)+) => {
        /// A scalar format: one language of bytes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Scalar { $($(#[doc = $doc])+ $variant,)+ }

        impl Scalar {
            /// Every scalar format, in the order of declaration.
            pub const ALL: &[Scalar] = &[$(Scalar::$variant),+];

            /// Its name in schemas.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Scalar::$variant => $name),+ }
            }

            /// What it accepts, to complete the sentence "this is not …".
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Scalar::$variant => $what),+ }
            }

            /// Whether `value` is in the language.
            #[must_use]
            pub fn accepts(self, $value: &[u8], $context: &Context<'_>) -> bool {
                match self { $(Scalar::$variant => $check),+ }
            }
        }
    };
}

scalars! {
    (value, context)
    /// `ip` or `dns-name`, but not the single character `0`.
    Address = "address", "an IP address or a DNS name" => address::is_address(value);
    /// A size with an optional binary unit: `32G`, `1.5T`, `528K`, `4MiB`.
    DiskSize = "disk-size", "a size such as 32G, 528K or 1.5T" => size::is_size(value);
    /// Labels of letters, digits and inner `-`, joined by `.`.
    DnsName = "dns-name", "a DNS name (letters, digits and \"-\" inside labels joined by \".\")" => name::is_dns_name(value);
    /// `ipv4` or `ipv6`.
    Ip = "ip", "an IP address" => address::is_ip(value);
    /// Four decimal numbers without leading zeros.
    Ipv4 = "ipv4", "an IPv4 address" => address::is_ipv4(value);
    /// IPv6address of RFC 3986, without zone and prefix length.
    Ipv6 = "ipv6", "an IPv6 address" => address::is_ipv6(value);
    /// Dotted mask of contiguous ones.
    Ipv4Mask = "ipv4mask", "an IPv4 network mask such as 255.255.255.0" => address::is_ipv4_mask(value);
    /// IPv4 address and a prefix length of 8 to 32.
    CidrV4 = "CIDRv4", "an IPv4 address with a prefix length of 8 to 32" => address::is_cidr_v4(value);
    /// IPv6 address and a prefix length of 8 to 128.
    CidrV6 = "CIDRv6", "an IPv6 address with a prefix length of 8 to 128" => address::is_cidr_v6(value);
    /// `CIDRv4` or `CIDRv6`.
    Cidr = "CIDR", "an IP address with a prefix length" => address::is_cidr_v4(value) || address::is_cidr_v6(value);
    /// `ip`, or a link-local IPv6 address with `%` and an interface.
    LxcIpWithLinkLocalInterface = "lxc-ip-with-ll-iface",
        "an IP address, or a link-local one with \"%\" and an interface" => address::is_ip_with_link_local_interface(value);
    /// Unicast MAC address.
    MacAddress = "mac-addr", "a unicast MAC address such as BC:24:11:00:00:01" => address::is_mac_address(value);
    /// Beginning of a unicast MAC address, up to three bytes.
    MacPrefix = "mac-prefix", "the beginning of a unicast MAC address, such as BC:24:11" => address::is_mac_prefix(value);
    /// Name of a network bridge.
    BridgeId = "pve-bridge-id", "the name of a bridge (letters, digits, \"-\", \"_\", \".\")" => name::is_bridge_id(value);
    /// Name of a snapshot, mapping and the like.
    ConfigId = "pve-configid", "an id (a letter, then at least one letter, digit, \"_\" or \"-\")" => name::is_config_id(value);
    /// Numbers and ranges of CPUs, comma separated.
    CpuSet = "pve-cpuset", "a list of CPUs such as 0,2,4-7" => guest::is_cpu_set(value);
    /// `host` or `timezone`.
    ContainerTimeZone = "pve-ct-timezone", "\"host\", \"UTC\" or a time zone of the host" =>
        value == b"host" || is_time_zone(value, context);
    /// `0`, `1`, or a list of features.
    HotplugFeatures = "pve-hotplug-features",
        "0, 1, or a list of network, disk, cpu, memory, usb, cloudinit" => guest::is_hotplug_features(value);
    /// Name of a network interface.
    Interface = "pve-iface", "the name of a network interface" => name::is_interface(value);
    /// `dhcp`, `manual` or `CIDRv4`.
    Ipv4Config = "pve-ipv4-config", "dhcp, manual, or an IPv4 address with a prefix length of 8 to 32" => address::is_ipv4_config(value);
    /// `auto`, `dhcp`, `manual` or `CIDRv6`.
    Ipv6Config = "pve-ipv6-config", "auto, dhcp, manual, or an IPv6 address with a prefix length of 8 to 128" => address::is_ipv6_config(value);
    /// Path of a device below `/dev/`.
    LxcDevice = "pve-lxc-dev-string", "a path below /dev/ without \".\" and \"..\"" => guest::is_lxc_device(value);
    /// Volume or path of a mount point.
    LxcMountPoint = "pve-lxc-mp-string", "a volume or path without \"/./\" and \"/../\"" => guest::is_lxc_mount_point(value);
    /// `host`, or a number of 8 to 64.
    PhysBits = "pve-phys-bits", "\"host\" or a number of bits from 8 to 64" => guest::is_phys_bits(value);
    /// A device that a VM can boot from.
    BootDevice = "pve-qm-bootdev", "a bootable device such as scsi0, net0, usb0 or hostpci0" => guest::is_boot_device(value);
    /// A disk slot.
    BootDisk = "pve-qm-bootdisk", "a disk such as scsi0, virtio0, sata0 or ide0" => guest::is_boot_disk(value);
    /// Start and stop order: `order=N,up=N,down=N`.
    StartupOrder = "pve-startup-order", "a startup order such as order=1,up=30,down=60" => guest::is_startup_order(value);
    /// Storage id.
    StorageId = "pve-storage-id", "a storage id (a letter, then letters, digits, \"-\", \"_\", \".\", ending in a letter or digit)" => name::is_storage_id(value);
    /// Tag of a guest.
    Tag = "pve-tag", "a tag (a letter, digit or \"_\", then letters, digits, \"_\", \"-\", \"+\", \".\")" => name::is_tag(value);
    /// `STORAGE:VOLUME`
    VolumeId = "pve-volume-id", "a volume id (STORAGE:VOLUME)" => volume::is_volume_id(value);
    /// Volume id or absolute path.
    VolumeIdOrAbsolutePath = "pve-volume-id-or-absolute-path", "a volume id (STORAGE:VOLUME) or an absolute path" => volume::is_volume_id_or_absolute_path(value);
    /// `none`, `cdrom`, volume id or absolute path.
    VolumeIdOrQmPath = "pve-volume-id-or-qm-path", "a volume id (STORAGE:VOLUME), an absolute path, none or cdrom" => volume::is_volume_id_or_qm_path(value);
    /// Anything.
    Text = "string", "a text" => true;
    /// Anything: the name of the type of regular expressions.
    Regex = "regex", "a regular expression" => true;
    /// `UTC`, or a time zone of the host.
    TimeZone = "timezone", "\"UTC\" or a time zone of the host" => is_time_zone(value, context);
    /// Letters, digits, some marks, and `%`.
    UrlEncoded = "urlencoded", "url-encoded (letters, digits, -_.!~*'() and %XX)" => name::is_url_encoded(value);

    /// Id of a guest.
    VmId = "pve-vmid", "a guest id (100 to 999999999)" => name::is_vm_id(value);
    /// Name of a node: one DNS label.
    Node = "pve-node", "the name of a node (letters, digits, inner \"-\")" => name::is_node(value);
    /// VLAN id, or a range of them.
    VlanIdOrRange = "pve-vlan-id-or-range", "a VLAN id of 2 to 4094, or a range of them" => guest::is_vlan_id_or_range(value);
    /// Id of an ACME plugin.
    AcmePluginId = "acme-plugin-id", "an id (a letter, then letters, digits, \"-\", \"_\", \".\", ending in a letter or digit)" => name::is_storage_id(value);
    /// E-mail address.
    Email = "email", "an e-mail address" => access::is_email(value);
    /// E-mail address or its part before the `@`.
    EmailOrUsername = "email-or-username", "an e-mail address or user name" => access::is_email(value) || access::is_email_user(chomp(value));
    /// LDAP attribute name.
    LdapSimpleAttribute = "ldap-simple-attr", "an LDAP attribute name (letters and digits)" => access::is_ldap_simple_attribute(value);
    /// Map of storage ids.
    StoragePair = "storage-pair", "1, a storage id, or SOURCE:TARGET" => pair::is_pair(value, name::is_storage_id);
    /// Map of bridge names.
    BridgePair = "bridge-pair", "1, a bridge, or SOURCE:TARGET" => pair::is_pair(value, name::is_bridge_id);
    /// Secret of a second factor.
    TfaSecret = "pve-tfa-secret", "a two-factor secret" => access::is_tfa_secret(value);
    /// Result of a task.
    TaskStatusType = "pve-task-status-type", "ok, error, warning or unknown" =>
        one_of_ignoring_case(value, &["ok", "error", "warning", "unknown"]);
    /// One certificate.
    PemCertificate = "pem-certificate", "one PEM certificate" => pem::is_certificate(value);
    /// One or more certificates.
    PemCertificateChain = "pem-certificate-chain", "a chain of PEM certificates" => pem::is_certificate_chain(value);
    /// One PEM block of any label.
    PemString = "pem-string", "one PEM block" => pem::is_block(value);
    /// Systemd-like calendar event.
    CalendarEvent = "pve-calendar-event", "a calendar event such as mon..fri 22:30" => calendar::is_calendar_event(value);

    /// Path of a storage.
    StoragePath = "pve-storage-path", "an absolute path of at least two bytes" => storage::is_storage_path(value);
    /// The same inside a property string.
    StoragePathInPropertyString = "pve-storage-path-in-property-string", "an absolute path of at least two bytes" => storage::is_storage_path_in_property_string(value);
    /// Server of a storage.
    StorageServer = "pve-storage-server", "an IP address or a DNS name" => address::is_address(value);
    /// Server with optional port.
    StoragePortal = "pve-storage-portal-dns", "a server with optional port (HOST:PORT, [IPV6]:PORT)" => storage::is_portal(value);
    /// Name of an LVM volume group or thin pool.
    StorageVolumeGroup = "pve-storage-vgname", "an LVM name (at least two of letters, digits, \"-\", \"_\", \".\", first and last a letter or digit)" => storage::is_volume_group(value);
    /// Content type of a storage.
    StorageContent = "pve-storage-content", "a content type (images, rootdir, vztmpl, iso, backup, snippets, none, import)" => storage::is_content(value);
    /// Image format of a storage.
    StorageFormat = "pve-storage-format", "an image format (raw, qcow2, vmdk, subvol)" => storage::is_image_format(value);
    /// Mount options.
    StorageOptions = "pve-storage-options", "mount options without white space" => storage::is_options(value);
    /// Other directory for a content type.
    DirOverride = "pve-dir-override", "CONTENT=PATH with a content type and a path without \"..\"" => storage::is_dir_override(value);
    /// Block size of a ZFS volume.
    ZfsBlockSize = "pve-storage-zfs-blocksize", "a power of two from 512 to 16m" => storage::is_zfs_block_size(value);

    /// Authentication realm.
    Realm = "pve-realm", "a realm (a letter, then letters, digits, \".\", \"-\", \"_\")" => access::is_realm(value);
    /// User and realm.
    UserId = "pve-userid", "a user id (USER@REALM)" => access::is_user_id(value);
    /// Group of users.
    GroupId = "pve-groupid", "a group name (letters, digits, \".\", \"-\", \"_\")" => name::is_bridge_id(value);
    /// Role.
    RoleId = "pve-roleid", "a role name (letters, digits, \".\", \"-\", \"_\")" => name::is_bridge_id(value);
    /// Resource pool, up to three levels.
    PoolId = "pve-poolid", "a pool name of up to three levels joined by \"/\"" => access::is_pool_id(value);
    /// API token.
    TokenId = "pve-tokenid", "a token id (USER@REALM!TOKEN)" => access::is_token_id(value);
    /// Privilege.
    Privilege = "pve-priv", "a known privilege such as VM.Audit" => access::is_privilege(value);
    /// HA resource.
    HaResourceId = "pve-ha-resource-id", "an HA resource (TYPE:NAME)" => access::is_ha_resource_id(value);
    /// HA resource or guest id.
    HaResourceOrVmId = "pve-ha-resource-or-vm-id", "an HA resource (TYPE:NAME) or a guest id" =>
        access::is_ha_resource_id(value) || all_digits(chomp(value));
    /// Node with optional priority.
    HaNode = "pve-ha-node", "a node, optionally with :PRIORITY" => access::is_ha_node(value);
    /// Replication job.
    ReplicationJobId = "pve-replication-job-id", "a replication job (GUEST-NUMBER)" => access::is_replication_job_id(value);
}

impl Scalar {
    /// The scalar format that a schema calls `name`; suffixes `-list` and `-opt` are not part of it.
    #[must_use]
    pub fn named(name: &str) -> Option<Scalar> {
        Self::ALL.iter().copied().find(|scalar| scalar.name() == name)
    }
}

fn is_time_zone(value: &[u8], context: &Context<'_>) -> bool {
    value == b"UTC" || context.time_zones.iter().any(|zone| zone == value)
}

/// The value without one trailing line feed, which patterns of the reference let pass.
#[inline]
pub(crate) fn chomp(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\n").unwrap_or(value)
}

#[inline]
fn all_digits(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

fn one_of_ignoring_case(value: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(chomp(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (at, scalar) in Scalar::ALL.iter().enumerate() {
            let first = Scalar::ALL.iter().position(|other| other.name() == scalar.name());
            assert_eq!(first, Some(at), "{} is declared twice", scalar.name());
            assert!(!scalar.description().is_empty());
        }
        assert!(Format::named("no-such-format").is_none());
        assert!(matches!(Format::named("dns-name-list"), Some(Format::List(Scalar::DnsName))));
    }

    #[test]
    fn time_zones_come_from_the_context() {
        let zones = [BString::from("Europe/Vienna")];
        let context = Context::default().with_time_zones(&zones);
        assert!(Scalar::ContainerTimeZone.accepts(b"Europe/Vienna", &context));
        assert!(!Scalar::ContainerTimeZone.accepts(b"Europe/Vienna", &Context::default()));
        assert!(!Scalar::TimeZone.accepts(b"host", &context));
    }
}
