//! `cargo lab selftest`: the laboratory's own promises, each shown in a machine.
//!
//! Every promise that scenarios rely on is checked here once, beside a case that must fail. landfall is not used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use crate::command::Program;
use crate::disk;
use crate::environment::{Environment, StickSpec};
use crate::machine::{Disk, DiskBoot, Ended, Machine, Spec};
use crate::setup::Lab;

const SHORT: Duration = Duration::from_secs(60);
const TARGET: &str = "/dev/disk/by-id/virtio-TARGET";

/// Runs the subcommand.
pub fn run() -> Result<()> {
    let lab = Lab::open()?;
    let environment = Environment::open(&lab)?;
    let folder = lab.cache.fresh_machine("selftest")?;
    let spec = StickSpec {
        label: "LANDFALL_selftest".to_owned(),
        payload: Some(payload(&folder)?),
        files: BTreeMap::from([("configuration".to_owned(), b"of the selftest".to_vec())]),
    };
    let stick = environment.stick(&lab, &spec)?;
    let (target, other) = (folder.join("target.raw"), folder.join("other.raw"));
    disk::create(&target, 4 << 30)?;
    disk::create(&other, 1 << 30)?;
    let mut spec = Spec::new(&lab, &folder);
    spec.stick = Some(stick);
    spec.network = true;
    spec.disks = vec![
        Disk {
            write_log: Some(folder.join("writes.log")),
            ..Disk::new(&target, "TARGET")
        },
        Disk {
            removable: true,
            ..Disk::new(&other, "OTHER")
        },
    ];
    spec.credentials = vec![("lab.word".to_owned(), b"landfall\0".to_vec())];

    let machine = timed("boot to the agent", || Machine::boot(&spec))?;
    timed("agent, tools, firmware, devices", || look_around(&machine))?;
    timed("GPT, ESP, LUKS and ext4 on the target", || fill(&machine))?;
    timed("a system that boots", || install(&machine, &environment))?;
    machine.check("echo lost >/mnt/lost", SHORT)?;
    timed("power cut", || machine.cut_power())?;
    let before = disk::identities(&target)?;
    ensure!(
        before.len() == 3,
        "expected the disk and two partitions: {before:?}"
    );
    let log = disk::write_log(&folder.join("writes.log"))?;
    let sum = disk::written(&log, 0, u64::MAX);
    println!(
        "    {} writes, {} bytes, {} flushes on the target",
        sum.writes, sum.bytes, sum.flushes
    );
    ensure!(sum.writes > 0 && sum.flushes > 0, "the write log is empty");

    let machine = timed("saved state (made when missing)", || Machine::start_saved(&spec))?;
    timed("what was synced before the cut is there", || find_again(&machine))?;
    timed("power cut", || machine.cut_power())?;
    let machine = timed("saved state again", || Machine::start_saved(&spec))?;
    timed("password on the console", || password_in_shell(&machine))?;
    let off = machine.spawn("systemctl poweroff", SHORT)?;
    let ended = timed("switched off", || machine.powered_off(SHORT))?;
    ensure!(ended == Ended::PoweredOff, "ended by {ended:?}");
    drop(off);
    ensure!(disk::identities(&target)? == before, "the target changed");
    let how = DiskBoot {
        passphrase: Some("correct horse"),
        prompt: "Passphrase for the disk",
        marker: "MARKER",
        timeout: Duration::from_secs(240),
    };
    let (machine, line) = timed("installed disk to its marker", || Machine::boot_disk(&spec, &how))?;
    ensure!(
        line == "MARKER <correct horse>",
        "the installed disk printed {line:?}"
    );
    ensure!(machine.powered_off(SHORT)? == Ended::PoweredOff);

    password_of_a_service(&lab, &environment, spec)?;
    println!("ok");
    Ok(())
}

/// A service asks for a password on the console, and reboots.
fn password_of_a_service(lab: &Lab, environment: &Environment, mut spec: Spec) -> Result<()> {
    let unit = "[Unit]\nAfter=network-online.target\nWants=network-online.target\n[Service]\nType=oneshot\n\
        ExecStart=/bin/sh -c 'x=$(systemd-ask-password --timeout=0 \"Passphrase of the selftest\"); \
        echo \"got <$x>\" >/dev/console; systemctl reboot'\n";
    let files = BTreeMap::from([("selftest.service".to_owned(), unit.as_bytes().to_vec())]);
    let label = "LANDFALL_service".to_owned();
    spec.stick = Some(environment.stick(
        lab,
        &StickSpec {
            label,
            payload: None,
            files,
        },
    )?);
    let machine = timed("a service's password on the console", || {
        let machine = Machine::power_on(&spec)?;
        machine.console_wait("Passphrase of the selftest", Duration::from_secs(120))?;
        machine.console_type("correct horse\n")?;
        machine.console_wait("got <correct horse>", SHORT)?;
        Ok(machine)
    })?;
    let ended = timed("rebooted", || machine.powered_off(SHORT))?;
    ensure!(ended == Ended::Rebooted, "ended by {ended:?}");
    Ok(())
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = work().with_context(|| what.to_owned())?;
    println!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(result)
}

fn look_around(machine: &Machine) -> Result<()> {
    let output = machine.run("echo out; echo err >&2; exit 3", SHORT)?;
    ensure!(
        (output.status, output.text(), output.error_text()) == (3, "out".to_owned(), "err".to_owned()),
        "{output:?}"
    );
    ensure!(
        machine.run("sleep 30", Duration::from_secs(1))?.status == 124,
        "a late command was not killed"
    );
    let big: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    machine.put("/tmp/big", &big)?;
    ensure!(machine.get("/tmp/big")? == big, "a file came back changed");
    ensure!(
        machine.get("/nonexistent").is_err(),
        "a file that is not there was read"
    );
    machine.check(
        "test -d /sys/firmware/efi/efivars && efibootmgr >/dev/null",
        SHORT,
    )?;
    machine.check(
        "test $(cat /sys/block/vda/removable) = 0 && findmnt /iso | grep -q /dev/vda",
        SHORT,
    )?;
    machine.check("test $(cat /sys/block/sda/removable) = 1", SHORT)?;
    machine.check(
        "test -e /etc/landfall && ip -4 address show eth0 | grep -q 10.0.2.15",
        SHORT,
    )?;
    machine.check(
        "test \"$(cat /etc/landfall/configuration)\" = 'of the selftest' && test $(lab-hello) = hello",
        SHORT,
    )?;
    machine.check(
        "test -d /nix/store/*-lab && touch /nix/store/writable && nix-store --version",
        SHORT,
    )?;
    let credential = machine.run("cat /run/credentials/@system/lab.word", SHORT)?;
    ensure!(
        credential.stdout == b"landfall\0",
        "the credential is {credential:?}"
    );
    for tool in [
        "sgdisk",
        "mkfs.vfat",
        "mkfs.ext4",
        "mkswap",
        "cryptsetup",
        "bootctl",
        "efibootmgr",
        "nix",
        "nix-store",
        "git",
        "ssh",
        "lsblk",
        "blkid",
        "udevadm",
        "systemd-ask-password",
        "fatlabel",
        "e2label",
        "swaplabel",
        "jq",
        "curl",
    ] {
        machine.check(&format!("command -v {tool}"), SHORT)?;
    }
    println!("    {}", machine.check("systemd-analyze time | head -1", SHORT)?);
    let failed = machine.check("systemctl list-units --failed --plain --no-legend", SHORT)?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    Ok(())
}

fn fill(machine: &Machine) -> Result<()> {
    machine.check(
        &format!(
            "set -e; sgdisk -n1:1M:+256M -t1:ef00 -c1:ESP -n2:0:0 -t2:8309 -c2:crypt {TARGET} >/dev/null; udevadm settle
             mkfs.vfat -F 32 -n ESP {TARGET}-part1 >/dev/null
             printf %s horse | cryptsetup luksFormat --batch-mode --type luks2 --label crypt --pbkdf argon2id \
               --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4 {TARGET}-part2 -
             printf %s horse | cryptsetup open {TARGET}-part2 root -
             mkfs.ext4 -q -L root /dev/mapper/root; mkdir -p /mnt; mount /dev/mapper/root /mnt; mkdir /mnt/boot
             mount /dev/disk/by-partlabel/ESP /mnt/boot
             echo synced >/mnt/boot/synced; sync -f /mnt/boot; echo synced >/mnt/synced; sync -f /mnt"
        ),
        Duration::from_secs(120),
    )?;
    Ok(())
}

/// systemd-boot, the environment's kernel and a script that asks and answers, on the ESP that is mounted.
fn install(machine: &Machine, environment: &Environment) -> Result<()> {
    let init = "#!/bin/sh\nexport PATH=/bin\nmount -t devtmpfs dev /dev\nexec </dev/console >/dev/console 2>&1\n\
        sleep 2\nprintf 'Passphrase for the disk: '\nread -r -s word\necho\necho \"MARKER <$word>\"\nsleep 1\npoweroff -f\n";
    machine.put("/mnt/boot/initrd", &environment.bare_initrd(init)?)?;
    machine.put("/mnt/boot/linux", &fs::read(&environment.kernel)?)?;
    machine.check(
        "set -e; bootctl --esp-path=/mnt/boot install; sha256sum /mnt/boot/linux
         echo 'default lab.conf' >/mnt/boot/loader/loader.conf
         printf 'title lab\\nlinux /linux\\ninitrd /initrd\\noptions console=ttyS0 quiet\\n' >/mnt/boot/loader/entries/lab.conf
         sync -f /mnt/boot",
        Duration::from_secs(120),
    )?;
    let entries = machine.check("efibootmgr", SHORT)?;
    ensure!(entries.contains("Linux Boot Manager"), "no boot entry: {entries}");
    Ok(())
}

/// A payload with one program and one store path.
fn payload(folder: &Path) -> Result<PathBuf> {
    let content = folder.join("payload");
    fs::create_dir_all(content.join("bin"))?;
    fs::create_dir_all(content.join("nix/store/00000000000000000000000000000000-lab"))?;
    let program = content.join("bin/lab-hello");
    fs::write(&program, "#!/bin/sh\necho hello\n")?;
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let image = folder.join("payload.squashfs");
    let arguments = [
        "-quiet",
        "-no-progress",
        "-all-root",
        "-all-time",
        "0",
        "-mkfs-time",
        "0",
    ];
    Program::new("mksquashfs")
        .arg(&content)
        .arg(&image)
        .args(arguments)
        .run()?;
    Ok(image)
}

fn find_again(machine: &Machine) -> Result<()> {
    machine.check(
        &format!(
            "set -e; printf %s horse | cryptsetup open {TARGET}-part2 root -; mkdir -p /mnt; mount /dev/mapper/root /mnt
             mount /dev/disk/by-partlabel/ESP /mnt/boot; grep -q synced /mnt/synced; grep -q synced /mnt/boot/synced
             test ! -s /mnt/lost; test $(($(date +%s) - $(stat -c %Y /mnt/synced))) -ge 0"
        ),
        SHORT,
    )?;
    Ok(())
}

fn password_in_shell(machine: &Machine) -> Result<()> {
    machine.console_type("x=$(systemd-ask-password Word); echo \"<$x>\"\n")?;
    machine.console_wait("Word.*", SHORT)?;
    std::thread::sleep(Duration::from_secs(1));
    machine.console_type("correct horse\n")?;
    machine.console_wait("^<correct horse>", SHORT)?;
    Ok(())
}
