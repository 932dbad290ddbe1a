//! The words that people read: every message, `--help`, the exit codes and the texts in the sources. A part of `tidy.rs`.
//!
//! A message begins with its subject, says what is wrong, and ends without punctuation. No text has a word of the private vocabulary
//! that this project once had, and none shows Rust's own form of a value.

use super::messages::messages;
use super::{assert_tidy, files, rust};
use landfall::exit::Exit;

/// Words that a reader would have to learn first, and what is written instead.
const PRIVATE: [(&str, &str); 32] = [
    ("misfortune", "fault"),
    ("misfortunes", "faults"),
    ("voyage", "install"),
    ("manners", "(what it does)"),
    ("anew", "again"),
    ("forgive", "reset"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("at work", "running"),
    ("cut off", "interrupted, incomplete"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("come back", "(what differs)"),
    ("believed", "accepted, used"),
    ("at hand", "available, provided"),
    ("ought", "must"),
    ("shall", "must"),
    ("whoever", "the person who"),
    ("lest", "so that … not"),
    ("begun", "started"),
    ("squatter", "name conflict"),
    ("behind", "after, on, below"),
    ("stands", "is"),
    ("blanks", "spaces"),
    ("belongs into", "put it in"),
    ("belong into", "put them in"),
    ("any more", "no longer"),
    ("from on", "an absolute path"),
    ("invisible sign", "invisible character"),
    ("of ipv6", "an IPv6 address"),
    ("it is no", "it is not a"),
];
/// A message is no longer, in characters; its values are short in the examples.
const MESSAGE_MAX: usize = 420;
/// What to do is no longer.
const NEXT_MAX: usize = 320;
/// A subject is no longer.
const SUBJECT_MAX: usize = 110;
/// What begins a sentence, not a subject.
const NO_SUBJECT: [&str; 12] = [
    "it", "there", "this", "that", "what", "nobody", "somebody", "cannot", "could", "no", "not", "nothing",
];

/// The string literals of a source before its tests, with their lines; what a line end joins is joined.
pub fn literals(source: &str) -> Vec<(usize, String)> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source);
    let code = code.split("#[cfg(test)]\n#[allow").next().unwrap_or(code);
    let (mut found, mut line) = (vec![], 1);
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |at| at + 2)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(1, |at| at + 2).max(3)
        } else if c == '"' {
            let (text, length) = literal(&rest[1..]);
            found.push((line, text));
            length + 1
        } else {
            c.len_utf8()
        };
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    found
}

/// A literal behind its first quotation mark, and its length in the source.
fn literal(source: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match chars.next() {
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, source.len())
}

/// The private words of a text. Names in braces are not read by people.
fn private_words(text: &str) -> Vec<String> {
    let mut shown = String::new();
    let mut depth = 0_usize;
    for c in text.to_lowercase().chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 => shown.push(c),
            _ => {}
        }
    }
    let words: Vec<&str> = shown
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let joined = format!(" {} ", words.join(" "));
    PRIVATE
        .iter()
        .filter(|(word, _)| joined.contains(&format!(" {word} ")))
        .map(|(word, instead)| format!("\"{word}\" is a private word (say: {instead}): {text}"))
        .collect()
}

/// What looks like Rust's own form of a value.
fn debug_forms(text: &str) -> Vec<String> {
    [
        "Some(",
        "None)",
        "Ok(",
        "Err(",
        "::",
        " { ",
        "{:?}",
        "Utf8PathBuf",
        "\\u{",
    ]
    .iter()
    .filter(|form| text.contains(*form))
    .map(|form| format!("{form:?} is Rust, not a text for people: {text}"))
    .collect()
}

/// What is wrong with a text and what to do about it.
fn complaints(text: &str, next: &str) -> Vec<String> {
    let mut all = vec![];
    let mut print_error = |what: &str| all.push(format!("{what}: {text} → {next}"));
    match text.split_once(": ") {
        Some((subject, rest)) => {
            let first = subject.split_whitespace().next().unwrap_or("");
            if NO_SUBJECT.contains(&first) || subject.chars().count() > SUBJECT_MAX {
                print_error("it does not begin with its subject");
            }
            if rest.trim().is_empty() {
                print_error("it does not say what is wrong");
            }
        }
        None => print_error("it has no subject"),
    }
    for (of, part) in [("the message", text), ("what to do", next)] {
        if part.trim().is_empty() {
            print_error(&format!("{of} is empty"));
        }
        if part.ends_with(['.', ':', ';', ',', '!', ' ', '\n']) {
            print_error(&format!("{of} does not end like a line"));
        }
    }
    if text.chars().count() > MESSAGE_MAX || next.lines().any(|line| line.chars().count() > NEXT_MAX) {
        print_error("it is too long to be read once");
    }
    for part in [text, next] {
        all.extend(private_words(part));
        all.extend(debug_forms(part));
    }
    all
}

#[test]
fn every_message_has_a_subject_a_reason_and_a_next_step() {
    let all: Vec<String> = messages()
        .iter()
        .flat_map(|message| {
            let of = format!("{} {}", message.part, message.kind);
            complaints(&message.text, &message.next)
                .into_iter()
                .map(move |what| format!("{of}: {what}"))
        })
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
    // The controls.
    for (text, next, what) in [
        (
            "it is not there: gone",
            "landfall resume",
            "does not begin with its subject",
        ),
        ("nobody agreed", "landfall resume", "has no subject"),
        ("disk sda:  ", "landfall resume", "does not say what is wrong"),
        (
            "disk sda: it is in use.",
            "landfall resume",
            "does not end like a line",
        ),
        ("disk sda: it is in use", "mount it,", "does not end like a line"),
        ("disk sda: it is in use", "", "is empty"),
        ("disk sda: it was cut off", "landfall resume", "private word"),
        ("disk sda: it is in use", "mend it", "private word"),
        ("disk sda: found Some(3)", "landfall resume", "is Rust"),
        ("disk sda: Os { errno: 5 }", "landfall resume", "is Rust"),
        (
            &format!("disk sda: {}", "x".repeat(MESSAGE_MAX)),
            "landfall resume",
            "too long",
        ),
    ] {
        let found = complaints(text, next);
        assert!(found.iter().any(|one| one.contains(what)), "{text}: {found:?}");
    }
    assert_eq!(
        complaints("disk sda: it is in use", "landfall resume"),
        Vec::<String>::new()
    );
}

/// Texts of `--help` and of exit codes.
fn help() -> Vec<(String, String)> {
    fn below(command: &clap::Command, path: &str, all: &mut Vec<(String, String)>) {
        let name = format!("{path} {}", command.get_name());
        let of = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
        all.extend(
            [of(command.get_about()), of(command.get_long_about())]
                .into_iter()
                .flatten()
                .map(|text| (name.clone(), text)),
        );
        for arg in command.get_arguments() {
            let name = format!("{name} {}", arg.get_id());
            all.extend(
                [of(arg.get_help()), of(arg.get_long_help())]
                    .into_iter()
                    .flatten()
                    .map(|text| (name.clone(), text)),
            );
        }
        for command in command.get_subcommands() {
            below(command, &name, all);
        }
    }
    let mut all = vec![];
    below(&landfall::cli::command(), "", &mut all);
    all.extend(Exit::ALL.iter().flat_map(|exit| {
        [exit.meaning(), exit.then()].map(|text| (format!("exit code {}", exit.code()), text.to_owned()))
    }));
    all
}

#[test]
fn help_and_exit_codes_have_no_private_words() {
    let all = help();
    assert!(all.len() > 150, "{}", all.len());
    let found: Vec<String> = all
        .iter()
        .flat_map(|(of, text)| {
            private_words(text)
                .into_iter()
                .map(move |what| format!("{of}: {what}"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert_eq!(private_words("Begin the counts anew").len(), 1, "the control");
    // As texts of the configuration once were.
    for bad in [
        "behind file:// a path begins with a slash of its own",
        "an address of IPv6 stands in brackets",
        "it has blanks or letters outside ASCII",
        "a branch or a tag belongs into repository.branch",
        "Git has no such scheme any more",
        "write the whole path on the installer, from / on",
        "an invisible sign (U+200B)",
        "it is no repository of Git's",
    ] {
        assert!(!private_words(bad).is_empty(), "{bad}");
    }
    for good in [
        "there is no log",
        "it is not a Git repository",
        "after file:// the path must begin with a slash",
    ] {
        assert_eq!(private_words(good), Vec::<String>::new());
    }
}

fn private_texts(source: &str) -> Vec<String> {
    let mut texts = literals(source);
    texts.retain(|(_, text)| text.contains(' '));
    private_in(&texts)
}

/// The private words of numbered lines.
fn private_in(lines: &[(usize, String)]) -> Vec<String> {
    let of_line = |(line, text): &(usize, String)| {
        let words = private_words(text).into_iter();
        words
            .map(|what| format!("line {line}: {what}"))
            .collect::<Vec<_>>()
    };
    lines.iter().flat_map(of_line).collect()
}

#[test]
fn no_text_in_the_sources_has_a_private_word() {
    let sources: Vec<_> = rust(&["src", "states"])
        .into_iter()
        .filter(|(name, _)| {
            !name.ends_with("_tests.rs") && !name.contains("/tool_errors/") && !name.contains("tests/")
        })
        .collect();
    assert!(sources.len() > 200);
    assert_tidy(&sources, |_, text| private_texts(text));
    // The controls: a text over two lines, one beside a comment, and names that nobody reads.
    assert_eq!(private_texts("let a = \"write it \\\n    anew\";").len(), 1);
    assert_eq!(
        private_texts("// write it anew\nlet a = '\"'; let b = \"mend the disk\";").len(),
        1
    );
    assert_eq!(
        private_texts("// write it anew\nlet a = format!(\"or: {anew} x\");").len(),
        0
    );
}

/// The prose of a document, paragraph by paragraph, with its line: without code, names in backticks, and where links lead.
fn prose(document: &str) -> Vec<(usize, String)> {
    let mut paragraphs: Vec<(usize, String)> = vec![];
    let (mut is_fenced, mut is_open) = (false, false);
    for (at, line) in document.lines().enumerate() {
        let line = line.trim();
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        if is_fenced || is_fence || line.is_empty() {
            is_open = false;
            continue;
        }
        // A row of a table, a heading and an item of a list are of their own.
        if !is_open || line.starts_with(['|', '#', '-', '*']) {
            paragraphs.push((at + 1, String::new()));
        }
        is_open = true;
        if let Some((_, text)) = paragraphs.last_mut() {
            text.push_str(line);
            text.push(' ');
        }
    }
    for (_, text) in &mut paragraphs {
        // A name in the middle separates the words around it.
        let words = text.split('`').step_by(2).collect::<Vec<_>>().join(" NAME ");
        let mut links = words.split("](");
        let mut shown = links.next().unwrap_or("").to_owned();
        for link in links {
            shown.push_str(link.split_once(')').map_or(link, |(_, behind)| behind));
        }
        *text = shown;
    }
    paragraphs
}

fn private_prose(document: &str) -> Vec<String> {
    private_in(&prose(document))
}

#[test]
fn no_document_has_a_private_word() {
    let mut documents = files(&["docs", "tests", "examples", "templates", "nix"], &["md"]);
    for name in ["README", "ARCHITECTURE", "SECURITY", "CONTRIBUTING", "CHANGELOG"] {
        documents.extend(files(&[&format!("{name}.md")], &["md"]));
    }
    // The reference is made of texts in the sources.
    documents.retain(|(name, _)| !name.starts_with("docs/reference/"));
    assert!(documents.len() > 15, "{}", documents.len());
    assert_tidy(&documents, |_, text| private_prose(text));
    for bad in [
        "A run that was cut\noff goes to `x`.",
        "| a | Whoever has the disk |",
        "```\nmend\n```\nmend it",
        "[what it shall be](a.md)",
    ] {
        assert_eq!(private_prose(bad).len(), 1, "{bad}");
    }
    for good in [
        "```\nmend it\n```",
        "`mend` it",
        "a cut `x` off",
        "[a](mend.md#mend)",
    ] {
        assert_eq!(private_prose(good), Vec::<String>::new(), "{good}");
    }
}
