//! Who may import whom inside `src/sim` and `states`; and no circle between files, in whatever folder.
//!
//! What only tests import does not count.
//!
//! `real_rooms` has the modules of `src/real`.

use crate::{assert_tidy, is_word, rust};
use std::collections::{BTreeMap, BTreeSet};

/// The rooms of `src/sim`, the lowest first. A room imports itself and what stands before it.
const SIM: [&str; 6] = ["model", "inject", "check", "world", "actions", "explore"];

/// The files of `states` that decide what is done, by what the steps found: no step, no plan and no fault may import them.
const DECIDING: [&str; 3] = ["decision", "recovery", "lib"];

/// A crate: where its files lie, and how its own paths begin.
struct Crate {
    folder: &'static str,
    /// What it is called in the other one.
    name: &'static str,
}

const CRATES: [Crate; 2] = [
    Crate {
        folder: "src",
        name: "landfall",
    },
    Crate {
        folder: "states",
        name: "landfall_states",
    },
];

/// The code of a file in front of its tests, without comments and texts.
fn product(text: &str) -> String {
    let mut lines = Vec::new();
    let mut attributes: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.starts_with("#[") {
            attributes.push(line);
            continue;
        }
        // A module of tests is the end of a file.
        if attributes.contains(&"#[cfg(test)]") && line.contains("mod ") && line.ends_with('{') {
            break;
        }
        let only_tests = attributes.contains(&"#[cfg(test)]");
        attributes.clear();
        if !only_tests {
            lines.push(line.split("//").next().unwrap_or(""));
        }
    }
    let mut code = String::new();
    let mut in_text = false;
    let mut escaped = false;
    for c in lines.join("\n").chars() {
        match (in_text, c) {
            (true, '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (true, '"') if !escaped => in_text = false,
            (false, '"') => in_text = true,
            (true, _) => {}
            (false, c) => code.push(c),
        }
        escaped = false;
    }
    code
}

/// Every path that a code names behind one of these beginnings, as far as it is one word after another; lists are taken apart.
fn paths(code: &str, beginning: &str) -> Vec<Vec<String>> {
    /// Reads a path from here; what follows it is given back.
    fn path<'t>(mut rest: &'t str, before: &[String], found: &mut Vec<Vec<String>>) -> &'t str {
        let mut words = before.to_vec();
        loop {
            rest = rest.trim_start();
            if let Some(list) = rest.strip_prefix('{') {
                rest = list;
                while !rest.starts_with('}') && !rest.is_empty() {
                    rest = path(rest, &words, found).trim_start();
                    rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
                }
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if length == 0 {
                found.push(words);
                // Neither a word nor a list: go on behind it, so that this ends.
                let mut chars = rest.chars();
                chars.next();
                return chars.as_str();
            }
            words.push(rest[..length].to_owned());
            rest = &rest[length..];
            match rest.strip_prefix("::") {
                Some(more) => rest = more,
                None => {
                    found.push(words);
                    let renamed = rest.trim_start().strip_prefix("as ").map(str::trim_start);
                    return renamed.map_or(rest, |renamed| renamed.trim_start_matches(is_word));
                }
            }
        }
    }
    let mut found = Vec::new();
    for (at, _) in code.match_indices(beginning) {
        if !code[..at].ends_with(|c| is_word(c) || c == ':') {
            path(&code[at + beginning.len()..], &[], &mut found);
        }
    }
    found
}

/// The place of a file as a module: the words of its path. `src/sim/model/disk.rs` → `sim`, `model`, `disk`.
fn module(name: &str, folder: &str) -> Option<Vec<String>> {
    let inside = name
        .strip_prefix(folder)?
        .strip_prefix('/')?
        .strip_suffix(".rs")?;
    let mut words: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if words
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        words.pop();
    }
    // `image/image.rs`, named by a path attribute, is `image` itself.
    if let [.., above, last] = words.as_slice()
        && above == last
    {
        words.pop();
    }
    Some(words)
}

/// Which files import which, tests apart.
fn imports(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules = BTreeMap::new();
    for (name, _) in files.iter().filter(|(name, _)| !name.ends_with("_tests.rs")) {
        for Crate { folder, .. } in CRATES {
            modules.extend(module(name, folder).map(|words| ((folder, words), name.clone())));
        }
    }
    // A path leads to the innermost file that its words name.
    let file_of = |folder: &'static str, words: &[String]| -> Option<String> {
        (1..=words.len())
            .rev()
            .find_map(|length| modules.get(&(folder, words[..length].to_vec())).cloned())
    };
    let mut imports = BTreeMap::new();
    for (name, text) in files {
        let Some((folder, own)) = CRATES
            .iter()
            .find_map(|c| Some((c.folder, module(name, c.folder)?)))
        else {
            continue;
        };
        if name.ends_with("_tests.rs") {
            continue;
        }
        let code = product(text);
        let mut used: BTreeSet<String> = BTreeSet::new();
        used.extend(
            paths(&code, "crate::")
                .iter()
                .filter_map(|words| file_of(folder, words)),
        );
        for other in CRATES {
            let words = paths(&code, &format!("{}::", other.name));
            used.extend(words.iter().filter_map(|words| file_of(other.folder, words)));
        }
        for words in paths(&code, "super::") {
            let ups = 1 + words.iter().take_while(|word| *word == "super").count();
            let above = own.len().checked_sub(ups).map(|length| own[..length].to_vec());
            let down = words.into_iter().skip(ups - 1);
            used.extend(
                above.and_then(|above| file_of(folder, &above.into_iter().chain(down).collect::<Vec<_>>())),
            );
        }
        for words in paths(&code, "self::") {
            used.extend(file_of(
                folder,
                &own.iter().cloned().chain(words).collect::<Vec<_>>(),
            ));
        }
        // A folder's own file names its files (`mod`, `pub use`) and is no room beside them.
        used.retain(|used| used != name && !is_head(used, name) && !is_head(name, used));
        imports.insert(name.clone(), used);
    }
    imports
}

/// Whether a file is the head of the folder in which the other one lies.
fn is_head(head: &str, other: &str) -> bool {
    let folder = head
        .strip_suffix("/mod.rs")
        .or_else(|| head.strip_suffix("/lib.rs"))
        .or_else(|| head.strip_suffix(".rs"));
    folder.is_some_and(|folder| {
        other
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

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

/// Every circle, each once.
fn circles(files: &[(String, String)]) -> Vec<Circle> {
    let imports = imports(files);
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

fn source(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
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
        assert_eq!(circles(&source(&bad)).len(), 1, "{bad:?}");
    }
    let three = [
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::c::C;"),
        ("src/c.rs", "use crate::a::A;"),
        ("src/d.rs", "use crate::a::A;"),
    ];
    let told = circles(&source(&three));
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
        assert!(circles(&source(&good)).is_empty(), "{good:?}");
    }
}

/// What a room of the simulation imports and may not.
fn sim_rooms(name: &str, text: &str) -> Vec<String> {
    let Some(inside) = name.strip_prefix("src/sim/") else {
        return vec![];
    };
    let Some((own, file)) = inside.split_once('/') else {
        // The map of the rooms.
        return vec![];
    };
    if file.ends_with("_tests.rs") {
        return vec![];
    }
    let place = |room: &str| SIM.iter().position(|known| *known == room);
    let Some(own_place) = place(own) else {
        return vec![format!(
            "sim/{own} is a new room: give it its place in tests/tidy/rooms.rs"
        )];
    };
    let mut complaints = Vec::new();
    let code = product(text);
    for words in paths(&code, "crate::sim::") {
        let room = words.first().map_or("", String::as_str);
        match place(room) {
            Some(other) if other <= own_place => {}
            Some(_) => complaints.push(format!("imports sim/{room}, which is above sim/{own}")),
            None => complaints.push(format!("imports sim::{room}, which is no room")),
        }
    }
    // The driver is run by what explores; below, a request of it is data.
    for words in paths(&code, "crate::driver::") {
        let is_data = words
            .first()
            .is_some_and(|word| ["Request", "Outcome", "Halt"].contains(&word.as_str()));
        if own != "explore" && !is_data {
            complaints.push(format!(
                "imports the driver's {words:?}; only sim/explore runs the driver"
            ));
        }
    }
    complaints
}

#[test]
fn rooms_of_the_simulation_import_what_is_below_them() {
    assert_tidy(&rust(&["src/sim"]), sim_rooms);
    for (name, bad) in [
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
        assert_eq!(sim_rooms(name, bad).len(), 1, "{name}: {bad}");
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
        assert_eq!(sim_rooms(name, good), Vec::<String>::new(), "{name}: {good}");
    }
}

/// What a file of the states imports and may not.
fn states_rooms(name: &str, text: &str) -> Vec<String> {
    let Some(inside) = name.strip_prefix("states/") else {
        return vec![];
    };
    if name.ends_with("_tests.rs") || inside == "lib.rs" {
        return vec![];
    }
    let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let mut complaints = Vec::new();
    for words in paths(&product(text), "crate::") {
        let used = words.first().map_or("", String::as_str);
        let deciding = DECIDING.contains(&used) && !DECIDING.contains(&own);
        // What an action found is decided about by who recovers; nothing else looks into an action.
        let acting = used == "actions" && own != "actions" && !DECIDING.contains(&own);
        // The head of the crate hands names on; inside, a name is taken from where it is.
        let handed_on = used.starts_with(char::is_uppercase);
        if deciding || acting || handed_on {
            complaints.push(format!("imports crate::{}", words.join("::")));
        }
    }
    complaints
}

#[test]
fn states_import_what_is_below_them() {
    assert_tidy(&rust(&["states"]), states_rooms);
    for (name, bad) in [
        ("states/plan.rs", "use crate::recovery::decide;"),
        ("states/actions/land.rs", "use crate::decision::Decision;"),
        ("states/volume.rs", "use crate::actions::land::Land;"),
        ("states/actions/land.rs", "use crate::{names::Digest, Phase};"),
    ] {
        assert_eq!(states_rooms(name, bad).len(), 1, "{name}: {bad}");
    }
    let good = "use crate::actions::partition_disk::GptCopy;\nuse crate::phase::Phase;";
    assert_eq!(states_rooms("states/recovery.rs", good), Vec::<String>::new());
}
