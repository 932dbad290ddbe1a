//! The options of `landfall relabel`.
//!
//! Errors in the options themselves are reported before the machine is examined. `relabel::making` checks whether the machine has
//! what they name.

use super::RelabelArgs;
use crate::cli::Failure;
use crate::exit::Exit;
use crate::real::disk::usage::{option_word, shell};
use crate::relabel::label::Bearer;
use crate::relabel::problem;
use landfall_states::names::quoted;

/// A mount point or the name of a mapping, and its label.
pub(super) fn further(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((what, label)) if !what.is_empty() && !label.is_empty() => {
            Ok((what.to_owned(), label.to_owned()))
        }
        Some(_) | None => {
            Err("give a mount point or the name of a mapping, and a label: /home=home-web".to_owned())
        }
    }
}

/// An option that is there.
struct Given<'a> {
    /// As it is typed.
    typed: String,
    /// The same for another label.
    other: String,
    label: &'a str,
    /// What may bear it at most.
    bearer: Bearer,
}

fn given(args: &RelabelArgs) -> Vec<Given<'_>> {
    let own = [
        ("--esp", &args.esp, Bearer::Fat),
        // What bears it is seen on the machine; a Btrfs takes the longest.
        ("--root", &args.root, Bearer::Btrfs),
        ("--luks", &args.luks, Bearer::Luks2),
        ("--swap", &args.swap, Bearer::Swap),
    ];
    let own = own.into_iter().filter_map(|(option, label, bearer)| {
        let label = label.as_deref()?;
        Some(Given {
            typed: option_word(option, label),
            other: format!("{option} LABEL"),
            label,
            bearer,
        })
    });
    let more = args.label.iter().map(|(what, label)| Given {
        typed: problem::further(what, label),
        other: problem::further(what, "LABEL"),
        label,
        bearer: Bearer::Btrfs,
    });
    own.chain(more).collect()
}

/// What is wrong with the options, whatever the machine has.
pub(super) fn checked(args: &RelabelArgs) -> Result<(), Failure> {
    let refused = |text: String| Err(Failure::new(Exit::Usage, text));
    for (at, (what, label)) in args.label.iter().enumerate() {
        if what == "/" {
            return refused(format!(
                "--label /={label}: the label of / is set by another option\n    next: --root {}",
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
                "{}: {what} is given twice, also with {}\n    next: leave one of them out",
                problem::further(what, label),
                quoted(other)
            ));
        }
    }
    let given = given(args);
    for (at, one) in given.iter().enumerate() {
        let Given { typed, other, .. } = one;
        if let Err(why) = one.bearer.check(one.label) {
            return refused(format!("{typed}: {why}\n    next: {other}, with another label"));
        }
        if let Some(known) = given.iter().take(at).find(|known| known.label == one.label) {
            return refused(format!(
                "{typed}: {} has the same label, and /dev/disk/by-label has one link for each label\n    next: {other}, with another label",
                known.typed
            ));
        }
    }
    Ok(())
}

/// The same options, with these labels for these things.
pub(super) fn with(args: &RelabelArgs, labels: Vec<(String, String)>) -> RelabelArgs {
    let mut args = args.clone();
    for (what, label) in labels {
        match what.as_str() {
            "/" => args.root = Some(label),
            "/boot" | "/efi" | "/boot/efi" => args.esp = Some(label),
            "swap" => args.swap = Some(label),
            _ => {
                args.label.retain(|(known, _)| *known != what);
                args.label.push((what, label));
            }
        }
    }
    args
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
    let mut option = |name: &str, value: &str| words.push(option_word(name, value));
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
        assert_eq!(
            same(&args(&["--root", "-x"]), false),
            "landfall relabel --root=-x"
        );
        let labels = [
            ("/", "main"),
            ("/my data", "data"),
            ("swap", "s"),
            ("/boot", "ESP"),
        ];
        let labels = labels.map(|(what, label)| (what.to_owned(), label.to_owned()));
        assert_eq!(
            same(
                &with(&args(&["--root", "other", "--file", "z.nix"]), labels.into()),
                true
            ),
            "landfall relabel --apply --esp ESP --root main --swap s --label '/my data=data' --file z.nix"
        );
    }

    #[test]
    fn what_is_wrong_by_itself_is_refused_with_what_to_do() {
        for (words, why) in [
            (vec!["--label", "/=x"], "--root x"),
            (vec!["--label", "a/b=x"], "neither a mount point"),
            (vec!["--label", "/a/../b=x"], "neither a mount point"),
            (vec!["--label", "/a=x", "--label", "/a=y"], "given twice"),
            (vec!["--esp", "esp"], "FAT label"),
            (vec!["--esp", "TWELVE-CHARS"], "FAT label"),
            (vec!["--swap", "sixteen-chars-xx"], "swap label"),
            (vec!["--root", "a b"], "characters"),
            (vec!["--luks", ".."], "characters"),
            (vec!["--label", "/a=\u{e9}"], "characters"),
            (
                vec!["--root", "x", "--swap", "x"],
                "--swap x: --root x has the same label",
            ),
            (
                vec!["--root", "x", "--label", "/a=x"],
                "--label /a=x: --root x has the same label, and /dev/disk/by-label has one link for each label\n    next: --label /a=LABEL, with",
            ),
            (
                vec!["--label", "/my data=x", "--label", "c=x"],
                "--label c=x: --label '/my data=x' has the same label",
            ),
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
