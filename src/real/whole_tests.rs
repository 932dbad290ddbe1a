//! Table, ESP, slots, LUKS, filesystems, attaching, landing: on a whole disk that is there to be erased. Run in a virtual
//! machine by `cargo lab scenario real-tools`, which names the disk in LANDFALL_TEST_DISK (`vdb`), and runs it again with
//! LANDFALL_TEST_LUKS=1.

use crate::config::{Config, Keys};
use crate::event::Reporter;
use crate::real::Real;
use crate::real::disk::HeldDisk;
use crate::real::mount::attached::{Attach, Attached};
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::secrets::credentials::Credentials;
use crate::real::test_support::fat_entries_of;
use crate::real::volume::block_io::flush;
use crate::real::volume::build_swap;
use crate::real::volume::luks;
use crate::world::{Perform, World};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::actions::land::Land;
use landfall_states::consent::{Consent, ConsentBy};
use landfall_states::fault::FaultClass;
use landfall_states::plan::*;
use landfall_states::state::Planned;
use landfall_states::{Step, StepProgress, Verdict};
use memmap2::MmapMut;
use nix::libc;
use std::io::{Seek, SeekFrom, Write};
use std::time::Instant;

fn real(disk: &str, with_luks: bool) -> Real {
    let config: Config = ron::from_str(&format!(
        "Config(host: \"web\", labels: Labels(efi: \"ESP-WEB\", root: \"root-web\", luks: Some(\"luks-web\"), swap: Some(\"swap-web\")), \
         luks: Luks(enable: {with_luks}, mapper_name: \"cryptroot\", iteration_time_ms: 100), \
         repository: RepositoryConfig(remote: Some(\"https://forge.example/o/r\")), system: Flake)"
    ))
    .unwrap();
    assert_eq!(config.keys, Keys::default());
    let held = HeldDisk::open_name(disk).unwrap();
    let layout = Layout {
        esp_label: "ESP-WEB".parse().unwrap(),
        esp_size: "300M".parse().unwrap(),
        root_label: "root-web".parse().unwrap(),
        luks_label: with_luks.then(|| "luks-web".parse().unwrap()),
        swap: Some(("swap-web".parse().unwrap(), "64M".parse().unwrap())),
        machine: Machine::X86_64,
    };
    let payload = Payload {
        repository: Repository {
            source: RepositorySource::Remote("https://forge.example/o/r".parse().unwrap()),
            reference: Reference::Default,
            clone_path: "/mnt/nix-config".parse().unwrap(),
        },
        system: SystemSource::Flake,
    };
    let plan = Plan::derive(
        &"web".parse().unwrap(),
        &layout,
        &payload,
        &held.identify().unwrap(),
        0,
    )
    .unwrap();
    let mut credentials = Credentials::default();
    credentials.set_passphrase(with_luks.then(|| "correct horse".into()));
    Real {
        config,
        install_disk: None,
        labels: vec![],
        reporter: Reporter::default(),
        stop: Stop::never(),
        plan: Some(plan),
        held: Some(held),
        attached: Attached::default(),
        progress: crate::real::volume::root_image::Progress::default(),
        credentials,
        keys: Default::default(),
        granted: None,
        evaluated: None,
    }
}

/// Look, judge, act, look. Tells how often it acted.
async fn go<S: Step>(real: &mut Real, mut action: S, consent: impl Fn(&mut S, Consent)) -> (S::Proof, u32)
where
    Real: Perform<S>,
{
    let mut acted = 0;
    for _ in 0..4 {
        let begun = Instant::now();
        let facts = real.observe(&action).await.unwrap();
        eprintln!(
            "{} {} ms: {facts:?}",
            action.describe(),
            begun.elapsed().as_millis()
        );
        match action.judge(&facts) {
            Verdict::Done(proof) => return (proof, acted),
            Verdict::NeedsConsent(erasure) => {
                let given = Consent::to(&erasure, ConsentBy::Person).unwrap();
                consent(&mut action, given);
            }
            Verdict::Refuse(fault) => panic!("{fault}"),
            Verdict::Todo(order) => {
                acted += 1;
                let begun = Instant::now();
                real.perform(&action, order).await.unwrap();
                eprintln!("acted {} ms", begun.elapsed().as_millis());
            }
        }
    }
    panic!("no end");
}

async fn shell(what: &str) -> String {
    let ended = Program::new("sh")
        .args(["-c", what])
        .run(&Reporter::default(), &Stop::never())
        .await
        .unwrap();
    assert!(ended.success(), "{what}: {}", ended.how());
    ended.stdout
}

/// A directory of the root filesystem whose block is lost: the kernel says so to whoever looks, and the second attach behind it repairs it, in the same run.
async fn damaged_root(r: &mut Real) {
    r.attach(Attach::Target).await.unwrap();
    fs::create_dir_all("/mnt/damaged").unwrap();
    fs::write("/mnt/damaged/file", "x").unwrap();
    let device = shell("findmnt -no SOURCE /mnt").await;
    let device = device.trim();
    r.release().await.unwrap();
    // The container, if there is one, is open again.
    r.attach(Attach::Target).await.unwrap();
    shell("umount /mnt/boot; umount /mnt").await;
    let block = shell(&format!("debugfs -R 'blocks damaged' {device} 2>/dev/null")).await;
    let block = block.trim();
    shell(&format!(
        "dd if=/dev/zero of={device} bs=4096 seek={block} count=1 conv=notrunc,fsync 2>/dev/null"
    ))
    .await;
    r.attach(Attach::Target).await.unwrap();
    let fault = fs::read_dir("/mnt/damaged")
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .unwrap_err();
    assert_eq!(
        crate::os_error::fault("look", &fault).class,
        FaultClass::Transient,
        "{fault}"
    );
    assert_eq!(r.damages_seen(), 0);
    let stopped = fs::write("/mnt/new", "x").unwrap_err();
    eprintln!("{}", shell("uname -r; grep ' /mnt ' /proc/self/mountinfo").await);
    // What a program would be told is its device's; the cause is the filesystem, once.
    let fault = || crate::os_error::fault("write", &stopped);
    assert_eq!(fault().class, FaultClass::Hardware, "{stopped}");
    let cause = r.cause_of(fault());
    eprintln!("{cause}; {}", cause.next());
    assert_eq!(cause.class, FaultClass::Transient);
    assert_eq!(r.cause_of(fault()), fault(), "a second time it is the device");
    // In the same run, and whatever the kernel says of writing it out.
    let fault = r.attach(Attach::Target).await.unwrap_err();
    eprintln!("{fault}; {}", fault.next());
    assert!(r.damages_seen() == 1 && fault.class == FaultClass::Transient);
    r.attach(Attach::Target).await.unwrap();
    assert!(!Utf8Path::new("/mnt/damaged/file").exists());
    r.release().await.unwrap();
}

/// A directory of the ESP whose cluster is not allocated, as a power cut leaves one, and no mark of it: the kernel stops the filesystem when
/// somebody looks, and the next attach in the same run repairs it and keeps the slots.
async fn damaged_esp(r: &mut Real) {
    r.attach(Attach::Target).await.unwrap();
    fs::create_dir_all("/mnt/boot/EFI/HALFMADE").unwrap();
    r.release().await.unwrap();
    let esp = r.partition(Role::Esp).await.unwrap();
    let bytes = fs::read(&esp).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&esp).unwrap();
    for at in fat_entries_of(&bytes, b"HALFMADE   ") {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[0; 4]).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    r.attach(Attach::Checkpoint).await.unwrap();
    r.attach(Attach::Target).await.unwrap();
    let fault = || {
        let met = fs::read_dir("/mnt/boot/EFI/HALFMADE").unwrap_err();
        crate::os_error::fault("look", &met)
    };
    let first = fault();
    eprintln!("{first}; {}", shell("grep /mnt/boot /proc/self/mountinfo").await);
    assert_eq!(first.class, FaultClass::Hardware, "{first}");
    let cause = r.cause_of(first.clone());
    assert_eq!(cause.class, FaultClass::Transient, "{cause}");
    assert_eq!(r.cause_of(first.clone()), first, "a second time it is the device");
    r.attach(Attach::Target).await.unwrap();
    assert!(!Utf8Path::new("/mnt/boot/EFI/HALFMADE").exists());
    fs::write("/mnt/boot/y", "y").unwrap();
    assert_eq!(r.read_slot_on_esp(1).await.unwrap(), [b'd'; 4096]);
    assert_eq!(r.read_slot_on_esp(0).await.unwrap(), [b'c'; 4096]);
    r.release().await.unwrap();
}

async fn damaged(r: &mut Real) {
    damaged_root(r).await;
    damaged_esp(r).await;
}

async fn to_formatted(real: &mut Real) -> u32 {
    let plan = real.plan.clone().unwrap();
    let mut all = 0;
    let state = Planned::new(plan, "a".repeat(40).parse().unwrap(), None, false);
    let (proof, acted) = go(real, state.action(None), |a, c| a.consent = Some(c)).await;
    all += acted;
    let state = state.advance(proof);
    let (proof, acted) = go(real, state.action(None), |a, c| a.consent = Some(c)).await;
    all += acted;
    let state = state.advance(proof);
    let (proof, acted) = go(real, state.action(None), |a, c| a.consent = Some(c)).await;
    all += acted;
    let state = state.advance(proof);
    let (proof, acted) = go(real, state.action(None, &StepProgress::default()), |a, c| {
        a.consent = Some(c)
    })
    .await;
    all += acted;
    state.advance(proof);
    all
}

/// What the kernel writes to swap at once.
const PAGE: usize = 4096;

/// Memory of this process that the kernel has written to swap: so many pages, each with this word in it.
fn swapped_out(word: &[u8]) -> MmapMut {
    const BYTES: usize = 16 << 20;
    let mut memory = MmapMut::map_anon(BYTES).unwrap();
    for page in memory.chunks_exact_mut(PAGE) {
        page[..word.len()].copy_from_slice(word);
    }
    let swapped = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSwap:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    };
    for _ in 0..20 {
        // SAFETY: these are whole pages of this process, whose contents the advice leaves as they are.
        let code = unsafe { libc::madvise(memory.as_mut_ptr().cast(), BYTES, libc::MADV_PAGEOUT) };
        assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
        if swapped() >= BYTES / 2 {
            return memory;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    panic!("{} bytes are in swap", swapped());
}

fn holds(device: &Utf8Path, word: &[u8]) -> bool {
    flush(device).unwrap();
    fs::read(device)
        .unwrap()
        .chunks(PAGE)
        .any(|page| page.starts_with(word))
}

/// What is swapped out for a build cannot be read on the disk, and a killed run's swap ends with the next.
async fn swap_for_a_build(r: &mut Real) {
    let device = r.partition(Role::Swap).await.unwrap();
    // The control: by plain swap it can.
    let word = b"landfall in the clear";
    shell(&format!("swapon {device}")).await;
    let memory = swapped_out(word);
    assert!(holds(&device, word), "the control finds nothing");
    drop(memory);
    shell(&format!("swapoff {device}")).await;

    // By plain swap there may be pages in the first MiB as well.
    let head = || {
        flush(&device).unwrap();
        fs::read(&device).unwrap()[..1 << 20].to_vec()
    };
    let before = head();
    let word = b"landfall by a mapping";
    r.swap_for_build().await;
    assert!(build_swap::is_on().unwrap());
    assert!(
        r.attached_now()
            .await
            .unwrap()
            .contains(&"swap on landfall-swap".to_owned())
    );
    let memory = swapped_out(word);
    assert!(!holds(&device, word), "it is in the clear");
    // A former run's is replaced by this one's.
    r.swap_for_build().await;
    assert_eq!(fs::read_to_string("/proc/swaps").unwrap().lines().count(), 2);
    assert!(memory.chunks_exact(PAGE).all(|page| page.starts_with(word)));
    drop(memory);
    // A run that was killed: the next one ends it before it looks.
    build_swap::end_left(&r.reporter).await;
    assert!(!build_swap::is_on().unwrap() && !Utf8Path::new("/dev/mapper/landfall-swap").exists());
    assert_eq!(fs::read_to_string("/proc/swaps").unwrap().lines().count(), 1);
    assert!(head() == before, "the signature of the partition is another one");
    // One whose name has no table; and somebody else's of that name.
    shell("dmsetup create landfall-swap --uuid CRYPT-PLAIN-landfall-swap --notable").await;
    assert!(build_swap::end().await.unwrap() && !build_swap::is_on().unwrap());
    shell("dmsetup create landfall-swap --table '0 8 zero'").await;
    assert!(!build_swap::end().await.unwrap());
    r.swap_for_build().await;
    shell("dmsetup info landfall-swap && dmsetup remove landfall-swap").await;
}

#[test]
#[ignore = "run by: cargo lab scenario real-tools"]
fn whole_disk() {
    let disk = std::env::var("LANDFALL_TEST_DISK").expect("LANDFALL_TEST_DISK names the disk that is erased");
    let with_luks = std::env::var_os("LANDFALL_TEST_LUKS").is_some();
    let vfat = fs::read_to_string("/proc/filesystems").unwrap().contains("vfat");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        luks::no_core_files().unwrap();
        let mut r = real(&disk, with_luks);
        assert!(to_formatted(&mut r).await >= 3);
        // Once more: everything is found.
        assert_eq!(to_formatted(&mut r).await, 0);

        // Slots: mounted where vfat is known, raw where not (rule 18).
        for (which, fill) in [(0, b'a'), (1, b'b'), (0, b'c')] {
            let begun = Instant::now();
            r.write_slot_on_esp(which, &[fill; 4096]).await.unwrap();
            eprintln!("slot {which} written in {} ms", begun.elapsed().as_millis());
            assert_eq!(r.read_slot_on_esp(which).await.unwrap(), [fill; 4096]);
        }
        if !vfat {
            eprintln!("no vfat here: attaching the target is not tried");
            r.release().await.unwrap();
            return;
        }
        assert!(fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/run/landfall/esp"));

        r.attach(Attach::Target).await.unwrap();
        r.attach(Attach::Target).await.unwrap();
        fs::write("/mnt/boot/x", "x").unwrap();
        shell("mount --make-rshared / && mkdir -p /mnt/proc /mnt/dev /mnt/nix-config && mount -t proc proc /mnt/proc && mount --rbind /dev /mnt/dev").await;
        shell("cd /mnt/nix-config && git init -q && git -c user.name=x -c user.email=x@x commit -q --allow-empty -m x").await;
        r.write_slot_on_esp(1, &[b'd'; 4096]).await.unwrap();

        // A killed run: another process finds all of it attached, and takes it over.
        drop(r);
        let mut r = real(&disk, with_luks);
        eprintln!("left over: {:?}", r.attached_now().await.unwrap());
        r.attach(Attach::Target).await.unwrap();
        assert_eq!(to_formatted(&mut r).await, 0, "looking at what is attached");
        swap_for_a_build(&mut r).await;
        assert_eq!(to_formatted(&mut r).await, 0, "the swap partition is as it was");
        r.swap_for_build().await;
        r.release().await.unwrap();
        assert_eq!(r.attached_now().await.unwrap(), Vec::<String>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(" /mnt") && !mounts.contains("/run/landfall"), "{mounts}");
        assert!(!Utf8Path::new("/dev/mapper/cryptroot").exists());
        assert!(mounts.contains(" /dev/pts "), "unmounting a bind mount reached its source: {mounts}");

        // What is not ours is left alone.
        shell("mount -t tmpfs other /mnt").await;
        let fault = r.attach(Attach::Target).await.unwrap_err();
        eprintln!("{fault}; {}", fault.next());
        assert_eq!(fault.class, FaultClass::NeedsChange);
        r.release().await.unwrap();
        shell("mountpoint -q /mnt && umount /mnt").await;
        if with_luks {
            shell("dmsetup create cryptroot --table '0 8 zero'").await;
            let fault = r.attach(Attach::Container).await.unwrap_err();
            eprintln!("{fault}; {}", fault.next());
            assert_eq!(fault.class, FaultClass::NeedsChange);
            shell("dmsetup info cryptroot && dmsetup remove cryptroot").await;
            r.credentials.set_passphrase(Some("wrong".into()));
            let fault = r.attach(Attach::Container).await.unwrap_err();
            eprintln!("{fault}; {}", fault.next());
            assert_eq!(fault.class, FaultClass::NeedsChange);
            r.credentials.set_passphrase(Some("correct horse".into()));
        }

        // An ESP that was not unmounted keeps its slots.
        let esp = r.partition(Role::Esp).await.unwrap();
        shell(&format!("printf '\\001' | dd of={esp} bs=1 seek=65 conv=notrunc,fsync 2>/dev/null")).await;
        r.attach(Attach::Checkpoint).await.unwrap();
        assert_eq!(r.read_slot_on_esp(1).await.unwrap(), [b'd'; 4096]);
        assert_eq!(r.read_slot_on_esp(0).await.unwrap(), [b'c'; 4096]);

        damaged(&mut r).await;

        fs::create_dir_all("/run/landfall").unwrap();
        fs::write("/run/landfall/log.jsonl", "{\"event\":\"reached\",\"phase\":\"Anchored\",\"took_ms\":7}\n").unwrap();
        let land = Land {
            install: r.plan.as_ref().unwrap().install,
            system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap(),
        };
        let (_, acted) = go(&mut r, land.clone(), |_, _| unreachable!()).await;
        assert_eq!(acted, 1);
        let (_, acted) = go(&mut r, land, |_, _| unreachable!()).await;
        assert_eq!(acted, 0);
        r.attach(Attach::TargetReadOnly).await.unwrap();
        eprintln!("{}", fs::read_to_string("/mnt/var/log/landfall/receipt.ron").unwrap());
        r.release().await.unwrap();
        assert!(r.is_flushed());
        eprintln!("{}", shell(&format!("fsck.vfat -n {esp}")).await);
    });
}
