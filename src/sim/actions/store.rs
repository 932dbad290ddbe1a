//! The target's store: its database, what a verification finds, and the repair of both.

use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{
    CLOSURE, DATABASE, DATABASE_BEGUN, DATABASE_MADE, MODE, MODE_RIGHT, REGISTERED,
};
use crate::sim::model::disk::Fs;
use crate::sim::world::run::SimWorld;
use landfall_states::actions::realise_system::{Contents, Database, RealiseOrder};
use landfall_states::fault::Fault;

impl SimWorld {
    /// What a verification of the store finds.
    pub fn verify(&self) -> Contents {
        let corrupt: Vec<String> = CLOSURE
            .into_iter()
            .zip(REGISTERED)
            .filter(|(path, valid)| {
                self.text(Fs::Root, valid).is_some() && self.text(Fs::Root, path) != Some(*path)
            })
            .map(|(path, _)| path.to_owned())
            .collect();
        let wrong =
            self.text(Fs::Root, CLOSURE[2]).is_some() && self.text(Fs::Root, MODE) != Some(MODE_RIGHT);
        if corrupt.is_empty() && wrong && !planted!(self, ModesTrusted) {
            Contents::Permissions(vec![CLOSURE[2].to_owned()])
        } else if corrupt.is_empty() || planted!(self, TrustDatabase) {
            Contents::Verified
        } else {
            Contents::Corrupt(corrupt)
        }
    }

    /// Forgets corrupt paths, so that they are written again.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn repair_paths(&mut self, corrupt: &[String]) -> Result<(), Fault> {
        for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
            if corrupt.iter().any(|c| c == path) {
                self.put("forget a path", vec![(valid, None)]).await?;
            }
        }
        if !corrupt.is_empty() {
            self.sync().await?;
        }
        Ok(())
    }

    /// Makes owner and permissions right, where that is asked for: it needs no contents.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn repair_modes(&mut self, asked: bool) -> Result<(), Fault> {
        let there = self.text(Fs::Root, CLOSURE[2]).is_some();
        if !asked || !there || self.text(Fs::Root, MODE) == Some(MODE_RIGHT) || planted!(self, ModesTrusted) {
            return Ok(());
        }
        self.put("repair permissions", vec![(MODE, Some(MODE_RIGHT.into()))])
            .await?;
        self.sync().await
    }

    /// The store's database. A torn entry is a page of it that was torn.
    pub fn database(&self) -> Database {
        let torn = |name| self.text(Fs::Root, name) == Some("torn");
        match self.text(Fs::Root, DATABASE) {
            None => Database::Absent,
            Some(DATABASE_MADE) if !REGISTERED.into_iter().any(torn) => Database::Usable,
            Some(DATABASE_MADE) => Database::Unusable("malformed".into()),
            Some(_) => Database::Unusable("no tables".into()),
        }
    }

    /// An unusable database is put aside: its entries, which nobody can see, and then the name itself, which is one rename.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn put_database_aside(&mut self, order: &RealiseOrder) -> Result<(), Fault> {
        if order.put_aside.is_none() {
            return Ok(());
        }
        self.forget_entries().await?;
        self.put("put the database aside", vec![(DATABASE, None)]).await
    }

    /// Nix makes its database, where there is none: a file with a header first, the tables in a log beside it, which a power
    /// cut can take away.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn make_database(&mut self) -> Result<(), Fault> {
        if self.text(Fs::Root, DATABASE).is_some() {
            return Ok(());
        }
        self.forget_entries().await?;
        let made = [DATABASE_BEGUN, DATABASE_MADE].map(|text| (DATABASE, Some(text.to_owned())));
        self.put("make the database", made.into()).await
    }

    /// What lies in no database is nothing, and does not come back in the next one.
    async fn forget_entries(&mut self) -> Result<(), Fault> {
        let there = REGISTERED
            .into_iter()
            .filter(|valid| self.text(Fs::Root, valid).is_some());
        let forgotten: Vec<_> = there.map(|valid| (valid, None)).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        self.put("forget the entries", forgotten).await?;
        self.sync().await
    }
}
