//! A fixed stock of buffers.
//!
//! All memory that grows with the work comes from here, and the stock never grows. A buffer starts at a multiple of the largest
//! sector size, as direct I/O needs it. Large buffers use huge pages where possible, so a disk gets a few large pieces of memory
//! instead of many small ones.

use memmap2::{Advice, MmapMut, MmapOptions};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What direct input and output wants addresses to be a multiple of, in bytes.
pub const ALIGNMENT_BYTES: usize = 4_096;
/// Bytes of a huge page, of x86-64 and of ARM with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes at an aligned address.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    from: usize,
    length: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Pages(MmapMut),
}

impl Buffer {
    /// Zeroed bytes.
    pub fn new(length: usize) -> Buffer {
        if length >= HUGE_PAGE_BYTES
            && let Some(buffer) = Buffer::of_pages(length).ok()
        {
            return buffer;
        }
        let memory = vec![0; length + ALIGNMENT_BYTES];
        let from = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        let memory = Memory::Heap(memory);
        Buffer { memory, from, length }
    }

    /// What lies before and behind it is address space: memory is only where something was written.
    fn of_pages(length: usize) -> std::io::Result<Buffer> {
        let memory = MmapOptions::new().len(length + HUGE_PAGE_BYTES).map_anon()?;
        let from = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // A rest would be a whole huge page of which little is used. Advice only: a kernel without them takes small ones.
        let huge = length - length % HUGE_PAGE_BYTES;
        let _advised = memory.advise_range(Advice::HugePage, from, huge);
        let memory = Memory::Pages(memory);
        Ok(Buffer { memory, from, length })
    }

    /// The most memory that it takes, in bytes.
    fn memory_bytes(&self) -> usize {
        match &self.memory {
            Memory::Heap(memory) => memory.capacity(),
            Memory::Pages(_) => self.length.next_multiple_of(ALIGNMENT_BYTES),
        }
    }

    /// The bytes.
    #[expect(
        clippy::indexing_slicing,
        reason = "`memory` is made with `length` bytes after `from`"
    )]
    pub fn bytes(&self) -> &[u8] {
        let memory: &[u8] = match &self.memory {
            Memory::Heap(memory) => memory,
            Memory::Pages(memory) => memory,
        };
        &memory[self.from..self.from + self.length]
    }

    /// The bytes, to be filled.
    #[expect(
        clippy::indexing_slicing,
        reason = "`memory` is made with `length` bytes after `from`"
    )]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let memory: &mut [u8] = match &mut self.memory {
            Memory::Heap(memory) => memory,
            Memory::Pages(memory) => memory,
        };
        &mut memory[self.from..self.from + self.length]
    }
}

/// A stock of buffers of one length.
#[derive(Debug, Clone)]
pub struct Pool {
    back: SyncSender<Buffer>,
    stock: Arc<Mutex<Receiver<Buffer>>>,
    total_bytes: usize,
}

impl Pool {
    /// A stock of so many buffers of so many bytes.
    pub fn new(buffers: usize, bytes: usize) -> Pool {
        let (back, stock) = sync_channel(buffers);
        let mut total_bytes = 0;
        for _ in 0..buffers {
            let buffer = Buffer::new(bytes);
            total_bytes += buffer.memory_bytes();
            // The channel has room for all of them and its other end is in our hands.
            if back.try_send(buffer).is_err() {
                break;
            }
        }
        Pool {
            back,
            stock: Arc::new(Mutex::new(stock)),
            total_bytes,
        }
    }

    /// Bytes of memory of the whole stock.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Takes one, and waits for it. `None` never comes while the pool lives.
    pub fn take(&self) -> Option<Buffer> {
        self.stock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv()
            .ok()
    }

    /// Gives one back.
    pub fn give(&self, buffer: Buffer) {
        // There is room for every buffer that was taken; one that finds none is of another pool, and is dropped.
        drop(self.back.try_send(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_is_fixed_and_aligned() {
        let pool = Pool::new(3, 8_192);
        let taken: Vec<Buffer> = (0..3).map(|_| pool.take().unwrap()).collect();
        assert!(
            pool.stock.lock().unwrap().try_recv().is_err(),
            "a fourth was made"
        );
        for buffer in taken {
            assert_eq!(buffer.bytes().as_ptr() as usize % ALIGNMENT_BYTES, 0);
            assert_eq!(buffer.bytes().len(), 8_192);
            pool.give(buffer);
        }
        assert!(pool.stock.lock().unwrap().try_recv().is_ok());
        assert!(pool.total_bytes() >= 3 * 8_192 && pool.total_bytes() < 4 * (8_192 + ALIGNMENT_BYTES));
    }

    #[test]
    fn a_large_buffer_begins_at_a_huge_page_and_asks_for_them() {
        for length in [HUGE_PAGE_BYTES, 2 * HUGE_PAGE_BYTES + 20_480] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.bytes().len(), length);
            let at = buffer.bytes().as_ptr() as usize;
            assert_eq!(at % HUGE_PAGE_BYTES, 0);
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
            buffer.bytes_mut().fill(1);
            assert!(buffer.memory_bytes() < length + ALIGNMENT_BYTES);
            // `hg`: advised to be huge; the rest of the mapping is not.
            let (huge, advised) = advised(at);
            assert!(
                advised || !huge,
                "the kernel has huge pages and was not asked for them"
            );
            assert!(!self::advised(at + length - length % HUGE_PAGE_BYTES).1);
        }
        // The control: what is small is not.
        let small = Buffer::new(HUGE_PAGE_BYTES - 1);
        assert!(!advised(small.bytes().as_ptr() as usize).1);
    }

    /// Whether this kernel tells of advice, and whether the mapping that has an address has that of huge pages.
    fn advised(address: usize) -> (bool, bool) {
        let maps = fs_err::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut advised = false;
        for line in maps.lines() {
            let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = ends.filter(|(from, _)| !from.contains(':')) {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                inside = (number(from)..number(to)).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                advised = flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        let there = std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists();
        (there, advised)
    }
}
