//! Errors of Nix, by the rules of `tool_errors`.
//!
//! What Nix printed is sorted first: its own sentences; those of the Git that it starts; its warnings; the lines of a build's
//! log; error pages of servers; and `throw` in the configuration. Only the first kind decides by itself. Of a message with
//! places and traces only the innermost sentence is the error; a trace may be the configuration's own text.
//!
//! `nix::log` reads the machine log.

use super::nix_cache_says::{
    FROM_JSON, JSON_PAGE, LIMITED, NO_ADDRESS, NO_CACHE, NO_KEY, NO_NARINFO, NO_STORE, REFUSED_CACHE,
    SETTINGS,
};
use super::nix_database_says::{DATABASE, DATABASE_ERRORS, DATABASE_FORBIDDEN, DATABASE_FULL, IN_THE_WAY};
use super::nix_says::{
    BARE, BEFORE_REASON, BUILD_LOG, BUILT, BY_GIT, BY_SSH, EVALUATION, EVALUATION_SURE, GONE, JSON, MEMORY,
    MEMORY_OUTSIDE, NIX, NOT_HAD, OF_OPEN_FILE, OWN_FILES, OWN_PLACES, PLACELESS, REMOUNTED, STORE,
    STORE_LACKS,
};
use super::shared::{behind_address, tls_or_proxy, transfer};
use super::{ERRORS, FULL, NO_MEMORY, Named, Places, Row, UNCLEAN, fits, git, gives_reason, is_any};
use landfall_states::fault::{Cause, Ended, Fault, Remedy};
use std::collections::BTreeSet;

/// What Nix said, by who said it.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Nix itself, in errors.
    own: Vec<String>,
    /// Nix itself, in warnings.
    warnings: Vec<String>,
    /// Programs that it started, such as Git.
    children: Vec<String>,
    /// A build, in its log.
    build: Vec<String>,
    /// A server, in the text of a refusal.
    server: Vec<String>,
    /// What it began to transfer, from where.
    transfers: BTreeSet<String>,
    /// Whether the configuration threw the error.
    thrown: bool,
    /// Whether an error that quotes nothing is in no table: then it is one that the configuration throws.
    bare: bool,
    /// Whether an error has a place in the configuration, or a trace.
    placed: bool,
    /// Whether the configuration was reading JSON.
    in_json: bool,
    /// Whether a trace was left out: it was evaluating.
    untraced: bool,
    /// Whether it evaluates: what is said without a place may be the configuration's words.
    evaluates: bool,
    /// Whether it was run without its machine log: then it may evaluate, and what has a place does.
    is_plain: bool,
}

/// What stands in place of an error that the configuration throws.
const THROWN: &str = "the configuration throws an error";

/// What Nix prints instead of a trace.
const UNTRACED: &str = "(use '--show-trace'";

/// A number and a bar, as before a quoted line of the configuration.
fn is_excerpt(line: &str) -> bool {
    line.trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start()
        .starts_with('|')
}

/// `at FILE:LINE:COLUMN:`.
fn is_place(line: &str) -> bool {
    let mut parts = line.trim_end_matches(':').rsplit(':');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    line.starts_with("at ") && number(parts.next()) && number(parts.next())
}

/// What Nix writes around the lines of a log that it quotes.
fn frames_a_log(line: &str) -> bool {
    line.starts_with("For full logs, run") || (line.starts_with("last ") && line.ends_with("log lines:"))
}

impl Said {
    /// Of a Nix that evaluates a configuration.
    pub fn of_evaluation(&mut self) {
        self.evaluates = true;
    }

    /// A message of Nix's; `level` 0 is an error, 1 a warning. `bare`: it is an error that has colours for what it quotes, and quotes nothing.
    pub fn message(&mut self, level: u64, text: &str, bare: bool) {
        let text = text.trim();
        // The configuration speaks through these.
        if ["trace: ", "evaluation warning: ", UNTRACED]
            .iter()
            .any(|begin| text.starts_with(begin))
        {
            self.untraced |= text.starts_with(UNTRACED);
            return;
        }
        if level > 0 || text.starts_with("warning:") {
            self.warnings.push(
                text.split("response body:")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            );
            return;
        }
        let Some((sentence, place, file)) = self.sorted(text) else {
            return;
        };
        let mut sentence = without_query(sentence);
        // Of an archive that came over a network, what was wrong with that. The bracket ends behind what a server sent.
        if let Some(inner) =
            sentence.strip_prefix("error: Failed to open archive (Source threw exception: error: ")
        {
            sentence = format!("error: {}", inner.strip_suffix(')').unwrap_or(inner));
        }
        if let Some(place) = place
            && !is_of_machine(&sentence)
        {
            sentence = format!("error: {place}: {}", without_mark(&sentence));
        }
        if let Some(file) = file
            && is_any(without_mark(&sentence), OF_OPEN_FILE)
        {
            sentence = format!("error: {file}: {}", without_mark(&sentence));
        }
        // Nix 2.8 has no colours for what became of a transfer; it tells of each that it begins.
        let is_transfer = of_transfer(&sentence).is_some()
            && self
                .transfers
                .iter()
                .any(|address| sentence.contains(&format!("'{address}': ")));
        // Nor for the Git that it started, which has said before why it failed.
        let is_git = !self.children.is_empty() && first_own(&[BY_GIT], &[&sentence]).is_some();
        if bare && !is_transfer && !is_git && !is_any(without_mark(&sentence), BARE) {
            self.bare = true;
        }
        self.own.push(sentence);
    }

    /// Sorts the lines of an error. Gives its innermost sentence, the place in which it came up and the file that was open, where Nix has
    /// words of its own for these; nothing where the configuration throws it.
    fn sorted<'t>(&mut self, text: &'t str) -> Option<(String, Option<&'t str>, Option<&'t str>)> {
        // With traces the error comes last, below an empty `error:`; else the first sentence is the error, and traces follow it.
        let traced = text.lines().next().is_some_and(|line| line.trim() == "error:");
        let mut sentences: Vec<String> = vec![];
        let (mut in_page, mut open) = (false, !traced);
        let (mut throws, mut aborts) = (false, false);
        let (mut place, mut file) = (None, None);
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || is_excerpt(line) {
                continue;
            }
            if let Some(quoted) = line.strip_prefix("> ") {
                self.build.push(quoted.to_owned());
            } else if in_page {
                self.server.push(line.to_owned());
            } else if line == "response body:" {
                in_page = true;
            } else if is_place(line) {
                self.placed = true;
                open = false;
            } else if line.starts_with("… ") {
                open = false;
                place = line.strip_prefix("… ").filter(|place| is_any(place, OWN_PLACES));
                file = line.strip_prefix("… ").filter(|place| is_any(place, OWN_FILES));
                self.placed |= file.is_none();
                self.in_json |= is_any(line, FROM_JSON);
                throws = line.starts_with("… while calling the 'throw' builtin");
                aborts = line.starts_with("… while calling the 'abort' builtin");
            } else if frames_a_log(line) {
                open = false;
            } else if traced && (line == "error:" || line.starts_with("error: ")) {
                if throws {
                    self.thrown = true;
                    self.own.push(THROWN.into());
                    return None;
                }
                sentences.push(line.to_owned());
                open = true;
                if aborts {
                    // Further lines of it are the configuration's.
                    break;
                }
            } else if open {
                match sentences.last_mut() {
                    Some(sentence) => {
                        sentence.push(' ');
                        sentence.push_str(line);
                    }
                    None => sentences.push(line.to_owned()),
                }
            }
        }
        let sentence = sentences.pop().filter(|sentence| sentence != "error:")?;
        Some((sentence, place, file))
    }

    /// A transfer that it begins.
    pub fn transfer(&mut self, address: &str) {
        const KEPT_MAX: usize = 10_000;
        if self.transfers.len() < KEPT_MAX {
            self.transfers.insert(address.to_owned());
        }
    }

    /// A line that a program which Nix started printed.
    pub fn child(&mut self, line: &str) {
        self.children.push(git::of_ssh(line.trim_end()).to_owned());
    }

    /// A line of a build's log.
    pub fn build_line(&mut self, line: &str) {
        const KEPT_MAX: usize = 100;
        if self.build.len() == KEPT_MAX {
            self.build.remove(0);
        }
        self.build.push(line.trim().to_owned());
    }

    /// Of a Nix that was run without its machine log.
    pub fn plain(text: &str) -> Self {
        let mut said = Said {
            is_plain: true,
            ..Said::default()
        };
        let mut message = String::new();
        for line in text.lines() {
            let begins = ["error:", "warning:", "trace: "]
                .iter()
                .any(|begin| line.starts_with(begin));
            let goes_on = line.starts_with(' ') || line.is_empty();
            said.untraced |= line.starts_with(UNTRACED);
            if begins || !goes_on {
                said.message(0, &std::mem::take(&mut message), false);
            }
            if begins || (goes_on && !message.is_empty()) {
                message.push_str(line);
                message.push('\n');
            } else {
                said.child(line);
            }
        }
        said.message(0, &message, false);
        said
    }

    fn decide(&self, places: Places<'_>) -> Option<(Cause, &str)> {
        let own: Vec<&str> = self.own.iter().map(String::as_str).collect();
        let children: Vec<&str> = self.children.iter().map(String::as_str).collect();
        let last = own.last().copied();
        if self.thrown || (self.bare && self.evaluates) {
            return Some((Cause::Evaluation, last.unwrap_or(THROWN)));
        }
        let transfers: Vec<(&str, &str)> = own
            .iter()
            .rev()
            .filter_map(|line| Some((*line, of_transfer(line)?)))
            .collect();
        let first = self
            .limited(&transfers)
            .or_else(|| first_own(&[EVALUATION_SURE], &own))
            // Memory: the collector and the loader print their words past Nix's own messages.
            .or_else(|| first_own(&[MEMORY], &own))
            .or_else(|| no_memory(&own))
            .or_else(|| first_own(&[MEMORY_OUTSIDE], &children));
        if first.is_some() {
            return first;
        }
        if let Some((cause, line)) = first_own(&[BUILT], &own) {
            return Some((self.of_build(cause, line), line));
        }
        let then = of_device(&own, places)
            .or_else(|| of_child(&own, &children, places))
            .or_else(|| {
                transfers
                    .first()
                    .map(|(line, said)| (of_answer(line, said), *line))
            })
            .or_else(|| self.of_store(&own, places))
            .or_else(|| first_own(&[SETTINGS, NIX, DATABASE], &own))
            .or_else(|| self.of_json(&own))
            .or_else(|| self.of_not_had(&own))
            .or_else(|| first_own(&[EVALUATION], &own));
        if then.is_some() {
            return then;
        }
        // Of a file that is not the target's, the configuration speaks. What only moves paths has no place in it, whatever its traces.
        let gone = |line: &str| is_any(without_mark(line), GONE) && places.named(line) == Named::Elsewhere;
        let may_evaluate = self.evaluates || self.is_plain;
        if (may_evaluate && self.placed) || (self.evaluates && last.is_some_and(gone)) {
            return last.map(|line| (Cause::Evaluation, line));
        }
        // It said nothing itself: its settings are read before its machine log begins.
        if own.is_empty() {
            if let Some(found) = first_own(&[SETTINGS], &children) {
                return Some(found);
            }
            return git::decide(&children, places).map(|(cause, line)| (of_input(cause), line));
        }
        None
    }

    /// A forge that refuses, and says that somebody asked too often.
    fn limited<'s>(&self, transfers: &[(&'s str, &str)]) -> Option<(Cause, &'s str)> {
        let refused =
            |line: &&(&str, &str)| is_any(line.1, &["http error 401*", "http error 403*", "http error 429*"]);
        let (line, _) = transfers.iter().find(refused)?;
        let is_limit = self.server.iter().any(|line| is_any(line, LIMITED));
        is_limit.then_some((Cause::ApiLimit, *line))
    }

    /// The lock file is JSON, and so is what a forge answers; the configuration reads some too.
    fn of_json<'s>(&self, own: &[&'s str]) -> Option<(Cause, &'s str)> {
        let (_, line) = first_own(&[JSON], own)?;
        let cause = match () {
            // What came from elsewhere is read outside of any evaluation.
            () if self.in_json || self.untraced => Cause::Evaluation,
            () if !self.transfers.is_empty() && line.contains("last read: '<") => Cause::CaptivePortal,
            () => Cause::LockFile,
        };
        Some((cause, line))
    }

    /// Nothing more is said of a path that no cache had: the warnings before it tell why.
    fn of_not_had<'s>(&'s self, own: &[&'s str]) -> Option<(Cause, &'s str)> {
        let found = first_own(&[NOT_HAD], own)?;
        let warned = self.warnings.iter().rev().find_map(|line| {
            let said = of_transfer(line)?;
            let cause = tls_or_proxy(said)
                .or_else(|| transfer(said))
                .or_else(|| is_no_http(line, said).then_some(Cause::Network));
            let denied = is_any(said, &["http error 401*", "http error 403*"]).then_some(Cause::CacheAccess);
            Some((cause.or(denied)?, line.as_str()))
        });
        let warnings: Vec<&str> = self.warnings.iter().map(String::as_str).collect();
        warned
            .or_else(|| first_own(&[REFUSED_CACHE], &warnings))
            .or(Some(found))
    }

    /// A store that is damaged: the installer's own is on the medium that it runs from.
    fn of_store<'l>(&self, own: &[&'l str], places: Places<'_>) -> Option<(Cause, &'l str)> {
        let found = first_own(&[STORE], own).or_else(|| {
            // Of a store that is evaluated in, the configuration may name a path that never was.
            let (cause, line) = first_own(&[STORE_LACKS], own).filter(|_| !self.evaluates && !self.placed)?;
            (places.named(line) == Named::Target || places.is_store_of_installer(line))
                .then_some((cause, line))
        });
        found.map(|(cause, line)| {
            if places.is_store_of_installer(line) {
                (Cause::Medium, line)
            } else {
                (cause, line)
            }
        })
    }

    /// A build that failed: its log may say that a compiler was killed, or that a download got nothing. Nothing else of it counts.
    fn of_build(&self, cause: Cause, line: &str) -> Cause {
        if cause != Cause::Build {
            return cause;
        }
        let build: Vec<&str> = self.build.iter().map(String::as_str).collect();
        if let Some((cause, _)) = first_own(&[BUILD_LOG], &build) {
            return cause;
        }
        // The downloads of nixpkgs are named as the file that they could not get.
        let got_nothing = build.iter().any(|said| {
            said.strip_prefix("error: cannot download ")
                .and_then(|rest| rest.strip_suffix(" from any mirror"))
                .is_some_and(|name| line.contains(&format!("-{name}.drv'")))
        });
        if got_nothing { Cause::FetchInBuild } else { cause }
    }

    fn last(&self) -> Option<&str> {
        self.own
            .last()
            .or_else(|| self.children.last())
            .or_else(|| self.warnings.last())
            .map(String::as_str)
    }
}

/// What Git's cause is where Nix started it: then it fetches an input of the flake, and the repository of the configuration is not meant.
fn of_input(cause: Cause) -> Cause {
    match cause {
        Cause::RepositoryMissing | Cause::ReferenceMissing | Cause::Address => Cause::Input,
        Cause::Access => Cause::CacheAccess,
        cause => cause,
    }
}

/// Without the words of a query, which quotes paths: where its database is stands behind it.
fn without_query(sentence: String) -> String {
    const QUERIES: [&str; 3] = [
        "error: executing SQLite statement '",
        "error: executing SQLite query '",
        "error: creating statement '",
    ];
    let without = QUERIES.iter().find_map(|begin| {
        let (_, behind) = sentence.strip_prefix(begin)?.rsplit_once("': ")?;
        Some(format!("{begin}…': {behind}"))
    });
    without.unwrap_or(sentence)
}

/// Without what marks an error or a warning.
fn without_mark(line: &str) -> &str {
    ["warning: ", "error: "]
        .iter()
        .fold(line, |line, mark| line.strip_prefix(mark).unwrap_or(line))
}

/// The first row that any sentence has without its mark, with the last such sentence.
fn first_own<'l>(tables: &[&[Row]], lines: &[&'l str]) -> Option<(Cause, &'l str)> {
    let lower: Vec<String> = lines
        .iter()
        .map(|line| without_mark(line).to_lowercase())
        .collect();
    tables.iter().copied().flatten().find_map(|row| {
        let hit = lines
            .iter()
            .zip(&lower)
            .rev()
            .find(|(_, lower)| row.any.iter().any(|template| fits(lower, template)));
        hit.map(|(line, _)| (row.cause, *line))
    })
}

/// A sentence before whose reason something of Nix's own stands, and whose reason is that there is no memory.
fn no_memory<'l>(own: &[&'l str]) -> Option<(Cause, &'l str)> {
    let is_meant = |line: &&&'l str| gives_reason(without_mark(line), BEFORE_REASON, NO_MEMORY);
    own.iter().rev().find(is_meant).map(|line| (Cause::Memory, *line))
}

/// What stands against a device or the database on it.
fn of_device<'l>(own: &[&'l str], places: Places<'_>) -> Option<(Cause, &'l str)> {
    own.iter().rev().find_map(|line| {
        let sentence = without_mark(line);
        let cause = places.of_devices(sentence, BEFORE_REASON).or_else(|| {
            if is_any(sentence, DATABASE_FULL) {
                Some(places.of_room(sentence))
            } else if is_any(sentence, DATABASE_FORBIDDEN) {
                Some(Cause::Forbidden)
            } else if is_any(sentence, IN_THE_WAY) && places.named(sentence) == Named::Target {
                Some(Cause::InTheWay)
            } else if is_any(sentence, REMOUNTED) && places.named(sentence) == Named::Target {
                Some(Cause::TargetReadOnly)
            } else {
                // SQLite's words, for every failure of its own files: also where there is no room, or a file may not be removed.
                is_any(sentence, DATABASE_ERRORS).then_some(Cause::InputOutput)
            }
        })?;
        Some((cause, *line))
    })
}

/// Why the Git or the ssh failed that Nix started: they have said it themselves.
fn of_child<'l>(own: &[&'l str], children: &[&str], places: Places<'_>) -> Option<(Cause, &'l str)> {
    if let Some((_, line)) = first_own(&[BY_GIT], own) {
        let cause = match git::decide(children, places) {
            Some((cause, _)) => of_input(cause),
            None if git::says_no_reason(children) => Cause::Unknown,
            // A fetch that was cut off ends like this: the revision was never received.
            None => Cause::Network,
        };
        return Some((cause, line));
    }
    let (cause, line) = first_own(&[BY_SSH], own)?;
    let of_ssh = git::decide(children, places).map(|(cause, _)| of_input(cause));
    Some((of_ssh.unwrap_or(cause), line))
}

/// Whether an error is one of a device, of room, of memory or of the processor, wherever it is met.
fn is_of_machine(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    [ERRORS, UNCLEAN, FULL, PLACELESS]
        .concat()
        .iter()
        .any(|reason| lower.ends_with(reason))
}

/// What Nix quotes of curl and of a server's answer.
fn of_transfer(line: &str) -> Option<&str> {
    let line = without_mark(line);
    ["unable to download '", "unable to upload '", "unable to delete '"]
        .iter()
        .find_map(|begin| behind_address(line, begin))
}

/// What became of a transfer that Nix gave up.
fn of_answer(line: &str, said: &str) -> Cause {
    if let Some(cause) = transfer(said) {
        return cause;
    }
    if is_no_http(line, said) {
        return Cause::Network;
    }
    if is_any(said, &["http error 401*", "http error 403*"]) {
        return Cause::CacheAccess;
    }
    if is_any(said, NO_ADDRESS) {
        return if is_of_cache(line) {
            Cause::CacheAccess
        } else {
            Cause::Input
        };
    }
    if is_any(
        said,
        &["http error 3* (curl error: number of redirects hit maximum amount)*"],
    ) {
        return Cause::CaptivePortal;
    }
    // Any other refusal of the server's, and a redirection to what is no address.
    if is_any(said, &["http error 4*", "http error 3* (curl error: *)*"]) {
        return Cause::CacheAccess;
    }
    Cause::Network
}

/// Whether something else than HTTP answered: curl has one number for that and for a scheme that it does not know.
fn is_no_http(line: &str, said: &str) -> bool {
    let by_http = line.contains("'http://") || line.contains("'https://");
    by_http && is_any(said, &["unsupported protocol (1)*"])
}

/// Whether a transfer is one of a cache, by the names of its files.
fn is_of_cache(line: &str) -> bool {
    is_any(
        without_mark(line),
        &[
            "unable to ~ '*/nix-cache-info': *",
            "unable to ~ '*.narinfo': *",
            "unable to ~ '*/nar/*.nar*': *",
        ],
    )
}

/// The fault that a failed Nix stands for.
pub fn nix(what: &str, how: Ended, said: &Said, places: Places<'_>) -> Fault {
    let found = said.decide(places);
    // A Nix that was killed did not judge what it was doing.
    let found = found.filter(|(cause, _)| how.code.is_some() || *cause == Cause::Memory);
    let next = found.and_then(|(cause, line)| remedy(cause, line, said.is_plain));
    let fault = super::fault(what, how, found, said.last());
    match next {
        Some(next) => fault.with_next(next),
        None => fault,
    }
}

/// What to do, where the sentence says more than its cause. `is_plain`: it does not tell what it asked for.
fn remedy(cause: Cause, line: &str, is_plain: bool) -> Option<Remedy> {
    let says = |templates: &[&str]| is_any(without_mark(line), templates);
    let words = match cause {
        Cause::CacheAccess if says(NO_CACHE) && !says(NO_CACHE.get(1..).unwrap_or_default()) => {
            "correct the cache's address in nix.substituters, or allow this machine to read it (put a login in /etc/nix/netrc of the installer); landfall doctor asks every cache"
        }
        Cause::CacheAccess if says(NO_CACHE) => {
            "remove that cache from nix.substituters: its paths are for another directory than /nix/store"
        }
        Cause::CacheAccess if is_of_cache(line) => {
            "correct the cache's address in nix.substituters, give access to it (/etc/nix/netrc of the installer), or take it out"
        }
        Cause::NixSettings if says(NO_STORE) => {
            "correct the address of the cache, in nix.substituters or in /etc/nix/nix.conf of the installer: this Nix knows no such store"
        }
        Cause::NixSettings if says(NO_KEY) => {
            "copy the complete key that the cache publishes into nix.trusted_public_keys, or into /etc/nix/nix.conf of the installer, as NAME:KEY"
        }
        Cause::LockFile if is_plain && says(JSON_PAGE) => {
            "run nix flake lock, and push flake.lock; if it is right, log in to the network (open http://neverssl.com in a browser)"
        }
        Cause::Evaluation if says(JSON_PAGE) => {
            "fix the JSON that the configuration reads (builtins.fromJSON), and push it"
        }
        // Older versions do not say what came: a page of a network's login, or bytes that were damaged.
        Cause::BadBytes if says(NO_NARINFO) => {
            "log in to the network (open http://neverssl.com in a browser); if it is open, take that cache out of nix.substituters, or \
             name another one before it"
        }
        _ => return None,
    };
    Some(Remedy::change(words))
}

/// The same of one that was run without its machine log.
pub fn nix_plain(what: &str, how: Ended, text: &str, places: Places<'_>) -> Fault {
    nix(what, how, &Said::plain(text), places)
}
