// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks for cells of the table: along its b-tree first, then on the pages that the damage cut off, then byte by byte.

use std::collections::HashSet;
use std::ops::Range;

use super::page::{Cell, FILE_HEADER, Kind, PageHeader, interior_cell, u32_at};
use super::pages::{Pages, header_at};
use super::record::{Decoded, Layout, Types, decode, is_plausible, is_text, schema_entry};
use super::{Place, Problem};
use crate::row::Row;

/// A record that looks like a row of the tree; its content may lie on other pages.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    pub(super) place: Place,
    pub(super) page: u32,
    pub(super) cell: Cell,
    /// All bytes of the cell.
    pub(super) bytes: &'a [u8],
    pub(super) local: &'a [u8],
    pub(super) decoded: Decoded,
    /// Its key does not fit between those around it.
    pub(super) out_of_order: bool,
}

impl<'a> Candidate<'a> {
    /// The part of the content that is in the cell itself.
    fn content_here(&self) -> Option<&'a [u8]> {
        let content = self.decoded.content.clone().unwrap_or_default();
        let end = self.local.len();
        self.local.get(content.start.min(end)..content.end.min(end))
    }

    /// The row, from the whole payload.
    pub(super) fn row(&self, payload: &[u8], layout: &Layout) -> Option<Row> {
        let decoded = if self.decoded.is_partial {
            decode(self.cell.rowid, payload, payload.len(), layout, Types::of(self.place))?
        } else {
            self.decoded.clone()
        };
        decoded.complete(payload)
    }
}

pub(super) struct Search<'p, 'a> {
    pages: &'p Pages<'a>,
    pub(super) layout: Layout,
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) problems: Vec<Problem>,
    /// Pages of the b-tree.
    pub(super) tree: HashSet<u32>,
    /// Pages that hold nothing, as far as the list of them can be read.
    pub(super) free: HashSet<u32>,
    /// Pages of the b-tree of which something cannot be read.
    broken: Vec<u32>,
    /// The whole b-tree was read, every cell of it.
    pub(super) complete: bool,
}

/// Keys in a part of the b-tree: greater than the first, up to the second.
type Bounds = (i64, i64);

impl<'p, 'a> Search<'p, 'a> {
    pub(super) fn run(pages: &'p Pages<'a>) -> Self {
        let mut search = Self {
            pages,
            layout: Layout::default(),
            candidates: Vec::new(),
            problems: Vec::new(),
            tree: HashSet::new(),
            free: HashSet::new(),
            broken: Vec::new(),
            complete: true,
        };
        let root = search.schema();
        search.free_pages();
        match root {
            Some(root) => search.walk(root),
            None => search.complete = false,
        }
        if !search.complete {
            search.cut_off();
            search.older_copies();
            search.carve();
        }
        search
    }

    /// Root page of the table, from the schema in the first page or an older copy of it.
    fn schema(&mut self) -> Option<u32> {
        let newest = self.pages.get(1);
        for page in newest.into_iter().chain(self.pages.older(1)) {
            let Some(header) =
                PageHeader::parse(page, FILE_HEADER).filter(|header| header.kind == Kind::Leaf)
            else {
                continue;
            };
            for at in header.offsets(page) {
                let cell = self.pages.geometry.leaf_cell(page, at);
                let payload =
                    cell.filter(|cell| cell.overflow.is_none()).and_then(|cell| page.get(cell.local));
                if let Some((root, sql)) = payload.and_then(schema_entry)
                    && root > 1
                {
                    if let Some(layout) = Layout::of_schema(&sql) {
                        self.layout = layout;
                    }
                    return Some(root);
                }
            }
        }
        if self.pages.count > 0 {
            self.problems.push(Problem::Schema);
        }
        None
    }

    /// The list of free pages: trunk pages, which name others.
    fn free_pages(&mut self) {
        let Some(first) = self.pages.get(1).filter(|page| page.starts_with(b"SQLite format 3\0")) else {
            return;
        };
        let mut next = u32_at(first, 32).unwrap_or(0);
        while next != 0 {
            let page = self.pages.get(next).filter(|page| page.len() == self.pages.geometry.size);
            let Some(page) = page.filter(|_| next <= self.pages.count && self.free.insert(next)) else {
                self.problems.push(Problem::FreeList { page: next });
                return;
            };
            let count = u32_at(page, 4).unwrap_or(0) as usize;
            if count > self.pages.geometry.usable / 4 - 2 {
                self.problems.push(Problem::FreeList { page: next });
                return;
            }
            self.free.extend((0..count).filter_map(|index| u32_at(page, 8 + 4 * index)));
            next = u32_at(page, 0).unwrap_or(0);
        }
    }

    fn walk(&mut self, root: u32) {
        let mut pending: Vec<(u32, Bounds)> = vec![(root, (i64::MIN, i64::MAX))];
        while let Some((number, bounds)) = pending.pop() {
            if number < 2 || number > self.pages.count || !self.tree.insert(number) {
                self.damage(Problem::Child { page: number, keys: bounds });
                continue;
            }
            let page = self.pages.get(number).unwrap_or_default();
            match PageHeader::parse(page, header_at(number)) {
                Some(header) if header.kind == Kind::Leaf => {
                    let unreadable = self.leaf(number, page, header, Place::Tree, Some(bounds));
                    if unreadable > 0 || page.len() < self.pages.geometry.size {
                        self.broken.push(number);
                        let cells = header.cells;
                        self.damage(Problem::Cells { page: number, unreadable, cells });
                    }
                }
                Some(header) => self.interior(number, page, header, bounds, &mut pending),
                None => {
                    self.tree.remove(&number);
                    self.broken.push(number);
                    let blank = page.iter().all(|byte| *byte == 0);
                    self.damage(Problem::Page { page: number, blank, keys: bounds });
                }
            }
        }
    }

    fn interior(
        &mut self,
        number: u32,
        page: &[u8],
        header: PageHeader,
        bounds: Bounds,
        pending: &mut Vec<(u32, Bounds)>,
    ) {
        let mut low = bounds.0;
        let mut unreadable = header.cells - header.offsets(page).count();
        for at in header.offsets(page) {
            match interior_cell(page, at).filter(|_| at >= header.end()) {
                Some((child, key)) => {
                    pending.push((child, (low, key)));
                    low = key;
                }
                None => unreadable += 1,
            }
        }
        pending.push((header.right, (low, bounds.1)));
        if unreadable > 0 {
            self.damage(Problem::Cells { page: number, unreadable, cells: header.cells });
        }
    }

    fn damage(&mut self, problem: Problem) {
        self.complete = false;
        self.problems.push(problem);
    }

    /// Reads the cells of a leaf page by their pointers; the number of those that cannot be read.
    fn leaf(
        &mut self,
        number: u32,
        page: &'a [u8],
        header: PageHeader,
        place: Place,
        bounds: Option<Bounds>,
    ) -> usize {
        let mut found: Vec<Candidate<'a>> = Vec::new();
        let mut last = bounds.map_or(i64::MIN, |bounds| bounds.0);
        let highest = bounds.map_or(i64::MAX, |bounds| bounds.1);
        for at in header.offsets(page).filter(|at| *at >= header.end()) {
            let Some(mut candidate) = self.candidate(number, page, at, place) else { continue };
            if place != Place::Tree && !is_plausible(&candidate.decoded.row) {
                continue;
            }
            let key = candidate.cell.rowid;
            candidate.out_of_order = key < last || key > highest || (key == last && last > i64::MIN);
            last = last.max(key);
            found.push(candidate);
        }
        // of cells that lie over each other one at least is none, and nobody knows which
        let mut ranges: Vec<Range<usize>> =
            found.iter().map(|candidate| candidate.cell.range.clone()).collect();
        ranges.sort_by_key(|range| (range.start, range.end));
        let overlaps: Vec<Range<usize>> = ranges
            .windows(2)
            .filter(|pair| pair[1].start < pair[0].end)
            .flat_map(|pair| [pair[0].clone(), pair[1].clone()])
            .collect();
        found.retain(|candidate| !overlaps.contains(&candidate.cell.range));
        let unreadable = header.cells - found.len();
        self.candidates.append(&mut found);
        unreadable
    }

    fn candidate(&self, number: u32, page: &'a [u8], at: usize, place: Place) -> Option<Candidate<'a>> {
        let cell = self.pages.geometry.leaf_cell(page, at)?;
        let local = page.get(cell.local.clone())?;
        let decoded = decode(cell.rowid, local, cell.payload, &self.layout, Types::of(place))?;
        let bytes = page.get(cell.range.clone())?;
        Some(Candidate { place, page: number, cell, bytes, local, decoded, out_of_order: false })
    }

    /// Leaf pages that no path leads to any more. Only if the tree is damaged: else they are leftovers.
    fn cut_off(&mut self) {
        for number in 2..=self.pages.count {
            if self.tree.contains(&number) || self.free.contains(&number) {
                continue;
            }
            let Some(page) = self.pages.get(number) else { continue };
            if let Some(header) = PageHeader::parse(page, 0).filter(|header| header.kind == Kind::Leaf)
                && header.cells > 0
            {
                let before = self.candidates.len();
                let unreadable = self.leaf(number, page, header, Place::CutOff, None);
                if self.candidates.len() > before {
                    self.tree.insert(number);
                    if unreadable > 0 {
                        self.broken.push(number);
                    }
                }
            }
        }
    }

    /// What the older copies of broken pages have.
    fn older_copies(&mut self) {
        for number in self.broken.clone() {
            for page in self.pages.older(number) {
                if let Some(header) = PageHeader::parse(page, header_at(number))
                    && header.kind == Kind::Leaf
                {
                    self.leaf(number, page, header, Place::OlderCopy, None);
                }
            }
        }
    }

    /// Searches broken pages, and pages of which nothing is known, byte by byte.
    fn carve(&mut self) {
        let claimed = self.claimed();
        let broken: HashSet<u32> = self.broken.iter().copied().collect();
        for number in 2..=self.pages.count {
            let known =
                self.tree.contains(&number) || self.free.contains(&number) || claimed.contains(&number);
            if known && !broken.contains(&number) {
                continue;
            }
            let Some(page) = self.pages.get(number) else { continue };
            let mut taken: Vec<Range<usize>> = self
                .candidates
                .iter()
                .filter(|candidate| candidate.page == number && candidate.place != Place::OlderCopy)
                .map(|candidate| candidate.cell.range.clone())
                .collect();
            taken.sort_by_key(|range| range.start);
            let mut at = 0;
            while at < page.len() {
                if let Some(range) = taken.iter().find(|range| range.contains(&at)) {
                    at = range.end;
                    continue;
                }
                let found = self.candidate(number, page, at, Place::Carved).filter(|candidate| {
                    let next = taken.iter().map(|range| range.start).find(|start| *start > at);
                    is_plausible(&candidate.decoded.row)
                        && candidate.content_here().is_some_and(is_text)
                        && next.is_none_or(|next| candidate.cell.range.end <= next)
                });
                match found {
                    Some(candidate) => {
                        at = candidate.cell.range.end;
                        self.candidates.push(candidate);
                    }
                    None => at += 1,
                }
            }
        }
    }

    /// The first pages of the contents that lie on other pages, and those that follow them.
    fn claimed(&self) -> HashSet<u32> {
        let mut claimed = HashSet::new();
        for candidate in &self.candidates {
            let mut next = candidate.cell.overflow.unwrap_or(0);
            while next > 1 && next <= self.pages.count && claimed.insert(next) {
                next = self.pages.get(next).and_then(|page| u32_at(page, 0)).unwrap_or(0);
            }
        }
        claimed
    }
}

impl Types {
    /// Along the tree every cell is a row, whatever is in it.
    fn of(place: Place) -> Self {
        if place == Place::Tree { Self::Any } else { Self::Exact }
    }
}
