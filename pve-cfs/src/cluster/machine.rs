// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state machine of a member of a group: modes, members, and the order in which messages count (spec: pmxcfs-cluster,
//! "State machine").

use std::collections::{BTreeSet, VecDeque};

use super::message::{Epoch, Header, MemberId, Normal, kind};
use crate::checksum::Sha256Digest;
use crate::refusal::Refusal;

/// What a member is doing; the discriminants are the numbers that logs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Joining.
    Start = 0,
    /// Waiting for what the others have.
    StartSync = 1,
    /// As new as the newest member: messages are applied when they are delivered.
    Synced = 2,
    /// Getting what is missing from the newest member.
    Update = 3,
    /// Something did not fit: the group is to be left and joined again.
    Leave = 253,
    /// Another member speaks a newer version of the protocol.
    VersionError = 254,
    /// Database and memory may differ.
    Error = 255,
}

impl Mode {
    /// Whether the group is to be left.
    pub fn is_error(self) -> bool {
        self >= Self::Leave
    }

    /// Whether the group may be joined again without a restart of the process.
    pub fn may_rejoin(self) -> bool {
        self <= Self::Leave
    }
}

/// What a group is about: how its messages are applied, and how members become alike.
pub trait Group {
    /// Version of its protocol.
    const VERSION: u32;

    /// What this member has, to be compared with what the others have.
    fn state(&mut self) -> Vec<u8>;

    /// Applies a message. The result is for who sent it.
    fn deliver(&mut self, from: MemberId, at: Place, message: &Normal<'_>, out: &mut Outbox) -> Delivered;

    /// Decides which members are up to date, from the states of all in the order of the members; this one is the `own`-th,
    /// counted from 0. The newest one sends the others what they lack. `None`: what a member sent is no state.
    fn decide(&mut self, states: &[(MemberId, &[u8])], own: usize, out: &mut Outbox) -> Option<Vec<bool>>;

    /// Keeps a part of what this member lacks; whether it is one. A group in which [`decide`](Self::decide) brings everybody up
    /// to date has no parts.
    fn update(&mut self, _payload: &[u8]) -> bool {
        false
    }

    /// Takes over what was kept; whether this member then has what the newest one has.
    fn commit(&mut self) -> bool {
        false
    }

    /// Forgets what was kept of a synchronisation.
    fn drop_sync(&mut self) {}

    /// A digest of everything, if the group has one by which members are compared now and then.
    fn checksum(&self) -> Option<Sha256Digest> {
        None
    }

    /// Whether a failure left database and memory different.
    fn has_failed(&self) -> bool {
        false
    }

    /// The members changed.
    fn members_changed(&mut self, _members: &[MemberId]) {}

    /// This member is up to date from now on.
    fn synced(&mut self, _out: &mut Outbox) {}
}

/// Where this member stands in its group.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// This member.
    pub me: MemberId,
    /// Whether no member has a node with a lower id.
    pub is_lowest: bool,
}

/// What became of a message.
#[derive(Debug)]
pub enum Delivered {
    /// It was applied, or refused by a rule in the same way on every member.
    Applied(Result<(), Refusal>),
    /// It does not belong here: the member leaves the group.
    Misfit,
}

/// What is to be multicast.
#[derive(Debug)]
pub struct Outbox {
    version: u32,
    now: u32,
    epoch: Epoch,
    /// Messages of the application that were sent, ever.
    count: u64,
    messages: Vec<Vec<u8>>,
}

impl Outbox {
    /// Sends a message of the application; its number.
    pub fn send(&mut self, subtype: u16, payload: &[u8]) -> u64 {
        self.count += 1;
        let mut message = self.header(kind::NORMAL, subtype);
        message.extend_from_slice(&self.count.to_le_bytes());
        message.extend_from_slice(payload);
        self.messages.push(message);
        self.count
    }

    /// Sends what another member lacks.
    pub(crate) fn update(&mut self, payload: &[u8]) {
        self.send_state(kind::UPDATE, payload);
    }

    /// Says that all were sent.
    pub(crate) fn update_complete(&mut self) {
        self.send_state(kind::UPDATE_COMPLETE, b"");
    }

    fn send_state(&mut self, kind: u16, payload: &[u8]) {
        let mut message = self.header(kind, 0);
        message.extend_from_slice(&self.epoch.0);
        message.extend_from_slice(payload);
        self.messages.push(message);
    }

    fn header(&self, kind: u16, subtype: u16) -> Vec<u8> {
        Header { kind, subtype, version: self.version, time: self.now }.write()
    }
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    is_synced: bool,
    state: Option<Vec<u8>>,
}

/// A message of the application that waits.
#[derive(Debug)]
struct Waiting {
    from: MemberId,
    count: u64,
    message: Vec<u8>,
}

/// The checksum of a verification.
#[derive(Debug, Default)]
struct Saved {
    id: u64,
    epoch: Epoch,
    checksum: Sha256Digest,
}

/// A member of a group.
#[derive(Debug)]
pub struct Machine<G> {
    group: G,
    me: MemberId,
    mode: Mode,
    epochs: u32,
    /// In the order of their ids.
    members: Vec<Member>,
    lowest: u32,
    /// Messages in the order of their numbers.
    queue: VecDeque<Waiting>,
    /// Messages of members that are up to date, to be applied after what this one lacks.
    sync_queue: VecDeque<Waiting>,
    saved: Saved,
    verifications: u64,
    out: Outbox,
    /// Own messages whose result somebody waits for.
    awaited: BTreeSet<u64>,
    results: Vec<(u64, Result<(), Refusal>)>,
}

impl<G: Group> Machine<G> {
    /// A member that is joining.
    pub fn new(me: MemberId, group: G) -> Self {
        Self {
            group,
            me,
            mode: Mode::Start,
            epochs: 0,
            members: Vec::new(),
            lowest: 0,
            queue: VecDeque::new(),
            sync_queue: VecDeque::new(),
            saved: Saved::default(),
            verifications: 0,
            out: Outbox {
                version: G::VERSION,
                now: 0,
                epoch: Epoch::default(),
                count: 0,
                messages: Vec::new(),
            },
            awaited: BTreeSet::new(),
            results: Vec::new(),
        }
    }

    /// What it is doing.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What the group is about.
    pub const fn group(&self) -> &G {
        &self.group
    }

    /// The messages to be multicast since this was asked last, in their order.
    pub fn take_messages(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out.messages)
    }

    /// The results of own messages that were applied since this was asked last, by their numbers.
    pub fn take_results(&mut self) -> Vec<(u64, Result<(), Refusal>)> {
        std::mem::take(&mut self.results)
    }

    /// Sends a message of the application at `now`, whose result comes when it has been delivered; its number.
    pub fn send(&mut self, subtype: u16, payload: &[u8], now: u32) -> u64 {
        let count = self.outbox(now).send(subtype, payload);
        self.awaited.insert(count);
        count
    }

    /// Where messages at `now` go that nobody waits for.
    pub(crate) const fn outbox(&mut self, now: u32) -> &mut Outbox {
        self.out.now = now;
        &mut self.out
    }

    /// The group was left and is joined again. Who waits for a result gets [`Refusal::Disconnected`].
    pub fn rejoin(&mut self) {
        self.queue.clear();
        let awaited = std::mem::take(&mut self.awaited);
        self.results.extend(awaited.into_iter().map(|count| (count, Err(Refusal::Disconnected))));
        self.mode = Mode::Start;
    }

    /// Corosync says who the members are from now on, in any order; `joined`: some of them are new.
    pub fn members_changed(&mut self, members: &[MemberId], joined: bool, now: u32) {
        self.epochs = self.epochs.wrapping_add(1);
        self.out.now = now;
        self.out.epoch = Epoch::new(self.epochs, now, self.me);
        self.saved.id = self.verifications;
        self.saved.epoch = Epoch::default();
        self.sync_queue.clear();
        if self.mode.is_error() {
            return;
        }
        let mut members = members.to_vec();
        members.sort_unstable();
        self.lowest = members.first().map_or(0, |lowest| lowest.node);
        self.members = members.iter().map(|id| Member { id: *id, is_synced: false, state: None }).collect();
        self.group.drop_sync();
        if !members.contains(&self.me) {
            if self.mode != Mode::Start {
                self.leave();
            }
            return;
        }
        if let [me] = self.members.as_mut_slice() {
            me.is_synced = true;
            self.enter_synced();
            self.deliver_queue();
        } else {
            if joined && !self.queue.is_empty() {
                let own = self.queue.drain(..).filter(|waiting| waiting.from == self.me);
                self.out.messages.extend(own.map(|waiting| waiting.message));
            }
            self.enter(Mode::StartSync);
            if self.lowest == self.me.node {
                self.out.send_state(kind::SYNC_START, b"");
            }
        }
        self.group.members_changed(&members);
    }

    /// A message of the member `from`, perhaps of this one, is delivered.
    pub fn deliver(&mut self, from: MemberId, message: &[u8], now: u32) {
        self.out.now = now;
        if self.mode.is_error() {
            self.group.drop_sync();
            return;
        }
        let Some((header, mut rest)) = Header::parse(message) else { return self.leave() };
        if header.version > G::VERSION {
            self.group.drop_sync();
            return self.enter(Mode::VersionError);
        }
        if header.version < G::VERSION {
            return;
        }
        if header.kind == kind::NORMAL {
            return self.deliver_normal(from, message);
        }
        let Some(epoch) = rest.epoch() else { return self.leave() };
        if header.kind == kind::SYNC_START || epoch == self.out.epoch {
            self.deliver_state(from, header.kind, epoch, rest.0);
        }
    }

    fn deliver_normal(&mut self, from: MemberId, message: &[u8]) {
        let Some(normal) = Normal::parse(message) else { return self.leave() };
        if self.mode == Mode::Synced {
            return self.apply(from, &normal);
        }
        let Some(member) = self.member(from) else { return self.leave() };
        let after_update = self.mode == Mode::Update && member.is_synced;
        let waiting = Waiting { from, count: normal.count, message: message.to_vec() };
        if after_update {
            self.sync_queue.push_back(waiting);
        } else {
            let at = self.queue.partition_point(|other| other.count <= waiting.count);
            self.queue.insert(at, waiting);
        }
    }

    fn deliver_state(&mut self, from: MemberId, kind: u16, epoch: Epoch, payload: &[u8]) {
        match (self.mode, kind) {
            (Mode::Synced, kind::UPDATE_COMPLETE) => {
                self.all_are_synced();
                self.deliver_queue();
            }
            (Mode::Synced, kind::VERIFY_REQUEST) => self.verify_requested(from, payload),
            (Mode::Synced, kind::VERIFY) => self.verify(epoch, payload),
            (Mode::Synced, _) => {}
            (Mode::StartSync, kind::SYNC_START) => {
                self.out.epoch = epoch;
                for member in &mut self.members {
                    member.state = None;
                }
                let state = self.group.state();
                self.out.send_state(kind::STATE, &state);
            }
            (Mode::StartSync, kind::STATE) => self.state_of(from, payload),
            (Mode::Update, kind::UPDATE) => {
                if !self.group.update(payload) {
                    self.leave();
                }
            }
            (Mode::Update, kind::UPDATE_COMPLETE) => {
                if !self.group.commit() {
                    return self.leave();
                }
                self.all_are_synced();
                self.enter_synced();
                self.deliver_sync_queue();
                self.deliver_queue();
                self.group.drop_sync();
            }
            _ => self.leave(),
        }
    }

    fn state_of(&mut self, from: MemberId, payload: &[u8]) {
        match self.members.iter_mut().find(|member| member.id == from) {
            Some(member) if member.state.is_none() => member.state = Some(payload.to_vec()),
            _ => return self.leave(),
        }
        let states: Option<Vec<(MemberId, &[u8])>> =
            self.members.iter().map(|member| Some((member.id, member.state.as_deref()?))).collect();
        let Some(states) = states else { return };
        let own = self.members.iter().position(|member| member.id == self.me);
        let synced = own.and_then(|own| Some((own, self.group.decide(&states, own, &mut self.out)?)));
        let Some((own, synced)) = synced else { return self.leave() };
        for (member, is_synced) in self.members.iter_mut().zip(&synced) {
            member.is_synced = *is_synced;
        }
        if synced.get(own) == Some(&true) {
            self.enter_synced();
        } else {
            self.enter(Mode::Update);
        }
        self.deliver_queue();
    }

    /// Has all members compared, if that is this one's task. To be called every 3600 seconds.
    pub fn verify_timer(&mut self, now: u32) {
        if self.mode == Mode::Synced && self.lowest == self.me.node && self.saved.id == self.verifications {
            self.verifications += 1;
            let id = self.verifications.to_le_bytes();
            self.outbox(now).send_state(kind::VERIFY_REQUEST, &id);
        }
    }

    fn verify_requested(&mut self, from: MemberId, payload: &[u8]) {
        let Ok(id) = payload.try_into() else { return self.leave() };
        let Some(checksum) = self.group.checksum() else { return };
        self.saved = Saved { id: u64::from_le_bytes(id), epoch: self.out.epoch, checksum };
        if from == self.me {
            self.out.send_state(kind::VERIFY, &[&id[..], &checksum].concat());
        }
    }

    fn verify(&mut self, epoch: Epoch, payload: &[u8]) {
        if self.group.checksum().is_none() {
            return;
        }
        let (Some((id, checksum)), 40) = (payload.split_first_chunk(), payload.len()) else {
            return self.leave();
        };
        let is_saved = self.saved.id == u64::from_le_bytes(*id) && self.saved.epoch == epoch;
        if is_saved && self.saved.checksum != *checksum {
            self.leave();
        }
    }

    fn apply(&mut self, from: MemberId, message: &Normal<'_>) {
        let at = Place { me: self.me, is_lowest: self.lowest == self.me.node };
        let delivered = self.group.deliver(from, at, message, &mut self.out);
        let misfit = matches!(delivered, Delivered::Misfit);
        if from == self.me && self.awaited.remove(&message.count) {
            let result = match delivered {
                Delivered::Applied(result) => result,
                Delivered::Misfit => Err(Refusal::NotApplied),
            };
            self.results.push((message.count, result));
        }
        if self.group.has_failed() {
            self.enter(Mode::Error);
        } else if misfit {
            self.leave();
        }
    }

    fn deliver_queue(&mut self) {
        let mut kept = VecDeque::new();
        while let Some(waiting) = self.queue.pop_front() {
            let Some(member) = self.member(waiting.from) else { continue };
            match (self.mode, member.is_synced) {
                (Mode::Synced, true) => self.apply_waiting(&waiting),
                (Mode::Update, true) => self.sync_queue.push_back(waiting),
                (Mode::Synced | Mode::Update, false) => kept.push_back(waiting),
                _ => {
                    kept.push_back(waiting);
                    self.leave();
                    break;
                }
            }
        }
        kept.append(&mut self.queue);
        self.queue = kept;
    }

    fn deliver_sync_queue(&mut self) {
        while let Some(waiting) = self.sync_queue.pop_front() {
            if self.mode == Mode::Synced {
                self.apply_waiting(&waiting);
            } else {
                self.leave();
            }
        }
    }

    fn apply_waiting(&mut self, waiting: &Waiting) {
        // it was parsed before it was kept
        if let Some(normal) = Normal::parse(&waiting.message) {
            self.apply(waiting.from, &normal);
        }
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn all_are_synced(&mut self) {
        for member in &mut self.members {
            member.is_synced = true;
        }
    }

    fn enter_synced(&mut self) {
        let was_synced = self.mode == Mode::Synced;
        self.enter(Mode::Synced);
        if !was_synced {
            self.group.synced(&mut self.out);
        }
    }

    fn leave(&mut self) {
        self.enter(Mode::Leave);
        self.group.drop_sync();
    }

    /// An error is left only by joining again, or for a worse one.
    fn enter(&mut self, mode: Mode) {
        if !self.mode.is_error() || mode >= self.mode {
            self.mode = mode;
        }
    }
}
