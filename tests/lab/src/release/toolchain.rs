//! What the toolchain says: the oldest Rust that is promised builds the workspace, and its documentation has no warning.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{BUILD_LIMIT, Found, Tree, version};
use crate::command::{self, Program};
use crate::test::RUSTDOC;

/// The oldest Rust: no dependency wants a newer one, README.md names it, and it builds the workspace where it is installed.
pub(super) fn rust_version(tree: &Tree) -> Result<Found> {
    let manifest: toml_edit::DocumentMut = tree.read("Cargo.toml")?.parse()?;
    let oldest = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .context("Cargo.toml has no workspace.package.rust-version")?
        .to_owned();
    let metadata = version::metadata(tree)?;
    let (named, mut wrong) = newer(&oldest, &metadata)?;
    wrong.extend(said(&oldest, &tree.read("README.md")?));
    if !wrong.is_empty() {
        return Ok(Found::Failed(wrong));
    }
    let looked = format!("none of {named} dependencies that name a Rust wants a newer one");
    let Some(toolchain) = installed(&oldest)? else {
        return Ok(Found::NotMade(format!(
            "Rust {oldest} is not installed (rustup toolchain install {oldest}), so nothing was built with it; {looked}"
        )));
    };
    let output = Program::new("rustup")
        .args([
            "run",
            &toolchain,
            "cargo",
            "check",
            "--workspace",
            "--all-targets",
            "--locked",
        ])
        .env("CARGO_TARGET_DIR", tree.scratch.join("rust-version"))
        .env("RUSTUP_TOOLCHAIN", &toolchain)
        .directory(&tree.root)
        .timeout(BUILD_LIMIT)
        .output()?;
    if output.status != 0 {
        return Ok(Found::Failed(vec![format!(
            "Rust {oldest} does not build the workspace; mend it, or raise rust-version in Cargo.toml:\n{}",
            command::tail(&output.error_text(), 30)
        )]));
    }
    Ok(Found::Passed(format!(
        "{toolchain} builds the workspace; {looked}"
    )))
}

fn parsed(text: &str) -> Option<[u64; 3]> {
    let mut parts = text.split('.').map(str::parse);
    let mut next = || parts.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

/// How many packages name a Rust, and which of them a newer one.
fn newer(oldest: &str, metadata: &Value) -> Result<(usize, Vec<String>)> {
    let ours = parsed(oldest).with_context(|| format!("{oldest} in Cargo.toml is no version of Rust"))?;
    let (mut named, mut wrong) = (0, Vec::new());
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(text) = package["rust_version"].as_str() else {
            continue;
        };
        named += 1;
        if parsed(text).is_none_or(|theirs| theirs > ours) {
            wrong.push(format!(
                "{} {} wants Rust {text}, and Cargo.toml promises {oldest}: take an older one (cargo update --package {0} --precise …), or raise rust-version",
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default()
            ));
        }
    }
    Ok((named, wrong))
}

fn said(oldest: &str, readme: &str) -> Option<String> {
    let right = format!("Rust {oldest} or newer");
    (!readme.contains(&right)).then(|| format!("README.md does not say \"{right}\": correct it"))
}

/// The installed toolchain of that version, if rustup has one.
fn installed(oldest: &str) -> Result<Option<String>> {
    if command::find("rustup").is_none() {
        return Ok(None);
    }
    let list = Program::new("rustup").args(["toolchain", "list"]).run()?.text();
    Ok(of_version(oldest, &list))
}

fn of_version(oldest: &str, list: &str) -> Option<String> {
    let (dot, dash) = (format!("{oldest}."), format!("{oldest}-"));
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| name.starts_with(&dot) || name.starts_with(&dash))
        .map(str::to_owned)
}

/// The documentation, with every warning an error.
pub(super) fn rustdoc(tree: &Tree) -> Result<Found> {
    let output = tree.cargo(&tree.root, &RUSTDOC).output()?;
    Ok(if output.status == 0 {
        Found::Passed("no warning".to_owned())
    } else {
        Found::Failed(vec![format!(
            "cargo {}:\n{}",
            RUSTDOC.join(" "),
            command::tail(&output.error_text(), 30)
        )])
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn a_dependency_that_wants_a_newer_rust_is_named() {
        let metadata = json!({"packages": [
            {"name": "old", "version": "1.0.0", "rust_version": "1.60"},
            {"name": "same", "version": "1.0.0", "rust_version": "1.88.0"},
            {"name": "new", "version": "2.0.0", "rust_version": "1.88.1"},
            {"name": "silent", "version": "1.0.0", "rust_version": null},
        ]});
        let (named, wrong) = newer("1.88", &metadata).unwrap();
        assert_eq!(named, 3);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("new 2.0.0 wants Rust 1.88.1"), "{wrong:?}");
        assert!(newer("soon", &metadata).is_err());
    }

    #[test]
    fn the_readme_names_the_oldest_rust() {
        assert_eq!(said("1.88", "Rust 1.88 or newer with Cargo"), None);
        assert!(said("1.89", "Rust 1.88 or newer with Cargo").is_some());
    }

    #[test]
    fn the_toolchain_of_that_version_is_found_and_no_other() {
        let list = "stable-x86_64-unknown-linux-gnu (default)\n1.88.0-x86_64-unknown-linux-gnu\n1.9-x86_64\n";
        assert_eq!(
            of_version("1.88", list).as_deref(),
            Some("1.88.0-x86_64-unknown-linux-gnu")
        );
        assert_eq!(of_version("1.8", list), None);
        assert_eq!(of_version("1.9", list).as_deref(), Some("1.9-x86_64"));
    }

    /// A package whose documentation links to nothing fails with the same arguments, and one that links to something does not.
    #[test]
    #[ignore = "run by: cargo lab test"]
    fn a_warning_of_rustdoc_is_an_error() {
        let folder = std::env::temp_dir().join(format!("landfall-rustdoc-{}", std::process::id()));
        fs_err::create_dir_all(folder.join("src")).unwrap();
        let manifest = "[package]\nname = \"a\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
        fs_err::write(folder.join("Cargo.toml"), manifest).unwrap();
        let tree = Tree {
            root: folder.clone(),
            scratch: folder.join("scratch"),
        };
        let mut found = Vec::new();
        for link in ["Nothing", "Something"] {
            let text = format!("//! See [`{link}`].\n/// It.\npub struct Something;\n");
            fs_err::write(folder.join("src/lib.rs"), text).unwrap();
            found.push(rustdoc(&tree).unwrap());
        }
        fs_err::remove_dir_all(&folder).unwrap();
        assert!(
            matches!(&found[0], Found::Failed(wrong) if wrong[0].contains("unresolved link")),
            "{found:?}"
        );
        assert!(matches!(&found[1], Found::Passed(_)), "{found:?}");
    }
}
