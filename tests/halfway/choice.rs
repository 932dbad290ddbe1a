//! Chooses the paths that are watched, and of many points those that are tried.
//!
//! Pure: the same calls give the same choice. `tests/halfway_choice.rs` tests it.
//!
//! `calls` has the calls as the kernel shows them.

use std::collections::BTreeSet;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Files below these folders.
    pub below: Vec<String>,
    /// But not those below these; of two that fit the longer one counts.
    pub except: Vec<String>,
    /// Mappings.
    pub mappings: bool,
    /// Mounts, those of the tracer's own namespace: others end with the programs in it.
    pub mounts: bool,
}

impl Watch {
    /// One folder.
    pub fn folder(path: &str) -> Watch {
        Watch {
            below: vec![path.to_owned()],
            ..Watch::default()
        }
    }

    /// What a path is called, if it is watched.
    pub fn called(&self, path: &str) -> Option<String> {
        let longest = |folders: &[String]| {
            let fits = folders.iter().filter(|folder| is_below(path, folder));
            fits.map(String::len).max()
        };
        let length = longest(&self.below)?;
        if longest(&self.except).is_some_and(|other| other > length) {
            return None;
        }
        // Of several folders the names are whole.
        let name = if self.below.len() == 1 {
            &path[length..]
        } else {
            path
        };
        Some(name.trim_start_matches('/').to_owned())
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is common to calls that are alike: parts of the path with digits in them, such as temporary names, are left out.
pub fn kind(program: &str, name: &str, path: &str) -> String {
    let path: Vec<&str> = path
        .split('/')
        .map(|part| {
            if part.bytes().any(|byte| byte.is_ascii_digit()) {
                "#"
            } else {
                part
            }
        })
        .collect();
    format!("{program} {name} {}", path.join("/"))
}

/// A point, as it is named: a call or, with `w`, a write of the disk; and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Counted in writes that reached the disk, not in calls.
    pub is_write: bool,
    /// Its number.
    pub number: usize,
    /// Such as `kill`.
    pub what: String,
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Point, String> {
        let parsed = || {
            let (place, what) = text.split_once(':')?;
            let digits = place.strip_prefix('w');
            let number = digits.unwrap_or(place);
            let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let named = what.starts_with(|c: char| c.is_ascii_lowercase())
                && what
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            (plain && named).then_some(Point {
                is_write: digits.is_some(),
                number: number.parse().ok()?,
                what: what.to_owned(),
            })
        };
        parsed().ok_or_else(|| {
            format!("{text:?} is no point: CALL:WHAT, such as 117:kill, 117:cut-commit or w12:cut-part (docs/develop/laboratory.md)")
        })
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let write = if self.is_write { "w" } else { "" };
        write!(f, "{write}{}:{}", self.number, self.what)
    }
}

/// The points that a step was seen to have.
#[derive(Debug, Default)]
pub struct Points(BTreeSet<Point>);

impl Points {
    /// There is this one.
    pub fn there_is(&mut self, point: &str) {
        // What has another form is none that anybody can ask for.
        self.0.extend(point.parse::<Point>());
    }

    /// Whether there is this one.
    pub fn have(&self, point: &Point) -> bool {
        self.0.contains(point)
    }

    /// Why there is not this one: which there are at its call, or else from where to where calls go.
    pub fn without(&self, point: &Point) -> String {
        let alike = || self.0.iter().filter(|one| one.is_write == point.is_write);
        let here: Vec<String> = alike()
            .filter(|one| one.number == point.number)
            .map(Point::to_string)
            .collect();
        let numbers = || alike().map(|one| one.number);
        let what = if point.is_write { "writes" } else { "calls" };
        let there = match (numbers().min(), numbers().max()) {
            _ if !here.is_empty() => format!("there are {}", here.join(", ")),
            (Some(first), Some(last)) => format!("its {what} are {first} to {last}"),
            _ => format!("it has no {what} that can be named"),
        };
        format!("no such point: {point}; {there}")
    }
}

/// Which of so many are taken: all in `first`, and the others spread evenly, so that there are as many as wanted.
pub fn spread(of: usize, first: &BTreeSet<usize>, wanted: usize) -> Vec<bool> {
    let mut taken: Vec<bool> = (0..of).map(|index| first.contains(&index)).collect();
    let rest: Vec<usize> = (0..of).filter(|index| !first.contains(index)).collect();
    let more = wanted.saturating_sub(first.len()).min(rest.len());
    for n in 0..more {
        taken[rest[n * rest.len() / more]] = true;
    }
    taken
}
