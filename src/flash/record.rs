//! The record of how far the writing of a stick came, for the next run.
//!
//! There is one small file for each stick. The record only says where to start comparing: the stick is still read and compared. It
//! names the image by its digest and the stick by its identity, and contains no secret.
//!
//! `cli::flash` chooses the directory.

use super::error::Error;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::plan::DiskIdentity;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io;

/// Longest record of how far `landfall flash` came.
const RECORD_BYTES_MAX: u64 = 64 << 10;
/// The version that is written.
pub const VERSION: u32 = 1;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the format.
    #[serde(rename = "version")]
    pub version: u32,
    /// SHA-256 of the image, unpacked.
    #[serde(rename = "image")]
    pub image: String,
    /// The stick.
    #[serde(rename = "stick")]
    pub stick: DiskIdentity,
    /// Chunks that were flushed.
    #[serde(rename = "flushed")]
    pub flushed: u64,
}

impl Record {
    /// Its bytes.
    ///
    /// # Errors
    /// What the serialiser says.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// From bytes; what is not understood, or of another version, is none.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        match serde_json::from_slice::<Record>(bytes) {
            Ok(record) => Some(record).filter(|record| record.version == VERSION),
            Err(error) => {
                tracing::warn!(%error, "record");
                None
            }
        }
    }
}

/// Where the record of a stick is.
#[derive(Debug)]
pub struct Place(Utf8PathBuf);

impl Place {
    /// In a folder. The name is a digest of the identity: serial numbers have characters that names of files have not.
    pub fn of(folder: &Utf8Path, stick: &DiskIdentity) -> Place {
        let DiskIdentity {
            wwn,
            serial,
            path,
            size_bytes,
            sector_bytes,
        } = stick;
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let text = format!(
            "landfall-flash-1\n{}\n{}\n{}\n{size_bytes}\n{sector_bytes}\n",
            word(wwn),
            word(serial),
            word(path)
        );
        let sum = super::source::hexadecimal(&Sha256::digest(text).into());
        Place(folder.join(format!("{}.json", &sum[..32])))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Record {
            path: self.0.to_string(),
            error,
        }
    }

    /// The record, if there is one that can be understood; one that cannot is none, and is overwritten.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(&self) -> Result<Option<Record>, Error> {
        let bytes = safe_open::read_if_there(&self.0, Links::Refuse, RECORD_BYTES_MAX)
            .map_err(|refused| self.failed(refused.into_io(&self.0)))?;
        Ok(bytes.and_then(|bytes| Record::decode(&bytes)))
    }

    /// Keeps how far it came.
    ///
    /// # Errors
    /// The file cannot be written or put in its place.
    pub fn keep(&self, record: &Record) -> Result<(), Error> {
        let text = record.encode().map_err(|error| self.failed(error))?;
        let folder = self.0.parent().unwrap_or(Utf8Path::new("."));
        fs_err::create_dir_all(folder)
            .and_then(|()| safe_open::replace(&self.0, 0o600, &text))
            .map_err(|error| self.failed(error))
    }

    /// Forgets it: the stick is finished.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn forget(&self) -> Result<(), Error> {
        match fs_err::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_read_and_forgotten() {
        let keep = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(keep.path().join("a/b")).unwrap();
        let stick = DiskIdentity {
            wwn: None,
            serial: Some("AA/..\n1".into()),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        };
        let place = Place::of(&folder, &stick);
        assert_eq!(place.read().unwrap(), None);
        place.forget().unwrap();
        let record = Record {
            version: VERSION,
            image: "ab".repeat(32),
            stick: stick.clone(),
            flushed: 7,
        };
        place.keep(&record).unwrap();
        place.keep(&record).unwrap();
        assert_eq!(place.read().unwrap(), Some(record));
        let other = DiskIdentity {
            serial: Some("AA/..\n2".into()),
            ..stick
        };
        assert_eq!(Place::of(&folder, &other).read().unwrap(), None);
        fs_err::write(&place.0, "{\"version\":2}").unwrap();
        assert_eq!(place.read().unwrap(), None);
        place.forget().unwrap();
        assert!(!place.0.exists());
    }
}
