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
                "it has no WWN, no serial number and no bus address, so landfall could not recognise it after a reboot",
            ),
            ConfigFault::SectorSize { disk, bytes } => Words::of(
                disk,
                format!("its sector size of {bytes} bytes is not supported; 512 and 4096 are"),
            ),
            ConfigFault::ReinstallsSpent {
                disk,
                device: _,
                number,
                max,
            } => Words::of(
                disk,
                format!(
                    "this host was reinstalled here {number} times, and {max} is the most that landfall supports"
                ),
            ),
            ConfigFault::OtherLoader { system, loader } => Words::of(
                format!("boot loader of {system}"),
                format!(
                    "the host's boot loader is {loader}; landfall can verify only systemd-boot with plain entries"
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
                    "the host's {option} is {found}; landfall makes one ESP and mounts it at /boot (during the install at {mounted})"
                ),
            ),
            ConfigFault::LoaderSteered { reason } => {
                Words::of("boot loader variables in the firmware", reason)
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
                "erase its partition table (wipefs -a {device}), and set `reinstall` to 0"
            )),
            ConfigFault::OtherLoader { .. } => Remedy::change_and_install(
                "set boot.loader.systemd-boot.enable = true in the host's configuration",
            ),
            ConfigFault::LoaderUnproved { .. } => {
                Remedy::change("make the host's configuration use systemd-boot with plain entries")
            }
            ConfigFault::LoaderOption { option, .. } => {
                Remedy::change_and_install(format!("remove {option} from the host's configuration"))
            }
            ConfigFault::LoaderSteered { .. } => Remedy::change(
                "clear the variable (bootctl set-default '', set-preferred '', set-oneshot '')",
            ),
        }
    }
}
