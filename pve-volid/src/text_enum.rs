// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enums whose values have one fixed spelling each: the spelling is declared once, everything else follows.

/// Declares an enum with `ALL`, `as_str`, `from_bytes`, `Display`, `FromStr` and serde (as the spelling).
macro_rules! text_enum {
    (
        $(#[$attr:meta])*
        $vis:vis enum $name:ident: $what:literal {
            $( $(#[$vattr:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name {
            $( $(#[$vattr])* $variant, )+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[ $( $name::$variant, )+ ];

            /// The spelling that Proxmox VE uses.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $text, )+ }
            }

            /// The value with exactly this spelling (case counts), if there is one.
            #[must_use]
            pub fn from_bytes(text: &[u8]) -> Option<Self> {
                $( if text == $text.as_bytes() { return Some($name::$variant); } )+
                None
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::from_bytes(text.as_bytes()).ok_or_else(|| $crate::IdError::Unknown {
                    what: $what,
                    text: text.into(),
                    known: &[ $( $text, )+ ],
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::serde_text::from_str(deserializer)
            }
        }
    };
}

pub(crate) use text_enum;
