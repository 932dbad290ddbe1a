//! What a step in the laboratory's machine changes: a disk on a loop device, and what the kernel and the firmware keep beside
//! it.
//!
//! Before every point all of it is as it was when the step had been prepared: the disk's bytes, no mount and no mapping of
//! the install, the firmware's variables for booting, no run-time directory of landfall. It is touched in the laboratory's
//! machine and nowhere else.
//!
//! `machine` says what is done to it.

use crate::image::Image;
use crate::tree;
use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::boot::firmware::EFIVARS;
use landfall::real::boot::kernel_settings;
use landfall::real::volume::device_mapper;
use landfall::real::{MOUNT_ROOT, RUN_DIR};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the laboratory's kernel command line has, and no other.
const SIGN: &str = "lab.stick=";
/// How the mapping is called that landfall makes.
pub const MAPPER: &str = "cryptroot";
/// Longest wait for something that is busy.
const BUSY_MAX: Duration = Duration::from_secs(20);

/// Whether this is the laboratory's machine.
pub fn is_here() -> bool {
    fs_err::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains(SIGN))
}

/// Runs a program that must end well.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(format!("{program} {args:?}: {}: {said}", out.status))
}

/// Tries again while it is busy: udev looks at what appears, and killed programs close their files late.
fn patiently<E: std::fmt::Display>(
    what: &str,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match call() {
            Ok(()) => return Ok(()),
            Err(e) if began.elapsed() > BUSY_MAX => return Err(format!("{what}: {e}")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A mount of the install's, or in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSeen {
    /// Where.
    pub target: String,
    /// `rw` or `ro`, and the filesystem.
    pub kind: String,
}

/// What is mounted at the target, in it, or for the checkpoint store; in the order in which it was mounted.
pub fn mounts() -> Result<Vec<MountSeen>, String> {
    let text = fs_err::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let mut seen = vec![];
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = fields.iter().position(|field| *field == "-").map(|at| at + 1);
        let (Some(target), Some(options), Some(kind)) =
            (fields.get(4), fields.get(5), kind.and_then(|at| fields.get(at)))
        else {
            return Err(format!("mountinfo: {line}"));
        };
        let ours = [MOUNT_ROOT, RUN_DIR].iter().any(|top| {
            target
                .strip_prefix(top)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if ours {
            seen.push(MountSeen {
                target: (*target).to_owned(),
                kind: format!("{} {kind}", options.split(',').next().unwrap_or_default()),
            });
        }
    }
    Ok(seen)
}

/// Names of mappings that are the install's, or that libcryptsetup made for itself.
pub fn mappings() -> Result<Vec<String>, String> {
    let mut names = device_mapper::names().map_err(|fault| fault.to_string())?;
    names.retain(|name| name == MAPPER || name.starts_with("temporary-cryptsetup-"));
    names.sort();
    Ok(names)
}

/// The firmware's variables for booting.
pub fn firmware() -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(EFIVARS).map_err(|e| e.to_string())? {
        let name = entry
            .map_err(|e| e.to_string())?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("Boot") || name.starts_with("Loader") {
            let bytes = fs_err::read(Utf8Path::new(EFIVARS).join(&name)).map_err(|e| e.to_string())?;
            found.insert(name, bytes);
        }
    }
    Ok(found)
}

fn restore_firmware(wanted: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let now = firmware()?;
    let path = |name: &str| Utf8Path::new(EFIVARS).join(name);
    let change = |name: &str| run("chattr", &["-i", path(name).as_str()]);
    for name in now.keys().filter(|name| !wanted.contains_key(*name)) {
        change(name)?;
        fs_err::remove_file(path(name)).map_err(|e| e.to_string())?;
    }
    for (name, bytes) in wanted {
        if now.get(name) == Some(bytes) {
            continue;
        }
        if now.contains_key(name) {
            change(name)?;
        }
        fs_err::write(path(name), bytes).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// What tells what a death left from what another one left: mounts, mappings, variables, and the target's files without its store.
pub fn digest() -> Result<[u8; 32], String> {
    let mut sum = Sha256::new();
    for MountSeen { target, kind } in mounts()? {
        sum.update(format!("{target} {kind}\n"));
    }
    for name in mappings()? {
        let mapping = device_mapper::find(&name).map_err(|fault| fault.to_string())?;
        let shown = mapping.map(|m| (m.uuid, m.has_table, m.suspended, m.slaves));
        sum.update(format!("{name} {shown:?}\n"));
    }
    for (name, bytes) in firmware()? {
        sum.update(name);
        sum.update(bytes);
    }
    let store = Utf8Path::new(MOUNT_ROOT).join("nix/store");
    let files = tree::digest_without(MOUNT_ROOT.as_ref(), &[store.as_std_path()]);
    sum.update(files.map_err(|e| e.to_string())?);
    Ok(sum.finalize().into())
}

/// See the module.
pub struct Ground {
    file: Utf8PathBuf,
    base: Image,
    firmware: BTreeMap<String, Vec<u8>>,
    device: Option<Utf8PathBuf>,
}

impl Ground {
    /// A blank disk of so many bytes.
    pub fn new(place: &Utf8Path, bytes: u64) -> Result<Ground, String> {
        let file = place.join("disk");
        let ground = Ground {
            file: file.clone(),
            base: Image::blank(bytes),
            firmware: firmware()?,
            device: None,
        };
        ground.base.write(&file).map_err(|e| e.to_string())?;
        Ok(ground)
    }

    /// What is on the disk now is what it begins with from now on.
    pub fn keep(&mut self) -> Result<(), String> {
        self.clear()?;
        self.base = Image::read(&self.file).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// What the disk begins with.
    pub fn base(&self) -> &Image {
        &self.base
    }

    /// Everything as it was; the disk's device.
    pub fn begin(&mut self) -> Result<Utf8PathBuf, String> {
        let base = self.base.clone();
        self.begin_with(&base)
    }

    /// The same with another disk's bytes.
    pub fn begin_with(&mut self, disk: &Image) -> Result<Utf8PathBuf, String> {
        self.clear()?;
        disk.write(&self.file).map_err(|e| e.to_string())?;
        let file = self.file.clone();
        self.attach(&file)
    }

    /// A file becomes the disk.
    pub fn attach(&mut self, file: &Utf8Path) -> Result<Utf8PathBuf, String> {
        let device = run("losetup", &["--find", "--show", "--partscan", file.as_str()])?;
        let device = Utf8PathBuf::from(device);
        self.device = Some(device.clone());
        Ok(device)
    }

    /// Undoes what is attached.
    pub fn clear(&mut self) -> Result<(), String> {
        clear_mounts()?;
        for name in mappings()? {
            patiently(&name, || device_mapper::remove(&name))?;
        }
        kernel_settings::put_back(RUN_DIR.into(), &Reporter::default()).map_err(|fault| fault.to_string())?;
        tree::remove(RUN_DIR.as_ref()).map_err(|e| e.to_string())?;
        restore_firmware(&self.firmware)?;
        if let Some(device) = self.device.take() {
            run("udevadm", &["settle"])?;
            patiently(device.as_str(), || {
                run("losetup", &["--detach", device.as_str()]).map(|_| ())
            })?;
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(why) = self.clear() {
            eprintln!("{}: {why}", self.file);
        }
    }
}

/// The last one first. A bind mount of `/dev` is a peer of `/dev`: unmounting in it would reach its source.
fn clear_mounts() -> Result<(), String> {
    for mount in mounts()? {
        let private = MsFlags::MS_PRIVATE;
        nix::mount::mount(
            None::<&str>,
            mount.target.as_str(),
            None::<&str>,
            private,
            None::<&str>,
        )
        .map_err(|e| format!("{}: {e}", mount.target))?;
    }
    for mount in mounts()?.iter().rev() {
        patiently(&mount.target, || {
            match nix::mount::umount2(mount.target.as_str(), MntFlags::UMOUNT_NOFOLLOW) {
                Err(Errno::EINVAL) => Ok(()),
                other => other,
            }
        })?;
    }
    Ok(())
}
