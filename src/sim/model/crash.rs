//! How a run ends from outside: the process is killed, or the power fails; and what a power cut keeps of the writes that were
//! not durable.
//!
//! Both are text, so that a schedule can name them.
//!
//! `model::disk` and `model::machine` apply them.

use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// How a run crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Crash {
    /// The process is killed.
    Kill,
    /// The power goes.
    Cut(Keep),
}

impl Crash {
    /// The highest number of a pending write that it names.
    pub fn names(self) -> Option<usize> {
        match self {
            Crash::Kill => None,
            Crash::Cut(keep) => keep.names(),
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crash::Kill => f.write_str("kill"),
            Crash::Cut(keep) => write!(f, "cut={keep}"),
        }
    }
}

impl FromStr for Crash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("cut=") {
            Some(keep) => Ok(Crash::Cut(keep.parse()?)),
            None if text == "kill" => Ok(Crash::Kill),
            None => Err(format!("{text:?}: kill or cut=…")),
        }
    }
}

/// Which pending writes a power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    /// None.
    None,
    /// All.
    All,
    /// Only this one.
    Only(usize),
    /// All but this one.
    AllBut(usize),
    /// These two.
    Two(usize, usize),
    /// All up to this one, which is torn.
    Torn(usize),
    /// All up to this one, which ruins its block of 4 KiB, with what was durable in it.
    Ruined(usize),
    /// This one torn, and of the others those whose bits are set.
    TornWith(usize, u64),
    /// This one ruins its block, and of the others those whose bits are set.
    RuinedWith(usize, u64),
    /// Each by the toss of a seeded coin.
    Seed(u64),
    /// Those whose bits are set, counted from the lowest.
    Mask(u64),
}

/// Up to so many pending writes every subset is tried, where one fault is enumerated by itself.
const ALL_SUBSETS_MAX: usize = 12;

/// And up to so many each of them torn and ruined, with every subset of the others.
const ALL_TEARS_MAX: usize = 5;

impl Keep {
    /// Everything that is tried for so many pending writes.
    pub fn options(pending: usize) -> Vec<Keep> {
        let mut options = vec![Keep::None];
        if pending == 0 {
            return options;
        }
        options.push(Keep::All);
        options.extend((0..pending).map(Keep::Torn));
        options.extend((0..pending).map(Keep::Ruined));
        if pending > 1 {
            options.extend((0..pending).map(Keep::Only));
            // With everything before it the first one is alone already.
            options.extend((1..pending).map(|torn| Keep::TornWith(torn, 0)));
            options.extend((1..pending).map(|ruined| Keep::RuinedWith(ruined, 0)));
        }
        if pending > 2 {
            options.extend((0..pending).map(Keep::AllBut));
        }
        if pending > 3 {
            options.extend([1, 2, 3].map(Keep::Seed));
            if pending < 7 {
                options.extend((0..pending).flat_map(|a| (a + 1..pending).map(move |b| Keep::Two(a, b))));
            }
        }
        options
    }

    /// Everything, and for a few pending writes every subset of them.
    pub fn subsets(pending: usize) -> Vec<Keep> {
        if !(3..=ALL_SUBSETS_MAX).contains(&pending) {
            return Keep::options(pending);
        }
        let mut options = vec![Keep::None];
        options.extend((1..1_u64 << pending).map(Keep::Mask));
        for torn in 0..pending {
            options.extend([Keep::Torn(torn), Keep::Ruined(torn)]);
            let others = 0..if pending <= ALL_TEARS_MAX {
                1_u64 << pending
            } else {
                1
            };
            for mask in others.filter(|mask| mask >> torn & 1 == 0) {
                options.extend([Keep::TornWith(torn, mask), Keep::RuinedWith(torn, mask)]);
            }
        }
        options
    }

    /// The highest number of a pending write that it names.
    pub fn names(self) -> Option<usize> {
        match self {
            Keep::None | Keep::All | Keep::Seed(_) => None,
            Keep::Only(index) | Keep::AllBut(index) | Keep::Torn(index) | Keep::Ruined(index) => Some(index),
            Keep::Two(a, b) => Some(a.max(b)),
            Keep::Mask(mask) => mask.checked_ilog2().and_then(|bit| usize::try_from(bit).ok()),
            Keep::TornWith(this, mask) | Keep::RuinedWith(this, mask) => {
                Some(Keep::Mask(mask).names().map_or(this, |bit| bit.max(this)))
            }
        }
    }

    pub(crate) fn keeps(self, index: usize) -> bool {
        match self {
            Keep::Mask(mask) => mask >> index & 1 == 1,
            Keep::TornWith(this, mask) | Keep::RuinedWith(this, mask) => {
                index == this || mask >> index & 1 == 1
            }
            Keep::None => false,
            Keep::All => true,
            Keep::Only(only) => index == only,
            Keep::AllBut(but) => index != but,
            Keep::Two(a, b) => index == a || index == b,
            Keep::Torn(last) | Keep::Ruined(last) => index <= last,
            Keep::Seed(seed) => mix(seed ^ (index as u64) << 32) & 1 == 1,
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::None => f.write_str("none"),
            Keep::All => f.write_str("all"),
            Keep::Only(n) => write!(f, "only{n}"),
            Keep::AllBut(n) => write!(f, "allbut{n}"),
            Keep::Two(a, b) => write!(f, "two{a}-{b}"),
            Keep::Torn(n) => write!(f, "torn{n}"),
            Keep::Ruined(n) => write!(f, "ruined{n}"),
            Keep::TornWith(n, mask) => write!(f, "torn{n}with{mask}"),
            Keep::RuinedWith(n, mask) => write!(f, "ruined{n}with{mask}"),
            Keep::Seed(n) => write!(f, "seed{n}"),
            Keep::Mask(n) => write!(f, "mask{n}"),
        }
    }
}

impl std::str::FromStr for Keep {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?}: none, all, onlyN, allbutN, twoN-N, tornN, tornNwithN, ruinedN, ruinedNwithN, seedN or maskN"
            )
        };
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| bad());
        let with = |digits: &str| -> Result<(usize, Option<u64>), String> {
            Ok(match digits.split_once("with") {
                Some((this, mask)) => (number(this)?, Some(mask.parse().map_err(|_| bad())?)),
                None => (number(digits)?, None),
            })
        };
        if text == "none" {
            Ok(Keep::None)
        } else if text == "all" {
            Ok(Keep::All)
        } else if let Some(n) = text.strip_prefix("only") {
            Ok(Keep::Only(number(n)?))
        } else if let Some(n) = text.strip_prefix("allbut") {
            Ok(Keep::AllBut(number(n)?))
        } else if let Some(n) = text.strip_prefix("torn") {
            let (this, mask) = with(n)?;
            Ok(mask.map_or(Keep::Torn(this), |mask| Keep::TornWith(this, mask)))
        } else if let Some(n) = text.strip_prefix("ruined") {
            let (this, mask) = with(n)?;
            Ok(mask.map_or(Keep::Ruined(this), |mask| Keep::RuinedWith(this, mask)))
        } else if let Some(n) = text.strip_prefix("seed") {
            Ok(Keep::Seed(n.parse().map_err(|_| bad())?))
        } else if let Some(n) = text.strip_prefix("mask") {
            Ok(Keep::Mask(n.parse().map_err(|_| bad())?))
        } else if let Some((a, b)) = text.strip_prefix("two").and_then(|n| n.split_once('-')) {
            Ok(Keep::Two(number(a)?, number(b)?))
        } else {
            Err(bad())
        }
    }
}

/// Steele, Lea and Flood's SplitMix64 finaliser.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
