//! A file whose writes and flushes are recorded.
//!
//! Every write is kept in the order in which it came, and a flush is kept where it came, so the contents of the file after a
//! power cut can be computed for any moment.
//!
//! It is served to the kernel through FUSE (include/uapi/linux/fuse.h, protocol 7.31): a folder with the one file `disk`. A
//! loop device over that file is a disk whose write log is known; no kernel module is needed for it. Only what a loop device
//! asks for is supported.

use camino::{Utf8Path, Utf8PathBuf};
use nix::libc;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest piece of a write.
const WRITE_MAX: usize = 128 << 10;
/// What is asked, by its number.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

/// An entry of the log.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Bytes at a place.
    Write(u64, Vec<u8>),
    /// Everything before is on the disk.
    Flush,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: Vec<u8>,
    log: Vec<Entry>,
}

/// The file, as long as it is served.
pub struct Recorded {
    folder: Utf8PathBuf,
    shared: Arc<Mutex<Shared>>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl Recorded {
    /// Serves these bytes as `folder/disk`.
    pub fn serve(folder: &Utf8Path, bytes: Vec<u8>) -> Result<Recorded, String> {
        fs_err::create_dir_all(folder).map_err(|e| e.to_string())?;
        let device = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .map_err(|e| e.to_string())?
            .into_parts()
            .0;
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        nix::mount::mount(
            Some("landfall-halfway"),
            folder.as_std_path(),
            Some("fuse"),
            nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOSUID,
            Some(data.as_str()),
        )
        .map_err(|e| format!("FUSE at {folder}: {e}"))?;
        let shared = Arc::new(Mutex::new(Shared { bytes, log: vec![] }));
        let server = {
            let shared = shared.clone();
            std::thread::spawn(move || answer(device, &shared))
        };
        Ok(Recorded {
            folder: folder.to_owned(),
            shared,
            server: Some(server),
        })
    }

    /// The file.
    pub fn file(&self) -> Utf8PathBuf {
        self.folder.join("disk")
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .log
            .len()
    }

    /// The log.
    pub fn log(&self) -> Vec<Entry> {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .log
            .clone()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Err(e) = nix::mount::umount2(self.folder.as_std_path(), nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{}: {e}", self.folder);
        }
        if let Some(server) = self.server.take()
            && server.join().is_err()
        {
            eprintln!("{}: its server fell", self.folder);
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn short(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn attributes(node: u64, size: u64) -> Vec<u8> {
    let mut out = vec![];
    for value in [node, size, size / 512, 0, 0, 0] {
        out.extend(value.to_le_bytes());
    }
    let mode = if node == 1 {
        libc::S_IFDIR | 0o755
    } else {
        libc::S_IFREG | 0o600
    };
    for value in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0_u32] {
        out.extend(value.to_le_bytes());
    }
    out
}

/// What is answered; `None` where nobody waits for an answer.
fn reply(request: &[u8], shared: &Mutex<Shared>) -> Option<Result<Vec<u8>, i32>> {
    const LONG: u64 = 3_600;
    let (operation, node) = (short(request, 4), number(request, 16));
    let body = &request[40..];
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let size = shared.bytes.len() as u64;
    let valid = |out: &mut Vec<u8>| {
        out.extend(LONG.to_le_bytes());
        out.extend([0; 8]);
    };
    Some(Ok(match operation {
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        INIT => {
            let mut out = vec![];
            for value in [7, 31, 128 << 10, short(body, 12) & (1 << 5)] {
                out.extend(u32::to_le_bytes(value));
            }
            out.extend([16, 0, 12, 0]);
            out.extend((WRITE_MAX as u32).to_le_bytes());
            out.extend([1, 0, 0, 0]);
            out.resize(64, 0);
            out
        }
        LOOKUP if node == 1 && body == b"disk\0" => {
            let mut out = vec![];
            for value in [2_u64, 0, LONG, LONG] {
                out.extend(value.to_le_bytes());
            }
            out.extend([0; 8]);
            out.extend(attributes(2, size));
            out
        }
        LOOKUP => return Some(Err(libc::ENOENT)),
        GETATTR | SETATTR => {
            let mut out = vec![];
            valid(&mut out);
            out.extend(attributes(node, if node == 1 { 0 } else { size }));
            out
        }
        OPEN | OPENDIR => vec![0; 16],
        READ => {
            let (at, length) = (number(body, 8) as usize, short(body, 16) as usize);
            let end = (at + length).min(shared.bytes.len());
            shared.bytes.get(at..end).unwrap_or_default().to_vec()
        }
        WRITE => {
            let (at, length) = (number(body, 8), short(body, 16) as usize);
            let bytes = body.get(40..40 + length).unwrap_or_default().to_vec();
            let start = at as usize;
            match shared.bytes.get_mut(start..start + bytes.len()) {
                Some(place) => place.copy_from_slice(&bytes),
                None => return Some(Err(libc::ENOSPC)),
            }
            shared.log.push(Entry::Write(at, bytes));
            let mut out = (length as u32).to_le_bytes().to_vec();
            out.extend([0; 4]);
            out
        }
        FSYNC => {
            shared.log.push(Entry::Flush);
            vec![]
        }
        STATFS => vec![0; 80],
        RELEASE | RELEASEDIR | FLUSH | DESTROY => vec![],
        _ => return Some(Err(libc::ENOSYS)),
    }))
}

fn answer(mut device: std::fs::File, shared: &Mutex<Shared>) {
    let mut buffer = vec![0; WRITE_MAX + (16 << 10)];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(e)
                if [Some(libc::EINTR), Some(libc::EAGAIN), Some(libc::ENOENT)]
                    .contains(&e.raw_os_error()) =>
            {
                continue;
            }
            // Unmounted.
            Err(_) => return,
        };
        if length < 40 {
            return;
        }
        let request = &buffer[..length];
        let Some(reply) = reply(request, shared) else {
            continue;
        };
        let (error, body) = match reply {
            Ok(body) => (0, body),
            Err(error) => (-error, vec![]),
        };
        let mut out = ((16 + body.len()) as u32).to_le_bytes().to_vec();
        out.extend(error.to_le_bytes());
        out.extend(number(request, 8).to_le_bytes());
        out.extend(body);
        if let Err(e) = device.write_all(&out) {
            // The asker was interrupted and does not wait any more.
            if e.raw_os_error() != Some(libc::ENOENT) {
                eprintln!("FUSE: {e}");
            }
        }
    }
}
