//! Prints the next step as the user must type it here.
//!
//! The printed command continues the install: a run that was started with `--config FILE` is named with it, because landfall would
//! otherwise look for another file.
//!
//! The step itself comes from the fault; `install` chooses the command if no install was started.

use super::CONFIG_FILES;
use crate::event::{Event, Listener};
use crate::real::RUN_DIR;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::Remedy;
use serde_json::Value;

/// Commands that take a configuration, as remedies name them.
const COMMANDS: [&str; 3] = ["landfall install", "landfall resume", "landfall plan"];

/// Commands that take a run directory and no configuration.
const OF_A_RUN: [&str; 2] = ["landfall log", "landfall status"];

/// A word as a shell takes it.
pub(super) fn word(text: &str) -> String {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b':' | b'@' | b',')
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        return ansi_c(text);
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word in the form `$'…'`, which has a name for every character that a terminal would not show.
fn ansi_c(text: &str) -> String {
    let mut out = String::from("$'");
    for c in text.chars() {
        match c {
            '\n' => out.push_str(r"\n"),
            '\t' => out.push_str(r"\t"),
            '\'' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!(r"\x{byte:02x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The path from the root: who reads the next step may be in another directory.
fn whole(path: &Utf8Path) -> Utf8PathBuf {
    match camino::absolute_utf8(path) {
        Ok(whole) => whole,
        Err(_) => path.to_owned(),
    }
}

/// What a command of landfall was told, to be told again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    run_dir: String,
    config: String,
}

impl Told {
    /// Of this configuration, if one was named, and of this run directory.
    pub(super) fn of(config: Option<&Utf8Path>, run_dir: &Utf8Path) -> Told {
        let named = |option: &str, path: Option<&Utf8Path>| {
            path.map_or(String::new(), |path| {
                format!(" {option} {}", word(whole(path).as_str()))
            })
        };
        Told {
            run_dir: named("--run-dir", Some(run_dir).filter(|dir| *dir != RUN_DIR)),
            // The first that is looked for is found without being named.
            config: named("--config", config.filter(|config| *config != CONFIG_FILES[0])),
        }
    }

    /// A command of landfall.
    pub(super) fn command(&self, name: &str) -> String {
        format!("landfall {name}{}{}", self.run_dir, self.config)
    }

    /// Words with what was told behind each command that takes it.
    pub(super) fn in_words(&self, words: &str) -> String {
        let install = COMMANDS.map(|command| (command, true));
        let of_a_run = OF_A_RUN.map(|command| (command, false));
        install
            .iter()
            .chain(&of_a_run)
            .fold(words.to_owned(), |words, (command, configured)| {
                let mut out = String::with_capacity(words.len());
                let mut rest = &*words;
                while let Some(at) = rest.find(command) {
                    let (before, after) = rest.split_at(at + command.len());
                    out.push_str(before);
                    let goes_on = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                    let has = |option: &str| after.trim_start().starts_with(option);
                    if !goes_on && !has("--config") && !has("--run-dir") {
                        out.push_str(&self.run_dir);
                        if *configured {
                            out.push_str(&self.config);
                        }
                    }
                    rest = after;
                }
                out + rest
            })
    }

    /// A remedy with it.
    pub(super) fn in_remedy(&self, remedy: &Remedy) -> Remedy {
        match remedy {
            Remedy::Command(command) => Remedy::Command(self.in_words(command)),
            Remedy::Words(words) => Remedy::Words(self.in_words(words)),
            Remedy::Change { first, command } => Remedy::Change {
                first: self.in_words(first),
                command: self.in_words(command),
            },
        }
    }
}

/// A listener who hears the next steps of faults as they are typed here.
pub(super) struct Completing {
    /// What the command was told.
    pub told: Told,
    /// Who hears it.
    pub listener: Box<dyn Listener>,
}

impl Listener for Completing {
    fn take(&mut self, event: &Event) {
        let mut event = event.clone();
        if let Event::NothingToResume { next, .. } = &mut event {
            *next = self.told.in_words(next);
        }
        if let Event::Failed { fault, .. } | Event::Stopped { fault, .. } = &mut event {
            fault.record.next = self.told.in_words(&fault.record.next);
            if let Some(remedy) = &mut fault.remedy {
                self.in_texts(remedy);
            }
        }
        self.listener.take(&event);
    }
}

impl Completing {
    fn in_texts(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.told.in_words(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.in_texts(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.in_texts(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_with_what_was_named() {
        let told =
            |config: Option<&str>, run_dir: &str| Told::of(config.map(Utf8Path::new), Utf8Path::new(run_dir));
        let named = told(Some("/run/my lab/install.ron"), RUN_DIR);
        for (words, wanted) in [
            (
                "landfall resume",
                "landfall resume --config '/run/my lab/install.ron'",
            ),
            (
                "mend it, then: landfall resume --reset-attempts",
                "mend it, then: landfall resume --config '/run/my lab/install.ron' --reset-attempts",
            ),
            (
                "INSTALL_DISK=/dev/x landfall install",
                "INSTALL_DISK=/dev/x landfall install --config '/run/my lab/install.ron'",
            ),
            ("landfall log", "landfall log"),
            ("landfall resume --config x", "landfall resume --config x"),
            ("landfall resumed", "landfall resumed"),
        ] {
            assert_eq!(named.in_words(words), wanted);
        }
        let elsewhere = told(Some("/srv/a.ron"), "/run/x y");
        assert_eq!(
            elsewhere.in_words("log:  landfall log"),
            "log:  landfall log --run-dir '/run/x y'"
        );
        assert_eq!(
            elsewhere.in_words("landfall status --watch, or landfall resume"),
            "landfall status --run-dir '/run/x y' --watch, or landfall resume --run-dir '/run/x y' --config /srv/a.ron"
        );
        // The controls: nothing was named, or what is found without a name.
        for plain in [told(None, RUN_DIR), told(Some(CONFIG_FILES[0]), RUN_DIR)] {
            assert_eq!(plain.command("resume"), "landfall resume");
        }
        assert_eq!(
            told(Some("/srv/a.ron"), "/x")
                .in_remedy(&Remedy::change("set it"))
                .to_string(),
            "set it, then: landfall resume --run-dir /x --config /srv/a.ron"
        );
    }

    /// What is printed is read from another directory too, and by a shell.
    #[test]
    fn a_path_is_told_whole_and_as_a_shell_reads_it() {
        let here = Utf8PathBuf::try_from(std::env::current_dir().unwrap()).unwrap();
        let told = Told::of(Some(Utf8Path::new("my cfg.ron")), Utf8Path::new("r\nd"));
        assert_eq!(
            told.command("resume"),
            format!(r"landfall resume --run-dir $'{here}/r\nd' --config '{here}/my cfg.ron'")
        );
        // As bash prints them with ${x@Q}.
        for (odd, quoted) in [
            ("a\tb", r"$'a\tb'"),
            ("it's\x07", r"$'it\'s\x07'"),
            ("back\\slash\n", r"$'back\\slash\n'"),
            ("\u{85}", r"$'\xc2\x85'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(word(odd), quoted);
        }
    }

    #[test]
    fn listeners_get_the_next_step_as_it_is_typed() {
        use landfall_states::fault::{Fault, Kind};
        use std::sync::{Arc, Mutex};

        struct Heard(Arc<Mutex<Vec<Event>>>);
        impl Listener for Heard {
            fn take(&mut self, event: &Event) {
                self.0.lock().unwrap().push(event.clone());
            }
        }
        let heard = Arc::new(Mutex::new(vec![]));
        let mut completing = Completing {
            told: Told::of(Some(Utf8Path::new("/srv/web.ron")), Utf8Path::new("/run/x")),
            listener: Box::new(Heard(heard.clone())),
        };
        let kind = Kind::ProgramLimit {
            program: "lsblk".into(),
            limit: landfall_states::fault::Limit::Deadline,
            limit_s: 60,
        };
        let fault = Fault::of(kind, Remedy::resume());
        completing.take(&Event::Stopped {
            phase: None,
            fault: (&fault).into(),
        });
        completing.take(&Event::NothingToResume {
            why: "no install".into(),
            list: vec![],
            next: "landfall install".into(),
        });
        completing.take(&Event::Notice {
            what: "landfall resume".into(),
        });
        let heard = heard.lock().unwrap();
        let json = serde_json::to_value(&heard[0]).unwrap().to_string();
        assert_eq!(
            json.matches("landfall resume --run-dir /x").count(),
            0,
            "another directory"
        );
        assert_eq!(
            json.matches("landfall resume --run-dir /run/x --config /srv/web.ron")
                .count(),
            2,
            "{json}"
        );
        assert!(matches!(&heard[1], Event::NothingToResume { next, .. }
            if next == "landfall install --run-dir /run/x --config /srv/web.ron"));
        assert!(matches!(&heard[2], Event::Notice { what } if what == "landfall resume"));
    }
}
