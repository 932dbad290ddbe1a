//! Promise: the sources keep the rules of docs/develop/style.md.
//!
//! Every check is a pure function over a file's name and text, and stands beside a bad sample that it must catch (a check
//! that cannot fail is none).
//!
//! Who may import whom is the list in `imports`, which ARCHITECTURE.md explains: `states` imports nothing of ours; `real` and
//! `sim` never import each other; only `sim` imports the driver, because its harness runs it; `cli` imports everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/git.rs"]
mod git;
#[path = "tidy/heads.rs"]
mod heads;
#[path = "tidy/identifiers.rs"]
mod identifiers;
#[path = "tidy/items.rs"]
mod items;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/messages.rs"]
mod messages;
#[path = "tidy/places.rs"]
mod places;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/real_rooms.rs"]
mod real_rooms;
#[path = "tidy/reference.rs"]
mod reference;
#[path = "tidy/refusals.rs"]
mod refusals;
#[path = "tidy/remedies.rs"]
mod remedies;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/troubleshooting.rs"]
mod troubleshooting;
#[path = "tidy/uses.rs"]
mod uses;
#[path = "tidy/words.rs"]
mod words;

use fs_err as fs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use uses::Use;

/// Lines of a file before its tests, blank ones not counted.
const LINES_MAX: usize = 600;

/// The tree under test; cargo says it at run time too, so that a built test can look at another checkout.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()))
}

/// Every file with one of these extensions below these folders: name from the root, and text.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    fn walk(dir: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What Cargo builds and a fuzzer collects there is nobody's text.
                let made = ["target", "corpus", "artifacts"].map(|name| root().join("fuzz").join(name));
                if !made.contains(&path) {
                    walk(&path, extensions, found);
                }
            } else if path
                .extension()
                .is_some_and(|e| extensions.iter().any(|x| e == *x))
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        let path = root().join(folder);
        if path.is_dir() {
            walk(&path, extensions, &mut found);
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn rust(folders: &[&str]) -> Vec<(String, String)> {
    files(folders, &["rs"])
}

/// Runs a check over files; all complaints at once.
fn assert_tidy(files: &[(String, String)], check: impl Fn(&str, &str) -> Vec<String>) {
    assert!(!files.is_empty(), "nothing was looked at");
    let complaints: Vec<String> = files
        .iter()
        .flat_map(|(name, text)| check(name, text).into_iter().map(move |c| format!("{name}: {c}")))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The code of a text: without comments.
fn code(text: &str) -> String {
    source::without_comments(text)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first names after a prefix such as `crate::`, braces included.
fn names_after(text: &str, prefix: &str) -> Vec<String> {
    let text = code(text);
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            let mut fresh = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && is_word(c) && fresh {
                    name.push(c);
                } else if !name.is_empty() {
                    names.push(std::mem::take(&mut name));
                    fresh = false;
                }
                if depth == 1 && c == ',' {
                    fresh = true;
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.push(rest.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    names
}

/// The room of a file: `src/real/disk/scan.rs` → `real`.
fn room(name: &str) -> &str {
    let name = name.strip_prefix("src/").unwrap_or(name);
    name.split('/').next().unwrap_or(name).trim_end_matches(".rs")
}

fn imports(name: &str, uses: &BTreeSet<Use>) -> Vec<String> {
    if !name.starts_with("src/") {
        return vec![];
    }
    let allowed: &[&str] = match room(name) {
        "main" | "lib" | "cli" => return vec![],
        "event" => &["event"],
        "exit" => &["exit"],
        "formats" => &["formats", "hosts", "image", "flash"],
        "hosts" => &["hosts", "config", "event", "safe_open", "os_error", "real"],
        "clock" => &["clock"],
        "lock" => &["lock", "safe_open", "os_error"],
        "safe_open" => &["safe_open", "os_error"],
        "config" => &["config", "safe_open"],
        "world" => &["world", "event"],
        "checkpoint_store" => &["checkpoint_store", "world", "event"],
        "doctor" => &["doctor", "real", "config", "event", "safe_open", "os_error"],
        "driver" => &["driver", "checkpoint_store", "world", "event"],
        "os_error" => &["os_error"],
        "qr" => &["qr"],
        "image" => &["image", "safe_open", "os_error"],
        "real" => &[
            "real",
            "image",
            "config",
            "checkpoint_store",
            "world",
            "event",
            "clock",
            "safe_open",
            "os_error",
            "lock",
        ],
        "relabel" => &["relabel", "real", "event", "exit", "safe_open", "os_error"],
        "flash" => &[
            "flash",
            "real",
            "config",
            "image",
            "safe_open",
            "os_error",
            "exit",
        ],
        // Its harness runs the driver.
        "sim" => &["sim", "config", "checkpoint_store", "driver", "world", "event"],
        other => {
            return vec![format!(
                "{other} is a new room: say in tests/tidy.rs what it may import"
            )];
        }
    };
    let used: BTreeSet<&str> = uses
        .iter()
        .filter(|one| one.folder == "src")
        .map(|one| one.path.first().map_or("", String::as_str))
        .collect();
    used.iter()
        .filter(|module| !allowed.contains(*module))
        .map(|module| format!("imports crate::{module}; allowed are {}", allowed.join(", ")))
        .collect()
}

#[test]
fn rooms_import_what_they_may() {
    let found = uses::complaints(&rust(&["src", "states"]), imports);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    for (name, text, count) in [
        ("src/real/disk/scan.rs", "use crate::driver::Driver;", 1),
        ("src/sim/world.rs", "fn f() { crate::real::x() }", 1),
        ("src/world.rs", "use crate::{event::Event, cli::{a, b}, real};", 2),
        ("src/driver.rs", "use crate::world::World; // not crate::cli", 0),
        ("src/attic.rs", "", 1),
        (
            "src/sim/model/a.rs",
            "fn f() { super::super::super::real::x() }",
            1,
        ),
        ("src/sim/world.rs", "use crate as c;", 1),
        ("src/sim/world.rs", "use crate::*;", 1),
        (
            "src/world.rs",
            "#[cfg(test)]\nuse std::fmt;\nconst A: &str = \"https://a\";\nuse crate::cli;",
            1,
        ),
        (
            "src/world.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::cli;\n}",
            0,
        ),
    ] {
        let found = uses::complaints(&uses::sample(&[(name, text)]), imports);
        assert_eq!(found.len(), count, "{name}: {text}: {found:?}");
    }
}

fn impurity(_: &str, text: &str) -> Vec<String> {
    let code = code(text);
    [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "std::os",
        "Instant",
        "SystemTime",
        "async ",
        "println!",
        "landfall::",
    ]
    .iter()
    .filter(|word| code.contains(*word))
    .map(|word| format!("{word:?} has no place in a pure crate"))
    .collect()
}

fn states_dependencies(_: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once('=') {
            let name = name.trim();
            if ![
                "hkdf",
                "hmac",
                "ron",
                "serde",
                "sha2",
                "thiserror",
                "uuid",
                "zeroize",
            ]
            .contains(&name)
            {
                complaints.push(format!("depends on {name}"));
            }
        }
    }
    complaints
}

#[test]
fn the_states_are_pure() {
    let sources: Vec<_> = rust(&["states"]);
    assert_tidy(&sources, impurity);
    assert_eq!(impurity("", "let now = std::time::Instant::now();").len(), 1);
    assert_tidy(&files(&["states/Cargo.toml"], &["toml"]), states_dependencies);
    let bad = "[dependencies]\nserde = \"1\"\ntokio = \"1\"\n[dev-dependencies]\nrand = \"1\"";
    assert_eq!(states_dependencies("", bad), ["depends on tokio"]);
}

fn strays(name: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut complaints = Vec::new();
    let words = |wanted: &str| {
        code.match_indices(wanted).any(|(at, found)| {
            !code[..at].ends_with(is_word) && !code[at + found.len()..].starts_with(is_word)
        })
    };
    if name != "src/real/process/command.rs" && (words("Command::new") || words("process::Command")) {
        complaints.push("starts a program; only src/real/process/command.rs does".to_owned());
    }
    // `std::fs::File` as the type of a descriptor that was opened otherwise is no stray; opening by it is.
    let by_hand = code.contains("use std::fs::File;")
        && ["File::open(", "File::create(", "File::options("]
            .iter()
            .any(|call| {
                code.match_indices(call)
                    .any(|(at, _)| !code[..at].ends_with([':', '_']))
            });
    let typeless = code
        .replace("std::fs::File::from", "")
        .replace("std::fs::File::", "std::fs::")
        .replace("std::fs::File", "");
    let nameless = ["std::fs", "tokio::fs"].iter().any(|path| {
        typeless.match_indices(path).any(|(at, found)| {
            let (before, after) = (&typeless[..at], &typeless[at + found.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    });
    if by_hand || nameless || names_after(&typeless, "std::").iter().any(|n| n == "fs") {
        complaints.push("uses std::fs or tokio::fs; fs_err names the file in its errors".to_owned());
    }
    if is_test(name) {
        return complaints;
    }
    for word in [
        "todo!",
        "unimplemented!",
        "dbg!",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
    ] {
        // The printing ones panic when nobody listens any more.
        if code
            .match_indices(&format!("{word}("))
            .any(|(at, _)| !code[..at].ends_with(is_word))
        {
            complaints.push(format!("has {word}"));
        }
    }
    complaints
}

#[test]
fn no_stray_programs_and_no_nameless_files() {
    assert_tidy(&rust(&["src", "states"]), strays);
    assert_eq!(
        strays("src/real/disk.rs", "tokio::process::Command::new(\"sh\")").len(),
        1
    );
    assert_eq!(strays("src/a.rs", "use std::process::Command;").len(), 1);
    assert_eq!(
        strays("src/real/process/command.rs", "Command::new(name)"),
        Vec::<String>::new()
    );
    assert_eq!(strays("src/a.rs", "eprintln!(\"x\")"), ["has eprintln!"]);
    assert_eq!(strays("src/a.rs", "std::fs::read(p)").len(), 1);
    assert_eq!(strays("src/a.rs", "use std::{fmt, fs};").len(), 1);
    assert_eq!(
        strays("src/a.rs", "use std::fs::File; fn f(file: File) {}").len(),
        0
    );
    assert_eq!(
        strays("src/a.rs", "use std::fs::File; fn f() { File::open(p) }").len(),
        1
    );
    assert_eq!(strays("src/a.rs", "fn f() { std::fs::File::open(p) }").len(), 1);
    assert_eq!(
        strays(
            "src/a.rs",
            "unsafe { std::fs::File::from_raw_fd(fd) }; nix::unistd::fsync(&f)"
        )
        .len(),
        0
    );
    assert_eq!(strays("src/a.rs", "use std::os::unix::fs::MetadataExt;").len(), 0);
}

/// A test that a plain `cargo test` leaves out is run by something, which it names.
fn forgotten(_: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for line in text.lines().map(str::trim) {
        let reason = match line.strip_prefix("#[ignore") {
            Some(rest) => rest.trim_start_matches(" = \"").trim_end_matches("\"]"),
            None => continue,
        };
        if !["run by: cargo lab ", "run by hand: cargo "]
            .iter()
            .any(|by| reason.starts_with(by))
        {
            complaints.push(format!(
                "{line}: who runs it? `run by: cargo lab …` or `run by hand: cargo …`"
            ));
        }
    }
    complaints
}

#[test]
fn every_ignored_test_says_who_runs_it() {
    assert_tidy(&rust(&["src", "states", "tests"]), forgotten);
    assert_eq!(forgotten("", "    #[ignore]\n").len(), 1);
    assert_eq!(
        forgotten("", "#[ignore = \"slow\"]\n#[ignore = \"run by: cargo lab test\"]").len(),
        1
    );
}

/// Who may read the environment, and what for.
const READERS: [(&str, &str); 5] = [
    ("src/config/overrides.rs", "INSTALL_DISK, REPO_REMOTE"),
    ("src/real/process/command.rs", "what a program is started with"),
    (
        "src/real/process/context.rs",
        "what network tools are started with",
    ),
    ("src/real/preflight.rs", "PATH, where tools are looked for"),
    ("src/real/secrets/credentials.rs", "CREDENTIALS_DIRECTORY"),
];

fn environment(name: &str, text: &str) -> Vec<String> {
    let code = source::product(text);
    let may = name.starts_with("src/cli/") || is_test(name) || READERS.iter().any(|(file, _)| *file == name);
    let mut complaints = Vec::new();
    if !may && code.contains("env::var") {
        complaints.push("reads the environment; what it says is passed on by the command line".to_owned());
    }
    if name != "src/config/overrides.rs" && code.contains("env::var_os(\"INSTALL_DISK\")") {
        complaints.push("reads INSTALL_DISK past the rule for its value".to_owned());
    }
    complaints
}

#[test]
fn the_environment_is_read_in_one_place() {
    assert_tidy(&rust(&["src"]), environment);
    assert_eq!(
        environment("src/real/disk/mod.rs", "std::env::var_os(\"X\")").len(),
        1
    );
    assert_eq!(
        environment(
            "src/real/process/context.rs",
            "std::env::var_os(\"INSTALL_DISK\")"
        )
        .len(),
        1
    );
}

/// Tests in a file of their own.
fn is_test(name: &str) -> bool {
    name.ends_with("_tests.rs")
}

/// Errors that a code drops without a word.
fn swallowed(name: &str, text: &str) -> Vec<String> {
    use syn::spanned::Spanned;
    use syn::visit::{self, Visit};
    struct Dropped<'t> {
        lines: Vec<&'t str>,
        found: Vec<&'static str>,
    }
    impl<'ast> Visit<'ast> for Dropped<'_> {
        fn visit_local(&mut self, local: &'ast syn::Local) {
            // Writing to a string cannot fail, and clippy asks for it.
            let is_write = |of: &syn::Expr| matches!(of, syn::Expr::Macro(of) if of.mac.path.is_ident("write") || of.mac.path.is_ident("writeln"));
            if let (syn::Pat::Wild(_), Some(init)) = (&local.pat, &local.init)
                && !is_write(&init.expr)
            {
                self.found.push("let _ =");
            }
            visit::visit_local(self, local);
        }
        fn visit_expr_let(&mut self, of: &'ast syn::ExprLet) {
            if matches!(&*of.pat, syn::Pat::TupleStruct(of) if of.path.is_ident("Ok")) {
                self.found.push("if let Ok(");
            }
            visit::visit_expr_let(self, of);
        }
        fn visit_stmt(&mut self, stmt: &'ast syn::Stmt) {
            if matches!(stmt, syn::Stmt::Expr(syn::Expr::MethodCall(of), Some(_)) if of.method == "ok" && of.args.is_empty())
            {
                self.found.push(".ok();");
            }
            visit::visit_stmt(self, stmt);
        }
        fn visit_expr_call(&mut self, of: &'ast syn::ExprCall) {
            let is_drop = matches!(&*of.func, syn::Expr::Path(of) if of.path.segments.last().is_some_and(|last| last.ident == "drop"));
            let called = matches!(
                of.args.first(),
                Some(syn::Expr::Call(_) | syn::Expr::MethodCall(_) | syn::Expr::Await(_))
            );
            // One that says why is meant so.
            let above = of
                .span()
                .start()
                .line
                .checked_sub(2)
                .and_then(|at| self.lines.get(at));
            let says_why = above.is_some_and(|line| line.trim_start().starts_with("// "));
            if is_drop && called && !says_why {
                self.found.push("drop(…()) without a comment above it");
            }
            visit::visit_expr_call(self, of);
        }
    }
    // Tests may be blunt.
    if is_test(name) {
        return vec![];
    }
    let mut dropped = Dropped {
        lines: text.lines().collect(),
        found: vec![],
    };
    let file = syn::parse_file(&source::product(text)).expect("Rust");
    dropped.visit_file(&file);
    dropped
        .found
        .iter()
        .map(|word| format!("{word:?} drops an error"))
        .collect()
}

#[test]
fn no_error_is_swallowed() {
    assert_tidy(&rust(&["src", "states"]), swallowed);
    for bad in [
        "fn f() { if let Ok(x) = g() {} }",
        "fn f() { while let Ok(x) = g() {} }",
        "fn f() { let _ = g(); }",
        "fn f() { let _ = g().await; }",
        "fn f() { g().ok(); }",
        "fn f() { drop(g()); }",
        "fn f() { std::mem::drop(a.g()); }",
        "#[cfg(test)]\nuse x;\nfn f() { let _ = g(); }",
    ] {
        assert_eq!(swallowed("", bad).len(), 1, "{bad}");
    }
    for good in [
        "#[cfg(test)] mod t { fn f() { let _ = g(); } }",
        "fn f() { let _ = write!(text, \"a\"); }",
        "fn f() { drop(guard); let a = g().ok(); }",
        "fn f() {\n    // The first error counts.\n    drop(g());\n}",
        "fn f() {} // let _ = g();",
    ] {
        assert_eq!(swallowed("", good), Vec::<String>::new(), "{good}");
    }
}

fn opening(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") && !is_test(name) {
        complaints.push("does not open with what it is for (//!)".to_owned());
    }
    // Comments count: the tests do not.
    let code = source::without_tests(text);
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    let reason = text.lines().take(10).any(|line| line.contains("Long because:"));
    if lines > LINES_MAX && !reason && !is_test(name) {
        complaints.push(format!(
            "{lines} lines before its tests, at most {LINES_MAX}; divide it or say in its first lines // Long because: …"
        ));
    }
    if !name.starts_with("tests/lab/") && text.contains("\t") {
        complaints.push("has tabs".to_owned());
    }
    complaints
}

#[test]
fn files_open_with_a_head_and_stay_short() {
    assert_tidy(&rust(&["src", "states", "tests"]), opening);
    assert_eq!(opening("src/a.rs", "fn f() {}").len(), 1);
    let long = format!("//! Head.\n{}", "fn f() {}\n".repeat(LINES_MAX));
    assert_eq!(opening("src/a.rs", &long).len(), 1);
    assert_eq!(
        opening("src/a.rs", &format!("//! Head.\n// Long because: x.\n{long}")).len(),
        0
    );
    let behind = format!(
        "//! Head.\n#[cfg(test)]\nuse std::fmt;\n{}",
        "fn f() {}\n".repeat(LINES_MAX)
    );
    assert_eq!(opening("src/a.rs", &behind).len(), 1);
    let tests = format!(
        "//! Head.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(LINES_MAX)
    );
    assert_eq!(opening("src/a.rs", &tests).len(), 0);
}

fn leftovers(_: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not complain of itself.
    [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X "),
        ("/wo", "rk/"),
        ("../sha", "red"),
    ]
    .iter()
    .map(|(a, b)| format!("{a}{b}"))
    .filter(|word| text.contains(word.as_str()))
    .map(|word| format!("has {word:?}"))
    .collect()
}

#[test]
fn nothing_is_left_over() {
    let all = files(
        &[
            "src",
            "states",
            "tests",
            "docs",
            "nix",
            "fuzz",
            "README.md",
            "ARCHITECTURE.md",
            "Cargo.toml",
        ],
        &["rs", "md", "ron", "json", "toml", "nix"],
    );
    assert_tidy(&all, leftovers);
    assert_eq!(leftovers("", concat!("// TO", "DO later")).len(), 1);
}

/// Whether a module's file is named by its parent.
fn unnamed(name: &str, parents: &[(String, String)]) -> Option<String> {
    let path = Path::new(name);
    let (module, dir) = match (path.file_stem()?.to_str()?, path.parent()?) {
        ("lib" | "main", _) => return None,
        ("mod", dir) => (dir.file_name()?.to_str()?, dir.parent()?),
        (stem, dir) => (stem, dir),
    };
    let candidates = ["lib.rs", "mod.rs"]
        .map(|file| dir.join(file))
        .into_iter()
        .chain([dir.with_extension("rs")]);
    let named = candidates.into_iter().any(|parent| {
        parents
            .iter()
            .any(|(name, text)| Path::new(name) == parent && text.contains(&format!("mod {module};")))
    });
    // Tests in a file of their own hang on the file that they test.
    let hung = parents.iter().any(|(other, text)| {
        Path::new(other).parent() == path.parent() && text.contains(&format!("#[path = \"{module}.rs\"]"))
    });
    let named = named || hung;
    (!named).then(|| format!("{name} is named by no parent module: it is not compiled"))
}

#[test]
fn every_file_is_compiled() {
    let all = rust(&["src", "states"]);
    let complaints: Vec<String> = all.iter().filter_map(|(name, _)| unnamed(name, &all)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let sample = vec![("states/lib.rs".to_owned(), "pub mod phase;".to_owned())];
    assert!(unnamed("states/phase.rs", &sample).is_none());
    assert!(unnamed("states/forgotten.rs", &sample).is_some());
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("autotests = false"),
        "every file in tests/ is a test"
    );
}

/// Whether a line has a placeholder that ends in `?`: `{:?}`, `{x:#?}`, `{0:>4?}`.
fn has_debug_form(line: &str) -> bool {
    line.split('{').skip(1).any(|form| {
        let form = form.split('}').next().unwrap_or("");
        form.split_once(':')
            .is_some_and(|(_, how)| how.ends_with('?') && !how.contains(char::is_whitespace))
    })
}

/// Debug text where a person may read it. Traces for developers say so by `tracing`'s own marks, without a format.
fn debug_text(name: &str, text: &str) -> Vec<String> {
    if is_test(name) {
        return vec![];
    }
    source::product(text)
        .lines()
        .filter(|line| has_debug_form(line))
        .map(|line| {
            format!(
                "formats with Debug: {} (Display, or `names::quoted` for a text)",
                line.trim()
            )
        })
        .collect()
}

#[test]
fn nobody_reads_debug_text() {
    let rooms = [
        "src/cli",
        "src/doctor",
        "src/driver.rs",
        "src/event.rs",
        "src/lock.rs",
        "src/checkpoint_store.rs",
        "src/os_error.rs",
        "src/real",
        "src/hosts",
        "src/relabel",
        "src/image",
        "src/config",
        "src/config.rs",
        "src/flash",
        "src/sim/explore/operator.rs",
        "src/sim/inject/operator.rs",
        "src/sim/explore/harness.rs",
        "src/sim/world/world_trait.rs",
        "src/sim/world/media.rs",
        "src/sim/explore/run.rs",
        "states",
    ];
    assert_tidy(&rust(&rooms), debug_text);
    assert_eq!(debug_text("src/a.rs", "format!(\"left is {order:?}\")").len(), 1);
    assert_eq!(debug_text("src/a.rs", "#[error(\"{0:?} is bad\")]").len(), 1);
    for bad in [
        "write!(f, \"{:#?}\", x)",
        "write!(f, \"{:4?}\", x)",
        "write!(f, \"{x:>4?}\")",
        "write!(f, \"{x:02x?}\")",
        "format!(\"https://{x:?}\")",
        "#[cfg(test)]\nuse std::fmt;\nfn f() { format!(\"{x:?}\") }",
    ] {
        assert_eq!(debug_text("src/a.rs", bad).len(), 1, "{bad}");
    }
    assert_eq!(
        debug_text("src/a.rs", "#[cfg(test)] mod t { fn f() { panic!(\"{x:?}\") } }").len(),
        0
    );
}

/// Faults of which nothing is known, made where something is known.
fn says_nothing(name: &str, text: &str) -> Vec<String> {
    if name.starts_with("src/sim/") || name.starts_with("states/fault") || name.ends_with("_tests.rs") {
        return vec![];
    }
    let code = source::product(text);
    ["Fault::injected", "Kind::Other {"]
        .iter()
        .filter(|way| code.contains(*way))
        .map(|way| format!("makes a fault that holds nothing ({way})"))
        .collect()
}

#[test]
fn a_fault_holds_what_was_known() {
    assert_tidy(&rust(&["src", "states"]), says_nothing);
    let bad = "fn a() { Fault::injected(class, on, why) }\n";
    assert_eq!(says_nothing("src/real/a.rs", bad).len(), 1);
    assert_eq!(says_nothing("src/sim/a.rs", bad).len(), 0);
}
