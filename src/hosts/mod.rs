//! Hosts of a flake, on the operator's computer: a new one made, with everything that belongs to it. Law: an operator's file is changed
//! by an insertion that keeps every other byte, or not at all; files that belong together change together; a private key is never below
//! a repository, in the Nix store, or printed.
//!
//! Absent: disks and installs (`real`), questions and printing (`cli::host`), sops.

pub mod error;
mod evaluate;
mod flake;
pub mod keys;
mod literal;
mod names;
pub mod new;
mod place;
pub mod programs;
mod rekey;
mod rules;
pub mod scratch;
mod syntax;
pub mod templates;
pub mod transaction;
