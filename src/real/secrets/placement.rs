//! Files, directories and owners that the first boot needs.
//!
//! Each thing is compared with what was requested (kind, owner, mode, contents in memory), and only differences are changed.
//! No symbolic link of the target is followed out of it, and the last part of a path is never followed at all.
//!
//! `secrets::credentials` says where secrets come from.

use crate::config::{AGE_DIR, Config};
use crate::real::fs::target_root::{self, Access, Root, io_fault};
use crate::real::secret::Secret;
use crate::real::secrets::credentials::Credentials;
use camino::Utf8Path;
use landfall_states::actions::provision_secrets::{Placed, SecretsFacts};
use landfall_states::fault::{ConfigFault, Fault, SecretFault};
use landfall_states::names::{TargetPath, UserName};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat};
use secrecy::ExposeSecret;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Longest key on the target.
const CONTENTS_BYTES_MAX: usize = 64 << 10;

/// A user as the target knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// Finds a user in the text of a `passwd(5)`.
pub fn parse_passwd(text: &str, user: &str) -> Option<Account> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        (name == user && home.starts_with('/') && home.parse::<TargetPath>().is_ok())
            .then(|| {
                Some(Account {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                    home: home.to_owned(),
                })
            })
            .flatten()
    })
}

/// One thing that is wanted.
#[derive(Debug)]
pub enum Wanted<'a> {
    /// A directory; the mode is enforced when given.
    Directory {
        /// Where.
        path: TargetPath,
        /// Mode.
        mode: Option<u32>,
        /// Owner and group, when they matter.
        owner: Option<(u32, u32)>,
    },
    /// A secret file in a directory that comes before it.
    File {
        /// Where.
        path: TargetPath,
        /// Contents; `None`: not at hand in this run, so only what is there can be looked at.
        contents: Option<&'a Secret>,
        /// The credential it comes from.
        credential: &'static str,
        /// Owner and mode.
        access: Access,
    },
    /// Everything below belongs to this user.
    Tree {
        /// Where.
        path: TargetPath,
        /// Owner and group.
        owner: (u32, u32),
    },
}

impl Wanted<'_> {
    /// Where.
    pub fn path(&self) -> &TargetPath {
        match self {
            Wanted::Directory { path, .. } | Wanted::File { path, .. } | Wanted::Tree { path, .. } => path,
        }
    }
}

fn target_path(text: String) -> Result<TargetPath, Fault> {
    text.parse()
        .map_err(|e| ConfigFault::bad("path on the target", e).into())
}

/// The target's account of a user.
///
/// # Errors
/// The target has no such user, or its accounts cannot be read.
pub fn account(root: &Root, user: &UserName) -> Result<Account, Fault> {
    let Some(text) = target_root::read_text(root, "/etc/passwd")? else {
        return Err(SecretFault::UserUnknown {
            user: user.to_string(),
            has_accounts: false,
        }
        .into());
    };
    parse_passwd(&text, user.as_str()).ok_or_else(|| {
        SecretFault::UserUnknown {
            user: user.to_string(),
            has_accounts: true,
        }
        .into()
    })
}

/// A secret that belongs to one account, and the directories that it needs.
fn deploy_key<'a>(credentials: &'a Credentials, account: &Account) -> Result<[Wanted<'a>; 2], Fault> {
    let Account { uid, gid, home } = account;
    let directory = Wanted::Directory {
        path: target_path(format!("{home}/.ssh"))?,
        mode: Some(0o700),
        owner: Some((*uid, *gid)),
    };
    let file = Wanted::File {
        path: target_path(format!("{home}/.ssh/id_ed25519"))?,
        contents: credentials.deploy_key(),
        credential: "landfall.deploy-key",
        access: Access {
            mode: 0o600,
            uid: *uid,
            gid: *gid,
        },
    };
    Ok([directory, file])
}

/// What the configuration asks for and needs no user of the target: it is placed before the first activation, which may
/// want to read it. Directories before what is in them.
///
/// # Errors
/// A secret that is asked for is not at hand.
pub fn wanted_first<'a>(config: &Config, credentials: &'a Credentials) -> Result<Vec<Wanted<'a>>, Fault> {
    let mut wanted = Vec::new();
    if config.keys.deploy_key && config.target_user.is_none() {
        let root = Account {
            uid: 0,
            gid: 0,
            home: "/root".into(),
        };
        wanted.push(Wanted::Directory {
            path: target_path(root.home.clone())?,
            mode: None,
            owner: Some((0, 0)),
        });
        wanted.extend(deploy_key(credentials, &root)?);
    }
    if config.keys.age_identity {
        let path = target_path(config.keys.age_identity_at(&config.host))?;
        let (dir, _) = split(&path);
        // A directory that somebody named may be everybody's, as /var/lib is.
        let is_ours = dir == AGE_DIR;
        if !dir.is_empty() {
            wanted.push(Wanted::Directory {
                path: target_path(dir.to_owned())?,
                mode: is_ours.then_some(0o700),
                owner: is_ours.then_some((0, 0)),
            });
        }
        wanted.push(Wanted::File {
            path,
            contents: credentials.age_identity(),
            credential: "landfall.age-identity",
            access: Access::root(0o600),
        });
    }
    Ok(wanted)
}

/// What cannot be placed before the first activation, and why; for people.
pub fn comes_late(config: &Config) -> Option<String> {
    let user = config.target_user.as_ref().filter(|_| config.keys.deploy_key)?;
    Some(format!(
        "the deploy key belongs to {user}, and only the first activation makes this user, so landfall installs the key after it. A password file that is decrypted with this key is not read in that activation, and with users.mutableUsers never later"
    ))
}

/// Everything that the configuration asks for, directories before what is in them.
///
/// # Errors
/// A secret that is asked for is not at hand, or the target has no such user.
pub fn wanted<'a>(
    config: &Config,
    credentials: &'a Credentials,
    root: &Root,
) -> Result<Vec<Wanted<'a>>, Fault> {
    let user = match &config.target_user {
        Some(user) => Some(account(root, user)?),
        None => None,
    };
    let mut wanted = wanted_first(config, credentials)?;
    let belongs = |path: &str| {
        user.as_ref()
            .filter(|user| path == user.home || path.starts_with(&format!("{}/", user.home)))
            .map(|user| (user.uid, user.gid))
    };
    if let Some(user) = &user {
        wanted.push(Wanted::Directory {
            path: target_path(user.home.clone())?,
            mode: None,
            owner: Some((user.uid, user.gid)),
        });
    }
    for path in &config.extra_mount_dirs {
        wanted.push(Wanted::Directory {
            path: path.clone(),
            mode: None,
            owner: belongs(path.as_str()),
        });
    }
    if let Some(user) = &user {
        let clone = target_root::on_target(&config.repository.clone_path);
        // Directories between the home and the clone were made by root, before there was a user.
        for (at, _) in clone.match_indices('/').skip(1) {
            if belongs(&clone[..at]).is_some() && clone[..at] != user.home {
                wanted.push(Wanted::Directory {
                    path: target_path(clone[..at].to_owned())?,
                    mode: None,
                    owner: Some((user.uid, user.gid)),
                });
            }
        }
        wanted.push(Wanted::Tree {
            path: target_path(clone.to_owned())?,
            owner: (user.uid, user.gid),
        });
    }
    if let Some(user) = user.as_ref().filter(|_| config.keys.deploy_key) {
        wanted.extend(deploy_key(credentials, user)?);
    }
    one_place_each(&wanted)?;
    Ok(wanted)
}

/// No file is where another one is, or below one: only the target says where a home is.
fn one_place_each(wanted: &[Wanted<'_>]) -> Result<(), Fault> {
    let files = || wanted.iter().filter(|one| matches!(one, Wanted::File { .. }));
    for file in files() {
        let path = Utf8Path::new(file.path().as_str());
        let same = wanted.iter().any(|other| {
            !std::ptr::eq(file, other) && Utf8Path::new(other.path().as_str()).starts_with(path)
        });
        if same {
            return Err(ConfigFault::BadValue {
                on: "keys.age_identity_path".into(),
                what: "target path".into(),
                value: path.to_string(),
                allowed: "something else uses this path".into(),
            }
            .into());
        }
    }
    Ok(())
}

fn owner_flaw(stat: &FileStat, owner: (u32, u32)) -> Option<String> {
    ((stat.st_uid, stat.st_gid) != owner).then(|| {
        format!(
            "its owner is {}:{}, and must be {}:{}",
            stat.st_uid, stat.st_gid, owner.0, owner.1
        )
    })
}

fn mode_flaw(stat: &FileStat, mode: u32) -> Option<String> {
    let found = stat.st_mode & 0o7777;
    (found != mode).then(|| format!("its mode is {found:04o}, and must be {mode:04o}"))
}

fn flaws(root: &Root, wanted: &Wanted<'_>) -> Result<Vec<String>, Fault> {
    let fault = |e: &std::io::Error| io_fault(format!("{} on the target", wanted.path()), e);
    let (parent, name) = split(wanted.path());
    let dir = match target_root::open(root, parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(dir) => dir,
        Err(e) if target_root::is_absent(&e) => return Ok(vec!["missing".into()]),
        Err(e) => return Err(fault(&e)),
    };
    let path = wanted.path().as_str();
    match wanted {
        Wanted::Directory { mode, owner, .. } => {
            let opened = match target_root::open(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                Ok(opened) => opened,
                Err(e) if target_root::is_absent(&e) => return Ok(vec!["missing".into()]),
                Err(e) => return Err(fault(&e)),
            };
            let stat = nix::sys::stat::fstat(&opened).map_err(|e| fault(&e.into()))?;
            Ok(mode
                .and_then(|mode| mode_flaw(&stat, mode))
                .into_iter()
                .chain(owner.and_then(|owner| owner_flaw(&stat, owner)))
                .collect())
        }
        Wanted::File { contents, access, .. } => {
            let stat = match target_root::stat_in(&dir, name) {
                Ok(stat) => stat,
                Err(e) if target_root::is_absent(&e) => return Ok(vec!["missing".into()]),
                Err(e) => return Err(fault(&e)),
            };
            if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
                return Ok(vec!["not a regular file".into()]);
            }
            let mut found: Vec<String> = mode_flaw(&stat, access.mode)
                .into_iter()
                .chain(owner_flaw(&stat, (access.uid, access.gid)))
                .collect();
            let there = match target_root::open_file(root, path)? {
                Some(file) => Secret::read(file, CONTENTS_BYTES_MAX).map_err(|e| fault(&e))?,
                None => None,
            };
            let there = there.as_ref().map_or(&[][..], |bytes| bytes.expose_secret());
            match contents {
                Some(contents) if contents.expose_secret() != there => found.push("other contents".into()),
                None if there.is_empty() => found.push("empty".into()),
                Some(_) | None => {}
            }
            Ok(found)
        }
        Wanted::Tree { owner, .. } => {
            let mut wrong = 0_u64;
            walk(root, path, &mut |_, _, stat| {
                wrong += u64::from((stat.st_uid, stat.st_gid) != *owner);
                Ok(())
            })?;
            Ok((wrong > 0)
                .then(|| format!("{wrong} files do not belong to {}:{}", owner.0, owner.1))
                .into_iter()
                .collect())
        }
    }
}

fn split(path: &TargetPath) -> (&str, &str) {
    path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()))
}

type Visit<'a> = dyn FnMut(&OwnedFd, &OsStr, &FileStat) -> std::io::Result<()> + 'a;

/// Visits a directory and everything below; links are visited, not followed. Nothing there: nothing visited.
fn walk(root: &Root, path: &str, visit: &mut Visit<'_>) -> Result<(), Fault> {
    let fault = |e: &std::io::Error| io_fault(format!("{path} on the target"), e);
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dir = match target_root::open(root, parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(dir) => dir,
        Err(e) if target_root::is_absent(&e) => return Ok(()),
        Err(e) => return Err(fault(&e)),
    };
    match target_root::stat_in(&dir, name) {
        Ok(stat) => walk_entry(&dir, OsStr::new(name), &stat, visit, 0).map_err(|e| fault(&e)),
        Err(e) if target_root::is_absent(&e) => Ok(()),
        Err(e) => Err(fault(&e)),
    }
}

fn walk_entry(
    dir: &OwnedFd,
    name: &OsStr,
    stat: &FileStat,
    visit: &mut Visit<'_>,
    depth: u32,
) -> std::io::Result<()> {
    // Git work trees are never this deep; an endless one is not followed into.
    const DEPTH_MAX: u32 = 200;
    visit(dir, name, stat)?;
    if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFDIR || depth >= DEPTH_MAX {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let below = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    // Through the descriptor, so that nobody can put another directory in its place meanwhile.
    for entry in fs_err::read_dir(format!("/proc/self/fd/{}", below.as_raw_fd()))? {
        names.push(entry?.file_name());
    }
    for name in names {
        let stat = target_root::stat_in(&below, &name)?;
        walk_entry(&below, &name, &stat, visit, depth + 1)?;
    }
    Ok(())
}

/// Compares everything.
///
/// # Errors
/// The target cannot be read.
pub fn observe(root: &Root, wanted: &[Wanted<'_>]) -> Result<SecretsFacts, Fault> {
    let mut placed: Vec<Placed> = Vec::new();
    for one in wanted {
        placed.push(Placed {
            path: one.path().clone(),
            flaws: flaws(root, one)?,
        });
    }
    Ok(SecretsFacts { placed })
}

/// Makes right what lies at these paths.
///
/// # Errors
/// The target cannot be written.
pub fn perform(root: &Root, wanted: &[Wanted<'_>], paths: &[TargetPath]) -> Result<(), Fault> {
    for one in wanted.iter().filter(|one| paths.contains(one.path())) {
        let path = one.path().as_str();
        let fault = |e: &std::io::Error| io_fault(format!("{path} on the target"), e);
        match one {
            Wanted::Directory { mode, owner, .. } => {
                let made = match target_root::open(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                    Ok(_) => false,
                    Err(e) if target_root::is_absent(&e) => true,
                    Err(e) => return Err(fault(&e)),
                };
                let default_mode = mode.unwrap_or(if owner.is_some() { 0o700 } else { 0o755 });
                // Parents that are missing too are made for everybody to pass.
                target_root::ensure_dir(root, split(one.path()).0, 0o755)?;
                let dir = target_root::ensure_dir(root, path, default_mode)?;
                if let Some((uid, gid)) = owner {
                    nix::unistd::fchown(&dir, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                        .map_err(|e| fault(&e.into()))?;
                }
                if let Some(mode) = mode.or(made.then_some(default_mode)) {
                    fchmod(&dir, Mode::from_bits_truncate(mode)).map_err(|e| fault(&e.into()))?;
                }
                nix::unistd::fsync(&dir).map_err(|e| fault(&e.into()))?;
            }
            Wanted::File {
                contents,
                credential,
                access,
                path: at,
            } => {
                let contents = contents.ok_or_else(|| missing(credential))?;
                let (parent, name) = split(at);
                let dir = target_root::ensure_dir(root, parent, 0o700)?;
                target_root::write_in(&dir, name, contents.expose_secret(), *access)
                    .map_err(|e| fault(&e))?;
            }
            Wanted::Tree { owner, .. } => give(root, path, *owner)?,
        }
    }
    Ok(())
}

/// Gives a directory and everything below it to an account. Nothing there: nothing done.
fn give(root: &Root, path: &str, owner: (u32, u32)) -> Result<(), Fault> {
    walk(root, path, &mut |dir, name, stat| {
        if (stat.st_uid, stat.st_gid) == owner {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        match fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    })
}

/// The fault for a secret that is asked for and not at hand.
pub fn missing(credential: &str) -> Fault {
    let file = credential.strip_prefix("landfall.").unwrap_or(credential);
    SecretFault::Missing {
        credential: credential.to_owned(),
        file: file.to_owned(),
        label: crate::real::disk::key_media::LABEL.to_owned(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_tree_is_given_whole_and_what_its_links_lead_to_is_not() {
        if !Uid::effective().is_root() {
            return;
        }
        let keep = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        fs_err::create_dir_all(top.join("clone/.git")).unwrap();
        fs_err::write(top.join("clone/.git/HEAD"), "").unwrap();
        fs_err::write(top.join("other"), "").unwrap();
        symlink("../other", top.join("clone/link")).unwrap();
        let root = Root::at(&top);
        for owner in [1234, 0] {
            give(&root, "/clone", (owner, owner)).unwrap();
            for path in ["clone", "clone/.git", "clone/.git/HEAD", "clone/link"] {
                let found = fs_err::symlink_metadata(top.join(path)).unwrap();
                assert_eq!((found.uid(), found.gid()), (owner, owner), "{path}");
            }
            assert_eq!(fs_err::metadata(top.join("other")).unwrap().uid(), 0);
        }
        give(&root, "/absent", (0, 0)).unwrap();
    }
}
