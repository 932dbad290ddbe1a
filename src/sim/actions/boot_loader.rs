//! Install the boot loader: remove what a cut run left, and NixOS's installer of the boot loader with its habits. What is not removed
//! is met as the real programs meet it.

use crate::sim::inject::faults::failed;
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{GENERATION, boot_files, conf_text};
use crate::sim::model::disk::{Fs, Held};
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::install_boot_loader::{
    BootFacts, BootFile, BootOrder, InstallBootLoader, Nvram,
};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::StorePath;

impl Script for InstallBootLoader {
    async fn look(&self, world: &mut SimWorld) -> Result<BootFacts, Fault> {
        world.attach_root().await?;
        world.attach_esp().await?;
        world.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        world.act("flush the ESP", Act::Flush).await?;
        let blind = planted!(world, TrustExitCode) && world.orders > 0;
        let judged = |name: &'static str, right: &str| match world.text(Fs::Esp, name) {
            _ if blind => BootFile::Right(name.into()),
            None => BootFile::Missing(name.into()),
            Some(text) if text == right || planted!(world, ExistsIsRight) => BootFile::Right(name.into()),
            Some(_) => BootFile::Different {
                path: name.into(),
                how: "differs".into(),
            },
        };
        let [kernel, initrd, entry, loader, fallback] =
            boot_files(&self.system).map(|(name, right)| judged(name, &right));
        let conf = judged("conf", &conf_text(&self.system));
        let left = !planted!(world, LeftoversStay) && world.text(Fs::Esp, "loader.tmp").is_some();
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
        if !wrong.is_empty() && !planted!(world, WrongStays) {
            world.delete_on_esp("delete what is wrong", wrong).await?;
        }
        world.run_boot_installer(&self.system).await?;
        world.act("firmware entry", Act::Nvram).await?;
        world.sync().await?;
        world.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        world.act("flush the ESP", Act::Flush).await
    }
}

impl SimWorld {
    /// Deletes what a cut installer of the boot loader left, and what a cut Nix was making among the profiles.
    pub(crate) async fn clear_leftovers(&mut self) -> Result<(), Fault> {
        if !planted!(self, GenerationStays) && self.text(Fs::Root, GENERATION).is_some() {
            self.put("remove a generation in the making", vec![(GENERATION, None)])
                .await?;
        }
        if planted!(self, LeftoversStay) || self.text(Fs::Esp, "loader.tmp").is_none() {
            return Ok(());
        }
        self.delete_on_esp("delete a leftover", vec!["loader.tmp"]).await
    }

    /// NixOS's installer for systemd-boot, with its habits: what is there is taken for its own work, whatever it is, but for
    /// the loaders, which `bootctl` writes again; `loader.conf` is deleted first, and written beside its place last; when
    /// something is there already it fails, every time.
    pub(crate) async fn run_boot_installer(&mut self, system: &StorePath) -> Result<(), Fault> {
        if self.text(Fs::Esp, "conf").is_some() {
            let gone = vec![self.file(Fs::Esp, "conf", None)];
            self.act("delete loader.conf", Act::Write(Held::Mount(Fs::Esp), gone))
                .await?;
        }
        let writes = boot_files(system)
            .into_iter()
            .filter(|(name, _)| matches!(*name, "loader" | "fallback") || self.text(Fs::Esp, name).is_none())
            .map(|(name, text)| self.file(Fs::Esp, name, Some(text)))
            .collect();
        self.act(
            "install the boot loader",
            Act::Write(Held::Mount(Fs::Esp), writes),
        )
        .await?;
        if self.text(Fs::Esp, "loader.tmp").is_some() {
            return Err(failed(
                FaultClass::Transient,
                "boot loader installer",
                "bootctl",
                "File exists: loader.tmp",
            ));
        }
        let conf = conf_text(system);
        let beside = vec![self.file(Fs::Esp, "loader.tmp", Some(conf.clone()))];
        self.act(
            "loader.conf beside its place",
            Act::Write(Held::Mount(Fs::Esp), beside),
        )
        .await?;
        let renamed = vec![
            self.file(Fs::Esp, "conf", Some(conf)),
            self.file(Fs::Esp, "loader.tmp", None),
        ];
        self.act("rename loader.conf", Act::Write(Held::Mount(Fs::Esp), renamed))
            .await
    }
}
