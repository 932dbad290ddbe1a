//! Boot loader formats: entries and `loader.conf` as NixOS writes them, and the choice that systemd-boot makes.

use super::*;
use proptest::prelude::*;

/// As NixOS's installer for systemd-boot writes them.
const ENTRY: &str = "title NixOS\nversion Generation 2 NixOS Yarara 26.05 (Linux 6.12.9), built on 2026-01-02\n\
    linux /EFI/nixos/abc-linux-6.12.9-bzImage.efi\ninitrd /EFI/nixos/def-initrd-linux-6.12.9-initrd.efi\n\
    options init=/nix/store/x-nixos-system-web/init root=fstab loglevel=4\nmachine-id 0123\nsort-key nixos";
const HASH: &str = "nixos-2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn entry(file: &str, version: &str) -> Entry {
    Entry {
        file: file.into(),
        version: version.into(),
        linux: Some("/EFI/nixos/k.efi".into()),
        ..Entry::default()
    }
}

fn keyed(file: &str, version: &str) -> Entry {
    Entry {
        sort_key: Some("nixos".into()),
        ..entry(file, version)
    }
}

fn choice(entries: &[Entry], conf: &str, variables: &Variables) -> Option<String> {
    let entries: Vec<&Entry> = entries.iter().collect();
    chosen(&entries, &LoaderConf::parse(conf), variables).map(|(entry, _)| entry.file.clone())
}

fn default(entries: &[Entry], conf: &str) -> Option<String> {
    choice(entries, conf, &Variables::default())
}

#[test]
fn an_entry_of_nixos() {
    let entry = Entry::parse(&format!("{HASH}+3.conf"), ENTRY);
    assert_eq!(entry.init(), Some("/nix/store/x-nixos-system-web/init"));
    assert_eq!(
        entry.linux.as_deref(),
        Some("/EFI/nixos/abc-linux-6.12.9-bzImage.efi")
    );
    assert_eq!(entry.initrd, ["/EFI/nixos/def-initrd-linux-6.12.9-initrd.efi"]);
    assert_eq!(entry.id(), format!("{HASH}.conf"));
    assert_eq!(entry.sort_key.as_deref(), Some("nixos"));
    assert!(entry.is_usable("x64"));
    assert_eq!(
        entry.lacks(["root=fstab", "quiet", "loglevel=4", "loglevel=4"]),
        ["quiet", "loglevel=4"]
    );
    let torn = Entry::parse("x.conf", "title NixOS\nlinux \0\0\0\noptions init=/x");
    assert!(!torn.is_usable("x64"), "a NUL ends the text");
    let both = Entry::parse("x.conf", "linux /k\nefi /e\n");
    assert!(!both.is_usable("x64"));
    let other = Entry::parse("x.conf", "linux /k\narchitecture aa64\n");
    assert!(!other.is_usable("x64") && other.is_usable("AA64"));
    let windows = Entry::parse("x.conf", "\tefi\t\\EFI\\Microsoft\\Boot\\bootmgfw.efi\r\n");
    assert_eq!(
        windows.program.as_deref(),
        Some("/EFI/Microsoft/Boot/bootmgfw.efi")
    );
}

#[test]
fn counters_are_no_part_of_an_id() {
    for (file, id, bad) in [
        ("a+3.conf", "a.conf", false),
        ("A+0-3.CONF", "a.conf", true),
        ("a+2-1.conf", "a.conf", false),
        ("a+00.conf", "a.conf", true),
        ("a+.conf", "a+.conf", false),
        ("a+1-.conf", "a+1-.conf", false),
        ("a+1-2-3.conf", "a+1-2-3.conf", false),
        ("a+x.conf", "a+x.conf", false),
        ("a+1+0.conf", "a+1.conf", true),
        ("a+99999999999.conf", "a+99999999999.conf", false),
    ] {
        let entry = entry(file, "");
        assert_eq!((entry.id(), entry.is_bad()), (id.to_owned(), bad), "{file}");
    }
}

#[test]
fn names_of_entries() {
    for (name, is) in [
        ("a.conf", true),
        ("A.CONF", true),
        (".a.conf", false),
        ("auto-windows.conf", false),
        ("a.conf.tmp", false),
        ("a.confx1y2z3.tmp", false),
    ] {
        assert_eq!(Entry::is_name(name), is, "{name}");
    }
}

#[test]
fn loader_conf_as_systemd_boot_reads_it() {
    let pattern = |text: &str| Some(Wish::Pattern(text.to_owned()));
    for (text, wanted) in [
        ("timeout 5\ndefault nixos-*\n", pattern("nixos-*")),
        ("default\t \tNixOS-*  \t\n", pattern("nixos-*")),
        ("# default a\n  #default b\n default c", pattern("c")),
        ("default a\rdefault b\r\n\n", pattern("b")),
        ("default \"a b\"\n", pattern("a b")),
        ("default @saved\n", Some(Wish::Saved)),
        ("default a\ndefault @Saved\n", Some(Wish::Saved)),
        ("default a\ndefault @current\n", pattern("a")),
        ("default\n", None),
        ("Default a\n", None),
        ("default a\n\0default b\n", pattern("a")),
        ("", None),
    ] {
        assert_eq!(LoaderConf::parse(text).default, wanted, "{text:?}");
    }
}

#[test]
fn the_default_is_what_systemd_boot_takes() {
    let entries = [
        entry("nixos-generation-9.conf", ""),
        entry("nixos-generation-10.conf", ""),
        entry("arch.conf", ""),
    ];
    let taken = |conf: &str| default(&entries, conf).unwrap();
    assert_eq!(taken("default nixos-*"), "nixos-generation-10.conf");
    assert_eq!(
        taken("default nixos-generation-9.conf"),
        "nixos-generation-9.conf"
    );
    assert_eq!(
        taken("default NIXOS-generation-?.conf"),
        "nixos-generation-9.conf"
    );
    // The suffix is a part of the id.
    assert_eq!(taken("default nixos-generation-9"), "nixos-generation-10.conf");
    assert_eq!(taken("default gone.conf"), "nixos-generation-10.conf");
    assert_eq!(taken(""), "nixos-generation-10.conf");
    assert_eq!(default(&[], ""), None);
    let mixed = [entry("z.conf", ""), keyed("a.conf", "1")];
    assert_eq!(
        default(&mixed, "").unwrap(),
        "a.conf",
        "one with a sort key comes first"
    );
}

/// A host with two specialisations: three entries of one generation, with the same sort key and version.
#[test]
fn specialisations_are_told_apart_by_the_name_that_loader_conf_has() {
    for chosen in ["0", "a", "f"] {
        let entries = ["0", "a", "f"].map(|letter| {
            keyed(
                &format!("nixos-{}+3.conf", letter.repeat(64)),
                "Generation 1 NixOS",
            )
        });
        let id = format!("nixos-{}.conf", chosen.repeat(64));
        let file = format!("nixos-{}+3.conf", chosen.repeat(64));
        let conf = format!("preferred {id}\ndefault nixos-*\n");
        assert_eq!(default(&entries, &conf), Some(file.clone()), "boot counting");
        assert_eq!(default(&entries, &format!("default {id}\n")), Some(file));
        // Without it the one whose name begins with a digit: a digit is newer than a letter.
        let first = format!("nixos-{}+3.conf", "0".repeat(64));
        assert_eq!(default(&entries, "default nixos-*\n"), Some(first));
    }
}

#[test]
fn what_is_used_up_comes_last_and_is_not_preferred() {
    let entries = [
        keyed("nixos-b+0-3.conf", "Generation 10"),
        keyed("nixos-a+2-1.conf", "Generation 9"),
        keyed("nixos-c.conf", "Generation 8"),
    ];
    let taken = |conf: &str| default(&entries, conf).unwrap();
    assert_eq!(
        taken("preferred nixos-b.conf\ndefault nixos-*"),
        "nixos-a+2-1.conf"
    );
    assert_eq!(
        taken("default nixos-b.conf"),
        "nixos-b+0-3.conf",
        "default takes it anyway"
    );
    assert_eq!(
        taken("preferred nixos-c.conf\ndefault nixos-a.conf"),
        "nixos-c.conf"
    );
    let twins = [
        keyed("nixos-a+1-2.conf", "1"),
        keyed("nixos-a+2-1.conf", "1"),
        keyed("nixos-a+2.conf", "1"),
    ];
    assert_eq!(
        default(&twins, "").unwrap(),
        "nixos-a+2.conf",
        "most tries left, fewest done"
    );
}

#[test]
fn keys_machines_and_versions_order() {
    let by = |sort_key: &str, machine_id: &str, version: &str| Entry {
        sort_key: Some(sort_key.into()),
        machine_id: machine_id.into(),
        ..entry("a.conf", version)
    };
    for (first, second) in [
        (by("a", "", "1"), by("b", "", "2")),
        (by("a", "", "1"), by("a", "1", "2")),
        (by("a", "1", "1"), by("a", "2", "2")),
        (by("a", "1", "Generation 10"), by("a", "1", "Generation 9")),
        (by("a", "1", "1"), by("a", "1", "1~rc1")),
    ] {
        assert_eq!(order(&first, &second), Ordering::Less, "{first:?} {second:?}");
        assert_eq!(order(&second, &first), Ordering::Greater);
    }
}

#[test]
fn variables_of_the_firmware_come_first() {
    let entries = [keyed("nixos-a.conf", "1"), keyed("nixos-b.conf", "2")];
    let with = |change: fn(&mut Variables)| {
        let mut variables = Variables::default();
        change(&mut variables);
        variables
    };
    let a = "nixos-a.conf";
    for (variables, conf) in [
        (
            with(|v| v.one_shot = Some("NIXOS-A.conf".into())),
            "preferred nixos-b.conf",
        ),
        (
            with(|v| v.preferred = Some("nixos-a.conf".into())),
            "preferred nixos-b.conf",
        ),
        (
            with(|v| v.default = Some("nixos-a.conf".into())),
            "default nixos-b.conf",
        ),
        (
            with(|v| {
                v.default = Some("@saved".into());
                v.last_booted = Some("nixos-a.conf".into());
            }),
            "default nixos-b.conf",
        ),
        (
            with(|v| v.last_booted = Some("nixos-a.conf".into())),
            "default @saved",
        ),
    ] {
        assert_eq!(choice(&entries, conf, &variables).as_deref(), Some(a), "{conf}");
        let list: Vec<&Entry> = entries.iter().collect();
        let (_, by) = chosen(&list, &LoaderConf::parse(conf), &variables).unwrap();
        assert!(by.is_some(), "{conf}");
    }
    let preferred_in_file = with(|v| v.default = Some("nixos-b.conf".into()));
    assert_eq!(
        choice(&entries, "preferred nixos-a.conf", &preferred_in_file).as_deref(),
        Some(a),
        "what is preferred in the file comes before the default of the firmware"
    );
    let foreign = with(|v| v.default = Some("fedora.conf".into()));
    assert_eq!(
        choice(&entries, "default nixos-a.conf", &foreign).as_deref(),
        Some(a)
    );
    assert_eq!(
        choice(&entries, "default @saved", &Variables::default()).as_deref(),
        Some("nixos-b.conf"),
        "nothing saved yet"
    );
}

#[test]
fn patterns() {
    for (pattern, text, matches) in [
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("*", "", true),
        ("", "a", false),
        ("?", "", false),
        ("a[0-9]c", "a5c", true),
        ("a[0-9]c", "abc", false),
        ("a[]x]c", "a]c", true),
        ("a[-x]c", "a-c", true),
        ("a[x-]c", "a-c", true),
        ("a[a-c-f]c", "a-c", true),
        ("a[a-c-f]c", "aec", false),
        ("a\\*c", "a*c", true),
        ("a\\*c", "abc", false),
        ("a[", "a[", false),
        ("a\\", "a\\", false),
        ("*[ab]*", "xxbxx", true),
    ] {
        assert_eq!(matches_glob(pattern, text), matches, "{pattern} {text}");
    }
}

#[test]
fn pe_heads() {
    let mut head = vec![0_u8; 0x84];
    head[..2].copy_from_slice(b"MZ");
    head[0x3c] = 0x80;
    head[0x80..].copy_from_slice(b"PE\0\0");
    assert!(is_pe(&head));
    assert!(!is_pe(&head[..0x83]));
    assert!(!is_pe(&vec![0; 4096]), "a file that a power cut emptied");
    assert!(!is_pe(b""));
}

proptest! {
    #[test]
    fn anything_is_read_without_panic(bytes: Vec<u8>, text in "(?s).*", a in "[a-c0-9]{0,6}", glob in r"[ab*?\[\]\\-]{0,8}") {
        is_pe(&bytes);
        Entry::parse(&text, &text).id();
        LoaderConf::parse(&text);
        matches_glob(&glob, &a);
        prop_assert!(matches_glob("*", &a));
        prop_assert!(matches_glob(&a, &a));
    }

    #[test]
    fn the_order_is_one(files in proptest::collection::vec(("[ab]{1,2}", 0..4_u32, "[12]", any::<bool>()), 3)) {
        let entries: Vec<Entry> = files
            .iter()
            .map(|(name, tries, version, key)| {
                let counter = if *tries == 3 { String::new() } else { format!("+{tries}") };
                let entry = entry(&format!("{name}{counter}.conf"), version);
                Entry { sort_key: key.then(|| "k".into()), ..entry }
            })
            .collect();
        let [a, b, c] = [&entries[0], &entries[1], &entries[2]];
        prop_assert_eq!(order(a, b), order(b, a).reverse());
        // Between one with a counter and one without, of the same name, there is no order; all else is transitive.
        if order(a, b).is_lt() && order(b, c).is_lt() {
            prop_assert!(order(a, c).is_lt(), "{a:?} {b:?} {c:?}");
        }
    }
}
