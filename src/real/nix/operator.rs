//! What helps where Nix evaluates a flake on the operator's own computer.
//!
//! The remedies of `landfall_states::fault::Cause` are for an installer: its configuration, its credentials, its target. A flake that
//! cannot be evaluated on another computer needs other words. An error in the flake itself has none here: Nix's own message says it.
//!
//! `tool_errors` finds the cause in what Nix printed.

use crate::real::process::command::Ended;
use crate::real::tool_errors::{self, Places};
use landfall_states::fault::{Cause, Fault, FaultClass, Kind};

/// Why Nix could not evaluate a flake here, whatever is in the flake.
#[derive(Debug, Clone)]
pub struct NotTheFlake {
    /// The fault, with a remedy for an installer.
    pub fault: Fault,
    /// The cause, and the line of Nix or of Git that says so.
    pub reason: String,
    /// What to change here.
    pub helps: &'static str,
}

const NETWORK: &str = "check the network, or the address of the input in flake.nix";
const ACCESS: &str = "give this account access to the input (an ssh key, or a token in netrc), or correct its address in flake.nix";
const OTHER: &str = "fix what Nix reports";

/// What helps, by the cause.
const HELPS: [(&[Cause], &str); 16] = [
    (
        &[
            Cause::Network,
            Cause::ServerError,
            Cause::RemoteTrouble,
            Cause::FetchInBuild,
            Cause::TlsName,
            Cause::Address,
        ],
        NETWORK,
    ),
    (
        &[Cause::Throttled, Cause::ApiLimit],
        "wait an hour, or use another network address",
    ),
    (&[Cause::Access, Cause::KeyRefused, Cause::CacheAccess], ACCESS),
    (
        &[Cause::KeyUnusable],
        "use a private key in OpenSSH format that only this account can read",
    ),
    (
        &[Cause::HostKey],
        "add the server's key to ~/.ssh/known_hosts (ssh-keyscan shows it; verify it first)",
    ),
    (
        &[Cause::HostKeyChanged],
        "ask the operator of the server, then replace its key in ~/.ssh/known_hosts",
    ),
    (
        &[Cause::HostKeyRevoked],
        "do not trust this server: ask its operator, and add its new key to ~/.ssh/known_hosts when it has one",
    ),
    (
        &[Cause::HostCertificate],
        "correct the server's name in flake.nix, or ask the operator of the server for a valid host certificate",
    ),
    (
        &[Cause::NetworkRefused],
        "allow this network's address at the forge (its IP allow list), or use another network",
    ),
    (
        &[Cause::CaptivePortal],
        "log in to the network (open http://neverssl.com in a browser)",
    ),
    (
        &[Cause::Clock],
        "set the clock (sudo date --set='YYYY-MM-DD HH:MM:SS')",
    ),
    (
        &[Cause::TlsIssuer, Cause::TlsUnclear, Cause::CaFile],
        "use a network without TLS inspection, or add the certificate authority to this computer",
    ),
    (
        &[Cause::ProxyLogin, Cause::ProxyRefuses],
        "correct the proxy's settings (https_proxy)",
    ),
    (
        &[Cause::NoRoom, Cause::NoRoomHere],
        "free space on this computer (df -h shows the filesystems)",
    ),
    (
        &[Cause::Memory, Cause::Killed],
        "close other programs, or use a computer with more memory",
    ),
    (&[Cause::NixSettings], "correct nix.conf on this computer"),
];

fn helps(cause: Cause) -> &'static str {
    HELPS
        .iter()
        .find(|(causes, _)| causes.contains(&cause))
        .map_or(OTHER, |(_, words)| words)
}

/// What Nix's failure says of this computer or of the network; nothing where the flake is wrong, or nobody knows the message.
pub fn not_the_flake(ended: &Ended) -> Option<NotTheFlake> {
    let fault = tool_errors::nix_plain("nix eval", ended.how(), &ended.stderr, Places(&[]));
    let cause = fault.cause().filter(|cause| *cause != Cause::Unknown)?;
    (fault.class != FaultClass::Permanent).then(|| NotTheFlake {
        reason: reason(&fault, cause, ended),
        fault,
        helps: helps(cause),
    })
}

/// The cause, and the line that says so: where Nix only says that Git failed, Git's own.
fn reason(fault: &Fault, cause: Cause, ended: &Ended) -> String {
    let line = match &*fault.kind {
        Kind::Ending { line, .. } => line.as_str(),
        _ => "",
    };
    let of_program = line.trim_start_matches("error: ").starts_with("program '");
    let own = of_program.then(|| of_git(&ended.stderr)).flatten();
    format!("{}: {}", cause.explained(), own.unwrap_or(line))
}

/// The last line in which Git says why it failed; where that is only that it could not read, the line of ssh or of Git before it.
pub fn of_git(stderr: &str) -> Option<&str> {
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let at = lines.iter().rposition(|line| line.starts_with("fatal: "))?;
    let (before, last) = (lines.get(..at)?, *lines.get(at)?);
    let cause = last
        .starts_with("fatal: Could not read from remote repository")
        .then(|| {
            let is_cause = |line: &&&str| line.starts_with("fatal: ") || is_of_ssh(line);
            before.iter().rfind(is_cause).copied()
        })
        .flatten();
    Some(cause.unwrap_or(last))
}

/// Why ssh found no way to a server.
const OF_SSH: [&str; 4] = [
    "Permission denied",
    "Host key verification failed",
    "kex_exchange_identification",
    "Connection closed by",
];

/// Whether ssh says there why it failed.
fn is_of_ssh(line: &str) -> bool {
    line.starts_with("ssh: ")
        || tool_errors::is_of_forge(line)
        || OF_SSH.iter().any(|words| line.contains(words))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    fn ended(stderr: &str) -> Ended {
        Ended {
            program: "nix".into(),
            code: Some(1),
            signal: None,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn a_network_is_told_from_a_flake() {
        // As Nix 2.26.3 and Git 2.39 print it for an input whose server has no address.
        let network = ended(
            "fatal: unable to access 'https://forge.example/landfall/': Could not resolve host: forge.example\n\
             error:\n       … while fetching the input 'git+https://forge.example/landfall'\n\n       \
             error: program 'git' failed with exit code 128\n",
        );
        let found = not_the_flake(&network).unwrap();
        assert_eq!(found.fault.cause(), Some(Cause::Network));
        assert_eq!(found.helps, NETWORK);
        let reason = &found.reason;
        assert!(
            reason.contains("the network failed") && reason.contains("Could not resolve host: forge.example"),
            "{reason}"
        );
        for flake in [
            "error: undefined variable 'pkgs'",
            "error: attribute 'x' missing",
            "error: nobody knows this message",
        ] {
            assert!(not_the_flake(&ended(flake)).is_none(), "{flake}");
        }
        for (said, words) in [
            (
                "error: unable to download 'https://x.example/y': SSL peer certificate or SSH remote key was not OK (60) SSL certificate problem: certificate is not yet valid",
                "set the clock",
            ),
            ("error: writing '/tmp/x': No space left on device", "free space"),
        ] {
            let found = not_the_flake(&ended(said)).unwrap();
            assert!(found.helps.contains(words), "{said}: {}", found.helps);
        }
    }

    #[test]
    fn what_git_says_is_the_cause_and_not_that_it_failed() {
        let end = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n";
        for (said, cause) in [
            (
                format!("ssh: connect to host 127.0.0.1 port 2299: Connection refused\n{end}"),
                Some("ssh: connect to host 127.0.0.1 port 2299: Connection refused"),
            ),
            (
                format!("op@forge.example: Permission denied (publickey).\n{end}"),
                Some("op@forge.example: Permission denied (publickey)."),
            ),
            (
                format!("fatal: '/nowhere/x' does not appear to be a git repository\n{end}"),
                Some("fatal: '/nowhere/x' does not appear to be a git repository"),
            ),
            (
                format!("ERROR: Repository not found.\n{end}"),
                Some("ERROR: Repository not found."),
            ),
            (
                end.to_owned(),
                Some("fatal: Could not read from remote repository."),
            ),
            // The control: Git's own cause.
            (
                "ssh: x\nfatal: repository 'http://x/y/' not found\n".to_owned(),
                Some("fatal: repository 'http://x/y/' not found"),
            ),
            ("error: attribute 'x' missing".to_owned(), None),
        ] {
            assert_eq!(of_git(&said), cause, "{said}");
        }
    }

    #[test]
    fn no_remedy_is_of_an_installer() {
        for words in HELPS.iter().map(|(_, words)| *words).chain([OTHER]) {
            for wrong in ["landfall", "credential", "installer", "target"] {
                assert!(!words.contains(wrong), "{words}");
            }
        }
        let all: Vec<Cause> = HELPS
            .iter()
            .flat_map(|(causes, _)| causes.iter().copied())
            .collect();
        for (at, cause) in all.iter().enumerate() {
            assert!(!all[..at].contains(cause), "{cause:?} is there twice");
        }
    }
}
