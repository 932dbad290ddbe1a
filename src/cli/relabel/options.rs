//! The options of `landfall relabel`. Law: what is wrong with them by themselves is told before anything of the machine is looked at.
//!
//! Absent: whether the machine has what they name (`relabel::making`).

use super::RelabelArgs;
use crate::cli::Failure;
use crate::exit::Exit;
use crate::real::disk::usage::shell;
use crate::relabel::label::Bearer;
use landfall_states::names::quoted;

/// A mount point or the name of a mapping, and its label.
pub(super) fn further(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((what, label)) if !what.is_empty() && !label.is_empty() => {
            Ok((what.to_owned(), label.to_owned()))
        }
        Some(_) | None => {
            Err("a mount point or the name of a mapping, and a label: /home=home-web".to_owned())
        }
    }
}

/// The options that are there, each with its label, and what may bear that at most.
fn labels(args: &RelabelArgs) -> Vec<(String, &str, Bearer)> {
    let own = [
        ("--esp", &args.esp, Bearer::Fat),
        // What bears it is seen on the machine; a Btrfs takes the longest.
        ("--root", &args.root, Bearer::Btrfs),
        ("--luks", &args.luks, Bearer::Luks2),
        ("--swap", &args.swap, Bearer::Swap),
    ];
    let own = own
        .into_iter()
        .filter_map(|(option, label, bearer)| Some((option.to_owned(), label.as_deref()?, bearer)));
    let more = args.label.iter().map(|(what, label)| {
        let option = format!("--label {}", shell(&format!("{what}=")));
        (option, label.as_str(), Bearer::Btrfs)
    });
    own.chain(more).collect()
}

/// What is wrong with the options, whatever the machine has.
pub(super) fn checked(args: &RelabelArgs) -> Result<(), Failure> {
    let refused = |text: String| Err(Failure::new(Exit::Usage, text));
    for (at, (what, label)) in args.label.iter().enumerate() {
        if what == "/" {
            return refused(format!(
                "--label /={label}: the label of / has an option of its own\n    next: --root {}",
                shell(label)
            ));
        }
        let is_path = what.starts_with('/');
        if !is_path && what.contains('/')
            || is_path
                && what
                    .split('/')
                    .skip(1)
                    .any(|part| matches!(part, "" | "." | ".."))
        {
            return refused(format!(
                "--label {}: it is neither a mount point, such as /home, nor the name of a mapping\n    next: --label /home={}",
                quoted(&format!("{what}={label}")),
                shell(label)
            ));
        }
        if let Some((_, other)) = args.label.iter().take(at).find(|(known, _)| known == what) {
            return refused(format!(
                "--label {what}={label}: {what} is given another time, with {}\n    next: leave one of them out",
                quoted(other)
            ));
        }
    }
    let labels = labels(args);
    for (at, (option, label, bearer)) in labels.iter().enumerate() {
        if let Err(why) = bearer.check(label) {
            return refused(format!(
                "{option} {}: {why}\n    next: {option} with another label",
                quoted(label)
            ));
        }
        if let Some((other, _, _)) = labels.iter().take(at).find(|(_, known, _)| known == label) {
            return refused(format!(
                "{option} {label}: {other} has the same label, and /dev/disk/by-label knows one of each\n    next: {option} with another label"
            ));
        }
    }
    Ok(())
}

/// The same command, without `--apply` or with it.
pub(super) fn same(args: &RelabelArgs, apply: bool) -> String {
    let RelabelArgs {
        apply: _,
        config,
        esp,
        root,
        luks,
        swap,
        label,
        file,
        json,
    } = args;
    let mut words = vec!["landfall relabel".to_owned()];
    if apply {
        words.push("--apply".to_owned());
    }
    let mut option = |name: &str, value: &str| words.push(format!("{name} {}", shell(value)));
    if let Some(config) = config {
        option("--config", config.as_str());
    }
    for (name, value) in [
        ("--esp", esp),
        ("--root", root),
        ("--luks", luks),
        ("--swap", swap),
    ] {
        if let Some(value) = value {
            option(name, value);
        }
    }
    for (what, label) in label {
        option("--label", &format!("{what}={label}"));
    }
    for file in file {
        option("--file", file.as_str());
    }
    if *json {
        words.push("--json".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(words: &[&str]) -> RelabelArgs {
        let words = ["landfall", "relabel"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Relabel(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// Words, some of them in single quotes.
    fn read_by_shell(text: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut escaped) = (vec![], String::new(), false, false);
        for c in text.chars() {
            match c {
                _ if escaped => {
                    word.push(c);
                    escaped = false;
                }
                '\\' if !quoted => escaped = true,
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words.push(word);
        words
    }

    #[test]
    fn the_same_command_is_read_back_as_the_same() {
        let given = [
            "--config",
            "a b.ron",
            "--esp",
            "E",
            "--root",
            "r",
            "--luks",
            "l",
            "--swap",
            "s",
            "--label",
            "/my data=it's",
            "--label",
            "crypt=c",
            "--file",
            "x y.nix",
            "--file",
            "z.nix",
            "--json",
        ];
        let first = args(&given);
        for apply in [false, true] {
            let text = same(&first, apply);
            // As a shell reads it: quotes hold a word together.
            let words = read_by_shell(&text);
            let words: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
            let again = args(&words);
            assert_eq!(again.apply, apply);
            let wanted = RelabelArgs {
                apply,
                ..first.clone()
            };
            assert_eq!(format!("{again:?}"), format!("{wanted:?}"));
        }
        assert_eq!(same(&args(&[]), false), "landfall relabel", "the control");
    }

    #[test]
    fn what_is_wrong_by_itself_is_refused_with_what_to_do() {
        for (words, why) in [
            (vec!["--label", "/=x"], "--root x"),
            (vec!["--label", "a/b=x"], "neither a mount point"),
            (vec!["--label", "/a/../b=x"], "neither a mount point"),
            (vec!["--label", "/a=x", "--label", "/a=y"], "another time"),
            (vec!["--esp", "esp"], "FAT label"),
            (vec!["--esp", "TWELVE-CHARS"], "FAT label"),
            (vec!["--swap", "sixteen-chars-xx"], "swap label"),
            (vec!["--root", "a b"], "characters"),
            (vec!["--luks", ".."], "characters"),
            (vec!["--label", "/a=\u{e9}"], "characters"),
            (vec!["--root", "x", "--swap", "x"], "same label"),
            (vec!["--root", "x", "--label", "/a=x"], "same label"),
        ] {
            let failure = checked(&args(&words)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(
                failure.text.contains(why) && failure.text.contains("\n    next: "),
                "{words:?}: {}",
                failure.text
            );
        }
        for words in [
            vec![],
            vec![
                "--esp", "ESP-WEB", "--root", "root-web", "--luks", "luks-web", "--swap", "swap-web",
            ],
            vec![
                "--label",
                "/home=home",
                "--label",
                "crypt=c",
                "--label",
                "/boot=boot",
            ],
        ] {
            checked(&args(&words)).unwrap();
        }
    }
}
