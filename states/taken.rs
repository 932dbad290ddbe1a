//! Places of the target that others use. Law: nothing that a configuration asks for is put where NixOS, Nix, the kernel or landfall
//! itself puts, replaces or removes things; one rule for every path that a configuration may name there.
//!
//! Absent: the form of a path (`names`), links on the way to one (they are the target's, seen when it is opened).

/// What is put at a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// A directory, which others may use as well.
    Directory,
    /// A file.
    File,
    /// A directory with nothing in it but the clone.
    Clone,
}

/// Where others put things on the target: nothing of ours may be there, or below.
const OWNED: &[(&str, &str)] = &[
    ("/boot", "the ESP is mounted there"),
    ("/nix/store", "it belongs to Nix"),
    ("/nix/var", "it belongs to Nix"),
    ("/proc", "the kernel's own files are mounted there"),
    ("/sys", "the kernel's own files are mounted there"),
    ("/dev", "the kernel's own files are mounted there"),
    ("/run", "it is empty after every boot"),
    ("/etc/static", "NixOS puts a link there"),
    ("/lost+found", "e2fsck puts there what it finds"),
    (
        "/var/tmp/landfall",
        "landfall keeps files there for a while, and removes them",
    ),
    ("/var/log/landfall", "landfall keeps its log there"),
];
/// Where only directories are of use, for what is in them does not last.
const EMPTIED: &[(&str, &str)] = &[
    ("/tmp", "the system removes there what is old"),
    ("/var/tmp", "the system removes there what is old"),
];
/// Files and links that NixOS makes on every host, whatever its configuration says.
const FILES: &[&str] = &[
    "/bin/sh",
    "/etc/.clean",
    "/etc/.pwd.lock",
    "/etc/.updated",
    "/etc/NIXOS",
    "/etc/adjtime",
    "/etc/bashrc",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/issue",
    "/etc/locale.conf",
    "/etc/localtime",
    "/etc/login.defs",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/profile",
    "/etc/resolv.conf",
    "/etc/set-environment",
    "/etc/shadow",
    "/etc/shells",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/sudoers",
    "/etc/vconsole.conf",
    "/usr/bin/env",
    "/var/lib/nixos/auto-subuid-map",
    "/var/lib/nixos/declarative-groups",
    "/var/lib/nixos/declarative-users",
    "/var/lib/nixos/gid-map",
    "/var/lib/nixos/uid-map",
];

/// Every place that is not for everything, as the target names it.
pub fn places() -> impl Iterator<Item = &'static str> {
    let named = OWNED.iter().chain(EMPTIED).map(|(place, _)| *place);
    named.chain(FILES.iter().copied())
}

/// Whether a path is another one, or below it.
fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why nothing of ours may be put at a path of the target, as the target itself names it.
pub fn taken_on_target(path: &str, put: Put) -> Option<&'static str> {
    let within = |places: &[(&str, &'static str)]| {
        let found = places.iter().find(|(taken, _)| is_within(path, taken));
        found.map(|(_, why)| *why)
    };
    if let Some(why) = within(OWNED) {
        return Some(why);
    }
    if FILES.iter().any(|file| is_within(path, file)) {
        return Some("NixOS puts a file there");
    }
    if put == Put::Directory {
        return None;
    }
    let mut others = OWNED.iter().map(|(taken, _)| *taken).chain(FILES.iter().copied());
    within(EMPTIED).or_else(|| {
        others
            .any(|taken| is_within(taken, path))
            .then_some("it is a directory of the system's; name one in it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_may_be_made_where_others_put_things_and_nothing_else() {
        for (path, taken) in [
            ("/var", false),
            ("/tmp", false),
            ("/nix/persist", false),
            ("/var/lib/nixos", false),
            ("/etc", false),
            ("/etc/passwd", true),
            ("/etc/NIXOS", true),
            ("/var/tmp/landfall", true),
        ] {
            assert_eq!(taken_on_target(path, Put::Directory).is_some(), taken, "{path}");
        }
        assert!(taken_on_target("/etc", Put::File).is_some());
        assert_eq!(taken_on_target("/etc/age/web.agekey", Put::File), None);
    }
}
