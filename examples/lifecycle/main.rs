// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a virtual machine: template, linked clone, cloud-init, start, stop, destroy, with real images and a real QEMU.

mod checklist;
mod ground;
mod guest;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use examples::ending::exit_code;
use pve_config::format::format_size;
use pve_config::guest::VmConfig;
use pve_qemu::clone::{CloneOptions, clone_vm};
use pve_qemu::cloudinit::{CustomParts, Resolver, Settings};
use pve_qemu::create::{CreateRequest, create_vm};
use pve_qemu::destroy::{DestroyOptions, destroy_vm};
use pve_qemu::power::{Start, Stop};
use pve_qemu::shell;
use pve_qemu::template::{TemplateOptions, convert_to_template};
use pve_qemu::update::{Update, update_vm};
use pve_volid::VmId;

use checklist::{Checklist, Layer};
use ground::{Ground, allocated};
use guest::Guest;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// Where the story goes; escape sequences are taken out on the way to what is no terminal.
type Out = dyn std::io::Write;

/// The template.
const TEMPLATE: u32 = 9000;
/// The VM that lives.
const CLONE: u32 = 9001;
/// What the clone is called; its guest must hear of it.
const NAME: &str = "lively";
/// The address that its guest must take.
const ADDRESS: &str = "192.0.2.7";

/// Walks a virtual machine through its life.
///
/// A VM is made and becomes a template; a linked clone of it gets a name and an address, and starts; its guest, a kernel with
/// a shell, reads them off the cloud-init image, applies them, and writes to its disk; the VM is stopped and both are destroyed.
/// What came into being is told as a checklist: in which phase, in which layer, whether it outlives the process, and how large it is.
///
/// It happens in a temporary folder; it takes qemu-img and qemu-system-x86_64, which run without hardware support, and the
/// tools that put the guest together: apt-get, dpkg-deb, modprobe, depmod, busybox, ldd.
#[derive(Parser)]
#[command(name = "lifecycle", after_help = "Example:\n  lifecycle")]
struct Args {}

fn main() -> ExitCode {
    let Args {} = Args::parse();
    exit_code("error", run(&mut anstream::stdout().lock()))
}

fn run(out: &mut Out) -> Outcome {
    let needed = [&["qemu-img"], &micro_vm::PROGRAMS[..]].concat();
    if let Some(program) = micro_vm::missing(&needed) {
        return Err(format!("{program} is not installed").into());
    }
    let ground = Ground::make()?;
    let told = tell(&ground, out);
    // whatever happened, no process outlives the story; if all went well, there is no such VM any more
    let clone: VmId = CLONE.try_into()?;
    let _ = ground.on(|power| power.stop(clone, &Stop::default()));
    told
}

fn tell(ground: &Ground, out: &mut Out) -> Outcome {
    let (template, clone): (VmId, VmId) = (TEMPLATE.try_into()?, CLONE.try_into()?);
    let mut list = Checklist::default();

    phase(out, "template", "a VM is made, and its disk becomes a base volume")?;
    let (kernel, initial) = Guest::files(ground.folder())?;
    let arguments: [&[u8]; 6] = [
        b"-kernel",
        kernel.as_os_str().as_bytes(),
        b"-initrd",
        initial.as_os_str().as_bytes(),
        b"-append",
        b"console=ttyS0 quiet loglevel=1 panic=-1",
    ];
    let request = CreateRequest::new()
        .set("name", "template")
        .set("memory", "256")
        .set("cpu", "qemu64")
        .set("kvm", "0")
        .set("ostype", "l26")
        .set("args", shell::join(arguments))
        .set("scsihw", "virtio-scsi-pci")
        .set("scsi0", "store:1,format=qcow2")
        .set("scsi1", "store:cloudinit")
        .set("serial0", "socket")
        .set("vga", "serial0")
        .set("net0", "virtio");
    ground.on(|power| create_vm(power.node, template, request))?;
    let bases = ground.on(|power| convert_to_template(power.node, template, TemplateOptions::default()))?;
    for base in &bases {
        writeln!(out, "    {}: {} -> {}", base.drive, base.before, base.base)?;
    }
    let file = ground.image(TEMPLATE, "base-9000-disk-0.qcow2");
    list.add("configuration 9000.conf", "template", Layer::Logical, ground.conf_size(TEMPLATE)?);
    list.add("base volume base-9000-disk-0", "template", Layer::Physical, allocated(&file)?);

    phase(out, "linked clone", "its disk is an overlay that holds nothing yet")?;
    let mut options = CloneOptions::default();
    options.name = Some(NAME.into());
    let cloned = ground.on(|power| clone_vm(power.node, template, clone, options))?;
    for (drive, volume) in &cloned.volumes {
        writeln!(out, "    {drive}: {volume}")?;
    }
    let overlay = ground.image(CLONE, "vm-9001-disk-0.qcow2");
    let before = std::fs::metadata(&overlay).map(|meta| ground::used(&meta))?;
    list.add("configuration 9001.conf", "linked clone", Layer::Logical, ground.conf_size(CLONE)?);
    list.add("overlay vm-9001-disk-0", "linked clone", Layer::Physical, allocated(&overlay)?);

    phase(out, "cloud-init", "the clone gets a user and an address; the image is made at the start")?;
    let update = Update::default().with("ciuser", "admin").with("ipconfig0", format!("ip={ADDRESS}/24"));
    ground.on(|power| update_vm(power.node, clone, &update))?;
    let text = ground.text(CLONE)?;
    let (config, _) = VmConfig::parse(&text);
    let files = Settings::of_config(&config.main, clone, Resolver::default()).files(CustomParts::default())?;
    for (path, content) in &files.files {
        writeln!(out, "    {path}  {} bytes", content.len())?;
    }
    let image = files.image()?.len();

    phase(out, "start", "QEMU runs, without hardware support")?;
    let begun = Instant::now();
    ground.on(|power| power.start(clone, &Start::default()))?;
    let running = begun.elapsed();
    let status = ground.on(|power| power.status(clone))?;
    let process = status.process.ok_or("QEMU does not run")?;
    let sockets = ground.run_files()?;
    writeln!(out, "    process {} answers after {:.1} s", process.pid, running.as_secs_f64())?;
    writeln!(out, "    {}", sockets.join(", "))?;
    let iso = format!("image {}", format_size(u64::try_from(image)?));
    list.add("cloud-init image", "start", Layer::Physical, iso);
    let memory = format!("{} resident", format_size(process.memory));
    list.add("QEMU", "start", Layer::Process, memory);
    let count = format!("{} files", sockets.len());
    list.add("pid file, sockets, flag", "start", Layer::Process, count);

    phase(out, "guest", "it has read the image, and become what it says")?;
    let mut guest = Guest::connect(&ground.serial(CLONE))?;
    let booted = begun.elapsed();
    let (name, address) = (guest.ask("hostname")?, guest.ask("ip -4 -o address show dev lo | grep global")?);
    writeln!(out, "    guest# hostname\n    {name}")?;
    writeln!(out, "    guest# ip -4 -o address show dev lo | grep global\n    {address}")?;
    let is_applied = name == NAME && address.contains(ADDRESS);
    list.add(
        "host name and address",
        "guest",
        Layer::Process,
        format!("after {:.1} s", booted.as_secs_f64()),
    );
    guest.ask("sync")?;

    phase(out, "stop", "the process goes; what it wrote stays")?;
    ground.on(|power| power.stop(clone, &Stop::default()))?;
    let left = ground.run_files()?;
    writeln!(
        out,
        "    left in the run directory: {}",
        if left.is_empty() { "nothing".to_owned() } else { left.join(", ") }
    )?;
    let after = std::fs::metadata(&overlay).map(|meta| ground::used(&meta))?;
    let grown = format!("{} -> {}", format_size(before), format_size(after));
    list.add("what the guest wrote", "guest", Layer::Physical, grown);

    phase(out, "destroy", "both VMs, with their volumes")?;
    for vmid in [clone, template] {
        let gone = ground.on(|power| destroy_vm(power.node, vmid, DestroyOptions::default()))?;
        gone.freed.iter().try_for_each(|volume| writeln!(out, "    removed {volume}"))?;
    }
    let remains = ground.remains()?;
    writeln!(out, "\n{}", list.table())?;
    if !is_applied {
        return Err(format!("the guest is called {name:?} and has {address:?}").into());
    }
    if !left.is_empty() || !remains.is_empty() {
        return Err(format!("left behind: {}", [left, remains].concat().join(", ")).into());
    }
    writeln!(out, "the guest applied its data; nothing is left")?;
    Ok(())
}

fn phase(out: &mut Out, name: &str, what: &str) -> Outcome {
    let style = anstyle::AnsiColor::Yellow.on_default().bold();
    Ok(writeln!(out, "\n{style}{name}{style:#}: {what}")?)
}
