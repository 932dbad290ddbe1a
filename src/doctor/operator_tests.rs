use super::super::tests::Machine;
use super::*;
use age::secrecy::ExposeSecret as _;

#[test]
fn a_public_half_that_is_not_the_private_ones_is_found() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    let run = |scene: &Scene| super::super::tests::run("key-pair", scene);
    assert!(matches!(run(&scene), Outcome::Skipped(_)));
    let key = age::x25519::Identity::generate();
    machine.write("web.agekey", key.to_string().expose_secret());
    let file = machine.root.join("web.agekey");
    scene.identities = vec![file.clone()];
    assert!(matches!(run(&scene), Outcome::Fine(found) if found.contains("age1")));
    machine.write(
        "web.agekey.pub",
        age::x25519::Identity::generate().to_public().to_string(),
    );
    let Outcome::Finding(found) = run(&scene) else {
        panic!("another key's half is fine")
    };
    assert!(found.list[0].contains(&key.to_public().to_string()), "{found:?}");
    assert!(!found.list[0].contains("AGE-SECRET-KEY"));
    // age-keygen -y FILE > FILE.pub
    machine.write("web.agekey.pub", format!("# public\n{}\n", key.to_public()));
    assert!(matches!(run(&scene), Outcome::Fine(found) if found.contains(".pub says")));
    machine.write("web.agekey", "no key");
    assert!(matches!(run(&scene), Outcome::Finding(_)));
    machine.write("web.agekey", crate::real::test_support::SSH_KEY);
    machine.remove("web.agekey.pub");
    let Outcome::Fine(found) = run(&scene) else {
        panic!("an ssh key is none")
    };
    assert!(found.contains("ssh-ed25519 "), "{found}");
}

#[test]
fn a_secret_is_read_from_the_work_tree_and_else_from_the_store() {
    assert_eq!(in_flake("/nix/store/abc-source/secrets/a.age"), "secrets/a.age");
    assert_eq!(
        in_flake("/tmp/s/nix/store/abc-source/secrets/a.age"),
        "secrets/a.age"
    );
    assert_eq!(in_flake("/elsewhere/a.age"), "/elsewhere/a.age");
    let machine = Machine::new();
    let key = age::x25519::Identity::generate();
    machine.write("k", key.to_string().expose_secret());
    let (keys, flaws) = keys(&[machine.root.join("k"), machine.root.join("none")]);
    assert_eq!((keys.len(), flaws.len()), (1, 1));
    machine.write(
        "secrets/a.age",
        super::super::installed::tests::sealed(&key, b"x"),
    );
    assert!(opens(&keys, &machine.root, "/nix/store/abc-source/secrets/a.age").unwrap());
    assert!(!opens(&keys, &machine.root, "/nix/store/abc-source/secrets/b.age").unwrap());
}

#[test]
fn the_lock_file_says_what_landfall_is_pinned_to() {
    let machine = Machine::new();
    assert_eq!(locked(&machine.root), None);
    machine.write(
        "flake.lock",
        r#"{"nodes": {"landfall": {"locked": {"rev": "abc"}}, "root": {"inputs": {}}}}"#,
    );
    assert_eq!(locked(&machine.root).as_deref(), Some("abc"));
}
