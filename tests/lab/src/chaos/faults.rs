//! Makes faults happen in a machine, and ends them.
//!
//! What begins here ends here: after its own time, at the end of the run, or with the machine. What each fault explains is
//! defined in one place, [`Faults::explain`].
//!
//! Power cuts end the machine; [`super::rebuild`] has them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::dice::Dice;
use super::schedule::{Injected, Kind};
use crate::git::Server;
use crate::kit::PASSPHRASE;
use crate::machine::Machine;
use crate::proxy::{Fault, Proxy};

const LIMIT: Duration = Duration::from_secs(90);
/// The target's partitions, by the kernel's name: the target is the machine's first disk behind the stick, and udev's links come late.
pub const TARGET_PART: &str = "/dev/vdb";
/// A run that was begun this moment has no process yet.
const UNTIL_IT_RUNS: &str = "for n in $(seq 60); do read -r comm 2>/dev/null </proc/$(cat /run/lab/pid)/comm; \
                             [ \"$comm\" = landfall ] && break; sleep 0.05; done";
const FILLER: &str = ".chaos-filler";
/// landfall's exit codes that a fault explains.
const TRANSIENT: i32 = 5;
const NEEDS_CHANGE: i32 = 6;
const INTERRUPTED: i32 = 11;
/// What a shell makes of an end by SIGTERM.
const TERMINATED: i32 = 143;

/// What the configuration and its input are fetched through.
pub struct Network {
    /// One for each repository.
    pub proxies: Vec<Proxy>,
    /// What they lead to.
    pub _server: Server,
}

/// What goes on in a machine.
#[derive(Debug, Default)]
pub struct Faults {
    luks: bool,
    /// What happened in the run at hand.
    pub struck: Vec<Kind>,
    /// What is to be ended, and when.
    ends: Vec<(Instant, Kind)>,
    /// A file that fills the root filesystem may be there.
    filled: bool,
}

impl Faults {
    /// None.
    pub fn new(luks: bool) -> Faults {
        Faults {
            luks,
            ..Faults::default()
        }
    }

    /// A run begins. What an earlier one left behind happens to it as well.
    pub fn new_run(&mut self) {
        self.struck.clear();
        if self.filled {
            self.struck.push(Kind::Full);
        }
    }

    /// Whether something goes on that will be ended.
    pub fn is_any(&self) -> bool {
        self.filled || !self.ends.is_empty()
    }

    /// The machine is off: a file that fills the disk is there still, the rest is over.
    pub fn machine_is_off(&mut self, network: Option<&Network>) {
        self.ends.clear();
        if let Some(network) = network {
            network.proxies.iter().for_each(Proxy::restore);
        }
    }

    /// Makes one happen to the run of this number; gives more words about it, or nothing when it could not be.
    pub fn begin(
        &mut self,
        injected: &Injected,
        run: u32,
        machine: &mut Machine,
        network: Option<&Network>,
    ) -> Result<Option<String>> {
        let mut dice = Dice::new(injected.salt, 4);
        let group = format!("/sys/fs/cgroup/system.slice/chaos-{run}.scope");
        let mut words = String::new();
        self.struck.push(injected.kind);
        match injected.kind {
            // The machine's end is its caller's.
            Kind::Cut => {}
            Kind::Kill => signal(machine, &format!("echo 1 >{group}/cgroup.kill"))?,
            Kind::KillAlone => signal(machine, "kill -KILL $(cat /run/lab/pid)")?,
            Kind::Term => signal(machine, "kill -TERM $(cat /run/lab/pid)")?,
            Kind::Stop => {
                signal(machine, &format!("kill -STOP $(cat {group}/cgroup.procs)"))?;
                let millis = 200 + dice.below(5_000);
                std::thread::sleep(Duration::from_millis(millis));
                signal(machine, &format!("echo 1 >{group}/cgroup.kill"))?;
                words = format!(", stopped for {millis} ms");
            }
            Kind::Full => {
                let leave = [0, 1 << 20, 6 << 20, 24 << 20][dice.below(4) as usize];
                if machine.run(&fill(leave), LIMIT)?.status != 0 {
                    self.struck.pop();
                    return Ok(None);
                }
                self.filled = true;
                let millis = 3_000 + dice.below(20_000);
                self.ends
                    .push((Instant::now() + Duration::from_millis(millis), Kind::Full));
                words = format!(", {} KiB left, for {millis} ms", leave >> 10);
            }
            Kind::Clock => {
                let to = ["1970-01-02 03:04:05", "+10 years", "+1 hour", "-3 days"][dice.below(4) as usize];
                // Behind an earlier jump it may be a time that no clock has.
                if machine.run(&format!("date --set '{to}'"), LIMIT)?.status != 0 {
                    self.struck.pop();
                    return Ok(None);
                }
                self.ends.push((Instant::now() + LIMIT * 10, Kind::Clock));
                words = format!(", to {to}");
            }
            Kind::Network => {
                let millis = 2_000 + dice.below(14_000);
                let after = dice.below(600_000);
                let fault = match dice.below(6) {
                    0 => Some(Fault::Refuse),
                    1 => Some(Fault::Reset { after }),
                    2 => Some(Fault::Truncate { after }),
                    3 => Some(Fault::Stall { after }),
                    _ => None,
                };
                words = match (fault, network) {
                    (Some(fault), Some(network)) => {
                        for proxy in &network.proxies {
                            proxy.break_all(fault);
                        }
                        format!(", {}, for {millis} ms", described(fault))
                    }
                    _ => {
                        machine.set_link(false)?;
                        format!(", no link, for {millis} ms")
                    }
                };
                self.ends
                    .push((Instant::now() + Duration::from_millis(millis), Kind::Network));
            }
        }
        Ok(Some(words))
    }

    /// Ends what has lasted long enough.
    pub fn end_due(&mut self, machine: &mut Machine, network: Option<&Network>) -> Result<()> {
        let now = Instant::now();
        let due: Vec<Kind> = self
            .ends
            .iter()
            .filter(|(when, _)| *when <= now)
            .map(|(_, kind)| *kind)
            .collect();
        self.ends.retain(|(when, _)| *when > now);
        due.into_iter()
            .try_for_each(|kind| self.end(kind, machine, network))
    }

    /// Ends everything: the run has ended, and the machine goes on.
    pub fn end_all(&mut self, machine: &mut Machine, network: Option<&Network>) -> Result<()> {
        for (_, kind) in std::mem::take(&mut self.ends) {
            self.end(kind, machine, network)?;
        }
        if std::mem::take(&mut self.filled) {
            machine.check(&empty(self.luks), LIMIT)?;
        }
        Ok(())
    }

    fn end(&mut self, kind: Kind, machine: &mut Machine, network: Option<&Network>) -> Result<()> {
        match kind {
            Kind::Network => {
                if let Some(network) = network {
                    network.proxies.iter().for_each(Proxy::restore);
                }
                machine.set_link(true)
            }
            Kind::Full => {
                // Where it is not mounted just now it stays full until the run has ended.
                let removed = machine.run(&format!("mountpoint -q /mnt && rm /mnt/{FILLER}"), LIMIT)?;
                self.filled &= removed.status != 0;
                Ok(())
            }
            Kind::Clock => {
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .context("this computer's clock is before 1970")?;
                machine
                    .check(&format!("date --set @{}", now.as_secs()), LIMIT)
                    .map(drop)
            }
            Kind::Cut | Kind::Kill | Kind::KillAlone | Kind::Stop | Kind::Term => Ok(()),
        }
    }

    /// Whether a fault of the run explains that it ended so, having said this.
    pub fn explain(&self, status: i32, said: &str) -> bool {
        self.struck.iter().any(|kind| match kind {
            Kind::Kill | Kind::KillAlone | Kind::Stop => status >= 128,
            // A program that has not begun yet is ended by the kernel.
            Kind::Term => status == INTERRUPTED || status == TERMINATED && said.trim().is_empty(),
            Kind::Full | Kind::Clock => status == NEEDS_CHANGE,
            Kind::Network => status == TRANSIENT,
            Kind::Cut => false,
        })
    }

    /// What happened in the run, in words.
    pub fn told(&self) -> String {
        if self.struck.is_empty() {
            return "nothing had happened".to_owned();
        }
        let names: Vec<&str> = self.struck.iter().map(|kind| kind.name()).collect();
        format!("this had happened: {}", names.join(", "))
    }
}

/// A signal to processes that may have ended by themselves just now.
fn signal(machine: &Machine, command: &str) -> Result<()> {
    machine
        .run(&format!("{UNTIL_IT_RUNS}; {command}"), LIMIT)
        .map(drop)
}

/// Fills the root filesystem, but for so many bytes, when it is mounted. A request for more than there is fills it to the last block, and fails.
fn fill(leave: u64) -> String {
    format!(
        "mountpoint -q /mnt || exit 3; bytes=$(( $(stat -f -c %f /mnt) * $(stat -f -c %S /mnt) - {leave} )); \
         [ $bytes -gt 0 ] || exit 4; fallocate -l $bytes /mnt/{FILLER} || [ -s /mnt/{FILLER} ]"
    )
}

/// Makes room again: where the root filesystem is mounted, or else by mounting it.
fn empty(luks: bool) -> String {
    let (open, device, close) = if luks {
        (
            // A killed run has left its own mapping, and a second one is refused.
            format!(
                "ln -sfn /dev/mapper/cryptroot /run/lab/room; [ -b /dev/mapper/cryptroot ] || {{ ln -sfn /dev/mapper/labroom /run/lab/room; \
                 printf %s '{PASSPHRASE}' | cryptsetup open --key-file - {TARGET_PART}2 labroom; }}"
            ),
            "/run/lab/room".to_owned(),
            "[ ! -b /dev/mapper/labroom ] || cryptsetup close labroom",
        )
    } else {
        ("true".to_owned(), format!("{TARGET_PART}2"), "true")
    };
    format!(
        "set -e; if mountpoint -q /mnt; then rm -f /mnt/{FILLER}; else {open}; mkdir -p /run/lab/at; \
         mount -t ext4 {device} /run/lab/at; rm -f /run/lab/at/{FILLER}; umount /run/lab/at; {close}; fi"
    )
}

fn described(fault: Fault) -> String {
    match fault {
        Fault::Pass => "no fault".to_owned(),
        Fault::Refuse => "connections refused".to_owned(),
        Fault::Reset { after } => format!("reset after {after} bytes"),
        Fault::Truncate { after } => format!("ended after {after} bytes"),
        Fault::Stall { after } => format!("silent after {after} bytes"),
        Fault::Slow { bytes_per_second } => format!("{bytes_per_second} bytes a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_explains_a_stop() {
        let of = |struck: &[Kind]| Faults {
            struck: struck.to_vec(),
            ..Faults::default()
        };
        assert!(of(&[Kind::Term]).explain(11, "landfall 0") && !of(&[Kind::Term]).explain(7, "landfall 0"));
        assert!(of(&[Kind::Clock, Kind::Kill]).explain(137, "landfall 0"));
        assert!(of(&[Kind::Full]).explain(6, "landfall 0") && !of(&[Kind::Full]).explain(5, "landfall 0"));
        assert!(
            of(&[Kind::Network]).explain(5, "landfall 0") && !of(&[Kind::Network]).explain(8, "landfall 0")
        );
        assert!(of(&[Kind::Term]).explain(143, "\n") && !of(&[Kind::Term]).explain(143, "landfall 0"));
        assert!(!of(&[Kind::Full]).explain(143, ""));
        for status in [1, 5, 6, 7, 8, 9, 11, 137] {
            assert!(
                !of(&[]).explain(status, "landfall 0") && !of(&[Kind::Cut]).explain(status, "landfall 0")
            );
        }
    }
}
