//! Adds the host's key to the keys of the other hosts, and encrypts its secrets again.
//!
//! Every secret is decrypted and encrypted again before anything is decided. If one secret fails, all stay as they are.
//!
//! `rules` and `rekey` do the work.

use super::gained::changed;
use super::helps::{agenix, helps};
use super::outcome::{Rekeyed, Secrets, Written};
use super::{FLAKE, Work, argument};
use crate::hosts::error::HostError;
use crate::hosts::literal;
use crate::hosts::names;
use crate::hosts::rekey;
use crate::hosts::rules::{self, Edited, NewKey, NotWritten, Rule, Rules, WithKey};
use crate::hosts::transaction::contents;
use crate::safe_open::{self, Links};
use age::Callbacks;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use std::collections::BTreeMap;

/// What helps where rules do not evaluate.
const CORRECT: &str = "correct it, commit it, and run the command again";
/// What helps where it is not known whose secrets a new host is to have.
const LIKE: &str = "run the command again with --like HOST, which gives the new host what HOST can read; or add the key by hand in the right \
                    place, commit it, and run the command again (it keeps an existing key)";
/// The same where a host was named.
const BY_HAND: &str = "add the key by hand beside the keys of the other hosts, commit it, and run the command again (it keeps an existing key)";
/// Longest file from which rules read a key, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 1 << 20;

/// A secret that is to be encrypted again.
struct Secret<'a> {
    /// Its name in the rules.
    name: &'a str,
    place: Utf8PathBuf,
    bytes: Vec<u8>,
    rule: &'a Rule,
}

/// The rules file.
#[derive(Debug, Clone)]
pub(super) struct RulesFile {
    /// The file itself, below the root.
    pub(super) path: Utf8PathBuf,
    /// Its name in the folder where its secrets are: that of a link, where it is reached by one.
    pub(super) beside: Utf8PathBuf,
}

/// The key in its place, as far as nothing else of the host is known.
#[derive(Default)]
pub(super) struct Begun {
    pub(super) secrets: Secrets,
    /// And what it said before.
    rules: Option<(RulesFile, Result<Rules, Unread>)>,
    /// The public keys of the host that is named with --like.
    like: Vec<String>,
    /// Hosts that are there.
    hosts: Vec<String>,
}

/// Why it is not known who may read what, or why it is not as it has to be.
#[derive(Debug)]
pub(super) struct Unread {
    reason: String,
    next: Next,
}

/// What helps then.
#[derive(Debug)]
enum Next {
    Correct,
    ByHand,
    /// A neighbour is to be named.
    Like,
    Nix,
}

/// The same error; with what Nix says where that is why no key was found.
fn with_reason(error: HostError, unread: Option<&Unread>) -> HostError {
    match (error, unread) {
        (
            HostError::RulesDeclined { path, lines, .. },
            Some(Unread {
                reason,
                next: Next::Correct,
            }),
        ) => HostError::RulesDeclined {
            path,
            reason: reason.clone(),
            lines,
            next: CORRECT.to_owned(),
        },
        (error, _) => error,
    }
}

impl Work<'_> {
    /// The rules with the new key in them. A key that the rules have, or a file that Git tracks, is there, however it is read.
    pub(super) fn with_key(
        &self,
        rules: &RulesFile,
        hosts: &[String],
        before: Option<&Rules>,
    ) -> Result<WithKey, HostError> {
        let key = NewKey {
            host: &self.request.name,
            public: &self.keys.age_public,
            like: self.request.like.as_deref(),
            hosts,
        };
        let root = &self.repository.root;
        let is_ruled = before.is_some_and(|rules| rules.values().any(|rule| self.is_for_host(rule)));
        let read = |path: &Utf8Path| String::from_utf8(contents(root, path).ok()??).ok();
        match rules::with_key(&rules.path, key, &read) {
            Ok(_) if is_ruled => Ok(WithKey::default()),
            Ok(with) => Ok(with),
            Err(NotWritten::Parse(path, reason)) => Err(HostError::Parse {
                path: root.join(path),
                reason,
            }),
            Err(NotWritten::Taken(path, reason)) => Err(HostError::Exists {
                name: self.request.name.clone(),
                what: format!("{path}: {reason}"),
            }),
            Err(NotWritten::Form(..) | NotWritten::Several(..)) if is_ruled || self.is_tracked(key.public)? => {
                Ok(WithKey::default())
            }
            Err(NotWritten::Several(path, reason)) => Err(HostError::RulesDeclined {
                path: root.join(path),
                reason,
                lines: format!("    {}", key.public),
                next: match key.like {
                    None => LIKE.to_owned(),
                    Some(_) => BY_HAND.to_owned(),
                },
            }),
            Err(NotWritten::Form(path, reason)) => Err(HostError::RulesDeclined {
                path: root.join(path),
                reason,
                lines: format!(
                    "    {} = {};",
                    names::attribute(key.host),
                    names::quoted(key.public)
                ),
                next: "add it in the right place, commit it, and run the command again (it keeps an existing key); or name another rules file with --rules FILE"
                    .to_owned(),
            }),
        }
    }

    /// Whether a file that Git tracks has this key: rules may read keys from files.
    fn is_tracked(&self, public: &str) -> Result<bool, HostError> {
        for tracked in self.programs.tracked(&self.repository.root)? {
            let whole = self.repository.root.join(&tracked.path);
            match safe_open::read_if_there(&whole, Links::Refuse, KEY_FILE_BYTES_MAX) {
                Ok(Some(bytes)) if String::from_utf8_lossy(&bytes).contains(public) => return Ok(true),
                // What cannot be read has no key for the rules either.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    /// The key in its place. What that changes is judged when the host's files are known.
    pub(super) fn begun(&self, hosts: &[String]) -> Result<Begun, HostError> {
        let Some(rules) = self.rules_file()? else {
            if let Some(like) = &self.request.like {
                return Err(argument(
                    "--like",
                    like,
                    "there is no rules file, so no host has secrets",
                    "name it with --rules FILE",
                ));
            }
            return Ok(self.without_rules());
        };
        let mut done = Secrets {
            has_rules: true,
            ..Secrets::default()
        };
        let like = self.keys_of_like(&rules.path)?;
        let before = self.rules_with(&rules.path, &vec![]);
        let with = self.with_key(&rules, hosts, before.as_ref().ok());
        done.edited = match with.map_err(|error| with_reason(error, before.as_ref().err())) {
            // Nobody wants the rules' lists followed: then they can be left to a person, too.
            Err(HostError::RulesDeclined {
                path, reason, lines, ..
            }) if !self.request.rekey => {
                done.notes.push(format!(
                    "landfall cannot edit {path}: {reason}; add the key of {} to it:\n\n{lines}\n",
                    self.request.name
                ));
                vec![]
            }
            with => {
                let WithKey { edited, of_some } = with?;
                done.notes.extend(of_some.iter().map(|list| {
                    format!(
                        "the list {list} of {} does not have every host, and does not get {}: name it there where it belongs to them, or \
                         begin with --like HOST",
                        rules.path, self.request.name
                    )
                }));
                edited
            }
        };
        let files: Vec<String> = done.edited.iter().map(|(path, _)| path.to_string()).collect();
        self.refuse_dirty(&files)?;
        if let Some(copy) = &self.copy {
            for (path, text) in &done.edited {
                copy.put(path, text.as_bytes())?;
            }
        }
        Ok(Begun {
            secrets: done,
            rules: Some((rules, before)),
            like,
            hosts: hosts.to_vec(),
        })
    }

    /// No file gives secrets their public keys. One that looks like it is named.
    fn without_rules(&self) -> Begun {
        let mut begun = Begun::default();
        begun.secrets.notes.extend(self.at_usual_places().map(|path| {
            format!(
                "{path} is not a rules file of agenix (it gives no secret its publicKeys): the key of {} was not added to any file, and no \
                 secret was encrypted for it",
                self.request.name
            )
        }));
        begun
    }

    /// The secrets that are for the host then, encrypted again. `written`: the host's files, with which the rules are asked.
    pub(super) fn ended<C: Callbacks>(
        &self,
        begun: Begun,
        written: &Written,
        callbacks: &C,
    ) -> Result<Secrets, HostError> {
        let Begun {
            secrets: mut done,
            rules,
            like,
            hosts,
        } = begun;
        let Some((file, before)) = rules else {
            return Ok(done);
        };
        let RulesFile { path, beside } = &file;
        let rekey = agenix(beside, "--rekey");
        let rules = match before
            .and_then(|before| self.rules(&file, &before, &done.edited, &like, &hosts, written))
        {
            Ok(rules) => rules,
            // Nobody can say without Nix; that it parses was seen.
            Err(Unread {
                reason,
                next: Next::Nix,
            }) if !self.request.rekey && self.copy.is_none() => {
                self.left_to_a_person(&mut done, path, &reason);
                Rules::new()
            }
            Err(unread) => return Err(self.unread(&file, unread)),
        };
        if !self.request.rekey {
            done.notes
                .push(format!("the secrets were not encrypted again: {rekey}"));
            return Ok(done);
        }
        self.refuse_missed(path, &rules, &like)?;
        let for_host: Vec<(&String, &Rule)> =
            rules.iter().filter(|(_, rule)| self.is_for_host(rule)).collect();
        if for_host.is_empty() {
            done.notes.push(format!(
                "no secret is for {} yet: add it to the lists in {path}, then: {rekey} (or start with --like HOST)",
                self.request.name
            ));
        }
        let (mut to_do, mut absent): (Vec<Secret<'_>>, Vec<String>) = (vec![], vec![]);
        for (secret, rule) in for_host {
            let place = self.place_of(secret, &file, &rules)?;
            match contents(&self.repository.root, &place)? {
                // One that has a rule and was not made yet has nobody to be encrypted for.
                None => absent.push(place.to_string()),
                Some(bytes) if rekey::is_for(&self.keys, &bytes) => {}
                Some(bytes) => to_do.push(Secret {
                    name: secret,
                    place,
                    bytes,
                    rule,
                }),
            }
        }
        if !absent.is_empty() {
            done.notes.push(format!(
                "{path} has a rule for what is not there yet: {} (agenix --edit makes it, for {}, too)",
                absent.join(", "),
                self.request.name
            ));
        }
        done.rekeyed = self.rekeyed(to_do, beside, callbacks)?;
        Ok(done)
    }

    /// Rules that cannot be read, and what helps.
    fn unread(&self, file: &RulesFile, unread: Unread) -> HostError {
        let Unread { reason, next } = unread;
        let next = match next {
            Next::Correct => CORRECT.to_owned(),
            Next::Like => LIKE.to_owned(),
            Next::ByHand => "add the key beside the keys of the other hosts by hand, commit it, and run the command again (it keeps an existing key)"
                .to_owned(),
            Next::Nix => format!(
                "add nix to PATH; or run the command again with --no-rekey, and then: {}",
                agenix(&file.beside, "--rekey")
            ),
        };
        HostError::RulesDeclined {
            path: self.repository.root.join(&file.path),
            reason,
            lines: format!("    {}", self.keys.age_public),
            next,
        }
    }

    /// Refuses rules with a secret of the host that is named with --like, and not of the new one.
    fn refuse_missed(&self, path: &Utf8Path, rules: &Rules, like: &[String]) -> Result<(), HostError> {
        let has_like = |rule: &Rule| {
            rule.public_keys
                .iter()
                .any(|key| like.iter().any(|like| rules::same(like, key)))
        };
        let missed = rules
            .iter()
            .filter(|(_, rule)| has_like(rule) && !self.is_for_host(rule));
        let missed: Vec<&str> = missed.map(|(secret, _)| secret.as_str()).collect();
        let (Some(like), false) = (&self.request.like, missed.is_empty()) else {
            return Ok(());
        };
        Err(HostError::RulesDeclined {
            path: self.repository.root.join(path),
            reason: format!(
                "{} is for {like}, in a form that landfall cannot edit",
                missed.join(", ")
            ),
            lines: format!("    {}", self.keys.age_public),
            next: "add this key beside that one in the lists of these secrets, then run the command again"
                .to_owned(),
        })
    }

    /// Where a secret is that the rules name, and name once.
    fn place_of(&self, secret: &str, file: &RulesFile, rules: &Rules) -> Result<Utf8PathBuf, HostError> {
        let RulesFile { path, beside } = file;
        let place = literal::beside(beside, secret).ok_or_else(|| HostError::Secret {
            path: beside.parent().unwrap_or(Utf8Path::new("")).join(secret),
            reason: "it is not in the repository".to_owned(),
            next: format!("correct its name in {path}"),
        })?;
        let twin = rules
            .keys()
            .find(|other| *other != secret && literal::beside(beside, other).as_ref() == Some(&place));
        match twin {
            None => Ok(place),
            Some(twin) => Err(HostError::Secret {
                path: self.repository.root.join(&place),
                reason: format!(
                    "{path} names it twice, as {} and {}, possibly with different rules",
                    names::quoted(secret),
                    names::quoted(twin)
                ),
                next: format!("keep one of them in {path}, and commit the file"),
            }),
        }
    }

    /// A secret whose rules name the host's key, and that is not encrypted for it: with what helps. `None` where nobody can say
    /// without Nix, too.
    pub(super) fn unkeyed(&self, rules: &RulesFile, said: &Rules) -> Result<Option<HostError>, HostError> {
        for (secret, _) in said.iter().filter(|(_, rule)| self.is_for_host(rule)) {
            let Some(place) = literal::beside(&rules.beside, secret) else {
                continue;
            };
            if let Some(bytes) = contents(&self.repository.root, &place)?
                && !rekey::is_for(&self.keys, &bytes)
            {
                return Ok(Some(HostError::Secret {
                    path: self.repository.root.join(&place),
                    reason: format!(
                        "{} is there, and the rules name its key for this secret, which is not encrypted for it",
                        self.request.name
                    ),
                    next: agenix(&rules.beside, "--rekey"),
                }));
            }
        }
        Ok(None)
    }

    /// The public keys of the host that is named with --like; none where none is named.
    fn keys_of_like(&self, path: &Utf8Path) -> Result<Vec<String>, HostError> {
        let Some(like) = &self.request.like else {
            return Ok(vec![]);
        };
        let root = &self.repository.root;
        let read = |path: &Utf8Path| String::from_utf8(contents(root, path).ok()??).ok();
        let keys = rules::keys_of(path, like, &read).unwrap_or_default();
        if keys.is_empty() {
            return Err(argument(
                "--like",
                like,
                "the rules have no public key under that name",
                "use the name that the rules file has for the key of that host",
            ));
        }
        Ok(keys)
    }

    pub(super) fn is_for_host(&self, rule: &Rule) -> bool {
        rule.public_keys
            .iter()
            .any(|key| rules::same(key, &self.keys.age_public))
    }

    /// Secrets encrypted again, in memory: all of them or none.
    fn rekeyed<C: Callbacks>(
        &self,
        secrets: Vec<Secret<'_>>,
        rules: &Utf8Path,
        callbacks: &C,
    ) -> Result<Vec<Rekeyed>, HostError> {
        if secrets.is_empty() {
            return Ok(vec![]);
        }
        let files: Vec<String> = secrets.iter().map(|secret| secret.place.to_string()).collect();
        self.refuse_dirty(&files)?;
        let identities = self.identities(callbacks)?;
        let mut done = vec![];
        for Secret {
            name,
            place,
            bytes,
            rule,
        } in secrets
        {
            let (public, armor) = (&rule.public_keys, rule.armor);
            let new =
                rekey::rekeyed(&bytes, &identities, public, armor, &self.keys, callbacks).map_err(|why| {
                    HostError::Secret {
                        path: self.repository.root.join(&place),
                        reason: why.to_string(),
                        next: helps(&why, &place, name, rules),
                    }
                })?;
            done.push((place, new, rule.public_keys.len()));
        }
        Ok(done)
    }

    /// The rules with the new key in them, and with the host's files beside them, which are those from before but for it.
    fn rules(
        &self,
        file: &RulesFile,
        before: &Rules,
        edited: &Edited,
        like: &[String],
        hosts: &[String],
        written: &Written,
    ) -> Result<Rules, Unread> {
        let by_hand = |reason: String| Unread {
            reason,
            next: Next::ByHand,
        };
        let correct = |e: HostError| Unread {
            reason: e.to_string(),
            next: Next::Correct,
        };
        if let Some(copy) = &self.copy {
            let flake = written.flake.as_ref().map(|flake| (FLAKE, flake));
            let files = [
                (written.files.main.as_str(), &written.host),
                (written.files.installer.as_str(), &written.installer),
            ];
            for (path, text) in files.into_iter().chain(flake) {
                copy.put(Utf8Path::new(path), text.as_bytes()).map_err(correct)?;
            }
        }
        let name = &self.request.name;
        let after = self
            .rules_with(&file.path, edited)
            .map_err(|unread| by_hand(format!("with {name} in it, {}", unread.reason)))?;
        let is_there = |secret: &str| {
            let place = literal::beside(&file.beside, secret);
            place.is_none_or(|place| fs::symlink_metadata(self.repository.root.join(place)).is_ok())
        };
        if let Some(what) = changed(before, &after, &self.keys.age_public, &is_there) {
            return Err(by_hand(format!("with {name} in it, {what}")));
        }
        match self.unasked(before, &after, &file.path, like, hosts) {
            None => Ok(after),
            Some(what) => Err(Unread {
                reason: format!("with {name} in it, {what}"),
                next: Next::Like,
            }),
        }
    }

    /// The rules stay as they are, and the key is shown: nobody can say what else it would open.
    fn left_to_a_person(&self, done: &mut Secrets, path: &Utf8Path, reason: &str) {
        if !done.edited.is_empty() {
            done.edited = vec![];
            done.notes.push(format!(
                "{path} was not edited: {reason}; add the key of {name} to it where it belongs, and commit it:\n\n    {attribute} = {key};\n",
                name = self.request.name,
                attribute = names::attribute(&self.request.name),
                key = names::quoted(&self.keys.age_public)
            ));
        }
    }

    pub(super) fn rules_with(&self, path: &Utf8Path, edited: &Edited) -> Result<Rules, Unread> {
        match &self.copy {
            Some(copy) => {
                let correct = |reason: String| Unread {
                    reason,
                    next: Next::Correct,
                };
                for (path, text) in edited {
                    copy.put(path, text.as_bytes())
                        .map_err(|e| correct(e.to_string()))?;
                }
                copy.rules(path)
                    .map_err(|e| correct(e.to_string()))?
                    .map_err(|reason| correct(format!("Nix cannot evaluate it: {reason}")))
            }
            None => {
                let edited: BTreeMap<&Utf8Path, &String> =
                    edited.iter().map(|(path, text)| (path.as_path(), text)).collect();
                let read = |path: &Utf8Path| match edited.get(path) {
                    Some(text) => Some((*text).clone()),
                    None => String::from_utf8(contents(&self.repository.root, path).ok()??).ok(),
                };
                rules::as_written(path, &read).map_err(|reason| Unread {
                    reason: format!("landfall needs Nix to know who can read each secret: {reason}"),
                    next: Next::Nix,
                })
            }
        }
    }

    fn identities<C: Callbacks>(&self, callbacks: &C) -> Result<Vec<Box<dyn age::Identity>>, HostError> {
        let mut paths = self.request.identities.clone();
        if paths.is_empty() {
            paths = self
                .request
                .home
                .as_deref()
                .map(rekey::default_identities)
                .unwrap_or_default();
        }
        let mut found = vec![];
        for path in paths {
            let identities =
                rekey::identities(&path, callbacks).map_err(|reason| HostError::Identity { path, reason })?;
            found.extend(identities);
        }
        Ok(found)
    }
}
