//! What to do about a fault.
//!
//! A command is separate from what has to change before it, so that a program can offer it. It is written as it would be
//! typed. Nothing here carries it out.

use serde::Serialize;
use std::fmt;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Remedy {
    /// A command.
    #[serde(rename = "command")]
    Command(String),
    /// A change outside, then a command.
    #[serde(rename = "change")]
    Change {
        /// What to change, as one would tell somebody.
        #[serde(rename = "first")]
        first: String,
        /// The command behind it.
        #[serde(rename = "command")]
        command: String,
    },
    /// Anything else, in words.
    #[serde(rename = "words")]
    Words(String),
}

/// The command that goes on with an install.
const RESUME: &str = "landfall resume";
/// The command that begins one.
const INSTALL: &str = "landfall install";

impl Remedy {
    /// In words.
    pub fn words(text: impl Into<String>) -> Self {
        Remedy::Words(text.into())
    }
    /// Go on with the install.
    pub fn resume() -> Self {
        Remedy::Command(RESUME.into())
    }
    /// Change something, then go on with the install.
    pub fn change(first: impl Into<String>) -> Self {
        Remedy::Change {
            first: first.into(),
            command: RESUME.into(),
        }
    }
    /// Change something, then begin an install.
    pub fn change_and_install(first: impl Into<String>) -> Self {
        Remedy::Change {
            first: first.into(),
            command: INSTALL.into(),
        }
    }
    /// The same, where no install was begun that could be gone on with.
    pub fn before_begin(self) -> Self {
        let begun = |text: String| text.replace(RESUME, INSTALL);
        match self {
            Remedy::Command(command) => Remedy::Command(begun(command)),
            Remedy::Words(words) => Remedy::Words(begun(words)),
            Remedy::Change { first, command } => Remedy::Change {
                first: begun(first),
                command: begun(command),
            },
        }
    }
    /// A device is broken.
    pub fn replace_device() -> Self {
        Remedy::Words(
            "replace the disk, then: landfall install (a new disk starts from the beginning)".into(),
        )
    }
    /// The kernel lets nobody write to a filesystem any more.
    pub fn turned_read_only() -> Self {
        Remedy::Words(
            "dmesg shows the reason: if the device reports errors, replace it; otherwise landfall resume, which checks and repairs the filesystem".into(),
        )
    }
    /// A device is gone.
    pub fn attach_again() -> Self {
        Self::change("attach the device again")
    }
    /// landfall is broken.
    pub fn report() -> Self {
        Remedy::Words("report this as a defect of landfall".into())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Command(text) | Remedy::Words(text) => f.write_str(text),
            Remedy::Change { first, command } => write!(f, "{first}, then: {command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_apart_from_what_comes_before_it() {
        let said = [
            Remedy::resume(),
            Remedy::change("set it"),
            Remedy::change_and_install("set it"),
            Remedy::words("look"),
        ];
        assert_eq!(
            said.map(|remedy| remedy.to_string()),
            [
                "landfall resume",
                "set it, then: landfall resume",
                "set it, then: landfall install",
                "look"
            ]
        );
        let begun = [
            Remedy::resume(),
            Remedy::change("set it"),
            Remedy::change_and_install("set it"),
            Remedy::words("landfall resume on a console"),
        ];
        assert_eq!(
            begun.map(|remedy| remedy.before_begin().to_string()),
            [
                "landfall install",
                "set it, then: landfall install",
                "set it, then: landfall install",
                "landfall install on a console"
            ]
        );
    }
}
