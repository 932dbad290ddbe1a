//! The arguments of `landfall flash`.
//!
//! An option that has no meaning without an image is refused without one; it is never ignored. `flash` uses the arguments.

use crate::flash::error::Error;
use camino::Utf8PathBuf;
use clap::Args;

/// Arguments of `flash`.
#[derive(Debug, Clone, Args)]
pub struct FlashArgs {
    /// The image: raw, or compressed as .zst, .xz or .gz. If there is a list of digests beside it (IMAGE.sha256), its digest must match
    pub image: Option<Utf8PathBuf>,
    /// The stick: its path, or a name that `landfall flash` prints. Without it, the sticks are listed
    pub device: Option<String>,
    /// The same as DEVICE
    #[arg(long = "device", value_name = "DEVICE", allow_hyphen_values = true, value_parser = super::no_option, conflicts_with = "device")]
    pub device_named: Option<String>,
    /// The disk that may be erased without asking (or lose the keys on it), by the name that `landfall flash` prints. A fixed disk,
    /// or one of more than 256 GiB, is erased only with this option, or if you type that name
    #[arg(long, value_name = "NAME", allow_hyphen_values = true, value_parser = super::disk_name)]
    pub erase_disk: Option<String>,
    /// Do not ask. A fixed disk, or one of more than 256 GiB, still needs --erase-disk
    #[arg(long, short)]
    pub yes: bool,
    /// Make a second partition after the image, with the label LF-KEYS and the keys in this directory: ssh-key, deploy-key,
    /// age-identity, luks-passphrase, consent, repository-token, record-key
    #[arg(long, value_name = "DIR")]
    pub keys: Option<Utf8PathBuf>,
    /// Overwrite the keys on a stick with zeros and remove their partition; the image stays. With DEVICE, also find keys that an
    /// interrupted run left outside the partition table
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, value_parser = super::no_option, conflicts_with_all = ["image", "device_named", "keys", "resume"])]
    pub forget_keys: Option<Option<String>>,
    /// Continue an interrupted run of the same image; everything that it wrote is compared first
    #[arg(long)]
    pub resume: bool,
    /// Show the plan, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the stick powered on at the end
    #[arg(long)]
    pub no_eject: bool,
    /// Print progress and the result as JSON lines
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
