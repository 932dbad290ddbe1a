//! The configuration repository of the laboratory's hosts, and the servers that it is fetched from.
//!
//! The same hosts give the same commit, to the bit: author and times are fixed. Servers listen on 127.0.0.1 alone, on a port
//! that the kernel chooses, and end with all that they started when they are dropped. There is no pushing, no authentication
//! and no TLS.
//!
//! [`crate::proxy`] makes faults, between a server and its guest.

mod http;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fs_err as fs;

use crate::closure::{self, ClosureParams, Inputs};

/// The flake of a [`Repository`].
pub const FLAKE: &str = include_str!("../closure/flake.nix");
const GIT_LIMIT: Duration = Duration::from_secs(60);
/// A connection that is not over by then is ended.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);
const TICK: Duration = Duration::from_millis(10);

/// A bare repository with the flake of some hosts.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The bare repository, `<name>.git`.
    pub bare: PathBuf,
    /// The one branch.
    pub branch: String,
    /// The commit that the branch is at.
    pub revision: String,
    /// Where files are changed and committed.
    work: PathBuf,
}

impl Repository {
    /// Makes `<folder>/<name>.git` with a flake that has every host of `hosts` as
    /// `nixosConfigurations.<host>.config.system.build.toplevel`, committed on `branch`. What stood there is replaced.
    ///
    /// # Errors
    /// git is missing or fails, or `folder` cannot be written.
    pub fn create(
        folder: &Path,
        name: &str,
        branch: &str,
        hosts: &[ClosureParams],
        inputs: &Inputs,
    ) -> Result<Repository> {
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let bare = folder.join(format!("{name}.git"));
        let work = folder.join(format!("{name}.work"));
        for old in [&bare, &work] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir_all(work.join("hosts"))?;
        fs::write(work.join("flake.nix"), FLAKE)?;
        fs::write(
            work.join("parts.json"),
            serde_json::to_string_pretty(&inputs.named)?,
        )?;
        closure::write_expressions(&work.join("lab"), &inputs.foreign)?;
        for params in hosts {
            fs::write(
                work.join(format!("hosts/{}.json", params.host)),
                params.to_json()?,
            )?;
        }
        let mut repository = Repository {
            bare,
            branch: branch.to_owned(),
            revision: String::new(),
            work,
        };
        git(
            &repository.work,
            &["init", "--quiet", &format!("--initial-branch={branch}")],
        )?;
        let bare_path = repository.bare.to_string_lossy().into_owned();
        git(
            &folder,
            &[
                "init",
                "--quiet",
                "--bare",
                &format!("--initial-branch={branch}"),
                &bare_path,
            ],
        )?;
        // A client may ask for a revision that no branch is at any more: that is what pinning one means.
        for setting in ["uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"] {
            git(&repository.bare, &["config", setting, "true"])?;
        }
        repository.commit("The hosts of the laboratory")?;
        Ok(repository)
    }

    /// Writes `text` to `file` and commits it: the branch moves on. Gives the new revision.
    ///
    /// # Errors
    /// git fails, or there is nothing new.
    pub fn change(&mut self, file: &str, text: &[u8]) -> Result<String> {
        let path = self.work.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
        self.commit(&format!("Change {file}"))?;
        Ok(self.revision.clone())
    }

    /// Makes the repository larger by one file of `bytes` bytes that do not compress, so that a transfer lasts.
    ///
    /// # Errors
    /// As [`Repository::change`].
    pub fn fatten(&mut self, bytes: usize) -> Result<String> {
        // Marsaglia's xorshift: the same bytes every time.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(bytes)
        .collect();
        self.change("ballast", &noise)
    }

    /// Writes a bundle of the branch, from which `git clone` works without a server.
    ///
    /// # Errors
    /// git fails.
    pub fn bundle(&self, to: &Path) -> Result<()> {
        let to = std::path::absolute(to)?;
        git(
            &self.bare,
            &[
                "bundle",
                "create",
                "--quiet",
                &to.to_string_lossy(),
                "HEAD",
                &self.branch,
            ],
        )?;
        Ok(())
    }

    /// Where files are changed before [`Repository::commit`].
    pub fn worktree(&self) -> &Path {
        &self.work
    }

    /// Commits whatever is in the working tree.
    ///
    /// # Errors
    /// As [`Repository::change`].
    pub fn commit(&mut self, message: &str) -> Result<()> {
        git(&self.work, &["add", "--all"])?;
        git(&self.work, &["commit", "--quiet", "--message", message])?;
        let target = format!("HEAD:refs/heads/{}", self.branch);
        git(
            &self.work,
            &["push", "--quiet", &self.bare.to_string_lossy(), &target],
        )?;
        // For clients of dumb HTTP.
        git(&self.bare, &["update-server-info"])?;
        self.revision = git(&self.work, &["rev-parse", "HEAD"])?.trim().to_owned();
        Ok(())
    }
}

/// git as it is, without anybody's settings.
fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = plain_git();
    command.arg("-C").arg(folder).args(arguments);
    closure::output(
        command,
        &format!("git {} in {}", arguments[0], folder.display()),
        GIT_LIMIT,
    )
}

fn plain_git() -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "The laboratory");
        command.env(format!("GIT_{who}_EMAIL"), "lab@landfall.invalid");
        command.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
    }
    // Repositories of another user are served too: the laboratory may run as root on a person's clone.
    command.args(["-c", "safe.directory=*"]);
    command
}

/// How a [`Server`] talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `git://`, by `git daemon`, one process for each connection.
    Git,
    /// `http://`: files, also parts of them by Range, which makes repositories clonable the dumb way, and serves
    /// tarballs and binary caches.
    Http,
    /// The same, and repositories the smart way by `git http-backend`.
    SmartHttp,
}

/// A server for everything in one folder.
pub struct Server {
    address: SocketAddr,
    protocol: Protocol,
    ended: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves what is in `folder`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had, or `folder` is not there.
    pub fn start(folder: &Path, protocol: Protocol) -> Result<Server> {
        let folder = fs::canonicalize(folder)?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on the loopback for a server")?;
        listener.set_nonblocking(true).context("the server's socket")?;
        let address = listener.local_addr().context("the server's port")?;
        let ended = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let accepting = thread::spawn({
            let (ended, served) = (Arc::clone(&ended), Arc::clone(&served));
            move || accept(&listener, &folder, protocol, &ended, &served)
        });
        Ok(Server {
            address,
            protocol,
            ended,
            served,
            accepting: Some(accepting),
        })
    }

    /// Where it listens; what a [`crate::proxy::Proxy`] is started with.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// The address of `path` in the served folder, as a guest on QEMU's user network has it. `port` is that of this
    /// server or of the proxy before it.
    pub fn guest_url(&self, port: u16, path: &str) -> String {
        let scheme = match self.protocol {
            Protocol::Git => "git",
            Protocol::Http | Protocol::SmartHttp => "http",
        };
        format!("{scheme}://10.0.2.2:{port}/{path}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked has ended as well.
            let _ = accepting.join();
        }
    }
}

fn accept(
    listener: &TcpListener,
    folder: &Path,
    protocol: Protocol,
    ended: &Arc<AtomicBool>,
    served: &Arc<AtomicU64>,
) {
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    while !ended.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                served.fetch_add(1, Ordering::SeqCst);
                let folder = folder.to_owned();
                let ended = Arc::clone(ended);
                running.push(thread::spawn(move || {
                    let result = match protocol {
                        Protocol::Git => daemon(stream, &folder, &ended),
                        Protocol::Http => http::http(stream, &folder, false, &ended),
                        Protocol::SmartHttp => http::http(stream, &folder, true, &ended),
                    };
                    // A client that went away is the client's affair; there is nobody else to tell.
                    drop(result);
                }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
            Err(_) => thread::sleep(TICK),
        }
        running.retain(|thread| !thread.is_finished());
    }
    for thread in running {
        let _ = thread.join();
    }
}

/// One connection of `git daemon`, which has the socket as its standard input and output.
fn daemon(stream: TcpStream, folder: &Path, ended: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    let mut command = plain_git();
    command
        .args(["daemon", "--inetd", "--export-all"])
        .arg(format!("--base-path={}", folder.display()));
    command.stdin(Stdio::from(OwnedFd::from(stream.try_clone()?)));
    command
        .stdout(Stdio::from(OwnedFd::from(stream.try_clone()?)))
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .context("git daemon cannot be started; is git installed?")?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if ended.load(Ordering::SeqCst) || started.elapsed() > CONNECTION_LIMIT {
            // What git daemon started in turn ends when the socket does.
            stream.shutdown(Shutdown::Both)?;
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(TICK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proxy::{Fault, Proxy};
    use std::collections::BTreeMap;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Scratch {
            let folder = std::env::temp_dir().join(format!("landfall-lab-git-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Scratch(folder)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn inputs() -> Inputs {
        let tree = closure::Closure {
            toplevel: String::new(),
            nix_tree: PathBuf::new(),
            registration: String::new(),
            paths: Vec::new(),
            bytes: 0,
        };
        Inputs {
            named: BTreeMap::from([("version".to_owned(), "1".to_owned())]),
            closure: tree,
            foreign: BTreeMap::new(),
        }
    }

    fn repository(scratch: &Scratch) -> Repository {
        Repository::create(
            &scratch.0,
            "config",
            "main",
            &[ClosureParams::plain("box")],
            &inputs(),
        )
        .unwrap()
    }

    fn clone(url: &str, to: &Path) -> Result<String> {
        git(Path::new("/"), &["clone", "--quiet", url, &to.to_string_lossy()])?;
        Ok(git(to, &["rev-parse", "HEAD"])?.trim().to_owned())
    }

    #[test]
    fn the_same_hosts_are_the_same_commit() {
        let (one, two) = (Scratch::new("same-1"), Scratch::new("same-2"));
        let (mut first, second) = (repository(&one), repository(&two));
        assert_eq!(first.revision, second.revision);
        assert_eq!(first.revision.len(), 40);
        let pinned = first.revision.clone();
        assert_ne!(first.change("README", b"later\n").unwrap(), pinned);
    }

    #[test]
    fn every_protocol_gives_the_revision_and_a_bundle_too() {
        let scratch = Scratch::new("protocols");
        let mut repository = repository(&scratch);
        repository.fatten(300_000).unwrap();
        for (name, protocol, scheme) in [
            ("git", Protocol::Git, "git"),
            ("dumb", Protocol::Http, "http"),
            ("smart", Protocol::SmartHttp, "http"),
        ] {
            let server = Server::start(&scratch.0, protocol).unwrap();
            let url = format!("{scheme}://127.0.0.1:{}/config.git", server.address().port());
            assert_eq!(
                clone(&url, &scratch.0.join(name)).unwrap(),
                repository.revision,
                "{name}"
            );
            assert!(server.connections() > 0);
        }
        let bundle = scratch.0.join("config.bundle");
        repository.bundle(&bundle).unwrap();
        assert_eq!(
            clone(&bundle.to_string_lossy(), &scratch.0.join("bundled")).unwrap(),
            repository.revision
        );
    }

    #[test]
    fn a_clone_through_a_broken_proxy_fails_and_through_a_restored_one_does_not() {
        let scratch = Scratch::new("broken");
        let mut repository = repository(&scratch);
        repository.fatten(500_000).unwrap();
        let server = Server::start(&scratch.0, Protocol::Git).unwrap();
        let proxy = Proxy::start(server.address()).unwrap();
        let url = format!("git://127.0.0.1:{}/config.git", proxy.address().port());
        proxy.break_next(1, Fault::Reset { after: 100_000 });
        assert!(clone(&url, &scratch.0.join("first")).is_err());
        assert_eq!(proxy.counts().broken, 1);
        assert_eq!(
            clone(&url, &scratch.0.join("second")).unwrap(),
            repository.revision
        );
    }

    #[test]
    fn a_server_ends_with_a_client_still_connected() {
        let scratch = Scratch::new("ends");
        for protocol in [Protocol::Git, Protocol::Http] {
            let server = Server::start(&scratch.0, protocol).unwrap();
            let _silent = TcpStream::connect(server.address()).unwrap();
            thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            drop(server);
            assert!(
                started.elapsed() < Duration::from_secs(3),
                "{protocol:?}: {:?}",
                started.elapsed()
            );
        }
    }
}
