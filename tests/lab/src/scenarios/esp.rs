//! The boot loader's installer, interrupted in its work, and its files damaged afterwards: it never writes a file again that
//! exists, and never starts again while its own temporary file exists.
//!
//! What is left is the installer's own doing. The disk is looked at from outside, before and after.
//!
//! `cargo lab halfway` and `cargo lab chaos` have every other moment of the installer.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::command::Program;
use crate::disk;
use crate::esp;
use crate::install::{Install, RUN_LIMIT, say, wait_for};
use crate::kit::{Kit, Layout, Mode};

const LIMIT: Duration = Duration::from_secs(60);
/// How often a moment may be missed.
const TRIES: u32 = 8;

/// Freezes everything in a control group as soon as a file is there that its pattern fits; prints the file. Gives up when the group is
/// gone, because all that was in it has ended.
const FREEZER: &str = r#"
use Time::HiRes qw(sleep time);
my ($pattern, $unit) = @ARGV;
my $end = time + 400;
my $group = "/sys/fs/cgroup/system.slice/$unit.scope";
my $begun = 0;
while (time < $end) {
    $begun ||= -d $group;
    last if $begun && !-d $group;
    # A pattern, or glob would give a name that is not there.
    if (my ($file) = glob $pattern) {
        open my $freezer, '>', "$group/cgroup.freeze" or exit 1;
        print $freezer "1\n";
        close $freezer or exit 1;
        sleep 0.05;
        print -e $file ? "left $file\n" : "missed $file\n";
        exit 0;
    }
    sleep 0.0005;
}
print "never\n";
"#;

/// What is left is the installer's: a temporary kernel, a temporary entry, the temporary loader.conf.
pub fn esp_leftovers(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "esp-leftovers", Layout::Plain, Mode::Prebuilt)?.stay();
    for (pattern, folder) in [
        ("/mnt/boot/EFI/nixos/*.tmp", "EFI/nixos/"),
        ("/mnt/boot/loader/entries/*.tmp", "loader/entries/"),
        ("/mnt/boot/loader/loader.tm[p]", "loader/loader.tmp"),
    ] {
        let mut left = None;
        let before = install.image.with_extension("before");
        copy(&install.image, &before)?;
        for _ in 0..TRIES {
            match cut_while(&install, pattern)? {
                Moment::Left(file) => {
                    left = Some(file);
                    break;
                }
                Moment::Missed => {}
                // It has landed meanwhile, and will not begin again.
                Moment::Never => copy(&before, &install.image)?,
            }
        }
        fs::remove_file(&before)?;
        let left = left.with_context(|| format!("{pattern} was missed {TRIES} times"))?;
        let on_disk = esp::files(&install.image)?;
        ensure!(
            on_disk
                .iter()
                .any(|path| path.starts_with(folder) && path.ends_with(".tmp")),
            "after the cut nothing of {left} is on the disk: {}",
            on_disk.join(" ")
        );
        say(&format!(
            "power cut while the installer had {left} open: it is on the disk"
        ));
    }
    let machine = install.start()?;
    install.land(&machine, "resume")?;
    machine.cut_power()?;
    let rest = leftovers(&install)?;
    ensure!(
        rest.is_empty(),
        "left on the ESP of a landed disk: {}",
        rest.join(" ")
    );
    let inside = in_root(&install)?;
    ensure!(
        !inside
            .iter()
            .any(|name| name == "mnt" || name.starts_with("tmp.")),
        "nixos-install left something in the root of a landed disk: {}",
        inside.join(" ")
    );
    say("landed; nothing of it is left on the ESP, nor of nixos-install in the target's root");
    install.boot().map(|_| ())
}

/// The names in the root of the installed filesystem.
fn in_root(install: &Install) -> Result<Vec<String>> {
    let root = disk::partitions(&install.image)?
        .into_iter()
        .find(|partition| partition.number == 2)
        .context("no second partition")?;
    let listed = Program::new("debugfs")
        .args(["-R", "ls -p /"])
        .arg(format!("{}?offset={}", install.image.display(), root.start))
        .run()?;
    let names = listed_names(&listed.text());
    ensure!(
        names.iter().any(|name| name == "nix"),
        "debugfs lists no root of a NixOS: {}",
        listed.text()
    );
    Ok(names)
}

/// The names in what debugfs prints for `ls -p`: /inode/mode/user/group/name/size/.
fn listed_names(text: &str) -> Vec<String> {
    let name = |line: &str| line.split('/').nth(5).map(str::to_owned);
    text.lines()
        .filter(|line| line.starts_with('/'))
        .filter_map(name)
        .collect()
}

/// Temporary files of the installer's on the ESP.
fn leftovers(install: &Install) -> Result<Vec<String>> {
    let mut files = esp::files(&install.image)?;
    files.retain(|path| path.to_ascii_lowercase().ends_with(".tmp") || path.contains("/.#"));
    Ok(files)
}

/// What became of a moment at which a file is there.
enum Moment {
    /// The power went while this file was there.
    Left(String),
    /// The file was gone when everything stood still.
    Missed,
    /// Nobody saw it.
    Never,
}

/// Copies a disk image, its holes too.
fn copy(from: &Path, to: &Path) -> Result<()> {
    Program::new("cp")
        .arg("--sparse=always")
        .args([from, to])
        .run()
        .map(drop)
}

/// Starts landfall, freezes it while the installer has a file of this pattern, lets the kernel write back what it has, as it does
/// by itself every few seconds, and cuts the power.
fn cut_while(install: &Install, pattern: &str) -> Result<Moment> {
    let machine = install.start()?;
    machine.put("/run/lab/freezer.pl", FREEZER.as_bytes())?;
    let freezer = machine.spawn(
        &format!("perl /run/lab/freezer.pl '{pattern}' lab-cut"),
        RUN_LIMIT,
    )?;
    let command = format!(
        "systemd-run --quiet --scope --unit=lab-cut bash -c '{}'",
        install.command("install").replace('\'', "'\\''")
    );
    let job = machine.spawn(&command, RUN_LIMIT)?;
    let said = freezer.wait(RUN_LIMIT)?.text();
    let moment = match said.trim().split_once(' ') {
        Some(("left", file)) => Moment::Left(file.to_owned()),
        Some(("missed", _)) => Moment::Missed,
        None if said.trim() == "never" => Moment::Never,
        _ => bail!(
            "whether there was a {pattern} is not known ({}); see the console log in {}",
            said.trim(),
            machine.folder().display()
        ),
    };
    if !matches!(moment, Moment::Never) {
        machine.check("sync -f /mnt/boot", LIMIT)?;
    }
    machine.cut_power()?;
    drop(job);
    Ok(moment)
}

/// A kernel of no bytes, an initrd, an entry and both loaders damaged, after all was installed.
pub fn torn_kernel(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "torn-kernel", Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let job = install.begin(&machine, "install")?;
    wait_for(&machine, "[(]Installed[)] saved in slot")?;
    machine.cut_power()?;
    drop(job);

    let image = &install.image;
    let kernel = esp::one(image, "kernel", |path| {
        path.starts_with("EFI/nixos/") && path.contains("bzImage")
    })?;
    let initrd = esp::one(image, "initrd", |path| {
        path.starts_with("EFI/nixos/") && path.contains("initrd")
    })?;
    let entry = esp::one(image, "entry", |path| path.starts_with("loader/entries/nixos-"))?;
    let (loader, fallback) = ("EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI");
    let all = [&kernel, &initrd, &entry, loader, fallback];
    let sums = |place: &str| -> Result<Vec<String>> {
        all.iter()
            .map(|path| esp::read(image, path).map(|bytes| esp::sha256(&bytes)))
            .collect::<Result<_>>()
            .with_context(|| place.to_owned())
    };
    let before = sums("before the damage")?;

    let machine = install.start()?;
    let damage = format!(
        "set -e; mkdir -p /run/lab/esp; mount /dev/disk/by-partlabel/ESP-LAB /run/lab/esp; cd /run/lab/esp; \
         : > '{kernel}'; printf damaged | dd of='{initrd}' bs=1 seek=70000 conv=notrunc status=none; : > '{entry}'; \
         : > {loader}; printf MZ > {fallback}; cd /; sync -f /run/lab/esp; umount /run/lab/esp"
    );
    machine.check(&damage, LIMIT)?;
    let damaged = sums("after the damage")?;
    ensure!(
        before.iter().zip(&damaged).all(|(one, other)| one != other),
        "not everything was damaged"
    );
    let ran = install.land(&machine, "resume")?;
    machine.cut_power()?;
    ensure!(
        ran.output.contains("Install boot loader (attempt"),
        "it landed without repairing anything:\n{}",
        ran.output
    );
    ensure!(
        sums("after landing")? == before,
        "landed, and what is on the ESP is not what was there"
    );
    say("kernel of 0 bytes, initrd, entry and both loaders damaged: each is what it was, and it landed");
    install.boot().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::listed_names;

    #[test]
    fn names_are_what_debugfs_lists() {
        let text =
            "/2/040755/0/0/.//\n/38/041777/0/0/tmp//\n/39/040700/0/0/tmp.x8Gk//\n/40/100644/0/0/file/12/\n";
        assert_eq!(listed_names(text), [".", "tmp", "tmp.x8Gk", "file"]);
    }
}
