//! Disks: which are there, which may be written, and the one that is held.

/// The confirmed disk, open and locked.
#[derive(Debug)]
pub struct HeldDisk {}
