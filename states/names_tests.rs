//! Tests of `names`.

use super::*;
use crate::remote::RemoteUrl;

#[test]
fn a_quoted_text_shows_what_is_in_it() {
    assert_eq!(
        quoted("it's a \"disk\"\n\u{1b}[2J"),
        r#""it's a \"disk\"\n\u{1b}[2J""#
    );
    let (fits, long) = ("é".repeat(256), "é".repeat(50_000));
    assert_eq!(quoted(&fits), format!("\"{fits}\""));
    assert_eq!(
        quoted(&long),
        format!("\"{fits}\" (shortened here; it has 100000 bytes)")
    );
}

#[test]
fn labels_hold_their_limits() {
    assert!("A".repeat(36).parse::<PartitionLabel>().is_ok());
    assert!("A".repeat(37).parse::<PartitionLabel>().is_err());
    assert!("".parse::<PartitionLabel>().is_err());
    assert!("a b".parse::<PartitionLabel>().is_err());
    assert!("ESP-HOST_01".parse::<EspLabel>().is_ok());
    assert!("ESP-HOST_012".parse::<EspLabel>().is_err());
    assert!("ESP.1".parse::<EspLabel>().is_err(), "mkfs.fat refuses it");
    assert!(
        "esp".parse::<EspLabel>().is_err(),
        "FAT would store another text than the one configured"
    );
    assert!("r".repeat(17).parse::<Ext4Label>().is_err());
    assert!("s".repeat(16).parse::<SwapLabel>().is_err());
}

#[test]
fn paths_cannot_climb_out() {
    for good in [
        "/mnt/nix-config",
        "/mnt/home/op/conf",
        "/mnt/etc/nixos",
        "/mnt/bootstrap",
        "/mnt/etc/passwd.d/x",
    ] {
        assert!(good.parse::<ClonePath>().is_ok(), "{good}");
    }
    for bad in [
        "/mnt",
        "/mnt/",
        "/home/x",
        "/mnt/../etc",
        "/mnt/a/./b",
        "/mnt/a//b",
        "mnt/a",
        "/mnt/a/",
        "/mnt/boot/x",
        "/mnt/nix/x",
    ] {
        assert!(bad.parse::<ClonePath>().is_err(), "{bad}");
    }
}

#[test]
fn what_others_put_on_the_target_is_refused_with_the_reason() {
    for (path, why) in [
        ("/mnt/boot/conf", "ESP"),
        ("/mnt/nix", "system directory"),
        ("/mnt/nix/store", "belongs to Nix"),
        ("/mnt/nix/conf", "belongs to Nix"),
        ("/mnt/proc/x", "kernel"),
        ("/mnt/sys/x", "kernel"),
        ("/mnt/dev/x", "kernel"),
        ("/mnt/run/x", "empty after every boot"),
        ("/mnt/etc/passwd", "NixOS puts a file"),
        ("/mnt/etc/passwd/x", "NixOS puts a file"),
        ("/mnt/etc/NIXOS", "NixOS puts a file"),
        ("/mnt/etc/static/x", "NixOS puts a link"),
        ("/mnt/var/tmp/landfall/conf", "temporary files"),
        ("/mnt/var/tmp/conf", "deletes old files"),
        ("/mnt/tmp", "deletes old files"),
        ("/mnt/var", "system directory"),
        ("/mnt/var/lib/nixos", "system directory"),
        ("/mnt/var/lib/nixos/uid-map", "NixOS puts a file"),
        ("/mnt/lost+found", "e2fsck"),
        ("/mnt", "below /mnt"),
    ] {
        let said = path.parse::<ClonePath>().unwrap_err().to_string();
        assert!(said.contains(why) && said.contains(path), "{said}");
    }
}

#[test]
fn no_label_is_the_name_of_a_directory() {
    for dots in [".", ".."] {
        assert!(dots.parse::<EspLabel>().is_err() && dots.parse::<Ext4Label>().is_err());
        assert!(dots.parse::<PartitionLabel>().is_err() && dots.parse::<SwapLabel>().is_err());
    }
    assert!("...".parse::<PartitionLabel>().is_ok() && ".a".parse::<Ext4Label>().is_ok());
    assert!("-".parse::<PartitionLabel>().is_ok() && "a..".parse::<SwapLabel>().is_ok());
}

#[test]
fn hosts_and_users_have_the_names_that_nixos_takes() {
    for good in ["web", "web_1", "web.ops.example", "Web-1", "_x", "1", "a-", "a."] {
        assert!(good.parse::<HostName>().is_ok(), "{good}");
    }
    for good in ["op", "Jo.Op", "_x", "1up", "a-b"] {
        assert!(good.parse::<UserName>().is_ok(), "{good}");
    }
    for bad in ["", "-x", ".", "..", ".x", "a b", "a/b", "a:b", "a@b", "é", "a\nb"] {
        assert!(
            bad.parse::<HostName>().is_err() && bad.parse::<UserName>().is_err(),
            "{bad}"
        );
    }
    assert!("h".repeat(63).parse::<HostName>().is_ok() && "h".repeat(64).parse::<HostName>().is_err());
    assert!("u".repeat(31).parse::<UserName>().is_ok() && "u".repeat(32).parse::<UserName>().is_err());
}

#[test]
fn sizes_speak_sgdisk() {
    assert_eq!("8G".parse::<Size>().map(Size::bytes), Ok(8 << 30));
    assert_eq!("512m".parse::<Size>().map(Size::bytes), Ok(512 << 20));
    assert_eq!("2048K".parse::<Size>().map(|s| s.to_string()), Ok("2M".into()));
    for bad in [
        "",
        "8",
        "G",
        "0G",
        "-1G",
        "8.5G",
        "1K",
        "99999999P",
        "8GiB",
        "8 G",
        "é",
    ] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
}

#[test]
fn remotes_of_every_forge_and_nothing_that_is_an_option() {
    for good in [
        "https://forge.example/o/r.git",
        "git@forge.example:o/r",
        "ssh://git@h:2222/r",
        "git+ssh://git@h/r",
        "git://10.0.2.2/r",
        "/srv/r.git",
        "file:///srv/r",
        "host:repo.git",
    ] {
        assert!(good.parse::<RemoteUrl>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "--upload-pack=x",
        "-oProxyCommand=x:y",
        "ext::sh -c x",
        "https://",
        "a b:c",
        "/",
    ] {
        assert!(bad.parse::<RemoteUrl>().is_err(), "{bad}");
    }
}

#[test]
fn store_paths_are_store_paths() {
    let good = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05";
    assert!(good.parse::<StorePath>().is_ok());
    for bad in [
        "/nix/store/short-x",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a/b",
        "/nix/store/e123456789abcdfghijklmnpqrsvwxyz-a",
    ] {
        assert!(bad.parse::<StorePath>().is_err(), "{bad}");
    }
}

#[test]
fn the_shortest_and_the_longest_are_allowed() {
    assert!("A".parse::<PartitionLabel>().is_ok() && "a.b_c-9".parse::<PartitionLabel>().is_ok());
    for other in ["a/b", "a:b", "é", "a\n"] {
        assert!(other.parse::<PartitionLabel>().is_err(), "{other:?}");
    }
    let path = |bytes: usize| format!("/mnt/{}", "p".repeat(bytes - 5));
    assert!(path(1_024).parse::<ClonePath>().is_ok());
    assert!(path(1_025).parse::<ClonePath>().is_err());
    assert!("/mnt/a b".parse::<ClonePath>().is_err() && "/mnt/a\u{7f}".parse::<ClonePath>().is_err());
    assert!("/mnt/..a/.b".parse::<ClonePath>().is_ok(), "dots are no climbing");
    assert!("/mnt/a/..".parse::<ClonePath>().is_err() && "/mnt/a/.".parse::<ClonePath>().is_err());
}

#[test]
fn sizes_are_shown_in_their_largest_unit() {
    for text in ["1M", "512M", "8G", "1025M", "3T", "1P"] {
        assert_eq!(text.parse::<Size>().map(|s| s.to_string()), Ok(text.to_owned()));
    }
    assert_eq!("1T".parse::<Size>().map(Size::bytes), Ok(1 << 40));
    assert_eq!("1p".parse::<Size>().map(Size::bytes), Ok(1 << 50));
    assert_eq!(Size::MIB.bytes(), 1_048_576);
    assert_eq!(
        Size::from_bytes(3 << 20).map(|s| s.to_string()),
        Ok("3M".to_owned())
    );
    assert!(Size::from_bytes(0).is_err() && Size::from_bytes((1 << 20) + 512).is_err());
    // Rust's own parser takes a sign; the rule does not.
    let refused = "+8G".parse::<Size>().unwrap_err();
    assert_eq!(
        refused.to_string().split(':').next(),
        Some("size \"+8G\" is not allowed")
    );
}

#[test]
fn a_digest_is_the_published_one_in_64_lower_case_digits() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Digest::of(b"abc").as_str(), abc);
    assert_eq!(Digest::of(b"abc").to_string(), abc);
    assert_eq!(abc.parse::<Digest>(), Ok(Digest::of(b"abc")));
    for bad in [
        &abc[1..],
        &format!("{abc}0"),
        &abc.to_uppercase(),
        &abc.replace('f', "g"),
        "",
    ] {
        let refused = bad.parse::<Digest>().unwrap_err();
        assert_eq!(refused.what, "digest", "{bad}");
    }
}

#[test]
fn what_is_written_down_is_read_back() {
    let size: Size = "8G".parse().unwrap();
    assert_eq!(ron::to_string(&size), Ok("\"8G\"".to_owned()));
    assert_eq!(ron::from_str(&ron::to_string(&size).unwrap()), Ok(size));
    assert!(ron::from_str::<Size>("\"8\"").is_err());
    let digest = Digest::of(b"");
    assert_eq!(ron::from_str(&ron::to_string(&digest).unwrap()), Ok(digest));
    assert!(ron::from_str::<Digest>("\"12\"").is_err());
}

#[test]
fn serde_goes_through_the_rule() {
    assert!(ron::from_str::<EspLabel>("\"lower\"").is_err());
    assert_eq!(
        ron::from_str::<EspLabel>("\"UPPER\"").map(|l| l.to_string()),
        Ok("UPPER".into())
    );
}
