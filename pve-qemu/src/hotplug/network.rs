// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards of a running VM (spec: vm-lifecycle, "Hot-plug": `netN`).

use bstr::{BStr, BString, ByteSlice};
use pve_config::vm::{HotplugFeature, Net};

use super::{Hotplug, HotplugError, Outcome};
use crate::node::MachineChange;

impl Hotplug<'_> {
    pub(super) fn set_net(&mut self, key: &BStr, value: &BString) -> Result<Outcome, HotplugError> {
        let new = Net::parse(value)?;
        let section = self.with(key, value.as_bstr());
        if let Some(old) = self.config.main.get(key) {
            let old = Net::parse(old)?;
            if !is_other_card(&old, &new) {
                let has_moved = old.bridge != new.bridge || old.tag != new.tag;
                let is_down = |net: &Net<'_>| net.link_down == Some(true);
                let is_filtered = |net: &Net<'_>| net.firewall == Some(true);
                if has_moved || old.trunks != new.trunks || is_filtered(&old) != is_filtered(&new) {
                    if has_moved {
                        self.tell(&MachineChange::Link { key, up: false })?;
                    }
                    self.tell(&MachineChange::Tap { key, section: &section })?;
                } else if old.rate != new.rate {
                    self.tell(&MachineChange::Rate { key, section: &section })?;
                }
                if has_moved || is_down(&old) != is_down(&new) {
                    self.tell(&MachineChange::Link { key, up: !is_down(&new) })?;
                }
                return Ok(Outcome::Done);
            }
            if !self.has(HotplugFeature::Network) {
                return Ok(Outcome::Later);
            }
            self.unplug(key)?;
        }
        self.needs(HotplugFeature::Network, |work| work.plug(key, &section))
    }
}

/// Whether the guest would see another card, or the host another kind of connection.
fn is_other_card(old: &Net<'_>, new: &Net<'_>) -> bool {
    old.model != new.model
        || old.macaddr != new.macaddr
        || old.queues != new.queues
        || old.mtu != new.mtu
        || old.bridge.is_none()
        || new.bridge.is_none()
}
