// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form in which formats are declared: one list from which both the table and the struct are made.

/// Declares the words that a value may be, as an enum.
///
/// ```text
/// words! {
///     /// Where the clipboard goes.
///     pub enum Clipboard {
///         /// Over VNC.
///         Vnc = "vnc",
///     }
/// }
/// ```
macro_rules! words {
    ($(#[doc = $doc:literal])+ pub enum $Enum:ident { $($(#[doc = $word_doc:literal])+ $Word:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $Enum { $($(#[doc = $word_doc])+ $Word,)+ }

        impl $Enum {
            /// Every word, in the order of declaration.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($Enum::$Word => $word),+ }
            }

            /// The value that `word` stands for; case matters.
            #[must_use]
            pub fn from_word(word: &[u8]) -> Option<Self> {
                $(if word == $word.as_bytes() { return Some($Enum::$Word); })+
                None
            }
        }

        impl ::std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::serde::Serialize for $Enum {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'t> $crate::property::Value<'t> for $Enum {
            #[inline]
            fn blank() -> Self {
                const { [$($Enum::$Word),+][0] }
            }

            #[inline]
            fn read(text: &'t [u8]) -> Option<Self> {
                Self::from_word(text)
            }

            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_str().as_bytes());
            }
        }
    };
}
pub(crate) use words;

/// Declares a property-string format: its table of keys and the struct of its values.
///
/// ```text
/// properties! {
///     /// Display hardware.
///     pub struct Vga<'t> : VGA = "vm:vga" {
///         /// Video memory, MiB.
///         pub memory: Option<Integer<'t>> = Key::integer("memory").min(4.0).max(512.0),
///     }
///     registered: [];
///     aliases: [];
/// }
/// ```
///
/// Fields are declared in ascending order of the keys' names. A field that is not an `Option` belongs to a required
/// key. The struct gets `parse`, `parse_with`, `print` and `print_with`; formats that need more write them by hand
/// and declare only the table and the struct, with `keys` in place of a name.
macro_rules! properties {
    // a struct with its own format
    (
        $(#[$attribute:meta])*
        pub struct $Struct:ident $(<$life:lifetime>)? : $STATIC:ident = $name:literal { $($fields:tt)* }
        registered: [$($registered:literal),*];
        aliases: [$($alias:expr),*];
        $(validator: $validator:expr;)?
    ) => {
        $crate::property::properties! {
            @struct $(#[$attribute])* $Struct [$($life)?] { $($fields)* }
        }

        #[doc = concat!("The format `", $name, "`.")]
        pub static $STATIC: $crate::property::PropertyFormat = $crate::property::PropertyFormat::new(
            $name, &[$($registered),*], $Struct::KEYS, &[$($alias),*],
        )$(.with_validator($validator))?;

        $crate::property::properties! { @methods $Struct [$($life)?] $STATIC }
    };
    // a struct whose keys several formats share
    (
        $(#[$attribute:meta])*
        pub struct $Struct:ident $(<$life:lifetime>)? : keys { $($fields:tt)* }
    ) => {
        $crate::property::properties! {
            @struct $(#[$attribute])* $Struct [$($life)?] { $($fields)* }
        }
    };

    (@struct $(#[$attribute:meta])* $Struct:ident [] { $($fields:tt)* }) => {
        $crate::property::properties! { @body $(#[$attribute])* $Struct ['t] [] { $($fields)* } }
    };
    (@struct $(#[$attribute:meta])* $Struct:ident [$life:lifetime] { $($fields:tt)* }) => {
        $crate::property::properties! { @body $(#[$attribute])* $Struct [$life] [<$life>] { $($fields)* } }
    };
    (
        @body $(#[$attribute:meta])* $Struct:ident [$life:lifetime] [$($generics:tt)*] {
            $($(#[doc = $doc:literal])+ pub $field:ident : $type:ty = $key:expr,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Struct $($generics)* {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl $($generics)* $Struct $($generics)* {
            /// The keys, ascending by name.
            pub(crate) const KEYS: &'static [$crate::property::Key] =
                &[$($key.documented(concat!($($doc, "\n"),+))),+];
        }

        const _: () = {
            // positions of the fields, which are those of the keys
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            #[derive(Clone, Copy)]
            enum At { $($field),+ }

            impl<$life> $crate::property::TypedProperties<$life> for $Struct $($generics)* {
                #[inline]
                fn unread() -> Self {
                    $Struct { $($field: <$type as $crate::property::Field<$life>>::unread(),)+ }
                }

                #[inline]
                fn fill(
                    &mut self,
                    properties: &$crate::property::Properties<$life>,
                    text: &[u8],
                ) -> Result<(), $crate::rule::ValueError> {
                    for (position, value) in properties.entries() {
                        let mut fits = true;
                        $(if position == At::$field as usize {
                            fits = $crate::property::Field::set(&mut self.$field, value);
                        } else)+ {}
                        if !fits {
                            return Err($crate::property::size_too_large(Self::KEYS, position, value, text));
                        }
                    }
                    Ok(())
                }

                #[inline]
                fn present(&self) -> u64 {
                    let mut bits = 0;
                    $(if $crate::property::Field::is_present(&self.$field) {
                        bits |= 1_u64 << At::$field as usize;
                    })+
                    bits
                }

                #[inline]
                fn write_at(&self, position: usize, out: &mut Vec<u8>) {
                    $(if position == At::$field as usize {
                        $crate::property::Field::write_field(&self.$field, out);
                    } else)+ {}
                }
            }
        };
    };

    (@methods $Struct:ident [] $STATIC:ident) => {
        $crate::property::properties! { @methods $Struct ['t] [] $STATIC }
    };
    (@methods $Struct:ident [$life:lifetime] $STATIC:ident) => {
        $crate::property::properties! { @methods $Struct [$life] [<$life>] $STATIC }
    };
    (@methods $Struct:ident [$life:lifetime] [$($generics:tt)*] $STATIC:ident) => {
        impl $($generics)* $Struct $($generics)* {
            /// The format of the string.
            pub const FORMAT: &'static $crate::property::PropertyFormat = &$STATIC;

            $crate::property::properties! { @parse [$life] [$($generics)*] }

            /// Prints the string in the reference's order.
            ///
            /// # Errors
            ///
            /// A value that breaks the rule of its key, or contains a comma.
            pub fn print(&self) -> Result<::bstr::BString, $crate::rule::ValueError> {
                self.print_with(&$crate::format::Context::default())
            }

            /// Prints the string in the reference's order, checking values in the given context.
            ///
            /// # Errors
            ///
            /// A value that breaks the rule of its key, or contains a comma.
            pub fn print_with(
                &self,
                context: &$crate::format::Context<'_>,
            ) -> Result<::bstr::BString, $crate::rule::ValueError> {
                $crate::property::print_typed(self, &$STATIC, &[], context)
            }
        }
    };
    (@parse [$life:lifetime] []) => {
        /// Reads `text`.
        ///
        /// # Errors
        ///
        /// The first part that cannot be read, value that breaks a rule, or key that is missing.
        pub fn parse(text: &[u8]) -> Result<Self, $crate::rule::ValueError> {
            Self::parse_with(text, &$crate::format::Context::default())
        }

        /// Reads `text` in the given context.
        ///
        /// # Errors
        ///
        /// The first part that cannot be read, value that breaks a rule, or key that is missing.
        pub fn parse_with(
            text: &[u8],
            context: &$crate::format::Context<'_>,
        ) -> Result<Self, $crate::rule::ValueError> {
            $crate::property::parse_typed(Self::FORMAT, text, context)
        }
    };
    (@parse [$life:lifetime] [<$also:lifetime>]) => {
        /// Reads `text`.
        ///
        /// # Errors
        ///
        /// The first part that cannot be read, value that breaks a rule, or key that is missing.
        pub fn parse(text: &$life [u8]) -> Result<Self, $crate::rule::ValueError> {
            Self::parse_with(text, &$crate::format::Context::default())
        }

        /// Reads `text` in the given context.
        ///
        /// # Errors
        ///
        /// The first part that cannot be read, value that breaks a rule, or key that is missing.
        pub fn parse_with(
            text: &$life [u8],
            context: &$crate::format::Context<'_>,
        ) -> Result<Self, $crate::rule::ValueError> {
            $crate::property::parse_typed(Self::FORMAT, text, context)
        }
    };
}
pub(crate) use properties;
