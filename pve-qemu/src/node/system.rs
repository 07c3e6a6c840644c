// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock and the dice of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::BString;

use super::Chance;
use crate::cloudinit::{Salt, hash_password};
use crate::network::mac_address;

/// The clock and the random numbers of this machine.
///
/// ```
/// use pve_qemu::node::{Chance, SystemChance};
///
/// let mac = SystemChance.mac("bc:24:11");
/// assert!(mac.starts_with("BC:24:11:") && mac.len() == 17);
/// assert_ne!(SystemChance.uuid(), SystemChance.uuid());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(random()).into_uuid().to_string()
    }

    fn mac(&self, prefix: &str) -> String {
        mac_address(random(), prefix)
    }

    fn crypt(&self, password: &[u8]) -> BString {
        hash_password(password, Salt::from_entropy(random())).into()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Random bytes of the operating system.
#[expect(
    clippy::expect_used,
    reason = "without random numbers, ids and salts would be guessed or given twice"
)]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuid = SystemChance.uuid();
        let letters: Vec<char> = uuid.chars().collect();
        assert_eq!((letters.len(), letters[14]), (36, '4'), "{uuid}");
        assert!(matches!(letters[19], '8' | '9' | 'a' | 'b'), "{uuid}");
    }
}
