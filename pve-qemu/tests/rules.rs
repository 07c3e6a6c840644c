// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of the command line one by one, in the order of the specification: what recorded cases meet seldom or by chance.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_qemu::host::{Assumptions, FileType};
use pve_qemu::{Builder, CommandError, CommandLine, Host, Options};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;

/// A command line and how it was asked for.
struct Case {
    host: Host,
    config: String,
    options: Options<'static>,
}

fn storages() -> Storages {
    let storage =
        |id: &str, kind: &str| Storage::new(id.parse().unwrap(), kind).with("content", "images,iso,snippets");
    [
        storage("local", "dir").with("path", "/var/lib/vz"),
        storage("chain", "dir").with("path", "/mnt/chain").with("snapshot-as-volume-chain", "1"),
        storage("btrfs", "btrfs").with("path", "/mnt/btrfs"),
        storage("nocow", "btrfs").with("path", "/mnt/nocow").with("nocow", "1"),
        storage("thick", "lvm").with("vgname", "vg"),
        storage("thin", "lvmthin").with("vgname", "pve").with("thinpool", "data"),
        storage("krbd", "rbd").with("krbd", "1").with("pool", "vms"),
        storage("ceph", "rbd").with("pool", "vms").with("namespace", "ns"),
        storage("far", "zfs").with("portal", "192.0.2.1").with("target", "iqn.x").with("pool", "tank"),
        storage("direct", "iscsidirect").with("portal", "192.0.2.1").with("target", "iqn.x"),
    ]
    .into_iter()
    .collect()
}

fn case(config: &str) -> Case {
    Case { host: Host::default(), config: config.to_owned(), options: Options::default() }
}

impl Case {
    fn on(mut self, version: &str) -> Self {
        self.host = self.host.with_qemu_version(version.parse().unwrap());
        self
    }

    fn host(mut self, change: impl FnOnce(&mut Host)) -> Self {
        change(&mut self.host);
        self
    }

    fn options(mut self, change: impl FnOnce(&mut Options<'static>)) -> Self {
        change(&mut self.options);
        self
    }

    fn build(&self) -> Result<CommandLine, CommandError> {
        let storages = storages();
        let builder = Builder::new(&self.host, &storages);
        let (config, _) = VmConfig::parse_with(self.config.as_bytes(), &builder.context());
        builder.build(VmId::MIN, &config, &self.options)
    }

    fn command(&self) -> CommandLine {
        self.build().unwrap_or_else(|error| panic!("{error}\n{}", self.config))
    }

    /// The values of an option, in order; of an option without value the option itself.
    fn values(&self, option: &str) -> Vec<String> {
        let command = self.command();
        let arguments: Vec<String> = command.iter().map(ToString::to_string).collect();
        let found = arguments.iter().enumerate().filter(|(_, argument)| *argument == option);
        found.map(|(at, _)| arguments.get(at + 1).cloned().unwrap_or_default()).collect()
    }

    /// The only value of an option.
    fn value(&self, option: &str) -> String {
        let mut values = self.values(option);
        assert_eq!(values.len(), 1, "{option}: {values:?}");
        values.remove(0)
    }

    /// The value of `-device` with this id.
    fn device(&self, id: &str) -> String {
        let wanted = format!("id={id}");
        let mut values = self.values("-device");
        values.retain(|value| value.split(',').any(|part| part == wanted));
        assert_eq!(values.len(), 1, "{id}: {values:?}");
        values.remove(0)
    }

    fn has_device(&self, start: &str) -> bool {
        self.values("-device").iter().any(|value| value.starts_with(start))
    }

    #[track_caller]
    fn refused(&self, about: &str) {
        match self.build() {
            Ok(command) => panic!("{} is accepted: {}", self.config, command.shell_line()),
            Err(error) => assert!(error.to_string().starts_with(about), "{error}"),
        }
    }
}

fn machine(config: &str) -> String {
    case(config).value("-machine")
}

#[test]
fn revisions_are_raised_by_what_uses_them() {
    // spec: qemu-command, "`atleast`, `guard`, revisions"
    for (config, version, expected) in [
        ("machine: pc-i440fx-4.1+pve2\nrng0: /dev/urandom", "9.0.0", "type=pc-i440fx-4.1+pve2"),
        ("machine: pc-i440fx-4.1+pve2", "9.0.0", "type=pc-i440fx-4.1+pve0"),
        ("machine: pc-i440fx-4.1+pve2\nscsi14: thin:vm-100-disk-0", "9.0.0", "type=pc-i440fx-4.1+pve2"),
        ("machine: pc-i440fx-9.2+pve1,enable-s3=1,enable-s4=1", "9.2.0", "type=pc-i440fx-9.2+pve1"),
        ("machine: virt-9.2+pve1\narch: aarch64", "9.2.0", "accel=tcg,type=virt-9.2+pve0"),
        ("machine: pc-i440fx-10.0+pve1\nnet0: e1000=BC:24:11:00:00:01", "10.0.0", "type=pc-i440fx-10.0+pve1"),
        (
            "machine: pc-i440fx-10.0+pve1.pxe\nnet0: e1000=BC:24:11:00:00:01",
            "10.0.0",
            "type=pc-i440fx-10.0+pve1",
        ),
        // a threshold that the machine is beyond needs no revision
        ("machine: pc-i440fx-10.1\nnet0: e1000=BC:24:11:00:00:01", "10.1.0", "type=pc-i440fx-10.1+pve0"),
    ] {
        assert_eq!(case(config).on(version).value("-machine"), expected, "{config}");
    }
    case("machine: pc-i440fx-4.1+pve1\nscsi14: thin:vm-100-disk-0").refused("scsi14");
    case("machine: pc-i440fx-4.1+pve3").refused("machine");
    assert!(!case("machine: pc-i440fx-4.1+pve1\nrng0: /dev/urandom").has_device("virtio-rng-pci"));
}

#[test]
fn machines_of_windows_are_pinned() {
    // spec: qemu-command, "Effective machine type MT"
    let on = |config: &str, version: &str| {
        let flags = case(config).on(version).value("-machine");
        flags.split(',').find_map(|flag| flag.strip_prefix("type=")).unwrap().to_owned()
    };
    assert_eq!(on("ostype: win10\n", "11.0.0"), "pc-i440fx-5.1+pve0");
    assert_eq!(on("ostype: win10\nmeta: creation-qemu=9.0.2\n", "11.0.0"), "pc-i440fx-5.1+pve0");
    assert_eq!(on("ostype: win10\nmeta: creation-qemu=9.2.0\nmachine: q35\n", "11.0.0"), "pc-q35-9.2+pve0");
    assert_eq!(on("ostype: wxp\nmeta: creation-qemu=10.1.0\nmachine: pc\n", "9.2.0"), "pc-i440fx-9.2+pve1");
    assert_eq!(on("ostype: win10\nmeta: creation-qemu=10.1.0\n", "9.1.0"), "pc-i440fx-9.1+pve0");
    assert_eq!(on("ostype: win11\narch: aarch64\n", "11.0.0"), "virt-5.1+pve0");
    assert_eq!(on("ostype: other\nmachine: q35\n", "9.2.0"), "q35+pve1");
    case("ostype: win10\nmeta: ctime=1\n").refused("meta");
    // a guest with a version needs no hint
    assert_eq!(on("ostype: win10\nmeta: ctime=1\nmachine: pc-i440fx-8.0\n", "11.0.0"), "pc-i440fx-8.0+pve0");
}

#[test]
fn an_emulator_of_another_architecture_has_its_own_version() {
    let mixed = |config: &str| {
        case(config).host(|host| {
            host.qemu.insert("x86_64".into(), Some("9.0.0".into()));
            host.qemu.insert("aarch64".into(), Some("10.0.0".into()));
        })
    };
    // the back end is of the emulator's generation, the front end of the host's own
    let case_ = mixed("arch: aarch64\nscsi0: thin:vm-100-disk-0\nscsihw: virtio-scsi-pci\n");
    assert_eq!(case_.values("-drive").len(), 0);
    assert_eq!(case_.values("-blockdev").len(), 1);
    assert!(!case_.device("scsi0").contains("write-cache"), "{}", case_.device("scsi0"));
    assert_eq!(case_.value("-cpu"), "max");
    // KVM may be asked for, though
    let forced = mixed("arch: aarch64\nkvm: 1\ncpu: cortex-a57\n");
    assert!(!forced.value("-machine").contains("accel"));
    mixed("arch: aarch64\nkvm: 1\n").refused("cpu");
    mixed("arch: riscv64\n").refused("arch");
    case("arch: aarch64\nhotplug: cpu\ncores: 2\n").refused("hotplug");
    case("arch: aarch64\nhotplug: cpu\n").command();
}

#[test]
fn kinds_of_machines_decide_what_they_have() {
    assert_eq!(machine("machine: pc-q35-10.0\nostype: l26\n"), "type=pc-q35-10.0+pve0");
    assert_eq!(machine("machine: pc-q35-10.1\nostype: l26\n"), "hpet=off,type=pc-q35-10.1+pve0");
    assert_eq!(machine("machine: pc-q35-10.1\nostype: l24\n"), "type=pc-q35-10.1+pve0");
    let forced = |ostype: &str| {
        case(&format!("ostype: {ostype}\n"))
            .options(|options| options.force_machine = Some(BStr::new("isapc")))
    };
    forced("win7").refused("machine");
    assert_eq!(forced("other").value("-machine"), "type=isapc+pve0");
    // without firmware that needs it, and nothing to look at
    assert_eq!(machine("vga: serial0\nkvm: 0\n"), "accel=tcg,smm=off,type=pc+pve0");
    assert_eq!(machine("vga: none\nbios: uefi\n"), "type=pc+pve0");
    assert_eq!(
        machine("acpi: 0\nallow-ksm: 0\nmachine: q35,viommu=intel\n"),
        "acpi=off,type=q35+pve0,kernel-irqchip=split,mem-merge=off"
    );
}

#[test]
fn power_states_follow_the_configured_machine() {
    let states = |config: &str| case(config).values("-global");
    assert_eq!(states("machine: pc-i440fx-9.2\n"), [""; 0]);
    assert_eq!(states("machine: pc-i440fx-9.2,enable-s4=0\n"), ["PIIX4_PM.disable_s4=1"]);
    assert_eq!(states("machine: viommu=virtio,enable-s3=1\n"), ["PIIX4_PM.disable_s4=1"]);
    assert_eq!(states("machine: q35\n"), ["ICH9-LPC.disable_s3=1", "ICH9-LPC.disable_s4=1"]);
    // the forced machine does not count for the object
    let forced =
        case("machine: q35\n").options(|options| options.force_machine = Some(BStr::new("pc-i440fx-10.0")));
    assert_eq!(forced.values("-global"), ["ICH9-LPC.disable_s3=1", "ICH9-LPC.disable_s4=1"]);
    assert_eq!(states("arch: aarch64\n"), [""; 0]);
    assert_eq!(
        states("machine: q35\nostype: l26\nmeta: creation-qemu=6.0.0\n").first().unwrap(),
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
    );
}

#[test]
fn system_information_is_decoded_and_escaped() {
    let smbios = |text: &str| case(&format!("smbios1: {text}\n")).value("-smbios");
    assert_eq!(smbios("base64=1,manufacturer=QSxC,family=Rg,sku=MA=="), "type=1,family=F,manufacturer=A,,B");
    assert_eq!(smbios("product=0,version=1"), "type=1,version=1");
    assert_eq!(
        smbios("uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11,base64=1,version=Mg=="),
        "type=1,uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11,version=2"
    );
}

#[test]
fn cpus_are_counted_in_sockets() {
    assert_eq!(case("smp: 2\ncores: 3\nvcpus: 9\n").value("-smp"), "9,sockets=2,cores=3,maxcpus=6");
    assert_eq!(case("smp: 2\nsockets: 3\n").value("-smp"), "3,sockets=3,cores=1,maxcpus=3");
    let plugged = case("hotplug: network;cpu\nsockets: 2\ncores: 2\nvcpus: 3\ncpu: custom-none\n");
    assert_eq!(plugged.value("-smp"), "1,sockets=2,cores=2,maxcpus=4");
    assert_eq!(plugged.device("cpu3"), "kvm64-x86_64-cpu,id=cpu3,socket-id=1,core-id=0,thread-id=0");
    let named = |text: &str| {
        case(&format!("hotplug: cpu\ncores: 2\ncpu: {text}\n"))
            .host(|host| host.cpu_models_conf = "cpu-model: x\n\treported-model Icelake-Client\n".into())
            .device("cpu2")
    };
    // the name counts only where the text begins with it
    assert!(named("custom-x").starts_with("Icelake-Server-x86_64-cpu,"));
    assert!(named("cputype=custom-x").starts_with("custom-x-x86_64-cpu,"));
    assert!(named("x86-64-v3").starts_with("qemu64-x86_64-cpu,"));
    // before 2.7 CPUs are no devices
    let old = case("hotplug: cpu\ncores: 2\nmachine: pc-i440fx-2.6\n");
    assert_eq!(old.value("-smp"), "2,sockets=1,cores=2,maxcpus=2");
    case("cores: 65\n").refused("cores");
}

#[test]
fn cpu_flags_come_in_layers() {
    let cpu = |config: &str| case(config).value("-cpu");
    assert_eq!(
        cpu("cpu: Opteron_G4,flags=-pcid\nostype: solaris\n"),
        "Opteron_G4,enforce,+kvm_pv_eoi,+kvm_pv_unhalt,-pcid,-rdtscp,vendor=AuthenticAMD,-x2apic"
    );
    assert_eq!(cpu("kvm: 0\n"), "qemu64");
    assert_eq!(
        cpu("cpu: host,level=0,guest-phys-bits=40,phys-bits=host\n"),
        "host,level=0,+kvm_pv_eoi,+kvm_pv_unhalt,guest-phys-bits=40,host-phys-bits=true"
    );
    let custom = case("cpu: custom-x,flags=-aes,hidden=0\nostype: win7\n").host(|host| {
        host.cpu_models_conf = "cpu-model: x\n\treported-model EPYC\n\thidden 1\n\thv-vendor-id ACME\n\tflags +aes;+lahf-lm;+lahf_lm\n\tlevel 0\n\tphys-bits 44\n".into();
    });
    let command = custom.command();
    let text = custom.value("-cpu");
    assert!(text.contains(",-aes,") && text.contains(",+lahf-lm,+lahf_lm,"), "{text}");
    assert!(text.contains(",hv_vendor_id=ACME,") && !text.contains("kvm=off"), "{text}");
    assert!(text.ends_with(",vendor=AuthenticAMD,phys-bits=44"), "{text}");
    assert_eq!(command.warnings.len(), 1, "{:?}", command.warnings);
    // one notice a layer, one warning in all
    let nested = |flags: &str| {
        case("cpu: custom-n,flags=+nested-virt\n")
            .host(|host| {
                host.cpu_flags = flags.into();
                host.cpu_models_conf = "cpu-model: n\n\tflags -nested-virt\n".into();
            })
            .command()
    };
    let found = nested("fpu svm lm");
    assert_eq!((found.notices.len(), found.warnings.len()), (2, 1), "{:?}", found.warnings);
    let missing = nested("svm");
    assert_eq!((missing.notices.len(), missing.warnings.len()), (0, 1), "{:?}", missing.warnings);
    // too many address bits for OVMF
    let wide = |cpu: &str| {
        case(&format!("bios: ovmf\nefidisk0: thin:vm-100-disk-0\ncpu: {cpu}\n")).command().warnings.len()
    };
    assert_eq!(
        (wide("kvm64,phys-bits=41"), wide("kvm64,phys-bits=40"), wide("kvm64,phys-bits=host")),
        (1, 0, 1)
    );
    assert_eq!(
        (
            wide("kvm64,phys-bits=41,flags=+pdpe1gb"),
            wide("kvm64,phys-bits=41,flags=-pdpe1gb"),
            wide("EPYC,phys-bits=41")
        ),
        (0, 1, 0)
    );
    case("bios: ovmf\ncpu: pentium3\n").refused("cpu");
    case("cpu: host\narch: aarch64\n").refused("cpu");
}

#[test]
fn memory_is_split_over_nodes() {
    let objects = |config: &str| case(config).host(|host| host.numa_nodes = 4).values("-object");
    assert_eq!(
        objects("numa: 1\nmemory: 1000\nsockets: 7\ncores: 1\n").first().unwrap(),
        "memory-backend-ram,id=ram-node0,size=142.857142857143M"
    );
    let hosts = |list: &str| {
        objects(&format!("numa: 1\nmemory: 64\nnuma0: cpus=0;2-3,memory=64,hostnodes={list},policy=bind\n"))
            .remove(0)
    };
    // the comma that the reference forgets
    assert!(hosts("0;1").ends_with(",host-nodes=01,policy=bind"));
    assert!(hosts("1;0").ends_with(",host-nodes=1,0,policy=bind"));
    assert!(hosts("0-1;3").ends_with(",host-nodes=0-1,3,policy=bind"));
    let numa = case("numa: 1\nmemory: 64\nnuma0: cpus=0-1;3,memory=64\n");
    assert_eq!(numa.value("-numa"), "node,nodeid=0,cpus=0-1,cpus=3,memdev=ram-node0");
    for (config, about) in [
        ("numa: 1\nnuma0: cpus=0,memory=64,hostnodes=1,policy=bind\n", "numa0"),
        ("numa: 1\nnuma0: cpus=0,memory=64,hostnodes=0\n", "numa0"),
        ("numa: 1\nnuma0: cpus=0\n", "numa0"),
        ("numa: 1\nnuma0: cpus=3-1,memory=512\n", "numa0"),
        ("numa: 1\nnuma0: cpus=0,memory=511\n", "numa"),
        ("hugepages: any\n", "hugepages"),
        ("hugepages: 2\nnuma: 1\nnuma0: cpus=0,memory=512\n", "numa0"),
        ("hugepages: 1024\nnuma: 1\nmemory: 512\n", "hugepages"),
        ("hugepages: any\nnuma: 1\nmemory: 513\n", "numa"),
        ("hotplug: memory\nmemory: 2048\n", "memory"),
        ("hotplug: memory\nnuma: 1\nmemory: 512\n", "memory"),
        ("hotplug: memory\nnuma: 1\nmemory: 1100\n", "memory"),
        ("hotplug: memory\nnuma: 1\nmemory: 2048\nvirtiofs0: share\n", "memory"),
    ] {
        let Err(error) = case(config).build() else { panic!("{config} is accepted") };
        let error = error.to_string();
        assert!(error.starts_with(about), "{config}: {error}");
    }
    // 32 modules of a size, then twice as large ones
    let large = case("hotplug: memory\nnuma: 1\nsockets: 2\nmemory: 18432\n");
    let objects = large.values("-object");
    assert_eq!(objects.last().unwrap(), "memory-backend-ram,id=mem-dimm32,size=1024M");
    assert_eq!(large.device("dimm32"), "pc-dimm,id=dimm32,memdev=mem-dimm32,node=0");
    assert_eq!(large.value("-m"), "size=1024,slots=255,maxmem=524288M");
    assert_eq!(
        case("hotplug: memory\nnuma: 1\nmemory: 1024\ncpu: host\n").value("-m"),
        "size=1024,slots=255,maxmem=4194304M"
    );
    assert_eq!(
        case("hotplug: memory\nnuma: 1\nmemory: 1024\ncpu: host,phys-bits=37\n").value("-m"),
        "size=1024,slots=255,maxmem=32768M"
    );
    // pages of 1 GiB want that much for each socket from the start
    let pages = case("hotplug: memory\nnuma: 1\nsockets: 2\nhugepages: 1024\nmemory: 3072\n")
        .host(|host| host.numa_nodes = 2);
    assert_eq!(pages.value("-m"), "size=2048,slots=255,maxmem=524288M");
    assert_eq!(
        pages.values("-object").last().unwrap(),
        "memory-backend-file,id=mem-dimm0,size=1024M,mem-path=/run/hugepages/kvm/1048576kB,share=on,prealloc=yes"
    );
}

#[test]
fn clocks_follow_the_guest() {
    let rtc = |config: &str| case(config).values("-rtc");
    assert_eq!(rtc("ostype: wxp\n"), ["driftfix=slew,base=localtime"]);
    assert_eq!(rtc("ostype: win10\nacpi: 0\n"), ["base=localtime"]);
    assert_eq!(rtc("ostype: win10\ntdf: 0\nlocaltime: 0\n"), [""; 0]);
    assert_eq!(rtc("tdf: 1\nstartdate: now\nlocaltime: 1\n"), ["driftfix=slew,base=localtime"]);
    assert_eq!(rtc("startdate: tomorrow\nlocaltime: 1\n"), ["base=tomorrow"]);
    assert!(case("ostype: w2k\n").values("-global").iter().all(|value| !value.starts_with("kvm-pit")));
    assert!(
        case("ostype: w2k8\n").values("-global").contains(&"kvm-pit.lost_tick_policy=discard".to_owned())
    );
}

#[test]
fn boot_order_counts_drives_that_are_there() {
    let drives = "ide0: thin:vm-100-disk-0\nide2: none,media=cdrom\nsata1: local:iso/x.iso,media=cdrom\nscsi0: thin:vm-100-cloudinit,media=cdrom\nscsihw: virtio-scsi-pci\nnet3: virtio=BC:24:11:00:00:01\nefidisk0: thin:vm-100-disk-1\n";
    let index = |boot: &str, id: &str| {
        let device = case(&format!("{drives}{boot}")).device(id);
        device.split(',').find_map(|part| part.strip_prefix("bootindex=")).map(str::to_owned)
    };
    assert_eq!(index("", "ide0"), None);
    assert_eq!(index("bootdisk: ide0\n", "ide0").as_deref(), Some("100"));
    assert_eq!(index("bootdisk: scsi0\n", "scsi0").as_deref(), Some("101"), "cloud-init counts as a disk");
    assert_eq!(index("boot: dcd\n", "ide2").as_deref(), Some("300"), "the last place of a letter counts");
    assert_eq!(index("boot: dcd\n", "sata1").as_deref(), Some("301"));
    assert_eq!(index("boot: a\n", "net3"), None);
    assert_eq!(index("boot: legacy=n,order=ide0\n", "net3").as_deref(), Some("100"), "letters win");
    assert_eq!(index("boot: order=ide0;net1;net3;ide0\n", "ide0").as_deref(), Some("103"));
    assert_eq!(index("boot: order=ide0;net1;net3;ide0\n", "net3").as_deref(), Some("102"));
}

#[test]
fn further_arguments_are_split_into_words() {
    let last = |args: &str| {
        let command = case(&format!("args: {args}\n")).command();
        let all: Vec<String> = command.iter().map(ToString::to_string).collect();
        let machine = all.iter().position(|argument| argument == "-machine").unwrap();
        all.into_iter().skip(machine + 2).collect::<Vec<_>>()
    };
    assert_eq!(last(r#"-a "b c" 'd\'e' f\ g ''"#), ["-a", "b c", r"d\'e", "f g", ""]);
    assert_eq!(last(r#"-a "open"#), [""; 0]);
    assert_eq!(last(r"-a \"), [""; 0]);
    assert_eq!(last("0"), [""; 0]);
}

#[test]
fn confidential_guests_need_an_able_host() {
    let able = |config: &str| {
        case(&format!("{config}bios: ovmf\n")).host(|host| {
            host.hw_capabilities = serde_json::from_str(
                r#"{"amd-sev": {"cbitpos": 51, "reduced-phys-bits": 1, "sev-support": 1, "sev-support-es": true, "sev-support-snp": "1"}, "intel-tdx": {"tdx-support": true}}"#,
            )
            .unwrap();
        })
    };
    let object = |config: &str| {
        let mut objects = able(config).values("-object");
        objects.retain(|object| !object.contains("throttle"));
        objects.remove(0)
    };
    assert_eq!(object("amd-sev: std\n"), "sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x8");
    assert_eq!(
        object("amd-sev: es,no-debug=1,no-key-sharing=1,kernel-hashes=1\n"),
        "sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0xf,kernel-hashes=on"
    );
    assert_eq!(
        object("amd-sev: snp\n"),
        "sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0xb0000"
    );
    assert_eq!(
        object("amd-sev: snp,allow-smt=0,no-debug=1\n"),
        "sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x20000"
    );
    assert_eq!(object("intel-tdx: tdx,attestation=0\n"), r#"{"id":"tdx0","qom-type":"tdx-guest"}"#);
    assert_eq!(
        object("intel-tdx: tdx,attestation=1,vsock-cid=2,vsock-port=4050\n"),
        r#"{"id":"tdx0","qom-type":"tdx-guest","quote-generation-socket":{"cid":"2","port":"4050","type":"vsock"}}"#
    );
    assert_eq!(
        able("intel-tdx: tdx,attestation=0\n").value("-machine"),
        "type=pc+pve0,confidential-guest-support=tdx0,kernel_irqchip=split"
    );
    assert_eq!(able("amd-sev: snp\nefidisk0: thin:vm-100-disk-0\n").command().warnings.len(), 1);
    assert_eq!(able("amd-sev: snp\n").value("-bios"), "/usr/share/pve-edk2-firmware//OVMF_SEV_4M.fd");
    able("intel-tdx: tdx,attestation=1,vsock-cid=2\n").refused("intel-tdx");
    case("amd-sev: std\nbios: ovmf\n").refused("amd-sev");
}

#[test]
fn states_bring_their_machine_along() {
    let suspended =
        "vmstate: thin:vm-100-state-suspend\nrunningmachine: pc-i440fx-9.0+pve0\nrunningcpu: host\n";
    let case_ = case(suspended);
    assert_eq!(case_.value("-loadstate"), "/dev/pve/vm-100-state-suspend");
    assert_eq!(case_.value("-machine"), "type=pc+pve0");
    assert_eq!(case_.command().notices.len(), 1);
    let snapshot = case(&format!("memory: 64\n[snap]\n{suspended}memory: 128\nsnaptime: 1\n"))
        .options(|options| options.snapshot = Some(BStr::new("snap")));
    assert_eq!(snapshot.value("-machine"), "type=pc-i440fx-9.0+pve0");
    assert_eq!(snapshot.value("-m"), "128");
    assert_eq!(snapshot.value("-cpu"), "host");
    case("memory: 64\n")
        .options(|options| options.snapshot = Some(BStr::new("snap")))
        .refused("the virtual machine");
}

#[test]
fn templates_keep_their_drives_alone() {
    let template = case(
        "template: 1\nscsi0: thin:base-100-disk-0,ro=1\nide0: thin:base-100-disk-1\ntpmstate0: thin:base-100-disk-2\n\
         net0: virtio=BC:24:11:00:00:01\nargs: -x\nmemory: 4096\nmachine: q35\ncores: 4\nvga: qxl\naffinity: 1\n",
    );
    let command = template.command();
    assert_eq!(command.iter().last().unwrap(), "-snapshot");
    assert_eq!(command.iter().next().unwrap(), "/usr/bin/kvm");
    assert_eq!(template.value("-m"), "512");
    assert_eq!(template.value("-cpu"), "qemu64");
    assert_eq!(template.value("-machine"), "accel=tcg,smm=off,type=pc+pve0");
    assert!(template.device("ide0").starts_with("ide-cd,"), "{}", template.device("ide0"));
    assert!(template.device("ide0").contains("write-cache=on"));
    assert!(template.values("-blockdev").iter().all(|node| node.matches("\"read-only\":true").count() == 3));
    assert!(!template.has_device("tpm-tis") && !template.has_device("virtio-net"));
    let old = case("template: 1\nscsi0: thin:base-100-disk-0,ro=0\nide0: thin:base-100-disk-1\n").on("9.0.0");
    let drives = old.values("-drive");
    assert!(drives[0].ends_with("detect-zeroes=on") && drives[1].ends_with(",readonly=on"), "{drives:?}");
    assert!(drives[1].contains(",readonly=off,"), "{drives:?}");
}

#[test]
fn drives_that_contradict_themselves_are_left_out() {
    for (drive, warnings) in [
        ("scsi0: thin:vm-100-disk-0,bps=1,mbps=1", 1),
        ("scsi0: thin:vm-100-disk-0,bps_rd=1,mbps=1", 0),
        ("scsi0: thin:vm-100-disk-0,mbps_max=1", 1),
        ("scsi0: thin:vm-100-disk-0,iops_rd_max_length=1", 1),
        ("scsi0: thin:vm-100-disk-0,iops=1,iops_wr=1", 0),
        ("scsi0: thin:vm-100-disk-0,media=cdrom,format=raw", 0),
        ("scsi0: thin:vm-100-disk-0,media=cdrom,snapshot=1", 0),
        ("virtio0: thin:vm-100-disk-0,media=cdrom", 0),
    ] {
        let case_ = case(drive);
        assert_eq!(case_.values("-blockdev").len(), 0, "{drive}");
        assert_eq!(case_.command().warnings.len(), warnings, "{drive}");
    }
    let limits = |drive: &str| case(&format!("scsi0: thin:vm-100-disk-0,{drive}")).value("-object");
    assert!(limits("bps=1000000").contains(r#""limits":{"bps-total":0}"#));
    assert!(limits("bps=1,mbps_max=2").contains(r#""limits":{"bps-total":0,"bps-total-max":2097152}"#));
    assert!(
        limits("iops_max=007,mbps_rd=.5,iops_wr=+5")
            .contains(r#""limits":{"bps-read":524288,"iops-total-max":7,"iops-write":5}"#)
    );
    assert!(limits("iops=0,mbps=00").contains(r#""limits":{"bps-total":0}"#));
    let old = case("scsi0: thin:vm-100-disk-0,iops_max=007,bps=5").on("9.0.0").value("-drive");
    assert!(old.contains(",throttling.bps-total=0,throttling.iops-total-max=007,format=raw"), "{old}");
}

#[test]
fn files_that_are_no_volumes_are_taken_as_they_are() {
    let old = |drive: &str| case(drive).on("9.0.0").values("-drive");
    assert_eq!(
        old("ide2: none"),
        ["file=none,if=none,id=drive-ide2,format=raw,cache=none,aio=io_uring,detect-zeroes=on"]
    );
    assert_eq!(old("ide2: none,media=cdrom"), ["if=none,id=drive-ide2,media=cdrom,aio=io_uring"]);
    assert_eq!(
        old("sata0: /dev/sdb,cache=none,format=qcow2"),
        ["file=/dev/sdb,if=none,id=drive-sata0,cache=none,format=qcow2,aio=io_uring,detect-zeroes=on"]
    );
    let new = case("ide2: none");
    assert_eq!(new.values("-blockdev"), [""; 0]);
    assert_eq!(new.device("ide2"), "ide-hd,bus=ide.1,unit=0,id=ide2,write-cache=on");
    case("scsi0: none").refused("scsi0");
    case("scsi0: none").on("9.0.0").refused("scsi0");
    // the host's drive
    let cdrom = case("ide2: cdrom,media=cdrom").host(|host| host.cdrom = Some("/dev/cdrom1".into()));
    assert!(cdrom.value("-blockdev").contains(r#""driver":"host_cdrom","filename":"/dev/cdrom1""#));
    let without = case("ide2: cdrom,media=cdrom").command();
    assert_eq!(without.warnings.len(), 1);
    // what stands at a path decides on the driver
    let at = |kind: FileType, drive: &str| {
        case(drive)
            .host(|host| {
                host.paths.insert("/x".into(), kind);
            })
            .value("-blockdev")
    };
    assert!(at(FileType::Block, "scsi0: /x").contains(r#""driver":"host_device""#));
    assert!(at(FileType::Char, "ide0: /x,media=cdrom").contains(r#""driver":"host_cdrom""#));
    assert!(at(FileType::File, "ide0: /x,media=cdrom").contains(r#""driver":"file""#));
    case("scsi0: /x")
        .host(|host| {
            host.paths.insert("/x".into(), FileType::Missing);
        })
        .refused("scsi0");
    case("scsi0: thin:vm-100-disk-0,snapshot=1").refused("scsi0");
    assert!(case("scsi0: thin:vm-100-disk-0,snapshot=0").device("scsi0").contains("write-cache=on"));
    case("scsi0: local:snippets/x.yaml").refused("scsi0");
    case("ide0: local:iso/x.iso").refused("ide0");
    case("scsi0: thin:vm-100-disk-0,format=qcow2").refused("scsi0");
    case("scsi0: gone:vm-100-disk-0").refused("scsi0");
}

#[test]
fn requests_go_the_way_of_the_storage() {
    let node = |drive: &str| case(drive).value("-blockdev");
    let aio = |drive: &str| {
        let text = node(drive);
        ["native", "threads", "io_uring"]
            .into_iter()
            .find(|aio| text.contains(&format!("\"aio\":\"{aio}\"")))
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(aio("scsi0: thick:vm-100-disk-0"), "native");
    assert_eq!(aio("scsi0: thick:vm-100-disk-0,cache=writeback"), "threads");
    assert_eq!(aio("scsi0: krbd:vm-100-disk-0,cache=unsafe"), "threads");
    assert_eq!(aio("scsi0: krbd:vm-100-disk-0"), "io_uring");
    assert_eq!(aio("scsi0: thin:vm-100-disk-0,cache=writeback,aio=native"), "native");
    assert_eq!(aio("scsi0: ceph:vm-100-disk-0"), "", "librbd is not asked for it");
    assert!(node("scsi0: btrfs:100/vm-100-disk-0.raw").contains(r#"{"direct":false,"no-flush":false}"#));
    assert!(node("scsi0: nocow:100/vm-100-disk-0.raw").contains(r#"{"direct":true,"no-flush":false}"#));
    assert!(node("scsi0: thin:vm-100-disk-0,cache=unsafe").contains(r#"{"direct":false,"no-flush":true}"#));
    assert!(
        node("scsi0: thin:vm-100-disk-0,detect_zeroes=0,discard=on")
            .contains(r#""detect-zeroes":"off","discard":"unmap""#)
    );
    assert!(
        node("scsi0: thin:vm-100-disk-0,discard=ignore")
            .contains(r#""detect-zeroes":"on","discard":"ignore""#)
    );
    assert!(
        node("scsi0: ceph:vm-100-disk-0")
            .contains(r#""driver":"rbd","image":"vm-100-disk-0","namespace":"ns""#)
    );
    let lun = case("scsi0: far:vm-100-disk-0\nscsi1: direct:lun5").host(|host| {
        host.zfs_luns.insert("vm-100-disk-0".into(), 7);
    });
    let nodes = lun.values("-blockdev");
    assert!(nodes[0].contains(r#""driver":"iscsi","lun":7,"#), "{nodes:?}");
    assert!(nodes[1].contains(r#""driver":"iscsi","lun":5,"#), "{nodes:?}");
    // before 4.1 such ends are passed through
    let old = case("scsi0: far:vm-100-disk-0\nmachine: pc-i440fx-4.0\n");
    assert!(
        old.device("scsi0").starts_with("scsi-generic,bus=scsihw0.0,scsi-id=0,drive=drive-scsi0,id=scsi0")
    );
    // kernel devices of an older layout, if they are what is there
    let older = case("scsi0: krbd:vm-100-disk-0").host(|host| {
        host.ceph_fsid = "6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11".into();
        host.paths.insert(
            "/dev/rbd-pve/6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11/vms/vm-100-disk-0".into(),
            FileType::Missing,
        );
    });
    assert!(
        older.value("-blockdev").contains(r#""filename":"/dev/rbd/vms/vm-100-disk-0""#),
        "{}",
        older.value("-blockdev")
    );
}

#[test]
fn controllers_hold_their_drives() {
    let lsi = case("scsi6: thin:vm-100-disk-0\nscsi7: thin:vm-100-disk-1\nscsi29: thin:vm-100-disk-2\n");
    assert!(lsi.device("scsi7").starts_with("scsi-hd,bus=scsihw1.0,scsi-id=0,drive=drive-scsi7"));
    assert_eq!(lsi.device("scsihw4"), "lsi,id=scsihw4,bus=pci.4,addr=0x3");
    assert!(lsi.has_device("pci-bridge,id=pci.4,chassis_nr=4,bus=pci.1,addr=0x1c"));
    let odd = case("scsihw: wonder\nscsi9: thin:vm-100-disk-0,iothread=1,queues=4\n");
    assert_eq!(odd.device("scsihw0"), "wonder,id=scsihw0,bus=pci.0,addr=0x5");
    assert!(odd.device("scsi9").starts_with("scsi-hd,bus=scsihw0.0,channel=0,scsi-id=0,lun=9,"));
    assert_eq!(odd.command().warnings.len(), 1);
    let single = case("scsihw: virtio-scsi-single\nscsi9: thin:vm-100-disk-0,iothread=1,queues=4\n");
    assert_eq!(
        single.device("virtioscsi9"),
        "virtio-scsi-pci,id=virtioscsi9,bus=pci.3,addr=0xa,iothread=iothread-virtioscsi9,num_queues=4"
    );
    assert!(case("scsihw: virtio-scsi-single\n").has_device("pci-bridge,id=pci.3,"));
    assert!(!case("scsihw: virtio-scsi-single\nmachine: q35\n").has_device("pci-bridge"));
    let inquiry = |kind: u8, drive: &str| {
        let case_ = case(drive).host(|host| {
            host.scsi_inquiry.insert("/dev/sg0".into(), kind);
        });
        case_.device("scsi0").split(',').next().unwrap().to_owned()
    };
    assert_eq!(inquiry(0, "scsi0: /dev/sg0,scsiblock=1"), "scsi-block");
    assert_eq!(inquiry(0, "scsi0: /dev/sg0"), "scsi-hd");
    assert_eq!(inquiry(1, "scsi0: /dev/sg0,scsiblock=1"), "scsi-generic");
    let block = case("scsi0: /dev/sg0,scsiblock=1,ssd=1,vendor=A").host(|host| {
        host.scsi_inquiry.insert("/dev/sg0".into(), 0);
    });
    assert_eq!(
        block.device("scsi0"),
        "scsi-block,bus=scsihw0.0,scsi-id=0,drive=drive-scsi0,id=scsi0,rotation_rate=1"
    );
    assert!(block.value("-blockdev").ends_with(r#""node-name":"drive-scsi0","read-only":false}"#));
    assert_eq!(block.values("-object").len(), 1, "the group is there all the same");
    // an image of cloud-init is a CD-ROM in front and a disk behind, unless it is said to be one
    let cloudinit = case("scsi0: thin:vm-100-cloudinit,serial=a%2Cb,wwn=0x5000c50015ea71ac");
    assert_eq!(
        cloudinit.device("scsi0"),
        "scsi-cd,bus=scsihw0.0,scsi-id=0,drive=drive-scsi0,id=scsi0,device_id=drive-scsi0,wwn=0x5000c50015ea71ac,serial=a,,b,write-cache=on"
    );
    let ide = |config: &str| case(config).device("ide3").split(',').take(3).collect::<Vec<_>>().join(",");
    assert_eq!(ide("ide3: thin:vm-100-disk-0\n"), "ide-hd,bus=ide.1,unit=1");
    assert_eq!(ide("ide3: thin:vm-100-disk-0\nmachine: q35\n"), "ide-hd,bus=ide.3,unit=0");
    assert_eq!(
        case("ide0: thin:vm-100-disk-0,model=A%2CB,ssd=1,rerror=stop,cache=directsync").device("ide0"),
        "ide-hd,bus=ide.0,unit=0,drive=drive-ide0,id=ide0,model=A,,B,rotation_rate=1,write-cache=off,rerror=stop"
    );
}

#[test]
fn snapshots_of_chains_lie_behind_the_image() {
    let chain = |config: &str| {
        case(config).host(|host| {
            host.snapshot_chains = serde_json::from_str(
                r#"{"chain:100/vm-100-disk-0.qcow2": {
                    "current": {"file": "/c", "parent": "b"}, "b": {"file": "/b", "parent": "a"}, "a": {"file": "/a"}}}"#,
            )
            .unwrap();
        })
    };
    let node = chain("scsi0: chain:100/vm-100-disk-0.qcow2,discard=on\n").value("-blockdev");
    assert_eq!(node.matches("\"backing\":{").count(), 2);
    assert_eq!(node.matches("\"discard-no-unref\":true").count(), 3);
    assert!(
        node.contains(r#""filename":"/b""#)
            && node.contains(r#""filename":"/a""#)
            && !node.contains("\"/c\""),
        "{node}"
    );
    assert_eq!(node.matches("\"driver\":\"throttle\"").count(), 1);
    // only the image itself is protected from writes of a template's guest
    let template = chain("template: 1\nscsi0: chain:100/vm-100-disk-0.qcow2\n").value("-blockdev");
    assert_eq!(
        (template.matches("\"read-only\":true").count(), template.matches("\"read-only\":false").count()),
        (3, 4)
    );
    chain("scsi0: chain:100/vm-100-disk-0.qcow2\n").on("9.0.0").refused("scsi0");
}

#[test]
fn firmware_variables_lie_on_the_efi_disk() {
    let old = case("bios: ovmf\nefidisk0: ceph:vm-100-disk-0,efitype=4m,pre-enrolled-keys=1\nmachine: q35\n")
        .on("9.0.0");
    assert_eq!(
        old.values("-drive"),
        [
            "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/pve-edk2-firmware//OVMF_CODE_4M.secboot.fd",
            "if=pflash,unit=1,id=drive-efidisk0,cache=writeback,format=raw,file=rbd:vms/ns/vm-100-disk-0:conf=/etc/pve/ceph.conf:rbd_cache_policy=writeback,size=540672",
        ]
    );
    assert_eq!(old.command().effects.rbd_writeback, ["ceph:vm-100-disk-0"]);
    let new = case("bios: ovmf\nefidisk0: local:100/vm-100-disk-0.qcow2,efitype=4m\n");
    let nodes = new.values("-blockdev");
    assert!(
        nodes[1].contains(r#""cache":{"direct":false,"no-flush":false}"#) && !nodes[1].contains("\"size\""),
        "{nodes:?}"
    );
    assert_eq!(new.value("-machine"), "pflash0=pflash0,pflash1=drive-efidisk0,type=pc+pve0");
    case("bios: ovmf\nefidisk0: /dev/sdx\n").refused("efidisk0");
    case("bios: ovmf\nefidisk0: /dev/sdx\n").on("9.0.0").refused("efidisk0");
    assert_eq!(case("efidisk0: thin:vm-100-disk-0\n").values("-blockdev").len(), 0);
    let without = case("bios: ovmf\n").on("9.0.0");
    assert_eq!(
        without.values("-drive")[1],
        "if=pflash,unit=1,id=drive-efidisk0,format=raw,file=/run/qemu-server/efidisk/100-ovmf.fd,size=131072"
    );
    case("bios: ovmf\n")
        .host(|host| {
            host.firmware.insert("OVMF_VARS.fd".into(), None);
        })
        .refused("bios");
    let arm =
        case("bios: ovmf\narch: aarch64\nefidisk0: thin:vm-100-disk-0,pre-enrolled-keys=1\n").host(|host| {
            host.firmware.insert("AAVMF_CODE.secboot.fd".into(), None);
        });
    assert_eq!(arm.command().warnings.len(), 1);
    assert!(arm.values("-blockdev")[0].contains("//AAVMF_CODE.fd"));
}

#[test]
fn network_cards_are_told_of_their_bridge() {
    let card = |config: &str| case(&format!("{config}\n"));
    let mtu = |config: &str| {
        let device = card(config).device("net0");
        device.split(',').find_map(|part| part.strip_prefix("host_mtu=")).map(str::to_owned)
    };
    let virtio = "virtio=BC:24:11:00:00:01";
    assert_eq!(mtu(&format!("net0: {virtio},bridge=vmbr0")).as_deref(), Some("1500"));
    assert_eq!(mtu(&format!("machine: pc-i440fx-10.0\nnet0: {virtio},bridge=vmbr0")), None);
    assert_eq!(
        mtu(&format!("machine: pc-i440fx-10.0\nnet0: {virtio},bridge=vmbr0,mtu=1400")).as_deref(),
        Some("1400")
    );
    assert_eq!(mtu(&format!("net0: {virtio},bridge=vmbr0,mtu=1")).as_deref(), Some("1500"));
    assert_eq!(mtu(&format!("net0: {virtio}")), None);
    card(&format!("net0: {virtio},bridge=vmbr0,mtu=1501")).refused("net0.mtu");
    card(&format!("net0: {virtio},bridge=vmbr0,mtu=575")).refused("net0.mtu");
    card(&format!("net0: {virtio},bridge=gone"))
        .host(|host| host.assume = Assumptions::default())
        .refused("net0.bridge");
    assert_eq!(card(&format!("net0: {virtio},mtu=1400")).command().warnings.len(), 1);
    assert_eq!(card("net0: e1000=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400").command().warnings.len(), 1);
    // what a migration's source had
    let migrated = |list: &'static str, config: &str| {
        card(config).options(|options| options.nets_host_mtu = Some(BStr::new(list)))
    };
    let old = format!("machine: pc-i440fx-9.0\nnet0: {virtio},bridge=vmbr0,mtu=1500");
    assert!(migrated("net0=1500", &old).device("net0").contains("host_mtu=1500"));
    let none = migrated("net1=9000,net0=0", &old);
    assert!(!none.device("net0").contains("host_mtu"));
    assert_eq!(none.command().warnings.len(), 0);
    migrated("net0=9000", &old).refused("net0");
    // tunnels
    let tunnel = |machine: &str, rest: &str| {
        card(&format!("machine: {machine}\nnet0: {virtio}{rest}")).device("net0").contains(",host_tunnel=off")
    };
    assert!(tunnel("pc-i440fx-11.0+pve1", "") && !tunnel("pc-i440fx-11.0+pve1", ",host-tunnel=1"));
    assert!(!tunnel("pc-i440fx-11.0", "") && tunnel("pc-i440fx-10.2", ",host-tunnel=0"));
    assert!(!tunnel("pc-i440fx-10.1", ",host-tunnel=0"));
    // queues
    let queues = card(&format!("net0: {virtio},bridge=vmbr0,queues=4"));
    assert!(queues.value("-netdev").ends_with(",vhost=on,queues=4"));
    assert!(
        queues.device("net0").contains(",vectors=10,mq=on,packed=on,rx_queue_size=1024,tx_queue_size=256")
    );
    let one = card(&format!("net0: {virtio},queues=1\nname: x"));
    assert_eq!(one.value("-netdev"), "type=user,id=net0,hostname=x,queues=1");
    assert!(!one.device("net0").contains("mq=on"));
    // boot ROMs of old machines
    let rom = |machine: &str, model: &str| {
        let device = card(&format!("machine: {machine}\nnet0: {model}=BC:24:11:00:00:01")).device("net0");
        device.split(',').find_map(|part| part.strip_prefix("romfile=")).map(str::to_owned)
    };
    assert_eq!(rom("pc-i440fx-2.3", "e1000").as_deref(), Some("pxe-e1000.rom"));
    assert_eq!(rom("pc-i440fx-9.0.pxe", "virtio").as_deref(), Some("pxe-virtio.rom"));
    assert_eq!(rom("pc-i440fx-2.3", "ne2k_pci"), None);
    assert_eq!(rom("pc-i440fx-2.4", "e1000"), None);
}

#[test]
fn made_up_addresses_have_the_prefix_of_the_cluster() {
    let mac = |prefix: &str| {
        let case_ = case("net0: virtio\n").host(|host| host.mac_prefix = prefix.into());
        let command = case_.command();
        let (key, made_up) = command.effects.made_up_macs.first().unwrap().clone();
        assert_eq!(key.to_string(), "net0");
        assert!(case_.device("net0").contains(&format!("mac={made_up},")));
        made_up
    };
    assert!(mac("02:AB").starts_with("02:AB:") && mac("BC:24:11").starts_with("BC:24:11:"));
    assert_eq!(mac("BC:24:11"), mac("BC:24:11"), "the same configuration gives the same command line");
}

#[test]
fn usb_ports_depend_on_guest_and_machine() {
    case("usb5: spice\n").refused("usb5");
    case("usb5: spice\nostype: win7\n").refused("usb5");
    assert_eq!(
        case("usb5: spice\nostype: l26\n").device("usbredirdev5"),
        "usb-redir,chardev=usbredirchardev5,id=usbredirdev5,bus=xhci.0,port=6"
    );
    assert_eq!(
        case("usb0: spice,usb3=1\nmachine: pc-i440fx-3.1\n").device("usbredirdev0"),
        "usb-redir,chardev=usbredirchardev0,id=usbredirdev0,bus=ehci.0"
    );
    assert_eq!(case("usb0: spice\n").values("-readconfig"), ["/usr/share/qemu-server/pve-usb.cfg"]);
    assert_eq!(
        case("usb0: host=0x1234:abcd,usb3=1\n").device("usb0"),
        "usb-host,bus=xhci.0,vendorid=0x1234,productid=0xabcd,id=usb0"
    );
    assert_eq!(
        case("usb0: host=1-4.2\nboot: order=usb0\n").device("usb0"),
        "usb-host,hostbus=1,hostport=4.2,id=usb0,bootindex=100"
    );
    assert_eq!(case("usb0: spice\nboot: order=usb0\n").command().warnings.len(), 1);
    case("usb0: Spice\n").refused("usb0");
    let mapped = |map: &str, strict: bool| {
        case("usb0: mapping=stick\n").host(|host| {
            host.usb_mapping = format!("stick\n\tmap node=pve,{map}\n\tmap node=other,id=0000:0000\n");
            if strict {
                host.assume = Assumptions::default();
            }
        })
    };
    assert!(mapped("id=1234:abcd", false).device("usb0").contains("vendorid=0x1234"));
    assert!(mapped("id=1234:abcd,path=2-3", false).device("usb0").contains("hostbus=2,hostport=3"));
    mapped("id=1234:abcd", true).refused("usb0");
}

#[test]
fn devices_that_are_not_known_are_taken_to_be_there() {
    let passed = case("hostpci0: 01:00,pcie=1\nmachine: q35\n");
    assert_eq!(
        passed.device("hostpci0"),
        "vfio-pci,host=0000:01:00.0,id=hostpci0,bus=ich9-pcie-port-1,addr=0x0"
    );
    assert_eq!(passed.command().warnings.len(), 1);
    let strict = |config: &str| case(config).host(|host| host.assume = Assumptions::default());
    strict("hostpci0: 01:00.0\n").refused("hostpci0");
    let mapping = "card\n\tmap node=pve,id=10de:1eb8,path=0000:41:00.0,iommugroup=3\n";
    let mapped = case("hostpci0: mapping=card\n").host(|host| host.pci_mapping = mapping.into());
    assert!(mapped.device("hostpci0").starts_with("vfio-pci,host=0000:41:00.0,"));
    strict("hostpci0: mapping=card\n").host(|host| host.pci_mapping = mapping.into()).refused("hostpci0");
    // serial ports and shared directories
    assert!(
        case("serial1: /dev/ttyS0\n")
            .values("-chardev")
            .contains(&"serial,id=serial1,path=/dev/ttyS0".to_owned())
    );
    strict("serial1: /dev/ttyS0\n").refused("serial1");
    let directory = "share\n\tmap node=pve,path=/srv\n";
    assert!(
        case("virtiofs0: share\n")
            .host(|host| host.dir_mapping = directory.into())
            .has_device("vhost-user-fs-pci,")
    );
    strict("virtiofs0: share\n").host(|host| host.dir_mapping = directory.into()).refused("virtiofs0");
}

#[test]
fn displays_and_spice() {
    let vga = |config: &str| case(config).device("vga");
    assert_eq!(
        vga("vga: std,memory=32\nostype: win10\n"),
        "VGA,id=vga,vgamem_mb=32,bus=pci.0,addr=0x2,edid=off"
    );
    assert_eq!(vga("vga: memory=16\n"), "VGA,id=vga,vgamem_mb=16,bus=pci.0,addr=0x2");
    assert_eq!(
        vga("vga: virtio,memory=64\nmachine: q35\n"),
        "virtio-vga,id=vga,max_hostmem=67108864,bus=pcie.0,addr=0x1"
    );
    assert_eq!(vga("ostype: w2k3\n"), "cirrus-vga,id=vga,bus=pci.0,addr=0x2");
    assert_eq!(vga("ostype: w2k3\nmachine: pc-i440fx-2.8\nkvm: 0\n"), "cirrus-vga,id=vga,bus=pci.0,addr=0x2");
    let heads = case("vga: qxl3,memory=16\nostype: l26\n");
    assert_eq!(heads.values("-global")[..2], ["qxl-vga.ram_size=201326592", "qxl-vga.vram_size=100663296"]);
    let windows = case("vga: qxl3\nostype: win10\n");
    assert_eq!(
        windows.device("vga2"),
        "qxl,id=vga2,ram_size=67108864,vram_size=33554432,bus=pci.0,addr=0x19"
    );
    assert!(!windows.has_device("usb-tablet") && case("vga: qxl\ntablet: 1\n").has_device("usb-tablet"));
    case("vga: serial0,clipboard=vnc\n").refused("vga");
    case("vga: qxl\n").host(|host| host.spice_addr = None).refused("vga");
    assert_eq!(
        case("vga: qxl\nspice_enhancements: videostreaming=off\n").value("-spice"),
        "tls-port=61000,addr=127.0.0.1,tls-ciphers=HIGH,seamless-migration=on,streaming-video=off"
    );
    assert!(
        case("vga: std,clipboard=vnc\n")
            .values("-chardev")
            .contains(&"qemu-vdagent,id=vdagent,name=vdagent,clipboard=on".to_owned())
    );
    case("vga: virtio-gl\n").refused("vga");
    // a card that is passed through as the display takes its place, unless one is configured
    let card = "hostpci0: 01:00.0,x-vga=1\n";
    assert!(case(card).values("-vga") == ["none"] && case(card).has_device("usb-tablet"));
    assert!(case(&format!("{card}vga: std\n")).has_device("VGA"));
    assert!(case(card).value("-cpu").contains(",kvm=off"));
}

#[test]
fn small_devices() {
    assert_eq!(
        case("vmgenid: 1\n").values("-device").iter().filter(|value| *value == "vmgenid,guid=1").count(),
        1
    );
    assert!(!case("vmgenid: 0\n").has_device("vmgenid"));
    assert_eq!(case("arch: aarch64\nserial0: socket\n").value("-serial"), "chardev:serial0");
    assert!(case("arch: aarch64\nserial1: socket\n").has_device("isa-serial,chardev=serial1"));
    assert!(
        case("parallel0: /dev/usb/lp0\n")
            .values("-chardev")
            .contains(&"serial,id=parallel0,path=/dev/usb/lp0".to_owned())
    );
}
