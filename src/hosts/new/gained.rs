//! Judges what a new key changes in the rules of the secrets.
//!
//! Nothing but the new key may differ, and the new host gains no secret that nobody asked for.
//!
//! `new::secrets` asks for the rules before and after.

use super::Work;
use crate::hosts::rules::{self, Owners, Rule, Rules};
use crate::hosts::transaction::contents;
use camino::Utf8Path;

/// What of the rules is another than before, beside the new key in lists, and rules for secrets of the host's own that nobody has made.
pub(super) fn changed(
    before: &Rules,
    after: &Rules,
    key: &str,
    is_there: &dyn Fn(&str) -> bool,
) -> Option<String> {
    if let Some(secret) = before.keys().find(|secret| !after.contains_key(*secret)) {
        return Some(format!("{secret} would no longer have a rule"));
    }
    for (secret, rule) in after {
        let Some(old) = before.get(secret) else {
            let is_its_own = rule.public_keys.iter().any(|public| rules::same(public, key));
            if is_its_own && !is_there(secret) {
                continue;
            }
            return Some(format!("{secret} would have a rule that it did not have"));
        };
        let others: Vec<&String> = rule
            .public_keys
            .iter()
            .filter(|public| !rules::same(public, key))
            .collect();
        let gone = old
            .public_keys
            .iter()
            .find(|public| !rule.public_keys.contains(public));
        if let Some(gone) = gone {
            return Some(format!("{secret} would no longer be for {gone}"));
        }
        if let Some(new) = others.iter().find(|public| !old.public_keys.contains(**public)) {
            return Some(format!("{secret} would also be for {new}"));
        }
        if rule.public_keys.len() > others.len() + 1 {
            return Some(format!("{secret} would be for it twice"));
        }
        if rule.armor != old.armor {
            return Some(format!("{secret} would be written in another form"));
        }
    }
    None
}

impl Work<'_> {
    /// A secret that the host would get though nobody asked for it: not every other host has it, nor has the one that is named.
    pub(super) fn unasked(
        &self,
        before: &Rules,
        after: &Rules,
        path: &Utf8Path,
        like: &[String],
        hosts: &[String],
    ) -> Option<String> {
        let root = &self.repository.root;
        let read = |path: &Utf8Path| String::from_utf8(contents(root, path).ok()??).ok();
        let name = &self.request.name;
        let owners = Owners::of(path, name, hosts, &read);
        let has = |rule: &Rule, key: &String| rule.public_keys.iter().any(|known| rules::same(known, key));
        for (secret, rule) in after {
            let Some(old) = before.get(secret) else { continue };
            let is_gained = self.is_for_host(rule) && !self.is_for_host(old);
            if !is_gained || like.iter().any(|key| has(old, key)) {
                continue;
            }
            if let Some(other) = owners.without(old, before, &self.keys.age_public) {
                let other = self.request.like.as_ref().unwrap_or(&other);
                return Some(format!("{name} could read {secret}, which {other} cannot read"));
            }
        }
        None
    }
}
