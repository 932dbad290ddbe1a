//! The configuration repository of the laboratory's hosts, and the servers that it is had from.
//!
//! Law: the same hosts give the same commit, to the bit: author and times are fixed. Servers listen on 127.0.0.1 alone,
//! on a port that the kernel chooses, and end with all that they started when they are dropped.
//!
//! Absent: pushing, authentication, TLS. Faults are [`crate::proxy`]'s, between a server and its guest.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fs_err as fs;

use crate::closure::{self, ClosureParams, Inputs};

/// Programs this module starts, each with the Debian package that has it.
pub const NEEDS: &[(&str, &str)] = &[("git", "git"), ("tar", "tar")];

const FLAKE: &str = include_str!("../closure/flake.nix");
const GIT_LIMIT: Duration = Duration::from_secs(60);
/// A connection that is not over by then is ended.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);
/// The longest request head that is read, in bytes.
const HEAD_MAX: u64 = 16 * 1024;
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
        closure::write_expressions(&work.join("lab"))?;
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

    /// Writes the branch's files as `<name>-<revision>.tar.gz`, as forges give it for a `tarball` flake, beside the
    /// bare repository, and gives its name below the served folder.
    ///
    /// # Errors
    /// git fails.
    pub fn tarball(&self) -> Result<String> {
        let name = self
            .bare
            .file_stem()
            .context("a repository without a name")?
            .to_string_lossy();
        let file = format!("{name}-{}.tar.gz", self.revision);
        let to = self.bare.with_file_name(&file);
        let prefix = format!("--prefix={name}-{}/", self.revision);
        let to = format!("--output={}", to.display());
        git(
            &self.bare,
            &["archive", "--format=tar.gz", &prefix, &to, &self.revision],
        )?;
        Ok(file)
    }

    fn commit(&mut self, message: &str) -> Result<()> {
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
                        Protocol::Http => http(stream, &folder, false, &ended),
                        Protocol::SmartHttp => http(stream, &folder, true, &ended),
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

/// A request as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    query: String,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
}

impl Request {
    /// Reads a request's head.
    fn parse(head: &str) -> Result<Request> {
        let mut lines = head.lines();
        let first = lines.next().context("an empty request")?;
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            bail!("the request {first:?}");
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Request {
            method: method.to_owned(),
            path: unescape(path),
            query: query.to_owned(),
            headers,
        })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The file that is asked for; none when the path leaves `folder`.
    fn file(&self, folder: &Path) -> Option<PathBuf> {
        let relative = Path::new(self.path.trim_start_matches('/'));
        let tame = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        tame.then(|| folder.join(relative))
    }
}

/// Undoes `%xx`.
fn unescape(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match (
            bytes[at],
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 3;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The part of a file of `size` bytes that a Range header asks for, as first and last byte.
fn range(header: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1)?;
    let part = match (first, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(end)),
    };
    (part.0 <= part.1).then_some(part)
}

/// One HTTP connection: requests one after the other, until the client is done or asks for something that ends it.
fn http(stream: TcpStream, folder: &Path, smart: bool, ended: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let guarded = Guarded {
        stream: &stream,
        ended,
        started: Instant::now(),
    };
    let mut reader = BufReader::new(guarded);
    loop {
        let mut head = String::new();
        loop {
            let before = head.len();
            (&mut reader)
                .take(HEAD_MAX - before as u64)
                .read_line(&mut head)?;
            let line = &head[before..];
            if line.is_empty() {
                ensure!(
                    head.is_empty(),
                    "a request that ends in its head, or is longer than {HEAD_MAX} bytes"
                );
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let request = Request::parse(&head)?;
        let git = request.path.ends_with("/git-upload-pack")
            || (request.path.ends_with("/info/refs") && request.query.contains("service=git-upload-pack"));
        if smart && git {
            return backend(&request, &mut reader, &stream, folder, ended);
        }
        answer(&request, &stream, folder)?;
        if request.header("connection").eq_ignore_ascii_case("close") {
            return Ok(());
        }
    }
}

/// A stream whose reads end when the server does.
struct Guarded<'a> {
    stream: &'a TcpStream,
    ended: &'a AtomicBool,
    started: Instant,
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.ended.load(Ordering::SeqCst) || self.started.elapsed() > CONNECTION_LIMIT {
                        return Ok(0);
                    }
                }
                other => return other,
            }
        }
    }
}

/// Answers with a file or a part of it.
fn answer(request: &Request, mut stream: &TcpStream, folder: &Path) -> Result<()> {
    let refuse = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    if request.method != "GET" && request.method != "HEAD" {
        stream.write_all(refuse("405 Method Not Allowed").as_bytes())?;
        return Ok(());
    }
    let file = request.file(folder).filter(|file| file.is_file());
    let Some(file) = file else {
        stream.write_all(refuse("404 Not Found").as_bytes())?;
        return Ok(());
    };
    let mut file = fs::File::open(file)?;
    let size = file.metadata()?.len();
    let asked = request.header("range");
    let (status, part) = match range(asked, size) {
        Some((first, last)) => {
            file.seek(SeekFrom::Start(first))?;
            (
                format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}"),
                last + 1 - first,
            )
        }
        None if asked.starts_with("bytes=") => {
            let status = format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{size}");
            stream.write_all(refuse(&status).as_bytes())?;
            return Ok(());
        }
        None => ("200 OK".to_owned(), size),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\nContent-Length: {part}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    if request.method == "GET" {
        std::io::copy(&mut file.take(part), &mut stream)?;
    }
    Ok(())
}

/// Answers by `git http-backend` (a CGI program; RFC 3875 names the variables) and closes the connection.
fn backend(
    request: &Request,
    body: &mut impl BufRead,
    mut stream: &TcpStream,
    folder: &Path,
    ended: &AtomicBool,
) -> Result<()> {
    let mut content = Vec::new();
    if request
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked")
    {
        read_chunks(body, &mut content)?;
    } else if let Ok(length) = request.header("content-length").parse::<u64>() {
        body.take(length).read_to_end(&mut content)?;
    }
    let mut command = plain_git();
    command.arg("http-backend");
    command
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1");
    command
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path);
    command
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", request.header("content-type"));
    command
        .env("CONTENT_LENGTH", content.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    command.env("HTTP_CONTENT_ENCODING", request.header("content-encoding"));
    command.env("GIT_PROTOCOL", request.header("git-protocol"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .context("git http-backend cannot be started; is git installed?")?;
    let (Some(mut input), Some(printed)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("git http-backend without pipes");
    };
    let feeding = thread::spawn(move || input.write_all(&content));
    let mut printed = BufReader::new(printed);
    let mut relay = || -> Result<()> {
        let mut status = "200 OK".to_owned();
        let mut headers = String::new();
        loop {
            let mut line = String::new();
            ensure!(
                printed.read_line(&mut line)? > 0,
                "git http-backend ended within its headers"
            );
            match line.trim_end() {
                "" => break,
                line => match line.strip_prefix("Status: ") {
                    Some(other) => status = other.to_owned(),
                    None => headers = format!("{headers}{line}\r\n"),
                },
            }
        }
        stream.write_all(format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
        let mut buffer = [0; 16 * 1024];
        while !ended.load(Ordering::SeqCst) {
            let got = printed.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            stream.write_all(&buffer[..got])?;
        }
        Ok(())
    };
    let relayed = relay();
    // Ended by itself, or not wanted any more.
    if relayed.is_err() || ended.load(Ordering::SeqCst) {
        child.kill()?;
    }
    child.wait()?;
    let fed = feeding.join().map_err(|_| anyhow!("feeding git http-backend"))?;
    stream.shutdown(Shutdown::Both)?;
    relayed?;
    fed.context("feeding git http-backend")
}

/// Reads a body in chunks (RFC 9112, section 7.1), without trailers.
fn read_chunks(body: &mut impl BufRead, content: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        body.by_ref().take(64).read_line(&mut line)?;
        let digits = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16).with_context(|| format!("the chunk size {line:?}"))?;
        body.by_ref().take(size).read_to_end(content)?;
        let mut end = String::new();
        body.by_ref().take(2).read_line(&mut end)?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proxy::{Fault, Proxy};

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
    fn a_clone_through_a_broken_proxy_fails_and_through_a_healed_one_does_not() {
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

    #[test]
    fn a_request_cannot_leave_the_folder() {
        let request =
            Request::parse("GET /a/%2e%2e/%2E./secret?x=1 HTTP/1.1\r\nRange: bytes=1-2\r\n\r\n").unwrap();
        assert_eq!(request.file(Path::new("/served")), None);
        assert_eq!(
            (request.query.as_str(), request.header("range")),
            ("x=1", "bytes=1-2")
        );
    }

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=2-4", 10), Some((2, 4)));
        assert_eq!(range("bytes=2-", 10), Some((2, 9)));
        assert_eq!(range("bytes=-3", 10), Some((7, 9)));
        assert_eq!(range("bytes=2-99", 10), Some((2, 9)));
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("bytes=0-", 0), None);
        assert_eq!(range("", 10), None);
    }
}
