//! `landfall flash --forget-keys`: removes the keys from a stick.
//!
//! It asks first, and opens the stick as for writing. If several sticks have keys, it chooses none.
//!
//! `flash::keys` overwrites the keys and changes the partition table.

use super::flash::{Seen, Wrong, output};
use super::flash_run::{Run, Taken, is_gone};
use super::flash_words as words;
use crate::exit::Exit;
use crate::flash::error::Error;
use crate::flash::sticks::{self, Judged, Standing};
use crate::flash::write::Stick;
use crate::flash::{keys, keys_left};
use crate::image::disk::FileDisk;
use crate::real::disk::usage::shell;
use camino::Utf8Path;
use std::io::Write;

impl Run<'_> {
    pub(super) fn forget_keys(&self, given: Option<&str>, out: &mut dyn Write) -> Result<Exit, Wrong> {
        let seen = self.look()?;
        let judged = match given {
            Some(given) => self.find(given, &seen)?,
            None => self.only_one_with_keys(&seen)?,
        };
        words::refuse_never(&Some(judged.clone()))?;
        let taken = self.take(&judged)?;
        let is_gone = || is_gone(&taken.held);
        let stick = taken.stick(&judged, self.forgetting(&judged), &is_gone);
        let size = judged.block.identity.size_bytes;
        let mut left = keys_left::on(&stick).map_err(|error| stick.failed("read", 0, size, error))?;
        if left.is_empty() {
            left = keys_left::all_over(&stick, self)?;
        }
        let keys_left::Left { places, buried } = left;
        if places.is_empty() && buried.is_none() {
            return Err(Error::Name {
                given: judged.shown(),
                reason: "it has no partition with keys after an image".into(),
            }
            .into());
        }
        let unknown = buried.map(|place| Error::Keys {
            reason: format!(
                "keys were written at byte {} of {}, and their start was overwritten later; it is not known what is left of them, and nothing was changed",
                place.from,
                judged.shown()
            ),
            next: format!(
                "save the files that you need from the stick, then: blkdiscard --force --zeroout {}; and replace the keys",
                shell(&judged.block.device())
            ),
        });
        if self.args.dry_run {
            if !self.args.json {
                words::would_forget(&judged, &places, out).map_err(output)?;
            }
            // The run itself ends so, behind what it can do.
            if let Some(error) = unknown {
                return Err(error.into());
            }
            if self.args.json {
                let told = words::told_forgotten("would-forget", &judged, &places);
                writeln!(out, "{told}").map_err(output)?;
            }
            return Ok(Exit::Ok);
        }
        if !places.is_empty() {
            self.agree_to_forget(&judged, &seen, out)?;
        }
        let mut still_named = None;
        for place in &places {
            match keys::forget(&stick, place, self) {
                // Zeros by now, whatever the table says.
                Err(error @ Error::Keys { .. }) => still_named = Some(error),
                done => done?,
            }
        }
        if let Some(error) = unknown {
            return Err(error.into());
        }
        keys_left::untell(&stick)?;
        if let Some(error) = still_named {
            return Err(error.into());
        }
        drop(stick);
        let Taken { mut held, disk } = taken;
        disk.close().map_err(|error| Error::Stick {
            stick: judged.shown(),
            doing: "closed",
            at: size,
            error,
        })?;
        held.reread_table();
        held.drop_lock();
        if self.args.json {
            let told = words::told_forgotten("forgotten", &judged, &places);
            writeln!(out, "{told}").map_err(output)?;
        } else {
            words::forgotten(&judged, out).map_err(output)?;
        }
        Ok(Exit::Ok)
    }

    /// The only stick that has keys.
    fn only_one_with_keys(&self, seen: &Seen) -> Result<Judged, Error> {
        let mut found = vec![];
        for judged in sticks::all(&seen.machine, &seen.links) {
            if judged.standing != Standing::Stick {
                continue;
            }
            let device = judged.block.device();
            let failed = |error| Error::Stick {
                stick: judged.shown(),
                doing: "read",
                at: 0,
                error,
            };
            let disk = FileDisk::open_to_read(Utf8Path::new(&device)).map_err(failed)?;
            let stick = Stick {
                disk: &disk,
                name: judged.shown(),
                sector_bytes: judged.block.identity.sector_bytes,
                is_gone: &|| false,
                again: String::new(),
                device,
            };
            if !keys_left::on(&stick).map_err(failed)?.is_empty() {
                found.push(judged);
            }
        }
        let devices: Vec<String> = found.iter().map(Judged::shown).collect();
        let one = (found.len() == 1).then(|| found.pop()).flatten();
        one.ok_or_else(|| Error::Name {
            given: "--forget-keys".into(),
            reason: if devices.is_empty() {
                "no attached stick has a partition with keys; name a stick to search all of it for keys"
                    .into()
            } else {
                format!("several sticks have keys: {}; name one", devices.join(", "))
            },
        })
    }
}
