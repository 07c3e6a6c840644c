// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a storage type does beside storage.cfg when a storage is created, changed or deleted: secrets in files of their
//! own, questions to the machine. (spec: storage-cfg, "Sensitive values and side files")

use bstr::{BStr, BString, ByteSlice};
use pve_volid::StorageType;
use serde_json::Value as Json;

use super::backend::Backend;
use super::change::{ChangeError, sensitive};
use super::config::StorageConfig;
use super::entry::Storage;
use super::host::Host;
use crate::format::{Context, Scalar};
use crate::section::{Section, Value};

/// The keyring of the local Ceph cluster's administrator.
const ADMIN_KEYRING: &str = "/etc/pve/priv/ceph.client.admin.keyring";

/// Values that the API keeps out of storage.cfg.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Name and new value; `None`: the secret is to be deleted.
    given: Vec<(&'static str, Option<BString>)>,
}

impl Secrets {
    /// Takes the sensitive values out of those that were given.
    pub(super) fn take(kind: &[u8], values: &mut Section<'_>, delete: &[&[u8]]) -> Self {
        let mut given = Vec::new();
        for name in sensitive(kind) {
            if let Some(value) = values.remove(name) {
                given.push((*name, Some(value.to_text())));
            } else if delete.contains(&name.as_bytes()) {
                given.push((*name, None));
            }
        }
        Secrets { given }
    }

    /// `None`: not mentioned; `Some(None)`: to be deleted.
    fn get(&self, name: &str) -> Option<Option<&BStr>> {
        self.given
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_ref().map(|text| text.as_bstr()))
    }

    fn new_value(&self, name: &str) -> Option<&BStr> {
        self.get(name).flatten()
    }
}

/// Values that a hook puts into the section.
pub(super) type Values = Vec<(&'static str, Value<'static>)>;

/// The hooks of one storage.
pub(super) struct Hook<'h> {
    pub(super) id: String,
    pub(super) host: &'h mut dyn Host,
    pub(super) warnings: Vec<String>,
}

impl Hook<'_> {
    /// A storage is created.
    pub(super) fn add(
        &mut self,
        config: &StorageConfig<'_>,
        secrets: &Secrets,
    ) -> Result<Values, ChangeError> {
        let Some(storage) = config.get(self.id.as_bytes()) else { return Ok(Values::new()) };
        match storage.backend() {
            Some(Backend::Cifs(_)) => self.cifs(&storage, Some(secrets.new_value("password"))),
            Some(Backend::Esxi(_)) => match secrets.new_value("password") {
                Some(password) => self.write("storage", "pw", password, None).map(|()| Values::new()),
                None => Err(self.failure("a password is needed")),
            },
            Some(Backend::Pbs(_)) => self.add_pbs(secrets),
            Some(Backend::Rbd(rbd)) => {
                self.add_keyring(secrets, "keyring", |admin| Ok((admin.to_vec(), None)))?;
                self.ceph_conf(rbd.monhost)
            }
            Some(Backend::CephFs(_)) => {
                self.add_keyring(secrets, "secret", |admin| {
                    let key =
                        admin_key(admin).ok_or("the section [client.admin] of its keyring has no key")?;
                    Ok(([key, b"\n"].concat(), Some(0o400)))
                })?;
                Ok(Values::new())
            }
            Some(Backend::Lvm(lvm)) => match lvm.base {
                Some(base) => self.volume_group(config, lvm.vgname, base).map(|()| Values::new()),
                None => Ok(Values::new()),
            },
            Some(Backend::ZfsPool(pool)) => self.zfs_mount_point(pool.pool, pool.mountpoint),
            Some(Backend::Zfs(zfs)) if zfs.zfs_base_path.is_none() => {
                let base = self.zfs_base_path(zfs.iscsiprovider, zfs.portal)?;
                Ok(vec![("zfs-base-path", Value::text(base.as_bytes()))])
            }
            _ => Ok(Values::new()),
        }
    }

    /// A storage is changed from `old` to `new`.
    pub(super) fn update(
        &mut self,
        old: &Storage<'_>,
        new: &Storage<'_>,
        secrets: &Secrets,
    ) -> Result<Values, ChangeError> {
        match new.backend() {
            Some(Backend::Cifs(_)) => self.cifs(new, secrets.get("password")),
            Some(Backend::Esxi(_)) => {
                self.unmount_esxi();
                match secrets.get("password") {
                    Some(Some(password)) => self.write("storage", "pw", password, None)?,
                    Some(None) => self.remove("storage", "pw")?,
                    None => {}
                }
                Ok(Values::new())
            }
            Some(Backend::Pbs(_)) => self.update_pbs(secrets),
            Some(Backend::Rbd(rbd)) => {
                self.update_keyring(secrets, "keyring")?;
                self.ceph_conf(rbd.monhost)
            }
            Some(Backend::CephFs(_)) => self.update_keyring(secrets, "secret").map(|()| Values::new()),
            Some(Backend::Lvm(_)) if old.has_volume_chains() && !new.has_volume_chains() => {
                if self.host.has_qcow2_image(old).map_err(|reason| self.failure(&reason))? {
                    let reason =
                        "snapshot-as-volume-chain cannot be switched off: there are images in format qcow2";
                    return Err(self.failure(reason));
                }
                Ok(Values::new())
            }
            _ => Ok(Values::new()),
        }
    }

    /// A storage is deleted.
    pub(super) fn delete(&mut self, storage: &Storage<'_>) -> Result<(), ChangeError> {
        match storage.kind() {
            StorageType::Cifs => self.remove("storage", "pw"),
            StorageType::Esxi => {
                self.unmount_esxi();
                self.remove("storage", "pw")
            }
            StorageType::Pbs => {
                ["pw", "enc", "master.pem"].into_iter().try_for_each(|end| self.remove("storage", end))
            }
            StorageType::Rbd => ["keyring", "conf"].into_iter().try_for_each(|end| self.remove("ceph", end)),
            StorageType::CephFs => self.remove("ceph", "secret"),
            _ => Ok(()),
        }
    }

    /// `password`: as in [`Secrets::get`].
    fn cifs(
        &mut self,
        storage: &Storage<'_>,
        password: Option<Option<&BStr>>,
    ) -> Result<Values, ChangeError> {
        match password {
            Some(Some(password)) => {
                if storage.text("username").is_none() {
                    self.warnings
                        .push(format!("storage {}: the password is of no use without a user name", self.id));
                }
                let content = [b"password=", password.as_bytes(), b"\n"].concat();
                self.write("storage", "pw", &content, None)?;
            }
            Some(None) => self.remove("storage", "pw")?,
            None => {}
        }
        Ok(Values::new())
    }

    fn add_pbs(&mut self, secrets: &Secrets) -> Result<Values, ChangeError> {
        // what can be refused is refused before anything is written
        if secrets.new_value("master-pubkey").is_some() && secrets.new_value("encryption-key").is_none() {
            return Err(self.failure("a master-pubkey is of no use without an encryption-key"));
        }
        let mut all = Secrets::default();
        for name in sensitive(b"pbs") {
            all.given.push((*name, secrets.new_value(name).map(ToOwned::to_owned)));
        }
        self.update_pbs(&all)
    }

    fn update_pbs(&mut self, secrets: &Secrets) -> Result<Values, ChangeError> {
        let mut values = Values::new();
        let key = match secrets.new_value("encryption-key") {
            Some(key) if key != "autogen" => Some((key, self.fingerprint(key)?)),
            _ => None,
        };
        match secrets.get("password") {
            Some(Some(password)) => {
                self.write("storage", "pw", &[password.as_bytes(), b"\n"].concat(), Some(0o600))?;
            }
            Some(None) => self.remove("storage", "pw")?,
            None => {}
        }
        match (secrets.get("encryption-key"), key) {
            (Some(Some(_)), Some((key, fingerprint))) => {
                self.write("storage", "enc", &[key.as_bytes(), b"\n"].concat(), None)?;
                values.push(("encryption-key", fingerprint));
            }
            (Some(Some(_)), None) => values.push(("encryption-key", self.generate_key()?)),
            (Some(None), _) => self.remove("storage", "enc")?,
            (None, _) => {}
        }
        match secrets.get("master-pubkey") {
            Some(Some(encoded)) => {
                let content = [decode_base64(encoded).as_slice(), b"\n"].concat();
                self.write("storage", "master.pem", &content, None)?;
                values.push(("master-pubkey", Value::text(b"1")));
            }
            Some(None) => self.remove("storage", "master.pem")?,
            None => {}
        }
        Ok(values)
    }

    /// What storage.cfg keeps of a key: its fingerprint, or `1` if it has none.
    fn fingerprint(&self, key: &[u8]) -> Result<Value<'static>, ChangeError> {
        let parsed: Json = serde_json::from_slice(key)
            .map_err(|error| self.failure(&format!("the encryption-key is not JSON: {error}")))?;
        if parsed.get("data").is_none_or(Json::is_null) {
            return Err(self.failure("the encryption-key has no member \"data\""));
        }
        let fingerprint = parsed.get("fingerprint").and_then(Json::as_str).filter(|text| !text.is_empty());
        Ok(Value::text(fingerprint.unwrap_or("1").as_bytes()).into_owned())
    }

    fn generate_key(&mut self) -> Result<Value<'static>, ChangeError> {
        let path = self.path("storage", "enc");
        if self.host.read(&path).is_some() {
            self.host.rename(&path, &format!("{path}.old")).map_err(|reason| self.failure(&reason))?;
        }
        let answer = self.run(&["proxmox-backup-client", "key", "create", "--kdf", "none", &path], None);
        match self.host.read(&path) {
            Some(key) if answer => self.fingerprint(&key),
            _ => Err(self.failure("proxmox-backup-client could not create a key")),
        }
    }

    /// The keyring of a new Ceph storage: the given one, or what `from_admin` makes of the local administrator's.
    fn add_keyring(
        &mut self,
        secrets: &Secrets,
        extension: &str,
        from_admin: impl Fn(&[u8]) -> Result<(Vec<u8>, Option<u32>), &'static str>,
    ) -> Result<(), ChangeError> {
        let path = self.path("ceph", extension);
        if secrets.new_value("keyring").is_some() {
            return self.update_keyring(secrets, extension);
        }
        if self.host.read(&path).is_some() {
            return Err(self.failure(&format!("{path} exists already: remove it, or give a keyring")));
        }
        match self.host.read(ADMIN_KEYRING) {
            Some(admin) => {
                let (content, mode) = from_admin(&admin).map_err(|reason| self.failure(reason))?;
                self.write("ceph", extension, &content, mode)
            }
            None => {
                self.warnings.push(format!(
                    "storage {}: no keyring is given and {ADMIN_KEYRING} does not exist: access is not authenticated",
                    self.id
                ));
                Ok(())
            }
        }
    }

    fn update_keyring(&mut self, secrets: &Secrets, extension: &str) -> Result<(), ChangeError> {
        match secrets.get("keyring") {
            Some(Some(keyring)) => {
                let keyring = keyring.strip_suffix(b"\n").unwrap_or(keyring);
                self.write("ceph", extension, &[keyring, b"\n"].concat(), Some(0o400))
            }
            Some(None) => self.remove("ceph", extension),
            None => Ok(()),
        }
    }

    /// An external Ceph cluster needs a configuration that names the keyring.
    fn ceph_conf(&mut self, monhost: Option<&BStr>) -> Result<Values, ChangeError> {
        let (keyring, conf) = (self.path("ceph", "keyring"), self.path("ceph", "conf"));
        if monhost.is_some() && self.host.read(&keyring).is_some() && self.host.read(&conf).is_none() {
            let content = format!("[global]\n\tkeyring = {keyring}\n\n");
            self.write("ceph", "conf", content.as_bytes(), Some(0o600))?;
        }
        Ok(Values::new())
    }

    /// Makes the volume group of a new storage on a volume of an iSCSI storage.
    fn volume_group(
        &mut self,
        config: &StorageConfig<'_>,
        vgname: &BStr,
        base: &BStr,
    ) -> Result<(), ChangeError> {
        let (base_id, volume) = base.split_once_str(":").unwrap_or((base, b""));
        let base_storage =
            config.get(base_id).filter(|storage| storage.kind() == StorageType::Iscsi).ok_or_else(|| {
                self.failure(&format!("base storage {:?} must be an iscsi storage", base_id.as_bstr()))
            })?;
        self.host.activate(&base_storage).map_err(|reason| self.failure(&reason))?;
        let device =
            self.host.volume_device(&base_storage, volume).map_err(|reason| self.failure(&reason))?;
        let vgname = vgname.to_str_lossy();
        let has_label = self.query(&["/usr/bin/file", "-L", "-s", &device], None).contains_str("LVM2");
        if has_label {
            let listed = self.query(
                &[
                    "/sbin/pvs",
                    "--separator",
                    ":",
                    "--noheadings",
                    "--units",
                    "k",
                    "--unbuffered",
                    "--nosuffix",
                    "--options",
                    "pv_name,pv_size,vg_name,pv_uuid",
                    &device,
                ],
                None,
            );
            let owner = listed.lines().next().and_then(|line| line.split(|byte| *byte == b':').nth(2));
            match owner {
                Some(owner) if owner == vgname.as_bytes() => return Ok(()),
                Some(owner) if !owner.is_empty() => {
                    let reason = format!("{device} belongs to volume group {:?}", owner.as_bstr());
                    return Err(self.failure(&reason));
                }
                _ => {}
            }
        }
        self.host.overwrite_label(&device).map_err(|reason| self.failure(&reason))?;
        if !self.run(&["/sbin/pvcreate", "--metadatasize", "250k", &device], None) {
            return Err(self.failure(&format!("pvcreate failed on {device}")));
        }
        if !self.run(&["/sbin/vgcreate", &vgname, &device], None) {
            return Err(self.failure(&format!("vgcreate failed on {device}")));
        }
        Ok(())
    }

    /// Asks where a dataset is mounted; the answer completes the section, or is compared with it.
    fn zfs_mount_point(&mut self, pool: &BStr, configured: Option<&BStr>) -> Result<Values, ChangeError> {
        let pool = self.argument("pool", pool)?;
        let answer = self.query(&["zfs", "get", "-o", "value", "-Hp", "mountpoint", &pool], Some(1));
        let known = answer.lines().next().map(<[u8]>::trim_ascii).unwrap_or_default().as_bstr();
        if !Scalar::StoragePath.accepts(known, &Context::default()) {
            return Ok(Values::new());
        }
        let bare = |path: &BStr| path.strip_suffix(b"/").unwrap_or(path).to_owned();
        match configured {
            None => Ok(vec![("mountpoint", Value::text(known).into_owned())]),
            Some(configured) => {
                if bare(configured) != bare(known) {
                    let id = &self.id;
                    let warning = format!("storage {id}: {pool} is mounted at {known}, not at {configured}");
                    self.warnings.push(warning);
                }
                Ok(Values::new())
            }
        }
    }

    /// Where another machine has the devices of its ZFS volumes.
    fn zfs_base_path(&mut self, provider: &BStr, portal: &BStr) -> Result<&'static str, ChangeError> {
        match provider.as_bytes() {
            b"comstar" => Ok("/dev/zvol/rdsk"),
            b"istgt" => Ok("/dev/zvol"),
            b"iet" | b"LIO" => {
                let portal = portal.to_str_lossy();
                let key = format!("/etc/pve/priv/zfs/{portal}_id_rsa");
                let login = format!("root@{portal}");
                let command = ["/usr/bin/ssh", "-o", "BatchMode=yes", "-i", &key, &login, "ls", "/dev/zvol"];
                match self.host.run(&command.map(str::to_owned), None).code {
                    Some(0) => Ok("/dev/zvol"),
                    Some(2) => Ok("/dev"),
                    _ => {
                        let id = &self.id;
                        let warning = format!(
                            "storage {id}: {portal} does not tell where ZFS devices are: /dev/zvol is assumed"
                        );
                        self.warnings.push(warning);
                        Ok("/dev/zvol")
                    }
                }
            }
            _ => {
                Err(self
                    .failure(&format!("unknown iscsiprovider {provider:?}: use comstar, istgt, iet or LIO")))
            }
        }
    }

    /// Takes down the FUSE mount of an esxi storage; what is not there need not be taken down.
    fn unmount_esxi(&mut self) {
        let id = self.id.clone();
        let scope = format!("pve-esxi-fuse-{}.scope", systemd_escaped(&id));
        self.run(&["/bin/systemctl", "reset-failed", &scope], None);
        self.run(&["/bin/systemctl", "stop", &scope], None);
        self.run(&["/bin/umount", &format!("/run/pve/import/esxi/{id}/mnt")], None);
    }

    fn path(&self, directory: &str, extension: &str) -> String {
        format!("/etc/pve/priv/{directory}/{}.{extension}", self.id)
    }

    fn write(
        &mut self,
        directory: &str,
        extension: &str,
        content: &[u8],
        mode: Option<u32>,
    ) -> Result<(), ChangeError> {
        let path = self.path(directory, extension);
        self.host.write(&path, content, mode).map_err(|reason| self.failure(&reason))
    }

    fn remove(&mut self, directory: &str, extension: &str) -> Result<(), ChangeError> {
        let path = self.path(directory, extension);
        self.host.remove(&path).map_err(|reason| self.failure(&reason))
    }

    /// Runs a command and says whether it succeeded.
    fn run(&mut self, command: &[&str], timeout: Option<u32>) -> bool {
        let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
        self.host.run(&command, timeout).is_success()
    }

    /// What a command prints; nothing if it fails.
    fn query(&mut self, command: &[&str], timeout: Option<u32>) -> BString {
        let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
        let answer = self.host.run(&command, timeout);
        if answer.is_success() { answer.stdout } else { BString::default() }
    }

    /// A value as an argument of a command, which must not look like an option.
    fn argument(&self, property: &str, value: &BStr) -> Result<String, ChangeError> {
        match value.to_str() {
            Ok(text) if !text.starts_with('-') => Ok(text.to_owned()),
            _ => Err(self.failure(&format!("{property} {value:?} cannot be given to a command"))),
        }
    }

    fn failure(&self, reason: &str) -> ChangeError {
        ChangeError::Hook { id: self.id.as_str().into(), reason: reason.to_owned() }
    }
}

/// The value of `key` in the section `[client.admin]` of a Ceph keyring.
fn admin_key(keyring: &[u8]) -> Option<&[u8]> {
    let mut lines = keyring.lines().map(<[u8]>::trim_ascii);
    lines.by_ref().find(|line| *line == b"[client.admin]")?;
    lines.take_while(|line| !line.starts_with(b"[")).find_map(|line| {
        let (name, value) = line.split_once_str("=")?;
        (name.trim_ascii() == b"key").then(|| value.trim_ascii())
    })
}

/// A name as a part of a systemd unit name: letters, digits, `:`, `_` and inner `.` stay.
fn systemd_escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at > 0 => escaped.push('.'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

/// Base64 as the reference decodes it: bytes outside the alphabet are skipped, padding ends the text.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.iter().take_while(|byte| **byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_are_escaped() {
        assert_eq!(systemd_escaped("e1"), "e1");
        assert_eq!(systemd_escaped("my-esxi_1.a"), "my\\x2desxi_1.a");
    }

    #[test]
    fn base64_is_lenient() {
        assert_eq!(decode_base64(b"aGVsbG8="), b"hello");
        assert_eq!(decode_base64(b"aGVs\nbG8"), b"hello");
        assert_eq!(decode_base64(b"aGVs=bG8="), b"hel");
        assert_eq!(decode_base64(b""), b"");
    }

    #[test]
    fn finds_the_key_of_the_administrator() {
        let keyring = b"[client.x]\n\tkey = no\n[client.admin]\n\tkey = AQ==\n\tcaps mds = \"allow *\"\n[mon.]\nkey=z\n";
        assert_eq!(admin_key(keyring), Some(&b"AQ=="[..]));
        assert_eq!(admin_key(b"[client.x]\nkey = a\n"), None);
    }
}
