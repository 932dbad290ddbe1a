//! Text in columns.
//!
//! Every character of a returned text takes exactly one column of any terminal; another one is written as a similar character
//! or as its number. So a line has as many columns as characters.
//!
//! `states::untrusted_text` cuts text that others chose to a length that can be kept.

/// What says that something was cut off.
const CUT: &str = "...";
/// Characters of a text that are laid out: more than a screen has.
const CHARS_MAX: usize = 32_000;

/// Whether a character surely takes one column where there is UTF-8: letters of Europe, and marks that landfall's words have.
fn is_narrow(c: char) -> bool {
    matches!(c,
        '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}'
        | '\u{370}'..='\u{377}' | '\u{37a}'..='\u{37f}' | '\u{384}'..='\u{38a}' | '\u{38e}'..='\u{3a1}' | '\u{3a3}'..='\u{3ff}'
        | '\u{400}'..='\u{482}' | '\u{48a}'..='\u{52f}')
}

/// One line, of one column a character.
pub(crate) fn clean(text: &str, utf8: bool) -> String {
    let mut line = String::new();
    for c in text.chars().take(CHARS_MAX) {
        match c {
            ' '..='~' => line.push(c),
            '\t' | '\n' | '\r' | '\u{a0}' => line.push(' '),
            '…' => line.push_str(CUT),
            '→' => line.push_str("->"),
            '‘' | '’' => line.push('\''),
            '“' | '”' => line.push('"'),
            '‐'..='—' => line.push('-'),
            c if utf8 && is_narrow(c) => line.push(c),
            c => line.extend(c.escape_unicode()),
        }
    }
    line
}

/// Cut to so many columns; what was cut off is said.
pub(crate) fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(CUT.len())).collect();
    kept.chars().chain(CUT.chars()).take(columns).collect()
}

/// In lines of at most so many columns, broken between words where that can be.
pub(crate) fn wrap(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![];
    let mut rest: Vec<char> = line.trim_end().chars().collect();
    while rest.len() > columns {
        let blank = rest
            .iter()
            .take(columns + 1)
            .rposition(|c| *c == ' ')
            // A word as long as that is broken, or half a line would be lost.
            .filter(|at| *at > columns / 2);
        let at = blank.unwrap_or(columns);
        let tail = rest.split_off(at);
        lines.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.into_iter().collect());
    }
    lines
}

/// Says that lines behind this one are left out.
pub(crate) fn more_follows(line: &str, columns: usize) -> String {
    let kept: String = line.chars().take(columns.saturating_sub(CUT.len() + 1)).collect();
    format!("{} {CUT}", kept.trim_end())
        .chars()
        .take(columns)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_a_column() {
        assert_eq!(clean("Größe", true), "Größe");
        assert_eq!(clean("Größe", false), "Gr\\u{f6}\\u{df}e");
        assert_eq!(clean("→ …’", true), "-> ...'");
        // Wide, combining, hidden, steering.
        assert_eq!(
            clean("漢e\u{301}\u{200b}\x1b[2J", true),
            "\\u{6f22}e\\u{301}\\u{200b}\\u{1b}[2J"
        );
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(
            wrap("a bcdefghij", 6),
            ["a bcde", "fghij"],
            "half a line is not left free"
        );
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("abc", 0), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_cut_off_is_said() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "ab...");
        assert_eq!(cut("abcdef", 2), "..");
        assert_eq!(more_follows("abcdef", 6), "ab ...");
        assert_eq!(more_follows("ab", 6), "ab ...");
    }
}
