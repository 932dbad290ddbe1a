//! What an activation reports about itself.
//!
//! `nixos-enter` continues after an activation that failed, and exits as if nothing had happened. The only trace is one line
//! of its output for each part that failed. landfall reports these lines, keeps them on the target, and puts them in the
//! receipt.
//!
//! The activation is not repeated here. It runs at every boot, and what failed (a service that is not up, a key for which
//! there is no user yet) mostly succeeds there.

use crate::event::Reporter;
use crate::real::fs::marks::STATE_DIR;
use crate::real::fs::target_root::{self, Access, Root};
use crate::real::process::command::Ended;
use landfall_states::fault::Fault;

/// The part that makes users; without it nobody can log in, and nothing can be given to them.
pub const USERS: &str = "users";
/// Most failed parts of an activation that are named.
const NAMES_MAX: usize = 32;
/// Characters of a name that are shown.
const NAME_CHARS_MAX: usize = 64;

/// Where passwords are kept, in the target.
const SHADOW: &str = "/etc/shadow";

fn place() -> String {
    format!("{STATE_DIR}/activation-failures")
}

/// The names of parts that failed, each once, as they are said.
pub fn failures(said: &str) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("Activation script snippet '") else {
            continue;
        };
        let Some((name, _)) = rest.split_once("' failed (") else {
            continue;
        };
        let name: String = name
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(NAME_CHARS_MAX)
            .collect();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
        if names.len() == NAMES_MAX {
            break;
        }
    }
    names
}

/// Password files that were not there when users were made, as they are said, each once.
pub fn missing_passwords(said: &str) -> Vec<String> {
    let mut paths: Vec<String> = vec![];
    for line in said.lines() {
        let path = line
            .split_once("warning: password file ‘")
            .and_then(|(_, rest)| rest.split_once("’ does not exist"));
        if let Some((path, _)) = path
            && paths.len() < NAMES_MAX
        {
            let path: String = path.chars().filter(|c| !c.is_control()).take(256).collect();
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
}

/// Accounts in a text of `/etc/shadow` that anybody may use: their password is empty, not locked.
fn open_accounts(shadow: &str) -> Vec<String> {
    shadow
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, rest)| !name.is_empty() && rest.starts_with(':'))
        .map(|(name, _)| {
            name.chars()
                .filter(|c| !c.is_control())
                .take(NAME_CHARS_MAX)
                .collect()
        })
        .take(NAMES_MAX)
        .collect()
}

/// Whether former ones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The install of this system begins: what was kept is of another one, or of a run that is repeated.
    Only,
    /// They stay.
    Also,
}

/// Tells what failed in an activation, and keeps it on the target; what failed in this one.
///
/// # Errors
/// The target cannot be written.
pub fn keep(reporter: &Reporter, root: &Root, ended: &Ended, kept: Kept) -> Result<Vec<String>, Fault> {
    let said = ended.said();
    for path in missing_passwords(&said) {
        reporter.notice(format!(
            "the password file {path} did not exist when the users were made: its user cannot log in with a password until you set one by hand (with users.mutableUsers the file is not read again)"
        ));
    }
    // A password file of no bytes is taken for an empty password, and no program says so.
    for name in open_accounts(&target_root::read_text(root, SHADOW)?.unwrap_or_default()) {
        reporter.notice(format!(
            "the account {name} has an empty password: anybody at a login prompt of this host can log in as {name}. If the configuration does not ask for that, its password file is empty; after the first boot, run passwd {name}"
        ));
    }
    let failed = failures(&said);
    if !failed.is_empty() {
        reporter.notice(format!(
            "parts of the activation failed, and nixos-enter continued: {} (landfall log has their output; they run again at every boot)",
            failed.join(", ")
        ));
    }
    let mut all = match kept {
        Kept::Only => vec![],
        Kept::Also => read(root)?,
    };
    let new: Vec<String> = failed.iter().filter(|one| !all.contains(one)).cloned().collect();
    all.extend(new);
    all.truncate(NAMES_MAX);
    if all != read(root)? {
        target_root::write(root, &place(), text(&all).as_bytes(), Access::root(0o644))?;
    }
    Ok(failed)
}

/// What is kept on the target, as text: a name a line.
pub fn text(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// The names in such a text.
pub fn parse(text: &str) -> Vec<String> {
    let names = text.lines().take(NAMES_MAX);
    names
        .map(|name| name.chars().take(NAME_CHARS_MAX).collect())
        .collect()
}

/// What is kept.
///
/// # Errors
/// The target cannot be read.
pub fn read(root: &Root) -> Result<Vec<String>, Fault> {
    Ok(parse(
        &target_root::read_text(root, &place())?.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Listener};
    use camino::Utf8Path;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<String>>);

    impl Listener for Told {
        fn take(&mut self, event: &Event) {
            if let Event::Notice { what } = event {
                self.0.lock().unwrap().push_str(what);
            }
        }
    }

    #[test]
    fn what_failed_is_found_once_and_bounded() {
        let said = "setting up /etc...\nActivation script snippet 'users' failed (1)\nwarning: Activation script snippet \
            'agenix Install' failed (127)\r\nActivation script snippet 'users' failed (1)\nActivation script snippet 'x\n\
            Activation script snippet '' failed (1)\nActivation script snippet '\u{1b}[31m' failed (1)\n";
        assert_eq!(failures(said), ["users", "agenix Install", "?[31m"]);
        let said = "warning: password file ‘/run/agenix/pw’ does not exist\nwarning: password file ‘/run/agenix/pw’ does \
            not exist\nwarning: password file ‘/x\n";
        assert_eq!(missing_passwords(said), ["/run/agenix/pw"]);
        let many: String = (0..100)
            .map(|n| format!("Activation script snippet '{n}{}' failed (1)\n", "x".repeat(200)))
            .collect();
        let found = failures(&many);
        assert_eq!(
            (found.len(), found[0].chars().count()),
            (NAMES_MAX, NAME_CHARS_MAX)
        );
    }

    #[test]
    fn an_empty_password_is_found_and_a_locked_one_is_not() {
        let shadow = "root::1::::::\nlocked:!:1::::::\nhashed:$6$x$y:1::::::\nnobody:*:1::::::\noperator:::::::\n::1\nbroken\n";
        assert_eq!(open_accounts(shadow), ["root", "operator"]);
        assert_eq!(open_accounts(&"a\u{1b}b::\n".repeat(100)), vec!["ab"; NAMES_MAX]);
    }

    #[test]
    fn an_account_without_a_password_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(folder.path()).unwrap());
        let told = Told::default();
        let reporter = Reporter::default();
        reporter.add(Box::new(told.clone()));
        let ended = Ended {
            program: "nixos-install".into(),
            code: Some(0),
            signal: None,
            stdout: String::new(),
            stderr: String::new(),
        };
        fs_err::create_dir_all(root.join("etc")).unwrap();
        fs_err::write(root.join("etc/shadow"), "root:!:1::::::\n").unwrap();
        keep(&reporter, root, &ended, Kept::Only).unwrap();
        assert_eq!(*told.0.lock().unwrap(), "");
        fs_err::write(root.join("etc/shadow"), "root::1::::::\n").unwrap();
        keep(&reporter, root, &ended, Kept::Only).unwrap();
        assert!(
            told.0
                .lock()
                .unwrap()
                .contains("the account root has an empty password")
        );
    }

    #[test]
    fn what_failed_in_any_activation_of_the_install_is_kept() {
        let keep_folder = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep_folder.path()).unwrap());
        let ended = |said: &str| Ended {
            program: "nixos-install".into(),
            code: Some(0),
            signal: None,
            stdout: String::new(),
            stderr: said.into(),
        };
        let reporter = Reporter::default();
        let failed = |name: &str| ended(&format!("Activation script snippet '{name}' failed (1)\n"));
        keep(&reporter, root, &ended("all well"), Kept::Only).unwrap();
        assert!(!root.join(place().trim_start_matches('/')).exists());
        keep(&reporter, root, &failed("users"), Kept::Only).unwrap();
        assert_eq!(
            keep(&reporter, root, &failed("agenix"), Kept::Also).unwrap(),
            ["agenix"]
        );
        keep(&reporter, root, &ended("all well"), Kept::Also).unwrap();
        assert_eq!(read(root).unwrap(), ["users", "agenix"]);
        keep(&reporter, root, &ended("all well"), Kept::Only).unwrap();
        assert_eq!(read(root).unwrap(), [] as [String; 0]);
    }
}
