// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON in which the reference's API shows configurations.

use bstr::{BStr, ByteSlice};
use serde_json::{Map, Value};

use super::check::schema;
use super::section::Section;
use super::{Config, Guest, PendingItem, SectionId};
use crate::schema::FileCheck;

/// Whether passwords are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// As `**********`, like the API does.
    #[default]
    Masked,
    /// As they are.
    Shown,
}

/// What stands for a password.
const MASK: &str = "**********";
/// What stands for a pending password; the blank tells it from the current one, so that a change can be seen.
const PENDING_MASK: &str = "********** ";

impl<G: Guest> Section<'_, G> {
    /// The section as a JSON object: booleans and integers are numbers, all else is text. Raw keys of containers are an
    /// array `lxc` of pairs. Bytes that are not UTF-8 are replaced, since JSON cannot hold them.
    ///
    /// ```
    /// use pve_config::guest::{Secrets, VmConfig};
    ///
    /// let text = b"#mine\ncipassword: secret\ncores: 4\ncpulimit: 1.5\nmemory: 2048\nonboot: yes\n";
    /// let (config, _) = VmConfig::parse(text);
    /// let json = serde_json::to_string(&config.main.to_json(Secrets::Masked))?;
    /// assert_eq!(
    ///     json,
    ///     r#"{"cipassword":"**********","cores":4,"cpulimit":"1.5","description":"mine","memory":"2048","onboot":1}"#
    /// );
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn to_json(&self, secrets: Secrets) -> Map<String, Value> {
        let mut map = Map::new();
        for (key, value) in self.iter() {
            map.insert(key.to_str_lossy().into_owned(), option_value::<G>(key, value, secrets, MASK));
        }
        if self.raw().len() > 0 {
            let pair = |(key, value): (&BStr, &BStr)| Value::Array(vec![text(key), text(value)]);
            map.insert("lxc".into(), self.raw().map(pair).collect());
        }
        map
    }
}

impl<G: Guest> Config<'_, G> {
    /// The effective configuration with its digest, as the API shows the configuration of a guest.
    #[must_use]
    pub fn to_json(&self, secrets: Secrets) -> Value {
        self.with_digest(self.effective().to_json(secrets))
    }

    /// The current configuration with its digest, as the API shows it without pending changes.
    #[must_use]
    pub fn current_to_json(&self, secrets: Secrets) -> Value {
        self.with_digest(self.main.to_json(secrets))
    }

    /// The list of current and pending values, as the API shows it.
    #[must_use]
    pub fn pending_to_json(&self, secrets: Secrets) -> Value {
        let show = |item: PendingItem<'_>| {
            let mut shown = Map::new();
            let value = item.value.as_ref().map(|value| option_value::<G>(&item.key, value, secrets, MASK));
            let pending =
                item.pending.map(|value| option_value::<G>(&item.key, value, secrets, PENDING_MASK));
            let delete = item.delete.map(|delete| Value::from(delete.number()));
            let members =
                [("key", Some(text(&item.key))), ("value", value), ("pending", pending), ("delete", delete)];
            for (name, member) in members {
                shown.extend(member.map(|member| (name.to_owned(), member)));
            }
            Value::Object(shown)
        };
        self.pending_list().into_iter().map(show).collect()
    }

    fn with_digest(&self, mut map: Map<String, Value>) -> Value {
        map.extend(self.digest().map(|digest| ("digest".to_owned(), digest.to_string().into())));
        Value::Object(map)
    }
}

/// One value, by the type of its option.
fn option_value<G: Guest>(key: &BStr, value: &BStr, secrets: Secrets, mask: &str) -> Value {
    if key == "cipassword" && secrets == Secrets::Masked {
        return mask.into();
    }
    let option = schema(G::KIND, SectionId::Main).and_then(|schema| schema.find(key));
    let numeric = option
        .is_some_and(|(option, _)| matches!(option.file_check(), FileCheck::Boolean | FileCheck::Integer));
    numeric.then(|| number(value)).flatten().unwrap_or_else(|| text(value))
}

/// The number that a value without superfluous zeros is; larger ones than 2^64 are floats for the reference too.
fn number(value: &BStr) -> Option<Value> {
    let digits = value.to_str().ok()?;
    match digits.parse::<u64>() {
        Ok(number) => Some(number.into()),
        Err(_) => serde_json::Number::from_f64(digits.parse().ok()?).map(Value::Number),
    }
}

fn text(value: &[u8]) -> Value {
    value.to_str_lossy().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guest::{LxcConfig, VmConfig};

    #[test]
    fn the_effective_configuration_has_a_digest() {
        let text =
            b"cores: 1\nname: a\n[PENDING]\ncores: 18446744073709551616\ndelete: name\n[sn]\ncores: 5\n";
        let (config, _) = VmConfig::parse(text);
        let digest = config.digest().unwrap().to_string();
        assert_eq!(config.to_json(Secrets::Masked), json!({"cores": 1.84467440737096e19, "digest": digest}));
        assert_eq!(
            config.current_to_json(Secrets::Masked),
            json!({"cores": 1, "digest": digest, "name": "a"})
        );
    }

    #[test]
    fn pending_passwords_look_different() {
        let (config, _) = VmConfig::parse(b"cipassword: a\n[PENDING]\ncipassword: b\ndelete: cores\n");
        let digest = config.digest().unwrap().to_string();
        assert_eq!(
            config.pending_to_json(Secrets::Masked),
            json!([
                {"key": "cipassword", "value": "**********", "pending": "********** "},
                {"key": "cores", "delete": 2},
                {"key": "digest", "value": digest},
            ])
        );
        assert_eq!(config.pending_to_json(Secrets::Shown)[0]["pending"], "b");
    }

    #[test]
    fn containers_have_pairs() {
        let (config, _) =
            LxcConfig::parse(b"memory: 512\ncores: many\nlxc.cap.drop: a\nlxc.cap.drop: \xff\n");
        assert_eq!(
            Value::Object(config.main.to_json(Secrets::Masked)),
            json!({"cores": "many", "memory": 512, "lxc": [["lxc.cap.drop", "a"], ["lxc.cap.drop", "\u{fffd}"]]})
        );
    }
}
