//! Makes a new host in a flake, with everything that belongs to it, on the operator's computer.
//!
//! An operator's file is changed by an insertion that keeps every other byte, or not at all. Files that belong together change
//! together. A private key is never below a repository, in the Nix store, or printed.
//!
//! `real` handles disks and installs, `cli::host` questions and output. sops is not supported.

pub mod error;
mod evaluate;
mod flake;
pub mod keys;
mod literal;
mod names;
pub mod new;
mod place;
pub mod programs;
mod readers;
mod rekey;
mod rules;
pub mod scratch;
mod syntax;
pub mod templates;
pub mod transaction;
