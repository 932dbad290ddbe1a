//! Looking and acting on the mounted target: clone, store, profile, boot loader, keys, landing. Law and absence are those of
//! `steps`.

use super::boot_installer::GENERATION;
use super::bugs::Bug;
use super::case::AGE_IDENTITY;
use super::contents::{
    CLOSURE, LOCK, MODE, MODE_RIGHT, ORDERS, OWNER, REGISTERED, boot_files, clone_text, conf_text,
    receipt_text,
};
use super::disk::{Fs, Key};
use super::steps::Script;
use super::world::{Act, SimWorld};
use crate::event::Event;
use crate::sim::faults::failed;
use crate::world::World;
use landfall_states::bootable::{Placed, ProvisionSecrets, SecretsFacts, SecretsOrder};
use landfall_states::cloned::{Contents, Database, RealiseOrder, RealiseSystem, SystemFacts};
use landfall_states::fault::{ConfigFault, Fault, FaultClass, ImageFault, PlaceFault, StoreFault};
use landfall_states::formatted::{CloneConfiguration, CloneFacts, CloneOrder, CloneSight};
use landfall_states::image::Image;
use landfall_states::installed::{BootFacts, BootFile, BootOrder, InstallBootLoader, Nvram};
use landfall_states::names::{BadValue, Revision, TargetPath};
use landfall_states::plan::{RepositorySource, SystemSource};
use landfall_states::provisioned::{Land, LandFacts, LandOrder, Receipt};
use landfall_states::realised::{InstallFacts, InstallOrder, InstallSystem};

/// What is at the clone's place.
trait Place {
    async fn place(&self, world: &mut SimWorld) -> Result<CloneFacts, Fault>;
}

impl Place for CloneConfiguration {
    async fn place(&self, world: &mut SimWorld) -> Result<CloneFacts, Fault> {
        world.act("look at the clone", Act::Look).await?;
        if world.has(Bug::NeverSettles) {
            let why = format!("try {} in run {}", world.points.len(), world.run);
            return Err(failed(FaultClass::Transient, "look at the clone", "git", why));
        }
        if world.has(Bug::LookRepairs) {
            world
                .put("repair the clone", vec![("clone.index", Some("index".into()))])
                .await?;
        }
        if world.has(Bug::RedoClone) && world.run > 0 && world.orders == 0 {
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
            if world.has(Bug::TargetOrders) {
                let checks = world.checks.get_mut();
                checks.took_orders("the clone's own configuration");
            }
            return Ok(CloneFacts::Unvetted {
                mark: Some(mark.to_owned()),
                why: "core.fsmonitor".into(),
            });
        }
        let whole = world.text(Fs::Root, "clone.data") == Some(head) || world.has(Bug::TrustBytes);
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
            RepositorySource::Remote(url) if world.has(Bug::RemoteTold) => url.expose().to_owned(),
            source => source.to_string(),
        };
        world.tell(Event::Step {
            what: format!("clone {} from {from}", self.revision),
        });
        // Neither the clone that is replaced nor what was cut off is shown to Git: what orders something is removed or put aside.
        if world.text(Fs::Root, ORDERS).is_some() {
            if world.has(Bug::TargetOrders) {
                world.checks.get_mut().took_orders("a clone that was cut off");
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
            if world.has(Bug::LockStays) {
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
        if world.has(Bug::Leftover) && world.run > 0 {
            world
                .put("leave a file", vec![("clone.old", Some(String::new()))])
                .await?;
        }
        world.sync_unless(Bug::CloneUnsynced).await
    }
}

impl Script for RealiseSystem {
    async fn look(&self, world: &mut SimWorld) -> Result<SystemFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the store", Act::Look).await?;
        let noted = world.noted(&self.revision);
        let system = match self.source.known() {
            Some(system) => Some(system.clone()),
            None => noted.clone(),
        };
        let database = world.database();
        if world.has(Bug::DatabaseIsFault)
            && let Database::Unusable(why) = database
        {
            return Err(failed(
                FaultClass::Transient,
                "verification of the store",
                "nix",
                why,
            ));
        }
        let usable = database == Database::Usable;
        let recorded = system.is_some() && noted == system;
        let registered = usable
            && recorded
            && REGISTERED
                .iter()
                .all(|valid| world.text(Fs::Root, valid) == Some("valid"));
        let contents = if usable && self.verify && system.is_some() {
            world.verify()
        } else {
            Contents::NotVerified
        };
        Ok(SystemFacts {
            evaluated: if world.has(Bug::SystemFromTarget) {
                noted
            } else {
                world.evaluated.then(|| world.setting.system.clone())
            },
            system,
            recorded,
            database,
            registered,
            contents,
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &RealiseOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        if let SystemSource::Image(image) = &self.source {
            return world.register(image, order, &self.revision).await;
        }
        world.mend_modes(self.verify).await?;
        world.put_database_aside(order).await?;
        world.heal(&order.corrupt).await?;
        if self.source == SystemSource::Flake
            && self.verify
            && order.corrupt.is_empty()
            && world.database() == Database::Usable
            && let Contents::Corrupt(paths) = world.verify()
        {
            world.heal(&paths).await?;
        }
        if self.source == SystemSource::Flake {
            world.open_clone(order)?;
        }
        let fetched = world.act("evaluate and fetch", Act::Ask).await;
        if let Some(came) = world.came.take()
            && world.text(Fs::Root, REGISTERED[0]).is_none()
        {
            // Beside its place in the real store; a path that nobody registered is nothing.
            let path = vec![(CLOSURE[0], Some(came.to_owned()))];
            world.put("what came", path).await?;
        }
        fetched?;
        if self.source == SystemSource::Flake {
            world.uses(Some(&self.revision), None);
            world.evaluated = true;
        }
        world.make_database().await?;
        for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
            if world.text(Fs::Root, valid).is_none() {
                // Not synced before it is registered: Nix before 2.25 does not know `fsync-store-paths`.
                let mut written = vec![(path, Some(path.to_owned()))];
                if path == CLOSURE[2] {
                    written.push((MODE, Some(MODE_RIGHT.to_owned())));
                }
                world.put("write a path", written).await?;
                world
                    .put("register a path", vec![(valid, Some("valid".into()))])
                    .await?;
            }
        }
        world.sync().await?;
        world.record_system(&self.revision, order.only_evaluate).await
    }

    fn redoes(order: &RealiseOrder) -> bool {
        !order.only_evaluate
    }
}

impl SimWorld {
    /// What an image brought is registered in one transaction.
    async fn register(
        &mut self,
        image: &Image,
        order: &RealiseOrder,
        revision: &Revision,
    ) -> Result<(), Fault> {
        if !order.corrupt.is_empty() {
            return Err(StoreFault::PathsLost {
                system: image.system.to_string(),
                paths: order.corrupt.iter().map(ToString::to_string).collect(),
                more: 0,
            }
            .into());
        }
        if !self.is_from(image) {
            return Err(ImageFault::WithoutSystem {
                image: image.file.clone(),
                system: image.system.to_string(),
            }
            .into());
        }
        self.mend_modes(order.action.verify).await?;
        self.put_database_aside(order).await?;
        self.make_database().await?;
        let valid = REGISTERED.map(|valid| (valid, Some("valid".into())));
        self.put("register the closure", valid.into()).await?;
        self.sync().await?;
        self.record_system(revision, order.only_evaluate).await
    }
}

impl Script for InstallSystem {
    async fn look(&self, world: &mut SimWorld) -> Result<InstallFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the profile", Act::Look).await?;
        if world.has(Bug::LookSetsProfile) {
            let system = self.system.to_string();
            world
                .put("set the profile", vec![("profile", Some(system))])
                .await?;
        }
        Ok(InstallFacts {
            profile: match world.text(Fs::Root, GENERATION) {
                Some(_) if !world.has(Bug::GenerationStays) => None,
                Some(_) | None => world.text(Fs::Root, "profile").map(str::to_owned),
            },
            marked: world.text(Fs::Root, "etc/NIXOS").is_some_and(|t| t.is_empty()),
            activated: world.text(Fs::Root, "activated") == Some(self.system.as_str()),
            first: vec![world.identity()?],
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &InstallOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        world.attach_esp().await?;
        if !order.place_first.is_empty() && !world.has(Bug::KeysAfterActivation) {
            world.place_identity().await?;
            world.sync().await?;
            if !world.identity()?.flaws.is_empty() {
                return Err(PlaceFault::NotPlaced {
                    path: "age identity".into(),
                    flaws: vec!["it is not what was written".into()],
                }
                .into());
            }
        }
        world.clear_leftovers().await?;
        world.sync().await?;
        world.uses(None, Some(&order.system));
        let system = order.system.to_string();
        // A link that was left there Nix takes for the generation itself.
        let taken = world.text(Fs::Root, GENERATION).is_some();
        if world.has(Bug::NotIdempotent) && world.text(Fs::Root, "profile").is_some() {
            world
                .put("another generation", vec![("generation-2", Some(system.clone()))])
                .await?;
        }
        // Nix makes a link beside its place, and renames it.
        let installed = vec![
            (GENERATION, Some(system.clone())),
            ("profile", Some(system.clone())),
            (GENERATION, taken.then(|| system.clone())),
            ("etc/NIXOS", Some(String::new())),
        ];
        world.put("nixos-install", installed).await?;
        if taken {
            // The installer of the boot loader looks for the link by its name.
            return Err(failed(
                FaultClass::Transient,
                "nixos-install",
                "nixos-install",
                "error: no system generations found in /nix/var/nix/profiles",
            ));
        }
        world.act("activate", Act::Look).await?;
        // Users that may be changed later get their password when they are made, and never again.
        // What a cut tore is no account, and is made anew.
        if !matches!(world.text(Fs::Root, "login"), Some("password" | "locked")) {
            let readable = world.identity()?.flaws.is_empty();
            let login = if readable { "password" } else { "locked" };
            world
                .put("make users", vec![("login", Some(login.into()))])
                .await?;
            // A part that failed: nixos-enter goes on, and only a line of its output tells.
            if world.text(Fs::Root, "login") != Some(login) && !world.has(Bug::ActivationUnheard) {
                return Err(StoreFault::ActivationIncomplete {
                    system,
                    part: "users".into(),
                    lacks: "users".into(),
                    said: "its part users failed".into(),
                }
                .into());
            }
        }
        world.run_boot_installer(&order.system).await?;
        world.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        world.act("flush the ESP", Act::Flush).await?;
        world.sync_unless(Bug::ProfileUnsynced).await?;
        world
            .put("trace of the activation", vec![("activated", Some(system))])
            .await?;
        world.sync_unless(Bug::ProfileUnsynced).await?;
        world.act("firmware entry", Act::Nvram).await
    }
}

impl SimWorld {
    /// The age identity, as looking finds it.
    fn identity(&self) -> Result<Placed, Fault> {
        let mut flaws = vec![];
        if self.text(Fs::Root, "age") != Some(AGE_IDENTITY) {
            flaws.push("contents".to_owned());
        }
        if self.text(Fs::Root, "age.mode") != Some("0400 root") {
            flaws.push("mode".to_owned());
        }
        placed("/etc/age/web.agekey", flaws)
    }

    async fn place_identity(&mut self) -> Result<(), Fault> {
        self.put("place a key", vec![("age", Some(AGE_IDENTITY.into()))])
            .await?;
        self.put("set its mode", vec![("age.mode", Some("0400 root".into()))])
            .await
    }
}

fn placed(path: &str, flaws: Vec<String>) -> Result<Placed, Fault> {
    let path: TargetPath = path.parse().map_err(|e: BadValue| ConfigFault::bad("path", e))?;
    Ok(Placed { path, flaws })
}

impl Script for InstallBootLoader {
    async fn look(&self, world: &mut SimWorld) -> Result<BootFacts, Fault> {
        world.attach_root().await?;
        world.attach_esp().await?;
        world.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        world.act("flush the ESP", Act::Flush).await?;
        let blind = world.has(Bug::TrustExitCode) && world.orders > 0;
        let judged = |name: &'static str, right: &str| match world.text(Fs::Esp, name) {
            _ if blind => BootFile::Right(name.into()),
            None => BootFile::Missing(name.into()),
            Some(text) if text == right || world.has(Bug::ExistsIsRight) => BootFile::Right(name.into()),
            Some(_) => BootFile::Different {
                path: name.into(),
                how: "differs".into(),
            },
        };
        let [kernel, initrd, entry, loader, fallback] =
            boot_files(&self.system).map(|(name, right)| judged(name, &right));
        let conf = judged("conf", &conf_text(&self.system));
        let left = !world.has(Bug::LeftoversStay) && world.text(Fs::Esp, "loader.tmp").is_some();
        Ok(BootFacts {
            loader,
            fallback,
            entry,
            kernel,
            initrd,
            others: vec![conf],
            leftovers: left.then(|| "loader.tmp".to_owned()).into_iter().collect(),
            nvram: if world.machine.nvram {
                Nvram::Ours
            } else {
                Nvram::Missing
            },
            unproved: None,
            steered: None,
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &BootOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        world.attach_esp().await?;
        world.clear_leftovers().await?;
        let wrong: Vec<&'static str> = boot_files(&self.system)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| order.wrong().any(|wrong| wrong == *name))
            .collect();
        if !wrong.is_empty() && !world.has(Bug::WrongStays) {
            world.delete_on_esp("delete what is wrong", wrong).await?;
        }
        world.run_boot_installer(&self.system).await?;
        world.act("firmware entry", Act::Nvram).await?;
        world.sync().await?;
        world.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        world.act("flush the ESP", Act::Flush).await
    }
}

impl Script for ProvisionSecrets {
    async fn look(&self, world: &mut SimWorld) -> Result<SecretsFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the keys", Act::Look).await?;
        let owned = world.text(Fs::Root, OWNER) == Some("op");
        let owner = (!owned).then(|| "owner".to_owned()).into_iter().collect();
        let mut all = vec![world.identity()?, placed("/home/op/conf", owner)?];
        if world.has(Bug::TrustKeys) {
            all.clear();
        }
        Ok(SecretsFacts { placed: all })
    }

    async fn carry(&self, world: &mut SimWorld, order: &SecretsOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        let identity = world.identity()?.path;
        if order.paths.contains(&identity) {
            world.place_identity().await?;
        }
        world
            .put("give the clone away", vec![(OWNER, Some("op".into()))])
            .await?;
        world.sync_unless(Bug::KeysUnsynced).await
    }
}

impl Script for Land {
    async fn look(&self, world: &mut SimWorld) -> Result<LandFacts, Fault> {
        let attached: Vec<String> = [
            (world.machine.root_mounted, "/mnt"),
            (world.machine.mapped.is_some(), "cryptroot"),
        ]
        .into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, what)| what.to_owned())
        .collect();
        if world.has(Bug::LandUnflushed) && world.orders > 0 {
            return Ok(LandFacts {
                receipt: Some(Receipt {
                    install: self.install.to_string(),
                    system: self.system.to_string(),
                }),
                log: true,
                attached: vec![],
                flushed: true,
            });
        }
        if !attached.is_empty() {
            return Ok(LandFacts {
                receipt: None,
                log: false,
                attached,
                flushed: false,
            });
        }
        world.attach_root().await?;
        world.act("look at the receipt", Act::Look).await?;
        let receipt = world
            .text(Fs::Root, "receipt")
            .and_then(|text| text.split_once(' '))
            .map(|(install, system)| Receipt {
                install: install.to_owned(),
                system: system.to_owned(),
            });
        let log = world.text(Fs::Root, "log").is_some();
        world.detach().await?;
        world.flush_devices().await?;
        Ok(LandFacts {
            receipt,
            log,
            attached: vec![],
            flushed: world.quiet,
        })
    }

    async fn carry(&self, world: &mut SimWorld, _order: &LandOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        world.tell(Event::Step {
            what: "receipt and log".into(),
        });
        let receipt = receipt_text(&world.setting.plan, &self.system);
        let log = if world.has(Bug::KeyInLog) {
            AGE_IDENTITY
        } else {
            "log"
        };
        for (name, text) in [("receipt", receipt), ("log", log.to_owned())] {
            world.put("keep", vec![(name, Some(text))]).await?;
            world
                .act("sync it", Act::SyncFile(Key::File(Fs::Root, name)))
                .await?;
        }
        if world.has(Bug::LandUnflushed) {
            return Ok(());
        }
        world.sync().await?;
        world.detach().await?;
        world.flush_devices().await
    }
}
