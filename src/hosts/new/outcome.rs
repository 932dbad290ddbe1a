//! What a host is made of: its files with the flake, and its key with the secrets.
//!
//! `new::written` and `new::secrets` make them.

use crate::hosts::flake::HostFiles;
use crate::hosts::rules::Edited;
use camino::Utf8PathBuf;

/// The host as it goes into the flake.
pub(super) struct Written {
    pub(super) flake: Option<String>,
    pub(super) files: HostFiles,
    pub(super) host: String,
    pub(super) installer: String,
    pub(super) attributes: Option<Vec<String>>,
    pub(super) notes: Vec<String>,
    /// The notes have lines for flake.nix.
    pub(super) has_lines: bool,
}

/// A secret encrypted again: its file, its bytes, how many can read it.
pub(super) type Rekeyed = (Utf8PathBuf, Vec<u8>, usize);

/// What is written about the host's key, and about secrets.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) edited: Edited,
    pub(super) rekeyed: Vec<Rekeyed>,
    pub(super) notes: Vec<String>,
    pub(super) has_rules: bool,
}
