use super::*;
use fs_err as fs;
use proptest::prelude::*;

const ROOT: &str = "8f1c2d3e-0a1b-4c2d-9e3f-112233445566";
const CONTAINER: &str = "d3b07384-d113-4ec5-9a5e-aabbccddeeff";
const SWAP: &str = "0c5e9d1a-7777-4b1b-8c2c-001122334455";

/// As a plan would name them.
fn name(place: &Place, spec: &str) -> Option<String> {
    let link = match place {
        Place::Luks(_) if spec.ends_with(CONTAINER) => "/dev/disk/by-partlabel/luks-web",
        Place::Luks(_) => return None,
        Place::FilesystemLabel(_) | Place::SwapLabel | Place::Text => return Some("/dev/wrong".into()),
        Place::Filesystem(_) | Place::Swap => match spec.rsplit('/').next()? {
            tail if tail == ROOT || tail.starts_with("2e871f6a") || spec == "/dev/sda2" => {
                "/dev/disk/by-label/root-web"
            }
            tail if tail.eq_ignore_ascii_case("4A9B-11C2")
                || tail.starts_with("1e871f6a")
                || spec == "/dev/sda1" =>
            {
                "/dev/disk/by-label/ESP-WEB"
            }
            tail if tail == SWAP || spec == "/dev/sda3" => "/dev/disk/by-label/swap-web",
            _ => return None,
        },
    };
    Some(link.to_owned())
}

/// Every shape: its name, its text, and how many devices are named again.
fn shapes() -> Vec<(String, String, usize)> {
    let counts = [
        ("btrfs-subvolumes", 4),
        ("crlf", 1),
        ("graphical-installer", 4),
        ("in-a-flake", 2),
        ("interpolated", 1),
        ("kernel-names", 3),
        ("luks-list", 2),
        ("mapper", 2),
        ("partuuid-priorities", 2),
        ("release-21.05-luks", 3),
        ("release-24.11", 3),
        ("tmpfs-root", 2),
        ("zfs", 1),
    ];
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relabel");
    let mut found: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".nix").map(str::to_owned))
        .collect();
    found.sort();
    assert_eq!(found, counts.map(|(name, _)| name), "each shape has its number");
    counts
        .into_iter()
        .map(|(name, count)| {
            (
                name.to_owned(),
                fs::read_to_string(format!("{dir}/{name}.nix")).unwrap(),
                count,
            )
        })
        .collect()
}

#[test]
fn in_every_shape_only_the_names_of_devices_change() {
    for (shape, text, count) in shapes() {
        let file = NixFile::parse(&text).unwrap_or_else(|why| panic!("{shape}: {why}"));
        let edited = file.renamed(name).unwrap();
        // Line by line, since no line is added: what differs is one name in the place of another.
        let (old, new): (Vec<&str>, Vec<&str>) = (text.split('\n').collect(), edited.split('\n').collect());
        assert_eq!(old.len(), new.len(), "{shape}");
        let mut changed = 0;
        for (old, new) in old.iter().zip(&new).filter(|(old, new)| old != new) {
            let inserted = [
                "by-label/root-web",
                "by-label/ESP-WEB",
                "by-label/swap-web",
                "by-partlabel/luks-web",
            ];
            let label = inserted.iter().find(|label| new.contains(*label)).unwrap();
            let (front, back) = new.split_once(&format!("/dev/disk/{label}")).unwrap();
            assert!(
                old.starts_with(front) && old.ends_with(back),
                "{shape}: {old} → {new}"
            );
            let was = &old[front.len()..old.len() - back.len()];
            assert!(was.starts_with("/dev/"), "{shape}: {was}");
            changed += 1;
        }
        assert_eq!(changed, count, "{shape}\n{edited}");
        // What has its new name keeps it.
        assert_eq!(
            NixFile::parse(&edited).unwrap().renamed(name).unwrap(),
            edited,
            "{shape}"
        );
        assert_eq!(file.renamed(|_, _| None).unwrap(), text, "{shape}");
    }
}

#[test]
fn what_is_no_plain_text_is_told_with_its_line() {
    let (_, text, _) = shapes()
        .into_iter()
        .find(|(shape, ..)| shape == "interpolated")
        .unwrap();
    let file = NixFile::parse(&text).unwrap();
    let said: Vec<String> = file
        .named()
        .iter()
        .map(|one| match &one.device {
            Ok(device) => format!("{}: {} is {device}", one.line, one.place),
            Err(other) => format!("{}: {} is no text: {other}", one.line, one.place),
        })
        .collect();
    assert_eq!(
        said,
        [
            "8: fileSystems.\"/\".device is no text: \"/dev/disk/by-uuid/${disk}\"",
            "11: fileSystems.\"/boot\".device is /dev/disk/by-uuid/4A9B-11C2",
        ],
        "and neither the binding in the let nor resumeDevice, which stays by UUID"
    );
}

#[test]
fn only_the_options_that_name_devices_are_touched() {
    for other in [
        "{ services.x.device = \"/dev/sda2\"; }",
        "{ fileSystems.\"/\".options = [ \"device=/dev/sda2\" ]; }",
        "{ fileSystems.\"/\".device = disk; }",
        "{ fileSystems.\"/\".device = \"/dev/sd\" + \"a2\"; }",
        "{ fileSystems.\"/\".device = f \"/dev/sda2\"; }",
        "{ fileSystems.\"/\".device = \"\\/dev/sda2\"; }",
        "{ fileSystems.${root}.device = \"/dev/sda2\"; }",
        "{ boot.loader.grub.devices = [ \"/dev/sda\" ]; }",
        "let swapDevices = [ { device = \"/dev/sda3\"; } ]; in { }",
        "# fileSystems.\"/\".device = \"/dev/sda2\";\n{ }",
        "{ a = ''fileSystems.\"/\".device = \"/dev/sda2\";''; }",
    ] {
        let file = NixFile::parse(other).unwrap();
        assert_eq!(file.renamed(name).unwrap(), other);
    }
    // The control: the same, plainly.
    let plain = NixFile::parse("{ fileSystems.\"/\".device = \"/dev/sda2\"; }").unwrap();
    assert_eq!(
        plain.renamed(name).unwrap(),
        "{ fileSystems.\"/\".device = \"/dev/disk/by-label/root-web\"; }"
    );
}

#[test]
fn labels_that_a_file_looks_for_are_seen_and_never_changed() {
    for (text, wanted) in [
        // NixOS makes a device of the option.
        (
            "{ fileSystems.\"/\" = { label = \"root-h\"; fsType = \"ext4\"; }; }",
            vec!["1 fileSystems.\"/\".label /dev/disk/by-label/root-h"],
        ),
        (
            "{ lib, ... }: {\n  fileSystems.\"/\".label = lib.mkDefault \"a\";\n  swapDevices = [ { label = \"b\"; } ];\n}",
            vec![
                "2 fileSystems.\"/\".label /dev/disk/by-label/a",
                "3 swapDevices.*.label /dev/disk/by-label/b",
            ],
        ),
        // Anywhere in its texts.
        (
            "let\n disk = \"/dev/disk/by-label/a\"; in { boot.resumeDevice = \"/dev/disk/by-partlabel/b\"; }",
            vec![
                "2 a text /dev/disk/by-label/a",
                "2 a text /dev/disk/by-partlabel/b",
            ],
        ),
        (
            "{ boot.kernelParams = [ \"quiet resume=LABEL=a rd.x=PARTLABEL=b\" ]; }",
            vec!["1 a text LABEL=a", "1 a text PARTLABEL=b"],
        ),
        (
            "{ x = ''\n  mount /dev/disk/by-label/a /mnt\n''; }",
            vec!["1 a text /dev/disk/by-label/a"],
        ),
        // A filesystem that has a device does not look for its label.
        (
            "{ fileSystems.\"/\" = { label = \"a\"; device = \"/dev/sda2\"; }; fileSystems.\"/x\".label = \"b\"; }",
            vec!["1 fileSystems.\"/x\".label /dev/disk/by-label/b"],
        ),
        // The beginning of a name is none.
        ("{ a = \"/dev/disk/by-label/${name}\"; }", vec![]),
        (
            "{ services.x.label = \"a\"; fileSystems.\"/\".encrypted.label = \"b\"; }",
            vec![],
        ),
        ("# LABEL=a\n{ }", vec![]),
    ] {
        let file = NixFile::parse(text).unwrap();
        let mut said: Vec<String> = file
            .sought()
            .iter()
            .map(|one| format!("{} {} {}", one.line, one.place, one.device.as_ref().unwrap()))
            .collect();
        said.sort();
        assert_eq!(said, wanted, "{text}");
        assert_eq!(
            file.renamed(|place, _| (!place.is_device()).then(|| "x".into()))
                .unwrap(),
            text
        );
    }
}

#[test]
fn a_file_that_is_no_expression_is_refused_with_its_line() {
    for (bad, line) in [("{\n  a = ;\n}", 2), ("{ a = 1;\n", 2), ("{ }\n}\n", 2), ("", 1)] {
        assert_eq!(
            NixFile::parse(bad).unwrap_err(),
            NixError::Syntax { line },
            "{bad}"
        );
    }
    // A name that would break out of its string is not put in.
    let file = NixFile::parse("{ fileSystems.\"/\".device = \"/dev/sda2\"; }").unwrap();
    for evil in [
        "x\"; y = \"z",
        "two\nlines",
        "${x",
        "x\"; fileSystems.\"/boot\".device = \"y",
    ] {
        assert!(
            matches!(file.renamed(|_, _| Some(evil.into())), Err(NixError::Edited(_))),
            "{evil}"
        );
    }
}

#[test]
fn a_difference_is_shown_as_diff_shows_it() {
    let (old, new) = ("a\nb\nc\nd\ne\nf\n", "a\nb\nX\nd\ne\nf\n");
    assert_eq!(
        diff("f.nix", old, new),
        "--- f.nix\n+++ f.nix\n@@ -1,6 +1,6 @@\n a\n b\n-c\n+X\n d\n e\n f\n"
    );
    assert_eq!(diff("f.nix", old, old), "");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[-a-z{}\\[\\]();=\"'$/. \n]{0,120}") {
        if let Ok(file) = NixFile::parse(&text) {
            prop_assert_eq!(file.renamed(|_, _| None).unwrap(), text);
        }
    }

    #[test]
    fn damage_is_read_without_panic(shape in 0_usize..13, at in 0_usize..2000, put in "[{}\";=$'\\[\\]]{1,3}") {
        let (_, mut text, _) = shapes().swap_remove(shape);
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &put);
        if let Ok(file) = NixFile::parse(&text) {
            prop_assert_eq!(file.renamed(|_, _| None).unwrap(), text);
        }
    }
}

#[test]
fn a_label_with_a_blank_is_read_and_written() {
    let text = r#"{ fileSystems."/data".device = "/dev/disk/by-label/my\\x20data"; boot.x = "/dev/disk/by-label/other data"; }"#;
    let file = NixFile::parse(text).unwrap();
    assert_eq!(
        file.named()[0].device.as_deref(),
        Ok(r"/dev/disk/by-label/my\x20data")
    );
    let sought: Vec<_> = file
        .sought()
        .iter()
        .filter_map(|one| one.device.as_deref().ok())
        .collect();
    assert!(sought.contains(&"/dev/disk/by-label/other data"), "{sought:?}");
    let renamed = |new: &'static str| file.renamed(move |_, _| Some(new.to_owned()));
    assert_eq!(
        renamed(r"/dev/disk/by-label/a\x20b").unwrap(),
        text.replace(r"my\\x20data", r"a\\x20b")
    );
    // The control: in an indented string a backslash is one, and what would be another name is not written.
    let file = NixFile::parse("{ fileSystems.\"/d\".device = ''/dev/sda1''; }").unwrap();
    assert!(
        file.renamed(|_, _| Some(r"/dev/disk/by-label/a\x20b".to_owned()))
            .is_err()
    );
}
