//! What to write where a value is missing: the options without a default, each with an example.
//!
//! Following an advice never leads to the next refusal: an option without a default is not left out.

use super::notation::Notation;

/// What each option without a default is, in RON and in JSON.
const REQUIRED: [(&str, &str, &str); 9] = [
    ("host", "\"web\"", "\"web\""),
    (
        "labels",
        "(efi: \"ESP-WEB\", root: \"root-web\")",
        "{\"efi\": \"ESP-WEB\", \"root\": \"root-web\"}",
    ),
    ("labels.efi", "\"ESP-WEB\"", "\"ESP-WEB\""),
    ("labels.root", "\"root-web\"", "\"root-web\""),
    (
        "repository",
        "(remote: \"https://forge.example/OWNER/REPO\")",
        "{\"remote\": \"https://forge.example/OWNER/REPO\"}",
    ),
    ("system", "Flake", "\"Flake\""),
    (
        "system.Prebuilt",
        "\"/nix/store/HASH-nixos-system-web\"",
        "\"/nix/store/HASH-nixos-system-web\"",
    ),
    (
        "system.Image.system",
        "\"/nix/store/HASH-nixos-system-web\"",
        "\"/nix/store/HASH-nixos-system-web\"",
    ),
    (
        "system.Image.file",
        "\"/etc/landfall/root.image\"",
        "\"/etc/landfall/root.image\"",
    ),
];

/// What to write in place of nothing: a value where there is no default.
pub(super) fn instead_of_nothing(option: &str, notation: Notation) -> String {
    if option.ends_with(']') {
        return "remove it from the list".to_owned();
    }
    match REQUIRED.iter().find(|(name, _, _)| *name == option) {
        Some((name, ron, json)) => {
            let example = match notation {
                Notation::Ron => ron,
                Notation::Json => json,
            };
            format!("write a value such as {example}; {name} has no default")
        }
        None => "leave the option out to use its default".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::{Value, json};

    fn normal() -> Value {
        json!({
            "host": "web",
            "labels": {"efi": "E", "root": "r"},
            "repository": {"remote": "/srv/config"},
            "system": "Flake",
        })
    }

    fn place<'v>(all: &'v mut Value, option: &str) -> (&'v mut Value, String) {
        let mut names: Vec<&str> = option.split('.').collect();
        let last = names.pop().unwrap();
        let place = names.into_iter().fold(all, |place, name| &mut place[name]);
        (place, last.to_owned())
    }

    fn problems(all: &Value) -> Vec<(String, String)> {
        match Config::parse(&all.to_string(), Notation::Json) {
            Ok(_) => vec![],
            Err(refused) => refused
                .problems
                .into_iter()
                .map(|problem| (problem.option, problem.fix.unwrap_or_default()))
                .collect(),
        }
    }

    #[test]
    fn what_is_said_of_null_leads_to_a_value_that_is_accepted() {
        for option in [
            "host",
            "labels",
            "labels.efi",
            "labels.root",
            "repository",
            "luks",
            "retry.phase_attempts_max",
        ] {
            let mut all = normal();
            if option.starts_with("retry") {
                all["retry"] = json!({});
            }
            let (outer, name) = place(&mut all, option);
            outer[&name] = Value::Null;
            let (_, fix) = problems(&all)
                .into_iter()
                .find(|(about, _)| about == option)
                .unwrap_or_else(|| panic!("{option}: null is accepted"));
            let (outer, name) = place(&mut all, option);
            match fix.strip_prefix("write a value such as ") {
                Some(rest) => {
                    let (example, _) = rest.rsplit_once("; ").unwrap();
                    outer[&name] = serde_json::from_str(example).unwrap();
                }
                None => {
                    assert_eq!(fix, "leave the option out to use its default", "{option}");
                    outer.as_object_mut().unwrap().remove(&name);
                }
            }
            assert_eq!(problems(&all), [], "{option}: {fix}");
        }
    }

    #[test]
    fn nothing_in_ron_is_not_put_into_quotes() {
        for nothing in ["null", "None", "()"] {
            let text = format!(
                "(host: {nothing}, labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\"), system: Flake)"
            );
            let refused = Config::parse(&text, Notation::Ron).unwrap_err().to_string();
            assert!(
                refused.contains("such as \"web\"; host has no default"),
                "{refused}"
            );
        }
        // The control: a word without quotes may be the name of the host.
        let text =
            "(host: web, labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\"), system: Flake)";
        let refused = Config::parse(text, Notation::Ron).unwrap_err().to_string();
        assert!(refused.contains("write it in double quotes"), "{refused}");
    }
}
