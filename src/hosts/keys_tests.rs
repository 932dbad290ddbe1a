use super::*;

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(keep.path()).unwrap().join("a/keys");
    (keep, path)
}

#[test]
fn keys_are_made_once_for_their_owner_alone_and_used_again() {
    let (_keep, dir) = folder();
    let first = Keys::of(&dir, "web", &[]).unwrap();
    assert!(
        !dir.as_std_path().exists(),
        "nothing is written before it is asked for"
    );
    first.write().unwrap();
    let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&dir), 0o700);
    let mut names: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "age-identity",
            "deploy-key",
            "deploy-key.pub",
            "ssh-key",
            "ssh-key.pub"
        ]
    );
    for name in &names {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    let again = Keys::of(&dir, "web", &[]).unwrap();
    assert_eq!(again.made(), Vec::<&str>::new());
    assert_eq!(
        (&again.age_public, &again.ssh_public, &again.deploy_public),
        (&first.age_public, &first.ssh_public, &first.deploy_public)
    );
    let other = Keys::of(&dir, "db", &[]).err().unwrap().to_string();
    assert!(other.contains("the key of host web"), "{other}");
}

#[test]
fn landfall_itself_takes_the_keys_that_are_made() {
    let (_keep, dir) = folder();
    Keys::of(&dir, "web", &[]).unwrap().write().unwrap();
    let secret = |name: &str| Secret::copy_of(&fs::read(dir.join(name)).unwrap()).unwrap();
    crate::real::secrets::key_text::ssh(&secret("ssh-key"), "x").unwrap();
    crate::real::secrets::key_text::ssh(&secret("deploy-key"), "x").unwrap();
    crate::real::secrets::key_text::age(&secret("age-identity"), "x").unwrap();
}

#[test]
fn a_run_that_was_cut_off_in_the_middle_of_a_key_leaves_no_key() {
    let (_keep, dir) = folder();
    Keys::of(&dir, "web", &[]).unwrap().write().unwrap();
    fs::rename(dir.join("age-identity"), dir.join("whole")).unwrap();
    fs::write(dir.join(".age-identity.new"), "AGE-SEC").unwrap();
    let keys = Keys::of(&dir, "web", &[]).unwrap();
    assert_eq!(keys.made(), ["age-identity"]);
    keys.write().unwrap();
    assert!(!dir.join(".age-identity.new").as_std_path().exists());
    assert_eq!(Keys::of(&dir, "web", &[]).unwrap().age_public, keys.age_public);
    // Never over another one; and what was written for it does not stay.
    assert!(put(&dir.join("age-identity"), b"x").is_err());
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let kept = [
        "age-identity",
        "deploy-key",
        "deploy-key.pub",
        "ssh-key",
        "ssh-key.pub",
        "whole",
    ];
    assert_eq!(names, kept);
}

#[test]
fn folders_where_no_private_key_belongs_are_refused() {
    let (keep, dir) = folder();
    let root = Utf8Path::from_path(keep.path()).unwrap();
    let said = |dir: &Utf8Path, roots: &[Utf8PathBuf]| Keys::of(dir, "web", roots).err().unwrap().to_string();
    assert!(said(&dir, &[fs::canonicalize(root).unwrap().try_into().unwrap()]).contains("in the repository"));
    assert!(said(Utf8Path::new("/nix/store/x"), &[]).contains("Nix store"));
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(said(&dir, &[]).contains("chmod 700"));
    fs::write(root.join("file"), "x").unwrap();
    for (at, why) in [
        ("file", "it is not a directory"),
        ("file/keys", "its parent is not a directory"),
    ] {
        let text = said(&root.join(at), &[]);
        assert!(text.contains(why) && !text.contains("os error"), "{text}");
    }
    fs::create_dir(root.join(".git")).unwrap();
    assert!(said(&root.join("b"), &[]).contains("Git working tree"));
    // By another name.
    let outside = tempfile::tempdir().unwrap();
    let link = Utf8Path::from_path(outside.path()).unwrap().join("link");
    std::os::unix::fs::symlink(root, &link).unwrap();
    assert!(said(&link.join("keys"), &[]).contains("Git working tree"));
}

#[test]
fn a_public_half_is_that_of_its_key() {
    let (_keep, dir) = folder();
    Keys::of(&dir, "web", &[]).unwrap().write().unwrap();
    assert!(Keys::of(&dir, "web", &[]).is_ok());
    let path = dir.join("ssh-key.pub");
    let refused = || Keys::of(&dir, "web", &[]).err().unwrap().to_string();
    fs::write(&path, "ssh-ed25519 AAAA other\n").unwrap();
    assert!(
        refused().contains("does not match the private key"),
        "{}",
        refused()
    );
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &path).unwrap();
    let said = refused();
    assert!(said.contains("next: mv ") && !said.contains("rm "), "{said}");
}

/// What is told never costs anybody a key.
#[test]
fn another_private_key_in_the_place_of_one_is_moved_away_and_not_removed() {
    let (_keep, dir) = folder();
    Keys::of(&dir, "web", &[]).unwrap().write().unwrap();
    let identity = dir.join("age-identity");
    let whole = fs::read(&identity).unwrap();
    let two = [whole.clone(), whole.clone()].concat();
    let ssh = fs::read(dir.join("ssh-key")).unwrap();
    for (name, bytes, why) in [
        ("age-identity", two.as_slice(), "more than one age identity"),
        ("age-identity", &ssh, "an SSH private key"),
        (
            "age-identity",
            b"AGE-PLUGIN-YUBIKEY-1QQPQQQQQQQQQQQQQG8Q6TG",
            "something else",
        ),
        ("age-identity", b"age-encryption.org/v1\n", "encrypted"),
        ("age-identity", &[b'x'; 70_000], "longer than 65536 bytes"),
        ("ssh-key", &whole, "not an OpenSSH private key"),
    ] {
        let before = fs::read(dir.join(name)).unwrap();
        fs::write(dir.join(name), bytes).unwrap();
        let said = Keys::of(&dir, "web", &[]).err().unwrap().to_string();
        assert!(
            said.contains(why) && !said.contains("remove") && !said.contains("rm "),
            "{said}"
        );
        // What is told, done: the key is there, and so is a way on.
        assert!(
            said.contains(&format!(
                "next: mv {} ELSEWHERE, so that landfall makes a new one",
                dir.join(name)
            )),
            "{said}"
        );
        let elsewhere = dir.with_file_name("elsewhere");
        fs::rename(dir.join(name), &elsewhere).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), bytes);
        if name == "age-identity" {
            Keys::of(&dir, "web", &[]).unwrap();
        }
        fs::write(dir.join(name), before).unwrap();
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    Keys::of(&dir, "web", &[]).unwrap();
}

#[test]
fn a_key_that_is_none_is_refused() {
    let (_keep, dir) = folder();
    Keys::of(&dir, "web", &[]).unwrap().write().unwrap();
    fs::write(dir.join("age-identity"), "AGE-SECRET-KEY-1NONE").unwrap();
    assert!(
        Keys::of(&dir, "web", &[])
            .err()
            .unwrap()
            .to_string()
            .contains("not an age identity")
    );
}
