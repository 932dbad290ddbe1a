//! Promise: if a remote does not give what is requested, the cause is named by its source: what ssh says reaches the table
//! through the very command that landfall gives to Git, a server's banner never does, and an error without a source is not a
//! failure of the network. A repository on this machine is read whoever owns it. Real ssh, real Git; a control beside each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use camino::{Utf8Path, Utf8PathBuf};
use clone::{Place, branch, git};
use landfall::real::git::foreseen;
use landfall_states::fault::{Cause, Fault, FaultClass};
use landfall_states::plan::Reference;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server of ssh that is ended with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn sshd() -> Option<Utf8PathBuf> {
    [
        "/usr/sbin/sshd",
        "/run/current-system/sw/bin/sshd",
        "/usr/bin/sshd",
    ]
    .map(Utf8PathBuf::from)
    .into_iter()
    .find(|path| path.exists())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A key pair; what stands in a list of keys.
fn key(place: &Place, name: &str, kind: &str) -> String {
    let file = place.dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t", kind, "-f", file.as_str()])
        .status();
    assert!(made.unwrap().success());
    let public = fs_err::read_to_string(format!("{file}.pub")).unwrap();
    public.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A server with these settings, and a place that knows it and its key. `None`: it cannot be run here.
fn serve(settings: &str) -> Option<(Place, Server)> {
    let mut place = Place::new()?;
    let Some(sshd) = sshd().filter(|_| is_root()) else {
        println!("skipped: no sshd, or not root");
        return None;
    };
    let kind = if settings.contains("ssh-rsa") {
        "rsa"
    } else {
        "ed25519"
    };
    let host = key(&place, "host", kind);
    let user = key(&place, "user", "ed25519");
    let dir = place.dir.clone();
    let port = free_port();
    fs_err::write(dir.join("allowed"), user).unwrap();
    fs_err::write(dir.join("known"), format!("[127.0.0.1]:{port} {host}\n")).unwrap();
    let banner = "fatal: repository 'x' not found\nPermission denied (publickey).\nHost key verification failed.\n\
                  Connection closed by 192.0.2.1 port 22\n";
    fs_err::write(dir.join("banner"), banner).unwrap();
    let text = format!(
        "{settings}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/allowed\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nBanner {dir}/banner\n"
    );
    let conf = dir.join("sshd_config");
    fs_err::write(&conf, text).unwrap();
    let tried = Command::new(&sshd)
        .args(["-t", "-f", conf.as_str()])
        .output()
        .unwrap();
    if !tried.status.success() {
        println!("skipped: sshd: {}", String::from_utf8_lossy(&tried.stderr));
        return None;
    }
    let child = Command::new(&sshd)
        .args(["-D", "-f", conf.as_str()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, port };
    let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    for _ in 0..200 {
        if answers() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    place.access.key = Some(dir.join("user"));
    place.access.known_hosts = Some(dir.join("known"));
    Some((place, server))
}

fn asked(place: &Place, server: &Server, path: &Utf8Path) -> Result<(), Fault> {
    let url = format!("ssh://root@127.0.0.1:{}{path}", server.port);
    place
        .resolve(&place.repository(&url, Reference::Default))
        .map(drop)
}

/// The settings of a server, and what comes of it.
fn is_asked(settings: &str, wanted: Option<Cause>) {
    let Some((place, server)) = serve(settings) else {
        return;
    };
    match (asked(&place, &server, &place.origin()), wanted) {
        (Ok(()), None) => {}
        (Err(fault), Some(cause)) => assert_eq!(fault.cause(), Some(cause), "{settings}: {fault}"),
        (done, _) => panic!("{settings}: {done:?}"),
    }
}

#[test]
fn what_ssh_says_is_known_and_a_banner_is_not_read() {
    is_asked("", None);
    for settings in [
        "HostKeyAlgorithms ssh-rsa",
        "KexAlgorithms diffie-hellman-group1-sha1",
        "Ciphers 3des-cbc",
        "Ciphers aes128-ctr\nMACs hmac-md5",
    ] {
        is_asked(settings, Some(Cause::SshAlgorithms));
    }
    is_asked("AuthorizedKeysFile none", Some(Cause::KeyRefused));
    is_asked("ForceCommand kill -9 $PPID", Some(Cause::Network));
}

#[test]
fn what_nobody_says_is_no_failure_of_the_network() {
    for settings in [
        "ForceCommand exit 255",
        "ForceCommand exit 0",
        "ForceCommand exec no-such-program",
        "ForceCommand echo This account is currently not available.; exit 1",
        "ForceCommand echo Welcome; /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"",
    ] {
        is_asked(settings, Some(Cause::Unknown));
    }
}

#[test]
fn a_repository_that_the_server_does_not_read_is_told_as_that() {
    let Some((place, server)) = serve("") else { return };
    give_away(&place.origin());
    let fault = asked(&place, &server, &place.origin()).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    assert!(fault.next().contains("safe.directory"), "{}", fault.next());
}

fn give_away(dir: &Utf8Path) {
    let given = Command::new("chown")
        .args(["-R", "12345:12345", dir.as_str()])
        .status();
    assert!(given.unwrap().success());
}

#[test]
fn a_repository_here_is_read_for_any_owner() {
    let Some(place) = Place::new().filter(|_| is_root()) else {
        println!("skipped: not root");
        return;
    };
    let bare = place.dir.join("bare.git");
    let from = place.origin();
    git(
        &place.dir,
        &["clone", "-q", "--bare", from.as_str(), bare.as_str()],
    );
    give_away(&from);
    give_away(&bare);
    // The control: Git by itself does not, whatever it is told in the environment.
    let plain = Command::new("git")
        .args(["ls-remote", "--", from.as_str()])
        .envs(place.access.env())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&plain.stderr);
    assert!(said.contains("dubious ownership"), "{said}");
    for url in [
        from.to_string(),
        format!("file://{from}"),
        format!("{from}/.git"),
        bare.to_string(),
        place.dir.join("bare").to_string(),
    ] {
        let repository = place.repository(&url, branch("trunk"));
        let revision = place.resolve(&repository).unwrap();
        let scratch = place.dir.join("run");
        let (context, access) = (&place.context, &place.access);
        let looked = foreseen::look(context, access, &repository, &revision, &scratch, 64 << 20);
        place.runtime.block_on(looked).unwrap();
        place.clone(&place.action(repository, revision)).unwrap();
        fs_err::remove_dir_all(place.path()).unwrap();
    }
}

/// A server that answers with the status that stands in the address, and its port.
fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0_u8; 4096];
            let read = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let status = asked.split('/').nth(1).unwrap_or("404");
            let answer = format!(
                "HTTP/1.1 {status} X\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn an_address_of_a_submodule_is_repaired_in_gitmodules() {
    let Some(place) = Place::new() else { return };
    let port = web();
    let id = git(&place.origin(), &["rev-parse", "HEAD"]);
    let link = format!("160000,{id},sub");
    git(&place.origin(), &["update-index", "--add", "--cacheinfo", &link]);
    for url in [
        format!("http://127.0.0.1:{port}/404/x"),
        format!("http://127.0.0.1:{port}/401/x"),
        format!("http://127.0.0.1:{port}/403/x"),
        format!("http://127.0.0.1:{port}/418/x"),
        "https://127.0.0.1:99999/x".into(),
        "sftp://127.0.0.1/x".into(),
        "--upload-pack=true".into(),
        "ext::true".into(),
        "/no/such/folder".into(),
    ] {
        let text = format!("[submodule \"x\"]\n\tpath = sub\n\turl = {url}\n");
        fs_err::write(place.origin().join(".gitmodules"), text).unwrap();
        git(&place.origin(), &["add", ".gitmodules"]);
        git(&place.origin(), &["commit", "-q", "-m", "x"]);
        let repository = place.here(branch("trunk"));
        let revision = place.resolve(&repository).unwrap();
        let scratch = place.dir.join("run");
        let looked = foreseen::look(
            &place.context,
            &place.access,
            &repository,
            &revision,
            &scratch,
            64 << 20,
        );
        let seen = place.runtime.block_on(looked).unwrap_err();
        let cloned = place.clone(&place.action(repository, revision)).unwrap_err();
        assert!(
            seen.next().contains(".gitmodules"),
            "{url}: {seen}: {}",
            seen.next()
        );
        for fault in [seen, cloned] {
            assert!(
                !fault.next().contains("correct repository.remote"),
                "{url}: {fault}"
            );
            assert_ne!(fault.class, FaultClass::Transient, "{url}: {fault}");
        }
        let _ = fs_err::remove_dir_all(place.path().parent().unwrap());
    }
}
