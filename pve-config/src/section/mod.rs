// SPDX-License-Identifier: MIT OR Apache-2.0
//! Section files: the format of storage.cfg, jobs.cfg, replication.cfg, the HA, mapping and CPU model files.
//!
//! # The format
//!
//! A section begins with a header `TYPE: ID` in the first column. The indented lines below it are its properties, each
//! a name and, behind white space, a value. An empty line ends the section:
//!
//! ```text
//! dir: local
//!         path /var/lib/vz
//!         content iso,vztmpl,backup
//!
//! # a comment
//! nfs: nas
//!         server 10.0.0.1
//!         export /srv
//!         disable
//! ```
//!
//! There is no quoting and no continuation of lines. Only an *empty* line ends a section (or the single character `0`):
//! one with white space in it does not, nor does a new header. So in a file with CR LF line ends everything ends up in
//! the first section. Nothing in a file is fatal for the reference; it warns, and leaves out what it does not like.
//!
//! # Four floors
//!
//! Each can be used alone.
//!
//! 1. **Lines.** [`Lexer`] tells the lines of a text apart and copies nothing; [`Outline`] gathers them to borrowed
//!    sections. Neither knows a schema.
//! 2. **Document.** [`Document`] reprints its input byte for byte, and changes one property or section without touching
//!    anything else: comments, spacing, and what nobody understands.
//! 3. **Sections by a schema.** A [`SectionFormat`] is a [`Schema`] (types, properties, who may use which) with a
//!    [`Dialect`] (what a kind of file changes on the general rules). It parses a text to a [`SectionConfig`], exactly as
//!    the reference does and with a located [diagnostic](crate::Diagnostic) for everything left out; it checks changes; it
//!    writes the canonical form.
//! 4. **Meaning.** [`crate::storage`] makes typed storages of storage.cfg.
//!
//! # Reading and changing a file
//!
//! ```
//! use bstr::BStr;
//! use pve_config::section::{Purpose, Section, Value, check_digest};
//! use pve_config::storage;
//!
//! let text = b"dir: scratch\n\tpath //srv/scratch/\n\tshared no\n\n";
//! let mut file = storage::format().parse(text);
//!
//! // values are decoded, and what is wrong is told
//! let scratch = file.get(b"scratch").unwrap();
//! assert_eq!(scratch.text("path").unwrap(), "/srv/scratch");
//! assert_eq!(file.warnings(), 1);
//! assert_eq!(
//!     file.diagnostics()[0].to_string(),
//!     "line 3, column 9: error: invalid value of \"shared\": \"no\" is not a boolean; write 1 or 0"
//! );
//!
//! // a change: checked like the API does, refused if somebody else was faster
//! check_digest(file.digest(), "")?;
//! let mut new = Section::new(BStr::new("dir"));
//! new.set(BStr::new("content"), Value::text(b"images,iso"));
//! let new = storage::format().check_config(b"dir", b"scratch", new, Purpose::Update)?;
//! file.get_mut(b"scratch").unwrap().merge(new);
//! assert_eq!(
//!     storage::format().write(&file)?,
//!     "dir: scratch\n\tpath /srv/scratch\n\tcontent images,iso\n\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Broken sections
//!
//! A section of a known type whose values do not make sense together (a required property is missing, say) stays in
//! the file as a *broken* one: it does not work, and while it is there the file cannot be written, so that no unrelated
//! change loses it. A section of *unknown* type is ignored, and lost when the reference writes the file; it is kept in
//! [`SectionConfig::skipped`], so that it can be shown. Use a [`Document`] to change a file and lose nothing.

mod document;
mod format;
mod guest_index;
mod key_table;
mod line;
mod number;
mod outline;
mod parse;
mod property;
mod schema;
mod update;
mod value;
mod write;

pub use document::{Document, EditError, SectionText};
pub use format::{Dialect, Place, PlainDialect, SectionFormat};
pub(crate) use guest_index::GuestIndex;
pub use line::{Event, HeaderSyntax, Lexer, Line, is_space};
pub use number::Number;
pub use outline::{Outline, RawProperty, RawSection};
pub(crate) use parse::{PieceReader, ReadPiece, Seen, converted};
pub use property::PropertySchema;
pub use schema::{Expose, Mode, OptionFlags, Property, Schema, SchemaError, TypeDeclaration, TypeView};
pub use update::{Purpose, SectionError, check_digest};
pub use value::{PropertyError, Section, SectionConfig, SkipReason, SkippedSection, Value};
pub use write::WriteError;
