//! Which checkpoint to believe, and what follows. Law: the checkpoint says where to look; the disk says what is true; a
//! checkpoint never permits anything (I6, I7).

use crate::plan::DiskIdentity;
use crate::planned::GptCopy;

/// What one disk says of itself before any decision.
#[derive(Debug, Clone)]
pub struct DiskEvidence {
    /// Its identity.
    pub disk: DiskIdentity,
    /// The kernel name now, for people (`/dev/vda`).
    pub device: String,
    /// GPT at the start.
    pub primary: GptCopy,
    /// GPT at the end.
    pub backup: GptCopy,
    /// The two slots' bytes as read raw from an ESP of this disk, before any fsck or mount; `None` where there is no
    /// ESP or the slot could not be found.
    pub slots: [Option<Vec<u8>>; 2],
}
