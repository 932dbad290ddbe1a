//! Promise: people may act in any order: runs, resumes, crashes, signals, an edited table, a disk that is taken away, another
//! payload, another layout, a request to start again, a second disk with an install.
//!
//! A reference machine, which knows only what was done and how far runs came, predicts the result of each run; it has
//! invariants of its own. And whatever bytes the slots hold, no more is destroyed than without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use landfall::driver::Outcome;
use landfall::sim::check::watch::state;
use landfall::sim::explore::harness::Harness;
use landfall::sim::explore::operator::reference;
use landfall::sim::explore::run::{End, ScenarioRun};
use landfall::sim::inject::faults::Injection;
use landfall::sim::inject::schedule::{InjectionAt, Schedule};
use landfall::sim::model::case::Case;
use landfall::sim::model::crash::Crash;
use landfall::sim::model::crash::Keep;
use landfall::sim::model::disk::{Disk, Key, Value};
use landfall::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::recovery::Rule;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What people and accidents do.
#[derive(Debug, Clone)]
enum Deed {
    /// A run that nobody disturbs.
    Run,
    /// The same, and it may only go on with what is under way.
    Resume,
    /// A run that is killed in this phase, at so many hundredths of it.
    Kill(Phase, u8),
    /// A run that loses power there, and the disk keeps what the seed says.
    Cut(Phase, u8, u64),
    /// A run that is asked to stop there.
    Stop(Phase, u8),
    EditTable,
    RestoreTable,
    TakeDisk,
    GiveDisk,
    OtherPayload,
    OtherLayout,
    SecondDisk,
    /// A run that begins again because a person asked.
    Anew,
}

/// What a run must come to.
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

/// The reference: what was done to the machine, and bounds of what runs have reached. Nothing of records.
#[derive(Debug, Clone)]
struct Model {
    case: Case,
    /// At least this is on the disk.
    least: Phase,
    /// At most this is.
    most: Phase,
    edited: bool,
    taken: bool,
    other_payload: bool,
    other_layout: bool,
    /// Number of the install.
    nonce: u32,
    /// What the run of the last deed must come to.
    expected: Expected,
}

impl Model {
    fn expects(&self) -> Expected {
        let may_have_landed = self.most == Phase::Landed;
        if self.taken {
            Expected::Stops
        } else if self.other_layout {
            Expected::StopsBy(Rule::OtherLayout)
        } else if self.least == Phase::Landed {
            Expected::HasLanded
        } else if self.edited && may_have_landed {
            Expected::StopsByOrHasLanded(Rule::Edited)
        } else if self.edited {
            Expected::StopsBy(Rule::Edited)
        } else if may_have_landed {
            Expected::LandsOrHasLanded
        } else {
            Expected::Lands
        }
    }

    /// Whether it is known if it has landed.
    fn is_certain(&self) -> bool {
        self.least == Phase::Landed || self.most < Phase::Landed
    }

    fn reaches(&mut self, phase: Phase, further: usize) {
        if self.expected.works() {
            self.least = self.least.max(phase);
            let most = Phase::ALL[(phase as usize + further).min(Phase::ALL.len() - 1)];
            self.most = self.most.max(most);
        }
    }

    /// What always holds of the reference itself.
    fn check(&self) {
        assert!(self.least <= self.most, "{self:?}");
        assert!(!self.edited || self.least >= Phase::Partitioned, "{self:?}");
        assert!(!self.other_layout || self.least >= Phase::Anchored, "{self:?}");
    }
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Deed;

    fn init_state() -> BoxedStrategy<Model> {
        let model = |case| Model {
            case,
            least: Phase::Planned,
            most: Phase::Planned,
            edited: false,
            taken: false,
            other_payload: false,
            other_layout: false,
            nonce: 0,
            expected: Expected::Lands,
        };
        prop::sample::select(Case::all()).prop_map(model).boxed()
    }

    fn transitions(_model: &Model) -> BoxedStrategy<Deed> {
        let phase = || prop::sample::select(Phase::ALL[..10].to_vec());
        prop_oneof![
            2 => Just(Deed::Run),
            1 => Just(Deed::Resume),
            4 => (phase(), 0..100_u8).prop_map(|(phase, at)| Deed::Kill(phase, at)),
            4 => (phase(), 0..100_u8, any::<u64>()).prop_map(|(phase, at, seed)| Deed::Cut(phase, at, seed)),
            1 => (phase(), 0..100_u8).prop_map(|(phase, at)| Deed::Stop(phase, at)),
            2 => Just(Deed::EditTable),
            2 => Just(Deed::RestoreTable),
            1 => Just(Deed::TakeDisk),
            2 => Just(Deed::GiveDisk),
            1 => Just(Deed::OtherPayload),
            2 => Just(Deed::OtherLayout),
            1 => Just(Deed::SecondDisk),
            1 => Just(Deed::Anew),
        ]
        .boxed()
    }

    fn preconditions(model: &Model, deed: &Deed) -> bool {
        match deed {
            Deed::Run | Deed::SecondDisk => true,
            Deed::Kill(phase, _) | Deed::Cut(phase, ..) | Deed::Stop(phase, _) => {
                // Nobody gets to a phase of a run that stops or has nothing to do.
                *phase != Phase::Landed
            }
            // Before the first record there is nothing to go on with.
            Deed::Resume => model.least >= Phase::Anchored,
            Deed::EditTable => !model.taken && !model.edited && model.least >= Phase::Partitioned,
            Deed::RestoreTable => !model.taken && model.edited,
            Deed::TakeDisk => !model.taken,
            Deed::GiveDisk => model.taken,
            Deed::OtherPayload => model.is_certain(),
            Deed::OtherLayout => !model.taken && (model.other_layout || model.least >= Phase::Anchored),
            Deed::Anew => !model.taken && !model.other_layout && model.least >= Phase::Anchored,
        }
    }

    fn apply(mut model: Model, deed: &Deed) -> Model {
        model.expected = model.expects();
        match deed {
            Deed::Run | Deed::Resume if model.expected == Expected::Lands => {
                (model.least, model.most) = (Phase::Landed, Phase::Landed);
            }
            // "Landed already" may be read from a cache that a killed run left, and go with the power.
            Deed::Run | Deed::Resume => {}
            // In its phase a run may do the work of it, and of no other.
            Deed::Kill(phase, _) | Deed::Cut(phase, ..) | Deed::Stop(phase, _) => model.reaches(*phase, 1),
            Deed::EditTable => model.edited = true,
            Deed::RestoreTable => model.edited = false,
            Deed::TakeDisk => model.taken = true,
            Deed::GiveDisk => model.taken = false,
            Deed::OtherPayload => {
                // What has landed stays as it is; else everything from the clone on is to be done again.
                if model.least < Phase::Landed {
                    model.other_payload = !model.other_payload;
                    model.least = model.least.min(Phase::Formatted);
                }
            }
            Deed::OtherLayout => model.other_layout = !model.other_layout,
            Deed::SecondDisk => {}
            Deed::Anew => {
                model.expected = Expected::Lands;
                model.nonce += 1;
                model.edited = false;
                (model.least, model.most) = (Phase::Landed, Phase::Landed);
            }
        }
        model.check();
        model
    }
}

/// The simulated machine and the driver.
struct World {
    base: Setting,
    scenario: ScenarioRun,
    taken: Option<Rc<Disk>>,
}

impl World {
    fn new(case: Case) -> World {
        let base = Setting::new(case).unwrap();
        World {
            scenario: ScenarioRun::new(&Rc::new(base.clone())),
            base,
            taken: None,
        }
    }

    /// What is asked for now.
    fn asked(&self, model: &Model) -> Setting {
        let payload = if model.other_payload {
            self.base.other_payload().unwrap()
        } else {
            self.base.clone()
        };
        let numbered = payload.anew(model.nonce).unwrap().unasked();
        if model.other_layout {
            numbered.other_layout().unwrap()
        } else {
            numbered
        }
    }

    fn target(&self) -> &Disk {
        &self.scenario.machine.disks[self.scenario.machine.target(&self.base)]
    }

    fn table(&mut self, model: &Model, edit: bool) {
        let mut table = self.base.anew(model.nonce).unwrap().plan.table;
        if edit {
            table.entries.pop();
        }
        let table = Rc::new(table);
        let target = self.scenario.machine.target(&self.base);
        // Whoever edits it has a tool that writes it out and tells the kernel.
        let disk = self.scenario.machine.disk_mut(target);
        disk.flush();
        for key in [Key::Primary, Key::Backup] {
            disk.put(key, Value::Table(table.clone()));
        }
        self.scenario.machine.read_table(target);
    }

    /// How often every disk was written, whatever its name is now.
    fn writes(&self) -> BTreeMap<String, u64> {
        let disks = self.scenario.machine.disks.iter();
        disks
            .map(|disk| (disk.identity.to_string(), disk.writes()))
            .collect()
    }

    /// Where this run comes to a phase, so many hundredths into it; `None` when it does not come there.
    fn point(&self, phase: Phase, hundredths: u8) -> Option<u32> {
        let (run, _) = self.scenario.clone().run(&Schedule::default());
        let points = (0_u32..).zip(&run.points);
        // What comes before the disk is held has no phase of its own.
        let held = run
            .points
            .iter()
            .position(|point| point.label == "flush the held disk")?;
        let within: Vec<u32> = points
            .skip(held + 1)
            .filter(|(_, point)| point.phase == phase)
            .map(|(at, _)| at)
            .collect();
        within.get(within.len() * usize::from(hundredths) / 100).copied()
    }

    /// One run, compared with what the reference expects.
    fn run(&mut self, expected: Expected, what: Option<(Injection, u32)>) {
        let run = self.scenario.runs;
        let shots = what.map(|(what, at)| InjectionAt { run, at, what });
        let schedule = Schedule(shots.into_iter().collect());
        let writes = self.writes();
        let (run, world) = self.scenario.run(&schedule);
        self.scenario.settle(world, None);
        assert_eq!(self.scenario.checks.breaches, vec![]);
        if !expected.works() {
            assert_eq!(self.writes(), writes, "{expected:?} wrote");
        }
        let disturbed = what.is_some();
        let fits = match (expected, &run.end) {
            (_, End::Crashed(_)) => disturbed,
            (Expected::Lands | Expected::LandsOrHasLanded, End::Said(Ok(Outcome::Landed { .. }))) => true,
            (
                Expected::HasLanded | Expected::LandsOrHasLanded | Expected::StopsByOrHasLanded(_),
                End::Said(Ok(Outcome::AlreadyLanded { .. })),
            ) => true,
            (Expected::StopsBy(rule) | Expected::StopsByOrHasLanded(rule), End::Said(Err(halt))) => {
                halt.rule == Some(rule)
            }
            (Expected::Stops, End::Said(Err(_))) => true,
            // It was asked to.
            (Expected::Lands | Expected::LandsOrHasLanded, End::Said(Err(_))) => disturbed,
            (_, End::Said(_)) => false,
        };
        assert!(fits, "expected {expected:?}, it ended with {:?}", run.end);
    }

    /// A run with something in this phase; without it where it does not come to the phase.
    fn disturbed(&mut self, expected: Expected, phase: Phase, hundredths: u8, what: Injection) {
        match self.point(phase, hundredths) {
            Some(at) => self.run(expected, Some((what, at))),
            // It stops before, or has nothing to do; the reference expects no more of it then.
            // Nor does a look at a container that is not planned pass a point.
            None => assert!(
                expected != Expected::Lands || (phase == Phase::Anchored && !self.base.case.kind.luks),
                "it never came to {phase}"
            ),
        }
    }
}

impl StateMachineTest for World {
    type SystemUnderTest = World;
    type Reference = Model;

    fn init_test(model: &Model) -> World {
        World::new(model.case)
    }

    fn apply(mut world: World, model: &Model, deed: Deed) -> World {
        let expected = model.expected;
        match deed {
            Deed::Run => world.run(expected, None),
            Deed::Resume => {
                world.scenario.request.resume_only = true;
                world.run(expected, None);
                world.scenario.request.resume_only = false;
            }
            Deed::Kill(phase, at) => world.disturbed(expected, phase, at, Injection::After(Crash::Kill)),
            Deed::Cut(phase, at, seed) => {
                world.disturbed(
                    expected,
                    phase,
                    at,
                    Injection::After(Crash::Cut(Keep::Seed(seed))),
                );
            }
            Deed::Stop(phase, at) => world.disturbed(expected, phase, at, Injection::Stop),
            Deed::EditTable => world.table(model, true),
            Deed::RestoreTable => world.table(model, false),
            Deed::TakeDisk => {
                // What was on its way is lost with it, and so is what was attached.
                world.scenario.crash(Crash::Cut(Keep::None));
                let target = world.scenario.machine.target(&world.base);
                world.taken = Some(world.scenario.machine.disks.remove(target));
            }
            Deed::GiveDisk => {
                world.scenario.machine.disks.extend(world.taken.take());
                // The kernel looks at a disk that comes.
                world.scenario.crash(Crash::Cut(Keep::None));
            }
            Deed::OtherPayload | Deed::OtherLayout => {
                world.scenario.asks(&Rc::new(world.asked(model)));
                if matches!(deed, Deed::OtherPayload) && model.least < Phase::Landed {
                    world.scenario.checks.done_again_from(Phase::Formatted);
                }
            }
            Deed::SecondDisk => {
                let second = world.base.second().unwrap();
                let disks = &mut world.scenario.machine.disks;
                if !disks.iter().any(|disk| disk.identity == second.identity) {
                    disks.push(Rc::new(second));
                }
            }
            Deed::Anew => {
                world.scenario.asks(&Rc::new(world.asked(model)));
                world.scenario.checks.begins_anew();
                world.scenario.request.reinstall_requested = true;
                world.run(expected, None);
                world.scenario.request.reinstall_requested = false;
            }
        }
        world
    }

    fn check_invariants(world: &World, _model: &Model) {
        assert_eq!(world.scenario.checks.breaches, vec![]);
    }

    /// Everything is put right, and the next run ends it.
    fn teardown(mut world: World, model: Model) {
        let mut model = model;
        for deed in [Deed::GiveDisk, Deed::RestoreTable, Deed::OtherLayout, Deed::Run] {
            let wanted = !matches!(deed, Deed::OtherLayout) || model.other_layout;
            if wanted && Model::preconditions(&model, &deed) {
                model = <Model as ReferenceStateMachine>::apply(model, &deed);
                world = <World as StateMachineTest>::apply(world, &model, deed);
            }
        }
        let mut end = state(world.target());
        let reference = reference(&world.asked(&model));
        // Declared: firmware without an entry starts the fallback.
        let loader = Key::File(landfall::sim::model::disk::Fs::Esp, "loader");
        if !end.contains_key(&loader) {
            end.extend(reference.get(&loader).map(|text| (loader, text.clone())));
        }
        assert_eq!(end, reference);
        let disks = world.scenario.machine.disks.clone();
        world.scenario.checks.others(&world.base, &disks);
        assert_eq!(world.scenario.checks.breaches, vec![]);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_it_ends_as_without_faults(sequential 1..16 => World);
}

/// The control: a world that does otherwise than the reference says is noticed.
#[test]
fn a_world_that_does_otherwise_is_noticed() {
    let wrong = std::panic::catch_unwind(|| {
        let mut world = World::new("plain/prebuilt/foreign/person".parse().unwrap());
        world.scenario.bug = Some(landfall::sim::inject::planted::Bug::IgnoreLayout);
        let mut model = Model {
            least: Phase::Landed,
            most: Phase::Landed,
            ..one_model()
        };
        world.run(Expected::Lands, None);
        for deed in [Deed::OtherLayout, Deed::Run] {
            model = <Model as ReferenceStateMachine>::apply(model, &deed);
            world = <World as StateMachineTest>::apply(world, &model, deed);
        }
    });
    assert!(wrong.is_err());
}

fn one_model() -> Model {
    Model {
        case: "plain/prebuilt/foreign/person".parse().unwrap(),
        least: Phase::Planned,
        most: Phase::Planned,
        edited: false,
        taken: false,
        other_payload: false,
        other_layout: false,
        nonce: 0,
        expected: Expected::Lands,
    }
}

/// Found by an earlier form of the test above in one run of many.
#[test]
fn a_crash_while_the_disk_is_away_loses_nothing() {
    let (mut world, mut model) = (World::new(one_model().case), one_model());
    let deeds = [
        Deed::Kill(Phase::Encrypted, 50),
        Deed::TakeDisk,
        Deed::Run,
        Deed::GiveDisk,
        Deed::Run,
    ];
    for deed in deeds {
        assert!(Model::preconditions(&model, &deed));
        model = <Model as ReferenceStateMachine>::apply(model, &deed);
        world = <World as StateMachineTest>::apply(world, &model, deed);
    }
    assert_eq!(model.least, Phase::Landed);
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

    /// I7: at every crash of an install.
    #[test]
    fn no_slot_bytes_destroy_more_than_none(
        pairs in {
            let records = Harness::new("plain/flake/foreign/person".parse().unwrap()).unwrap().records();
            prop::collection::vec((slot(records.clone()), slot(records)).prop_map(|(a, b)| [a, b]), 8)
        }
    ) {
        let harness = Harness::new("plain/flake/foreign/person".parse().unwrap()).unwrap();
        let coverage = harness.slots(&pairs);
        prop_assert!(coverage.scenarios >= 8 * 50 && coverage.failed == 0, "{:?}", coverage.failures.first());
    }
}
