use super::*;
use crate::relabel::facts::{Content, Device, Entry};
use crate::relabel::plan::How;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// A store with systems, and profiles that lead to them.
struct Machine {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        Machine { _keep: keep, root }
    }

    fn write(&self, path: &str, text: &[u8]) {
        let path = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, from: &str, to: &str) {
        let from = self.root.join(from.trim_start_matches('/'));
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        fs::os::unix::fs::symlink(to, from).unwrap();
    }

    /// A system of this name; gives its path.
    fn system(&self, letter: char, fstab: &str, initrd: &[u8]) -> String {
        let path = format!("/nix/store/{}-nixos-system-h", String::from(letter).repeat(32));
        self.write(&format!("{path}/etc/fstab"), fstab.as_bytes());
        self.write(&format!("{path}/initrd-{letter}"), initrd);
        let spec = format!(
            r#"{{ "org.nixos.bootspec.v1": {{ "init": "{path}/init", "kernel": "{path}/kernel", "initrd": "{path}/initrd-{letter}",
                "kernelParams": ["quiet", "of={letter}"], "label": "x", "system": "x86_64-linux", "toplevel": "{path}" }} }}"#
        );
        self.write(&format!("{path}/boot.json"), spec.as_bytes());
        path
    }

    fn all(&self) -> Vec<Generation> {
        all(&Root::at(&self.root)).unwrap()
    }
}

fn shown(generations: &[Generation]) -> Vec<String> {
    let one = |one: &Generation| {
        let specs: Vec<&str> = one.fstab.iter().map(|line| line.spec.as_str()).collect();
        format!(
            "{}: {} {}",
            one.name(),
            specs.join(" "),
            one.kernel_words.join(" ")
        )
    };
    generations.iter().map(one).collect()
}

#[test]
fn every_generation_that_can_be_booted_is_seen_the_next_one_first() {
    let machine = Machine::new();
    assert_eq!(machine.all(), [], "no profile at all");
    for (number, letter) in [(9, 'a'), (10, 'b'), (11, 'c')] {
        let system = machine.system(letter, &format!("LABEL={letter} / ext4\n"), b"");
        machine.link(&format!("/nix/var/nix/profiles/system-{number}-link"), &system);
    }
    machine.link("/nix/var/nix/profiles/system", "system-10-link");
    // A specialisation, which has an fstab of its own; and one that is the very same system as another.
    let special = machine.system('d', "LABEL=d / ext4\n", b"");
    machine.link(
        &format!(
            "/nix/store/{}-nixos-system-h/specialisation/rescue",
            "c".repeat(32)
        ),
        &special,
    );
    // What is gone from the store, what is none of the system's, and another profile.
    machine.link("/nix/var/nix/profiles/system-3-link", "/nix/store/gone");
    machine.link("/nix/var/nix/profiles/default-12-link", &special);
    machine.link("/nix/var/nix/profiles/system-profiles/test-2-link", &special);
    assert_eq!(
        shown(&machine.all()),
        [
            "the next generation, /nix/var/nix/profiles/system: LABEL=b quiet of=b",
            "generation 11: LABEL=c quiet of=c",
            "generation 11, specialisation rescue: LABEL=d ",
            "generation 9: LABEL=a quiet of=a",
            "generation 2 of /nix/var/nix/profiles/system-profiles/test: LABEL=d quiet of=d",
        ]
    );
}

/// A container whose partition gets another name.
fn renamed(old: &str) -> Plan {
    let device = Device {
        path: "/dev/sda2".into(),
        content: Some(Content {
            kind: "crypto_LUKS".into(),
            ..Content::default()
        }),
        entry: Some(Entry::default()),
        ..Device::default()
    };
    Plan {
        changes: vec![Change {
            what: "the container cryptroot".into(),
            bearer: Bearer::Partition,
            device,
            old: Some(old.into()),
            new: "luks-h".into(),
            how: How::Table {
                disk: "/dev/sda".into(),
                number: 2,
            },
        }],
        ..Plan::default()
    }
}

#[test]
fn a_name_that_an_initrd_looks_for_is_never_taken_away() {
    let machine = Machine::new();
    let pack = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    let packed = pack("cryptroot /dev/disk/by-partlabel/crypt none\n");
    let next = machine.system(
        'a',
        "/dev/mapper/cryptroot / ext4\n",
        &pack("cryptroot UUID=1 none\n"),
    );
    let older = machine.system('b', "/dev/mapper/cryptroot / ext4\n", &packed);
    machine.link("/nix/var/nix/profiles/system-2-link", &next);
    machine.link("/nix/var/nix/profiles/system", "system-2-link");
    let root = Root::at(Utf8Path::new(&machine.root));
    let looked = |plan: &mut Plan| {
        let facts = Facts {
            generations: machine.all(),
            ..Facts::default()
        };
        boot_by_initrds(plan, &facts, &root).unwrap()
    };
    assert_eq!(looked(&mut renamed("crypt")), [], "the control");
    machine.link("/nix/var/nix/profiles/system-1-link", &older);
    let problems = looked(&mut renamed("crypt"));
    let said: Vec<String> = problems
        .iter()
        .map(|one| format!("{one} → {}", one.remedy()))
        .collect();
    assert_eq!(
        said,
        [
            "the container cryptroot (/dev/sda2): its label \"crypt\" is used at boot by generation 1 (its initrd), which would not boot with another label → keep the label: --label cryptroot=crypt; or, if it does not need to boot again: sudo nix-env --profile \
             /nix/var/nix/profiles/system --delete-generations 1"
        ]
    );
    // The beginning of another name is not this one, and a name that stays is not looked for.
    assert_eq!(looked(&mut renamed("cryp")), []);
    assert_eq!(looked(&mut renamed("luks-h")), []);
    assert_eq!(looked(&mut renamed("")), []);
    // As udev writes a name with a blank, in a table of systemd, in a script and in JSON.
    for (n, text) in [
        r"Linux\x20LUKS",
        r"Linux\\x20LUKS",
        r"Linux\040LUKS",
        "Linux LUKS",
    ]
    .iter()
    .enumerate()
    {
        let letter = ['m', 'n', 'p', 'q'][n];
        let packed = pack(&format!("cryptroot /dev/disk/by-partlabel/{text} none\n"));
        let system = machine.system(letter, "/dev/mapper/cryptroot / ext4\n", &packed);
        let link = format!("/nix/var/nix/profiles/system-{}-link", 20 + n);
        machine.link(&link, &system);
        assert_eq!(looked(&mut renamed("Linux LUKS")).len(), 1, "{text}");
        assert_eq!(looked(&mut renamed("Linux LUKS 2")), [], "{text}");
        assert!(
            *text == "Linux LUKS" || looked(&mut renamed("Linux")).is_empty(),
            "{text}"
        );
        fs::remove_file(machine.root.join(link.trim_start_matches('/'))).unwrap();
    }
    // What cannot be unpacked is told.
    let cut = machine.system('c', "/dev/mapper/cryptroot / ext4\n", &packed[..packed.len() / 2]);
    machine.link("/nix/var/nix/profiles/system-3-link", &cut);
    fs::remove_file(machine.root.join("nix/var/nix/profiles/system-1-link")).unwrap();
    let mut plan = renamed("crypt");
    assert_eq!(looked(&mut plan), []);
    assert_eq!(plan.left.len(), 1);
    assert!(plan.left[0].what.contains("generation 3") && plan.left[0].why.contains("by-partlabel/crypt"));
}
