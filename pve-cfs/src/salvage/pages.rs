// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of a damaged database: the newest copy of each, from its write-ahead log or the file, and older copies.

use std::collections::HashMap;

use super::Problem;
use super::page::{Geometry, Kind, PageHeader};
use super::record::{Layout, Types, decode};
use crate::wal;

/// The usual size of a page of the reference, and the first that is tried.
const USUAL_SIZE: usize = 4096;

pub(super) struct Pages<'a> {
    pub(super) geometry: Geometry,
    file: &'a [u8],
    /// Copies of each page in the log with the places of their frames, the newest last.
    log: HashMap<u32, Vec<(usize, &'a [u8])>>,
    /// Places of the frames that end a transaction.
    commits: Vec<usize>,
    /// Places of frames that are damaged.
    damaged: Vec<usize>,
    /// Number of pages.
    pub(super) count: u32,
}

/// The state of the database that first had a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// That of the file.
    File,
    /// That after the transaction in the log to which this frame belongs.
    Frame(usize),
}

impl<'a> Pages<'a> {
    pub(super) fn new(file: &'a [u8], log: Option<&'a [u8]>, problems: &mut Vec<Problem>) -> Self {
        let log = log.unwrap_or_default();
        let header = wal::Header::parse(log);
        let announced = Geometry::parse(file);
        let geometry = announced
            .or_else(|| header.ok().map(|header| Geometry::of_size(header.page_size)))
            .unwrap_or_else(|| Geometry::of_size(guess(file)));
        if announced.is_none() && !file.is_empty() {
            problems.push(Problem::FileHeader { page_size: geometry.size });
        }
        let (commits, damaged) = (Vec::new(), Vec::new());
        let mut pages = Self { geometry, file, log: HashMap::new(), commits, damaged, count: 0 };
        let size = geometry.size;
        pages.count = u32::try_from(file.len().div_ceil(size)).unwrap_or(u32::MAX);
        if !file.len().is_multiple_of(size) {
            problems.push(Problem::Cut { page: pages.count, bytes: file.len() % size });
        }
        if log.is_empty() {
            return pages;
        }
        match header {
            Err(error) => problems.push(Problem::LogHeader(error)),
            Ok(header) if header.page_size != size => {
                problems.push(Problem::LogPageSize { log: header.page_size, file: size });
                return pages;
            }
            Ok(_) => {}
        }
        let survivors = wal::survivors(log, size);
        if !survivors.damaged.is_empty() {
            let (damaged, intact) = (survivors.damaged.len(), survivors.frames.len());
            problems.push(Problem::LogFrames { damaged, intact });
        }
        // what follows the last end of a transaction was never finished
        let end = survivors.frames.iter().rposition(|survivor| survivor.frame.pages_after_commit != 0);
        for survivor in survivors.frames.iter().take(end.map_or(0, |end| end + 1)) {
            let frame = survivor.frame;
            pages.log.entry(frame.page_number).or_default().push((survivor.index, frame.page));
            if frame.pages_after_commit != 0 {
                pages.commits.push(survivor.index);
            }
        }
        pages.damaged = survivors.damaged;
        if let Some(last) = end.and_then(|end| survivors.frames.get(end)) {
            // pages that neither holds are no pages
            let most = pages.log.keys().copied().max().unwrap_or(0).max(pages.count);
            pages.count = last.frame.pages_after_commit.min(most);
        }
        pages
    }

    /// The newest copy of a page; shorter than a page where the file is cut.
    pub(super) fn get(&self, number: u32) -> Option<&'a [u8]> {
        match self.log.get(&number).and_then(|copies| copies.last()) {
            Some((_, page)) => Some(page),
            None => self.in_file(number),
        }
    }

    /// The copies that the newest one replaced, the newest of them first.
    pub(super) fn older(&self, number: u32) -> Vec<&'a [u8]> {
        let Some(copies) = self.log.get(&number) else { return Vec::new() };
        let older = copies.iter().rev().skip(1).map(|(_, page)| *page);
        older.chain(self.in_file(number)).collect()
    }

    /// Whether the newest copy is in the log.
    pub(super) fn is_in_log(&self, number: u32) -> bool {
        self.log.contains_key(&number)
    }

    /// For each cell whose content goes on elsewhere, by its bytes: the oldest state that has it.
    ///
    /// SQLite writes the content in the transaction that writes the cell, and does not touch its pages as long as the cell lives. So the
    /// pages as they were in that state belong to it; newer ones need not, if a newer copy of the cell's page is damaged.
    pub(super) fn origins(&self) -> HashMap<&'a [u8], Origin> {
        let mut origins = HashMap::new();
        if self.log.is_empty() {
            return origins;
        }
        let in_file =
            (1..=self.count).filter_map(|number| Some((number, Origin::File, self.in_file(number)?)));
        let in_log = self.log.iter().flat_map(|(number, copies)| {
            copies.iter().map(|(index, page)| (*number, Origin::Frame(*index), *page))
        });
        for (number, origin, page) in in_file.chain(in_log) {
            let header = PageHeader::parse(page, header_at(number));
            for at in
                header.into_iter().filter(|header| header.kind == Kind::Leaf).flat_map(|h| h.offsets(page))
            {
                let cell = self.geometry.leaf_cell(page, at).filter(|cell| cell.overflow.is_some());
                let Some(bytes) = cell.and_then(|cell| page.get(cell.range)) else { continue };
                let oldest = origins.entry(bytes).or_insert(origin);
                *oldest = origin.min(*oldest);
            }
        }
        origins
    }

    /// A page of the content of a cell, as it was in the state that first had the cell; `None` if nobody can tell.
    pub(super) fn at_origin(&self, number: u32, origin: Origin) -> Option<&'a [u8]> {
        let Origin::Frame(frame) = origin else { return self.in_file(number) };
        let end = *self.commits.iter().find(|commit| **commit >= frame)?;
        let start = self.commits.iter().rfind(|commit| **commit < frame).map_or(0, |commit| commit + 1);
        // a damaged frame could be a newer copy, or the end of another transaction
        if self.damaged.iter().any(|damaged| (start..=end).contains(damaged)) {
            return None;
        }
        let copies = self.log.get(&number)?;
        copies.iter().rfind(|(index, _)| (start..=end).contains(index)).map(|(_, page)| *page)
    }

    fn in_file(&self, number: u32) -> Option<&'a [u8]> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let start = index.checked_mul(self.geometry.size)?;
        let end = start.saturating_add(self.geometry.size).min(self.file.len());
        self.file.get(start..end).filter(|page| !page.is_empty())
    }
}

/// Where the header of a page is in it.
pub(super) const fn header_at(number: u32) -> usize {
    if number == 1 { super::page::FILE_HEADER } else { 0 }
}

/// The page size with which most rows can be read.
fn guess(file: &[u8]) -> usize {
    let layout = Layout::default();
    let rows = |size: usize| -> usize {
        let geometry = Geometry::of_size(size);
        let leaves = file.chunks_exact(size).filter_map(|page| {
            let header = PageHeader::parse(page, 0).filter(|header| header.kind == Kind::Leaf)?;
            Some((page, header))
        });
        let cells = leaves.flat_map(|(page, header)| header.offsets(page).map(move |at| (page, at)));
        let rows = cells.filter(|(page, at)| {
            geometry.leaf_cell(page, *at).is_some_and(|cell| {
                let local = page.get(cell.local).unwrap_or_default();
                decode(cell.rowid, local, cell.payload, &layout, Types::Exact).is_some()
            })
        });
        rows.count()
    };
    let sizes = [USUAL_SIZE, 1024, 512, 2048, 8192, 16384, 32768, 65536];
    // of equals the last is the greatest; the usual size shall win
    sizes.into_iter().rev().max_by_key(|size| rows(*size)).unwrap_or(USUAL_SIZE)
}
