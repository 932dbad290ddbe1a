//! The binary is reproducible: the committed tree, built twice in two folders with long and short names, gives the same
//! bytes, and these do not name the folders.
//!
//! Both builds begin from nothing, with the paths that a compiler would write down replaced by the same ones
//! (`--remap-path-prefix` for Rust, `-ffile-prefix-map` for the C parts). Other toolchains and other libraries of the system
//! give other bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use sha2::{Digest, Sha256};

use super::{Found, Tree};
use crate::command::Program;

/// Of unlike length, so that a path that is left in the binary moves what is behind it.
const FOLDERS: [&str; 2] = ["a", "another-folder-with-a-longer-name"];
/// What the folders are called in the binary.
const SOURCE: &str = "/landfall";
const CRATES: &str = "/crates";

/// Builds twice and compares.
pub(super) fn check(tree: &Tree) -> Result<Found> {
    let archive = tree.scratch.join("source.tar");
    fs::create_dir_all(&tree.scratch)?;
    tree.git(&["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg("HEAD")
        .run()?;
    let mut binaries = Vec::new();
    let mut folders = Vec::new();
    for name in FOLDERS {
        let folder = tree.scratch.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Program::new("tar")
            .args(["--extract", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(&folder)
            .run()?;
        let arguments = ["build", "--release", "--locked", "--package", "landfall"];
        binaries.push(fs::read(built(tree, &folder, &arguments, "release/landfall")?)?);
        folders.push(folder);
    }
    let places: Vec<PathBuf> = folders.iter().cloned().chain([crates()?]).collect();
    let mut wrong = differences(&binaries[0], &binaries[1]);
    wrong.extend(named(&binaries[0], &places));
    if wrong.is_empty() {
        fs::remove_file(&archive)?;
        for folder in &folders {
            fs::remove_dir_all(folder)?;
        }
    } else {
        wrong.push(format!("both are kept in {}", tree.scratch.display()));
    }
    Ok(Found::of(wrong, || {
        format!(
            "two builds in two folders are the same {} bytes, sha256 {}",
            binaries[0].len(),
            Sha256::digest(&binaries[0])
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        )
    }))
}

/// Where Cargo keeps the crates' sources.
fn crates() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// Builds in a folder, and gives the path of the file below `target`.
fn built(tree: &Tree, folder: &Path, arguments: &[&str], file: &str) -> Result<PathBuf> {
    let (crates, source) = (crates()?, folder.display());
    let rust = format!(
        "--remap-path-prefix={source}={SOURCE}\u{1f}--remap-path-prefix={}={CRATES}",
        crates.display()
    );
    let c = format!(
        "-ffile-prefix-map={source}={SOURCE} -ffile-prefix-map={}={CRATES}",
        crates.display()
    );
    tree.cargo(folder, arguments)
        .env("CARGO_ENCODED_RUSTFLAGS", rust)
        .env("CFLAGS", c)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .run()?;
    Ok(folder.join("target").join(file))
}

/// Where two files differ.
fn differences(one: &[u8], other: &[u8]) -> Vec<String> {
    let first = one.iter().zip(other).position(|(a, b)| a != b);
    let bytes = one.iter().zip(other).filter(|(a, b)| a != b).count();
    match first {
        None if one.len() == other.len() => vec![],
        None => vec![format!(
            "the binaries have {} and {} bytes, and one begins with the other",
            one.len(),
            other.len()
        )],
        Some(first) => vec![format!(
            "the binaries have {} and {} bytes and differ in {bytes}, first in byte {first}: compare them with diffoscope",
            one.len(),
            other.len()
        )],
    }
}

/// Folders that the binary names.
fn named(binary: &[u8], folders: &[PathBuf]) -> Vec<String> {
    folders
        .iter()
        .filter(|folder| memchr::memmem::find(binary, folder.as_os_str().as_encoded_bytes()).is_some())
        .map(|folder| format!("the binary names {}, a folder of this computer", folder.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn one_byte_that_differs_is_found() {
        assert_eq!(differences(b"abc", b"abc"), Vec::<String>::new());
        let wrong = differences(b"abcd", b"abxd");
        assert!(wrong[0].contains("differ in 1, first in byte 2"), "{wrong:?}");
        assert_eq!(differences(b"abc", b"abcd").len(), 1);
    }

    #[test]
    fn a_folder_that_is_named_is_found() {
        let folders = [PathBuf::from("/home/op/a"), PathBuf::from("/root/.cargo")];
        assert_eq!(named(b"..../landfall/src..", &folders), Vec::<String>::new());
        assert_eq!(named(b"../home/op/a/src/x.rs..", &folders).len(), 1);
    }

    /// A program that names its own file is the same from two folders by `built`, and another without its replacements.
    #[test]
    #[ignore = "run by: cargo lab test"]
    fn paths_are_what_would_differ() {
        let root = std::env::temp_dir().join(format!("landfall-binary-{}", std::process::id()));
        let tree = Tree {
            root: root.clone(),
            scratch: root.join("scratch"),
        };
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for name in FOLDERS {
            let folder = root.join(name);
            fs::create_dir_all(folder.join("src")).unwrap();
            let manifest = "[package]\nname = \"a\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
            fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            let program = "fn main() { println!(\"{}\", std::panic::Location::caller()); }\n";
            fs::write(folder.join("src/main.rs"), program).unwrap();
            let binary = built(&tree, &folder, &["build"], "debug/a").unwrap();
            with.push(fs::read(binary).unwrap());
            tree.cargo(&folder, &["build"])
                .env("CARGO_TARGET_DIR", folder.join("plain"))
                .env("CARGO_INCREMENTAL", "0")
                .run()
                .unwrap();
            without.push(fs::read(folder.join("plain/debug/a")).unwrap());
        }
        let folders = FOLDERS.map(|name| root.join(name));
        let found = (
            differences(&with[0], &with[1]),
            named(&with[0], &folders),
            differences(&without[0], &without[1]),
            named(&without[0], &folders),
        );
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.0, Vec::<String>::new());
        assert_eq!(found.1, Vec::<String>::new());
        // The debug information of a plain build has the folder.
        assert_eq!(found.2.len(), 1, "the control");
        assert_eq!(found.3.len(), 1, "the control");
    }
}
