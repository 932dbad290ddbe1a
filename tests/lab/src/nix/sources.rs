//! Tier 0: every Nix file as text.
//!
//! Each check is a function over a text and catches a bad sample (see the tests).
//!
//! `nix::evaluated` says what a file means.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fs_err as fs;

use super::Checked;
use crate::command::Program;

/// Where Nix files are.
const PLACES: [&str; 6] = [
    "flake.nix",
    "default.nix",
    "nix",
    "examples",
    "templates",
    "tests/lab/closure",
];

/// Every check.
pub fn check(workspace: &Path) -> Result<Vec<Checked>> {
    let files = files(workspace)?;
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(workspace).unwrap_or(file);
            Ok((name.display().to_string(), fs::read_to_string(file)?))
        })
        .collect::<Result<_>>()?;
    let each = |check: fn(&str) -> Vec<String>| -> Vec<String> {
        texts
            .iter()
            .flat_map(|(name, text)| check(text).into_iter().map(move |c| format!("{name}: {c}")))
            .collect()
    };
    let count = files.len();
    Ok(vec![
        Checked::new(
            format!("tier 0: {count} files are found"),
            if count < 20 {
                vec![format!("only {count}: the search looks in the wrong place")]
            } else {
                vec![]
            },
        ),
        Checked::new(format!("tier 0: {count} files parse"), parsed(&files)?),
        Checked::new(format!("tier 0: {count} files are formatted"), each(unformatted)),
        Checked::new(format!("tier 0: {count} files have no dead code"), each(dead)),
        Checked::new(
            format!("tier 0: {count} files open with what they hold"),
            each(unopened),
        ),
    ])
}

/// Writes every file as nixfmt would.
pub fn format(workspace: &Path) -> Result<()> {
    for file in files(workspace)? {
        let text = fs::read_to_string(&file)?;
        match nixfmt_rs::format(&text) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) => fs::write(&file, formatted)?,
            Err(error) => bail!(
                "{}: {}",
                file.display(),
                nixfmt_rs::format_error(&text, None, &error)
            ),
        }
    }
    Ok(())
}

fn files(workspace: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = PLACES.iter().map(|place| workspace.join(place)).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "nix") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What Nix itself says of the syntax.
fn parsed(files: &[PathBuf]) -> Result<Vec<String>> {
    let output = Program::new("nix-instantiate")
        .arg("--parse")
        .args(files)
        .output()?;
    Ok(if output.status == 0 {
        vec![]
    } else {
        vec![output.error_text()]
    })
}

/// Whether nixfmt would write it otherwise.
fn unformatted(text: &str) -> Vec<String> {
    match nixfmt_rs::format(text) {
        Ok(formatted) if formatted == text => vec![],
        Ok(formatted) => {
            let line = text
                .lines()
                .zip(formatted.lines())
                .position(|(ours, theirs)| ours != theirs)
                .map_or_else(|| text.lines().count(), |line| line + 1);
            vec![format!("line {line}: not formatted; run nixfmt")]
        }
        Err(error) => vec![nixfmt_rs::format_error(text, None, &error)],
    }
}

/// Bindings that nothing uses.
fn dead(text: &str) -> Vec<String> {
    let settings = deadnix::Settings {
        no_lambda_arg: false,
        no_lambda_pattern_names: false,
        no_underscore: true,
        warn_used_underscore: false,
    };
    settings
        .find_dead_code(&rnix::Root::parse(text).syntax())
        .iter()
        .map(|dead| format!("{} is not used", dead.binding.name))
        .collect()
}

/// A file opens with a comment; a flake's has its description.
fn unopened(text: &str) -> Vec<String> {
    if text.starts_with("# ") || text.contains("\n  description = ") {
        vec![]
    } else {
        vec!["does not open with what it holds (# …)".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_samples_are_caught() {
        assert_eq!(unformatted("{ a = 1; }\n"), Vec::<String>::new());
        assert_eq!(unformatted("{a=1;}\n").len(), 1);
        assert_eq!(unformatted("{ a = ").len(), 1);
        assert_eq!(dead("let a = 1; in a"), Vec::<String>::new());
        assert_eq!(dead("let a = 1; b = 2; in a").len(), 1);
        assert_eq!(dead("{ a, b }: a").len(), 1);
        assert_eq!(unopened("{ }").len(), 1);
        assert_eq!(unopened("# What.\n{ }"), Vec::<String>::new());
    }

    /// The sources of this tree, as plain `cargo test` sees them; syntax needs Nix, which is the subcommand's.
    #[test]
    fn our_own_files_are_tidy() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let files = files(&workspace).unwrap();
        assert!(files.len() >= 20, "{files:?}");
        let complaints: Vec<String> = files
            .iter()
            .flat_map(|file| {
                let text = fs::read_to_string(file).unwrap();
                [unformatted(&text), dead(&text), unopened(&text)]
                    .concat()
                    .into_iter()
                    .map(|complaint| format!("{}: {complaint}", file.display()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
