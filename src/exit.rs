//! Exit codes. Law: one code per class of outcome, fixed for ever; scripts and units depend on them. The text says more,
//! the code says what may be done about it.
//!
//! Absent: the texts of faults (`landfall_states::fault`).

use landfall_states::fault::{DeviceFault, Fault, FaultClass, Kind};
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

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "landed, or the question was answered",
            Exit::Internal => "landfall could not work at all (output, run directory)",
            Exit::Usage => "wrong command line or configuration; nothing was touched",
            Exit::NothingToResume => "there is no install to resume, or no log to show",
            Exit::Locked => "another landfall is at work",
            Exit::Transient => {
                "transient fault (network, busy device), and the retries of this run are spent"
            }
            Exit::NeedsChange => "something outside has to change first (space, clock, passphrase, a tool)",
            Exit::Permanent => "the same again would fail the same way",
            Exit::Hardware => "a device reports errors; nothing more is written",
            Exit::Unsafe => "identity or foreign data in doubt; never retried",
            Exit::AlreadyLanded => {
                "this install has landed already; nothing was touched (success for a service)"
            }
            Exit::Interrupted => "stopped by a signal or a person; everything is saved",
        }
    }

    /// What to do then.
    pub const fn then(self) -> &'static str {
        match self {
            Exit::Ok => "nothing",
            Exit::Internal => "mend what the message names, then run the command again",
            Exit::Usage => "correct what the message names; `landfall check FILE` checks a configuration",
            Exit::NothingToResume => "`landfall install`",
            Exit::Locked => "`landfall status --watch`",
            Exit::Transient => "`landfall resume`",
            Exit::NeedsChange => "do what the message says, then `landfall resume`",
            Exit::Permanent => "mend the cause that the message names, then `landfall resume`",
            Exit::Hardware => "replace the device, then `landfall resume`",
            Exit::Unsafe => "look at the disk (`landfall disks`); the message says what may be done",
            Exit::AlreadyLanded => "boot the disk; `landfall install --reinstall` begins anew",
            Exit::Interrupted => "`landfall resume`",
        }
    }

    /// The code of a fault: that of its class, but that another landfall has the disk is what it is for a person, too.
    pub fn of(fault: &Fault) -> Exit {
        if matches!(&*fault.kind, Kind::Device(DeviceFault::DiskTaken { .. })) {
            Exit::Locked
        } else {
            fault.class.into()
        }
    }

    /// The table for `--help` and the manual.
    pub fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Exit::ALL {
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
