//! Reads a list of digests beside an image, in the form of sha256sum, shasum or BSD's sha256, or a single digest.
//!
//! A list without a digest for the image is an error; it is never ignored. `source` reads the file. Sources: sha256sum(1), sha256(1)
//! of FreeBSD.

/// The digest that a list has for a file of this name; if none, why.
///
/// # Errors
/// The list has no digest for the name, several, or one that is none.
pub fn digest_for(text: &str, name: &str) -> Result<String, String> {
    let lines: Vec<(String, Option<&str>)> = text.lines().filter_map(entry).collect();
    // The very name first: a list may have files of that name in several folders.
    let exact = |of: &str| of.strip_prefix("./").unwrap_or(of) == name;
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<&String> {
        let named = lines.iter().filter(|(_, of)| of.is_some_and(is));
        named.map(|(digest, _)| digest).collect()
    };
    let mut found = of(&exact);
    if found.is_empty() {
        found = of(&|of| last(of) == name);
    }
    found.sort();
    found.dedup();
    match (found.as_slice(), lines.as_slice()) {
        ([digest], _) => Ok((*digest).clone()),
        ([], [(digest, _)]) => Ok(digest.clone()),
        ([], []) => Err("it has no line with a SHA-256 (64 hexadecimal digits)".into()),
        ([], some) => Err(format!(
            "it has {} digests, but none for a file {name}",
            some.len()
        )),
        (several, _) => Err(format!("it has {} different digests for {name}", several.len())),
    }
}

fn entry(line: &str) -> Option<(String, Option<&str>)> {
    let line = line.trim().trim_start_matches('\u{feff}');
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, digest) = rest.rsplit_once(") = ")?;
        return Some((hexadecimal(digest)?, Some(name)));
    }
    match line.split_once([' ', '\t']) {
        None => Some((hexadecimal(line)?, None)),
        // Behind one blank a blank for text, or an asterisk for bytes.
        Some((digest, name)) => {
            let name = name.trim_start();
            Some((hexadecimal(digest)?, Some(name.strip_prefix('*').unwrap_or(name))))
        }
    }
}

/// A name without the folders before it.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn hexadecimal(text: &str) -> Option<String> {
    // sha256sum escapes names with a backslash at the start of the line.
    let text = text.trim().trim_start_matches('\\');
    let is = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is.then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_image_is_found_and_never_anothers() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        for text in [
            a.clone(),
            format!("{a}\n"),
            format!("{a}  x.iso\n"),
            format!("{a} *x.iso\r\n"),
            format!("SHA256 (x.iso) = {a}\n"),
            format!("{b}  y.iso\n{a}  ./out/x.iso\n"),
            format!("{b}  out/x.iso\n{a}  x.iso\n"),
            format!("{a}  x.iso\n{a}  ./x.iso\n"),
            // The file was renamed when it was downloaded.
            format!("{a}  nixos-minimal-25.05.1234.iso"),
        ] {
            assert_eq!(digest_for(&text, "x.iso").as_ref(), Ok(&a), "{text}");
        }
        assert_eq!(digest_for(&b, "x.iso"), Ok("b".repeat(64)));
        for text in [
            String::new(),
            "<html>".into(),
            format!("{b}  y.iso\n{a}  z.iso\n"),
            "a".repeat(63),
            format!("{a}  x.iso\n{b}  x.iso\n"),
            format!("{a}  one/x.iso\n{b}  two/x.iso\n"),
        ] {
            assert!(digest_for(&text, "x.iso").is_err(), "{text}");
        }
    }
}
