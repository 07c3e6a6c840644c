// SPDX-License-Identifier: MIT OR Apache-2.0
//! Custom CPU models: the sections of `virtual-guest/cpu-models.conf`.

use std::sync::LazyLock;

use bstr::BStr;

use super::cpu::CUSTOM_CPU;
use super::cpu_models::REPORTED_MODELS;
use crate::diagnostic::Diagnostics;
use crate::format::{Context, is_falsy};
use crate::rule::Rule;
use crate::section::{
    Dialect, Mode, OptionFlags, Place, PropertySchema, Schema, Section, SectionConfig, SectionFormat,
    TypeDeclaration, Value,
};

/// A custom CPU model, which a VM has as `cpu: custom-NAME`. What the file sets to a falsy value (`hidden 0`) counts as
/// not set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CustomModel<'m> {
    /// Its name, without `custom-`.
    pub name: &'m BStr,
    section: &'m Section<'m>,
}

impl<'m> CustomModel<'m> {
    /// The model that the guest sees; `kvm64` if the file does not say.
    #[must_use]
    pub fn reported_model(&self) -> &'m BStr {
        self.text("reported-model").unwrap_or(BStr::new("kvm64"))
    }

    /// Whether the guest is not told that it is virtual.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.section.is_true("hidden")
    }

    /// A key of the section as text, if it is set: `flags`, `phys-bits` …
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'m BStr> {
        self.section.text(key).filter(|text| !is_falsy(text))
    }

    /// A number of the section, if it is set: `level`, `guest-phys-bits`.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        let number = self.section.get(key).and_then(Value::as_number)?.as_i64()?;
        u64::try_from(number).ok().filter(|number| *number != 0)
    }
}

/// The custom CPU models of a cluster.
///
/// ```
/// use pve_config::format::Context;
/// use pve_config::vm::CustomModels;
///
/// let text = b"cpu-model: db\n\treported-model EPYC\n\tflags +aes;+avx\n\thidden 0\n\tlevel x\n";
/// let models = CustomModels::parse(text, &Context::default());
/// let db = models.get(b"db").unwrap();
/// assert_eq!(db.reported_model(), "EPYC");
/// assert_eq!(db.text("flags").unwrap(), "+aes;+avx");
/// assert!(!db.is_hidden());
/// assert_eq!(models.diagnostics()[0].line, 5);
/// ```
#[derive(Debug, Clone, Default)]
pub struct CustomModels<'a> {
    sections: SectionConfig<'a>,
}

impl<'a> CustomModels<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "virtual-guest/cpu-models.conf";

    /// Reads a text. Nothing in it is fatal: a bad key is left out and told about. `context` says which models the
    /// installed QEMU has.
    #[must_use]
    pub fn parse(text: &'a [u8], context: &Context<'_>) -> Self {
        static SCHEMA: LazyLock<Schema<'static>> =
            // the declarations make a schema: a test sees to that
            LazyLock::new(|| schema().unwrap_or_default());
        let dialect = CpuModelDialect { models: *context };
        CustomModels { sections: SectionFormat::new(SCHEMA.clone(), dialect).parse(text) }
    }

    /// Every model, in file order.
    pub fn models(&self) -> impl Iterator<Item = CustomModel<'_>> {
        self.sections.sections().map(|(name, section)| CustomModel { name, section })
    }

    /// The model with this name, without `custom-`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<CustomModel<'_>> {
        self.models().find(|model| model.name == name)
    }

    /// Everything that is left out.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        self.sections.diagnostics()
    }

    /// The generic view.
    #[must_use]
    pub fn sections(&self) -> &SectionConfig<'a> {
        &self.sections
    }
}

/// The keys of [`CUSTOM_CPU`], each a property of the section.
fn schema() -> Option<Schema<'static>> {
    let declared = CUSTOM_CPU.keys().filter(|key| key.name != "cputype").fold(
        TypeDeclaration::new("cpu-model"),
        |declared, key| {
            // which models there are is for the context to say
            let rule = if key.name == REPORTED { Rule::string() } else { key.rule };
            declared.property(key.name, PropertySchema::one(rule)).option(key.name, OptionFlags::OPTIONAL)
        },
    );
    Schema::new(Mode::Unified, Vec::new(), vec![declared]).ok()
}

const REPORTED: &str = "reported-model";

/// What cpu-models.conf changes on the general rules: a reported model must be one that QEMU has.
#[derive(Clone, Copy)]
struct CpuModelDialect<'c> {
    models: Context<'c>,
}

impl Dialect for CpuModelDialect<'_> {
    fn decodes(&self, key: &str) -> bool {
        key == REPORTED
    }

    fn decode<'a>(
        &self,
        _place: &Place<'_>,
        value: Value<'a>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Value<'a>>, String> {
        let Some(name) = value.as_text() else { return Ok(Some(value)) };
        let is_known = match self.models.cpu_models {
            Some(models) => name == "host" || models.iter().any(|model| model == name),
            None => REPORTED_MODELS.iter().any(|model| name == *model),
        };
        if is_known {
            return Ok(Some(value));
        }
        warn(format!("{name:?} is no CPU model of QEMU: it is left out"));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_format() {
        let schema = schema().unwrap();
        let model = schema.section_type(b"cpu-model").unwrap();
        let names: Vec<_> = model.options().map(|(property, _)| property.name).collect();
        let expected =
            ["flags", "guest-phys-bits", "hidden", "hv-vendor-id", "level", "phys-bits", "reported-model"];
        assert_eq!(names, expected);
    }

    #[test]
    fn bad_keys_are_left_out() {
        let text = b"cpu-model: a\n\treported-model nope\n\tflags aes\n\tlevel 0\n\tphys-bits host\n\tguest-phys-bits 42\n\
            \tcputype x\n\ncpu-model: b\n\nother: c\n";
        let models = CustomModels::parse(text, &Context::default());
        let a = models.get(b"a").unwrap();
        assert_eq!((a.reported_model(), a.text("flags"), a.number("level")), ("kvm64".into(), None, None));
        assert_eq!((a.text("phys-bits"), a.number("guest-phys-bits")), (Some("host".into()), Some(42)));
        let lines: Vec<_> = models.diagnostics().iter().map(|found| found.line).collect();
        assert_eq!(lines, [3, 7, 2, 11]);
        assert_eq!(models.models().count(), 2);
        let known = ["nope".into()];
        let models = CustomModels::parse(text, &Context::default().with_cpu_models(&known));
        assert_eq!(models.get(b"a").unwrap().reported_model(), "nope");
    }
}
