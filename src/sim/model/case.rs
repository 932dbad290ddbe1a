//! A case: a layout, how the system comes to the target, what the disk held before, and who agrees.
//!
//! A case is text and decides everything that chance would decide. Names, ids and contents are functions of it.
//!
//! `model::setting` has the values that follow from it, and `inject` what goes wrong.
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// Which volumes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// A container around the root.
    pub luks: bool,
    /// Swap.
    pub swap: bool,
}

/// What the target held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// Nothing.
    Blank,
    /// Somebody's partitions, with filesystems where the planned ones will begin, made over an install of ours with the same ids: the
    /// copies of its root's superblock are still there.
    Foreign,
    /// A finished install of the same host and layout; the configuration's `reinstall` number was raised.
    Finished,
}

impl Before {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Before::Blank => "blank",
            Before::Foreign => "foreign",
            Before::Finished => "finished",
        }
    }
}

/// Who agrees to the erasure, and who types the passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consenter {
    /// A person, who is asked.
    Person,
    /// A credential that names the disk.
    InAdvance,
    /// A person, who says no.
    Refuses,
}

/// How the system comes to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Its closure is carried along and copied.
    Prebuilt,
    /// Its closure is carried along in an image of the root filesystem.
    Image,
    /// It is built from the flake.
    Flake,
}

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Case {
    /// Which volumes.
    pub kind: Kind,
    /// How the system comes to the target.
    pub mode: Mode,
    /// What the disk held.
    pub before: Before,
    /// Who agrees.
    pub consenter: Consenter,
    /// Every order is carried out twice (I23).
    pub twice: bool,
}

impl Case {
    /// Every layout, copied and built (an image has tests of its own), on a disk with foreign contents and with a person, which is the longest way.
    pub fn all() -> Vec<Case> {
        let mut cases = vec![];
        for luks in [false, true] {
            for swap in [false, true] {
                for mode in [Mode::Prebuilt, Mode::Flake] {
                    cases.push(Case {
                        kind: Kind { luks, swap },
                        mode,
                        before: Before::Foreign,
                        consenter: Consenter::Person,
                        twice: false,
                    });
                }
            }
        }
        cases
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind {
                luks: false,
                swap: false,
            } => "plain",
            Kind {
                luks: false,
                swap: true,
            } => "swap",
            Kind {
                luks: true,
                swap: false,
            } => "luks",
            Kind {
                luks: true,
                swap: true,
            } => "luks-swap",
        };
        let mode = match self.mode {
            Mode::Prebuilt => "prebuilt",
            Mode::Image => "image",
            Mode::Flake => "flake",
        };
        let before = self.before.name();
        let consenter = match self.consenter {
            Consenter::Person => "person",
            Consenter::InAdvance => "in-advance",
            Consenter::Refuses => "refuses",
        };
        let twice = if self.twice { "/twice" } else { "" };
        write!(f, "{kind}/{mode}/{before}/{consenter}{twice}")
    }
}

impl FromStr for Case {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |what: &str, allowed: &str| format!("case {text:?}: {what} is one of {allowed}");
        let mut words = text.split('/');
        let kind = match words.next() {
            Some("plain") => Kind {
                luks: false,
                swap: false,
            },
            Some("swap") => Kind {
                luks: false,
                swap: true,
            },
            Some("luks") => Kind {
                luks: true,
                swap: false,
            },
            Some("luks-swap") => Kind {
                luks: true,
                swap: true,
            },
            Some(_) | None => return Err(bad("the layout", "plain, swap, luks, luks-swap")),
        };
        let mode = match words.next() {
            Some("prebuilt") => Mode::Prebuilt,
            Some("image") => Mode::Image,
            Some("flake") => Mode::Flake,
            Some(_) | None => return Err(bad("the mode", "prebuilt, image, flake")),
        };
        let before = match words.next() {
            Some("blank") => Before::Blank,
            Some("foreign") => Before::Foreign,
            Some("finished") => Before::Finished,
            Some(_) | None => return Err(bad("what the disk held", "blank, foreign, finished")),
        };
        let consenter = match words.next() {
            Some("person") => Consenter::Person,
            Some("in-advance") => Consenter::InAdvance,
            Some("refuses") => Consenter::Refuses,
            Some(_) | None => return Err(bad("who agrees", "person, in-advance, refuses")),
        };
        let twice = match (words.next(), words.next()) {
            (None, _) => false,
            (Some("twice"), None) => true,
            (Some(_), _) => return Err(bad("the rest", "nothing, twice")),
        };
        Ok(Case {
            kind,
            mode,
            before,
            consenter,
            twice,
        })
    }
}
