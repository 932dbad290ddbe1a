//! Labels that other generations, and files, look for.

use super::*;
use crate::relabel::facts::{Generation, PROFILE, Which};

/// A generation with this fstab and these parameters.
fn generation(which: Which, lines: &str, words: &[&str]) -> Generation {
    Generation {
        which,
        specialisation: None,
        fstab: fstab(lines),
        kernel_words: words.iter().map(|word| (*word).to_owned()).collect(),
        initrd: None,
    }
}

fn of(number: u64) -> Which {
    Which::Other {
        profile: PROFILE.into(),
        number,
    }
}

/// A machine whose root and swap have labels that its running fstab does not look for.
fn labelled() -> Machine {
    let mut machine = plain();
    for (dev, label) in [((8, 2), "main"), ((8, 3), "old")] {
        let device = machine.0.devices.iter_mut().find(|one| one.dev == dev);
        device.unwrap().content.as_mut().unwrap().label = Some(label.into());
    }
    machine
}

#[test]
fn a_label_that_another_generation_boots_by_is_never_taken_away() {
    const MAIN: &str = "/dev/disk/by-label/main / ext4 defaults 0 1\n";
    let by_uuid = "/dev/disk/by-uuid/8f1c / ext4 defaults 0 1\n";
    let mut machine = labelled();
    machine.0.generations = vec![generation(Which::Next, by_uuid, &[])];
    assert_eq!(
        shown(&machine.plan(&web()).unwrap())[0],
        "/ /dev/sda2 (ext4): main → root-web",
        "the control"
    );
    for spec in [MAIN, "LABEL=main / ext4\n", "LABEL=\"main\" / ext4\n"] {
        machine.0.generations = vec![generation(Which::Next, spec, &[]), generation(of(3), MAIN, &[])];
        assert_eq!(
            machine.problem(&web()),
            "/ (/dev/sda2): its label \"main\" is used at boot by the next generation, /nix/var/nix/profiles/system (its fstab, for /), and 1 more, which would not boot with another label → keep the label: --root main"
        );
    }
    // What the remedy says.
    let kept = Wanted {
        root: Some("main".into()),
        ..web()
    };
    assert_eq!(
        shown(&machine.plan(&kept).unwrap())[0],
        "/ /dev/sda2 (ext4): main → main"
    );
    // Older ones, which may be given up.
    machine.0.generations = vec![
        generation(Which::Next, by_uuid, &[]),
        generation(of(12), by_uuid, &[]),
        generation(of(4), MAIN, &[]),
        generation(of(3), MAIN, &[]),
    ];
    assert_eq!(
        machine.problem(&web()),
        "/ (/dev/sda2): its label \"main\" is used at boot by generation 4 (its fstab, for /), and 1 more, which would not boot with another label → keep the label: --root main; or, if it does not need to boot again: sudo nix-env --profile \
         /nix/var/nix/profiles/system --delete-generations 4 3"
    );
    machine.0.generations.truncate(2);
    machine.plan(&web()).unwrap();
    // Swap, and what a kernel is told.
    for (lines, words) in [
        ("LABEL=old none swap\n", vec![]),
        ("", vec!["quiet", "resume=/dev/disk/by-label/old"]),
    ] {
        machine.0.generations = vec![generation(Which::Next, lines, &words)];
        let said = machine.problem(&web());
        assert!(said.ends_with("keep the label: --swap old"), "{said}");
    }
    // A name of a partition is another thing than a label.
    machine.0.generations = vec![generation(Which::Next, "PARTLABEL=main / ext4\n", &[])];
    machine.plan(&web()).unwrap();
}

#[test]
fn a_label_that_a_file_has_as_an_option_is_never_taken_away() {
    let machine = labelled();
    for (text, place) in [
        (
            "{ fileSystems.\"/\" = { label = \"main\"; }; }",
            "(fileSystems.\"/\".label, line 1)",
        ),
        (
            "let d = \"/dev/disk/by-label/main\"; in { fileSystems.\"/\".device = d; }",
            "(a text, line 1)",
        ),
    ] {
        let file = crate::relabel::nix_file::NixFile::parse(text).unwrap();
        let files: Vec<InFile> = file
            .named()
            .iter()
            .chain(file.sought())
            .map(|one| InFile {
                file: "/tmp/h1.nix".into(),
                line: one.line,
                place: one.place.clone(),
                device: one.device.clone(),
            })
            .collect();
        let problems = plan_with(&machine, &web(), &files).unwrap_err();
        let said: Vec<String> = problems
            .iter()
            .map(|one| format!("{one} → {}", one.remedy()))
            .collect();
        assert_eq!(
            said,
            [format!(
                "/ (/dev/sda2): its label \"main\" is used at boot by /tmp/h1.nix {place}, which would not boot with another label → keep the \
             label: --root main"
            )]
        );
        // What it looks for need not be written by hand; a name bound elsewhere does.
        let kept = Wanted {
            root: Some("main".into()),
            ..web()
        };
        let plan = plan_with(&machine, &kept, &files).unwrap();
        let by_hand = plan.by_hand(&machine.0, &files).join("\n");
        assert_eq!(
            by_hand.contains("fileSystems.\"/\""),
            place.contains("text"),
            "{by_hand}"
        );
    }
}

/// A label, and a line of fstab or a word of the kernel that looks for it.
const LOOKED_FOR: &[(&str, &str, &str)] = &[
    (
        "my data",
        r"/dev/disk/by-label/my\x20data /data ext4 defaults 0 2",
        "quiet",
    ),
    (
        "my data",
        r"/dev/disk/by-label/my\040data /data ext4 defaults 0 2",
        "quiet",
    ),
    ("my data", r"LABEL=my\040data /data ext4 defaults 0 2", "quiet"),
    (
        "my data",
        r#"LABEL="my\040data" /data ext4 defaults 0 2"#,
        "quiet",
    ),
    ("my data", "", r"x=/dev/disk/by-label/my\x20data"),
    ("my data", "", r"systemd.mount-extra=LABEL=my\x20data:/data:ext4"),
    (
        "it's",
        r"/dev/disk/by-label/it\x27s /data ext4 defaults 0 2",
        "quiet",
    ),
    ("M-CM-)", "/dev/disk/by-label/é /data ext4 defaults 0 2", "quiet"),
    (
        "used",
        "UUID=dada /data ext4 x-systemd.requires=/dev/disk/by-label/used 0 2",
        "quiet",
    ),
    (
        "used",
        r"UUID=dada /data ext4 x-systemd.after=dev-disk-by\x2dlabel-used.device 0 2",
        "quiet",
    ),
    (
        "my data",
        r"UUID=dada /data ext4 noatime,x-systemd.requires=dev-disk-by\x2dlabel-my\x5cx20data.device 0 2",
        "quiet",
    ),
    (
        "used",
        "UUID=ffff /pool btrfs device=/dev/sdz,device=/dev/disk/by-label/used 0 2",
        "quiet",
    ),
    (
        "used",
        "/dev/sdz:/dev/disk/by-label/used /pool bcachefs defaults 0 2",
        "quiet",
    ),
];

/// A label with a blank in it, as udev, fstab(5) and a person write it: whoever looks for it keeps it.
#[test]
fn a_label_with_a_blank_is_seen_wherever_it_is_looked_for() {
    let data = |label: &str| {
        let mut machine = plain();
        machine
            .0
            .fstab
            .extend(fstab("UUID=dada /data ext4 defaults 0 2\n"));
        machine.partition(4, "ext4", "dada", Some(label));
        machine.mounted((8, 4), "/data", false);
        machine
    };
    let mut wanted = web();
    wanted.more.insert("/data".into(), "data2".into());
    for &(label, line, word) in LOOKED_FOR {
        let mut machine = data(label);
        machine.0.generations = vec![generation(of(1), line, &[word])];
        let problem = machine.problem(&wanted);
        assert!(problem.contains("generation 1 (its "), "{line}{word}: {problem}");
        // The control: another label of this beginning, and another end.
        for other in ["my", "my dat", "my data2", "use", "my_data"] {
            let mut machine = data(other);
            machine.0.generations = vec![generation(of(1), line, &[word])];
            machine.plan(&wanted).unwrap();
        }
        // The running system, and a file of the configuration.
        if let Some(spec) = fstab(line)
            .first()
            .map(|line| line.spec.clone())
            .filter(|spec| !spec.contains("UUID") && !spec.contains(':'))
        {
            let mut machine = data(label);
            machine.0.fstab.extend(fstab(&line.replace("/data", "/other")));
            assert!(
                machine.problem(&wanted).contains("the running system (its fstab"),
                "{line}"
            );
            let file = InFile {
                file: "/etc/nixos/data.nix".into(),
                line: 3,
                place: Place::Text,
                device: Ok(spec.replace('\\', "\\\\")),
            };
            let problems = plan_with(&data(label), &wanted, &[file]).unwrap_err();
            assert!(
                problems[0].to_string().contains("data.nix"),
                "{line}: {problems:?}"
            );
            // The same name means the device, and stays as it is.
            let mut machine = data(label);
            machine.0.fstab.last_mut().unwrap().spec = spec;
            let kept = if label == "M-CM-)" { "é" } else { label };
            wanted.more.insert("/data".into(), kept.into());
            let plan = machine.plan(&wanted).unwrap();
            assert!(
                plan.changes
                    .iter()
                    .any(|change| change.what == "/data" && change.is_done()),
                "{line}"
            );
            assert_eq!(
                plan.new_name_in_fstab(&machine.0, &machine.0.fstab.last().unwrap().spec),
                None,
                "{line}"
            );
            wanted.more.insert("/data".into(), "data2".into());
        }
    }
}
