//! Land: from **Provisioned** to **Landed**.
//!
//! Landed means read back, unmounted, closed and flushed. The claim is saved after the flush, never before (I13).

use crate::names::StorePath;
use crate::phase::Phase;
use crate::plan::InstallId;
use crate::state::{Provisioned, advances};
use crate::step::{Step, Verdict};

impl Provisioned {
    /// What leads on.
    pub fn action(&self) -> Land {
        Land {
            install: self.context.plan.install,
            system: self.system.clone(),
        }
    }
}

advances!(Provisioned, LandProof, Landed with system);

/// Keep log and receipt on the target, unmount, close, flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Land {
    /// The install.
    pub install: InstallId,
    /// The system.
    pub system: StorePath,
}

/// What the receipt on the target says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The install it is of.
    pub install: String,
    /// The system it names.
    pub system: String,
}

/// What is left to see before the end.
#[derive(Debug, Clone)]
pub struct LandFacts {
    /// The receipt, re-read from the target.
    pub receipt: Option<Receipt>,
    /// Whether the log is on the target.
    pub log: bool,
    /// Mounts and mappings of this install that are still there; the checkpoint's own ESP mount is not among them.
    pub attached: Vec<String>,
    /// Whether every block device of the install was flushed after the last of them went.
    pub flushed: bool,
}

/// Do all of it, in this order: receipt and log, sync, unmount, close, flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandOrder {
    /// The install.
    pub install: InstallId,
    /// The system.
    pub system: StorePath,
}

/// Everything is on the disk and the disk is quiet.
#[derive(Debug)]
pub struct LandProof(());

impl Step for Land {
    const PHASE: Phase = Phase::Provisioned;
    type Facts = LandFacts;
    type Proof = LandProof;
    type Order = LandOrder;

    fn judge(&self, facts: &LandFacts) -> Verdict<LandProof, LandOrder> {
        let LandFacts {
            receipt,
            log,
            attached,
            flushed,
        } = facts;
        let kept = receipt.as_ref().is_some_and(|receipt| {
            receipt.install == self.install.to_string() && receipt.system == self.system.as_str()
        });
        if kept && *log && attached.is_empty() && *flushed {
            Verdict::Done(LandProof(()))
        } else {
            Verdict::Todo(LandOrder {
                install: self.install,
                system: self.system.clone(),
            })
        }
    }

    fn describe(&self) -> String {
        "write log and receipt to the target, unmount, close, flush".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    #[test]
    fn landed_needs_every_fact() {
        let plan = plan(false, false);
        let system: StorePath = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap();
        let action = Land {
            install: plan.install,
            system: system.clone(),
        };
        let receipt = Receipt {
            install: plan.install.to_string(),
            system: system.to_string(),
        };
        let whole = || LandFacts {
            receipt: Some(receipt.clone()),
            log: true,
            attached: vec![],
            flushed: true,
        };
        assert!(matches!(action.judge(&whole()), Verdict::Done(_)));
        for lacking in [
            LandFacts {
                receipt: None,
                ..whole()
            },
            LandFacts {
                receipt: Some(Receipt {
                    system: "x".into(),
                    ..receipt.clone()
                }),
                ..whole()
            },
            LandFacts {
                receipt: Some(Receipt {
                    install: "x".into(),
                    ..receipt.clone()
                }),
                ..whole()
            },
            LandFacts {
                log: false,
                ..whole()
            },
            LandFacts {
                attached: vec!["/mnt".into()],
                ..whole()
            },
            LandFacts {
                flushed: false,
                ..whole()
            },
        ] {
            assert!(matches!(action.judge(&lacking), Verdict::Todo(_)), "{lacking:?}");
        }
    }
}
