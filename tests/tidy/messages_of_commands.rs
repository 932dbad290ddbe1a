//! One example of every error of `flash`, `host new`, `relabel` and `image`. A part of `tidy.rs`.
//!
//! Each name comes from a match without a wildcard, and the test compares the names with the sources, so a new error needs an example.

// Long because: it has an example of every error of four commands.

use super::{Message, placeholder};
use crate::root;
use fs_err as fs;
use landfall::cli::Failure;
use landfall::flash::difference::{Cause, Verdict};
use landfall::flash::error::Error as FlashError;
use landfall::hosts::error::HostError;
use landfall::image::Error as ImageError;
use landfall::image::Verb;
use landfall::real::volume::root_image;
use landfall::relabel::RelabelError;
use landfall::relabel::nix_file::NixError;
use landfall::relabel::problem::Problem;
use landfall::relabel::table_name::TableError;
use landfall_states::fault::{DeviceFault, Fault, FaultClass, Remedy};
use landfall_states::names::BadValue;
use std::collections::BTreeSet;
use std::io;
use uuid::Uuid;

fn text(field: &str) -> String {
    placeholder(field)
}

fn error() -> io::Error {
    io::Error::other("REASON")
}

fn bad_value() -> BadValue {
    BadValue {
        what: "label",
        value: text("value"),
        allowed: "ALLOWED",
    }
}

fn verdicts() -> Vec<Verdict> {
    [
        Cause::ImageChanged,
        Cause::Wraps {
            written: 162,
            read: 161,
            real_bytes: 163,
        },
        Cause::EndsAt(164),
        Cause::Unsteady,
        Cause::Lost,
    ]
    .into_iter()
    .map(|cause| Verdict {
        first: 165,
        bytes: 166,
        chunks: (167, 168),
        says_bytes: 169,
        cause,
    })
    .collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one row for each error, and one for its name"
)]
fn of_flash() -> Vec<(&'static str, FlashError)> {
    let (stick, path, next, again) = (
        || text("stick"),
        || text("path"),
        || text("next"),
        || text("command"),
    );
    let mut errors = vec![
        FlashError::from(Fault::from(DeviceFault::DiskAway {
            disk: stick(),
            replaced: false,
        })),
        FlashError::Source {
            path: path(),
            at: 171,
            error: error(),
        },
        FlashError::Packed {
            path: path(),
            packing: "PACKING",
            reason: text("reason"),
            at: 171,
        },
        FlashError::NoImage {
            path: path(),
            reason: text("reason"),
            next: next(),
        },
        FlashError::Digest {
            path: path(),
            list: text("list"),
            expected: text("expected"),
            found: text("found"),
        },
        FlashError::List {
            list: text("list"),
            reason: text("reason"),
        },
        FlashError::Changed {
            path: path(),
            at: 171,
        },
        FlashError::TooSmall {
            stick: stick(),
            has_bytes: 171,
            wanted_bytes: 172,
            is_all: true,
        },
        FlashError::Stick {
            stick: stick(),
            doing: "written",
            at: 171,
            error: error(),
        },
        FlashError::Gone {
            stick: stick(),
            at: 171,
            total_bytes: 172,
            again: again(),
        },
        FlashError::Stopped {
            at: 171,
            total_bytes: 172,
            again: again(),
        },
        FlashError::KeysLeft {
            stick: stick(),
            at: 171,
            again: again(),
        },
        FlashError::StoppedBefore { doing: text("step") },
        FlashError::Refused {
            stick: stick(),
            reasons: vec![text("reason")],
            next: next(),
            is_systems: false,
        },
        FlashError::Name {
            given: text("name"),
            reason: text("reason"),
        },
        FlashError::NoneNamed { option: "--OPTION" },
        FlashError::NoConsent {
            stick: stick(),
            reason: text("reason"),
            next: next(),
            declined: false,
        },
        FlashError::NoRecord {
            stick: stick(),
            reason: text("reason"),
            next: next(),
        },
        FlashError::Keys {
            reason: text("reason"),
            next: next(),
        },
        FlashError::Record {
            path: path(),
            error: error(),
        },
        FlashError::Internal(error()),
    ];
    errors.extend(verdicts().into_iter().map(|verdict| FlashError::Differs {
        stick: stick(),
        verdict,
    }));
    let name = |error: &FlashError| match error {
        FlashError::Fault(_) => "Fault",
        FlashError::Source { .. } => "Source",
        FlashError::Packed { .. } => "Packed",
        FlashError::NoImage { .. } => "NoImage",
        FlashError::Digest { .. } => "Digest",
        FlashError::List { .. } => "List",
        FlashError::Changed { .. } => "Changed",
        FlashError::TooSmall { .. } => "TooSmall",
        FlashError::Stick { .. } => "Stick",
        FlashError::Gone { .. } => "Gone",
        FlashError::Differs { .. } => "Differs",
        FlashError::Stopped { .. } => "Stopped",
        FlashError::KeysLeft { .. } => "KeysLeft",
        FlashError::StoppedBefore { .. } => "StoppedBefore",
        FlashError::Refused { .. } => "Refused",
        FlashError::Name { .. } => "Name",
        FlashError::NoneNamed { .. } => "NoneNamed",
        FlashError::NoConsent { .. } => "NoConsent",
        FlashError::NoRecord { .. } => "NoRecord",
        FlashError::Keys { .. } => "Keys",
        FlashError::Record { .. } => "Record",
        FlashError::Internal(_) => "Internal",
    };
    errors.into_iter().map(|error| (name(&error), error)).collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one row for each error, and one for its name"
)]
fn of_hosts() -> Vec<(&'static str, HostError)> {
    let (path, reason, next) = (|| text("path").into(), || text("reason"), || text("next"));
    let fault = || {
        Fault::injected(
            landfall_states::fault::FaultClass::NeedsChange,
            text("program"),
            text("reason"),
        )
        .with_next(Remedy::words("NEXT"))
    };
    let errors = vec![
        HostError::Name(bad_value()),
        HostError::Argument {
            option: "--OPTION",
            value: text("value"),
            reason: reason(),
            next: next(),
        },
        HostError::NoRepository {
            dir: path(),
            reason: reason(),
            next: next(),
        },
        HostError::Hidden {
            files: vec![text("file")],
            next: next(),
        },
        HostError::Sparse {
            root: path(),
            first: text("file").into(),
        },
        HostError::NoFlake {
            path: path(),
            reason: reason(),
            next: next(),
        },
        HostError::Exists {
            name: text("host"),
            what: reason(),
        },
        HostError::Dirty {
            files: vec![text("file")],
        },
        HostError::Parse {
            path: path(),
            reason: reason(),
        },
        HostError::Evaluate {
            what: text("flake"),
            reason: format!("the network failed: {}", reason()),
            next: "check the network, or the address of the input in flake.nix, then run the command again"
                .into(),
            class: Some(FaultClass::Transient),
        },
        HostError::Evaluate {
            what: text("flake"),
            reason: reason(),
            next: "correct it (nix flake show shows the whole message)".into(),
            class: None,
        },
        HostError::Declined {
            reason: reason(),
            lines: text("lines"),
        },
        HostError::WithoutEffect {
            reason: reason(),
            lines: text("lines"),
        },
        HostError::Lost(vec![text("attribute")]),
        HostError::RulesDeclined {
            path: path(),
            reason: reason(),
            lines: text("lines"),
            next: next(),
        },
        HostError::OtherFinished(text("host")),
        HostError::Secret {
            path: path(),
            reason: reason(),
            next: next(),
        },
        HostError::Identity {
            path: path(),
            reason: reason(),
        },
        HostError::Keys {
            path: path(),
            reason: reason(),
            next: next(),
        },
        HostError::Locked(path()),
        HostError::Conflict {
            path: path(),
            staged: text("staged").into(),
        },
        HostError::ChangedMeanwhile { path: path() },
        HostError::Git {
            what: text("command"),
            reason: reason(),
            next: next(),
        },
        HostError::File {
            path: path(),
            reason: reason(),
            next: "NEXT",
        },
        HostError::Program(Box::new(fault())),
    ];
    let name = |error: &HostError| match error {
        HostError::Name(_) => "Name",
        HostError::Argument { .. } => "Argument",
        HostError::NoRepository { .. } => "NoRepository",
        HostError::Hidden { .. } => "Hidden",
        HostError::Sparse { .. } => "Sparse",
        HostError::NoFlake { .. } => "NoFlake",
        HostError::Exists { .. } => "Exists",
        HostError::Dirty { .. } => "Dirty",
        HostError::Parse { .. } => "Parse",
        HostError::Evaluate { .. } => "Evaluate",
        HostError::Declined { .. } => "Declined",
        HostError::WithoutEffect { .. } => "WithoutEffect",
        HostError::Lost(_) => "Lost",
        HostError::RulesDeclined { .. } => "RulesDeclined",
        HostError::OtherFinished(_) => "OtherFinished",
        HostError::Secret { .. } => "Secret",
        HostError::Identity { .. } => "Identity",
        HostError::Keys { .. } => "Keys",
        HostError::Locked(_) => "Locked",
        HostError::Conflict { .. } => "Conflict",
        HostError::ChangedMeanwhile { .. } => "ChangedMeanwhile",
        HostError::Git { .. } => "Git",
        HostError::File { .. } => "File",
        HostError::Program(_) => "Program",
    };
    errors.into_iter().map(|error| (name(&error), error)).collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one row for each error, and one for its name"
)]
fn of_relabel() -> Vec<(&'static str, RelabelError)> {
    let (file, device) = (|| text("file").into(), || text("device").into());
    let table = |why| RelabelError::Table {
        disk: text("disk").into(),
        why,
    };
    let errors = vec![
        RelabelError::Problems(vec![]),
        RelabelError::Unread {
            file: file(),
            why: text("reason"),
        },
        RelabelError::NoSystem {
            file: file(),
            why: text("reason"),
        },
        RelabelError::Nix {
            file: file(),
            why: NixError::Syntax { line: 171 },
        },
        RelabelError::Nix {
            file: file(),
            why: NixError::Edited(text("reason")),
        },
        RelabelError::Changed(file()),
        RelabelError::Unknown {
            what: text("output"),
            why: text("reason"),
        },
        RelabelError::Dirty(device()),
        RelabelError::StillUsed {
            device: device(),
            at: text("mount_point").into(),
        },
        RelabelError::Moved(device()),
        RelabelError::ReadBack {
            device: device(),
            wanted: text("wanted"),
            found: text("found"),
        },
        table(TableError::Io(error())),
        table(TableError::Copy { copy: "first" }),
        table(TableError::Differ),
        table(TableError::NoPartition {
            number: 171,
            partuuid: Uuid::nil(),
        }),
        table(TableError::NoRoom { sectors: 171 }),
        table(TableError::ReadBack),
        RelabelError::Link {
            link: text("link"),
            device: device(),
            found: text("found"),
        },
        RelabelError::Stopped,
        RelabelError::NotPutBack {
            first: Box::new(RelabelError::Moved(device())),
            at: text("mount_point"),
            then: Box::new(RelabelError::Fault(Fault::of(
                landfall_states::fault::Kind::Stopped { by: None },
                Remedy::resume(),
            ))),
        },
        RelabelError::Fault(Fault::of(
            landfall_states::fault::Kind::Stopped { by: None },
            Remedy::resume(),
        )),
    ];
    let name = |error: &RelabelError| match error {
        RelabelError::Problems(_) => "Problems",
        RelabelError::Unread { .. } => "Unread",
        RelabelError::NoSystem { .. } => "NoSystem",
        RelabelError::Nix { .. } => "Nix",
        RelabelError::Changed(_) => "Changed",
        RelabelError::Unknown { .. } => "Unknown",
        RelabelError::Dirty(_) => "Dirty",
        RelabelError::StillUsed { .. } => "StillUsed",
        RelabelError::Moved(_) => "Moved",
        RelabelError::ReadBack { .. } => "ReadBack",
        RelabelError::Table { .. } => "Table",
        RelabelError::Link { .. } => "Link",
        RelabelError::Stopped => "Stopped",
        RelabelError::NotPutBack { .. } => "NotPutBack",
        RelabelError::Fault(_) => "Fault",
    };
    errors.into_iter().map(|error| (name(&error), error)).collect()
}

fn problems() -> Vec<(&'static str, Problem)> {
    let (what, device) = (|| text("mount_point"), || text("device").into());
    let all = vec![
        Problem::RootUnknown { spec: text("spec") },
        Problem::NoRoot,
        Problem::Nothing {
            what: what(),
            label: text("label"),
            why: "REASON",
        },
        Problem::Label {
            what: what(),
            device: device(),
            why: bad_value(),
        },
        Problem::Taken {
            what: what(),
            device: device(),
            label: text("label"),
            folder: "by-label",
            other: text("other").into(),
        },
        Problem::Twice {
            label: text("label"),
            one: text("one"),
            other: text("other"),
        },
        Problem::BootsByIt {
            what: what(),
            device: device(),
            old: text("label"),
            by: text("generation"),
            given_up: None,
        },
        Problem::Doubt {
            what: what(),
            device: device(),
            why: text("reason"),
        },
        Problem::ReadOnly {
            what: what(),
            device: device(),
            at: text("mount_point").into(),
        },
        Problem::Mounts {
            what: what(),
            device: device(),
            at: vec![text("first"), text("second")],
        },
        Problem::SwapFull {
            what: what(),
            device: device(),
            used: 171,
            room: 172,
        },
    ];
    let name = |problem: &Problem| match problem {
        Problem::RootUnknown { .. } => "RootUnknown",
        Problem::NoRoot => "NoRoot",
        Problem::Nothing { .. } => "Nothing",
        Problem::Label { .. } => "Label",
        Problem::Taken { .. } => "Taken",
        Problem::Twice { .. } => "Twice",
        Problem::BootsByIt { .. } => "BootsByIt",
        Problem::Doubt { .. } => "Doubt",
        Problem::ReadOnly { .. } => "ReadOnly",
        Problem::Mounts { .. } => "Mounts",
        Problem::SwapFull { .. } => "SwapFull",
    };
    all.into_iter().map(|problem| (name(&problem), problem)).collect()
}

fn of_images() -> Vec<(&'static str, ImageError)> {
    let part = || text("part");
    let all = vec![
        ImageError::Foreign,
        ImageError::Truncated {
            found: 171,
            wanted: 172,
        },
        ImageError::Newer { version: 171 },
        ImageError::Damaged(text("reason")),
        ImageError::SourceRead {
            part: part(),
            error: error(),
        },
        ImageError::SourceBytes { part: part() },
        ImageError::Target {
            verb: Verb::Write,
            at: 171,
            bytes: 172,
            error: error(),
        },
        ImageError::TargetBytes { part: part() },
        ImageError::TargetRead {
            part: part(),
            error: error(),
        },
        ImageError::Differs { part: part() },
        ImageError::Missing,
        ImageError::NoFile("FIFO"),
        ImageError::TooSmall {
            found: 171,
            wanted: 172,
        },
        ImageError::NotExt4(text("reason")),
        ImageError::Io {
            what: text("file"),
            error: error(),
        },
        ImageError::Stopped,
        ImageError::Worker,
    ];
    let name = |error: &ImageError| match error {
        ImageError::Foreign => "Foreign",
        ImageError::Truncated { .. } => "Truncated",
        ImageError::Newer { .. } => "Newer",
        ImageError::Damaged(_) => "Damaged",
        ImageError::SourceRead { .. } => "SourceRead",
        ImageError::SourceBytes { .. } => "SourceBytes",
        ImageError::Target { .. } => "Target",
        ImageError::TargetBytes { .. } => "TargetBytes",
        ImageError::TargetRead { .. } => "TargetRead",
        ImageError::Differs { .. } => "Differs",
        ImageError::Missing => "Missing",
        ImageError::NoFile(_) => "NoFile",
        ImageError::TooSmall { .. } => "TooSmall",
        ImageError::NotExt4(_) => "NotExt4",
        ImageError::Io { .. } => "Io",
        ImageError::Stopped => "Stopped",
        ImageError::Worker => "Worker",
    };
    all.into_iter().map(|error| (name(&error), error)).collect()
}

/// The text and the next step of a failure.
fn parts(failure: &Failure) -> (String, String) {
    match failure.text.rsplit_once("\n    next: ") {
        Some((text, next)) => (text.to_owned(), next.to_owned()),
        None => (failure.text.clone(), String::new()),
    }
}

/// Every message of these commands.
pub(super) fn messages() -> Vec<Message> {
    let mut all = vec![];
    for (kind, error) in of_flash() {
        all.push(Message {
            part: "`landfall flash`",
            kind: kind.to_owned(),
            class: None,
            exit: error.exit(),
            text: error.to_string(),
            next: error.next(),
        });
    }
    for (kind, error) in of_hosts() {
        let failure = Failure::from(error);
        let (text, next) = parts(&failure);
        all.push(Message {
            part: "`landfall host new`",
            kind: kind.to_owned(),
            class: None,
            exit: failure.exit,
            text,
            next,
        });
    }
    for (kind, error) in of_relabel() {
        all.push(Message {
            part: "`landfall relabel`",
            kind: kind.to_owned(),
            class: None,
            exit: error.exit(),
            text: error.to_string(),
            next: error.remedy(),
        });
    }
    for (kind, problem) in problems() {
        all.push(Message {
            part: "Problems of a plan of `landfall relabel`",
            kind: kind.to_owned(),
            class: None,
            exit: RelabelError::Problems(vec![]).exit(),
            text: problem.to_string(),
            next: problem.remedy(),
        });
    }
    for (kind, error) in of_images() {
        let fault = root_image::fault("image IMAGE", error);
        all.push(super::of_fault(
            "Images, as an install reports them",
            kind.to_owned(),
            &fault,
        ));
    }
    all
}

/// The variants of an enum in a source.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let body = source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap();
    let body = body.split("\n}\n").next().unwrap();
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_ascii_alphanumeric()).collect())
        .collect()
}

#[test]
fn every_error_of_a_command_has_a_message() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let names = |all: Vec<&'static str>| all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    for (file, name, told) in [
        (
            "src/flash/error.rs",
            "Error",
            names(of_flash().iter().map(|(name, _)| *name).collect()),
        ),
        (
            "src/hosts/error.rs",
            "HostError",
            names(of_hosts().iter().map(|(name, _)| *name).collect()),
        ),
        (
            "src/relabel/mod.rs",
            "RelabelError",
            names(of_relabel().iter().map(|(name, _)| *name).collect()),
        ),
        (
            "src/relabel/problem.rs",
            "Problem",
            names(problems().iter().map(|(name, _)| *name).collect()),
        ),
        (
            "src/image/mod.rs",
            "Error",
            names(of_images().iter().map(|(name, _)| *name).collect()),
        ),
    ] {
        assert_eq!(variants(&read(file), name), told, "{file}");
    }
    // The control: an error that was added to a copy of the source.
    let copy = "pub enum Error {\n    /// One.\n    One,\n    /// Of tomorrow.\n    Tomorrow {\n        /// It.\n        it: u8,\n    },\n}\n";
    assert_eq!(
        variants(copy, "Error"),
        BTreeSet::from(["One".to_owned(), "Tomorrow".to_owned()])
    );
}
