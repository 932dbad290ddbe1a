//! Machines that an install must not believe: firmware of another width, another disk with the planned label, a passphrase that nobody can
//! type, a serial number that belongs to a bridge, a disk whose data nobody knows. Law: what is so is a fact of the setting; the world looks
//! at it as `real` does, and the checks here look at the facts alone.
//!
//! Four of them stop before the first write. In the fifth there is a right disk, and that one is taken.
//!
//! Absent: faults and deaths on the way; each machine is told of once, and nothing else goes wrong.

use super::bugs::Bug;
use super::case::{Before, Case, Consenter, PASSPHRASE, Setting};
use super::checks::{Breach, Invariant};
use super::disk::{Disk, Fs, Key, Region, Value};
use super::faults::Schedule;
use super::harness::Harness;
use super::story::{End, Story};
use super::tally::{Failure, Tally};
use super::world::SimWorld;
use crate::driver::Outcome;
use landfall_states::fault::{DeviceFault, Fault, MachineFault, SecretFault};
use landfall_states::plan::{DiskIdentity, Machine, Plan};
use std::rc::Rc;

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
const BRIDGE: &str = "0123456789ABCDEF";

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
    pub(super) fn case(self, case: Case) -> Case {
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

    fn stops(self) -> bool {
        self != Trap::Unknown
    }
}

/// A disk with data that has neither a table nor a signature.
pub(super) fn unknown(identity: &DiskIdentity) -> Disk {
    let photos = Value::Text(900, "photos of 2019".into());
    let identity = DiskIdentity {
        size_bytes: identity.size_bytes.saturating_mul(2),
        ..identity.clone()
    };
    Disk::new(identity, [(Key::File(Fs::Root, "photos"), photos)])
}

impl Setting {
    /// How wide the firmware is.
    fn firmware_bits(&self) -> u32 {
        if self.trap == Some(Trap::Firmware) { 32 } else { 64 }
    }

    fn passphrase(&self) -> String {
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
    fn agreed_to(&self) -> (String, usize) {
        let name = self.disks.first().and_then(|target| self.shown_serial(target));
        let fits = |disk: &&Rc<Disk>| name.is_some() && self.shown_serial(disk) == name;
        let count = self.disks.iter().filter(fits).count();
        (name.unwrap_or_default(), count)
    }

    /// Whose root the initrd may find by the planned label, beside the right one.
    fn other_root(&self) -> Option<&DiskIdentity> {
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

impl SimWorld {
    /// What is looked at before the first write.
    pub(super) fn believable(&self, plan: &Plan) -> Result<(), Fault> {
        let setting = &self.setting;
        if setting.firmware_bits() != 64 && !self.has(Bug::AnyFirmware) {
            return Err(MachineFault::FirmwareWidth {
                bits: setting.firmware_bits().to_string(),
                loader: Machine::X86_64.fallback_loader().into(),
            }
            .into());
        }
        if let Some(other) = setting.other_root()
            && !self.has(Bug::LabelUnseen)
        {
            return Err(DeviceFault::LabelsTaken {
                disk: plan.disk.name(),
                labels: vec![format!("{} on {}", plan.root.label, other.name())],
            }
            .into());
        }
        if plan.luks.is_some()
            && setting.passphrase().chars().any(char::is_control)
            && !self.has(Bug::AnyPassphrase)
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
    pub(super) fn chosen(&self) -> (DiskIdentity, bool) {
        if self.setting.trap != Some(Trap::Unknown) {
            return (self.setting.plan.disk.clone(), true);
        }
        let blank = |disk: &&Rc<Disk>| {
            if self.has(Bug::BlankAssumed) {
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
    pub(super) fn agreement_holds(&self) -> bool {
        let (_, fits) = self.setting.agreed_to();
        fits == 1 || self.has(Bug::BridgeAgrees)
    }
}

/// What is wrong with a landing on this machine, by its facts alone.
fn landed_wrong(setting: &Setting) -> Vec<Breach> {
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
        add(Invariant::LandedBoots, "nobody can type the passphrase".into());
    }
    let (name, fits) = setting.agreed_to();
    if setting.case.consenter == Consenter::InAdvance && fits != 1 {
        add(
            Invariant::ConsentFirst,
            format!("{fits} disks are called {name}, to which somebody had agreed"),
        );
    }
    breaches
}

impl Harness {
    /// Every such machine, in this case.
    pub fn traps(&self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for trap in Trap::ALL {
            let setting = Rc::new(Setting::trapped(self.setting().case, trap)?);
            let mut story = Story::new(&setting, self.bug());
            let (run, world) = story.run(&Schedule::default());
            story.settle(world, None);
            let disks = story.machine.disks.clone();
            story.checks.others(&setting, &disks);
            let landed = matches!(run.end, End::Said(Ok(Outcome::Landed { .. })));
            let mut breaches = story.checks.breaches.clone();
            if landed {
                breaches.extend(landed_wrong(&setting));
            } else if !story.checks.destroyed.is_empty() {
                breaches.push(Breach {
                    invariant: Invariant::ConsentFirst,
                    how: format!("it stopped after it had written: {:?}", run.end),
                });
            }
            if landed == trap.stops() && breaches.is_empty() {
                breaches.push(Breach {
                    invariant: Invariant::Lands,
                    how: format!("{trap:?} ends with {:?}", run.end),
                });
            }
            let breaches = self.watched(breaches);
            tally.points += 1;
            tally.stories += 1;
            tally.runs += 1;
            if !breaches.is_empty() {
                tally.fails(Failure {
                    case: setting.case,
                    schedule: Schedule::default(),
                    between: None,
                    breaches,
                });
            }
        }
        Ok(tally)
    }
}
