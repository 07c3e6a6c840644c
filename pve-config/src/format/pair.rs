// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps from one name to another, as given to migrations: `1`, `TARGET`, `SOURCE:TARGET`.

use super::{is_falsy, split_list};

/// Whether `value` is a list of entries, each `1` (identity, only alone), a target for all other sources (at most
/// one), or `SOURCE:TARGET` (no source twice), whose names satisfy `is_name`. A falsy text, as a whole or as an
/// entry, is valid.
pub(super) fn is_pair(value: &[u8], is_name: fn(&[u8]) -> bool) -> bool {
    let mut identity = false;
    let mut fallback = false;
    let mut sources: Vec<&[u8]> = Vec::new();
    for entry in split_list(value).filter(|entry| !is_falsy(entry)) {
        if entry == b"1" {
            identity = true;
            continue;
        }
        let mut names = entry.splitn(2, |byte| *byte == b':');
        let (Some(first), second) = (names.next(), names.next()) else { return false };
        if !is_name(first) || second.is_some_and(|target| !is_name(target)) {
            return false;
        }
        if second.is_none() {
            if fallback {
                return false;
            }
            fallback = true;
        } else if sources.contains(&first) {
            return false;
        } else {
            sources.push(first);
        }
    }
    !identity || (!fallback && sources.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::name::is_storage_id;
    use super::*;

    #[test]
    fn entries_exclude_each_other() {
        for good in ["", "0", "1", "ab", "ab:cd", "ab:cd,ef:cd", "ab:cd,xy", "ab:cd,0"] {
            assert!(is_pair(good.as_bytes(), is_storage_id), "{good}");
        }
        for bad in ["a", "ab:", "x:ab", "ab:cd:ef", "1,ab", "ab,cd", "ab:cd,ab:ef"] {
            assert!(!is_pair(bad.as_bytes(), is_storage_id), "{bad}");
        }
    }
}
