//! Tests of `secrets`.

use super::*;
use crate::real::secrets::descriptor::passphrase_from_fd;
use nix::fcntl::OFlag;

use crate::real::test_support::SSH_KEY as DEPLOY_KEY;

fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}

/// The image on the same stick is mounted as a whole: the kernel gives no partition of it to anybody else.
#[test]
fn keys_on_a_stick_that_is_taken_are_read_through_a_loop_device() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root mounts
    }
    let (_keep, dir) = dir();
    let file = dir.join("keys.img");
    fs_err::File::create(&file).unwrap().set_len(8 << 20).unwrap();
    fs_err::create_dir(dir.join("medium")).unwrap();
    fs_err::write(dir.join("medium/consent"), "LF0001").unwrap();
    let (reporter, stop) = (Reporter::default(), Stop::never());
    // Every kernel that runs these tests has ext4, and not every one has vfat.
    let make = Program::new("mkfs.ext4").args([
        "-q",
        "-F",
        "-L",
        "LF-KEYS",
        "-d",
        dir.join("medium").as_str(),
        file.as_str(),
    ]);
    let made = crate::real::test_support::block_on(make.run(&reporter, &stop)).unwrap();
    assert!(made.success(), "{}", made.how());
    let loops = |arguments: &[&str]| {
        let program = Program::new("losetup").args(arguments.iter().copied());
        let ended = crate::real::test_support::block_on(program.run(&reporter, &stop)).unwrap();
        assert!(ended.success(), "{}", ended.how());
        ended.stdout.trim().to_owned()
    };
    let stick = loops(&["--find", "--show", file.as_str()]);
    for is_taken in [false, true] {
        let alone = is_taken
            .then(|| crate::real::disk::open(Utf8Path::new(&stick), OFlag::O_RDWR | OFlag::O_EXCL).unwrap());
        let read = crate::real::test_support::block_on(async {
            let medium = Medium::mount(&stick, &reporter, &stop).await?;
            let table = fs_err::read_to_string("/proc/self/mounts").unwrap();
            let by = table
                .lines()
                .rev()
                .find_map(|line| line.split_once(&format!(" {} ", medium.at)));
            assert_eq!(by.unwrap().0 != stick, is_taken, "by a loop device of its own");
            let text = fs_err::read_to_string(medium.at.join("consent"));
            medium.unmount()?;
            // As a killed run leaves it, twice.
            for _ in 0..2 {
                Medium::mount(&stick, &reporter, &stop).await?;
            }
            assert!(
                medium_at().join("consent").exists(),
                "the control: it can be read there"
            );
            unmount_medium(&reporter)?;
            assert!(!medium_at().join("consent").exists());
            unmount_medium(&reporter)?;
            Ok::<_, Fault>(text.unwrap())
        });
        drop(alone);
        assert_eq!(read.unwrap(), "LF0001");
    }
    // Nothing of it is left.
    let left = loops(&["--list", "--output", "BACK-FILE", "--noheadings"]);
    loops(&["--detach", &stick]);
    assert!(!left.contains(stick.as_str()), "{left}");
}

#[test]
fn credentials_are_taken_and_never_shown() {
    let (_keep, dir) = dir();
    fs_err::write(dir.join("landfall.luks-passphrase"), "canary one\n").unwrap();
    fs_err::write(dir.join("landfall.deploy-key"), DEPLOY_KEY.trim_end()).unwrap();
    fs_err::write(dir.join("landfall.consent"), " LF0001 \n").unwrap();
    let mut credentials = Credentials::default();
    credentials.take_from(&dir, "landfall.").unwrap();
    assert_eq!(credentials.passphrase().unwrap().expose_secret(), "canary one");
    assert_eq!(
        credentials.deploy_key().unwrap().expose_secret(),
        DEPLOY_KEY.as_bytes()
    );
    assert_eq!(credentials.consent(), Some("LF0001"));
    assert!(!format!("{credentials:?}").contains("canary"), "{credentials:?}");
    credentials.run_dir = dir.join("run");
    let file = credentials.ssh_key_file().unwrap().unwrap();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), DEPLOY_KEY);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_for_records_is_long_and_never_shown() {
    let (_keep, dir) = dir();
    let install: InstallId = ron::from_str("\"6c616e64-6661-5c6c-8000-6e69786f7321\"").unwrap();
    let file = dir.join("landfall.record-key");
    fs_err::write(&file, "canary".repeat(5)).unwrap();
    let fault = Credentials::default().take_from(&dir, "landfall.").unwrap_err();
    assert!(
        fault.to_string().contains("32 bytes") && !fault.to_string().contains("canary"),
        "{fault}"
    );
    fs_err::write(&file, "canary".repeat(6)).unwrap();
    let mut credentials = Credentials::default();
    assert!(credentials.record_key(install).is_none());
    credentials.take_from(&dir, "landfall.").unwrap();
    assert_eq!(credentials.at_hand(), "record-key");
    let key = credentials.record_key(install).unwrap();
    assert_eq!(key.source(), KeySource::Installer);
    assert!(!format!("{credentials:?} {key:?}").contains("canary"));
}

#[test]
fn a_medium_gives_what_it_may_and_says_what_it_has_besides() {
    let (_keep, dir) = dir();
    for (name, text) in [
        ("consent", "LF0001"),
        ("luks-passphrase", "canary one\u{7}"),
        ("record-key", "short"),
        ("deploy-key", crate::real::test_support::SSH_KEY),
        ("repository-token", "canary-3"),
    ] {
        fs_err::write(dir.join(name), text).unwrap();
    }
    let config: Config = Config::parse(
            r#"(host: "web", labels: (efi: "EFI", root: "root"), repository: (remote: Some("/srv/repo")), system: Flake)"#,
            crate::config::Notation::Ron,
        )
        .unwrap();
    let mut credentials = Credentials {
        repository_token: Some("from the machine".into()),
        ..Credentials::default()
    };
    let allowed = Allowed::by(&config, &key_media::Standing::PluggedIn);
    let told = credentials.take_allowed(&dir, "the stick", allowed).unwrap();
    assert_eq!(told.taken, ["deploy-key"]);
    let left: Vec<&str> = told.left.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        left,
        ["luks-passphrase", "repository-token", "consent", "record-key"]
    );
    assert_eq!(credentials.at_hand(), "deploy-key, repository-token");
    // The control: as a folder of credentials it would have been read, and refused.
    assert!(Credentials::default().take_from(&dir, "").is_err());
    assert!(!format!("{told:?}").contains("canary"));
}

#[test]
fn a_disk_that_keys_were_taken_from_is_not_written() {
    let disk = |serial: &str| DiskIdentity {
        wwn: None,
        serial: Some(serial.into()),
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    };
    let credentials = Credentials {
        medium: Some((disk("LF0001"), "/dev/sdb1 (LF0001)".into())),
        ..Credentials::default()
    };
    let fault = credentials.refuse_as_target(&disk("LF0001")).unwrap_err();
    assert!(fault.why().contains("/dev/sdb1"), "{fault}");
    credentials.refuse_as_target(&disk("LF0002")).unwrap();
    Credentials::default().refuse_as_target(&disk("LF0001")).unwrap();
}

#[test]
fn a_fat_can_have_the_label_of_the_medium() {
    let label: Result<landfall_states::names::EspLabel, _> = key_media::LABEL.parse();
    assert_eq!(label.unwrap().to_string(), key_media::LABEL);
}

#[test]
fn the_ssh_key_goes_whole_or_half_written() {
    let (_keep, dir) = dir();
    fs_err::write(dir.join("ssh-key"), "canary").unwrap();
    fs_err::write(dir.join(".ssh-key.landfall"), "cana").unwrap();
    fs_err::write(dir.join("checkpoint"), "not mine").unwrap();
    for _ in 0..2 {
        remove_keys(&dir).unwrap();
        let left: Vec<_> = fs_err::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["checkpoint"]);
    }
    assert!(remove_keys(&dir.join("checkpoint")).is_err(), "no directory");
}

#[test]
fn a_fifo_or_a_directory_is_refused_and_not_waited_for() {
    let (_keep, dir) = dir();
    nix::unistd::mkfifo(
        dir.join("luks-passphrase").as_std_path(),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    fs_err::create_dir(dir.join("landfall.ssh-key")).unwrap();
    for prefix in ["", "landfall."] {
        let fault = Credentials::default().take_from(&dir, prefix).unwrap_err();
        assert!(fault.why().contains("not a regular file"), "{fault}");
    }
}

#[test]
fn what_is_wrong_on_a_medium_is_named_by_the_medium() {
    let config = crate::config::Config::parse(
            r#"(host: "web", labels: (efi: "EFI", root: "root"), repository: (remote: "/srv/repo"), system: Flake)"#,
            crate::config::Notation::Ron,
        )
        .unwrap();
    let allowed = Allowed::by(&config, &key_media::Standing::PluggedIn);
    let refused = |dir: &Utf8Path| {
        Credentials::default()
            .take_allowed(dir, "the stick /dev/sdx1", allowed)
            .unwrap_err()
    };
    let (_keep, dir) = dir();
    fs_err::create_dir(dir.join("deploy-key")).unwrap();
    let fault = refused(&dir);
    assert_eq!(fault.what(), "file deploy-key on the stick /dev/sdx1");
    assert!(
        fault
            .next()
            .contains("replace the directory with the file itself"),
        "{fault}"
    );
    fs_err::remove_dir(dir.join("deploy-key")).unwrap();
    fs_err::os::unix::fs::symlink("other", dir.join("deploy-key")).unwrap();
    assert!(refused(&dir).next().contains("replace the symbolic link"));
    fs_err::remove_file(dir.join("deploy-key")).unwrap();
    fs_err::write(dir.join("deploy-key"), "no key").unwrap();
    assert_eq!(refused(&dir).what(), "file deploy-key on the stick /dev/sdx1");
}

#[test]
fn a_consent_is_text() {
    let (_keep, dir) = dir();
    let file = dir.join("consent");
    let taken = |bytes: &[u8]| {
        fs_err::write(&file, bytes).unwrap();
        let mut credentials = Credentials::default();
        credentials
            .take_from(&dir, "")
            .map(|()| credentials.consent().map(str::to_owned))
    };
    for right in [&b"S1234567\r\n"[..], b"\xEF\xBB\xBFS1234567\n", b"  S1234567"] {
        assert_eq!(taken(right).unwrap().as_deref(), Some("S1234567"), "{right:?}");
    }
    for wrong in [
        &b"\xFF\xFES\x001\0"[..],
        b"\xFE\xFF\0S\x001",
        b"S\x001\0",
        b"S1\xE9",
    ] {
        let fault = taken(wrong).unwrap_err();
        assert!(fault.why().contains("save it as UTF-8"), "{fault}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_key_is_told_with_the_file_in_it() {
    let (_keep, dir) = dir();
    let refused = || Credentials::default().ssh_key_of(&dir).unwrap_err().next();
    assert!(refused().contains(&format!("ls {dir}")), "{}", refused());
    fs_err::write(dir.join("id_ed25519"), "").unwrap();
    assert!(
        refused().contains(&format!("ssh.key: \"{dir}/id_ed25519\"")),
        "{}",
        refused()
    );
}

#[test]
fn a_token_becomes_the_answer_of_a_credential_helper_and_goes_with_the_run() {
    let (_keep, dir) = dir();
    let file = dir.join("landfall.repository-token");
    for (text, answer) in [
        ("canary-1\n", "username=x-access-token\npassword=canary-1\n"),
        ("oauth2:canary-2", "username=oauth2\npassword=canary-2\n"),
        ("me:canary:3\r\n", "username=me\npassword=canary:3\n"),
    ] {
        fs_err::write(&file, text).unwrap();
        let mut credentials = Credentials {
            run_dir: dir.join("run"),
            ..Credentials::default()
        };
        credentials.take_from(&dir, "landfall.").unwrap();
        assert!(credentials.at_hand() == "repository-token", "{credentials:?}");
        let made = credentials.repository_token_file().unwrap().unwrap();
        assert_eq!(fs_err::read_to_string(&made).unwrap(), answer);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&made).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        remove_keys(&dir.join("run")).unwrap();
        assert!(!made.exists());
    }
    for bad in [
        "",
        "\n",
        "two words",
        "two\nlines",
        "caf\u{e9}",
        ":canary",
        "me:",
        "a\0b",
    ] {
        fs_err::write(&file, bad).unwrap();
        let fault = Credentials::default().take_from(&dir, "landfall.").unwrap_err();
        assert!(
            fault.why().contains("one line of visible") && !fault.to_string().contains("canary"),
            "{fault}"
        );
    }
}

#[test]
fn a_credential_is_one_line_that_can_be_typed() {
    let (_keep, dir) = dir();
    fs_err::write(dir.join("luks-passphrase"), "canary\r\n").unwrap();
    let mut credentials = Credentials::default();
    credentials.take_from(&dir, "").unwrap();
    assert_eq!(credentials.passphrase().unwrap().expose_secret(), "canary");
    fs_err::write(dir.join("luks-passphrase"), "canary\n\n").unwrap();
    let fault = Credentials::default().take_from(&dir, "").unwrap_err();
    assert!(fault.why().contains("more than one line"), "{fault}");
    assert!(
        fault.what().contains("luks-passphrase") && !fault.to_string().contains("canary"),
        "{fault}"
    );
}

#[test]
fn a_descriptor_gives_the_passphrase() {
    use std::os::fd::IntoRawFd;
    let (_keep, dir) = dir();
    fs_err::write(dir.join("p"), "from fd\n").unwrap();
    let fd = fs_err::File::open(dir.join("p"))
        .unwrap()
        .into_file()
        .into_raw_fd();
    assert_eq!(passphrase_from_fd(fd).unwrap().expose_secret(), "from fd");
    assert!(passphrase_from_fd(999).is_err());
    assert!(passphrase_from_fd(1).is_err());
    let fd = fs_err::File::open(&dir).unwrap().into_file().into_raw_fd();
    let fault = passphrase_from_fd(fd).unwrap_err();
    assert!(fault.why().contains("directory"), "{fault}");
}
