// SPDX-License-Identifier: MIT OR Apache-2.0
//! SECTION_CONFIG: section files of made-up schemas, read, written and changed.

use std::borrow::Cow;
use std::path::Path;

use pve_config::format::Format;
use pve_config::rule::{Pattern, Rule};
use pve_config::section::{
    Expose, Mode, Number, OptionFlags, PropertySchema, Purpose, Schema, Section, SectionFormat,
    TypeDeclaration,
};
use serde_json::{Map, Value, json};

use crate::{Actual, bytes};

type Config<'a> = pve_config::section::SectionConfig<'a>;
type SectionValue = pve_config::section::Value<'static>;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let format = SectionFormat::plain(schema(&case["schema"])?)
        .allow_unknown(case["allow_unknown"].as_bool().unwrap_or_default());
    match case["op"].as_str() {
        Some("parse") => parse(case, &format),
        Some("update") => update(case, &format),
        other => Err(format!("unknown op {other:?}")),
    }
}

fn parse(case: &Value, format: &SectionFormat<'_>) -> Actual {
    let text = bytes::read(&case["text"]).ok_or("no text")?;
    let file_name = case["filename"].as_str().unwrap_or_default();
    let config = format.parse(&text);
    let mut seen = sections(&config);
    let errors = config.errors().iter().map(|error| {
        json!({
            "context": error.context(file_name),
            "section": bytes::write(&error.section),
            "key": bytes::write(&error.key),
        })
    });
    seen.insert("errors".into(), errors.collect());
    seen.insert("warnings".into(), config.warnings().into());
    match format.write(&config) {
        Ok(text) => seen.insert("written".into(), bytes::write(&text)),
        Err(_) => seen.insert("write_error".into(), true.into()),
    };
    Ok(Value::Object(seen))
}

/// `ids`, `order` and `digest` of a parsed file.
pub(crate) fn sections(config: &Config<'_>) -> Map<String, Value> {
    let name = |id: &bstr::BStr| String::from_utf8_lossy(id).into_owned();
    let ids: Map<_, _> = config.ids().map(|(id, section)| (name(id), json!(section))).collect();
    let order: Map<_, _> =
        config.ids().filter_map(|(id, _)| Some((name(id), config.order(id)?.into()))).collect();
    let members = json!({ "ids": ids, "order": order, "digest": config.digest() });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn update(case: &Value, format: &SectionFormat<'_>) -> Actual {
    let kind = case["type"].as_str().ok_or("no type")?;
    let mut section = section(kind, &case["config"])?;
    let set = self::section(kind, &case["set"])?;
    let names: Vec<&str> =
        case["delete"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let set = format.check_config(kind.as_bytes(), b"x", set, Purpose::Update).map_err(|e| e.to_string())?;
    format
        .delete_properties(&mut section, names.iter().map(|name| name.as_bytes()), &set)
        .map_err(|e| e.to_string())?;
    section.merge(set);
    Ok(json!({ "config": section }))
}

fn section(kind: &str, values: &Value) -> Result<Section<'static>, String> {
    let mut section = Section::new(Cow::Owned(kind.into()));
    for (key, value) in values.as_object().ok_or("no values")? {
        if key != "type" {
            section.set(Cow::Owned(key.as_str().into()), self::value(value)?);
        }
    }
    Ok(section)
}

/// A property value as the cases write it.
pub(crate) fn value(value: &Value) -> Result<SectionValue, String> {
    Ok(match value {
        Value::Null => SectionValue::Null,
        Value::Number(number) => {
            let text = number.to_string();
            SectionValue::Number(Number::parse(text.as_bytes()).ok_or_else(|| format!("number {text}"))?)
        }
        Value::Array(list) => SectionValue::List(list.iter().map(self::value).collect::<Result<_, _>>()?),
        other => SectionValue::Text(Cow::Owned(bytes::read(other).ok_or("not a text")?.into())),
    })
}

/// The schema of a case. The words and patterns of the schemas live as long as the program: there are few of them.
fn schema(value: &Value) -> Result<Schema<'static>, String> {
    let mode = if is_true(&value["isolated"]) { Mode::Isolated } else { Mode::Unified };
    let base = properties(&value["base"])?;
    let mut types = Vec::new();
    for (name, declared) in value["types"].as_object().ok_or("no types")? {
        let mut declaration = TypeDeclaration::new(name.clone());
        declaration.properties = properties(&declared["properties"])?;
        for (option, flags) in declared["options"].as_object().into_iter().flatten() {
            let flags =
                OptionFlags { optional: is_true(&flags["optional"]), fixed: is_true(&flags["fixed"]) };
            declaration = declaration.option(option.clone(), flags);
        }
        if is_true(&declared["isolate"]) {
            let expose = if is_true(&declared["expose"]) { Expose::All } else { Expose::Nothing };
            declaration = declaration.isolated(expose);
        }
        types.push(declaration);
    }
    Schema::new(mode, base, types).map_err(|e| e.to_string())
}

type Properties = Vec<(Cow<'static, str>, PropertySchema<'static>)>;

fn properties(value: &Value) -> Result<Properties, String> {
    let declared = value.as_object().into_iter().flatten();
    declared.map(|(name, schema)| Ok((name.clone().into(), property(schema)?))).collect()
}

fn property(schema: &Value) -> Result<PropertySchema<'static>, String> {
    let mut property = match schema["type"].as_str() {
        Some("array") => PropertySchema::array(rule(&schema["items"])?),
        _ => PropertySchema::one(rule(schema)?),
    };
    if is_true(&schema["optional"]) {
        property = property.optional();
    }
    Ok(property)
}

fn rule(schema: &Value) -> Result<Rule<'static>, String> {
    let mut rule = match schema["type"].as_str() {
        Some("string") => Rule::string(),
        Some("integer") => Rule::integer(),
        Some("number") => Rule::number(),
        Some("boolean") => Rule::boolean(),
        other => return Err(format!("unknown type {other:?}")),
    };
    if let Some(name) = schema["format"].as_str() {
        rule = rule.format(Format::named(name).ok_or_else(|| format!("unknown format {name}"))?);
    }
    if let Some(source) = schema["pattern"].as_str() {
        let source: &'static str = source.to_owned().leak();
        let regex = Box::leak(Box::new(Pattern::compile(source).map_err(|e| e.to_string())?));
        rule = rule.pattern(Pattern::new(source, regex));
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&'static str> =
            words.iter().filter_map(|word| Some(&*word.as_str()?.to_owned().leak())).collect();
        rule = rule.words(words.leak());
    }
    rule.minimum = schema["minimum"].as_f64();
    rule.maximum = schema["maximum"].as_f64();
    rule.min_length = schema["minLength"].as_u64().and_then(|length| length.try_into().ok());
    rule.max_length = schema["maxLength"].as_u64().and_then(|length| length.try_into().ok());
    Ok(rule)
}

fn is_true(value: &Value) -> bool {
    value.as_i64() == Some(1) || value.as_bool() == Some(true)
}
