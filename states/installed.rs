//! **Installed**: profile set, activation prepared. Leads on by [`InstallBootLoader`].
//!
//! Law: the boot loader is proved from the ESP itself; what its installer's exit code says is not a fact.

use crate::bootable::Bootable;
use crate::fault::{Fault, Kind};
use crate::names::StorePath;
use crate::plan::Plan;
use crate::{Phase, Step, Verdict, Voyage};

/// See the module.
#[derive(Debug)]
pub struct Installed {
    pub(crate) voyage: Voyage,
    pub(crate) system: StorePath,
}

impl Installed {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.voyage.plan
    }

    /// The system.
    pub fn system(&self) -> &StorePath {
        &self.system
    }

    /// What leads on.
    pub fn action(&self) -> InstallBootLoader {
        InstallBootLoader {
            system: self.system.clone(),
        }
    }

    /// The next state.
    pub fn advance(self, _proof: BootProof) -> Bootable {
        Bootable {
            voyage: self.voyage,
            system: self.system,
        }
    }
}

/// Install the boot loader, or what of it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallBootLoader {
    /// The system to be booted.
    pub system: StorePath,
}

/// A file on the ESP, compared with what it is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// Not there.
    Missing(String),
    /// There, and other than it should be: how.
    Different(String),
    /// There, and right.
    Right(String),
}

impl BootFile {
    fn flaw(&self) -> Option<String> {
        match self {
            BootFile::Missing(path) => Some(format!("{path} is missing")),
            BootFile::Different(how) => Some(how.clone()),
            BootFile::Right(_) => None,
        }
    }
}

/// The firmware's boot entry for this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nvram {
    /// An entry names our ESP's PARTUUID and an existing loader, and is in BootOrder.
    Ours,
    /// None does; the firmware finds the removable path by itself.
    Missing,
    /// The variables cannot be written or are full; the firmware finds the removable path by itself.
    Unwritable(String),
    /// The host leaves the firmware's variables alone, and so does its install; the firmware finds the removable path by
    /// itself.
    NotWanted,
}

/// What is on the ESP, every file read back and compared.
#[derive(Debug, Clone)]
pub struct BootFacts {
    /// The boot loader's own binary.
    pub loader: BootFile,
    /// The removable-media binary, which firmware without an entry starts.
    pub fallback: BootFile,
    /// The default entry: names this system's `init`.
    pub entry: BootFile,
    /// Its kernel, equal to the store's.
    pub kernel: BootFile,
    /// Its initrd, equal to the store's (or beginning with it, where secrets are appended).
    pub initrd: BootFile,
    /// The firmware's entry.
    pub nvram: Nvram,
}

impl BootFacts {
    /// Everything that keeps the disk from booting, one line each.
    pub fn flaws(&self) -> Vec<String> {
        let BootFacts {
            loader,
            fallback,
            entry,
            kernel,
            initrd,
            nvram,
        } = self;
        let mut flaws: Vec<String> = [fallback, entry, kernel, initrd]
            .into_iter()
            .filter_map(BootFile::flaw)
            .collect();
        // The loader's own binary is needed where the firmware's entry starts it; elsewhere the fallback suffices, but a
        // damaged one is a flaw anywhere.
        match (loader, nvram) {
            (BootFile::Missing(_), Nvram::Missing | Nvram::Unwritable(_) | Nvram::NotWanted)
            | (BootFile::Right(_), _) => {}
            (BootFile::Missing(_), Nvram::Ours) | (BootFile::Different(_), _) => flaws.extend(loader.flaw()),
        }
        flaws
    }
}

/// Run the system's boot loader installer again, and what it leaves out.
#[derive(Debug, Clone)]
pub struct BootOrder {
    /// The system.
    pub system: StorePath,
    /// What is wrong now.
    pub flaws: Vec<String>,
}

/// Loader, entry, kernel and initrd were re-read and are right.
#[derive(Debug)]
pub struct BootProof(());

impl Step for InstallBootLoader {
    const PHASE: Phase = Phase::Installed;
    type Facts = BootFacts;
    type Proof = BootProof;
    type Order = BootOrder;

    fn judge(&self, facts: &BootFacts) -> Verdict<BootProof, BootOrder> {
        let flaws = facts.flaws();
        if flaws.is_empty() {
            Verdict::Done(BootProof(()))
        } else {
            Verdict::Todo(BootOrder {
                system: self.system.clone(),
                flaws,
            })
        }
    }

    fn remaining(&self, order: &BootOrder) -> String {
        order.flaws.join("; ")
    }

    fn describe(&self) -> String {
        format!(
            "install the boot loader for {} and prove it from the ESP",
            self.system
        )
    }
}

/// The fault for a boot loader that is still not right after it was installed.
pub fn still_flawed(flaws: &[String]) -> Fault {
    Fault::of(
        Kind::BootLoader {
            flaws: flaws.to_vec(),
        },
        "look at the boot loader's messages (landfall log), mend the configuration, then: landfall resume",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> BootFacts {
        let file = |name: &str| BootFile::Right(name.into());
        BootFacts {
            loader: file("EFI/systemd/systemd-bootx64.efi"),
            fallback: file("EFI/BOOT/BOOTX64.EFI"),
            entry: file("loader/entries/nixos-generation-1.conf"),
            kernel: file("EFI/nixos/k.efi"),
            initrd: file("EFI/nixos/i.efi"),
            nvram: Nvram::Ours,
        }
    }

    #[test]
    fn every_file_is_needed() {
        let action = InstallBootLoader {
            system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap(),
        };
        assert!(matches!(action.judge(&right()), Verdict::Done(_)));
        let gone = || BootFile::Missing("x".into());
        let bad = || BootFile::Different("x differs".into());
        for lacking in [
            BootFacts {
                loader: gone(),
                ..right()
            },
            BootFacts {
                loader: bad(),
                nvram: Nvram::Missing,
                ..right()
            },
            BootFacts {
                fallback: gone(),
                ..right()
            },
            BootFacts {
                entry: gone(),
                ..right()
            },
            BootFacts {
                kernel: bad(),
                ..right()
            },
            BootFacts {
                initrd: gone(),
                ..right()
            },
        ] {
            let Verdict::Todo(order) = action.judge(&lacking) else {
                panic!("{lacking:?}")
            };
            assert_eq!(order.flaws.len(), 1);
        }
    }

    #[test]
    fn flaws_are_told_as_they_are_and_stop_the_run_in_the_end() {
        let facts = BootFacts {
            kernel: BootFile::Missing("EFI/nixos/k.efi".into()),
            initrd: BootFile::Different("EFI/nixos/i.efi ends early".into()),
            ..right()
        };
        let flaws = facts.flaws();
        assert_eq!(
            flaws,
            ["EFI/nixos/k.efi is missing", "EFI/nixos/i.efi ends early"]
        );
        let fault = still_flawed(&flaws);
        assert_eq!(fault.class, crate::fault::FaultClass::Permanent);
        assert_eq!(
            fault.why(),
            "it is not right: EFI/nixos/k.efi is missing; EFI/nixos/i.efi ends early"
        );
    }

    #[test]
    fn firmware_that_keeps_no_entries_falls_back_to_the_removable_path() {
        for nvram in [
            Nvram::Unwritable("read-only".into()),
            Nvram::Missing,
            Nvram::NotWanted,
        ] {
            let facts = BootFacts { nvram, ..right() };
            assert!(facts.flaws().is_empty());
            let bare = BootFacts {
                loader: BootFile::Missing("x".into()),
                ..facts.clone()
            };
            assert!(bare.flaws().is_empty());
            let alone = BootFacts {
                fallback: BootFile::Missing("x".into()),
                ..facts
            };
            assert_eq!(alone.flaws(), ["x is missing"]);
        }
    }
}
