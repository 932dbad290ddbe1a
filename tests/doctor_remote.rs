//! Promise: `landfall doctor` asks the remote with the key and the known hosts that the installer has. With OpenSSH's own
//! server.
//!
//! `doctor` and `doctor_operator` have everything else.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "doctor/kit.rs"]
#[allow(dead_code)]
mod kit;

use camino::Utf8Path;
use kit::{Place, finding, fine, has, scene, skipped};
use landfall::config::{Config, Notation};
use landfall::doctor::Scene;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};
use std::time::Duration;

/// OpenSSH's own server on loopback, which ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

fn sshd(place: &Place) -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = std::env::var("PATH").unwrap();
    place.write(
        "sshd_config",
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nSetEnv PATH={path}\n",
            place.root
        ),
    );
    fs_err::create_dir_all("/run/sshd").unwrap_or_default();
    let program = place.sh("command -v sshd || echo /usr/sbin/sshd");
    let child = Command::new(program.trim())
        .args(["-D", "-e", "-f", place.at("sshd_config").as_str()])
        .stderr(fs_err::File::create(place.at("sshd.log")).unwrap().into_parts().0)
        .spawn()
        .unwrap();
    let server = Server { child, port };
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}", fs_err::read_to_string(place.at("sshd.log")).unwrap());
}

#[test]
fn the_remote_is_asked_with_the_key_and_the_known_hosts() {
    if !has("ssh-keygen") || !has("git") || !Utf8Path::new("/usr/sbin/sshd").exists() {
        return;
    }
    let place = Place::new();
    place.sh(
        "for k in host good bad; do ssh-keygen -q -t ed25519 -N '' -C test -f $k; done; cp good.pub authorized; : > known; \
         git init -q --bare -b main r.git; git init -q -b main w; cd w; \
         git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one; git push -q ../r.git main",
    );
    let server = sshd(&place);
    let user = place.sh("id -un");
    let remote = format!(
        "ssh://{}@127.0.0.1:{}{}/r.git",
        user.trim(),
        server.port,
        place.root
    );
    let mut scene = scene();
    let configure = |scene: &mut Scene, key: Option<&str>, branch: &str| {
        let key = key.map_or(String::new(), |key| format!("key: Some(\"{}\"), ", place.at(key)));
        let text = format!(
            r#"(host: "web", labels: (efi: "E", root: "r"), system: Flake,
            repository: (remote: "{remote}", branch: "{branch}"), ssh: ({key}known_hosts: Some("{}/known")))"#,
            place.root
        );
        let config = Config::parse(&text, Notation::Ron).unwrap_or_else(|error| panic!("{error}"));
        scene.config = Some(("install.ron".into(), Ok(config)));
    };
    configure(&mut scene, Some("good"), "main");
    let found = finding("remote", &scene);
    assert!(found.why.to_lowercase().contains("host key"), "{found:?}");
    // The remedy: its line among the known hosts.
    let host = fs_err::read_to_string(place.at("host.pub")).unwrap();
    place.write("known", format!("[127.0.0.1]:{} {host}", server.port));
    let said = fine("remote", &scene);
    assert!(said.contains("revision ") && said.contains("/good"), "{said}");
    configure(&mut scene, Some("bad"), "main");
    let found = finding("remote", &scene);
    assert!(found.why.to_lowercase().contains("denied"), "{found:?}");
    place.sh("cat bad.pub >> authorized");
    fine("remote", &scene);
    configure(&mut scene, None, "main");
    assert!(skipped("remote", &scene).contains("--ssh-key"));
    scene.ssh_key = Some(place.at("good"));
    fine("remote", &scene);
    configure(&mut scene, None, "other");
    let found = finding("remote", &scene);
    assert!(found.why.contains("other"), "{found:?}");
    place.sh("git -C r.git branch other main");
    fine("remote", &scene);
    // ssh refuses keys that others may read; the store's are.
    fs_err::set_permissions(place.at("good"), std::fs::Permissions::from_mode(0o444)).unwrap();
    fine("remote", &scene);
}
