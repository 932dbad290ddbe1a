//! What runs behind a profile that was set: the removal of what a cut run left, and NixOS's installer of the boot loader with its habits.
//! Law: as `world`; what is not removed is met as the real programs meet it.
//!
//! Absent: the steps that run it (`target`).

use super::bugs::Bug;
use super::contents::{boot_files, conf_text};
use super::disk::{Fs, Held};
use super::faults::failed;
use super::world::{Act, SimWorld};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::StorePath;

/// The link of a generation, beside its place.
pub const GENERATION: &str = "profile.tmp";

impl SimWorld {
    /// Deletes what a cut installer of the boot loader left, and what a cut Nix was making among the profiles.
    pub(super) async fn clear_leftovers(&mut self) -> Result<(), Fault> {
        if !self.has(Bug::GenerationStays) && self.text(Fs::Root, GENERATION).is_some() {
            self.put("remove a generation in the making", vec![(GENERATION, None)])
                .await?;
        }
        if self.has(Bug::LeftoversStay) || self.text(Fs::Esp, "loader.tmp").is_none() {
            return Ok(());
        }
        self.delete_on_esp("delete a leftover", vec!["loader.tmp"]).await
    }

    pub(super) async fn delete_on_esp(
        &mut self,
        label: &'static str,
        names: Vec<&'static str>,
    ) -> Result<(), Fault> {
        let gone = names
            .into_iter()
            .map(|name| self.file(Fs::Esp, name, None))
            .collect();
        self.act(label, Act::Write(Held::Mount(Fs::Esp), gone)).await?;
        self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        self.act("flush the ESP", Act::Flush).await
    }

    /// NixOS's installer for systemd-boot, with its habits: what is there is taken for its own work, whatever it is, but for
    /// the loaders, which `bootctl` writes anew; `loader.conf` is deleted first, and written beside its place last; when
    /// something is there already it fails, every time.
    pub(super) async fn run_boot_installer(&mut self, system: &StorePath) -> Result<(), Fault> {
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
