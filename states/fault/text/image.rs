//! Words of an [`ImageFault`], and what to do about it.

use super::Words;
use crate::fault::{ImageFault, Remedy};

impl ImageFault {
    #[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
    pub(super) fn words(&self) -> Words {
        match self {
            ImageFault::Missing { image } => Words::of(image, "this file does not exist"),
            ImageFault::NoFile { image, found } => Words::of(
                image,
                format!("it is a {found}; an image is a file or a block device"),
            ),
            ImageFault::Foreign { image, magic } => Words::of(
                image,
                format!("it is not a landfall image: it does not begin with {magic}"),
            ),
            ImageFault::CutOff {
                image,
                found_bytes,
                wanted_bytes,
            } => Words::of(
                image,
                format!("it is incomplete: it has {found_bytes} bytes, and its header states {wanted_bytes}"),
            ),
            ImageFault::Newer {
                image,
                version,
                known,
            } => Words::of(
                image,
                format!("it has format version {version}, and this landfall reads version {known}"),
            ),
            ImageFault::Damaged { image, reason } => Words::of(image, format!("it is damaged: {reason}")),
            ImageFault::PartUnreadable {
                image,
                part,
                reads,
                said,
            } => Words::of(
                image,
                format!("{part} of the image cannot be read after {reads} attempts: {said}"),
            ),
            ImageFault::PartWrong { image, part, reads } => Words::of(
                image,
                format!(
                    "{part} of the image does not match its digest after {reads} reads: the medium with the image is bad"
                ),
            ),
            ImageFault::Differs { on, part } => Words::of(on, format!("it differs from the image in {part}")),
            ImageFault::NotExt4 { on, reason } => Words::of(
                on,
                format!("landfall cannot make an image of this filesystem: {reason}"),
            ),
            ImageFault::OtherSystem {
                image,
                found,
                expected,
            } => Words::of(
                image,
                format!("it holds {found}, and the configuration names {expected}"),
            ),
            ImageFault::NotPinned { image, found, pinned } => Words::of(
                image,
                format!(
                    "it is not the image that the configuration names: its digest is {found}, and system.Image.digest is {pinned}"
                ),
            ),
            ImageFault::MediumGone { image, medium } => Words::of(
                image,
                format!(
                    "{medium} does not have this file: the stick was removed, or this system was started from another one"
                ),
            ),
            ImageFault::Changed {
                image,
                found,
                expected,
            } => Words::of(
                image,
                format!("it is now another image ({found}); the install started with {expected}"),
            ),
            ImageFault::WithoutSystem { image, system } => Words::of(
                format!("image {image} of {system}"),
                "the root filesystem on the target was written from another image, and that image does not have this system",
            ),
            ImageFault::Incomplete { on, missing } => {
                Words::of(on, format!("the image does not contain {missing}"))
            }
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            ImageFault::Missing { .. } | ImageFault::NoFile { .. } | ImageFault::Foreign { .. } => {
                Remedy::words("name a file that `landfall image build` made")
            }
            ImageFault::CutOff { .. } => Remedy::words(
                "copy the whole image to the installer's medium again, then: landfall image verify FILE",
            ),
            ImageFault::Newer { .. } => Remedy::words(
                "use the version of landfall that made it, or build the image again with this version: landfall image build",
            ),
            ImageFault::Damaged { .. } => Remedy::words(
                "copy the image to the installer's medium again, then: landfall image verify FILE",
            ),
            ImageFault::PartUnreadable { .. } | ImageFault::PartWrong { .. } => {
                Remedy::change("write the installer to another medium")
            }
            ImageFault::Differs { .. } => {
                Remedy::words("to write the image to it: landfall image write --erase IMAGE DEVICE")
            }
            ImageFault::NotExt4 { .. } => Remedy::words("make a usable image: landfall image build"),
            ImageFault::OtherSystem { .. } => {
                Remedy::words("use the image of this configuration, or correct `system` in the configuration")
            }
            ImageFault::NotPinned { image, .. } => Remedy::change(format!(
                "use the image that was built with this configuration; or, if {image} is the right one, set system.Image.digest to the digest \
                 that `landfall image info` shows"
            )),
            ImageFault::MediumGone { .. } => Remedy::words(
                "plug the stick in, boot the installer from it again, and leave the stick in (\"Copy ISO Files to RAM\" needs memory for the whole stick)",
            ),
            ImageFault::Changed { .. } => Remedy::words(
                "put the first image back, then: landfall resume; or use the new one: landfall install",
            ),
            ImageFault::WithoutSystem { .. } => Remedy::words(
                "put the first image back, then: landfall resume; or install again from the start: landfall install --reinstall",
            ),
            ImageFault::Incomplete { .. } => Remedy::words("build the image again: landfall image build"),
        }
    }
}
