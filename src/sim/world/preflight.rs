//! What is looked at before the first write, and which disk is chosen, as in `real::preflight`.

use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{Disk, Key, Region};
use crate::sim::model::trap::Trap;
use crate::sim::world::run::SimWorld;
use landfall_states::fault::{DeviceFault, Fault, MachineFault, SecretFault};
use landfall_states::plan::{DiskIdentity, Machine, Plan};
use std::rc::Rc;

impl SimWorld {
    /// What is looked at before the first write.
    pub(crate) fn believable(&self, plan: &Plan) -> Result<(), Fault> {
        let setting = &self.setting;
        if setting.firmware_bits() != 64 && !planted!(self, AnyFirmware) {
            return Err(MachineFault::FirmwareWidth {
                bits: setting.firmware_bits().to_string(),
                loader: Machine::X86_64.fallback_loader().into(),
            }
            .into());
        }
        if let Some(other) = setting.other_root()
            && !planted!(self, LabelUnseen)
        {
            return Err(DeviceFault::LabelsTaken {
                disk: plan.disk.name(),
                labels: vec![format!("{} on {}", plan.root.label, other.name())],
            }
            .into());
        }
        if plan.luks.is_some()
            && setting.passphrase().chars().any(char::is_control)
            && !planted!(self, AnyPassphrase)
        {
            return Err(SecretFault::Unusable {
                on: "the passphrase".into(),
                reason: "it has a character that no key types".into(),
            }
            .into());
        }
        Ok(())
    }

    /// The disk that is taken, and whether somebody named it.
    pub(crate) fn chosen(&self) -> (DiskIdentity, bool) {
        if self.setting.trap != Some(Trap::Unknown) {
            return (self.setting.plan.disk.clone(), true);
        }
        let blank = |disk: &&Rc<Disk>| {
            if planted!(self, BlankAssumed) {
                // No table and no signature that is known.
                disk.see(Key::Primary).is_none() && Region::ALL.iter().all(|r| disk.header(*r).is_none())
            } else {
                disk.durable().is_empty() && disk.pending().is_empty()
            }
        };
        // A disk that is this install's own already is known by its ids.
        let own = self
            .machine
            .disks
            .iter()
            .find(|disk| disk.has_table(&self.setting.plan.table));
        let largest = self
            .machine
            .disks
            .iter()
            .filter(blank)
            .max_by_key(|disk| disk.identity.size_bytes);
        let taken = own.or(largest).map(|disk| disk.identity.clone());
        (taken.unwrap_or_else(|| self.setting.plan.disk.clone()), false)
    }

    /// Whether what was agreed to in advance is one disk, and this one.
    pub(crate) fn agreement_holds(&self) -> bool {
        let (_, fits) = self.setting.agreed_to();
        fits == 1 || planted!(self, BridgeAgrees)
    }
}
