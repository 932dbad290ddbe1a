//! The ends of a text: spaces, line ends and invisible characters that were copied along with it.

/// Signs that nobody sees.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

fn is_edge(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c)
}

/// What a sign is called.
pub(super) fn called(c: char) -> String {
    match c {
        ' ' => "a space".into(),
        '\n' => "a line feed".into(),
        '\r' => "a carriage return".into(),
        '\t' => "a tab".into(),
        c => format!("an invisible character (U+{:04X})", u32::from(c)),
    }
}

/// What is wrong at the ends of a text, and the text without that.
pub(super) fn edges(text: &str) -> Option<(String, &str)> {
    let plain = text.trim_matches(is_edge);
    if plain == text || plain.is_empty() {
        return None;
    }
    let (sign, place) = match text.chars().next().filter(|c| is_edge(*c)) {
        Some(first) => (first, "before it"),
        None => (text.chars().next_back()?, "after it"),
    };
    Some((format!("{} is {place}", called(sign)), plain))
}
