//! Clone the configuration: beside its place, then renamed.

use crate::event::Event;
use crate::sim::inject::faults::failed;
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{LOCK, ORDERS, OWNER, clone_text};
use crate::sim::model::disk::Fs;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use crate::world::World;
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneFacts, CloneOrder, CloneSight};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::plan::RepositorySource;

/// What is at the clone's place.
trait Place {
    async fn place(&self, world: &mut SimWorld) -> Result<CloneFacts, Fault>;
}

impl Place for CloneConfiguration {
    async fn place(&self, world: &mut SimWorld) -> Result<CloneFacts, Fault> {
        world.act("look at the clone", Act::Look).await?;
        if planted!(world, NeverSettles) {
            let why = format!("try {} in run {}", world.points.len(), world.run);
            return Err(failed(FaultClass::Transient, "look at the clone", "git", why));
        }
        if planted!(world, LookRepairs) {
            world
                .put("repair the clone", vec![("clone.index", Some("index".into()))])
                .await?;
        }
        if planted!(world, RedoClone) && world.run > 0 && world.orders == 0 {
            return Ok(CloneFacts::Absent);
        }
        let Some(clone) = world
            .text(Fs::Root, "clone")
            .filter(|text| *text != "partial")
            .map(str::to_owned)
        else {
            return Ok(CloneFacts::Absent);
        };
        let (head, mark) = clone.split_once(' ').unwrap_or((&clone, ""));
        if world.text(Fs::Root, ORDERS).is_some() {
            // Whoever has a program run may well leave everything else as it ought to be.
            if planted!(world, TargetOrders) {
                let checks = world.checks.get_mut();
                checks.took_orders("the clone's own configuration");
            }
            return Ok(CloneFacts::Unvetted {
                mark: Some(mark.to_owned()),
                why: "core.fsmonitor".into(),
            });
        }
        let whole = world.text(Fs::Root, "clone.data") == Some(head) || planted!(world, TrustBytes);
        Ok(CloneFacts::Repository {
            head: head.parse().ok(),
            mark: Some(mark.to_owned()),
            flaws: if whole {
                vec![]
            } else {
                vec!["missing blob".into()]
            },
        })
    }
}

impl Script for CloneConfiguration {
    async fn look(&self, world: &mut SimWorld) -> Result<CloneSight, Fault> {
        world.attach_root().await?;
        let standing = world.standing(self).await?;
        let place = self.place(world).await?;
        Ok(CloneSight { place, standing })
    }

    async fn carry(&self, world: &mut SimWorld, order: &CloneOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        let from = match &self.repository.source {
            RepositorySource::Remote(url) if planted!(world, RemoteTold) => url.expose().to_owned(),
            source => source.to_string(),
        };
        world.tell(Event::Step {
            what: format!("clone {} from {from}", self.revision),
        });
        // Neither the clone that is replaced nor what was cut off is shown to Git: what orders something is removed or put aside.
        if world.text(Fs::Root, ORDERS).is_some() {
            if planted!(world, TargetOrders) {
                world.checks.get_mut().took_orders("an interrupted clone");
            }
            world
                .put(
                    "put the clone aside",
                    vec![
                        (LOCK, None),
                        ("clone", None),
                        ("clone.data", None),
                        (ORDERS, None),
                    ],
                )
                .await?;
        }
        // A Git that was killed leaves its lock, and every later one ends because of it.
        if world.text(Fs::Root, LOCK).is_some() {
            if planted!(world, LockStays) {
                return Err(failed(
                    FaultClass::Transient,
                    "git fetch",
                    "git",
                    "another git process seems to be running",
                ));
            }
            world.put("remove the lock", vec![(LOCK, None)]).await?;
        }
        // The directory is one entry: a clone beside its place is not there yet, and a rename is whole or not at all.
        if order.replace || world.text(Fs::Root, "clone").is_none() {
            world
                .put(
                    "begin beside",
                    vec![("clone", Some("partial".into())), (OWNER, None)],
                )
                .await?;
        }
        let fetched = world.act("fetch", Act::Ask).await;
        let came = world.came.take();
        if let Some(came) = came {
            world
                .put("what came", vec![("clone.data", Some(came.to_owned()))])
                .await?;
        }
        fetched?;
        let revision = came.map_or(self.revision.to_string(), str::to_owned);
        let checkout = vec![
            (LOCK, Some(String::new())),
            ("clone.data", Some(revision)),
            (LOCK, None),
        ];
        world.put("clone beside", checkout).await?;
        world.sync().await?;
        let text = clone_text(&world.setting.plan, &self.revision);
        world
            .put("rename the clone", vec![(LOCK, None), ("clone", Some(text))])
            .await?;
        if planted!(world, Leftover) && world.run > 0 {
            world
                .put("leave a file", vec![("clone.old", Some(String::new()))])
                .await?;
        }
        if planted!(world, CloneUnsynced) {
            Ok(())
        } else {
            world.sync().await
        }
    }
}
