//! Promise: if no key was passed in, landfall makes one in memory and shows it; a real `sshd` refuses it until it is allowed;
//! then the install continues by itself. Nothing private is reported or kept on a disk, and every other failure ends the run
//! at once.
//!
//! A machine without `sshd` tries the parts that need none.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::config::{Config, Notation};
use landfall::event::{Event, FaultTold, Listener, Reporter};
use landfall::real::Real;
use landfall::real::git::command::{self, Access};
use landfall::real::git::repository::resolve_with;
use landfall::real::process::command::Ended;
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use landfall::real::secrets::credentials::Credentials;
use landfall::real::secrets::made_key::{MadeKey, Wait, of_this_boot, until_let_in};
use landfall_states::fault::{Cause, Fault, FaultClass, Kind};
use landfall_states::names::HostName;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A folder in memory, as `/run` is.
fn memory() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    (keep, dir)
}

fn host() -> HostName {
    "web".parse().unwrap()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server with one repository that nobody may read yet.
struct Forge {
    server: Child,
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    port: u16,
}

impl Forge {
    fn new() -> Option<Forge> {
        const SSHD: &str = "/usr/sbin/sshd";
        if !Utf8Path::new(SSHD).exists() || !nix::unistd::geteuid().is_root() {
            println!("skipped: no {SSHD}, or not root");
            return None;
        }
        let (keep, dir) = memory();
        // sshd has no other place for it.
        fs_err::create_dir_all("/run/sshd").unwrap();
        run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", dir.join("host").as_str()],
        );
        let bare = dir.join("r.git");
        run(
            "git",
            &["init", "-q", "--bare", "--initial-branch=main", bare.as_str()],
        );
        let tree = run("git", &["-C", bare.as_str(), "write-tree"]);
        let who = ["-c", "user.name=x", "-c", "user.email=x@x"];
        let mut args = vec!["-C", bare.as_str()];
        args.extend(who);
        args.extend(["commit-tree", "-m", "one", tree.trim()]);
        let commit = run("git", &args);
        run(
            "git",
            &[
                "-C",
                bare.as_str(),
                "update-ref",
                "refs/heads/main",
                commit.trim(),
            ],
        );
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs_err::write(dir.join("authorized"), "").unwrap();
        fs_err::write(
            dir.join("config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized\nPidFile none\n\
                 UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            ),
        )
        .unwrap();
        let server = Command::new(SSHD)
            .args(["-D", "-e", "-f", dir.join("config").as_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "sshd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let public = fs_err::read_to_string(dir.join("host.pub")).unwrap();
        fs_err::write(dir.join("known"), format!("[127.0.0.1]:{port} {public}")).unwrap();
        Some(Forge {
            server,
            _keep: keep,
            dir,
            port,
        })
    }

    fn repository(&self) -> Repository {
        let remote = format!("ssh://root@127.0.0.1:{}{}/r.git", self.port, self.dir);
        Repository {
            source: RepositorySource::Remote(remote.parse().unwrap()),
            reference: Reference::Default,
            clone_path: "/mnt/nix-config".parse().unwrap(),
        }
    }

    fn access(&self, key: &MadeKey) -> Access {
        Access {
            key: Some(key.file.clone()),
            known_hosts: Some(self.dir.join("known")),
            token: None,
            connect_s: 15,
            stall_s: 30,
        }
    }

    /// As somebody does in the forge's pages, a while later.
    fn allow(&self, public: &str, later: Duration) -> std::thread::JoinHandle<()> {
        let (file, line) = (self.dir.join("authorized"), format!("{public}\n"));
        std::thread::spawn(move || {
            std::thread::sleep(later);
            let mut file = fs_err::OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        })
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Listener for Told {
    fn take(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Told {
    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    fn asked(&self) -> usize {
        let asks = |event: &&Event| matches!(event, Event::Asking { .. });
        self.events().iter().filter(asks).count()
    }
}

/// Waits as a run does, with pauses that a test can bear. The answer, what was told, and how long it took.
fn waited(
    key: &MadeKey,
    repository: &Repository,
    access: &Access,
    limit: Option<Duration>,
    stop: Stop,
) -> (Result<(), Fault>, Told, Duration) {
    let told = Told::default();
    let reporter = Reporter::default();
    reporter.add(Box::new(told.clone()));
    let context = CommandContext::new(reporter, stop);
    let RepositorySource::Remote(remote) = &repository.source else {
        panic!("a remote");
    };
    let (_keep, scratch) = memory();
    let wait = Wait {
        key,
        remote,
        limit,
        pauses: (Duration::from_millis(200), Duration::from_millis(500)),
    };
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(until_let_in(&context, &wait, async || {
        resolve_with(&context, access, repository, &scratch)
            .await
            .map(drop)
    }));
    (answer, told, began.elapsed())
}

fn cause(fault: &Fault) -> Option<Cause> {
    match &*fault.kind {
        Kind::Ending { cause, .. } => Some(*cause),
        _ => None,
    }
}

/// What Git and ssh printed, as tests/tool_errors has it of the real ones.
fn said(name: &str) -> Fault {
    let text =
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tool_errors/ssh.txt")).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| *line != format!("## {name}"))
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let stderr: Vec<&str> = lines.filter_map(|line| line.strip_prefix("| ")).collect();
    assert!(!stderr.is_empty(), "{name}");
    let ended = Ended {
        program: "git".into(),
        code: Some(128),
        signal: None,
        stdout: String::new(),
        stderr: stderr.join("\n"),
    };
    command::fault("repository ssh://git@forge.example/r.git", &ended)
}

/// Without a server: only the real words of a refusal are waited for.
#[test]
fn a_refusal_in_the_words_of_ssh_is_waited_for_and_no_other_ending_is() {
    let (_keep, dir) = memory();
    let key = of_this_boot(&dir, &host()).unwrap();
    let remote = "ssh://git@forge.example/r.git".parse().unwrap();
    let asked = |words: &[&str]| {
        let told = Told::default();
        let reporter = Reporter::default();
        reporter.add(Box::new(told.clone()));
        let context = CommandContext::new(reporter, Stop::never());
        let wait = Wait {
            key: &key,
            remote: &remote,
            limit: Some(Duration::from_secs(60)),
            pauses: (Duration::from_millis(1), Duration::from_millis(2)),
        };
        let answers: Vec<Fault> = words.iter().map(|name| said(name)).collect();
        let next = std::cell::Cell::new(0);
        let answer = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(until_let_in(&context, &wait, async || {
                let number = next.replace(next.get() + 1);
                answers.get(number).map_or(Ok(()), |fault| Err(fault.clone()))
            }));
        (answer.map_err(|fault| cause(&fault)), next.get(), told.asked())
    };
    assert_eq!(asked(&["ssh-key-refused"; 3]), (Ok(()), 4, 1));
    assert_eq!(asked(&["ssh-forge-no-access"]), (Ok(()), 2, 1));
    for (name, cause) in [
        ("ssh-host-unknown", Cause::HostKey),
        ("ssh-no-name", Cause::Network),
        ("ssh-forge-suspended", Cause::Suspended),
        ("ssh-forge-not-found", Cause::RepositoryMissing),
    ] {
        assert_eq!(asked(&[name]), (Err(Some(cause)), 1, 0), "{name}");
        // Also after a refusal.
        assert_eq!(
            asked(&["ssh-key-refused", name]),
            (Err(Some(cause)), 2, 1),
            "{name}"
        );
    }
}

#[test]
fn a_key_is_made_in_memory_and_is_the_same_for_the_whole_boot() {
    let (_keep, dir) = memory();
    let run_dir = dir.join("run");
    let key = of_this_boot(&run_dir, &host()).unwrap();
    assert!(key.public.starts_with("ssh-ed25519 AAAA") && key.public.ends_with(" landfall web"));
    let mode = fs_err::metadata(&key.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // Whoever runs ssh is the judge of the private half.
    let said = run("ssh-keygen", &["-y", "-P", "", "-f", key.file.as_str()]);
    assert_eq!(said.trim(), key.public);
    assert_eq!(of_this_boot(&run_dir, &host()).unwrap(), key, "started again");
    landfall::real::secrets::credentials::remove_keys(&run_dir).unwrap();
    assert_eq!(
        of_this_boot(&run_dir, &host()).unwrap(),
        key,
        "a run ended between"
    );
    // After a power cut memory is empty.
    fs_err::remove_dir_all(&run_dir).unwrap();
    let other = of_this_boot(&run_dir, &host()).unwrap();
    assert_ne!(other.public, key.public);
    // What was damaged is made again, and is whole.
    fs_err::write(&other.file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    let third = of_this_boot(&run_dir, &host()).unwrap();
    assert_ne!(third.public, other.public);
    run("ssh-keygen", &["-y", "-P", "", "-f", third.file.as_str()]);
}

#[test]
fn no_key_is_written_where_a_disk_is() {
    // The folder of the build is on one; a machine where even that is in memory has nothing to show here.
    let keep = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    match of_this_boot(dir, &host()) {
        Err(fault) => {
            assert!(fault.why().contains("not in memory"), "{fault}");
            assert_eq!(fs_err::read_dir(dir).unwrap().count(), 0);
        }
        Ok(_) => println!("skipped: {dir} is in memory"),
    }
}

#[test]
fn a_key_is_shown_once_and_waited_for_until_the_server_takes_it() {
    let Some(forge) = Forge::new() else { return };
    let (_keep, dir) = memory();
    let key = of_this_boot(&dir, &host()).unwrap();
    let (repository, access) = (forge.repository(), forge.access(&key));
    let allowing = forge.allow(&key.public, Duration::from_millis(1_500));
    let (answer, told, took) = waited(&key, &repository, &access, None, Stop::never());
    allowing.join().unwrap();
    answer.unwrap();
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
    assert_eq!(told.asked(), 1, "{:?}", told.events());
    let Some(Event::Asking { what, scan }) = told.events().into_iter().next() else {
        panic!("{:?}", told.events());
    };
    assert!(
        what.contains(&key.public) && what.contains("allow this key to read"),
        "{what}"
    );
    assert_eq!(scan.as_deref(), Some(key.public.as_str()));
    assert!(
        matches!(told.events().last(), Some(Event::Checked { found, .. }) if found.contains("accepted it after")),
        "{:?}",
        told.events()
    );
    // Not a line of the private half is in what was told.
    let private = fs_err::read_to_string(&key.file).unwrap();
    let all = format!("{:?}", told.events());
    let lines: Vec<&str> = private.lines().filter(|line| !line.starts_with("---")).collect();
    assert!(lines.len() > 3 && lines.iter().all(|line| !all.contains(line)));
    // The control: a key that is allowed is asked about once, and nothing is shown.
    let (answer, told, _) = waited(&key, &repository, &access, None, Stop::never());
    answer.unwrap();
    assert_eq!(told.asked(), 0, "{:?}", told.events());
}

#[test]
fn an_unattended_install_waits_so_long_and_a_wish_to_stop_ends_it() {
    let Some(forge) = Forge::new() else { return };
    let (_keep, dir) = memory();
    let key = of_this_boot(&dir, &host()).unwrap();
    let (repository, access) = (forge.repository(), forge.access(&key));
    let limit = Some(Duration::from_secs(1));
    let (answer, told, took) = waited(&key, &repository, &access, limit, Stop::never());
    let fault = answer.unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange, "{fault}");
    assert!(
        fault.why().contains(&key.public) && fault.why().contains("nobody added the key"),
        "{fault}"
    );
    assert!(took < Duration::from_secs(20) && told.asked() == 1, "{took:?}");

    let (sender, stop) = Stop::new();
    let wishing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        sender.send(Some("SIGTERM")).unwrap();
        sender
    });
    let (answer, _, _) = waited(&key, &repository, &access, None, stop);
    wishing.join().unwrap();
    assert_eq!(answer.unwrap_err().class, FaultClass::Interrupted);
}

/// A run as `landfall install` makes it, without a disk.
fn a_run(forge: &Forge, run_dir: &Utf8Path, ssh: &str, unattended: bool) -> (Real, Told) {
    let RepositorySource::Remote(remote) = forge.repository().source else {
        panic!("a remote");
    };
    let text = format!(
        "(host: \"web\", labels: (efi: \"ESP\", root: \"root\"), repository: (remote: \"{}\"), system: Flake, \
         unattended: (enable: {unattended}), ssh: (known_hosts: \"{}/known\", {ssh}))",
        remote.expose(),
        forge.dir
    );
    let told = Told::default();
    let reporter = Reporter::default();
    reporter.add(Box::new(told.clone()));
    let real = Real {
        config: Config::parse(&text, Notation::Ron).unwrap(),
        install_disk: None,
        labels: vec![],
        reporter,
        stop: Stop::never(),
        plan: None,
        held: None,
        attached: Default::default(),
        progress: Default::default(),
        credentials: Credentials::load(None, run_dir).unwrap(),
        keys: Default::default(),
        granted: None,
        evaluated: None,
    };
    (real, told)
}

#[test]
fn a_run_makes_a_key_where_it_is_asked_for_and_nobody_passed_one_in() {
    let Some(forge) = Forge::new() else { return };
    let (_keep, dir) = memory();
    let let_in = |real: &Real| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(real.let_in())
    };
    // Not asked for: nothing is made, nothing is waited for, and the refusal is left to whoever asks the remote.
    let (real, told) = a_run(&forge, &dir.join("a"), "", false);
    assert_eq!(real.git_access().unwrap().key, None);
    let_in(&real).unwrap();
    assert!(told.events().is_empty() && !dir.join("a").exists());
    // Passed in.
    let given = dir.join("given");
    fs_err::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ssh-key.txt"), &given).unwrap();
    let ssh = format!("generate_key: true, key: \"{given}\"");
    let (real, told) = a_run(&forge, &dir.join("b"), &ssh, false);
    let_in(&real).unwrap();
    assert_eq!(real.git_access().unwrap().key, Some(dir.join("b/ssh-key")));
    assert!(told.events().is_empty() && !dir.join("b/made-key").exists());
    // Made; nobody is there and nobody allows it.
    let ssh = "generate_key: true, generate_wait_s: 1";
    let (real, told) = a_run(&forge, &dir.join("c"), ssh, true);
    assert_eq!(real.git_access().unwrap().key, Some(dir.join("c/made-key")));
    let fault = let_in(&real).unwrap_err();
    let FaultTold { kind, .. } = FaultTold::from(&fault);
    assert_eq!(kind.as_deref(), Some("key_not_allowed"), "{fault}");
    assert_eq!(told.asked(), 1);
    // The service is started again, with a person: the same key, allowed a while later.
    let (real, told) = a_run(&forge, &dir.join("c"), ssh, false);
    let public = real.made_key().unwrap().unwrap().public;
    assert!(fault.why().contains(&public), "{fault}");
    let allowing = forge.allow(&public, Duration::from_secs(1));
    let_in(&real).unwrap();
    allowing.join().unwrap();
    assert_eq!(told.asked(), 1);
}

#[test]
fn what_is_no_refusal_is_not_waited_for() {
    let Some(forge) = Forge::new() else { return };
    let (_keep, dir) = memory();
    let key = of_this_boot(&dir, &host()).unwrap();
    let (repository, mut access) = (forge.repository(), forge.access(&key));
    forge.allow(&key.public, Duration::ZERO).join().unwrap();
    // A repository that is not there.
    let mut missing = repository.clone();
    let remote = format!("ssh://root@127.0.0.1:{}{}/none.git", forge.port, forge.dir);
    missing.source = RepositorySource::Remote(remote.parse().unwrap());
    let (answer, told, _) = waited(&key, &missing, &access, None, Stop::never());
    assert_eq!(cause(&answer.unwrap_err()), Some(Cause::RepositoryMissing));
    assert_eq!(told.asked(), 0);
    // A host key that nobody knows.
    fs_err::write(forge.dir.join("empty"), "").unwrap();
    access.known_hosts = Some(forge.dir.join("empty"));
    let (answer, told, _) = waited(&key, &repository, &access, None, Stop::never());
    assert_eq!(cause(&answer.unwrap_err()), Some(Cause::HostKey));
    assert_eq!(told.asked(), 0);
    // Nobody listens.
    let mut gone = repository;
    gone.source = RepositorySource::Remote("ssh://root@127.0.0.1:1/r.git".parse().unwrap());
    let (answer, told, _) = waited(&key, &gone, &access, None, Stop::never());
    assert_eq!(cause(&answer.unwrap_err()), Some(Cause::Network));
    assert_eq!(told.asked(), 0);
}
