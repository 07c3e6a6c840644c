// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in an outline the sections about each guest are.

use super::outline::{Outline, RawSection};

/// The places of sections by the guest that they are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuestIndex {
    /// Guests with places, sorted.
    places: Vec<(u32, usize)>,
}

impl GuestIndex {
    /// The index of `outline`; `vmid` says which guest a section is about.
    pub(crate) fn new(outline: &Outline<'_>, vmid: impl Fn(RawSection<'_, '_>) -> Option<u32>) -> Self {
        let sections = outline.sections().enumerate();
        let mut places: Vec<_> = sections.filter_map(|(at, section)| Some((vmid(section)?, at))).collect();
        places.sort_unstable();
        GuestIndex { places }
    }

    /// The sections about a guest, in file order.
    pub(crate) fn sections<'a, 'o>(
        &self,
        outline: &'o Outline<'a>,
        vmid: u32,
    ) -> impl Iterator<Item = RawSection<'a, 'o>> {
        let first = self.places.partition_point(|(guest, _)| *guest < vmid);
        let places = self.places.iter().skip(first).take_while(move |(guest, _)| *guest == vmid);
        places.filter_map(|(_, at)| outline.section_at(*at))
    }
}
