//! Format the volumes: from **Encrypted** to **Formatted**.
//!
//! An order names only incomplete volumes; a complete one cannot be named in it (I5). Root is made empty, or from an image.
//! For an image, the order says with which chunk to continue. That is a claim and only saves work: everything is read back
//! before the commit.

use crate::consent::Consent;
use crate::image::{Image, ImageProgress};
use crate::phase::Phase;
use crate::plan::{DiskIdentity, GptEntry, Role, Volume};
use crate::state::{Encrypted, advances};
use crate::step::{Step, StepProgress, Verdict};
use crate::volume::{Probe, VolumeState};
use crate::volume::{blank, foreign};

impl Encrypted {
    /// What leads on. A plan always has a root. `progress` is how far the checkpoint says that an image has come.
    #[expect(clippy::indexing_slicing, reason = "`Plan::derive` puts the root second")]
    pub fn action(&self, consent: Option<Consent>, progress: &StepProgress) -> FormatVolumes {
        let plan = &self.context.plan;
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
            image: plan.payload.system.image().cloned(),
            image_progress: progress.image().cloned(),
            claimed: self.context.claims(Phase::Formatted),
            consent,
        }
    }
}

advances!(Encrypted, VolumesProof, Formatted);

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
    /// What root is made from; without it, it is made empty.
    pub image: Option<Image>,
    /// How far the checkpoint says that the image has come.
    pub image_progress: Option<ImageProgress>,
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
    /// How far this run has come with the image: chunks that it has written and flushed itself, or found there.
    pub image_progress: Option<ImageProgress>,
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
    /// What root is made from, when it is to be made from an image.
    pub image: Option<ImageOrder>,
}

/// Write an image, from a chunk on, for as long as one flush may be away, or finish when all of it is written: read it back,
/// check it, grow it, and give it its label and planned id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOrder {
    /// The image.
    pub image: Image,
    /// Chunks below this one are said to be durable.
    pub from: u64,
}

/// Root and swap are ours and whole.
#[derive(Debug)]
pub struct VolumesProof(());

impl FormatVolumes {
    /// What is said of an image that is not begun, or begun by nobody we know, counts for nothing.
    fn order_of(&self, image: &Image, facts: &VolumesFacts) -> ImageOrder {
        let Volume {
            id,
            provisional,
            label,
        } = &self.root.volume;
        let begun = facts
            .root
            .compare("ext4", &id.to_string(), &provisional.to_string(), label)
            == VolumeState::Incomplete;
        let said = facts
            .image_progress
            .as_ref()
            .or(self.image_progress.as_ref())
            .filter(|image_progress| begun && image_progress.image == image.digest);
        ImageOrder {
            image: image.clone(),
            from: said.map_or(0, |image_progress| image_progress.chunks.min(image.chunks)),
        }
    }

    fn part(&self, target: &Target, kind: &str, probe: &Probe) -> Verdict<(), Target> {
        let Volume {
            id,
            provisional,
            label,
        } = &target.volume;
        match probe.compare(kind, &id.to_string(), &provisional.to_string(), label) {
            VolumeState::Complete => Verdict::Done(()),
            // Begun and not finished holds no more than blank does.
            VolumeState::Incomplete | VolumeState::Blank => {
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
    const IN_SLICES: bool = true;
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
            let image = match (&root, &self.image) {
                (Some(_), Some(image)) => Some(self.order_of(image, facts)),
                (Some(_), None) | (None, _) => None,
            };
            Verdict::Todo(FormatOrder {
                disk: self.disk.clone(),
                root,
                swap,
                image,
            })
        }
    }

    fn progress(&self, facts: &VolumesFacts) -> StepProgress {
        // No further than the image goes: that bounds the number of slices.
        let image = facts
            .image_progress
            .clone()
            .zip(self.image.as_ref())
            .map(|(image_progress, image)| ImageProgress {
                chunks: image_progress.chunks.min(image.chunks),
                ..image_progress
            });
        StepProgress::of_image(image)
    }

    fn describe(&self) -> String {
        let Volume { id, label, .. } = &self.root.volume;
        let root = match &self.image {
            None => format!("make ext4 {label} {id}"),
            Some(image) => format!(
                "make ext4 {label} {id} from the image {} ({} bytes)",
                image.digest, image.plain_bytes
            ),
        };
        match &self.swap {
            None => root,
            Some(swap) => format!("{root}, swap {} {}", swap.volume.label, swap.volume.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;
    use crate::state::RunContext;
    use crate::volume::Signature;

    fn action(swap: bool) -> FormatVolumes {
        let context = RunContext {
            plan: plan(false, swap),
            revision: "0".repeat(40).parse().unwrap(),
            claimed: None,
            unclean: false,
            is_wish: false,
            vouched: None,
        };
        Encrypted { context }.action(None, &StepProgress::default())
    }

    fn image() -> Image {
        Image {
            file: "/iso/root.image".into(),
            digest: crate::names::Digest::of(b"image"),
            system: format!("/nix/store/{}-nixos-system-web", "a".repeat(32))
                .parse()
                .unwrap(),
            filesystem_bytes: 1 << 30,
            plain_bytes: 1 << 29,
            boot_bytes: 1,
            chunks: 100,
        }
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
            image_progress: None,
        };
        let Verdict::Todo(order) = action.judge(&facts) else {
            panic!()
        };
        assert!(order.root.is_none() && order.swap.is_some());
        let facts = VolumesFacts {
            root: whole_root,
            swap: seen("swap", &swap, &swap.id),
            image_progress: None,
        };
        assert!(matches!(action.judge(&facts), Verdict::Done(_)));
        let facts = VolumesFacts {
            root: seen("ext4", &root, &root.provisional),
            swap: seen("swap", &swap, &swap.id),
            image_progress: None,
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
                image_progress: None,
            };
            assert!(matches!(action.judge(&facts), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn an_image_continues_where_its_own_filesystem_is_in_the_making() {
        let mut action = action(false);
        action.image = Some(image());
        let root = action.root.volume.clone();
        let at = |chunks| ImageProgress {
            image: image().digest,
            chunks,
        };
        let begun = seen("ext4", &root, &root.provisional);
        let other = ImageProgress {
            image: crate::names::Digest::of(b"other"),
            chunks: 7,
        };
        for (probe, said, seen, from) in [
            (Probe::Blank, Some(at(7)), None, 0),
            (begun.clone(), None, None, 0),
            (begun.clone(), Some(at(7)), None, 7),
            (begun.clone(), Some(at(7)), Some(at(9)), 9),
            (begun.clone(), Some(other), None, 0),
            (begun.clone(), Some(at(101)), None, 100),
        ] {
            action.image_progress = said.clone();
            let facts = VolumesFacts {
                root: probe,
                swap: Probe::Blank,
                image_progress: seen,
            };
            let Verdict::Todo(order) = action.judge(&facts) else {
                panic!()
            };
            assert_eq!(order.image.unwrap().from, from, "{said:?}");
        }
        // Whole, and nothing is written, whatever is said.
        action.image_progress = Some(at(7));
        let facts = VolumesFacts {
            root: seen("ext4", &root, &root.id),
            swap: Probe::Blank,
            image_progress: None,
        };
        assert!(matches!(action.judge(&facts), Verdict::Done(_)));
    }

    #[test]
    fn how_far_an_image_has_come_ends_where_it_ends() {
        let image_progress = |chunks| ImageProgress {
            image: image().digest,
            chunks,
        };
        let facts = |chunks| VolumesFacts {
            root: Probe::Blank,
            swap: Probe::Blank,
            image_progress: Some(image_progress(chunks)),
        };
        let mut action = action(false);
        assert!(
            !action.progress(&facts(7)).is_known(),
            "nothing is landed from no image"
        );
        action.image = Some(image());
        for (seen, told) in [(7, 7), (100, 100), (101, 100)] {
            assert_eq!(action.progress(&facts(seen)).image(), Some(&image_progress(told)));
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
            image_progress: None,
        };
        assert!(matches!(action.judge(&facts), Verdict::Refuse(_)));
    }
}
