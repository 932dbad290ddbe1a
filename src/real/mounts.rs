//! Attaching: the LUKS mapping and the mounts of this run.

/// What this run has attached.
#[derive(Debug, Default)]
pub struct Attached {}
