//! Passes bytes from one thread to the next.
//!
//! There is a fixed number of buffers, made before the first byte is read, and they are used again. A thread that stops taking stops
//! the threads before it, and no thread waits for ever.

use super::CHUNK_BYTES;
use super::error::Error;
use crate::image::pool::Buffer;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Buffers that go round.
const BUFFERS: usize = 8;
const _: () = assert!(BUFFERS * CHUNK_BYTES <= 40 << 20, "memory is bounded at 64 MiB");

/// A chunk on its way.
#[derive(Debug)]
pub struct Chunk {
    /// Its place among the chunks.
    pub index: u64,
    /// Bytes of it that count.
    pub length: usize,
    /// Its bytes.
    pub buffer: Buffer,
}

impl Chunk {
    /// The bytes that count.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes().get(..self.length).unwrap_or_default()
    }
}

/// What a stage gives on; after an error nothing follows.
pub type Passed = Result<Chunk, Error>;

/// A round of buffers: what is taken from `full` is given back by `done`.
#[derive(Debug)]
pub struct Round {
    full: Receiver<Passed>,
    empty: SyncSender<Buffer>,
}

impl Round {
    /// The next chunk; `None`: that was all.
    ///
    /// # Errors
    /// The image cannot be read any further, or the thread that reads it is gone.
    pub fn next(&self) -> Result<Option<Chunk>, Error> {
        match self.full.recv() {
            Ok(passed) => passed.map(Some),
            // The stage before has ended.
            Err(_) => Ok(None),
        }
    }

    /// Gives a chunk's buffer back.
    pub fn done(&self, chunk: Chunk) {
        // There is room for every buffer; where the first stage has ended nobody needs it.
        drop(self.empty.try_send(chunk.buffer));
    }
}

/// Begins a round with a thread that fills buffers: `fill` is asked for chunk after chunk, until it says `None`.
pub fn filled<'scope, F>(scope: &'scope thread::Scope<'scope, '_>, mut fill: F) -> Round
where
    F: FnMut(u64, &mut Buffer) -> Result<Option<usize>, Error> + Send + 'scope,
{
    let (to_next, full) = sync_channel::<Passed>(BUFFERS);
    let (empty, empties) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them.
        drop(empty.try_send(Buffer::new(CHUNK_BYTES)));
    }
    scope.spawn(move || {
        // It ends when nobody gives buffers back, or takes what is full.
        for (index, mut buffer) in (0..).zip(empties.iter()) {
            let passed = match fill(index, &mut buffer) {
                Ok(Some(length)) => Ok(Chunk {
                    index,
                    length,
                    buffer,
                }),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            let failed = passed.is_err();
            if to_next.send(passed).is_err() || failed {
                break;
            }
        }
    });
    Round { full, empty }
}

/// Another stage: each chunk is looked at in a thread of its own before it is given on.
pub fn looked_at<'scope, F>(scope: &'scope thread::Scope<'scope, '_>, round: Round, mut look: F) -> Round
where
    F: FnMut(&Chunk) -> Result<(), Error> + Send + 'scope,
{
    let Round { full, empty } = round;
    let (to_next, looked) = sync_channel::<Passed>(BUFFERS);
    scope.spawn(move || {
        for passed in full.iter() {
            let passed = passed.and_then(|chunk| look(&chunk).map(|()| chunk));
            let failed = passed.is_err();
            if to_next.send(passed).is_err() || failed {
                break;
            }
        }
    });
    Round { full: looked, empty }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(scope_of: impl FnOnce(&Round) -> u64, chunks: u64) -> u64 {
        thread::scope(|scope| {
            let round = filled(scope, move |index, buffer| {
                buffer.bytes_mut()[0] = u8::try_from(index % 256).unwrap_or(0);
                Ok((index < chunks).then_some(1))
            });
            let round = looked_at(scope, round, |chunk| {
                assert_eq!(u64::from(chunk.bytes()[0]), chunk.index % 256);
                Ok(())
            });
            scope_of(&round)
        })
    }

    #[test]
    fn every_chunk_comes_once_and_in_order() {
        let all = |round: &Round| {
            let mut next = 0;
            while let Some(chunk) = round.next().unwrap() {
                assert_eq!(chunk.index, next);
                next += 1;
                round.done(chunk);
            }
            next
        };
        assert_eq!(counted(all, 300), 300);
        assert_eq!(counted(all, 0), 0);
    }

    #[test]
    fn who_stops_taking_stops_all() {
        let few = |round: &Round| {
            for _ in 0..3 {
                let chunk = round.next().unwrap().unwrap();
                round.done(chunk);
            }
            3
        };
        assert_eq!(counted(few, u64::MAX), 3);
    }

    #[test]
    fn an_error_is_given_on_and_ends_it() {
        thread::scope(|scope| {
            let round = filled(scope, |index, _| match index {
                0 => Ok(Some(4)),
                _ => Err(Error::Internal(std::io::ErrorKind::Other.into())),
            });
            let round = looked_at(scope, round, |_| Ok(()));
            let first = round.next().unwrap().unwrap();
            round.done(first);
            assert!(round.next().is_err());
            assert!(round.next().unwrap().is_none());
        });
    }
}
