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
/// Heads that nothing but a token has, in lower case: of GitHub and GitLab, then of others (what they publish, and gitleaks lists).
const HEADS: [&str; 37] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glrtr-",
    "glptt-",
    "glcbt-",
    "glimt-",
    "glagent-",
    "gloas-",
    "glsoat-",
    "glffct-",
    "glft-",
    "glwt-",
    "dckr_pat_",
    "dckr_oat_",
    "dop_v1_",
    "doo_v1_",
    "dor_v1_",
    "pypi-ageichlwas",
    "shpat_",
    "sk-ant-admin0",
    "sk-ant-api0",
    "sk-ant-oat0",
    "sk-ant-sid0",
    "sk_live_",
    "sk_test_",
    "sntrys_",
    "sntryu_",
    "xoxb-",
    "xoxe-",
    "xoxp-",
];
/// Heads that a name may have as well, in lower case. What follows has a part that is no word ([`is_random`]).
const HEADS_OF_NAMES: [&str; 25] = [
    "api_org_",
    "clojars_",
    "dapi",
    "dp.pt.",
    "gitea-token-",
    "gsk_",
    "gta_",
    "hf_",
    "hvb.",
    "hvs.",
    "lin_api_",
    "npm_",
    "nvapi-",
    "pat_",
    "pplx-",
    "pscale_",
    "pul-",
    "rubygems_",
    "sgp_",
    "sk-ant-",
    "sk-proj-",
    "sk-svcacct-",
    "tskey-",
    "xapp-",
    "xai-",
];
/// Heads that are tokens in this case only: Bitbucket and Atlassian, Amazon, Google, Artifactory, and JSON in base 64, once and twice.
const HEADS_IN_CASE: [&str; 11] = [
    "ATBB", "ATCTT3", "ATATT3", "AKIA", "ASIA", "AIza", "ya29.", "AKCp", "cmVmd", JSON, "ZXlK",
];
/// The head of JSON in base 64. It begins a token of parts with dots between (JWT of 3, JWE of 5), and all of them are the token.
const JSON: &str = "eyJ";
/// Shortest part of letters and digits that is none of words: with digits or capitals all over it, and of whatever.
const RANDOM_BYTES_MIN: [usize; 2] = [20, 30];
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

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether a part of letters and digits is no word and no name of words.
fn is_random(part: &[u8]) -> bool {
    let [short, long] = RANDOM_BYTES_MIN;
    let count = |of: fn(&u8) -> bool| part.iter().filter(|byte| of(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let capitals = count(u8::is_ascii_uppercase);
    let small = count(u8::is_ascii_lowercase);
    let is_mixed = digits >= 4 || capitals * 4 >= part.len() && small * 4 >= part.len();
    part.len() >= long || part.len() >= short && is_mixed
}

/// Longest word in a name.
const WORD_BYTES_MAX: usize = 15;

/// Whether what stands behind a head is a name of words (`pages-deployment_helpers`, `Test-2024`).
fn is_of_words(body: &[u8]) -> bool {
    let is_word = |part: &[u8]| {
        let (first, rest) = part
            .split_first()
            .map_or((b'a', part), |(first, rest)| (*first, rest));
        let is_small = rest.iter().all(u8::is_ascii_lowercase) && first.is_ascii_alphabetic();
        let is_number = part.len() <= 4 && part.iter().all(u8::is_ascii_digit);
        part.len() <= WORD_BYTES_MAX && (is_small || is_number || part.iter().all(u8::is_ascii_uppercase))
    };
    body.split(|byte| !byte.is_ascii_alphanumeric()).all(is_word)
}

/// How long the token is that begins a text, if one does.
fn token_bytes(text: &[u8]) -> Option<usize> {
    let begins = |head: &&&str| {
        text.get(..head.len())
            .is_some_and(|there| there.eq_ignore_ascii_case(head.as_bytes()))
    };
    let behind = |head: &str| text.get(head.len()..).unwrap_or_default();
    let length = |head: &str, more: &[u8]| {
        let of_token = |byte: &&u8| is_of_token(**byte) || more.contains(byte);
        head.len() + behind(head).iter().take_while(of_token).count()
    };
    if text.starts_with(JSON.as_bytes()) {
        let first = length(JSON, b"");
        return (first >= TOKEN_BYTES_MIN).then(|| length(JSON, b"."));
    }
    let of_case = HEADS_IN_CASE
        .iter()
        .find(|head| text.starts_with(head.as_bytes()));
    if let Some(head) = HEADS.iter().find(begins).or(of_case) {
        let token = length(head, b"");
        let is_name = text.get(head.len()..token).is_some_and(is_of_words);
        return (token >= TOKEN_BYTES_MIN && !is_name).then(|| token + tail_bytes(head, text.get(token..)));
    }
    let head = HEADS_OF_NAMES.iter().find(begins)?;
    let token = length(head, b"");
    let body = text.get(head.len()..token)?;
    body.split(|byte| !byte.is_ascii_alphanumeric())
        .any(is_random)
        .then_some(token)
}

/// How long the check is that GitLab writes behind a token (`.01.0w0123456`, `.0w0123456`).
fn tail_bytes(head: &str, text: Option<&[u8]>) -> usize {
    let text = text.filter(|_| head.starts_with("gl")).unwrap_or_default();
    let parts = |text: &[u8]| {
        let part = text.strip_prefix(b".")?;
        let part = part
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        (part > 0).then_some(1 + part)
    };
    let mut length = 0;
    for _ in 0..2 {
        // An end of a file's name has no digits.
        let Some(part) = text.get(length..).and_then(parts) else {
            break;
        };
        let is_check = text
            .get(length..length + part)
            .is_some_and(|part| part.iter().any(u8::is_ascii_digit));
        if !is_check {
            break;
        }
        length += part;
    }
    length
}

/// How long what stands behind a token in codes is (`%2E…`), which may be the rest of it.
fn codes_bytes(behind: Option<&[u8]>) -> usize {
    let behind = behind.unwrap_or_default();
    let is_code = match behind {
        [b'%', first, second, ..] => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
        _ => false,
    };
    let goes_on = |byte: &&u8| is_of_token(**byte) || matches!(byte, b'%' | b'.');
    if is_code {
        behind.iter().take_while(goes_on).count()
    } else {
        0
    }
}

/// Where tokens stand.
fn places(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Range<usize>> = vec![];
    let mut before = None;
    for (at, byte) in bytes.iter().enumerate() {
        let is_start = before
            .replace(byte)
            .is_none_or(|before| !before.is_ascii_alphanumeric());
        if !is_start || found.last().is_some_and(|last| last.contains(&at)) {
            continue;
        }
        if let Some(length) = bytes.get(at..).and_then(token_bytes) {
            found.push(at..at + length + codes_bytes(bytes.get(at + length..)));
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
            "/hf_canaryAbcDefGhijklMnopQrstUvwxyzAb/r".to_owned(),
            "/npm_canary0123456789abcdefghijklmnopqrst/r".to_owned(),
            "/sk-ant-api03-canary-abcdefghij_0123456789AA/r".to_owned(),
            "/sk-ant-canary0123456789abcdefgh/r".to_owned(),
            "/gitea-token-canary0123456789abcdef0123456789abcdef01/r".to_owned(),
            "/dckr_pat_canaryabcdefghijklmnop/r".to_owned(),
            "/ATATT3canaryabcdefghijklmnop/r".to_owned(),
            "/ASIAcanaryABCDEFGHIJ/r".to_owned(),
            "/pypi-AgEIcHlwaS5vcmccanary/r".to_owned(),
            "/hvs.canary0123456789abcdefghij/r".to_owned(),
            "/xoxb-123456789012-canary/r".to_owned(),
        ] {
            assert!(has_token(&text), "{text}");
            let shown = without_tokens(&text);
            assert!(shown.contains(REDACTED) && !shown.contains("canary"), "{shown}");
        }
        for text in [
            "ghp_tools",
            "/npm_packages_for_all_of_our_servers/r",
            "/npm_internationalization",
            "/npm_InternationalizationHelpers",
            "/npm_mirror_20240101_20250101",
            "/hf_transformers_configuration_and_models",
            "/gitea-token-renewal-and-rotation-service",
            "/sk-ant-colony-optimisation-of-routes",
            "/pat_configuration-of-all-hosts-2024",
            "/xai-explainable-models-2025-workshop",
            "/rubygems_mirror_configuration",
            "/tskey-rotation-for-the-whole-network",
            "/dapi-gateway-configuration-of-hosts",
            "/0123456789abcdef0123456789abcdef01234567",
            "/hvs.d/service-configuration",
            "/srv/eyjafjallajokull-pictures",
            "xghp_abcdefghijklmnopqrstuvw",
            "/a/b",
        ] {
            assert!(!has_token(text), "{text}");
            assert_eq!(without_tokens(text), text);
        }
    }

    /// Names of public repositories begin with many of the heads.
    #[test]
    fn a_name_of_words_is_no_token() {
        for name in [
            "ghp_pages_deployment_helpers",
            "ghs_student_projects_repository",
            "glft-font-rendering-library",
            "glpat-rotation-for-all-projects",
            "glrt-renderer-opengl-raytracing",
            "glwt-window-toolkit-for-opengl",
            "dckr_pat_rotation_automation",
            "sk_live_streaming_platform_2024",
            "sk_test_environment_for_everybody",
            "xoxp-slack-token-revocation-tool",
            "ASIA-PACIFIC-OPERATIONS-TEAM",
            "ASIA-infrastructure-of-hosts",
        ] {
            assert!(!has_token(&format!("https://github.com/o/{name}")), "{name}");
        }
        // The controls: what forges make.
        for token in [
            "glpat-canaryabcdefghij",
            "AKIAIOSFODNN7EXAMPLE",
            "github_pat_11ABCDEFG_canary",
            TOKEN,
        ] {
            assert!(has_token(&format!("https://github.com/o/{token}")), "{token}");
        }
    }

    #[test]
    fn all_parts_of_a_token_are_hidden() {
        let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
        let of_json = "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6ImNhbmFyeSJ9";
        for (token, behind) in [
            (
                format!("{header}.{of_json}.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk8"),
                "/o/r",
            ),
            // A short payload and a short signature.
            (format!("{header}.eyJzdWIiOiIxIn0.abcdefghijklmnop"), "/x"),
            (format!("{header}.e30.ab"), "/x"),
            // Without a signature.
            (format!("{header}.{of_json}."), "/x"),
            // JWE: five parts, of which the key may be empty.
            (
                format!(
                    "{header}.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZ.48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYUZodetZdvT"
                ),
                "/x",
            ),
            (format!("{header}..48V1_ALb6US04U3b.5eym8TW_c8.XFBoM"), "/x"),
            ("glpat-abcdefghijklmnopqrstuvwxyz0.01.0w0123456".to_owned(), "/x"),
            ("glpat-abcdefghijklmnopqrstuvwxyz0.0w0123456".to_owned(), "/x"),
            ("glpat-abcdefghijklmnopqrst".to_owned(), ".git"),
            ("ya29.a0abcdefghijklmnopqrst".to_owned(), "/x"),
        ] {
            let text = format!("https://h/{token}{behind}");
            assert_eq!(without_tokens(&text), format!("https://h/{REDACTED}{behind}"));
            assert_eq!(tokens(&text), [&*token]);
            assert_eq!(
                shown_path(&format!("/{token}{behind}")),
                format!("/{REDACTED}{behind}")
            );
        }
        let encoded = format!("/{header}%2EeyJzdWIiOiIxIn0%2Ecanary/x");
        assert!(
            !shown_path(&encoded).contains("canary"),
            "{}",
            shown_path(&encoded)
        );
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
