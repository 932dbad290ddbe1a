//! Who may import whom inside `src/real`: a room imports rooms below it, and no room imports what belongs to `Real` as a whole.

use super::{assert_tidy, names_after, rust};

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
const WHOLE: [&str; 6] = ["ask", "attach", "preflight", "run", "survey", "world"];

fn is_test(name: &str) -> bool {
    name.ends_with("_tests.rs") || name == "src/real/test_support.rs"
}

/// The file's code in front of its tests.
fn code(text: &str) -> &str {
    text.split_once("#[cfg(test)]").map_or(text, |(code, _)| code)
}

fn imports(name: &str, text: &str) -> Vec<String> {
    let Some(inside) = name.strip_prefix("src/real/") else {
        return vec![];
    };
    if is_test(name) || inside == "mod.rs" {
        return vec![];
    }
    let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let place = |room: &str| ROOMS.iter().position(|r| *r == room);
    if place(own).is_none() && own != "steps" && !WHOLE.contains(&own) {
        return vec![format!(
            "real/{own} is a new room: give it its place in tests/tidy/real_rooms.rs"
        )];
    }
    let text = code(text);
    let mut complaints = Vec::new();
    for used in names_after(text, "crate::real::") {
        let refused = match used.as_str() {
            "steps" => own != "steps",
            "Real" => place(own).is_some(),
            used if WHOLE.contains(&used) => place(own).is_some(),
            used => match (place(own), place(used)) {
                (Some(own), Some(used)) => used > own,
                _ => false,
            },
        };
        if refused {
            complaints.push(format!("imports crate::real::{used}, which is above real/{own}"));
        }
    }
    complaints
}

#[test]
fn rooms_of_the_real_world_import_what_is_below_them() {
    assert_tidy(&rust(&["src/real"]), imports);
    for (name, bad) in [
        ("src/real/fs/new.rs", "use crate::real::volume::esp;"),
        ("src/real/fs/new.rs", "use crate::real::{process::command, disk};"),
        ("src/real/disk/new.rs", "fn f() { crate::real::nix::store::f() }"),
        ("src/real/git/new.rs", "use crate::real::Real;"),
        ("src/real/git/new.rs", "use crate::real::attach::Attach;"),
        ("src/real/preflight.rs", "use crate::real::steps::land;"),
        ("src/real/unheard_of.rs", ""),
    ] {
        assert_eq!(imports(name, bad).len(), 1, "{name}: {bad}");
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
        assert_eq!(imports(name, good), Vec::<String>::new(), "{name}: {good}");
    }
}
