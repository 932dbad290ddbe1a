//! Whether the pages of the target store's database hold together, as SQLite itself says. Law: nothing of it is changed, not even by
//! moving the log into it; what SQLite cannot say is left to Nix, which is asked after it.
//!
//! Why: Nix reads a database by some of its indexes and writes into all of them. A damaged page that no reading touches would let
//! every copy fail, or be found by the first `nixos-rebuild` of the installed system.
//!
//! Absent: what the entries mean (Nix reads them, `database`), and making anything right.

use crate::real::rooted;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use nix::fcntl::OFlag;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// So many steps of SQLite's machine lie between two looks at the clock.
const STEPS: i32 = 100_000;

/// What is wrong with the database in this directory of the target; `None`: nothing, or nothing that can be said.
pub fn damage(root: &Utf8Path, dir: &str, longest: Duration) -> Result<Option<String>, Fault> {
    let end = Instant::now() + longest;
    let opened = with(root, dir, |database| {
        database.progress_handler(STEPS, Some(move || Instant::now() >= end))?;
        disorder(database)
    })?;
    Ok(match opened {
        Ok(None) => None,
        Ok(Some(why)) => Some(format!("SQLite finds it damaged: {why}")),
        Err(error) if is_damage(&error) => Some(format!("SQLite cannot read it: {error}")),
        Err(error) => {
            tracing::debug!(%error, "SQLite cannot look at the database of the target store");
            None
        }
    })
}

/// Why the database in this directory takes no further path. The row is taken back at once.
pub fn refusal_of_rows(root: &Utf8Path, dir: &str) -> Result<Option<String>, Fault> {
    let tried = with(root, dir, |database| {
        let attempt = database.transaction()?;
        attempt.execute(
            "INSERT INTO ValidPaths (path, hash, registrationTime) VALUES ('/nix/store/landfall-probe', 'sha256:', 0)",
            [],
        )?;
        attempt.rollback()
    })?;
    Ok(tried
        .err()
        .map(|error| format!("its pages hold together, and it takes no further row: {error}")))
}

/// Opens the database in a directory of the target, so that nothing of it is changed by closing it.
fn with<T>(
    root: &Utf8Path,
    dir: &str,
    ask: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> Result<rusqlite::Result<T>, Fault> {
    let dir = rooted::open(root, dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|e| rooted::io_fault(format!("{dir} on the target"), &e))?;
    let opened = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Through the descriptor: no link of the target leads out of it.
        let path = format!("/proc/self/fd/{}/db.sqlite", dir.as_raw_fd());
        let mut database = Connection::open_with_flags(path, flags)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // What the database itself defines is believed no more than its rows.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // The index of the log is kept in memory then, and no shared one is made beside it.
        database.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
        ask(&mut database)
    };
    Ok(opened())
}

/// Whether an error of SQLite's says something of the database. Want of room or of memory, a device that reports errors, a time
/// that is over, do not.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn disorder(database: &Connection) -> rusqlite::Result<Option<String>> {
    // One finding is enough.
    let said: String = database.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return Ok(Some(said));
    }
    let mut dangling = database.prepare("PRAGMA foreign_key_check")?;
    let mut rows = dangling.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (table, names): (String, String) = (row.get(0)?, row.get(2)?);
    Ok(Some(format!(
        "a row of {table} names one of {names} that is not there"
    )))
}
