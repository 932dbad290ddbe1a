//! A prebuilt system as an image of its root filesystem, as far as decisions need it.
//!
//! The progress of an image is a claim like every other: it saves work, and everything it claims is proved by reading back
//! before the commit.
//!
//! The program's `image` has the chunks, the bytes and the devices.

use crate::names::{Digest, StorePath};
use serde::{Deserialize, Serialize};

/// How often a chunk of an image is read before its medium is reported as bad.
pub const READS_MAX: u32 = 3;

/// An image, as its own manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Path of the image file on the installer.
    pub file: String,
    /// Digest of its manifest, which holds the digest of every chunk: the identity of the image.
    pub digest: Digest,
    /// The system in it.
    pub system: StorePath,
    /// Size of its filesystem, in bytes: no smaller partition can take it.
    pub filesystem_bytes: u64,
    /// Bytes that are written.
    pub plain_bytes: u64,
    /// Bytes of kernel and initrd of the system.
    pub boot_bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
}

/// How far the writing of an image has come: chunks below this number were written and flushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProgress {
    /// Which image; see [`Image::digest`].
    #[serde(rename = "image")]
    pub image: Digest,
    /// Chunks that are durable, counted from the first.
    #[serde(rename = "chunks")]
    pub chunks: u64,
}

impl ImageProgress {
    /// The text that `landfall image write --resume` keeps.
    ///
    /// # Errors
    /// What the serialiser says.
    pub fn to_text(&self) -> Result<String, String> {
        ron::to_string(self).map_err(|e| e.to_string())
    }

    /// Reads such a text.
    ///
    /// # Errors
    /// The text is none that [`to_text`](Self::to_text) makes.
    pub fn from_text(text: &str) -> Result<ImageProgress, String> {
        ron::from_str(text).map_err(|e| e.to_string())
    }

    /// Whether this says more of the same image than `other` does.
    pub fn is_beyond(&self, other: Option<&ImageProgress>) -> bool {
        match other {
            Some(other) if other.image == self.image => self.chunks > other.chunks,
            Some(_) | None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SystemSource;

    #[test]
    fn only_an_image_is_one() {
        let system: StorePath = format!("/nix/store/{}-nixos-system-web", "a".repeat(32))
            .parse()
            .unwrap();
        let image = Image {
            file: "/iso/root.image".into(),
            digest: Digest::of(b"image"),
            system: system.clone(),
            filesystem_bytes: 1 << 30,
            plain_bytes: 1 << 29,
            boot_bytes: 1,
            chunks: 100,
        };
        assert_eq!(SystemSource::Image(Box::new(image.clone())).image(), Some(&image));
        for other in [SystemSource::Prebuilt(system), SystemSource::Flake] {
            assert_eq!(other.image(), None);
        }
    }

    #[test]
    fn only_more_of_the_same_image_is_beyond() {
        let at = |image: &str, chunks| ImageProgress {
            image: Digest::of(image.as_bytes()),
            chunks,
        };
        assert!(at("a", 2).is_beyond(Some(&at("a", 1))));
        assert!(!at("a", 1).is_beyond(Some(&at("a", 1))));
        assert!(at("a", 0).is_beyond(None));
        assert!(at("b", 0).is_beyond(Some(&at("a", 9))));
    }
}
