//! Runs external programs.
//!
//! A program is started here and nowhere else: by argument list, never through a shell (the user's hooks name the shell
//! themselves), with a clean environment, its own process group, a deadline, and a limit on silence and on memory. It ends
//! with its whole group, and with landfall. An exit code is reported, not trusted.
//!
//! `tool_errors` says what an exit means.

use crate::event::{Event, Reporter};
use crate::lock::target;
use crate::os_error;
use crate::real::process::limits::Memory;
use crate::real::process::stop::Stop;
use crate::real::secret::Secret;
use landfall_states::fault::{self, Fault, Kind, Limit, MachineFault, Remedy};
use landfall_states::remote::redacted;
use landfall_states::untrusted_text::Shown;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::Instant;

/// Bytes of a program's output that are kept; the rest is read and counted.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Where a NixOS system has its own programs: of the installer outside a target's root, of the target inside it.
const SYSTEM_PROGRAMS: &str = "/run/current-system/sw/bin";
/// Longest secret that a program prints.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// What a stop request does to a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// It ends first: it is short, or cutting it off would waste what it did.
    Finish,
    /// It is ended: it may run for hours and can be begun again.
    End,
}

/// Sees output line by line while the program runs (progress).
type LineHook<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// A program to run.
pub struct Program<'a> {
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: Option<String>,
    stdin: Option<File>,
    deadline: Duration,
    silence_max: Option<Duration>,
    on_stop: OnStop,
    report: bool,
    enters_target: bool,
    is_apart: bool,
    memory: Memory,
    file_bytes_max: Option<u64>,
    on_line: Option<LineHook<'a>>,
    secret: Option<Secret>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The program's name.
    pub program: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output, at most 4 MiB.
    pub stdout: String,
    /// Standard error, at most 4 MiB.
    pub stderr: String,
}

impl Ended {
    /// Whether the exit code was 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether it ended by itself: with an exit code, or by a signal that a program gets for what it does itself. Nobody asked it
    /// to end, and nobody ended it.
    pub fn by_itself(&self) -> bool {
        let own = |signal: i32| {
            matches!(
                Signal::try_from(signal),
                Ok(Signal::SIGABRT
                    | Signal::SIGBUS
                    | Signal::SIGFPE
                    | Signal::SIGILL
                    | Signal::SIGSEGV
                    | Signal::SIGSYS
                    | Signal::SIGTRAP)
            )
        };
        self.code.is_some() || self.signal.is_some_and(own)
    }

    /// All that it said: errors, then the rest.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stderr, self.stdout)
    }

    /// The last lines of what it said, on one line.
    pub fn tail(&self) -> String {
        self.last_lines().join(" | ")
    }

    fn last_lines(&self) -> Vec<String> {
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(6))
            .map(|line| Shown::line(line).into())
            .collect()
    }

    /// How it ended.
    pub fn how(&self) -> fault::Ended {
        fault::Ended {
            program: self.program.clone(),
            code: self.code,
            last_lines: self.last_lines(),
            note: None,
        }
    }

    /// The output, or what `fault` makes of how it ended.
    ///
    /// # Errors
    /// What `fault` makes of it.
    pub fn or_fault(self, fault: impl FnOnce(fault::Ended) -> Fault) -> Result<Ended, Fault> {
        if self.success() {
            Ok(self)
        } else {
            Err(fault(self.how()))
        }
    }
}

impl<'a> Program<'a> {
    /// A program that only looks: a stop ends it at once.
    pub fn that_looks(name: impl Into<String>) -> Self {
        Program::new(name).on_stop(OnStop::End)
    }
    /// A program by name (looked up in `PATH`) or path. Deadline: one minute.
    pub fn new(name: impl Into<String>) -> Self {
        Program {
            name: name.into(),
            args: vec![],
            env: vec![],
            dir: None,
            stdin: None,
            deadline: Duration::from_secs(60),
            silence_max: None,
            on_stop: OnStop::Finish,
            report: false,
            enters_target: false,
            is_apart: false,
            memory: Memory::Other,
            file_bytes_max: None,
            on_line: None,
            secret: None,
        }
    }
    /// One more argument. Arguments are visible to every process: never a secret.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
    /// More arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
    /// A variable. The environment is otherwise empty but for `PATH`, `TERM`, `HOME` and `LC_ALL=C`.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }
    /// Working directory.
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = Some(dir.into());
        self
    }
    /// Standard input: a file, from where it is now.
    pub fn stdin(mut self, file: File) -> Self {
        self.stdin = Some(file);
        self
    }
    /// The longest it may run.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
    /// The longest it may say nothing.
    pub fn silence_max(mut self, silence: Duration) -> Self {
        self.silence_max = Some(silence);
        self
    }
    /// What a stop request does.
    pub fn on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }
    /// It changes its root to the target's and goes on there with the same `PATH`, as `nixos-enter` does, calling `mount`,
    /// `umount` and `rmdir` by name. The store paths in our `PATH` are the installer's, and the target has them only where
    /// both systems were built from the very same packages: so its own programs come last in `PATH`.
    pub fn enters_target(mut self) -> Self {
        self.enters_target = true;
        self
    }
    /// What it leaves behind may live as long as it likes: it has no part in the lock on the disk (`lock::target`). Of every other
    /// program, what outlives a killed landfall keeps the next one off the disk until it ends.
    pub fn apart(mut self) -> Self {
        self.is_apart = true;
        self
    }
    /// How much memory each of its processes may take.
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }
    /// The longest file that it may write, in bytes: it gets SIGXFSZ for more (`RLIMIT_FSIZE`).
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.file_bytes_max = Some(bytes);
        self
    }
    /// Tell every line as [`Event::Output`].
    pub fn reported(mut self) -> Self {
        self.report = true;
        self
    }
    /// Also give every line (of both streams) to this.
    pub fn on_line(mut self, hook: impl FnMut(&str) + Send + 'a) -> Self {
        self.on_line = Some(Box::new(hook));
        self
    }

    /// `PATH` with the target's own programs at its end.
    fn path_in_target(&self) -> std::ffi::OsString {
        let given = self.env.iter().rev().find(|(key, _)| key == "PATH");
        let mut path = given
            .map(|(_, value)| value.into())
            .or_else(|| std::env::var_os("PATH"))
            .unwrap_or_default();
        if !path.is_empty() {
            path.push(":");
        }
        path.push(SYSTEM_PROGRAMS);
        path
    }

    /// Runs it to its end, and gives what it prints as a secret: it goes from the pipe into memory that is wiped, also when the
    /// program fails or is ended. More than `SECRET_BYTES_MAX` is cut off.
    ///
    /// # Errors
    /// The program cannot be started, met a limit, or the run is to stop.
    pub async fn run_for_secret(
        mut self,
        reporter: &Reporter,
        stop: &Stop,
    ) -> Result<(Ended, Secret), Fault> {
        let room =
            Secret::with_room(SECRET_BYTES_MAX).map_err(|e| os_error::fault("memory for a secret", &e))?;
        self.secret = Some(room);
        self.report = false;
        let (ended, secret) = self.run_to_end(reporter, stop).await?;
        let secret = secret.ok_or_else(|| Fault::defect("program for a secret", "it has none"))?;
        Ok((ended, secret))
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The program cannot be started, met a limit, or the run is to stop.
    pub async fn run(self, reporter: &Reporter, stop: &Stop) -> Result<Ended, Fault> {
        self.run_to_end(reporter, stop).await.map(|(ended, _)| ended)
    }

    /// The child as it is started: its environment, its limits, its pipes.
    fn command(&mut self) -> std::io::Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(&self.name);
        command
            .args(&self.args)
            .env_clear()
            .process_group(0)
            .kill_on_drop(true);
        for key in ["PATH", "TERM", "HOME"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        // What a program says is read by its words, and by a person who may have another language than whoever runs the medium.
        command.env("LC_ALL", "C");
        for (key, value) in &self.env {
            command.env(key, value);
        }
        if self.enters_target {
            command.env("PATH", self.path_in_target());
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(self.stdin.take().map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let data = self.memory.bytes_max()?;
        let file = self.file_bytes_max;
        let kept = target::inherited().filter(|_| !self.is_apart);
        // SAFETY: prctl(2), umask(2), getrlimit(2), setrlimit(2) and fcntl(2) are system calls that touch nothing but the child itself; the
        // descriptor is the child's copy of one that the lock keeps open.
        unsafe {
            command.pre_exec(move || {
                nix::sys::stat::umask(os_error::everybody_may_read());
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
                let data = data.min(hard);
                setrlimit(Resource::RLIMIT_DATA, data, data)?;
                if let Some(file) = file {
                    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
                    setrlimit(Resource::RLIMIT_FSIZE, file.min(hard), file.min(hard))?;
                }
                if let Some(fd) = kept {
                    let fd = BorrowedFd::borrow_raw(fd);
                    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
                }
                Ok(())
            });
        }
        Ok(command)
    }

    async fn run_to_end(
        mut self,
        reporter: &Reporter,
        stop: &Stop,
    ) -> Result<(Ended, Option<Secret>), Fault> {
        let secret = self.secret.take();
        let name = self.name.rsplit('/').next().unwrap_or(&self.name).to_owned();
        let args: Vec<String> = self.args.iter().map(|arg| redacted(arg)).collect();
        tracing::debug!(program = %name, args = args.join(" "), "start");
        let io = |e: std::io::Error| {
            Fault::from(MachineFault::Pipe {
                program: name.to_owned(),
                os: os_error::of(&e),
            })
        };
        let mut command = self.command().map_err(io)?;
        let mut child = command.spawn().map_err(|e| MachineFault::ToolNotStarted {
            program: name.to_owned(),
            os: os_error::of(&e),
        })?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let missing = || Fault::defect(format!("program {name}"), "it has no pipe");
        let out = child.stdout.take().ok_or_else(missing)?;
        let err = child.stderr.take().ok_or_else(missing)?;
        let mut heard = Heard {
            name: &name,
            out: Lines::default(),
            err: Lines::default(),
            // What a secret has no more room for.
            past: Secret::with_room(if secret.is_some() { 1 << 10 } else { 1 }).map_err(io)?,
            secret,
            status: None,
        };
        let ended = self
            .hear(&mut child, (out, err), &mut heard, reporter, stop)
            .await
            .map_err(io)?;
        if let Err(fault) = ended {
            end_group(group, &mut child).await;
            return Err(fault);
        }
        Ok(heard.ended(|name, line| tell(name, line, self.report, reporter, &mut self.on_line)))
    }

    /// Reads what a program says until it ended. The inner error is why it has to be ended.
    async fn hear(
        &mut self,
        child: &mut Child,
        (mut out, mut err): (ChildStdout, ChildStderr),
        heard: &mut Heard<'_>,
        reporter: &Reporter,
        stop: &Stop,
    ) -> std::io::Result<Result<(), Fault>> {
        let end = Instant::now() + self.deadline;
        let mut silent_since = Instant::now();
        let (mut out_open, mut err_open) = (true, true);
        let (mut out_buffer, mut err_buffer) = (vec![0_u8; 16 << 10], vec![0_u8; 16 << 10]);
        // Pipes inherited by a daemonised grandchild stay open: after the exit they are read for a moment only.
        let mut drain_until = None;
        loop {
            if heard.status.is_some()
                && ((!out_open && !err_open) || drain_until.is_some_and(|t| Instant::now() >= t))
            {
                return Ok(Ok(()));
            }
            let silence_end = self.silence_max.map_or(end, |max| silent_since + max);
            let wake = drain_until.unwrap_or(end.min(silence_end));
            tokio::select! {
                read = out.read(room_of(&mut heard.secret, &mut heard.past, &mut out_buffer)), if out_open => match read? {
                    0 => out_open = false,
                    n if heard.secret.is_some() => {
                        silent_since = Instant::now();
                        if let Some(secret) = heard.secret.as_mut().filter(|secret| secret.has_room()) {
                            secret.took(n);
                        }
                    }
                    #[expect(clippy::indexing_slicing, reason = "`read` reads no more than there is room for")]
                    n => {
                        silent_since = Instant::now();
                        heard.out.take(&out_buffer[..n], |line| tell(heard.name, line, self.report, reporter, &mut self.on_line));
                    }
                },
                read = err.read(&mut err_buffer), if err_open => match read? {
                    0 => err_open = false,
                    #[expect(clippy::indexing_slicing, reason = "`read` reads no more than there is room for")]
                    n => {
                        silent_since = Instant::now();
                        heard.err.take(&err_buffer[..n], |line| tell(heard.name, line, self.report, reporter, &mut self.on_line));
                    }
                },
                waited = child.wait(), if heard.status.is_none() => {
                    heard.status = Some(waited?);
                    drain_until = Some(Instant::now() + Duration::from_secs(2));
                }
                () = stop.requested(), if self.on_stop == OnStop::End && heard.status.is_none() => {
                    return Ok(Err(stop.fault()));
                }
                () = tokio::time::sleep_until(wake) => {
                    // A program that takes too long to end on its own is the reason for the wait, not for the end of the run.
                    if drain_until.is_none() && stop.is_requested() {
                        return Ok(Err(stop.fault()));
                    }
                    if drain_until.is_none() {
                        return Ok(Err(self.over_limit(heard.name, end)));
                    }
                }
            }
        }
    }

    /// A program that runs or is silent for too long.
    fn over_limit(&self, name: &str, end: Instant) -> Fault {
        let (limit, most) = if Instant::now() >= end {
            (Limit::Deadline, self.deadline)
        } else {
            (Limit::Silence, self.silence_max.unwrap_or(self.deadline))
        };
        let kind = Kind::ProgramLimit {
            program: name.to_owned(),
            limit,
            limit_s: most.as_secs(),
        };
        Fault::of(kind, Remedy::resume())
    }
}

/// What a program said, and how it ended.
struct Heard<'n> {
    name: &'n str,
    out: Lines,
    err: Lines,
    secret: Option<Secret>,
    past: Secret,
    status: Option<ExitStatus>,
}

impl Heard<'_> {
    fn ended(mut self, mut tell: impl FnMut(&str, &str)) -> (Ended, Option<Secret>) {
        self.out.finish(|line| tell(self.name, line));
        self.err.finish(|line| tell(self.name, line));
        let code = self.status.and_then(|s| s.code());
        let signal = self.status.and_then(|s| s.signal());
        tracing::debug!(program = %self.name, ?code, ?signal, "end");
        let ended = Ended {
            program: self.name.to_owned(),
            code,
            signal,
            stdout: self.out.text(),
            stderr: self.err.text(),
        };
        (ended, self.secret)
    }
}

/// Where the next bytes of standard output go.
fn room_of<'b>(secret: &'b mut Option<Secret>, past: &'b mut Secret, plain: &'b mut [u8]) -> &'b mut [u8] {
    match secret {
        Some(secret) if secret.has_room() => secret.spare(),
        Some(_) => past.spare(),
        None => plain,
    }
}

fn tell(name: &str, line: &str, report: bool, reporter: &Reporter, hook: &mut Option<LineHook<'_>>) {
    if let Some(hook) = hook {
        hook(line);
    }
    if report {
        reporter.tell(Event::Output {
            program: name.to_owned(),
            line: Shown::line(line).into(),
        });
    }
}

/// Ends a whole process group: asks, waits a moment, kills.
async fn end_group(group: Option<Pid>, child: &mut tokio::process::Child) {
    let Some(group) = group else { return };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // ESRCH: the group is gone already, which is what was wanted.
        let sent = killpg(group, signal);
        tracing::debug!(?group, ?signal, ok = sent.is_ok(), "end process group");
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() && signal == Signal::SIGKILL {
            return;
        }
    }
}

/// Splits a stream into lines and keeps a bounded part of it.
#[derive(Default)]
struct Lines {
    kept: Vec<u8>,
    open: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        for &byte in bytes {
            // Progress bars rewrite their line with a carriage return.
            if byte == b'\n' || byte == b'\r' {
                if !self.open.is_empty() {
                    each(&String::from_utf8_lossy(&self.open));
                    self.open.clear();
                }
            } else if self.open.len() < 16 << 10 {
                self.open.push(byte);
            }
        }
    }

    fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.open.is_empty() {
            each(&String::from_utf8_lossy(&self.open));
            self.open.clear();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
