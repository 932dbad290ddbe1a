//! Says what helps where a secret is not encrypted again, as commands that can be run.
//!
//! `new::secrets` encrypts.

use crate::hosts::rekey::NotRekeyed;
use crate::real::disk::usage::shell;
use crate::real::secrets::age_file::Undecrypted;
use camino::Utf8Path;

/// What helps where a secret at a place, `name` in the rules, is not encrypted again.
pub(super) fn helps(why: &NotRekeyed, place: &Utf8Path, name: &str, rules: &Utf8Path) -> String {
    let (file, rekey) = (shell(place.as_str()), agenix(rules, "--rekey"));
    let anew = agenix(rules, &format!("--edit {}", shell(name)));
    let first = match why {
        NotRekeyed::Unnamed(_) => {
            return format!(
                "if that reader is to keep it, add its public key to the rules of this secret, commit them, and run the command again; if it is \
                 to lose it: {rekey}, commit that, and run the command again; or leave all secrets as they are: --no-rekey"
            );
        }
        NotRekeyed::Undecrypted(Undecrypted::NotAge | Undecrypted::Damaged(_)) => format!(
            "in the repository, restore a good version (git log --oneline -- {file} lists the commits, git checkout COMMIT -- {file} restores it), or write it again (rm {file} && {anew}), and commit it"
        ),
        NotRekeyed::Undecrypted(Undecrypted::Passphrase) => format!(
            "read it with its passphrase (age --decrypt {file}), write it again for recipients (rm {file} && {anew}), and commit it"
        ),
        NotRekeyed::Undecrypted(Undecrypted::NoPlugin(program)) => {
            format!("add {program} to PATH, or name another identity with --identity FILE")
        }
        NotRekeyed::Undecrypted(Undecrypted::Newer) => "use a newer landfall".to_owned(),
        NotRekeyed::Undecrypted(Undecrypted::Unread(_)) | NotRekeyed::Failed(_) => {
            "run the command again".to_owned()
        }
        NotRekeyed::Undecrypted(Undecrypted::TooLong(_)) => "leave it out of the rules".to_owned(),
        NotRekeyed::Recipient(_) => "correct it in the rules file, and commit the file".to_owned(),
        NotRekeyed::LockedOut => {
            "add the public key of that identity to the rules of this secret and commit them, or name \
                                  another identity with --identity FILE"
                .to_owned()
        }
        NotRekeyed::Undecrypted(Undecrypted::Others | Undecrypted::Identity(_)) => {
            "name the identity that decrypts it with --identity FILE".to_owned()
        }
    };
    format!("{first}; or --no-rekey, and then: {rekey}")
}

/// A command of agenix for a rules file: it is run in that file's folder, and reads ./secrets.nix unless it is told otherwise.
pub(super) fn agenix(rules: &Utf8Path, arguments: &str) -> String {
    let folder = rules
        .parent()
        .map(Utf8Path::as_str)
        .filter(|folder| !folder.is_empty());
    let named = match rules.file_name() {
        None | Some("secrets.nix") => String::new(),
        Some(name) => format!("RULES=./{} ", shell(name)),
    };
    format!("cd {} && {named}agenix {arguments}", shell(folder.unwrap_or(".")))
}
