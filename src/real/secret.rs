//! Secrets in memory.
//!
//! A secret has pages of its own, which are wiped before they are freed, kept out of swap and core dumps, and not inherited
//! by a child. It gets there without a copy on the way (a read goes directly into those pages), never grows out of them, and
//! cannot be printed or serialised.
//!
//! Whether the kernel keeps pages out of swap depends on a limit of the process; root has none. If it does not, that is in
//! the trace and no reason to stop: the installer's own system has no swap.
//!
//! `secrets` and `real::ask` say where secrets come from and where they go.

use memmap2::{Advice, MmapMut};
use secrecy::ExposeSecret;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{Ordering, compiler_fence};

/// Bytes that nobody else may see.
pub struct Secret {
    pages: MmapMut,
    length: usize,
}

impl Secret {
    /// Room for so many bytes, none of them used.
    ///
    /// # Errors
    /// There is no memory that can be locked.
    pub fn with_room(bytes: usize) -> io::Result<Secret> {
        let pages = MmapMut::map_anon(bytes.max(1))?;
        // Advice that an older kernel does not know, and a limit that is reached, are no reason to be without the secret.
        for (what, done) in [
            ("kept from swap", pages.lock()),
            ("kept from core dumps", pages.advise(Advice::DontDump)),
            ("kept from children", pages.advise(Advice::DontFork)),
        ] {
            if let Err(error) = done {
                tracing::debug!(%error, "a secret is not {what}");
            }
        }
        Ok(Secret { pages, length: 0 })
    }

    /// A copy of bytes. They stay where they are: what they were in is the caller's to wipe.
    ///
    /// # Errors
    /// There is no memory that can be locked.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Secret> {
        let mut secret = Secret::with_room(bytes.len())?;
        secret.push(bytes)?;
        Ok(secret)
    }

    /// What is read to the end, straight into the pages; `None`: it is longer than `max`.
    ///
    /// # Errors
    /// It cannot be read, or there is no memory that can be locked.
    pub fn read(mut reader: impl Read, max: usize) -> io::Result<Option<Secret>> {
        let mut long = Secret::with_room(max + 1)?;
        loop {
            match reader.read(long.spare()) {
                Ok(0) => break,
                Ok(read) => long.took(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if long.length > max {
                return Ok(None);
            }
        }
        // As few pages as it needs are kept from swap.
        Secret::copy_of(long.bytes()).map(Some)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.pages.get(..self.length).unwrap_or_default()
    }

    /// The bytes, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pages.get_mut(..self.length).unwrap_or_default()
    }

    /// Room that is left, to be read into.
    pub fn spare(&mut self) -> &mut [u8] {
        self.pages.get_mut(self.length..).unwrap_or_default()
    }

    /// Whether any room is left.
    pub fn has_room(&self) -> bool {
        self.length < self.pages.len()
    }

    /// So many bytes of the room were filled.
    pub fn took(&mut self, bytes: usize) {
        self.length = self.length.saturating_add(bytes).min(self.pages.len());
    }

    /// More bytes, where there is room for them.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self
            .spare()
            .get_mut(..bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        room.copy_from_slice(bytes);
        self.took(bytes.len());
        Ok(())
    }

    /// As text; what is no UTF-8 is given back, and never replaced by something that resembles it.
    ///
    /// # Errors
    /// The same bytes, which are no UTF-8.
    pub fn into_text(self) -> Result<SecretText, Secret> {
        match std::str::from_utf8(self.bytes()) {
            Ok(_) => Ok(SecretText(self)),
            Err(_) => Err(self),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // The compiler may leave out a plain store that nobody reads.
        for byte in self.pages.iter_mut() {
            // SAFETY: a valid, exclusive reference to one byte.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
        compiler_fence(Ordering::SeqCst);
    }
}

impl Clone for Secret {
    #[allow(clippy::expect_used)] // without memory for a page nothing goes on
    fn clone(&self) -> Self {
        Secret::copy_of(self.bytes()).expect("a page of memory")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl ExposeSecret<[u8]> for Secret {
    fn expose_secret(&self) -> &[u8] {
        self.bytes()
    }
}

/// A secret that is text.
#[derive(Clone)]
pub struct SecretText(Secret);

impl SecretText {
    /// Parts of text, one after the other.
    ///
    /// # Errors
    /// There is no memory that can be locked.
    pub fn of(parts: &[&str]) -> io::Result<SecretText> {
        let mut secret = Secret::with_room(parts.iter().map(|part| part.len()).sum())?;
        for part in parts {
            secret.push(part.as_bytes())?;
        }
        Ok(SecretText(secret))
    }
}

impl From<&str> for SecretText {
    #[allow(clippy::expect_used)] // without memory for a page nothing goes on
    fn from(text: &str) -> Self {
        SecretText::of(&[text]).expect("a page of memory")
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ExposeSecret<str> for SecretText {
    fn expose_secret(&self) -> &str {
        // Only text becomes one.
        std::str::from_utf8(self.0.bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_held_whole_or_refused() {
        let read = |max| Secret::read(&b"canary"[..], max).unwrap();
        assert_eq!(read(6).unwrap().bytes(), b"canary");
        assert!(read(5).is_none());
        assert_eq!(Secret::read(&b""[..], 5).unwrap().unwrap().bytes(), b"");
        let mut full = Secret::copy_of(b"canary").unwrap();
        assert!(full.push(b"x").is_err() && full.bytes() == b"canary");
    }

    #[test]
    fn it_is_shown_nowhere_and_text_is_never_changed() {
        let secret = Secret::copy_of(b"canary").unwrap();
        assert_eq!(format!("{secret:?}"), "[REDACTED]");
        let text = secret.into_text().unwrap();
        assert_eq!(
            (format!("{text:?}").as_str(), text.expose_secret()),
            ("[REDACTED]", "canary")
        );
        // Latin-1.
        assert!(Secret::copy_of(b"caf\xe9").unwrap().into_text().is_err());
        assert_eq!(SecretText::of(&["a", "", "bc"]).unwrap().expose_secret(), "abc");
    }
}
