//! Consent: what may be erased, named so exactly that it cannot be mistaken.
//!
//! A consent covers one erasure, the one that was shown. It is only in memory and cannot be serialised (I6).
//!
//! The world asks a person, or reads what was authorised in advance.

use crate::names::{Digest, quoted};
use crate::plan::DiskIdentity;
use std::fmt;

/// What would be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The disk.
    pub disk: DiskIdentity,
    /// What would be erased, e.g. `the whole disk` or `partition 2 (root-web)`.
    pub extent: String,
    /// What is there now, one line each: table, partitions, filesystems with labels.
    pub contents: Vec<String>,
    /// Whether finished work of a former install is among it; then consent in advance does not reach.
    pub finished_work: bool,
}

impl Erasure {
    /// The fingerprint that binds a consent to this erasure.
    pub fn fingerprint(&self) -> Digest {
        let Erasure {
            disk,
            extent,
            contents,
            finished_work,
        } = self;
        // Quoted, so that no line can pass for two.
        let contents: Vec<String> = contents.iter().map(|line| quoted(line)).collect();
        let text = format!(
            "{}\n{}\n{}\n{finished_work}",
            disk.canonical(),
            quoted(extent),
            contents.join("\n")
        );
        Digest::of(text.as_bytes())
    }
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the disk with {}", self.extent, self.disk)?;
        for line in &self.contents {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Who agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentBy {
    /// A person, at the prompt.
    Person,
    /// A credential or option that names the disk.
    InAdvance {
        /// The name it gave: WWN, serial number or by-id link.
        disk_name: String,
        /// Whether it is a new plan for a finished disk: the configuration's `reinstall` number was raised.
        reinstall: bool,
    },
}

/// An agreement to one erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    fingerprint: Digest,
    by: ConsentBy,
}

impl Consent {
    /// Somebody agreed to this. In advance, finished work can be agreed to only by a plan that was raised for it.
    pub fn to(erasure: &Erasure, by: ConsentBy) -> Option<Self> {
        match by {
            ConsentBy::InAdvance { reinstall: false, .. } if erasure.finished_work => None,
            ConsentBy::InAdvance { .. } | ConsentBy::Person => Some(Consent {
                fingerprint: erasure.fingerprint(),
                by,
            }),
        }
    }

    /// Whether this is the erasure that was agreed to.
    pub fn covers(&self, erasure: &Erasure) -> bool {
        self.fingerprint == erasure.fingerprint()
    }

    /// Who agreed.
    pub fn by(&self) -> &ConsentBy {
        &self.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::disk;

    fn erasure() -> Erasure {
        Erasure {
            disk: disk(),
            extent: "partition 2 (root-web)".into(),
            contents: vec!["ext4 photos".into(), "swap".into()],
            finished_work: false,
        }
    }

    #[test]
    fn an_erasure_shows_what_would_be_lost() {
        assert_eq!(
            erasure().to_string(),
            "partition 2 (root-web) of the disk with serial LF0001, 8589934592 bytes\n  ext4 photos\n  swap"
        );
    }

    #[test]
    fn a_consent_covers_its_erasure_and_no_other() {
        let consent = Consent::to(&erasure(), ConsentBy::Person).unwrap();
        assert_eq!(consent.by(), &ConsentBy::Person);
        assert!(consent.covers(&erasure()));
        let mut others = vec![erasure(); 4];
        others[0].disk.serial = Some("LF0002".into());
        others[1].extent = "the whole disk".into();
        others[2].contents.push("xfs".into());
        others[3].finished_work = true;
        for other in others {
            assert!(!consent.covers(&other), "{other}");
        }
    }

    #[test]
    fn consent_in_advance_reaches_what_is_not_finished() {
        let in_advance = || ConsentBy::InAdvance {
            disk_name: "LF0001".into(),
            reinstall: false,
        };
        let finished = Erasure {
            finished_work: true,
            ..erasure()
        };
        let consent = Consent::to(&erasure(), in_advance()).unwrap();
        assert_eq!(consent.by(), &in_advance());
        assert_eq!(Consent::to(&finished, in_advance()), None);
    }
}
