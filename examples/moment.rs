// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a moment is shown: as the clock on the wall tells it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds since 1970 as `2026-01-31 12:00:00`, in the time zone of this machine; empty where there are none.
#[must_use]
pub fn local(seconds: Option<i64>) -> String {
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let time = time.map(|time| time.to_zoned_datetime(TimeZone::system()));
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}
