// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which schema an option of a guest is checked against, when a file is read or written.

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use super::{Guest, GuestKind, SectionId};
use crate::format::Context;
use crate::rule::ValueError;
use crate::schema::{CONTAINER, FLEECING, Schema, VM};

/// The schema for the options of a section; `None` where nothing is checked.
pub(super) fn schema(kind: GuestKind, section: SectionId<'_>) -> Option<&'static Schema> {
    match (kind, section) {
        (GuestKind::Lxc, _) => Some(&CONTAINER),
        (GuestKind::Qemu, SectionId::Special(name)) if name == "cloudinit" => None,
        (GuestKind::Qemu, SectionId::Special(_)) => Some(&FLEECING),
        (GuestKind::Qemu, _) => Some(&VM),
    }
}

/// What reading or writing makes of an option's value.
pub(super) fn check<'v, G: Guest>(
    section: SectionId<'_>,
    key: &[u8],
    value: &'v [u8],
    context: &Context<'_>,
) -> Result<Cow<'v, BStr>, ValueError> {
    match schema(G::KIND, section) {
        Some(schema) => schema.check(key, value, context),
        None => Ok(Cow::Borrowed(value.as_bstr())),
    }
}

/// Keys of the reference's map that an unknown option of a container would overwrite.
pub(super) fn is_reserved(key: &[u8]) -> bool {
    matches!(key, b"digest" | b"snapshots" | b"pending" | b"lxc")
}
