//! Points: where something can go wrong, and what can go wrong there.
//!
//! Enumerations, chance and the world ask here, so that none of them tries what another one calls impossible.

use crate::sim::inject::faults::{CLASSES, FaultSort, Injection};
use crate::sim::model::environment::{EnvironmentEvent, Network};
use landfall_states::Phase;
use landfall_states::fault::FaultClass;

/// A point, as it was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// What it is.
    pub label: &'static str,
    /// The phase in which it is.
    pub phase: Phase,
    /// How many parts it has; 0 for looking.
    pub parts: usize,
    /// Whether it changes anything but itself.
    pub acts: bool,
    /// Whether success without the effect is a fault of a program or of the installer's medium, and not of the device.
    pub lies: bool,
    /// Whether it needs the network.
    pub network: bool,
    /// Whether a program does it, and not landfall itself.
    pub program: bool,
    /// Whether it tells the kernel something.
    pub tells: bool,
}

impl Point {
    /// Whether such a thing can happen here. What landfall writes by itself cannot claim to have been done and not be: that
    /// would be a device which lies, and nothing survives that.
    pub fn can(&self, what: Injection) -> bool {
        self.objection(what).is_none()
    }

    /// Why it cannot happen here, where it cannot.
    pub fn objection(&self, what: Injection) -> Option<String> {
        let unless = |possible: bool, why: &str| (!possible).then(|| why.to_owned());
        let middle = |parts: usize| {
            (!(1..self.parts).contains(&parts)).then(|| match self.parts {
                0 | 1 => "it is done at once and cannot be interrupted in the middle".to_owned(),
                2 => "it has 2 parts, so only 1 of them can be done".to_owned(),
                all => format!("it has {all} parts, so 1 to {} of them can be done", all - 1),
            })
        };
        let lies = "it cannot report success without effect";
        match what {
            Injection::Lie => unless(self.lies, lies),
            Injection::LieDuring(parts) => unless(self.lies, lies).or_else(|| middle(parts)),
            Injection::Hang | Injection::Strange => {
                unless(self.program || self.network, "no program runs there")
            }
            Injection::Network(_) => unless(self.network, "it does not need the network"),
            Injection::Environment(EnvironmentEvent::Late) => {
                unless(self.tells, "it does not tell the kernel anything")
            }
            Injection::Environment(EnvironmentEvent::RootDamaged) => unless(
                self.phase > Phase::Formatted,
                "there is no finished root filesystem yet",
            ),
            Injection::During(parts, _) | Injection::FailDuring(parts, _) => middle(parts),
            Injection::Before(_)
            | Injection::After(_)
            | Injection::Fail(_)
            | Injection::FailAfter(_)
            | Injection::Environment(_)
            | Injection::Stop
            | Injection::Swap => None,
        }
    }
}

/// Where in a point a run can crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it.
    Before,
    /// When this many parts of it have happened.
    During(usize),
    /// After it.
    After,
}

/// Everything of these sorts that can go wrong at a point and is no crash.
pub(crate) fn injections(point: &Point, sorts: &[FaultSort]) -> Vec<Injection> {
    let mut injections: Vec<Injection> = CLASSES.into_iter().map(Injection::Fail).collect();
    if point.acts {
        injections.extend(CLASSES.map(Injection::FailAfter));
    }
    // A flush that does nothing and says otherwise is a broken device; nothing survives that.
    if point.lies {
        injections.push(Injection::Lie);
    }
    for parts in 1..point.parts {
        // Each class in some place, the ends of a program in every one.
        #[expect(clippy::indexing_slicing, reason = "a remainder is below the length")]
        let class = CLASSES[parts % CLASSES.len()];
        injections.extend([
            Injection::FailDuring(parts, class),
            Injection::FailDuring(parts, FaultClass::Transient),
        ]);
        if point.lies {
            injections.push(Injection::LieDuring(parts));
        }
    }
    if point.program || point.network {
        injections.push(Injection::Hang);
        injections.push(Injection::Strange);
    }
    if point.network {
        injections.extend(Network::ALL.map(Injection::Network));
    }
    let around = EnvironmentEvent::ALL.into_iter().filter(|around| match around {
        EnvironmentEvent::Late => point.tells,
        EnvironmentEvent::RootDamaged => point.phase > Phase::Formatted,
        EnvironmentEvent::Clock
        | EnvironmentEvent::DiskGone
        | EnvironmentEvent::MediumGone
        | EnvironmentEvent::NameConflict
        | EnvironmentEvent::Second => true,
    });
    injections.extend(around.map(Injection::Environment));
    injections.push(Injection::Stop);
    injections.dedup();
    injections.retain(|what| FaultSort::of(*what).is_some_and(|sort| sorts.contains(&sort)));
    injections
}
