// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seconds since 1970 as text.

use pve_volid::{CivilTime, FixedOffset, LocalZone};

/// `YYYY-MM-DDThh:mm:ssZ` in UTC; `None` outside of the years 0 to 9999.
pub(crate) fn utc_text(seconds: i64) -> Option<String> {
    FixedOffset::UTC.civil(seconds).map(|time: CivilTime| format!("{}Z", time.to_string().replace(' ', "T")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc_text(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(utc_text(951_782_400).as_deref(), Some("2000-02-29T00:00:00Z"));
        assert_eq!(utc_text(i64::MAX), None);
    }
}
