//! Reads images from the operator's disk.
//!
//! The first bytes of an image decide what it is, not its name. The whole image is read once before anything is written, so a damaged
//! or wrong file costs no stick. Every later read is compared with the digests of the first one.

use super::chunks::{self, Chunk, Round};
use super::error::Error;
use super::kind::{self, Packing, boots_not, sniffed};
use super::{CHUNK_BYTES, HEAD_BYTES, Watch, listed};
use crate::image::pool::Buffer;
use crate::real::disk::usage::shell;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A SHA-256.
pub type Sum = [u8; 32];
/// Bytes that are read of a packed image at once.
const PACKED_BYTES: usize = 256 << 10;
/// Largest window of a zstd image, as a power of two: 128 MiB of memory, as `zstd --ultra -22` needs.
const WINDOW_LOG_MAX: u32 = 27;
/// Most memory that unpacking an xz image may take.
const XZ_MEMORY_BYTES_MAX: u64 = 132 << 20;
/// Longest list of digests beside an image.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// An image.
#[derive(Debug)]
pub struct Source {
    path: Utf8PathBuf,
    file: File,
    file_bytes: u64,
    packing: Packing,
}

/// What the first reading of all of it gave.
#[derive(Debug)]
pub struct Digests {
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Of all of them.
    pub sha256: Sum,
    /// Of each chunk.
    pub chunks: Vec<Sum>,
    /// The bytes that are written last.
    pub head: Buffer,
    /// The list of digests that agreed, if there is one.
    pub agreed: Option<Utf8PathBuf>,
}

impl Digests {
    /// Why firmware may not boot it.
    pub fn boots_not(&self) -> Option<&'static str> {
        boots_not(self.head.bytes())
    }
}

/// As sha256sum writes it.
pub fn hexadecimal(sum: &Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Source {
    /// Opens an image.
    ///
    /// # Errors
    /// The file cannot be opened, or is no image that can be unpacked here.
    pub fn open(path: &Utf8Path) -> Result<Source, Error> {
        let file =
            safe_open::open(path, Links::Follow).map_err(|refused| refused.fault(format!("image {path}")))?;
        let no_image = |reason: &str, next: &str| Error::NoImage {
            path: path.to_string(),
            reason: reason.to_owned(),
            next: next.replace("FILE", &shell(path.as_str())),
        };
        let failed = |error| Error::Source {
            path: path.to_string(),
            at: 0,
            error,
        };
        let file_bytes = file.metadata().map_err(failed)?.len();
        if file_bytes == 0 {
            return Err(no_image("it is empty", "download or build it again"));
        }
        let mut head = [0; kind::HEAD_BYTES];
        let wanted = usize::try_from(file_bytes).unwrap_or(usize::MAX).min(head.len());
        file.read_exact_at(&mut head[..wanted], 0).map_err(failed)?;
        let packing = sniffed(&head[..wanted]).map_err(|(what, next)| no_image(what, next))?;
        for other in [Packing::Zstd, Packing::Xz, Packing::Gzip] {
            let Some((name, ending)) = other.name() else {
                continue;
            };
            if path.as_str().ends_with(ending) && packing != other {
                return Err(no_image(
                    &format!("its name ends in {ending}, but it is not packed with {name}"),
                    "download it again, or rename it to its real format",
                ));
            }
        }
        Ok(Source {
            path: path.to_owned(),
            file,
            file_bytes,
            packing,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    fn failed(&self, at: u64, error: io::Error) -> Error {
        let path = self.path.to_string();
        match self.packing.name() {
            Some((packing, _)) if takes_more_memory(&error) => Error::NoImage {
                path,
                reason: format!(
                    "unpacking it ({packing}) needs more than 128 MiB of memory, which is landfall's limit"
                ),
                next: format!("unpack it first: {}", self.unpack()),
            },
            // An error of the system is of the file; others are the library's.
            Some((packing, _)) if error.raw_os_error().is_none() => Error::Packed {
                path,
                packing,
                reason: crate::os_error::said(&error),
                at,
            },
            Some(_) | None => Error::Source { path, at, error },
        }
    }

    /// The command that unpacks it.
    fn unpack(&self) -> String {
        self.packing.unpack().replace("FILE", &shell(self.path.as_str()))
    }

    /// Its bytes from the start, unpacked; `read` counts those of the file.
    fn stream(&self, read: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send + '_>> {
        let counted = Counted {
            file: &self.file,
            at: 0,
            count: read.clone(),
        };
        let packed = |counted| BufReader::with_capacity(PACKED_BYTES, counted);
        Ok(match self.packing {
            Packing::Plain => Box::new(counted),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed(counted))?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Packing::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, CONCATENATED)?;
                Box::new(XzDecoder::new_stream(packed(counted), stream))
            }
            Packing::Gzip => Box::new(Members::of(packed(counted))),
        })
    }

    /// Its chunks, read in a thread of their own. `read` counts the bytes of the file.
    ///
    /// # Errors
    /// The file cannot be opened a second time, or the thread does not start.
    pub fn chunks<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        read: &Arc<AtomicU64>,
    ) -> Result<Round, Error> {
        let mut stream = self.stream(read).map_err(|error| self.failed(0, error))?;
        Ok(chunks::filled(scope, move |index, buffer| {
            let at = index * CHUNK_BYTES as u64;
            let length = read_full(&mut stream, buffer.bytes_mut())
                .map_err(|(read, error)| self.failed(at + read as u64, error))?;
            Ok((length > 0).then_some(length))
        }))
    }

    /// Bytes that it has at least, known without reading it.
    pub fn bytes_min(&self) -> u64 {
        match self.packing {
            Packing::Plain => self.file_bytes,
            Packing::Zstd | Packing::Xz | Packing::Gzip => 0,
        }
    }

    /// Whether it is the file of these numbers, of a device and within it. Btrfs gives the device of a file by another number: there
    /// the number within it is enough to refuse.
    pub fn is_file(&self, (device, number): (u64, u64)) -> bool {
        self.file
            .metadata()
            .is_ok_and(|mine| mine.ino() == number && (mine.dev() == device || is_btrfs(&self.file)))
    }

    /// Whether it is the file of this name.
    ///
    /// # Errors
    /// The file or the name cannot be looked at.
    pub fn is_at(&self, path: &Utf8Path) -> io::Result<bool> {
        let (mine, other) = (self.file.metadata()?, fs_err::metadata(path)?);
        Ok((mine.dev(), mine.ino()) == (other.dev(), other.ino()))
    }

    /// Reads all of it for the first time, and holds it against the list of digests beside it. What has more bytes than `fits` is not
    /// read to its end.
    ///
    /// # Errors
    /// The image cannot be read or unpacked, is damaged or too large, has another digest than the list says, or somebody stops it.
    pub fn look(&self, fits: Option<(&str, u64)>, watch: &dyn Watch) -> Result<Digests, Error> {
        let read = Arc::new(AtomicU64::new(0));
        let (mut whole, mut sums, mut bytes) = (Sha256::new(), vec![], 0);
        let mut head = Buffer::new(HEAD_BYTES);
        thread::scope(|scope| {
            let round = self.chunks(scope, &read)?;
            while let Some(chunk) = round.next()? {
                if watch.stops() {
                    return Err(Error::StoppedBefore {
                        doing: format!("the image {} was read", self.path),
                    });
                }
                if chunk.index == 0 {
                    let length = chunk.length.min(HEAD_BYTES);
                    head.bytes_mut()[..length].copy_from_slice(&chunk.bytes()[..length]);
                }
                // Both digests at once: each takes a processor as long as reading does.
                let sum = thread::scope(|scope| {
                    scope.spawn(|| whole.update(chunk.bytes()));
                    sum_of(&chunk)
                });
                sums.push(sum);
                bytes += chunk.length as u64;
                if let Some((stick, has_bytes)) = fits
                    && bytes > has_bytes
                {
                    return Err(Error::TooSmall {
                        stick: stick.to_owned(),
                        has_bytes,
                        wanted_bytes: bytes,
                        is_all: false,
                    });
                }
                round.done(chunk);
                // What is read runs ahead of what is looked at: the end is told once.
                let done = read.load(Ordering::Relaxed).min(self.file_bytes - 1);
                watch.progress("read the image", done, self.file_bytes);
            }
            Ok::<_, Error>(())
        })?;
        watch.progress("read the image", self.file_bytes, self.file_bytes);
        if bytes == 0 {
            return Err(Error::NoImage {
                path: self.path.to_string(),
                reason: "it contains nothing".into(),
                next: "download or build it again".into(),
            });
        }
        self.look_inside(
            &head.bytes()[..kind::HEAD_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX))],
        )?;
        let mut digests = Digests {
            bytes,
            sha256: whole.finalize().into(),
            chunks: sums,
            head,
            agreed: None,
        };
        digests.agreed = self.hold_against_lists(&digests.sha256)?;
        Ok(digests)
    }

    /// What is packed is an image too, and not packed once more.
    fn look_inside(&self, head: &[u8]) -> Result<(), Error> {
        let (what, next) = match (self.packing, sniffed(head)) {
            (Packing::Plain, _) | (_, Ok(Packing::Plain)) => return Ok(()),
            (_, Ok(_)) => ("its contents are packed again", "unpack them too"),
            (_, Err(other)) => other,
        };
        Err(Error::NoImage {
            path: self.path.to_string(),
            reason: format!("its contents: {what}"),
            next: format!(
                "{}; then, with the result: {}",
                self.unpack(),
                next.replace("FILE", "NEW.img")
            ),
        })
    }

    /// Where the lists of digests may be: of the file as it lies there, and, where that is packed, of what is packed.
    fn hold_against_lists(&self, unpacked: &Sum) -> Result<Option<Utf8PathBuf>, Error> {
        let name = self.path.file_name().unwrap_or_default();
        let mut agreed = None;
        let plain = self
            .packing
            .name()
            .and_then(|(_, ending)| self.path.as_str().strip_suffix(ending));
        let of_file = (self.path.to_string(), name, self.packing == Packing::Plain);
        let of_plain = plain.map(|plain| {
            let name = Utf8Path::new(plain).file_name().unwrap_or_default();
            (plain.to_owned(), name, true)
        });
        for (path, name, is_unpacked) in [Some(of_file), of_plain].into_iter().flatten() {
            let list = Utf8PathBuf::from(format!("{path}.sha256"));
            let text = match safe_open::read_if_there(&list, Links::Follow, LIST_BYTES_MAX) {
                // A list that is meant and is not there says nothing of the image.
                Ok(None) if fs_err::symlink_metadata(&list).is_ok() => {
                    return Err(Error::List {
                        list: list.to_string(),
                        reason: "it is a link that leads to no file".to_owned(),
                    });
                }
                Ok(None) => continue,
                Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(refused) => {
                    return Err(Error::List {
                        list: list.to_string(),
                        reason: refused.why(),
                    });
                }
            };
            let expected = listed::digest_for(&text, name).map_err(|reason| Error::List {
                list: list.to_string(),
                reason,
            })?;
            let found = hexadecimal(&if is_unpacked { *unpacked } else { self.file_sum()? });
            if found != expected {
                return Err(Error::Digest {
                    path,
                    list: list.to_string(),
                    expected,
                    found,
                });
            }
            agreed = Some(list);
        }
        Ok(agreed)
    }

    /// The digest of the file as it lies there.
    fn file_sum(&self) -> Result<Sum, Error> {
        let mut buffer = vec![0; 1 << 20];
        let (mut sum, mut at) = (Sha256::new(), 0);
        loop {
            let read = self
                .file
                .read_at(&mut buffer, at)
                .map_err(|error| Error::Source {
                    path: self.path.to_string(),
                    at,
                    error,
                })?;
            if read == 0 {
                return Ok(sum.finalize().into());
            }
            sum.update(&buffer[..read]);
            at += read as u64;
        }
    }
}

/// The digest of a chunk.
pub fn sum_of(chunk: &Chunk) -> Sum {
    Sha256::digest(chunk.bytes()).into()
}

/// Fills a buffer as far as there are bytes; an error comes with what was read before it.
fn read_full(stream: &mut (dyn Read + Send), buffer: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((filled, error)),
        }
    }
    Ok(filled)
}

fn is_btrfs(file: &File) -> bool {
    nix::sys::statfs::fstatfs(file)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::BTRFS_SUPER_MAGIC)
}

/// Whether unpacking stopped at the limit of memory: the libraries have no other sign of it.
fn takes_more_memory(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let of_xz = inner.and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>());
    matches!(of_xz, Some(liblzma::stream::Error::MemLimit)) || error.to_string().contains("too much memory")
}

/// The members of a gzip file, one after the other; zeros behind one are padding, as gzip(1) takes them.
enum Members<R: BufRead> {
    In(GzDecoder<R>),
    Behind(R),
    Broken,
}

impl<R: BufRead> Members<R> {
    fn of(reader: R) -> Self {
        Members::In(GzDecoder::new(reader))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(self, Members::Broken) {
                Members::In(mut member) => {
                    let read = member.read(buffer)?;
                    if read > 0 {
                        *self = Members::In(member);
                        return Ok(read);
                    }
                    *self = Members::Behind(member.into_inner());
                }
                Members::Behind(mut reader) => {
                    let waiting = reader.fill_buf()?;
                    let (zeros, length) = (
                        waiting.iter().take_while(|byte| **byte == 0).count(),
                        waiting.len(),
                    );
                    reader.consume(zeros);
                    *self = match length {
                        0 => {
                            *self = Members::Behind(reader);
                            return Ok(0);
                        }
                        _ if zeros == length => Members::Behind(reader),
                        _ => Members::In(GzDecoder::new(reader)),
                    };
                }
                Members::Broken => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

/// A file from its start, whoever else reads it; counted.
struct Counted<'f> {
    file: &'f File,
    at: u64,
    count: Arc<AtomicU64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.count.store(self.at, Ordering::Relaxed);
        Ok(read)
    }
}
