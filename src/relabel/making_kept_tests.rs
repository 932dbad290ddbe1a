//! Labels that other generations, and files, look for.

use super::*;
use crate::relabel::generations::{Generation, PROFILE, Which};

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
            "/ (/dev/sda2) has the label \"main\", and the next generation, /nix/var/nix/profiles/system (its fstab, for /), and 1 \
             more looks for it: with another label it would not boot → keep the label: --root main"
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
        "/ (/dev/sda2) has the label \"main\", and generation 4 (its fstab, for /), and 1 more looks for it: with another label it \
         would not boot → keep the label: --root main; or, where that is not to boot again: sudo nix-env --profile \
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
                "/ (/dev/sda2) has the label \"main\", and /tmp/h1.nix {place} looks for it: with another label it would not boot → keep the \
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
