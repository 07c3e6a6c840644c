// SPDX-License-Identifier: MIT OR Apache-2.0
//! How ids travel through serde: as text; byte strings that are not UTF-8 as bytes.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// Deserialises anything that has `FromStr` from a string.
pub(crate) fn from_str<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

/// Serialises bytes as a string where they are UTF-8, else as bytes.
pub(crate) fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.serialize_bytes(bytes),
    }
}

/// Deserialises what [`bytes`] wrote: a string, bytes, or (JSON has no bytes) a sequence of numbers.
pub(crate) fn from_bytes<'de, D, T, E>(
    deserializer: D,
    parse: fn(Vec<u8>) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    struct Bytes<T, E>(fn(Vec<u8>) -> Result<T, E>);

    impl<'de, T, P: fmt::Display> Visitor<'de> for Bytes<T, P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or bytes")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            self.visit_bytes(text.as_bytes())
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
            (self.0)(bytes.to_vec()).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element()? {
                bytes.push(byte);
            }
            (self.0)(bytes).map_err(A::Error::custom)
        }
    }

    deserializer.deserialize_any(Bytes(parse))
}
