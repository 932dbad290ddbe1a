//! Words of a [`ConfigFault`], and what to do about it.

use super::Words;
use crate::fault::{ConfigFault, Remedy};
use crate::names::quoted;

impl ConfigFault {
    pub(super) fn words(&self) -> Words {
        match self {
            ConfigFault::Invalid { file, problems } => Words::of(
                file.as_ref().map_or_else(
                    || "configuration".to_owned(),
                    |file| format!("configuration {file}"),
                ),
                "it is not valid",
            )
            .listing(problems),
            ConfigFault::BadValue {
                on,
                what,
                value,
                allowed,
            } => Words::of(on, format!("{what} {} is not allowed: {allowed}", quoted(value))),
            ConfigFault::DiskNameless { disk } => Words::of(
                disk,
                "it has no WWN, no serial number and no bus address: it could not be recognised after a reboot",
            ),
            ConfigFault::SectorSize { disk, bytes } => Words::of(
                disk,
                format!("sectors of {bytes} bytes are not supported: 512 and 4096 are"),
            ),
            ConfigFault::ReinstallsSpent {
                disk,
                device: _,
                number,
                max,
            } => Words::of(
                disk,
                format!(
                    "it carries reinstall {number} of this host and layout, and an install is recognised up to number {max}"
                ),
            ),
            ConfigFault::OtherLoader { system, loader } => Words::of(
                format!("boot loader of {system}"),
                format!(
                    "the host's boot loader is {loader}; landfall proves systemd-boot with plain entries, and no other"
                ),
            ),
            ConfigFault::LoaderUnproved { system, reason } => {
                Words::of(format!("boot loader of {system}"), reason)
            }
            ConfigFault::LoaderOption {
                system,
                option,
                found,
                mounted,
            } => Words::of(
                format!("boot loader of {system}"),
                format!(
                    "the host's {option} is {found}; landfall makes one ESP and mounts it at /boot (while installing at {mounted})"
                ),
            ),
            ConfigFault::LoaderSteered { reason } => {
                Words::of("boot loader's variables in the firmware", reason)
            }
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            ConfigFault::Invalid { .. } => Remedy::Command("landfall check FILE".into()),
            ConfigFault::BadValue { .. } => Remedy::words("correct the configuration"),
            ConfigFault::DiskNameless { .. } | ConfigFault::SectorSize { .. } => {
                Remedy::words("choose another disk (INSTALL_DISK=/dev/…)")
            }
            ConfigFault::ReinstallsSpent { device, .. } => Remedy::change_and_install(format!(
                "erase its partition table by hand (wipefs -a {device}), with `reinstall` at 0"
            )),
            ConfigFault::OtherLoader { .. } => Remedy::change_and_install(
                "set boot.loader.systemd-boot.enable = true in the host's configuration",
            ),
            ConfigFault::LoaderUnproved { .. } => {
                Remedy::change("have the host's configuration boot through systemd-boot with plain entries")
            }
            ConfigFault::LoaderOption { option, .. } => {
                Remedy::change_and_install(format!("leave {option} out of the host's configuration"))
            }
            ConfigFault::LoaderSteered { .. } => Remedy::change(
                "clear the variable (bootctl set-default '', set-preferred '', set-oneshot '')",
            ),
        }
    }
}
