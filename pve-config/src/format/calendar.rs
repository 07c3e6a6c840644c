// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calendar events: when jobs run. A subset of systemd's (see `systemd.time(7)`):
//! `[WEEKDAYS] [[YEARS-]MONTHS-DAYS] [HOURS:MINUTES[:SECONDS]]`, a lone number list meaning minutes.

use super::all_digits;

/// Events with a name of their own.
const NAMED: &[&str] = &[
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "annually",
    "quarterly",
    "semiannually",
    "semi-annually",
];

const WEEKDAYS: &[&str] = &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

pub(super) fn is_calendar_event(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let text = lower.trim_ascii();
    if NAMED.iter().any(|name| name.as_bytes() == text) {
        return true;
    }
    let mut parts = text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return false;
    }
    parts.next_if(|part| is_weekdays(part));
    parts.next_if(|part| is_date(part));
    parts.next_if(|part| is_time(part));
    parts.next().is_none()
}

/// Days and ranges of days (`mon..fri`, `mon-fri`), comma separated, abbreviated to three letters or spelled out.
fn is_weekdays(text: &[u8]) -> bool {
    let is_day = |day: &[u8]| {
        WEEKDAYS.iter().any(|name| name.as_bytes() == day || name.as_bytes().get(..3) == Some(day))
    };
    text.split(|byte| *byte == b',').all(|item| {
        let (first, last) = range(item).or_else(|| split_once(item, b"-")).unwrap_or((item, item));
        is_day(first) && is_day(last)
    })
}

/// `[YEARS-]MONTHS-DAYS`
fn is_date(text: &[u8]) -> bool {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    match parts.as_slice() {
        [months, days] => is_values(months, 1, 12) && is_values(days, 1, 31),
        [years, months, days] => {
            is_values(years, 1970, 9999) && is_values(months, 1, 12) && is_values(days, 1, 31)
        }
        _ => false,
    }
}

/// `MINUTES`, `HOURS:MINUTES` or `HOURS:MINUTES:SECONDS`
fn is_time(text: &[u8]) -> bool {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b':').collect();
    match parts.as_slice() {
        [minutes] => is_values(minutes, 0, 59),
        [hours, minutes] => is_values(hours, 0, 23) && is_values(minutes, 0, 59),
        [hours, minutes, seconds] => {
            is_values(hours, 0, 23) && is_values(minutes, 0, 59) && is_values(seconds, 0, 59)
        }
        _ => false,
    }
}

/// Comma separated `*`, `N`, `N..M`, each with an optional `/STEP`, within the bounds.
fn is_values(text: &[u8], lowest: u32, highest: u32) -> bool {
    let bounds = lowest..=highest;
    text.split(|byte| *byte == b',').all(|item| {
        let (value, step) = split_once(item, b"/").map_or((item, None), |(value, step)| (value, Some(step)));
        let start = match range(value) {
            Some((first, last)) => matches!((number(first), number(last)),
                (Some(a), Some(b)) if a < b && bounds.contains(&a) && bounds.contains(&b)),
            None => value == b"*" || number(value).is_some_and(|value| bounds.contains(&value)),
        };
        start && step.is_none_or(|step| number(step).is_some_and(|step| (1..=highest).contains(&step)))
    })
}

fn number(text: &[u8]) -> Option<u32> {
    (all_digits(text) && text.len() <= 4)
        .then(|| text.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

fn range(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_once(text, b"..")
}

fn split_once<'t>(text: &'t [u8], separator: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_documented_shapes() {
        for good in [
            "mon,tue,wed,thu,fri",
            "mon..fri",
            "sat,sun",
            "12:05",
            "*/5",
            "mon..wed 30/10",
            "mon..fri 8..17,22:0/15",
            "fri 12..13:5/20",
            "12,14,16,18,20,22:5",
            "*",
            "*-05",
            "Sat *-1..7 15:00",
            "2015-10-21",
            "daily",
            "monday 2:30:15",
            "21:00",
            "semi-annually",
            "mon-fri 22:00",
        ] {
            assert!(is_calendar_event(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            " ",
            "foo",
            "25:00",
            "12:60",
            "mon..",
            "8..5:00",
            "13-01",
            "*/0",
            "12:00 mon",
            "1:2:3:4",
            "*/",
            ",",
        ] {
            assert!(!is_calendar_event(bad.as_bytes()), "{bad}");
        }
    }
}
