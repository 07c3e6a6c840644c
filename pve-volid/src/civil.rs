// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dates and times as a wall clock shows them, and the zones that tie them to seconds since 1970.
//!
//! Backup archives carry the local time of the node that wrote them, without a zone. This crate reads no clock and no
//! zone data base: callers hand in a [`LocalZone`]. With the feature `tz`, `jiff::tz::TimeZone` is one.

use std::fmt;

use serde::{Serialize, Serializer};

/// A date and time of day without a zone, to the second; always a possible one (no February 30, no second 60).
///
/// ```
/// use pve_volid::{CivilTime, FixedOffset, LocalZone};
///
/// let time = CivilTime::new(2023, 1, 2, 3, 4, 5).unwrap();
/// assert_eq!(FixedOffset::UTC.epoch(time), Some(1_672_628_645));
/// assert_eq!(FixedOffset { seconds: 3600 }.civil(1_672_628_645).unwrap().to_string(), "2023-01-02 04:04:05");
/// assert_eq!(CivilTime::new(2023, 2, 29, 0, 0, 0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl CivilTime {
    /// The time, if there is one: years 0 ..= 9999, the rest as on a calendar and a clock.
    #[must_use]
    pub const fn new(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let clock = hour < 24 && minute < 60 && second < 60;
        if clock && year <= 9999 && day >= 1 && day <= days_in_month(year, month) {
            Some(CivilTime { year, month, day, hour, minute, second })
        } else {
            None
        }
    }

    /// The year, 0 ..= 9999.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 ..= 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, 1 ..= 31.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// The hour, 0 ..= 23.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// The minute, 0 ..= 59.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }

    /// The second, 0 ..= 59.
    #[must_use]
    pub const fn second(self) -> u8 {
        self.second
    }

    /// The week of ISO 8601 and the year that it belongs to, as (year, week). Weeks begin on Monday, week 1 is the
    /// one with January 4.
    #[must_use]
    pub const fn iso_week(self) -> (i32, u8) {
        let days = days_since_1970(self.year as i64, self.month, self.day);
        // 1970-01-01 was a Thursday; the Thursday of a week lies in the year that the week belongs to
        let thursday = days - (days + 3).rem_euclid(7) + 3;
        let (year, month, day) = date(thursday);
        let first = days_since_1970(year, 1, 1);
        ((year as i32), ((days_since_1970(year, month, day) - first) / 7 + 1) as u8)
    }

    /// Seconds since 1970 if this were UTC.
    const fn as_utc(self) -> i64 {
        let days = days_since_1970(self.year as i64, self.month, self.day);
        days * 86_400 + self.hour as i64 * 3600 + self.minute as i64 * 60 + self.second as i64
    }

    /// The time in UTC; none outside the years 0 ..= 9999.
    fn from_utc(epoch: i64) -> Option<Self> {
        let (year, month, day) = date(epoch.div_euclid(86_400));
        let second = u32::try_from(epoch.rem_euclid(86_400)).ok()?;
        let part = |value: u32| u8::try_from(value).ok();
        Self::new(
            u16::try_from(year).ok()?,
            month,
            day,
            part(second / 3600)?,
            part(second / 60 % 60)?,
            part(second % 60)?,
        )
    }
}

/// `2023-01-02 03:04:05`
impl fmt::Display for CivilTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CivilTime { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// As `2023-01-02 03:04:05`.
impl Serialize for CivilTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, counted in years that begin in March, so that
/// the leap day is the last of its year.
const fn days_since_1970(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = (month as i64 + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day as i64 - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_since_1970`]: year, month, day.
const fn date(days: i64) -> (i64, u8, u8) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + if month >= 10 { 1 } else { 0 };
    (year, (if month < 10 { month + 3 } else { month - 9 }) as u8, day as u8)
}

/// A place's clock: which instant it meant, and what it showed at an instant.
pub trait LocalZone {
    /// Seconds since 1970-01-01 00:00:00 UTC at which clocks showed `time`: the earlier instant if they showed it
    /// twice (daylight saving ends); as if the clocks had not been put forward yet if they never showed it (daylight
    /// saving begins). None if the zone cannot tell.
    fn epoch(&self, time: CivilTime) -> Option<i64>;

    /// What clocks showed at `epoch`; none outside the years 0 ..= 9999.
    fn civil(&self, epoch: i64) -> Option<CivilTime>;
}

/// A zone that is always the same distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FixedOffset {
    /// Seconds that its clocks are ahead of UTC.
    pub seconds: i32,
}

impl FixedOffset {
    /// Coordinated universal time.
    pub const UTC: FixedOffset = FixedOffset { seconds: 0 };
}

impl LocalZone for FixedOffset {
    fn epoch(&self, time: CivilTime) -> Option<i64> {
        Some(time.as_utc() - i64::from(self.seconds))
    }

    fn civil(&self, epoch: i64) -> Option<CivilTime> {
        CivilTime::from_utc(epoch.checked_add(i64::from(self.seconds))?)
    }
}

#[cfg(feature = "tz")]
impl LocalZone for jiff::tz::TimeZone {
    fn epoch(&self, time: CivilTime) -> Option<i64> {
        let number = |part: u8| i8::try_from(part).ok();
        let time = jiff::civil::DateTime::new(
            i16::try_from(time.year).ok()?,
            number(time.month)?,
            number(time.day)?,
            number(time.hour)?,
            number(time.minute)?,
            number(time.second)?,
            0,
        );
        let instant = self.to_ambiguous_timestamp(time.ok()?).compatible();
        Some(instant.ok()?.as_second())
    }

    fn civil(&self, epoch: i64) -> Option<CivilTime> {
        let time = self.to_datetime(jiff::Timestamp::from_second(epoch).ok()?);
        let part = |value: i8| u8::try_from(value).ok();
        CivilTime::new(
            u16::try_from(time.year()).ok()?,
            part(time.month())?,
            part(time.day())?,
            part(time.hour())?,
            part(time.minute())?,
            part(time.second())?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: u16, month: u8, day: u8) -> CivilTime {
        CivilTime::new(year, month, day, 12, 0, 0).unwrap()
    }

    #[test]
    fn refuses_impossible_times() {
        assert!(CivilTime::new(2024, 2, 29, 23, 59, 59).is_some());
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2023, 0, 1), (2023, 13, 1), (2023, 4, 31), (2023, 1, 0)]
        {
            assert_eq!(CivilTime::new(year, month, day, 0, 0, 0), None, "{year} {month} {day}");
        }
        assert_eq!(CivilTime::new(2023, 1, 1, 24, 0, 0), None);
        assert_eq!(CivilTime::new(2023, 1, 1, 23, 60, 0), None);
        assert_eq!(CivilTime::new(2023, 1, 1, 23, 59, 60), None);
    }

    #[test]
    fn every_day_goes_to_seconds_and_back() {
        let first = FixedOffset::UTC.epoch(day(1599, 12, 31)).unwrap();
        let mut shown = day(1599, 12, 30);
        for epoch in (0..600 * 366).map(|n| first + n * 86_400) {
            let time = FixedOffset::UTC.civil(epoch).unwrap();
            assert!(time > shown, "{shown} is followed by {time}");
            assert_eq!(FixedOffset::UTC.epoch(time), Some(epoch));
            shown = time;
        }
        assert_eq!(FixedOffset::UTC.civil(0).unwrap().to_string(), "1970-01-01 00:00:00");
        assert_eq!(FixedOffset::UTC.civil(-1).unwrap().to_string(), "1969-12-31 23:59:59");
        assert_eq!(FixedOffset::UTC.civil(i64::MAX), None);
        assert_eq!(FixedOffset::UTC.civil(i64::MIN), None);
    }

    #[test]
    fn iso_weeks_around_the_turn_of_the_year() {
        for (date, week) in [
            (day(2018, 12, 31), (2019, 1)),
            (day(2019, 12, 29), (2019, 52)),
            (day(2019, 12, 30), (2020, 1)),
            (day(2020, 12, 31), (2020, 53)),
            (day(2021, 1, 3), (2020, 53)),
            (day(2021, 1, 4), (2021, 1)),
            (day(2023, 1, 1), (2022, 52)),
            (day(2000, 1, 1), (1999, 52)),
        ] {
            assert_eq!(date.iso_week(), week, "{date}");
        }
    }

    #[cfg(feature = "tz")]
    #[test]
    fn clocks_that_change() {
        let vienna = jiff::tz::TimeZone::get("Europe/Vienna").unwrap();
        let at = |month, day, hour| CivilTime::new(2023, month, day, hour, 30, 0).unwrap();
        // shown twice: the first time; never shown: as if not yet put forward, which clocks called 03:30
        assert_eq!(vienna.epoch(at(10, 29, 2)), Some(1_698_539_400));
        assert_eq!(vienna.epoch(at(3, 26, 2)), Some(1_679_794_200));
        assert_eq!(vienna.civil(1_679_794_200), Some(at(3, 26, 3)));
    }
}
