//! Errors of the notation (JSON or RON), as opposed to errors of values.
//!
//! After such an error nothing more is read. It is reported once, in landfall's own words, with the rule of JSON or RON. No text of
//! the file is repeated.
//!
//! `parse` and `refused` handle values.

use super::parse::{Problem, json_problem, ron_problem};

/// Why the values cannot be read.
pub(super) enum Unread {
    /// One of them is not what its option allows.
    Value(Problem),
    /// The text is not in its notation.
    Notation(Problem),
}

/// What stands against the notation of a text in JSON, by the parser's fixed sentences, and what to do.
pub(super) fn json_notation(text: &str) -> (String, &'static str) {
    const FORM: &str = "JSON needs names and texts in double quotes and a comma between values, but not after the last one, and has no comments; the name of a RON file ends with .ron; Nix code is not allowed in either (examples: docs/reference/configuration.md)";
    let found = |what: &str| format!("the text is not valid JSON from here: {what}");
    match text {
        "key must be a string" => (found("the name of an option in double quotes is missing"), FORM),
        "expected value" | "expected ident" => (found("this is not a value"), FORM),
        "trailing comma" => (found("a comma follows the last value"), "remove that comma"),
        "trailing characters" => (
            found("something follows the end of the configuration"),
            "remove it, or look for a bracket that is closed too early",
        ),
        "expected `,` or `}`" | "expected `,` or `]`" | "expected `:`" | "expected `\"`" => {
            (found(&text.replacen("expected", "missing is", 1)), FORM)
        }
        "control character (\\u0000-\\u001F) found while parsing a string" => (
            found("a text continues on the next line, or has a tab in it"),
            "end the text with a double quote on the same line; write a line break in it as \\n",
        ),
        "invalid escape" | "lone leading surrogate in hex escape" | "unexpected end of hex escape" => (
            found("a backslash is followed by an invalid character"),
            "write each backslash in a text twice",
        ),
        "invalid number" | "number out of range" => (
            found("this number cannot be read"),
            "write a whole number without zeros before it",
        ),
        _ if text.starts_with("EOF while parsing") => (
            "the text ends before the configuration is complete".to_owned(),
            "close every open text (with a double quote) and every open bracket",
        ),
        other => (found(other), FORM),
    }
}

pub(super) fn json_unread(path: String, error: &serde_json::Error) -> Unread {
    // serde_json says so of a value of another type, too, where one of some names belongs.
    let is_value = error.is_data() || ["on_success", "system"].contains(&path.as_str());
    let problem = json_problem(path, error);
    if is_value || error.to_string().starts_with("recursion limit") {
        Unread::Value(problem)
    } else {
        Unread::Notation(problem)
    }
}

/// What RON's reader says of a value that it could read, and what it says of the notation.
pub(super) fn ron_unread(path: String, error: ron::error::SpannedError, text: &str) -> Unread {
    use ron::Error::*;
    let is_notation = matches!(
        error.code,
        Eof | ExpectedArrayEnd
            | ExpectedAttribute
            | ExpectedAttributeEnd
            | ExpectedComma
            | ExpectedMapColon
            | ExpectedMapEnd
            | ExpectedOptionEnd
            | ExpectedStringEnd
            | ExpectedStructLikeEnd
            | InvalidEscape(_)
            | TrailingCharacters
            | UnclosedBlockComment
            | UnexpectedChar(_)
            | UnclosedLineComment
    );
    let problem = ron_problem(path, error, text);
    if is_notation {
        Unread::Notation(problem)
    } else {
        Unread::Value(problem)
    }
}
