// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any bytes read as a property string, an option, a scalar format or a description. Called by
//! the fuzz target, and by `tests/property_strings.rs` with the stable toolchain.

use pve_config::container::{self, MountPoint, VolumeKey};
use pve_config::format::{
    Context, Format, Scalar, decode_text, encode_text, format_size, parse_boolean, parse_size, split_list,
};
use pve_config::property::{Properties, PropertyFormat, formats};
use pve_config::rule::ValueError;
use pve_config::{cluster, schema, vm};

/// Checks `data`, whose first byte chooses what the rest is read as.
pub(crate) fn check(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    scalars(text);
    options(*choice, text);
    let format = formats()[usize::from(*choice) % formats().len()];
    match format.parse(text) {
        Ok(properties) => {
            let printed = reprint(&properties);
            typed(format, text, Some(&printed));
        }
        Err(error) => {
            is_located(&error, text);
            typed(format, text, None);
        }
    }
    drives(text);
    volumes(text);
}

/// Places lie within the text, and the message can be made.
fn is_located(error: &ValueError, text: &[u8]) {
    assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{error}: {:?}", error.span);
    assert!(!error.to_string().is_empty() && !error.code().is_empty());
}

/// What was parsed can be printed; what was printed is parsed and printed to the same.
fn reprint(properties: &Properties<'_>) -> Vec<u8> {
    let printed = properties.print().expect("what was parsed can be printed");
    let format = properties.format();
    let default = format.keys().find(|key| key.default_key).and_then(|key| properties.get(key.name));
    if default.is_none_or(|value| stands_alone(value)) {
        let again = format.parse(&printed).expect("what was printed can be parsed");
        assert_eq!(again.len(), properties.len());
        assert_eq!(again.print().expect("and printed again"), printed);
    }
    printed.into()
}

/// The struct of `format` agrees with the table: it reads what the table accepts and prints the same.
fn typed(format: &'static PropertyFormat, text: &[u8], expected: Option<&[u8]>) {
    macro_rules! agree {
        ($($Struct:ty),+ $(,)?) => { $(
            if std::ptr::eq(format, <$Struct>::FORMAT) {
                let read = <$Struct>::parse(text);
                assert_eq!(read.is_ok(), expected.is_some());
                if let (Ok(value), Some(expected)) = (read, expected) {
                    assert_eq!(value.print().expect("what was read can be printed"), expected);
                }
            }
        )+ };
    }
    agree!(
        vm::Agent,
        vm::AmdSev,
        vm::Audio,
        vm::Boot<'_>,
        vm::CiCustom<'_>,
        vm::Cpu<'_>,
        vm::HostPci<'_>,
        vm::IntelTdx<'_>,
        vm::IpConfig<'_>,
        vm::Ivshmem<'_>,
        vm::Machine<'_>,
        vm::Memory<'_>,
        vm::Meta<'_>,
        vm::Net<'_>,
        vm::Numa<'_>,
        vm::Rng<'_>,
        vm::Smbios1<'_>,
        vm::SpiceEnhancements,
        vm::Usb<'_>,
        vm::Vga<'_>,
        vm::Virtiofs<'_>,
        vm::Watchdog,
        container::Device<'_>,
        container::Features<'_>,
        container::Net<'_>,
        cluster::BackupFleecing<'_>,
        cluster::BackupPerformance<'_>,
        cluster::BwLimit<'_>,
        cluster::NodeLocation<'_>,
        cluster::PruneBackups<'_>,
        cluster::RemoteEndpoint<'_>,
    );
    if let Ok(usb) = vm::Usb::parse(text) {
        assert_eq!(usb.device().is_some(), usb.host.is_some());
    }
    if let Ok(pci) = vm::HostPci::parse(text) {
        assert_eq!(pci.addresses().count() > 0, pci.host.is_some());
    }
    if let Ok(numa) = vm::Numa::parse(text) {
        let _ = vm::ranges(numa.cpus).count();
    }
    let _ = vm::IpConfig::read(text);
    let _ = vm::Hotplug::parse(text);
    if let Ok(startup) = vm::Startup::parse(text) {
        let printed = startup.print();
        // "," is valid and says nothing, but the empty text is not valid
        if !printed.is_empty() {
            assert_eq!(vm::Startup::parse(&printed).expect("what was printed can be read").print(), printed);
        }
    }
}

/// Whether a value is read as what it is when it stands without its key, as printers write it: with `=` it seems to have a
/// key, and a part of blanks is skipped.
fn stands_alone(value: &[u8]) -> bool {
    !value.contains(&b'=') && !value.iter().all(|byte| matches!(byte, b'\t'..=b'\r' | b' '))
}

/// A drive that is read is printed, and read again to the same.
fn drives(text: &[u8]) {
    for key in ["ide0", "sata0", "scsi0", "virtio0", "efidisk0", "tpmstate0", "unused0"] {
        let id = vm::DriveId::from_key(key.as_bytes()).expect("a drive");
        match vm::Drive::read(id, text) {
            Err(error) => is_located(&error, text),
            Ok(drive) => {
                let printed = drive.print().expect("what was read can be printed");
                if stands_alone(drive.file) {
                    let again = vm::Drive::read(id, &printed).expect("what was printed can be read");
                    assert_eq!(again, drive);
                }
            }
        }
    }
}

/// The same for volumes of containers.
fn volumes(text: &[u8]) {
    for key in [VolumeKey::Rootfs, VolumeKey::MountPoint(0), VolumeKey::Unused(0)] {
        match MountPoint::read(key, text) {
            Err(error) => is_located(&error, text),
            Ok(mount) => {
                let _ = (mount.kind(), mount.id_map());
                let printed = mount.print(key).expect("what was read can be printed");
                if stands_alone(mount.volume) {
                    assert_eq!(MountPoint::read(key, &printed).expect("what was printed can be read"), mount);
                }
            }
        }
    }
}

/// No option panics, and what a file keeps of a value is kept the next time too; quotes are removed once a time.
fn options(choice: u8, text: &[u8]) {
    let context = Context::default();
    for schema in [&schema::VM, &schema::CONTAINER, &schema::FLEECING] {
        let _ = schema.find(text);
        is_located(&schema.unknown(text), text);
        let option = &schema.options()[usize::from(choice) % schema.options().len()];
        let key = option.key(option.slots.map(|_| 0));
        match schema.check(key.as_bytes(), text, &context) {
            Ok(kept) if option.file_check() != schema::FileCheck::String => {
                // beyond 64 bits an integer becomes a text that no check accepts
                if let Ok(again) = schema.check(key.as_bytes(), &kept, &context) {
                    assert_eq!(again, kept);
                }
            }
            Ok(_) => {}
            Err(error) => is_located(&error, text),
        }
        let _ = schema.check_request(key.as_bytes(), text, &context);
    }
}

/// No scalar panics; lists, sizes and texts obey their laws.
fn scalars(text: &[u8]) {
    let context = Context::default();
    for scalar in Scalar::ALL {
        let one = scalar.accepts(text, &context);
        let _ = Format::List(*scalar).accepts(text, &context);
        assert!(!one || Format::Optional(*scalar).accepts(text, &context));
    }
    assert!(split_list(text).count() <= text.len());
    if let Ok(bytes) = parse_size(text) {
        assert!(Scalar::DiskSize.accepts(text, &context));
        assert_eq!(parse_size(format_size(bytes).as_bytes()), Ok(bytes));
    }
    let _ = parse_boolean(text);
    let decoded = decode_text(text);
    assert_eq!(decode_text(&encode_text(&decoded)), decoded);
}
