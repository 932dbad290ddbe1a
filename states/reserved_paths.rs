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

const NIXOS: &str = "NixOS puts links and files of its own there";

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
    ("/bin", "NixOS has its own files there"),
    ("/lib", "NixOS has its own files there"),
    ("/lib64", "NixOS has its own files there"),
    ("/sbin", "NixOS has no such directory; programs are in the store"),
    ("/usr/bin", "NixOS has its own files there"),
    ("/etc/binfmt.d", NIXOS),
    ("/etc/dbus-1", NIXOS),
    ("/etc/fonts", NIXOS),
    ("/etc/kernel", NIXOS),
    ("/etc/modprobe.d", NIXOS),
    ("/etc/modules-load.d", NIXOS),
    ("/etc/pam.d", NIXOS),
    ("/etc/pki", NIXOS),
    ("/etc/polkit-1", NIXOS),
    ("/etc/profiles", NIXOS),
    ("/etc/security", NIXOS),
    ("/etc/ssl", NIXOS),
    ("/etc/sysctl.d", NIXOS),
    ("/etc/systemd", NIXOS),
    ("/etc/terminfo", NIXOS),
    ("/etc/tmpfiles.d", NIXOS),
    ("/etc/udev", NIXOS),
    ("/etc/zoneinfo", NIXOS),
    ("/var/empty", "it stays empty, and nobody can write there"),
    (
        "/var/lock",
        "it is a link to /run/lock, which is empty after every boot",
    ),
    (
        "/var/run",
        "it is a link to /run, which is empty after every boot",
    ),
    ("/lost+found", "e2fsck puts recovered files there"),
    ("/var/tmp/landfall", "landfall keeps temporary files there"),
    ("/var/log/landfall", "landfall keeps its log there"),
];
/// Where only directories are of use, for what is in them does not last.
const EMPTIED: &[(&str, &str)] = &[
    ("/tmp", "the system deletes old files there"),
    ("/var/tmp", "the system deletes old files there"),
];
/// Directories that every system has, or that the files of all are in: no file can be there, and nothing that begins empty.
const DIRECTORIES: &[&str] = &[
    "/",
    "/efi",
    "/etc",
    "/etc/default",
    "/etc/lvm",
    "/etc/nix",
    "/etc/ssh",
    "/etc/X11",
    "/etc/xdg",
    "/home",
    "/media",
    "/mnt",
    "/nix",
    "/opt",
    "/root",
    "/srv",
    "/usr",
    "/usr/lib",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/db",
    "/var/db/sudo",
    "/var/lib",
    "/var/lib/nixos",
    "/var/lib/private",
    "/var/lib/systemd",
    "/var/log",
    "/var/log/journal",
    "/var/mail",
    "/var/spool",
    "/var/spool/cron",
];
/// Files in an account's own directory for ssh that it reads under these names.
const OF_SSH: &[&str] = &["authorized_keys", "config", "environment", "known_hosts", "rc"];
/// Files and links that NixOS makes on every host, whatever its configuration says.
const FILES: &[&str] = &[
    "/bin/sh",
    "/etc/.clean",
    "/etc/.pwd.lock",
    "/etc/.updated",
    "/etc/NIXOS",
    "/etc/adjtime",
    "/etc/bash_logout",
    "/etc/bashrc",
    "/etc/crypttab",
    "/etc/dhcpcd.conf",
    "/etc/environment",
    "/etc/fstab",
    "/etc/fuse.conf",
    "/etc/group",
    "/etc/gshadow",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/issue",
    "/etc/ld-nix.so.preload",
    "/etc/locale.conf",
    "/etc/localtime",
    "/etc/login.defs",
    "/etc/lsb-release",
    "/etc/machine-id",
    "/etc/man_db.conf",
    "/etc/mke2fs.conf",
    "/etc/mtab",
    "/etc/nanorc",
    "/etc/netgroup",
    "/etc/nix/nix.conf",
    "/etc/nix/registry.json",
    "/etc/nscd.conf",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/profile",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/resolvconf.conf",
    "/etc/rpc",
    "/etc/services",
    "/etc/set-environment",
    "/etc/shadow",
    "/etc/shells",
    "/etc/ssh/moduli",
    "/etc/ssh/ssh_config",
    "/etc/ssh/ssh_known_hosts",
    "/etc/ssh/sshd_config",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/sudoers",
    "/etc/vconsole.conf",
    "/etc/zprofile",
    "/etc/zshenv",
    "/etc/zshrc",
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
    named.chain(FILES.iter().chain(DIRECTORIES).copied())
}

/// Whether a path is another one, or below it.
fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What of a path is below an account's home, where homes usually are; it begins with `/`, or is empty.
fn home(path: &str) -> Option<&str> {
    if let Some(below) = path.strip_prefix("/root") {
        return (below.is_empty() || below.starts_with('/')).then_some(below);
    }
    let named = path.strip_prefix("/home/")?;
    Some(&named[named.find('/').unwrap_or(named.len())..])
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
    if DIRECTORIES.contains(&path) || home(path).is_some_and(|below| below.is_empty()) {
        return Some("it is a system directory; name a directory in it");
    }
    if let Some(of_ssh) = home(path).and_then(|below| below.strip_prefix("/.ssh")) {
        let name = of_ssh.strip_prefix('/');
        match put {
            Put::Clone if of_ssh.is_empty() || name.is_some() => return Some("ssh keeps its keys there"),
            Put::File if of_ssh.is_empty() || name.is_some_and(|name| OF_SSH.contains(&name)) => {
                return Some("ssh reads its own files there");
            }
            Put::Clone | Put::File | Put::Directory => {}
        }
    }
    let mut others = OWNED.iter().map(|(taken, _)| *taken).chain(FILES.iter().copied());
    within(EMPTIED).or_else(|| {
        others
            .any(|taken| is_within(taken, path))
            .then_some("it is a system directory; name a directory in it")
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
    }

    #[test]
    fn what_others_have_is_not_ours_and_what_is_in_their_directories_may_be() {
        for (path, file, clone) in [
            ("/root", true, true),
            ("/root/nix-config", false, false),
            ("/rooted", false, false),
            ("/home", true, true),
            ("/home/op", true, true),
            ("/home/op/config", false, false),
            ("/home/op/.ssh", true, true),
            ("/home/op/.ssh/config", true, true),
            ("/home/op/.ssh/age.key", false, true),
            ("/root/.ssh/authorized_keys", true, true),
            ("/home/op/.sshd", false, false),
            ("/var/run/x", true, true),
            ("/var/lock", true, true),
            ("/var/empty/x", true, true),
            ("/etc/systemd/system", true, true),
            ("/etc/pam.d/login", true, true),
            ("/etc/ssl/certs/ca-bundle.crt", true, true),
            ("/etc/ssh", true, true),
            ("/etc/ssh/sshd_config", true, true),
            ("/etc/ssh/ssh_host_ed25519_key", false, false),
            ("/etc/nixos", false, false),
            ("/etc/nix/key", false, false),
            ("/lib64/ld-linux-x86-64.so.2", true, true),
            ("/usr/bin/x", true, true),
            ("/srv", true, true),
            ("/srv/nix-config", false, false),
            ("/var/lib/age/host.agekey", false, false),
            ("/persist", false, false),
        ] {
            for (put, taken) in [(Put::File, file), (Put::Clone, clone)] {
                assert_eq!(taken_on_target(path, put).is_some(), taken, "{path} {put:?}");
            }
        }
        assert!(taken_on_target("/var/run/x", Put::Directory).is_some());
        assert_eq!(taken_on_target("/home/op", Put::Directory), None);
        assert_eq!(taken_on_target("/etc/age/web.agekey", Put::File), None);
    }
}
