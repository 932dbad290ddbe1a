//! Allows one run on a machine at a time, wherever its run directory is.
//!
//! The lock is a name in the kernel (an abstract socket, unix(7)). Nobody can delete it, every mount namespace shares it, and
//! it ends with its process, however that ends. Two runs would share `/mnt`, the mapping's name and the kernel's settings,
//! even if they are for two disks.
//!
//! `lock::target` locks the disk; another network namespace sees that lock as well.

use super::holders::{self, Process};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The name.
pub const NAME: &str = "landfall/run";
/// How long a killed run may take to end before a new one is refused.
const WAIT_MAX: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// The lock; released when dropped. No program that is started gets it.
#[derive(Debug)]
pub struct MachineLock {
    _socket: UnixDatagram,
}

/// Why it was not taken.
#[derive(Debug)]
pub enum Refused {
    /// Somebody has it.
    Held(Vec<Process>),
    /// It cannot be had at all.
    Io(io::Error),
}

impl MachineLock {
    /// Takes the machine's lock.
    ///
    /// # Errors
    /// Another landfall has it, or whoever took the name.
    pub fn take() -> Result<MachineLock, Refused> {
        Self::take_named(NAME, WAIT_MAX)
    }

    /// The same of another name, waiting so long for a run that was killed.
    ///
    /// # Errors
    /// As [`MachineLock::take`].
    pub fn take_named(name: &str, wait: Duration) -> Result<MachineLock, Refused> {
        let address = SocketAddr::from_abstract_name(name).map_err(Refused::Io)?;
        let end = Instant::now() + wait;
        loop {
            match UnixDatagram::bind_addr(&address) {
                Ok(socket) => return Ok(MachineLock { _socket: socket }),
                Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() >= end => {
                    return Err(Refused::Held(holders::of_socket(name)));
                }
                Err(e) if e.kind() == ErrorKind::AddrInUse => std::thread::sleep(POLL),
                Err(e) => return Err(Refused::Io(e)),
            }
        }
    }
}
