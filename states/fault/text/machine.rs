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
                format!(
                    "this machine was started in BIOS mode ({missing} does not exist); landfall needs UEFI"
                ),
            ),
            MachineFault::FirmwareWidth { bits, loader } => Words::of(
                "firmware",
                format!(
                    "it is {bits}-bit firmware (/sys/firmware/efi/fw_platform_size) and cannot start {loader}, which is 64-bit"
                ),
            ),
            MachineFault::NotRoot { uid } => Words::of(
                "privileges",
                format!("landfall runs as user {uid}, but it needs root"),
            ),
            MachineFault::Clock { now_s, min_s, max_s } => Words::of(
                "clock",
                format!(
                    "it shows {}, which is {}; landfall accepts times from {} to {}",
                    utc(*now_s),
                    beside(*now_s, *min_s, *max_s),
                    utc(*min_s),
                    utc(*max_s)
                ),
            ),
            MachineFault::ToolsMissing { programs, path } => Words::of(
                format!("program(s) {}", programs.join(", ")),
                format!("PATH does not have them ({path})"),
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
                    format!("landfall does not understand the output of {program}: {reason}{line}"),
                )
            }
            MachineFault::FilesystemUnknown { on, filesystem } => {
                Words::of(on, format!("this kernel does not support {filesystem}"))
            }
            MachineFault::FileMissing { on, path } => Words::of(on, format!("{path} does not exist")),
            MachineFault::Crypt { on, said } => Words::of(on, said),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            MachineFault::BiosMode { .. } => {
                Remedy::words("set the firmware to UEFI mode (without CSM), and boot the installer again")
            }
            MachineFault::FirmwareWidth { .. } => Remedy::words(
                "install a firmware update with 64-bit UEFI, if the vendor offers one, and boot the installer again; without it this \
                 machine needs a 32-bit boot loader, which landfall does not install. Nothing was written",
            ),
            MachineFault::NotRoot { .. } => Remedy::Command("sudo landfall install".into()),
            MachineFault::Clock { .. } => Remedy::change_and_install("sudo date --set='YYYY-MM-DD HH:MM:SS'"),
            MachineFault::ToolsMissing { .. } => Remedy::change_and_install(
                "run landfall from its package, which contains every tool, or add the tools to PATH",
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
            MachineFault::Crypt { .. } => {
                Remedy::change("read the lines before it (landfall log), and fix the cause")
            }
        }
    }
}
