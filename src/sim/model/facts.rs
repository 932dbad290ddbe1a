//! Facts of a setting that steps and checks both use: where the remote's reference points, what the firmware starts, what a
//! serial number names.
//!
//! Derived from the setting alone.

use crate::sim::model::contents::PASSPHRASE;
use crate::sim::model::disk::{Disk, Region};
use crate::sim::model::environment::Moved;
use crate::sim::model::setting::Setting;
use crate::sim::model::trap::{BRIDGE, Trap};
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Payload, Reference};
use std::rc::Rc;

/// The same digit forty times.
pub(crate) fn revision(digit: &str) -> Option<Revision> {
    digit.repeat(40).parse().ok()
}

/// Whether the configuration names the commit itself.
pub(crate) fn is_commit(payload: &Payload) -> bool {
    matches!(payload.repository.reference, Reference::Revision(_))
}

impl Setting {
    /// What the remote's reference names now. A commit that the configuration names is none: nothing that is pushed moves it.
    pub fn named_now(&self) -> Revision {
        if is_commit(&self.request.payload) {
            return self.revision.clone();
        }
        let digit = match self.moved {
            Moved::No => return self.revision.clone(),
            Moved::On => "c",
            Moved::Away => "d",
        };
        revision(digit).unwrap_or_else(|| self.revision.clone())
    }

    /// The same, where the reference has moved; the install stays at what it named first, or comes to what it names now.
    pub fn moved(&self, moved: Moved, stays: bool) -> Setting {
        let mut setting = self.clone();
        setting.moved = moved;
        if !stays {
            setting.revision = setting.named_now();
        }
        setting
    }
}

impl Setting {
    /// How wide the firmware is.
    pub(crate) fn firmware_bits(&self) -> u32 {
        if self.trap == Some(Trap::Firmware) { 32 } else { 64 }
    }

    pub(crate) fn passphrase(&self) -> String {
        let end = if self.trap == Some(Trap::Passphrase) {
            "\r"
        } else {
            ""
        };
        format!("{PASSPHRASE}{end}")
    }

    /// The serial number that a disk shows to whoever only asks the one in front of it.
    fn shown_serial(&self, disk: &Disk) -> Option<String> {
        let behind = ["TARGET", "DATA"];
        let own = disk.identity.serial.clone();
        if self.trap == Some(Trap::Bridge) && own.as_deref().is_some_and(|own| behind.contains(&own)) {
            return Some(BRIDGE.into());
        }
        own
    }

    /// What somebody wrote down who agrees in advance, and to how many disks it fits.
    pub(crate) fn agreed_to(&self) -> (String, usize) {
        let name = self.disks.first().and_then(|target| self.shown_serial(target));
        let fits = |disk: &&Rc<Disk>| name.is_some() && self.shown_serial(disk) == name;
        let count = self.disks.iter().filter(fits).count();
        (name.unwrap_or_default(), count)
    }

    /// Whose root the initrd may find by the planned label, beside the right one.
    pub(crate) fn other_root(&self) -> Option<&DiskIdentity> {
        // The other disks of every case have the planned labels as well; they are attached when that has been looked at.
        if self.trap != Some(Trap::Label) {
            return None;
        }
        let others = self.disks.iter().skip(1);
        others
            .filter(|disk| {
                [Region::Root, Region::Inner].iter().any(|region| {
                    disk.header(*region)
                        .is_some_and(|header| *header.label == *self.plan.root.label.as_str())
                })
            })
            .map(|disk| &disk.identity)
            .next()
    }
}
