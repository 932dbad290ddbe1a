//! Compares what a store's database says about its paths (`nix-store --dump-db`) with what it should say.
//!
//! For a closure that landfall did not build, the installer's store, or the list in an image, is the truth. If an entry is
//! missing on the target, or has another hash, another length or other references, the target's database is unusable and is
//! made again. For a system that was built on the target there is nothing to compare with.
//!
//! The reason: a path is valid in Nix only together with everything it refers to, and Nix trusts its database in that. An
//! entry that lost its references passes every check of contents, and the garbage collector of the installed system then
//! deletes what the entry needs.
//!
//! `nix::contents` checks the contents, and `nix::store` makes a database.

use crate::real::fs::target_root;
use crate::real::nix::client::Stores;
use crate::real::nix::pack::REGISTRATION;
use crate::real::process::context::CommandContext;
use landfall_states::fault::Fault;
use landfall_states::names::StorePath;
use landfall_states::plan::SystemSource;
use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Most paths that Nix is asked about at once.
const PATHS_MAX: usize = 500;
/// Longest list of paths in an image.
const REGISTRATION_BYTES_MAX: u64 = 256 << 20;

/// What is compared of an entry. Who derived a path is nobody's business on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hash: Hash,
    bytes: u64,
    references: BTreeSet<String>,
}

/// SHA-256, however it was written; or the text of what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hash {
    Sha256([u8; 32]),
    Other(String),
}

impl Hash {
    /// Nix writes 64 digits of base 16 in a dump; in a closure's list (`closureInfo`) a prefix and 52 digits of its own base 32; and
    /// elsewhere base 64.
    fn parse(text: &str) -> Self {
        let digits = text
            .strip_prefix("sha256:")
            .or_else(|| text.strip_prefix("sha256-"))
            .unwrap_or(text);
        let bytes = match digits.len() {
            64 => base16(digits),
            52 => base32(digits),
            44 => base64(digits),
            _ => None,
        };
        bytes.map_or_else(|| Hash::Other(text.to_owned()), Hash::Sha256)
    }
}

fn base16(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Of the last digit the lowest bits come first.
fn base32(digits: &str) -> Option<[u8; 32]> {
    const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut bytes = [0; 32];
    for (n, digit) in digits.bytes().rev().enumerate() {
        let value = DIGITS.iter().position(|one| *one == digit)? as u16;
        let (at, shift) = (n * 5 / 8, n * 5 % 8);
        let [low, high] = (value << shift).to_le_bytes();
        *bytes.get_mut(at)? |= low;
        match bytes.get_mut(at + 1) {
            Some(next) => *next |= high,
            None if high == 0 => {}
            None => return None,
        }
    }
    Some(bytes)
}

fn base64(digits: &str) -> Option<[u8; 32]> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(33);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.strip_suffix('=')?.bytes() {
        bits = bits << 6 | DIGITS.iter().position(|one| *one == digit)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.extend((bits >> count).to_le_bytes().first());
            bits &= (1 << count) - 1;
        }
    }
    bytes.try_into().ok()
}

type Entries = BTreeMap<String, Entry>;

/// Reads a dump; `None`: it is none. Of an entry that is there twice the last one counts, as for Nix.
fn parse(dump: &str) -> Option<Entries> {
    let mut lines = dump.lines();
    let mut entries = Entries::new();
    while let Some(path) = lines.next() {
        let (hash, bytes, _deriver) = (lines.next()?, lines.next()?, lines.next()?);
        let count: usize = lines.next()?.parse().ok()?;
        let mut references = BTreeSet::new();
        for _ in 0..count {
            references.insert(lines.next()?.to_owned());
        }
        let entry = Entry {
            hash: Hash::parse(hash),
            bytes: bytes.parse().ok()?,
            references,
        };
        entries.insert(path.to_owned(), entry);
    }
    Some(entries)
}

/// The entries of everything that a system needs; `None`: one of them is lacking.
fn closure(mut all: Entries, system: &StorePath) -> Option<Entries> {
    let mut found = Entries::new();
    let mut open = vec![system.to_string()];
    while let Some(path) = open.pop() {
        if let Vacant(place) = found.entry(path) {
            let entry = all.remove(place.key())?;
            open.extend(entry.references.iter().cloned());
            place.insert(entry);
        }
    }
    Some(found)
}

/// The first difference, for people.
fn difference(truth: &Entries, there: &Entries) -> Option<String> {
    truth.iter().find_map(|(path, wanted)| {
        let what = match there.get(path) {
            None => "is not registered",
            Some(found) if found == wanted => return None,
            Some(found) if found.references != wanted.references => {
                "does not have the references that it must have"
            }
            Some(_) => "does not have the hash and length that it must have",
        };
        Some(format!("{path} {what}"))
    })
}

impl Stores {
    /// How the target's database differs from the truth about a system; `None`: it does not, or nobody knows.
    pub(crate) async fn misregistered(
        &self,
        context: &CommandContext,
        source: &SystemSource,
        system: &StorePath,
    ) -> Result<Option<String>, Fault> {
        let truth = match source {
            SystemSource::Prebuilt(_) => self.entries_of_source(context, system).await?,
            SystemSource::Image(_) => self.entries_of_image()?,
            SystemSource::Flake => None,
        };
        let Some(truth) = truth.and_then(|truth| closure(truth, system)) else {
            tracing::debug!(%system, "landfall does not know what the target's database must contain");
            return Ok(None);
        };
        let paths: Vec<&str> = truth.keys().map(String::as_str).collect();
        let mut there = Entries::new();
        for some in paths.chunks(PATHS_MAX) {
            let ask = self.nix_store().args(["--check-validity", "--print-invalid"]);
            let invalid = context.run(ask.args(some.iter().copied())).await?;
            if let Some(path) = invalid.stdout.lines().next() {
                return Ok(Some(format!("{path} is not registered")));
            }
            // What cannot be read at all is seen where the database is looked at.
            let Some(entries) = self.dump(context, &self.root.as_arg(), some).await? else {
                return Ok(None);
            };
            there.extend(entries);
        }
        Ok(difference(&truth, &there))
    }

    fn entries_of_image(&self) -> Result<Option<Entries>, Fault> {
        let Some(file) = target_root::open_file(&self.root, REGISTRATION)? else {
            return Ok(None);
        };
        let mut bytes = vec![];
        file.take(REGISTRATION_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|e| target_root::io_fault(format!("{REGISTRATION} on the target"), &e))?;
        Ok(parse(&String::from_utf8_lossy(&bytes)))
    }

    async fn entries_of_source(
        &self,
        context: &CommandContext,
        system: &StorePath,
    ) -> Result<Option<Entries>, Fault> {
        let query = ["--query", "--requisites", system.as_str()];
        let answer = context.run(self.nix_store_at(&self.source).args(query)).await?;
        let paths: Vec<&str> = answer.stdout.lines().collect();
        let mut all = Entries::new();
        for some in paths.chunks(PATHS_MAX) {
            let Some(entries) = self.dump(context, &self.source, some).await? else {
                return Ok(None);
            };
            all.extend(entries);
        }
        Ok(answer.success().then_some(all))
    }

    async fn dump(
        &self,
        context: &CommandContext,
        store: &str,
        paths: &[&str],
    ) -> Result<Option<Entries>, Fault> {
        let program = self.nix_store_at(store).arg("--dump-db");
        let dump = context.run(program.args(paths.iter().copied())).await?;
        Ok(if dump.success() { parse(&dump.stdout) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";
    const A: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-a";

    fn dump() -> String {
        format!("{A}\nhash-a\n8\n\n1\n{A}\n{SYSTEM}\nhash-s\n9\n/nix/store/d.drv\n1\n{A}\n")
    }

    #[test]
    fn every_difference_of_a_closure_is_found_and_nothing_else() {
        let system: StorePath = SYSTEM.parse().unwrap();
        let truth = closure(parse(&dump()).unwrap(), &system).unwrap();
        let differs = |there: &str| difference(&truth, &parse(there).unwrap());
        assert_eq!(differs(&dump()), None);
        assert_eq!(
            differs(&format!("x\nh\n1\n\n0\n{}", dump())),
            None,
            "more is there"
        );
        assert_eq!(
            differs(&dump().replace("/nix/store/d.drv", "")),
            None,
            "who derived it"
        );
        for (there, word) in [
            (
                dump().replace(&format!("1\n{A}\n{SYSTEM}"), &format!("0\n{SYSTEM}")),
                "the references",
            ),
            (format!("{SYSTEM}\nhash-s\n9\n\n1\n{A}\n"), "is not registered"),
            (dump().replace("hash-a", "hash-b"), "the hash and length"),
            (dump().replace("\n8\n", "\n7\n"), "the hash and length"),
            (String::new(), "is not registered"),
        ] {
            assert!(differs(&there).is_some_and(|why| why.contains(word)), "{there}");
        }
        // A truth that has not the whole closure is none.
        let half = parse(&format!("{SYSTEM}\nhash-s\n9\n\n1\n{A}\n")).unwrap();
        assert_eq!(closure(half, &system), None);
        // What the system does not need is no part of it.
        let more = parse(&format!("x\nh\n1\n\n0\n{}", dump())).unwrap();
        assert_eq!(closure(more, &system), Some(truth));
    }

    /// The same hash in every way that Nix 2.26 writes it (`nix hash to-base16`, `to-base32`, `to-base64`, `to-sri`).
    #[test]
    fn a_hash_is_the_same_however_it_is_written() {
        let hash = Hash::parse("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(matches!(hash, Hash::Sha256(_)));
        for other in [
            "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
            "sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        ] {
            assert_eq!(Hash::parse(other), hash, "{other}");
        }
        for strange in [
            "",
            "sha256:",
            "z".repeat(52).as_str(),
            "e".repeat(52).as_str(),
            "ä".repeat(26).as_str(),
            "=".repeat(44).as_str(),
            "x".repeat(64).as_str(),
        ] {
            assert_eq!(Hash::parse(strange), Hash::Other(strange.to_owned()));
        }
    }

    #[test]
    fn what_is_no_dump_is_none() {
        for text in [
            "x",
            "x\nh\n1\n\n",
            "x\nh\n1\n\n2\na\n",
            "x\nh\n1\n\n-1\n",
            "x\nh\n1\n\nmany\n",
            "x\nh\nlong\n\n0\n",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(""), Some(Entries::new()));
    }
}
