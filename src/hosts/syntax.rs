//! Nix files as text with a syntax tree.
//!
//! An edit is an insertion: every existing byte stays, in its order, and the result is parsed again. New lines get the indentation
//! and line ends of their neighbours.
//!
//! `flake` and `rules` choose the place, `literal` evaluates.

use rnix::ast::{self, AstToken, Attr, Expr, HasEntry, InterpolPart};
use rnix::parser::ParseError;
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

/// Text that is put at a place of another, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insertion {
    pub(crate) at: usize,
    pub(crate) text: String,
}

/// The root of a file; or what is wrong with it, with line and column.
pub(crate) fn parse(text: &str) -> Result<Expr, String> {
    let parsed = rnix::Root::parse(text);
    if let Some(error) = parsed.errors().first() {
        return Err(misread(text, error));
    }
    parsed.tree().expr().ok_or_else(|| "it is empty".to_owned())
}

/// What is wrong, with its line and column, in words of Nix.
fn misread(text: &str, error: &ParseError) -> String {
    let at = match error {
        ParseError::Unexpected(range)
        | ParseError::UnexpectedExtra(range)
        | ParseError::UnexpectedWanted(_, range, _)
        | ParseError::UnexpectedDoubleBind(range)
        | ParseError::DuplicatedArgs(range, _) => Some(usize::from(range.start())),
        _ => None,
    };
    let mark = |line: &&str| ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark));
    if let Some(n) = text.lines().position(|line| mark(&line)) {
        return format!("line {} is a mark of a merge conflict", n + 1);
    }
    let Some(before) = at.and_then(|at| text.get(..at)) else {
        return "it ends too early: a bracket, a quote or a semicolon is missing".to_owned();
    };
    let (line, column) = (
        before.matches('\n').count() + 1,
        before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
    );
    let what = match error {
        ParseError::DuplicatedArgs(_, name) => format!("the argument {name} is named twice"),
        ParseError::UnexpectedDoubleBind(_) => "the arguments have two names".to_owned(),
        _ => "something else is expected there, or is missing before it".to_owned(),
    };
    format!("line {line}, column {column}: {what}")
}

/// The text with the insertions in it, which parses.
pub(crate) fn apply(text: &str, insertions: &[Insertion]) -> Result<String, String> {
    let mut sorted: Vec<&Insertion> = insertions.iter().collect();
    sorted.sort_by_key(|insertion| insertion.at);
    let (mut out, mut from) = (String::with_capacity(text.len() + 512), 0);
    for insertion in sorted {
        let before = text
            .get(from..insertion.at)
            .ok_or_else(|| format!("an insertion is outside the text, at byte {}", insertion.at))?;
        out.push_str(before);
        out.push_str(&insertion.text);
        from = insertion.at;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    parse(&out).map_err(|reason| format!("with the new lines it would not be valid Nix: {reason}"))?;
    Ok(out)
}

/// The names of a path of attributes; `None`: one of them is computed.
pub(crate) fn names(path: &ast::Attrpath) -> Option<Vec<String>> {
    path.attrs().map(|attr| name(&attr)).collect()
}

/// The name of an attribute.
pub(crate) fn name(attr: &Attr) -> Option<String> {
    match attr {
        Attr::Ident(ident) => Some(ident.to_string()),
        Attr::Str(text) => string(text),
        Attr::Dynamic(_) => None,
    }
}

/// The value of a string without interpolation.
pub(crate) fn string(text: &ast::Str) -> Option<String> {
    let mut out = String::new();
    for part in text.normalized_parts() {
        match part {
            InterpolPart::Literal(part) => out.push_str(&part),
            InterpolPart::Interpolation(_) => return None,
        }
    }
    Some(out)
}

/// What binds names: an attribute set or a `let`.
#[derive(Debug, Clone)]
pub(crate) enum Bindings {
    Set(ast::AttrSet),
    Let(ast::LetIn),
}

impl Bindings {
    pub(crate) fn node(&self) -> &SyntaxNode {
        match self {
            Bindings::Set(set) => set.syntax(),
            Bindings::Let(set) => set.syntax(),
        }
    }

    /// `path = value;` in their order.
    pub(crate) fn values(&self) -> Vec<ast::AttrpathValue> {
        match self {
            Bindings::Set(set) => set.attrpath_values().collect(),
            Bindings::Let(set) => set.attrpath_values().collect(),
        }
    }

    /// Whether nothing is bound.
    pub(crate) fn is_empty(&self) -> bool {
        self.end_of_last().is_none()
    }

    fn inherits(&self) -> Vec<ast::Inherit> {
        match self {
            Bindings::Set(set) => set.inherits().collect(),
            Bindings::Let(set) => set.inherits().collect(),
        }
    }

    /// The value that is bound to exactly this path.
    pub(crate) fn value(&self, path: &[&str]) -> Option<Expr> {
        self.values()
            .into_iter()
            .find(|entry| {
                entry
                    .attrpath()
                    .and_then(|found| names(&found))
                    .is_some_and(|found| found == path)
            })
            .and_then(|entry| entry.value())
    }

    /// Whether a name is bound by `inherit`, and from what.
    pub(crate) fn inherited(&self, name: &str) -> Option<Option<Expr>> {
        self.inherits()
            .into_iter()
            .find(|inherit| {
                inherit
                    .attrs()
                    .any(|attr| self::name(&attr).as_deref() == Some(name))
            })
            .map(|inherit| inherit.from().and_then(|from| from.expr()))
    }

    /// Bytes where the last binding ends, or where the first one would begin.
    fn end_of_last(&self) -> Option<usize> {
        let last = self
            .node()
            .children()
            .filter(|child| {
                matches!(
                    child.kind(),
                    SyntaxKind::NODE_ATTRPATH_VALUE | SyntaxKind::NODE_INHERIT
                )
            })
            .last();
        last.map(|entry| usize::from(entry.text_range().end()))
    }

    fn opening(&self) -> Option<usize> {
        let token = match self {
            Bindings::Set(set) => set.l_curly_token(),
            Bindings::Let(set) => set.let_token(),
        }?;
        Some(usize::from(token.text_range().end()))
    }

    fn closing(&self) -> Option<usize> {
        let token = match self {
            Bindings::Set(set) => set.r_curly_token(),
            Bindings::Let(set) => set.in_token(),
        }?;
        Some(usize::from(token.text_range().start()))
    }

    /// A binding (`lines`, the first without indentation, the last with its semicolon) behind `after`, or behind the last one.
    pub(crate) fn bind(&self, text: &str, lines: &[String], after: Option<&SyntaxNode>) -> Option<Insertion> {
        let end = after
            .map(|node| usize::from(node.text_range().end()))
            .or_else(|| self.end_of_last());
        let (open, close) = (self.opening()?, self.closing()?);
        let from = end.unwrap_or(open);
        let inside = text.get(open..close)?;
        let newline = line_end(text);
        if !inside.contains('\n') {
            let joined: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            let space = if end.is_none() && text.get(open..close) == Some("") {
                " "
            } else {
                ""
            };
            return Some(Insertion {
                at: from,
                text: format!(" {}{space}", joined.join(" ")),
            });
        }
        // Behind the rest of the line, when that is comments on what stands in it.
        let rest = text.get(from..close)?;
        let line = rest.split('\n').next().unwrap_or_default();
        let said = line.trim();
        let at = if rest.contains('\n') && is_comment(said) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            from + if said.is_empty() { 0 } else { line.trim_end().len() }
        } else {
            from
        };
        let indentation = self.indentation(text, after, close);
        let mut out = String::new();
        for line in lines {
            out.push_str(newline);
            if !line.is_empty() {
                out.push_str(&indentation);
                out.push_str(&nested(line, &indentation));
            }
        }
        if !rest.contains('\n') || at == from && !is_comment(said) {
            out.push_str(newline);
            out.push_str(&indentation);
        }
        Some(Insertion { at, text: out })
    }

    /// The white space before a binding's line.
    fn indentation(&self, text: &str, after: Option<&SyntaxNode>, close: usize) -> String {
        let sibling = after.cloned().or_else(|| {
            self.node().children().find(|child| {
                matches!(
                    child.kind(),
                    SyntaxKind::NODE_ATTRPATH_VALUE | SyntaxKind::NODE_INHERIT
                ) && starts_line(text, usize::from(child.text_range().start()))
            })
        });
        match sibling {
            Some(node) => indentation_at(text, usize::from(node.text_range().start())).to_owned(),
            None => {
                let outer = indentation_at(text, close);
                let step = if outer.starts_with('\t') { "\t" } else { "  " };
                format!("{outer}{step}")
            }
        }
    }
}

/// Whether the rest of a line is nothing, or comments that end in it.
fn is_comment(rest: &str) -> bool {
    let mut rest = rest.trim();
    while let Some((_, behind)) = rest.strip_prefix("/*").and_then(|inner| inner.split_once("*/")) {
        rest = behind.trim_start();
    }
    rest.is_empty() || rest.starts_with('#')
}

/// Line ends as the text has them.
pub(crate) fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// White space at the beginning of the line that has this byte.
pub(crate) fn indentation_at(text: &str, at: usize) -> &str {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |n| n + 1);
    let line = text.get(start..).unwrap_or_default();
    let length = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..length).unwrap_or_default()
}

fn starts_line(text: &str, at: usize) -> bool {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |n| n + 1);
    text.get(start..at).is_some_and(|before| before.trim().is_empty())
}

/// A line whose own indentation is in spaces, in tabs where its neighbours have them.
fn nested(line: &str, indentation: &str) -> String {
    if !indentation.starts_with('\t') {
        return line.to_owned();
    }
    let spaces = line.len() - line.trim_start_matches(' ').len();
    format!("{}{}", "\t".repeat(spaces / 2), line.trim_start_matches(' '))
}

/// A list with one more item behind `after`, or at its end.
pub(crate) fn append(
    text: &str,
    list: &ast::List,
    item: &str,
    after: Option<&SyntaxNode>,
) -> Option<Insertion> {
    let last = after
        .cloned()
        .or_else(|| list.items().last().map(|last| last.syntax().clone()));
    let Some(last) = last else {
        let at = usize::from(list.l_brack_token()?.text_range().end());
        let close = usize::from(list.r_brack_token()?.text_range().start());
        let space = if at == close { " " } else { "" };
        return Some(Insertion {
            at,
            text: format!(" {item}{space}"),
        });
    };
    let (start, at) = (
        usize::from(last.text_range().start()),
        usize::from(last.text_range().end()),
    );
    if !starts_line(text, start) {
        return Some(Insertion {
            at,
            text: format!(" {item}"),
        });
    }
    // Behind a comment on what stands in the line.
    let line = text.get(at..)?.split('\n').next().unwrap_or_default();
    let said = line.trim_end();
    let behind = if is_comment(said) { said.len() } else { 0 };
    Some(Insertion {
        at: at + behind,
        text: format!("{}{}{item}", line_end(text), indentation_at(text, start)),
    })
}

/// Without the parentheses around it.
pub(crate) fn bare(expr: Expr) -> Expr {
    let mut expr = expr;
    while let Expr::Paren(paren) = &expr {
        match paren.expr() {
            Some(inner) => expr = inner,
            None => break,
        }
    }
    expr
}

/// A function and its arguments.
pub(crate) fn call(expr: &ast::Apply) -> (Option<Expr>, Vec<Expr>) {
    let mut arguments: Vec<Expr> = expr.argument().into_iter().collect();
    let mut head = expr.lambda();
    while let Some(Expr::Apply(inner)) = head.clone() {
        arguments.extend(inner.argument());
        head = inner.lambda();
    }
    arguments.reverse();
    (head, arguments)
}

/// The last name of what is called: `mapAttrs` of `nixpkgs.lib.mapAttrs`.
pub(crate) fn called(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Ident(ident) => Some(ident.to_string()),
        Expr::Select(select) => names(&select.attrpath()?)?.pop(),
        _ => None,
    }
}

/// What a name stands for where an expression is: the nearest `let` or `rec` around it that binds the name to a value.
pub(crate) fn looked_up(from: &SyntaxNode, name: &str) -> Option<Expr> {
    for node in from.ancestors().skip(1) {
        let bindings = match ast::LetIn::cast(node.clone()) {
            Some(found) => Bindings::Let(found),
            None => match ast::AttrSet::cast(node) {
                Some(found) if found.rec_token().is_some() => Bindings::Set(found),
                _ => continue,
            },
        };
        if let Some(value) = bindings.value(&[name]) {
            return Some(value);
        }
        if bindings.inherited(name).is_some() {
            return None;
        }
    }
    None
}

/// The text of an expression without its comments.
pub(crate) fn without_comments(node: &SyntaxNode) -> String {
    let mut out = String::new();
    for token in node
        .descendants_with_tokens()
        .filter_map(rowan::NodeOrToken::into_token)
    {
        if ast::Comment::cast(token.clone()).is_some() {
            // The line that had nothing else goes too.
            let kept = out.trim_end_matches([' ', '\t']).len();
            out.truncate(kept);
            if out.ends_with('\n') {
                out.pop();
            }
        } else {
            out.push_str(token.text());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Bindings {
        match parse(text).unwrap() {
            Expr::AttrSet(set) => Bindings::Set(set),
            Expr::LetIn(set) => Bindings::Let(set),
            other => panic!("{other:?}"),
        }
    }

    fn bound(text: &str) -> String {
        let lines = ["b = {".to_owned(), "  c = 1;".to_owned(), "};".to_owned()];
        let insertion = set(text).bind(text, &lines, None).unwrap();
        apply(text, &[insertion]).unwrap()
    }

    #[test]
    fn a_binding_goes_behind_the_last_one_in_the_form_of_its_neighbours() {
        assert_eq!(bound("{ a = 1; }"), "{ a = 1; b = { c = 1; }; }");
        assert_eq!(bound("{}"), "{ b = { c = 1; }; }");
        assert_eq!(bound("{ }"), "{ b = { c = 1; }; }");
        assert_eq!(bound("{\n}"), "{\n  b = {\n    c = 1;\n  };\n}");
        assert_eq!(
            bound("{\n    a = 1; # the first\n    # the end\n}\n"),
            "{\n    a = 1; # the first\n    b = {\n      c = 1;\n    };\n    # the end\n}\n"
        );
        for comment in ["/* the first */", "/* a */ /* b */ # c", "/**/"] {
            assert_eq!(
                bound(&format!("{{\n  a = 1; {comment}\n}}\n")),
                format!("{{\n  a = 1; {comment}\n  b = {{\n    c = 1;\n  }};\n}}\n")
            );
        }
        // One that goes on is none of the line's.
        assert_eq!(
            bound("{\n  a = 1; /* x\n  y */\n}"),
            "{\n  a = 1;\n  b = {\n    c = 1;\n  };\n   /* x\n  y */\n}"
        );
        assert_eq!(
            bound("{\n\ta = 1;\n}"),
            "{\n\ta = 1;\n\tb = {\n\t\tc = 1;\n\t};\n}"
        );
        assert_eq!(
            bound("{\r\n  a = 1;\r\n}"),
            "{\r\n  a = 1;\r\n  b = {\r\n    c = 1;\r\n  };\r\n}"
        );
        assert_eq!(bound("{ a = 1;\n}"), "{ a = 1;\n  b = {\n    c = 1;\n  };\n}");
        assert_eq!(
            bound("{\n  a = 1; }"),
            "{\n  a = 1;\n  b = {\n    c = 1;\n  };\n   }"
        );
        assert_eq!(
            bound("let\n  a = 1;\nin\na"),
            "let\n  a = 1;\n  b = {\n    c = 1;\n  };\nin\na"
        );
        assert_eq!(bound("let a = 1; in a"), "let a = 1; b = { c = 1; }; in a");
    }

    #[test]
    fn a_list_gets_an_item() {
        for (before, after) in [
            ("[ \"a\" ]", "[ \"a\" x ]"),
            ("[]", "[ x ]"),
            ("[ ]", "[ x ]"),
            ("[\n  \"a\" # one\n]", "[\n  \"a\" # one\n  x\n]"),
            ("[\n  \"a\"\n]", "[\n  \"a\"\n  x\n]"),
        ] {
            let Expr::List(list) = parse(before).unwrap() else {
                panic!()
            };
            let insertion = append(before, &list, "x", None).unwrap();
            assert_eq!(apply(before, &[insertion]).unwrap(), after);
        }
    }

    #[test]
    fn what_does_not_parse_is_said_with_its_place() {
        assert!(parse("{ a = ; }").is_err());
        assert!(parse("").is_err());
        let bad = Insertion {
            at: 1,
            text: "}".to_owned(),
        };
        assert!(apply("{ }", &[bad]).is_err());
    }

    #[test]
    fn comments_are_left_out() {
        let text = "{\n  # one\n  a = 1; # two\n  /* three */ b = 2;\n}";
        let expr = parse(text).unwrap();
        let plain = without_comments(expr.syntax());
        assert!(
            !plain.contains("one") && !plain.contains("two") && !plain.contains("three"),
            "{plain}"
        );
        assert!(parse(&plain).is_ok(), "{plain}");
    }
}
