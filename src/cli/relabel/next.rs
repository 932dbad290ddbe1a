//! The last lines of `landfall relabel`: what the next boot will do, and the next step.
//!
//! landfall never refuses a command that it printed here. `relabel::next_boot` examines the next boot.

use super::{RelabelArgs, Seen, line, options};
use crate::cli::words;
use crate::relabel::facts::Facts;
use crate::relabel::making::plan;
use crate::relabel::next_boot::{NextBoot, Sought};
use serde_json::json;
use std::io::Write;

/// What the next boot does, and the next thing to do.
pub(super) struct Next {
    state: &'static str,
    lines: Vec<String>,
    next: String,
}

pub(super) fn of(args: &RelabelArgs, seen: &Seen, next_boot: &NextBoot, applied: bool) -> Next {
    let looks_for_old = |facts: &Facts| {
        facts
            .fstab
            .iter()
            .any(|line| seen.plan.new_name_in_fstab(facts, &line.spec).is_some())
    };
    let rebuild = format!(
        "sudo nixos-rebuild boot (with a flake: --flake .#{}, after git add), then, to check the boot entry: sudo {}",
        seen.host,
        options::same(args, false)
    );
    let (state, lines) = match next_boot {
        NextBoot::Unseen(why) => ("unseen", vec![why.clone()]),
        NextBoot::Old(names) => (
            "old_names",
            names.iter().map(|name| format!("it looks for {name}")).collect(),
        ),
        NextBoot::Nowhere(lost) => ("not_booted", lost.iter().map(seeks).collect()),
        NextBoot::Broken(why) => ("not_booted", why.clone()),
        NextBoot::Unproved(why) => ("unproved", why.clone()),
        NextBoot::Proved { system } => (
            "proved",
            vec![format!("{system} uses labels, and its boot entry is correct")],
        ),
    };
    let next = match next_boot {
        NextBoot::Nowhere(lost) if !lost.iter().all(|one| is_given(seen, one)) => {
            found_again(args, seen, lost, &rebuild)
        }
        _ if seen.has_work() && !applied => format!("sudo {}", options::same(args, true)),
        NextBoot::Unseen(_) | NextBoot::Old(_) => rebuild,
        NextBoot::Nowhere(lost) => found_again(args, seen, lost, &rebuild),
        NextBoot::Broken(_) => {
            "landfall doctor --check esp (it shows the command); until then the next boot does not start the newest generation"
                .to_owned()
        }
        NextBoot::Unproved(_) => {
            "reboot when you have checked that; the generation before uses UUIDs, which did not change".to_owned()
        }
        NextBoot::Proved { .. } if looks_for_old(&seen.facts) => {
            "reboot; the generation before uses UUIDs, which did not change".to_owned()
        }
        NextBoot::Proved { .. } => "nothing: this machine already boots by its labels".to_owned(),
    };
    Next { state, lines, next }
}

/// Whether a name is one that the plan makes.
fn is_given(seen: &Seen, lost: &Sought) -> bool {
    let name = lost.spec.replace('"', "");
    let name = name
        .replace("PARTLABEL=", "/dev/disk/by-partlabel/")
        .replace("LABEL=", "/dev/disk/by-label/");
    seen.plan.changes.iter().any(|change| change.link() == name)
}

fn seeks(lost: &Sought) -> String {
    format!(
        "it looks for {} for {}, and no device of this machine has that name",
        lost.spec, lost.what
    )
}

/// What helps where the next boot looks for names that no device has: `rebuild`, or to give the labels back, where nothing else looks for
/// those that are there now.
fn found_again(args: &RelabelArgs, seen: &Seen, lost: &[Sought], rebuild: &str) -> String {
    let label = |one: &Sought| {
        let begins = ["LABEL=", "/dev/disk/by-label/"];
        let label = begins.iter().find_map(|begin| one.spec.strip_prefix(begin))?;
        Some((one.what.clone(), label.trim_matches('"').to_owned()))
    };
    let labels: Vec<(String, String)> = lost.iter().filter_map(label).collect();
    let again = options::with(args, labels.clone());
    let can_be_given =
        super::wanted(&again).is_ok_and(|wanted| plan(&seen.facts, &wanted, &seen.named).is_ok());
    let first = if labels.len() == lost.len() && can_be_given && options::checked(&again).is_ok() {
        format!(
            "sudo {} (it restores these labels); or ",
            options::same(&again, true)
        )
    } else {
        String::new()
    };
    format!("before any reboot: {first}make the configuration name the labels that exist, then {rebuild}")
}

pub(super) fn show(json: bool, next: &Next, out: &mut dyn Write) -> std::io::Result<()> {
    let Next { state, lines, next } = next;
    if json {
        return line(
            out,
            &json!({ "event": "end", "next_boot": state, "why": lines, "next": next }),
        );
    }
    let out = &mut words::ShownLines::on(out);
    writeln!(out, "next boot")?;
    for line in lines {
        writeln!(out, "    {line}")?;
    }
    writeln!(out, "next: {next}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::real::mount::table::parse_mountinfo;
    use crate::relabel::facts::{Content, Device, fstab};
    use crate::relabel::nix_file::Place;
    use crate::relabel::plan::{InFile, Wanted};
    use clap::Parser;

    /// A host `h` whose root has the label `root-h`, as it would be made.
    fn seen(named: Vec<InFile>) -> Seen {
        let device = Device {
            path: "/dev/sda2".into(),
            node: "/dev/sda2".into(),
            dev: (8, 2),
            kind: "part".into(),
            content: Some(Content {
                kind: "ext4".into(),
                uuid: Some("8f1c".into()),
                label: Some("root-h".into()),
                ..Content::default()
            }),
            ..Device::default()
        };
        let mount = parse_mountinfo("22 1 8:2 / / rw - ext4 /dev/sda2 rw\n")
            .unwrap()
            .remove(0);
        let facts = Facts {
            devices: vec![device],
            mounts: vec![(mount, Some((8, 2)))],
            fstab: fstab("UUID=8f1c / ext4 defaults 0 1\n"),
            ..Facts::default()
        };
        let wanted = Wanted {
            host: "h".into(),
            ..Wanted::default()
        };
        let plan = plan(&facts, &wanted, &named).unwrap();
        Seen {
            host: "h".into(),
            files: vec![],
            named,
            facts,
            plan,
            next: NextBoot::Unseen(String::new()),
        }
    }

    fn said(seen: &Seen, next_boot: &NextBoot) -> (String, String) {
        let words = ["landfall", "relabel", "--file", "a.nix"];
        let Command::Relabel(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("relabel is relabel");
        };
        let next = of(&args, seen, next_boot, false);
        (format!("{}: {}", next.state, next.lines.join(", ")), next.next)
    }

    #[test]
    fn a_next_boot_that_finds_nothing_is_told_with_what_is_not_refused() {
        let lost = |spec: &str| {
            NextBoot::Nowhere(vec![Sought {
                spec: spec.into(),
                what: "/".into(),
            }])
        };
        let (state, next) = said(&seen(vec![]), &lost("/dev/disk/by-label/main"));
        assert_eq!(
            state,
            "not_booted: it looks for /dev/disk/by-label/main for /, and no device of this machine has that name"
        );
        let back = "sudo landfall relabel --apply --root main --file a.nix";
        assert!(
            next.starts_with(&format!("before any reboot: {back} (it restores")),
            "{next}"
        );
        // A file that looks for the label that is there: that would be refused.
        let file = InFile {
            file: "a.nix".into(),
            line: 1,
            place: Place::Filesystem("/".into()),
            device: Ok("/dev/disk/by-label/root-h".into()),
        };
        let (_, next) = said(&seen(vec![file]), &lost("LABEL=main"));
        assert!(
            next.starts_with(
                "before any reboot: make the configuration name the labels that exist, then sudo nixos-rebuild"
            ),
            "{next}"
        );
        // Another kind of name is given by nobody.
        let (_, next) = said(&seen(vec![]), &lost("UUID=0000"));
        assert!(!next.contains("--apply"), "{next}");
        // The control: a name that the plan makes.
        let mut fresh = seen(vec![]);
        fresh.plan.changes[0].old = None;
        let (_, next) = said(&fresh, &lost("LABEL=root-h"));
        assert_eq!(next, "sudo landfall relabel --apply --file a.nix");
    }
}
