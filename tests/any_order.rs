//! Whatever people do, in any order: runs, deaths, an edited table, a disk that is taken away, another payload, another
//! layout, a second disk with an install. Each run is compared with a model of a few lines that knows only what was done to
//! the machine; and whatever bytes the slots hold, no more is destroyed than without them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use landfall::driver::Outcome;
use landfall::sim::case::{Case, Setting};
use landfall::sim::checks::state;
use landfall::sim::disk::{Disk, Keep, Key, Value};
use landfall::sim::faults::{Death, Schedule, Shot, What};
use landfall::sim::harness::Harness;
use landfall::sim::machine::partitions;
use landfall::sim::story::{End, Story};
use landfall_states::checkpoint::{Choice, choose};
use landfall_states::plan::Reference;
use landfall_states::recovery::Rule;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What people and accidents do.
#[derive(Debug, Clone)]
enum Deed {
    Run,
    Resume,
    Kill(u32),
    Cut(u32, u64),
    EditTable,
    RestoreTable,
    TakeDisk,
    GiveDisk,
    OtherPayload(bool),
    OtherLayout(bool),
    SecondDisk,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Run),
        1 => Just(Deed::Resume),
        4 => (0..190_u32).prop_map(Deed::Kill),
        4 => (0..190_u32, any::<u64>()).prop_map(|(at, seed)| Deed::Cut(at, seed)),
        2 => Just(Deed::EditTable),
        2 => Just(Deed::RestoreTable),
        1 => Just(Deed::TakeDisk),
        2 => Just(Deed::GiveDisk),
        1 => any::<bool>().prop_map(Deed::OtherPayload),
        2 => any::<bool>().prop_map(Deed::OtherLayout),
        1 => Just(Deed::SecondDisk),
    ]
}

/// What a run may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Lands,
    HasLanded,
    LandsOrHasLanded,
    StopsBy(Rule),
    StopsByOrHasLanded(Rule),
    Stops,
}

impl Expected {
    /// Whether a run that is expected so may write.
    fn works(self) -> bool {
        matches!(self, Expected::Lands | Expected::LandsOrHasLanded)
    }
}

/// The reference: it knows what was done to the machine, and nothing of records and phases.
#[derive(Debug, Default)]
struct Model {
    /// Whether it has landed; unknown after a death.
    landed: Option<bool>,
    edited: bool,
    taken: bool,
    other_layout: bool,
}

impl Model {
    fn expects(&self) -> Expected {
        match self {
            Model { taken: true, .. } => Expected::Stops,
            Model {
                other_layout: true, ..
            } => Expected::StopsBy(Rule::OtherLayout),
            Model {
                landed: Some(true), ..
            } => Expected::HasLanded,
            // A run that died may have landed before.
            Model {
                edited: true,
                landed: None,
                ..
            } => Expected::StopsByOrHasLanded(Rule::Edited),
            Model { edited: true, .. } => Expected::StopsBy(Rule::Edited),
            Model { landed: None, .. } => Expected::LandsOrHasLanded,
            Model {
                landed: Some(false), ..
            } => Expected::Lands,
        }
    }
}

struct World {
    setting: Rc<Setting>,
    story: Story,
    model: Model,
    taken: Option<Rc<Disk>>,
}

impl World {
    fn new(case: Case) -> World {
        let setting = Rc::new(Setting::new(case).unwrap());
        let model = Model {
            landed: Some(false),
            ..Model::default()
        };
        World {
            story: Story::new(&setting, None),
            setting,
            model,
            taken: None,
        }
    }

    fn target(&self) -> &Disk {
        &self.story.machine.disks[self.story.machine.target(&self.setting)]
    }

    fn is_anchored(&self) -> bool {
        let slots = [self.target().durable_slot(0), self.target().durable_slot(1)];
        matches!(
            choose([slots[0].as_deref(), slots[1].as_deref()]),
            Choice::Believed { .. }
        )
    }

    fn table(&mut self, edit: bool) {
        let mut table = self.setting.plan.table.clone();
        if edit {
            table.entries.pop();
        }
        let table = Rc::new(table);
        let target = self.story.machine.target(&self.setting);
        // Whoever edits it has a tool that writes it out and tells the kernel.
        self.story.machine.disk_mut(target).flush();
        for key in [Key::Primary, Key::Backup] {
            self.story
                .machine
                .disk_mut(target)
                .put(key, Value::Table(table.clone()));
        }
        self.story.machine.kernel = partitions(&table);
        self.model.edited = edit;
    }

    /// How often every disk was written, whatever its name is now.
    fn writes(&self) -> BTreeMap<String, u64> {
        let disks = self.story.machine.disks.iter();
        disks
            .map(|disk| (disk.identity.to_string(), disk.writes()))
            .collect()
    }

    /// One run, compared with the model; `true` when it was not cut off.
    fn run(&mut self, shot: Option<What>, at: u32) -> Result<bool, TestCaseError> {
        let run = self.story.runs;
        let schedule = Schedule(shot.map(|what| Shot { run, at, what }).into_iter().collect());
        let (expected, writes) = (self.model.expects(), self.writes());
        let (run, world) = self.story.run(&schedule);
        self.story.settle(world, None);
        prop_assert_eq!(&self.story.checks.breaches, &vec![]);
        let End::Said(said) = run.end else {
            if expected.works() {
                self.model.landed = None;
            } else {
                prop_assert_eq!(self.writes(), writes, "{:?}, cut off, wrote", expected);
            }
            return Ok(false);
        };
        let rule = said.as_ref().err().and_then(|halt| halt.rule);
        let fits = match (expected, &said) {
            (Expected::Lands | Expected::LandsOrHasLanded, Ok(Outcome::Landed { .. })) => true,
            (
                Expected::HasLanded | Expected::LandsOrHasLanded | Expected::StopsByOrHasLanded(_),
                Ok(Outcome::AlreadyLanded { .. }),
            ) => true,
            (Expected::StopsBy(wanted) | Expected::StopsByOrHasLanded(wanted), Err(_)) => {
                rule == Some(wanted)
            }
            (Expected::Stops, Err(_)) => true,
            (_, _) => false,
        };
        prop_assert!(fits, "expected {expected:?}, it ended with {said:?}");
        if !expected.works() {
            prop_assert_eq!(self.writes(), writes, "{:?} wrote", expected);
        }
        // Only a run that landed flushed the record. "Landed already" may be read from a cache that a killed run left, and
        // go with the power; then the next run looks at everything and lands again.
        if matches!(said, Ok(Outcome::Landed { .. })) {
            self.model.landed = Some(true);
        }
        Ok(true)
    }

    /// Does one deed; one that is not possible now is not done.
    fn does(&mut self, deed: &Deed) -> Result<(), TestCaseError> {
        match deed {
            Deed::Run => {
                self.run(None, 0)?;
            }
            Deed::Resume => {
                // Only what is under way is gone on with; before the first record there is nothing.
                if self.is_anchored() {
                    self.story.request.resume_only = true;
                    let result = self.run(None, 0);
                    self.story.request.resume_only = false;
                    result?;
                }
            }
            Deed::Kill(at) => {
                self.run(Some(What::After(Death::Kill)), *at)?;
            }
            Deed::Cut(at, seed) => {
                self.run(Some(What::After(Death::Cut(Keep::Seed(*seed)))), *at)?;
            }
            Deed::EditTable if self.taken.is_none() && self.target().has_table(&self.setting.plan.table) => {
                self.table(true);
            }
            Deed::RestoreTable if self.model.edited && self.taken.is_none() => self.table(false),
            Deed::TakeDisk if self.taken.is_none() => {
                let target = self.story.machine.target(&self.setting);
                // What was on its way is lost with it, and so is what was attached.
                self.story.die(Death::Cut(Keep::None));
                let target = if self.story.machine.disks[target].identity == self.setting.plan.disk {
                    target
                } else {
                    self.story.machine.target(&self.setting)
                };
                self.taken = Some(self.story.machine.disks.remove(target));
                self.model.taken = true;
            }
            Deed::GiveDisk => {
                if let Some(disk) = self.taken.take() {
                    self.story.machine.disks.push(disk);
                    // The kernel looks at a disk that comes.
                    self.story.die(Death::Cut(Keep::None));
                    self.model.taken = false;
                }
            }
            Deed::OtherPayload(other) => {
                let reference = if *other {
                    Reference::Branch("other".parse().unwrap())
                } else {
                    Reference::Default
                };
                self.story.request.payload.repository.reference = reference;
            }
            Deed::OtherLayout(other) if self.taken.is_none() && (!other || self.is_anchored()) => {
                self.story.request.layout.esp_size = if *other { "2G" } else { "1G" }.parse().unwrap();
                self.model.other_layout = *other;
            }
            Deed::SecondDisk => {
                let second = self.setting.second().unwrap();
                let disks = &mut self.story.machine.disks;
                if !disks.iter().any(|disk| disk.identity == second.identity) {
                    disks.push(Rc::new(second));
                }
            }
            Deed::EditTable | Deed::RestoreTable | Deed::TakeDisk | Deed::OtherLayout(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_it_ends_as_without_faults(
        case in prop::sample::select(Case::all()),
        deeds in prop::collection::vec(deed(), 1..16),
    ) {
        let mut world = World::new(case);
        for deed in &deeds {
            world.does(deed)?;
        }
        // Everything is put right, and the next run ends it.
        world.does(&Deed::GiveDisk)?;
        world.does(&Deed::RestoreTable)?;
        world.does(&Deed::OtherLayout(false))?;
        prop_assert!(world.run(None, 0)?);
        let harness = Harness::new(case).unwrap();
        let mut end = state(world.target());
        // Declared: firmware without an entry starts the fallback.
        let loader = Key::File(landfall::sim::disk::Fs::Esp, "loader");
        if !end.contains_key(&loader) {
            end.extend(harness.reference.get(&loader).map(|text| (loader, text.clone())));
        }
        prop_assert_eq!(end, harness.reference);
        let disks = world.story.machine.disks.clone();
        world.story.checks.others(&world.setting, &disks);
        prop_assert_eq!(&world.story.checks.breaches, &vec![]);
    }
}

/// Found by the test above in one run of many.
#[test]
fn a_death_while_the_disk_is_away_loses_nothing() {
    let mut world = World::new("plain/prebuilt/foreign/person".parse().unwrap());
    for deed in [Deed::Kill(40), Deed::TakeDisk, Deed::Kill(0), Deed::GiveDisk] {
        world.does(&deed).unwrap();
    }
    assert!(world.run(None, 0).unwrap());
}

/// Slots of a run, damaged in some way.
fn slot(records: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let record = prop::sample::select(records);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 4096),
        (record.clone(), 0..4096_usize, 0..8_u32).prop_map(|(mut bytes, at, bit)| {
            bytes[at] ^= 1 << bit;
            bytes
        }),
        (record.clone(), record.clone(), 0..8_usize).prop_map(|(mut one, other, sectors)| {
            one[sectors * 512..].copy_from_slice(&other[sectors * 512..]);
            one
        }),
        record,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() })]

    /// I7: at every death of an install.
    #[test]
    fn no_slot_bytes_destroy_more_than_none(
        pairs in {
            let records = Harness::new("plain/flake/foreign/person".parse().unwrap()).unwrap().records();
            prop::collection::vec((slot(records.clone()), slot(records)).prop_map(|(a, b)| [a, b]), 8)
        }
    ) {
        let harness = Harness::new("plain/flake/foreign/person".parse().unwrap()).unwrap();
        let tally = harness.slots(&pairs);
        prop_assert!(tally.stories >= 8 * 50 && tally.failed == 0, "{:?}", tally.failures.first());
    }
}
