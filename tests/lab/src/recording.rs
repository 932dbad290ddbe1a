//! A terminal recording as a picture.
//!
//! The picture follows from the lines and their times alone, so that the same lines give the same bytes. It loads nothing
//! from elsewhere (no font, no script, no picture), and each line is as wide as its columns in any font.
//!
//! It is played once: a line appears when it was printed, with long waits cut short, and the last picture stays. A viewer
//! that shows no animations, by choice or by lack, has the last picture at once.
//!
//! The caller supplies the lines.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

/// Columns of the picture; a longer line is cut, and ends with `…`.
const COLUMNS: usize = 100;
/// Width of a column and height of a line, in the picture's units.
const COLUMN: f64 = 7.6;
const LINE: usize = 17;
const FONT_SIZE: usize = 12;
const MARGIN: usize = 16;
/// A wait in the recording is at most this long when it is played.
const WAIT_MAX: Duration = Duration::from_millis(600);
/// A larger picture loads slowly in a document.
const BYTES_MAX: usize = 200_000;

const BACKGROUND: &str = "#11161d";
/// What a line is, and its colour: each is read on the background with a contrast of 7 to 1 or more.
const COLOURS: [(Kind, &str, &str); 5] = [
    (Kind::Title, "t", "#7fd1ff"),
    (Kind::Bad, "b", "#ff9d94"),
    (Kind::Good, "g", "#8fe39b"),
    (Kind::Plain, "p", "#dfe6ee"),
    (Kind::Quiet, "q", "#a9b5c3"),
];

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The beginning of a section.
    Title,
    /// The power cut.
    Bad,
    /// What was to be shown.
    Good,
    /// What was printed.
    Plain,
    /// What was left out.
    Quiet,
}

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the beginning.
    pub at: Duration,
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// Where a picture is to be written: looked at before the run, which takes minutes.
pub fn place(file: &Path) -> Result<PathBuf> {
    ensure!(
        file.extension().is_some_and(|extension| extension == "svg"),
        "{} does not end with .svg: a recording is an SVG picture",
        file.display()
    );
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder)
        .context("the recording's folder is not there: make it, or name another with --record")?;
    ensure!(
        folder.is_dir(),
        "{} is no folder: name another with --record",
        folder.display()
    );
    let name = file.file_name().context("the recording has no name")?;
    Ok(folder.join(name))
}

/// Writes the picture of these lines; what was there before is replaced at once.
pub fn write(file: &Path, title: &str, lines: &[Line]) -> Result<usize> {
    let picture = picture(title, lines);
    ensure!(
        picture.len() <= BYTES_MAX,
        "the picture of {} lines has {} bytes, of at most {BYTES_MAX}",
        lines.len(),
        picture.len()
    );
    let beside = file.with_extension("svg.new");
    fs::write(&beside, &picture)?;
    fs::rename(&beside, file)?;
    Ok(picture.len())
}

/// The picture.
fn picture(title: &str, lines: &[Line]) -> String {
    let width = 2 * MARGIN + (COLUMNS as f64 * COLUMN) as usize;
    let height = 2 * MARGIN + (lines.len() + 1) * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n<style>\n\
         text {{ font: {FONT_SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace; \
         white-space: pre; }}\n",
        escaped(title)
    );
    for (_, class, colour) in COLOURS {
        let weight = if class == "t" || class == "b" {
            "; font-weight: bold"
        } else {
            ""
        };
        // Writing to a string cannot fail.
        let _ = writeln!(svg, ".{class} {{ fill: {colour}{weight}; }}");
    }
    svg.push_str(
        "@media (prefers-reduced-motion: no-preference) {\n\
         .l { animation: l 1ms both; }\n\
         @keyframes l { from { visibility: hidden; } to { visibility: visible; } }\n}\n</style>\n",
    );
    let _ = writeln!(
        svg,
        "<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACKGROUND}\"/>"
    );
    let mut y = MARGIN + FONT_SIZE;
    text(&mut svg, y, "q", None, title);
    y += LINE;
    let (mut shown, mut before) = (Duration::ZERO, Duration::ZERO);
    for line in lines {
        shown += line.at.saturating_sub(before).min(WAIT_MAX);
        before = line.at;
        let class = COLOURS
            .iter()
            .find(|(kind, ..)| *kind == line.kind)
            .map_or("p", |(_, class, _)| class);
        text(&mut svg, y, class, Some(shown), &cut(&line.text));
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, y: usize, class: &str, at: Option<Duration>, words: &str) {
    let indent = words.len() - words.trim_start().len();
    let words = words.trim();
    if words.is_empty() {
        return;
    }
    let x = MARGIN as f64 + indent as f64 * COLUMN;
    let long = words.chars().count() as f64 * COLUMN;
    let (more, delay) = match at {
        Some(at) => (" l", format!(" style=\"animation-delay:{}ms\"", at.as_millis())),
        None => ("", String::new()),
    };
    let _ = writeln!(
        svg,
        "<text class=\"{class}{more}\" x=\"{x:.1}\" y=\"{y}\" textLength=\"{long:.1}\" lengthAdjust=\"spacingAndGlyphs\"{delay}>{}</text>",
        escaped(words)
    );
}

/// A line of at most [`COLUMNS`] columns, without control characters.
fn cut(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() <= COLUMNS {
        return text;
    }
    let mut short: String = text.chars().take(COLUMNS - 1).collect();
    short.push('…');
    short
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
