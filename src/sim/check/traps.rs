//! Decides whether an install that ended on an untrustworthy machine was a mistake, from the facts of the machine alone.

use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::model::case::Consenter;
use crate::sim::model::setting::Setting;

/// What is wrong with a landing on this machine, by its facts alone.
pub(crate) fn landed_wrong(setting: &Setting) -> Vec<Breach> {
    let mut breaches = vec![];
    let mut add = |invariant, how: String| breaches.push(Breach { invariant, how });
    if setting.firmware_bits() != 64 {
        let bits = setting.firmware_bits();
        add(
            Invariant::LandedBoots,
            format!("firmware of {bits} bits starts no loader of 64"),
        );
    }
    if let Some(other) = setting.other_root() {
        add(
            Invariant::LandedBoots,
            format!("the initrd may mount the root of {other}"),
        );
    }
    if setting.plan.luks.is_some() && setting.passphrase().chars().any(char::is_control) {
        add(Invariant::LandedBoots, "the passphrase cannot be typed".into());
    }
    let (name, fits) = setting.agreed_to();
    if setting.case.consenter == Consenter::InAdvance && fits != 1 {
        add(
            Invariant::ConsentFirst,
            format!("{fits} disks have the name {name}, which the consent names"),
        );
    }
    breaches
}
