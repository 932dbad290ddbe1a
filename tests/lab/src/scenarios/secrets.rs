//! Where secrets are: a passphrase, a deploy key and an age identity that exist nowhere else are searched in everything that
//! a run leaves.
//!
//! The memory of the machine, and encoded forms of a secret, are not searched.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::disk;
use crate::install::{Install, PATH, RUN_LIMIT, say};
use crate::kit::{Kit, Layout, Mode, PASSPHRASE};
use crate::machine::Machine;

/// Made for tests, and nobody's.
const DEPLOY_KEY_FILE: &str = include_str!("../../../ssh-key.txt");
/// A part of its private half.
const DEPLOY_KEY: &str = "AAAED14vEjSYAOpynq/YRO0tZ7ooQtZ5Y1UUVvfNtxMCWbtrzNOy1MkdL";
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-1UYQ0HNSQ3SZWCSRR0TC2LY0M9UZ6AMWZ87ZK5TFUPV2CQCJAW40QG5Y9VS";
/// Not a secret: it is put where it must not be, to be found there.
const CONTROL: &str = "canary-control-0b64";
const LIMIT: Duration = Duration::from_secs(120);

/// Stands before every program that landfall starts, and keeps its arguments and environment.
const RECORDER: &str = r#"#!/bin/bash
{ printf '%s\0' "$0" "$@"; cat /proc/$$/environ; } >> /run/lab/seen
real=$(PATH=${PATH//\/run\/lab\/wrap:/} type -P "${0##*/}")
exec "$real" "$@"
"#;
const RECORDED: &str = "git nix nix-store nix-env nixos-install nixos-enter efibootmgr blkid lsblk udevadm mkfs.vfat \
    mkfs.ext4 e2fsck bootctl systemctl";

pub fn secrets_luks(kit: &Kit) -> Result<()> {
    secrets(kit, Layout::Luks)
}

pub fn secrets_plain(kit: &Kit) -> Result<()> {
    secrets(kit, Layout::Plain)
}

fn secrets(kit: &Kit, layout: Layout) -> Result<()> {
    let name = format!("secrets-{}", layout.host());
    let mut install = Install::new(kit, &name, layout, Mode::Prebuilt)?.stay();
    install
        .more
        .push_str(" keys: (deploy_key: true, age_identity: true),");
    let machine = install.start()?;
    prepare(&machine)?;
    let sampling = machine.spawn(
        "until [ -e /run/lab/done ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; \
         stat -c '%a:%U' /run/landfall/ssh-key > /run/lab/ssh-key.new && \
         stat -f -c %T /run/landfall/ssh-key >> /run/lab/ssh-key.new && mv /run/lab/ssh-key.new /run/lab/ssh-key; \
         sleep 0.3; done >> /run/lab/seen 2>/dev/null",
        RUN_LIMIT,
    )?;
    // As the service, so that there is a journal; and with every detail that landfall can be made to say.
    let unit = format!(
        "systemd-run --quiet --wait --unit=landfall-lab -p StandardOutput=journal+console \
         -p StandardError=journal+console -p LoadCredential=landfall.luks-passphrase:/run/lab/keys/passphrase \
         -p LoadCredential=landfall.deploy-key:/run/lab/keys/deploy -p LoadCredential=landfall.age-identity:/run/lab/keys/age \
         -E HOME=/root -E PATH=/run/lab/wrap:{PATH} /usr/local/bin/landfall --verbose install --config {} --progress plain",
        crate::install::CONFIG
    );
    let ran = machine.run(&unit, RUN_LIMIT)?;
    ensure!(
        ran.status == 0,
        "landfall ended with {}; its words are in the console's log\n{}",
        ran.status,
        ran.error_text()
    );
    machine.check("touch /run/lab/done; sync", LIMIT)?;
    sampling.wait(LIMIT)?;
    search_sees(&machine, &install)?;
    only_where_declared(&machine, &install, layout)?;
    spill(&machine)?;
    let places = places(&machine, &install, CONTROL)?;
    let all = [
        "console",
        "journal",
        "processes",
        "image",
        "/run/landfall/control",
    ];
    ensure!(
        places == all.map(str::to_owned).into(),
        "the control was put into {all:?} and found in {places:?}"
    );
    say("the control, put into each of these places, was found in each");
    machine.cut_power()?;
    install.boot().map(|_| ())
}

/// The search sees what there is to see, and the key's file for Git was in memory and for root alone.
fn search_sees(machine: &Machine, install: &Install<'_>) -> Result<()> {
    for (word, place) in [
        ("landed: /nix/store", "console"),
        ("landed: /nix/store", "journal"),
        ("--no-root-passwd", "processes"),
        ("GIT_TERMINAL_PROMPT=0", "processes"),
        ("LFTARGET", "image"),
    ] {
        let places = places(machine, install, word)?;
        ensure!(
            places.contains(place),
            "{word:?} is not in {place}, only in {places:?}"
        );
    }

    // Git reads a key from a file only: while the run goes on, in memory, and for root alone.
    let access = machine.check("cat /run/lab/ssh-key", LIMIT)?;
    ensure!(
        access.trim_end() == "600:root\ntmpfs",
        "the key's file for Git was {access}"
    );
    Ok(())
}

/// No secret is anywhere but in its declared file on the target.
fn only_where_declared(machine: &Machine, install: &Install<'_>, layout: Layout) -> Result<()> {
    let in_image = if layout.has_luks() { 0 } else { 1 };
    let inside = inside(machine, layout)?;
    for (secret, occurrences, file) in [
        (PASSPHRASE, 0, None),
        (
            DEPLOY_KEY,
            in_image,
            Some("/home/operator/.ssh/id_ed25519".to_owned()),
        ),
        (
            AGE_IDENTITY,
            in_image,
            Some(format!("/etc/age/{}.agekey", layout.host())),
        ),
    ] {
        let mut places = places(machine, install, secret)?;
        let found = disk::find(&install.image, secret.as_bytes())?;
        ensure!(
            found.len() == occurrences,
            "{secret} is {} times in the image, at {found:?}",
            found.len()
        );
        places.remove("image");
        ensure!(places.is_empty(), "{secret} is in {places:?}");
        let files = files_with(machine, &inside, secret)?;
        let declared: BTreeSet<String> = file.into_iter().collect();
        ensure!(
            files == declared,
            "on the target, {secret} is in {files:?}, not in {declared:?}"
        );
    }
    machine.check(
        "umount /run/lab/inside; cryptsetup close lab-inside 2>/dev/null || true",
        LIMIT,
    )?;
    say(
        "no secret in console, journal, /run/landfall, arguments, environments, or the disk but its declared file",
    );
    Ok(())
}

fn prepare(machine: &Machine) -> Result<()> {
    machine.check("mkdir -m 700 /run/lab/keys /run/lab/wrap", LIMIT)?;
    machine.put("/run/lab/keys/passphrase", PASSPHRASE.as_bytes())?;
    ensure!(DEPLOY_KEY_FILE.contains(DEPLOY_KEY), "the key has another text");
    machine.put("/run/lab/keys/deploy", DEPLOY_KEY_FILE.as_bytes())?;
    machine.put("/run/lab/keys/age", format!("{AGE_IDENTITY}\n").as_bytes())?;
    machine.put("/run/lab/wrap/recorder", RECORDER.as_bytes())?;
    machine.check(
        &format!(
            "cd /run/lab/wrap; chmod 755 . recorder; for program in {RECORDED}; do ln -s recorder $program; done"
        ),
        LIMIT,
    )?;
    Ok(())
}

/// Every place, outside the target's filesystem, where a text is: `console`, `journal`, `processes`, `image`, and files
/// below /run/landfall.
fn places(machine: &Machine, install: &Install, text: &str) -> Result<BTreeSet<String>> {
    let mut places = BTreeSet::new();
    if install.console_logs()?.contains(text) {
        places.insert("console".to_owned());
    }
    if !disk::find(&install.image, text.as_bytes())?.is_empty() {
        places.insert("image".to_owned());
    }
    // By file: on the command line it would find itself.
    machine.put("/run/lab/wanted", text.as_bytes())?;
    let found = machine.check(
        "cd /; sync; journalctl --sync; \
         journalctl --boot --output=export | grep -qaF -f /run/lab/wanted && echo journal; \
         grep -qaF -f /run/lab/wanted /run/lab/seen && echo processes; \
         grep -rlaF -f /run/lab/wanted /run/landfall; true",
        LIMIT,
    )?;
    places.extend(found.lines().map(str::to_owned));
    Ok(places)
}

/// Mounts the target's root, read-only; gives the place.
fn inside(machine: &Machine, layout: Layout) -> Result<String> {
    let open = if layout.has_luks() {
        "device=$(blkid -o device -t PARTLABEL=luks-lab); \
         cryptsetup open --readonly --key-file /run/lab/keys/passphrase $device lab-inside; device=/dev/mapper/lab-inside"
    } else {
        "device=$(blkid -o device -t PARTLABEL=root-lab)"
    };
    let place = "/run/lab/inside";
    machine.check(
        &format!("set -e; {open}; mkdir -p {place}; mount -t ext4 -o ro,noload $device {place}"),
        LIMIT,
    )?;
    Ok(place.to_owned())
}

/// The target's files that hold a text, as the target names them.
fn files_with(machine: &Machine, inside: &str, text: &str) -> Result<BTreeSet<String>> {
    machine.put("/run/lab/wanted", text.as_bytes())?;
    let found = machine.check(
        &format!("cd {inside}; grep -rlaF --devices=skip -f /run/lab/wanted . || true"),
        Duration::from_secs(300),
    )?;
    Ok(found
        .lines()
        .map(|line| line.trim_start_matches('.').to_owned())
        .collect())
}

/// Puts the control where no secret may be.
fn spill(machine: &Machine) -> Result<()> {
    machine.check(
        &format!(
            "set -e; echo {CONTROL} > /run/landfall/control; echo {CONTROL} > /dev/ttyS0; \
             echo {CONTROL} | systemd-cat; LEAK={CONTROL} PATH=/run/lab/wrap:$PATH git version; \
             mkdir -p /run/lab/esp; mount -t vfat $(blkid -o device -t PARTLABEL=ESP-LAB) /run/lab/esp; \
             echo {CONTROL} > /run/lab/esp/CONTROL.TXT; umount /run/lab/esp"
        ),
        LIMIT,
    )?;
    Ok(())
}
