//! How the network and the machine around landfall fail.
//!
//! The errors are those that a program or the kernel would report. A person who reads why the run stopped repairs the cause
//! (`Machine::repair`).
//!
//! `inject::schedule` says when.

use crate::sim::check::invariants::Invariant;
use crate::sim::inject::faults::{ended, failed, fault};
use crate::sim::inject::planted::planted;
use crate::sim::inject::point::Point;
use crate::sim::model::crash::Keep;
use crate::sim::model::environment::{EnvironmentEvent, Network};
use crate::sim::world::run::SimWorld;
use landfall_states::fault::{Cause, Fault, FaultClass, MachineFault, Os, Remedy};

/// The limit on silence, in milliseconds.
const SILENCE_MS: u64 = 10 * 60_000;

/// How long a forge stays closed to whoever asked too often, in seconds.
const CLOSED_S: u64 = 300;

/// How often the same ending that nobody knows may be seen in one run.
const ENDINGS_MAX: u32 = 2;

/// How many requests fail in a row where the link comes and goes.
const FLAPS: u32 = 4;

impl SimWorld {
    /// What has happened around landfall and is in the way now.
    ///
    /// # Errors
    /// The fault that what is in the way makes.
    pub fn hindered(&mut self, point: Point, label: &'static str) -> Result<(), Fault> {
        let on_disk = point.acts || self.held.is_some();
        let in_memory = [
            "write tmpfs",
            "unmount the root",
            "unmount the ESP",
            "close the container",
        ];
        if self.machine.gone && on_disk && !in_memory.contains(&label) {
            return Err(fault(FaultClass::Hardware, label));
        }
        if self.machine.medium_gone && point.program {
            return Err(Fault::of(
                MachineFault::ToolNotStarted {
                    program: label.into(),
                    os: Os {
                        doing: None,
                        errno: None,
                        said: "the boot medium is gone".into(),
                    },
                },
                Remedy::words("put it back and boot"),
            ));
        }
        if self.strange.is_some_and(|(strange, _)| strange == label) {
            return self.ends_strangely(label);
        }
        if !point.network {
            return Ok(());
        }
        if !self.machine.clock_is_right() {
            return Err(failed(
                FaultClass::NeedsChange,
                label,
                "git",
                "the certificate is not valid yet",
            )
            .with_next(Remedy::change("set the clock")));
        }
        if self.flaps > 0 {
            self.flaps -= 1;
            return Err(fault(FaultClass::Transient, label));
        }
        if self.machine.now_ms < self.machine.closed_until_ms {
            return self.fails_over(Network::TooMany, label);
        }
        Ok(())
    }

    /// Another fault lies between two endings that nobody knows: the count of the same one begins again.
    pub fn another_fault(&mut self) {
        if let Some((_, times)) = &mut self.strange {
            *times = 0;
        }
    }

    /// A program ends as nobody knows it, for reasons that stay. Nobody may try that a third time in a row in a run.
    ///
    /// # Errors
    /// Always: an ending that is not known.
    pub fn ends_strangely(&mut self, label: &'static str) -> Result<(), Fault> {
        if let Some((_, times)) = &mut self.strange {
            *times += 1;
            if *times > ENDINGS_MAX {
                let how = format!("{label} ended {times} times as nobody knows it, each time the same way");
                self.checks.get_mut().breach(Invariant::Ends, how);
            }
        }
        let cause = if planted!(self, StrangeIsNetwork) {
            Cause::Network
        } else {
            Cause::Unknown
        };
        Err(ended(cause, label, "a program", "nobody has heard this before"))
    }

    /// A request fails in this way.
    ///
    /// # Errors
    /// Always: the fault that this failure of the network makes.
    pub fn fails_over(&mut self, network: Network, label: &'static str) -> Result<(), Fault> {
        let mut failed = fault(FaultClass::Transient, label);
        match network {
            Network::Unresolved | Network::Refused => {}
            Network::Reset => self.came = Some("half"),
            Network::Stalled => {
                self.came = Some("half");
                self.machine.now_ms += SILENCE_MS;
            }
            Network::TooMany => {
                self.machine.closed_until_ms = self.machine.now_ms + CLOSED_S * 1_000;
                failed = ended(Cause::ApiLimit, label, "git", "API rate limit exceeded");
                if planted!(self, HastyAtLimit) {
                    failed.wait_s = None;
                }
            }
            Network::WrongBytes => {
                self.came = Some("wrong");
                if planted!(self, TrustBytes) {
                    return Ok(());
                }
            }
            Network::Flapping => self.flaps = FLAPS - 1,
        }
        Err(failed)
    }

    /// Something happens.
    pub fn happens(&mut self, around: EnvironmentEvent) {
        match around {
            EnvironmentEvent::Clock => self.machine.clock_ms = 0,
            EnvironmentEvent::DiskGone => {
                let target = self.machine.target(&self.setting);
                self.machine.disk_mut(target).cut(Keep::None);
                self.machine.gone = true;
            }
            EnvironmentEvent::MediumGone => self.machine.medium_gone = true,
            EnvironmentEvent::NameConflict => self.machine.name_taken = true,
            EnvironmentEvent::Late => {}
            EnvironmentEvent::RootDamaged => {
                self.machine.root_damage = Some(u32::try_from(self.points.len()).unwrap_or(u32::MAX));
            }
            // The lock is on the device: what is deleted beside it changes nothing, and the other one is refused.
            EnvironmentEvent::Second => {
                if self.held.is_some() && planted!(self, LockInRunDir) {
                    self.checks.get_mut().another_landfall();
                }
            }
        }
    }
}
