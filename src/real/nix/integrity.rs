//! Checks that the pages of the target store's database are consistent, as SQLite itself says.
//!
//! Nothing in it is changed, and the log is not moved into it. What SQLite cannot answer is left to Nix, which is asked next.
//! The reason: Nix reads a database by some of its indexes and writes into all of them. A damaged page that no read touches
//! would make every copy fail, or appear at the first `nixos-rebuild` of the installed system.
//!
//! `nix::database` asks Nix what the entries mean; nothing here is repaired.

use crate::real::fs::target_root::{self, Root};
use landfall_states::fault::Fault;
use nix::fcntl::OFlag;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// So many steps of SQLite's machine lie between two looks at the clock.
const STEPS: i32 = 100_000;

/// What is wrong with the database in this directory of the target; `None`: nothing, or nothing that can be said.
///
/// # Errors
/// The target cannot be read.
pub fn damage(root: &Root, dir: &str, longest: Duration) -> Result<Option<String>, Fault> {
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
            tracing::debug!(%error, "SQLite cannot check the database of the target store");
            None
        }
    })
}

/// Why the database in this directory takes no further path. The row is taken back at once.
///
/// # Errors
/// The target cannot be read.
pub fn refusal_of_rows(root: &Root, dir: &str) -> Result<Option<String>, Fault> {
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
        .map(|error| format!("it reads correctly, but no row can be added: {error}")))
}

/// How long the NAR of each registered path is, in bytes; `None`: SQLite cannot say.
///
/// # Errors
/// The target cannot be read.
pub fn nar_sizes(root: &Root, dir: &str) -> Result<Option<Vec<(String, u64)>>, Fault> {
    let said = with(root, dir, |database| {
        let mut asked = database.prepare("SELECT path, narSize FROM ValidPaths WHERE narSize > 0")?;
        let rows = asked.query_map([], |row| {
            let (path, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
            Ok((path, bytes.unsigned_abs()))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    })?;
    Ok(said.ok())
}

/// What a database defines: kind and name of each thing, and its text in lower case without the white space in it.
pub type Definitions = BTreeMap<(String, String), String>;

/// Nix's one trigger, with the text that Nix 2.8 and its newest sources give it; another Nix's is compared with an empty store of that Nix.
const TRIGGER: (&str, &str) = (
    "DeleteSelfRefs",
    "create trigger deleteselfrefs before delete on validpaths begin delete from refs where referrer = old.id and reference = \
     old.id; end",
);
/// What else each of them defines.
const DEFINED: [(&str, &str); 6] = [
    ("table", "ValidPaths"),
    ("table", "Refs"),
    ("table", "DerivationOutputs"),
    ("index", "IndexReferrer"),
    ("index", "IndexReference"),
    ("index", "IndexDerivationOutputs"),
];

/// What the database in this directory of the target defines; `None`: SQLite cannot say.
///
/// # Errors
/// The target cannot be read.
pub fn definitions(root: &Root, dir: &str) -> Result<Option<Definitions>, Fault> {
    let said = with(root, dir, |database| {
        let mut asked = database.prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_master")?;
        let rows = asked.query_map([], |row| {
            let (kind, name, text): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let text = text.to_ascii_lowercase();
            Ok((
                (kind, name),
                text.split_whitespace().collect::<Vec<_>>().join(" "),
            ))
        })?;
        rows.collect::<rusqlite::Result<Definitions>>()
    })?;
    Ok(said.ok())
}

/// Whether a definition does something by itself when rows change or are read.
fn acts(kind: &str) -> bool {
    matches!(kind, "trigger" | "view")
}

/// Whether these are the definitions of a version of Nix that is known, and nothing beside them that does anything.
pub fn is_known(found: &Definitions) -> bool {
    let defined = |kind: &str, name: &str| found.contains_key(&(kind.to_owned(), name.to_owned()));
    DEFINED.iter().all(|(kind, name)| defined(kind, name))
        && found
            .iter()
            .filter(|((kind, _), _)| acts(kind))
            .map(|((_, name), text)| (name.as_str(), text.as_str()))
            .eq([TRIGGER])
}

/// What is missing of the right definitions, or is there beside them and does something.
pub fn difference(found: &Definitions, right: &Definitions) -> Option<String> {
    let missing = right
        .iter()
        .find(
            |((kind, name), text)| match found.get(&(kind.clone(), name.clone())) {
                None => true,
                Some(other) => acts(kind) && other != *text,
            },
        )
        .map(|((kind, name), _)| format!("its {kind} {name} is missing, or it is not Nix's"));
    missing.or_else(|| {
        found
            .keys()
            .find(|key| acts(&key.0) && !right.contains_key(*key))
            .map(|(kind, name)| format!("it has a {kind} {name} that is not from Nix"))
    })
}

/// Opens the database in a directory of the target, so that nothing of it is changed by closing it.
fn with<T>(
    root: &Root,
    dir: &str,
    ask: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> Result<rusqlite::Result<T>, Fault> {
    let dir = target_root::open(root, dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|e| target_root::io_fault(format!("{dir} on the target"), &e))?;
    let logged = target_root::stat_in(&dir, "db.sqlite-wal").is_ok();
    let opened = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Through the descriptor: no link of the target leads out of it.
        let path = format!("/proc/self/fd/{}/db.sqlite", dir.as_raw_fd());
        let mut database = Connection::open_with_flags(path, flags)?;
        // A log that is there stays as it is; the empty one that opening makes goes with closing.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, logged)?;
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
        "a row of {table} names a row of {names} that does not exist"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;
    use camino::Utf8PathBuf;

    const DIR: &str = "/db";
    const LONG: Duration = Duration::from_secs(60);

    /// A database as Nix makes it: two tables and a log. With `log` the last rows are in it alone.
    fn made(log: bool) -> (tempfile::TempDir, Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        fs_err::create_dir(root.join("db")).unwrap();
        let database = Connection::open(root.join("db/db.sqlite")).unwrap();
        database
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log)
            .unwrap();
        let tables = "pragma journal_mode = wal; pragma foreign_keys = on;
            create table ValidPaths (id integer primary key autoincrement, path text unique not null, hash text not null,
                registrationTime integer not null);
            create table Refs (referrer integer not null, reference integer not null,
                foreign key (reference) references ValidPaths(id));
            create index IndexReference on Refs(reference);";
        database.execute_batch(tables).unwrap();
        for number in 1..500 {
            let row = format!(
                "insert into ValidPaths values ({number}, '/nix/store/{number}', 'h', 0); insert into Refs values ({number}, {number});"
            );
            database.execute_batch(&row).unwrap();
        }
        (keep, root)
    }

    #[test]
    fn what_a_database_defines_is_compared_where_it_does_something() {
        let (_keep, root) = made(false);
        let change = |text: &str| {
            let database = Connection::open(root.join("db/db.sqlite")).unwrap();
            database.execute_batch(text).unwrap();
        };
        let defined = || definitions(&Root::at(&root), DIR).unwrap().unwrap();
        // As Nix 2.8 wrote it.
        change(
            "create table DerivationOutputs (drv integer not null, id text not null, path text not null, primary key (drv, id));
            create index IndexReferrer on Refs(referrer);
            create index IndexDerivationOutputs on DerivationOutputs(path);
            CREATE TRIGGER DeleteSelfRefs before delete on ValidPaths
  begin
    delete from Refs where referrer = old.id and reference = old.id;
  end",
        );
        let right = defined();
        assert!(is_known(&right));
        assert_eq!(difference(&right, &right), None);
        // What does nothing is of no matter.
        change("create table Later (x); create index IndexLater on Later(x);");
        assert!(is_known(&defined()));
        assert_eq!(difference(&defined(), &right), None);
        for (change_to, back, told) in [
            (
                "create trigger t after insert on Refs begin delete from Refs; end",
                "drop trigger t",
                "trigger t that is not from Nix",
            ),
            (
                "create view v as select 1",
                "drop view v",
                "view v that is not from Nix",
            ),
            (
                "drop index IndexReferrer",
                "create index IndexReferrer on Refs(referrer)",
                "index IndexReferrer is missing",
            ),
            (
                "drop table DerivationOutputs",
                "create table DerivationOutputs (drv integer not null, id text not null, path text not null, primary key (drv, id)); \
                 create index IndexDerivationOutputs on DerivationOutputs(path)",
                "is missing",
            ),
            (
                "drop trigger DeleteSelfRefs; create trigger DeleteSelfRefs before delete on ValidPaths begin select 1; end",
                "",
                "trigger DeleteSelfRefs is missing, or it is not Nix's",
            ),
        ] {
            change(change_to);
            assert!(!is_known(&defined()), "{change_to}");
            let why = difference(&defined(), &right).unwrap();
            assert!(why.contains(told), "{why}");
            change(back);
        }
    }

    fn files(root: &Utf8Path) -> Vec<(String, Vec<u8>)> {
        let entries = fs_err::read_dir(root.join("db"))
            .unwrap()
            .map(|entry| entry.unwrap());
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs_err::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn looking_changes_nothing_also_of_what_is_in_the_log_alone() {
        for log in [false, true] {
            let (_keep, root) = made(log);
            let before = files(&root);
            assert_eq!(before.len(), if log { 3 } else { 1 });
            assert_eq!(damage(&Root::at(&root), DIR, LONG).unwrap(), None);
            assert_eq!(refusal_of_rows(&Root::at(&root), DIR).unwrap(), None);
            let rows = |root: &Utf8Path| -> u32 {
                let database = Connection::open(root.join("db/db.sqlite")).unwrap();
                database
                    .query_row("select count(*) from ValidPaths", [], |row| row.get(0))
                    .unwrap()
            };
            let after = files(&root);
            let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
                files.iter().map(|(name, _)| name.clone()).collect()
            };
            assert_eq!(names(&after), names(&before), "log: {log}");
            assert!(
                after
                    .iter()
                    .zip(&before)
                    .all(|(a, b)| a.0 == "db.sqlite-shm" || a == b),
                "log: {log}"
            );
            assert_eq!(rows(&root), 499);
        }
    }

    #[test]
    fn rows_that_lead_nowhere_and_files_that_are_no_database_are_told() {
        let (_keep, root) = made(false);
        let database = Connection::open(root.join("db/db.sqlite")).unwrap();
        database
            .execute_batch("pragma foreign_keys = off; delete from ValidPaths where id = 7;")
            .unwrap();
        drop(database);
        let why = damage(&Root::at(&root), DIR, LONG).unwrap().unwrap();
        assert!(why.contains("a row of Refs names a row of ValidPaths"), "{why}");
        fs_err::write(root.join("db/db.sqlite"), [7; 8192]).unwrap();
        let why = damage(&Root::at(&root), DIR, LONG).unwrap().unwrap();
        assert!(why.contains("not a database"), "{why}");
    }

    #[test]
    fn what_cannot_be_looked_at_is_no_damage() {
        let (_keep, root) = made(false);
        assert_eq!(
            damage(&Root::at(&root), DIR, Duration::ZERO).unwrap(),
            None,
            "no time"
        );
        fs_err::remove_file(root.join("db/db.sqlite")).unwrap();
        assert_eq!(damage(&Root::at(&root), DIR, LONG).unwrap(), None, "no file");
        fs_err::create_dir(root.join("db/db.sqlite")).unwrap();
        assert_eq!(damage(&Root::at(&root), DIR, LONG).unwrap(), None, "a directory");
    }
}
