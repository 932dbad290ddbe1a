//! What real programs, and the bytes, say about a step's result.
//!
//! Nothing of landfall is used here, neither its code nor its reports: a step that is judged done and left something wrong is
//! a failure. What is expected comes from the source of what was installed: the repository's own archive, the live store, the
//! ids that were planned. `tests/halfway_oracles.rs` shows each of them results that are wrong in one respect.
//!
//! `oracles_attached` has what needs the laboratory's machine.

use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

/// Piece of a file that is compared at once.
const PIECE: usize = 1 << 16;

/// An error with its cause, which the name of a file is told without.
pub fn told(error: std::io::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

/// Runs a program, whatever its exit code.
fn output(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name}: {e}"))
}

/// Runs a program that must end well; what it printed.
pub fn said(command: &mut Command) -> Result<String, String> {
    let out = output(command)?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    }
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    Err(format!(
        "{line}: {}: {}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    ))
}

fn names(folder: &Utf8Path) -> Result<BTreeSet<String>, String> {
    fs_err::read_dir(folder)
        .map_err(told)?
        .map(|entry| {
            let name = entry.map_err(told)?.file_name();
            Ok(name.to_string_lossy().into_owned())
        })
        .collect()
}

fn metadata(path: &Utf8Path) -> Result<std::fs::Metadata, String> {
    fs_err::symlink_metadata(path).map_err(told)
}

/// Which of a file's mode is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Whether its owner may execute it: a repository keeps no more.
    Executable,
    /// All of it: a store path has one mode only.
    All,
}

/// Whether `found` is `wanted`, byte by byte, with nothing beside it; at its top these names are left out.
pub fn same(wanted: &Utf8Path, found: &Utf8Path, without: &[&str], modes: Modes) -> Result<(), String> {
    let (one, other) = (metadata(wanted)?, metadata(found)?);
    if one.file_type() != other.file_type() {
        return Err(format!("{found} is of another kind than {wanted}"));
    }
    if one.is_symlink() {
        let target = |path: &Utf8Path| fs_err::read_link(path).map_err(told);
        let (to, now) = (target(wanted)?, target(found)?);
        if to != now {
            return Err(format!(
                "{found} leads to {}, not to {}",
                now.display(),
                to.display()
            ));
        }
        return Ok(());
    }
    let mode = |metadata: &std::fs::Metadata| metadata.permissions().mode() & 0o7777;
    let differs = match modes {
        Modes::Executable => one.is_file() && mode(&one) & 0o100 != mode(&other) & 0o100,
        Modes::All => mode(&one) != mode(&other),
    };
    if one.is_file() {
        same_bytes(wanted, found)?;
    }
    if differs {
        return Err(format!(
            "{found} has mode {:o}, not {:o}",
            mode(&other),
            mode(&one)
        ));
    }
    if !one.is_dir() {
        return Ok(());
    }
    let (mut should, mut are) = (names(wanted)?, names(found)?);
    for name in without {
        should.remove(*name);
        are.remove(*name);
    }
    if let Some(missing) = should.difference(&are).next() {
        return Err(format!("{found} has no {missing}"));
    }
    if let Some(more) = are.difference(&should).next() {
        return Err(format!("{found} has {more}, which should not be there"));
    }
    should
        .iter()
        .try_for_each(|name| same(&wanted.join(name), &found.join(name), &[], modes))
}

/// Whether two files have the same bytes.
pub fn same_bytes(wanted: &Utf8Path, found: &Utf8Path) -> Result<(), String> {
    use std::io::Read;
    let open = |path: &Utf8Path| fs_err::File::open(path).map_err(told);
    let (mut one, mut other) = (open(wanted)?, open(found)?);
    let (mut should, mut is) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        let fill = |file: &mut fs_err::File, bytes: &mut [u8]| {
            let mut some = 0;
            while some < bytes.len() {
                match file.read(&mut bytes[some..]).map_err(told)? {
                    0 => break,
                    more => some += more,
                }
            }
            Ok::<usize, String>(some)
        };
        let (length, now) = (fill(&mut one, &mut should)?, fill(&mut other, &mut is)?);
        let first = (0..length.min(now)).find(|n| should[*n] != is[*n]);
        match first {
            Some(first) => return Err(format!("{found} differs from {wanted} at byte {}", at + first)),
            None if length < now => return Err(format!("{found} is longer than {wanted}")),
            None if length > now => {
                return Err(format!("{found} ends at byte {}, {wanted} does not", at + now));
            }
            None if length == 0 => return Ok(()),
            None => at += length,
        }
    }
}

/// Git without anybody's settings.
fn git(clone: &Utf8Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "safe.directory=*", "-c", "core.fileMode=true", "-C"])
        .arg(clone)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_OPTIONAL_LOCKS", "0");
    command
}

/// The files of a commit, as Git's archive has them.
pub fn archive(repository: &Utf8Path, revision: &str, to: &Utf8Path) -> Result<(), String> {
    fs_err::create_dir_all(to).map_err(told)?;
    let packed = Utf8PathBuf::from(format!("{to}.tar"));
    said(&mut git(
        repository,
        &["archive", "--output", packed.as_str(), revision],
    ))?;
    said(Command::new("tar").args(["-xf", packed.as_str(), "-C"]).arg(to)).map(drop)
}

/// A clone: HEAD is this revision, no object of it is missing or damaged, the index is that of the revision, and the files are
/// those of `files`; beside the clone, in its folder, is nothing.
pub fn repository(clone: &Utf8Path, revision: &str, files: &Utf8Path) -> Result<(), String> {
    let folder = clone.parent().ok_or("a clone lies in a folder")?;
    let beside = names(folder)?;
    if let Some(other) = beside
        .iter()
        .find(|name| Some(name.as_str()) != clone.file_name())
    {
        return Err(format!("{other} lies beside the clone"));
    }
    let head = said(&mut git(clone, &["rev-parse", "--verify", "HEAD"]))?;
    if head != revision {
        return Err(format!("HEAD is {head}, not {revision}"));
    }
    same(files, clone, &[".git"], Modes::Executable)?;
    sound(clone)?;
    let status = said(&mut git(
        clone,
        &["status", "--porcelain", "--untracked-files=all", "--ignored"],
    ))?;
    if status.is_empty() {
        Ok(())
    } else {
        Err(format!("git status: {status}"))
    }
}

/// A submodule: HEAD is this commit, no object of it is missing or damaged, and no file differs.
pub fn submodule(path: &Utf8Path, commit: &str) -> Result<(), String> {
    let head = said(&mut git(path, &["rev-parse", "--verify", "HEAD"]))?;
    if head != commit {
        return Err(format!("HEAD of {path} is {head}, not {commit}"));
    }
    sound(path)?;
    let status = said(&mut git(
        path,
        &["status", "--porcelain", "--untracked-files=all", "--ignored"],
    ))?;
    if status.is_empty() {
        Ok(())
    } else {
        Err(format!("git status of {path}: {status}"))
    }
}

fn sound(clone: &Utf8Path) -> Result<(), String> {
    // What nothing leads to is no matter; what is missing or damaged is, and is an exit code.
    let checked = output(&mut git(
        clone,
        &["fsck", "--full", "--no-dangling", "--no-progress"],
    ))?;
    if !checked.status.success() {
        return Err(format!(
            "git fsck: {}: {}{}",
            checked.status,
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        ));
    }
    Ok(())
}

/// A Nix program with a configuration of its own.
pub fn nix(program: &str, conf: &Utf8Path, home: &Utf8Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--extra-experimental-features", "nix-command"])
        .env("NIX_CONF_DIR", conf)
        .env("HOME", home);
    command
}

/// What a store has registered: of every valid path its hash, size, deriver and references, each path's lines together, sorted.
pub fn registered(store: &Utf8Path, conf: &Utf8Path, home: &Utf8Path) -> Result<Vec<String>, String> {
    let dump = said(nix("nix-store", conf, home).args(["--store", store.as_str(), "--dump-db"]))?;
    registrations(&dump)
}

/// The lines of each path: path, hash, size, deriver, how many references, and these.
fn registrations(dump: &str) -> Result<Vec<String>, String> {
    let mut lines = dump.lines();
    let mut all = vec![];
    while let Some(path) = lines.next() {
        let mut take = || {
            lines
                .next()
                .ok_or_else(|| format!("the registration of {path} ends early"))
        };
        let mut one = format!("{path}\n{}\n{}\n{}\n", take()?, take()?, take()?);
        let count = take()?;
        let count: usize = count.parse().map_err(|e| format!("{path}: {count}: {e}"))?;
        let mut references = (0..count).map(|_| take()).collect::<Result<Vec<_>, _>>()?;
        references.sort_unstable();
        one.push_str(&references.join("\n"));
        all.push(one);
    }
    all.sort();
    Ok(all)
}

/// A target's store: it has registered what `live` has, and nothing else, and every path of it has the same bytes and modes.
pub fn store(root: &Utf8Path, live: &Utf8Path, conf: &Utf8Path, home: &Utf8Path) -> Result<(), String> {
    let (wanted, found) = (registered(live, conf, home)?, registered(root, conf, home)?);
    if wanted.is_empty() {
        return Err(format!("{live} has registered nothing"));
    }
    let only = |one: &[String], other: &[String]| one.iter().find(|entry| !other.contains(entry)).cloned();
    if let Some(lost) = only(&wanted, &found) {
        return Err(format!("not registered so: {}", lost.replace('\n', " ")));
    }
    if let Some(more) = only(&found, &wanted) {
        return Err(format!(
            "registered, and not in the source: {}",
            more.replace('\n', " ")
        ));
    }
    for entry in &wanted {
        let path = entry.lines().next().unwrap_or_default().trim_start_matches('/');
        same(&live.join(path), &root.join(path), &[], Modes::All)?;
    }
    Ok(())
}

/// What `blkid` finds in a volume.
pub fn identity(volume: &Utf8Path, kind: &str, id: &str, label: &str) -> Result<(), String> {
    let text = said(Command::new("blkid").args(["--probe", "--output", "export", volume.as_str()]))?;
    for (field, wanted) in [("TYPE", kind), ("UUID", id), ("LABEL", label)] {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix('='))
            .unwrap_or_default();
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(format!("blkid: {field} is {found:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

/// What a mount's own check repairs is repaired.
pub fn ext4_repaired(volume: &Utf8Path) -> Result<(), String> {
    let checked = output(Command::new("e2fsck").args(["-p", volume.as_str()]))?;
    if matches!(checked.status.code(), Some(0 | 1)) {
        return Ok(());
    }
    Err(format!(
        "e2fsck -p: {}: {}",
        checked.status,
        String::from_utf8_lossy(&checked.stdout)
    ))
}

/// An ext4 with nothing to repair.
pub fn ext4(volume: &Utf8Path) -> Result<(), String> {
    said(Command::new("e2fsck").args(["-f", "-n", volume.as_str()])).map(drop)
}

/// A FAT with nothing to repair, and with these files in it.
pub fn fat(volume: &Utf8Path, files: &[&str]) -> Result<(), String> {
    let listed = said(Command::new("fsck.vfat").args(["-n", "-l", volume.as_str()]))?;
    for file in files {
        let there = listed
            .lines()
            .filter_map(|line| line.strip_prefix("Checking file ")?.split(' ').next())
            .any(|path| path.eq_ignore_ascii_case(file));
        if !there {
            return Err(format!("fsck.vfat lists no {file}: {listed}"));
        }
    }
    Ok(())
}

/// A LUKS2 container with this id that opens with this passphrase, and whose two headers are each other's copy.
pub fn container(volume: &Utf8Path, id: &str, label: &str, key: &Utf8Path) -> Result<(), String> {
    let head = head(volume, HEADERS)?;
    let size = number(&head, 8) as usize;
    let second = head.get(size..).unwrap_or_default();
    for (which, magic, bytes) in [
        ("first", b"LUKS\xba\xbe", &head[..]),
        ("second", b"SKUL\xba\xbe", second),
    ] {
        header(which, magic, bytes, size)?;
    }
    if number(&head, 16) != number(second, 16) || head[4_096..size] != second[4_096..size] {
        return Err("the two LUKS2 headers are of different times".into());
    }
    identity(volume, "crypto_LUKS", id, label)?;
    // Last: it repairs a header from the other one.
    said(
        Command::new("cryptsetup")
            .args(["open", "--test-passphrase", "--type", "luks2", "--key-file"])
            .args([key, volume]),
    )
    .map(drop)
}

/// Both headers of a LUKS2 container at their largest (LUKS2 on-disk format, section 2).
const HEADERS: usize = 8 << 20;
/// Where a header has its checksum, and its length.
const CHECKSUM: (usize, usize) = (448, 64);

fn head(path: &Utf8Path, length: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = vec![];
    fs_err::File::open(path)
        .and_then(|file| file.take(length as u64).read_to_end(&mut bytes))
        .map_err(told)?;
    Ok(bytes)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// A header's checksum is that of its bytes.
fn header(which: &str, magic: &[u8; 6], bytes: &[u8], size: usize) -> Result<(), String> {
    use sha2::Digest;
    if !bytes.starts_with(magic) || !(16 << 10..=4 << 20).contains(&size) || bytes.len() < size {
        return Err(format!("the {which} LUKS2 header is not there"));
    }
    let mut whole = bytes[..size].to_vec();
    let (at, length) = CHECKSUM;
    let told = whole[at..at + 32].to_vec();
    whole[at..at + length].fill(0);
    if sha2::Sha256::digest(&whole).as_slice() == told {
        Ok(())
    } else {
        Err(format!(
            "the {which} LUKS2 header has another checksum than its bytes"
        ))
    }
}
