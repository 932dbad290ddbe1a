//! What is chosen: the paths that are watched, and of many points those that are tried. Law: pure; the same calls give the
//! same choice.
//!
//! Absent: calls as the kernel shows them (`calls`). Tests: `tests/halfway_choice.rs`.

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
