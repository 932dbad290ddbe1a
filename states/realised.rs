//! **Realised**: the system's closure is valid on the target store. Leads on by [`InstallSystem`], `nixos-install`.
//!
//! Law: the profile is set only after the closure's files are durable, so that a power cut cannot leave a profile that
//! points at empty files.

use crate::installed::Installed;
use crate::names::StorePath;
use crate::plan::Plan;
use crate::{Phase, Step, Verdict, Voyage};

/// See the module.
#[derive(Debug)]
pub struct Realised {
    pub(crate) voyage: Voyage,
    pub(crate) system: StorePath,
}

impl Realised {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.voyage.plan
    }

    /// The system.
    pub fn system(&self) -> &StorePath {
        &self.system
    }

    /// What leads on.
    pub fn action(&self) -> InstallSystem {
        InstallSystem {
            system: self.system.clone(),
        }
    }

    /// The next state.
    pub fn advance(self, _proof: InstallProof) -> Installed {
        Installed {
            voyage: self.voyage,
            system: self.system,
        }
    }
}

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
}

/// Run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOrder {
    /// The system.
    pub system: StorePath,
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
        } = facts;
        if profile.as_deref() == Some(self.system.as_str()) && *marked && *activated {
            Verdict::Done(InstallProof(()))
        } else {
            Verdict::Todo(InstallOrder {
                system: self.system.clone(),
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
}
