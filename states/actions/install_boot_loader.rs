//! Install the boot loader: from **Installed** to **Bootable**.
//!
//! The boot loader is checked on the ESP itself; the exit code of its installer is not a fact.

use crate::fault::{ConfigFault, Fault, Kind, Remedy};
use crate::names::StorePath;
use crate::phase::Phase;
use crate::state::{Installed, advances};
use crate::step::{Step, Verdict};
use std::fmt;

impl Installed {
    /// What leads on.
    pub fn action(&self) -> InstallBootLoader {
        InstallBootLoader {
            system: self.system.clone(),
        }
    }
}

advances!(Installed, BootProof, Bootable with system);

/// Install the boot loader, or what of it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallBootLoader {
    /// The system to be booted.
    pub system: StorePath,
}

/// A file on the ESP, compared with what it is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// Not there: this path.
    Missing(String),
    /// There, and other than it should be. An installer that finds something there takes it for its own work.
    Different {
        /// Which, from the ESP's top.
        path: String,
        /// How it differs.
        how: String,
    },
    /// No single file is to blame: what the boot loader will do instead.
    Elsewhere(String),
    /// There, and right.
    Right(String),
}

impl BootFile {
    fn flaw(&self) -> Option<BootFlaw> {
        match self {
            BootFile::Missing(path) => Some(BootFlaw::Missing(path.clone())),
            BootFile::Different { path, how } => Some(BootFlaw::Different {
                path: path.clone(),
                how: how.clone(),
            }),
            BootFile::Elsewhere(how) => Some(BootFlaw::Elsewhere(how.clone())),
            BootFile::Right(_) => None,
        }
    }
}

/// What keeps the disk from booting, or the next installer of the boot loader from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFlaw {
    /// See [`BootFile::Missing`].
    Missing(String),
    /// See [`BootFile::Different`].
    Different {
        /// Which.
        path: String,
        /// How.
        how: String,
    },
    /// See [`BootFile::Elsewhere`].
    Elsewhere(String),
    /// A temporary file that a cut installer left, and that its next run takes for somebody at work.
    Leftover(String),
}

impl fmt::Display for BootFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootFlaw::Missing(path) => write!(f, "{path} is missing"),
            BootFlaw::Different { path, how } => write!(f, "{path} {how}"),
            BootFlaw::Elsewhere(how) => f.write_str(how),
            BootFlaw::Leftover(path) => write!(f, "{path} was left by an interrupted boot loader installer"),
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
    /// Further entries of this system and what they start, entries that are damaged, and what stands where a directory
    /// belongs.
    pub others: Vec<BootFile>,
    /// Temporary files of installers.
    pub leftovers: Vec<String>,
    /// The firmware's entry.
    pub nvram: Nvram,
    /// A way to boot that is not proved here, and that no installer run will change.
    pub unproved: Option<String>,
    /// A variable of the firmware that has the boot loader start something else.
    pub steered: Option<String>,
}

impl BootFacts {
    /// Everything that is not as it should be.
    pub fn flaws(&self) -> Vec<BootFlaw> {
        let BootFacts {
            loader,
            fallback,
            entry,
            kernel,
            initrd,
            others,
            leftovers,
            nvram,
            unproved: _,
            steered: _,
        } = self;
        let mut flaws: Vec<BootFlaw> = [fallback, entry, kernel, initrd]
            .into_iter()
            .chain(others)
            .filter_map(BootFile::flaw)
            .collect();
        // The loader's own binary is needed where the firmware's entry starts it; elsewhere the fallback suffices, but a
        // damaged one is a flaw anywhere.
        match (loader, nvram) {
            (BootFile::Missing(_), Nvram::Missing | Nvram::Unwritable(_) | Nvram::NotWanted)
            | (BootFile::Right(_), _) => {}
            (BootFile::Missing(_), Nvram::Ours)
            | (BootFile::Different { .. } | BootFile::Elsewhere(_), _) => flaws.extend(loader.flaw()),
        }
        flaws.extend(leftovers.iter().cloned().map(BootFlaw::Leftover));
        flaws
    }
}

/// Run the system's boot loader installer again, and what it leaves out.
#[derive(Debug, Clone)]
pub struct BootOrder {
    /// The system.
    pub system: StorePath,
    /// What is wrong now. What differs is deleted first, since the installer skips what is there; so are leftovers.
    pub flaws: Vec<BootFlaw>,
}

impl BootOrder {
    /// The files that are there and wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &str> {
        self.flaws.iter().filter_map(|flaw| match flaw {
            BootFlaw::Different { path, .. } => Some(path.as_str()),
            BootFlaw::Missing(_) | BootFlaw::Elsewhere(_) | BootFlaw::Leftover(_) => None,
        })
    }
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
        if let Some(why) = &facts.unproved {
            return Verdict::Refuse(
                ConfigFault::LoaderUnproved {
                    system: self.system.to_string(),
                    reason: why.clone(),
                }
                .into(),
            );
        }
        if let Some(why) = &facts.steered {
            return Verdict::Refuse(ConfigFault::LoaderSteered { reason: why.clone() }.into());
        }
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
        let flaws: Vec<String> = order.flaws.iter().map(ToString::to_string).collect();
        flaws.join("; ")
    }

    fn describe(&self) -> String {
        format!(
            "install the boot loader for {} and verify it on the ESP",
            self.system
        )
    }
}

/// The fault for a boot loader that is still not right after it was installed.
pub fn still_flawed(flaws: &[BootFlaw]) -> Fault {
    Fault::of(
        Kind::BootLoader {
            flaws: flaws.iter().map(ToString::to_string).collect(),
        },
        Remedy::change("read the boot loader's messages (landfall log), and fix the configuration"),
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
            others: vec![],
            leftovers: vec![],
            nvram: Nvram::Ours,
            unproved: None,
            steered: None,
        }
    }

    fn bad(path: &str) -> BootFile {
        BootFile::Different {
            path: path.into(),
            how: "differs".into(),
        }
    }

    #[test]
    fn every_file_is_needed() {
        let action = InstallBootLoader {
            system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap(),
        };
        assert!(matches!(action.judge(&right()), Verdict::Done(_)));
        let gone = || BootFile::Missing("x".into());
        for lacking in [
            BootFacts {
                loader: gone(),
                ..right()
            },
            BootFacts {
                loader: bad("x"),
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
                kernel: bad("x"),
                ..right()
            },
            BootFacts {
                initrd: gone(),
                ..right()
            },
            BootFacts {
                others: vec![bad("x")],
                ..right()
            },
            BootFacts {
                leftovers: vec!["loader/loader.tmp".into()],
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
            entry: BootFile::Elsewhere("x.conf is the default".into()),
            kernel: BootFile::Missing("EFI/nixos/k.efi".into()),
            initrd: BootFile::Different {
                path: "EFI/nixos/i.efi".into(),
                how: "ends early".into(),
            },
            leftovers: vec!["loader/loader.tmp".into()],
            ..right()
        };
        let flaws = facts.flaws();
        let fault = still_flawed(&flaws);
        assert_eq!(fault.class, crate::fault::FaultClass::Permanent);
        assert_eq!(
            fault.why(),
            "it is not right: x.conf is the default; EFI/nixos/k.efi is missing; EFI/nixos/i.efi ends early; loader/loader.tmp was left by an interrupted boot loader installer"
        );
        let system = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap();
        let order = BootOrder { system, flaws };
        assert_eq!(
            order.wrong().collect::<Vec<_>>(),
            ["EFI/nixos/i.efi"],
            "only what is there and wrong is deleted"
        );
    }

    #[test]
    fn what_no_installer_run_repairs_is_refused_at_once() {
        let action = InstallBootLoader {
            system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap(),
        };
        for (facts, class) in [
            (
                BootFacts {
                    unproved: Some("GRUB".into()),
                    ..right()
                },
                crate::fault::FaultClass::Permanent,
            ),
            (
                BootFacts {
                    steered: Some("LoaderEntryDefault".into()),
                    ..right()
                },
                crate::fault::FaultClass::NeedsChange,
            ),
        ] {
            let Verdict::Refuse(fault) = action.judge(&facts) else {
                panic!("{facts:?}")
            };
            assert_eq!(fault.class, class);
        }
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
            assert_eq!(alone.flaws(), [BootFlaw::Missing("x".into())]);
        }
    }
}
