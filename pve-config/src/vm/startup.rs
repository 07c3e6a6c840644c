// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a guest starts and stops with its node (option `startup`).

use bstr::BStr;

use crate::format::{Context, Format, Scalar, chomp, is_white_space};
use crate::rule::{Rule, ValueError};

/// Place and delays in the start of all guests of a node. Numbers are kept as written.
///
/// ```
/// use pve_config::vm::Startup;
///
/// let startup = Startup::parse(b"3,up=30").unwrap();
/// assert_eq!(startup.order.unwrap(), "3");
/// assert_eq!(startup.print(), "order=3,up=30");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Startup<'t> {
    /// Guests start in ascending order and stop in descending order of this number.
    pub order: Option<&'t BStr>,
    /// Seconds to wait after the start of this guest.
    pub up: Option<&'t BStr>,
    /// Seconds that a stop may take.
    pub down: Option<&'t BStr>,
}

impl<'t> Startup<'t> {
    /// Reads the value of the option; the last of repeated parts counts.
    ///
    /// # Errors
    ///
    /// A part that is none of `N`, `order=N`, `up=N`, `down=N`, or a text that is empty or `0`.
    pub fn parse(text: &'t [u8]) -> Result<Self, ValueError> {
        let rule = const { Rule::string().format(Format::Scalar(Scalar::StartupOrder)) };
        rule.check(text, &Context::default())?;
        let mut startup = Startup::default();
        let parts =
            text.split(|byte| *byte == b',').filter(|part| !part.iter().all(|byte| is_white_space(*byte)));
        for part in parts {
            let part = chomp(part);
            let (field, number) = match part.iter().position(|byte| *byte == b'=') {
                None => (&mut startup.order, part),
                Some(equals) => {
                    let (name, number) = part.split_at(equals);
                    let field = match name {
                        b"up" => &mut startup.up,
                        b"down" => &mut startup.down,
                        _ => &mut startup.order,
                    };
                    (field, number.get(1..).unwrap_or_default())
                }
            };
            *field = Some(BStr::new(number));
        }
        Ok(startup)
    }

    /// The value of the option, with all keys spelled out.
    #[must_use]
    pub fn print(&self) -> bstr::BString {
        let parts = [("order", self.order), ("up", self.up), ("down", self.down)];
        let parts = parts.iter().filter_map(|(name, number)| number.map(|number| format!("{name}={number}")));
        parts.collect::<Vec<_>>().join(",").into()
    }
}
