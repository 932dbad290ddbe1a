//! Turns the lines of a picture into bytes for a terminal.
//!
//! The bytes place the cursor, set colours, and clear, and nothing else (`CSI H`, `CSI m`, `CSI K`, `CSI J`). Colours are
//! reset in every line, so that no state is left in the terminal. While a question is open, nothing is written: the picture
//! with the question is drawn once, and the cursor stands below it, where the answer is typed. What other programs wrote over
//! the picture is drawn over again every ten seconds.
//!
//! `screen::listener` has the writing, the clock and the thread.

use super::layout::{Kind, Line, Room, Span, layout};
use super::{Mood, Picture};

/// Time after which the whole picture is drawn again, in milliseconds.
const WHOLE_EVERY_MS: u64 = 10_000;
/// Columns that whoever asks may put around a question, and that an answer takes.
const ANSWER_COLUMNS: usize = 60;
/// A terminal with fewer lines has no room for what explains a question and for the question.
const SMALL_LINES: usize = 20;
/// Fewest lines of the last picture, however much is printed below it.
const LAST_LINES_MIN: usize = 4;

/// Size of a terminal in columns and lines.
pub type Size = (u16, u16);

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shows {
    /// Colours.
    pub colour: bool,
    /// More than ASCII.
    pub utf8: bool,
}

/// What is on the terminal.
#[derive(Debug)]
pub struct Canvas {
    shows: Shows,
    rows: Vec<String>,
    size: Option<Size>,
    whole_at_ms: u64,
    /// The number of the question that is drawn.
    asked: Option<u64>,
}

impl Canvas {
    /// Nothing yet.
    pub fn new(shows: Shows) -> Self {
        Canvas {
            shows,
            rows: vec![],
            size: None,
            whole_at_ms: 0,
            asked: None,
        }
    }

    /// What has to be written so that the terminal shows this picture. `question`: the number of the question and how
    /// many columns its last line has.
    pub fn show(
        &mut self,
        picture: &Picture,
        size: Size,
        now_ms: u64,
        question: Option<(u64, usize)>,
    ) -> String {
        if let Some((number, columns)) = question {
            if self.asked == Some(number) {
                return String::new();
            }
            self.asked = Some(number);
            return self.ask(picture, size, columns);
        }
        let is_whole = self.asked.take().is_some()
            || self.size != Some(size)
            || now_ms.saturating_sub(self.whole_at_ms) >= WHOLE_EVERY_MS;
        let (width, height) = room(size);
        // The cursor has the last line.
        let mut rows = self.rows_of(picture, width, height - 1);
        rows.resize(height - 1, blank(0, width));
        let mut text = String::new();
        if self.size.is_none() {
            // What was on the terminal before is moved up, where it can be scrolled back to.
            text.push_str(&"\n".repeat(height));
        }
        for (index, row) in rows.iter().enumerate() {
            if is_whole || self.rows.get(index) != Some(row) {
                text.push_str(&format!("\x1b[{};1H{row}", index + 1));
            }
        }
        if is_whole {
            text.push_str(&format!("\x1b[{height};1H\x1b[J"));
            self.whole_at_ms = now_ms;
        } else if !text.is_empty() {
            text.push_str(&format!("\x1b[{height};1H"));
        }
        (self.rows, self.size) = (rows, Some(size));
        text
    }

    /// The picture with a question, and the cursor below it. One that has no room is written line by line, to be scrolled.
    fn ask(&mut self, picture: &Picture, size: Size, columns: usize) -> String {
        let (width, height) = room(size);
        // A free line, the question's own, which its asker writes, and the answer.
        let lines = 1 + (columns + ANSWER_COLUMNS).div_ceil(width);
        let spare = height.saturating_sub(lines);
        let mut laid = layout(picture, self.room(width, spare));
        if !laid.is_whole && picture.scan.is_none() && height < SMALL_LINES && spare >= 2 {
            // The question itself, which its asker writes, says in one line what explains it.
            let bare = Picture {
                question: None,
                events: vec![],
                ..picture.clone()
            };
            laid = layout(&bare, self.room(width, spare));
        }
        let before = if self.size.is_none() {
            "\n".repeat(height)
        } else {
            String::new()
        };
        self.size = Some(size);
        if laid.is_whole {
            let mut rows: Vec<String> = laid
                .lines
                .iter()
                .map(|line| painted(line, width, self.shows))
                .collect();
            rows.push(blank(0, width));
            return before + &standing(&rows);
        }
        let laid = layout(
            &Picture {
                events: vec![],
                ..picture.clone()
            },
            self.room(width, usize::from(u16::MAX)),
        );
        let rows: String = laid
            .lines
            .iter()
            .map(|line| painted(line, width, self.shows) + "\r\n")
            .collect();
        // A code that is as high as the terminal has no room for a free line.
        let free = if picture.scan.is_none() { "\r\n" } else { "" };
        format!("{before}\x1b[1;1H\x1b[J{rows}{free}")
    }

    /// The last picture, with the cursor below it; so many lines below it stay free.
    pub fn end(&mut self, picture: &Picture, size: Size, below: usize) -> String {
        let (width, height) = room(size);
        let least = LAST_LINES_MIN.min(height - 1);
        let rows = self.rows_of(picture, width, (height - 1).saturating_sub(below).max(least));
        let before = if self.size.is_none() {
            "\n".repeat(height)
        } else {
            String::new()
        };
        before + &standing(&rows)
    }

    fn room(&self, width: usize, height: usize) -> Room {
        Room {
            width,
            height,
            utf8: self.shows.utf8,
        }
    }

    fn rows_of(&self, picture: &Picture, width: usize, height: usize) -> Vec<String> {
        let laid = layout(picture, self.room(width, height));
        laid.lines
            .iter()
            .map(|line| painted(line, width, self.shows))
            .collect()
    }
}

/// Rows from the top, and nothing below them.
fn standing(rows: &[String]) -> String {
    let rows: String = rows.iter().map(|row| format!("{row}\r\n")).collect();
    format!("\x1b[1;1H{rows}\x1b[J")
}

/// Columns and lines, at least one of each.
fn room((width, height): Size) -> (usize, usize) {
    (usize::from(width.max(1)), usize::from(height.max(1)))
}

/// Nothing up to the end of a line. Behind a full line nothing is cleared: the cursor still stands on its last character.
fn blank(columns: usize, width: usize) -> String {
    if columns < width {
        "\x1b[K".to_owned()
    } else {
        String::new()
    }
}

fn painted(line: &Line, width: usize, shows: Shows) -> String {
    let mut text = String::new();
    let mut columns = 0;
    for Span { kind, text: piece } in line {
        columns += piece.chars().count();
        if !shows.colour {
            text.push_str(piece);
            continue;
        }
        match (kind, *kind) {
            (_, Kind::Dots(mood)) => text.push_str(&blocks(piece, on(Kind::Head(mood)), dots(mood))),
            (_, Kind::Bar) => text.push_str(&blocks(piece, "\x1b[0m", "\x1b[46m")),
            (_, kind) => text.push_str(&format!("{}{piece}", on(kind))),
        }
        text.push_str("\x1b[0m");
    }
    text.push_str(&blank(columns, width));
    text
}

/// A text of `#` and blanks, each `#` as a field of a colour: no font is needed for that.
fn blocks(piece: &str, off: &str, on: &str) -> String {
    let mut text = String::new();
    let mut before = None;
    for c in piece.chars() {
        let is_on = c == '#';
        if before != Some(is_on) {
            text.push_str(if is_on { on } else { off });
            before = Some(is_on);
        }
        text.push(' ');
    }
    text
}

/// The dots of large letters.
fn dots(mood: Mood) -> &'static str {
    match mood {
        Mood::Busy | Mood::Failed => "\x1b[0;47m",
        Mood::Waiting | Mood::Asking | Mood::Landed => "\x1b[0;40m",
    }
}

/// Colours of the eight that every terminal has.
fn on(kind: Kind) -> &'static str {
    match kind {
        // Half intensity cannot be read on the kernel's console.
        Kind::Plain | Kind::Dim => "\x1b[0m",
        Kind::Strong => "\x1b[0;1m",
        Kind::Good => "\x1b[0;32m",
        Kind::Busy => "\x1b[0;1;36m",
        Kind::Ask => "\x1b[0;1;33m",
        Kind::Bad => "\x1b[0;1;31m",
        Kind::Head(Mood::Busy) | Kind::Dots(Mood::Busy) => "\x1b[0;1;37;44m",
        Kind::Head(Mood::Waiting | Mood::Asking) | Kind::Dots(Mood::Waiting | Mood::Asking) => {
            "\x1b[0;30;43m"
        }
        Kind::Head(Mood::Failed) | Kind::Dots(Mood::Failed) => "\x1b[0;1;37;41m",
        Kind::Head(Mood::Landed) | Kind::Dots(Mood::Landed) => "\x1b[0;30;42m",
        Kind::Bar => "\x1b[0;46m",
        // Light on dark, whatever the terminal's own colours are.
        Kind::Code => "\x1b[0;97;40m",
    }
}

#[cfg(test)]
#[path = "canvas_tests.rs"]
mod tests;
