//! Writes the lines that a flake needs for a new host, for a person to paste or for an insertion.
//!
//! They use the flake's own names, say where they go, and hide nothing that the flake has: lines for the set of the outputs where its form
//! proves that there is room for them, and else lines around all outputs, which fit every flake.
//!
//! `hosts::flake` chooses the place.

use super::{HostFiles, Wanted};
use crate::hosts::names::attribute;
use crate::hosts::place::{Outline, OutputSet};
use crate::hosts::syntax::{self, Bindings};
use rnix::ast::{self, Expr, HasEntry};
use rowan::ast::AstNode;

const HOSTS: &str = "nixosConfigurations";

/// What of a host the lines are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The host and its installer.
    Both,
    /// Its installer.
    Installer,
}

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Into the set of the outputs, where it has room for them.
    Best,
    /// Around all outputs.
    Around,
}

/// What stands where a binding is to go, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// Nothing that is in the way.
    Free,
    /// One binding for the whole output.
    Whole,
    /// Something beside which nothing can be bound.
    None,
}

/// The names that the lines use.
struct Used {
    nixpkgs: String,
    landfall: String,
    this: String,
}

impl Used {
    fn of(outline: Option<&Outline>) -> Used {
        // Of a function that stands in another file nobody knows the arguments.
        let whole = if outline.is_some() { "" } else { "args." };
        let references = outline
            .map(|outline| outline.references.clone())
            .unwrap_or_default();
        let by = |known: Option<String>, plain: &str| known.unwrap_or_else(|| format!("{whole}{plain}"));
        let landfall = by(references.landfall, "landfall");
        // One that has another name in the flake is known as landfall's.
        let has_nixpkgs = outline.is_none_or(|outline| outline.inputs.iter().any(|input| input == "nixpkgs"));
        let is_argument = references
            .nixpkgs
            .as_ref()
            .is_some_and(|known| !known.contains('.'));
        let nixpkgs = match has_nixpkgs || is_argument {
            true => by(references.nixpkgs, "nixpkgs"),
            false => format!("{landfall}.inputs.nixpkgs"),
        };
        Used {
            nixpkgs,
            landfall,
            this: by(references.this, "self"),
        }
    }

    /// Those that the outputs are not given.
    fn missing(&self, outline: Option<&Outline>) -> Vec<&str> {
        let Some(known) = outline.map(|outline| &outline.references) else {
            return vec![];
        };
        let all = [
            (&self.this, &known.this),
            (&self.nixpkgs, &known.nixpkgs),
            (&self.landfall, &known.landfall),
        ];
        let is_missing = |(used, known): &(&String, &Option<String>)| known.is_none() && !used.contains('.');
        all.iter()
            .filter(|pair| is_missing(pair))
            .map(|(used, _)| used.as_str())
            .collect()
    }
}

/// The lines for a person to paste, in the words of the flake, as far as it is understood. `None`: the outputs are no function in the file.
pub(crate) fn lines(wanted: Wanted<'_>, outline: Option<&Outline>, of: Of, fit: Fit) -> String {
    let files = HostFiles::at(format!("hosts/{}/default.nix", wanted.name), wanted.name);
    let used = Used::of(outline);
    let mut system = vec![format!("{}.lib.nixosSystem {{", used.nixpkgs)];
    system.extend(system_lines(&used.landfall, &files));
    system.push("};".to_owned());
    let mut packages = vec![format!("{}.lib.mkInstallerPackages {{", used.landfall)];
    packages.extend(indented(entry(wanted, &used.this, &files)));
    packages.push("};".to_owned());
    let host = Some(system).filter(|_| of == Of::Both);
    let in_a_set = outline
        .filter(|_| fit == Fit::Best)
        .and_then(|outline| in_a_set(wanted, outline, &used, host.as_deref(), &packages));
    let mut lines = in_a_set.unwrap_or_else(|| around(wanted, outline.is_some(), host, packages));
    let missing = used.missing(outline);
    if let (Some(first), false) = (lines.first_mut(), missing.is_empty()) {
        first.push_str(&format!(
            "; add {} to the arguments of outputs",
            missing.join(", ")
        ));
    }
    lines.iter().map(|line| format!("    {line}\n")).collect()
}

/// Lines for the set that is all outputs; `None` where there is none, or where it has no room for them.
fn in_a_set(
    wanted: Wanted<'_>,
    outline: &Outline,
    used: &Used,
    host: Option<&[String]>,
    packages: &[String],
) -> Option<Vec<String>> {
    let ([set], []) = (outline.sets.as_slice(), outline.opaque.as_slice()) else {
        return None;
    };
    let is_shadowed = |name: &String| is_bound_around(set, name.split('.').next().unwrap_or_default());
    if [&used.nixpkgs, &used.landfall, &used.this]
        .into_iter()
        .any(is_shadowed)
    {
        return None;
    }
    let name = attribute(wanted.name);
    // `nix build` looks there, too.
    let output = ["packages", "legacyPackages"]
        .into_iter()
        .find(|output| room(set, output, wanted.system) == Room::Free)?;
    let path = |output: &str| set.path(&[output]).join(".");
    let bound = |path: &str, value: &[String]| {
        let mut lines = vec![format!("{path} = {}", value.first().cloned().unwrap_or_default())];
        lines.extend(value.iter().skip(1).cloned());
        lines
    };
    let hosts = path(HOSTS);
    let is_parts = !set.prefix.is_empty();
    let (mut lines, where_to) = match (host, room(set, HOSTS, wanted.name)) {
        (Some(_), Room::None) => return None,
        (Some(host), Room::Whole) => {
            let mut lines = vec![format!(
                "{hosts} = ( … ) // {{    # … is the present value of {HOSTS}; these lines come into its place"
            )];
            lines.extend(indented(bound(&name, host)));
            lines.push("};".to_owned());
            (lines, "these go beside those")
        }
        (host, _) => {
            let lines = host.map(|host| bound(&format!("{hosts}.{name}"), host));
            let where_to = match is_parts {
                true => "these lines go into the module that mkFlake is given",
                false => "these lines go into the set of the outputs",
            };
            (lines.unwrap_or_default(), where_to)
        }
    };
    let mut of_installer = bound(&format!("{}.{}", path(output), wanted.system), packages);
    let is_first = lines.first().is_none_or(|first| first.contains('#'));
    let first = if is_first {
        of_installer.first_mut()
    } else {
        lines.first_mut()
    };
    if let Some(first) = first {
        first.push_str(&format!("    # {where_to}"));
    }
    lines.extend(of_installer);
    Some(lines)
}

/// Lines around whatever the outputs are.
fn around(
    wanted: Wanted<'_>,
    is_function: bool,
    host: Option<Vec<String>>,
    packages: Vec<String>,
) -> Vec<String> {
    let (name, system) = (attribute(wanted.name), wanted.system);
    let mut lines = vec![match is_function {
        true => "let outputs = ( … ); in outputs // {    # … is what the outputs are now, behind their arguments; these lines come into its place",
        false => "outputs = args: let outputs = ( … ) args; in outputs // {    # … is the present value of outputs; these lines come into its place",
    }
    .to_owned()];
    let mut output = |output: &str, path: &str, value: Vec<String>| {
        lines.push(format!("  {output} = (outputs.{output} or {{ }}) // {{"));
        let mut value = value.into_iter();
        lines.push(format!("    {path} = {}", value.next().unwrap_or_default()));
        lines.extend(indented(indented(value.collect())));
        lines.push("  };".to_owned());
    };
    if let Some(host) = host {
        output(HOSTS, &name, host);
    }
    // Beside those of this system that the flake has.
    let packages = packages.into_iter().enumerate().map(|(n, line)| match n {
        0 => format!("(outputs.packages.{system} or {{ }}) // {line}"),
        _ => line,
    });
    output("packages", system, packages.collect());
    lines.push(if is_function { "}" } else { "};" }.to_owned());
    lines
}

/// Whether a `let`, or a set that is `rec`, around an output or of outputs gives a name another meaning than the arguments of the outputs.
fn is_bound_around(set: &OutputSet, name: &str) -> bool {
    set.set.syntax().ancestors().any(|node| {
        let bindings = match ast::LetIn::cast(node.clone()) {
            Some(found) => Bindings::Let(found),
            None => match ast::AttrSet::cast(node) {
                Some(found) if found.rec_token().is_some() => Bindings::Set(found),
                _ => return false,
            },
        };
        let begins = |entry: &ast::AttrpathValue| {
            let first = entry.attrpath().and_then(|path| path.attrs().next());
            first.and_then(|first| syntax::name(&first)).as_deref() == Some(name)
        };
        bindings.values().iter().any(begins) || bindings.inherited(name).is_some()
    })
}

/// Whether something of an output can be bound in a set of outputs.
fn room(set: &OutputSet, output: &str, below: &str) -> Room {
    room_in(&set.set, &set.path(&[output, below]), output)
}

/// The same in a set that stands on the way there. What computes its name may have any, but of hosts Nix has said that it is another.
fn room_in(set: &ast::AttrSet, wanted: &[String], output: &str) -> Room {
    let is_wanted = |attr: ast::Attr| syntax::name(&attr).as_ref() == wanted.first();
    if set.inherits().any(|inherit| inherit.attrs().any(is_wanted)) {
        return Room::None;
    }
    let mut found = Room::Free;
    for entry in set.attrpath_values() {
        let attrs = entry.attrpath().into_iter().flat_map(|path| path.attrs());
        let names: Vec<Option<String>> = attrs.map(|attr| syntax::name(&attr)).collect();
        let is_other = |(n, (name, wanted_name)): (usize, (&Option<String>, &String))| match name {
            Some(name) => name != wanted_name,
            None => output == HOSTS && n + 1 == wanted.len(),
        };
        if names.iter().zip(wanted).enumerate().any(is_other) {
            continue;
        }
        let is_written = names.iter().all(Option::is_some);
        let rest = wanted.get(names.len()..).unwrap_or_default();
        found = found.max(match (rest, entry.value()) {
            ([], _) => Room::None,
            // Nix joins a set that is written there with what stands beside it.
            (_, Some(Expr::AttrSet(inner))) if is_written && inner.rec_token().is_none() => {
                room_in(&inner, rest, output)
            }
            ([_], _) if is_written => Room::Whole,
            _ => Room::None,
        });
    }
    found
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
