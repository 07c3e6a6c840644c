// SPDX-License-Identifier: MIT OR Apache-2.0
//! What volumes of a type can do in which state, as a table, and why not.

use std::fmt;

use bstr::BString;
use pve_volid::{ContentType, ImageFormat};
use serde::Serialize;

/// Something that a volume may be able to do (spec: volumes, "Capabilities").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Feature {
    /// Keep its content of this moment.
    Snapshot,
    /// Be the base of a linked clone.
    Clone,
    /// Become a base volume.
    Template,
    /// Be copied in full.
    Copy,
    /// Be written as a copy without writing zeros.
    SparseInit,
    /// Change its owner.
    Rename,
    /// Be replicated to another node.
    Replicate,
}

impl Feature {
    /// All features.
    pub const ALL: &'static [Feature] = &[
        Feature::Snapshot,
        Feature::Clone,
        Feature::Template,
        Feature::Copy,
        Feature::SparseInit,
        Feature::Rename,
        Feature::Replicate,
    ];

    /// The name that the reference uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Feature::Snapshot => "snapshot",
            Feature::Clone => "clone",
            Feature::Template => "template",
            Feature::Copy => "copy",
            Feature::SparseInit => "sparseinit",
            Feature::Rename => "rename",
            Feature::Replicate => "replicate",
        }
    }

    /// The feature of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|feature| feature.as_str() == name)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What part of a volume a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// An ordinary volume, as it is now.
    Current,
    /// The volume of a template.
    Base,
    /// One of its snapshots.
    Snapshot,
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            VolumeState::Current => "an ordinary volume",
            VolumeState::Base => "a base volume",
            VolumeState::Snapshot => "a snapshot",
        })
    }
}

/// One row of a type's table: a feature that volumes have in these states and formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FeatureRule {
    /// The feature.
    pub feature: Feature,
    /// The states in which the row holds.
    pub states: &'static [VolumeState],
    /// The formats for which it holds; `None`: whatever the format.
    pub formats: Option<&'static [ImageFormat]>,
}

impl FeatureRule {
    /// A row that holds whatever the format.
    #[must_use]
    pub const fn any(feature: Feature, states: &'static [VolumeState]) -> Self {
        FeatureRule { feature, states, formats: None }
    }

    /// A row that holds for some formats.
    #[must_use]
    pub const fn of(
        feature: Feature,
        states: &'static [VolumeState],
        formats: &'static [ImageFormat],
    ) -> Self {
        FeatureRule { feature, states, formats: Some(formats) }
    }
}

/// Why a volume cannot do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No volume of the type can, in any state.
    #[error("no volume of a storage of type '{kind}' has feature '{feature}'")]
    Type {
        /// The type.
        kind: BString,
        /// The feature.
        feature: Feature,
    },
    /// Not in this state.
    #[error("{state} on a storage of type '{kind}' does not have feature '{feature}', but {} does", either(.possible))]
    State {
        /// The type.
        kind: BString,
        /// The feature.
        feature: Feature,
        /// The state asked about.
        state: VolumeState,
        /// States in which a volume of this format has it.
        possible: Vec<VolumeState>,
    },
    /// Not in this format.
    #[error("{state} in format '{format}' does not have feature '{feature}' (formats that have it: {})", join(.possible))]
    Format {
        /// The feature.
        feature: Feature,
        /// The state asked about.
        state: VolumeState,
        /// The volume's format.
        format: String,
        /// Formats with which it has the feature in this state.
        possible: Vec<ImageFormat>,
    },
    /// The result would have a format that the caller does not accept.
    #[error("the linked clone would have format '{result}', which is not accepted")]
    Target {
        /// The format of the clone.
        result: ImageFormat,
    },
    /// A rule of its own of the type.
    #[error("{0}")]
    Other(String),
}

fn join(formats: &[ImageFormat]) -> String {
    formats.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ")
}

fn either(states: &[VolumeState]) -> String {
    states.iter().map(VolumeState::to_string).collect::<Vec<_>>().join(" or ")
}

/// Looks a feature up in the rows of a type.
pub(crate) fn look_up(
    rules: &[FeatureRule],
    kind: &[u8],
    feature: Feature,
    state: VolumeState,
    format: Option<ImageFormat>,
    format_text: &dyn fmt::Display,
) -> Result<(), Refusal> {
    let fits = |rule: &FeatureRule| match rule.formats {
        None => true,
        Some(formats) => format.is_some_and(|format| formats.contains(&format)),
    };
    let rules: Vec<&FeatureRule> = rules.iter().filter(|rule| rule.feature == feature).collect();
    if rules.iter().any(|rule| rule.states.contains(&state) && fits(rule)) {
        return Ok(());
    }
    let kind = BString::from(kind);
    if rules.is_empty() {
        return Err(Refusal::Type { kind, feature });
    }
    let possible: Vec<VolumeState> =
        rules.iter().filter(|rule| fits(rule)).flat_map(|rule| rule.states).copied().collect();
    if !possible.is_empty() || !rules.iter().any(|rule| rule.states.contains(&state)) {
        return Err(Refusal::State { kind, feature, state, possible });
    }
    let here = rules.iter().filter(|rule| rule.states.contains(&state));
    let possible = here.filter_map(|rule| rule.formats).flatten().copied().collect();
    Err(Refusal::Format { feature, state, format: format_text.to_string(), possible })
}

/// How snapshots of a running guest's volume are made (`volume_qemu_snapshot_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotMethod {
    /// By the storage.
    Storage,
    /// By QEMU, inside the image.
    Qemu,
    /// By both: the storage makes the files or volumes, QEMU switches to them.
    Mixed,
}

impl SnapshotMethod {
    /// The name that the reference uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SnapshotMethod::Storage => "storage",
            SnapshotMethod::Qemu => "qemu",
            SnapshotMethod::Mixed => "mixed",
        }
    }
}

/// What a storage offers: what the reference's plugin data tell the graphical interface, and more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Features {
    /// Content types that `content` may name.
    pub content: &'static [ContentType],
    /// Content types of a storage whose section does not set `content`.
    pub default_content: &'static [ContentType],
    /// Formats of new images; the first is the default of this storage.
    pub formats: Vec<ImageFormat>,
    /// The matrix of features.
    pub rules: &'static [FeatureRule],
    /// Whether all nodes see the same volumes.
    pub shared: bool,
}
