//! QR codes on a console (ISO/IEC 18004).
//!
//! It draws the light modules, because a console is dark, in half blocks, so that a character holds two modules one above the
//! other. The quiet zone of four modules is drawn too. If the code does not fit on 80 columns and 24 lines, nothing is drawn.
//!
//! The caller prints the same data as text, for people who cannot scan the code.

use qrcode::{Color, EcLevel, QrCode};

/// Modules around a code that stay light.
const QUIET: usize = 4;
/// Lines of a console that a QR code may use.
const LINES_MAX: usize = 23;

/// The lines of a code for this text. None where it has too much text for a console.
pub fn lines(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    if side.div_ceil(2) > LINES_MAX {
        return None;
    }
    let is_inside = |at: usize| (QUIET..QUIET + width).contains(&at);
    let is_light = |x: usize, y: usize| {
        y < side && !(is_inside(x) && is_inside(y) && code[(x - QUIET, y - QUIET)] == Color::Dark)
    };
    let line = |y: usize| {
        (0..side)
            .map(|x| match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect()
    };
    Some((0..side).step_by(2).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of QR codes makes of the lines, as a camera sees them: `scale` dots a module, light on dark.
    fn scanned(lines: &[String], scale: usize) -> Option<String> {
        let rows: Vec<Vec<char>> = lines.iter().map(|line| line.chars().collect()).collect();
        let side = rows.first()?.len();
        let light = |x: usize, y: usize| {
            let shown = rows.get(y / 2).and_then(|row| row.get(x)).copied();
            match shown {
                Some('█') => true,
                Some('▀') => y.is_multiple_of(2),
                Some('▄') => !y.is_multiple_of(2),
                Some(_) | None => false,
            }
        };
        // The console around it is dark.
        let dots = (side + 8) * scale;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(dots, dots, |x, y| {
            let (x, y) = ((x / scale).checked_sub(4), (y / scale).checked_sub(4));
            match (x, y) {
                (Some(x), Some(y)) if light(x, y) => 255,
                (Some(_) | None, Some(_) | None) => 0,
            }
        });
        let found = image.detect_grids();
        found.first()?.decode().ok().map(|(_, text)| text)
    }

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA landfall web";

    #[test]
    fn a_public_key_is_scanned_from_a_console_of_80_columns_and_24_lines() {
        let drawn = lines(KEY).unwrap();
        assert!(drawn.len() < 24, "{}", drawn.len());
        assert!(drawn.iter().all(|line| line.chars().count() <= 80));
        assert_eq!(scanned(&drawn, 4).as_deref(), Some(KEY));
        // The control: with a finder pattern left out, nothing is found.
        let mut broken = drawn.clone();
        for line in &mut broken[2..6] {
            *line = "█".repeat(line.chars().count());
        }
        assert_eq!(scanned(&broken, 4), None);
    }

    #[test]
    fn around_it_four_modules_are_light() {
        let drawn = lines(KEY).unwrap();
        let side = drawn[0].chars().count();
        for line in &drawn[..2] {
            assert_eq!(*line, "█".repeat(side));
        }
        assert_eq!(drawn.last().unwrap(), &"▀".repeat(side));
        for line in &drawn[2..drawn.len() - 1] {
            let characters: Vec<char> = line.chars().collect();
            assert!(
                characters[..4]
                    .iter()
                    .chain(&characters[side - 4..])
                    .all(|c| *c == '█')
            );
        }
    }

    #[test]
    fn a_text_with_too_much_for_a_console_is_not_drawn() {
        assert!(lines(&"a".repeat(106)).is_some());
        assert!(lines(&"a".repeat(107)).is_none());
    }
}
