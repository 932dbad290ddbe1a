//! The bytes of a disk that no table and no signature describes: which ranges that are, and what their bytes say.
//!
//! Nothing is written, and every read is bounded (`blank`).
//!
//! `contents` says what follows from it.

use super::blank::{Blankness, Extent, Look};
use super::extent::{self, End};
use super::loader::Code;
use super::outside;
use super::partitions::Place;
use super::signature::Signature;
use crate::real::table::gpt::OnDisk;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::plan::DiskIdentity;
use std::io::{self, Read, Seek};

const MIB: u64 = 1 << 20;

/// What tables and signatures say of a disk, before its other bytes are looked at.
pub(super) struct Known<'k> {
    pub(super) disk: &'k DiskIdentity,
    pub(super) on_disk: &'k OnDisk,
    pub(super) places: &'k [Place],
    /// Signatures on the disk itself.
    pub(super) whole: &'k [Signature],
}

impl Known<'_> {
    /// Where something is on the disk itself: its end.
    pub(super) fn end<D: Read + Seek>(&self, file: &mut D) -> io::Result<End> {
        if self.places.is_empty() && !self.whole.is_empty() {
            extent::end(file, self.whole, self.disk.size_bytes)
        } else {
            Ok(End::Whole)
        }
    }

    /// The ranges that nothing describes.
    pub(super) fn unlisted<D: Read + Seek>(
        &self,
        file: &mut D,
        end: &End,
        code: Option<&Code>,
    ) -> io::Result<Vec<(u64, u64)>> {
        match end {
            End::At(from) => Ok(behind(*from, self.disk.size_bytes)),
            End::Whole | End::Unknown if self.places.is_empty() => Ok(vec![]),
            End::Whole | End::Unknown => self.beside(file, code, self.whole.is_empty()),
        }
    }

    fn beside<D: Read + Seek>(
        &self,
        file: &mut D,
        code: Option<&Code>,
        bare: bool,
    ) -> io::Result<Vec<(u64, u64)>> {
        outside::beside(file, self.on_disk, self.places, self.disk, code, bare)
    }

    /// What the bytes of the disk say; `None` where something is known of it.
    pub(super) fn bytes<D: Read + Seek>(&self, file: &mut D, how: &Look) -> io::Result<Option<Blankness>> {
        if !self.whole.is_empty() || !self.places.is_empty() {
            return Ok(None);
        }
        let size = self.disk.size_bytes;
        Ok(Some(if has_table(self.on_disk) {
            // Everything but the table itself.
            let ranges = self.beside(file, None, true)?;
            proof_of_ranges(file, how, &ranges)
        } else if self.on_disk.empty_mbr {
            // A table of no partitions: what it would have described. An MBR is one sector, with the code of a boot loader in it.
            how.proof(file, 512.min(size), size.saturating_sub(512), Extent::Unlisted)
        } else {
            how.proof(file, 0, size, Extent::Unlisted)
        }))
    }
}

/// What the bytes of ranges say, up to the first that is not blank.
fn proof_of_ranges<D: Read + Seek>(file: &mut D, how: &Look, ranges: &[(u64, u64)]) -> Blankness {
    let mut found = Blankness::Blank;
    for (from, bytes) in ranges {
        match how.proof(file, *from, *bytes, Extent::Unlisted) {
            Blankness::Blank => {}
            Blankness::BlankWhereRead => found = Blankness::BlankWhereRead,
            Blankness::Data(at) => return Blankness::Data(from.saturating_add(at)),
            Blankness::Unreadable(at, why) => return Blankness::Unreadable(from.saturating_add(at), why),
        }
    }
    found
}

/// What lies behind something, up to the end of the disk. Less than a MiB is what rounding leaves.
fn behind(from: u64, size: u64) -> Vec<(u64, u64)> {
    let bytes = size.saturating_sub(from);
    if bytes > MIB { vec![(from, bytes)] } else { vec![] }
}

/// Whether there is a table of the kinds that are read, whatever is in it.
pub(super) fn has_table(on_disk: &OnDisk) -> bool {
    let OnDisk {
        primary,
        backup,
        protective_mbr,
        mbr,
        mbr_sector_bytes: _,
        empty_mbr: _,
        mbr_signature: _,
        other,
    } = on_disk;
    *protective_mbr
        || !mbr.is_empty()
        || other.is_some()
        || [primary, backup].into_iter().any(|copy| *copy != GptCopy::Absent)
}
