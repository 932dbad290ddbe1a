//! The system's closure in the target store: copied from the installer, or built from the clone.
//!
//! What was written is synced before it is recorded. A path with wrong contents is repaired, or forgotten together with
//! everything that refers to it and made again. The system of a revision is recorded on the target, so that nothing is
//! evaluated twice. Looking never fails because of what is on the target.
//!
//! Nix registers a path right after it has written it, so a power cut can leave valid paths with empty files.
//! `fsync-store-paths` (Nix 2.25) is on; for older versions there are the sync before the record and the verification.
//!
//! `states::actions::realise_system` asks for a verification after an unclean stop, `nix::database` says whether the database
//! can be used, and `nix::contents` checks what its paths hold.

use super::client::Stores;
use crate::real::git::command::Access;
use crate::real::nix::contents::{self, Verified};
use crate::real::nix::database;
use crate::real::nix::permissions;
use crate::real::process::context::CommandContext;
use landfall_states::actions::realise_system::{
    Contents, Database, PutAside, RealiseOrder, RealiseSystem, SystemFacts,
};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::StorePath;
use landfall_states::plan::SystemSource;

/// Looks at the target store. Whatever is there is a fact.
///
/// # Errors
/// The target cannot be read, or Nix cannot be started.
pub async fn observe_system(
    context: &CommandContext,
    stores: &Stores,
    action: &RealiseSystem,
) -> Result<SystemFacts, Fault> {
    let noted = stores.recorded(&action.revision, &action.host)?;
    let system = match action.source.known() {
        Some(system) => Some(system.clone()),
        None => noted.clone(),
    };
    // The record is the last thing that is written; it keeps the system from the garbage collector.
    let mut facts = SystemFacts {
        recorded: system.is_some() && noted == system,
        system,
        database: database::look(context, stores).await?,
        registered: false,
        evaluated: None,
        contents: Contents::NotVerified,
    };
    if facts.database != Database::Usable {
        return Ok(facts);
    }
    if let Some(system) = &facts.system {
        facts.registered = facts.recorded && stores.is_registered(context, system).await?;
        if action.verify {
            match stores.verify(context).await? {
                Verified::Contents(contents) => facts.contents = contents,
                Verified::Unusable(why) => facts.database = Database::Unusable(why),
            }
            if facts.registered
                && facts.database == Database::Usable
                && let Some(why) = stores.misregistered(context, &action.source, system).await?
            {
                facts.database = Database::Unusable(why);
            }
        }
    }
    Ok(facts)
}

/// Copies or builds. The system that was copied, or that the evaluation came to.
///
/// # Errors
/// Copying, evaluating or building fails.
pub async fn perform_realise(
    context: &CommandContext,
    stores: &Stores,
    access: &Access,
    order: &RealiseOrder,
) -> Result<StorePath, Fault> {
    let RealiseOrder {
        action,
        corrupt,
        put_aside,
        only_evaluate,
    } = order;
    let noted = stores.recorded(&action.revision, &action.host)?;
    // Without them there is nothing to copy them from, and registering would call them valid.
    if let (SystemSource::Image(image), [_, ..]) = (&action.source, corrupt.as_slice()) {
        return Err(contents::lost(image, corrupt));
    }
    stores.prepare(context)?;
    if action.verify {
        permissions::repair(context, &stores.root)?;
    }
    let mut fresh = match put_aside {
        Some(unusable) => {
            database::put_aside(context, stores, unusable)?;
            true
        }
        None => false,
    };
    let made = realise(context, stores, access, order, &mut fresh).await;
    // What a program of Nix said of its failure is not searched for the database: it is looked at itself.
    let looked = match &made {
        Ok(system) => Some(look_at_made(context, stores, action, system).await),
        Err(fault) if matches!(fault.class, FaultClass::Hardware | FaultClass::Interrupted) => None,
        Err(_) => Some(database::look_after_failure(context, stores).await),
    };
    match (made, looked) {
        (_, Some(Ok(Database::Unusable(why)))) => {
            // At once: looking at it again might not see what was seen here.
            if !fresh {
                let finished = stores.recorded(&action.revision, &action.host)?.is_some();
                let why = why.clone();
                database::put_aside(context, stores, &PutAside { why, finished })?;
            }
            Err(database::unusable_again(stores, why, fresh))
        }
        // That there is no room, or that the device reports errors, is why the rest failed, too.
        (Err(_), Some(Err(fault)))
            if matches!(fault.class, FaultClass::NeedsChange | FaultClass::Hardware) =>
        {
            Err(fault)
        }
        (Ok(_), Some(Err(fault))) | (Err(fault), _) => Err(fault),
        (Ok(system), _) => {
            if let Some(noted) = noted.filter(|_| *only_evaluate) {
                // It is durable as it is: written again, it could be lost in a power cut.
                if noted == system {
                    return Ok(system);
                }
                context.reporter.notice(format!(
                    "the target states that revision {} builds {noted}, but it builds {system}; landfall corrects the target",
                    action.revision
                ));
            }
            stores.record(&action.revision, &action.host, &system)?;
            Ok(system)
        }
    }
}

/// The database after everything was made: it can be read, and says of the system what it ought to.
async fn look_at_made(
    context: &CommandContext,
    stores: &Stores,
    action: &RealiseSystem,
    system: &StorePath,
) -> Result<Database, Fault> {
    let database = database::look(context, stores).await?;
    if database != Database::Usable {
        return Ok(database);
    }
    let differs = stores.misregistered(context, &action.source, system).await?;
    Ok(differs.map_or(Database::Usable, Database::Unusable))
}

/// Brings the closure there; `fresh` is set when the database is put aside on the way.
async fn realise(
    context: &CommandContext,
    stores: &Stores,
    access: &Access,
    order: &RealiseOrder,
    fresh: &mut bool,
) -> Result<StorePath, Fault> {
    let RealiseOrder {
        action,
        corrupt,
        put_aside: _,
        only_evaluate: _,
    } = order;
    *fresh |= stores.repair(context, corrupt).await?;
    match &action.source {
        SystemSource::Prebuilt(system) => {
            stores.copy(context, system).await?;
            Ok(system.clone())
        }
        SystemSource::Image(image) => {
            stores.register(context, image).await?;
            Ok(image.system.clone())
        }
        SystemSource::Flake => {
            // Without a record nothing was verified yet, and a build trusts its inputs.
            if action.verify
                && corrupt.is_empty()
                && database::look(context, stores).await? == Database::Usable
            {
                match stores.verify(context).await? {
                    Verified::Contents(Contents::Corrupt(paths)) => {
                        *fresh |= stores.repair(context, &paths).await?;
                    }
                    Verified::Contents(
                        Contents::NotVerified | Contents::Verified | Contents::Permissions(_),
                    ) => {}
                    Verified::Unusable(why) => {
                        let finished = false;
                        database::put_aside(context, stores, &PutAside { why, finished })?;
                        *fresh = true;
                    }
                }
            }
            stores.build(context, access, action).await
        }
    }
}
