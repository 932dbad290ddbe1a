//! The configuration asks for what cannot be done: variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::config` has the words.

use crate::fault::FaultClass;
use crate::names::BadValue;
use serde::Serialize;

/// What the configuration asks for cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum ConfigFault {
    /// The configuration is not valid.
    #[serde(rename = "configuration_invalid")]
    Invalid {
        /// Its file.
        #[serde(rename = "file")]
        file: Option<String>,
        /// What is wrong, one each.
        #[serde(rename = "problems")]
        problems: Vec<String>,
    },
    /// A value is not allowed.
    #[serde(rename = "bad_value")]
    BadValue {
        /// What holds it.
        #[serde(rename = "on")]
        on: String,
        /// The kind of value.
        #[serde(rename = "what")]
        what: String,
        /// The value.
        #[serde(rename = "value")]
        value: String,
        /// What is allowed.
        #[serde(rename = "allowed")]
        allowed: String,
    },
    /// Nothing tells a disk from another.
    #[serde(rename = "disk_nameless")]
    DiskNameless {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
    },
    /// A disk has sectors of a size that landfall does not know.
    #[serde(rename = "sector_size")]
    SectorSize {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// Their size.
        #[serde(rename = "bytes")]
        bytes: u32,
    },
    /// A disk carries the last reinstall that can be recognised.
    #[serde(rename = "reinstalls_spent")]
    ReinstallsSpent {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// Its device now.
        #[serde(rename = "device")]
        device: String,
        /// Its number.
        #[serde(rename = "number")]
        number: u32,
        /// The highest number that is recognised.
        #[serde(rename = "max")]
        max: u32,
    },
    /// The host boots through another boot loader than the one that landfall proves.
    #[serde(rename = "other_loader")]
    OtherLoader {
        /// The host's system.
        #[serde(rename = "system")]
        system: String,
        /// Its boot loader.
        #[serde(rename = "loader")]
        loader: String,
    },
    /// The installed boot loader cannot be proved.
    #[serde(rename = "loader_unproved")]
    LoaderUnproved {
        /// The host's system.
        #[serde(rename = "system")]
        system: String,
        /// Why not.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// An option of the host's boot loader has a value that landfall does not install for.
    #[serde(rename = "loader_option")]
    LoaderOption {
        /// The host's system.
        #[serde(rename = "system")]
        system: String,
        /// The option.
        #[serde(rename = "option")]
        option: String,
        /// Its value.
        #[serde(rename = "found")]
        found: String,
        /// Where the ESP is mounted while installing.
        #[serde(rename = "mounted")]
        mounted: String,
    },
    /// A variable in the firmware has the boot loader start something else.
    #[serde(rename = "loader_steered")]
    LoaderSteered {
        /// Which, and what it says.
        #[serde(rename = "reason")]
        reason: String,
    },
}

impl ConfigFault {
    /// A value that was refused, and what holds it.
    pub fn bad(on: &str, value: BadValue) -> ConfigFault {
        let BadValue { what, value, allowed } = value;
        ConfigFault::BadValue {
            on: on.to_owned(),
            what: what.to_owned(),
            value,
            allowed: allowed.to_owned(),
        }
    }

    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            ConfigFault::Invalid { .. }
            | ConfigFault::DiskNameless { .. }
            | ConfigFault::SectorSize { .. }
            | ConfigFault::ReinstallsSpent { .. }
            | ConfigFault::LoaderSteered { .. } => FaultClass::NeedsChange,
            ConfigFault::BadValue { .. }
            | ConfigFault::OtherLoader { .. }
            | ConfigFault::LoaderUnproved { .. }
            | ConfigFault::LoaderOption { .. } => FaultClass::Permanent,
        }
    }
}
