// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a section file may hold: its section types, their properties, and who may use which.

use std::borrow::Cow;

use thiserror::Error;

use super::key_table::KeyTable;
use super::property::PropertySchema;
use crate::rule::Rule;

/// How a section type uses a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptionFlags {
    /// The section is complete without the property.
    pub optional: bool,
    /// The property cannot be changed or deleted once the section exists.
    pub fixed: bool,
}

impl OptionFlags {
    /// The property must be set, and may be changed.
    pub const REQUIRED: Self = OptionFlags { optional: false, fixed: false };
    /// The property may be left out.
    pub const OPTIONAL: Self = OptionFlags { optional: true, fixed: false };
    /// The property must be set, once and for all.
    pub const FIXED: Self = OptionFlags { optional: false, fixed: true };
    /// The property may be set when the section is created, and cannot be changed later.
    pub const OPTIONAL_FIXED: Self = OptionFlags { optional: true, fixed: true };
}

/// Which properties of an isolated type other types may use. (spec: section-config, "Property modes")
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Expose<'s> {
    /// None of them.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// Those named here.
    Only(Vec<Cow<'s, str>>),
}

/// The declaration of a section type.
///
/// ```
/// use pve_config::rule::Rule;
/// use pve_config::section::{OptionFlags, PropertySchema, TypeDeclaration};
///
/// let lvm = TypeDeclaration::new("lvm")
///     .property("vgname", PropertySchema::one(Rule::string()))
///     .option("vgname", OptionFlags::FIXED)
///     .option("content", OptionFlags::OPTIONAL);
/// assert_eq!(lvm.name, "lvm");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TypeDeclaration<'s> {
    /// The name that stands in section headers.
    pub name: Cow<'s, str>,
    /// The properties that this type declares.
    pub properties: Vec<(Cow<'s, str>, PropertySchema<'s>)>,
    /// The properties that sections of this type may have, whoever declared them.
    pub options: Vec<(Cow<'s, str>, OptionFlags)>,
    /// The properties of this type are a name space of their own, although the file is unified otherwise.
    pub isolated: bool,
    /// What of that name space others see.
    pub expose: Expose<'s>,
}

impl<'s> TypeDeclaration<'s> {
    /// A type without properties.
    #[must_use]
    pub fn new(name: impl Into<Cow<'s, str>>) -> Self {
        TypeDeclaration { name: name.into(), ..TypeDeclaration::default() }
    }

    /// The same with one more declared property.
    #[must_use]
    pub fn property(mut self, name: impl Into<Cow<'s, str>>, schema: PropertySchema<'s>) -> Self {
        self.properties.push((name.into(), schema));
        self
    }

    /// The same with one more usable property.
    #[must_use]
    pub fn option(mut self, name: impl Into<Cow<'s, str>>, flags: OptionFlags) -> Self {
        self.options.push((name.into(), flags));
        self
    }

    /// The same with a name space of its own, of which others see what `expose` says.
    #[must_use]
    pub fn isolated(mut self, expose: Expose<'s>) -> Self {
        self.isolated = true;
        self.expose = expose;
        self
    }
}

/// Whether the types of a file share their properties. (spec: section-config, "Property modes")
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// All properties live in one name space; a type may use whatever any type declared.
    #[default]
    Unified,
    /// Each type has a name space of its own, and may use properties of the base list beside them.
    Isolated,
}

/// Why declarations do not make a schema: a mistake of the programmer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Two types have the same name.
    #[error("type \"{kind}\" is declared twice")]
    DuplicateType {
        /// The name.
        kind: String,
    },
    /// A property is declared twice in one name space.
    #[error("property \"{property}\" of type \"{kind}\" is declared already")]
    DuplicateProperty {
        /// The type that declares it again.
        kind: String,
        /// The name of the property.
        property: String,
    },
    /// A type lists an option that it cannot see.
    #[error("type \"{kind}\" uses property \"{property}\", which neither it nor the base list declares")]
    UnknownOption {
        /// The type with the option.
        kind: String,
        /// The name of the property.
        property: String,
    },
}

/// A property as one section type sees it.
#[derive(Debug, Clone, Copy)]
pub struct Property<'s> {
    /// Its name.
    pub name: &'s str,
    /// What its values look like.
    pub schema: &'s PropertySchema<'s>,
    /// How the type uses it; `None` if it is not in the option table of the type, so that no section may have it.
    pub flags: Option<OptionFlags>,
}

/// The schema of a kind of section file: what [`SectionFormat`](super::SectionFormat) reads and writes by.
///
/// ```
/// use pve_config::rule::Rule;
/// use pve_config::section::{Mode, OptionFlags, PropertySchema, Schema, TypeDeclaration};
///
/// let base = vec![("comment".into(), PropertySchema::one(Rule::string()))];
/// let realm = TypeDeclaration::new("ldap")
///     .property("port", PropertySchema::one(Rule::integer().minimum(1.0).maximum(65535.0)))
///     .option("port", OptionFlags::OPTIONAL)
///     .option("comment", OptionFlags::OPTIONAL);
/// let schema = Schema::new(Mode::Unified, base, vec![realm])?;
///
/// let ldap = schema.section_type(b"ldap").unwrap();
/// assert!(ldap.property(b"port").unwrap().schema.check(b"389").is_ok());
/// assert!(ldap.property(b"port").unwrap().schema.check(b"0").is_err());
/// # Ok::<(), pve_config::section::SchemaError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Schema<'s> {
    properties: Vec<PropertySchema<'s>>,
    types: Vec<SectionType<'s>>,
    names: KeyTable,
}

#[derive(Debug, Clone)]
struct SectionType<'s> {
    name: Cow<'s, str>,
    /// Every name the type can see, in ascending byte order.
    visible: Vec<Visible<'s>>,
    names: KeyTable,
    /// Positions in `visible` of what no section may lack.
    required: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Visible<'s> {
    name: Cow<'s, str>,
    /// Position in [`Schema::properties`].
    schema: usize,
    flags: Option<OptionFlags>,
}

/// A list of names with the position of their schema.
type Names<'s> = Vec<(Cow<'s, str>, usize)>;

impl<'s> Schema<'s> {
    /// The schema made of a base property list and section types. The property `type` is always there, and need not
    /// be declared.
    ///
    /// # Errors
    /// [`SchemaError`] for contradicting declarations.
    pub fn new(
        mode: Mode,
        base: Vec<(Cow<'s, str>, PropertySchema<'s>)>,
        types: Vec<TypeDeclaration<'s>>,
    ) -> Result<Self, SchemaError> {
        let mut properties = vec![PropertySchema::one(Rule::string())];
        let mut global: Names<'s> = vec![("type".into(), 0)];
        let mut own: Vec<Names<'s>> = Vec::new();
        for (name, schema) in base {
            if name != "type" {
                declare(&mut global, &mut properties, "", name, schema)?;
            }
        }
        let any_isolated = mode == Mode::Isolated || types.iter().any(|declared| declared.isolated);
        let base_length = global.len();
        for declared in &types {
            let mut names = Names::new();
            let isolated = mode == Mode::Isolated || declared.isolated;
            for (name, schema) in &declared.properties {
                let (name, schema) = (name.clone(), *schema);
                if isolated {
                    let exposed = declared.isolated
                        && match &declared.expose {
                            Expose::Nothing => false,
                            Expose::All => true,
                            Expose::Only(only) => only.contains(&name),
                        };
                    declare(&mut names, &mut properties, &declared.name, name.clone(), schema)?;
                    if exposed {
                        expose(&mut global, &declared.name, name, properties.len() - 1)?;
                    }
                } else {
                    declare(&mut global, &mut properties, &declared.name, name.clone(), schema)?;
                    if any_isolated {
                        // once any type isolates, every type looks at its own declarations first
                        names.push((name, properties.len() - 1));
                    }
                }
            }
            own.push(names);
        }
        let mut schema = Schema { properties, types: Vec::new(), names: KeyTable::default() };
        for (declared, own) in types.into_iter().zip(own) {
            let isolated = mode == Mode::Isolated || declared.isolated;
            let seen = if isolated { global.get(..base_length).unwrap_or_default() } else { &global };
            let section_type = schema.section_type_of(declared, isolated, &own, seen)?;
            schema.types.push(section_type);
        }
        schema.names = KeyTable::new(schema.types.iter().map(|section_type| section_type.name.as_ref()));
        for (at, section_type) in schema.types.iter().enumerate() {
            if schema.types.iter().skip(at + 1).any(|other| other.name == section_type.name) {
                return Err(SchemaError::DuplicateType { kind: section_type.name.to_string() });
            }
        }
        Ok(schema)
    }

    /// The section type called `name`.
    #[must_use]
    pub fn section_type(&self, name: &[u8]) -> Option<TypeView<'_>> {
        let at = self.names.find(name, |at| self.types.get(at).map(|found| found.name.as_ref()))?;
        Some(TypeView { schema: self, section_type: self.types.get(at)? })
    }

    /// Every section type, in the order of declaration.
    pub fn section_types(&self) -> impl Iterator<Item = TypeView<'_>> {
        self.types.iter().map(|section_type| TypeView { schema: self, section_type })
    }

    /// Resolves what a type sees: its own names before those of others, with the flags of its option table.
    fn section_type_of(
        &self,
        declared: TypeDeclaration<'s>,
        isolated: bool,
        own: &Names<'s>,
        seen: &[(Cow<'s, str>, usize)],
    ) -> Result<SectionType<'s>, SchemaError> {
        let mut visible: Vec<Visible<'s>> = Vec::new();
        for (name, schema) in own.iter().chain(seen) {
            if !visible.iter().any(|known| known.name == *name) {
                visible.push(Visible { name: name.clone(), schema: *schema, flags: None });
            }
        }
        if isolated {
            for (known, (_, schema)) in visible.iter_mut().zip(own) {
                let optional = self.properties.get(*schema).is_some_and(|schema| schema.is_optional());
                known.flags = Some(OptionFlags { optional, fixed: false });
            }
        }
        for (name, flags) in declared.options {
            match visible.iter_mut().find(|known| known.name == name) {
                Some(known) => known.flags = Some(flags),
                None => {
                    let (kind, property) = (declared.name.to_string(), name.to_string());
                    return Err(SchemaError::UnknownOption { kind, property });
                }
            }
        }
        visible.sort_by(|a, b| a.name.cmp(&b.name));
        let names = KeyTable::new(visible.iter().map(|known| known.name.as_ref()));
        let is_required = |known: &Visible<'_>| known.flags.is_some_and(|flags| !flags.optional);
        let required =
            visible.iter().enumerate().filter(|(_, known)| is_required(known)).map(|(at, _)| at).collect();
        Ok(SectionType { name: declared.name, visible, names, required })
    }
}

fn declare<'s>(
    names: &mut Names<'s>,
    properties: &mut Vec<PropertySchema<'s>>,
    kind: &str,
    name: Cow<'s, str>,
    schema: PropertySchema<'s>,
) -> Result<(), SchemaError> {
    properties.push(schema);
    expose(names, kind, name, properties.len() - 1)
}

fn expose<'s>(
    names: &mut Names<'s>,
    kind: &str,
    name: Cow<'s, str>,
    schema: usize,
) -> Result<(), SchemaError> {
    if names.iter().any(|(known, _)| *known == name) {
        return Err(SchemaError::DuplicateProperty { kind: kind.to_owned(), property: name.into_owned() });
    }
    names.push((name, schema));
    Ok(())
}

/// A section type of a [`Schema`].
#[derive(Debug, Clone, Copy)]
pub struct TypeView<'s> {
    schema: &'s Schema<'s>,
    section_type: &'s SectionType<'s>,
}

impl<'s> TypeView<'s> {
    /// The name that stands in section headers.
    #[must_use]
    pub fn name(&self) -> &'s str {
        &self.section_type.name
    }

    /// The property called `name`, if this type can see one, whether or not it may be used.
    #[must_use]
    #[inline]
    pub fn property(&self, name: &[u8]) -> Option<Property<'s>> {
        self.property_with_position(name).map(|(_, property)| property)
    }

    /// The property called `name`, and its position among all that this type can see.
    #[inline]
    pub(crate) fn property_with_position(&self, name: &[u8]) -> Option<(usize, Property<'s>)> {
        let visible = &self.section_type.visible;
        let at = self.section_type.names.find(name, |at| visible.get(at).map(|known| known.name.as_ref()))?;
        Some((at, self.resolve(visible.get(at)?)?))
    }

    /// The names of the properties that no section may lack, with their positions among all that this type can see.
    pub(crate) fn required(&self) -> impl Iterator<Item = (usize, &'s str)> + use<'s> {
        let section_type = self.section_type;
        let named = move |at: &usize| Some((*at, section_type.visible.get(*at)?.name.as_ref()));
        section_type.required.iter().filter_map(named)
    }

    /// Every property that sections of this type may have, in ascending byte order of the names.
    pub fn options(&self) -> impl Iterator<Item = (Property<'s>, OptionFlags)> + use<'s> {
        let view = *self;
        view.section_type.visible.iter().filter_map(move |known| Some((view.resolve(known)?, known.flags?)))
    }

    fn resolve(&self, known: &'s Visible<'s>) -> Option<Property<'s>> {
        let schema = self.schema.properties.get(known.schema)?;
        Some(Property { name: &known.name, schema, flags: known.flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer() -> PropertySchema<'static> {
        PropertySchema::one(Rule::integer())
    }

    #[test]
    fn unified_types_share_their_properties() {
        let a = TypeDeclaration::new("a").property("p", integer());
        let b = TypeDeclaration::new("b").option("p", OptionFlags::FIXED);
        let schema = Schema::new(Mode::Unified, Vec::new(), vec![a.clone(), b]).unwrap();
        assert!(schema.section_type(b"a").unwrap().property(b"p").unwrap().flags.is_none());
        assert_eq!(
            schema.section_type(b"b").unwrap().property(b"p").unwrap().flags,
            Some(OptionFlags::FIXED)
        );
        assert!(schema.section_type(b"c").is_none());

        let again = TypeDeclaration::new("c").property("p", integer());
        assert_eq!(
            Schema::new(Mode::Unified, Vec::new(), vec![a.clone(), again]).unwrap_err(),
            SchemaError::DuplicateProperty { kind: "c".into(), property: "p".into() }
        );
        assert!(matches!(
            Schema::new(Mode::Unified, Vec::new(), vec![a.clone(), a]).unwrap_err(),
            SchemaError::DuplicateProperty { .. }
        ));
    }

    #[test]
    fn isolated_types_see_their_own_and_the_base() {
        let base = vec![("p".into(), PropertySchema::one(Rule::string())), ("q".into(), integer())];
        let a = TypeDeclaration::new("a").property("p", integer()).property("own", integer().optional());
        let b = TypeDeclaration::new("b").option("q", OptionFlags::OPTIONAL);
        let schema = Schema::new(Mode::Isolated, base.clone(), vec![a.clone(), b]).unwrap();
        let a_view = schema.section_type(b"a").unwrap();
        assert_eq!(a_view.property(b"p").unwrap().flags, Some(OptionFlags::REQUIRED));
        assert!(a_view.property(b"p").unwrap().schema.check(b"x").is_err());
        assert_eq!(a_view.property(b"own").unwrap().flags, Some(OptionFlags::OPTIONAL));
        assert_eq!(a_view.property(b"q").unwrap().flags, None);
        let b_view = schema.section_type(b"b").unwrap();
        assert!(b_view.property(b"own").is_none());
        assert_eq!(b_view.options().map(|(property, _)| property.name).collect::<Vec<_>>(), ["q"]);

        let thief = TypeDeclaration::new("c").option("own", OptionFlags::OPTIONAL);
        assert_eq!(
            Schema::new(Mode::Isolated, base, vec![a, thief]).unwrap_err(),
            SchemaError::UnknownOption { kind: "c".into(), property: "own".into() }
        );
    }

    #[test]
    fn an_isolated_type_may_expose() {
        let shown = |expose| {
            let a =
                TypeDeclaration::new("a").property("p", integer()).property("q", integer()).isolated(expose);
            let b = TypeDeclaration::new("b").property("q", PropertySchema::one(Rule::string()));
            Schema::new(Mode::Unified, Vec::new(), vec![b, a])
        };
        let names = |schema: &Schema<'_>| {
            let b = schema.section_type(b"b").unwrap();
            [b"p", b"q"].map(|name| b.property(name).is_some())
        };
        assert_eq!(names(&shown(Expose::Nothing).unwrap()), [false, true]);
        assert_eq!(names(&shown(Expose::Only(vec!["p".into()])).unwrap()), [true, true]);
        assert!(matches!(shown(Expose::All), Err(SchemaError::DuplicateProperty { .. })));
    }
}
