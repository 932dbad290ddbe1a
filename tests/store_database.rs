//! Promise: whatever is at the place of the target store's database, an install goes on: what Nix can read is used, what it
//! cannot read is put aside and made again, and only the inability to look is a fault. With real Nix.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/store.rs"]
mod store;

use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::nix::database::put_aside;
use landfall::real::nix::store::observe_system;
use landfall_states::actions::realise_system::{Contents, Database, PutAside};
use landfall_states::fault::FaultClass;
use landfall_states::plan::SystemSource;
use std::process::Command;
use store::{Place, empty, image_of, landed_from_image};

const DATABASE: &str = "nix/var/nix/db";

/// What was found in a target's database directory after a power cut, a torn write or an accident; each is made of a whole one.
/// Nix 2.8 and 2.26 were seen to refuse every one of them for ever.
type Damage = (&'static str, fn(&Utf8Path));

const DAMAGES: [Damage; 20] = [
    // The tables were in the log, and the log is gone.
    ("no tables", |db| {
        fs_err::write(db.join("db.sqlite"), "").unwrap();
        for log in ["db.sqlite-wal", "db.sqlite-shm"] {
            if db.join(log).exists() {
                fs_err::remove_file(db.join(log)).unwrap();
            }
        }
    }),
    ("no db.sqlite", |db| {
        fs_err::remove_file(db.join("db.sqlite")).unwrap()
    }),
    ("15 bytes", |db| cut_to(db, |_| 15)),
    ("a header", |db| cut_to(db, |_| 100)),
    ("a page", |db| cut_to(db, |_| 4096)),
    ("half", |db| cut_to(db, |all| all / 2 / 4096 * 4096)),
    ("zeros", |db| {
        let length = fs_err::metadata(db.join("db.sqlite")).unwrap().len();
        fs_err::write(db.join("db.sqlite"), vec![0; length as usize]).unwrap();
    }),
    ("a page of zeros", |db| {
        let mut bytes = fs_err::read(db.join("db.sqlite")).unwrap();
        bytes[2 * 4096..3 * 4096].fill(0);
        fs_err::write(db.join("db.sqlite"), bytes).unwrap();
    }),
    ("other tables", |db| {
        fs_err::remove_file(db.join("db.sqlite")).unwrap();
        sql(db, "create table x (y);");
    }),
    ("entries without sense", |db| {
        sql(db, "update ValidPaths set hash = 'x';")
    }),
    ("a path that is none", |db| {
        sql(db, "update ValidPaths set path = 'x' where id = 1;")
    }),
    ("schema empty", |db| fs_err::write(db.join("schema"), "").unwrap()),
    ("schema of zeros", |db| {
        fs_err::write(db.join("schema"), "\0\0").unwrap()
    }),
    ("schema older", |db| {
        fs_err::write(db.join("schema"), "9").unwrap()
    }),
    ("schema newer", |db| {
        fs_err::write(db.join("schema"), "99").unwrap()
    }),
    ("schema a directory", |db| {
        instead(db, "schema", |at| fs_err::create_dir(at).unwrap())
    }),
    ("schema a FIFO", |db| {
        instead(db, "schema", |at| {
            nix::unistd::mkfifo(at.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        });
    }),
    ("a log that is a directory", |db| {
        instead(db, "db.sqlite-journal", |at| fs_err::create_dir(at).unwrap());
    }),
    ("a lock that leads nowhere", |db| {
        instead(db, "big-lock", |at| {
            fs_err::os::unix::fs::symlink("/nowhere/x", at).unwrap()
        });
    }),
    ("a file instead", |db| {
        fs_err::remove_dir_all(db).unwrap();
        fs_err::write(db, "x").unwrap();
    }),
];

fn cut_to(db: &Utf8Path, length: fn(usize) -> usize) {
    let bytes = fs_err::read(db.join("db.sqlite")).unwrap();
    fs_err::write(db.join("db.sqlite"), &bytes[..length(bytes.len())]).unwrap();
}

fn sql(db: &Utf8Path, text: &str) {
    let database = rusqlite::Connection::open(db.join("db.sqlite")).unwrap();
    database
        .execute_batch("pragma foreign_keys = off; pragma recursive_triggers = off;")
        .unwrap();
    database.execute_batch(text).unwrap();
}

fn instead(db: &Utf8Path, name: &str, make: impl Fn(&Utf8Path)) {
    let at = db.join(name);
    if at.exists() {
        fs_err::remove_file(&at).unwrap();
    }
    make(&at);
}

#[test]
fn whatever_a_cut_leaves_of_an_unfinished_database_is_gone_on_with_unasked() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    for (name, damage) in DAMAGES {
        place.unrecord();
        damage(&camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE));
        let facts = place.observe(&action);
        assert!(
            matches!(facts.database, Database::Unusable(_)),
            "{name}: {facts:?}"
        );
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(place.observe(&action).contents, Contents::Verified, "{name}");
        assert_eq!(place.asides(), Vec::<String>::new(), "{name}");
    }
    assert_eq!(place.notices("database"), 0, "nobody needs to know");
}

#[test]
fn a_finished_database_that_is_damaged_is_told_and_kept_and_never_collides() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), false);
    place.realise(&action).unwrap();
    let state = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/var/nix");
    let beside: [Damage; 4] = [
        ("db.landfall-damaged", |_| {}),
        ("db.landfall-damaged-2", |_| {}),
        ("db.landfall-damaged", |_| {}),
        // A full directory and a file, by whomever.
        ("db.landfall-damaged-3", |at| {
            fs_err::write(at.join("db.landfall-damaged-2"), "x").unwrap();
        }),
    ];
    for (round, (kept, before)) in beside.into_iter().enumerate() {
        before(&state);
        let (name, damage) = DAMAGES[round];
        damage(&state.join("db"));
        // Also where the last run stopped in good order, and nothing is verified.
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(place.asides(), [kept], "{name}");
        assert_eq!(place.notices("it is kept as"), round + 1, "{name}");
    }
}

#[test]
fn a_store_without_entries_or_with_locks_alone_is_no_damage() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE);
    fs_err::create_dir_all(&db).unwrap();
    assert_eq!(place.observe(&action).database, Database::Absent);
    fs_err::write(db.join("big-lock"), "").unwrap();
    fs_err::write(db.join("reserved"), "").unwrap();
    assert_eq!(place.observe(&action).database, Database::Absent);
    place.realise(&action).unwrap();
    place.unrecord();
    sql(&db, "delete from Refs; delete from ValidPaths;");
    assert_eq!(place.observe(&action).database, Database::Usable);
    place.realise(&action).unwrap();
    assert_eq!(place.asides(), Vec::<String>::new());
}

#[test]
fn what_an_image_brought_is_registered_again_when_the_database_was_cut_off() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(image_of(system.clone()), true);
    landed_from_image(&place, &system, 1);
    place.realise(&action).unwrap();
    for (round, (name, damage)) in DAMAGES.into_iter().enumerate() {
        if round % 2 == 0 {
            place.unrecord();
        }
        damage(&camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE));
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert!(place.observe(&action).registered, "{name}");
    }
}

#[test]
fn a_database_that_is_unusable_as_soon_as_it_is_made_stops_with_the_cause() {
    let Some(mut place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), false);
    place.realise(&action).unwrap();
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE);
    fs_err::write(db.join("schema"), "").unwrap();
    let ruin = format!("$real \"$@\"; code=$?; case \"$*\" in *' copy '*) : >{db}/schema;; esac; exit $code");
    place.instead_of("nix", &ruin);
    let fault = place.realise(&action).unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(
        fault.why().contains("has just made it") && fault.why().contains("is corrupt"),
        "{fault}"
    );
}

#[test]
fn a_program_that_cannot_look_says_nothing_of_the_database() {
    let Some(mut place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    let look = |place: &Place| {
        place
            .runtime
            .block_on(observe_system(&place.context, &place.stores, &action))
            .unwrap_err()
    };
    for (text, class, word) in [
        ("kill -9 $$", FaultClass::Transient, "signal"),
        ("kill -TERM $$", FaultClass::Transient, "signal"),
        // It ends itself over the empty store, too.
        ("kill -ABRT $$", FaultClass::NeedsChange, "even an empty store"),
        (
            "echo 'error: std::bad_alloc' >&2; exit 1",
            FaultClass::NeedsChange,
            "std::bad_alloc",
        ),
        (
            "echo 'error: unknown setting' >&2; exit 1",
            FaultClass::NeedsChange,
            "an empty store: nix ended with exit code 1: error: unknown setting",
        ),
    ] {
        place.instead_of("nix", text);
        let fault = look(&place);
        assert_eq!(fault.class, class, "{fault}");
        assert!(fault.why().contains(word), "{fault}");
    }
    place.instead_of("nix", "exec $real \"$@\"");
    assert_eq!(
        place.observe(&action).contents,
        Contents::Verified,
        "nothing was touched"
    );
    assert_eq!(place.asides(), Vec::<String>::new());
}

/// Nix was seen to die by SIGABRT and SIGSEGV over damaged databases: that is an answer, when it can read an empty store.
#[test]
fn a_program_that_dies_over_the_database_has_looked() {
    for signal in ["ABRT", "SEGV", "BUS"] {
        let Some(mut place) = Place::new() else { return };
        let system = place.live_system();
        let action = place.action(SystemSource::Prebuilt(system), true);
        place.realise(&action).unwrap();
        place.unrecord();
        let (root, once) = (place.stores.root.as_arg(), place.dir.join("once"));
        let text = format!(
            "case \"$*\" in *path-info*' {root} '*) [ -e {once} ] || {{ : >{once}; kill -{signal} $$; }};; esac\nexec $real \"$@\""
        );
        place.instead_of("nix", &text);
        let facts = place.observe(&action);
        assert!(
            matches!(&facts.database, Database::Unusable(why) if why.contains("signal")),
            "{signal}: {facts:?}"
        );
        fs_err::remove_file(&once).unwrap();
        place.realise(&action).unwrap();
    }
}

/// The closure is half there, and one page of the database is not what it was. Nix reads only some of them.
#[test]
fn any_page_that_is_damaged_is_found_and_gone_on_after() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), false);
    place.realise(&action).unwrap();
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE);
    place.unrecord();
    sql(
        &db,
        "delete from Refs; delete from ValidPaths where path like '%web'; pragma wal_checkpoint(truncate);",
    );
    let whole = fs_err::read(db.join("db.sqlite")).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 8, "{pages}");
    assert_eq!(place.observe(&action).database, Database::Usable);
    for page in 1..pages {
        for with in [0_u8, 0xff] {
            let mut bytes = whole.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(with);
            for log in ["db.sqlite-wal", "db.sqlite-shm"] {
                if db.join(log).exists() {
                    fs_err::remove_file(db.join(log)).unwrap();
                }
            }
            fs_err::write(db.join("db.sqlite"), bytes).unwrap();
            let facts = place.observe(&action);
            assert!(
                matches!(facts.database, Database::Unusable(_)),
                "page {page} of {with}: {facts:?}"
            );
        }
    }
    place.realise(&action).unwrap();
    assert_eq!(place.asides(), Vec::<String>::new());
}

/// What every reading passes, and no copy: found when the copy fails, and gone on after by itself.
#[test]
fn a_database_that_takes_no_further_path_is_made_again() {
    let hurt = "update sqlite_sequence set seq = 9223372036854775807;";
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    place.unrecord();
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE);
    sql(&db, &format!("delete from Refs; delete from ValidPaths; {hurt}"));
    assert_eq!(place.observe(&action).database, Database::Usable, "{hurt}");
    let fault = place.realise(&action).unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(fault.why().contains("no row can be added"), "{fault}");
    place.realise(&action).unwrap_or_else(|fault| panic!("{fault}"));
}

/// Contents are right, and the database says less than it ought to.
#[test]
fn a_closure_that_lost_entries_or_references_is_not_done() {
    let hurts = [
        "delete from Refs;",
        "delete from Refs where referrer = (select id from ValidPaths where path like '%-b');",
        "delete from Refs; delete from ValidPaths where path like '%-a';",
        "delete from ValidPaths where path like '%-b';",
    ];
    for (round, hurt) in hurts.into_iter().enumerate() {
        for from_image in [false, true] {
            let recorded = (round % 2 == 0) != from_image;
            let Some(place) = Place::new() else { return };
            let system = place.live_system();
            let source = if from_image {
                landed_from_image(&place, &system, 1);
                image_of(system.clone())
            } else {
                SystemSource::Prebuilt(system.clone())
            };
            let action = place.action(source, true);
            place.realise(&action).unwrap();
            let whole = place.dump();
            if !recorded {
                place.unrecord();
            }
            sql(
                &camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE),
                hurt,
            );
            assert_ne!(place.dump(), whole, "{hurt}");
            let landed = (0..3).any(|_| place.realise(&action).is_ok());
            assert!(landed, "{hurt}, recorded: {recorded}, image: {from_image}");
            assert_eq!(
                place.dump(),
                whole,
                "{hurt}, recorded: {recorded}, image: {from_image}"
            );
        }
    }
}

/// nixpkgs' `closureInfo` writes hashes in base 32, with their kind before them.
#[test]
fn a_list_as_closure_info_writes_it_is_compared_like_any_other() {
    let Some(place) = Place::new() else { return };
    let system = place.live_system();
    landed_from_image(&place, &system, 1);
    let list = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/var/landfall/registration");
    let lines: Vec<String> = fs_err::read_to_string(&list)
        .unwrap()
        .lines()
        .map(
            |line| match line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit()) {
                true => {
                    let out = Command::new("nix-hash")
                        .args(["--to-base32", "--type", "sha256", line])
                        .output()
                        .unwrap();
                    format!("sha256:{}", String::from_utf8(out.stdout).unwrap().trim())
                }
                false => line.to_owned(),
            },
        )
        .collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("sha256:")).count(), 3);
    fs_err::write(&list, lines.join("\n") + "\n").unwrap();
    let action = place.action(image_of(system), true);
    place.realise(&action).unwrap();
    assert_eq!(place.observe(&action).database, Database::Usable);
    assert_eq!(place.asides(), Vec::<String>::new());
    sql(
        &camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE),
        "delete from Refs;",
    );
    assert!(matches!(place.observe(&action).database, Database::Unusable(_)));
}

#[test]
fn where_nix_can_neither_repair_nor_forget_everything_is_copied_again() {
    for refused in [
        "--repair-path",
        "--referrers-closure --repair-path",
        "--delete --repair-path",
    ] {
        let Some(mut place) = Place::new() else { return };
        let system = place.live_system();
        let action = place.action(SystemSource::Prebuilt(system), true);
        place.realise(&action).unwrap();
        let cases: String = refused
            .split(' ')
            .map(|option| format!("case \"$*\" in *{option}*) echo 'error: refused' >&2; exit 1;; esac\n"))
            .collect();
        place.instead_of("nix-store", &format!("{cases}exec $real \"$@\""));
        empty(&place.file("-a"));
        fs_err::remove_file(place.file("-b")).unwrap();
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{refused}: {fault}"));
        assert_eq!(place.observe(&action).contents, Contents::Verified, "{refused}");
    }
}

#[test]
fn a_verification_that_names_no_path_is_no_stop() {
    let Some(mut place) = Place::new() else { return };
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    let once = place.dir.join("once");
    let text = format!(
        "case \"$*\" in *' verify '*) [ -e {once} ] || {{ : >{once}; echo 'error: strange' >&2; exit 1; }};; esac\nexec $real \"$@\""
    );
    place.instead_of("nix", &text);
    let facts = place.observe(&action);
    assert!(
        matches!(&facts.database, Database::Unusable(why) if why.contains("strange")),
        "{facts:?}"
    );
    fs_err::remove_file(&once).unwrap();
    place.realise(&action).unwrap();
}

#[test]
fn a_full_filesystem_is_no_damage_of_the_database_and_keeps_nothing_from_being_put_aside() {
    let Some(mut place) = Place::new() else { return };
    let target = Utf8PathBuf::from(place.stores.root.as_arg());
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs", target.as_str()])
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: no tmpfs can be mounted here");
        return;
    }
    struct Mounted(Utf8PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            Command::new("umount")
                .args(["-l", self.0.as_str()])
                .status()
                .unwrap();
        }
    }
    let _mounted = Mounted(target.clone());
    let system = place.live_system();
    let action = place.action(SystemSource::Prebuilt(system), true);
    place.realise(&action).unwrap();
    let fill = || {
        let mut file = fs_err::File::create(target.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    fill();
    let fault = place
        .runtime
        .block_on(observe_system(&place.context, &place.stores, &action))
        .err();
    if let Some(fault) = fault {
        assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
        assert!(fault.next().contains("free space"), "{fault}");
    }
    // Unusable, with no room left: it is renamed and removed. Nix takes the room that this makes for its reserve, and stops.
    fs_err::remove_file(target.join("filler")).unwrap();
    place.unrecord();
    fs_err::write(target.join(DATABASE).join("schema"), "").unwrap();
    assert!(matches!(place.observe(&action).database, Database::Unusable(_)));
    fill();
    let unusable = PutAside {
        why: "schema is empty".into(),
        finished: false,
    };
    put_aside(&place.context, &place.stores, &unusable).unwrap();
    assert_eq!(place.observe(&action).database, Database::Absent);
    let fault = place.realise(&action).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    // SQLite calls it an error of the device when it cannot make its shared memory longer.
    fs_err::remove_file(target.join("filler")).unwrap();
    let io = "echo 'error: executing SQLite statement: disk I/O error, disk I/O error' >&2; exit 1";
    place.instead_of(
        "nix",
        &format!(
            "case \"$*\" in *' copy '*) cat /dev/zero 2>/dev/null >{target}/filler; {io};; esac
             [ -e {target}/filler ] && {{ {io}; }}; exec $real \"$@\""
        ),
    );
    let fault = place.realise(&action).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    assert!(fault.next().contains("free space"), "{fault}");
    place.instead_of("nix", "exec $real \"$@\"");
    fs_err::remove_file(target.join("filler")).unwrap();
    place.realise(&action).unwrap();
}

#[test]
fn a_database_that_defines_what_nix_does_not_is_made_again() {
    for change in [
        "create trigger t before insert on ValidPaths when new.path != '/nix/store/landfall-probe' begin select raise(ignore); end",
        "create trigger t before insert on ValidPaths begin select raise(abort, 'no'); end",
        "create trigger t after insert on Refs begin delete from Refs; end",
        "create view v as select 1",
        "drop trigger DeleteSelfRefs",
        "drop index IndexReferrer",
        "drop table DerivationOutputs",
    ] {
        let Some(place) = Place::new() else { return };
        let action = place.action(SystemSource::Prebuilt(place.live_system()), true);
        place.realise(&action).unwrap();
        place.unrecord();
        assert_eq!(place.observe(&action).database, Database::Usable, "the control");
        sql(
            &camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE),
            change,
        );
        let facts = place.observe(&action);
        assert!(
            matches!(&facts.database, Database::Unusable(_)),
            "{change}: {facts:?}"
        );
        place
            .realise(&action)
            .unwrap_or_else(|fault| panic!("{change}: {fault}"));
    }
}

#[test]
fn a_database_of_holes_is_not_read() {
    let Some(place) = Place::new() else { return };
    let action = place.action(SystemSource::Prebuilt(place.live_system()), true);
    place.realise(&action).unwrap();
    let db = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join(DATABASE);
    for file in ["db.sqlite", "db.sqlite-wal"] {
        let opened = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(db.join(file))
            .unwrap();
        opened.set_len(20 << 30).unwrap();
        let begun = std::time::Instant::now();
        let facts = place.observe(&action);
        assert!(
            matches!(&facts.database, Database::Unusable(why) if why.contains("too large")),
            "{facts:?}"
        );
        assert!(begun.elapsed().as_secs() < 5);
        place.realise(&action).unwrap();
    }
}
