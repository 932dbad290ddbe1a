//! Makes a plan from facts.
//!
//! Pure. It takes one line of the fstab after the other, with its device and what that is on. What is not understood is named and not
//! changed, and all problems are reported together.
//!
//! `plan` has the plan itself.

use super::facts::{Device, Facts, FstabLine, is_same};
use super::generations;
use super::label::{self, Bearer, sought};
use super::nix_file::Place;
use super::plan::{Change, How, InFile, Left, Plan, Wanted};
use super::problem::Problem;
use crate::real::disk::lsblk::membership;

/// Makes the plan. `files`: the devices that the configuration's files name.
///
/// # Errors
/// Every reason for which nothing may be changed.
pub fn plan(facts: &Facts, wanted: &Wanted, files: &[InFile]) -> Result<Plan, Vec<Problem>> {
    let mut making = Making {
        facts,
        wanted,
        files,
        plan: Plan::default(),
        problems: vec![],
        used: vec![],
    };
    making.filesystems();
    making.unused();
    making.check_labels();
    if !making.problems.is_empty() {
        return Err(making.problems);
    }
    let btrfs = facts
        .devices
        .iter()
        .filter(|device| device.bearer() == Some(Bearer::Btrfs));
    making.plan.parts = btrfs.cloned().collect();
    // What needs nothing taken away comes first; the ESP, which has to be unmounted, last.
    making.plan.changes.sort_by_key(|change| match change.how {
        How::Mounted { .. } => 0,
        How::Header => 1,
        How::Table { .. } => 2,
        How::Swap { .. } => 3,
        How::Unmounted { .. } => 4,
    });
    Ok(making.plan)
}

struct Making<'a> {
    facts: &'a Facts,
    wanted: &'a Wanted,
    files: &'a [InFile],
    plan: Plan,
    problems: Vec<Problem>,
    /// Which of the wanted labels were given to something.
    used: Vec<String>,
}

/// What stands in an fstab and is no device.
fn is_no_device(line: &FstabLine) -> bool {
    let named = line.spec.starts_with("/dev/")
        || ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="]
            .iter()
            .any(|tag| line.spec.starts_with(tag));
    !named
        || line
            .options
            .iter()
            .any(|option| option == "bind" || option == "rbind")
}

impl Making<'_> {
    fn left(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let left = Left {
            what: what.into(),
            why: why.into(),
        };
        if !self.plan.left.contains(&left) {
            self.plan.left.push(left);
        }
    }

    fn filesystems(&mut self) {
        let lines = &self.facts.fstab;
        if !lines.iter().any(|line| line.target == "/") {
            self.problems.push(Problem::NoRoot);
        }
        let mut swaps = 0;
        for line in lines {
            let is_swap = line.kind == "swap";
            let what = if is_swap {
                "swap".to_owned()
            } else {
                line.target.to_string()
            };
            if is_no_device(line) {
                match line.kind.as_str() {
                    "zfs" => self.left(
                        what,
                        format!("{} is a ZFS dataset, which has its name from the pool", line.spec),
                    ),
                    "bcachefs" => self.left(what, "this command does not relabel bcachefs"),
                    _ if is_swap => self.left(line.spec.clone(), "a swap file has no label"),
                    _ => {}
                }
                continue;
            }
            let Some(device) = self.facts.named(&line.spec) else {
                if line.target == "/" {
                    self.problems.push(Problem::RootUnknown {
                        spec: line.spec.clone(),
                    });
                } else {
                    self.left(what, format!("no attached device is {}", line.spec));
                }
                continue;
            };
            if is_swap {
                swaps += 1;
            }
            self.filesystem(line, &what, device, swaps);
        }
    }

    /// One line of the fstab: its label, and that of the container below.
    fn filesystem(&mut self, line: &FstabLine, what: &str, device: &Device, swaps: u32) {
        if self.plan.links.iter().any(|(known, _)| is_same(known, device)) {
            return;
        }
        if let Some(why) = &device.doubt {
            self.problems.push(Problem::Doubt {
                what: what.to_owned(),
                device: device.path.clone(),
                why: why.clone(),
            });
            return;
        }
        self.members(device);
        let Some(bearer) = device.bearer() else {
            let kind = device.content_kind();
            self.left(
                format!("{what} ({})", device.path),
                if kind.is_empty() {
                    "it has no known filesystem; swap with a random key has none, and keeps its PARTUUID"
                        .into()
                } else {
                    format!("this command does not relabel {kind}")
                },
            );
            return;
        };
        if line.kind == "swap" && self.has_random_key(device) {
            self.left(
                format!("{what} ({})", device.path),
                "it is swap with a random key, which is made again at each boot",
            );
            return;
        }
        let role = match (what, bearer) {
            ("/", _) => Some(("root", self.wanted.root.clone())),
            ("/boot" | "/efi" | "/boot/efi", Bearer::Fat) => Some(("esp", self.wanted.esp.clone())),
            ("swap", _) if swaps == 1 => Some(("swap", self.wanted.swap.clone())),
            _ => self
                .wanted
                .more
                .get(what)
                .map(|label| (what, Some(label.clone()))),
        };
        let Some((part, said)) = role else {
            self.left(
                format!("{what} ({})", device.path),
                format!("it keeps {}; to give it a label: --label {what}=LABEL", line.spec),
            );
            self.containers(device, what, false);
            return;
        };
        self.used.push(part.to_owned());
        let in_use = sought(&line.spec).map(|(_, label)| label);
        let new = said
            .or(in_use)
            .unwrap_or_else(|| bearer.derived(part, &self.wanted.host));
        if let Some(how) = self.how(what, device, bearer, line) {
            self.plan.links.push((device.clone(), bearer.link(&new)));
            self.plan.changes.push(Change {
                what: what.to_owned(),
                bearer,
                device: device.clone(),
                old: device.label().map(str::to_owned),
                new,
                how,
            });
        }
        self.containers(device, what, what == "/");
    }

    /// How the label of a filesystem or of swap is changed; `None`: it cannot be, which was said.
    fn how(&mut self, what: &str, device: &Device, bearer: Bearer, line: &FstabLine) -> Option<How> {
        let (name, path) = (what.to_owned(), device.path.clone());
        let mounts = self.facts.mounted(device);
        let by_itself = !line.options.iter().any(|option| option == "noauto");
        match bearer {
            Bearer::Fat => {
                let mut at: Vec<String> = mounts.iter().map(|mount| mount.target.to_string()).collect();
                at.sort_by_key(|one| *one != line.target);
                at.dedup();
                if mounts.len() > 1 || at.first().is_some_and(|one| *one != line.target) {
                    self.problems.push(Problem::Mounts {
                        what: name,
                        device: path,
                        at,
                    });
                    return None;
                }
                let is_mounted = !mounts.is_empty();
                Some(How::Unmounted {
                    at: line.target.clone(),
                    is_mounted,
                    is_wanted: is_mounted || by_itself,
                })
            }
            Bearer::Swap => {
                let on = self.facts.swapping(device).cloned();
                let used = on.as_ref().map_or(0, |swap| swap.used_bytes);
                // What is swapped has to fit into memory, with something to spare.
                if used > 0 && used.saturating_add(used / 4) > self.facts.memory_bytes {
                    self.problems.push(Problem::SwapFull {
                        what: name,
                        device: path,
                        used,
                        room: self.facts.memory_bytes,
                    });
                    return None;
                }
                Some(How::Swap {
                    is_wanted: on.is_some() || by_itself,
                    on,
                    options: line.options.join(","),
                })
            }
            Bearer::Ext | Bearer::Xfs | Bearer::Btrfs => {
                let Some(first) = mounts.first() else {
                    self.left(
                        format!("{what} ({path})"),
                        format!(
                            "it is not mounted; mount {}, then run the command again",
                            line.target
                        ),
                    );
                    return None;
                };
                let Some(writable) = mounts.iter().find(|mount| !mount.read_only) else {
                    self.problems.push(Problem::ReadOnly {
                        what: name,
                        device: path,
                        at: first.target.clone(),
                    });
                    return None;
                };
                Some(How::Mounted {
                    at: writable.target.clone(),
                })
            }
            Bearer::Luks2 | Bearer::Partition => None,
        }
    }

    /// Parts of something larger on which a device lies: named, and left alone.
    fn members(&mut self, device: &Device) {
        for below in self.all_below(device) {
            if let Some(member) = membership(below.content_kind()) {
                self.left(below.path.to_string(), format!("it is {member}"));
            }
        }
    }

    /// Everything that a device lies on.
    fn all_below(&self, device: &Device) -> Vec<Device> {
        let mut found: Vec<Device> = vec![];
        let mut open = device.below.clone();
        while let Some(node) = open.pop() {
            if let Some(below) = self.facts.node(&node)
                && !found.iter().any(|known| known.dev == below.dev)
            {
                found.push(below.clone());
                open.extend(below.below.iter().cloned());
            }
        }
        found
    }

    /// Whether a device is a mapping of dm-crypt that no LUKS header is below.
    fn has_random_key(&self, device: &Device) -> bool {
        device.kind == "crypt"
            && !device.below.iter().any(|node| {
                self.facts
                    .node(node)
                    .is_some_and(|below| below.content_kind() == "crypto_LUKS")
            })
    }

    /// The LUKS containers below a device.
    fn containers(&mut self, device: &Device, above: &str, is_root: bool) {
        let mut mappings = self.all_below(device);
        mappings.push(device.clone());
        for mapping in mappings.iter().filter(|one| one.kind == "crypt") {
            let name = mapping.path.file_name().unwrap_or_default().to_owned();
            for container in mapping.below.iter().filter_map(|node| self.facts.node(node)) {
                if container.content_kind() != "crypto_LUKS"
                    || self
                        .plan
                        .links
                        .iter()
                        .any(|(known, _)| known.dev == container.dev)
                {
                    continue;
                }
                let said = self.wanted.more.get(&name).cloned();
                let what = format!("the container {name}");
                let label = if is_root {
                    said.or(self.wanted.luks.clone())
                } else if said.is_some() {
                    said
                } else {
                    self.left(
                        format!("{} (LUKS, below {above})", container.path),
                        format!("it is not changed; to give it a label: --label {name}=LABEL"),
                    );
                    continue;
                };
                self.used.push(if is_root { "luks".into() } else { name.clone() });
                self.used.push(name.clone());
                self.container(container, &name, &what, label);
            }
        }
    }

    /// One container: the name of its partition, by which it is looked for then, and the same in its header.
    fn container(&mut self, container: &Device, name: &str, what: &str, said: Option<String>) {
        let in_file = self.files.iter().find(|one| {
            matches!(&one.place, Place::Luks(_))
                && one.device.as_ref().is_ok_and(|spec| {
                    self.facts
                        .named(spec)
                        .is_some_and(|found| found.dev == container.dev)
                })
        });
        let looked_for = in_file
            .and_then(|one| one.device.as_ref().ok())
            .and_then(|spec| sought(spec))
            .map(|(bearer, label)| (bearer == Bearer::Partition, label));
        let entry = container.entry.as_ref().filter(|entry| entry.scheme == "gpt");
        let disk = container.below.first().and_then(|node| self.facts.node(node));
        let by_name = entry
            .zip(disk)
            .filter(|_| !matches!(&looked_for, Some((false, _))));
        let header = container.bearer() == Some(Bearer::Luks2);
        if by_name.is_none() && !header {
            self.left(
                format!("{} (LUKS, mapping {name})", container.path),
                "it has no GPT partition with a name to change, and a LUKS1 header has no label",
            );
            return;
        }
        let bearer = if by_name.is_some() {
            Bearer::Partition
        } else {
            Bearer::Luks2
        };
        let new = said
            .or(looked_for.map(|(_, label)| label))
            .unwrap_or_else(|| bearer.derived("luks", &self.wanted.host));
        self.plan.links.push((container.clone(), bearer.link(&new)));
        if header {
            self.plan.changes.push(Change {
                what: what.to_owned(),
                bearer: Bearer::Luks2,
                device: container.clone(),
                old: container.label().map(str::to_owned),
                new: new.clone(),
                how: How::Header,
            });
        }
        if let Some((entry, disk)) = by_name {
            self.plan.changes.push(Change {
                what: what.to_owned(),
                bearer: Bearer::Partition,
                device: container.clone(),
                old: entry.name.clone().filter(|name| !name.is_empty()),
                new,
                how: How::Table {
                    disk: disk.node.clone(),
                    number: entry.number,
                },
            });
        }
    }

    /// Labels that were asked for and that nothing was found for.
    fn unused(&mut self) {
        let Wanted {
            host: _,
            esp,
            root,
            luks,
            swap,
            more,
        } = self.wanted;
        let roles = [
            (
                "esp",
                esp,
                "no FAT filesystem at /boot, /efi or /boot/efi to relabel",
            ),
            ("root", root, "no filesystem at / to relabel"),
            ("luks", luks, "no LUKS container below /"),
            ("swap", swap, "no swap on a device"),
        ];
        let mut unused: Vec<Left> = vec![];
        for (role, label, why) in roles {
            if let Some(label) = label
                && !self.used.iter().any(|used| used == role)
            {
                unused.push(Left {
                    what: format!("label {label}"),
                    why: format!("this machine has {why}"),
                });
            }
        }
        for (what, label) in more {
            if !self.used.contains(what) {
                let is_there = self.facts.fstab.iter().any(|line| line.target == what.as_str());
                self.problems.push(Problem::Nothing {
                    what: what.clone(),
                    label: label.clone(),
                    why: if is_there {
                        "this command cannot give a label to what the fstab has there"
                    } else {
                        "the fstab does not have this mount point, and no LUKS mapping in use has this name"
                    },
                });
            }
        }
        self.plan.left.extend(unused);
    }

    fn check_labels(&mut self) {
        let mut problems = vec![];
        for (at, change) in self.plan.changes.iter().enumerate() {
            let Change {
                what,
                bearer,
                device,
                old,
                new,
                how: _,
            } = change;
            // One that is there is not written.
            if let Err(why) = bearer.check(new)
                && !change.is_done()
            {
                problems.push(Problem::Label {
                    what: what.clone(),
                    device: device.path.clone(),
                    why,
                });
                continue;
            }
            let before = self.plan.changes.iter().take(at);
            if let Some(other) = before
                .filter(|other| other.bearer.folder() == bearer.folder() && other.new == *new)
                .find(|other| other.device.dev != device.dev)
            {
                problems.push(Problem::Twice {
                    label: new.clone(),
                    one: other.what.clone(),
                    other: what.clone(),
                });
            }
            problems.extend(self.taken(change));
            // Of a FAT, the one in its root directory is looked for, also where its two places differ.
            let in_content = device.content.as_ref().and_then(|content| content.label.as_ref());
            let looked_for = if *bearer == Bearer::Partition {
                old.as_ref()
            } else {
                in_content
            };
            if let Some(old) = looked_for.filter(|old| !label::is_same(new, old)) {
                problems.extend(self.boots_by(change, old));
            }
        }
        self.problems.extend(problems);
    }

    /// Another device that has the label.
    fn taken(&self, change: &Change) -> Option<Problem> {
        let has = |other: &&Device| {
            let label = match change.bearer {
                Bearer::Partition => other.entry.as_ref().and_then(|entry| entry.name.as_deref()),
                Bearer::Fat | Bearer::Ext | Bearer::Xfs | Bearer::Btrfs | Bearer::Swap | Bearer::Luks2 => {
                    other
                        .content
                        .as_ref()
                        .and_then(|content| content.label.as_deref())
                }
            };
            label == Some(change.new.as_str()) && !is_same(&change.device, other)
        };
        self.facts.devices.iter().find(has).map(|other| Problem::Taken {
            what: change.what.clone(),
            device: change.device.path.clone(),
            label: change.new.clone(),
            folder: change.bearer.folder(),
            other: other.path.clone(),
        })
    }

    /// What looks for a label that would go.
    fn boots_by(&self, change: &Change, old: &str) -> Option<Problem> {
        let looks = |spec: &str| change.bearer.is_sought(old, spec);
        let line = self.facts.fstab.iter().find(|line| line.names(&looks));
        let word = self
            .facts
            .kernel_words
            .iter()
            .find(|word| word.split_once('=').is_some_and(|(_, spec)| looks(spec)));
        let of_file = || {
            let looks = |one: &&InFile| one.device.as_ref().is_ok_and(|spec| looks(spec));
            let one = self.files.iter().find(looks)?;
            Some(format!("{} ({}, line {})", one.file, one.place, one.line))
        };
        let by = match (line, word) {
            (Some(line), _) if line.kind == "swap" => "the running system (its fstab, for swap)".to_owned(),
            (Some(line), _) => format!("the running system (its fstab, for {})", line.target),
            (None, Some(word)) => format!("the running system (its kernel parameter {word})"),
            (None, None) => match of_file() {
                Some(by) => by,
                None => return generations::boot_by(self.facts, change, old),
            },
        };
        Some(Problem::BootsByIt {
            what: change.what.clone(),
            device: change.device.path.clone(),
            old: old.to_owned(),
            by,
            given_up: None,
        })
    }
}

#[cfg(test)]
#[path = "making_tests.rs"]
mod tests;
