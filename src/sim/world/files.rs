//! Files of the target's filesystems: reading them, writing them, writing them out.

use crate::sim::model::disk::{Fs, Held, Key, Region, Value};
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::fault::Fault;

impl SimWorld {
    /// A file's text, as whoever reads it now sees it.
    pub fn text(&self, fs: Fs, name: &'static str) -> Option<&str> {
        let region = match fs {
            Fs::Esp => Region::Esp,
            Fs::Root => self.setting.root_region(),
        };
        self.disk().text(fs, region, name)
    }

    /// A write of a file, for the filesystem that is there now.
    pub fn file(&self, fs: Fs, name: &'static str, text: Option<String>) -> (Key, Option<Value>) {
        let region = match fs {
            Fs::Esp => Region::Esp,
            Fs::Root => self.setting.root_region(),
        };
        let making = self.disk().header(region).map_or(0, |h| h.making);
        let value = text.map(|text| Value::Text(making, text.into()));
        (Key::File(fs, name), value)
    }

    /// Writes files of the root's filesystem, which holds them back.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn put(
        &mut self,
        label: &'static str,
        files: Vec<(&'static str, Option<String>)>,
    ) -> Result<(), Fault> {
        let writes = files
            .into_iter()
            .map(|(name, text)| self.file(Fs::Root, name, text))
            .collect();
        self.act(label, Act::Write(Held::Mount(Fs::Root), writes)).await
    }

    /// Syncs the root.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn sync(&mut self) -> Result<(), Fault> {
        self.act("sync the root", Act::Sync(Fs::Root)).await
    }
}

impl SimWorld {
    pub(crate) async fn delete_on_esp(
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
}
