//! Machines that an install must not trust: firmware of another width, another disk with the planned label, a passphrase that
//! cannot be typed, a serial number that belongs to a bridge, a disk with unknown data.
//!
//! Each is a fact of the setting.
//!
//! `explore::traps` runs installs on such machines.

use crate::sim::model::case::{Before, Case, Consenter};
use crate::sim::model::disk::{Disk, Fs, Key, Value};
use landfall_states::plan::DiskIdentity;
use std::hash::Hash;

/// What is wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trap {
    /// Its firmware starts loaders of 32 bits only.
    Firmware,
    /// A former root, with the planned label, is on another disk.
    Label,
    /// The passphrase ends in what no key types.
    Passphrase,
    /// The serial number that was agreed to is that of a bridge, and two disks are behind it.
    Bridge,
    /// No disk is named; one is blank, and a larger one holds data without a table or a known signature.
    Unknown,
}

/// What a bridge says of every disk behind it.
pub(crate) const BRIDGE: &str = "0123456789ABCDEF";

impl Trap {
    /// All of them.
    pub const ALL: [Trap; 5] = [
        Trap::Firmware,
        Trap::Label,
        Trap::Passphrase,
        Trap::Bridge,
        Trap::Unknown,
    ];

    /// The case in which it is met.
    pub(crate) fn case(self, case: Case) -> Case {
        let Case { mut kind, .. } = case;
        kind.luks |= self == Trap::Passphrase;
        Case {
            kind,
            before: if self == Trap::Unknown {
                Before::Blank
            } else {
                case.before
            },
            consenter: match self {
                Trap::Bridge => Consenter::InAdvance,
                Trap::Firmware | Trap::Label | Trap::Passphrase | Trap::Unknown => Consenter::Person,
            },
            ..case
        }
    }

    pub(crate) fn stops(self) -> bool {
        self != Trap::Unknown
    }
}

/// A disk with data that has neither a table nor a signature.
pub(crate) fn unknown(identity: &DiskIdentity) -> Disk {
    let photos = Value::Text(900, "photos of 2019".into());
    let identity = DiskIdentity {
        size_bytes: identity.size_bytes.saturating_mul(2),
        ..identity.clone()
    };
    Disk::new(identity, [(Key::File(Fs::Root, "photos"), photos)])
}
