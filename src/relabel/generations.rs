//! The generations of this machine, and the names that they use at boot.
//!
//! Nothing is written. Every generation that a boot menu can have is examined: the newest one, the ones before it, those of other
//! profiles, and the specialisations of each.
//!
//! `making` decides whether a label can change, `next_boot` examines the entry on the ESP.

use super::RelabelError;
use super::facts::{self, Facts, Generation, PROFILE, Which};
use super::label::Bearer;
use super::next_boot::initrd_names;
use super::plan::{Change, Left, Plan};
use super::problem::Problem;
use crate::real::boot::bootspec::{self, Boot, Spec};
use crate::real::disk::usage::shell;
use crate::real::fs::target_root::{self, Root};
use landfall_states::names::StorePath;
use std::collections::BTreeMap;

/// Where the profiles are that a person named (`nixos-rebuild --profile-name`).
const FURTHER: &str = "/nix/var/nix/profiles/system-profiles";

impl Generation {
    /// What of it names a device in a way that fits; without its initrd.
    fn use_of(&self, fits: &dyn Fn(&str) -> bool) -> Option<String> {
        let line = self.fstab.iter().find(|line| line.names(fits));
        let word = || {
            // `systemd.mount-extra=LABEL=data:/data` has more behind it.
            let fits = |spec: &str| fits(spec) || spec.split_once(':').is_some_and(|(spec, _)| fits(spec));
            let named = |word: &&String| word.split_once('=').is_some_and(|(_, spec)| fits(spec));
            self.kernel_words.iter().find(named)
        };
        match line {
            Some(line) if line.kind == "swap" => Some("its fstab, for swap".to_owned()),
            Some(line) => Some(format!("its fstab, for {}", line.target)),
            None => word().map(|word| format!("its kernel parameter {word}")),
        }
    }

    fn name(&self) -> String {
        let which = match &self.which {
            Which::Next => format!("the next generation, {PROFILE}"),
            Which::Other { profile, number } if profile == PROFILE => format!("generation {number}"),
            Which::Other { profile, number } => format!("generation {number} of {profile}"),
        };
        match &self.specialisation {
            Some(name) => format!("{which}, specialisation {name}"),
            None => which,
        }
    }
}

/// The profile and the number of a link such as `system-7-link`.
fn number(name: &str) -> Option<(&str, u64)> {
    let (profile, number) = name.strip_suffix("-link")?.rsplit_once('-')?;
    Some((profile, number.parse().ok()?))
}

/// Every generation, the next one first, then the newest before the older ones. One that is no longer in the store cannot be booted.
pub(super) fn all(root: &Root) -> Result<Vec<Generation>, RelabelError> {
    let mut links: Vec<(Which, String)> = vec![(Which::Next, PROFILE.to_owned())];
    for folder in ["/nix/var/nix/profiles", FURTHER] {
        for name in target_root::names(root, folder)? {
            let Some((profile, number)) = number(&name) else {
                continue;
            };
            if folder == FURTHER || profile == "system" {
                let profile = format!("{folder}/{profile}");
                links.push((Which::Other { profile, number }, format!("{folder}/{name}")));
            }
        }
    }
    links.sort_by_key(|(which, _)| match which {
        Which::Next => (0, 0),
        Which::Other { number, .. } => (1, u64::MAX - number),
    });
    let mut found = vec![];
    let mut systems = vec![];
    for (which, link) in links {
        let Some(system) = target_root::follow_to_store(root, &link)? else {
            continue;
        };
        let Ok(path) = system.parse::<StorePath>() else {
            continue;
        };
        if !systems.contains(&system) {
            of_system(root, &which, &path, &mut found)?;
            systems.push(system);
        }
    }
    Ok(found)
}

/// A system and its specialisations.
fn of_system(
    root: &Root,
    which: &Which,
    system: &StorePath,
    found: &mut Vec<Generation>,
) -> Result<(), RelabelError> {
    // A document that is not understood is told where the entry is judged; the links say the same of the initrd.
    let Spec {
        boot,
        specialisations,
    } = bootspec::read(root, system)?.unwrap_or_else(|_| Spec::guessed(system));
    let mut one = |specialisation: Option<String>, top: &str, boot: Option<&Boot>| {
        let Some(fstab) = target_root::read_text(root, &format!("{top}/etc/fstab"))? else {
            return Ok(());
        };
        found.push(Generation {
            which: which.clone(),
            specialisation,
            fstab: facts::fstab(&fstab),
            kernel_words: boot.map_or(vec![], |boot| boot.words().map(str::to_owned).collect()),
            initrd: boot.and_then(|boot| boot.initrd.clone()),
        });
        Ok::<(), RelabelError>(())
    };
    one(None, system.as_ref(), Some(&boot))?;
    for name in target_root::names(root, &format!("{system}/specialisation"))? {
        let top = format!("{system}/specialisation/{name}");
        one(Some(name.clone()), &top, specialisations.get(&name))?;
    }
    Ok(())
}

/// What stands against a change whose old label these look for; `None`: none of them does.
fn problem(change: &Change, old: &str, users: &[(&Generation, String)]) -> Option<Problem> {
    let (first, how) = users.first()?;
    let mut others: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (generation, _) in users {
        if let Which::Other { profile, number } = &generation.which {
            let numbers = others.entry(profile).or_default();
            if !numbers.contains(&number.to_string()) {
                numbers.push(number.to_string());
            }
        }
    }
    let is_next = users
        .iter()
        .any(|(generation, _)| generation.which == Which::Next);
    let delete = |(profile, numbers): (&&str, &Vec<String>)| {
        let profile = shell(profile);
        format!(
            "sudo nix-env --profile {profile} --delete-generations {}",
            numbers.join(" ")
        )
    };
    let given_up = others.iter().map(delete).collect::<Vec<_>>().join(" && ");
    let more = match users.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    Some(Problem::BootsByIt {
        what: change.what.clone(),
        device: change.device.path.clone(),
        old: old.to_owned(),
        by: format!("{} ({how}){more}", first.name()),
        // The next one is wanted; one before it may be given up.
        given_up: (!is_next).then_some(given_up),
    })
}

/// What stands against a change whose old label a generation looks for in its fstab, or by its kernel's parameters.
pub(super) fn boot_by(facts: &Facts, change: &Change, old: &str) -> Option<Problem> {
    let fits = |spec: &str| change.bearer.is_sought(old, spec);
    let users = facts.generations.iter();
    let users = users.filter_map(|generation| Some((generation, generation.use_of(&fits)?)));
    problem(change, old, &users.collect::<Vec<_>>())
}

/// The same of what a generation looks for in its initrd alone: the names of LUKS containers. Initrds are unpacked for it, which takes
/// time, so that the plan is made first. What cannot be unpacked is told in the plan.
///
/// # Errors
/// A boot entry or the profile cannot be read.
pub fn boot_by_initrds(plan: &mut Plan, facts: &Facts, root: &Root) -> Result<Vec<Problem>, RelabelError> {
    let mut problems = vec![];
    let mut unseen: Vec<Left> = vec![];
    for change in &plan.changes {
        let old = change.old.as_deref().filter(|old| !old.is_empty());
        let Some(old) = old.filter(|_| !change.is_done()) else {
            continue;
        };
        if !matches!(change.bearer, Bearer::Partition | Bearer::Luks2) {
            continue;
        }
        let names = change.bearer.forms(old);
        let mut seen: BTreeMap<&str, Option<bool>> = BTreeMap::new();
        let mut users = vec![];
        for generation in &facts.generations {
            let Some(initrd) = generation.initrd.as_deref() else {
                continue;
            };
            let has = match seen.get(initrd) {
                Some(has) => *has,
                None => {
                    let mut has = Some(false);
                    for name in &names {
                        has = match (has, initrd_names(root, initrd, name)?) {
                            (Some(true), _) | (_, Some(true)) => Some(true),
                            (_, one) => one,
                        };
                    }
                    seen.insert(initrd, has);
                    has
                }
            };
            match has {
                Some(true) => users.push((generation, "its initrd".to_owned())),
                Some(false) => {}
                None => unseen.push(Left {
                    what: generation.name(),
                    why: format!(
                        "its initrd could not be unpacked, so landfall cannot tell whether it looks for {}; if it does, it will no longer boot",
                        change.bearer.link(old)
                    ),
                }),
            }
        }
        problems.extend(problem(change, old, &users));
    }
    plan.left.extend(unseen);
    Ok(problems)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "generations_tests.rs"]
mod tests;
