//! Finds the text to insert into flake.nix for a new host.
//!
//! Every candidate is an insertion at a place that was recognised (`place`). A candidate that its form alone does not prove needs an
//! evaluation.
//!
//! `evaluate` evaluates, and `new` chooses the candidate.

mod by_name;
mod installers;
mod lines;
mod neighbour;

use super::names::attribute;
use super::place::{self, Outline, Place};
use super::syntax::{self, Bindings, Insertion, names};
use by_name::{ByName, Made};
use installers::names_output;
pub(crate) use lines::{Fit, Of, lines};
use lines::{system_lines, value_lines};
use neighbour::{has_long_string, hosts_below, of_system, own_values, renamed, systems};
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
    /// The new host has landfall's module and its own file alone.
    pub(crate) is_bare: bool,
    /// Hosts that stand beside it then, as the text has them.
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

/// One way to write the host itself.
struct HostEdit {
    insertion: Option<Insertion>,
    files: HostFiles,
    has_target_module: bool,
    is_sure: bool,
    names_agenix: bool,
    copied: Option<(String, Vec<String>)>,
    is_bare: bool,
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
    let hosts = writer.hosts();
    let has_hosts = !hosts.is_empty();
    for host in hosts {
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
                is_bare: host.is_bare,
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
    if found.is_empty() && has_hosts {
        return Err("it makes packages and legacyPackages in forms to which landfall cannot add the installer of the host".to_owned());
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
                found.extend(self.at(&place, Some(last), None));
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
                Some(places) => {
                    let edits = self.at(&places.place, None, whole.as_ref());
                    found.extend(edits.into_iter().map(|mut edit| {
                        edit.places = places.called();
                        edit
                    }));
                }
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
                found.extend(self.at(&place, None, None));
            }
        }
        found
    }

    /// `whole`: the expression that is all hosts, where that is known.
    fn at(&self, place: &Place, after: Option<&SyntaxNode>, whole: Option<&ast::Expr>) -> Vec<HostEdit> {
        match place {
            Place::Folder { path, is_sure } => self.in_folder(path, *is_sure),
            Place::Names { list, is_sure } => {
                let item = super::names::quoted(self.wanted.name);
                let Some(insertion) = syntax::append(self.text, list, &item, None) else {
                    return vec![];
                };
                let mut files = whole
                    .map(|whole| self.files_by_name(&Made::Table(whole.clone())))
                    .unwrap_or_default();
                if files.iter().all(|(_, is_proven)| !is_proven) {
                    files.push((self.default_files(), false));
                }
                let edit =
                    |(files, is_proven)| self.edit(Some(insertion.clone()), files, *is_sure && is_proven);
                files.into_iter().map(edit).collect()
            }
            Place::Set {
                bindings,
                prefix,
                is_table,
                is_sure,
            } => {
                let mut found = vec![];
                let table = whole.filter(|_| *is_table);
                if let Some(neighbours) = self.as_its_neighbours(bindings, prefix, table) {
                    let Neighbours {
                        value,
                        files,
                        copied,
                        other_system,
                    } = neighbours;
                    let has_target_module = value.contains("nixosModules.target");
                    let lines = value_lines(&self.path(prefix), &value);
                    for (files, is_proven) in files {
                        let Some(insertion) = bindings.bind(self.text, &lines, after) else {
                            break;
                        };
                        let mut edit = self.edit(Some(insertion), files, *is_sure && is_proven);
                        edit.has_target_module |= has_target_module;
                        edit.names_agenix |= value.contains("agenix");
                        edit.copied = copied.clone();
                        edit.other_system = other_system.clone();
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
            is_bare: false,
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
            is_bare: true,
            unlike: hosts_below(bindings, prefix),
            places: vec![],
            other_system: None,
        })
    }

    fn default_files(&self) -> HostFiles {
        let name = self.wanted.name;
        HostFiles::at(format!("hosts/{name}/default.nix"), name)
    }

    /// The files of the host at paths that are made of its name; and whether its name gets there, as far as the text shows.
    fn files_by_name(&self, made: &Made) -> Vec<(HostFiles, bool)> {
        let name = self.wanted.name;
        let paths = by_name::paths(self.outline, made, &OF_HOSTS);
        let files = |ByName { before, behind }: ByName| {
            let main = if behind.is_empty() {
                "/default.nix"
            } else {
                &behind
            };
            HostFiles::at(format!("{before}{name}{main}"), name)
        };
        let proven = paths.proven.into_iter().map(|path| (files(path), true));
        let others = paths.others.into_iter().map(|path| (files(path), false));
        proven.take(1).chain(others.take(OTHERS_MAX)).collect()
    }

    /// The value that all neighbours have but for their names, and the host's files that follow from it.
    fn as_its_neighbours(
        &self,
        bindings: &Bindings,
        prefix: &[String],
        table: Option<&ast::Expr>,
    ) -> Option<Neighbours> {
        let mut values = vec![];
        for entry in bindings.values() {
            // What computes its name is another output, or a host whose lines tell nothing of its name.
            let path = entry.attrpath().and_then(|path| names(&path));
            let Some(rest) = path.as_deref().and_then(|path| path.strip_prefix(prefix)) else {
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
        let files = match (of_host.as_slice(), table, values.first()) {
            ([], Some(whole), _) => self.files_by_name(&Made::Table(whole.clone())),
            ([], None, Some((host, value))) => self.files_by_name(&Made::Value(value.clone(), host.clone())),
            ([one], ..) if one.ends_with(".nix") => vec![(HostFiles::at(one.clone(), name), true)],
            ([one], ..) => {
                let main = format!("{}/default.nix", one.trim_end_matches('/'));
                vec![(HostFiles::at(main, name), true)]
            }
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

/// Most places of which only an evaluation can tell whether the host's files are read there.
const OTHERS_MAX: usize = 2;

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

/// What a host is made with as its neighbours are.
struct Neighbours {
    value: String,
    /// Where its files may be, the likeliest first, and whether the text shows that they are read there.
    files: Vec<(HostFiles, bool)>,
    copied: Option<(String, Vec<String>)>,
    other_system: Option<OtherSystem>,
}
