//! What the program gives to do for a general kind of fault: read from the calls that make it. A part of `tidy.rs`.
//!
//! The kinds that are about one thing have their remedy from the kind itself. The others get it where they arise, so the page of messages
//! takes it from there.

use super::words::literals;
use landfall_states::fault::Remedy;

/// The text between the bracket at `open` and the one that closes it, both left out. Brackets in texts do not count.
fn within(source: &str, open: usize) -> Option<&str> {
    let (mut depth, mut at) = (0_usize, open);
    while let Some(c) = source.get(at..)?.chars().next() {
        match c {
            '"' => {
                let mut rest = source.get(at + 1..)?.char_indices();
                loop {
                    match rest.next()? {
                        (_, '\\') => drop(rest.next()),
                        (end, '"') => {
                            at += end + 1;
                            break;
                        }
                        _ => {}
                    }
                }
            }
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return source.get(open + 1..at);
                }
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

/// The text of a name that a source has for one: a constant, or a variable.
fn named<'s>(source: &'s str, name: &str) -> Option<&'s str> {
    [format!("const {name}: &str ="), format!("let {name} =")]
        .iter()
        .find_map(|head| {
            let rest = source.split(head.as_str()).nth(1)?.trim_start();
            rest.starts_with('"').then_some(rest)
        })
}

/// A text with its names resolved, and capital words in place of values.
fn resolved(source: &str, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
        out.push_str(before);
        match named(source, name) {
            Some(at) => out.push_str(&literals(at)[0].1),
            None if name.is_empty() => out.push('…'),
            None => out.push_str(&name.to_uppercase()),
        }
        rest = after;
    }
    out + rest
}

/// The remedies of a piece of a source, as they are shown.
fn remedies_in(source: &str, piece: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, _) in piece.match_indices("Remedy::") {
        let call = &piece[at + "Remedy::".len()..];
        let name: String = call
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let Some(inside) = within(
            piece,
            at + "Remedy::".len() + name.len() + usize::from(call[name.len()..].starts_with(' ')),
        ) else {
            continue;
        };
        let texts: Vec<String> = literals(inside)
            .into_iter()
            .map(|(_, text)| resolved(source, &text))
            .filter(|text| text.chars().any(char::is_alphabetic))
            .collect();
        let constant = inside.trim().trim_end_matches(',');
        let text = match texts.first() {
            Some(text) => Some(text.clone()),
            None => named(source, constant).map(|at| literals(at)[0].1.clone()),
        };
        let remedy = match (name.as_str(), text) {
            ("resume", _) => Remedy::resume(),
            ("report", _) => Remedy::report(),
            ("replace_device", _) => Remedy::replace_device(),
            ("attach_again", _) => Remedy::attach_again(),
            ("change", Some(text)) => Remedy::change(text),
            ("change_and_install", Some(text)) => Remedy::change_and_install(text),
            ("words", Some(text)) => Remedy::words(text),
            ("Command", Some(text)) => Remedy::Command(text),
            ("Change", Some(first)) => Remedy::Change {
                first,
                command: texts.get(1).cloned().unwrap_or_default(),
            },
            _ => continue,
        };
        found.push(remedy.to_string());
    }
    found
}

/// Where the function begins in which something is.
fn function(source: &str, at: usize) -> usize {
    source[..at]
        .rmatch_indices("fn ")
        .map(|(start, _)| start)
        .find(|start| {
            source[..*start]
                .rsplit('\n')
                .next()
                .is_some_and(|line| !line.trim_start().starts_with("//"))
        })
        .unwrap_or(0)
}

/// What these sources give to do for a kind of fault, each text once. `head`: how the kind is made, such as `Kind::InUse {`.
pub fn remedies(sources: &[(String, String)], head: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for (_, source) in sources {
        let source = source.split("#[cfg(test)]").next().unwrap_or(source);
        for (at, _) in source.match_indices(head) {
            // A pattern, and not a value.
            let line = source[at..].lines().next().unwrap_or("");
            if line.contains("} =>") || line.contains("..") {
                continue;
            }
            let call = match head.ends_with('(') {
                true => Some(at + head.len() - 1),
                false => source[..at]
                    .rfind("Fault::of(")
                    .filter(|start| source[start + "Fault::of(".len()..at].trim().is_empty())
                    .map(|start| start + "Fault::of".len()),
            };
            let mut remedies = match call.and_then(|open| within(source, open)) {
                Some(inside) => remedies_in(source, inside),
                None => vec![],
            };
            if remedies.is_empty() {
                // By the name of a variable: what its function has soon after, else before.
                let end = source[at..].find("\n}\n").map_or(source.len(), |end| at + end);
                let mut near = end.min(at + 700);
                while !source.is_char_boundary(near) {
                    near -= 1;
                }
                remedies = remedies_in(source, &source[at..near]);
                if remedies.is_empty() {
                    remedies = remedies_in(source, &source[function(source, at)..at]);
                }
            }
            for remedy in remedies {
                if !found.contains(&remedy) {
                    found.push(remedy);
                }
            }
        }
    }
    found
}

/// Everything that a file gives to do.
pub fn remedies_of_file(sources: &[(String, String)], name: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for (_, source) in sources.iter().filter(|(of, _)| of == name) {
        let code = source.split("#[cfg(test)]").next().unwrap_or(source);
        for remedy in remedies_in(code, code) {
            if !found.contains(&remedy) {
                found.push(remedy);
            }
        }
    }
    found
}

#[test]
fn remedies_are_found_where_a_kind_is_made() {
    let of = |source: &str| remedies(&[("a.rs".into(), source.into())], "Kind::InUse {");
    let direct = "fn a() { Fault::of(Kind::InUse { on: f(\"x)\"), by }, Remedy::change(format!(\"umount {target}\"))) }\n}\n";
    assert_eq!(of(direct), ["umount TARGET, then: landfall resume"]);
    let named = "const ONE: &str = \"name it\";\nfn a() { let remedy = match x { true => Remedy::words(ONE), false => \
                 Remedy::words(format!(\"free it, then: {ONE}\")) }; Fault::of(Kind::InUse { on, by }, remedy) }\n}\n";
    assert_eq!(of(named), ["name it", "free it, then: name it"]);
    let pattern = "fn a() { match k { Kind::InUse { .. } => Remedy::words(\"look\") } }\n}\n";
    assert_eq!(of(pattern), Vec::<String>::new());
}
