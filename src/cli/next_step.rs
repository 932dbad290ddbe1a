//! The next step as it is typed here. Law: carried out as it is printed, a command goes on: one that was started with `--config FILE` is
//! told with it, for without it landfall would look for another file or find none.
//!
//! Absent: what helps (the fault's own remedy), and which command an install that was never begun needs (`install`).

use super::CONFIG_FILES;
use crate::real::RUN_DIR;
use camino::Utf8Path;
use landfall_states::fault::Remedy;

/// Commands that take a configuration, as remedies name them.
const COMMANDS: [&str; 3] = ["landfall install", "landfall resume", "landfall plan"];

/// A word as a shell takes it.
fn word(text: &str) -> String {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b':' | b'@' | b',')
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a command of landfall was told, to be told again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    arguments: String,
}

impl Told {
    /// Of this configuration, if one was named, and of this run directory.
    pub(super) fn of(config: Option<&Utf8Path>, run_dir: &Utf8Path) -> Told {
        let mut arguments = String::new();
        if run_dir != RUN_DIR {
            arguments.push_str(&format!(" --run-dir {}", word(run_dir.as_str())));
        }
        // The first that is looked for is found without being named.
        if let Some(config) = config.filter(|config| *config != CONFIG_FILES[0]) {
            arguments.push_str(&format!(" --config {}", word(config.as_str())));
        }
        Told { arguments }
    }

    /// A command of landfall.
    pub(super) fn command(&self, name: &str) -> String {
        format!("landfall {name}{}", self.arguments)
    }

    /// Words with what was told behind each command that takes it.
    pub(super) fn in_words(&self, words: &str) -> String {
        COMMANDS.iter().fold(words.to_owned(), |words, command| {
            let mut out = String::with_capacity(words.len());
            let mut rest = &*words;
            while let Some(at) = rest.find(command) {
                let (before, after) = rest.split_at(at + command.len());
                out.push_str(before);
                let goes_on = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                if !goes_on && !after.trim_start().starts_with("--config") {
                    out.push_str(&self.arguments);
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
        // The controls: nothing was named, or what is found without a name.
        for plain in [told(None, RUN_DIR), told(Some(CONFIG_FILES[0]), RUN_DIR)] {
            assert_eq!(plain.command("resume"), "landfall resume");
        }
        assert_eq!(
            told(Some("a.ron"), "/x")
                .in_remedy(&Remedy::change("set it"))
                .to_string(),
            "set it, then: landfall resume --run-dir /x --config a.ron"
        );
    }
}
