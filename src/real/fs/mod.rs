//! Files of the target and of this machine: paths that cannot leave the target, writes that are whole or absent, the marks and records that landfall leaves there.

pub mod marks;
pub mod receipt;
pub mod skeleton;
pub mod target_root;
