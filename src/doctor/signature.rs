//! Checks signatures of binary caches (`narinfo`).
//!
//! A signature counts only if a key of the list has its name and verifies it. `http` fetches, and Nix itself checks every path that
//! it fetches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

/// What is signed of a store path, and by whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NarInfo {
    path: String,
    hash: String,
    bytes: String,
    references: Vec<String>,
    /// `name:base64`.
    pub signatures: Vec<String>,
}

impl NarInfo {
    /// Reads one; `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<NarInfo> {
        let mut info = NarInfo::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(": ") else {
                continue;
            };
            let value = value.trim();
            match key {
                "StorePath" => info.path = value.to_owned(),
                "NarHash" => info.hash = value.to_owned(),
                "NarSize" => info.bytes = value.to_owned(),
                "References" => info.references = value.split_whitespace().map(str::to_owned).collect(),
                "Sig" => info.signatures.push(value.to_owned()),
                _ => {}
            }
        }
        (!info.path.is_empty() && !info.hash.is_empty()).then_some(info)
    }

    /// What a signature is of.
    fn fingerprint(&self) -> String {
        let dir = self.path.rsplit_once('/').map_or("/nix/store", |(dir, _)| dir);
        let references: Vec<String> = self
            .references
            .iter()
            .map(|name| format!("{dir}/{name}"))
            .collect();
        format!(
            "1;{};{};{};{}",
            self.path,
            self.hash,
            self.bytes,
            references.join(",")
        )
    }

    /// The name of a key that proves it.
    pub(crate) fn proved_by<'k>(&self, keys: &'k [String]) -> Option<&'k str> {
        let text = self.fingerprint();
        keys.iter().find_map(|key| {
            let (name, public) = key.trim().split_once(':')?;
            let public = STANDARD.decode(public.trim()).ok()?;
            let is_proved = self.signatures.iter().any(|signature| {
                let proof = signature
                    .split_once(':')
                    .filter(|(by, _)| *by == name)
                    .and_then(|(_, proof)| STANDARD.decode(proof).ok());
                proof.is_some_and(|proof| {
                    UnparsedPublicKey::new(&ED25519, &public)
                        .verify(text.as_bytes(), &proof)
                        .is_ok()
                })
            });
            is_proved.then_some(name)
        })
    }

    /// The names of those who signed it.
    pub(crate) fn signers(&self) -> Vec<&str> {
        let names = self.signatures.iter();
        names
            .filter_map(|s| s.split_once(':').map(|(name, _)| name))
            .collect()
    }
}
