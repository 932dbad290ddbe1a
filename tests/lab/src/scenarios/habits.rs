//! What real NixOS does and a plain host does not show: specialisations, counted boots, secrets in the initrd on the ESP, a
//! password from a file that only the first activation reads, an activation that fails without an exit code.
//!
//! What holds is read from the ESP and from what the installed system says about itself.
//!
//! `scenarios::esp` has damage and interruptions on the ESP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::closure::{PASSWORD_HASH, SECRET_IDENTITY};
use crate::esp;
use crate::install::{Install, Ran, say};
use crate::kit::{Kit, SPECIALISATIONS, Special};

const LIMIT: Duration = Duration::from_secs(60);

pub fn specialisations(kit: &Kit) -> Result<()> {
    let install = Install::special(kit, "specialisations", Special::Specialised)?.stay();
    land(&install)?;
    let entries = entries(&install)?;
    ensure!(
        entries.len() == SPECIALISATIONS.len() + 1,
        "not an entry for each: {}",
        entries.join(" ")
    );
    let marker = install.boot()?;
    ensure!(
        marker.contains(" specialisation=none "),
        "a specialisation was started: {marker}"
    );
    say("an entry for each specialisation; the system itself is what starts");
    Ok(())
}

/// The loader of the laboratory's systems is older than `preferred`: which of the entries it starts is for `default nixos-*` to
/// say. So only the ESP is looked at for which one should.
pub fn boot_counting(kit: &Kit) -> Result<()> {
    let install = Install::special(kit, "boot-counting", Special::Counted)?.stay();
    land(&install)?;
    let conf = String::from_utf8(esp::read(&install.image, "loader/loader.conf")?).context("loader.conf")?;
    let preferred = conf
        .lines()
        .find_map(|line| line.strip_prefix("preferred "))
        .with_context(|| format!("no preferred entry in:\n{conf}"))?;
    let counted = entries(&install)?;
    ensure!(
        counted.len() == SPECIALISATIONS.len() + 1 && counted.iter().all(|name| name.contains("+3.")),
        "not an entry with a counter for each: {}",
        counted.join(" ")
    );
    let chosen = preferred.replace(".conf", "+3.conf");
    let text = String::from_utf8(esp::read(&install.image, &format!("loader/entries/{chosen}"))?)
        .with_context(|| chosen.clone())?;
    let system = &kit.system_of(&install.host)?.toplevel;
    ensure!(
        text.contains(&format!("init={system}/init")),
        "the preferred entry starts another system:\n{text}"
    );
    let marker = install.boot_as(|marker| marker.contains(&format!("host={} ", install.host)))?;
    let started = marker
        .split_whitespace()
        .find_map(|word| word.strip_prefix("entry="))
        .unwrap_or_default();
    ensure!(
        entries(&install)?.iter().any(|name| name.contains("+2-1.")),
        "the loader counted no boot of {started}"
    );
    say("entries with counters, the preferred one starts the system; the loader counted its boot");
    Ok(())
}

pub fn initrd_secrets(kit: &Kit) -> Result<()> {
    let install = with_identity(kit, "initrd-secrets", Special::InitrdSecret)?;
    land(&install)?;
    let initrd = esp::one(&install.image, "initrd", |path| path.ends_with("-initrd.efi"))?;
    let name = initrd
        .trim_start_matches("EFI/nixos/")
        .trim_end_matches("-initrd.efi");
    ensure!(
        name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit()),
        "an initrd with secrets has a name of its own: {initrd}"
    );
    let marker = install.boot()?;
    let wanted = format!("initrd-secret={} ", esp::sha256(SECRET_IDENTITY.as_bytes()));
    ensure!(marker.contains(&wanted), "stage 1 had no {wanted}: {marker}");
    say("the identity is in the initrd on the ESP, and stage 1 had it");
    Ok(())
}

pub fn password_file(kit: &Kit) -> Result<()> {
    let install = with_identity(kit, "password-file", Special::PasswordFile)?;
    let ran = land(&install)?;
    ensure!(
        !ran.output.contains("does not exist") && !ran.output.contains("snippet 'secrets' failed"),
        "the accounts were made before the identity was placed:\n{}",
        ran.output
    );
    let marker = install.boot()?;
    let wanted = format!("password={} ", PASSWORD_HASH);
    ensure!(
        marker.contains(&wanted),
        "nobody can log in: {wanted}is not what the account has: {marker}"
    );
    say("the account has the password of the file: the identity was there at the first activation");
    Ok(())
}

pub fn activation_fails(kit: &Kit) -> Result<()> {
    let install = Install::special(kit, "activation-fails", Special::BrokenSnippet)?.stay();
    let machine = install.start()?;
    let ran = install.land(&machine, "install")?;
    // The programs' own words are on the console too, and the host's name has the snippet's.
    const TOLD: &str = "parts of the activation failed, and nixos-enter continued: broken";
    ensure!(
        ran.output
            .lines()
            .any(|line| line.contains(&format!("!note: {TOLD} "))),
        "that the snippet failed is not told:\n{}",
        ran.output
    );
    machine.check(
        "udevadm settle && mkdir -p /run/lab/root && mount -o ro /dev/disk/by-partlabel/root-lab /run/lab/root",
        LIMIT,
    )?;
    let receipt = machine.check("cat /run/lab/root/var/log/landfall/receipt.ron", LIMIT)?;
    machine.cut_power()?;
    let kept = receipt
        .split_once("activation_failures: [")
        .map(|(_, rest)| rest.trim_start());
    ensure!(
        kept.is_some_and(|list| list.starts_with("\"broken\"")),
        "the receipt does not say it:\n{receipt}"
    );
    install.boot_as(|marker| marker.contains(" activation=1 "))?;
    say("the failed snippet is told as a notice and kept in the receipt");
    Ok(())
}

/// NixOS's own default: nothing is written to the firmware's variables, and the removable path is what starts.
pub fn no_firmware_entry(kit: &Kit) -> Result<()> {
    let mut install = Install::special(kit, "no-firmware-entry", Special::NoVariables)?.stay();
    install.more.push_str(" can_touch_efi_variables: false,");
    let machine = install.start()?;
    let ran = install.run(&machine, "install")?;
    ran.must_end("landfall install", 0, &["landed: "])?;
    let entries = machine.run("efibootmgr", LIMIT)?.text();
    machine.cut_power()?;
    ensure!(
        !entries.contains("Linux Boot Manager") && entries.contains("BootOrder"),
        "the firmware has an entry that the host does not want:\n{entries}"
    );
    say("no entry in the firmware; it starts EFI/BOOT");
    install.boot().map(|_| ())
}

fn with_identity<'k>(kit: &'k Kit, name: &str, special: Special) -> Result<Install<'k>> {
    let mut install = Install::special(kit, name, special)?.stay();
    install.more.push_str(" keys: (age_identity: true),");
    install.keys = vec![("age-identity", SECRET_IDENTITY.as_bytes().to_vec())];
    Ok(install)
}

fn land(install: &Install) -> Result<Ran> {
    let machine = install.start()?;
    let ran = install.land(&machine, "install")?;
    machine.cut_power()?;
    Ok(ran)
}

/// The names of NixOS's entries on the ESP.
fn entries(install: &Install) -> Result<Vec<String>> {
    let files = esp::files(&install.image)?;
    Ok(files
        .iter()
        .filter_map(|path| path.strip_prefix("loader/entries/"))
        .filter(|name| name.starts_with("nixos-"))
        .map(str::to_owned)
        .collect())
}
