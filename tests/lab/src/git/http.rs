//! Enough of an HTTP server (RFC 9112) for clones, tarballs and binary caches.
//!
//! What is not below the served folder is not found. A request body is kept in memory as a whole; an answer is not. There is
//! no TLS, no compression, no caching and no upload.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fs_err as fs;

use super::{CONNECTION_LIMIT, plain_git};

/// The longest request head that is read, in bytes.
const HEAD_MAX: u64 = 16 * 1024;

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
pub(super) fn http(stream: TcpStream, folder: &Path, smart: bool, ended: &AtomicBool) -> Result<()> {
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
