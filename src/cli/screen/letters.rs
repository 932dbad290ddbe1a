//! Large letters, for a headline that can be read from a distance.
//!
//! A letter is a matrix of dots, five wide and seven high. A dot is two columns wide, because a character is twice as high as
//! wide. Only the letters of the headlines are here.

/// Rows of a letter.
pub(crate) const ROWS: usize = 7;
/// Dots of a letter, and the gap behind it.
const DOTS: usize = 6;
/// Columns of a dot.
const DOT_COLUMNS: usize = 2;

/// The dots of a letter, a row each; the highest of five bits is the left one.
fn dots(c: char) -> [u8; ROWS] {
    match c {
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'D' => [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        'G' => [0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0e],
        'H' => [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        'O' | '0' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'Q' => [0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'W' => [0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11],
        'Y' => [0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f],
        '3' => [0x1e, 0x01, 0x01, 0x0e, 0x01, 0x01, 0x1e],
        '4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x0e, 0x10, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x04, 0x04, 0x04, 0x04],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x01, 0x0e],
        '/' => [0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10],
        _ => [0; ROWS],
    }
}

/// Columns of a text.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count() * DOTS * DOT_COLUMNS
}

/// The rows of a text: `#` where there is a dot.
pub(crate) fn rows(text: &str) -> [String; ROWS] {
    std::array::from_fn(|row| {
        let mut line = String::new();
        for c in text.chars() {
            for dot in 0..DOTS {
                let is_set = dots(c)
                    .get(row)
                    .is_some_and(|bits| bits << dot & 0x10 != 0 && dot < DOTS - 1);
                for _ in 0..DOT_COLUMNS {
                    line.push(if is_set { '#' } else { ' ' });
                }
            }
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_headline_has_its_letters() {
        for text in [
            "INSTALLING",
            "WAITING",
            "QUESTION",
            "FAILED",
            "STOPPED",
            "LANDED",
            "ALREADY INSTALLED",
            "NOTHING TO RESUME",
            "ENDED",
            "0123456789/",
        ] {
            for c in text.chars().filter(|c| *c != ' ') {
                assert_ne!(dots(c), [0; ROWS], "{c}");
            }
            assert!(rows(text).iter().all(|row| row.chars().count() == columns(text)));
        }
    }

    #[test]
    fn a_letter_can_be_read() {
        let drawn: String = rows("L7")
            .iter()
            .map(|row| format!("{}\n", row.trim_end()))
            .collect();
        expect_test::expect![[r#"
            ##          ##########
            ##                  ##
            ##                ##
            ##              ##
            ##              ##
            ##              ##
            ##########      ##
        "#]]
        .assert_eq(&drawn);
    }
}
