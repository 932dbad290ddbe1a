//! QEMU's control socket (docs/interop/qmp-spec.rst in QEMU).
//!
//! One command, one answer, a deadline. Events are skipped.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Greets QEMU on `socket`.
    pub fn start(socket: UnixStream) -> Result<Qmp> {
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .context("setting QMP's deadline")?;
        let writer = socket.try_clone().context("cloning QMP's socket")?;
        let mut qmp = Qmp {
            reader: BufReader::new(socket),
            writer,
        };
        qmp.read().context("QEMU's greeting")?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and returns its result.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.writer
            .write_all(line.as_bytes())
            .with_context(|| format!("sending {command} to QEMU"))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let mut answer = self
                .read()
                .with_context(|| format!("QEMU's answer to {command}"))?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!(
                    "QEMU refuses {command}: {}",
                    error["desc"].as_str().unwrap_or_default()
                );
            }
        }
        bail!("QEMU sent only events for 60 s after {command}");
    }

    /// Waits for a migration (save or restore) to complete.
    pub fn migrated(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let state = self.execute("query-migrate", json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed") => bail!(
                    "QEMU's migration failed: {}",
                    state["error-desc"].as_str().unwrap_or("no reason")
                ),
                _ => {}
            }
            if Instant::now() >= deadline {
                bail!(
                    "QEMU's migration was not done after {} s: {state}",
                    timeout.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// After QEMU's end: whether the guest asked to start again rather than to switch off.
    pub fn ended_by_reset(&mut self) -> bool {
        while let Ok(message) = self.read() {
            if message["event"] == "SHUTDOWN" {
                return message["data"]["reason"] == "guest-reset";
            }
        }
        false
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU sent {line:?}"))
    }
}
