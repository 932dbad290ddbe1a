//! The last event of a run: whether a run that was not killed reported how it ended, once, and nothing after that. A reader
//! of the log or of the status takes a run without it for a killed one.
//!
//! `explore::run` knows how the run ended, and calls this.

use crate::event::Event;

/// What a run told of its end.
#[derive(Debug, Default)]
pub struct LastWord {
    ends: Vec<&'static str>,
    has_gone_on: bool,
}

/// The name of an end, as the log has it.
fn name(event: &Event) -> &'static str {
    match event {
        Event::Landed { .. } => "landed",
        Event::AlreadyLanded { .. } => "already_landed",
        Event::NothingToResume { .. } => "nothing_to_resume",
        Event::Stopped { .. } => "stopped",
        _ => "no end",
    }
}

impl LastWord {
    /// One more event.
    pub fn heard(&mut self, event: &Event) {
        match event.is_end() {
            true => self.ends.push(name(event)),
            false => self.has_gone_on |= !self.ends.is_empty(),
        }
    }

    /// What is wrong with it where the run ended so; `None`: it was killed.
    pub fn objection(&self, wanted: Option<&'static str>) -> Option<String> {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        if self.ends != wanted {
            let named = |ends: &[&str]| match ends {
                [] => "no end".to_owned(),
                ends => ends.join(", "),
            };
            return Some(format!(
                "the run told {}, and its end is {}",
                named(&self.ends),
                named(&wanted)
            ));
        }
        self.has_gone_on
            .then(|| "the run told something after its end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_and_the_right_one_is_told_last() {
        let end = || Event::AlreadyLanded {
            system: String::new(),
            revision: String::new(),
        };
        let other = || Event::Notice { what: String::new() };
        let of = |events: &[Event], wanted| {
            let mut word = LastWord::default();
            events.iter().for_each(|event| word.heard(event));
            word.objection(wanted)
        };
        let told = Some("already_landed");
        assert_eq!(of(&[other(), end()], told), None);
        assert_eq!(of(&[other()], None), None);
        for (events, wanted) in [
            (vec![other()], told),
            (vec![end(), end()], told),
            (vec![end()], Some("landed")),
            (vec![end(), other()], told),
            (vec![end()], None),
        ] {
            assert!(of(&events, wanted).is_some(), "{events:?} {wanted:?}");
        }
    }
}
