//! The exit codes of landfall: one code for each class of outcome, with its meaning and what to do next.
//!
//! A code never changes its meaning, because scripts and systemd units depend on it. The texts of faults are made in
//! `landfall_states::fault`.

use landfall_states::fault::{ConfigFault, DeviceFault, Fault, FaultClass, Kind};
use std::process::ExitCode;

/// How landfall ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Landed, or the question was answered.
    Ok = 0,
    /// landfall itself could not do what it does: output could not be written, its run directory is missing.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// `resume` found no install to resume, `log` no log.
    NothingToResume = 3,
    /// Another landfall is at work.
    Locked = 4,
    /// [`FaultClass::Transient`], and the retries of this run are spent.
    Transient = 5,
    /// [`FaultClass::NeedsChange`].
    NeedsChange = 6,
    /// [`FaultClass::Permanent`].
    Permanent = 7,
    /// [`FaultClass::Hardware`].
    Hardware = 8,
    /// [`FaultClass::Unsafe`].
    Unsafe = 9,
    /// This plan has landed already; nothing was touched.
    AlreadyLanded = 10,
    /// [`FaultClass::Interrupted`].
    Interrupted = 11,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Exit; 12] = [
        Exit::Ok,
        Exit::Internal,
        Exit::Usage,
        Exit::NothingToResume,
        Exit::Locked,
        Exit::Transient,
        Exit::NeedsChange,
        Exit::Permanent,
        Exit::Hardware,
        Exit::Unsafe,
        Exit::AlreadyLanded,
        Exit::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Its meaning.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "success",
            Exit::Internal => {
                "landfall itself failed: it could not write its output or use its run directory"
            }
            Exit::Usage => "wrong command line or configuration; nothing was changed",
            Exit::NothingToResume => "nothing to continue: no install, no log, or no interrupted flash",
            Exit::Locked => "another landfall is running",
            Exit::Transient => "transient error (network, busy device): all retries of this run failed",
            Exit::NeedsChange => {
                "something must be changed first (disk space, clock, passphrase, a missing tool)"
            }
            Exit::Permanent => "permanent error: trying again without a change will fail again",
            Exit::Hardware => "hardware error: a device reports errors; landfall writes nothing more",
            Exit::Unsafe => {
                "safety stop: disk identity or contents do not match; never retried automatically"
            }
            Exit::AlreadyLanded => {
                "this install is already finished; nothing was changed (success for a service)"
            }
            Exit::Interrupted => "interrupted by a signal or a person; the progress is saved",
        }
    }

    /// What to do then.
    pub const fn then(self) -> &'static str {
        match self {
            Exit::Ok => "nothing",
            Exit::Internal => "fix what the message names, then run the command again",
            Exit::Usage => "correct what the message names; `landfall check FILE` checks a configuration",
            Exit::NothingToResume => {
                "`landfall install` for a new install; otherwise do what the message says"
            }
            Exit::Locked => "`landfall status --watch`",
            Exit::Transient => "`landfall resume`",
            Exit::NeedsChange => "do what the message says, then `landfall resume`",
            Exit::Permanent => "fix the cause that the message names, then `landfall resume`",
            Exit::Hardware => {
                "replace the device that the message names; a new disk starts from the beginning: `landfall install`"
            }
            Exit::Unsafe => "look at the disk (`landfall disks`), then do what the message says",
            Exit::AlreadyLanded => "boot the disk; `landfall install --reinstall` starts a new install",
            Exit::Interrupted => "`landfall resume`",
        }
    }

    /// The code of a fault: that of its class. Two kinds have the code that a person knows for them: another landfall has the disk, and
    /// the configuration is refused.
    pub fn of(fault: &Fault) -> Exit {
        match &*fault.kind {
            Kind::Device(DeviceFault::DiskTaken { .. }) => Exit::Locked,
            Kind::Config(ConfigFault::Invalid { .. }) => Exit::Usage,
            _ => fault.class.into(),
        }
    }

    /// The table for `--help` and the manual.
    pub fn table() -> String {
        Exit::table_without(&[])
    }

    /// The table of a command that never ends with some of the codes.
    pub fn table_without(never: &[Exit]) -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Exit::ALL.iter().filter(|exit| !never.contains(exit)) {
            text.push_str(&format!("  {:>2}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }
}

impl From<FaultClass> for Exit {
    fn from(class: FaultClass) -> Exit {
        match class {
            FaultClass::Transient => Exit::Transient,
            FaultClass::NeedsChange => Exit::NeedsChange,
            FaultClass::Permanent => Exit::Permanent,
            FaultClass::Hardware => Exit::Hardware,
            FaultClass::Unsafe => Exit::Unsafe,
            FaultClass::Interrupted => Exit::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_never_change() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(codes, (0..=11).collect::<Vec<u8>>());
        assert_eq!(Exit::from(FaultClass::Unsafe).code(), 9);
        assert_eq!(Exit::Usage.code(), 2, "clap ends with 2 by itself");
        let disk = String::new();
        let taken = Fault::from(DeviceFault::DiskTaken {
            disk,
            holders: vec![],
        });
        assert_eq!(
            (taken.class, Exit::of(&taken)),
            (FaultClass::NeedsChange, Exit::Locked)
        );
    }
}
