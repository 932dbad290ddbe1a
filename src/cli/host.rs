//! `landfall host`: adds hosts to a flake, on the operator's computer.
//!
//! It shows what it would write, asks, and only then writes. With `--json`, standard output has one object and nothing else.
//!
//! `hosts` makes the host.
// Long because: the command, its questions and its next steps share its arguments.

use super::{Failure, failure, print_error};
use crate::exit::Exit;
use crate::hosts::error::HostError;
use crate::hosts::keys::Keys;
use crate::hosts::new::{Plan, Prepared, Request, ToDo, prepare};
use crate::hosts::programs::{PASSED_ON, Programs};
use crate::hosts::scratch;
use crate::hosts::templates::Layout;
use crate::real::disk::usage::shell;
use crate::real::process::terminal;
use crate::real::secrets::age_unused::Why;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use landfall_states::names::{Size, quoted};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use similar::TextDiff;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of the swap where none is named.
const SWAP_SIZE: &str = "8G";

/// Of keys that a dry run shows.
const MADE_NEW: &str = "missing keys are made new in each run";

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Add a new host to a flake: its keys, its files, its secrets and its installer
    ///
    /// Run it in the Git repository of the flake. It makes the key pairs of the host and its installer in --keys, writes the host and its
    /// installer from a template, adds both to flake.nix, adds the host's public key to the rules of the secrets (agenix), encrypts the
    /// host's secrets again, and adds exactly these files to Git. Before it writes anything, it decrypts and encrypts every secret in
    /// memory. If Nix is installed, it evaluates the flake before and after the change, and writes nothing unless exactly the new
    /// attributes differ. It shows the files first. After an interruption, the next run finishes the work or starts again.
    New(Box<NewArgs>),
}

/// Arguments of `host new`.
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// Name of the host
    pub name: String,
    /// Directory for the private keys (ssh-key, deploy-key, age-identity), outside any repository; existing keys are kept
    #[arg(long, value_name = "DIR")]
    pub keys: Utf8PathBuf,
    /// Volumes of the host
    #[arg(long, value_enum, default_value_t = Layout::Plain, value_name = "LAYOUT")]
    pub layout: Layout,
    /// Size of the swap partition
    #[arg(long, value_name = "SIZE", default_value = SWAP_SIZE, value_parser = swap_size)]
    pub swap_size: String,
    /// Put the whole system into the installer, so that it needs no network
    #[arg(long)]
    pub prebuilt: bool,
    /// Make a user with this name, who also gets the deploy key and the clone
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Give the new host every secret that this host can read
    #[arg(long, value_name = "HOST")]
    pub like: Option<String>,
    /// The rules file of agenix [default: the file of the repository that gives secrets their publicKeys]
    #[arg(long, value_name = "FILE")]
    pub rules: Option<Utf8PathBuf>,
    /// Identity that decrypts the secrets: an age identity, one of an age plugin, or an SSH private key; can be given several times
    /// [default: ~/.ssh/id_rsa and ~/.ssh/id_ed25519]
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<Utf8PathBuf>,
    /// Do not encrypt secrets again; run `agenix --rekey` later
    #[arg(long)]
    pub no_rekey: bool,
    /// Do not edit flake.nix; print the lines that it needs
    #[arg(long)]
    pub no_flake: bool,
    /// Address from which the installer fetches the repository [default: the remote origin]
    #[arg(long, value_name = "URL")]
    pub remote: Option<String>,
    /// System type of the host [default: that of this computer]
    #[arg(long, value_name = "SYSTEM")]
    pub system: Option<String>,
    /// A directory in the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repository: Utf8PathBuf,
    /// Also commit the files
    #[arg(long)]
    pub commit: bool,
    /// Only show what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let exit = match &error {
            HostError::Name(_) | HostError::Argument { .. } => Exit::Usage,
            HostError::Locked(_) => Exit::Locked,
            HostError::Program(fault) => Exit::of(fault),
            HostError::Evaluate {
                class: Some(class), ..
            } => Exit::from(*class),
            HostError::NoRepository { .. }
            | HostError::NoFlake { .. }
            | HostError::Exists { .. }
            | HostError::Dirty { .. }
            | HostError::Hidden { .. }
            | HostError::Sparse { .. }
            | HostError::Parse { .. }
            | HostError::Evaluate { .. }
            | HostError::Declined { .. }
            | HostError::WithoutEffect { .. }
            | HostError::Lost { .. }
            | HostError::RulesDeclined { .. }
            | HostError::OtherFinished(_)
            | HostError::Secret { .. }
            | HostError::Identity { .. }
            | HostError::Keys { .. }
            | HostError::Conflict { .. }
            | HostError::ChangedMeanwhile { .. }
            | HostError::Git { .. }
            | HostError::File { .. } => Exit::NeedsChange,
        };
        Failure::new(exit, error.to_string())
    }
}

/// Asks on the terminal what an identity of age wants to know; a passphrase once, however many secrets there are.
#[derive(Debug, Clone, Default)]
struct Terminal {
    passphrases: Arc<Mutex<Vec<(String, SecretString)>>>,
    /// Somebody was asked, and ended the question without an answer.
    is_unanswered: Arc<AtomicBool>,
}

impl age::Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        print_error(message);
    }

    fn confirm(&self, message: &str, yes: &str, _no: Option<&str>) -> Option<bool> {
        print_error(&format!("{message}: type {yes}"));
        answer().ok().map(|answer| answer == yes)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        print_error(description);
        answer().ok()
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let mut known = self.passphrases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, passphrase)) = known.iter().find(|(of, _)| of == description) {
            return Some(passphrase.clone());
        }
        // From the terminal itself, without an echo; without a terminal there is nobody to be asked.
        let Some(passphrase) = typed(description).ok()? else {
            self.is_unanswered.store(true, Ordering::Relaxed);
            return None;
        };
        known.push((description.to_owned(), passphrase.clone()));
        Some(passphrase)
    }
}

/// A line from the terminal of this process, without an echo. `None`: it never ended, or is no text in UTF-8.
fn typed(description: &str) -> std::io::Result<Option<SecretString>> {
    let mut own = terminal::own()?;
    write!(own, "{description}: ")?;
    own.flush()?;
    let line = terminal::line(own.as_fd(), false)?;
    Ok(line
        .and_then(|line| line.into_text().ok())
        .map(|text| SecretString::from(text.expose_secret().to_owned())))
}

/// As the installer's configuration takes it.
fn swap_size(text: &str) -> Result<String, String> {
    match text.parse::<Size>() {
        Ok(_) => Ok(text.to_owned()),
        Err(bad) => Err(bad.to_string()),
    }
}

/// A line of standard input.
fn answer() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

pub(super) fn command(command: &HostCommand, out: &mut dyn Write) -> Result<Exit, Failure> {
    match command {
        HostCommand::New(args) => {
            let ended = new(args, out);
            failure::told(args.json, ended, out)
        }
    }
}

/// What is wrong with the paths that were named, whatever the repository is.
fn paths_checked(args: &NewArgs) -> Result<(), HostError> {
    let wrong = |option: &'static str, path: &Utf8Path, reason: String, next: &str| HostError::Argument {
        option,
        value: quoted(path.as_str()),
        reason,
        next: next.to_owned(),
    };
    const RULES: &str = "name the file with the publicKeys of each secret: --rules secrets/secrets.nix";
    let mut named = vec![
        (
            "--keys",
            &args.keys,
            "name a directory outside the repository: --keys ~/keys/NAME",
        ),
        (
            "--repository",
            &args.repository,
            "name a directory of the repository, or leave the option out",
        ),
    ];
    named.extend(args.rules.iter().map(|path| ("--rules", path, RULES)));
    let identity = "name a private key file: --identity ~/.ssh/id_ed25519";
    named.extend(args.identity.iter().map(|path| ("--identity", path, identity)));
    for (option, path, next) in named {
        if path.as_str().is_empty() {
            return Err(wrong(option, path, "it is empty".to_owned(), next));
        }
    }
    if let Some(rules) = &args.rules {
        safe_open::open(rules, Links::Follow)
            .map_err(|refused| wrong("--rules", rules, refused.why(), RULES))?;
    }
    Ok(())
}

/// The same error, and what helps first where a passphrase is the matter.
fn with_passphrase(error: HostError, is_unanswered: bool) -> HostError {
    match error {
        HostError::Secret { path, reason, next } => {
            let is = |why: Why| reason.ends_with(&why.to_string());
            let nobody = Why::NobodyAsked.to_string();
            if let (true, Some(before)) = (is_unanswered, reason.strip_suffix(&nobody)) {
                return HostError::Secret {
                    path,
                    reason: format!("{before}it has a passphrase, and none was typed"),
                    next: format!("run it again, and type the passphrase of that key; or {next}"),
                };
            }
            let first = if is(Why::NobodyAsked) {
                "run it on a terminal, or "
            } else if is(Why::Wrong) {
                "run it again, and type the passphrase of that key; or "
            } else {
                ""
            };
            HostError::Secret {
                next: format!("{first}{next}"),
                path,
                reason,
            }
        }
        other => other,
    }
}

fn request(args: &NewArgs) -> Request {
    let NewArgs {
        name,
        keys,
        layout,
        swap_size,
        prebuilt,
        user,
        like,
        rules,
        identity,
        no_rekey,
        no_flake,
        remote,
        system,
        repository,
        commit,
        dry_run,
        yes: _,
        json: _,
    } = args;
    Request {
        start: repository.clone(),
        name: name.clone(),
        layout: *layout,
        swap_size: swap_size.clone(),
        prebuilt: *prebuilt,
        keys: keys.clone(),
        rules: rules.clone(),
        identities: identity.clone(),
        home: std::env::var("HOME").ok().map(Utf8PathBuf::from),
        like: like.clone(),
        user: user.clone(),
        remote: remote.clone(),
        system: system
            .clone()
            .unwrap_or_else(|| format!("{}-linux", std::env::consts::ARCH)),
        commit: *commit,
        rekey: !no_rekey,
        edit_flake: !no_flake,
        dry_run: *dry_run,
    }
}

fn new(args: &NewArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let may_ask = std::io::stdin().is_terminal() && !args.json;
    if !args.yes && !args.dry_run && !may_ask {
        return Err(Failure::new(
            Exit::Usage,
            "cannot ask here: standard input is not a terminal, or --json is set\n    next: check the result with --dry-run, then run the command again with --yes",
        ));
    }
    paths_checked(args)?;
    end_cleanly()?;
    let variable = |key: &str| std::env::var(key).ok().map(|value| (key.to_owned(), value));
    let programs = Programs::new(PASSED_ON.iter().filter_map(|key| variable(key)).collect())?;
    let terminal = Terminal::default();
    let prepared = prepare(&request(args), &programs, &terminal);
    let is_unanswered = terminal.is_unanswered.load(Ordering::Relaxed);
    match prepared.map_err(|error| with_passphrase(error, is_unanswered))? {
        Prepared::There(keys, to_do) => {
            let (rest, notes) = (Rest::of(&to_do), notes(args, None, &to_do));
            said(args, out, "there", &keys, &next(args, keys.dir(), &rest), &notes)?;
            Ok(Exit::Ok)
        }
        Prepared::Finished(keys, to_do, is_with_commit) => {
            let (rest, notes) = (Rest::of(&to_do), notes(args, Some(is_with_commit), &to_do));
            said(
                args,
                out,
                "finished",
                &keys,
                &next(args, keys.dir(), &rest),
                &notes,
            )?;
            Ok(Exit::Ok)
        }
        Prepared::Unfinished(host) => Err(Failure::new(
            Exit::NeedsChange,
            format!(
                "host {host}: an interrupted run has already decided on its files\n    next: finish that run: landfall host new {host} --keys DIR --yes"
            ),
        )),
        Prepared::Ready(plan) => carried_out(args, &plan, &programs, out),
    }
}

/// A signal ends the run where it is, as a power cut would, but without what was only for looking at.
fn end_cleanly() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // They are heard from here on, whenever the thread gets to run.
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = quit.recv() => {}
            }
        });
        let was_asking = terminal::restore();
        scratch::remove_all();
        if was_asking {
            print_error("");
        }
        print_error("landfall: interrupted\n    next: run the same command again; it finishes the work");
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(())
}

fn carried_out(
    args: &NewArgs,
    plan: &Plan,
    programs: &Programs,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    if !args.json {
        show(plan, out)?;
    }
    if args.dry_run {
        if args.json {
            writeln!(out, "{}", as_json(args, plan, false))?;
        } else {
            writeln!(out, "\nnothing was written (--dry-run); {MADE_NEW}")?;
        }
        return Ok(Exit::Ok);
    }
    if !args.yes {
        write!(out, "\nWrite this? Type yes: ")?;
        out.flush()?;
        if answer()? != "yes" {
            return Err(Failure::new(
                Exit::Interrupted,
                "the answer was no; nothing was written",
            ));
        }
    }
    plan.carry_out(programs)?;
    if args.json {
        writeln!(out, "{}", as_json(args, plan, true))?;
        return Ok(Exit::Ok);
    }
    writeln!(out)?;
    for change in &plan.changes {
        writeln!(out, "written and added to Git: {}", change.path)?;
    }
    let to_change = plan.to_change();
    let steps = next(args, plan.keys.dir(), &Rest::made(args, plan, &to_change));
    said(args, out, "made", &plan.keys, &steps, &[])?;
    Ok(Exit::Ok)
}

/// The files as a diff, the keys, and what else somebody should know who agrees to it.
fn show(plan: &Plan, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "the host {} in {}", plan.name, plan.repository.root)?;
    let dir = plan.keys.dir();
    for name in plan.keys.made() {
        writeln!(out, "  key   {}: new", dir.join(name))?;
    }
    for name in &plan.keys.kept {
        writeln!(out, "  key   {}: kept", dir.join(name))?;
    }
    match &plan.attributes {
        Some(attributes) => {
            for attribute in attributes {
                writeln!(out, "  flake {attribute}: new (evaluated)")?;
            }
        }
        None => writeln!(out, "  flake was not evaluated")?,
    }
    writeln!(out)?;
    for change in &plan.changes {
        let readers = plan.rekeyed.iter().find(|(path, _)| *path == change.path);
        if let Some((path, readers)) = readers {
            writeln!(out, "{path}: encrypted again, for {readers} recipients")?;
            continue;
        }
        let old = String::from_utf8_lossy(change.old.as_deref().unwrap_or_default()).into_owned();
        let new = String::from_utf8_lossy(&change.new).into_owned();
        let before = if change.old.is_some() {
            format!("a/{}", change.path)
        } else {
            "/dev/null".to_owned()
        };
        let diff = TextDiff::from_lines(&old, &new);
        write!(
            out,
            "{}",
            diff.unified_diff().header(&before, &format!("b/{}", change.path))
        )?;
    }
    if !plan.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &plan.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

/// What is left to do with the files before they can be pushed.
struct Rest<'a> {
    /// Files in which a person has something to change.
    to_change: &'a [Utf8PathBuf],
    /// Those that Git was not told of, or not as they are now.
    to_add: &'a [String],
    /// Lines for flake.nix were printed.
    has_lines: bool,
    /// Nothing else waits for a commit.
    is_committed: bool,
}

impl<'a> Rest<'a> {
    fn of(to_do: &'a ToDo) -> Rest<'a> {
        Rest {
            to_change: &to_do.to_change,
            to_add: &to_do.uncommitted,
            has_lines: false,
            is_committed: true,
        }
    }

    fn made(args: &NewArgs, plan: &'a Plan, to_change: &'a [Utf8PathBuf]) -> Rest<'a> {
        Rest {
            to_change,
            to_add: &plan.unstaged,
            has_lines: plan.has_lines && !args.dry_run,
            is_committed: args.commit,
        }
    }
}

/// The next steps. Landfall's own commands are in the project's documents, too.
fn next(args: &NewArgs, keys: &Utf8Path, rest: &Rest<'_>) -> Vec<String> {
    let name = &args.name;
    let mut steps = vec![];
    if !rest.to_change.is_empty() {
        let files: Vec<&str> = rest.to_change.iter().map(|path| path.as_str()).collect();
        // The password stands in the host's own file.
        let is_of_host = |path: &Utf8PathBuf| path.file_name() != Some("installer.nix");
        let login = match args.user.is_some() && rest.to_change.iter().any(is_of_host) {
            true => "; without a password hash nobody can log in",
            false => "",
        };
        steps.push(format!(
            "edit the lines marked CHANGE in {}{login}",
            files.join(" and ")
        ));
    }
    if rest.has_lines {
        steps.push("add the lines above to flake.nix, where their comments say".to_owned());
    }
    let mut to_add: Vec<String> = vec![];
    let files = rest.to_change.iter().map(|path| path.as_str());
    for file in files.chain(rest.to_add.iter().map(String::as_str)).map(shell) {
        if !to_add.contains(&file) {
            to_add.push(file);
        }
    }
    steps.push(match (to_add.is_empty(), rest.is_committed) {
        (true, true) => "git push".to_owned(),
        (true, false) => "git commit && git push".to_owned(),
        (false, _) => format!("git add {} && git commit && git push", to_add.join(" ")),
    });
    steps.extend([
        format!("nix build .#{name}InstallerIso --print-build-logs"),
        format!(
            "sudo landfall flash $(echo result/iso/*.iso) /dev/disk/by-id/usb-YOUR_STICK --keys {}",
            shell(keys.as_str())
        ),
        "boot the machine from the stick".to_owned(),
    ]);
    steps
}

/// Options that say what a new host has, and are not looked at for one that is there.
fn for_a_new_one(args: &NewArgs) -> Vec<&'static str> {
    let given = [
        ("--layout", args.layout != Layout::Plain),
        ("--swap-size", args.swap_size != SWAP_SIZE),
        ("--prebuilt", args.prebuilt),
        ("--user", args.user.is_some()),
        ("--like", args.like.is_some()),
        ("--remote", args.remote.is_some()),
    ];
    given
        .into_iter()
        .filter_map(|(option, is_given)| is_given.then_some(option))
        .collect()
}

/// What somebody should know whose host is there already. `finished`: an interrupted run was finished, and whether that one commits.
fn notes(args: &NewArgs, finished: Option<bool>, to_do: &ToDo) -> Vec<String> {
    let mut notes = vec![];
    let options = for_a_new_one(args);
    if !options.is_empty() {
        notes.push(format!(
            "{} changed nothing: the host already exists; edit its files by hand",
            options.join(", ")
        ));
    }
    if args.commit && finished != Some(true) && !to_do.uncommitted.is_empty() {
        let why = match finished {
            Some(_) => "the interrupted run had no --commit",
            None => "the host already exists",
        };
        notes.push(format!(
            "--commit: nothing was committed, because {why}; the next steps commit it"
        ));
    }
    notes
}

fn said(
    args: &NewArgs,
    out: &mut dyn Write,
    what: &str,
    keys: &Keys,
    next: &[String],
    notes: &[String],
) -> std::io::Result<()> {
    if args.json {
        let text = json!({
            "host": args.name,
            "result": what,
            "written": what == "finished",
            "public_keys": public_keys(keys),
            "notes": notes,
            "next": next,
        });
        return writeln!(out, "{text}");
    }
    match what {
        "there" => writeln!(out, "host {} already exists; nothing was written", args.name)?,
        "finished" => writeln!(out, "host {}: the interrupted run is now finished", args.name)?,
        _ => {}
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "\nadd these keys at the forge, as read-only deploy keys:")?;
    writeln!(out, "  installer       {}", keys.ssh_public)?;
    writeln!(out, "  installed host  {}", keys.deploy_public)?;
    writeln!(out, "for secrets:\n  age             {}", keys.age_public)?;
    writeln!(out, "\nnext:")?;
    for (n, command) in next.iter().enumerate() {
        writeln!(out, "  {}. {command}", n + 1)?;
    }
    Ok(())
}

fn public_keys(keys: &Keys) -> serde_json::Value {
    json!({ "age": keys.age_public, "installer": keys.ssh_public, "deploy": keys.deploy_public })
}

fn as_json(args: &NewArgs, plan: &Plan, written: bool) -> serde_json::Value {
    let files: Vec<_> = plan
        .changes
        .iter()
        .map(|change| json!({ "path": change.path, "new": change.old.is_none() }))
        .collect();
    let rekeyed: Vec<_> = plan
        .rekeyed
        .iter()
        .map(|(path, recipients)| json!({ "path": path, "recipients": recipients }))
        .collect();
    let mut notes = plan.notes.clone();
    if !written && !plan.keys.made().is_empty() {
        notes.push(format!(
            "nothing was written; {MADE_NEW}, so that public_keys are not those of a later run"
        ));
    }
    json!({
        "host": plan.name,
        "result": if written { "made" } else { "planned" },
        "written": written,
        "repository": plan.repository.root,
        "files": files,
        "rekeyed": rekeyed,
        "attributes": plan.attributes,
        "keys": { "folder": plan.keys.dir(), "made": plan.keys.made(), "kept": plan.keys.kept },
        "public_keys": public_keys(&plan.keys),
        "notes": notes,
        "next": next(args, plan.keys.dir(), &Rest::made(args, plan, &plan.to_change())),
    })
}
