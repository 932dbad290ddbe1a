//! The content that is landed: a Nix store made of this computer's own installed packages, so that sizes, numbers and
//! compressibility of files are real and nothing is fetched.
//!
//! The same packages give the same store, and every path is registered with its real hash and references. A package's
//! dependencies are its path's references, and one more path, the system, refers to all of them. NixOS is not needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::command::Program;

const DPKG: &str = "/var/lib/dpkg";
/// Characters of a store path's hash.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
const LOAD_LIMIT: Duration = Duration::from_secs(3_600);
/// A block of the filesystem.
const BLOCK_BYTES: u64 = 4_096;
/// Store paths of a store that is made of a number of files.
const PATHS_OF_FILES: u64 = 500;

/// A store.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its root: `nix/store` and `nix/var` lie below.
    pub root: PathBuf,
    /// The path that refers to all others.
    pub system: String,
    /// Store paths.
    pub paths: u64,
    /// Files.
    pub files: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// `/nix/store/<hash>-<name>`.
fn store_path(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "+-._?=".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("/nix/store/{hash}-{name}")
}

/// A file of a package, and its name in the store path.
type Part = (PathBuf, String);

struct Package {
    name: String,
    parts: Vec<Part>,
    bytes: u64,
    needs: Vec<String>,
}

fn packages() -> Result<Vec<Package>> {
    let status = fs::read_to_string(format!("{DPKG}/status"))
        .context("the content is made of installed Debian packages, and there is no list of them")?;
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for stanza in status.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let Some(name) = field("Package") else { continue };
        let depends = field("Depends").unwrap_or_default();
        let list = depends
            .split([',', '|'])
            .filter_map(|word| word.trim().split([' ', ':']).next())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        needs.insert(name.to_owned(), list);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("{DPKG}/info"))? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".list"))
        else {
            continue;
        };
        let mut parts = Vec::new();
        let mut bytes = 0;
        for line in fs::read_to_string(&path)?.lines() {
            // Files that differ from machine to machine are not the package's.
            if !line.starts_with("/usr/") {
                continue;
            }
            match fs::symlink_metadata(line) {
                Ok(meta) if meta.is_file() => bytes += meta.len(),
                Ok(meta) if meta.is_symlink() => {}
                Ok(_) | Err(_) => continue,
            }
            parts.push((PathBuf::from(line), line["/usr/".len()..].to_owned()));
        }
        let name = name.split(':').next().unwrap_or(name).to_owned();
        if !parts.is_empty() {
            found.push(Package {
                needs: needs.get(&name).cloned().unwrap_or_default(),
                name,
                parts,
                bytes,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!found.is_empty(), "no package has files below /usr");
    Ok(found)
}

/// Makes a store of about this many bytes; with `files`, of exactly so many files of about one size.
pub fn make(root: &Path, bytes: u64, files: Option<u64>) -> Result<Content> {
    fs::create_dir_all(root.join("nix/store"))?;
    let packages = packages()?;
    let mut content = Content {
        root: root.to_owned(),
        system: store_path("nixos-system-bench"),
        paths: 0,
        files: 0,
        bytes: 0,
    };
    let references = match files {
        None => of_packages(&packages, bytes, &mut content)?,
        Some(files) => of_pieces(&packages, bytes, files, &mut content)?,
    };
    system(&mut content, &references)?;
    register(&content, &references)?;
    Ok(content)
}

/// Paths with their references.
type References = BTreeMap<String, BTreeSet<String>>;

/// Packages of about so many bytes, with small and large files in the proportion of all of them: in the order of their files'
/// sizes, the same share of every stretch.
fn share(packages: &[Package], bytes: u64) -> Vec<&Package> {
    let total: u64 = packages.iter().map(|package| package.bytes).sum();
    let wanted = i128::from(bytes.min(total));
    let mut sorted: Vec<&Package> = packages.iter().collect();
    sorted.sort_by_key(|package| (package.bytes / package.parts.len().max(1) as u64, &package.name));
    // What is owed to those that come, in bytes times `total`.
    let mut owed = 0;
    sorted.retain(|package| {
        let whole = i128::from(package.bytes) * i128::from(total);
        owed += i128::from(package.bytes) * wanted;
        let is_taken = owed > 0 && 2 * owed >= whole;
        owed -= if is_taken { whole } else { 0 };
        is_taken
    });
    sorted.sort_by_key(|package| &package.name);
    sorted
}

/// Whole packages, and again under another name until there are enough bytes.
fn of_packages(packages: &[Package], bytes: u64, content: &mut Content) -> Result<References> {
    let mut references = References::new();
    let total: u64 = packages.iter().map(|package| package.bytes).sum();
    for round in 0.. {
        let name = |package: &str| match round {
            0 => package.to_owned(),
            more => format!("{package}-again-{more}"),
        };
        let before = content.bytes;
        let left = bytes.saturating_sub(before);
        let chosen = share(packages, left);
        let mut of_round = BTreeSet::new();
        for package in &chosen {
            let path = store_path(&name(&package.name));
            let here = content.root.join(path.trim_start_matches('/'));
            for (from, to) in &package.parts {
                copy(from, &here.join(to), content)?;
            }
            of_round.insert(package.name.clone());
            references.insert(path, BTreeSet::new());
        }
        for package in chosen {
            let needs = package
                .needs
                .iter()
                .filter(|need| of_round.contains(*need))
                .map(|need| store_path(&name(need)));
            references
                .entry(store_path(&name(&package.name)))
                .or_default()
                .extend(needs);
        }
        // A round of no bytes would be followed by the same.
        if left <= total || content.bytes == before {
            break;
        }
    }
    let names: Vec<String> = references.keys().cloned().collect();
    let mut seen = BTreeMap::new();
    for name in &names {
        uncycle(name, &mut references, &mut seen);
    }
    Ok(references)
}

/// Leaves out what closes a cycle, behind one path. Packages need one another in circles; Nix has none. `seen` says of a path
/// whether it was left again.
fn uncycle(path: &str, references: &mut References, seen: &mut BTreeMap<String, bool>) {
    if seen.contains_key(path) {
        return;
    }
    seen.insert(path.to_owned(), false);
    for need in references.get(path).cloned().unwrap_or_default() {
        match seen.get(&need) {
            Some(false) => {
                references.entry(path.to_owned()).or_default().remove(&need);
            }
            Some(true) => {}
            None => uncycle(&need, references, seen),
        }
    }
    seen.insert(path.to_owned(), true);
}

fn copy(from: &Path, to: &Path, content: &mut Content) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        fs_err::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    } else {
        content.bytes += fs::copy(from, to)?;
        let mode = if meta.permissions().mode() & 0o111 == 0 {
            0o444
        } else {
            0o555
        };
        fs::set_permissions(to, PermissionsExt::from_mode(mode))?;
    }
    content.files += 1;
    Ok(())
}

/// Bytes of the file with this index, of so many files that have so many bytes together: whole blocks where they are enough, one more
/// in the first files. A filesystem has whole blocks only, and the ends of many small files are not what shall be measured.
fn piece(index: u64, files: u64, bytes: u64) -> u64 {
    let unit = if bytes / files < BLOCK_BYTES {
        1
    } else {
        BLOCK_BYTES
    };
    let (units, rest) = (bytes / unit, bytes % unit);
    let own = units / files + u64::from(index < units % files);
    own * unit + if index + 1 == files { rest } else { 0 }
}

/// The packages' bytes, cut into files of about one size.
fn of_pieces(packages: &[Package], bytes: u64, files: u64, content: &mut Content) -> Result<References> {
    let mut stream = packages.iter().flat_map(|package| &package.parts).cycle();
    // What has been read, and how much of it is used up.
    let (mut stock, mut used) = (Vec::new(), 0);
    let mut references = References::new();
    for index in 0..files {
        let piece = usize::try_from(piece(index, files, bytes))?;
        while stock.len() - used < piece {
            stock.drain(..used);
            used = 0;
            let (from, _) = stream.next().context("no files at all")?;
            if fs::symlink_metadata(from)?.is_file() {
                stock.extend_from_slice(&fs::read(from)?);
            }
        }
        let path = store_path(&format!("pieces-{}", index % PATHS_OF_FILES));
        // Folders of at most 256 files.
        let to = content
            .root
            .join(path.trim_start_matches('/'))
            .join((index / PATHS_OF_FILES / 256).to_string())
            .join(index.to_string());
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, &stock[used..used + piece])?;
        used += piece;
        content.files += 1;
        content.bytes += piece as u64;
        references.entry(path).or_default();
    }
    Ok(references)
}

fn system(content: &mut Content, references: &References) -> Result<()> {
    let path = content.root.join(content.system.trim_start_matches('/'));
    fs::create_dir_all(&path)?;
    let list: String = references.keys().map(|path| format!("{path}\n")).collect();
    fs::write(path.join("closure"), list)?;
    content.files += 1;
    content.paths = references.len() as u64 + 1;
    Ok(())
}

/// Registers every path, with the hash that Nix would find.
fn register(content: &Content, references: &References) -> Result<()> {
    let mut list = fs::File::create(content.root.join("registration"))?;
    let all = references.keys().cloned().collect();
    for (path, needs) in references.iter().chain([(&content.system, &all)]) {
        let mut nar = Nar::default();
        nar.text(b"nix-archive-1");
        nar.node(&content.root.join(path.trim_start_matches('/')))?;
        let digits: String = nar
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        writeln!(list, "{path}\n{digits}\n{}\n\n{}", nar.bytes, needs.len())?;
        for need in needs {
            writeln!(list, "{need}")?;
        }
    }
    drop(list);
    Program::new("nix-store")
        .arg("--store")
        .arg(&content.root)
        .arg("--load-db")
        .input_file(&content.root.join("registration"))
        .timeout(LOAD_LIMIT)
        .run()?;
    Ok(())
}

/// The hash of a store path: SHA-256 of its Nix archive (Dolstra, The Purely Functional Software Deployment Model, figure
/// 5.2), which is not kept.
#[derive(Default)]
struct Nar {
    hash: Sha256,
    bytes: u64,
}

impl Nar {
    fn text(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let padding = &[0; 8][..(8 - bytes.len() % 8) % 8];
        for part in [&length.to_le_bytes(), bytes, padding] {
            self.hash.update(part);
        }
        self.bytes += 8 + length + padding.len() as u64;
    }

    fn node(&mut self, path: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(path)?;
        self.text(b"(");
        self.text(b"type");
        if meta.is_symlink() {
            self.text(b"symlink");
            self.text(b"target");
            self.text(fs::read_link(path)?.as_os_str().as_encoded_bytes());
        } else if meta.is_dir() {
            self.text(b"directory");
            let mut names = fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            for name in names {
                self.text(b"entry");
                self.text(b"(");
                self.text(b"name");
                self.text(name.as_encoded_bytes());
                self.text(b"node");
                self.node(&path.join(name))?;
                self.text(b")");
            }
        } else {
            self.text(b"regular");
            if meta.permissions().mode() & 0o111 != 0 {
                self.text(b"executable");
                self.text(b"");
            }
            self.text(b"contents");
            self.text(&fs::read(path)?);
        }
        self.text(b")");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_the_mix_of_the_whole() {
        let package = |name: usize, parts: usize, bytes| Package {
            name: format!("package-{name:03}"),
            parts: vec![(PathBuf::new(), String::new()); parts],
            bytes,
            needs: vec![],
        };
        // The names say nothing of what is in them: here the small ones come first.
        let packages: Vec<Package> = (0..100)
            .map(|n| package(n, 50, 100_000))
            .chain((100..200).map(|n| package(n, 5, 1_000_000)))
            .collect();
        let sums = |chosen: &[&Package]| {
            let files: usize = chosen.iter().map(|p| p.parts.len()).sum();
            (files, chosen.iter().map(|p| p.bytes).sum::<u64>())
        };
        assert_eq!(sums(&share(&packages, 11_000_000)), (550, 11_000_000));
        assert_eq!(sums(&share(&packages, 55_000_000)), (2_750, 55_000_000));
        assert_eq!(share(&packages, u64::MAX).len(), 200);
        assert!(share(&packages, 0).is_empty());
    }

    #[test]
    fn what_is_too_little_is_taken_again_under_other_names() {
        let dir = std::env::temp_dir().join(format!("lab-content-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let package = |name: &str, bytes: usize| {
            let file = dir.join(name);
            fs::write(&file, vec![b'x'; bytes]).unwrap();
            Package {
                name: name.to_owned(),
                parts: vec![(file, "file".to_owned())],
                bytes: bytes as u64,
                needs: vec![],
            }
        };
        let packages = [package("empty", 0), package("small", 100), package("large", 900)];
        for (bytes, made, paths) in [(1_000, 1_000, 2), (2_100, 2_000, 4), (2_600, 3_000, 6)] {
            let mut content = Content {
                root: dir.join(bytes.to_string()),
                system: String::new(),
                paths: 0,
                files: 0,
                bytes: 0,
            };
            let references = of_packages(&packages, bytes, &mut content).unwrap();
            assert_eq!((content.bytes, references.len()), (made, paths), "{bytes}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn so_many_files_have_so_many_bytes() {
        for (files, bytes) in [
            (10_000, 4 << 30),
            (1_000_000, 4 << 30),
            (7, 100_000),
            (1_000, 999_999),
        ] {
            let sizes: Vec<u64> = (0..files).map(|index| piece(index, files, bytes)).collect();
            assert_eq!(sizes.iter().sum::<u64>(), bytes, "{files} files");
            let (low, high) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(high - low <= 2 * BLOCK_BYTES, "{low} to {high}");
            let ends = sizes.iter().filter(|size| *size % BLOCK_BYTES != 0).count();
            assert!(bytes / files < BLOCK_BYTES || ends <= 1, "{ends} of {files}");
        }
    }

    #[test]
    fn of_a_circle_one_reference_is_left_out_and_of_the_rest_none() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut references: References = [
            ("a", set(&["b", "d"])),
            ("b", set(&["c"])),
            ("c", set(&["a", "d"])),
            ("d", set(&["d"])),
        ]
        .map(|(name, needs)| (name.to_owned(), needs))
        .into();
        let mut seen = BTreeMap::new();
        for name in ["a", "b", "c", "d"] {
            uncycle(name, &mut references, &mut seen);
        }
        let left: Vec<(&str, BTreeSet<String>)> = references
            .iter()
            .map(|(name, needs)| (name.as_str(), needs.clone()))
            .collect();
        assert_eq!(
            left,
            [
                ("a", set(&["b", "d"])),
                ("b", set(&["c"])),
                ("c", set(&["d"])),
                ("d", set(&[]))
            ]
        );
    }

    #[test]
    fn a_file_has_the_hash_that_nix_gives_it() {
        let dir = std::env::temp_dir().join(format!("landfall-lab-nar-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("file");
        fs::write(&file, "hello\n").unwrap();
        let mut nar = Nar::default();
        nar.text(b"nix-archive-1");
        nar.node(&file).unwrap();
        let digits: String = nar
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        fs::remove_dir_all(&dir).unwrap();
        // `echo hello > file; nix-hash --type sha256 file`
        assert_eq!((digits.as_str(), nar.bytes), (HELLO, 120));
    }

    const HELLO: &str = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";
}
