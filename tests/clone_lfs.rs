//! Promise: pointers of Git LFS in a clone are reported, with their names and what to do; a text that only looks like one is
//! not. The pointers are as git-lfs 3.3.0 committed them (`git lfs track '*.bin'`, `git add` of 5,000 zeros, `git show
//! HEAD:a.bin`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use clone::{Place, branch, git};
use landfall::event::{Event, Listener};
use std::sync::{Arc, Mutex};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                       oid sha256:7ca5bd879f393d9dd05b14f38add9c0fc6b67928f7f2d261b2e47a32ee8219e3\nsize 5000\n";
const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

struct Notices(Arc<Mutex<Vec<String>>>);

impl Listener for Notices {
    fn take(&mut self, event: &Event) {
        if let Event::Notice { what } = event {
            self.0.lock().unwrap().push(what.clone());
        }
    }
}

/// The notices about pointers in a clone of an origin that has these files.
fn told(files: &[(&str, String)]) -> Option<Vec<String>> {
    let place = Place::new()?;
    let notices = Arc::new(Mutex::new(vec![]));
    place
        .context
        .reporter
        .add(Box::new(Notices(Arc::clone(&notices))));
    for (name, text) in files {
        let file = place.origin().join(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, text).unwrap();
    }
    // As on a machine without git-lfs: what is added is what is committed.
    git(&place.origin(), &["add", "-A"]);
    git(&place.origin(), &["commit", "-q", "--allow-empty", "-m", "files"]);
    let repository = place.here(branch("trunk"));
    let revision = place.resolve(&repository).unwrap();
    place.clone(&place.action(repository, revision)).unwrap();
    let told = notices.lock().unwrap();
    Some(
        told.iter()
            .filter(|notice| notice.contains("LFS"))
            .cloned()
            .collect(),
    )
}

#[test]
fn pointers_are_told_once_with_their_names_and_what_to_do() {
    let pointer = || POINTER.to_owned();
    let Some(one) = told(&[
        (".gitattributes", ATTRIBUTES.into()),
        ("wallpapers/sea and sky.bin", pointer()),
    ]) else {
        return;
    };
    let [notice] = one.as_slice() else {
        panic!("{one:?}")
    };
    for words in [
        "1 file(s)",
        "wallpapers/sea and sky.bin",
        "git lfs migrate export",
        "nix-config lfs pull",
    ] {
        assert!(notice.contains(words), "{notice}");
    }
    let names: Vec<String> = (0..9).map(|n| format!("{n}.bin")).collect();
    let many: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), pointer())).collect();
    let [notice] = &told(&many).unwrap()[..] else {
        panic!()
    };
    assert!(
        notice.contains("9 file(s)") && notice.contains("4.bin and 4 more"),
        "{notice}"
    );
    assert!(!notice.contains("5.bin"), "{notice}");
}

#[test]
fn what_only_looks_like_a_pointer_is_not_told() {
    let long = "x".repeat(1_024);
    let Some(told) = told(&[
        ("README.md", format!("A pointer is a text such as\n\n{POINTER}")),
        (
            "short.txt",
            POINTER.lines().take(2).collect::<Vec<_>>().join("\n"),
        ),
        ("long.txt", format!("{POINTER}ext-0-{long} y\n")),
        // Files that Git keeps, although the attributes speak of LFS.
        (".gitattributes", ATTRIBUTES.into()),
        ("real.bin", "a real file\n".into()),
    ]) else {
        return;
    };
    assert_eq!(told, Vec::<String>::new());
}
