//! Writes a stick in the right order, and releases it.
//!
//! Nothing is written before the record is stored. Old keys are overwritten with zeros before their place can be forgotten. The first
//! MiB is written after the rest was verified. An error after the verification is reported, but the result stays a success.
//!
//! `flash::write` writes, `flash::verdict` reads back and explains differences, `flash::eject` switches the stick off.

use super::flash_run::{Ejected, Run, Taken, is_gone};
use super::flash_words as words;
use crate::flash::error::Error;
use crate::flash::keys::{self, Keys};
use crate::flash::record::{Place as Kept, Record, VERSION};
use crate::flash::source::{Digests, Source, hexadecimal};
use crate::flash::sticks::Judged;
use crate::flash::table::Place;
use crate::flash::write::{self, Counts, Stick};
use crate::flash::{HEAD_BYTES, eject, keys_left, verdict};
use crate::os_error::said;
use crate::real::disk::Sysfs;
use std::time::Instant;

impl Run<'_> {
    #[allow(clippy::too_many_arguments)] // what was found and decided so far, each once
    pub(super) fn write(
        &self,
        taken: &Taken,
        judged: &Judged,
        source: &Source,
        digests: &Digests,
        record: Option<u64>,
        keys: Option<(&Keys, Place)>,
        kept: &Kept,
    ) -> Result<words::Done, Error> {
        let is_gone = || is_gone(&taken.held);
        let stick = taken.stick(judged, self.again(judged), &is_gone);
        write::fits(&stick, digests.bytes)?;
        let keep = |flushed: u64| {
            kept.keep(&Record {
                version: VERSION,
                image: hexadecimal(&digests.sha256),
                stick: judged.identity(),
                flushed,
            })
        };
        let claimed = record.unwrap_or(0);
        // Before the first byte: a stick whose progress cannot be kept could not be gone on with.
        keep(claimed)?;
        let begun = Instant::now();
        // Behind a smaller image they would be readable still.
        let old = keys_left::on(&stick).map_err(|error| stick.failed("read", 0, digests.bytes, error))?;
        for place in old.places.iter().chain(&old.buried) {
            keys::zero(&stick, place, self)?;
        }
        write::wipe(&stick, digests.bytes)?;
        let mut is_kept = true;
        let counts = write::body(&stick, source, digests, claimed, self, &mut |flushed| {
            // The stick is right without it: an older record only has more compared again.
            if let (Err(error), true) = (keep(flushed.max(claimed)), is_kept) {
                is_kept = false;
                self.reporter.notice(format!(
                    "{error}; the work continues, but after an interruption more must be compared"
                ));
            }
            Ok(())
        })?;
        let written = Instant::now();
        self.prove(taken, &stick, source, digests, kept)?;
        let done = Instant::now();
        if let Some((keys, place)) = &keys {
            keys::put(&stick, keys, place, &digests.sha256)?;
        }
        let Counts {
            written_bytes,
            found_bytes,
        } = counts;
        Ok(words::Done {
            written_bytes: written_bytes + digests.bytes.min(HEAD_BYTES as u64),
            found_bytes,
            write_s: (written - begun).as_secs_f64(),
            verify_s: (done - written).as_secs_f64(),
        })
    }

    /// Reads everything back; only then the first MiB is written, and read back itself.
    fn prove(
        &self,
        taken: &Taken,
        stick: &Stick<'_>,
        source: &Source,
        digests: &Digests,
        kept: &Kept,
    ) -> Result<(), Error> {
        taken.held.forget_cache()?;
        let found = verdict::read_back(stick, digests, self)?;
        if !found.is_good() {
            let verdict = verdict::explain(stick, source, digests, &found, self)?;
            // What was written is not there: nothing is to be gone on with.
            kept.forget()?;
            return Err(Error::Differs {
                stick: stick.name.clone(),
                verdict,
            });
        }
        let Some(differs) = write::head(stick, digests)? else {
            return Ok(());
        };
        write::wipe(stick, digests.bytes)?;
        kept.forget()?;
        Err(Error::Differs {
            stick: stick.name.clone(),
            verdict: verdict::of_head(digests, differs, stick.disk.length()),
        })
    }

    /// Gives the stick back, and switches it off.
    pub(super) fn let_go(&self, taken: Taken, judged: &Judged) -> Result<Ejected, Error> {
        let Taken { mut held, disk } = taken;
        disk.close().map_err(|error| Error::Stick {
            stick: judged.shown(),
            doing: "closed",
            at: judged.block.identity.size_bytes,
            error,
        })?;
        let ejected = if self.args.no_eject {
            Ejected::Left
        } else {
            let sysfs = Sysfs::real();
            // While the lock is held nobody mounts what was just written.
            let done = sysfs.blocks().and_then(|blocks| {
                let way = eject::way(&sysfs, &judged.block, &blocks);
                eject::eject(&sysfs, &judged.block, &way)
            });
            match done {
                Ok(true) => Ejected::Off,
                Ok(false) => Ejected::Nothing,
                Err(error) => Ejected::Failed(said(&error)),
            }
        };
        if !matches!(ejected, Ejected::Off) {
            held.reread_table();
        }
        held.drop_lock();
        Ok(ejected)
    }
}
