//! Points: where something can go wrong, and what can go wrong there. Law: enumerations, chance and the world ask here, so that none
//! of them tries what another one calls impossible.

use crate::sim::inject::faults::{CLASSES, Sort, What};
use crate::sim::model::environment::{Around, Network};
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
    pub fn can(&self, what: What) -> bool {
        match what {
            What::Lie | What::LieDuring(_) => self.lies,
            What::Hang | What::Strange => self.program || self.network,
            What::Network(_) => self.network,
            What::Around(Around::Late) => self.tells,
            What::Before(_)
            | What::During(..)
            | What::After(_)
            | What::Fail(_)
            | What::FailAfter(_)
            | What::FailDuring(..)
            | What::Around(_)
            | What::Stop
            | What::Swap => true,
        }
    }
}

/// Where in a point a run can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it.
    Before,
    /// When this many parts of it have happened.
    During(usize),
    /// After it.
    After,
}

/// Everything of these sorts that can go wrong at a point and is no death.
pub(crate) fn whats(point: &Point, sorts: &[Sort]) -> Vec<What> {
    let mut whats: Vec<What> = CLASSES.into_iter().map(What::Fail).collect();
    if point.acts {
        whats.extend(CLASSES.map(What::FailAfter));
    }
    // A flush that does nothing and says otherwise is a broken device; nothing survives that.
    if point.lies {
        whats.push(What::Lie);
    }
    for parts in 1..point.parts {
        // Each class in some place, the ends of a program in every one.
        let class = CLASSES[parts % CLASSES.len()];
        whats.extend([
            What::FailDuring(parts, class),
            What::FailDuring(parts, FaultClass::Transient),
        ]);
        if point.lies {
            whats.push(What::LieDuring(parts));
        }
    }
    if point.program || point.network {
        whats.push(What::Hang);
        whats.push(What::Strange);
    }
    if point.network {
        whats.extend(Network::ALL.map(What::Network));
    }
    let around = Around::ALL.into_iter().filter(|around| match around {
        Around::Late => point.tells,
        Around::Clock | Around::DiskGone | Around::MediumGone | Around::Squatter | Around::Second => true,
    });
    whats.extend(around.map(What::Around));
    whats.push(What::Stop);
    whats.dedup();
    whats.retain(|what| Sort::of(*what).is_some_and(|sort| sorts.contains(&sort)));
    whats
}
