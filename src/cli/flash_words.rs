//! The texts and questions of `landfall flash`.
//!
//! No other file makes them. Names that others chose are escaped. A question says what will be lost.
//!
//! Errors are in `flash::error`, progress in `progress`.

use super::flash_run::Ejected;
use super::image::peak_bytes;
use super::words::{ShownLines, bytes, one_line};
use super::{Failure, failure as ending, words};
use crate::exit::Exit;
use crate::flash::error::Error;
use crate::flash::keys::Keys;
use crate::flash::source::{Digests, hexadecimal};
use crate::flash::sticks::{Judged, Standing};
use crate::flash::table::Place;
use crate::real::disk::disk_lock::take_now;
use crate::real::disk::usage::{UNSEEN, option_word};
use crate::real::process::stop::Stop;
use camino::Utf8Path;
use landfall_states::fault::{DeviceFault, Kind};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// An answer is waited for in pieces of this, so that a signal is seen.
const POLL: Duration = Duration::from_millis(100);
/// Longest answer that a person types.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What a run is going to do.
pub(super) struct Plan<'a> {
    pub image: &'a Utf8Path,
    pub digests: &'a Digests,
    pub judged: &'a Judged,
    pub keys: Option<(&'a Keys, &'a Place)>,
    pub claimed_bytes: u64,
    pub ejects: bool,
}

/// What it did.
pub(super) struct Done {
    pub written_bytes: u64,
    pub found_bytes: u64,
    pub write_s: f64,
    pub verify_s: f64,
}

/// A question to a person.
pub(super) enum Question {
    /// Whether a stick may be erased.
    Yes { with_keys: bool },
    /// The name of a disk that is no plain stick.
    Name {
        name: String,
        reasons: Vec<String>,
        with_keys: bool,
    },
    /// Whether the keys may go.
    Forget,
    /// The name of a disk that is no plain stick, off which keys may go.
    ForgetNamed { name: String, reasons: Vec<String> },
}

/// What is to be known of keys on a stick.
const KEYS_WARNING: &str = "the keys on the stick are not encrypted: anybody who has the stick can read them";

/// Refuses what may never be taken.
pub(super) fn refuse_never(judged: &Option<Judged>) -> Result<(), Error> {
    let Some(judged) = judged else {
        return Ok(());
    };
    let Standing::Never {
        reasons,
        release,
        is_systems,
    } = &judged.standing
    else {
        return Ok(());
    };
    // What is not visible in /proc may be another landfall: then its lock says so.
    if reasons.iter().any(|reason| reason.ends_with(UNSEEN)) {
        let device = judged.block.device();
        let taken = take_now(&judged.shown(), Utf8Path::new(&device));
        if let Err(fault) = taken
            && matches!(&*fault.kind, Kind::Device(DeviceFault::DiskTaken { .. }))
        {
            return Err(fault.into());
        }
    }
    Err(Error::Refused {
        stick: judged.shown(),
        reasons: reasons.clone(),
        next: match release.as_slice() {
            [] => "use another stick: landfall flash (it lists them)".into(),
            commands => format!("{}; then the same command", commands.join("; ")),
        },
        is_systems: *is_systems,
    })
}

/// Every disk, and whether it may be taken.
pub(super) fn list(all: &[Judged], out: &mut dyn Write) -> io::Result<()> {
    let out = &mut ShownLines::on(out);
    if all.is_empty() {
        return writeln!(out, "no disks");
    }
    for judged in all {
        let mark = match judged.standing {
            Standing::Stick => "→",
            Standing::Named(_) => " ",
            Standing::Never { .. } => "✗",
        };
        let block = &judged.block;
        let removable = if block.removable { ", removable" } else { "" };
        writeln!(
            out,
            "{mark} {}  {} ({} bytes), {}{removable}",
            block.device(),
            bytes(block.identity.size_bytes),
            block.identity.size_bytes,
            block.transport
        )?;
        writeln!(
            out,
            "    {}, {}",
            words::known("model", &block.model),
            words::known("serial", &block.identity.serial)
        )?;
        if let Some(name) = &judged.name {
            writeln!(out, "    name to use: {name}")?;
        }
        for line in &judged.holds {
            writeln!(out, "    holds: {line}")?;
        }
        match &judged.standing {
            Standing::Stick => writeln!(out, "    can be written, after you type yes")?,
            Standing::Named(reasons) => {
                for reason in reasons {
                    writeln!(
                        out,
                        "    can be written only if you type its name, or give it with --erase-disk: {reason}"
                    )?;
                }
            }
            Standing::Never { reasons, release, .. } => {
                for reason in reasons {
                    writeln!(out, "    cannot be written: {reason}")?;
                }
                for command in release {
                    writeln!(out, "    frees it: {command}")?;
                }
            }
        }
    }
    let first = all.iter().find(|judged| judged.standing == Standing::Stick);
    match first {
        Some(_) => writeln!(out, "next: landfall flash IMAGE DEVICE"),
        None => writeln!(out, "next: plug a stick in, then: landfall flash"),
    }
}

/// What is going to be done.
pub(super) fn plan(plan: &Plan<'_>, out: &mut dyn Write) -> io::Result<()> {
    let out = &mut ShownLines::on(out);
    let Plan {
        image,
        digests,
        judged,
        keys,
        claimed_bytes,
        ejects,
    } = plan;
    writeln!(
        out,
        "image  {}: {} ({} bytes)",
        one_line(image.as_str()),
        bytes(digests.bytes),
        digests.bytes
    )?;
    let agreed = match &digests.agreed {
        Some(list) => format!(", as {list} says"),
        None => String::new(),
    };
    writeln!(out, "       SHA-256 {}{agreed}", hexadecimal(&digests.sha256))?;
    if let Some(why) = digests.boots_not() {
        writeln!(out, "       note: {why}")?;
    }
    writeln!(out, "stick  {}", judged.shown())?;
    for line in &judged.holds {
        writeln!(out, "       holds, and loses: {line}")?;
    }
    if judged.block.identity.sector_bytes != 512 {
        writeln!(
            out,
            "       note: its sector size is {} bytes; images are made for 512, and the firmware may not boot it",
            judged.block.identity.sector_bytes
        )?;
    }
    if *claimed_bytes > 0 {
        writeln!(
            out,
            "       an earlier run reached byte {claimed_bytes}: up to there landfall compares the stick, and writes only what differs"
        )?;
    }
    writeln!(
        out,
        "then   wipe both ends, write, flush, read everything back, and write the first MiB last{}",
        if *ejects { "; power off" } else { "" }
    )?;
    if let Some((keys, place)) = keys {
        writeln!(
            out,
            "keys   {} on a separate partition, LF-KEYS, at byte {}",
            keys.names().join(", "),
            place.from
        )?;
        writeln!(out, "       warning: {KEYS_WARNING}")?;
        writeln!(out, "       to remove them: {}", forgetting(judged))?;
        for name in &keys.passed_over {
            writeln!(
                out,
                "       not copied: {} (no installer uses it)",
                one_line(name)
            )?;
        }
    }
    Ok(())
}

/// The command that takes keys off a stick.
fn forgetting(judged: &Judged) -> String {
    let device = judged.name.clone().unwrap_or_else(|| judged.block.device());
    format!("landfall flash {}", option_word("--forget-keys", &device))
}

/// Whether there is a person to be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks; `None`: somebody wants it to stop, or there is nothing more to read.
pub(super) fn ask(
    question: &Question,
    stick: &str,
    stop: &Stop,
    out: &mut dyn Write,
) -> io::Result<Option<String>> {
    let stick = one_line(stick);
    match question {
        Question::Yes { with_keys } => {
            if *with_keys {
                writeln!(out, "Keys will be written: {KEYS_WARNING}.")?;
            }
            write!(out, "Everything on {stick} will be lost. Write to it? Type yes: ")?;
        }
        Question::Name {
            name,
            reasons,
            with_keys,
        } => {
            for reason in reasons {
                writeln!(out, "{}", one_line(reason))?;
            }
            if *with_keys {
                writeln!(out, "Keys will be written: {KEYS_WARNING}.")?;
            }
            write!(
                out,
                "Everything on {stick} will be lost. Type its name, {}, to erase it: ",
                one_line(name)
            )?;
        }
        Question::ForgetNamed { name, reasons } => {
            for reason in reasons {
                writeln!(out, "{}", one_line(reason))?;
            }
            write!(
                out,
                "The keys on {stick} will be lost. Type its name, {}, to remove them: ",
                one_line(name)
            )?;
        }
        Question::Forget => write!(out, "The keys on {stick} will be lost. Remove them? Type yes: ")?,
    }
    out.flush()?;
    let (answer, answered) = channel();
    // It ends with the process, where nobody answers.
    std::thread::spawn(move || {
        let mut line = vec![];
        let read = io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX).read_until(b'\n', &mut line);
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        // Nobody waits for the answer any more when this fails.
        drop(answer.send(read.map(|bytes| (bytes > 0).then_some(text))));
    });
    loop {
        match answered.recv_timeout(POLL) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if !stop.is_requested() => {}
            Err(_) => {
                writeln!(out)?;
                return Ok(None);
            }
        }
    }
}

fn rate(bytes: u64, seconds: f64) -> String {
    if seconds <= 0.0 {
        return String::new();
    }
    format!(" ({}/s)", words::bytes((bytes as f64 / seconds) as u64))
}

/// What was done, and what is next.
pub(super) fn end(plan: &Plan<'_>, done: &Done, ejected: &Ejected, out: &mut dyn Write) -> io::Result<()> {
    let out = &mut ShownLines::on(out);
    let Done {
        written_bytes,
        found_bytes,
        write_s,
        verify_s,
    } = done;
    let found = if *found_bytes > 0 {
        format!(", {} found there", bytes(*found_bytes))
    } else {
        String::new()
    };
    writeln!(
        out,
        "{}: holds {}; {} written in {write_s:.1} s{}{found}, all of it read back in {verify_s:.1} s{}",
        plan.judged.shown(),
        one_line(plan.image.as_str()),
        bytes(*written_bytes),
        rate(*written_bytes, *write_s),
        rate(plan.digests.bytes, *verify_s)
    )?;
    if plan.keys.is_some() {
        writeln!(out, "warning: {KEYS_WARNING}")?;
        writeln!(out, "    to remove them: {}", forgetting(plan.judged))?;
    }
    let first = match ejected {
        Ejected::Off => "unplug it (it is switched off)",
        Ejected::Nothing => "remove it (everything is flushed)",
        Ejected::Left => "unplug it (everything is flushed)",
        Ejected::Failed(why) => {
            writeln!(
                out,
                "note: it was written and verified, but could not be switched off: {why}"
            )?;
            "run sync, wait until its light stops blinking, unplug it"
        }
    };
    let then = match plan.digests.boots_not() {
        None => "plug it into the machine, and choose it in the firmware's boot menu (UEFI)",
        Some(_) => "and use it for what the image is for: firmware cannot boot it (the note above)",
    };
    writeln!(out, "next: {first}, {then}")
}

/// What would be taken off a stick.
pub(super) fn would_forget(judged: &Judged, places: &[Place], out: &mut dyn Write) -> io::Result<()> {
    let out = &mut ShownLines::on(out);
    for place in places {
        writeln!(
            out,
            "{}: {} bytes of keys from byte {} on would be overwritten with zeros, and their partition removed",
            judged.shown(),
            place.bytes,
            place.from
        )?;
    }
    Ok(())
}

pub(super) fn forgotten(judged: &Judged, out: &mut dyn Write) -> io::Result<()> {
    let out = &mut ShownLines::on(out);
    writeln!(
        out,
        "{}: the keys are overwritten with zeros, and their partition is removed; nothing else was changed",
        judged.shown()
    )?;
    writeln!(
        out,
        "next: replace keys that must stay secret; a flash chip can keep old contents in places that no program can overwrite"
    )
}

/// A failure for people.
pub(super) fn failure(error: &Error) -> Failure {
    if let Error::Fault(fault) = error {
        return Failure::from((**fault).clone());
    }
    Failure::new(
        error.exit(),
        format!(
            "{}\n    next: {}",
            one_line(&error.to_string()),
            one_line(&error.next())
        ),
    )
}

/// A failure for programs.
pub(super) fn failed(error: &Error) -> serde_json::Value {
    let mut told = ending::object(&error.to_string(), Some(&error.next()), error.exit());
    if let (Error::Differs { verdict, .. }, Some(told)) = (error, told.as_object_mut()) {
        told.insert("cause".into(), verdict.word().into());
        told.insert("first_byte".into(), verdict.first.into());
        told.insert("differing_bytes".into(), verdict.bytes.into());
    }
    told
}

/// The disks, for programs; a command that lacks something has failed.
pub(super) fn listed(all: &[Judged], missing: Option<&str>) -> serde_json::Value {
    let disks: Vec<_> = all.iter().map(Judged::told).collect();
    match missing {
        None => json!({"result": "listed", "disks": disks}),
        Some(why) => json!({
            "result": "failed",
            "why": why,
            "next": "landfall flash IMAGE DEVICE",
            "exit": Exit::Usage.code(),
            "disks": disks,
        }),
    }
}

/// What was or would be taken off a stick, for programs.
pub(super) fn told_forgotten(result: &str, judged: &Judged, places: &[Place]) -> serde_json::Value {
    let first_bytes: Vec<u64> = places.iter().map(|place| place.from).collect();
    json!({
        "result": result,
        "device": judged.block.device(),
        "partitions": places.len(),
        "first_bytes": first_bytes,
    })
}

/// What would be done, for programs.
pub(super) fn planned(plan: &Plan<'_>) -> serde_json::Value {
    json!({
        "result": "planned",
        "stick": plan.judged.told(),
        "image": plan.image,
        "sha256": hexadecimal(&plan.digests.sha256),
        "bytes": plan.digests.bytes,
        "note": plan.digests.boots_not(),
        "keys": plan.keys.map(|(keys, _)| keys.names()),
        "warning": plan.keys.map(|_| KEYS_WARNING),
    })
}

/// What was done, for programs.
pub(super) fn flashed(plan: &Plan<'_>, done: &Done, ejected: &Ejected) -> serde_json::Value {
    let eject_error = match ejected {
        Ejected::Failed(why) => Some(why),
        Ejected::Off | Ejected::Nothing | Ejected::Left => None,
    };
    // A figure that cannot be had is no failure.
    let peak_bytes = peak_bytes().map_or(serde_json::Value::Null, serde_json::Value::from);
    json!({
        "result": "flashed",
        "device": plan.judged.block.device(),
        "image": plan.image,
        "sha256": hexadecimal(&plan.digests.sha256),
        "bytes": plan.digests.bytes,
        "written_bytes": done.written_bytes,
        "found_bytes": done.found_bytes,
        "write_s": done.write_s,
        "verify_s": done.verify_s,
        "note": plan.digests.boots_not(),
        "keys": plan.keys.map(|(keys, _)| keys.names()),
        "warning": plan.keys.map(|_| KEYS_WARNING),
        "ejected": matches!(ejected, Ejected::Off),
        "eject_error": eject_error,
        "peak_bytes": peak_bytes,
    })
}
