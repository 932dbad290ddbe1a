//! **Encrypted**: the LUKS container, if any, is ours and opens. Leads on by [`FormatVolumes`].
//!
//! Law: an order names only volumes that are not whole; a whole one cannot be named in it (I5).

use crate::consent::Consent;
use crate::formatted::Formatted;
use crate::partitioned::{blank, foreign};
use crate::plan::{DiskIdentity, GptEntry, Plan, Role, Volume};
use crate::{Phase, Probe, Step, Verdict, VolumeState, Voyage};

/// See the module.
#[derive(Debug)]
pub struct Encrypted {
    pub(crate) voyage: Voyage,
}

impl Encrypted {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.voyage.plan
    }

    /// What leads on. A plan always has a root.
    pub fn action(&self, consent: Option<Consent>) -> FormatVolumes {
        let plan = &self.voyage.plan;
        // `Plan::derive` puts the root second.
        let root = plan.partition(Role::Root).unwrap_or(&plan.table.entries[1]);
        FormatVolumes {
            disk: plan.disk.clone(),
            root: Target {
                partition: root.clone(),
                volume: plan.root.clone(),
                inside_luks: plan.luks.is_some(),
            },
            swap: plan
                .swap
                .as_ref()
                .zip(plan.partition(Role::Swap))
                .map(|(volume, partition)| Target {
                    partition: partition.clone(),
                    volume: volume.clone(),
                    inside_luks: false,
                }),
            claimed: self.voyage.claims(Phase::Formatted),
            consent,
        }
    }

    /// The next state.
    pub fn advance(self, _proof: VolumesProof) -> Formatted {
        Formatted { voyage: self.voyage }
    }
}

/// A volume and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The partition.
    pub partition: GptEntry,
    /// The volume.
    pub volume: Volume,
    /// Whether it lies inside the LUKS container on that partition.
    pub inside_luks: bool,
}

/// Make the root filesystem and swap.
#[derive(Debug, Clone)]
pub struct FormatVolumes {
    /// The confirmed disk.
    pub disk: DiskIdentity,
    /// Root (ext4).
    pub root: Target,
    /// Swap, if the layout has it.
    pub swap: Option<Target>,
    /// Whether the checkpoint claims that it was done.
    pub claimed: bool,
    /// What somebody agreed to.
    pub consent: Option<Consent>,
}

/// What is on the volumes' devices.
#[derive(Debug, Clone)]
pub struct VolumesFacts {
    /// Root: the partition, or the opened container.
    pub root: Probe,
    /// Swap; `Blank` when none is planned.
    pub swap: Probe,
}

/// Make these, each under its provisional id, flush, then give the planned id and flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatOrder {
    /// The disk, to be identified again right before.
    pub disk: DiskIdentity,
    /// Root, when it is to be made.
    pub root: Option<Target>,
    /// Swap, when it is to be made.
    pub swap: Option<Target>,
}

/// Root and swap are ours and whole.
#[derive(Debug)]
pub struct VolumesProof(());

impl FormatVolumes {
    fn part(&self, target: &Target, kind: &str, probe: &Probe) -> Verdict<(), Target> {
        let Volume {
            id,
            provisional,
            label,
        } = &target.volume;
        match probe.compare(kind, &id.to_string(), &provisional.to_string(), label) {
            VolumeState::Whole => Verdict::Done(()),
            // Begun and not finished holds no more than blank does.
            VolumeState::InTheMaking | VolumeState::Blank => {
                blank(&self.disk, &target.partition, self.claimed, &self.consent, || {
                    target.clone()
                })
            }
            VolumeState::Foreign => Verdict::Refuse(foreign(&target.partition, probe)),
        }
    }
}

impl Step for FormatVolumes {
    const PHASE: Phase = Phase::Encrypted;
    type Facts = VolumesFacts;
    type Proof = VolumesProof;
    type Order = FormatOrder;

    fn judge(&self, facts: &VolumesFacts) -> Verdict<VolumesProof, FormatOrder> {
        let root = match self.part(&self.root, "ext4", &facts.root) {
            Verdict::Refuse(fault) => return Verdict::Refuse(fault),
            Verdict::NeedsConsent(erasure) => return Verdict::NeedsConsent(erasure),
            Verdict::Done(()) => None,
            Verdict::Todo(target) => Some(target),
        };
        let swap = match self
            .swap
            .as_ref()
            .map(|target| self.part(target, "swap", &facts.swap))
        {
            Some(Verdict::Refuse(fault)) => return Verdict::Refuse(fault),
            Some(Verdict::NeedsConsent(erasure)) => return Verdict::NeedsConsent(erasure),
            Some(Verdict::Done(())) | None => None,
            Some(Verdict::Todo(target)) => Some(target),
        };
        if root.is_none() && swap.is_none() {
            Verdict::Done(VolumesProof(()))
        } else {
            Verdict::Todo(FormatOrder {
                disk: self.disk.clone(),
                root,
                swap,
            })
        }
    }

    fn describe(&self) -> String {
        let root = format!("make ext4 {} {}", self.root.volume.label, self.root.volume.id);
        match &self.swap {
            None => root,
            Some(swap) => format!("{root}, swap {} {}", swap.volume.label, swap.volume.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signature;
    use crate::plan::tests::plan;

    fn action(swap: bool) -> FormatVolumes {
        let voyage = Voyage {
            plan: plan(false, swap),
            revision: "0".repeat(40).parse().unwrap(),
            claimed: None,
            unclean: false,
        };
        Encrypted { voyage }.action(None)
    }

    fn seen(kind: &str, volume: &Volume, id: &uuid::Uuid) -> Probe {
        Probe::Found(Signature {
            kind: kind.into(),
            id: Some(id.to_string()),
            label: Some(volume.label.clone()),
        })
    }

    #[test]
    fn an_order_names_only_what_is_not_whole() {
        let action = action(true);
        let (root, swap) = (action.root.volume.clone(), action.swap.clone().unwrap().volume);
        let whole_root = seen("ext4", &root, &root.id);
        let facts = VolumesFacts {
            root: whole_root.clone(),
            swap: Probe::Blank,
        };
        let Verdict::Todo(order) = action.judge(&facts) else {
            panic!()
        };
        assert!(order.root.is_none() && order.swap.is_some());
        let facts = VolumesFacts {
            root: whole_root,
            swap: seen("swap", &swap, &swap.id),
        };
        assert!(matches!(action.judge(&facts), Verdict::Done(_)));
        let facts = VolumesFacts {
            root: seen("ext4", &root, &root.provisional),
            swap: seen("swap", &swap, &swap.id),
        };
        let Verdict::Todo(order) = action.judge(&facts) else {
            panic!()
        };
        assert!(order.root.is_some() && order.swap.is_none());
    }

    #[test]
    fn a_foreign_filesystem_in_our_partition_is_refused() {
        let action = action(false);
        let root = &action.root.volume;
        for probe in [
            seen("btrfs", root, &root.id),
            seen("ext4", root, &uuid::Uuid::nil()),
        ] {
            let facts = VolumesFacts {
                root: probe,
                swap: Probe::Blank,
            };
            assert!(matches!(action.judge(&facts), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn the_planned_id_under_another_label_is_not_ours() {
        let action = action(false);
        let mut root = action.root.volume.clone();
        root.label = "other".into();
        let facts = VolumesFacts {
            root: seen("ext4", &root, &root.id),
            swap: Probe::Blank,
        };
        assert!(matches!(action.judge(&facts), Verdict::Refuse(_)));
    }
}
