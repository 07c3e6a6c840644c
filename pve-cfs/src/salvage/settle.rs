// SPDX-License-Identifier: MIT OR Apache-2.0
//! From candidates to rows: contents are read along their pages, and of several candidates for an inode the best is taken.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::page::u32_at;
use super::pages::{Origin, Pages};
use super::record::{is_plausible, is_text};
use super::search::{Candidate, Search};
use super::{Doubt, Lost, Place, Reason, Recovered, Salvage};
use crate::row::Row;
use crate::schema::VERSION_ROW_NAME;

/// Reads the contents, and takes the best candidate for each inode.
pub(super) fn settle(pages: &Pages<'_>, search: Search<'_, '_>, result: &mut Salvage) {
    let mut candidates = search.candidates;
    candidates.sort_by_key(|candidate| (candidate.place, std::cmp::Reverse(candidate.decoded.row.version)));
    // each page belongs to one content, so more reading than this goes in circles
    let budget = pages.count as usize * 8 + 1024;
    let mut chains =
        Chains { pages, tree: &search.tree, free: &search.free, origins: pages.origins(), budget };
    let mut reads: Vec<Read> = candidates.iter().map(|candidate| chains.read(candidate)).collect();
    let mut owners: HashMap<u32, Vec<(Place, u64)>> = HashMap::new();
    for (candidate, read) in candidates.iter().zip(&reads) {
        for page in &read.chain {
            let owners = owners.entry(*page).or_default();
            let owner = (candidate.place, candidate.decoded.row.inode);
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }
    for (candidate, read) in candidates.iter().zip(&mut reads) {
        let contested = read
            .chain
            .iter()
            .filter_map(|page| owners.get(page))
            .flatten()
            .any(|(place, inode)| *inode != candidate.decoded.row.inode && *place <= candidate.place);
        if contested && read.failed.is_none() {
            read.failed = Some(Reason::Contested);
        }
    }
    let mut rows: BTreeMap<i64, Recovered> = BTreeMap::new();
    let mut lost: BTreeMap<i64, Lost> = BTreeMap::new();
    for (candidate, read) in candidates.into_iter().zip(reads) {
        let (key, page, place) = (candidate.decoded.row.inode as i64, candidate.page, candidate.place);
        if rows.contains_key(&key) {
            continue;
        }
        let row = match read.failed {
            Some(reason) => Err(reason),
            // the end of a long name has not been looked at before
            None => candidate
                .row(&read.payload, &search.layout)
                .filter(|row| fits(row, place))
                .ok_or(Reason::NoText),
        };
        match row {
            Err(reason) => {
                lost.entry(key).or_insert_with(|| partial(candidate, &read.payload, reason));
            }
            Ok(row) => {
                let doubts = if candidate.out_of_order { vec![Doubt::OutOfOrder] } else { Vec::new() };
                let verified = place != Place::OlderCopy && pages.is_in_log(page);
                let (cell, chain) = (candidate.cell.range, read.chain);
                rows.insert(key, Recovered { row, place, page, cell, verified, chain, doubts });
            }
        }
    }
    lost.retain(|key, _| !rows.contains_key(key));
    let version = rows
        .get(&0)
        .filter(|version| version.row.name == VERSION_ROW_NAME)
        .map_or(u64::MAX, |version| version.row.version);
    for recovered in rows.values_mut() {
        add_doubts(recovered, version);
    }
    result.rows = rows.into_values().collect();
    result.lost = lost.into_values().collect();
}

/// Whether a whole row may be one, found in this place.
fn fits(row: &Row, place: Place) -> bool {
    match place {
        Place::Tree => true,
        Place::CutOff | Place::OlderCopy => is_plausible(row),
        Place::Carved => is_plausible(row) && is_text(row.content()),
    }
}

fn partial(candidate: Candidate<'_>, payload: &[u8], reason: Reason) -> Lost {
    let Candidate { place, page, decoded, .. } = candidate;
    let range = decoded.content.clone().unwrap_or_default();
    let read = payload.get(range.start..range.end.min(payload.len())).unwrap_or_default();
    Lost { row: Row { data: Some(read.into()), ..decoded.row }, place, page, size: range.len(), reason }
}

fn add_doubts(recovered: &mut Recovered, tree_version: u64) {
    let Recovered { row, doubts, .. } = recovered;
    if row.inode != 0 && (row.inode > row.version || row.version > tree_version) {
        doubts.push(Doubt::Version);
    }
    if row.content().windows(16).any(|run| run.iter().all(|byte| *byte == 0)) {
        doubts.push(Doubt::Zeros);
    }
    if row.entry_type().is_none() {
        doubts.push(Doubt::Type);
    }
}

/// What came of reading the content of a candidate.
struct Read {
    payload: Vec<u8>,
    chain: Vec<u32>,
    failed: Option<Reason>,
}

/// Reads contents that go on on other pages.
struct Chains<'s, 'a> {
    pages: &'s Pages<'a>,
    tree: &'s HashSet<u32>,
    free: &'s HashSet<u32>,
    origins: HashMap<&'a [u8], Origin>,
    /// Pages that may still be read.
    budget: usize,
}

impl<'a> Chains<'_, 'a> {
    fn read(&mut self, candidate: &Candidate<'a>) -> Read {
        let mut read = Read { payload: candidate.local.to_vec(), chain: Vec::new(), failed: None };
        let origin = self.origins.get(candidate.bytes).copied().unwrap_or(Origin::File);
        let mut next = candidate.cell.overflow.unwrap_or(0);
        let mut seen = HashSet::new();
        while read.payload.len() < candidate.cell.payload {
            let Some(budget) = self.budget.checked_sub(1).filter(|_| seen.insert(next)) else {
                read.failed = Some(Reason::Contested);
                return read;
            };
            self.budget = budget;
            let wanted = (candidate.cell.payload - read.payload.len()).min(self.pages.geometry.usable - 4);
            let zeros = read.payload.last() == Some(&0);
            let page = match self.page(next, origin, zeros) {
                Ok(page) => page,
                Err(reason) => {
                    read.failed = Some(reason);
                    return read;
                }
            };
            let Some(part) = page.get(4..4 + wanted) else {
                read.failed = Some(Reason::Chain { page: next });
                return read;
            };
            read.chain.push(next);
            read.payload.extend_from_slice(part);
            next = u32_at(page, 0).unwrap_or(0);
            if (read.payload.len() == candidate.cell.payload) != (next == 0) {
                read.failed = Some(Reason::Length);
                return read;
            }
        }
        read
    }

    /// A page of a content. One that is blank has been overwritten, unless the content has `zeros` before it, too.
    fn page(&self, number: u32, origin: Origin, zeros: bool) -> Result<&'a [u8], Reason> {
        let bad = Reason::Chain { page: number };
        if number < 2 || number > self.pages.count {
            return Err(bad);
        }
        // what the page is used for now says nothing about an older copy of it
        let is_newest = origin == Origin::File && !self.pages.is_in_log(number);
        if is_newest && (self.tree.contains(&number) || self.free.contains(&number)) {
            return Err(bad);
        }
        let page = self.pages.at_origin(number, origin);
        let page = page.ok_or(if origin == Origin::File { bad } else { Reason::Overwritten })?;
        if !zeros && page.iter().all(|byte| *byte == 0) { Err(bad) } else { Ok(page) }
    }
}
