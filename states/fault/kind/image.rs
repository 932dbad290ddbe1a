//! What is wrong with the image that the root filesystem is written from: variants of [`Kind`](super::Kind), serialised like
//! the others.
//!
//! `text::image` has the words.

use crate::fault::FaultClass;
use serde::Serialize;

/// What is wrong with the image that the root filesystem is written from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum ImageFault {
    /// Nothing has the image's name.
    #[serde(rename = "image_missing")]
    Missing {
        /// The image.
        #[serde(rename = "image")]
        image: String,
    },
    /// It is nothing that can be an image.
    #[serde(rename = "image_no_file")]
    NoFile {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// What it is.
        #[serde(rename = "found")]
        found: String,
    },
    /// It is not an image.
    #[serde(rename = "image_foreign")]
    Foreign {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// What one begins with.
        #[serde(rename = "magic")]
        magic: String,
    },
    /// It is shorter than it says.
    #[serde(rename = "image_cut_off")]
    CutOff {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// Bytes that are there.
        #[serde(rename = "found_bytes")]
        found_bytes: u64,
        /// Bytes that its header says.
        #[serde(rename = "wanted_bytes")]
        wanted_bytes: u64,
    },
    /// It is of a newer landfall.
    #[serde(rename = "image_newer")]
    Newer {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// The version of its format.
        #[serde(rename = "version")]
        version: u32,
        /// The newest that this landfall knows.
        #[serde(rename = "known")]
        known: u32,
    },
    /// Its header or its manifest is wrong.
    #[serde(rename = "image_damaged")]
    Damaged {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// What is wrong.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// A part of it cannot be read.
    #[serde(rename = "image_part_unreadable")]
    PartUnreadable {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// Which part.
        #[serde(rename = "part")]
        part: String,
        /// How often it was read.
        #[serde(rename = "reads")]
        reads: u32,
        /// What the operating system said.
        #[serde(rename = "said")]
        said: String,
    },
    /// A part of it does not have its digest.
    #[serde(rename = "image_part_wrong")]
    PartWrong {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// Which part.
        #[serde(rename = "part")]
        part: String,
        /// How often it was read.
        #[serde(rename = "reads")]
        reads: u32,
    },
    /// A device differs from the image.
    #[serde(rename = "image_differs")]
    Differs {
        /// The device.
        #[serde(rename = "on")]
        on: String,
        /// In which part.
        #[serde(rename = "part")]
        part: String,
    },
    /// A filesystem is none that an image can be made of.
    #[serde(rename = "not_ext4")]
    NotExt4 {
        /// Where it is.
        #[serde(rename = "on")]
        on: String,
        /// Why not.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// It holds another system than the configuration names.
    #[serde(rename = "image_of_other_system")]
    OtherSystem {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// What it holds.
        #[serde(rename = "found")]
        found: String,
        /// What the configuration says.
        #[serde(rename = "expected")]
        expected: String,
    },
    /// It is another image of the same system than the one that the configuration pins.
    #[serde(rename = "image_not_pinned")]
    NotPinned {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// The digest that it has.
        #[serde(rename = "found")]
        found: String,
        /// The digest in the configuration.
        #[serde(rename = "pinned")]
        pinned: String,
    },
    /// It went with the medium that the installer was started from.
    #[serde(rename = "medium_gone")]
    MediumGone {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// Where that was.
        #[serde(rename = "medium")]
        medium: String,
    },
    /// It is another one than the one that the install began with.
    #[serde(rename = "image_changed")]
    Changed {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// The digest that it has.
        #[serde(rename = "found")]
        found: String,
        /// The digest that it had.
        #[serde(rename = "expected")]
        expected: String,
    },
    /// The target was written from another image, which does not have the system.
    #[serde(rename = "image_without_system")]
    WithoutSystem {
        /// The image at hand.
        #[serde(rename = "image")]
        image: String,
        /// The system.
        #[serde(rename = "system")]
        system: String,
    },
    /// It did not bring what its closure is registered from.
    #[serde(rename = "image_incomplete")]
    Incomplete {
        /// What was being done.
        #[serde(rename = "on")]
        on: String,
        /// What is missing.
        #[serde(rename = "missing")]
        missing: String,
    },
}

impl ImageFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            ImageFault::Missing { .. }
            | ImageFault::NoFile { .. }
            | ImageFault::Foreign { .. }
            | ImageFault::CutOff { .. }
            | ImageFault::Differs { .. }
            | ImageFault::MediumGone { .. }
            | ImageFault::Changed { .. }
            | ImageFault::WithoutSystem { .. } => FaultClass::NeedsChange,
            ImageFault::Newer { .. } | ImageFault::NotExt4 { .. } | ImageFault::Incomplete { .. } => {
                FaultClass::Permanent
            }
            ImageFault::Damaged { .. } | ImageFault::PartUnreadable { .. } | ImageFault::PartWrong { .. } => {
                FaultClass::Hardware
            }
            ImageFault::OtherSystem { .. } | ImageFault::NotPinned { .. } => FaultClass::Unsafe,
        }
    }
}
