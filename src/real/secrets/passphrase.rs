//! The text of a passphrase.
//!
//! An accepted passphrase can be typed at the question of the booting machine, character by character: one line, no byte that
//! a keyboard does not give, no longer than the question accepts. A refusal comes before the first write and never repeats
//! the text.
//!
//! `secrets::credentials` and `real::ask` get a passphrase, and `volume::luks` tries it.

use crate::real::secret::{Secret, SecretText};
use landfall_states::fault::{Fault, SecretFault};
use landfall_states::untrusted_text;
use secrecy::ExposeSecret;

/// Longest passphrase: `cryptsetup` reads no more from a terminal (`DEFAULT_PASSPHRASE_SIZE_MAX`), and neither does the question at boot.
const BYTES_MAX: usize = 512;
/// Letters and digits that are where they are on a US keyboard in the layouts that people have (QWERTY, QWERTZ, AZERTY, the
/// Nordic and Latin ones), digits with or without the shift key.
const STEADY: &str = "bcdefghijklnoprstuvxBCDEFGHIJKLNOPRSTUVX";

/// One line of text without its end; what nobody can type is refused. `on` says where it came from.
///
/// # Errors
/// It is no line that can be typed at boot: the reason.
pub fn line(bytes: &Secret, on: &str) -> Result<SecretText, Fault> {
    match judged(bytes.expose_secret()) {
        Ok(text) => SecretText::of(&[text]).map_err(|e| crate::os_error::fault(on, &e)),
        Err(reason) => Err(SecretFault::Unusable {
            on: on.to_owned(),
            reason,
        }
        .into()),
    }
}

/// Whether a passphrase that was typed can be typed again: the reason why not.
pub fn objection(text: &SecretText) -> Option<String> {
    judged(text.expose_secret().as_bytes()).err()
}

fn judged(bytes: &[u8]) -> Result<&str, String> {
    for (mark, kind) in [
        (&[0xEF, 0xBB, 0xBF][..], "UTF-8"),
        (&[0xFF, 0xFE], "UTF-16"),
        (&[0xFE, 0xFF], "UTF-16"),
    ] {
        if bytes.starts_with(mark) {
            return Err(format!(
                "it begins with the byte order mark of {kind}, which cannot be typed; save it as UTF-8 without a byte order mark"
            ));
        }
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    // What an editor of Windows puts at the end of a line.
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.contains(&0) {
        return Err(
            "it has a NUL byte, which cannot be typed; save it as UTF-8 (UTF-16 has such bytes)".into(),
        );
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("byte {} is not UTF-8; save it as UTF-8", e.valid_up_to() + 1))?;
    if text.is_empty() {
        return Err("it is empty; a passphrase needs at least one character".into());
    }
    if text.len() > BYTES_MAX {
        return Err(format!(
            "it has {} bytes; the prompt at boot accepts at most {BYTES_MAX}",
            text.len()
        ));
    }
    if text.contains(['\n', '\r']) {
        return Err(
            "it has more than one line (an empty line at the end counts); the prompt at boot accepts one line"
                .into(),
        );
    }
    for (at, c) in text.chars().enumerate() {
        if let Some(what) = untypeable(c) {
            return Err(format!("character {} is {what}", at + 1));
        }
    }
    Ok(text)
}

/// What a character is that nobody can be sure to type again at boot: what shows nothing, every blank but the space, what only changes
/// the letter before it, and what is another way to write a letter that keyboards give. Nothing is replaced by something else: the
/// container is made with exactly the text that was given, or with none.
fn untypeable(c: char) -> Option<&'static str> {
    let code = u32::from(c);
    if untrusted_text::is_hidden(c) || matches!(code, 0x2800 | 0xFFFC..=0xFFFD) {
        return Some("a control character or an invisible character, which cannot be typed; remove it");
    }
    if c.is_whitespace() && c != ' ' {
        return Some(
            "a space character that is not a plain space (for example a no-break space); use a plain space, or remove it",
        );
    }
    // Of the standard library's own tables (Unicode's Grapheme_Extend, and what is no printable character yet): it escapes these.
    let is_escaped = !matches!(c, '\\' | '\'' | '"') && c.escape_debug().len() > 1;
    // The parts of letters of Hangul, which a keyboard gives as one.
    let is_part = is_escaped || matches!(code, 0x1100..=0x11FF | 0xA960..=0xA97C | 0xD7B0..=0xD7FB);
    if is_part {
        return Some(
            "a mark that belongs to the letter before it (an accent without a letter), a part of a letter, or no known character: a \
             keyboard gives the letter with its mark as one character; write it so (composed, Unicode's form NFC)",
        );
    }
    // What becomes another character in NFC (UnicodeData.txt, canonical decompositions that are not composed again).
    let is_other = matches!(code,
        0x374 | 0x37E | 0x387 | 0x958..=0x95F | 0x9DC..=0x9DF | 0xA33 | 0xA36 | 0xA59..=0xA5E | 0xB5C..=0xB5D | 0xF43..=0xF69 | 0x1F71
        | 0x1F73 | 0x1F75 | 0x1F77 | 0x1F79 | 0x1F7B | 0x1F7D | 0x1FBB | 0x1FBE | 0x1FC9 | 0x1FCB | 0x1FD3 | 0x1FDB | 0x1FE3 | 0x1FEB
        | 0x1FEE..=0x1FEF | 0x1FF9 | 0x1FFB | 0x1FFD | 0x2126 | 0x212A..=0x212B | 0x2329..=0x232A | 0x2ADC | 0xF900..=0xFAFF
        | 0xFB1D..=0xFB4E | 0x1D15E..=0x1D164 | 0x1D1BB..=0x1D1C0 | 0x2F800..=0x2FA1F);
    is_other.then_some(
        "another way to write a letter that looks the same (as the sign of the ohm for omega); write the letter itself (composed, \
         Unicode's form NFC)",
    )
}

/// What deserves a word before the container is made with it: blanks at an end, and characters that the keyboard at boot may
/// have elsewhere or not at all. `keymap` is the console's layout of the system, where it is known.
pub fn notices(text: &SecretText, keymap: Option<&str>) -> Vec<String> {
    let text = text.expose_secret();
    let mut words = Vec::new();
    if text.trim() != text {
        words.push(
            "the passphrase begins or ends with a space, which is part of it: type it at boot".to_owned(),
        );
    }
    let is_us = keymap.is_none_or(|keymap| matches!(keymap.trim(), "" | "us"));
    if !text.is_ascii() {
        let layout = keymap.map_or_else(
            || "the one that the host sets (console.keyMap)".to_owned(),
            |keymap| format!("{keymap} (console.keyMap of the host)"),
        );
        words.push(format!(
            "the passphrase has characters outside ASCII: the keyboard layout at boot, {layout}, must have them"
        ));
    } else if !is_us
        && text
            .chars()
            .any(|c| !(STEADY.contains(c) || c.is_ascii_digit() || c == ' '))
    {
        words.push(format!(
            "the passphrase has characters that are on other keys in other keyboard layouts: at boot it is typed with {} \
             (console.keyMap of the host)",
            keymap.unwrap_or_default()
        ));
    }
    words
}

/// The console's layout that a system sets, from its `etc/vconsole.conf` (`vconsole.conf(5)`).
pub fn keymap(vconsole: &str) -> Option<String> {
    vconsole.lines().rev().find_map(|line| {
        let value = line.trim().strip_prefix("KEYMAP=")?;
        let value = value.trim_matches(['"', '\'']);
        // A path of the store names a layout that the host made itself.
        let name = value.rsplit('/').next().unwrap_or(value);
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> Result<String, String> {
        line(&Secret::copy_of(bytes).unwrap(), "credential x")
            .map(|text| text.expose_secret().to_owned())
            .map_err(|fault| fault.why())
    }

    #[test]
    fn one_line_of_text_is_taken_without_its_end() {
        for (bytes, text) in [
            (&b"correct horse"[..], "correct horse"),
            (b"correct horse\n", "correct horse"),
            (b"correct horse\r\n", "correct horse"),
            (b"correct horse\r", "correct horse"),
            (b" a ", " a "),
            ("pässwörd €\n".as_bytes(), "pässwörd €"),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
            (
                "\u{d55c}\u{3042}\u{304c}\u{4e2d}".as_bytes(),
                "\u{d55c}\u{3042}\u{304c}\u{4e2d}",
            ),
            ("it\u{2019}s Ω \u{1f511}".as_bytes(), "it\u{2019}s Ω \u{1f511}"),
            (
                b"~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./",
                "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./",
            ),
        ] {
            assert_eq!(of(bytes).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_nobody_can_type_is_refused_with_the_reason() {
        let long = vec![b'a'; 513];
        for (bytes, why) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\r\n", "empty"),
            (b"\xEF\xBB\xBFsecret\n", "byte order mark of UTF-8"),
            (b"\xFF\xFEs\0e\0", "byte order mark of UTF-16"),
            (b"\xFE\xFF\0s\0e", "byte order mark of UTF-16"),
            (b"s\0e\0c\0", "NUL"),
            (b"secret\0", "NUL"),
            (b"secret\n\n", "more than one line"),
            (b"secret\r\n\r\n", "more than one line"),
            (b"two\nlines", "more than one line"),
            (b"two\rlines", "more than one line"),
            (b"tab\there", "character 4 is a control"),
            (b"esc\x1b[A", "character 4 is a control"),
            (b"del\x7f", "character 4 is a control"),
            ("c1\u{85}".as_bytes(), "character 3 is a control"),
            (
                "a\u{200b}b".as_bytes(),
                "character 2 is a control character or an invisible character",
            ),
            ("a\u{2028}b".as_bytes(), "invisible"),
            ("a\u{feff}".as_bytes(), "invisible"),
            ("a\u{2800}b".as_bytes(), "invisible"),
            ("a\u{180e}b".as_bytes(), "invisible"),
            ("a\u{3164}b".as_bytes(), "invisible"),
            ("a\u{115f}b".as_bytes(), "invisible"),
            ("a\u{e0061}b".as_bytes(), "invisible"),
            ("a\u{fffd}b".as_bytes(), "invisible"),
            (
                "geheim\u{a0}wort".as_bytes(),
                "character 7 is a space character that is not a plain space",
            ),
            ("a\u{1680}b".as_bytes(), "a space character that is not"),
            ("a\u{2009}b".as_bytes(), "a space character that is not"),
            ("a\u{202f}b".as_bytes(), "a space character that is not"),
            ("a\u{205f}b".as_bytes(), "a space character that is not"),
            ("a\u{3000}b".as_bytes(), "a space character that is not"),
            (
                "cafe\u{301}".as_bytes(),
                "character 5 is a mark that belongs to the letter before it",
            ),
            ("n\u{303}".as_bytes(), "NFC"),
            ("\u{1112}\u{1161}\u{11ab}".as_bytes(), "NFC"),
            ("\u{304b}\u{3099}".as_bytes(), "NFC"),
            ("keycap 1\u{20e3}".as_bytes(), "NFC"),
            ("a\u{378}b".as_bytes(), "no known character"),
            ("\u{2126}".as_bytes(), "another way to write a letter"),
            ("\u{212b}".as_bytes(), "another way"),
            ("\u{f900}".as_bytes(), "another way"),
            (b"caf\xe9", "byte 4 is not UTF-8"),
            (&long, "513 bytes"),
        ] {
            let said = of(bytes).unwrap_err();
            assert!(said.contains(why), "{bytes:?}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        assert!(of(&[b'a'; 512]).is_ok());
    }

    #[test]
    fn a_word_where_the_layout_at_boot_matters() {
        let words = |text: &str, keymap: Option<&str>| notices(&SecretText::from(text), keymap).join("\n");
        assert_eq!(words("horse-battery", None), "");
        assert_eq!(words("horse-battery", Some("us")), "");
        assert_eq!(words("horse7", Some("de")), "");
        assert!(words("horse-battery", Some("de")).contains("typed with de"));
        assert!(words("lazy", Some("fr")).contains("typed with fr"));
        assert!(words("é", None).contains("outside ASCII"));
        assert!(words("é", Some("us")).contains("us (console.keyMap"));
        assert!(words("horse ", None).contains("ends with a space"));
    }

    #[test]
    fn the_layout_of_a_system() {
        for (text, found) in [
            ("KEYMAP=de-latin1\nFONT=x\n", Some("de-latin1")),
            ("FONT=x\nKEYMAP=\"us\"\n", Some("us")),
            (
                "KEYMAP=/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-keymap\n",
                Some("2xyifq2nh639qmif11q87l313ylaxf6d-keymap"),
            ),
            ("KEYMAP=\n", None),
            ("# KEYMAP=fr\n", None),
            ("", None),
        ] {
            assert_eq!(keymap(text).as_deref(), found, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_line_that_is_taken_again(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = of(&bytes) {
                prop_assert!(!text.is_empty() && !text.chars().any(char::is_control));
                prop_assert!(bytes.starts_with(text.as_bytes()) && bytes.len() - text.len() <= 2);
                prop_assert_eq!(of(text.as_bytes()), Ok(text));
            }
        }
    }
}
