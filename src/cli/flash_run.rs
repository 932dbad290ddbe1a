//! What a run of `landfall flash` works with, and the stick that it has taken.

use super::flash_args::FlashArgs;
use crate::event::{Event, Reporter};
use crate::flash::Watch;
use crate::flash::sticks::Judged;
use crate::flash::write::Stick;
use crate::image::disk::FileDisk;
use crate::real::disk::HeldDisk;
use crate::real::process::stop::Stop;
use camino::Utf8PathBuf;
use std::time::{Duration, Instant};

/// How long the kernel may keep a device in its list after an error.
const GONE_WITHIN: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(100);

/// What a run works with.
pub(super) struct Run<'a> {
    pub(super) args: &'a FlashArgs,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) reporter: Reporter,
    pub(super) stop: Stop,
    pub(super) folder: Utf8PathBuf,
}

impl Watch for Run<'_> {
    fn progress(&self, what: &'static str, done: u64, total: u64) {
        self.reporter.tell(Event::Progress {
            what: what.to_owned(),
            done: done.min(total),
            total: Some(total),
            unit: "bytes".into(),
        });
    }

    fn stops(&self) -> bool {
        self.stop.is_requested()
    }
}

/// A stick that nobody else has.
pub(super) struct Taken {
    pub(super) held: HeldDisk,
    pub(super) disk: FileDisk,
}

impl Taken {
    /// What is written to. `again` is the command that goes on.
    pub(super) fn stick<'a>(
        &'a self,
        judged: &Judged,
        again: String,
        is_gone: &'a (dyn Fn() -> bool + Sync),
    ) -> Stick<'a> {
        Stick {
            disk: &self.disk,
            name: judged.shown(),
            sector_bytes: judged.block.identity.sector_bytes,
            is_gone,
            again,
            device: judged.block.device(),
        }
    }
}

/// Whether the stick is away, asked after an error: the kernel takes a moment to see it.
pub(super) fn is_gone(held: &HeldDisk) -> bool {
    let end = Instant::now() + GONE_WITHIN;
    loop {
        if held.block().is_err() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// How a stick was let go.
pub(super) enum Ejected {
    /// It is switched off.
    Off,
    /// There is nothing to switch off.
    Nothing,
    /// It was to be left on.
    Left,
    /// It could not be switched off: why.
    Failed(String),
}
