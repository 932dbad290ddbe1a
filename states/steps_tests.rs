//! A whole run, from Planned to Landed: what every state says of itself, what every action says that it will do, and
//! what a checkpoint's claim makes of it.

use super::*;
use crate::actions::anchor_checkpoint::{EspFacts, SlotFile};
use crate::actions::clone_configuration::{CloneFacts, CloneSight, Standing};
use crate::actions::encrypt_volumes::LuksFacts;
use crate::actions::format_volumes::VolumesFacts;
use crate::actions::install_boot_loader::{BootFacts, BootFile, Nvram};
use crate::actions::install_system::InstallFacts;
use crate::actions::land::{LandFacts, Receipt};
use crate::actions::partition_disk::{GptCopy, KernelPartition, TableFacts};
use crate::actions::provision_secrets::SecretsFacts;
use crate::actions::realise_system::{Contents, Database, SystemFacts};
use crate::names::{Revision, StorePath};
use crate::plan::tests::plan;
use crate::plan::{Plan, SystemSource, Volume};
use crate::state::{Anchored, Encrypted, Partitioned, Planned, RunContext};

fn revision() -> Revision {
    "a".repeat(40).parse().unwrap()
}

fn system() -> StorePath {
    "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web"
        .parse()
        .unwrap()
}

/// The proof that facts give.
fn done<S: Step>(step: &S, facts: &S::Facts) -> S::Proof {
    match step.judge(facts) {
        Verdict::Done(proof) => proof,
        Verdict::Todo(order) => panic!("{order:?}"),
        Verdict::NeedsConsent(erasure) => panic!("{erasure:?}"),
        Verdict::Refuse(fault) => panic!("{fault:?}"),
    }
}

fn signature(kind: &str, id: String, volume: &Volume) -> Probe {
    Probe::Found(Signature {
        kind: kind.into(),
        id: Some(id),
        label: Some(volume.label.clone()),
    })
}

/// A line about a state and the action that leads on.
fn line(state: &State, described: &str) -> String {
    let with = state
        .claim()
        .system()
        .map_or(String::new(), |path| format!(" with {path}"));
    format!("{}{with}: {described}\n", state.phase())
}

/// Tells a state with its action, and gives the state back.
macro_rules! tell {
    ($told:ident, $variant:ident($state:ident), $action:ident) => {{
        assert_eq!($state.plan(), &$told.plan);
        let state = State::$variant($state);
        $told.text += &line(&state, &$action.describe());
        let State::$variant(state) = state else {
            panic!("it was just made")
        };
        state
    }};
}

struct Told {
    plan: Plan,
    text: String,
}

/// Goes the whole way over a disk on which everything is done.
#[expect(clippy::too_many_lines, reason = "one paragraph for each phase of one run")]
fn whole_run(luks: bool, swap: bool, source: SystemSource) -> (State, String) {
    let mut plan = plan(luks, swap);
    plan.payload.system = source;
    let mut told = Told {
        plan: plan.clone(),
        text: String::new(),
    };
    let whole = |kind: &str, volume: &Volume| signature(kind, volume.id.to_string(), volume);

    let state = Planned::new(plan.clone(), revision(), None, false);
    let action = state.action(None);
    let state = tell!(told, Planned(state), action);
    let table = GptCopy::Complete(plan.table.clone());
    let kernel = plan.table.entries.iter().map(|e| KernelPartition {
        number: e.number,
        first_lba: e.first_lba,
        sectors: e.sectors(),
    });
    let facts = TableFacts {
        disk: plan.disk.clone(),
        in_use: vec![],
        primary: table.clone(),
        backup: table,
        protective_mbr: true,
        contents: vec![],
        finished_work: false,
        kernel: kernel.collect(),
    };
    let state = state.advance(done(&action, &facts));

    let action = state.action(None);
    let state = tell!(told, Partitioned(state), action);
    let facts = EspFacts {
        probe: signature("vfat", Volume::fat_serial_text(&plan.esp.id), &plan.esp),
        slots: [SlotFile::Allocated; 2],
    };
    let state = state.advance(done(&action, &facts));

    let action = state.action(None);
    let state = tell!(told, Anchored(state), action);
    let facts = match &plan.luks {
        None => LuksFacts::NotPlanned,
        Some(volume) => LuksFacts::Planned {
            probe: whole("crypto_LUKS", volume),
            opens: Some(true),
        },
    };
    let state = state.advance(done(&action, &facts));

    let action = state.action(None, &StepProgress::default());
    let state = tell!(told, Encrypted(state), action);
    let facts = VolumesFacts {
        root: whole("ext4", &plan.root),
        swap: plan
            .swap
            .as_ref()
            .map_or(Probe::Blank, |volume| whole("swap", volume)),
        image_progress: None,
    };
    let state = state.advance(done(&action, &facts));

    let action = state.action();
    let state = tell!(told, Formatted(state), action);
    let facts = CloneSight {
        place: CloneFacts::Repository {
            head: Some(revision()),
            mark: Some(plan.install.to_string()),
            flaws: vec![],
        },
        standing: Standing::NotAsked,
    };
    let state = state.advance(done(&action, &facts));

    let action = state.action();
    let state = tell!(told, Cloned(state), action);
    let facts = SystemFacts {
        system: Some(system()),
        recorded: true,
        database: Database::Usable,
        registered: true,
        evaluated: Some(system()),
        contents: Contents::NotVerified,
    };
    let state = state.advance(done(&action, &facts));

    assert_eq!(state.system(), &system());
    let action = state.action();
    let state = tell!(told, Realised(state), action);
    let facts = InstallFacts {
        profile: Some(system().to_string()),
        marked: true,
        activated: true,
        first: vec![],
    };
    let state = state.advance(done(&action, &facts));

    assert_eq!(state.system(), &system());
    let action = state.action();
    let state = tell!(told, Installed(state), action);
    let file = || BootFile::Right(String::new());
    let facts = BootFacts {
        loader: file(),
        fallback: file(),
        entry: file(),
        kernel: file(),
        initrd: file(),
        others: vec![],
        leftovers: vec![],
        nvram: Nvram::Ours,
        unproved: None,
        steered: None,
    };
    let state = state.advance(done(&action, &facts));

    assert_eq!(state.system(), &system());
    let action = state.action();
    let state = tell!(told, Bootable(state), action);
    let state = state.advance(done(&action, &SecretsFacts { placed: vec![] }));

    assert_eq!(state.system(), &system());
    let action = state.action();
    let state = tell!(told, Provisioned(state), action);
    let facts = LandFacts {
        receipt: Some(Receipt {
            install: plan.install.to_string(),
            system: system().to_string(),
        }),
        log: true,
        attached: vec![],
        flushed: true,
    };
    let state = state.advance(done(&action, &facts));

    assert_eq!(
        (state.plan(), state.system(), state.revision()),
        (&plan, &system(), &revision())
    );
    (State::Landed(state), told.text)
}

#[test]
fn every_action_says_what_it_will_do() {
    let (landed, told) = whole_run(true, true, SystemSource::Prebuilt(system()));
    expect_test::expect![[r#"
        Planned: write GPT 789d69a2-30da-571a-a5dc-94a9147176cf on serial LF0001: 1 ESP-WEB 1024 MiB, 2 luks-web 6654 MiB, 3 swap-web 512 MiB
        Partitioned: make the ESP: FAT32 ESP-WEB 8432-278F on partition 1, with two checkpoint slots in EFI/LANDFALL
        Anchored: make LUKS2 (argon2id) luks-web 1d56229b-50a6-5dd3-86c0-00c3ca04ffbf on partition 2
        Encrypted: make ext4 root-web e340fe2e-8425-57c3-8e03-00c1a461be9d, swap swap-web 3711c2ed-317f-50e8-80e1-2d1adadc1f7e
        Formatted: clone revision aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa to /mnt/nix-config
        Cloned: copy the closure of /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web to the target store
        Realised with /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web: nixos-install --system /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web
        Installed with /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web: install the boot loader for /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web and verify it on the ESP
        Bootable with /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web: install keys and set file owners for web
        Provisioned with /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web: write log and receipt to the target, unmount, close, flush
    "#]].assert_eq(&told);
    assert_eq!(landed.claim(), RecordedPhase::Landed(system()));
    assert_eq!(landed.phase(), Phase::Landed);
    // What the plainest layout has not.
    let (_, plain) = whole_run(false, false, SystemSource::Flake);
    let others: String = plain
        .lines()
        .filter(|line| !told.contains(line))
        .map(|line| format!("{line}\n"))
        .collect();
    expect_test::expect![[r#"
        Planned: write GPT 75a753df-abd1-5ca3-965c-246623b0bdd0 on serial LF0001: 1 ESP-WEB 1024 MiB, 2 root-web 7166 MiB
        Partitioned: make the ESP: FAT32 ESP-WEB 6B6F-825E on partition 1, with two checkpoint slots in EFI/LANDFALL
        Anchored: no encryption in this layout
        Encrypted: make ext4 root-web 77ed2fc2-3e13-5448-ad52-aff76e16258f
        Cloned: build /mnt/nix-config#web at revision aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa into the target store
    "#]].assert_eq(&others);
}

#[test]
fn every_phase_but_the_last_has_an_action() {
    let row: Vec<String> = Phase::ALL
        .iter()
        .map(|phase| match phase.action() {
            Some(action) => format!("{phase} ─{action}→ "),
            None => phase.to_string(),
        })
        .collect();
    assert_eq!(
        row.concat(),
        "Planned ─PartitionDisk→ Partitioned ─AnchorCheckpoint→ Anchored ─EncryptVolumes→ Encrypted ─FormatVolumes→ \
         Formatted ─CloneConfiguration→ Cloned ─RealiseSystem→ Realised ─InstallSystem→ Installed ─InstallBootLoader→ \
         Bootable ─ProvisionSecrets→ Provisioned ─Land→ Landed"
    );
    let anchored: Vec<&Phase> = Phase::ALL.iter().filter(|phase| phase.is_anchored()).collect();
    assert_eq!(
        anchored.len(),
        9,
        "from Anchored on the checkpoint is on the ESP: {anchored:?}"
    );
}

/// Whether each of the four steps that erase is told that a checkpoint claims it done.
fn claimed(claim: Option<Phase>) -> [bool; 4] {
    let context = || RunContext {
        plan: plan(true, true),
        revision: revision(),
        claimed: claim,
        unclean: false,
        is_wish: false,
        vouched: None,
    };
    let planned = Planned::new(plan(true, true), revision(), claim, false);
    [
        planned.action(None).claimed,
        Partitioned { context: context() }.action(None).claimed,
        Anchored { context: context() }.action(None).claimed,
        Encrypted { context: context() }
            .action(None, &StepProgress::default())
            .claimed,
    ]
}

#[test]
fn a_claim_reaches_as_far_as_its_phase_and_no_further() {
    assert_eq!(claimed(None), [false; 4]);
    assert_eq!(claimed(Some(Phase::Planned)), [false; 4]);
    assert_eq!(claimed(Some(Phase::Partitioned)), [true, false, false, false]);
    assert_eq!(claimed(Some(Phase::Anchored)), [true, true, false, false]);
    assert_eq!(claimed(Some(Phase::Encrypted)), [true, true, true, false]);
    for phase in [Phase::Formatted, Phase::Landed] {
        assert_eq!(claimed(Some(phase)), [true; 4]);
    }
}

#[test]
fn what_a_prober_saw_is_told() {
    let found = |id: Option<&str>, label: Option<&str>| {
        Probe::Found(Signature {
            kind: "ext4".into(),
            id: id.map(Into::into),
            label: label.map(Into::into),
        })
    };
    assert_eq!(
        found(Some("12-34"), Some("photos")).to_string(),
        "ext4 photos 12-34"
    );
    assert_eq!(found(None, None).to_string(), "ext4 without label without id");
    assert_eq!(Probe::Ambiguous("two".into()).to_string(), "ambiguous (two)");
    assert_eq!(Probe::Blank.to_string(), "blank");
}

#[test]
fn a_volume_is_ours_by_kind_and_id_and_label() {
    let probe = |kind: &str, id: &str, label: &str| {
        let found = Signature {
            kind: kind.into(),
            id: Some(id.into()),
            label: Some(label.into()),
        };
        Probe::Found(found).compare("ext4", "ab", "cd", "root")
    };
    assert_eq!(probe("ext4", "ab", "root"), VolumeState::Complete);
    assert_eq!(
        probe("ext4", "AB", "root"),
        VolumeState::Complete,
        "blkid and udev disagree about case"
    );
    assert_eq!(probe("ext4", "cd", "any"), VolumeState::Incomplete);
    for (kind, id, label) in [
        ("xfs", "ab", "root"),
        ("ext4", "ef", "root"),
        ("ext4", "ab", "other"),
        ("xfs", "cd", "root"),
    ] {
        assert_eq!(
            probe(kind, id, label),
            VolumeState::Foreign,
            "{kind} {id} {label}"
        );
    }
}

#[test]
fn an_id_that_is_part_one_and_part_the_other_is_in_the_making() {
    let (id, provisional) = (
        "deadbeef-0000-1111-2222-00000000000a",
        "0badcafe-0000-1111-2222-00000000000b",
    );
    let probe = |kind: &str, id: &str| {
        Probe::Found(Signature {
            kind: kind.into(),
            id: Some(id.into()),
            label: Some("root".into()),
        })
    };
    let state = |found: &str| probe("ext4", found).compare("ext4", id, provisional, "root");
    // Killed after the first of the words that differ, and after the second.
    assert_eq!(
        state("deadcafe-0000-1111-2222-00000000000b"),
        VolumeState::Incomplete
    );
    assert_eq!(
        state("DEADBEEF-0000-1111-2222-00000000000b"),
        VolumeState::Incomplete
    );
    assert_eq!(state(id), VolumeState::Complete);
    // A word of neither, half a word, another kind, another length.
    assert_eq!(
        state("deadbeef-0000-1111-2222-00000001000b"),
        VolumeState::Foreign
    );
    assert_eq!(
        state("deadcaff-0000-1111-2222-00000000000b"),
        VolumeState::Foreign
    );
    assert_eq!(
        state("0badbeff-0000-1111-2222-00000000000b"),
        VolumeState::Foreign
    );
    assert_eq!(state("deadbeef"), VolumeState::Foreign);
    let other = probe("xfs", "deadcafe-0000-1111-2222-00000000000b");
    assert_eq!(
        other.compare("ext4", id, provisional, "root"),
        VolumeState::Foreign
    );
    // The planned id with another label is another's, whatever it is made of; and a FAT has too few digits to tell.
    assert_eq!(
        probe("ext4", id).compare("ext4", id, provisional, "other"),
        VolumeState::Foreign
    );
    let fat = probe("vfat", "DEAD-CAFE").compare("vfat", "DEAD-BEEF", "0BAD-CAFE", "root");
    assert_eq!(fat, VolumeState::Foreign);
}
