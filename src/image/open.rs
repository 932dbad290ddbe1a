//! Opens an image.
//!
//! Everything that can be checked without reading the chunks is checked first: whether it is an image, its version, its length, and
//! its manifest. A chunk is returned only if its digest is right.

use super::bytes::Bytes;
use super::manifest::{Bounds, Chunk, HEADER_BYTES, Header, MANIFEST_BYTES_MAX, Manifest, digest};
use super::{Error, WORKERS_MAX, workers};
use landfall_states::image::READS_MAX;
use landfall_states::names::Digest;
use std::sync::Arc;

/// See the module.
#[derive(Clone)]
pub struct Opened {
    source: Arc<dyn Bytes>,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// Its identity.
    pub digest: Digest,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Threads that unpack it.
    pub threads: usize,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(&self.digest).finish()
    }
}

/// How far the medium reads ahead of what is unpacked, in bytes: while the target's queue is full of writes, a read waits long.
const AHEAD_BYTES: u64 = 32 << 20;

/// Reads a range, again when the medium reports an error.
fn read(source: &dyn Bytes, bytes: &mut [u8], at: u64, part: &str) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        match source.read_exact_at(bytes, at) {
            Ok(()) => return Ok(()),
            Err(_) if tries < READS_MAX => {
                tries += 1;
                forget(source, at, bytes.len() as u64, part)?;
            }
            Err(error) => {
                return Err(Error::SourceRead {
                    part: part.to_owned(),
                    error,
                });
            }
        }
    }
}

fn forget(source: &dyn Bytes, at: u64, bytes: u64, part: &str) -> Result<(), Error> {
    source.forget(at, bytes).map_err(|error| Error::SourceRead {
        part: part.to_owned(),
        error,
    })
}

/// Goes through a manifest before there is room for it: whether it holds no more than one can.
fn bounded(source: &dyn Bytes, header: &Header) -> Result<(), Error> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut bounds = Bounds::default();
    let mut piece = vec![0; header.manifest_bytes.min(PIECE_BYTES) as usize];
    let mut done = 0;
    while done < header.manifest_bytes {
        let bytes = PIECE_BYTES.min(header.manifest_bytes - done);
        // The last one is shorter.
        piece.truncate(bytes as usize);
        read(source, &mut piece, header.manifest_at + done, "the manifest")?;
        bounds
            .take(&piece)
            .map_err(|why| Error::Damaged(format!("manifest: {why}")))?;
        done += bytes;
    }
    Ok(())
}

impl Opened {
    /// Opens an image. Reads its header and manifest.
    ///
    /// # Errors
    /// The image cannot be read, is none, is damaged, or of a newer landfall.
    pub fn open(source: Arc<dyn Bytes>) -> Result<Opened, Error> {
        let found = source.length().map_err(|error| Error::SourceRead {
            part: "the length".into(),
            error,
        })?;
        // At most a page: it fits any `usize`.
        let mut page = vec![0; found.min(HEADER_BYTES as u64) as usize];
        read(&*source, &mut page, 0, "the header")?;
        let header = Header::decode(&page)?;
        let wanted = header.file_bytes();
        if header.manifest_bytes > MANIFEST_BYTES_MAX || header.manifest_at < HEADER_BYTES as u64 {
            return Err(Error::Damaged(format!(
                "header: a manifest of {} bytes at {}",
                header.manifest_bytes, header.manifest_at
            )));
        }
        if found < wanted {
            return Err(Error::Truncated { found, wanted });
        }
        if found > wanted {
            return Err(Error::Damaged(format!(
                "{} bytes follow its end, so it is not the original file",
                found - wanted
            )));
        }
        bounded(&*source, &header)?;
        let mut text = vec![0; header.manifest_bytes as usize];
        let mut tries = 1;
        loop {
            read(&*source, &mut text, header.manifest_at, "the manifest")?;
            if Digest::of(&text) == header.manifest {
                break;
            }
            if tries == READS_MAX {
                return Err(Error::Damaged("the manifest does not match the header".into()));
            }
            tries += 1;
            forget(
                &*source,
                header.manifest_at,
                header.manifest_bytes,
                "the manifest",
            )?;
        }
        let text = std::str::from_utf8(&text)
            .map_err(|e| Error::Damaged(format!("manifest: it is not text: {e}")))?;
        Ok(Opened {
            manifest: Arc::new(Manifest::decode(text, header.manifest_at)?),
            digest: header.manifest,
            file_bytes: wanted,
            threads: workers(),
            source,
        })
    }

    /// The same with so many threads, at most [`WORKERS_MAX`].
    pub fn with_threads(self, threads: usize) -> Opened {
        Opened {
            threads: threads.clamp(1, WORKERS_MAX),
            ..self
        }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.manifest.chunks.len() as u64
    }

    /// Reads the packed bytes of a chunk; what comes is not looked at.
    ///
    /// # Errors
    /// The medium reports an error.
    pub fn read_packed(&self, index: usize, packed: &mut [u8]) -> Result<usize, Error> {
        let chunk = self.chunk(index)?;
        // Bounded by `PACKED_BYTES_MAX`, which the manifest was checked against.
        let length = chunk.packed_bytes as usize;
        let packed = packed.get_mut(..length).ok_or_else(|| self.too_long(index))?;
        read(&*self.source, packed, chunk.at, &self.part(index))?;
        Ok(length)
    }

    /// Lets the medium begin with what lies up to `AHEAD_BYTES` behind a chunk, as far as it was not begun with; gives how far
    /// that is.
    pub fn read_ahead(&self, index: usize, begun: u64) -> u64 {
        let Some(chunk) = self.manifest.chunks.get(index) else {
            return begun;
        };
        let (from, until) = (begun.max(chunk.at), chunk.at + AHEAD_BYTES);
        // Not for every chunk: each time the kernel looks for what it has already.
        if until < begun + AHEAD_BYTES / 4 {
            return begun;
        }
        self.source.ahead(from, until - from);
        until
    }

    /// Unpacks a chunk and looks at its digest. When that is wrong, the packed bytes are read again, from the medium.
    /// Gives the length of the plain bytes.
    ///
    /// # Errors
    /// The medium reports an error, or gives wrong bytes as often as it is asked.
    pub fn unpack(
        &self,
        index: usize,
        unpacker: &mut zstd::bulk::Decompressor<'_>,
        packed: &mut [u8],
        plain: &mut [u8],
    ) -> Result<usize, Error> {
        let chunk = self.chunk(index)?;
        let length = chunk.plain_bytes() as usize;
        let packed = packed.get_mut(..chunk.packed_bytes as usize);
        let packed = packed.ok_or_else(|| self.too_long(index))?;
        let room = plain.get_mut(..length).ok_or_else(|| self.too_long(index))?;
        let mut tries = 1;
        loop {
            let right = unpacker
                .decompress_to_buffer(packed, room)
                .is_ok_and(|unpacked| unpacked == length && digest(room) == chunk.digest);
            if right {
                return Ok(length);
            }
            if tries == READS_MAX {
                return Err(Error::SourceBytes {
                    part: self.part(index),
                });
            }
            tries += 1;
            forget(&*self.source, chunk.at, chunk.packed_bytes, &self.part(index))?;
            read(&*self.source, packed, chunk.at, &self.part(index))?;
        }
    }

    fn too_long(&self, index: usize) -> Error {
        Error::Damaged(format!("{} is longer than its buffer", self.part(index)))
    }

    /// A chunk by its number.
    pub(super) fn chunk(&self, index: usize) -> Result<&Chunk, Error> {
        self.manifest.chunks.get(index).ok_or_else(|| {
            Error::Damaged(format!(
                "there is no chunk {index}; the image has {}",
                self.chunks()
            ))
        })
    }

    /// A chunk in words.
    pub fn part(&self, index: usize) -> String {
        match self.manifest.chunks.get(index) {
            Some(chunk) => format!(
                "chunk {index} of {} ({} bytes at byte {} of the image file)",
                self.chunks(),
                chunk.packed_bytes,
                chunk.at
            ),
            None => format!("chunk {index} of {}", self.chunks()),
        }
    }
}
