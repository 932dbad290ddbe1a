//! Encrypt the volumes: from **Anchored** to **Encrypted**. Without LUKS there is nothing to do.
//!
//! A container with the planned UUID is never formatted again, whatever the passphrase: a wrong passphrase is a question to a
//! person, not a reason to erase (I5).

use crate::consent::Consent;
use crate::fault::{Fault, Kind, Remedy, SecretFault};
use crate::phase::Phase;
use crate::plan::{DiskIdentity, GptEntry, Role, Volume};
use crate::state::{Anchored, advances};
use crate::step::{Step, Verdict};
use crate::volume::{Probe, VolumeState};
use crate::volume::{blank, foreign};

impl Anchored {
    /// What leads on.
    pub fn action(&self, consent: Option<Consent>) -> EncryptVolumes {
        let plan = &self.context.plan;
        let container = plan
            .luks
            .as_ref()
            .zip(plan.partition(Role::Root))
            .map(|(volume, partition)| Container {
                partition: partition.clone(),
                volume: volume.clone(),
            });
        EncryptVolumes {
            disk: plan.disk.clone(),
            container,
            claimed: self.context.claims(Phase::Encrypted),
            consent,
        }
    }
}

advances!(Anchored, EncryptionProof, Encrypted);

/// A planned LUKS2 container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its partition.
    pub partition: GptEntry,
    /// Its header's UUID and label.
    pub volume: Volume,
}

/// Make the LUKS2 container (argon2id).
#[derive(Debug, Clone)]
pub struct EncryptVolumes {
    /// The confirmed disk.
    pub disk: DiskIdentity,
    /// The container, if the layout has one.
    pub container: Option<Container>,
    /// Whether the checkpoint claims that it was done.
    pub claimed: bool,
    /// What somebody agreed to.
    pub consent: Option<Consent>,
}

/// What is on the container's partition.
#[derive(Debug, Clone)]
pub enum LuksFacts {
    /// The layout has no container.
    NotPlanned,
    /// The layout has one.
    Planned {
        /// The prober's word.
        probe: Probe,
        /// Whether the passphrase at hand opens it; asked only of a header that carries the planned UUID.
        opens: Option<bool>,
    },
}

/// Format the container under its provisional UUID, add the passphrase, flush, test it, then give the planned UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptOrder {
    /// The disk, to be identified again right before.
    pub disk: DiskIdentity,
    /// The container.
    pub container: Container,
}

/// The container is ours and opens, or none is planned.
#[derive(Debug)]
pub struct EncryptionProof(());

impl Step for EncryptVolumes {
    const PHASE: Phase = Phase::Anchored;
    type Facts = LuksFacts;
    type Proof = EncryptionProof;
    type Order = EncryptOrder;

    fn judge(&self, facts: &LuksFacts) -> Verdict<EncryptionProof, EncryptOrder> {
        let (container, probe, opens) = match (&self.container, facts) {
            (None, LuksFacts::NotPlanned) => return Verdict::Done(EncryptionProof(())),
            (Some(container), LuksFacts::Planned { probe, opens }) => (container, probe, opens),
            (None, LuksFacts::Planned { .. }) | (Some(_), LuksFacts::NotPlanned) => {
                return Verdict::Refuse(Fault::of(
                    Kind::OtherPlan {
                        on: "LUKS".into(),
                        detail: "the facts are of another plan than the action".into(),
                    },
                    Remedy::report(),
                ));
            }
        };
        let Container { partition, volume } = container;
        let order = || EncryptOrder {
            disk: self.disk.clone(),
            container: container.clone(),
        };
        match probe.compare(
            "crypto_LUKS",
            &volume.id.to_string(),
            &volume.provisional.to_string(),
            &volume.label,
        ) {
            VolumeState::Complete => match opens {
                Some(true) => Verdict::Done(EncryptionProof(())),
                Some(false) => Verdict::Refuse(
                    SecretFault::WrongPassphrase {
                        on: format!("LUKS container {}", volume.label),
                    }
                    .into(),
                ),
                None => Verdict::Refuse(
                    SecretFault::PassphraseMissing {
                        of: format!("LUKS container {}", volume.label),
                        unattended: false,
                    }
                    .into(),
                ),
            },
            // Begun and not finished holds no more than blank does.
            VolumeState::Incomplete | VolumeState::Blank => {
                blank(&self.disk, partition, self.claimed, &self.consent, order)
            }
            VolumeState::Foreign => Verdict::Refuse(foreign(partition, probe)),
        }
    }

    fn describe(&self) -> String {
        match &self.container {
            None => "no encryption in this layout".into(),
            Some(Container { partition, volume }) => {
                format!(
                    "make LUKS2 (argon2id) {} {} on partition {}",
                    volume.label, volume.id, partition.number
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;
    use crate::state::RunContext;
    use crate::volume::Signature;

    fn action(luks: bool) -> EncryptVolumes {
        let context = RunContext {
            plan: plan(luks, false),
            revision: "0".repeat(40).parse().unwrap(),
            claimed: None,
            unclean: false,
            is_wish: false,
            vouched: None,
        };
        Anchored { context }.action(None)
    }

    fn header(id: &uuid::Uuid, opens: Option<bool>) -> LuksFacts {
        LuksFacts::Planned {
            probe: Probe::Found(Signature {
                kind: "crypto_LUKS".into(),
                id: Some(id.to_string()),
                label: Some("luks-web".into()),
            }),
            opens,
        }
    }

    #[test]
    fn without_luks_there_is_nothing_to_do() {
        assert!(matches!(
            action(false).judge(&LuksFacts::NotPlanned),
            Verdict::Done(_)
        ));
    }

    #[test]
    fn a_wrong_passphrase_is_never_a_reason_to_format() {
        let action = action(true);
        let id = action.container.as_ref().unwrap().volume.id;
        assert!(matches!(action.judge(&header(&id, Some(true))), Verdict::Done(_)));
        for opens in [Some(false), None] {
            let Verdict::Refuse(fault) = action.judge(&header(&id, opens)) else {
                panic!()
            };
            assert_eq!(fault.class, crate::fault::FaultClass::NeedsChange);
        }
    }

    #[test]
    fn an_unfinished_container_is_made_again_a_foreign_one_is_not() {
        let action = action(true);
        let provisional = action.container.as_ref().unwrap().volume.provisional;
        assert!(matches!(
            action.judge(&header(&provisional, None)),
            Verdict::Todo(_)
        ));
        assert!(matches!(
            action.judge(&header(&uuid::Uuid::nil(), None)),
            Verdict::Refuse(_)
        ));
    }
}
