//! Who may import whom inside `src/sim` and `states`; and no circle between files, nor between the parts of a folder.
//!
//! A folder's own file names its files and is no room beside them: what it and they use of one another does not count, nor does a method
//! that a file adds to another file's type. What only tests import does not count either.
//!
//! `uses` follows the names; `real_rooms` has the modules of `src/real`.

use super::uses::{self, Use, is_head, sample, uses};
use crate::rust;
use std::collections::{BTreeMap, BTreeSet};

/// The rooms of `src/sim`, the lowest first. A room imports itself and what stands before it.
const SIM: [&str; 6] = ["model", "inject", "check", "world", "actions", "explore"];

/// The files of `states` that decide what is done, by what the steps found: no step, no plan and no fault may import them.
const DECIDING: [&str; 3] = ["decision", "recovery", "lib"];

/// Files that import one another in a circle.
struct Circle {
    files: BTreeSet<String>,
    /// Who imports whom.
    imports: Vec<(String, String)>,
}

impl Circle {
    fn ties(&self) -> String {
        let ties: Vec<String> = self
            .imports
            .iter()
            .map(|(from, to)| format!("{from} -> {to}"))
            .collect();
        format!("a circle of {} files: {}", self.files.len(), ties.join(", "))
    }
}

/// Which files import which, heads and their files apart.
fn imports(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let used = |name: &str, uses: BTreeSet<Use>| {
        uses.into_iter()
            .filter(|one| !one.is_method)
            .filter_map(|one| one.file)
            .filter(|used| !is_head(used, name) && !is_head(name, used))
            .collect()
    };
    uses(files)
        .into_iter()
        .map(|(name, uses)| (name.clone(), used(&name, uses)))
        .collect()
}

/// Which files and folders of a folder import which, for every folder. A folder is what all files in it import.
fn parts(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeMap<String, BTreeSet<String>>> {
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, to) in imports
        .iter()
        .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
    {
        let (from, to): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), to.split('/').collect());
        let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
        let folder = from[..common].join("/");
        // `a.rs` is the head of the folder `a`.
        let part = |words: &[&str]| format!("{folder}/{}", words[common].trim_end_matches(".rs"));
        let (from, to) = (part(&from), part(&to));
        let parts = folders.entry(folder.clone()).or_default();
        parts.entry(to.clone()).or_default();
        if from != to {
            parts.entry(from).or_default().insert(to);
        }
    }
    folders.into_values().collect()
}

/// Every circle, each once: of files, and of the parts of a folder.
fn circles(files: &[(String, String)]) -> Vec<Circle> {
    let imports = imports(files);
    let of_files = rings(&imports);
    let of_parts = parts(&imports).into_iter().flat_map(|parts| rings(&parts));
    // Files that import one another are parts of a folder as well.
    let is_told = |part: &Circle| {
        let is_in = |file: &str, part: &str| {
            file.strip_prefix(part)
                .is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        of_files.iter().any(|circle| {
            part.files
                .iter()
                .all(|part| circle.files.iter().any(|file| is_in(file, part)))
        })
    };
    let of_parts: Vec<Circle> = of_parts.filter(|part| !is_told(part)).collect();
    of_files.into_iter().chain(of_parts).collect()
}

/// Every circle of these imports, each once.
fn rings(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Circle> {
    let reach = |from: &str| -> BTreeSet<String> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = open.pop() {
            for next in imports.get(&file).into_iter().flatten() {
                if reached.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reach(file))).collect();
    let mut told: BTreeSet<&String> = BTreeSet::new();
    let mut circles = Vec::new();
    for (file, from_here) in &reached {
        if !from_here.contains(*file) || told.contains(*file) {
            continue;
        }
        let ring: Vec<&String> = reached
            .iter()
            .filter(|(other, back)| from_here.contains(**other) && back.contains(*file))
            .map(|(other, _)| *other)
            .collect();
        told.extend(&ring);
        let tied = ring
            .iter()
            .flat_map(|from| imports[*from].iter().map(move |to| ((*from).clone(), to.clone())))
            .filter(|(_, to)| ring.contains(&to))
            .collect();
        circles.push(Circle {
            files: ring.into_iter().cloned().collect(),
            imports: tied,
        });
    }
    circles
}

#[test]
fn files_import_one_another_in_no_circle() {
    let found = circles(&rust(&["src", "states"]));
    let ties: Vec<String> = found.iter().map(Circle::ties).collect();
    assert!(ties.is_empty(), "\n{}", ties.join("\n"));
}

#[test]
fn a_circle_is_seen_in_whatever_way_it_is_written() {
    for bad in [
        [("src/a.rs", "use crate::b::B;"), ("src/b.rs", "use crate::a::A;")],
        [
            ("src/a.rs", "use crate::{c::C, b::{B, D}};"),
            ("src/b.rs", "fn f() { crate::a::x() }"),
        ],
        [
            ("src/room/a.rs", "use super::b;"),
            ("src/room/b.rs", "use crate::room::{a::A};"),
        ],
        [
            ("states/a.rs", "use crate::b::*;"),
            ("states/b.rs", "use super::a as other;"),
        ],
        [
            ("src/room/a.rs", "use crate::c::C;"),
            ("src/c.rs", "use crate::room::a;"),
        ],
    ] {
        assert_eq!(circles(&sample(&bad)).len(), 1, "{bad:?}");
    }
    let three = [
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::c::C;"),
        ("src/c.rs", "use crate::a::A;"),
        ("src/d.rs", "use crate::a::A;"),
    ];
    let told = circles(&sample(&three));
    assert!(told.len() == 1 && told[0].files.len() == 3, "{}", told.len());
    for good in [
        [
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "// use crate::a::A;"),
        ],
        [
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "const A: &str = \"crate::a::A\";"),
        ],
        [
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}"),
        ],
        [
            ("src/a.rs", "use crate::b::B;"),
            ("src/a_tests.rs", "use crate::a::A;"),
        ],
        [
            ("src/room/mod.rs", "pub use a::A;\nuse crate::room::a::B;"),
            ("src/room/a.rs", "use super::C;"),
        ],
    ] {
        assert!(circles(&sample(&good)).is_empty(), "{good:?}");
    }
}

#[test]
fn no_way_round_hides_a_circle() {
    for bad in [
        // Through what the head hands on.
        &[
            ("src/room/mod.rs", "mod a;\nmod b;\npub use a::A;\nuse b::B;"),
            ("src/room/a.rs", "use super::B;\npub struct A;"),
            ("src/room/b.rs", "use super::A;\npub struct B;"),
        ][..],
        &[
            ("src/room/mod.rs", "pub use self::{a::*, b::{B as C}};"),
            ("src/room/a.rs", "use super::*;\nfn f() { C::new() }"),
            ("src/room/b.rs", "use super::*;\npub struct B;\nfn f() { a::x() }"),
        ],
        // Two folders through their heads.
        &[
            ("src/c/mod.rs", "pub use x::X;"),
            ("src/c/x.rs", "use crate::d::Y;\npub struct X;"),
            ("src/d/mod.rs", "pub use y::Y;"),
            ("src/d/y.rs", "use crate::c::X;\npub struct Y;"),
        ],
        // Two rooms through different files.
        &[
            ("src/hosts/x.rs", "use crate::doctor::y::Y;"),
            ("src/doctor/y.rs", "use crate::hosts::z::Z;\npub struct Y;"),
            ("src/hosts/z.rs", "pub struct Z;"),
        ],
        // Behind a test's item, a text that looks like a comment, and a sign that looks like the beginning of a text.
        &[
            ("src/a.rs", "#[cfg(test)]\nuse std::fmt;\nuse crate::b::B;"),
            (
                "src/b.rs",
                "const A: &str = \"https://a\";\nconst C: char = '\"';\nfn f() { crate::a::x() }",
            ),
        ],
        // In a macro, and in an attribute.
        &[
            ("src/a.rs", "fn f() { format!(\"{}\", crate::b::x()); }"),
            ("src/b.rs", "#[serde(with = \"crate::a\")]\nstruct A;"),
        ],
        // Under another name; and inside a function.
        &[
            ("src/a.rs", "use crate as top;\nfn f() { top::b::x() }"),
            ("src/b.rs", "fn f() { use super::{a as other}; }"),
        ],
    ] {
        assert_eq!(circles(&sample(bad)).len(), 1, "{bad:?}");
    }
}

/// What a room of the simulation imports and may not.
fn sim_rooms(name: &str, uses: &BTreeSet<Use>) -> Vec<String> {
    let Some(inside) = name.strip_prefix("src/sim/") else {
        return vec![];
    };
    let Some((own, _)) = inside.split_once('/') else {
        // The map of the rooms.
        return vec![];
    };
    let place = |room: &str| SIM.iter().position(|known| *known == room);
    let Some(own_place) = place(own) else {
        return vec![format!(
            "sim/{own} is a new room: give it its place in tests/tidy/rooms.rs"
        )];
    };
    let mut complaints = Vec::new();
    for path in uses.iter().filter(|one| one.folder == "src").map(|one| &one.path) {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["sim", room, ..] => match place(room) {
                Some(other) if other <= own_place => {}
                Some(_) => complaints.push(format!("imports sim/{room}, which is above sim/{own}")),
                None => complaints.push(format!("imports sim::{room}, which is no room")),
            },
            ["sim"] => complaints.push("imports all of sim".to_owned()),
            // The driver is run by what explores; below, a request of it is data.
            ["driver", words @ ..] => {
                let is_data = words
                    .iter()
                    .any(|word| ["Request", "Outcome", "Halt"].contains(word));
                if own != "explore" && !is_data {
                    complaints.push(format!(
                        "imports the driver's {words:?}; only sim/explore runs the driver"
                    ));
                }
            }
            _ => {}
        }
    }
    complaints
}

#[test]
fn rooms_of_the_simulation_import_what_is_below_them() {
    let found = uses::complaints(&rust(&["src", "states"]), sim_rooms);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let complaints = |name, text| uses::complaints(&sample(&[(name, text)]), sim_rooms);
    for (name, bad) in [
        ("src/sim/model/new.rs", "fn f() { super::super::explore::f() }"),
        ("src/sim/model/new.rs", "use crate::{sim::explore};"),
        ("src/sim/model/new.rs", "use crate::sim as s;"),
        ("src/sim/model/new.rs", "use crate::sim::check::watch::Checks;"),
        (
            "src/sim/check/new.rs",
            "use crate::sim::{model::disk, explore::run};",
        ),
        (
            "src/sim/world/new.rs",
            "fn f() { crate::sim::actions::land::f() }",
        ),
        ("src/sim/actions/new.rs", "use crate::driver::run;"),
        ("src/sim/attic/new.rs", ""),
    ] {
        assert_eq!(complaints(name, bad).len(), 1, "{name}: {bad}");
    }
    for (name, good) in [
        (
            "src/sim/explore/new.rs",
            "use crate::driver;\nuse crate::sim::actions::land;",
        ),
        ("src/sim/model/new.rs", "use crate::driver::Request;"),
        (
            "src/sim/model/new.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::sim::explore::run::Ending;\n}",
        ),
    ] {
        assert_eq!(complaints(name, good), Vec::<String>::new(), "{name}: {good}");
    }
}

/// What a file of the states imports and may not.
fn states_rooms(name: &str, uses: &BTreeSet<Use>) -> Vec<String> {
    let Some(inside) = name.strip_prefix("states/") else {
        return vec![];
    };
    if inside == "lib.rs" {
        return vec![];
    }
    let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let mut complaints = BTreeSet::new();
    for one in uses {
        let used = one.path.first().map_or("", String::as_str);
        let deciding = DECIDING.contains(&used) && !DECIDING.contains(&own);
        // What an action found is decided about by who recovers; nothing else looks into an action.
        let acting = used == "actions" && own != "actions" && !DECIDING.contains(&own);
        // The head of the crate hands names on; inside, a name is taken from where it is.
        let handed_on = matches!(one.written.as_slice(), [name] if name.starts_with(char::is_uppercase));
        if one.folder != "states" {
            complaints.insert(format!("imports {used} of another crate"));
        } else if deciding || acting {
            complaints.insert(format!("imports {}", one.path.join("::")));
        } else if handed_on && one.file.as_deref() != Some("states/lib.rs") {
            complaints.insert(format!(
                "imports {} from the head of the crate",
                one.written.join("::")
            ));
        }
    }
    complaints.into_iter().collect()
}

#[test]
fn states_import_what_is_below_them() {
    let found = uses::complaints(&rust(&["states"]), states_rooms);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let complaints = |name, text| uses::complaints(&sample(&[(name, text)]), states_rooms);
    for (name, bad) in [
        ("states/plan.rs", "fn f() { super::recovery::decide() }"),
        ("states/plan.rs", "use landfall_states::recovery;"),
        ("states/plan.rs", "use crate::recovery::decide;"),
        ("states/actions/land.rs", "use crate::decision::Decision;"),
        ("states/volume.rs", "use crate::actions::land::Land;"),
        ("states/actions/land.rs", "use crate::{names::Digest, Phase};"),
    ] {
        assert_eq!(complaints(name, bad).len(), 1, "{name}: {bad}");
    }
    let good = "use crate::actions::partition_disk::GptCopy;\nuse crate::phase::Phase;";
    assert_eq!(complaints("states/recovery.rs", good), Vec::<String>::new());
}
