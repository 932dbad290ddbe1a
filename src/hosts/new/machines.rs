//! Names the machines that a flake configures: its hosts, and those that other tools deploy.
//!
//! Nix says them; without Nix, they are read from the flake's text.
//!
//! `new::secrets` asks whose keys the rules have.

use super::{Disk, Work};
use crate::hosts::evaluate::Names;
use crate::hosts::flake::Tree;
use crate::hosts::place::{Outline, Place, places};
use crate::hosts::syntax;
use rnix::ast::Expr;

/// Outputs with machines that are no NixOS host of the flake, by the path of their names.
const OTHERS: [&[&str]; 3] = [&["darwinConfigurations"], &["colmena"], &["deploy", "nodes"]];
/// Attributes of colmena's that are no machine.
const OF_COLMENA: [&str; 3] = ["meta", "defaults", "network"];
/// Output with accounts, as `op@laptop`.
const ACCOUNTS: &str = "homeConfigurations";

impl Work<'_> {
    /// Every machine that has a name in the flake, its NixOS hosts first.
    pub(super) fn machines(&self, outline: &Outline, names: Option<&Names>) -> Vec<String> {
        let mut found = self.hosts(outline, names);
        for path in OTHERS {
            let there = self.below(path, outline, names);
            found.extend(
                there
                    .into_iter()
                    .filter(|name| !OF_COLMENA.contains(&name.as_str())),
            );
        }
        for account in self.below(&[ACCOUNTS], outline, names) {
            found.extend(account.split_once('@').map(|(_, host)| host.to_owned()));
        }
        let mut once: Vec<String> = vec![];
        for name in found {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        once
    }

    /// The hosts that are there: as Nix says, else as stands in the flake.
    pub(super) fn hosts(&self, outline: &Outline, names: Option<&Names>) -> Vec<String> {
        self.below(&["nixosConfigurations"], outline, names)
    }

    fn below(&self, output: &[&str], outline: &Outline, names: Option<&Names>) -> Vec<String> {
        if let Some(names) = names {
            let name = |path: &Vec<String>| match path.split_last() {
                Some((last, before)) if before == output => Some(last.clone()),
                _ => None,
            };
            return names.iter().filter_map(name).collect();
        }
        let Some((first, inner)) = output.split_first() else {
            return vec![];
        };
        let mut found = vec![];
        for set in &outline.sets {
            for (rest, entry) in set.entries(first) {
                let rest = rest.unwrap_or_default();
                let is_below = rest.iter().zip(inner).all(|(one, other)| one == other);
                match (is_below, rest.get(inner.len())) {
                    (true, Some(host)) => found.push(host.clone()),
                    (true, None) if rest.len() == inner.len() => {
                        if let Some(places) = entry.value().as_ref().and_then(places) {
                            let others = places.others.iter().map(|(_, other)| other);
                            let all = std::iter::once(&places.place).chain(others);
                            found.extend(all.flat_map(|place| self.hosts_at(place)));
                        }
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn hosts_at(&self, place: &Place) -> Vec<String> {
        match place {
            Place::Set { bindings, .. } => bindings
                .values()
                .iter()
                .filter_map(|entry| syntax::name(&entry.attrpath()?.attrs().next()?))
                .collect(),
            Place::Names { list, .. } => {
                use rnix::ast::List;
                let items = |list: &List| list.items().collect::<Vec<_>>();
                items(list)
                    .iter()
                    .filter_map(|item| match item {
                        Expr::Str(text) => syntax::string(text),
                        _ => None,
                    })
                    .collect()
            }
            Place::Folder { path, .. } => {
                let name = |entry: String| entry.strip_suffix(".nix").map(str::to_owned).unwrap_or(entry);
                Disk(&self.repository.root)
                    .list(path)
                    .into_iter()
                    .map(name)
                    .collect()
            }
        }
    }
}
