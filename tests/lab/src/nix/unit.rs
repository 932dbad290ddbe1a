//! A unit file as its directives, so that the module's and the laboratory's can be compared with the golden one.
//!
//! Comments, order, quotes, and what NixOS adds to every unit are ignored; so are the three paths that must differ (program,
//! configuration, PATH). Everything else counts, and of PATH what would be found in the target as well.

use std::collections::BTreeSet;

/// What both units are compared with.
pub const GOLDEN: &str = include_str!("../../../../nix/tests/golden/unit.service");

/// `Section Name=Value`, each once.
pub type Directives = BTreeSet<String>;

/// The directives of a unit.
pub fn directives(text: &str) -> Directives {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            found.insert(format!("{section} {line}"));
            continue;
        };
        let value = value.trim_matches('"');
        // NixOS' own.
        let is_locale =
            name == "Environment" && (value.starts_with("LOCALE_ARCHIVE=") || value.starts_with("TZDIR="));
        if name.starts_with("X-") || is_locale {
            continue;
        }
        let value = match name {
            "Environment" if value.starts_with("PATH=") => path(value),
            "ExecStart" => exec_start(value),
            _ => value.to_owned(),
        };
        found.insert(format!("{section} {name}={value}"));
    }
    found
}

/// PATH by a word, but for entries that every NixOS has: with one of them programs of the target are found by what the unit
/// says, and nobody notices that landfall itself must see to that.
fn path(value: &str) -> String {
    let list = value.strip_prefix("PATH=").unwrap_or_default();
    let everywhere = list.split(':').filter(|entry| entry.starts_with("/run/"));
    everywhere.fold("PATH=@path@".to_owned(), |path, entry| path + ":" + entry)
}

/// The program by its name, the configuration's path by a word.
fn exec_start(value: &str) -> String {
    let mut words: Vec<String> = value.split(' ').map(str::to_owned).collect();
    if let Some(program) = words.first_mut()
        && program.starts_with('/')
        && program.ends_with("/landfall")
    {
        *program = "@landfall@".to_owned();
    }
    if let Some(at) = words.iter().position(|word| word == "--config")
        && let Some(path) = words.get_mut(at + 1)
        && path.starts_with("/etc/landfall/install.")
    {
        *path = "@config@".to_owned();
    }
    words.join(" ")
}

/// How a unit differs from the golden one, apart from `only_here` and `only_golden`, which must differ.
pub fn differences(unit: &str, only_here: &[&str], only_golden: &[&str]) -> Vec<String> {
    let mut expected = directives(GOLDEN);
    let mut complaints = Vec::new();
    for line in only_golden {
        if !expected.remove(*line) {
            complaints.push(format!("the golden unit has no longer: {line}"));
        }
    }
    expected.extend(only_here.iter().map(|line| (*line).to_owned()));
    let found = directives(unit);
    complaints.extend(expected.difference(&found).map(|line| format!("missing: {line}")));
    complaints.extend(
        found
            .difference(&expected)
            .map(|line| format!("not expected: {line}")),
    );
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laboratory_boots_the_golden_unit() {
        assert_eq!(differences(crate::install::UNIT, &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_changed_directive_is_seen() {
        let changed = GOLDEN.replace("KillMode=mixed", "KillMode=process");
        assert_eq!(
            differences(&changed, &[], &[]),
            [
                "missing: Service KillMode=mixed",
                "not expected: Service KillMode=process"
            ]
        );
        let more = format!("{GOLDEN}\n[Service]\nExecStartPre=/bin/sh -c true\n");
        assert_eq!(differences(&more, &[], &[]).len(), 1);
        assert_eq!(differences(GOLDEN, &[], &["Service Gone=1"]).len(), 1);
    }

    #[test]
    fn a_path_that_the_target_has_too_is_seen() {
        let kinder = GOLDEN.replace("PATH=@path@", "PATH=/a/bin:/run/current-system/sw/bin");
        assert_ne!(kinder, GOLDEN);
        assert_eq!(differences(&kinder, &[], &[]).len(), 2);
    }

    #[test]
    fn paths_and_what_nixos_adds_are_set_aside() {
        let unit = "[Service]\nX-RestartIfChanged=false\nEnvironment=\"TZDIR=/x\"\nEnvironment=\"PATH=/a:/b\"\n\
                    ExecStart=/nix/store/x/bin/landfall install --config /etc/landfall/install.json\n";
        let found: Vec<String> = directives(unit).into_iter().collect();
        assert_eq!(
            found,
            [
                "Service Environment=PATH=@path@",
                "Service ExecStart=@landfall@ install --config @config@"
            ]
        );
    }
}
