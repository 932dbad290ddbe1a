//! Finds where an option stands in a text, and what its value is there.
//!
//! Only the text is used, in the way in which it is parsed. Whether the value is allowed is not its concern.

use super::notation::{Notation, ron_options};
use super::problem::Position;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// The names on the way to an option.
fn parts_of(notation: Notation, option: &str) -> Vec<&str> {
    // RON's form of a value stands before its brackets, and is no name in them.
    let is_form = |part: &str| notation == Notation::Ron && matches!(part, "Image" | "Prebuilt");
    option
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty() && !is_form(part))
        .collect()
}

/// Where the value of an option stands, such as `labels.efi` or `extra_mount_dirs[1]`. `None` when the text does not
/// have it (a default, or an override).
pub(super) fn position_of(text: &str, notation: Notation, option: &str) -> Option<Position> {
    let parts = parts_of(notation, option);
    let finder = Finder {
        parts: &parts,
        taken: None,
    };
    match notation {
        Notation::Json => match finder.deserialize(&mut serde_json::Deserializer::from_str(text)) {
            Ok(()) => None,
            Err(e) => (e.line() > 0).then(|| Position {
                line: e.line(),
                column: e.column(),
            }),
        },
        Notation::Ron => {
            let mut ron = match ron::Deserializer::from_str_with_options(text, &ron_options()) {
                Ok(ron) => ron,
                Err(e) => return Some(at_start(e.span)),
            };
            match finder.deserialize(&mut ron) {
                Ok(()) => None,
                Err(e) => Some(at_start(ron.span_error(e).span)),
            }
        }
    }
}

/// The text that is the value of an option, if it is one.
pub(super) fn text_of(text: &str, notation: Notation, option: &str) -> Option<String> {
    let parts = parts_of(notation, option);
    let taken = RefCell::new(None);
    let finder = Finder {
        parts: &parts,
        taken: Some(&taken),
    };
    // It ends with the failure that tells of the place.
    let ended = match notation {
        Notation::Json => finder
            .deserialize(&mut serde_json::Deserializer::from_str(text))
            .is_err(),
        Notation::Ron => ron::Deserializer::from_str_with_options(text, &ron_options())
            .is_ok_and(|mut ron| finder.deserialize(&mut ron).is_err()),
    };
    taken.into_inner().filter(|_| ended)
}

fn at_start(span: ron::error::Span) -> Position {
    Position {
        line: span.start.line,
        column: span.start.col,
    }
}

/// Walks down to a value and fails there: the failure has the position.
#[derive(Clone, Copy)]
struct Finder<'p> {
    parts: &'p [&'p str],
    /// Where the value is put, if it is a text.
    taken: Option<&'p RefCell<Option<String>>>,
}

impl<'p> Finder<'p> {
    fn below(self, parts: &'p [&'p str]) -> Self {
        Finder { parts, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Finder<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.parts.is_empty() {
            if let Some(taken) = self.taken {
                *taken.borrow_mut() = deserializer.deserialize_any(Text).ok();
            }
            return Err(D::Error::custom("here"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.parts {
                [first, rest @ ..] if *first == key => map.next_value_seed(self.below(rest))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let wanted = self.parts.first().and_then(|part| part.parse::<usize>().ok());
        let mut index = 0;
        loop {
            let found = match self.parts {
                [_, rest @ ..] if wanted == Some(index) => seq.next_element_seed(self.below(rest))?.is_some(),
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !found {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A text, or the only one in the brackets of a form (`Prebuilt("…")`).
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let text = seq.next_element::<String>()?;
        let more = seq.next_element::<IgnoredAny>()?;
        text.filter(|_| more.is_none())
            .ok_or_else(|| A::Error::custom("not one text"))
    }
}
