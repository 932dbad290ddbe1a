//! The root filesystem from an image, in the simulated world. Law: as in the real one: a slice is a chunk and its flush, under
//! the provisional id; behind the last one everything is looked at again, what differs is written again, and only then the
//! planned id is given.
//!
//! A real order writes several such slices before the driver saves how far it came. Here the chunk that was flushed and not yet
//! saved, of a run that dies in between, stands for all of them. Absent: what an image leaves out of its filesystem, since the
//! simulated disk has no such bytes that could be discarded; files. An image brings none here; they are written when its closure is registered, as by a copy.

use super::bugs::Bug;
use super::checks::Found;
use super::disk::{CHUNKS, Header, Held, Key, Region, Value};
use super::world::{Act, SimWorld};
use landfall_states::encrypted::ImageOrder;
use landfall_states::fault::Fault;
use landfall_states::image::{Image, Landing};
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::SystemSource;

/// How the system comes to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Its closure is carried along and copied.
    Prebuilt,
    /// Its closure is carried along in an image of the root filesystem.
    Image,
    /// It is built from the flake.
    Flake,
}

/// An image of a system, of few chunks: more of them have no other stories to tell.
pub fn made_up_image(system: &StorePath) -> SystemSource {
    SystemSource::Image(Box::new(Image {
        file: "/iso/root.image".into(),
        digest: Digest::of(system.as_str().as_bytes()),
        system: system.clone(),
        filesystem_bytes: 1 << 30,
        plain_bytes: 1 << 29,
        boot_bytes: 1 << 20,
        chunks: CHUNKS,
    }))
}

impl SimWorld {
    /// One slice. True when the volume is whole and has its id.
    pub(super) async fn land(&mut self, region: Region, order: &ImageOrder) -> Result<bool, Fault> {
        let Some((kind, volume, id, provisional)) = self.setting.volume(region) else {
            return Err(Fault::permanent("volume", "not planned", "report this"));
        };
        let label = volume.label.as_str().into();
        let making = match self.disk().header(region) {
            Some(header) if order.from > 0 => header.making,
            Some(_) | None => {
                self.machine.makings += 1;
                self.machine.makings
            }
        };
        let within = match region {
            Region::Inner => self.machine.mapped.unwrap_or(0),
            Region::Esp | Region::Root | Region::Swap => 0,
        };
        let header = |id: &str| {
            let header = Header {
                kind,
                id: id.into(),
                label,
                making,
                within,
            };
            (Key::Header(region), Some(Value::Header(header)))
        };
        let chunk = |number| (Key::Chunk(number), Some(Value::Of(making)));
        let target = self.target();
        if order.from < order.image.chunks {
            let mut writes = vec![chunk(order.from)];
            if order.from == 0 {
                let early = self.has(Bug::ImageCommittedEarly);
                writes.insert(0, header(if early { &id } else { &provisional }));
            }
            let write = Act::Write(Held::Device, writes);
            self.act_on("write a chunk", write, target, Found::ByIdentity)
                .await?;
            if !self.has(Bug::ImageTrusted) {
                self.act("flush the chunk", Act::Flush).await?;
            }
            self.landing = Some(Landing {
                image: order.image.digest.clone(),
                chunks: order.from + 1,
            });
            return Ok(false);
        }
        self.act("read the image back", Act::Look).await?;
        let lost: Vec<_> = (0..order.image.chunks)
            .filter(|number| self.disk().see(Key::Chunk(*number)) != Some(&Value::Of(making)))
            .filter(|_| !self.has(Bug::ImageTrusted))
            .map(chunk)
            .collect();
        if !lost.is_empty() {
            let write = Act::Write(Held::Device, lost);
            self.act_on("write a chunk again", write, target, Found::ByIdentity)
                .await?;
        }
        let grown = vec![(Key::Body(region), Some(Value::Of(making)))];
        self.act_on(
            "grow it",
            Act::Write(Held::Device, grown),
            target,
            Found::ByIdentity,
        )
        .await?;
        self.act("flush the volume", Act::Flush).await?;
        if !self.disk().is_mountable(region) {
            let what = format!("volume {region:?}");
            return Err(Fault::transient(what, "what was written and grown is not there"));
        }
        let commit = Act::Write(Held::Device, vec![header(&id)]);
        self.act_on("give it its id", commit, target, Found::ByIdentity)
            .await?;
        self.act("flush the id", Act::Flush).await?;
        Ok(true)
    }
}
