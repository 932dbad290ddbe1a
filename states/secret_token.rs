//! Tokens in a text, recognised by the prefixes that forges give them.
//!
//! A token is found anywhere in a text and in every encoding (`%67hp_…`), and it is hidden in every form. Words and names
//! that only begin like a token are too short to be one.
//!
//! `remote` hides passwords in the place of a user.

use std::ops::Range;

/// What stands where a credential was.
pub const REDACTED: &str = "[REDACTED]";

/// A part of a URL as it is meant (RFC 3986, section 2.1); what is no UTF-8 then is replaced.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .split_at_checked(2)
            .filter(|_| *first == b'%')
            .and_then(|(hex, after)| {
                let hex = std::str::from_utf8(hex).ok()?;
                Some((u8::from_str_radix(hex, 16).ok()?, after))
            });
        let (byte, behind) = code.unwrap_or((*first, after));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Shortest token.
const TOKEN_BYTES_MIN: usize = 20;
/// Heads of tokens of GitHub and GitLab, in lower case.
const HEADS: [&str; 17] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glptt-",
    "glcbt-",
    "glimt-",
    "glagent-",
    "gloas-",
    "glsoat-",
    "glffct-",
    "glft-",
];
/// Heads that are tokens in this case only: Bitbucket, Amazon, and JSON in base 64.
const HEADS_IN_CASE: [&str; 4] = ["ATBB", "ATCTT3", "AKIA", "eyJ"];
/// What a secret is called where it has a name, in lower case.
const NAMES: [&str; 8] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "auth",
    "apikey",
    "api_key",
    "private_key",
];
/// The same of short names, which are parts of other words: they count as a whole, or as a word of a name (`api-key`).
const WORDS: [&str; 9] = ["key", "pwd", "pass", "pin", "pat", "sig", "sas", "jwt", "bearer"];
/// How often an encoded text is decoded: no address is encoded more often.
const DECODED_MAX: usize = 4;

/// Where tokens stand.
fn places(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_of_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let mut found: Vec<Range<usize>> = vec![];
    let mut before = None;
    for (at, byte) in bytes.iter().enumerate() {
        let is_start = before
            .replace(byte)
            .is_none_or(|before| !before.is_ascii_alphanumeric());
        if !is_start || found.last().is_some_and(|last| last.contains(&at)) {
            continue;
        }
        let begins = |head: &str, exact: bool| {
            bytes.get(at..at + head.len()).is_some_and(|there| {
                if exact {
                    there == head.as_bytes()
                } else {
                    there.eq_ignore_ascii_case(head.as_bytes())
                }
            })
        };
        if HEADS.iter().any(|head| begins(head, false)) || HEADS_IN_CASE.iter().any(|head| begins(head, true))
        {
            let length = bytes.iter().skip(at).take_while(|b| is_of_token(b)).count();
            if length >= TOKEN_BYTES_MIN {
                found.push(at..at + length);
            }
        }
    }
    found
}

/// A text as it is meant, however often it is encoded.
pub fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for _ in 0..DECODED_MAX {
        let next = percent_decoded(&plain);
        if next == plain {
            break;
        }
        plain = next;
    }
    plain
}

/// Whether a token stands in a text, in any form.
pub fn has_token(text: &str) -> bool {
    !places(text).is_empty() || text.contains('%') && !places(&plain(text)).is_empty()
}

/// Whether the path of an address has what may be a secret: a token, or a setting that is no part of a path (`;private_token=…`).
pub fn is_secret_in_path(path: &str) -> bool {
    let path = plain(path);
    let named = |part: &str| {
        part.split_once('=').is_some_and(|(name, _)| {
            let name = name.to_ascii_lowercase();
            let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
            NAMES.iter().any(|secret| name.contains(secret)) || words.any(|word| WORDS.contains(&word))
        })
    };
    !places(&path).is_empty()
        || path.contains(['?', '#'])
        || path.split(['/', ';', '&', ':']).any(named)
        || path.split([';', '&']).skip(1).any(|part| part.contains('='))
}

/// A text without the tokens that stand in it.
pub fn without_tokens(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for place in places(text) {
        out += &text[from..place.start];
        out += REDACTED;
        from = place.end;
    }
    out + &text[from..]
}

/// The tokens, as they stand there.
pub fn tokens(text: &str) -> Vec<&str> {
    places(text).into_iter().map(|place| &text[place]).collect()
}

/// A path of an address without what may be a secret; what is written so that it cannot be told apart is left out as a whole.
pub fn shown_path(path: &str) -> String {
    if !is_secret_in_path(path) {
        return path.to_owned();
    }
    let cut = path
        .find([';', '&'])
        .filter(|at| path[*at..].contains('='))
        .map_or(path.len(), |at| at + 1);
    let lower = path.to_ascii_lowercase();
    let cut = ["%3f", "%23"]
        .iter()
        .filter_map(|sign| lower.find(sign))
        .map(|at| at + 3)
        .chain([cut])
        .min()
        .unwrap_or(cut);
    let shown = without_tokens(&path[..cut]);
    if is_secret_in_path(shown.trim_end_matches(['%', '3', 'f', 'F', '2'])) {
        return format!("/{REDACTED}");
    }
    if cut < path.len() {
        return shown + REDACTED;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ghp_canaryabcdefghijklmnopqrstuvwxyz01";

    #[test]
    fn a_token_is_hidden_wherever_it_stands() {
        for text in [
            format!("https://h/{TOKEN}/r"),
            format!("git@h:{TOKEN}/r"),
            format!("{TOKEN}.example"),
            format!("x {TOKEN}, y"),
            TOKEN.to_owned(),
            "/glpat-canaryabcdefghij/r".to_owned(),
            "/GLPAT-canaryabcdefghij/r".to_owned(),
            "/github_pat_11ABCDEFG_canary".to_owned(),
            "/eyJhbGciOiJIUzI1canary".to_owned(),
        ] {
            assert!(has_token(&text), "{text}");
            let shown = without_tokens(&text);
            assert!(shown.contains(REDACTED) && !shown.contains("canary"), "{shown}");
        }
        for text in [
            "ghp_tools",
            "/srv/eyjafjallajokull-pictures",
            "xghp_abcdefghijklmnopqrstuvw",
            "/a/b",
        ] {
            assert!(!has_token(text), "{text}");
            assert_eq!(without_tokens(text), text);
        }
    }

    #[test]
    fn what_is_no_part_of_a_path_is_not_shown() {
        for path in [
            "/r;private_token=canary",
            "/r&private_token=canary",
            "/r;x=canary",
            "/r%3Fprivate_token=canary",
            "/r%3fprivate_token=canary",
            "/r%253Fprivate_token=canary",
            "/r%23canary",
            "/access_token=canary/r",
            "/key=canary/r",
            "/r/pwd=canary",
            "/r/PAT=canary",
            "/x/api-key=canary/r",
            "/r/sig=canary",
            "/gh%70_canaryabcdefghijklmnopqrstuvwxyz01/r",
            "/%67lpat-canaryabcdefghijklm",
        ] {
            assert!(is_secret_in_path(path), "{path}");
            assert!(
                !shown_path(path).contains("canary"),
                "{path}: {}",
                shown_path(path)
            );
        }
        for path in [
            "/o/r",
            "/o/r;v1",
            "/a=b/r",
            "/~me/r",
            "/a%20b",
            "/token/r",
            "/key/r",
            "/monkey=1/r",
            "/path=a",
        ] {
            assert!(!is_secret_in_path(path), "{path}");
            assert_eq!(shown_path(path), path);
        }
    }
}
