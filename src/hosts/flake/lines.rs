//! Writes the lines that a flake needs for a new host, for a person to paste or for an insertion.
//!
//! They use the flake's own names, and hide nothing that the flake has.
//!
//! `hosts::flake` chooses the place.

use super::{HostFiles, Wanted};
use crate::hosts::names::attribute;
use crate::hosts::place::Outline;
use rnix::ast;

/// The lines for a person to paste, in the words of the flake, as far as it is understood. What stands for an output already cannot be
/// bound beside that.
pub(crate) fn lines(wanted: Wanted<'_>, outline: Option<&Outline>) -> String {
    let files = HostFiles::at(format!("hosts/{}/default.nix", wanted.name), wanted.name);
    let name = attribute(wanted.name);
    let references = outline.map(|outline| &outline.references);
    let by = |known: Option<&Option<String>>, plain: &str| {
        known
            .and_then(Option::as_ref)
            .map_or(plain.to_owned(), Clone::clone)
    };
    let nixpkgs = by(references.map(|known| &known.nixpkgs), "nixpkgs");
    let landfall = by(references.map(|known| &known.landfall), "landfall");
    let this = by(references.map(|known| &known.this), "self");
    let is_whole = |output: &str| {
        outline.is_some_and(|outline| {
            outline.sets.iter().any(|set| {
                // Nix joins a set that is written there with what stands beside it.
                let is_closed =
                    |entry: &ast::AttrpathValue| !matches!(entry.value(), Some(ast::Expr::AttrSet(_)));
                set.inherits(output)
                    || set
                        .entries(output)
                        .iter()
                        .any(|(rest, entry)| rest.as_ref().is_some_and(Vec::is_empty) && is_closed(entry))
            })
        })
    };
    // Below `flake` in a module of flake-parts.
    let prefix: String = outline
        .and_then(|outline| outline.sets.last())
        .map(|set| set.prefix.iter().map(|part| format!("{part}.")).collect())
        .unwrap_or_default();
    let is_call = outline.is_some_and(|outline| outline.sets.is_empty());
    let mut lines = vec![];
    let mut add = |output: &str, path: &str, body: Vec<String>| {
        let mut all = vec![format!("{path} = {}", body.first().cloned().unwrap_or_default())];
        all.extend(body.into_iter().skip(1));
        if is_call {
            lines.push(format!("  {output} = (outputs.{output} or {{ }}) // {{"));
            lines.extend(indented(indented(all)));
            lines.push("  };".to_owned());
        } else if is_whole(output) {
            lines.push(format!(
                "{prefix}{output} = ( … ) // {{    # … is the present value of {output}"
            ));
            lines.extend(indented(all));
            lines.push("};".to_owned());
        } else {
            let first = all.remove(0);
            lines.push(format!("{prefix}{output}.{first}"));
            lines.extend(all);
        }
    };
    let mut system = vec![format!("{nixpkgs}.lib.nixosSystem {{")];
    system.extend(system_lines(&landfall, &files));
    system.push("};".to_owned());
    add("nixosConfigurations", &name, system);
    // Beside those of this system that a call gives.
    let others = match is_call {
        true => format!("(outputs.packages.{} or {{ }}) // ", wanted.system),
        false => String::new(),
    };
    let mut packages = vec![format!("{others}{landfall}.lib.mkInstallerPackages {{")];
    packages.extend(indented(entry(wanted, &this, &files)));
    packages.push("};".to_owned());
    // Beside `packages`, which may have others of this system: `nix build` looks there, too.
    let output = if is_whole("packages") {
        "legacyPackages"
    } else {
        "packages"
    };
    add(output, wanted.system, packages);
    if is_call {
        lines.insert(0, "let outputs = ( … ); in outputs // {    # … is what the outputs are now; these lines come into its place".to_owned());
        lines.push("}".to_owned());
    }
    lines.iter().map(|line| format!("    {line}\n")).collect()
}

pub(super) fn indented(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

pub(super) fn system_lines(landfall: &str, files: &HostFiles) -> Vec<String> {
    vec![
        "  modules = [".to_owned(),
        format!("    {landfall}.nixosModules.target"),
        format!("    {}", HostFiles::named(&files.main)),
        "  ];".to_owned(),
    ]
}

/// The installer's binding.
pub(super) fn entry(wanted: Wanted<'_>, this: &str, files: &HostFiles) -> Vec<String> {
    let name = attribute(wanted.name);
    let mut lines = vec![
        format!("{name} = {{"),
        format!("  target = {this}.nixosConfigurations.{name};"),
    ];
    let installer = HostFiles::named(&files.installer);
    if wanted.prebuilt {
        lines.push("  modules = [".to_owned());
        lines.push(format!("    {installer}"));
        lines.push(format!("    {{ autoInstaller.repoSource = {this}; }}"));
        lines.push("  ];".to_owned());
    } else {
        lines.push(format!("  modules = [ {installer} ];"));
    }
    lines.push("};".to_owned());
    lines
}

/// The lines of a binding whose value is text that may have several.
pub(super) fn value_lines(path: &str, value: &str) -> Vec<String> {
    let whole = format!("{path} = {value};");
    let lines: Vec<&str> = whole
        .split('\n')
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    // The neighbour's own indentation goes: the last line closes what the first one opened.
    let own = match lines.as_slice() {
        [_, .., last] => last.len() - last.trim_start_matches([' ', '\t']).len(),
        _ => 0,
    };
    let cut = |(n, line): (usize, &&str)| match n {
        0 => (*line).to_owned(),
        _ => {
            let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
            line.get(own.min(blank)..).unwrap_or_default().to_owned()
        }
    };
    lines.iter().enumerate().map(cut).collect()
}
