//! Planted bugs are no part of what is shipped.

use crate::{assert_tidy, code, files, root, rust};
use std::process::Command;

/// Who may turn the feature on: the project's own tests.
fn turned_on(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let declared = section == "[features]" && line == "planted = []";
        let for_tests =
            name == "Cargo.toml" && section == "[dev-dependencies]" && line.starts_with("landfall = ");
        if line.split('#').next().unwrap_or("").contains("planted") && !(declared || for_tests) {
            complaints.push(format!("{section} {line}: turns on what is for tests only"));
        }
    }
    complaints
}

/// Bugs are named where the feature is asked for, and nowhere else.
fn named(name: &str, text: &str) -> Vec<String> {
    // The files of the feature itself, which are compiled with it only.
    if ["src/sim/inject/planted.rs", "src/sim/check/planted.rs"].contains(&name)
        || name.ends_with("_tests.rs")
    {
        return vec![];
    }
    let code = code(text.split("#[cfg(test)]\nmod").next().unwrap_or(""));
    let mut complaints = Vec::new();
    let mut asked = false;
    for line in code.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        // What the attribute is on: this line, or the item that it begins.
        if line.contains("Bug::") && !asked {
            complaints.push(format!("{}: a bug is planted by planted!(…)", line.trim()));
        }
        if line.contains("feature = \"planted\"") {
            asked = true;
        } else if asked && depth <= 4 {
            asked = line.trim_end().ends_with('{');
        }
    }
    complaints
}

#[test]
fn nothing_turns_planted_bugs_on_but_tests() {
    let manifests = files(
        &["Cargo.toml", "states", "tests/lab", "fuzz", "nix", "flake.nix"],
        &["toml", "nix"],
    );
    assert!(manifests.iter().any(|(name, _)| name == "fuzz/Cargo.toml"));
    assert_tidy(&manifests, turned_on);
    assert_tidy(&rust(&["src"]), named);
    for bad in [
        "[features]\ndefault = [\"planted\"]",
        "[dependencies]\nlandfall = { path = \"..\", features = [\"planted\"] }",
        "buildFeatures = [ \"planted\" ];",
    ] {
        assert_eq!(turned_on("fuzz/Cargo.toml", bad).len(), 1, "{bad}");
    }
    assert_eq!(
        named(
            "src/sim/a.rs",
            "fn f() {\n    if self.has(Bug::AnyFirmware) {}\n}"
        )
        .len(),
        1
    );
    let asked = "#[cfg(feature = \"planted\")]\nfn f() {\n    self.has(Bug::AnyFirmware)\n}\nfn g() {}";
    assert_eq!(named("src/sim/a.rs", asked), Vec::<String>::new());
}

/// The features of landfall as cargo resolves them for these kinds of dependencies.
fn features(edges: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--package",
            "landfall",
            "--depth",
            "0",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p} [{f}]", "--edges", edges])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn the_shipped_binary_has_no_planted_bugs() {
    let shipped = features("normal,build");
    assert!(
        shipped.starts_with("landfall ") && !shipped.contains("planted"),
        "{shipped}"
    );
    // The control.
    let tested = features("normal,build,dev");
    assert!(tested.contains("planted"), "{tested}");
}
