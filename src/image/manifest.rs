//! The format of an image, as text.
//!
//! Pure. Any bytes give a consistent manifest or an error that says why. Equal manifests are equal bytes.
//!
//! ```text
//! LANDFALL-IMAGE 1 at=<20 digits> len=<12 digits> manifest=<64 digits> sha256=<64 digits over the rest of the page>
//! …line feeds up to byte 4,096…
//! chunk 0, chunk 1, …              each a zstd frame of its own
//! landfall-image-manifest 1        the manifest: up to the end of the file
//! system /nix/store/…
//! filesystem <bytes>
//! boot <bytes of kernel and initrd>
//! zero <first block> <blocks>                                       must read as zero, not carried; ascending
//! chunk <offset> <packed bytes> <sha256> <first block>+<blocks>,…   ascending
//! end <number of chunks>
//! ```
//!
//! The header's form is the same in every version to come, and its digest is checked before its version: a flipped bit is
//! damage, never "newer". The digest of the manifest is the identity of the image, because it holds the digest of every
//! chunk.
//!
//! `image::open` and `image::pack` read and write.

use super::{BLOCK_BYTES, CHUNK_BYTES_MAX, Error, PACKED_BYTES_MAX};
use landfall_states::image::Image;
use landfall_states::names::{Digest, StorePath, quoted};
use sha2::Digest as _;
use std::fmt::Write as _;

/// How an image begins.
pub const MAGIC: &str = "LANDFALL-IMAGE";
/// The format that is written.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4_096;
/// Longest manifest; an image of 16 TiB needs less.
pub const MANIFEST_BYTES_MAX: u64 = 512 << 20;
/// Longest line of a manifest; a chunk has at most 1,024 blocks, and so as many extents.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most extents of an image: those of a full filesystem of many terabytes, and 128 MiB in memory.
const EXTENTS_MAX: u64 = 8 << 20;
const FIRST_LINE: &str = "landfall-image-manifest 1";

/// What the first page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where the manifest begins, in bytes.
    pub manifest_at: u64,
    /// Its length, in bytes.
    pub manifest_bytes: u64,
    /// Its digest.
    pub manifest: Digest,
}

/// Blocks that lie together, counted from the start of the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first block.
    pub first: u64,
    /// How many; never 0.
    pub blocks: u64,
}

impl Extent {
    /// Where it begins, in bytes.
    pub fn at(&self) -> u64 {
        self.first * BLOCK_BYTES as u64
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES as u64
    }

    /// The block behind it.
    pub fn end(&self) -> u64 {
        self.first + self.blocks
    }
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it lies in the image, in bytes.
    pub at: u64,
    /// Bytes there.
    pub packed_bytes: u64,
    /// SHA-256 of the plain bytes.
    pub digest: [u8; 32],
    /// Where the plain bytes go, ascending.
    pub extents: Vec<Extent>,
}

impl Chunk {
    /// Plain bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.extents.iter().map(Extent::bytes).sum()
    }
}

/// Everything that an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The system in it.
    pub system: StorePath,
    /// Size of the filesystem, in bytes.
    pub filesystem_bytes: u64,
    /// Bytes of the system's kernel and initrd.
    pub boot_bytes: u64,
    /// What must read as zero and is not carried.
    pub zero: Vec<Extent>,
    /// The chunks, in the order of the disk.
    pub chunks: Vec<Chunk>,
}

/// SHA-256 of plain bytes.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

impl Header {
    /// The page.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(FORMAT_VERSION)
    }

    fn encode_as(&self, version: u32) -> Vec<u8> {
        let head = format!(
            "{MAGIC} {version} at={:020} len={:012} manifest={} sha256=",
            self.manifest_at, self.manifest_bytes, self.manifest
        );
        let rest = vec![b'\n'; HEADER_BYTES - head.len() - 64];
        let mut page = head.clone().into_bytes();
        page.extend_from_slice(around(head.as_bytes(), &rest).as_str().as_bytes());
        page.extend_from_slice(&rest);
        page
    }

    /// Reads a page. Fewer bytes than a page are a file that was cut off, when what is there begins as an image does.
    ///
    /// # Errors
    /// The page is none of an image's, is damaged, or of a newer landfall.
    pub fn decode(page: &[u8]) -> Result<Header, Error> {
        let magic = &MAGIC.as_bytes()[..page.len().min(MAGIC.len())];
        if page.is_empty() || !page.starts_with(magic) {
            return Err(Error::Foreign);
        }
        if page.len() < HEADER_BYTES {
            return Err(Error::Truncated {
                found: page.len() as u64,
                wanted: HEADER_BYTES as u64,
            });
        }
        let damaged = |why: &str| Error::Damaged(format!("header: {why}"));
        let end = page
            .iter()
            .take(400)
            .position(|&b| b == b'\n')
            .ok_or_else(|| damaged("it has no end"))?;
        let line = std::str::from_utf8(&page[..end]).map_err(|_| damaged("it is not text"))?;
        let form = || damaged("it does not have the right form");
        let mut words = line.split(' ').skip(1);
        let version: u32 = words.next().and_then(|w| w.parse().ok()).ok_or_else(form)?;
        let mut field = |name: &str| words.next().and_then(|w| w.strip_prefix(name)).ok_or_else(form);
        let manifest_at = field("at=")?.parse().map_err(|_| form())?;
        let manifest_bytes = field("len=")?.parse().map_err(|_| form())?;
        let manifest = field("manifest=")?.parse().map_err(|_| form())?;
        let said: Digest = field("sha256=")?.parse().map_err(|_| form())?;
        if words.next().is_some() {
            return Err(form());
        }
        if around(&page[..end - 64], &page[end..HEADER_BYTES]) != said {
            return Err(damaged("its digest does not match"));
        }
        // No landfall made an older one: to look for the version that did would lead nowhere.
        if version < FORMAT_VERSION {
            return Err(damaged(&format!("no version of landfall made format {version}")));
        }
        if version > FORMAT_VERSION {
            return Err(Error::Newer { version });
        }
        Ok(Header {
            manifest_at,
            manifest_bytes,
            manifest,
        })
    }

    /// Bytes that the whole file has.
    pub fn file_bytes(&self) -> u64 {
        self.manifest_at.saturating_add(self.manifest_bytes)
    }
}

/// SHA-256 over everything but the digest's own digits.
fn around(head: &[u8], tail: &[u8]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(head);
    hash.update(tail);
    Digest::from_raw(&hash.finalize())
}

impl Manifest {
    /// The text.
    pub fn encode(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nsystem {}\nfilesystem {}\nboot {}\n",
            self.system, self.filesystem_bytes, self.boot_bytes
        );
        for run in &self.zero {
            text.push_str(&format!("zero {} {}\n", run.first, run.blocks));
        }
        for chunk in &self.chunks {
            let places: Vec<String> = chunk
                .extents
                .iter()
                .map(|e| format!("{}+{}", e.first, e.blocks))
                .collect();
            // Writing to a string cannot fail.
            let digits = chunk.digest.iter().fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").unwrap_or_default();
                digits
            });
            text.push_str(&format!(
                "chunk {} {} {digits} {}\n",
                chunk.at,
                chunk.packed_bytes,
                places.join(",")
            ));
        }
        text.push_str(&format!("end {}\n", self.chunks.len()));
        text
    }

    /// Reads a text, and checks that it holds together and belongs to a file of which the chunks take `chunks_end` bytes,
    /// header included.
    ///
    /// # Errors
    /// The text is damaged, contradicts itself, or belongs to another file.
    pub fn decode(text: &str, chunks_end: u64) -> Result<Manifest, Error> {
        parse(text)
            .and_then(|manifest| manifest.check(chunks_end).map(|()| manifest))
            .map_err(|why| Error::Damaged(format!("manifest: {why}")))
    }

    fn check(&self, chunks_end: u64) -> Result<(), String> {
        let Manifest {
            system: _,
            filesystem_bytes,
            boot_bytes: _,
            zero,
            chunks,
        } = self;
        if *filesystem_bytes == 0 || filesystem_bytes % BLOCK_BYTES as u64 != 0 {
            return Err(format!("a filesystem of {filesystem_bytes} bytes"));
        }
        let end = filesystem_bytes / BLOCK_BYTES as u64;
        ascending("zero", zero.iter(), end)?;
        ascending("chunk", chunks.iter().flat_map(|c| &c.extents), end)?;
        let mut both: Vec<&Extent> = zero
            .iter()
            .chain(chunks.iter().flat_map(|c| &c.extents))
            .collect();
        both.sort_by_key(|extent| extent.first);
        ascending("zero and chunk", both.into_iter(), end)?;
        let mut at = HEADER_BYTES as u64;
        for (index, chunk) in chunks.iter().enumerate() {
            let plain = chunk.plain_bytes();
            if chunk.at != at {
                return Err(format!("chunk {index} is at {}, not at {at}", chunk.at));
            }
            if plain == 0 || plain > CHUNK_BYTES_MAX as u64 {
                return Err(format!("chunk {index} has {plain} plain bytes"));
            }
            if chunk.packed_bytes == 0 || chunk.packed_bytes > PACKED_BYTES_MAX as u64 {
                return Err(format!("chunk {index} has {} packed bytes", chunk.packed_bytes));
            }
            at += chunk.packed_bytes;
        }
        if at != chunks_end {
            return Err(format!(
                "the chunks end at {at}, the manifest begins at {chunks_end}"
            ));
        }
        // The superblock is how a filesystem is known; it is written first.
        match chunks.first().and_then(|c| c.extents.first()) {
            Some(extent) if extent.first == 0 => Ok(()),
            Some(_) | None => Err("the first chunk does not begin with block 0".into()),
        }
    }

    /// Plain bytes of all chunks.
    pub fn plain_bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::plain_bytes).sum()
    }

    /// Bytes of everything that is zeroed.
    pub fn zero_bytes(&self) -> u64 {
        self.zero.iter().map(Extent::bytes).sum()
    }

    /// What the image leaves out of its filesystem: blocks that are neither carried nor zeroed.
    pub fn free(&self) -> Vec<Extent> {
        let carried = self.chunks.iter().flat_map(|chunk| &chunk.extents);
        let mut used: Vec<Extent> = carried.chain(&self.zero).copied().collect();
        used.sort_unstable_by_key(|extent| extent.first);
        let end = self.filesystem_bytes / BLOCK_BYTES as u64;
        let mut free = Vec::new();
        let mut from = 0;
        for extent in used.iter().chain(&[Extent {
            first: end,
            blocks: 0,
        }]) {
            if let Some(blocks) = extent.first.checked_sub(from).filter(|blocks| *blocks > 0) {
                free.push(Extent { first: from, blocks });
            }
            from = from.max(extent.end());
        }
        free
    }

    /// What decisions need of it.
    pub fn summary(&self, file: &str, digest: &Digest) -> Image {
        Image {
            file: file.to_owned(),
            digest: digest.clone(),
            system: self.system.clone(),
            filesystem_bytes: self.filesystem_bytes,
            plain_bytes: self.plain_bytes(),
            boot_bytes: self.boot_bytes,
            chunks: self.chunks.len() as u64,
        }
    }
}

fn ascending<'a>(what: &str, extents: impl Iterator<Item = &'a Extent>, blocks: u64) -> Result<(), String> {
    let mut behind = 0;
    for extent in extents {
        let end = extent
            .first
            .checked_add(extent.blocks)
            .filter(|end| *end <= blocks);
        match end {
            Some(end) if extent.blocks > 0 && extent.first >= behind => behind = end,
            Some(_) | None => {
                return Err(format!(
                    "{what}: blocks {}+{} are out of order (they must be after block {behind} of {blocks})",
                    extent.first, extent.blocks
                ));
            }
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Manifest, String> {
    let mut bounds = Bounds::default();
    bounds.take(text.as_bytes())?;
    let mut lines = text.split_terminator('\n');
    if lines.next() != Some(FIRST_LINE) || !text.ends_with('\n') {
        return Err("it does not begin or end like a manifest".into());
    }
    let mut value = |name: &str| {
        lines
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .ok_or_else(|| format!("the line {} is missing", quoted(name)))
    };
    let system = value("system")?.parse().map_err(|e| format!("{e}"))?;
    let filesystem_bytes = number(value("filesystem")?)?;
    let boot_bytes = number(value("boot")?)?;
    let (mut zero, mut chunks, mut ended) = (Vec::new(), Vec::new(), false);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            _ if ended => return Err(format!("{} is after its end", quoted(line))),
            ["zero", first, blocks] if chunks.is_empty() => zero.push(Extent {
                first: number(first)?,
                blocks: number(blocks)?,
            }),
            ["chunk", at, packed, digits, places] => chunks.push(Chunk {
                at: number(at)?,
                packed_bytes: number(packed)?,
                digest: raw_digest(digits)?,
                extents: places.split(',').map(place).collect::<Result<_, _>>()?,
            }),
            ["end", count] if number(count)? == chunks.len() as u64 => ended = true,
            _ => return Err(format!("the line {} is not understood", quoted(line))),
        }
    }
    if !ended {
        return Err("it has no end".into());
    }
    Ok(Manifest {
        system,
        filesystem_bytes,
        boot_bytes,
        zero,
        chunks,
    })
}

/// How much a manifest holds, counted piece by piece before any of it is kept: no line is longer than a chunk can make it, and there
/// are no more places than the filesystem that it names has blocks, since every place has a block of its own.
#[derive(Debug, Default)]
pub struct Bounds {
    line: u64,
    line_bytes: usize,
    /// The beginning of a line, as far as it says what the line is and how large the filesystem.
    begin: Vec<u8>,
    commas: u64,
    places: u64,
    filesystem_bytes: Option<u64>,
}

impl Bounds {
    /// The next piece.
    ///
    /// # Errors
    /// A line is none of a registration's.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        for byte in piece {
            if *byte == b'\n' {
                self.end_line()?;
                continue;
            }
            self.line_bytes += 1;
            if self.line_bytes > LINE_BYTES_MAX {
                return Err(format!("line {} is too long: {} …", self.line + 1, self.begun()));
            }
            if self.begin.len() < 40 {
                self.begin.push(*byte);
            }
            self.commas += u64::from(*byte == b',');
        }
        Ok(())
    }

    fn begun(&self) -> String {
        quoted(&String::from_utf8_lossy(&self.begin))
    }

    fn end_line(&mut self) -> Result<(), String> {
        if self.line == 2 {
            let text = String::from_utf8_lossy(&self.begin);
            self.filesystem_bytes = text
                .strip_prefix("filesystem ")
                .and_then(|text| text.parse().ok());
        }
        if self.begin.starts_with(b"zero ") || self.begin.starts_with(b"chunk ") {
            self.places += 1 + self.commas;
        }
        let bytes = self.filesystem_bytes.unwrap_or(0);
        let most = EXTENTS_MAX.min(bytes / BLOCK_BYTES as u64);
        if self.places > most {
            return Err(format!(
                "it has more extents than the {most} that a filesystem of {bytes} bytes can have"
            ));
        }
        self.line += 1;
        self.line_bytes = 0;
        self.begin.clear();
        self.commas = 0;
        Ok(())
    }
}

/// Digits only: a sign or a leading zero would be a second way to write the same manifest.
fn number(text: &str) -> Result<u64, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("{} is not a number", quoted(text)))
}

fn place(text: &str) -> Result<Extent, String> {
    let (first, blocks) = text
        .split_once('+')
        .ok_or_else(|| format!("{} is not a position", quoted(text)))?;
    Ok(Extent {
        first: number(first)?,
        blocks: number(blocks)?,
    })
}

fn raw_digest(text: &str) -> Result<[u8; 32], String> {
    let bad = || format!("{} is not a digest", quoted(text));
    let digest: Digest = text.parse().map_err(|_| bad())?;
    let mut raw = [0; 32];
    for (byte, digits) in raw.iter_mut().zip(digest.as_str().as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
    }
    Ok(raw)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
