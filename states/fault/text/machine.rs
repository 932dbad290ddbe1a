//! Words of a [`MachineFault`], and what to do about it.

use super::Words;
use crate::fault::{MachineFault, Remedy};
use crate::utc::{span, utc};

/// How far a point in time is from those that are believed.
fn beside(now_s: u64, min_s: u64, max_s: u64) -> String {
    if now_s < min_s {
        format!("{} too early", span(min_s - now_s))
    } else {
        format!("{} too late", span(now_s.saturating_sub(max_s)))
    }
}

impl MachineFault {
    pub(super) fn words(&self) -> Words {
        match self {
            MachineFault::BiosMode { missing } => Words::of(
                "firmware",
                format!("this machine was started in BIOS mode (no {missing}); UEFI is needed"),
            ),
            MachineFault::FirmwareWidth { bits, loader } => Words::of(
                "firmware",
                format!(
                    "its width is {bits} bits (/sys/firmware/efi/fw_platform_size): it does not start {loader}, which is for 64 bits"
                ),
            ),
            MachineFault::NotRoot { uid } => Words::of(
                "privileges",
                format!("landfall runs as user {uid}; root is needed"),
            ),
            MachineFault::Clock { now_s, min_s, max_s } => Words::of(
                "clock",
                format!(
                    "it says {}, {}; between {} and {} it is believed",
                    utc(*now_s),
                    beside(*now_s, *min_s, *max_s),
                    utc(*min_s),
                    utc(*max_s)
                ),
            ),
            MachineFault::ToolsMissing { programs, path } => Words::of(
                format!("program(s) {}", programs.join(", ")),
                format!("not found in PATH ({path})"),
            ),
            MachineFault::ToolNotStarted { program, os } => Words::of(
                format!("program {program}"),
                format!("it cannot be started: {os}"),
            ),
            MachineFault::Pipe { program, os } => {
                Words::of(format!("program {program}"), format!("its pipe failed: {os}"))
            }
            MachineFault::OutputUnknown {
                on,
                program,
                reason,
                line,
            } => {
                let line = line.as_ref().map_or(String::new(), |line| format!(": {line}"));
                Words::of(
                    on,
                    format!("the output of {program} cannot be understood: {reason}{line}"),
                )
            }
            MachineFault::FilesystemUnknown { on, filesystem } => {
                Words::of(on, format!("this kernel does not know {filesystem}"))
            }
            MachineFault::FileMissing { on, path } => Words::of(on, format!("{path} is not there")),
            MachineFault::Crypt { on, said } => Words::of(on, said),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            MachineFault::BiosMode { .. } => {
                Remedy::words("switch the firmware to UEFI (no CSM), boot the installer again")
            }
            MachineFault::FirmwareWidth { .. } => Remedy::words(
                "install a firmware update that has 64-bit UEFI, if the vendor has one, and boot the installer again; else \
                 this machine needs a 32-bit boot loader, which landfall does not install. Nothing was written",
            ),
            MachineFault::NotRoot { .. } => Remedy::Command("sudo landfall install".into()),
            MachineFault::Clock { .. } => Remedy::change_and_install("sudo date --set='YYYY-MM-DD HH:MM:SS'"),
            MachineFault::ToolsMissing { .. } => Remedy::change_and_install(
                "run landfall from its package, which brings every tool, or add them to PATH",
            ),
            MachineFault::ToolNotStarted { program, .. } => {
                Remedy::change(format!("make {program} available in PATH"))
            }
            MachineFault::Pipe { .. } => Remedy::resume(),
            MachineFault::OutputUnknown { .. } => Remedy::report(),
            MachineFault::FilesystemUnknown { filesystem, .. } => {
                Remedy::change(format!("boot an installer whose kernel has {filesystem}"))
            }
            MachineFault::FileMissing { .. } => Remedy::change("mount /proc"),
            MachineFault::Crypt { .. } => Remedy::change("landfall log shows what came before; mend it"),
        }
    }
}
