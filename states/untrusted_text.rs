//! Text that somebody else chose: output of programs, names of files, labels, serial numbers, subjects of commits, names of
//! boot entries.
//!
//! What is shown, logged or kept of it is cut and escaped where it enters, by this one type: no more characters than
//! requested, no byte that steers a terminal, none that changes the direction of the text beside it, none that hides. The
//! text says what was cut off. The work is bounded by what is kept, not by what is given.
//!
//! Code that reads such a text as data reads the original bytes.

use std::fmt;

/// Longest name, label or value that is shown.
pub const NAME_CHARS_MAX: usize = 240;
/// Longest line of a program, or sentence, that is shown.
pub const LINE_CHARS_MAX: usize = 2_000;
/// Longest text of several lines that is shown.
const TEXT_CHARS_MAX: usize = 16_000;

/// Most characters after the limit that are also shown if the text ends with them.
const END_CHARS_MAX: usize = 40;

/// Foreign text in the form in which it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// A name or a value.
    pub fn name(text: &str) -> Shown {
        Shown::cut(text, NAME_CHARS_MAX, false)
    }

    /// A line.
    pub fn line(text: &str) -> Shown {
        Shown::cut(text, LINE_CHARS_MAX, false)
    }

    /// Several lines, which stay lines.
    pub fn text(text: &str) -> Shown {
        Shown::cut(text, TEXT_CHARS_MAX, true)
    }

    /// Bytes that ought to be a name; those that are no UTF-8 become the replacement character.
    pub fn bytes(bytes: &[u8]) -> Shown {
        // Four bytes are the longest character.
        let enough = bytes.get(..NAME_CHARS_MAX * 4 + 4).unwrap_or(bytes);
        let text = String::from_utf8_lossy(enough);
        if enough.len() == bytes.len() {
            return Shown::name(&text);
        }
        let mut kept = Kept::default();
        kept.take(&text, NAME_CHARS_MAX, false);
        kept.text.push_str(&format!("… [{} bytes]", bytes.len()));
        Shown(kept.text)
    }

    fn cut(text: &str, chars_max: usize, lines: bool) -> Shown {
        let mut kept = Kept::default();
        let rest = kept.take(text, chars_max, lines);
        if !rest.is_empty() {
            // What says that something was cut off is not cut off itself when it is shown again, and neither is as much else.
            let mut end = Kept {
                is_blank: kept.is_blank,
                ..Kept::default()
            };
            if end.take(rest, END_CHARS_MAX, lines).is_empty() {
                kept.text.push_str(&end.text);
            } else {
                kept.text.push_str(&format!("… [{} bytes]", text.len()));
            }
        }
        Shown(kept.text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Shown> for String {
    fn from(shown: Shown) -> String {
        shown.0
    }
}

/// Text in the making.
#[derive(Default)]
struct Kept {
    text: String,
    count: usize,
    is_blank: bool,
}

impl Kept {
    /// Takes text up to so many characters as they are shown; what is left of it.
    fn take<'t>(&mut self, text: &'t str, chars_max: usize, lines: bool) -> &'t str {
        for (at, c) in text.char_indices() {
            let blank = matches!(
                c,
                '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            ) && !(lines && c == '\n');
            if blank && self.is_blank {
                continue;
            }
            let escaped = if blank {
                " ".to_owned()
            } else if is_hidden(c) && !(lines && c == '\n') {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            };
            let chars = escaped.chars().count();
            if self.count + chars > chars_max {
                return &text[at..];
            }
            self.text.push_str(&escaped);
            self.count += chars;
            self.is_blank = blank;
        }
        ""
    }
}

/// Characters that steer a terminal, turn the direction of text (bidirectional controls), join or hide: Unicode's classes Cc and
/// Cf, separators of lines, private use and what is no character.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x115F..=0x1160 | 0x17B4..=0x17B5
            | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF
            | 0xFFA0 | 0xFFF0..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
            | 0xE000..=0xF8FF | 0xE0000..=0xE0FFF | 0xF0000..)
        || matches!(u32::from(c), 0xFDD0..=0xFDEF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_turns_or_hides_is_escaped() {
        for (text, shown) in [
            ("plain é €", "plain é €"),
            ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("photos\u{202e}gpj.exe", "photos\\u{202e}gpj.exe"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("nul\0", "nul\\u{0}"),
            ("c1 \u{9b}31m", "c1 \\u{9b}31m"),
            ("two\r\n\tlines", "two lines"),
            ("sep\u{2028}", "sep "),
        ] {
            assert_eq!(Shown::line(text).as_str(), shown, "{text:?}");
        }
        assert_eq!(Shown::text("two\nlines\x1b").as_str(), "two\nlines\\u{1b}");
        assert_eq!(Shown::bytes(b"caf\xe9").as_str(), "caf\u{fffd}");
    }

    #[test]
    fn what_is_long_is_cut_and_that_is_said() {
        let long = "x".repeat(200 << 20);
        let shown = Shown::name(&long);
        assert_eq!(
            shown.as_str(),
            format!("{}… [209715200 bytes]", "x".repeat(NAME_CHARS_MAX))
        );
        assert_eq!(Shown::bytes(long.as_bytes()).as_str().len(), shown.as_str().len());
        // The control: what fits is whole.
        assert_eq!(
            Shown::name(&long[..NAME_CHARS_MAX]).as_str().len(),
            NAME_CHARS_MAX
        );
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_that_is_seen_whole_and_shown_the_same_again(text in "\\PC*|(?s).*") {
            let shown = Shown::line(&text);
            prop_assert!(!shown.as_str().chars().any(is_hidden));
            prop_assert_eq!(Shown::line(shown.as_str()), shown.clone());
            prop_assert!(shown.as_str().chars().count() <= LINE_CHARS_MAX + 40);
        }

        #[test]
        fn any_bytes_are_shown(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
            let shown = Shown::bytes(&bytes);
            prop_assert!(!shown.as_str().chars().any(is_hidden));
            prop_assert!(shown.as_str().chars().count() <= NAME_CHARS_MAX + 40);
        }
    }
}
