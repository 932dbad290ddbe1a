//! Words of an [`ImageFault`], and what to do about it.

use super::Words;
use crate::fault::{ImageFault, Remedy};

impl ImageFault {
    pub(super) fn words(&self) -> Words {
        match self {
            ImageFault::Missing { image } => Words::of(image, "there is no such file"),
            ImageFault::NoFile { image, found } => Words::of(
                image,
                format!("it is a {found}; an image is a file or a block device"),
            ),
            ImageFault::Foreign { image, magic } => Words::of(
                image,
                format!("it is no image of landfall: it does not begin with {magic}"),
            ),
            ImageFault::CutOff {
                image,
                found_bytes,
                wanted_bytes,
            } => Words::of(
                image,
                format!("it is cut off: {found_bytes} bytes are there, its header says {wanted_bytes}"),
            ),
            ImageFault::Newer {
                image,
                version,
                known,
            } => Words::of(
                image,
                format!("it has format version {version}, this landfall knows {known}"),
            ),
            ImageFault::Damaged { image, reason } => Words::of(image, format!("it is damaged: {reason}")),
            ImageFault::PartUnreadable {
                image,
                part,
                reads,
                said,
            } => Words::of(
                image,
                format!("{part} of the image cannot be read after {reads} tries: {said}"),
            ),
            ImageFault::PartWrong { image, part, reads } => Words::of(
                image,
                format!(
                    "{part} of the image is wrong after {reads} reads (its digest does not match): the medium with the image is bad"
                ),
            ),
            ImageFault::Differs { on, part } => Words::of(on, format!("it differs from the image in {part}")),
            ImageFault::NotExt4 { on, reason } => Words::of(
                on,
                format!("this is not a filesystem that landfall makes images of: {reason}"),
            ),
            ImageFault::OtherSystem {
                image,
                found,
                expected,
            } => Words::of(
                image,
                format!("it holds {found}, the configuration says {expected}"),
            ),
            ImageFault::NotPinned { image, found, pinned } => Words::of(
                image,
                format!(
                    "it is not the image that the configuration names: its digest is {found}, system.Image.digest is {pinned}"
                ),
            ),
            ImageFault::MediumGone { image, medium } => Words::of(
                image,
                format!(
                    "{medium} has no such file: the stick was pulled, or this system was started from another one"
                ),
            ),
            ImageFault::Changed {
                image,
                found,
                expected,
            } => Words::of(
                image,
                format!("it is another one now ({found}), the install began with {expected}"),
            ),
            ImageFault::WithoutSystem { image, system } => Words::of(
                format!("image {image} of {system}"),
                "the root filesystem on the target was written from another image, which does not have this system",
            ),
            ImageFault::Incomplete { on, missing } => {
                Words::of(on, format!("the image did not bring {missing}"))
            }
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            ImageFault::Missing { .. } | ImageFault::NoFile { .. } | ImageFault::Foreign { .. } => {
                Remedy::words(
                    "name the file that `landfall image build` made; `landfall image info FILE` shows what one is",
                )
            }
            ImageFault::CutOff { .. } => Remedy::words(
                "copy it to the installer's medium again, whole, then: landfall image verify FILE",
            ),
            ImageFault::Newer { .. } => Remedy::words(
                "use the landfall that made it, or make the image anew with this one: landfall image build",
            ),
            ImageFault::Damaged { .. } => Remedy::words(
                "copy the image to the installer's medium again, then: landfall image verify FILE",
            ),
            ImageFault::PartUnreadable { .. } | ImageFault::PartWrong { .. } => {
                Remedy::change("write the installer to another medium")
            }
            ImageFault::Differs { .. } => {
                Remedy::words("if the image shall be on it: landfall image write --erase IMAGE DEVICE")
            }
            ImageFault::NotExt4 { .. } => Remedy::words("landfall image build makes one that can be used"),
            ImageFault::OtherSystem { .. } => {
                Remedy::words("carry the image of this configuration, or correct system in the configuration")
            }
            ImageFault::NotPinned { image, .. } => Remedy::change(format!(
                "put the image there that was built with this configuration; where {image} is the right one, set system.Image.digest to what \
                 `landfall image info` says of it"
            )),
            ImageFault::MediumGone { .. } => Remedy::words(
                "plug the stick in and boot the installer from it again (\"Copy ISO Files to RAM\" needs memory for the whole stick; without it leave the stick in)",
            ),
            ImageFault::Changed { .. } => Remedy::words("put the first one back, or: landfall install"),
            ImageFault::WithoutSystem { .. } => Remedy::words(
                "put the first image back, then: landfall resume; or write everything anew: landfall install --reinstall",
            ),
            ImageFault::Incomplete { .. } => Remedy::words("make the image anew: landfall image build"),
        }
    }
}
