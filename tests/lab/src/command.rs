//! Starts other programs for the laboratory, on the host.
//!
//! By argument list, never through a shell; with a clean environment, its own process group, and a deadline after which the
//! whole group is killed. A program does not outlive the laboratory. A failure names the program, its arguments, its status
//! and the end of its stderr.
//!
//! `machine` starts QEMU, which runs for long.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::sys::signal::Signal;

use crate::ending;

/// A program to start, built up like [`std::process::Command`].
#[derive(Debug, Clone)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Input,
    timeout: Duration,
    holds: Option<Arc<OwnedFd>>,
}

#[derive(Debug, Clone)]
enum Input {
    Nothing,
    File(PathBuf),
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, or 128 + signal.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text, without the last newline.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

/// Passed on to children: where things are, which Rust it is, and how this network is reached. Everything else is dropped.
const ENVIRONMENT: [&str; 16] = [
    "HOME",
    "TMPDIR",
    "USER",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "TERM",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    // A package that pins a toolchain of its own is built with the one that everything else is built with.
    "RUSTUP_TOOLCHAIN",
];

/// The caller's PATH with the system directories added, where mkfs and sgdisk live.
pub fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// The full path of a program, if it is anywhere on [`search_path`].
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

impl Program {
    /// A program found by name on [`search_path`], or by path. Its deadline is 60 s unless told otherwise.
    pub fn new(name: impl AsRef<OsStr>) -> Program {
        Program {
            name: name.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            directory: None,
            input: Input::Nothing,
            timeout: Duration::from_secs(60),
            holds: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Program {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Program {
        self.envs
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    pub fn directory(mut self, directory: &Path) -> Program {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives the program this file as standard input.
    pub fn input_file(mut self, file: &Path) -> Program {
        self.input = Input::File(file.to_owned());
        self
    }

    /// It and what it starts hold this lock too, until the last of them has ended.
    pub fn holding(mut self, lock: Arc<OwnedFd>) -> Program {
        self.holds = Some(lock);
        self
    }

    /// Sets the deadline.
    pub fn timeout(mut self, timeout: Duration) -> Program {
        self.timeout = timeout;
        self
    }

    /// Runs it and wants exit code 0.
    pub fn run(self) -> Result<Output> {
        let line = self.line();
        let output = self.output()?;
        if output.status != 0 {
            let error = output.error_text();
            let said = output.text();
            let tail = tail(if error.is_empty() { &said } else { &error }, 30);
            bail!("{line} ended with status {}:\n{tail}", output.status);
        }
        Ok(output)
    }

    /// Runs it and takes any exit code.
    pub fn output(self) -> Result<Output> {
        let line = self.line();
        let mut command = Command::new(&self.name);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", search_path())
            .env("LC_ALL", "C.UTF-8")
            .process_group(0);
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.envs.iter().map(|(key, value)| (key, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(match &self.input {
            Input::Nothing => Stdio::null(),
            Input::File(file) => Stdio::from(fs::File::open(file)?.into_parts().0),
        });
        command.stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        if let Some(lock) = &self.holds {
            ending::inherits(&mut command, Arc::clone(lock));
        }
        let mut child = ending::spawn(command, Signal::SIGKILL)
            .with_context(|| format!("cannot start {line}; `cargo lab setup` installs what is missing"))?;

        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let out = std::thread::spawn(move || drain(stdout));
        let err = std::thread::spawn(move || drain(stderr));

        let deadline = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(2);
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait().with_context(|| format!("waiting for {line}"))? {
                break status;
            }
            if Instant::now() >= deadline && !late {
                late = true;
                kill_group(child.id());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        let stdout = out.join().unwrap_or_default();
        let stderr = err.join().unwrap_or_default();
        if late {
            let said = String::from_utf8_lossy(&stderr).into_owned();
            bail!(
                "{line} was not done after {} s and was killed:\n{}",
                self.timeout.as_secs(),
                tail(&said, 20)
            );
        }
        let status = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    fn line(&self) -> String {
        let mut line = self.name.to_string_lossy().into_owned();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        if line.len() > 400 {
            let cut = (0..=400).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
            line.truncate(cut);
            line.push('…');
        }
        format!("`{line}`")
    }
}

fn kill_group(leader: u32) {
    // The group can be gone already; then there is nothing to do.
    let _ = nix::sys::signal::killpg(
        nix::unistd::Pid::from_raw(leader as i32),
        nix::sys::signal::Signal::SIGKILL,
    );
}

fn drain(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // A pipe that breaks ends the output; what came before is still worth having.
        let _ = stream.read_to_end(&mut bytes);
    }
    bytes
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
