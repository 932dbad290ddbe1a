//! The simulated actions: one file per action, named as in `real/steps`; and what several of them need.
//!
//! ```text
//! partition → esp → encrypt → format → clone → realise → install → boot_loader → provision → land
//! volume    making a volume, for esp, encrypt, format   image     root from an image, for format
//! store     database and contents, for realise
//! ```

pub mod boot_loader;
pub mod clone;
pub mod encrypt;
pub mod esp;
pub mod format;
pub mod image;
pub mod install;
pub mod land;
pub mod partition;
pub mod provision;
pub mod realise;
pub mod store;
pub mod volume;
