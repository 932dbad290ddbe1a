//! Finds the text to insert into flake.nix for a new host.
//!
//! Every candidate is an insertion at a place that was recognised (`place`). A candidate that its form alone does not prove needs an
//! evaluation.
//!
//! `evaluate` evaluates, and `new` chooses the candidate.

mod installers;
mod neighbour;

use super::names::attribute;
use super::place::{self, Outline, Place};
use super::syntax::{self, Bindings, Insertion, names};
use installers::names_output;
use neighbour::{has_long_string, of_system, own_values, renamed, systems};
use rnix::SyntaxNode;
use rnix::ast;
use rowan::ast::AstNode;
use std::cell::RefCell;

/// Stands for a host's name in the text of its neighbours.
const NAME: &str = "\u{1}";

/// What is in the repository, by paths below its root.
pub(crate) trait Tree {
    /// Whether something has this name.
    fn has(&self, path: &str) -> bool;
    /// What a file says.
    fn text(&self, path: &str) -> Option<String>;
    /// The names in a folder.
    fn list(&self, path: &str) -> Vec<String>;
}

/// Where the files of the host are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFiles {
    pub(crate) main: String,
    pub(crate) installer: String,
}

impl HostFiles {
    fn at(main: String, name: &str) -> HostFiles {
        let folder = match main.rsplit_once('/') {
            // `hosts/web.nix` has `hosts/web/` beside it.
            Some((folder, file)) if file == format!("{name}.nix") => format!("{folder}/{name}"),
            Some((folder, _)) => folder.to_owned(),
            None => name.to_owned(),
        };
        HostFiles {
            main,
            installer: format!("{folder}/installer.nix"),
        }
    }

    /// As a path in flake.nix.
    fn named(path: &str) -> String {
        let path = path.strip_suffix("/default.nix").unwrap_or(path);
        format!("./{path}")
    }
}

/// One way to write the host into the flake.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) insertions: Vec<Insertion>,
    pub(crate) files: HostFiles,
    /// The host is given landfall's target module there.
    pub(crate) has_target_module: bool,
    /// Certain without an evaluation.
    pub(crate) is_sure: bool,
    /// The host's modules have agenix's, as far as the text shows.
    pub(crate) names_agenix: bool,
    /// The host is there as soon as its files are.
    pub(crate) is_by_folder: bool,
    /// The only neighbour, and the names of its own values that the host's lines have, too.
    pub(crate) copied: Option<(String, Vec<String>)>,
    /// Hosts of whose lines the new one has nothing.
    pub(crate) unlike: Vec<String>,
    /// Where the flake has hosts: first where the new one is put, and then where it is not.
    pub(crate) places: Vec<String>,
    /// What the flake has in place of the system that is wanted.
    pub(crate) other_system: Option<OtherSystem>,
}

/// A system that is not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OtherSystem {
    /// The neighbours have it; the host's lines have the wanted one in its place.
    Neighbours(String),
    /// The flake names it, and never the wanted one.
    Flake(String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) system: &'a str,
    pub(crate) prebuilt: bool,
}

/// The two attributes of the host's installer.
pub(crate) fn installer_names(name: &str) -> [String; 2] {
    [format!("{name}InstallerIso"), format!("{name}InstallerNetboot")]
}

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

fn indented(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

fn system_lines(landfall: &str, files: &HostFiles) -> Vec<String> {
    vec![
        "  modules = [".to_owned(),
        format!("    {landfall}.nixosModules.target"),
        format!("    {}", HostFiles::named(&files.main)),
        "  ];".to_owned(),
    ]
}

/// The installer's binding.
fn entry(wanted: Wanted<'_>, this: &str, files: &HostFiles) -> Vec<String> {
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

/// One way to write the host itself.
struct HostEdit {
    insertion: Option<Insertion>,
    files: HostFiles,
    has_target_module: bool,
    is_sure: bool,
    names_agenix: bool,
    copied: Option<(String, Vec<String>)>,
    unlike: Vec<String>,
    places: Vec<String>,
    other_system: Option<OtherSystem>,
}

/// Every way that is recognised, the likeliest first.
///
/// # Errors
/// Why there is none.
pub(crate) fn candidates(
    text: &str,
    outline: &Outline,
    wanted: Wanted<'_>,
    tree: &dyn Tree,
) -> Result<Vec<Candidate>, String> {
    let writer = Writer {
        text,
        outline,
        wanted,
        tree,
        differ: RefCell::default(),
        open: RefCell::default(),
    };
    let mut found = vec![];
    for host in writer.hosts() {
        for installer in writer.installers(&host.files)? {
            found.push(Candidate {
                insertions: [&host.insertion, &installer.insertion]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                files: host.files.clone(),
                has_target_module: host.has_target_module,
                is_sure: host.is_sure && installer.is_sure,
                names_agenix: host.names_agenix,
                is_by_folder: host.insertion.is_none(),
                copied: host.copied.clone(),
                unlike: host.unlike.clone(),
                places: host.places.clone(),
                other_system: host.other_system.clone().or_else(|| writer.other_system()),
            });
        }
    }
    if let Some(places) = writer.open.take() {
        return Err(format!(
            "its hosts stand in several places ({}), and landfall cannot tell to which of them the new host belongs",
            places.join(", ")
        ));
    }
    if let (true, Some([one, other])) = (found.is_empty(), writer.differ.take()) {
        return Err(format!(
            "its hosts are in a table, and {one} and {other} differ in more than their names, so landfall does not know how to write the new entry"
        ));
    }
    if found.is_empty() {
        return Err("its hosts are not in a form that landfall knows (a set, a table or a list in the file, or a directory that it reads)".to_owned());
    }
    Ok(found)
}

struct Writer<'a> {
    text: &'a str,
    outline: &'a Outline,
    wanted: Wanted<'a>,
    tree: &'a dyn Tree,
    /// Neighbours in a table that have no form in common.
    differ: RefCell<Option<[String; 2]>>,
    /// Several places of hosts, of which none is that of a new one.
    open: RefCell<Option<Vec<String>>>,
}

impl Writer<'_> {
    /// A system that the flake names, where it never names the wanted one.
    fn other_system(&self) -> Option<OtherSystem> {
        let named = systems(self.outline.body.syntax());
        if named.iter().any(|system| system == self.wanted.system) {
            return None;
        }
        named.into_iter().next().map(OtherSystem::Flake)
    }

    fn hosts(&self) -> Vec<HostEdit> {
        let mut found = vec![];
        let mut is_somewhere = false;
        for set in &self.outline.sets {
            let entries = set.entries("nixosConfigurations");
            is_somewhere |= !entries.is_empty() || set.inherits("nixosConfigurations");
            let dotted: Vec<SyntaxNode> = entries
                .iter()
                .filter(|(rest, _)| rest.as_ref().is_none_or(|rest| !rest.is_empty()))
                .map(|(_, entry)| entry.syntax().clone())
                .collect();
            if let Some(last) = dotted.last() {
                let place = Place::Set {
                    bindings: set.bindings(),
                    prefix: set.path(&["nixosConfigurations"]),
                    is_table: false,
                    is_sure: true,
                };
                found.extend(self.at(&place, Some(last)));
            }
            let whole = entries
                .iter()
                .find(|(rest, _)| rest.as_ref().is_some_and(Vec::is_empty))
                .and_then(|(_, entry)| entry.value())
                .or_else(|| {
                    set.inherits("nixosConfigurations")
                        .then(|| syntax::looked_up(set.set.syntax(), "nixosConfigurations"))?
                });
            match whole.as_ref().and_then(place::places) {
                Some(places) if places.is_open => *self.open.borrow_mut() = Some(places.called()),
                Some(places) => found.extend(self.at(&places.place, None).into_iter().map(|mut edit| {
                    edit.places = places.called();
                    edit
                })),
                None => {}
            }
        }
        for folder in place::folders_read(self.outline) {
            // Nothing but an evaluation can say that hosts are read there.
            found.extend(self.in_folder(&folder, false));
        }
        if !is_somewhere {
            found.extend(self.known_folders());
            if let Some(set) = self.outline.sets.last() {
                let place = Place::Set {
                    bindings: set.bindings(),
                    prefix: set.path(&["nixosConfigurations"]),
                    is_table: false,
                    // A function beside it could give hosts, too, which the set would hide.
                    is_sure: self
                        .outline
                        .opaque
                        .iter()
                        .all(|part| !names_output(part, "nixosConfigurations")),
                };
                found.extend(self.at(&place, None));
            }
        }
        found
    }

    fn at(&self, place: &Place, after: Option<&SyntaxNode>) -> Vec<HostEdit> {
        match place {
            Place::Folder { path, is_sure } => self.in_folder(path, *is_sure),
            Place::Names { list, is_sure } => {
                let item = super::names::quoted(self.wanted.name);
                let files = self.files_by_name();
                let is_sure = *is_sure && files.is_some();
                let insertion = syntax::append(self.text, list, &item, None);
                let files = files.unwrap_or_else(|| self.default_files());
                insertion
                    .map(|insertion| self.edit(Some(insertion), files, is_sure))
                    .into_iter()
                    .collect()
            }
            Place::Set {
                bindings,
                prefix,
                is_table,
                is_sure,
            } => {
                let mut found = vec![];
                if let Some(neighbours) = self.as_its_neighbours(bindings, prefix) {
                    let Neighbours {
                        value,
                        files,
                        copied,
                        other_system,
                    } = neighbours;
                    let has_target_module = value.contains("nixosModules.target");
                    let lines = value_lines(&self.path(prefix), &value);
                    if let Some(insertion) = bindings.bind(self.text, &lines, after) {
                        let mut edit = self.edit(Some(insertion), files, *is_sure);
                        edit.has_target_module |= has_target_module;
                        edit.names_agenix |= value.contains("agenix");
                        edit.copied = copied;
                        edit.other_system = other_system;
                        found.push(edit);
                    }
                }
                if !is_table {
                    found.extend(self.own_system(bindings, prefix, after, *is_sure));
                }
                found
            }
        }
    }

    fn edit(&self, insertion: Option<Insertion>, files: HostFiles, is_sure: bool) -> HostEdit {
        // What every host is made with stands in a function of the flake.
        let by_function =
            self.text.contains("nixosModules.target") && !self.text.contains("nixosConfigurations.");
        HostEdit {
            insertion,
            files,
            has_target_module: by_function && self.text.matches("nixosModules.target").count() == 1,
            is_sure,
            names_agenix: self.text.contains("agenix.nixosModules"),
            copied: None,
            unlike: vec![],
            places: vec![],
            other_system: None,
        }
    }

    fn path(&self, prefix: &[String]) -> String {
        let name = self.wanted.name.to_owned();
        let path: Vec<String> = prefix.iter().chain([&name]).map(|part| attribute(part)).collect();
        path.join(".")
    }

    /// A system of landfall's own making.
    fn own_system(
        &self,
        bindings: &Bindings,
        prefix: &[String],
        after: Option<&SyntaxNode>,
        is_sure: bool,
    ) -> Option<HostEdit> {
        let references = &self.outline.references;
        let (nixpkgs, landfall) = (references.nixpkgs.as_ref()?, references.landfall.as_ref()?);
        let files = self.default_files();
        let mut lines = vec![format!("{} = {nixpkgs}.lib.nixosSystem {{", self.path(prefix))];
        lines.extend(system_lines(landfall, &files));
        lines.push("};".to_owned());
        Some(HostEdit {
            insertion: Some(bindings.bind(self.text, &lines, after)?),
            files,
            has_target_module: true,
            is_sure,
            names_agenix: false,
            copied: None,
            unlike: hosts_below(bindings, prefix),
            places: vec![],
            other_system: None,
        })
    }

    fn default_files(&self) -> HostFiles {
        let name = self.wanted.name;
        HostFiles::at(format!("hosts/{name}/default.nix"), name)
    }

    fn files_by_name(&self) -> Option<HostFiles> {
        let name = self.wanted.name;
        let (before, behind) = place::paths_by_name(self.outline).into_iter().next()?;
        let main = if behind.is_empty() {
            "/default.nix"
        } else {
            &behind
        };
        Some(HostFiles::at(format!("{before}{name}{main}"), name))
    }

    /// The value that all neighbours have but for their names, and the host's files that follow from it.
    fn as_its_neighbours(&self, bindings: &Bindings, prefix: &[String]) -> Option<Neighbours> {
        let mut values = vec![];
        for entry in bindings.values() {
            let path = names(&entry.attrpath()?)?;
            let Some(rest) = path.strip_prefix(prefix) else {
                continue;
            };
            let [host] = rest else {
                // `web.modules = …`: values in parts are not copied.
                return None;
            };
            let value = entry.value()?;
            // Its lines would not keep their indentation.
            if has_long_string(value.syntax()) {
                return None;
            }
            values.push((host.clone(), value));
        }
        let is_alone = values.len() == 1;
        let mut common: Option<String> = None;
        for (host, value) in &values {
            // Where a second host has it, too, a path with the name in it is the host's.
            let text = renamed(value.syntax(), host, &|path| {
                !is_alone || self.is_of_host(path, host)
            });
            match &common {
                Some(known) if *known != text => {
                    let first = values.first().map(|(first, _)| first.clone()).unwrap_or_default();
                    *self.differ.borrow_mut() = Some([first, host.clone()]);
                    return None;
                }
                _ => common = Some(text),
            }
        }
        let (common, other) = of_system(&common?, self.wanted.system);
        let mut of_host = vec![];
        let parsed = syntax::parse(&common.replace(NAME, self.wanted.name)).ok()?;
        for path in parsed.syntax().descendants().filter_map(ast::Path::cast) {
            let path = path.syntax().text().to_string();
            let Some(path) = path.strip_prefix("./").filter(|path| !path.contains("${")) else {
                continue;
            };
            let is_named = common.contains(NAME) && common.contains(&path.replace(self.wanted.name, NAME));
            if is_named && path.contains(self.wanted.name) && !path.ends_with("installer.nix") {
                of_host.push(path.to_owned());
            } else if !self.tree.has(path) {
                return None;
            }
        }
        let name = self.wanted.name;
        let files = match of_host.as_slice() {
            [] => self.files_by_name()?,
            [one] if one.ends_with(".nix") => HostFiles::at(one.clone(), name),
            [one] => HostFiles::at(format!("{}/default.nix", one.trim_end_matches('/')), name),
            _ => return None,
        };
        let copied = match values.as_slice() {
            [(one, _)] => {
                Some((one.clone(), own_values(&common, one))).filter(|(_, names)| !names.is_empty())
            }
            _ => None,
        };
        Some(Neighbours {
            value: common.replace(NAME, name),
            files,
            copied,
            other_system: other.map(OtherSystem::Neighbours),
        })
    }

    /// Whether a path with a host's name in it is the host's, and not one of a module that is called like it.
    fn is_of_host(&self, path: &str, host: &str) -> bool {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        if path.split('/').rev().skip(1).any(|part| OF_HOSTS.contains(&part)) {
            return true;
        }
        let names_it = |file: String| {
            let text = self.tree.text(&file).unwrap_or_default();
            text.contains("hostName") && text.contains(&format!("\"{host}\""))
        };
        let is_file = path.ends_with(".nix");
        let has = |file: &str| self.tree.has(&format!("{path}/{file}"));
        match is_file {
            true => names_it(path.to_owned()),
            false => {
                has("installer.nix")
                    || has("hardware-configuration.nix")
                    || ["default.nix", "configuration.nix"]
                        .iter()
                        .any(|file| names_it(format!("{path}/{file}")))
            }
        }
    }

    /// A host that is there as soon as its files are.
    fn in_folder(&self, folder: &str, is_sure: bool) -> Vec<HostEdit> {
        let name = self.wanted.name;
        let there = self.tree.list(folder);
        let forms = [
            ("/default.nix", format!("{folder}/{name}/default.nix")),
            ("/configuration.nix", format!("{folder}/{name}/configuration.nix")),
            (".nix", format!("{folder}/{name}.nix")),
        ];
        let used = |form: &str| match form {
            ".nix" => there
                .iter()
                .filter(|entry| entry.ends_with(".nix") && *entry != "default.nix")
                .count(),
            _ => there
                .iter()
                .filter(|entry| self.tree.has(&format!("{folder}/{entry}{form}")))
                .count(),
        };
        let mut counted: Vec<(usize, String)> = forms
            .iter()
            .map(|(form, main)| (used(form), main.clone()))
            .collect();
        counted.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        counted
            .into_iter()
            .enumerate()
            .filter(|(n, (count, _))| *n == 0 || *count > 0)
            .map(|(_, (_, main))| self.edit(None, HostFiles::at(main, name), is_sure))
            .collect()
    }

    /// The folders of libraries that make hosts of folders.
    fn known_folders(&self) -> Vec<HostEdit> {
        let name = self.wanted.name;
        let has = |input: &str| self.outline.inputs.iter().any(|found| found == input);
        let mut found = vec![];
        if has("blueprint") {
            found.push(format!("hosts/{name}/configuration.nix"));
        }
        if has("snowfall-lib") || has("snowfall") {
            found.push(format!("systems/{}/{name}/default.nix", self.wanted.system));
        }
        found
            .into_iter()
            .map(|main| self.edit(None, HostFiles::at(main, name), true))
            .collect()
    }
}

/// Folders that have a folder or a file for each host.
const OF_HOSTS: [&str; 12] = [
    "hosts",
    "host",
    "machines",
    "machine",
    "systems",
    "nodes",
    "servers",
    "clients",
    "laptops",
    "desktops",
    "computers",
    "nixos-configurations",
];

/// The names of the hosts in a set.
fn hosts_below(bindings: &Bindings, prefix: &[String]) -> Vec<String> {
    let mut found = vec![];
    for entry in bindings.values() {
        let path = entry.attrpath().and_then(|path| names(&path)).unwrap_or_default();
        let host = path.strip_prefix(prefix).and_then(<[String]>::first);
        found.extend(host.filter(|host| !found.contains(*host)).cloned());
    }
    found
}

/// What a host is made with as its neighbours are.
struct Neighbours {
    value: String,
    files: HostFiles,
    copied: Option<(String, Vec<String>)>,
    other_system: Option<OtherSystem>,
}

/// The lines of a binding whose value is text that may have several.
fn value_lines(path: &str, value: &str) -> Vec<String> {
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
