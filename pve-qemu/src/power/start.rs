// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a VM (spec: vm-lifecycle, "Start").

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_config::vm::Net;
use pve_volid::{ContentType, VmId, VolumeIdRef, VolumeType};
use serde_json::json;

use super::launch::start_timeout;
use super::{Flag, HookPhase, Launch, Power, PowerError, Scope, Start};
use crate::builder::{Launch as Purpose, Options, State};
use crate::cloudinit::{Occasion, image_drives};
use crate::command_line::CommandLine;
use crate::pending::write_images;
use crate::snapshot::RUNNING_KEYS;

impl Power<'_> {
    /// Starts a VM, or resumes one that was suspended to disk.
    ///
    /// # Errors
    /// If it is a template, locked or running already; if a step fails. Then no process is left, and what was
    /// activated is deactivated; pending changes that were applied stay applied.
    pub fn start(&self, vmid: VmId, options: &Start<'_>) -> Result<(), PowerError> {
        let _lock = self.lock(vmid)?;
        let config = self.load(vmid)?;
        if config.main.is_template() {
            return Err(PowerError::Template { vmid });
        }
        let running = self.node.machines.is_running(vmid);
        // a backup has started the machine to read its disks
        if running && config.has_lock("backup") {
            return self.resume(vmid, options.skip_lock);
        }
        let suspended = config.has_lock("suspended");
        Self::require_unlocked(vmid, &config, options.skip_lock || suspended)?;
        if running {
            return Err(PowerError::Running { vmid });
        }
        self.processes.clear_flag(vmid, Flag::Reboot)?;
        self.processes.end_storage_daemon(vmid)?;
        let resuming = suspended || config.main.truthy("vmstate").is_some();
        let config =
            if resuming || options.state.is_some() { config } else { self.apply_pending(vmid, config)? };
        let config = self.refresh_cloudinit(vmid, config)?;
        self.hook(vmid, &config, HookPhase::PreStart)?;
        self.boot(vmid, &config, options, resuming)?;
        self.processes.set_flag(vmid, Flag::Cleanup)?;
        self.settle(vmid, &config, options)?;
        let config = self.forget_state(vmid, config, resuming)?;
        self.tolerate(self.hook(vmid, &config, HookPhase::PostStart));
        Ok(())
    }

    /// Makes the cloud-init images anew and forgets what was recorded about the old ones.
    fn refresh_cloudinit(
        &self,
        vmid: VmId,
        mut config: VmConfig<'static>,
    ) -> Result<VmConfig<'static>, PowerError> {
        if image_drives(&config.main, vmid).next().is_none() {
            return Ok(config);
        }
        write_images(self.node, vmid, &config)?;
        let recorded = config.special_section("cloudinit").is_some_and(|section| !section.is_empty());
        if recorded && (Occasion::Start { migration: false }).forgets_record() {
            config.remove_special_section("cloudinit");
            self.store(vmid, &config)?;
        }
        Ok(config)
    }

    /// Activates the volumes and runs QEMU; undoes the former if the latter fails.
    fn boot(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Start<'_>,
        resuming: bool,
    ) -> Result<(), PowerError> {
        let mut volumes = self.volumes_to_start(config)?;
        volumes.extend(options.state.filter(|state| is_managed(state)).map(BStr::to_owned));
        let booted = self.try_boot(vmid, config, options, resuming, &volumes);
        if booted.is_err() {
            volumes.sort();
            volumes.dedup();
            self.tolerate(self.deactivate(&volumes));
            self.tolerate(self.processes.release_devices(vmid, config));
        }
        booted
    }

    fn try_boot(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Start<'_>,
        resuming: bool,
        volumes: &[BString],
    ) -> Result<(), PowerError> {
        if !volumes.is_empty() {
            let volumes: Vec<&BStr> = volumes.iter().map(|volume| volume.as_bstr()).collect();
            self.node.volumes.activate(&volumes)?;
        }
        let command = self.command(vmid, config, options, resuming)?;
        let scope = Scope::of_config(vmid, &config.main);
        self.clear_scope(vmid, &scope.unit());
        let timeout = match options.state {
            Some(_) => options.timeout,
            None => Some(options.timeout.unwrap_or_else(|| start_timeout(&config.main, resuming))),
        };
        let launch = Launch { vmid, config, command: &command, scope: &scope, timeout };
        self.processes.launch(&launch).map_err(|source| PowerError::Launch { vmid, source })
    }

    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        start: &Start<'_>,
        resuming: bool,
    ) -> Result<CommandLine, PowerError> {
        let kept = |key: &str| config.main.truthy(key).filter(|_| resuming);
        let state = match start.state.or(kept("vmstate")) {
            Some(state) => Some(self.node.volumes.path(state)?),
            None => None,
        };
        let options = Options {
            force_machine: start.force_machine.or(kept("runningmachine")),
            force_cpu: start.force_cpu.or(kept("runningcpu")),
            nets_host_mtu: start.nets_host_mtu.or(kept("running-nets-host-mtu")),
            launch: Purpose::Start {
                state: state.as_ref().map(|path| State::File(path.as_bstr())),
                paused: start.paused,
            },
            ..Options::default()
        };
        self.processes.command(vmid, config, &options)
    }

    /// Managed volumes of the drives in their order, then that of the saved state.
    fn volumes_to_start(&self, config: &VmConfig<'_>) -> Result<Vec<BString>, PowerError> {
        let drives = config.main.drives().map(|(_, drive)| drive.file.to_owned());
        let state = config.main.truthy("vmstate").map(BStr::to_owned);
        let volumes: Vec<BString> =
            drives.chain(state).filter(|volume| is_managed(volume.as_bstr())).collect();
        for volume in &volumes {
            self.check_content(volume.as_bstr())?;
        }
        Ok(volumes)
    }

    /// That the storage of a volume is meant for what the volume is.
    fn check_content(&self, volume: &BStr) -> Result<(), PowerError> {
        let Ok(id) = VolumeIdRef::from_bytes(volume) else { return Ok(()) };
        let storage = self
            .node
            .volumes
            .storages()
            .require(id.storage().as_str())
            .map_err(crate::node::WorldError::from)?;
        let kind = storage.volume(id.volname()).map_err(crate::node::WorldError::from)?.parsed().vtype;
        let content = match kind {
            VolumeType::Images => ContentType::Images,
            VolumeType::Iso => ContentType::Iso,
            VolumeType::Import => ContentType::Import,
            _ => return Ok(()),
        };
        if storage.has_content(content) {
            return Ok(());
        }
        Err(PowerError::Content { volume: volume.to_owned(), content: content.as_str() })
    }

    /// Makes room for the scope: one of the same name may be left from a crash.
    fn clear_scope(&self, vmid: VmId, scope: &str) {
        const SYSTEMCTL: &str = "/bin/systemctl";
        let bus = format!("pve-dbus-vmstate@{vmid}.service");
        for arguments in [["reset-failed", &bus], ["reset-failed", scope], ["stop", scope]] {
            // errors say that there is nothing to clear
            let _ = self.processes.run(SYSTEMCTL, &arguments);
        }
        self.tolerate(self.processes.wait_for_unit(scope, Duration::from_secs(20)));
    }

    /// What is told to a machine that has just begun to run.
    fn settle(&self, vmid: VmId, config: &VmConfig<'_>, options: &Start<'_>) -> Result<(), PowerError> {
        let machines = self.node.machines;
        if options.state.is_some() {
            self.qmp(vmid, "cont")?;
        }
        let balloon = config.main.number("balloon");
        if let Some(target) = balloon.filter(|target| *target > 0.0 && options.state.is_none()) {
            let bytes = target as u64 * (1 << 20);
            machines.qmp(vmid, "balloon", json!({ "value": bytes }), None)?;
        }
        let cards = config.main.numbered("net");
        for (number, value) in cards {
            if Net::parse(value).is_ok_and(|net| net.link_down == Some(true)) {
                let arguments = json!({ "name": format!("net{number}"), "up": false });
                machines.qmp(vmid, "set_link", arguments, None)?;
            }
        }
        self.processes.add_bridge_entries(vmid, config)?;
        if balloon.is_none_or(|target| target > 0.0) {
            let arguments = json!({
                "path": "machine/peripheral/balloon0",
                "property": "guest-stats-polling-interval",
                "value": 2,
            });
            self.tolerate(machines.qmp(vmid, "qom-set", arguments, None));
        }
        Ok(())
    }

    /// After a resumption the saved state is not needed any more; without one, descriptions of a saved machine are
    /// left over from something that failed.
    fn forget_state(
        &self,
        vmid: VmId,
        mut config: VmConfig<'static>,
        resuming: bool,
    ) -> Result<VmConfig<'static>, PowerError> {
        let state = config.main.truthy("vmstate").map(BStr::to_owned);
        if resuming {
            if let Some(state) = &state {
                self.tolerate(self.deactivate(std::slice::from_ref(state)));
                self.tolerate(self.node.volumes.free(state.as_bstr()));
            }
            config.main.remove("lock");
            config.main.remove("vmstate");
        } else if state.is_some() || !RUNNING_KEYS.iter().any(|key| config.main.contains(key)) {
            return Ok(config);
        }
        for key in RUNNING_KEYS {
            config.main.remove(key);
        }
        self.store(vmid, &config)?;
        Ok(config)
    }
}

/// Whether a text is a volume id, as opposed to a path, `none` or `cdrom`.
pub(super) fn is_managed(volume: &BStr) -> bool {
    !volume.starts_with(b"/") && VolumeIdRef::from_bytes(volume).is_ok()
}
