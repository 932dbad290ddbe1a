//! The root filesystem from an image.
//!
//! As in the real world, a chunk is written when its bytes are right, and a slice is a chunk and its flush, under the
//! provisional id. After the last slice everything is read back, differences are written again and read once more, and only
//! then the planned id is given. The image brings a complete closure, which then only has to be registered.
//!
//! A real order writes several such slices before the driver saves the progress. Here the chunk that was flushed and not yet
//! saved, of a run that crashes in between, stands for all of them. The simulated disk has no bytes that could be discarded.

use crate::sim::check::watch::Found;
use crate::sim::inject::faults::failed;
use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{CHUNKS, Disk, Header, Held, Key, Region, Value};
use crate::sim::model::image::{WRONG, chunk};
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::format_volumes::ImageOrder;
use landfall_states::fault::{Fault, FaultClass, ImageFault};
use landfall_states::image::{Image, ImageProgress, READS_MAX};
use std::rc::Rc;

impl SimWorld {
    /// One slice. True when the volume is whole and has its id.
    pub(crate) async fn land(&mut self, region: Region, order: &ImageOrder) -> Result<bool, Fault> {
        let Some((kind, volume, id, provisional)) = self.setting.volume(region) else {
            return Err(Fault::defect("volume", "not planned"));
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
        let header = |id: &str| Header {
            kind,
            id: id.into(),
            label,
            making,
            within,
        };
        if order.from < order.image.chunks {
            let early = planted!(self, ImageCommittedEarly);
            let header = header(if early { &id } else { &provisional });
            self.land_chunk(region, order, header).await?;
            return Ok(false);
        }
        self.verify_chunks(region, order, making).await?;
        self.grow_volume(region, making).await?;
        let target = self.target();
        let (key, value) = (Key::Header(region), Some(Value::Header(header(&id))));
        self.commit_copies(value.clone()).await?;
        let commit = Act::Write(Held::Device, vec![(key, value)]);
        self.act_on("give it its id", commit, target, Found::ByIdentity)
            .await?;
        self.act("flush the id", Act::Flush).await?;
        Ok(true)
    }

    /// One chunk and its flush; the first one brings the header.
    async fn land_chunk(&mut self, region: Region, order: &ImageOrder, header: Header) -> Result<(), Fault> {
        let came = self.image_progress.as_ref().map(|progress| progress.chunks);
        if came != Some(order.from) {
            self.act("open the image", Act::Look).await?;
        }
        if order.from == 0 {
            self.forget_copies().await?;
        }
        let right = self.read_chunk().await?;
        let digest = if right { order.image.digest.as_str() } else { WRONG };
        let mut writes = chunk(order.from, header.making, digest);
        if order.from == 0 {
            writes.insert(0, (Key::Header(region), Some(Value::Header(header))));
        }
        let write = Act::Write(Held::Device, writes);
        self.act_on("write a chunk", write, self.target(), Found::ByIdentity)
            .await?;
        if !planted!(self, ImageTrusted) {
            self.act("flush the chunk", Act::Flush).await?;
        }
        self.image_progress = Some(ImageProgress {
            image: order.image.digest.clone(),
            chunks: order.from + 1,
        });
        Ok(())
    }

    /// Looks at every chunk again. What differs is written again, and looked at once more.
    async fn verify_chunks(&mut self, region: Region, order: &ImageOrder, making: u32) -> Result<(), Fault> {
        let target = self.target();
        let digest: Rc<str> = order.image.digest.as_str().into();
        self.act("open the image", Act::Look).await?;
        self.act("read the image back", Act::Look).await?;
        let is_lost = |disk: &Disk, number: u64| {
            chunk(number, making, &digest)
                .iter()
                .any(|(key, value)| disk.see(*key) != value.as_ref())
        };
        let blind = planted!(self, ImageTrusted) || planted!(self, ChunkUnchecked);
        let lost: Vec<u64> = (0..order.image.chunks)
            .filter(|number| !blind && is_lost(self.disk(), *number))
            .collect();
        for number in lost {
            self.read_chunk().await?;
            let write = Act::Write(Held::Device, chunk(number, making, &digest));
            self.act_on("write a chunk again", write, target, Found::ByIdentity)
                .await?;
            self.act("flush it again", Act::Flush).await?;
            self.act("read it back again", Act::Look).await?;
            if is_lost(self.disk(), number) {
                let what = format!("chunk {number} on volume {region:?}");
                return Err(Fault::read_back(what, "written twice, it still reads back wrong"));
            }
        }
        Ok(())
    }

    async fn grow_volume(&mut self, region: Region, making: u32) -> Result<(), Fault> {
        let grown = vec![(Key::Body(region), Some(Value::Of(making)))];
        self.act_on(
            "grow it",
            Act::Write(Held::Device, grown),
            self.target(),
            Found::ByIdentity,
        )
        .await?;
        self.act("flush the volume", Act::Flush).await?;
        if !self.disk().is_mountable(region) {
            let what = format!("volume {region:?}");
            return Err(failed(
                FaultClass::Transient,
                what,
                "resize2fs",
                "what was written and grown is not there",
            ));
        }
        Ok(())
    }

    /// Reads a chunk until its digest is right, as often as a medium gets a chance. False only where nobody looks at it.
    async fn read_chunk(&mut self) -> Result<bool, Fault> {
        for _ in 0..READS_MAX {
            self.right = false;
            self.act("read a chunk of the image", Act::Medium).await?;
            if self.right || planted!(self, ChunkUnchecked) {
                return Ok(self.right);
            }
        }
        Err(ImageFault::PartWrong {
            image: "image".into(),
            part: "a chunk".into(),
            reads: READS_MAX,
        }
        .into())
    }

    /// Whether the root filesystem was written from this image.
    pub(crate) fn is_from(&self, image: &Image) -> bool {
        let is_of = |number: u64| match self.disk().see(Key::Chunk(number)) {
            Some(Value::Text(_, digest)) => **digest == *image.digest.as_str(),
            _ => false,
        };
        (0..CHUNKS).any(is_of)
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::check::invariants::Invariant;
    use crate::sim::explore::harness::Harness;
    use crate::sim::explore::run::End;
    use crate::sim::explore::run::Ending;
    use crate::sim::explore::run::ScenarioRun;
    use crate::sim::inject::planted::Bug;
    use crate::sim::inject::schedule::Schedule;
    use landfall_states::fault::FaultClass;

    /// How the first run ends when the first chunk is read wrong so often, and how the scenario does.
    fn read_wrong(times: usize) -> (End, Ending) {
        let harness = Harness::new("plain/image/blank/person".parse().unwrap()).unwrap();
        let schedule = wrong(&harness, times);
        let (run, _) = ScenarioRun::new(harness.setting()).run(&schedule);
        let report = harness.run(&schedule, false);
        assert_eq!(report.breaches, vec![], "{schedule}");
        (run.end, report.ending)
    }

    fn wrong(harness: &Harness, times: usize) -> Schedule {
        let reads = |label: &str| harness.points.iter().position(|point| point.label == label);
        let first = reads("read a chunk of the image").unwrap();
        let shots: Vec<String> = (first..first + times).map(|at| format!("0.{at}:lie")).collect();
        shots.join(",").parse().unwrap()
    }

    #[test]
    fn a_medium_that_gives_wrong_bytes_is_read_again_and_then_named() {
        for times in [1, 2] {
            let (end, ending) = read_wrong(times);
            assert!(matches!(end, End::Said(Ok(_))), "{end:?}");
            assert_eq!(ending, Ending::Landed);
        }
        let (end, ending) = read_wrong(3);
        let End::Said(Err(halt)) = end else {
            panic!("{end:?}")
        };
        assert_eq!(halt.fault.class, FaultClass::Hardware);
        assert!(halt.fault.next().contains("another medium"), "{}", halt.fault);
        assert_eq!(ending, Ending::Landed, "with another medium");
        // The control.
        let careless = Harness::new("plain/image/blank/person".parse().unwrap())
            .unwrap()
            .with(Bug::ChunkUnchecked);
        let schedule = wrong(&careless, 1);
        let breaches = careless.run(&schedule, false).breaches;
        assert!(
            breaches.iter().any(|breach| breach.invariant == Invariant::Lands),
            "{breaches:?}"
        );
    }

    /// A root filesystem that is whole is of the image it was written from; a new stick does not change that.
    #[test]
    fn another_image_lands_before_the_root_is_whole_and_is_refused_after() {
        let harness = Harness::new("plain/image/blank/person".parse().unwrap()).unwrap();
        let at = |label: &str| {
            harness
                .points
                .iter()
                .rposition(|point| point.label == label)
                .unwrap()
        };
        let other = std::rc::Rc::new(harness.setting().other_payload().unwrap());
        let next = |at: usize| {
            let mut scenario = harness.scenario();
            let schedule = format!("0.{at}:after:cut=all").parse().unwrap();
            let (_, world) = scenario.run(&schedule);
            scenario.settle(world, None);
            scenario.asks(&other);
            scenario.run(&Schedule::default()).0.end
        };
        assert!(matches!(next(at("write a chunk")), End::Said(Ok(_))));
        let End::Said(Err(halt)) = next(at("register the closure")) else {
            panic!("it landed on another image's files")
        };
        assert_eq!(halt.fault.class, FaultClass::NeedsChange, "{}", halt.fault);
    }
}
