#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn line(at: u64, kind: Kind, text: &str) -> Line {
    Line {
        at: Duration::from_millis(at),
        kind,
        text: text.to_owned(),
    }
}

fn sample() -> Vec<Line> {
    vec![
        line(0, Kind::Title, "── power on"),
        line(100, Kind::Plain, "   landfall install --config <FILE> & \"more\""),
        line(90_000, Kind::Bad, "── POWER CUT"),
        line(90_050, Kind::Good, "landed\u{1b}[31m"),
    ]
}

#[test]
fn the_same_lines_give_the_same_bytes() {
    let picture = picture("cargo lab demo", &sample());
    assert_eq!(picture, super::picture("cargo lab demo", &sample()));
    let mut other = sample();
    other[0].text.push('!');
    assert_ne!(picture, super::picture("cargo lab demo", &other));
}

/// A picture is well-formed XML, as far as this one has any: each tag is closed, and no sign is left as it is that means something.
fn ill_formed(svg: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let Some((tag, text)) = piece.split_once('>') else {
            wrong.push(format!("<{piece} has no end"));
            continue;
        };
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                wrong.push(format!("</{name}> closes nothing"));
            }
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or(""));
        }
        if open.last() != Some(&"style") && text.contains('>') {
            wrong.push(format!("{text:?} has a bare >"));
        }
        for (at, _) in text.match_indices('&') {
            if !["&amp;", "&lt;", "&gt;", "&quot;"]
                .iter()
                .any(|entity| text[at..].starts_with(entity))
            {
                wrong.push(format!("{text:?} has a bare &"));
            }
        }
    }
    wrong.extend(open.into_iter().map(|name| format!("<{name}> is not closed")));
    wrong
}

#[test]
fn the_picture_is_well_formed_and_asks_for_nothing() {
    let picture = picture("a < b & c", &sample());
    assert_eq!(ill_formed(&picture), Vec::<String>::new());
    assert_eq!(ill_formed("<a><b></a>").len(), 2);
    assert_eq!(ill_formed("<a>x & y</a>").len(), 1);
    let inside = picture.replace("http://www.w3.org/2000/svg", "");
    for never in [
        "http",
        "url(",
        "@import",
        "@font-face",
        "<script",
        "<image",
        "\u{1b}",
    ] {
        assert!(!inside.contains(never), "{never}");
    }
}

#[test]
fn a_long_wait_is_cut_short_and_the_order_stays() {
    let picture = picture("t", &sample());
    let delays: Vec<u64> = picture
        .match_indices("animation-delay:")
        .map(|(at, word)| {
            picture[at + word.len()..]
                .split_once("ms")
                .unwrap()
                .0
                .parse()
                .unwrap()
        })
        .collect();
    assert_eq!(delays, [0, 100, 700, 750]);
}

#[test]
fn a_long_line_is_cut_and_as_wide_as_its_columns() {
    let long = "x".repeat(COLUMNS + 1);
    assert_eq!(cut(&long).chars().count(), COLUMNS);
    assert!(cut(&long).ends_with('…'));
    assert_eq!(cut(&long[1..]), long[1..]);
    let picture = picture("t", &[line(0, Kind::Plain, "  four")]);
    assert!(picture.contains("x=\"31.2\""), "{picture}");
    assert!(picture.contains("textLength=\"30.4\""), "{picture}");
}

/// Contrast of two colours as in WCAG 2.2: (L1 + 0.05) / (L2 + 0.05).
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |colour: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn every_colour_is_read_on_the_background() {
    assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 0.01);
    assert!(contrast("#666666", BACKGROUND) < 7.0, "the control");
    for (kind, _, colour) in COLOURS {
        assert!(
            contrast(colour, BACKGROUND) >= 7.0,
            "{kind:?}: {}",
            contrast(colour, BACKGROUND)
        );
    }
}

#[test]
fn a_place_is_looked_at_before_the_run() {
    let folder = std::env::temp_dir();
    assert!(place(&folder.join("a.svg")).is_ok());
    let wrong = place(&folder.join("a.png")).unwrap_err().to_string();
    assert!(wrong.contains("does not end with .svg"), "{wrong}");
    let gone = format!("{:#}", place(&folder.join("nowhere-at-all/a.svg")).unwrap_err());
    assert!(gone.contains("--record"), "{gone}");
}

#[test]
fn a_picture_that_is_too_large_is_not_written() {
    let file = std::env::temp_dir().join(format!("landfall-recording-{}.svg", std::process::id()));
    let many = vec![line(0, Kind::Plain, &"y".repeat(COLUMNS)); 2000];
    assert!(write(&file, "t", &many).is_err());
    assert!(!file.exists());
    let bytes = write(&file, "t", &sample()).unwrap();
    assert_eq!(fs::read(&file).unwrap().len(), bytes);
    fs::remove_file(&file).unwrap();
}
