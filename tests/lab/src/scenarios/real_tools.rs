//! landfall's own tests that need root, loop devices, and a disk to erase: they run in a machine, and nowhere else.
//!
//! Every test that names this scenario is run, and none is missed: the program's own list must be the list here.
//!
//! `src/real/steps/partition_tests.rs` and `src/real/whole_tests.rs` have the tests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::disk;
use crate::install::{PATH, say};
use crate::kit::{Kit, TARGET_BYTES, TARGET_SERIAL, UNIT_TESTS};
use crate::machine::{Disk, Machine, Spec};

/// The disk that the tests erase in LUKS2.
const SECOND: &str = "LFSECOND";
const LIMIT: Duration = Duration::from_secs(60);
/// All tests, under emulation.
const TESTS_LIMIT: Duration = Duration::from_secs(900);
/// A whole disk, as its module is called.
const WHOLE: &str = "real::whole_tests::whole_disk";
/// Every test with `run by: cargo lab scenario real-tools`, in libtest's order.
const TESTS: [&str; 7] = [
    "real::steps::partition::tests::a_device_in_use_is_not_written",
    "real::steps::partition::tests::a_disk_that_became_another_behind_its_name_is_not_written",
    "real::steps::partition::tests::a_medium_is_found_behind_a_loop_even_when_its_mount_is_hidden",
    "real::steps::partition::tests::a_mounted_device_takes_no_image",
    "real::steps::partition::tests::a_real_device_is_partitioned_once",
    "real::steps::partition::tests::the_lock_keeps_others_off_and_ends",
    WHOLE,
];

pub fn real_tools(kit: &Kit) -> Result<()> {
    let folder = kit.lab.cache.fresh_machine("real-tools")?;
    let mut spec = Spec::new(&kit.lab, &folder);
    spec.stick = Some(kit.tests_stick()?);
    for serial in [TARGET_SERIAL, SECOND] {
        let image = folder.join(format!("{serial}.raw"));
        disk::create(&image, TARGET_BYTES)?;
        spec.disks.push(Disk::new(&image, serial));
    }
    let machine = Machine::boot(&spec)?;

    let listed = machine.check(&format!("{UNIT_TESTS} --ignored --list --format terse"), LIMIT)?;
    let listed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    ensure!(listed == TESTS, "the program lists {listed:?}, not {TESTS:?}");

    let name = kernel_name(&machine, TARGET_SERIAL)?;
    ran(
        &machine,
        &format!("LANDFALL_TEST_DISK={name}"),
        "--ignored",
        &TESTS,
    )?;
    let name = kernel_name(&machine, SECOND)?;
    let luks = format!("LANDFALL_TEST_DISK={name} LANDFALL_TEST_LUKS=1");
    ran(&machine, &luks, &format!("--ignored --exact {WHOLE}"), &[WHOLE])?;

    // From outside: the tests did write what they say.
    machine.check("sync", LIMIT)?;
    machine.cut_power()?;
    for (disk, kinds) in spec
        .disks
        .iter()
        .zip([["vfat", "ext4", "swap"], ["vfat", "crypto_LUKS", "swap"]])
    {
        let found: Vec<String> = disk::partitions(&disk.image)?
            .into_iter()
            .map(|partition| partition.content.kind)
            .collect();
        ensure!(found == kinds, "{} holds {found:?}, not {kinds:?}", disk.serial);
    }
    say("both disks hold what the tests say that they made");
    Ok(())
}

fn kernel_name(machine: &Machine, serial: &str) -> Result<String> {
    let path = machine.check(&format!("readlink -f /dev/disk/by-id/virtio-{serial}"), LIMIT)?;
    let name = path.trim().strip_prefix("/dev/");
    Ok(name.with_context(|| format!("{serial} is {path}"))?.to_owned())
}

/// Runs tests one after the other; each of these must have passed, and no other have run.
fn ran(machine: &Machine, variables: &str, arguments: &str, tests: &[&str]) -> Result<()> {
    let command = format!(
        "cd /tmp && PATH={PATH} {variables} {UNIT_TESTS} {arguments} --test-threads=1 2>&1 | tee /dev/ttyS0; \
         exit ${{PIPESTATUS[0]}}"
    );
    let output = machine.run(&command, TESTS_LIMIT)?;
    let text = output.text();
    ensure!(
        output.status == 0,
        "{command} ended with {}:\n{text}",
        output.status
    );
    for test in tests {
        ensure!(
            text.lines()
                .any(|line| line.trim_end() == format!("test {test} ... ok")),
            "{test} did not pass:\n{text}"
        );
    }
    let closing = text.lines().rfind(|line| line.starts_with("test result: "));
    let closing = closing.with_context(|| format!("no closing line:\n{text}"))?;
    ensure!(
        closing.starts_with(&format!(
            "test result: ok. {} passed; 0 failed; 0 ignored;",
            tests.len()
        )),
        "{closing}"
    );
    say(closing);
    Ok(())
}
