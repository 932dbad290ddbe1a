//! Who may import whom inside `src/real`: a module imports modules below it, and none imports what belongs to `Real` as a
//! whole.

use super::rust;
use super::uses::{self, Use, sample};
use std::collections::BTreeSet;

/// The rooms of `src/real`, the lowest first. A room may import itself and what stands before it.
const ROOMS: [&str; 12] = [
    "tool_errors",
    "secret",
    "process",
    "fs",
    "volume",
    "table",
    "mount",
    "disk",
    "secrets",
    "boot",
    "git",
    "nix",
];
/// What `Real` is made of: above all rooms. Constants of `real` itself are below them.
const WHOLE: [&str; 7] = [
    "ask",
    "attach",
    "preflight",
    "repository",
    "run",
    "survey",
    "world",
];

fn imports(name: &str, uses: &BTreeSet<Use>) -> Vec<String> {
    let Some(inside) = name.strip_prefix("src/real/") else {
        return vec![];
    };
    if inside == "mod.rs" {
        return vec![];
    }
    let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let place = |room: &str| ROOMS.iter().position(|r| *r == room);
    if place(own).is_none() && own != "steps" && !WHOLE.contains(&own) {
        return vec![format!(
            "real/{own} is a new room: give it its place in tests/tidy/real_rooms.rs"
        )];
    }
    let mut complaints = BTreeSet::new();
    for one in uses.iter().filter(|one| one.folder == "src") {
        let Some(("real", used)) = one.path.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
            continue;
        };
        // All of `real`, under whatever name, has all rooms in it.
        let used = used.first().map_or("", String::as_str);
        let is_constant = !used.is_empty() && used.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let refused = match used {
            "steps" => own != "steps",
            "" | "Real" => place(own).is_some(),
            used if WHOLE.contains(&used) => place(own).is_some(),
            used => match (place(own), place(used)) {
                (Some(own), Some(used)) => used > own,
                (_, None) => !is_constant,
                (None, Some(_)) => false,
            },
        };
        if refused {
            complaints.insert(format!(
                "imports {}, which is above real/{own} or no room",
                one.path.join("::")
            ));
        }
    }
    complaints.into_iter().collect()
}

#[test]
fn rooms_of_the_real_world_import_what_is_below_them() {
    let found = uses::complaints(&rust(&["src", "states"]), imports);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let complaints = |name, text| uses::complaints(&sample(&[(name, text)]), imports);
    for (name, bad) in [
        ("src/real/fs/new.rs", "use crate::real::volume::esp;"),
        ("src/real/fs/new.rs", "use crate::real::{process::command, disk};"),
        ("src/real/disk/new.rs", "fn f() { crate::real::nix::store::f() }"),
        ("src/real/git/new.rs", "use crate::real::Real;"),
        ("src/real/git/new.rs", "use crate::real::attach::Attach;"),
        ("src/real/preflight.rs", "use crate::real::steps::land;"),
        ("src/real/unheard_of.rs", ""),
        ("src/real/fs/new.rs", "use super::super::nix::store;"),
        ("src/real/fs/new.rs", "use crate::{real::nix::store};"),
        ("src/real/fs/new.rs", "use crate::real as r;"),
        ("src/real/fs/new.rs", "use crate::real::*;"),
        (
            "src/real/fs/new.rs",
            "use crate as c;\nfn f() { c::real::nix::store() }",
        ),
        ("src/real/fs/new.rs", "use crate::real::unheard_of::x;"),
        (
            "src/real/fs/new.rs",
            "#[cfg(test)]\nuse std::fmt;\nuse crate::real::volume::esp;",
        ),
    ] {
        assert_eq!(complaints(name, bad).len(), 1, "{name}: {bad}");
    }
    for (name, good) in [
        (
            "src/real/nix/new.rs",
            "use crate::real::{git, fs::target_root, MOUNT_ROOT};",
        ),
        ("src/real/steps/new.rs", "use crate::real::{Real, attach, nix};"),
        (
            "src/real/fs/new.rs",
            "#[cfg(test)]\nmod tests { use crate::real::volume::esp; }",
        ),
    ] {
        assert_eq!(complaints(name, good), Vec::<String>::new(), "{name}: {good}");
    }
    // No path leads to a method that a file of `steps` adds to `Real`.
    let method = [
        ("src/real/mod.rs", "pub struct Real;"),
        (
            "src/real/steps/new.rs",
            "use crate::real::Real;\nimpl Real { pub fn write(&self) {} }",
        ),
        (
            "src/real/world.rs",
            "use crate::real::Real;\nimpl World for Real { fn f(&self) { self.write() } }",
        ),
    ];
    assert_eq!(uses::complaints(&sample(&method), imports).len(), 1);
}
