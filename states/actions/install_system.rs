//! Install the system (`nixos-install`): from **Realised** to **Installed**.
//!
//! The profile is set only after the closure's files are durable, so that a power cut cannot leave a profile that points at
//! empty files. Secrets that need no user of the target are placed before: `nixos-install` activates the system, and NixOS
//! reads the password file of a user that may be changed later (`users.mutableUsers`) in that first activation and never
//! again.

use crate::actions::provision_secrets::Placed;
use crate::names::{StorePath, TargetPath};
use crate::phase::Phase;
use crate::state::{Realised, advances};
use crate::step::{Step, Verdict};

impl Realised {
    /// What leads on.
    pub fn action(&self) -> InstallSystem {
        InstallSystem {
            system: self.system.clone(),
        }
    }
}

advances!(Realised, InstallProof, Installed with system);

/// Run `nixos-install --system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallSystem {
    /// The system.
    pub system: StorePath,
}

/// What the target says of its system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallFacts {
    /// Where `/nix/var/nix/profiles/system` leads to.
    pub profile: Option<String>,
    /// Whether `/etc/NIXOS` is there.
    pub marked: bool,
    /// Whether the activation of this very system has run: `/run`-independent traces such as `/etc/static` or, where the
    /// system has none, the boot entry that comes after it.
    pub activated: bool,
    /// Everything that has to be in its place before the first activation, as [`crate::actions::provision_secrets`] looks at it.
    pub first: Vec<Placed>,
}

/// Place these, and then run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOrder {
    /// The system.
    pub system: StorePath,
    /// What of the first things is not right.
    pub place_first: Vec<TargetPath>,
}

/// The profile is set and activation prepared.
#[derive(Debug)]
pub struct InstallProof(());

impl Step for InstallSystem {
    const PHASE: Phase = Phase::Realised;
    type Facts = InstallFacts;
    type Proof = InstallProof;
    type Order = InstallOrder;

    fn judge(&self, facts: &InstallFacts) -> Verdict<InstallProof, InstallOrder> {
        let InstallFacts {
            profile,
            marked,
            activated,
            first,
        } = facts;
        // Once it has been activated it is too late for them to be first; they are judged again with all the others.
        if profile.as_deref() == Some(self.system.as_str()) && *marked && *activated {
            Verdict::Done(InstallProof(()))
        } else {
            Verdict::Todo(InstallOrder {
                system: self.system.clone(),
                place_first: Placed::wrong(first),
            })
        }
    }

    fn describe(&self) -> String {
        format!("nixos-install --system {}", self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_needed() {
        let system: StorePath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap();
        let action = InstallSystem {
            system: system.clone(),
        };
        let whole = InstallFacts {
            profile: Some(system.to_string()),
            marked: true,
            activated: true,
            first: vec![],
        };
        assert!(matches!(action.judge(&whole), Verdict::Done(_)));
        for lacking in [
            InstallFacts {
                profile: None,
                ..whole.clone()
            },
            InstallFacts {
                profile: Some("/nix/store/other".into()),
                ..whole.clone()
            },
            InstallFacts {
                marked: false,
                ..whole.clone()
            },
            InstallFacts {
                activated: false,
                ..whole.clone()
            },
        ] {
            assert!(matches!(action.judge(&lacking), Verdict::Todo(_)), "{lacking:?}");
        }
    }

    #[test]
    fn secrets_are_placed_before_the_first_activation() {
        let system: StorePath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap();
        let action = InstallSystem {
            system: system.clone(),
        };
        let placed = |path: &str, flaws: &[&str]| Placed {
            path: path.parse().unwrap(),
            flaws: flaws.iter().map(|f| f.to_string()).collect(),
        };
        let facts = InstallFacts {
            profile: Some(system.to_string()),
            marked: true,
            activated: false,
            first: vec![
                placed("/etc/age", &[]),
                placed("/etc/age/web.agekey", &["missing"]),
            ],
        };
        let Verdict::Todo(order) = action.judge(&facts) else {
            panic!()
        };
        assert_eq!(order.place_first, [facts.first[1].path.clone()]);
        let activated = InstallFacts {
            activated: true,
            ..facts
        };
        assert!(matches!(action.judge(&activated), Verdict::Done(_)));
    }
}
