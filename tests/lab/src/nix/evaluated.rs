//! Tier 1: what the Nix files mean, with a nixpkgs tree.
//!
//! One evaluation runs at a time, because an image takes gigabytes. Nothing is imported from a derivation, nothing is built,
//! and the store is not written to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Report, unit};
use crate::command::{self, Output, Program};

/// The longest evaluation of an image.
const EVALUATION_MAX: Duration = Duration::from_secs(1_200);
/// systemd from which on units know `ImportCredential=`.
const SYSTEMD_MIN: u32 = 254;

/// Image, kind, and what is changed about it.
const IMAGES: [(&str, &str, &str); 8] = [
    ("plain", "iso", "default"),
    ("swap", "iso", "default"),
    ("luks-prebuilt", "iso", "default"),
    ("flake-ssh", "iso", "default"),
    ("plain", "netboot", "default"),
    ("luks-prebuilt", "netboot", "default"),
    ("luks-prebuilt", "iso", "scripted-stage-1"),
    ("plain", "iso", "external-pkgs"),
];

/// A failed case of `lib.runTests`.
#[derive(Debug, Deserialize)]
struct Failure {
    name: String,
    expected: serde_json::Value,
    result: serde_json::Value,
}

impl Failure {
    fn sentence(&self) -> String {
        let Failure {
            name,
            expected,
            result,
        } = self;
        format!("{name}: expected {expected}, found {result}")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    failures: Vec<Failure>,
    image_drv: String,
    inner_drv: String,
    unit: String,
    prebuilt: bool,
    serial: bool,
}

#[derive(Debug, Deserialize)]
struct Flakes {
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    drv_path: String,
    script: String,
}

/// Evaluation with one tree.
struct Evaluation<'t> {
    workspace: &'t Path,
    nixpkgs: &'t Path,
}

impl Evaluation<'_> {
    /// One attribute of a file.
    fn output(&self, file: &str, attribute: Option<&str>, arguments: &[(&str, &str)]) -> Result<Output> {
        let mut program = Program::new("nix-instantiate")
            .args(["--eval", "--strict", "--json"])
            .args(["--option", "allow-import-from-derivation", "false"])
            .arg(self.workspace.join(file))
            .args(["--arg", "nixpkgs"])
            .arg(self.nixpkgs)
            .timeout(EVALUATION_MAX);
        if let Some(attribute) = attribute {
            program = program.args(["--attr", attribute]);
        }
        for (name, value) in arguments {
            program = program.args(["--argstr", name, value]);
        }
        program.output()
    }

    /// The same, as a value; or what Nix complained of.
    fn value<T: DeserializeOwned>(
        &self,
        file: &str,
        attribute: Option<&str>,
        arguments: &[(&str, &str)],
    ) -> Result<Result<T, Vec<String>>> {
        let output = self.output(file, attribute, arguments)?;
        if output.status != 0 {
            return Ok(Err(output.error_text().lines().map(str::to_owned).collect()));
        }
        let value = serde_json::from_slice(&output.stdout).with_context(|| format!("what {file} gave"))?;
        Ok(Ok(value))
    }
}

/// Every check.
pub fn check(workspace: &Path, nixpkgs: &Path, images: bool, report: &mut Report) -> Result<()> {
    let nixpkgs = &fs::canonicalize(nixpkgs)?;
    let evaluation = Evaluation { workspace, nixpkgs };
    const LIB_ONLY: &str = "nix/tests/eval/lib-only.nix";
    report.check("tier 1: cases with lib alone", || {
        let count: usize = match evaluation.value(LIB_ONLY, Some("count"), &[])? {
            Ok(count) => count,
            Err(complaints) => return Ok(complaints),
        };
        if count < 100 {
            bail!("only {count} cases");
        }
        let failures: Result<Vec<Failure>, _> = evaluation.value(LIB_ONLY, Some("failures"), &[])?;
        Ok(failures.map_or_else(
            |complaints| complaints,
            |failures| failures.iter().map(Failure::sentence).collect(),
        ))
    })?;
    report.check("tier 1: every refusal names option, value and rule", || {
        refusals(&evaluation, LIB_ONLY)
    })?;
    report.check("tier 1: a host's binary caches are its installer's", || {
        let failures: Result<Vec<Failure>, _> =
            evaluation.value("nix/tests/eval/taken-caches.nix", Some("failures"), &[])?;
        Ok(failures.map_or_else(
            |complaints| complaints,
            |failures| failures.iter().map(Failure::sentence).collect(),
        ))
    })?;
    report.check(
        "tier 1: docs/reference/options.md is what the options say",
        || documented(&evaluation, workspace),
    )?;
    if !images {
        println!("images and machines: skipped: --no-images");
        return Ok(());
    }
    let mut shipped = None;
    for (example, image, variant) in IMAGES {
        let name = format!("tier 1: {image} of {example}, {variant}");
        report.check(&name, || {
            let arguments = [("example", example), ("image", image), ("variant", variant)];
            let found: Result<Image, _> = evaluation.value("nix/tests/eval/image.nix", None, &arguments)?;
            let found = match found {
                Ok(found) => found,
                Err(complaints) => return Ok(complaints),
            };
            println!("      {}\n      {}", found.image_drv, found.inner_drv);
            let complaints = complaints_of(&found);
            shipped.get_or_insert(found.unit);
            Ok(complaints)
        })?;
    }
    report.check("tier 1: the flake, and the template's", || {
        let found: Result<Flakes, _> = evaluation.value("nix/tests/eval/flakes.nix", None, &[])?;
        Ok(found.map_or_else(
            |complaints| complaints,
            |Flakes { failures }| failures.iter().map(Failure::sentence).collect(),
        ))
    })?;
    machines(&evaluation, report)?;
    match (verifier()?, shipped) {
        (Err(why), _) => println!("tier 1: the unit by systemd-analyze: skipped: {why}"),
        (Ok(()), None) => println!("tier 1: the unit by systemd-analyze: skipped: no image was evaluated"),
        (Ok(()), Some(unit)) => report.check("tier 1: the unit by systemd-analyze", || {
            verified(workspace, &unit)
        })?,
    }
    Ok(())
}

/// Whether the page of the options is what they say.
fn documented(evaluation: &Evaluation<'_>, workspace: &Path) -> Result<Vec<String>> {
    let text: Result<String, _> = evaluation.value("nix/docs.nix", None, &[])?;
    let text = match text {
        Ok(text) => text,
        Err(complaints) => return Ok(complaints),
    };
    let file = workspace.join("docs/reference/options.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &text)?;
    }
    Ok(if fs::read_to_string(&file)? == text {
        vec![]
    } else {
        vec!["it differs; UPDATE_EXPECT=1 cargo lab nix --nixpkgs PATH writes it anew".to_owned()]
    })
}

/// What is wrong about an image.
fn complaints_of(image: &Image) -> Vec<String> {
    let Image {
        failures,
        image_drv,
        inner_drv,
        unit,
        prebuilt,
        serial,
    } = image;
    let mut complaints: Vec<String> = failures.iter().map(Failure::sentence).collect();
    for drv in [image_drv, inner_drv] {
        if !drv.ends_with(".drv") {
            complaints.push(format!("{drv} is no derivation"));
        }
    }
    let mut with = vec!["Unit OnFailure=landfall-help.service"];
    let mut without = vec![];
    if *prebuilt {
        with.push("Unit After=systemd-user-sessions.service");
        without.extend([
            "Unit After=network-online.target systemd-user-sessions.service",
            "Unit Wants=network-online.target",
        ]);
    }
    if !*serial {
        with.push("Service StandardOutput=journal");
        without.push("Service StandardOutput=journal+console");
    }
    complaints.extend(unit::differences(unit, &with, &without));
    complaints
}

/// Every value that a type refuses is put in; what Nix then says is read.
fn refusals(evaluation: &Evaluation, file: &str) -> Result<Vec<String>> {
    let cases: BTreeMap<String, Vec<String>> = match evaluation.value(file, Some("refusals"), &[])? {
        Ok(cases) => cases,
        Err(complaints) => return Ok(complaints),
    };
    if cases.len() < 40 {
        bail!("only {} values", cases.len());
    }
    let mut complaints = Vec::new();
    for (name, says) in &cases {
        let output = evaluation.output(file, Some(&format!("provoke.\"{name}\"")), &[])?;
        if output.status == 0 {
            complaints.push(format!("{name}: taken"));
            continue;
        }
        // Nix escapes what it prints of a value.
        let said = output.error_text().replace("\\\"", "\"");
        complaints.extend(
            says.iter()
                .filter(|part| !said.contains(part.as_str()))
                .map(|part| format!("{name}: the message does not say {part:?}: {}", last_error(&said))),
        );
    }
    Ok(complaints)
}

/// The error itself, without the trace before it.
fn last_error(text: &str) -> &str {
    text.rfind("error: ").map_or(text, |at| &text[at..])
}

/// The NixOS machines' tests: derivations, and scripts that Python can read.
fn machines(evaluation: &Evaluation, report: &mut Report) -> Result<()> {
    const FILE: &str = "nix/tests/vm/default.nix";
    let names: Vec<String> = match evaluation.value(FILE, Some("names"), &[])? {
        Ok(names) => names,
        Err(complaints) => return report.check("tier 1: NixOS machines", || Ok(complaints)),
    };
    for name in names {
        report.check(&format!("tier 1: NixOS machines of {name}"), || {
            let found: Result<Machine, _> =
                evaluation.value(FILE, Some(&format!("evaluated.{name}")), &[])?;
            match found {
                Ok(Machine { drv_path, script }) => {
                    println!("      {drv_path}");
                    linted(&script)
                }
                Err(complaints) => Ok(complaints),
            }
        })?;
    }
    Ok(())
}

/// Python's own compiler on a test script.
fn linted(script: &str) -> Result<Vec<String>> {
    let folder = std::env::temp_dir().join(format!("landfall-script-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let file = folder.join("script.py");
    fs::write(&file, script)?;
    let output = Program::new("python3")
        .args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"])
        .arg(&file)
        .output();
    fs::remove_dir_all(&folder)?;
    let output = output?;
    Ok(if output.status == 0 {
        vec![]
    } else {
        vec![output.error_text()]
    })
}

/// Whether this machine's systemd can judge the unit.
fn verifier() -> Result<std::result::Result<(), String>> {
    if command::find("systemd-analyze").is_none() {
        return Ok(Err("there is no systemd-analyze here".to_owned()));
    }
    let text = Program::new("systemd-analyze").arg("--version").run()?.text();
    let version = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u32>().ok());
    Ok(match version {
        Some(version) if version >= SYSTEMD_MIN => Ok(()),
        Some(version) => Err(format!(
            "systemd {version} does not know ImportCredential=, systemd {SYSTEMD_MIN} does"
        )),
        None => Err(format!("{text:?} has no version")),
    })
}

/// The unit by `systemd-analyze verify`, and its exposure printed. What it starts does not exist here, so a program that
/// does takes its place.
fn verified(workspace: &Path, unit: &str) -> Result<Vec<String>> {
    let folder = std::env::temp_dir().join(format!("landfall-unit-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let here: String = unit
        .lines()
        .filter(|line| !line.starts_with("OnFailure="))
        .map(|line| match line.strip_prefix("ExecStart=") {
            Some(command) => match command.split_once(' ') {
                Some((_, rest)) => format!("ExecStart=/bin/true {rest}\n"),
                None => "ExecStart=/bin/true\n".to_owned(),
            },
            None => format!("{line}\n"),
        })
        .collect();
    let file = folder.join("landfall-verified.service");
    fs::write(&file, here)?;
    let verify = Program::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&file)
        .directory(workspace)
        .output();
    let exposure = Program::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&file)
        .output();
    fs::remove_dir_all(&folder)?;
    let verify = verify?;
    if let Some(line) = exposure?
        .text()
        .lines()
        .rev()
        .find(|line| line.contains("Overall exposure"))
    {
        println!("      {}", line.trim());
    }
    let said = verify.error_text();
    Ok(if verify.status == 0 && said.is_empty() {
        vec![]
    } else {
        vec![format!("status {}: {said}", verify.status)]
    })
}
