//! Every bad value has its message and its exit code, and changes nothing.
//!
//! Each message names the thing, the value and what is allowed. Afterwards every disk of the machine is as blank as before.
//! This laboratory has no machine without UEFI; unit tests of the preflight show that case.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{refuse, root_image};
use crate::disk;
use crate::install::{CONFIG, Install, PATH, Ran, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::{Disk, Machine};

const SHORT: Duration = Duration::from_secs(180);
/// Consent, and nobody to ask.
const NAMED: &str = "unattended: (enable: true, disk: \"LFTARGET\"), on_success: Stay,";

/// A change of a good configuration, by search and replace, and what must be said of it.
const VALUES: &[(&str, &str, &[&str])] = &[
    (
        "\"ESP-LAB\"",
        "\"ESP-LABORATORY\"",
        &["labels.efi", "ESP-LABORATORY", "1 to 11 characters"],
    ),
    (
        "\"ESP-LAB\"",
        "\"esp-lab\"",
        &["labels.efi", "esp-lab", "upper case"],
    ),
    (
        "\"root-lab\"",
        "\"root-of-the-laboratory\"",
        &["labels.root", "root-of-the-laboratory", "1 to 16 characters"],
    ),
    (
        "\"root-lab\"",
        "\"root lab\"",
        &["labels.root", "root lab", "A-Z a-z 0-9 . _ -"],
    ),
    (
        "\"root-lab\"",
        "\"ESP-LAB\"",
        &["labels.root", "labels.efi already has it"],
    ),
    (
        "repository: (",
        "repository: (clone_path: \"/home/nix-config\", ",
        &["repository.clone_path", "/home/nix-config", "below /mnt"],
    ),
    (
        "repository: (",
        "repository: (clone_path: \"/mnt/../etc\", ",
        &["repository.clone_path", "/mnt/../etc", "without . or .."],
    ),
    ("esp_size:", "esp_sise:", &["esp_sise", "esp_size"]),
    ("\"512M\"", "\"100M\"", &["esp_size", "100M", "260M"]),
    ("\"512M\"", "\"half\"", &["esp_size", "half"]),
    (
        "host: \"plain\"",
        "host: \"pl ain\"",
        &["host", "pl ain", "0-9 . _ -"],
    ),
    ("host: \"plain\",", "", &["host"]),
    (
        "target_user: \"operator\"",
        "target_user: \"../root\"",
        &["target_user", "../root"],
    ),
    (
        "disk: \"LFTARGET\"",
        "disk: \"vdb\"",
        &["unattended.disk", "vdb", "serial number"],
    ),
    (
        "esp_size:",
        "luks: (enable: true), esp_size:",
        &["labels.luks", "missing", "luks.enable"],
    ),
    (
        "esp_size:",
        "swap: (enable: true, size: \"12\"), esp_size:",
        &["swap"],
    ),
];

/// One machine, everything that can be wrong before the first write.
pub fn bad_input(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "bad-input", Layout::Plain, Mode::Prebuilt)?;
    for (serial, mib) in [("LFSMALL", 300), ("LFTIGHT", 1100)] {
        let image = install.spec.folder.join(format!("{serial}.raw"));
        disk::create(&image, mib << 20)?;
        install.spec.disks.push(Disk::new(image, serial));
    }
    install.more = NAMED.into();
    let machine = install.start()?;
    values(&install, &machine)?;
    files(&machine)?;
    disks(&install, &machine)?;
    images(&install, &machine)?;
    remote(&install, &machine)?;
    tools(&install, &machine)?;
    mount_point(&install, &machine)?;
    another_one(&install, &machine)?;
    no_disk(&install, &machine)?;
    machine.cut_power()?;
    for Disk { image, .. } in &install.spec.disks {
        ensure!(disk::is_blank(image)?, "{} was written to", image.display());
    }
    say("not a byte was written to any disk");
    Ok(())
}

fn values(install: &Install<'_>, machine: &Machine) -> Result<()> {
    let good = install.kit.configuration(install.layout, &install.mode, NAMED)?;
    for (part, bad, said) in VALUES {
        ensure!(good.contains(part), "no {part} in the configuration");
        machine.put(CONFIG, good.replacen(part, bad, 1).as_bytes())?;
        refuse(install, machine, "install", 2, said).with_context(|| format!("{part} as {bad}"))?;
        let check = machine.run(&format!("landfall check {CONFIG} 2>&1"), SHORT)?;
        ensure!(
            check.status == 2 && check.text().contains(&format!("{CONFIG}:")),
            "`landfall check` of {bad}: {} {}",
            check.status,
            check.text()
        );
    }
    machine.put(CONFIG, good.as_bytes())?;
    machine.check(&format!("landfall check {CONFIG}"), SHORT)?;
    say(&format!(
        "{} bad values: each named, with what is allowed",
        VALUES.len()
    ));
    Ok(())
}

fn files(machine: &Machine) -> Result<()> {
    machine.check(
        r"printf '(\n  host: \377\n' >/run/lab/bytes.ron; printf '(\n  host: ' >/run/lab/cut.ron",
        SHORT,
    )?;
    for (file, part) in [
        ("/run/lab/none.ron", "it cannot be read"),
        ("/run/lab", "it is not a file"),
        ("/run/lab/bytes.ron", "is not UTF-8"),
        ("/run/lab/cut.ron", "/run/lab/cut.ron:2:"),
    ] {
        expect(
            machine,
            &format!("landfall install --config {file}"),
            2,
            &[file, part],
        )?;
    }
    expect(machine, "landfall install", 2, &["no configuration was found"])?;
    expect(
        machine,
        &format!("landfall install --config {CONFIG} --reintsall"),
        2,
        &["--reinstall"],
    )?;
    let variable = format!("REPO_REMOTE='not a remote' landfall install --config {CONFIG}");
    expect(machine, &variable, 2, &["REPO_REMOTE", "not a remote"])?;
    Ok(())
}

fn disks(install: &Install<'_>, machine: &Machine) -> Result<()> {
    let with =
        |disk: &str| install.configure(machine, &format!("unattended: (enable: true, disk: \"{disk}\"),"));
    with("LFNOWHERE")?;
    refuse(
        install,
        machine,
        "install",
        6,
        &["LFNOWHERE", "no disk has the name", "LFTARGET"],
    )?;
    with("LFSMALL")?;
    refuse(
        install,
        machine,
        "install",
        6,
        &["LFSMALL", "too small", "314572800"],
    )?;
    // A system of 700 MB, by what the store's database says of it: the real one fits every disk that the layout fits.
    let system = &install.kit.system(install.layout)?.toplevel;
    machine.check(
        &format!(
            "set -eo pipefail; nix-store --dump-db {system} >/run/lab/registration; \
             sed '3s/.*/700000000/' /run/lab/registration | nix-store --load-db"
        ),
        SHORT,
    )?;
    with("LFTIGHT")?;
    refuse(
        install,
        machine,
        "install",
        6,
        &["root partition of", "the closure of", "larger disk"],
    )?;
    machine.check("nix-store --load-db </run/lab/registration", SHORT)?;
    install.configure(machine, NAMED)?;
    for (disk, status, part) in [
        ("/tmp/image", 2, "a path below /dev"),
        ("/dev/nvme7n1", 6, "it is not there"),
        ("/dev/null", 6, "it is not a block device"),
        ("/dev/loop0", 6, "INSTALL_DISK=/dev/loop0"),
        ("/dev/disk/by-id/virtio-LAB-STICK", 6, "this system runs from it"),
    ] {
        let command = format!("export INSTALL_DISK={disk}; {}", install.command("install"));
        expect(machine, &command, status, &[disk, part])?;
    }
    say("a disk too small for the layout, one too small for the system, six wrong names: refused");
    Ok(())
}

/// Makes of `right.image` one that is cut off, one of which a byte of the manifest is another, one of a format to come (its digest
/// right, as a newer landfall would have it), and something that is no image.
const WRONG_IMAGES: &str = r#"set -e; cd /run/lab
bytes=$(stat -c %s right.image)
head -c $((bytes / 2)) right.image >cut.image
cp right.image manifest.image
printf X | dd of=manifest.image bs=1 seek=$((bytes - 8)) conv=notrunc status=none
head -c 4096 right.image >page
line=$(head -n 1 page)
head="LANDFALL-IMAGE 2${line#LANDFALL-IMAGE 1}"; head=${head:0:${#head}-64}
tail -c +$((${#line} + 1)) page >rest
digest=$( { printf %s "$head"; cat rest; } | sha256sum)
{ printf %s "$head${digest:0:64}"; cat rest; tail -c +4097 right.image; } >newer.image
echo 'no image' >other.image"#;

/// Images that nothing can be installed from, each told by what is wrong with it.
fn images(install: &Install<'_>, machine: &Machine) -> Result<()> {
    let system = &install.kit.system(install.layout)?.toplevel;
    let another = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-other";
    root_image::build(machine, system, "/run/lab/right.image")?;
    machine.check(WRONG_IMAGES, SHORT)?;
    let pinned = "5".repeat(64);
    for (name, system, digest, status, parts) in [
        (
            "none",
            system.as_str(),
            None,
            6,
            &["this file does not exist", "landfall image build"][..],
        ),
        (
            "other",
            system,
            None,
            6,
            &["it is not a landfall image", "landfall image build"],
        ),
        ("cut", system, None, 6, &["it is incomplete", "its header states"]),
        (
            "manifest",
            system,
            None,
            8,
            &["the manifest does not match", "landfall image verify"],
        ),
        (
            "newer",
            system,
            None,
            7,
            &["format version 2", "this landfall reads version 1"],
        ),
        ("right", another, None, 9, &["it holds", another, system]),
        // The right system, and not the image that was made for this configuration.
        (
            "right",
            system,
            Some(pinned.as_str()),
            9,
            &["it is not the image that the configuration names", &pinned],
        ),
    ] {
        let file = format!("/run/lab/{name}.image");
        root_image::name_image(install, machine, system, &file, digest)?;
        let parts = [&[file.as_str()], parts].concat();
        refuse(install, machine, "install", status, &parts).with_context(|| format!("{name}.image"))?;
    }
    machine.check("rm /run/lab/*.image", SHORT)?;
    install.configure(machine, NAMED)?;
    say("no image, one that is cut off, damaged, newer, of another system, none at all: refused");
    Ok(())
}

/// What would be cloned is looked for before the first write.
fn remote(install: &Install<'_>, machine: &Machine) -> Result<()> {
    let refused = format!(
        "export REPO_REMOTE=git://10.0.2.2:1/config.git; {}",
        install.command("install")
    );
    expect(machine, &refused, 5, &["git://10.0.2.2:1/config.git", "next: "])?;
    let good = install.kit.configuration(install.layout, &install.mode, NAMED)?;
    let branch = good.replacen("repository: (", "repository: (branch: \"no-such-branch\", ", 1);
    machine.put(CONFIG, branch.as_bytes())?;
    refuse(install, machine, "install", 7, &["no-such-branch", "next: "])?;
    machine.put(CONFIG, good.as_bytes())?;
    say("a remote that is not there, a branch that is not there: refused before the first write");
    Ok(())
}

fn tools(install: &Install<'_>, machine: &Machine) -> Result<()> {
    machine.check(
        &format!(
            "mkdir /run/lab/bin; path={PATH}; IFS=:; for d in $path; do for f in $d/*; do \
               [ ! -x $f ] || [ -e /run/lab/bin/${{f##*/}} ] || ln -s $f /run/lab/bin/; done; done; \
             rm /run/lab/bin/mkfs.vfat"
        ),
        SHORT,
    )?;
    let command = install
        .command("install")
        .replacen(&format!("PATH={PATH}"), "PATH=/run/lab/bin", 1);
    expect(
        machine,
        &command,
        6,
        &["mkfs.vfat", "PATH does not have them", "/run/lab/bin"],
    )?;
    Ok(())
}

fn mount_point(install: &Install<'_>, machine: &Machine) -> Result<()> {
    machine.check("mount -t tmpfs mine /mnt && echo work >/mnt/kept", SHORT)?;
    refuse(
        install,
        machine,
        "install",
        6,
        &["mount point /mnt", "mine on /mnt", "umount -R /mnt"],
    )?;
    let kept = machine.check("findmnt -no SOURCE /mnt; cat /mnt/kept; umount /mnt", SHORT)?;
    ensure!(kept == "mine\nwork", "what was at /mnt is not as it was: {kept}");
    say("/mnt in use: refused, and left as it was");
    Ok(())
}

/// A second start says who is at work; the first one, asked to stop, stops with everything as it was.
fn another_one(install: &Install<'_>, machine: &Machine) -> Result<()> {
    install.configure(machine, "on_success: Stay,")?;
    let first = machine.spawn(
        &format!(
            "export INSTALL_DISK=/dev/disk/by-id/virtio-LFTARGET; {}",
            install.command("install")
        ),
        SHORT,
    )?;
    machine.console_wait("asking: ", SHORT)?;
    let pid = machine.check("pidof landfall", SHORT)?;
    refuse(
        install,
        machine,
        "install",
        4,
        &[
            "another landfall is running",
            &format!("process {pid} (landfall install)"),
            "landfall status --watch",
        ],
    )?;
    machine.check(&format!("kill -TERM {pid}"), SHORT)?;
    let ended = first.wait(SHORT)?;
    ensure!(
        ended.status == 11,
        "the first one, asked to stop, ended with {}:\n{}",
        ended.status,
        ended.text()
    );
    say("a second landfall: told who is at work; the first stops when asked");
    install.configure(machine, NAMED)
}

/// Last: every disk is pulled out of the machine.
fn no_disk(install: &Install<'_>, machine: &Machine) -> Result<()> {
    machine.check(
        "set -e; for s in LFTARGET LFSMALL LFTIGHT; do d=$(readlink -f /dev/disk/by-id/virtio-$s); \
         v=$(readlink -f /sys/block/${d##*/}/device); echo ${v##*/} >/sys/bus/virtio/drivers/virtio_blk/unbind; done; \
         udevadm settle",
        SHORT,
    )?;
    refuse(install, machine, "install", 6, &["LFTARGET", "LAB-STICK"])?;
    install.configure(machine, "unattended: (enable: true),")?;
    refuse(
        install,
        machine,
        "install",
        6,
        &[
            "no disk is suitable for an install",
            "LAB-STICK",
            "this system runs from it",
        ],
    )?;
    Ok(())
}

/// The passphrase of another container on a resume: a question or a stop, never a new container.
pub fn wrong_passphrase(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "wrong-passphrase", Layout::Luks, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let job = install.begin(&machine, "install")?;
    wait_for(&machine, "Clone configuration:")?;
    machine.cut_power()?;
    drop(job);
    let before = (install.identity()?, header(&install)?);
    let mut install = install;
    install.more = NAMED.into();
    let machine = install.start()?;
    for (wrong, names) in [("not the passphrase", "luks-lab"), ("", "it is empty")] {
        machine.put("/run/lab/passphrase", wrong.as_bytes())?;
        let said = refuse(
            &install,
            &machine,
            "resume",
            6,
            &["passphrase", names, "landfall resume"],
        )?;
        for tool in ["program=mkfs", "Partition disk: write", "reached Encrypted"] {
            ensure!(!said.contains(tool), "{tool} with a wrong passphrase:\n{said}");
        }
        machine.check("sync", SHORT)?;
        ensure!(
            (install.identity()?, header(&install)?) == before,
            "a wrong passphrase changed the table or the container's header"
        );
    }
    say("a wrong and an empty passphrase: refused, the container's header is byte for byte the same");
    install.configure(&machine, NAMED)?;
    install.land(&machine, "resume")?;
    machine.cut_power()?;
    ensure!(
        (install.identity()?, header(&install)?) == before,
        "the container was made again"
    );
    install.boot()?;
    Ok(())
}

/// The LUKS2 header and its key slots: its first 16 MiB (LUKS2 on-disk format, section 2), by hash of the parts in use.
fn header(install: &Install<'_>) -> Result<Vec<u8>> {
    let partition = disk::partitions(&install.image)?
        .into_iter()
        .find(|p| p.content.kind == "crypto_LUKS")
        .context("no LUKS container on the target")?;
    disk::read_at(&install.image, partition.start, 16 << 20)
}

/// Runs a command as it is; it must end like this.
fn expect(machine: &Machine, command: &str, status: i32, parts: &[&str]) -> Result<()> {
    let output = machine.run(&format!("{{ {command}\n}} 2>&1"), SHORT)?;
    Ran {
        status: output.status,
        output: output.text(),
    }
    .must_end(command, status, parts)
}
