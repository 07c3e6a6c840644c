// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bar for the copy that runs, on standard error if that is a terminal.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// Parts of a whole copy.
const WHOLE: u64 = 10_000;

/// Shows how far the copies of an operation are.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { bar: Arc::default() }
    }

    /// Takes a line of a program that reports progress: `(12.34/100%)` of `qemu-img`.
    pub(crate) fn line(&self, line: &[u8]) {
        let Some(share) = share(line) else { return };
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        bar.get_or_insert_with(new_bar).set_position(share);
        if share == WHOLE
            && let Some(full) = bar.take()
        {
            full.finish_and_clear();
        }
    }

    /// Writes something besides the bar.
    pub(crate) fn suspend(&self, write: impl FnOnce()) {
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar of a copy away that did not come to its end.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    // the template is a constant: if it were wrong, the plain bar would do
    let style = ProgressStyle::with_template("copying {wide_bar} {percent}% {elapsed} (left {eta})");
    ProgressBar::new(WHOLE).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The part that is done.
fn share(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.trim().strip_prefix('(')?.strip_suffix("/100%)")?;
    let (whole, hundredths) = text.split_once('.')?;
    let share =
        whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths.get(..2)?.parse().ok()?)?;
    Some(share.min(WHOLE))
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn lines_of_qemu_img() {
        assert_eq!(share(b"    (0.00/100%)"), Some(0));
        assert_eq!(share(b"    (12.34/100%)"), Some(1234));
        assert_eq!(share(b"    (100.00/100%)"), Some(10_000));
        assert_eq!(share(b"qemu-img: error"), None);
        assert_eq!(share("(1.é/100%)".as_bytes()), None);
    }
}
