//! Lays a picture out.
//!
//! A pure function of the picture and the size of the terminal. No line is wider, and there are no more lines, than the
//! terminal has; every character takes one column (`text`). On a small terminal the most important part comes first: how it
//! ended, or the question, or the current work; then the phases, in the largest form that fits; then events.
//!
//! `screen::canvas` has colours and cursors.

use super::text::{clean, cut, more_follows, wrap};
use super::{Mood, PhaseState, Picture, Seen, letters, whole_seconds};
use crate::cli::words;
use landfall_states::Phase;

/// What a piece of a line is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Plain,
    /// Text that matters less.
    Dim,
    /// Text that matters more.
    Strong,
    /// Good news.
    Good,
    /// What is at work.
    Busy,
    /// What is asked, or waited for.
    Ask,
    /// What went wrong.
    Bad,
    /// The headline.
    Head(Mood),
    /// Dots of the headline's large letters, `#` each.
    Dots(Mood),
    /// The part of a bar that is done, `#` each.
    Bar,
    /// Light and dark of a QR code.
    Code,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// A line: pieces from left to right.
pub type Line = Vec<Span>;

/// The room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Whether more than ASCII can be shown.
    pub utf8: bool,
}

/// A laid out picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether all of what must be known is on it.
    pub is_whole: bool,
}

/// Large letters are for screens at least so high and wide.
const LARGE_HEIGHT: usize = 40;
/// See [`LARGE_HEIGHT`].
const LARGE_WIDTH: usize = 100;
/// From this height on there are free lines between the parts, and texts have as many lines as they need.
const MANY_LINES: usize = 20;
/// From this width on a phase has its task beside its name, and an event its time.
const WIDE: usize = 60;
/// Columns that a phase needs in a grid: a margin, its mark, its name.
const CELL_COLUMNS: usize = 16;
/// Columns of the longest name of a text, `waiting:`, and a blank.
const NAME_COLUMNS: usize = 9;
/// Most columns of a bar: longer ones are no easier to read.
const BAR_COLUMNS_MAX: usize = 100;

fn span(kind: Kind, text: impl Into<String>) -> Span {
    Span {
        kind,
        text: text.into(),
    }
}

fn columns(line: &Line) -> usize {
    line.iter().map(|span| span.text.chars().count()).sum()
}

/// Lays a picture out.
pub fn layout(picture: &Picture, room: Room) -> Laid {
    let Room { width, height, .. } = room;
    if width == 0 || height == 0 {
        return Laid {
            lines: vec![],
            is_whole: false,
        };
    }
    let mut must = must(picture, room);
    // A part of a code is no code: all of it, or the text alone.
    let code = code(picture, room);
    let is_coded = must.iter().map(Vec::len).sum::<usize>() + code.len() < height;
    if is_coded && !code.is_empty() {
        must.push(code.clone());
    }
    let wanted: usize = must.iter().map(Vec::len).sum();
    let head = head(picture, room, height.saturating_sub(wanted));
    let free = height.saturating_sub(head.len());
    let is_whole = wanted <= free && (is_coded || code.is_empty());
    let must = fitted(must, free, width);
    let forms = forms(picture, width);
    // A phase list, and a free line between it and what stands below where there is room.
    let phases = forms
        .into_iter()
        .find(|form| form.len() + must.len() <= free)
        .unwrap_or_default();
    let mut spare = free - must.len() - phases.len();
    let mut gap = || {
        let is_there = spare > 0;
        spare -= usize::from(is_there);
        if is_there { vec![vec![]] } else { vec![] }
    };
    let has_many_lines = height >= MANY_LINES;
    let gaps = if has_many_lines {
        [gap(), gap(), gap()]
    } else {
        [vec![], vec![], vec![]]
    };
    let [above, between, below] = gaps;
    // On a small screen a question stands alone.
    let rows = if picture.mood == Mood::Asking && !has_many_lines {
        0
    } else {
        spare
    };
    let events = events(picture, room, rows);
    let lines: Vec<Line> = match picture.mood {
        // The answer is typed below the question.
        Mood::Asking => [head, above, phases, between, events, below, must].concat(),
        Mood::Busy | Mood::Waiting | Mood::Failed | Mood::Landed => {
            [head, above, phases, between, must, below, events].concat()
        }
    };
    Laid {
        lines: lines.into_iter().map(|line| clipped(line, width)).collect(),
        is_whole,
    }
}

/// A line that is not wider than that.
fn clipped(line: Line, width: usize) -> Line {
    let mut left = width;
    line.into_iter()
        .map(|Span { kind, text }| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            Span { kind, text }
        })
        .filter(|span| !span.text.is_empty())
        .collect()
}

/// Blocks cut to so many lines: the longest one loses lines first, and says so.
fn fitted(mut blocks: Vec<Vec<Line>>, rows: usize, width: usize) -> Vec<Line> {
    while blocks.iter().map(Vec::len).sum::<usize>() > rows {
        let Some(longest) = blocks.iter_mut().rev().max_by_key(|block| block.len()) else {
            break;
        };
        if longest.len() <= 1 {
            break;
        }
        longest.pop();
        if let Some(line) = longest.last_mut() {
            let before: usize = columns(line) - line.last().map_or(0, |span| span.text.chars().count());
            if let Some(Span { text, .. }) = line.last_mut() {
                *text = more_follows(text, width.saturating_sub(before));
            }
        }
    }
    let mut lines = blocks.concat();
    lines.truncate(rows);
    lines
}

/// The headline: one line, or large letters where there is room for them.
fn head(picture: &Picture, room: Room, rows: usize) -> Vec<Line> {
    let Room { width, height, utf8 } = room;
    let mood = picture.mood;
    let done = picture
        .phases
        .iter()
        .filter(|(_, state)| *state == PhaseState::Done)
        .count();
    let all = picture.phases.len();
    let at = match mood {
        Mood::Landed => all,
        Mood::Busy | Mood::Waiting | Mood::Asking | Mood::Failed => (done + 1).min(all),
    };
    let left = match picture.host.as_str() {
        "" => format!(" {}", picture.headline),
        host => format!(" {} {}", picture.headline, clean(host, utf8)),
    };
    let phase = format!("phase {at} of {all}");
    let lasted = whole_seconds(picture.age_ms);
    let rights = [
        format!("{phase}   {lasted} "),
        format!("{at} of {all}  {lasted} "),
        format!("{at}/{all} "),
        String::new(),
    ];
    let fits = |right: &&String| left.chars().count() + 2 + right.chars().count() <= width;
    let right = rights.iter().find(fits).map_or("", String::as_str);
    let left = cut(&left, width - right.chars().count());
    let free = width - left.chars().count() - right.chars().count();
    let line = vec![span(
        Kind::Head(mood),
        format!("{left}{}{right}", " ".repeat(free)),
    )];
    let large = match mood {
        Mood::Busy | Mood::Waiting | Mood::Failed => format!("{} {at}/{all}", picture.headline),
        Mood::Asking | Mood::Landed => picture.headline.to_owned(),
    };
    let is_large = width >= LARGE_WIDTH
        && height >= LARGE_HEIGHT
        && letters::columns(&large) + 4 <= width
        && letters::ROWS + 3 + picture.phases.len() <= rows;
    if !is_large {
        return vec![line];
    }
    let empty = vec![span(Kind::Head(mood), " ".repeat(width))];
    let mut lines = vec![empty.clone()];
    for row in letters::rows(&large) {
        let rest = width - 2 - row.chars().count();
        lines.push(vec![
            span(Kind::Head(mood), "  "),
            span(Kind::Dots(mood), row),
            span(Kind::Head(mood), " ".repeat(rest)),
        ]);
    }
    lines.extend([empty, line]);
    lines
}

/// What a phase has to do.
fn task(phase: Phase) -> &'static str {
    match phase {
        Phase::Planned => "choose the disk, fix every id",
        Phase::Partitioned => "write the partition table",
        Phase::Anchored => "make the ESP, keep the checkpoint on it",
        Phase::Encrypted => "make the encrypted volume, where one is wanted",
        Phase::Formatted => "make the filesystems",
        Phase::Cloned => "fetch the configuration",
        Phase::Realised => "put all files of the system on the disk",
        Phase::Installed => "install and activate the system",
        Phase::Bootable => "install the boot loader",
        Phase::Provisioned => "place keys, set owners of files",
        Phase::Landed => "read everything again, flush, detach",
    }
}

fn kind_of(state: PhaseState, mood: Mood) -> Kind {
    match (state, mood) {
        (PhaseState::Done, _) => Kind::Good,
        (PhaseState::Running, Mood::Waiting | Mood::Asking) => Kind::Ask,
        (PhaseState::Running, Mood::Busy | Mood::Failed | Mood::Landed) => Kind::Busy,
        (PhaseState::ToDo, _) => Kind::Dim,
        (PhaseState::Failed, _) => Kind::Bad,
    }
}

/// The phases in every form, the largest first.
fn forms(picture: &Picture, width: usize) -> Vec<Vec<Line>> {
    let table = table(picture, width);
    let spaced = table
        .iter()
        .flat_map(|line| [line.clone(), vec![]])
        .take(table.len() * 2 - 1)
        .collect();
    let mut forms = vec![table];
    for columns in [2, 3] {
        if width / columns >= CELL_COLUMNS {
            forms.push(grid(picture, width, columns));
        }
    }
    forms.push(strip(picture));
    if width >= LARGE_WIDTH {
        forms.insert(0, spaced);
    }
    forms
}

fn table(picture: &Picture, width: usize) -> Vec<Line> {
    let row = |(phase, state): &(Phase, PhaseState)| {
        let kind = kind_of(*state, picture.mood);
        let word = match state {
            PhaseState::Running | PhaseState::Failed => state.word().to_uppercase(),
            PhaseState::Done | PhaseState::ToDo => state.word().to_owned(),
        };
        let mut line = vec![span(kind, format!("  {word:<8} {:<12}", phase.to_string()))];
        let mut beside = vec![];
        if width >= WIDE {
            beside.push(task(*phase).to_owned());
        }
        if *state == PhaseState::Running {
            beside.extend(picture.phase_age_ms.map(whole_seconds));
            beside.extend(picture.attempt.filter(|n| *n > 1).map(|n| format!("attempt {n}")));
        }
        let kind = if *state == PhaseState::Running {
            kind
        } else {
            Kind::Dim
        };
        line.push(span(kind, format!(" {}", beside.join(", "))));
        line
    };
    picture.phases.iter().map(row).collect()
}

fn grid(picture: &Picture, width: usize, columns: usize) -> Vec<Line> {
    let cell = width / columns;
    let rows = picture.phases.len().div_ceil(columns);
    let shown = |(phase, state): &(Phase, PhaseState)| {
        let mark = match state {
            PhaseState::Done => "ok",
            PhaseState::Running => ">>",
            PhaseState::ToDo => "..",
            PhaseState::Failed => "!!",
        };
        let text = format!(" {mark} {phase}");
        span(kind_of(*state, picture.mood), format!("{text:<cell$}"))
    };
    (0..rows)
        .map(|row| picture.phases.iter().skip(row).step_by(rows).map(shown).collect())
        .collect()
}

fn strip(picture: &Picture) -> Vec<Line> {
    let mut line = vec![span(Kind::Plain, " [")];
    for (_, state) in &picture.phases {
        let mark = match state {
            PhaseState::Done => "#",
            PhaseState::Running => ">",
            PhaseState::ToDo => ".",
            PhaseState::Failed => "!",
        };
        line.push(span(kind_of(*state, picture.mood), mark));
    }
    let at = picture
        .phases
        .iter()
        .find(|(_, state)| *state != PhaseState::Done)
        .map_or(Phase::Landed, |(phase, _)| *phase);
    line.push(span(Kind::Plain, format!("] {at}")));
    vec![line]
}

/// What must be known, in blocks of which each keeps its first line longest.
fn must(picture: &Picture, room: Room) -> Vec<Vec<Line>> {
    match picture.mood {
        Mood::Failed | Mood::Landed => {
            let named = |(name, text): &(&'static str, String)| {
                let kind = match (*name, picture.mood) {
                    ("next", _) => Kind::Strong,
                    ("what" | "why", Mood::Failed) => Kind::Bad,
                    _ => Kind::Plain,
                };
                entry(name, text, kind, room)
            };
            picture.ending.iter().map(named).collect()
        }
        Mood::Asking => question(picture, room),
        Mood::Busy | Mood::Waiting => now(picture, room),
    }
}

/// A text behind its name, indented.
fn entry(name: &str, text: &str, kind: Kind, room: Room) -> Vec<Line> {
    let margin = usize::from(room.width >= WIDE) + 1;
    let indent = margin + NAME_COLUMNS.min(room.width / 3);
    let name = cut(&format!("{name}:"), indent.saturating_sub(margin + 1));
    let lines = wrap(&clean(text, room.utf8), room.width.saturating_sub(indent));
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| {
            let before = if index == 0 { name.as_str() } else { "" };
            vec![
                span(
                    Kind::Dim,
                    format!("{:indent$}", format!("{:margin$}{before}", "")),
                ),
                span(kind, line),
            ]
        })
        .collect()
}

fn question(picture: &Picture, room: Room) -> Vec<Vec<Line>> {
    let text = picture.question.as_deref().unwrap_or("");
    let mut block = vec![];
    for line in text.lines() {
        let margin = usize::from(room.width >= WIDE) + 1;
        for part in wrap(&clean(line, room.utf8), room.width.saturating_sub(2 * margin)) {
            block.push(vec![span(Kind::Strong, format!("{:margin$}{part}", ""))]);
        }
    }
    vec![block]
}

/// The QR code of a question; none where it cannot be drawn.
fn code(picture: &Picture, room: Room) -> Vec<Line> {
    let text = picture.scan.as_deref();
    let is_asked = picture.mood == Mood::Asking && room.utf8;
    let lines = text.filter(|_| is_asked).and_then(crate::qr::lines);
    let code: Vec<Line> = lines
        .unwrap_or_default()
        .into_iter()
        .map(|line| vec![span(Kind::Code, line)])
        .collect();
    if code.iter().any(|line| columns(line) > room.width) {
        return vec![];
    }
    code
}

fn now(picture: &Picture, room: Room) -> Vec<Vec<Line>> {
    let mut blocks = vec![];
    if let Some(trouble) = &picture.trouble {
        blocks.push(entry("failed", trouble, Kind::Bad, room));
    }
    if let Some(waiting) = &picture.waiting {
        blocks.push(entry("waiting", waiting, Kind::Ask, room));
    }
    if picture.mood == Mood::Waiting {
        return blocks;
    }
    let at_most = |lines: usize, block: Vec<Line>| {
        let is_small = room.height < MANY_LINES;
        fitted(vec![block], if is_small { lines } else { usize::MAX }, room.width)
    };
    blocks.push(at_most(1, entry("now", &picture.step, Kind::Strong, room)));
    let Some(count) = &picture.count else {
        return blocks;
    };
    let done = words::amount(count.done, &count.unit);
    let of = count.total.map_or(String::new(), |total| {
        format!(" of {}", words::amount(total, &count.unit))
    });
    let text = format!("{}: {done}{of}{}", count.what, picture.speed);
    blocks.push(at_most(3, entry("count", &text, Kind::Plain, room)));
    if let Some(total) = count.total.filter(|total| *total > 0) {
        blocks.push(vec![bar(count.done, total, room.width)]);
    }
    blocks
}

/// How much of a number is done, as a bar; never more than there is.
fn bar(done: u64, total: u64, width: usize) -> Line {
    let margin = usize::from(width >= WIDE) + 1;
    let columns = width.saturating_sub(2 * margin + 2).clamp(1, BAR_COLUMNS_MAX);
    let filled = u128::from(done.min(total)) * columns as u128 / u128::from(total);
    let filled = usize::try_from(filled).map_or(columns, |filled| filled.min(columns));
    vec![
        span(Kind::Plain, format!("{:margin$}[", "")),
        span(Kind::Bar, "#".repeat(filled)),
        span(Kind::Dim, ".".repeat(columns - filled)),
        span(Kind::Plain, "]"),
    ]
}

/// The last events in so many lines.
fn events(picture: &Picture, room: Room, rows: usize) -> Vec<Line> {
    let skipped = picture.events.len().saturating_sub(rows);
    let shown = |event: &Seen| {
        let Seen {
            at_ms,
            is_alarm,
            text,
        } = event;
        let stamp = if room.width >= WIDE {
            format!("  {:>7}.{}  ", at_ms / 1_000, at_ms % 1_000 / 100)
        } else {
            " ".to_owned()
        };
        let text = clean(text, room.utf8);
        let text = cut(&text, room.width.saturating_sub(stamp.len()));
        let kind = if *is_alarm { Kind::Strong } else { Kind::Plain };
        vec![span(Kind::Dim, stamp), span(kind, text)]
    };
    picture.events.iter().skip(skipped).map(shown).collect()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
