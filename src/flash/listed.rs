//! A list of digests beside an image, as sha256sum and shasum write it, as BSD's sha256 does, or a digest alone. Law: a list that has
//! no digest for the image is an error, and never passed over.
//!
//! Absent: reading the file (`source`). Sources: sha256sum(1), sha256(1) of FreeBSD.

/// The digest that a list has for a file of this name; if none, why.
pub fn digest_for(text: &str, name: &str) -> Result<String, String> {
    let lines: Vec<(String, Option<&str>)> = text.lines().filter_map(entry).collect();
    let named = lines.iter().find(|(_, of)| *of == Some(name));
    match (named, lines.as_slice()) {
        (Some((digest, _)), _) | (None, [(digest, _)]) => Ok(digest.clone()),
        (None, []) => Err("no line of it has a SHA-256 (64 hexadecimal digits)".into()),
        (None, some) => Err(format!(
            "it has {} digests, and none of a file {name}",
            some.len()
        )),
    }
}

fn entry(line: &str) -> Option<(String, Option<&str>)> {
    let line = line.trim().trim_start_matches('\u{feff}');
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, digest) = rest.rsplit_once(") = ")?;
        return Some((hexadecimal(digest)?, Some(last(name))));
    }
    match line.split_once([' ', '\t']) {
        None => Some((hexadecimal(line)?, None)),
        // Behind one blank a blank for text, or an asterisk for bytes.
        Some((digest, name)) => {
            let name = name.trim_start();
            Some((
                hexadecimal(digest)?,
                Some(last(name.strip_prefix('*').unwrap_or(name))),
            ))
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
        ] {
            assert!(digest_for(&text, "x.iso").is_err(), "{text}");
        }
    }
}
