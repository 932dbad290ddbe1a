//! The database of the target store, `/nix/var/nix/db`: whether it can be used, and what follows if not.
//!
//! Its state is a fact. It is usable if its pages are consistent (`integrity`) and Nix can read every entry. Every other
//! result makes it unusable, except that landfall could not look (I/O error, no free space, program missing or killed): that
//! is a fault. If a later program still fails because of it, the database counts as unusable.
//!
//! Seen with real Nix (2.8 and 2.26): if it is killed at any system call that changes something, it continues by itself.
//! After a power cut, the log (`db.sqlite-wal`), which has all tables while a closure is copied, may be lost. With a `schema`
//! file beside it, Nix then neither fills the database nor replaces it. The same happens with an empty `schema`, with a
//! `schema` but no `db.sqlite`, with a page of zeros, and with an entry that makes no sense. With some of these, Nix ends
//! itself with a signal (SIGABRT, SIGSEGV).
//!
//! A database is never repaired, and no list of error texts is needed. `nix::contents` checks what is in the store.

use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use crate::real::nix::client::Stores;
use crate::real::nix::integrity;
use crate::real::process::command::Ended;
use crate::real::process::context::CommandContext;
use crate::real::tool_errors::{self, Places};
use crate::real::volume::free_space;
use camino::Utf8Path;
use landfall_states::actions::realise_system::{Database, PutAside};
use landfall_states::fault::{Cause, Fault, FaultClass, PlaceFault, Remedy, RoomFault, StoreFault};
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::SFlag;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Where Nix keeps its state on the target.
const STATE: &str = "/nix/var/nix";
/// The database's directory there.
const NAME: &str = "db";
/// `NAME` in `STATE`.
pub const DIR: &str = "/nix/var/nix/db";
/// Under which name, and under which further ones, an unusable one is kept.
const ASIDE: &str = "db.landfall-damaged";
/// Most names that are tried to put a database aside.
const ASIDE_NAMES_MAX: u32 = 16;
/// What Nix and SQLite keep in it. Anything but a regular file under one of these names is no work of theirs, and a FIFO would
/// keep them waiting for ever.
const FILES: [&str; 7] = [
    "schema",
    "db.sqlite",
    "db.sqlite-wal",
    "db.sqlite-shm",
    "db.sqlite-journal",
    "big-lock",
    "reserved",
];
/// Largest file of Nix's database; a larger one has holes, and reading them would take minutes.
const BYTES_MAX: i64 = 8 << 30;
/// Longest time to read every entry of Nix's database.
const LOOK_MAX: Duration = Duration::from_secs(10 * 60);
/// What a directory beside the target is for.
const EMPTY_STORE: &str = "directory for an empty store";

/// Looks at it. Only the inability to look is a fault.
///
/// # Errors
/// The target cannot be read, or Nix cannot be started.
pub async fn look(context: &CommandContext, stores: &Stores) -> Result<Database, Fault> {
    match layout(&stores.root)? {
        Layout::Nothing => return Ok(Database::Absent),
        Layout::Strange(why) => return Ok(Database::Unusable(why)),
        Layout::Files => {}
    }
    let torn = integrity::damage(&stores.root, DIR, LOOK_MAX)?;
    let mut why = match torn {
        Some(why) => Some(why),
        None => refusal(context, stores, &stores.root).await?,
    };
    if why.is_none() {
        why = strangeness(context, stores).await?;
    }
    let Some(why) = why else {
        return Ok(Database::Usable);
    };
    // It could not be read. Is it the device, want of room, or Nix itself?
    read_whole(&stores.root)?;
    // Without room SQLite cannot even open a database: its shared memory is a file.
    if let Some(full) = free_space::refusal(&stores.root)? {
        return Err(RoomFault::Database {
            database: format!("{STATE}/{NAME} of the store {}", stores.root.as_arg()),
            needed_bytes: free_space::LEAST,
            available_bytes: free_space::free(&stores.root)?,
            said: format!("{full}; {why}"),
        }
        .into());
    }
    control(context, stores).await?;
    Ok(Database::Unusable(why))
}

/// Looks at it after something failed that uses it. That it can be read proves less then: it has to take another row, too.
///
/// # Errors
/// As [`look`].
pub async fn look_after_failure(context: &CommandContext, stores: &Stores) -> Result<Database, Fault> {
    let database = look(context, stores).await?;
    if database != Database::Usable {
        return Ok(database);
    }
    let refusal_of_rows = |root: &Root| integrity::refusal_of_rows(root, DIR);
    let Some(why) = refusal_of_rows(&stores.root)? else {
        return Ok(Database::Usable);
    };
    // Where an empty one of this Nix's making does not take it either, its tables are of a kind that is not known here.
    let scratch = tempfile::tempdir().map_err(|e| target_root::io_fault(EMPTY_STORE, &e))?;
    let empty = empty_store(&scratch)?;
    let knows = refusal(context, stores, &empty).await?.is_none() && refusal_of_rows(&empty)?.is_none();
    Ok(if knows {
        Database::Unusable(why)
    } else {
        Database::Usable
    })
}

/// What the database defines that Nix does not, or the other way round. Where it is not what the versions of Nix define that are
/// known here, an empty one of this Nix's making says what is right.
async fn strangeness(context: &CommandContext, stores: &Stores) -> Result<Option<String>, Fault> {
    let defined = |root: &Root| integrity::definitions(root, DIR);
    let Some(found) = defined(&stores.root)? else {
        return Ok(None);
    };
    if integrity::is_known(&found) {
        return Ok(None);
    }
    let scratch = tempfile::tempdir().map_err(|e| target_root::io_fault(EMPTY_STORE, &e))?;
    let empty = empty_store(&scratch)?;
    if refusal(context, stores, &empty).await?.is_some() {
        return Ok(None);
    }
    Ok(defined(&empty)?.and_then(|right| integrity::difference(&found, &right)))
}

enum Layout {
    Nothing,
    Files,
    Strange(String),
}

fn state_dir(root: &Root) -> Result<Option<OwnedFd>, Fault> {
    match target_root::open(root, STATE, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if target_root::is_absent(&e) => Ok(None),
        Err(e) => Err(target_root::io_fault(format!("{STATE} on the target"), &e)),
    }
}

fn layout(root: &Root) -> Result<Layout, Fault> {
    let fault = |e: &std::io::Error| target_root::io_fault(format!("{STATE}/{NAME} on the target"), e);
    let Some(state) = state_dir(root)? else {
        return Ok(Layout::Nothing);
    };
    match target_root::stat_in(&state, NAME) {
        Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(Layout::Nothing),
        Err(e) => return Err(fault(&e)),
        Ok(stat) if kind(stat.st_mode) != SFlag::S_IFDIR => {
            return Ok(Layout::Strange(format!("{STATE}/{NAME} is not a directory")));
        }
        Ok(_) => {}
    }
    let dir = open_db(&state).map_err(|e| fault(&e))?;
    let mut there = [false; FILES.len()];
    for (name, there) in FILES.iter().zip(&mut there) {
        match target_root::stat_in(&dir, name) {
            Ok(stat) if kind(stat.st_mode) == SFlag::S_IFREG && stat.st_size > BYTES_MAX => {
                return Ok(Layout::Strange(format!(
                    "{STATE}/{NAME}/{name} has {} bytes, which is too large for a Nix database",
                    stat.st_size
                )));
            }
            Ok(stat) if kind(stat.st_mode) == SFlag::S_IFREG => *there = true,
            Ok(_) => {
                return Ok(Layout::Strange(format!(
                    "{STATE}/{NAME}/{name} is not a regular file"
                )));
            }
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(e) => return Err(fault(&e)),
        }
    }
    // Locks alone: Nix begins with them, and has made nothing yet.
    let [schema, database, ..] = there;
    Ok(if schema || database {
        Layout::Files
    } else {
        Layout::Nothing
    })
}

fn kind(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

fn open_db(state: &impl AsFd) -> std::io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::openat(
        state,
        NAME,
        flags,
        nix::sys::stat::Mode::empty(),
    )?)
}

/// Has Nix read every entry of a store's database. What it said when it could not.
async fn refusal(context: &CommandContext, stores: &Stores, root: &Root) -> Result<Option<String>, Fault> {
    let program = stores
        .nix()
        .deadline(LOOK_MAX)
        .args(["path-info", "--store", &root.as_arg(), "--all"]);
    let ended = context.run(program).await?;
    said_no(root, ended)
}

/// How a program of Nix's ended when it was asked about a store: what it said when it would not. Only one that was ended from
/// outside, or had too little memory, says nothing of the store.
fn said_no(root: &Root, ended: Ended) -> Result<Option<String>, Fault> {
    if ended.success() {
        return Ok(None);
    }
    let on = format!("database of the store {}", root.as_arg());
    if !ended.by_itself() {
        let how = ended.how();
        return Err(Fault::program(FaultClass::Transient, on, how, Remedy::resume()));
    }
    let fault = tool_errors::nix_plain(&on, ended.how(), &ended.said(), Places(&[&root.as_arg()]));
    if fault.cause() == Some(Cause::Memory) {
        return Err(fault);
    }
    Ok(Some(ended.how().to_string()))
}

/// Reads its files without Nix: a device that reports errors is told from a database that is wrong.
fn read_whole(root: &Root) -> Result<(), Fault> {
    for name in FILES {
        let path = format!("{STATE}/{NAME}/{name}");
        if let Some(file) = target_root::open_file(root, &path)? {
            target_root::digest(&format!("{path} on the target"), file)?;
        }
    }
    Ok(())
}

/// Nix reads an empty store of its own making, beside the target. When it cannot, the fault is not the target's.
async fn control(context: &CommandContext, stores: &Stores) -> Result<(), Fault> {
    let scratch = tempfile::tempdir().map_err(|e| target_root::io_fault(EMPTY_STORE, &e))?;
    match refusal(context, stores, &empty_store(&scratch)?).await? {
        None => Ok(()),
        Some(why) => Err(StoreFault::NixUnusable { said: why }.into()),
    }
}

fn empty_store(scratch: &tempfile::TempDir) -> Result<Root, Fault> {
    Utf8Path::from_path(scratch.path()).map(Root::at).ok_or_else(|| {
        Fault::from(PlaceFault::NameNotText {
            on: "directory for temporary files".into(),
        })
        .with_next(Remedy::change("set TMPDIR to another one"))
    })
}

/// Puts an unusable database aside, so that Nix makes another one. One rename: also on a full filesystem, and whole or not at
/// all when the power goes.
///
/// # Errors
/// The target cannot be written, or all names are taken.
pub fn put_aside(context: &CommandContext, stores: &Stores, unusable: &PutAside) -> Result<(), Fault> {
    let PutAside { why, finished } = unusable;
    let fault = |e: Errno| target_root::io_fault(format!("{STATE}/{NAME} on the target"), &e.into());
    let Some(state) = state_dir(&stores.root)? else {
        return Ok(());
    };
    let mut to = None;
    for number in 1..=ASIDE_NAMES_MAX {
        let name = aside(number);
        match target_root::stat_in(&state, &name) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => {
                to = Some(number);
                break;
            }
            Err(e) => return Err(target_root::io_fault(format!("{STATE}/{name} on the target"), &e)),
        }
    }
    // Every name is taken only when none of them could be removed.
    let to = to.unwrap_or(ASIDE_NAMES_MAX);
    let name = aside(to);
    match renameat(&state, NAME, &state, name.as_str()) {
        Ok(()) => {}
        // Put aside by an order that was cut off.
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(fault(e)),
    }
    File::from(state.try_clone().map_err(|e| target_root::io_fault(STATE, &e))?)
        .sync_all()
        .map_err(|e| target_root::io_fault(format!("{STATE} on the target"), &e))?;
    let told = if *finished {
        context.reporter.notice(format!(
            "the database of the target store was complete, but can no longer be read ({why}); it is kept as {STATE}/{name} and made again"
        ));
        Some(to)
    } else {
        context.reporter.step(format!(
            "make the database of the target store again, because making it was interrupted ({why})"
        ));
        None
    };
    for number in (1..=ASIDE_NAMES_MAX).filter(|number| Some(*number) != told) {
        let name = aside(number);
        if let Err(e) = target_root::remove_in(&state, name.as_ref()) {
            context
                .reporter
                .notice(format!("{STATE}/{name} on the target could not be deleted: {e}"));
        }
    }
    Ok(())
}

fn aside(number: u32) -> String {
    match number {
        1 => ASIDE.to_owned(),
        number => format!("{ASIDE}-{number}"),
    }
}

/// A database that is unusable when it has just been used. `fresh`: made again by this very order, so that making it again
/// again would help nothing.
pub fn unusable_again(stores: &Stores, why: String, fresh: bool) -> Fault {
    let database = format!("{STATE}/{NAME} of the store {}", stores.root.as_arg());
    if fresh {
        StoreFault::DatabaseUnusable { database, said: why }.into()
    } else {
        StoreFault::DatabaseBroke { database, said: why }.into()
    }
}
