//! Nobody is there: the stick's service installs with what systemd credentials say, and powers off when it has landed and
//! only then. Nothing is asked, nothing is typed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::disk;
use crate::install::{Install, RUN_LIMIT, say, wait_for};
use crate::kit::{Kit, Layout, Mode, PASSPHRASE, TARGET_SERIAL};
use crate::machine::{Ended, Machine};

const DEPLOY_KEY: &[u8] = include_bytes!("../../../ssh-key.txt");
const AGE_IDENTITY: &[u8] = b"AGE-SECRET-KEY-1U7K2JEK9EC5P6DPPE9WD75M940ZU3K64G6GF6Q3QUW7NK2JF2DRQ25GZPM\n";

pub fn unattended(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "unattended", Layout::Luks, Mode::Prebuilt)?;
    install.more = "unattended: (enable: true), keys: (deploy_key: true, age_identity: true),".into();
    let mut install = install.with_service("unattended")?;

    // The control: consent to another disk is none to this one, and after a failure the machine stays on.
    install.spec.credentials = credentials("SOME-OTHER-DISK");
    let mut machine = Machine::power_on(&install.spec)?;
    machine.console_wait("stopped in phase Planned", RUN_LIMIT)?;
    std::thread::sleep(Duration::from_secs(10));
    ensure!(machine.is_on()?, "it powered off after a failure");
    machine.cut_power()?;
    ensure!(
        disk::is_blank(&install.image)?,
        "it wrote without consent to this disk"
    );
    say("consent to another disk: stopped, still on, nothing written");

    install.spec.credentials = credentials(TARGET_SERIAL);
    let machine = Machine::power_on(&install.spec)?;
    wait_for(&machine, "landed: ")?;
    let asked = machine.console().text().contains("asking: ");
    let ended = machine.powered_off(Duration::from_secs(180))?;
    ensure!(!asked, "something was asked");
    ensure!(ended == Ended::PoweredOff, "after landing it ended by {ended:?}");
    say("landed and powered off; nothing asked, nothing typed");
    let marker = install.boot()?;
    for key in [
        "/etc/age:700:root:root",
        "/etc/age/luks.agekey:600:root:root",
        "/home/operator/.ssh/id_ed25519:600:operator:users",
    ] {
        ensure!(
            marker.contains(key),
            "the installed system does not have {key}: {marker}"
        );
    }
    Ok(())
}

fn credentials(disk: &str) -> Vec<(String, Vec<u8>)> {
    [
        ("consent", disk.as_bytes()),
        ("luks-passphrase", PASSPHRASE.as_bytes()),
        ("deploy-key", DEPLOY_KEY),
        ("age-identity", AGE_IDENTITY),
    ]
    .map(|(name, value)| (format!("landfall.{name}"), value.to_vec()))
    .to_vec()
}
