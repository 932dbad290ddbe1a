//! A UEFI machine: QEMU with OVMF, disks that outlive it, a console, and an agent inside.
//!
//! A power cut is SIGKILL to QEMU, so what the guest had not yet sent to a disk is lost and nothing else is. Disks, firmware
//! variables and logs are in the machine's folder and stay there. The process does not outlive its [`Machine`], nor the
//! laboratory, however that ends. Every wait has a deadline; every error names the folder.
//!
//! Hardware virtualisation and a screen are off by default, and there is no reboot (the process ends instead, see [`Ended`]).
//!
//! What the guest sees: the stick is always the first virtio disk (`vda`), then the disks in order; names are for people, so
//! scenarios should use `/dev/disk/by-id/virtio-<serial>`.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::{Agent, Job};
use crate::command::{Output, tail};
use crate::console::Console;
use crate::disk;
use crate::ending;
use crate::environment::Stick;
use crate::qemu_line;
use crate::qmp::Qmp;
use crate::saved_state;
use crate::setup::Lab;

mod disk_boot;

pub use disk_boot::DiskBoot;

/// A boot under emulation on a busy computer; 15 s when it is idle.
const BOOT_TIMEOUT: Duration = Duration::from_secs(240);
/// The last that a boot prints. Until then getty and login hang up the console, and whoever wrote to it writes to nothing any more:
/// on a fast computer the agent answers earlier.
const SHELL_PROMPT: &str = "root@installer:~# ";
/// QEMU opens its sockets at once; a loaded computer may take a moment to start it.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);

/// What a machine is made of. Its folder holds the firmware's variables: the same folder is the same machine.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The laboratory that runs it.
    pub lab: Lab,
    /// Its folder, which must exist; see [`crate::cache::Cache::machine`].
    pub folder: PathBuf,
    /// What it boots from, but for [`Machine::boot_disk`].
    pub stick: Option<Stick>,
    /// Its disks, in order.
    pub disks: Vec<Disk>,
    /// Whether it has a network card on QEMU's user network: guest 10.0.2.15, this computer's loopback is 10.0.2.2.
    pub network: bool,
    /// Credentials for the system's services, as `LoadCredential=` finds them: name and value.
    pub credentials: Vec<(String, Vec<u8>)>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// More words for the kernel's command line.
    pub kernel_words: String,
    /// What the firmware starts first, when it is the firmware's choice.
    pub iso: Option<Iso>,
    /// A USB host, `xhci.0`, to which sticks can be plugged; the kernel has to be [`crate::usb`]'s.
    pub usb: bool,
    /// An SSD on a SATA port, likewise.
    pub sata: Option<Disk>,
    /// A screen of so many columns and lines of dots, on which the firmware and the kernel's framebuffer console show themselves.
    pub screen: Option<(u32, u32)>,
}

/// An installer's image that starts by itself.
#[derive(Debug, Clone)]
pub struct Iso {
    /// The file.
    pub image: PathBuf,
    /// What it is in.
    pub attached: Attached,
}

/// What an installer's image is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Attached {
    /// A USB stick
    Usb,
    /// A DVD drive
    Cd,
    /// A virtio disk that does not say that it can be removed
    Virtio,
}

/// A part of a disk where requests of the guest end with EIO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Bytes on the disk, at multiples of [`Failing::STEP`].
    pub bytes: Range<u64>,
    /// Reads fail.
    pub reads: bool,
    /// Writes fail.
    pub writes: bool,
}

impl Failing {
    /// A request fails when it covers the first sector of a step: landfall and filesystems write whole ones.
    pub const STEP: u64 = 4096;
}

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its image, which must exist; see [`disk::create`].
    pub image: PathBuf,
    /// Its serial number, at most 20 characters; `/dev/disk/by-id/virtio-<serial>`.
    pub serial: String,
    /// A qcow2 image rather than a raw one.
    pub qcow2: bool,
    /// A SCSI disk that says it is removable, as a USB stick does, rather than a virtio disk.
    pub removable: bool,
    /// Writes fail.
    pub read_only: bool,
    /// Where to record every write, flush and discard (made anew); see [`disk::write_log`].
    pub write_log: Option<PathBuf>,
    /// What fails.
    pub failing: Option<Failing>,
}

impl Disk {
    /// A raw virtio disk.
    pub fn new(image: impl Into<PathBuf>, serial: impl Into<String>) -> Disk {
        Disk {
            image: image.into(),
            serial: serial.into(),
            qcow2: false,
            removable: false,
            read_only: false,
            write_log: None,
            failing: None,
        }
    }
}

impl Spec {
    /// A machine with 2 GiB of memory and nothing else.
    pub fn new(lab: &Lab, folder: impl Into<PathBuf>) -> Spec {
        Spec {
            lab: lab.clone(),
            folder: folder.into(),
            stick: None,
            disks: Vec::new(),
            network: false,
            credentials: Vec::new(),
            memory_mib: 2048,
            kernel_words: String::new(),
            iso: None,
            usb: false,
            sata: None,
            screen: None,
        }
    }
}

/// How a machine ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was switched off.
    PoweredOff,
    /// It wanted to start again.
    Rebooted,
}

/// A running machine. Dropping it pulls the plug.
#[derive(Debug)]
pub struct Machine {
    folder: PathBuf,
    run: u32,
    child: Child,
    qmp: Qmp,
    console: Console,
    agent: Agent,
}

pub(crate) enum Start {
    /// Kernel and initrd of the stick, given to the firmware.
    Stick,
    /// The same, but stopped, to be filled with a saved state.
    Saved,
    /// Whatever the firmware finds.
    Firmware,
}

impl Machine {
    /// Boots the stick and waits until the agent answers and the console is root's.
    pub fn boot(spec: &Spec) -> Result<Machine> {
        let mut machine = Machine::launch(spec, &Start::Stick)?;
        let up = machine
            .go()
            .and_then(|()| machine.agent_answers())
            .and_then(|()| machine.console.wait(SHELL_PROMPT, BOOT_TIMEOUT));
        machine.told(up, "booting the stick")?;
        Ok(machine)
    }

    /// Boots the stick and returns at once: for sticks whose own service is to be watched on the console. The agent
    /// answers later.
    pub fn power_on(spec: &Spec) -> Result<Machine> {
        let mut machine = Machine::launch(spec, &Start::Stick)?;
        let on = machine.go();
        machine.told(on, "switching on")?;
        Ok(machine)
    }

    /// Starts whatever the firmware finds, [`Spec::iso`] first, and returns at once.
    pub fn power_on_firmware(spec: &Spec) -> Result<Machine> {
        let mut machine = Machine::launch(spec, &Start::Firmware)?;
        let on = machine.go();
        machine.told(on, "switching on")?;
        Ok(machine)
    }

    /// The machine as it is right after [`Machine::boot`], from a saved state: a few seconds instead of a boot.
    ///
    /// The state is made when missing, from the stick and the machine's shape (disks with their sizes and serial
    /// numbers, network, credentials, memory), with blank disks. It comes with fresh firmware variables: what an earlier start
    /// had written there is back when the disk is booted.
    pub fn start_saved(spec: &Spec) -> Result<Machine> {
        let saved = saved_state::folder(spec)?;
        disk_boot::keep_variables(&spec.folder)?;
        fs::copy(saved.join("vars.fd"), spec.folder.join("vars.fd"))?;
        let mut machine = Machine::launch(spec, &Start::Saved)?;
        let up = machine.restore(&saved.join("ram"), spec);
        machine.told(up, "restoring the saved state")?;
        Ok(machine)
    }

    /// Runs a command in bash, as root, and returns its status (124: killed at the deadline) and output.
    pub fn run(&self, command: &str, timeout: Duration) -> Result<Output> {
        let job = self.spawn(command, timeout)?;
        self.told(job.wait(timeout + Duration::from_secs(15)), "running a command")
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn check(&self, command: &str, timeout: Duration) -> Result<String> {
        let output = self.run(command, timeout)?;
        if output.status != 0 {
            let said = format!("{}\n{}", output.text(), output.error_text());
            let failed = Err(anyhow::anyhow!(
                "status {} from: {command}\n{}",
                output.status,
                tail(said.trim(), 30)
            ));
            return self.told(failed, "running a command");
        }
        Ok(output.text())
    }

    /// Starts a command; `timeout` is when the guest kills it.
    pub fn spawn(&self, command: &str, timeout: Duration) -> Result<Job> {
        self.told(self.agent.spawn(command, b"", timeout), "starting a command")
    }

    /// Writes a file in the machine.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        self.told(
            self.agent.put(path, content, Duration::from_secs(60)),
            "writing a file",
        )
    }

    /// Reads a file in the machine.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.told(self.agent.get(path, Duration::from_secs(60)), "reading a file")
    }

    /// Waits until the console, after the last match, matches this regular expression; returns the match.
    pub fn console_wait(&self, pattern: &str, timeout: Duration) -> Result<String> {
        self.told(self.console.wait(pattern, timeout), "watching the console")
    }

    /// Waits for the first of several patterns; returns its index and the match.
    pub fn console_wait_any(&self, patterns: &[&str], timeout: Duration) -> Result<(usize, String)> {
        self.told(self.console.wait_any(patterns, timeout), "watching the console")
    }

    /// Types on the console.
    pub fn console_type(&self, text: &str) -> Result<()> {
        self.told(self.console.type_text(text), "typing on the console")
    }

    /// The console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The machine's folder: `console-<n>.log`, `qemu-<n>.log` and `command-<n>.txt` of its n-th start.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the agent is there and devices have settled; once, after [`Machine::power_on`].
    pub fn agent_answers(&self) -> Result<()> {
        let limit = BOOT_TIMEOUT;
        let settled = self
            .agent
            .greeted(limit)
            .and_then(|()| self.agent.spawn("udevadm settle --timeout=60", b"", limit))
            .and_then(|job| job.wait(limit));
        self.told(settled.map(|_| ()), "waiting for the agent")
    }

    /// Pulls the plug: SIGKILL, no flush.
    pub fn cut_power(mut self) -> Result<()> {
        self.stop()
    }

    /// Waits until the machine switches itself off.
    pub fn powered_off(mut self, timeout: Duration) -> Result<Ended> {
        let deadline = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                let last = tail(&self.console.text(), 12);
                let late = Err(anyhow::anyhow!(
                    "still on after {} s; the console's end:\n{last}",
                    timeout.as_secs()
                ));
                return self.told(late, "waiting for it to switch off");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            let failed = Err(anyhow::anyhow!("QEMU ended with {status}"));
            return self.told(failed, "waiting for it to switch off");
        }
        Ok(if self.qmp.ended_by_reset() {
            Ended::Rebooted
        } else {
            Ended::PoweredOff
        })
    }

    /// Plugs the network cable in or out.
    pub fn set_link(&mut self, up: bool) -> Result<()> {
        let set = self.qmp.execute("set_link", json!({ "name": "net0", "up": up }));
        self.told(set.map(|_| ()), "setting the link")
    }

    /// Asks QEMU for anything else.
    pub fn qmp(&mut self, command: &str, arguments: serde_json::Value) -> Result<serde_json::Value> {
        let done = self.qmp.execute(command, arguments);
        self.told(done, command)
    }

    /// Writes what the screen shows to a file, as PNG.
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        let wanted = json!({ "filename": file.to_string_lossy(), "format": "png" });
        self.qmp("screendump", wanted).map(drop)
    }

    /// Types on the keyboard that belongs to the screen: small letters, digits, `-` and the end of a line.
    pub fn keyboard_type(&mut self, text: &str) -> Result<()> {
        for c in text.chars() {
            let key = match c {
                'a'..='z' | '0'..='9' => c.to_string(),
                '-' => "minus".to_owned(),
                '\n' => "ret".to_owned(),
                other => bail!("the keyboard has no key {other:?}"),
            };
            let keys = json!({ "keys": [{ "type": "qcode", "data": key }], "hold-time": 30 });
            self.qmp("send-key", keys)?;
            std::thread::sleep(Duration::from_millis(120));
        }
        Ok(())
    }

    /// Whether QEMU still runs.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Stops the processors; QEMU finishes what the disks were given, and flushes them.
    pub fn pause(&mut self) -> Result<()> {
        self.qmp.execute("stop", json!({})).map(drop)
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Stops the machine and writes its state to a file.
    pub(crate) fn save(&mut self, ram: &Path) -> Result<()> {
        self.pause()?;
        self.qmp.execute("migrate-set-capabilities", mapped_ram())?;
        self.qmp
            .execute("migrate", json!({ "uri": format!("file:{}", ram.display()) }))?;
        let saved = self.qmp.migrated(Duration::from_secs(300));
        self.told(saved, "saving the state")
    }

    fn go(&mut self) -> Result<()> {
        self.qmp.execute("cont", json!({})).map(|_| ())
    }

    fn restore(&mut self, ram: &Path, spec: &Spec) -> Result<()> {
        self.qmp.execute("migrate-set-capabilities", mapped_ram())?;
        self.qmp.execute(
            "migrate-incoming",
            json!({ "uri": format!("file:{}", ram.display()) }),
        )?;
        self.qmp.migrated(Duration::from_secs(120))?;
        self.go()?;
        let mut blank = true;
        for disk in &spec.disks {
            blank &= !disk.qcow2 && disk::is_blank(&disk.image)?;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("this computer's clock is before 1970")?;
        let mut command = format!("date --set @{} >/dev/null; ", now.as_secs());
        if !blank {
            // The saved kernel knows blank disks: what it cached of them and its partitions must go.
            command.push_str(
                "stick=$(findmnt -no SOURCE /iso); for disk in /dev/vd[a-z] /dev/sd[a-z]; do \
                 [ -b $disk ] && [ $disk != $stick ] || continue; \
                 blockdev --flushbufs $disk; blockdev --rereadpt $disk; udevadm trigger --action=change $disk; done; ",
            );
        }
        command.push_str("udevadm settle --timeout=60");
        let output = self
            .agent
            .spawn(&command, b"", BOOT_TIMEOUT)?
            .wait(BOOT_TIMEOUT)?;
        if output.status != 0 {
            bail!("after the restore: {}", output.error_text());
        }
        Ok(())
    }

    /// Adds to an error what happened, where the logs are, and what QEMU said last.
    fn told<T>(&self, result: Result<T>, doing: &str) -> Result<T> {
        result.with_context(|| {
            let log = self.folder.join(format!("qemu-{}.log", self.run));
            let said = fs::read_to_string(&log).unwrap_or_default();
            let said = said.trim();
            let said = if said.is_empty() {
                String::new()
            } else {
                format!("; QEMU said: {}", tail(said, 5))
            };
            format!(
                "{doing}: start {} of the machine in {}{said}",
                self.run,
                self.folder.display()
            )
        })
    }

    fn launch(spec: &Spec, start: &Start) -> Result<Machine> {
        let folder = fs::canonicalize(&spec.folder).context("a machine's folder must exist")?;
        end_leftover(&folder)?;
        let run = next_run(&folder)?;
        let vars = folder.join("vars.fd");
        if !vars.exists() {
            fs::copy(&spec.lab.qemu.ovmf_vars, &vars)?;
        }
        for socket in ["qmp.sock", "console.sock", "agent.sock"] {
            let socket = folder.join(socket);
            if socket.exists() {
                fs::remove_file(&socket)?;
            }
        }
        let arguments = qemu_line::arguments(spec, start, &folder)?;
        let line: Vec<String> = arguments
            .iter()
            .map(|word| qemu_line::quoted(&word.to_string_lossy()))
            .collect();
        fs::write(folder.join(format!("command-{run}.txt")), line.join(" ") + "\n")?;

        let log = fs::File::create(folder.join(format!("qemu-{run}.log")))?
            .into_parts()
            .0;
        let mut command = Command::new(&arguments[0]);
        command
            .args(&arguments[1..])
            .current_dir(&folder)
            .stdin(Stdio::null());
        command
            .stdout(log.try_clone().context("cloning QEMU's log")?)
            .stderr(log);
        command.envs(spec.lab.qemu.environment.iter().map(|(key, value)| (key, value)));
        let mut child =
            ending::spawn(command, Signal::SIGKILL).context("cannot start QEMU; run `cargo lab setup`")?;
        let connected = connect_all(&folder, run, &mut child);
        let (qmp, console, agent) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                // Whatever this says, the error above says more.
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(folder.join(format!("qemu-{run}.log"))).unwrap_or_default();
                let said = tail(&said, 8);
                return Err(error.context(format!("starting the machine in {}: {said}", folder.display())));
            }
        };
        fs::write(folder.join("qemu.pid"), child.id().to_string())?;
        Ok(Machine {
            folder,
            run,
            child,
            qmp,
            console,
            agent,
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nobody is left to be told; the process is gone either way.
        let _ = self.stop();
    }
}

fn connect_all(folder: &Path, run: u32, child: &mut Child) -> Result<(Qmp, Console, Agent)> {
    let qmp = Qmp::start(connect(folder, "qmp.sock", child)?)?;
    let console = Console::start(
        connect(folder, "console.sock", child)?,
        &folder.join(format!("console-{run}.log")),
    )?;
    let agent = Agent::start(connect(folder, "agent.sock", child)?)?;
    Ok((qmp, console, agent))
}

/// Connects to a socket in a folder whose path may be longer than a socket's address can be (108 bytes).
fn connect(folder: &Path, name: &str, child: &mut Child) -> Result<UnixStream> {
    let handle = fs::File::open(folder)?;
    let short = format!("/proc/self/fd/{}/{name}", handle.file().as_raw_fd());
    let deadline = Instant::now() + SOCKET_TIMEOUT;
    loop {
        match UnixStream::connect(&short) {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                if let Some(status) = child.try_wait()? {
                    bail!("QEMU ended at once with {status}");
                }
                if Instant::now() >= deadline {
                    return Err(error).with_context(|| format!("QEMU does not open {name}"));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the QEMU that a laboratory, itself killed, left in this folder.
fn end_leftover(folder: &Path) -> Result<()> {
    let file = folder.join("qemu.pid");
    if !file.exists() {
        return Ok(());
    }
    let number = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    let Ok(number) = number.trim().parse::<i32>() else {
        return Ok(());
    };
    // The number may belong to another program by now: only one that works in this folder is ours.
    let Ok(directory) = fs::read_link(format!("/proc/{number}/cwd")) else {
        return Ok(());
    };
    if directory == folder {
        let pid = nix::unistd::Pid::from_raw(number);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
            .with_context(|| format!("cannot end process {number}, left in {}", folder.display()))?;
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn next_run(folder: &Path) -> Result<u32> {
    let mut last = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("command-")
            .and_then(|name| name.strip_suffix(".txt"));
        last = last.max(number.and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    Ok(last + 1)
}

fn mapped_ram() -> serde_json::Value {
    json!({ "capabilities": [{ "capability": "mapped-ram", "state": true }] })
}
