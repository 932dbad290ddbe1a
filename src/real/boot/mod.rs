//! The boot loader on the ESP: what it would start, whether every file is the one that the store has, the firmware's entries, and what installers leave behind.

pub mod activation;
pub mod bootspec;
pub mod files;
pub mod firmware;
pub mod host_loader;
pub(crate) mod initrd;
pub mod kernel_settings;
pub mod leftovers;
pub mod loader;
pub mod menu;
pub mod version;
