//! Which faults an install meets, and when.
//!
//! A seed gives the same list every time. A moment is a line of landfall's progress and a small distance after it, in
//! milliseconds, in writes of the target, or in lines; how far the machine is by then depends on the machine. Moments where
//! real programs leave half-made states are drawn more often than others.
//!
//! `chaos::faults` makes the faults happen.

use regex::Regex;

use super::dice::Dice;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The power is cut, and the disk keeps only a part of what was not flushed.
    Cut,
    /// SIGKILL to landfall and all that it started.
    Kill,
    /// SIGKILL to landfall alone.
    KillAlone,
    /// SIGSTOP to landfall and all that it started; seconds later SIGKILL.
    Stop,
    /// SIGTERM to landfall.
    Term,
    /// The root filesystem is full; seconds later it has room again.
    Full,
    /// The clock jumps to 1970, or ten years on; it is right again when the run has ended.
    Clock,
    /// The network is gone or bad; seconds later it is well again.
    Network,
}

impl Kind {
    /// Every kind, with how often it is drawn.
    const WEIGHTS: [(Kind, u64); 8] = [
        (Kind::Cut, 44),
        (Kind::Kill, 12),
        (Kind::KillAlone, 8),
        (Kind::Stop, 9),
        (Kind::Term, 10),
        (Kind::Full, 9),
        (Kind::Clock, 8),
        (Kind::Network, 30),
    ];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        Kind::WEIGHTS.iter().map(|(kind, _)| *kind)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cut => "power cut",
            Kind::Kill => "SIGKILL to all",
            Kind::KillAlone => "SIGKILL to landfall",
            Kind::Stop => "SIGSTOP, then SIGKILL",
            Kind::Term => "SIGTERM",
            Kind::Full => "root full",
            Kind::Clock => "clock jump",
            Kind::Network => "network fault",
        }
    }

    /// Whether the run cannot go on behind it.
    pub fn ends_the_run(self) -> bool {
        match self {
            Kind::Cut | Kind::Kill | Kind::KillAlone | Kind::Stop | Kind::Term => true,
            Kind::Full | Kind::Clock | Kind::Network => false,
        }
    }
}

/// How far behind its line a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// So many milliseconds.
    Millis(u64),
    /// So many writes, flushes or discards of the target.
    Writes(u64),
    /// So many lines on the console.
    Lines(u64),
    /// Right behind the line that acknowledges the next checkpoint.
    Saved,
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Index of the line; none: when a run begins.
    pub mark: Option<usize>,
    /// Then so much later.
    pub behind: Behind,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = self
            .mark
            .and_then(|mark| MARKS.get(mark))
            .map_or("the start of the run", |mark| mark.name);
        match self.behind {
            Behind::Millis(n) => write!(f, "{n} ms behind {mark}"),
            Behind::Writes(n) => write!(f, "{n} writes behind {mark}"),
            Behind::Lines(n) => write!(f, "{n} lines behind {mark}"),
            Behind::Saved => write!(f, "at the next acknowledged checkpoint behind {mark}"),
        }
    }
}

/// A fault that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// What.
    pub kind: Kind,
    /// When.
    pub moment: Moment,
    /// Decides the rest: what the disk keeps, how long a fault lasts, where the clock jumps.
    pub salt: u64,
}

/// A line of landfall's progress.
#[derive(Debug)]
pub struct Mark {
    /// Index of its action in [`crate::install::ACTIONS`].
    pub action: usize,
    /// For reports.
    pub name: &'static str,
    /// A regular expression for the line.
    pub pattern: &'static str,
    /// How long what it tells lasts, about, in milliseconds.
    span_ms: u64,
    /// How often it is drawn.
    weight: u64,
    /// In which installs it is.
    only: Only,
}

/// In which installs a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Any,
    Luks,
    Image,
    /// Not when the root is made of an image.
    Store,
}

const fn mark(action: usize, name: &'static str, pattern: &'static str, span_ms: u64, weight: u64) -> Mark {
    Mark {
        action,
        name,
        pattern,
        span_ms,
        weight,
        only: Only::Any,
    }
}

impl Mark {
    const fn only(self, only: Only) -> Mark {
        Mark { only, ..self }
    }

    fn is_in(&self, shape: Shape) -> bool {
        match self.only {
            Only::Any => true,
            Only::Luks => shape.luks,
            Only::Image => shape.image,
            Only::Store => !shape.image,
        }
    }
}

/// The lines, in the order in which an install shows them.
pub const MARKS: [Mark; 19] = [
    mark(0, "write GPT", "Partition disk.*: write GPT", 2_400, 3),
    mark(1, "make the ESP", "Anchor checkpoint.*: make the ESP", 1_500, 2),
    mark(1, "mkfs.vfat", "mkfs\\.vfat", 1_200, 2),
    mark(2, "make LUKS2", "Encrypt volumes.*: make LUKS2", 6_000, 8).only(Only::Luks),
    mark(2, "open LUKS", "open LUKS container", 6_000, 8).only(Only::Luks),
    mark(3, "mkfs", "Format volumes.*: make (ext4|swap)", 1_800, 5),
    mark(3, "image", "write the image: ", 4_000, 16).only(Only::Image),
    mark(3, "read back", "read back what was written: ", 3_000, 8).only(Only::Image),
    mark(4, "clone", "Clone configuration.*: clone", 2_000, 4),
    mark(5, "Realise system", "Realise system.*: ", 1_500, 8),
    mark(
        5,
        "copy",
        "(copy|register) the closure of|copying: |building: |nix: building",
        9_000,
        10,
    )
    .only(Only::Store),
    mark(5, "verify", "verify the contents", 2_500, 3).only(Only::Store),
    mark(6, "nixos-install", "Install system.*: nixos-install", 2_500, 8),
    mark(
        6,
        "boot loader",
        "nixos-install: installing the boot loader",
        3_500,
        10,
    ),
    mark(6, "loader files", "nixos-install: (Created|Copied) ", 1_500, 6),
    mark(7, "checkpoint Installed", "[(]Installed[)] saved", 900, 2),
    mark(8, "Provision secrets", "Provision secrets.*: ", 700, 2),
    mark(9, "Land", "Land: write log", 1_800, 3),
    mark(9, "unmount", "unmount, close, flush", 1_500, 2),
];
/// Writes behind a mark, at most.
const WRITES_MAX: u64 = 60;
const LINES_MAX: u64 = 6;
/// Of a hundred power cuts, so many come right behind an acknowledged checkpoint, and the disk keeps what was flushed and nothing else.
const SAVED_PERCENT: u64 = 30;
/// Which numbers of a seed decide that.
const SAVED_DICE: u64 = 6;
/// Of a hundred moments, so many are counted from the start of a run, whatever it begins with.
const EARLY_PERCENT: u64 = 14;
/// From the start of a run: it looks at the disk, opens and mounts it.
const EARLY_MS: u64 = 9_000;

/// What an install is, as far as its faults depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its root is encrypted.
    pub luks: bool,
    /// It needs the network.
    pub network: bool,
    /// Its root is made of an image.
    pub image: bool,
}

/// The faults of an install, in order; the first that can be is a power cut when there are three or more.
pub fn draw(seed: u64, shape: Shape) -> Vec<Injected> {
    let mut dice = Dice::new(seed, 1);
    let count = 3 + dice.below(4);
    let mut list: Vec<Injected> = (0..count).map(|_| one(&mut dice, shape)).collect();
    if list.iter().all(|injected| injected.kind != Kind::Cut)
        && let Some(first) = list.iter_mut().find(|injected| injected.kind.ends_the_run())
    {
        first.kind = Kind::Cut;
    }
    // From numbers of their own: the other faults of a seed stay what they are.
    let mut saved = Dice::new(seed, SAVED_DICE);
    for cut in list.iter_mut().filter(|m| m.kind == Kind::Cut) {
        if saved.percent(SAVED_PERCENT) {
            cut.moment.behind = Behind::Saved;
        }
    }
    // Those that are counted from the start of a run stay where they were drawn.
    let mut marked: Vec<Injected> = list.iter().copied().filter(|m| m.moment.mark.is_some()).collect();
    marked.sort_by_key(|injected| injected.moment.mark);
    let mut marked = marked.into_iter();
    for place in list.iter_mut().filter(|m| m.moment.mark.is_some()) {
        if let Some(next) = marked.next() {
            *place = next;
        }
    }
    list
}

fn one(dice: &mut Dice, shape: Shape) -> Injected {
    let weights = Kind::WEIGHTS.iter().map(|(kind, weight)| {
        if *kind == Kind::Network && !shape.network {
            0
        } else {
            *weight
        }
    });
    let kind = Kind::WEIGHTS[dice.weighted(weights)].0;
    // A full filesystem must be there, and a network must be wanted.
    let actions = match kind {
        Kind::Full => 4..=6,
        Kind::Network => 4..=5,
        _ => 0..=9,
    };
    let weights = MARKS.iter().map(|mark| {
        let fits = actions.contains(&mark.action) && mark.is_in(shape);
        if fits { mark.weight } else { 0 }
    });
    let mark = dice.weighted(weights);
    let early = dice.percent(EARLY_PERCENT) && !matches!(kind, Kind::Full | Kind::Network);
    let (mark, span) = if early {
        (None, EARLY_MS)
    } else {
        (Some(mark), MARKS[mark].span_ms)
    };
    let behind = match dice.below(10) {
        0..=4 => Behind::Millis(dice.below(span)),
        5..=8 => Behind::Writes(1 + dice.below(WRITES_MAX)),
        _ => Behind::Lines(1 + dice.below(LINES_MAX)),
    };
    // A run that only looks writes little: it would end before so many writes.
    let behind = match behind {
        Behind::Writes(_) if early => Behind::Millis(dice.below(span)),
        other => other,
    };
    Injected {
        kind,
        moment: Moment { mark, behind },
        salt: dice.number(),
    }
}

/// Recognises the lines on a console.
#[derive(Debug)]
pub struct Marks {
    patterns: Vec<Regex>,
    action: Regex,
}

impl Marks {
    /// Compiles the patterns.
    pub fn new() -> Result<Marks, regex::Error> {
        let patterns = MARKS.iter().map(|mark| Regex::new(mark.pattern));
        Ok(Marks {
            patterns: patterns.collect::<Result<_, _>>()?,
            action: Regex::new(&format!(
                r"^\[ *\d+\.\d+\].? ?({})(?: \(attempt \d+\))?: ",
                crate::install::ACTIONS.join("|")
            ))?,
        })
    }

    /// Whether a line shows that an install is at this mark, or behind it.
    pub fn is_at(&self, mark: usize, line: &str) -> bool {
        if self
            .patterns
            .iter()
            .skip(mark)
            .any(|pattern| pattern.is_match(line))
        {
            return true;
        }
        let Some(action) = self.action.captures(line).and_then(|found| found.get(1)) else {
            return false;
        };
        let at = crate::install::ACTIONS
            .iter()
            .position(|name| *name == action.as_str());
        // That an action is already done says nothing of those behind it.
        at > MARKS.get(mark).map(|mark| mark.action) && !line.contains("already done")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PLAIN: Shape = Shape {
        luks: false,
        network: false,
        image: false,
    };
    const FLAKE: Shape = Shape {
        luks: true,
        network: true,
        image: false,
    };
    const IMAGE: Shape = Shape {
        luks: true,
        network: false,
        image: true,
    };

    fn at(name: &str) -> usize {
        MARKS.iter().position(|mark| mark.name == name).unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_faults() {
        for seed in 0..200 {
            assert_eq!(draw(seed, FLAKE), draw(seed, FLAKE));
        }
        assert_ne!(draw(1, FLAKE), draw(2, FLAKE));
    }

    #[test]
    fn every_kind_and_every_mark_is_drawn_and_what_does_not_fit_is_not() {
        let (mut kinds, mut marks) = (BTreeMap::new(), BTreeMap::new());
        for seed in 0..400 {
            for injected in draw(seed, FLAKE).into_iter().chain(draw(seed, IMAGE)) {
                *kinds.entry(injected.kind).or_insert(0) += 1;
                *marks.entry(injected.moment.mark).or_insert(0) += 1;
            }
            for shape in [PLAIN, FLAKE, IMAGE] {
                let list = draw(seed, shape);
                assert!((3..=6).contains(&list.len()));
                assert!(
                    list.iter().any(|m| m.kind == Kind::Cut) || list.iter().all(|m| !m.kind.ends_the_run())
                );
                for injected in list {
                    assert!(injected.kind != Kind::Network || shape.network);
                    assert!(injected.moment.mark.is_none_or(|mark| MARKS[mark].is_in(shape)));
                }
            }
        }
        assert_eq!(kinds.len(), Kind::WEIGHTS.len(), "{kinds:?}");
        assert_eq!(marks.len(), MARKS.len() + 1, "{marks:?}");
        let cuts: Vec<Injected> = (0..400)
            .flat_map(|seed| draw(seed, PLAIN))
            .filter(|m| m.kind == Kind::Cut)
            .collect();
        let saved = cuts.iter().filter(|m| m.moment.behind == Behind::Saved).count();
        assert!(
            saved * 5 > cuts.len() && saved * 2 < cuts.len(),
            "{saved} of {}",
            cuts.len()
        );
        // Where real programs leave half-made states: the database, the boot loader, LUKS.
        let often = |name| marks[&Some(at(name))];
        assert!(often("boot loader") > 2 * often("Provision secrets"), "{marks:?}");
        assert!(often("image") > often("write GPT"), "{marks:?}");
        assert!(kinds[&Kind::Cut] > 2 * kinds[&Kind::Term], "{kinds:?}");
    }

    #[test]
    fn marked_faults_come_in_the_order_of_an_install() {
        for seed in 0..200 {
            let marks: Vec<usize> = draw(seed, FLAKE).iter().filter_map(|m| m.moment.mark).collect();
            assert!(marks.is_sorted(), "{marks:?}");
        }
    }

    #[test]
    fn a_mark_is_seen_and_so_is_whatever_lies_behind_it() {
        let marks = Marks::new().unwrap();
        let gpt = "[    40.116] Partition disk: write GPT c631 on serial LFTARGET";
        let clone = "[    47.955] Clone configuration: clone revision f18a to /mnt/nix-config";
        let again = "[    50.955] Clone configuration (attempt 2): clone revision f18a";
        let found = "[    45.158] Encrypt volumes: already done";
        let provision = "[    66.283] Provision secrets: install keys";
        assert!(marks.is_at(0, gpt) && !marks.is_at(1, gpt));
        assert!(marks.is_at(0, clone) && marks.is_at(at("clone"), clone));
        assert!(!marks.is_at(at("Realise system"), clone));
        assert!(marks.is_at(at("mkfs"), again) && !marks.is_at(at("Realise system"), again));
        assert!(!marks.is_at(0, found));
        assert!(marks.is_at(at("clone"), provision));
        let slice = "[    45.400] write the image: 17.0 MiB of 40.0 MiB, 3.3 MiB/s, 6.9 s left at this rate";
        assert!(marks.is_at(at("image"), slice) && !marks.is_at(at("read back"), slice));
        for (index, mark) in MARKS.iter().enumerate() {
            assert!(mark.action < crate::install::ACTIONS.len());
            assert!(index == 0 || MARKS[index - 1].action <= mark.action);
        }
    }
}
