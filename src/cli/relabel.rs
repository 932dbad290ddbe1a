//! `landfall relabel`: changes a running NixOS from UUIDs to labels.
//!
//! Without `--apply`, nothing is written. The output comes from the plan and from what was done: for people, or with `--json` one
//! object a line.
//!
//! `relabel` makes the plan and does the steps.

mod next;
mod options;

use super::service::{Doing, watch_signals};
use super::{Failure, failure, words};
use crate::config::Config;
use crate::event::Reporter;
use crate::exit::Exit;
use crate::lock::machine::{self, MachineLock};
use crate::real::boot::firmware::{EFIVARS, loader_variables};
use crate::real::disk::usage::shell;
use crate::real::fs::target_root::Root;
use crate::real::process::stop::Stop;
use crate::relabel::RelabelError;
use crate::relabel::apply::{self, Told, edited};
use crate::relabel::facts::Facts;
use crate::relabel::generations;
use crate::relabel::look::{self, ConfigurationFile, Places};
use crate::relabel::making::plan;
use crate::relabel::next_boot::{self, NextBoot};
use crate::relabel::nix_file;
use crate::relabel::plan::{Change, How, InFile, Plan, Wanted};
use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use landfall_states::names::HostName;
use serde_json::{Value, json};
use std::io::Write;

/// Arguments of `relabel`.
#[derive(Debug, Clone, Args)]
pub struct RelabelArgs {
    /// Change the labels and write the file. Without it, landfall only shows the plan
    #[arg(long)]
    pub apply: bool,
    /// Read host name and labels from this configuration of an installer, RON or JSON
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<Utf8PathBuf>,
    /// Label of the ESP [default: ESP- and the host's name, in upper case, cut to 11 characters]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, value_parser = super::no_option)]
    pub esp: Option<String>,
    /// Label of the root filesystem [default: root- and the host's name]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, value_parser = super::no_option)]
    pub root: Option<String>,
    /// Label of the LUKS container with root, and name of its partition [default: luks- and the host's name]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, value_parser = super::no_option)]
    pub luks: Option<String>,
    /// Label of the first swap [default: swap- and the host's name]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, value_parser = super::no_option)]
    pub swap: Option<String>,
    /// Label of another filesystem, by its mount point, or of another LUKS container, by the name of its mapping; can be given several times
    #[arg(long, value_name = "WHAT=LABEL", value_parser = options::further)]
    pub label: Vec<(String, String)>,
    /// File of the host's configuration that names its devices; can be given several times [default:
    /// /etc/nixos/hardware-configuration.nix]
    #[arg(long, value_name = "FILE")]
    pub file: Vec<Utf8PathBuf>,
    /// Print one JSON object a line: the plan, then each step
    #[arg(long)]
    pub json: bool,
}

/// The labels that are asked for.
fn wanted(args: &RelabelArgs) -> Result<Wanted, Failure> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let host = match &config {
        Some(config) => config.host.clone(),
        None => host_name()?,
    };
    let labels = config.as_ref().map(|config| &config.labels);
    let of = |option: &Option<String>, from: Option<String>| option.clone().or(from);
    Ok(Wanted {
        host: host.to_string(),
        esp: of(&args.esp, labels.map(|labels| labels.efi.to_string())),
        root: of(&args.root, labels.map(|labels| labels.root.to_string())),
        luks: of(
            &args.luks,
            labels
                .and_then(|labels| labels.luks.as_ref())
                .map(ToString::to_string),
        ),
        swap: of(
            &args.swap,
            labels
                .and_then(|labels| labels.swap.as_ref())
                .map(ToString::to_string),
        ),
        more: args.label.iter().cloned().collect(),
    })
}

fn host_name() -> Result<HostName, Failure> {
    let unusable = |why: String| {
        Failure::new(
            Exit::NeedsChange,
            format!(
                "host name: landfall cannot make labels from it: {why}\n    next: name all labels (--esp, --root, --luks, --swap), or give --config FILE"
            ),
        )
    };
    let name = nix::unistd::gethostname().map_err(|e| unusable(e.to_string()))?;
    // Without a domain.
    let name = name.to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    name.parse()
        .map_err(|bad: landfall_states::names::BadValue| unusable(bad.to_string()))
}

impl From<RelabelError> for Failure {
    fn from(error: RelabelError) -> Self {
        let mut text = error.to_string();
        if let RelabelError::Problems(problems) = &error {
            for problem in problems {
                text.push_str(&format!("\n    {problem}\n        next: {}", problem.remedy()));
            }
        } else {
            text.push_str(&format!("\n    next: {}", error.remedy()));
        }
        Failure::new(error.exit(), text)
    }
}

/// What is known before anything is done.
struct Seen {
    host: String,
    files: Vec<Edit>,
    named: Vec<InFile>,
    facts: Facts,
    plan: Plan,
    next: NextBoot,
}

/// A file, and what it becomes.
struct Edit {
    file: ConfigurationFile,
    text: String,
    /// Why it is a person who has to write it.
    sealed: Option<String>,
}

impl Edit {
    fn changes(&self) -> bool {
        self.file.text != self.text
    }

    fn is_ours(&self) -> bool {
        self.changes() && self.sealed.is_none()
    }

    fn diff(&self) -> String {
        nix_file::diff(self.file.path.as_str(), &self.file.text, &self.text)
    }
}

impl Seen {
    fn has_work(&self) -> bool {
        let label = |change: &Change| !change.is_done() || change.waits_for_use();
        self.plan.changes.iter().any(label) || self.files.iter().any(Edit::is_ours)
    }
}

/// The files that are edited. The usual one need not be there.
fn files(args: &RelabelArgs) -> Result<Vec<ConfigurationFile>, Failure> {
    let mut read = vec![];
    for path in apply::files(&args.file) {
        if args.file.is_empty() && !path.exists() {
            continue;
        }
        let file = ConfigurationFile::read(&path).map_err(|error| match error {
            RelabelError::Unread { file, why } if !args.file.is_empty() => Failure::new(
                Exit::Usage,
                format!("--file {file}: {why}\n    next: name the file that lists the devices: --file FILE"),
            ),
            other => other.into(),
        })?;
        if !read
            .iter()
            .any(|known: &ConfigurationFile| known.path == file.path)
        {
            read.push(file);
        }
    }
    Ok(read)
}

async fn see(files: Vec<ConfigurationFile>, wanted: &Wanted, places: &Places) -> Result<Seen, RelabelError> {
    let named: Vec<InFile> = files.iter().flat_map(ConfigurationFile::named).collect();
    let facts = look::facts(places, &named).await?;
    let mut plan = plan(&facts, wanted, &named).map_err(RelabelError::Problems)?;
    let in_initrds = generations::boot_by_initrds(&mut plan, &facts, &Root::live())?;
    if !in_initrds.is_empty() {
        return Err(RelabelError::Problems(in_initrds));
    }
    let mut with_text = vec![];
    for file in files {
        let text = edited(&plan, &facts, &file)?;
        let sealed = file.sealed();
        with_text.push(Edit { file, text, sealed });
    }
    let next = look_ahead(&plan, &facts)?;
    Ok(Seen {
        host: wanted.host.clone(),
        files: with_text,
        named,
        facts,
        plan,
        next,
    })
}

fn look_ahead(plan: &Plan, facts: &Facts) -> Result<NextBoot, RelabelError> {
    let variables = loader_variables(Utf8Path::new(EFIVARS))?;
    next_boot::look(plan, facts, &Root::live(), &variables)
}

pub(super) fn command(args: &RelabelArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let ended = relabel(args, out);
    failure::told(args.json, ended, out)
}

fn relabel(args: &RelabelArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    options::checked(args)?;
    let wanted = wanted(args)?;
    let files = files(args)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            Exit::NeedsChange,
            format!(
                "relabel: it reads block devices, also for the plan, and only root can do that\n    next: sudo {}",
                options::same(args, args.apply)
            ),
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let places = Places::of_nixos();
        // Another run changes what this one would look at.
        let _lock = if args.apply { Some(lock()?) } else { None };
        let mut seen = see(files, &wanted, &places).await?;
        show_plan(args.json, &seen, out)?;
        if !args.apply {
            next::show(args.json, &next::of(args, &seen, &seen.next, false), out)?;
            return Ok(Exit::Ok);
        }
        out.flush()?;
        let (wish, stop) = Stop::new();
        // Nobody is told of a signal but by how the command ends: between two steps.
        let signals = tokio::spawn(watch_signals(wish, Reporter::default(), Doing::default()));
        // The handlers stand before anything is done that a signal could cut off.
        tokio::task::yield_now().await;
        if signals.is_finished() {
            return Err(Failure::new(Exit::Internal, "landfall cannot handle signals"));
        }
        apply(args.json, &seen, &places, &stop, out).await?;
        // What has which label is another thing now.
        seen.facts = look::facts(&places, &seen.named).await?;
        let next = look_ahead(&seen.plan, &seen.facts)?;
        next::show(args.json, &next::of(args, &seen, &next, true), out)?;
        Ok(Exit::Ok)
    })
}

fn lock() -> Result<MachineLock, Failure> {
    MachineLock::take().map_err(|refused| match refused {
        machine::Refused::Held(by) => {
            let by: Vec<String> = by.iter().map(ToString::to_string).collect();
            Failure::new(
                Exit::Locked,
                format!(
                    "another landfall is running on this machine: {}\n    next: wait until it ends",
                    by.join(", ")
                ),
            )
        }
        machine::Refused::Io(error) => Failure::new(
            Exit::Internal,
            format!(
                "landfall cannot lock this machine: {}",
                crate::os_error::said(&error)
            ),
        ),
    })
}

async fn apply(
    json: bool,
    seen: &Seen,
    places: &Places,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut written: std::io::Result<()> = Ok(());
    let mut told = |what: Told<'_>| {
        // A step is done whether or not anybody can be told of it.
        if written.is_ok() {
            written = show_step(json, what, out);
        }
    };
    apply::labels(&seen.plan, places, stop, &mut told).await?;
    for edit in seen.files.iter().filter(|edit| edit.is_ours()) {
        apply::write(&edit.file, &edit.text)?;
        told(Told::File(&edit.file.path));
    }
    Ok(written?)
}

/// What is started, or done without a program, for a label.
fn commands(change: &Change) -> Vec<String> {
    let Change {
        bearer: _,
        device,
        new,
        how,
        what: _,
        old: _,
    } = change;
    let (device, new) = (shell(device.path.as_str()), shell(new));
    match how {
        How::Mounted { at } => vec![format!("ioctl FS_IOC_SETFSLABEL {new} on {at}, then syncfs")],
        How::Unmounted {
            at,
            is_mounted,
            is_wanted,
        } => {
            let mut all = vec![format!("fatlabel {device} {new}")];
            if *is_mounted {
                all.insert(0, format!("umount {}", shell(at.as_str())));
            }
            if *is_wanted {
                all.push(format!("mount {}", shell(at.as_str())));
            }
            all
        }
        How::Swap {
            on,
            options,
            is_wanted,
        } => {
            let mut all = vec![format!("swaplabel --label {new} {device}")];
            if on.is_some() {
                all.insert(0, format!("swapoff {device}"));
            }
            if *is_wanted {
                all.push(format!("swapon -o {options} {device}"));
            }
            all
        }
        How::Header => vec![format!("cryptsetup config {device} --label {new}")],
        How::Table { disk, number } => vec![format!(
            "as sfdisk --part-label {disk} {number} {new}, but both copies of the table stay valid at every moment"
        )],
    }
}

fn line(out: &mut dyn Write, object: &Value) -> std::io::Result<()> {
    writeln!(out, "{object}")
}

fn show_plan(json: bool, seen: &Seen, out: &mut dyn Write) -> std::io::Result<()> {
    let by_hand = seen.plan.by_hand(&seen.facts, &seen.named);
    if json {
        return line(out, &plan_as_json(seen, &by_hand));
    }
    let out = &mut words::ShownLines::on(out);
    writeln!(out, "labels of {}", seen.host)?;
    for change in &seen.plan.changes {
        show_change(change, out)?;
    }
    if seen.plan.changes.is_empty() {
        writeln!(out, "    no label can be changed")?;
    }
    if !seen.plan.left.is_empty() {
        writeln!(out, "not changed")?;
    }
    for left in &seen.plan.left {
        writeln!(out, "    {}: {}", left.what, left.why)?;
    }
    for edit in &seen.files {
        let path = &edit.file.path;
        match &edit.sealed {
            _ if !edit.changes() => writeln!(out, "{path}: no change")?,
            None => writeln!(out, "{path}")?,
            Some(why) => writeln!(
                out,
                "{path} cannot be written ({why}); change it by hand at its source, or name the source: --file FILE"
            )?,
        }
        for line in edit.diff().lines().skip(2) {
            writeln!(out, "    {line}")?;
        }
    }
    if !by_hand.is_empty() {
        writeln!(
            out,
            "change it by hand in the file that contains it (or name that file: --file FILE)"
        )?;
    }
    for line in by_hand {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn show_change(change: &Change, out: &mut dyn Write) -> std::io::Result<()> {
    let Change {
        what,
        bearer,
        device,
        old,
        new,
        how: _,
    } = change;
    let subject = format!("{what} ({}, {bearer})", device.path);
    if change.is_done() && !change.waits_for_use() {
        return writeln!(out, "  ✓ {subject}: {new}");
    }
    if change.is_done() {
        writeln!(
            out,
            "  → {subject}: {new}; it is not in use, because it was not mounted or switched on, or an interrupted run did not do that again"
        )?;
    } else {
        let old = old.as_deref().unwrap_or("no label");
        writeln!(out, "  → {subject}: {old} → {new}")?;
    }
    for command in commands(change) {
        writeln!(out, "        {command}")?;
    }
    Ok(())
}

fn plan_as_json(seen: &Seen, by_hand: &[String]) -> Value {
    let labels = seen.plan.changes.iter().map(|change| {
        json!({
            "what": change.what,
            "bearer": change.bearer,
            "device": change.device.path,
            "old": change.old,
            "new": change.new,
            "done": change.is_done(),
            "link": change.link(),
            "commands": commands(change),
        })
    });
    let files = seen.files.iter().map(|edit| {
        json!({
            "file": edit.file.path,
            "changes": edit.changes(),
            "by_hand_because": edit.sealed,
            "diff": edit.diff(),
        })
    });
    let left = seen
        .plan
        .left
        .iter()
        .map(|left| json!({ "what": left.what, "why": left.why }));
    json!({
        "event": "plan",
        "host": seen.host,
        "labels": labels.collect::<Vec<_>>(),
        "left": left.collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(),
        "by_hand": by_hand,
    })
}

fn show_step(json: bool, what: Told<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        let object = match what {
            Told::Label(change, made) => json!({
                "event": "label",
                "what": change.what,
                "bearer": change.bearer,
                "device": change.device.path,
                "label": change.new,
                "made": made,
            }),
            Told::Link(link, device) => json!({ "event": "link", "link": link, "device": device }),
            Told::PutBack(what) => json!({ "event": "put_back", "what": what }),
            Told::File(file) => json!({ "event": "file", "file": file }),
        };
        line(out, &object)?;
    } else {
        let out = &mut words::ShownLines::on(out);
        match what {
            Told::Label(change, made) => {
                let how = if made { "done" } else { "done before" };
                writeln!(
                    out,
                    "{how}: {} ({}, {}): {}",
                    change.what, change.device.path, change.bearer, change.new
                )
            }
            Told::Link(link, device) => writeln!(out, "{link} now points to {device}"),
            Told::PutBack(what) => writeln!(out, "in use again: {what}"),
            Told::File(file) => writeln!(out, "written: {file}"),
        }?;
    }
    out.flush()
}
