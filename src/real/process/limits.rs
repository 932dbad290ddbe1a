//! How much memory a program may take.
//!
//! Every program has a limit, so that endless data from a server, or a damaged filesystem, ends that program and neither
//! landfall nor the machine. The numbers are here and nowhere else (docs/operate/operations.md shows them).
//!
//! The limit is the kernel's on a process's own data (`RLIMIT_DATA`): mapped files, such as Git's packs, do not count. Each
//! process of a program has the whole limit.
//!
//! `process::command` sets it, between fork and exec.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What kind of program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Git asking what a remote has. 512 MiB are some million references.
    Question,
    /// Git receiving and checking a repository: half of the machine's memory, at least 512 MiB, at most 8 GiB.
    Git,
    /// Nix, evaluating and building: memory and swap but 256 MiB, at least 1 GiB.
    Nix,
    /// Everything else: three quarters of the machine's memory, at least 1 GiB.
    Other,
}

impl Memory {
    /// The limit on a machine with so much memory and swap. All in bytes.
    fn bytes_of(self, memory: u64, swap: u64) -> u64 {
        match self {
            Memory::Question => 512 * MIB,
            Memory::Git => (memory / 2).clamp(512 * MIB, 8 * GIB),
            Memory::Nix => memory.saturating_add(swap).saturating_sub(256 * MIB).max(GIB),
            Memory::Other => (memory / 4 * 3).max(GIB),
        }
    }

    /// The limit on this machine, in bytes.
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read.
    pub fn bytes_max(self) -> std::io::Result<u64> {
        let machine = nix::sys::sysinfo::sysinfo()?;
        Ok(self.bytes_of(machine.ram_total(), machine.swap_total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_a_part_of_the_machine_with_a_floor() {
        let of = |memory, swap| {
            [Memory::Question, Memory::Git, Memory::Nix, Memory::Other]
                .map(|kind| kind.bytes_of(memory * GIB, swap * GIB) / MIB)
        };
        assert_eq!(of(0, 0), [512, 512, 1024, 1024]);
        assert_eq!(of(2, 0), [512, 1024, 1792, 1536]);
        assert_eq!(of(2, 4), [512, 1024, 5888, 1536]);
        assert_eq!(of(64, 0), [512, 8192, 65280, 49152]);
        assert!(Memory::Other.bytes_max().unwrap() >= GIB);
    }
}
