//! `landfall doctor` on real machines: it finds what was broken, the printed remedy is carried out, and the check is then
//! satisfied.
//!
//! Every remedy that is a command is run as it was printed. Before each break the check is fine. Every line of JSON is read.
//!
//! What needs Nix, a forge or a cache is in tests/doctor*.rs and src/doctor/*_tests.rs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::git::{Protocol, Server};
use crate::install::{CONFIG, Install, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;
use crate::resident::Resident;

const LIMIT: Duration = Duration::from_secs(180);
/// A key of the laboratory's own, what it decrypts, and another key.
const IDENTITY: &str = "AGE-SECRET-KEY-198S4L5LSNM7KWSVDK73K83FV0HXUDLPP7KEPPMC4EMCD8CPXNWYQGWT66W\n";
const OTHER: &str = "AGE-SECRET-KEY-1NP2HTQQGW4S8NJT4TVKCX0DUKWTPDE9G9UPC3P47544A8X40RHLQN8SXMA\n";
const SECRET: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBqc3VhcHVkcXMxWFI4QkZN
Nm55ekZMT2puWWFjY3JSUCswWVQvQjZIM3dzCkJTQnl3WkZUdlJ5cjBJNU5vai9J
cGRjRTVTV1VYQ0tzWnZ2bDVKbDRSNlEKLS0tIHFheVd4RFFtYkZId3NPNVdFNWZp
S1ZVQXhobmVLS0YzVTV1SUcvaDRZZUUK4+lzq/SSmVNDtR8fixVFKS6+iYQwn8Qu
FK2ZDv0nTetJuyM=
-----END AGE ENCRYPTED FILE-----
";

/// What was said, a value a line.
struct Said {
    lines: Vec<Value>,
    status: i32,
}

impl Said {
    /// The line of a check.
    fn of(&self, check: &str) -> Result<&Value> {
        self.lines
            .iter()
            .find(|line| line["check"] == check)
            .with_context(|| format!("no line of {check}: {:?}", self.lines))
    }
}

/// A machine in which doctor is asked.
struct Examined<'m> {
    machine: &'m Machine,
    options: String,
}

impl Examined<'_> {
    /// Asks; every line must be JSON, and the exit code that of the worst finding.
    fn ask(&self, more: &str) -> Result<Said> {
        let command = format!("landfall doctor --json {} {more}", self.options);
        let output = self.machine.run(&command, LIMIT)?;
        let lines: Vec<Value> = output
            .text()
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{command}: {}\n{}", output.text(), output.error_text()))?;
        let worst = lines
            .iter()
            .filter_map(|line| line["exit"].as_i64())
            .max()
            .unwrap_or(0);
        let end = &lines.last().context("doctor said nothing")?["end"];
        ensure!(
            i64::from(output.status) == worst && end["exit"].as_i64() == Some(worst),
            "{command} ended with {}, and the worst is {worst}: {lines:?}",
            output.status
        );
        Ok(Said {
            lines,
            status: output.status,
        })
    }

    fn check(&self, check: &str, result: &str) -> Result<Value> {
        let said = self.ask(&format!("--check {check}"))?;
        let line = said.of(check)?;
        ensure!(line["result"] == result, "{check} should be {result}: {line}");
        Ok(line.clone())
    }

    fn fine(&self, check: &str) -> Result<()> {
        self.check(check, "fine").map(drop)
    }

    fn skipped(&self, check: &str, why: &str) -> Result<()> {
        let line = self.check(check, "skipped")?;
        ensure!(
            line["why"].as_str().unwrap_or_default().contains(why),
            "{check}: {line}"
        );
        Ok(())
    }

    /// It must find this; gives what to do next.
    fn finds(&self, check: &str, part: &str) -> Result<String> {
        let line = self.check(check, "finding")?;
        ensure!(
            line.to_string().contains(part),
            "{check} does not say {part:?}: {line}"
        );
        ensure!(line["exit"].as_i64().is_some_and(|exit| exit > 0), "{line}");
        Ok(line["next"].as_str().unwrap_or_default().to_owned())
    }

    /// Breaks something, has it found, does what is printed, and has it fine again.
    fn repaired(
        &self,
        check: &str,
        break_it: &str,
        part: &str,
        remedy: impl Fn(&str) -> String,
    ) -> Result<()> {
        self.fine(check)?;
        self.machine.check(break_it, LIMIT)?;
        let next = self.finds(check, part)?;
        let command = remedy(&next);
        self.machine
            .check(&command, LIMIT)
            .with_context(|| format!("{check}: the printed remedy {next:?}"))?;
        self.fine(check)?;
        say(&format!("{check}: found, and fine again after `{command}`"));
        Ok(())
    }
}

/// The first command of a remedy.
fn first(next: &str) -> String {
    next.split(';').next().unwrap_or(next).to_owned()
}

/// Where a remedy begins with `sudo`, and where root is at work already.
const SUDO: &str = "mkdir -p /usr/local/bin && printf '#!/bin/sh\\nexec \"$@\"\\n' > /usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo";

pub fn doctor(kit: &Kit) -> Result<()> {
    on_the_installer(kit)?;
    on_an_installed_host(kit)
}

fn on_the_installer(kit: &Kit) -> Result<()> {
    let server = Server::start(&kit.lab.cache.root.join("git"), Protocol::Git)?;
    let url = server.guest_url(server.address().port(), "config.git");
    let mut install = Install::new(kit, "doctor", Layout::Plain, Mode::Remote(url.clone()))?;
    let mut machine = install.start()?;
    machine.check(SUDO, LIMIT)?;
    let options = format!("--config {CONFIG}");
    {
        let examined = Examined {
            machine: &machine,
            options: options.clone(),
        };
        let all = examined.ask("")?;
        ensure!(all.lines[0]["place"] == "installer", "{:?}", all.lines[0]);
        for (check, result) in [
            ("privileges", "fine"),
            ("settings", "fine"),
            ("firmware", "fine"),
            ("tools", "fine"),
            ("payload", "fine"),
            ("network", "fine"),
            ("remote", "fine"),
            ("disks", "fine"),
            ("checkpoint", "fine"),
            // Installs are started by hand here: there is no service.
            ("service", "skipped"),
        ] {
            ensure!(all.of(check)?["result"] == result, "{}", all.of(check)?);
        }
        ensure!(all.status == 0, "ended with {}", all.status);
        say("on the installer: every line is JSON, and nothing is wrong");

        examined
            .machine
            .check("mount -t tmpfs none /sys/firmware", LIMIT)?;
        examined.finds("firmware", "BIOS mode")?;
        examined.skipped("secure-boot", "BIOS mode")?;
        examined.machine.check("umount /sys/firmware", LIMIT)?;
        examined.fine("firmware")?;
        examined.repaired(
            "clock",
            "date --set @1000000",
            "it shows 1970-01-12T13:4",
            |next| {
                next.split(',')
                    .next()
                    .unwrap_or_default()
                    .replace("YYYY-MM-DD HH:MM:SS", "2027-01-02 03:04:05")
            },
        )?;
        examined.repaired("tools", "mv /usr/bin/git /usr/bin/git.away", "git", |_| {
            "mv /usr/bin/git.away /usr/bin/git".to_owned()
        })?;
    }
    machine.set_link(false)?;
    std::thread::sleep(Duration::from_secs(2));
    {
        let examined = Examined {
            machine: &machine,
            options: options.clone(),
        };
        let next = examined.finds("network", "no link")?;
        ensure!(next.contains("cable"), "{next}");
        examined.check("remote", "finding")?;
    }
    machine.set_link(true)?;
    std::thread::sleep(Duration::from_secs(2));
    let examined = Examined {
        machine: &machine,
        options,
    };
    examined.fine("network")?;
    examined.fine("remote")?;
    say("network, remote: found with the cable out, and fine with it in");
    install.mode = Mode::Remote(url.replace("config.git", "no-such.git"));
    install.configure(&machine, &install.more)?;
    examined.check("remote", "finding")?;
    install.mode = Mode::Remote(url);
    install.configure(&machine, &install.more)?;
    examined.fine("remote")?;
    say("remote: a repository that is not there is found");
    machine.cut_power()
}

/// What changed on the disks since a mark; what the system's own services keep is left out.
const CHANGED: &str = "find / /boot /data /media -xdev -newer /run/lab-mark -not -path '/var/log/*' -not -path '/var/lib/systemd/*' \
                       -not -path '/tmp*' -not -path '/var/tmp*' -not -path '/dev*'";

fn on_an_installed_host(kit: &Kit) -> Result<()> {
    let resident = Resident::new(kit, "doctor-installed")?;
    let machine = resident.up()?;
    machine.check(SUDO, LIMIT)?;
    let rebuild = "#!/bin/sh\\n[ \"$1\" = boot ] || exit 1\\n[ \"$2\" != --install-bootloader ] || export NIXOS_INSTALL_BOOTLOADER=1\\n\
                   exec /nix/var/nix/profiles/system/bin/switch-to-configuration boot\\n";
    machine.check(
        &format!(
            "printf '{rebuild}' > /usr/local/bin/nixos-rebuild && chmod 755 /usr/local/bin/nixos-rebuild"
        ),
        LIMIT,
    )?;
    let examined = Examined {
        machine: &machine,
        options: String::new(),
    };
    machine.check("touch /run/lab-mark; sleep 1.1", LIMIT)?;
    let all = examined.ask("")?;
    ensure!(all.lines[0]["place"] == "installed", "{:?}", all.lines[0]);
    ensure!(all.of("esp")?["result"] == "fine", "{}", all.of("esp")?);
    let changed = machine.check(CHANGED, LIMIT)?;
    ensure!(
        changed.trim().is_empty(),
        "doctor, or somebody beside it, wrote {changed}"
    );
    machine.check("echo x > /etc/lab-control", LIMIT)?;
    ensure!(
        machine.check(CHANGED, LIMIT)?.contains("/etc/lab-control"),
        "the control was not seen"
    );
    say("on an installed host: nothing on its filesystems was written");

    boots(&examined)?;
    labels(&examined, &resident)?;
    agenix(&examined)?;
    examined.skipped("receipt", "did not install")?;
    machine.check(
        "mkdir -p /var/log/landfall && echo 'Receipt(install: ' > /var/log/landfall/receipt.ron",
        LIMIT,
    )?;
    let next = examined.finds("receipt", "is not understood")?;
    let remove = next.rsplit(": ").next().unwrap_or_default();
    machine.check(remove, LIMIT)?;
    examined.skipped("receipt", "did not install")?;
    say(&format!("receipt: found, and gone after `{remove}`"));
    machine.cut_power()
}

/// The boot entry in the firmware, and the ESP against the store.
fn boots(examined: &Examined<'_>) -> Result<()> {
    let machine = examined.machine;
    // A machine whose firmware was reset: the disk's entry is lost.
    let next = examined.finds("boot-entry", "no entry")?;
    machine.check(&first(&next), LIMIT)?;
    examined.fine("boot-entry")?;
    say(&format!(
        "boot-entry: found, and fine again after `{}`",
        first(&next)
    ));

    let kernel = "/boot/EFI/nixos/*bzImage.efi";
    let damage = format!(
        "printf damaged | dd of=$(ls {kernel} | head -n 1) bs=1 seek=70000 conv=notrunc status=none; sync -f /boot"
    );
    examined.fine("esp")?;
    machine.check(&damage, LIMIT)?;
    examined.finds("esp", "bzImage.efi")?;
    // The control: the builder takes what is there for its own work.
    machine.check("nixos-rebuild boot --install-bootloader", LIMIT)?;
    let next = examined.finds("esp", "bzImage.efi")?;
    machine.check(&next, LIMIT)?;
    examined.fine("esp")?;
    say(&format!(
        "esp: a damaged kernel is found, and whole again after `{next}`"
    ));
    for (what, damage, part) in [
        (
            "an empty entry",
            "for f in /boot/loader/entries/nixos-*.conf; do : > $f; done",
            "loader/entries/",
        ),
        ("a lost initrd", "rm /boot/EFI/nixos/*initrd.efi", "is missing"),
        (
            "a loader that was cut off",
            "truncate -s 100 /boot/EFI/BOOT/BOOTX64.EFI",
            "BOOTX64.EFI",
        ),
    ] {
        say(what);
        examined.repaired("esp", damage, part, str::to_owned)?;
    }
    examined.repaired("esp", "umount /boot", "not mounted", first)
}

/// Labels, once the host looks for some.
fn labels(examined: &Examined<'_>, resident: &Resident<'_>) -> Result<()> {
    let machine = examined.machine;
    examined.skipped("labels", "names no label")?;
    machine.check(
        &format!(
            "landfall relabel --label /data=data-lab --label /media=media-lab --apply && ln -sfn {}/etc/fstab /etc/fstab",
            resident.new.toplevel
        ),
        LIMIT,
    )?;
    let label = |label: &str| {
        format!(
            "swapoff /dev/vda3; swaplabel --label {label} /dev/vda3 && udevadm trigger --settle /dev/vda3"
        )
    };
    examined.repaired(
        "labels",
        &label("other"),
        "by-label/swap-resident does not exist",
        |_| label("swap-resident"),
    )?;
    examined.repaired(
        "labels",
        "truncate -s 8M /run/other.img && mkfs.ext4 -q -L data-lab /run/other.img && losetup /dev/loop7 /run/other.img \
         && udevadm trigger --settle /dev/loop7",
        "is on several devices",
        |next| {
            assert!(next.contains("remove the other disk"), "{next}");
            "losetup --detach /dev/loop7 && udevadm settle && udevadm trigger --settle /dev/vda4".to_owned()
        },
    )
}

/// The identity of agenix, where the running system looks for it.
fn agenix(examined: &Examined<'_>) -> Result<()> {
    let machine = examined.machine;
    examined.skipped("agenix", "nothing with agenix")?;
    let source = "/nix/store/3hyligdilnd1v73rx5x77rghlaqks5q5-source";
    machine.check(
        &format!(
            "set -e; mkdir -p {source} /etc/age /run/with-agenix; chmod 700 /etc/age; \
             printf 'for identity in /etc/age/web.agekey; do\\n  age --decrypt \"${{IDENTITIES[@]}}\" -o \"$TMP_FILE\" \"{source}/wifi.age\"\\n' \
             > /run/with-agenix/activate; ln -sfn /run/with-agenix /run/current-system"
        ),
        LIMIT,
    )?;
    machine.put(&format!("{source}/wifi.age"), SECRET.as_bytes())?;
    let next = examined.finds("agenix", "it is not there")?;
    ensure!(next.contains("put the identity there"), "{next}");
    machine.put("/etc/age/web.agekey", OTHER.as_bytes())?;
    examined.finds("agenix", "it is encrypted for other identities")?;
    machine.put("/etc/age/web.agekey", IDENTITY.as_bytes())?;
    examined.fine("agenix")?;
    // With another one given, that one alone is used.
    machine.put("/run/other.agekey", OTHER.as_bytes())?;
    let given = Examined {
        machine,
        options: "--identity /run/other.agekey".to_owned(),
    };
    given.finds("agenix", "it is encrypted for other identities")?;
    say("agenix: a missing identity and another one are found; with the right one its secret is decrypted");
    Ok(())
}
