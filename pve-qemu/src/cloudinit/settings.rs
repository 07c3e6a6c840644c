// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything the images are made of: what a configuration and the host say about a guest's identity.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_config::vm::{IpConfig, Net};
use pve_volid::VmId;

use super::ssh_keys::{decode_ssh_keys, is_space};
use super::{Addresses, CloudInitType, GenerateError, Resolver};

/// The settings of one guest, read from its configuration or put together by hand.
///
/// Texts are taken over into the images as they are: nothing is quoted or escaped anywhere, so a value with a colon
/// or a quote may well make a file that the guest cannot read. That is how the reference behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Number of the VM; names a guest without name.
    pub vmid: VmId,
    /// `name`
    pub name: Option<BString>,
    /// Whether `ostype` is a Windows. It decides the default type and the variant of the config drive.
    pub windows: bool,
    /// `citype`
    pub citype: Option<BString>,
    /// `ciuser`
    pub user: Option<BString>,
    /// `cipassword`, as stored: plain or hashed.
    pub password: Option<BString>,
    /// `ciupgrade`: whether the guest upgrades its packages at first boot.
    pub upgrade: bool,
    /// `searchdomain`
    pub search_domain: Option<BString>,
    /// `nameserver`
    pub name_servers: Option<BString>,
    /// `sshkeys`, percent-encoded as stored.
    pub ssh_keys: Option<BString>,
    /// The interfaces that are configured, in the byte order of their option names: `net0`, `net1`, `net10`, `net2`.
    pub interfaces: Vec<Interface>,
    /// The host's resolver, for guests without name servers or search domain of their own.
    pub resolver: Resolver,
}

/// A network device whose addresses the configuration gives: a `netN` with its `ipconfigN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The N of `netN`. The guest's side is called `ethN` whatever the guest calls it.
    pub index: u32,
    /// The hardware address, in any case. NoCloud needs it.
    pub mac: Option<BString>,
    /// The device's `mtu` as written; 1 is copied like any other.
    pub mtu: Option<BString>,
    /// Its addresses.
    pub addresses: Addresses,
}

impl Settings {
    /// The settings of a VM whose configuration says nothing: no name, no user, no interface, package upgrade on.
    #[must_use]
    pub fn new(vmid: VmId) -> Self {
        Settings {
            vmid,
            name: None,
            windows: false,
            citype: None,
            user: None,
            password: None,
            upgrade: true,
            search_domain: None,
            name_servers: None,
            ssh_keys: None,
            interfaces: Vec::new(),
            resolver: Resolver::default(),
        }
    }

    /// The settings in a VM's main section.
    ///
    /// Interfaces are the `netN` that have an `ipconfigN`; an `ipconfigN` that cannot be used leaves its interface
    /// without addresses (spec: cloud-init, "Interfaces considered").
    ///
    /// ```
    /// use pve_config::guest::VmConfig;
    /// use pve_qemu::cloudinit::{Resolver, Settings};
    ///
    /// let text = b"name: web\nciuser: admin\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nipconfig0: ip=dhcp\n";
    /// let (config, _) = VmConfig::parse(text);
    /// let settings = Settings::of_config(&config.main, 100.try_into()?, Resolver::default());
    /// assert_eq!(settings.user, Some("admin".into()));
    /// assert_eq!(settings.interfaces.len(), 1);
    /// # Ok::<(), pve_volid::IdError>(())
    /// ```
    #[must_use]
    pub fn of_config(main: &VmSection<'_>, vmid: VmId, resolver: Resolver) -> Self {
        let text = |key: &str| main.get(key).map(BString::from);
        Settings {
            name: text("name"),
            windows: main.get("ostype").is_some_and(|ostype| windows_version(ostype) > 0),
            citype: text("citype"),
            user: text("ciuser"),
            password: text("cipassword"),
            upgrade: main.get("ciupgrade").is_none_or(|value| is_true(value)),
            search_domain: text("searchdomain"),
            name_servers: text("nameserver"),
            ssh_keys: text("sshkeys"),
            interfaces: main
                .iter()
                .filter_map(|(key, value)| Interface::of_option(main, key, value))
                .collect(),
            resolver,
            vmid,
        }
    }

    /// The form of the image: `citype`, or what suits the guest's operating system.
    ///
    /// # Errors
    /// [`GenerateError::UnknownType`]: a configuration file may hold any word.
    pub fn kind(&self) -> Result<CloudInitType, GenerateError> {
        match &self.citype {
            None => Ok(CloudInitType::default_of(self.windows)),
            Some(word) => CloudInitType::from_bytes(word)
                .ok_or_else(|| GenerateError::UnknownType { value: word.clone() }),
        }
    }

    /// Gives every interface without a hardware address one from `draw`.
    ///
    /// The reference draws a new address at each generation, so that the image differs each time and the guest takes
    /// itself for a new instance. It happens only in configurations written by hand; Proxmox VE itself completes
    /// `netN` when it stores it.
    pub fn draw_macs(&mut self, mut draw: impl FnMut() -> BString) {
        for interface in self.interfaces.iter_mut().filter(|interface| interface.mac.is_none()) {
            interface.mac = Some(draw());
        }
    }

    /// The short host name and the full one (spec: cloud-init, "Host name").
    #[must_use]
    pub fn host_names(&self) -> (BString, BString) {
        let name = self.name.clone().unwrap_or_else(|| format!("VM{}", self.vmid).into());
        if let Some((short, _)) = name.split_once_str(".") {
            return (short.into(), name);
        }
        let domain = self.search_domain.as_deref().filter(|domain| is_true(domain));
        let full = match domain {
            Some(domain) => [name.as_slice(), b".", domain].concat().into(),
            None => name.clone(),
        };
        (name, full)
    }

    /// The name servers: the guest's own, else the host's.
    #[must_use]
    pub fn effective_name_servers(&self) -> Vec<&BStr> {
        match &self.name_servers {
            Some(own) => words(own),
            None => self.resolver.servers().collect(),
        }
    }

    /// The search domains: the guest's own, else the host's.
    #[must_use]
    pub fn effective_search_domains(&self) -> Vec<&BStr> {
        self.search_domain
            .as_ref()
            .or(self.resolver.search.as_ref())
            .map_or_else(Vec::new, |text| words(text))
    }

    /// The text that `sshkeys` encodes.
    #[must_use]
    pub fn decoded_ssh_keys(&self) -> Option<BString> {
        self.ssh_keys.as_ref().map(|value| decode_ssh_keys(value))
    }
}

impl Interface {
    /// The interface of an option `netN`, if there is an `ipconfigN`.
    fn of_option(main: &VmSection<'_>, key: &BStr, value: &BStr) -> Option<Self> {
        let digits = key.strip_prefix(b"net")?;
        let index = digits.to_str().ok()?.parse().ok()?;
        let addresses = main.get([b"ipconfig", digits].concat())?;
        let device = Net::parse(value).ok();
        Some(Interface {
            index,
            mac: device.and_then(|device| device.macaddr).map(BString::from),
            mtu: device.and_then(|device| device.mtu).map(|mtu| mtu.to_string().into()),
            addresses: IpConfig::read(addresses).map_or_else(|_| Addresses::default(), Addresses::from),
        })
    }
}

/// The version number of a Windows `ostype`; 0 for every other system (spec: cloud-init, "Configuration keys").
///
/// ```
/// use pve_qemu::cloudinit::windows_version;
///
/// assert_eq!(windows_version(b"win11"), 11);
/// assert_eq!(windows_version(b"w2k8"), 6);
/// assert_eq!(windows_version(b"l26"), 0);
/// ```
#[must_use]
pub fn windows_version(ostype: &[u8]) -> u32 {
    match ostype {
        b"wxp" | b"w2k3" | b"w2k" => 5,
        b"w2k8" | b"wvista" => 6,
        _ => {
            let digits = ostype.strip_prefix(b"win").filter(|rest| rest.iter().all(u8::is_ascii_digit));
            digits.and_then(|digits| digits.to_str().ok()?.parse().ok()).unwrap_or(0)
        }
    }
}

/// The words of a text, separated by white space.
fn words(text: &[u8]) -> Vec<&BStr> {
    text.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).map(BStr::new).collect()
}

/// Whether a value counts as true for the reference: anything but the empty text and `0`.
pub(super) fn is_true(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: Option<&str>, domain: Option<&str>) -> (String, String) {
        let mut settings = Settings::new(VmId::from_bytes(b"100").unwrap());
        settings.name = name.map(BString::from);
        settings.search_domain = domain.map(BString::from);
        let (short, full) = settings.host_names();
        (short.to_string(), full.to_string())
    }

    #[test]
    fn host_names_follow_name_and_search_domain() {
        let pair = |short: &str, full: &str| (short.to_owned(), full.to_owned());
        assert_eq!(names(None, None), pair("VM100", "VM100"));
        assert_eq!(names(Some("web"), Some("a.example b.example")), pair("web", "web.a.example b.example"));
        assert_eq!(names(Some("web"), Some("0")), pair("web", "web"));
        assert_eq!(names(Some("web.x.example"), Some("a.example")), pair("web", "web.x.example"));
    }

    #[test]
    fn windows_versions() {
        for (ostype, version) in
            [("wxp", 5), ("wvista", 6), ("win7", 7), ("win2022", 2022), ("win", 0), ("win1x", 0)]
        {
            assert_eq!(windows_version(ostype.as_bytes()), version, "{ostype}");
        }
    }
}
