//! What is not in its notation, told from what no option allows. Law: behind a fault of the notation nothing is read, and it is told once,
//! in words of ours, with what JSON or RON wants there; nothing of the text is repeated.
//!
//! Absent: values (`parse`, `refused`).

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
    const FORM: &str = "JSON has names and texts in double quotes, commas between values and none behind the last, and no comments; a \
                        configuration in RON ends with .ron, and Nix does not belong in either (docs/reference/configuration.md has examples)";
    let found = |what: &str| format!("the text is no JSON from here on: {what}");
    match text {
        "key must be a string" => (found("the name of an option in double quotes is missing"), FORM),
        "expected value" | "expected ident" => (found("this is no value"), FORM),
        "trailing comma" => (
            found("a comma stands behind the last value"),
            "leave that comma out",
        ),
        "trailing characters" => (
            found("something stands behind the end of the configuration"),
            "leave it out, or look for a bracket that is closed too early",
        ),
        "expected `,` or `}`" | "expected `,` or `]`" | "expected `:`" | "expected `\"`" => {
            (found(&text.replacen("expected", "missing is", 1)), FORM)
        }
        "control character (\\u0000-\\u001F) found while parsing a string" => (
            found("a text goes on in the next line, or has a tab in it"),
            "close the text with a double quote in its line; a line feed in it is written \\n",
        ),
        "invalid escape" | "lone leading surrogate in hex escape" | "unexpected end of hex escape" => (
            found("a backslash stands before something that it does not go with"),
            "write a backslash in a text twice",
        ),
        "invalid number" | "number out of range" => (
            found("this is no number that can be read"),
            "write a whole number without zeros before it",
        ),
        _ if text.starts_with("EOF while parsing") => (
            "the text ends before the configuration does".to_owned(),
            "close what is open: a text with a double quote, and every bracket",
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
