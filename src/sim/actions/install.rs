//! Install the system: the secrets that activation needs, the profile, activation.

use crate::sim::inject::faults::failed;
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::GENERATION;
use crate::sim::model::disk::Fs;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::install_system::{InstallFacts, InstallOrder, InstallSystem};
use landfall_states::fault::{Fault, FaultClass, PlaceFault, StoreFault};

impl Script for InstallSystem {
    async fn look(&self, world: &mut SimWorld) -> Result<InstallFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the profile", Act::Look).await?;
        if planted!(world, LookSetsProfile) {
            let system = self.system.to_string();
            world
                .put("set the profile", vec![("profile", Some(system))])
                .await?;
        }
        Ok(InstallFacts {
            profile: match world.text(Fs::Root, GENERATION) {
                Some(_) if !planted!(world, GenerationStays) => None,
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
        if !order.place_first.is_empty() && !planted!(world, KeysAfterActivation) {
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
        if planted!(world, NotIdempotent) && world.text(Fs::Root, "profile").is_some() {
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
        // What a cut tore is no account, and is made again.
        if !matches!(world.text(Fs::Root, "login"), Some("password" | "locked")) {
            let readable = world.identity()?.flaws.is_empty();
            let login = if readable { "password" } else { "locked" };
            world
                .put("make users", vec![("login", Some(login.into()))])
                .await?;
            // A part that failed: nixos-enter goes on, and only a line of its output tells.
            if world.text(Fs::Root, "login") != Some(login) && !planted!(world, ActivationUnheard) {
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
        if !planted!(world, ProfileUnsynced) {
            world.sync().await?;
        }
        world
            .put("trace of the activation", vec![("activated", Some(system))])
            .await?;
        if !planted!(world, ProfileUnsynced) {
            world.sync().await?;
        }
        world.act("firmware entry", Act::Nvram).await
    }
}
