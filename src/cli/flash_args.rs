//! What `landfall flash` is given. Law: an option that means nothing without an image is refused without one, and never passed over.
//!
//! Absent: what is done with it (`flash`).

use crate::flash::error::Error;
use camino::Utf8PathBuf;
use clap::Args;

/// Arguments of `flash`.
#[derive(Debug, Clone, Args)]
pub struct FlashArgs {
    /// The image: raw, or packed as .zst, .xz or .gz; a list of digests beside it (IMAGE.sha256) is obeyed
    pub image: Option<Utf8PathBuf>,
    /// The stick, by its path or by a name that `landfall flash` prints; without it the sticks are listed
    pub device: Option<String>,
    /// The same as DEVICE
    #[arg(long = "device", value_name = "DEVICE", conflicts_with = "device")]
    pub device_named: Option<String>,
    /// Agree in advance to the erasure of this disk, or of keys on it, by the name that `landfall flash` prints; a fixed disk, or one of
    /// more than 256 GiB, is not erased without it unless somebody types that name
    #[arg(long, value_name = "NAME", value_parser = super::disk_name)]
    pub erase_disk: Option<String>,
    /// Do not ask; never enough for a fixed disk or a large one
    #[arg(long, short)]
    pub yes: bool,
    /// Make a second partition behind the image, with the label LF-KEYS and the keys of this folder: ssh-key, deploy-key, age-identity,
    /// luks-passphrase, consent, repository-token, record-key
    #[arg(long, value_name = "DIR")]
    pub keys: Option<Utf8PathBuf>,
    /// Overwrite the keys on a stick with zeros and remove their partition; the image stays. With a name it also finds what a cut left,
    /// without a partition table
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, conflicts_with_all = ["image", "device_named", "keys", "resume"])]
    pub forget_keys: Option<Option<String>>,
    /// Go on where an earlier run of the same image was cut off; what it wrote is compared, not believed
    #[arg(long)]
    pub resume: bool,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the stick switched on
    #[arg(long)]
    pub no_eject: bool,
    /// Progress and the result as JSON lines
    #[arg(long)]
    pub json: bool,
}

impl FlashArgs {
    /// Options that say how an image is flashed want one.
    pub(super) fn meant(&self) -> Result<(), Error> {
        if self.image.is_some() || self.forget_keys.is_some() {
            return Ok(());
        }
        let given = [
            ("--device", self.device_named.is_some()),
            ("--erase-disk", self.erase_disk.is_some()),
            ("--yes", self.yes),
            ("--keys", self.keys.is_some()),
            ("--resume", self.resume),
            ("--dry-run", self.dry_run),
            ("--no-eject", self.no_eject),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Error::NoneNamed { option }),
            None => Ok(()),
        }
    }
}
