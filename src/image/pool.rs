//! Buffers from a fixed stock. Law: all memory that scales with work is taken from here, and the stock never grows; a buffer
//! begins at a multiple of the largest sector, as direct input and output wants it.
//!
//! Absent: what is in a buffer.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What direct input and output wants addresses to be a multiple of, in bytes.
pub const ALIGNMENT_BYTES: usize = 4_096;

/// Bytes at an aligned address.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    from: usize,
    length: usize,
}

impl Buffer {
    /// Zeroed bytes.
    pub fn new(length: usize) -> Buffer {
        let memory = vec![0; length + ALIGNMENT_BYTES];
        let from = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        Buffer { memory, from, length }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.length]
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.length]
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
            total_bytes += buffer.memory.capacity();
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

    /// Takes one if one is there.
    pub fn try_take(&self) -> Result<Buffer, TryRecvError> {
        self.stock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
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
        assert!(pool.try_take().is_err(), "a fourth was made");
        for buffer in taken {
            assert_eq!(buffer.bytes().as_ptr() as usize % ALIGNMENT_BYTES, 0);
            assert_eq!(buffer.bytes().len(), 8_192);
            pool.give(buffer);
        }
        assert!(pool.try_take().is_ok());
        assert!(pool.total_bytes() >= 3 * 8_192 && pool.total_bytes() < 4 * (8_192 + ALIGNMENT_BYTES));
    }
}
