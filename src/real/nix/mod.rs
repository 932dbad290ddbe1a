//! The target store: bringing the closure there, its database and contents, evaluation, `nixos-install`, and packing root images.

pub mod caches;
pub mod client;
pub mod contents;
pub mod database;
pub mod evaluation;
pub mod install;
pub mod integrity;
pub mod log;
pub mod operator;
pub mod pack;
pub mod permissions;
pub mod registration;
pub mod sizes;
pub mod store;
