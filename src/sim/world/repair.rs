//! The three repairs that looking makes: root's superblock from its copies, root's other metadata, and the root directory of the ESP.
//!
//! As in the real world: making a filesystem begins with clearing the copies; they get the planned id before the superblock
//! does, each flushed. Mounting and unmounting write the superblock again. If a power cut tore it, looking repairs it from a
//! copy that has the planned id.
//!
//! The journal, which also writes it between mounting and unmounting, is not simulated: what a cut tears there is the same as
//! here.

use crate::sim::inject::faults::fault;
use crate::sim::inject::planted::planted;
use crate::sim::model::case::Mode;
use crate::sim::model::contents::{CLOSURE, LOST, WHOLE_FILES};
use crate::sim::model::disk::Region;
use crate::sim::model::disk::{Fs, Held, Key, Value};
use crate::sim::model::machine::Machine;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::Phase;
use landfall_states::fault::{Fault, FaultClass};

/// The kernel mounts or unmounts the root: it writes its superblock.
pub fn written_by_kernel(machine: &mut Machine, disk: usize) {
    let region = machine.root_region();
    machine.disk_mut(disk).rewrite(Key::Header(region));
}

impl SimWorld {
    /// No copy proves anything about what is made now.
    pub(crate) async fn forget_copies(&mut self) -> Result<(), Fault> {
        if planted!(self, CopiesStay) || self.disk().see(Key::Copies).is_none() {
            return Ok(());
        }
        let clear = vec![(Key::Copies, None)];
        self.act("clear former superblocks", Act::Write(Held::Device, clear))
            .await?;
        self.act("flush the cleared superblocks", Act::Flush).await
    }

    /// The copies get the id, and are durable before the superblock gets it.
    pub(crate) async fn commit_copies(&mut self, header: Option<Value>) -> Result<(), Fault> {
        let copies = vec![(Key::Copies, header)];
        self.act("give it to the copies", Act::Write(Held::Device, copies))
            .await?;
        self.act("flush the copies", Act::Flush).await
    }

    /// A finished root whose superblock was torn is repaired from a copy, unless it is mounted.
    pub(crate) async fn repair_superblock(&mut self) -> Result<(), Fault> {
        let region = self.setting.root_region();
        let Some((_, _, id, _)) = self.setting.volume(region) else {
            return Ok(());
        };
        let copy = self.disk().proved_by_copies(region, &id).cloned();
        let Some(header) = copy.filter(|_| !self.machine.root_mounted && !planted!(self, TornIsBlank)) else {
            return Ok(());
        };
        self.identify().await?;
        let repaired = vec![(Key::Header(region), Some(Value::Header(header)))];
        self.act("repair the superblock", Act::Write(Held::Device, repaired))
            .await?;
        self.act("flush the repaired superblock", Act::Flush).await?;
        if self.disk().header(region).is_none() {
            let what = format!("repair of root filesystem in {region:?}");
            return Err(Fault::read_back(what, "there is no superblock of it"));
        }
        Ok(())
    }
}

impl SimWorld {
    /// Damaged metadata of the root filesystem is told first; the next look unmounts it and repairs it, which takes a file away.
    pub(crate) async fn repair_root(&mut self) -> Result<(), Fault> {
        let Some(which) = self.machine.root_damage else {
            return Ok(());
        };
        if !self.repair_is_due {
            (self.damages, self.repair_is_due) = (self.damages + 1, true);
            return Err(fault(FaultClass::Transient, "root filesystem"));
        }
        self.detach_root().await?;
        self.identify().await?;
        if let Some(lost) = self.file_to_lose(which) {
            self.checks.get_mut().lost(Phase::Formatted);
            self.act("repair the root", Act::Write(Held::Device, vec![lost]))
                .await?;
            self.act("flush the repaired root", Act::Flush).await?;
        }
        self.machine.root_damage = None;
        self.repair_is_due = false;
        Ok(())
    }

    /// A file of the root filesystem with what a repair leaves of it.
    fn file_to_lose(&self, which: u32) -> Option<(Key, Option<Value>)> {
        let making = self.disk().header(self.setting.root_region())?.making;
        let region = self.setting.root_region();
        // What came with an image is nowhere else: its loss is an end, which `store::PathsLost` tells.
        let is_there = |name: &&'static str| {
            self.disk().text(Fs::Root, region, name).is_some()
                && !(self.setting.case.mode == Mode::Image && CLOSURE.contains(name))
        };
        let files: Vec<Key> = (WHOLE_FILES.into_iter().filter(is_there))
            .map(|name| Key::File(Fs::Root, name))
            .collect();
        let at = usize::try_from(which).ok()?.checked_rem(files.len())?;
        let lost = Value::Text(making, LOST.into());
        files.get(at).map(|key| (*key, Some(lost)))
    }

    /// An ESP that lost its root directory gets it back, with the directory of the slots in it, and nothing else.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn repair_directory(&mut self) -> Result<(), Fault> {
        let planned = self.setting.volume(Region::Esp).map(|(_, _, id, _)| id);
        let is_looked_at = !self.machine.esp_mounted && !planted!(self, LostLabelIsForeign);
        let Some(making) = self.disk().lost_directory_of(planned).filter(|_| is_looked_at) else {
            return Ok(());
        };
        self.identify().await?;
        self.checks.get_mut().done_again_from(Phase::Installed);
        let directory = vec![(Key::Directory, Some(Value::Of(making)))];
        self.act(
            "make the root directory again",
            Act::Write(Held::Device, directory),
        )
        .await?;
        self.act("flush the root directory", Act::Flush).await?;
        if self.disk().lost_directory() {
            return Err(Fault::read_back(
                "root directory of the ESP",
                "its label reads back differently from what was written",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::check::invariants::Breach;
    use crate::sim::check::invariants::Invariant;
    use crate::sim::explore::harness::Harness;
    use crate::sim::explore::run::Ending;
    use crate::sim::inject::planted::Bug;
    use crate::sim::inject::schedule::Schedule;
    use landfall_states::Phase;

    const CASES: [&str; 3] = [
        "plain/prebuilt/foreign/person",
        "luks/prebuilt/foreign/person",
        "plain/image/foreign/person",
    ];

    fn harness(case: &str) -> Harness {
        Harness::new(case.parse().unwrap()).unwrap()
    }

    fn breaks(invariant: Invariant, breaches: &[Breach]) -> bool {
        breaches.iter().any(|breach| breach.invariant == invariant)
    }

    /// Where the root is mounted and unmounted: from there on its superblock is on its way.
    fn mounts(harness: &Harness) -> Vec<usize> {
        let is_mount = |label| matches!(label, "mount the root" | "unmount the root");
        let points = harness.points.iter().enumerate();
        let mounts = points.filter(|(_, point)| is_mount(point.label));
        mounts.map(|(at, _)| at).collect()
    }

    /// Whichever file the repair takes away: what was there counts for nothing, whatever was recorded of it.
    #[test]
    fn what_a_repair_took_away_is_made_again() {
        for case in CASES {
            let sound = harness(case);
            let behind = (0..)
                .zip(&sound.points)
                .filter(|(_, point)| point.phase > Phase::Formatted);
            let at: Vec<u32> = behind.map(|(at, _)| at).collect();
            assert!(at.len() > 20, "{case}: {}", at.len());
            for at in at {
                for more in ["", ",1.9:before:kill", ",1.30:after:cut=none"] {
                    let schedule = format!("0.{at}:around:root-damaged,0.{}:before:kill{more}", at + 1);
                    let report = sound.run(&schedule.parse().unwrap(), false);
                    assert_eq!(
                        (report.breaches, report.ending),
                        (vec![], Ending::Landed),
                        "{case} {schedule}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_torn_superblock_is_repaired_and_a_cut_in_the_repair_is_repaired_again() {
        for case in CASES {
            let sound = harness(case);
            let lands = |schedule: &str| {
                let report = sound.run(&schedule.parse().unwrap(), true);
                assert_eq!(
                    (report.breaches, report.ending),
                    (vec![], Ending::Landed),
                    "{case} {schedule}"
                );
                report.lines
            };
            let mounts = mounts(&sound);
            assert!(mounts.len() > 1, "{case}: {mounts:?}");
            for at in mounts {
                let torn = format!("0.{at}:after:cut=torn0");
                let lines = lands(&torn);
                let repairs: Vec<&str> = lines
                    .iter()
                    .filter(|line| line.ends_with("repair the superblock"))
                    .filter_map(|line| line.split_once(' '))
                    .map(|(at, _)| at)
                    .collect();
                let [repair] = repairs[..] else {
                    panic!("{case} {torn}: {lines:#?}")
                };
                for then in [
                    "after:cut=none",
                    "after:cut=torn0",
                    "before:kill",
                    "after:kill",
                    "lie",
                    "fail-after:transient",
                ] {
                    lands(&format!("{torn},{repair}:{then}"));
                }
                // The control.
                let careless = harness(case).with(Bug::TornIsBlank);
                let breaches = careless.run(&torn.parse().unwrap(), false).breaches;
                assert!(
                    breaks(Invariant::FormatOnce, &breaches),
                    "{case} {torn}: {breaches:?}"
                );
            }
        }
    }

    /// A copy proves that the root is finished, and so it must be gone before another one is begun.
    #[test]
    fn a_copy_of_a_former_root_proves_nothing_of_the_new_one() {
        let case = CASES[0];
        let quiet = |harness: Harness| harness.run(&Schedule::default(), false).breaches;
        assert_eq!(quiet(harness(case)), vec![]);
        let wiped = quiet(harness(case).with(Bug::CopiesOutliveWipe));
        assert!(breaks(Invariant::Lands, &wiped), "{wiped:?}");
        let begun_twice = |harness: Harness| -> Vec<Breach> {
            let failures = harness.kills_then_cuts(Phase::Encrypted).failures;
            failures
                .into_iter()
                .flat_map(|failure| failure.breaches)
                .collect()
        };
        assert_eq!(begun_twice(harness(case)), vec![]);
        let stays = begun_twice(harness(case).with(Bug::CopiesStay));
        assert!(breaks(Invariant::Lands, &stays), "{stays:?}");
    }
}
