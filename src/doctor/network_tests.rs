use super::super::tests::{Machine, config, finding, fine, skipped, with};
use super::*;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

/// What Nix 2.34.8 wrote into a cache of its own (`nix copy --to 'file:///…?secret-key=…'`), and the key's public half.
const NARINFO: &str = "StorePath: /nix/store/zqf4hfr62jiwzd1gsppbhg3802mb0b1q-bash-5.2
URL: nar/1qdhkl05wkv791is6hcpk6pj4a520kzacvw99rg8y6wlvry73kxl.nar.xz
Compression: xz
FileHash: sha256:1qdhkl05wkv791is6hcpk6pj4a520kzacvw99rg8y6wlvry73kxl
FileSize: 184
NarHash: sha256:0mq2dqwfmpnnnj7bv6p0kpg7hr29ch083ad3j9wnl36kfvbcla6h
NarSize: 176
References: p2sk11xzbv1pbk39z0ghigy34yab732d-coreutils-9
Sig: test-cache-1:4G6R0rS83pXHehq9pOZlKf6noCBEP/FErpYA/h/InRJ8MxUWfQjX8YzQ9HYaoJbpt5YKPpNqIU5aokU9YFkMCQ==
CA: text:sha256:0nfnq1jg10wigzj3nszz8x4z635dj03m8zvwmc85vsvp1l0l3mbn
";
const KEY: &str = "test-cache-1:uFA1wDOwf5POFszDoHr6WNq93DLV7jJFmVH8ppJUZEU=";
const INFO: &str = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n";

/// A web server on loopback that answers each path with the same bytes for ever; it ends with the tests.
fn serve(answers: &[(&str, String)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let answers: HashMap<String, String> = answers
        .iter()
        .map(|(path, answer)| ((*path).to_owned(), answer.clone()))
        .collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            let none = answer(404, "", "404");
            let text = answers.get(path).or(answers.get("*")).unwrap_or(&none);
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
    format!("http://{server}")
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// An installer that builds from a flake, with this cache and no other.
struct Installer {
    machine: Machine,
    scene: Scene,
}

impl Installer {
    fn new() -> Self {
        let machine = Machine::new();
        let mut scene = machine.scene();
        // A Nix that says what a real one says of these settings, so that no other cache is asked.
        machine.write("bin/nix", "#!/bin/sh\nexit 0\n");
        use std::os::unix::fs::PermissionsExt as _;
        let nix = machine.root.join("bin/nix");
        let mut permissions = fs_err::metadata(&nix).unwrap().permissions();
        permissions.set_mode(0o755);
        fs_err::set_permissions(&nix, permissions).unwrap();
        let path = std::env::var("PATH").unwrap();
        scene
            .context
            .env
            .push(("PATH".into(), format!("{}/bin:{path}", machine.root)));
        machine.write("nix/store/zqf4hfr62jiwzd1gsppbhg3802mb0b1q-bash-5.2", "");
        Installer { machine, scene }
    }

    fn caches(&mut self, caches: &[&str], keys: &[&str]) {
        let text = format!(
            r#"repository: (remote: "https://localhost/o/r"), system: Flake,
            nix: (substituters: {caches:?}, trusted_public_keys: {keys:?})"#
        );
        with(&mut self.scene, config(&text));
    }
}

#[test]
fn links_addresses_and_routes_are_found_in_their_order() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    with(
        &mut scene,
        config(r#"repository: (remote: "https://localhost/o/r"), system: Flake"#),
    );
    machine.write("sys/class/net/lo/type", "772\n");
    assert!(finding("network", &scene).why.contains("no network interface"));
    machine.write("sys/class/net/enp1s0/type", "1\n");
    machine.write("sys/class/net/enp1s0/operstate", "down\n");
    let found = finding("network", &scene);
    assert_eq!(found.list, ["enp1s0 (wired): no link"]);
    assert!(found.next.contains("cable"));
    machine.write("sys/class/net/enp1s0/operstate", "up\n");
    scene.addresses = vec![("enp1s0".into(), "169.254.7.7".parse().unwrap())];
    assert!(finding("network", &scene).next.contains("DHCP"));
    scene.addresses = vec![("enp1s0".into(), "10.0.0.7".parse().unwrap())];
    assert_eq!(finding("network", &scene).what, "default route");
    // As the kernel writes it; the first line is of the network itself.
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let own = "enp1s0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
    machine.write("proc/net/route", format!("{head}{own}"));
    finding("network", &scene);
    let out = "enp1s0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    machine.write("proc/net/route", format!("{head}{own}{out}"));
    assert!(fine("network", &scene).contains("10.0.0.7"));
    machine.write("proc/net/route", head);
    let zero = "0".repeat(32);
    let v6 = |interface: &str| {
        format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00000001 {interface}\n")
    };
    machine.write("proc/net/ipv6_route", v6("lo"));
    finding("network", &scene);
    machine.write("proc/net/ipv6_route", v6("enp1s0"));
    fine("network", &scene);
}

#[test]
fn names_that_do_not_resolve_are_found() {
    let mut installer = Installer::new();
    installer.caches(&["http://cache.invalid"], &[]);
    let found = finding("names", &installer.scene);
    assert!(
        found.list.iter().any(|line| line.starts_with("cache.invalid:")),
        "{found:?}"
    );
    assert!(
        !found.list.iter().any(|line| line.starts_with("localhost")),
        "{found:?}"
    );
    installer.caches(&["http://127.0.0.1:1"], &[]);
    assert!(fine("names", &installer.scene).contains("localhost"));
    assert_eq!(
        server_of_remote("git+ssh://git@forge.example:2222/o/r").as_deref(),
        Some("forge.example")
    );
    assert_eq!(
        server_of_remote("git@forge.example:o/r").as_deref(),
        Some("forge.example")
    );
    assert_eq!(server_of_remote("file:///o/r"), None);
    assert_eq!(server_of_remote("/o/r"), None);
}

#[test]
fn a_captive_portal_is_told_from_a_cache() {
    let mut installer = Installer::new();
    let page = answer(
        200,
        "Content-Type: text/html\r\n",
        "<!DOCTYPE html><title>Welcome</title>",
    );
    installer.caches(&[&serve(&[("*", page.clone())])], &[]);
    assert!(finding("portal", &installer.scene).why.contains("web page"));
    assert!(finding("caches", &installer.scene).list[0].contains("not the description of a cache"));
    let away = answer(302, "Location: http://login.hotel.example/?u=1\r\n", "");
    installer.caches(&[&serve(&[("*", away)])], &[]);
    assert!(
        finding("portal", &installer.scene)
            .why
            .contains("login.hotel.example")
    );
    // What caches do.
    let to_tls = answer(301, "Location: https://127.0.0.1/nix-cache-info\r\n", "");
    installer.caches(&[&serve(&[("*", to_tls)])], &[]);
    fine("portal", &installer.scene);
    installer.caches(&[&serve(&[("/nix-cache-info", answer(200, "", INFO))])], &[]);
    fine("portal", &installer.scene);
    assert!(fine("caches", &installer.scene).starts_with("1 of 1"));
}

#[test]
fn caches_that_cannot_be_used_are_found_each_with_its_reason() {
    let mut installer = Installer::new();
    let good = serve(&[("/a/nix-cache-info", answer(200, "", INFO))]);
    let private = serve(&[("*", answer(401, "", ""))]);
    let other = serve(&[("*", answer(200, "", "StoreDir: /gnu/store\n"))]);
    let late = serve(&[("*", answer(200, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", INFO))]);
    installer.caches(
        &[
            &format!("{good}/a"),
            &private,
            &other,
            &late,
            "http://127.0.0.1:1",
        ],
        &[],
    );
    let found = finding("caches", &installer.scene);
    for words in ["token (status 401)", "/gnu/store", "differ by", "127.0.0.1:1"] {
        assert!(
            found.list.iter().any(|line| line.contains(words)),
            "{words}: {found:?}"
        );
    }
    assert_eq!(found.list.len(), 4);
    installer.caches(&[&format!("{good}/a")], &[]);
    fine("caches", &installer.scene);
}

#[test]
fn a_key_that_does_not_prove_what_the_cache_signs_is_found() {
    let mut installer = Installer::new();
    let cache = serve(&[
        ("/nix-cache-info", answer(200, "", INFO)),
        (
            "/zqf4hfr62jiwzd1gsppbhg3802mb0b1q.narinfo",
            answer(200, "", NARINFO),
        ),
    ]);
    installer.caches(&[&cache], &[KEY]);
    assert!(fine("cache-keys", &installer.scene).contains("test-cache-1"));
    // The same name with another key proves nothing, and neither does what was changed behind a signature.
    let false_key = format!("{}AAAA=", &KEY[..KEY.len() - 5]);
    installer.caches(&[&cache], &[&false_key]);
    let found = finding("cache-keys", &installer.scene);
    assert!(
        found.list[0].contains("test-cache-1") && found.next.contains("trustedPublicKeys"),
        "{found:?}"
    );
    let changed = NARINFO.replace("NarSize: 176", "NarSize: 177");
    let changed = serve(&[(
        "/zqf4hfr62jiwzd1gsppbhg3802mb0b1q.narinfo",
        answer(200, "", &changed),
    )]);
    installer.caches(&[&changed], &[KEY]);
    finding("cache-keys", &installer.scene);
    // The remedy: the right key.
    installer.caches(&[&cache], &[&false_key, KEY]);
    fine("cache-keys", &installer.scene);
    installer
        .machine
        .remove("nix/store/zqf4hfr62jiwzd1gsppbhg3802mb0b1q-bash-5.2");
    assert!(skipped("cache-keys", &installer.scene).contains("no path of this installer"));
}

#[test]
fn an_install_that_carries_everything_asks_nothing() {
    let machine = Machine::new();
    let mut scene = machine.scene();
    let rest = r#"repository: (bundle: "/bundle"), system: Prebuilt("/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web")"#;
    with(&mut scene, config(rest));
    for name in ["network", "names", "portal", "caches", "cache-keys", "remote"] {
        skipped(name, &scene);
    }
}

#[test]
fn the_plain_url_of_a_cache_keeps_its_port_only_where_it_is_plain() {
    let http = |url| info_url(url, Some("http")).unwrap();
    assert_eq!(
        http("https://cache.nixos.org/"),
        "http://cache.nixos.org/nix-cache-info"
    );
    assert_eq!(
        http("https://c.example:8443/x"),
        "http://c.example/x/nix-cache-info"
    );
    assert_eq!(http("http://c.example:81"), "http://c.example:81/nix-cache-info");
}
