//! Adds the host's installer to the flake: in the call that makes the other installers, in the packages of the file, or in a separate
//! output that hides nothing.
//!
//! `flake` adds the host itself.

use super::{HostFiles, Writer, entry, indented, installer_names};
use crate::hosts::names::attribute;
use crate::hosts::place::{self, OutputSet, Place};
use crate::hosts::syntax::{self, Bindings, Insertion, call, called};
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

/// One way to write its installer.
pub(super) struct InstallerEdit {
    pub(super) insertion: Option<Insertion>,
    pub(super) is_sure: bool,
}

impl Writer<'_> {
    pub(super) fn installers(&self, files: &HostFiles) -> Result<Vec<InstallerEdit>, String> {
        let references = &self.outline.references;
        let (Some(landfall), Some(this)) = (&references.landfall, &references.this) else {
            return Err(
                "its outputs do not get `self` and `landfall`: add both to the arguments of `outputs`"
                    .to_owned(),
            );
        };
        let entry = entry(self.wanted, this, files);
        let mut found = vec![];
        for apply in self.outline.nodes().filter_map(ast::Apply::cast) {
            let (head, arguments) = call(&apply);
            if head.as_ref().and_then(called).as_deref() != Some("mkInstallerPackages") {
                continue;
            }
            let places = arguments.first().and_then(place::places);
            let place = places.filter(|places| !places.is_open).map(|places| places.place);
            match place {
                Some(Place::Set {
                    bindings,
                    is_table: false,
                    ..
                }) => {
                    let insertion = bindings.bind(self.text, &entry, None);
                    found.push(InstallerEdit {
                        insertion,
                        is_sure: true,
                    });
                }
                // Made of what the hosts are made of.
                _ => found.push(InstallerEdit {
                    insertion: None,
                    is_sure: false,
                }),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some(set) = self.outline.sets.last() {
            found.extend(self.packages_in(set, landfall, &entry));
        } else {
            found.extend(self.behind_the_outputs(landfall, &entry));
        }
        Ok(found)
    }

    fn packages_in(&self, set: &OutputSet, landfall: &str, entry: &[String]) -> Vec<InstallerEdit> {
        let mut found = vec![];
        let all = |output: &str| {
            self.outline
                .sets
                .iter()
                .any(|set| !set.entries(output).is_empty() || set.inherits(output))
        };
        let hidden = |output: &str| self.outline.opaque.iter().any(|part| names_output(part, output));
        let unknown = self.outline.opaque.iter().any(|part| !is_each_system(part));
        // In a set of packages that is written there.
        for set in &self.outline.sets {
            if let Some(bindings) = self.literal_packages(set) {
                let mut lines = vec![
                    "inherit".to_owned(),
                    format!("  ({landfall}.lib.mkInstallerPackages {{"),
                ];
                lines.extend(indented(indented(entry.to_vec())));
                lines.push("  })".to_owned());
                lines.extend(
                    installer_names(self.wanted.name)
                        .iter()
                        .map(|name| format!("  {}", attribute(name))),
                );
                lines.push("  ;".to_owned());
                let insertion = bindings.bind(self.text, &lines, None);
                found.push(InstallerEdit {
                    insertion,
                    is_sure: true,
                });
            }
        }
        for output in ["packages", "legacyPackages"] {
            let is_parts = self.text.contains("mkFlake");
            if all(output) || (hidden(output) && !is_parts) {
                continue;
            }
            let path = set.path(&[output, self.wanted.system]).join(".");
            let mut lines = vec![format!("{path} = {landfall}.lib.mkInstallerPackages {{")];
            lines.extend(indented(entry.to_vec()));
            lines.push("};".to_owned());
            let insertion = set.bindings().bind(self.text, &lines, None);
            found.push(InstallerEdit {
                insertion,
                is_sure: !unknown,
            });
        }
        found
    }

    /// `packages.<system> = { … }`, or the same in two sets.
    fn literal_packages(&self, set: &OutputSet) -> Option<Bindings> {
        for (rest, entry) in set.entries("packages") {
            let value = place::result(entry.value()?);
            let Expr::AttrSet(inner) = value else { continue };
            match rest.as_deref() {
                Some([system]) if system == self.wanted.system => return Some(Bindings::Set(inner)),
                Some([]) => match Bindings::Set(inner)
                    .value(&[self.wanted.system])
                    .map(place::result)
                {
                    Some(Expr::AttrSet(packages)) => return Some(Bindings::Set(packages)),
                    _ => continue,
                },
                _ => continue,
            }
        }
        None
    }

    /// Outputs that are a call: a set is put behind it, which only an evaluation can judge.
    fn behind_the_outputs(&self, landfall: &str, entry: &[String]) -> Vec<InstallerEdit> {
        let body = self.outline.body.syntax();
        let at = usize::from(
            place::result(self.outline.body.clone())
                .syntax()
                .text_range()
                .end(),
        );
        if at != usize::from(body.text_range().end()) {
            return vec![];
        }
        let newline = syntax::line_end(self.text);
        let indentation = syntax::indentation_at(self.text, usize::from(body.text_range().start()));
        ["packages", "legacyPackages"]
            .into_iter()
            .map(|output| {
                let mut lines = vec![
                    "// {".to_owned(),
                    format!(
                        "  {output}.{} = {landfall}.lib.mkInstallerPackages {{",
                        self.wanted.system
                    ),
                ];
                lines.extend(indented(indented(entry.to_vec())));
                lines.push("  };".to_owned());
                lines.push("}".to_owned());
                let text = lines
                    .iter()
                    .map(|line| format!("{newline}{indentation}{line}"))
                    .collect();
                InstallerEdit {
                    insertion: Some(Insertion { at, text }),
                    is_sure: false,
                }
            })
            .collect()
    }
}

/// Whether a part that is not looked into binds an output of this name somewhere.
pub(super) fn names_output(part: &Expr, output: &str) -> bool {
    part.syntax()
        .descendants()
        .filter_map(ast::AttrpathValue::cast)
        .filter_map(|entry| syntax::name(&entry.attrpath()?.attrs().next()?))
        .any(|name| name == output)
        || part
            .syntax()
            .descendants()
            .filter_map(ast::Inherit::cast)
            .any(|inherit| {
                inherit
                    .attrs()
                    .any(|attr| syntax::name(&attr).as_deref() == Some(output))
            })
}

/// `flake-utils.lib.eachDefaultSystem (system: { … })`: what it gives stands in it.
fn is_each_system(part: &Expr) -> bool {
    let Expr::Apply(apply) = part else { return false };
    let (head, arguments) = call(apply);
    let is_known = matches!(
        head.as_ref().and_then(called).as_deref(),
        Some("eachDefaultSystem" | "eachSystem")
    );
    let body = arguments
        .last()
        .cloned()
        .map(place::result)
        .and_then(|last| match last {
            Expr::Lambda(lambda) => lambda.body().map(place::result),
            _ => None,
        });
    is_known && matches!(body, Some(Expr::AttrSet(_)))
}
