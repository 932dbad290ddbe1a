//! The edit of `hardware-configuration.nix`.
//!
//! The name of a device is replaced by another name of the same device, and every other byte stays. What is not plain text (an
//! interpolation, a name defined elsewhere) is reported and not changed. The result is parsed again. Labels that the file uses (the
//! option `label`, and links by label in its texts) are only reported.
//!
//! `plan` gives the names, `apply` reads and writes files.

use rnix::ast;
use rnix::{SyntaxKind, SyntaxNode, TextRange};
use rowan::ast::AstNode;

/// Longest Nix file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Deepest nesting of parentheses, functions and sets that is followed.
const DEPTH_MAX: usize = 64;

/// What a device is there for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `fileSystems."<mount point>".device`.
    Filesystem(String),
    /// `boot.initrd.luks.devices.<name>.device`.
    Luks(String),
    /// `swapDevices = [ { device = …; } ]`.
    Swap,
    /// `fileSystems."<mount point>".label`.
    FilesystemLabel(String),
    /// `swapDevices = [ { label = …; } ]`.
    SwapLabel,
    /// A text anywhere in the file: `boot.resumeDevice`, a name that is bound in a `let`, a kernel parameter.
    Text,
}

impl Place {
    /// Whether it is an option whose device is given another name.
    pub fn is_device(&self) -> bool {
        match self {
            Place::Filesystem(_) | Place::Luks(_) | Place::Swap => true,
            Place::FilesystemLabel(_) | Place::SwapLabel | Place::Text => false,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Filesystem(target) => write!(f, "fileSystems.\"{target}\".device"),
            Place::Luks(name) if name == IN_LIST => f.write_str("boot.initrd.luks.devices.*.device"),
            Place::Luks(name) => write!(f, "boot.initrd.luks.devices.\"{name}\".device"),
            Place::Swap => f.write_str("swapDevices.*.device"),
            Place::FilesystemLabel(target) => write!(f, "fileSystems.\"{target}\".label"),
            Place::SwapLabel => f.write_str("swapDevices.*.label"),
            Place::Text => f.write_str("a text"),
        }
    }
}

/// A device that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// For what.
    pub place: Place,
    /// Its name, where that is a plain text; else what stands there. Of a label, the link that NixOS makes of it.
    pub device: Result<String, String>,
    /// The line, from 1.
    pub line: usize,
    /// Where the text is, without its quotes.
    range: TextRange,
}

/// A file, parsed.
#[derive(Debug, Clone)]
pub struct NixFile {
    text: String,
    named: Vec<Named>,
    sought: Vec<Named>,
}

/// Why a file is not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NixError {
    /// It is no Nix expression.
    #[error("line {line} is not valid Nix")]
    Syntax {
        /// The line, from 1.
        line: usize,
    },
    /// What was made of it is none, which must not be.
    #[error("the edited text is not valid Nix: {0}")]
    Edited(String),
}

impl NixFile {
    /// Parses it.
    ///
    /// # Errors
    /// The text is no Nix, is too long or too deep.
    pub fn parse(text: &str) -> Result<NixFile, NixError> {
        let parsed = rnix::Root::parse(text);
        if let Some(error) = parsed.errors().first() {
            return Err(NixError::Syntax {
                line: error_line(text, error),
            });
        }
        let (mut named, mut sought) = (vec![], vec![]);
        for node in parsed.syntax().descendants() {
            if let Some(text_node) = ast::Str::cast(node.clone()) {
                sought.extend(of_text(text, &text_node));
            }
            if let Some(pair) = ast::AttrpathValue::cast(node) {
                named.extend(of_pair(text, &pair));
            }
        }
        let (mut named, labels): (Vec<Named>, Vec<Named>) =
            named.into_iter().partition(|one: &Named| one.place.is_device());
        // Where a filesystem has both, NixOS takes the device.
        sought.extend(labels.into_iter().filter(|label| {
            !named
                .iter()
                .any(|one| matches!((&one.place, &label.place), (Place::Filesystem(at), Place::FilesystemLabel(of)) if at == of))
        }));
        named.sort_by_key(|one| one.range.start());
        Ok(NixFile {
            text: text.to_owned(),
            named,
            sought,
        })
    }

    /// The devices that it names, in its order.
    pub fn named(&self) -> &[Named] {
        &self.named
    }

    /// What it looks for besides: labels, and links by label in its texts.
    pub fn sought(&self) -> &[Named] {
        &self.sought
    }

    /// Its text with other names for the devices for which there is one. The same text when there is none.
    ///
    /// # Errors
    /// The new text would not say the same of everything else.
    pub fn renamed(&self, name: impl Fn(&Place, &str) -> Option<String>) -> Result<String, NixError> {
        let mut text = self.text.clone();
        let mut wanted = vec![];
        // From the end, so that the places before stay where they are.
        for one in self.named.iter().rev() {
            let new = one.device.as_ref().ok().and_then(|old| name(&one.place, old));
            let device = match &new {
                Some(new) => Ok(new.clone()),
                None => one.device.clone(),
            };
            wanted.push((one.place.clone(), device));
            if let Some(new) = new {
                let range = usize::from(one.range.start())..usize::from(one.range.end());
                text.replace_range(range, &in_string(&new));
            }
        }
        // The links that are put in are read back as they are; this proves it.
        let again = NixFile::parse(&text).map_err(|error| NixError::Edited(error.to_string()))?;
        let says = again.named.into_iter().rev().map(|one| (one.place, one.device));
        if !says.eq(wanted) {
            return Err(NixError::Edited(
                "it would name other devices than it should".into(),
            ));
        }
        Ok(text)
    }
}

/// A link as it stands in a string of Nix: none has another character that means something there.
pub(super) fn in_string(link: &str) -> String {
    link.replace('\\', "\\\\")
}

/// What changes from one text to another, as `diff -u` shows it; empty for no change.
pub fn diff(path: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header(path, path)
        .to_string()
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

fn error_line(text: &str, error: &rnix::parser::ParseError) -> usize {
    use rnix::parser::ParseError;
    let range = match error {
        ParseError::Unexpected(range)
        | ParseError::UnexpectedExtra(range)
        | ParseError::UnexpectedWanted(_, range, _)
        | ParseError::UnexpectedDoubleBind(range)
        | ParseError::DuplicatedArgs(range, _) => Some(*range),
        _ => None,
    };
    let end = text.len();
    line_of(text, range.map_or(end, |range| usize::from(range.start())))
}

/// The device that a pair names, if it is one of the options that name devices.
fn of_pair(text: &str, pair: &ast::AttrpathValue) -> Option<Named> {
    let own = names(&pair.attrpath()?)?;
    if !matches!(own.last().map(String::as_str), Some("device" | "label")) {
        return None;
    }
    let place = place(&full_path(pair, own)?)?;
    let value = pair.value()?;
    let node = value.syntax().clone();
    let (device, range) = match plain_text(value) {
        Some(found) => found,
        None => (Err(node.text().to_string()), node.text_range()),
    };
    let device = match place.is_device() {
        true => device,
        false => device.map(|label| format!("{BY_LABEL}{label}")),
    };
    Some(Named {
        place,
        device,
        line: line_of(text, usize::from(range.start())),
        range,
    })
}

/// Names by which something is looked for, as they stand in a text.
const BY_LABEL: &str = "/dev/disk/by-label/";
const BY_NAME: [&str; 4] = [BY_LABEL, "/dev/disk/by-partlabel/", "LABEL=", "PARTLABEL="];

/// The names by label in a text that has nothing computed in it, with what stands before them (`resume=LABEL=swap`) left out.
fn of_text(text: &str, node: &ast::Str) -> Vec<Named> {
    let range = node.syntax().text_range();
    let pieces = node.syntax().children_with_tokens();
    let plain = pieces.filter(|piece| piece.kind() == SyntaxKind::TOKEN_STRING_CONTENT);
    let mut found = vec![];
    for piece in plain {
        let Some(token) = piece.as_token() else { continue };
        // Only where nothing follows that is computed, the name is whole.
        let is_whole = token
            .next_sibling_or_token()
            .is_none_or(|next| next.kind() != SyntaxKind::NODE_INTERPOL);
        let words: Vec<&str> = token.text().split_whitespace().collect();
        for (at, word) in words.iter().copied().enumerate() {
            let name = BY_NAME.iter().find_map(|begin| {
                let from = word.find(begin)?;
                // PARTLABEL= has LABEL= in it.
                let before = word.get(..from).unwrap_or_default();
                (!before.ends_with("PART")).then(|| word.get(from..).unwrap_or_default())
            });
            let name = name.filter(|_| is_whole || at + 1 < words.len());
            // A label may have a blank in it.
            let whole = (at == 0 && is_whole && words.len() > 1).then(|| token.text().trim());
            let whole = whole.filter(|_| name == Some(word));
            found.extend(name.into_iter().chain(whole).map(|name| Named {
                place: Place::Text,
                device: Ok(name.to_owned()),
                line: line_of(text, usize::from(range.start())),
                range,
            }));
        }
    }
    found
}

/// A name in a path of attributes, and `[]` for "in a list".
const IN_LIST: &str = "[]";

/// The names of a path; `None` where one is computed.
fn names(path: &ast::Attrpath) -> Option<Vec<String>> {
    path.attrs()
        .map(|attr| match attr {
            ast::Attr::Ident(ident) => Some(ident.to_string()),
            ast::Attr::Str(text) => literal(&text).map(|(text, _)| text),
            ast::Attr::Dynamic(_) => None,
        })
        .collect()
}

/// The names from the top of the configuration down to this pair; `None`: it is in a `let`, or a name is computed.
fn full_path(pair: &ast::AttrpathValue, own: Vec<String>) -> Option<Vec<String>> {
    let mut path = own;
    for above in pair.syntax().ancestors().skip(1) {
        match above.kind() {
            // Only what lies in its body is the configuration's.
            SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET if !is_in_body(&above, pair.syntax()) => {
                return None;
            }
            SyntaxKind::NODE_LIST => path.insert(0, IN_LIST.into()),
            SyntaxKind::NODE_ATTRPATH_VALUE => {
                let mut front = names(&ast::AttrpathValue::cast(above)?.attrpath()?)?;
                front.append(&mut path);
                path = front;
            }
            _ => {}
        }
    }
    Some(path)
}

fn is_in_body(binding: &SyntaxNode, inner: &SyntaxNode) -> bool {
    let body = ast::LetIn::cast(binding.clone()).and_then(|it| it.body());
    body.is_some_and(|body| body.syntax().text_range().contains_range(inner.text_range()))
}

/// Which option a path is. What stands before it (`config`, or a host's name) does not matter: only another name of the same device
/// is ever put in.
fn place(path: &[String]) -> Option<Place> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match words.as_slice() {
        [.., "fileSystems", target, "device"] if *target != IN_LIST => {
            Some(Place::Filesystem((*target).to_owned()))
        }
        [.., "fileSystems", target, "label"] if *target != IN_LIST => {
            Some(Place::FilesystemLabel((*target).to_owned()))
        }
        [.., "swapDevices", IN_LIST, "label"] => Some(Place::SwapLabel),
        [.., "luks", "devices", name, "device"] => Some(Place::Luks((*name).to_owned())),
        [.., "swapDevices", IN_LIST, "device"] => Some(Place::Swap),
        _ => None,
    }
}

/// A value that is a plain text, also one in parentheses or behind `lib.mkDefault`, `lib.mkForce` or `lib.mkOverride n`.
fn plain_text(value: ast::Expr) -> Option<(Result<String, String>, TextRange)> {
    let mut at = value;
    for _ in 0..DEPTH_MAX {
        at = match at {
            ast::Expr::Str(text) => {
                let (text, range) = literal(&text)?;
                return Some((Ok(text), range));
            }
            ast::Expr::Paren(paren) => paren.expr()?,
            ast::Expr::Apply(apply) if is_priority(apply.lambda()?) => apply.argument()?,
            _ => return None,
        };
    }
    None
}

/// Whether a function only sets the priority of what it is given.
fn is_priority(function: ast::Expr) -> bool {
    let name = |expr: &ast::Expr| match expr {
        ast::Expr::Ident(ident) => Some(ident.to_string()),
        ast::Expr::Select(select) => select
            .attrpath()
            .and_then(|path| names(&path))
            .and_then(|mut path| path.pop()),
        _ => None,
    };
    match &function {
        ast::Expr::Apply(apply) => apply.lambda().as_ref().and_then(name).as_deref() == Some("mkOverride"),
        other => matches!(name(other).as_deref(), Some("mkDefault" | "mkForce")),
    }
}

/// A string of one piece, without escapes but that of a backslash: its text, and where that is.
fn literal(text: &ast::Str) -> Option<(String, TextRange)> {
    let mut is_indented = false;
    let mut pieces = text.syntax().children_with_tokens().filter(|piece| {
        let is_start = piece.kind() == SyntaxKind::TOKEN_STRING_START;
        is_indented |= is_start && piece.as_token().is_some_and(|token| token.text() == "''");
        !is_start && piece.kind() != SyntaxKind::TOKEN_STRING_END
    });
    let piece = pieces.next()?;
    if pieces.next().is_some() || piece.kind() != SyntaxKind::TOKEN_STRING_CONTENT {
        return None;
    }
    let token = piece.as_token()?;
    let content = token.text();
    let without = content.replace("\\\\", "");
    let plain = !without.contains(['\\', '\n']) && !without.contains("''") && !without.contains("$$");
    let is_read = plain && (!is_indented || without == content);
    is_read.then(|| (content.replace("\\\\", "\\"), token.text_range()))
}

#[cfg(test)]
#[path = "nix_file_tests.rs"]
mod tests;
