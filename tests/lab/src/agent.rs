//! The host's end of the laboratory's agent (`guest/agent.pl`): runs commands in the machine, without its console.
//!
//! Every call has a deadline, here and in the guest. If the machine ends, all calls end at once. Calls run side by side, and
//! none is repeated.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::Output;

/// The host's end of the port.
#[derive(Debug)]
pub struct Agent {
    port: Mutex<UnixStream>,
    shared: Arc<Shared>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<Answers>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Answers {
    arrived: HashMap<u64, Output>,
    closed: bool,
}

/// A command that runs in the machine.
#[derive(Debug)]
pub struct Job {
    id: u64,
    what: String,
    shared: Arc<Shared>,
}

impl Agent {
    /// Starts to read answers from `port`.
    pub fn start(port: UnixStream) -> Result<Agent> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let mut reader = BufReader::new(port.try_clone().context("cloning the agent's socket")?);
        std::thread::spawn(move || {
            while let Some((id, output)) = answer(&mut reader) {
                lock(&theirs.answers).arrived.insert(id, output);
                theirs.news.notify_all();
            }
            lock(&theirs.answers).closed = true;
            theirs.news.notify_all();
        });
        Ok(Agent {
            port: Mutex::new(port),
            shared,
            next: AtomicU64::new(1),
        })
    }

    /// Waits for the agent's greeting, once after a boot: what is sent earlier is lost to the firmware.
    pub fn greeted(&self, timeout: Duration) -> Result<()> {
        let greeting = Job {
            id: 0,
            what: "nothing, for it should greet".to_owned(),
            shared: Arc::clone(&self.shared),
        };
        greeting.wait(timeout).map(|_| ())
    }

    /// Starts a command in bash; the guest kills its session after `timeout`, and its status is then 124.
    pub fn spawn(&self, command: &str, input: &[u8], timeout: Duration) -> Result<Job> {
        self.request("run", command, input, timeout)
    }

    /// Writes a file in the machine.
    pub fn put(&self, path: &str, content: &[u8], timeout: Duration) -> Result<()> {
        let output = self.request("put", path, content, timeout)?.wait(timeout)?;
        if output.status != 0 {
            bail!("cannot write {path} in the machine: {}", output.error_text());
        }
        Ok(())
    }

    /// Reads a file in the machine.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Vec<u8>> {
        let output = self.request("get", path, b"", timeout)?.wait(timeout)?;
        if output.status != 0 {
            bail!("cannot read {path} in the machine: {}", output.error_text());
        }
        Ok(output.stdout)
    }

    fn request(&self, verb: &str, argument: &str, data: &[u8], timeout: Duration) -> Result<Job> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let seconds = timeout.as_secs().max(1);
        let mut message = format!("{id} {verb} {seconds} {} {}\n", argument.len(), data.len()).into_bytes();
        message.extend_from_slice(argument.as_bytes());
        message.extend_from_slice(data);
        let mut port = lock(&self.port);
        port.set_write_timeout(Some(timeout.max(Duration::from_secs(10))))
            .context("setting the port's deadline")?;
        port.write_all(&message)
            .with_context(|| format!("sending to the agent: {argument}"))?;
        Ok(Job {
            id,
            what: format!("{verb} {argument}"),
            shared: Arc::clone(&self.shared),
        })
    }
}

impl Job {
    /// Waits for the end of the command.
    pub fn wait(&self, timeout: Duration) -> Result<Output> {
        match self.poll(timeout)? {
            Some(output) => Ok(output),
            None => bail!(
                "no answer after {} s from the machine to: {}",
                timeout.as_secs(),
                self.what
            ),
        }
    }

    /// The same, but `None` when it has not ended in time. The output is handed out once.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Output>> {
        let deadline = Instant::now() + timeout;
        let mut answers = lock(&self.shared.answers);
        loop {
            if let Some(output) = answers.arrived.remove(&self.id) {
                return Ok(Some(output));
            }
            if answers.closed {
                bail!("the machine ended before it answered to: {}", self.what);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.shared.news.wait_timeout(answers, left);
            answers = waited.map_or_else(|poisoned| poisoned.into_inner().0, |pair| pair.0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Reads one answer, past whatever the firmware may have said; `None` at the end of the port.
fn answer(reader: &mut impl BufRead) -> Option<(u64, Output)> {
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        let Some(line) = line.strip_prefix("#lab ") else {
            continue;
        };
        let numbers: Vec<i64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        let [id, status, out, err] = numbers[..] else {
            continue;
        };
        let mut stdout = vec![0; usize::try_from(out).ok()?];
        let mut stderr = vec![0; usize::try_from(err).ok()?];
        reader.read_exact(&mut stdout).ok()?;
        reader.read_exact(&mut stderr).ok()?;
        return Some((
            u64::try_from(id).ok()?,
            Output {
                status: i32::try_from(status).ok()?,
                stdout,
                stderr,
            },
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed_by_length() {
        let mut bytes: &[u8] = b"\xff firmware\n#lab 7 1 3 2\na\nbxy\n#lab 8 0 0 0\n9 garbage";
        let (id, output) = answer(&mut bytes).unwrap_or_else(|| panic!("no answer"));
        assert_eq!(
            (
                id,
                output.status,
                output.stdout.as_slice(),
                output.stderr.as_slice()
            ),
            (7, 1, &b"a\nb"[..], &b"xy"[..])
        );
        assert_eq!(answer(&mut bytes).map(|(id, _)| id), Some(8));
        assert!(answer(&mut bytes).is_none());
    }
}
