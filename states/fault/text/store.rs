//! Words of a [`StoreFault`], and what to do about it.

use super::Words;
use crate::fault::{Remedy, StoreFault};

impl StoreFault {
    pub(super) fn words(&self) -> Words {
        match self {
            StoreFault::SystemMissing { system, ended } => Words::of(
                format!("prebuilt system {system}"),
                format!("the installer's Nix store does not have it: {ended}"),
            ),
            StoreFault::NotInClosure { system, paths } => Words::of(
                format!("system {system}"),
                format!("it is not among the {paths} paths of the closure"),
            ),
            StoreFault::PathsLost { system, paths, more } => {
                let more = match more {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                Words::of(
                    format!("closure of {system} on the target"),
                    format!(
                        "{}{more} were complete when they were written from the image, and are damaged now: the target disk is bad",
                        paths.join(", ")
                    ),
                )
            }
            StoreFault::DatabaseUnusable { database, said } => Words::of(
                format!("database of the target store {database}"),
                format!("Nix has just made it, and cannot read it: {said}"),
            ),
            StoreFault::DatabaseBroke { database, said } => Words::of(
                format!("database of the target store {database}"),
                format!("it became unusable during the install: {said}"),
            ),
            StoreFault::NixUnusable { said } => {
                Words::of("Nix", format!("it cannot read even an empty store: {said}"))
            }
            StoreFault::ActivationIncomplete {
                system,
                part,
                lacks,
                said,
            } => Words::of(
                format!("activation of {system}"),
                format!("its part \"{part}\" failed, so the target does not have {lacks}: {said}"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            StoreFault::SystemMissing { .. } => {
                Remedy::words("build the installer again with the system in it, or set `system` to Flake")
            }
            StoreFault::NotInClosure { .. } => {
                Remedy::words("name the system that the closure was made from")
            }
            StoreFault::PathsLost { .. } => Remedy::words(
                "replace the disk, or install again from the start: landfall install --reinstall",
            ),
            StoreFault::DatabaseUnusable { .. } => Remedy::change(
                "read what Nix reported (landfall log), and check the target disk (smartctl -a) and the installer's Nix",
            ),
            StoreFault::NixUnusable { .. } => Remedy::change(
                "run nix path-info --store /tmp/empty --all to see the error, and fix Nix's settings in the installer",
            ),
            StoreFault::DatabaseBroke { .. } | StoreFault::ActivationIncomplete { .. } => Remedy::resume(),
        }
    }
}
