//! The kernel's table of mounts, single mounts, and the user's commands after mounting. What this install attaches is in `attach`.

pub mod attached;
pub mod hooks;
pub mod table;
