//! Tests of what is written to a terminal, on a terminal of our own that knows what the screen uses, and nothing else.

use super::*;
use crate::cli::run_status::Status;
use crate::cli::screen::{Beside, Picture};
use crate::event::Event;

/// A grid of characters, a cursor, and a wrap that waits for the next character, as terminals have it (DEC VT100, `xterm`, Linux).
struct Glass {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    wraps: bool,
    scrolled: usize,
}

impl Glass {
    fn new((width, height): Size) -> Self {
        Glass {
            cells: vec![vec![' '; usize::from(width)]; usize::from(height)],
            at: (0, 0),
            wraps: false,
            scrolled: 0,
        }
    }

    fn line_feed(&mut self) {
        if self.at.0 + 1 < self.cells.len() {
            self.at.0 += 1;
        } else {
            let width = self.cells[0].len();
            self.cells.remove(0);
            self.cells.push(vec![' '; width]);
            self.scrolled += 1;
        }
    }

    /// Takes what is written. Whatever is not a place, a colour or a clearing is refused.
    fn take(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => (self.at.1, self.wraps) = (0, false),
                '\n' => self.line_feed(),
                '\x1b' => {
                    rest = rest.strip_prefix('[').expect("a control sequence");
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let (parameters, kind) = (&rest[..end], &rest[end..=end]);
                    rest = &rest[end + 1..];
                    self.control(parameters, kind);
                }
                c => {
                    assert!(!c.is_control(), "{c:?}");
                    if self.wraps {
                        self.at.1 = 0;
                        self.wraps = false;
                        self.line_feed();
                    }
                    let width = self.cells[0].len();
                    self.cells[self.at.0][self.at.1] = c;
                    if self.at.1 + 1 < width {
                        self.at.1 += 1
                    } else {
                        self.wraps = true
                    }
                }
            }
        }
    }

    fn control(&mut self, parameters: &str, kind: &str) {
        let (row, column) = self.at;
        match (kind, parameters) {
            ("m", _) => {}
            ("H", place) => {
                let (row, column) = place.split_once(';').unwrap();
                let (row, column): (usize, usize) = (row.parse().unwrap(), column.parse().unwrap());
                assert!(row <= self.cells.len() && column == 1);
                (self.at, self.wraps) = ((row - 1, column - 1), false);
            }
            ("K", "") => self.cells[row][column..].fill(' '),
            ("J", "") => {
                self.cells[row][column..].fill(' ');
                for line in &mut self.cells[row + 1..] {
                    line.fill(' ');
                }
            }
            other => panic!("{other:?} sets a state"),
        }
    }

    fn text(&self) -> Vec<String> {
        self.cells
            .iter()
            .map(|line| line.iter().collect::<String>().trim_end().to_owned())
            .collect()
    }
}

const SHOWS: Shows = Shows {
    colour: false,
    utf8: true,
};

fn run() -> (Status, Beside) {
    let (mut status, mut beside) = (Status::begin(1, 0), Beside::default());
    for event in [
        Event::Started {
            version: "0".into(),
            host: "web".into(),
            command: "install".into(),
        },
        Event::Begun {
            phase: landfall_states::Phase::Formatted,
            attempt: 1,
            what: "clone".into(),
        },
    ] {
        status.take(&event, 1_000);
        beside.take(&event, 1_000, &status, false);
    }
    (status, beside)
}

fn picture(now_ms: u64) -> Picture {
    let (status, beside) = run();
    Picture::of(&status, true, now_ms, &beside)
}

fn asked(prompt: &str, explained: Option<&str>) -> Picture {
    let (mut status, mut beside) = run();
    for what in explained.into_iter().chain([prompt]) {
        let event = Event::Asking {
            what: what.into(),
            scan: None,
        };
        status.take(&event, 2_000);
        beside.take(&event, 2_000, &status, false);
    }
    Picture::of(&status, true, 2_000, &beside)
}

/// Whatever changes from one picture to the next, the glass shows what a whole drawing shows; and it never scrolls.
#[test]
fn differences_make_the_same_picture() {
    for size in [(80, 24), (40, 12), (240, 67), (40, 3), (1, 1)] {
        for shows in [
            SHOWS,
            Shows {
                colour: true,
                utf8: false,
            },
        ] {
            let mut canvas = Canvas::new(shows);
            let mut glass = Glass::new(size);
            glass.take(&canvas.show(&picture(1_000), size, 1_000, None));
            let scrolled = glass.scrolled;
            for now_ms in [1_200, 2_000, 3_500, 9_000] {
                glass.take(&canvas.show(&picture(now_ms), size, now_ms, None));
                let mut whole = Glass::new(size);
                whole.take(&Canvas::new(shows).show(&picture(now_ms), size, now_ms, None));
                assert_eq!(glass.text(), whole.text(), "{size:?}");
            }
            assert_eq!(glass.scrolled, scrolled, "{size:?}");
        }
    }
}

#[test]
fn what_stood_there_is_moved_up_and_not_lost() {
    let size = (80, 24);
    let mut glass = Glass::new(size);
    glass.take(&"a line of a shell\r\n".repeat(24));
    let before = glass.scrolled;
    glass.take(&Canvas::new(SHOWS).show(&picture(1_000), size, 1_000, None));
    assert!(
        glass.scrolled - before >= 23,
        "the lines are in what can be scrolled back to"
    );
    assert!(glass.text()[0].starts_with(" INSTALLING web"));
}

#[test]
fn a_line_from_elsewhere_and_another_size_are_drawn_over() {
    let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new((80, 24)));
    glass.take(&canvas.show(&picture(1_000), (80, 24), 1_000, None));
    glass.take("[ 12.345] usb 1-1: new device\r\n");
    glass.take(&canvas.show(&picture(2_000), (80, 24), 2_000, None));
    let mut whole = Glass::new((80, 24));
    whole.take(&Canvas::new(SHOWS).show(&picture(2_000), (80, 24), 2_000, None));
    assert_ne!(glass.text(), whole.text(), "the control: it has scrolled");
    glass.take(&canvas.show(&picture(11_500), (80, 24), 11_500, None));
    let mut whole = Glass::new((80, 24));
    whole.take(&Canvas::new(SHOWS).show(&picture(11_500), (80, 24), 11_500, None));
    assert_eq!(glass.text(), whole.text());
    // The terminal has cut or reflowed what it had.
    let mut glass = Glass::new((50, 15));
    glass.take(&"something else ".repeat(9));
    glass.take(&canvas.show(&picture(11_600), (50, 15), 11_600, None));
    let mut whole = Glass::new((50, 15));
    whole.take(&Canvas::new(SHOWS).show(&picture(11_600), (50, 15), 11_600, None));
    assert_eq!(glass.text(), whole.text());
}

#[test]
fn a_question_is_never_drawn_over() {
    const PROMPT: &str = "ERASE the whole disk of LF0001 (ext4)? Type yes:";
    for size in [(80, 24), (40, 12), (240, 67)] {
        let picture_of_it = asked(
            PROMPT,
            Some("ERASE the whole disk of LF0001:\n  ext4 \"photographs\""),
        );
        let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new(size));
        glass.take(&canvas.show(&picture(1_000), size, 1_000, None));
        let question = Some((1, PROMPT.len()));
        glass.take(&canvas.show(&picture_of_it, size, 2_000, question));
        let scrolled = glass.scrolled;
        glass.take(&format!("{PROMPT} ye"));
        let before = glass.text();
        assert!(
            before.iter().any(|line| line.contains("photographs")),
            "{before:?}"
        );
        // Time goes on, the window changes: what is typed stays where it is.
        for (size, now_ms) in [(size, 3_000), (size, 60_000), ((size.0, size.1 + 9), 61_000)] {
            assert_eq!(canvas.show(&picture_of_it, size, now_ms, question), "");
        }
        glass.take("s\r\n");
        assert_eq!(glass.scrolled, scrolled, "the answer has room: {size:?}");
        // The next question is drawn, and behind the answer the whole picture.
        assert!(
            !canvas
                .show(&picture_of_it, size, 62_000, Some((2, PROMPT.len())))
                .is_empty()
        );
        glass.take(&canvas.show(&picture(63_000), size, 63_000, None));
        let is_there = glass
            .text()
            .iter()
            .any(|line| line.starts_with(" INSTALLING web"));
        assert!(is_there, "{:?}", glass.text());
        assert!(!glass.text().iter().any(|line| line.contains("photographs")));
    }
}

/// On a small screen the headline and the question stand, where what explains the question has no room.
#[test]
fn a_small_screen_has_the_headline_and_the_question() {
    const PROMPT: &str = "ERASE the whole disk of serial LFTARGET, 4294967296 bytes (no partition table; whole disk: blank where it \
                          was read (not all of it was read))? Type yes:";
    let explained = "ERASE the whole disk of the disk with serial LFTARGET, 4294967296 bytes\n  no partition table\n  whole disk: blank \
                     where it was read (not all of it was read)\nEverything listed will be lost. Type yes to continue.";
    let size = (40, 12);
    let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new(size));
    glass.take(&canvas.show(&picture(1_000), size, 1_000, None));
    let scrolled = glass.scrolled;
    let picture_of_it = asked(PROMPT, Some(explained));
    glass.take(&canvas.show(&picture_of_it, size, 2_000, Some((1, PROMPT.len()))));
    glass.take(&format!("{PROMPT} yes"));
    let text = glass.text();
    assert_eq!(glass.scrolled, scrolled, "{text:#?}");
    assert!(text[0].starts_with(" QUESTION web"), "{text:#?}");
    assert!(text.concat().contains("Type yes: yes"), "{text:#?}");
}

#[test]
fn a_question_without_room_is_written_whole() {
    let long: String = (0..60).map(|at| format!("  partition {at}: ext4\n")).collect();
    let picture_of_it = asked("Type yes:", Some(&long));
    let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new((80, 24)));
    let text = canvas.show(&picture_of_it, (80, 24), 2_000, Some((1, 9)));
    for at in 0..60 {
        assert!(text.contains(&format!("  partition {at}: ext4")), "{at}");
    }
    glass.take(&text);
    assert!(
        glass.text()[19..]
            .iter()
            .any(|line| line.contains("partition 59")),
        "{:?}",
        glass.text()
    );
    assert_eq!(glass.at.1, 0, "the answer has a line of its own");
}

/// On the usual console a key that is to be scanned is drawn as it always was: all of its code stands on the screen.
#[test]
fn a_code_is_seen_whole_on_24_lines() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA landfall web";
    let (mut status, mut beside) = run();
    let event = Event::Asking {
        what: format!("allow this key to read git@forge.example:o/r: {key}"),
        scan: Some(key.into()),
    };
    status.take(&event, 2_000);
    beside.take(&event, 2_000, &status, false);
    let picture_of_it = Picture::of(&status, true, 2_000, &beside);
    let code = crate::qr::lines(key).unwrap();
    for size in [(80, 24), (240, 67)] {
        let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new(size));
        glass.take(&canvas.show(&picture(1_000), size, 1_000, None));
        glass.take(&canvas.show(&picture_of_it, size, 2_000, Some((1, 140))));
        let text = glass.text();
        let first = text.iter().position(|line| line == code[0].trim_end());
        let shown = first.map(|at| text[at..at + code.len()].to_vec());
        let wanted: Vec<String> = code.iter().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(shown, Some(wanted), "{size:?}: {text:#?}");
    }
}

#[test]
fn the_last_picture_stays_above_what_is_said_below_it() {
    for size in [(80, 24), (40, 12), (240, 67)] {
        let (mut canvas, mut glass) = (Canvas::new(SHOWS), Glass::new(size));
        glass.take(&canvas.show(&picture(1_000), size, 1_000, None));
        let scrolled = glass.scrolled;
        glass.take(&canvas.end(&picture(2_000), size, 5));
        glass.take("landfall: stopped\r\n    what: x\r\n    why: y\r\n    next: z\r\n");
        assert_eq!(glass.scrolled, scrolled, "{size:?}");
        let text = glass.text();
        assert!(
            text.iter().any(|line| line.starts_with(" INSTALLING web")),
            "{text:?}"
        );
        assert!(text.iter().any(|line| line == "    next: z"));
    }
}

#[test]
fn without_colours_nothing_is_coloured() {
    let text = Canvas::new(SHOWS).show(&picture(1_000), (80, 24), 1_000, None);
    assert!(!text.contains('m') || !text.contains("\x1b[0"), "{text:?}");
    let shows = Shows {
        colour: true,
        utf8: true,
    };
    let text = Canvas::new(shows).show(&picture(1_000), (80, 24), 1_000, None);
    assert!(text.contains("\x1b[0;1;37;44m"), "the control: {text:?}");
    // Every line ends without a colour.
    for row in text.split("\x1b[").filter(|part| part.ends_with('H')) {
        assert!(!row.contains("44m"), "{row:?}");
    }
}
