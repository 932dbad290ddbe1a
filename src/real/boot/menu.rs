//! The boot loader's menu on the ESP: which entry starts, and whether the entry, its kernel and its initrd match the system.
//!
//! Every file is read from the device and compared with the store. A name without a file is a fact.
//!
//! `boot::loader` has the formats and the choice, `boot::files` checks the boot loader's own binaries, and `boot::leftovers`
//! deletes.

use crate::real::boot::bootspec::Boot;
use crate::real::boot::initrd::{self, Appended};
use crate::real::boot::loader::{self, Entry, LoaderConf, Variables};
use crate::real::fs::target_root::{self, Root};
use landfall_states::actions::install_boot_loader::BootFile;
use landfall_states::fault::Fault;
use landfall_states::names::Digest;
use landfall_states::plan::Machine;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// Longest boot entry, and longest `loader.conf`.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Most bytes after an initrd that are read: keys, and rarely more.
const APPENDED_BYTES_MAX: u64 = 64 << 20;

/// A file that is there and wrong.
pub fn different(path: &str, how: impl Into<String>) -> BootFile {
    BootFile::Different {
        path: path.to_owned(),
        how: how.into(),
    }
}

/// What a name on the ESP is.
pub enum OnEsp {
    /// Not there.
    Absent,
    /// No file: a directory, or what damage made of one.
    Irregular,
    /// A file.
    File(File),
}

/// A file of the ESP, its cached pages forgotten: what is read comes from the device.
///
/// # Errors
/// The ESP cannot be read.
pub fn open_esp(esp: &Root, path: &str) -> Result<OnEsp, Fault> {
    let Some(file) = target_root::open_any(esp, path)? else {
        return Ok(OnEsp::Absent);
    };
    let meta = file
        .metadata()
        .map_err(|e| target_root::io_fault(format!("{path} on the ESP"), &e))?;
    if !meta.is_file() {
        return Ok(OnEsp::Irregular);
    }
    target_root::forget(&file)?;
    Ok(OnEsp::File(file))
}

/// Reads a small file of the ESP; `None`: there is none.
///
/// # Errors
/// The ESP cannot be read, or the file is too long.
fn read_esp(esp: &Root, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    let OnEsp::File(file) = open_esp(esp, path)? else {
        return Ok(None);
    };
    let mut bytes = vec![];
    file.take(TEXT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| target_root::io_fault(format!("{path} on the ESP"), &e))?;
    Ok(Some(bytes))
}

/// SHA-256 and length.
pub type Sum = ([u8; 32], u64);

/// Digest of a file of the ESP; `None`: there is none.
///
/// # Errors
/// The ESP cannot be read.
pub fn esp_digest(esp: &Root, path: &str) -> Result<Option<Sum>, Fault> {
    match open_esp(esp, path)? {
        OnEsp::File(file) => target_root::digest(&format!("{path} on the ESP"), file).map(Some),
        OnEsp::Absent | OnEsp::Irregular => Ok(None),
    }
}

/// The boot loader's menu, as it is on the ESP.
pub struct Menu<'a> {
    root: &'a Root,
    esp: &'a Root,
    architecture: &'static str,
    conf: Option<String>,
    /// Every entry, and whether its name holds the digest of other contents than its own.
    entries: Vec<(Entry, bool)>,
    /// Digests of files in the store: systems share them.
    originals: BTreeMap<String, Option<Sum>>,
    /// Files of the ESP that were compared already, with what.
    compared: BTreeMap<(String, String), BootFile>,
}

/// What the default entry is.
pub struct Chosen {
    /// The entry itself.
    pub entry: BootFile,
    /// Its kernel.
    pub kernel: BootFile,
    /// Its initrds.
    pub initrd: BootFile,
    /// Its further files that are not as they should be.
    pub further: Vec<BootFile>,
    /// A variable of the firmware that has something else started.
    pub steered: Option<String>,
    /// Whether some entry is this system's, so that this is a boot loader that is proved here.
    pub proves: bool,
}

fn entry_path(entry: &Entry) -> String {
    format!("loader/entries/{}", entry.file)
}

/// The digest that the name of an entry holds (NixOS 26.11).
fn named_digest(entry: &Entry) -> Option<String> {
    let id = entry.id();
    id.strip_prefix("nixos-")
        .and_then(|rest| rest.strip_suffix(".conf"))
        .filter(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
}

/// Whether the name of an entry holds a digest and it is not that of its contents.
fn belies_its_name(entry: &Entry, bytes: &[u8]) -> bool {
    named_digest(entry).is_some_and(|digest| digest != Digest::of(bytes).as_str())
}

impl<'a> Menu<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// The ESP or the firmware's variables cannot be read.
    pub fn read(root: &'a Root, esp: &'a Root, machine: Machine) -> Result<Self, Fault> {
        let mut entries = vec![];
        for name in target_root::names(esp, "loader/entries")? {
            if !Entry::is_name(&name) {
                continue;
            }
            // A directory is none for the boot loader, and in the way of the installer.
            let bytes = read_esp(esp, &format!("loader/entries/{name}"))?;
            let entry = Entry::parse(
                &name,
                &String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()),
            );
            let belies = bytes.is_none_or(|bytes| belies_its_name(&entry, &bytes));
            entries.push((entry, belies));
        }
        let conf = read_esp(esp, "loader/loader.conf")?;
        Ok(Menu {
            root,
            esp,
            architecture: match machine {
                Machine::X86_64 => "x64",
                Machine::Aarch64 => "aa64",
            },
            conf: conf.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            entries,
            originals: BTreeMap::new(),
            compared: BTreeMap::new(),
        })
    }

    /// The entry that is started, and whether it is this system's; its kernel and initrd.
    ///
    /// # Errors
    /// The ESP or the store cannot be read.
    pub fn judge(&mut self, boot: &Boot, variables: &Variables) -> Result<Chosen, Fault> {
        let usable: Vec<Entry> = self
            .entries
            .iter()
            .map(|(entry, _)| entry)
            .filter(|entry| entry.is_usable(self.architecture))
            .cloned()
            .collect();
        let all: Vec<&Entry> = usable.iter().collect();
        // systemd-boot skips entries whose program is not there.
        let mut startable = vec![];
        for entry in &all {
            let program = entry.linux.as_ref().or(entry.program.as_ref());
            if let Some(program) = program
                && !matches!(open_esp(self.esp, program)?, OnEsp::Absent)
            {
                startable.push(*entry);
            }
        }
        let conf = LoaderConf::parse(self.conf.as_deref().unwrap_or_default());
        let ours = |entry: &Entry| entry.init() == Some(boot.init.as_str());
        let of_ours = |entries: &[&'_ Entry]| entries.iter().find(|entry| ours(entry)).map(|e| (*e).clone());
        let without = Variables::default();
        let pick = |entries: &[&Entry], variables| {
            loader::chosen(entries, &conf, variables).map(|(entry, by)| (entry.clone(), by))
        };
        let mut steered = None;
        let chosen = pick(&startable, variables);
        let mut default = chosen.as_ref().map(|(entry, _)| entry.clone());
        if !default.as_ref().is_some_and(ours) {
            let of_files = pick(&startable, &without).filter(|(entry, _)| ours(entry));
            let of_all = pick(&all, variables).filter(|(entry, _)| ours(entry));
            if let (Some((entry, Some(variable))), Some((own, _)), None) = (&chosen, &of_files, &of_all) {
                steered = Some(format!(
                    "{variable} makes the boot loader start {}, not {}",
                    entry_path(entry),
                    entry_path(own)
                ));
            }
            default = of_files.or(of_all).map(|(entry, _)| entry).or(default);
        }
        let proves = of_ours(&all).is_some();
        let Some(default) = default else {
            let missing = |what: &str| BootFile::Missing(format!("the default entry's {what}"));
            return Ok(Chosen {
                entry: BootFile::Missing("loader/entries/*.conf".into()),
                kernel: missing("kernel"),
                initrd: missing("initrd"),
                further: vec![],
                steered,
                proves,
            });
        };
        let own = if ours(&default) {
            default.clone()
        } else {
            of_ours(&all).unwrap_or_else(|| default.clone())
        };
        Ok(Chosen {
            entry: self.entry(&default, boot),
            kernel: self.kernel(&own, boot)?,
            initrd: self.initrd(&own, boot)?,
            further: self.further(&own, boot)?,
            steered,
            proves,
        })
    }

    /// The default entry, compared with what the system says of itself.
    fn entry(&self, default: &Entry, boot: &Boot) -> BootFile {
        let path = entry_path(default);
        let lacking = default.lacks(boot.words());
        let how = match default.init() {
            Some(found) if found != boot.init => {
                format!("is the default and starts {found}, not {}", boot.init)
            }
            None => "is the default and has no init= option".into(),
            Some(_) if !lacking.is_empty() => format!(
                "is the default and lacks these kernel parameters of the system: {}",
                lacking.join(" ")
            ),
            Some(_) => match &self.conf {
                None => return BootFile::Missing("loader/loader.conf".into()),
                // What bootctl writes by itself, before the system's installer writes its own.
                Some(conf) if LoaderConf::parse(conf) == LoaderConf::default() => {
                    return BootFile::Elsewhere(
                        "loader/loader.conf names no default, because the boot loader installer did not finish".into(),
                    );
                }
                Some(_) => return BootFile::Right(path),
            },
        };
        // An older generation's entry is right in itself; one with other contents than its name says is damaged.
        if self
            .entries
            .iter()
            .any(|(entry, belies)| *belies && entry == default)
        {
            different(&path, how)
        } else {
            BootFile::Elsewhere(format!("{path} {how}"))
        }
    }

    /// NixOS's own entries that say nothing a boot loader could start, or other things than those whose digest they are named by;
    /// `but` excepted.
    ///
    /// # Errors
    /// The ESP or the store cannot be read.
    pub fn damaged(&self, but: &BootFile) -> Result<Vec<BootFile>, Fault> {
        let told = |path: &str| matches!(but, BootFile::Different { path: one, .. } if one == path);
        // Names that hold another digest throughout would be those of an installer that is not known here.
        let named_so = self
            .entries
            .iter()
            .any(|(entry, belies)| !belies && named_digest(entry).is_some());
        let mut damaged = vec![];
        for (entry, belies) in &self.entries {
            let path = entry_path(entry);
            if !entry.file.to_ascii_lowercase().starts_with("nixos-") || told(&path) {
                continue;
            }
            let starts = match entry.init() {
                Some(init) => target_root::open_any(self.root, init)?.is_some(),
                None => false,
            };
            if !(entry.is_usable(self.architecture) && (entry.linux.is_none() || entry.init().is_some())) {
                damaged.push(different(
                    &path,
                    "is damaged: it does not name the system to start",
                ));
            } else if *belies && (named_so || !starts) {
                damaged.push(different(
                    &path,
                    "is damaged: its name is the digest of other contents",
                ));
            }
        }
        Ok(damaged)
    }

    /// What is wrong with the entry of a specialisation, with its kernel and its initrd.
    ///
    /// # Errors
    /// The ESP or the store cannot be read.
    pub fn specialisation(&mut self, name: &str, boot: &Boot) -> Result<Vec<BootFile>, Fault> {
        let of_it = |(entry, _): &&(Entry, bool)| entry.init() == Some(boot.init.as_str());
        let Some((entry, _)) = self.entries.iter().find(of_it).cloned() else {
            return Ok(vec![BootFile::Missing(format!(
                "the entry of the specialisation {name}"
            ))]);
        };
        let lacking = entry.lacks(boot.words());
        if !lacking.is_empty() {
            // The same place with other contents: deleted, since an installer that skips what is there would keep it.
            let how = format!(
                "lacks these kernel parameters of the specialisation {name}: {}",
                lacking.join(" ")
            );
            return Ok(vec![different(&entry_path(&entry), how)]);
        }
        let mut files = vec![self.kernel(&entry, boot)?, self.initrd(&entry, boot)?];
        files.extend(self.further(&entry, boot)?);
        files.retain(|file| !matches!(file, BootFile::Right(_)));
        Ok(files)
    }

    fn original(&mut self, path: &str) -> Result<Option<Sum>, Fault> {
        if let Some(known) = self.originals.get(path) {
            return Ok(*known);
        }
        let sum = target_root::open_file(self.root, path)?
            .map(|file| target_root::digest(path, file))
            .transpose()?;
        self.originals.insert(path.to_owned(), sum);
        Ok(sum)
    }

    fn kernel(&mut self, entry: &Entry, boot: &Boot) -> Result<BootFile, Fault> {
        let Some(path) = &entry.linux else {
            return Ok(BootFile::Missing(format!("linux line of {}", entry.file)));
        };
        self.compare(path, &boot.kernel)
    }

    /// The files that an entry names beside kernel and initrds: the device tree is the system's; of the others nobody says what they
    /// should be, but there they must be, and hold something. What is right is left out.
    fn further(&mut self, entry: &Entry, boot: &Boot) -> Result<Vec<BootFile>, Fault> {
        let mut wrong = vec![];
        let mut others: Vec<&String> = entry.initrd.iter().skip(1).chain(&entry.further).collect();
        match (&entry.devicetree, &boot.devicetree) {
            (Some(path), Some(store)) => wrong.push(self.compare(path, store)?),
            (Some(path), None) => others.push(path),
            (None, Some(_) | None) => {}
        }
        for path in others {
            wrong.push(match open_esp(self.esp, path)? {
                OnEsp::Absent => BootFile::Missing(path.clone()),
                OnEsp::Irregular => different(path, "is a directory"),
                OnEsp::File(mut file) => {
                    let what = format!("{path} on the ESP");
                    if holds_something(&mut file).map_err(|e| target_root::io_fault(&what, &e))? {
                        BootFile::Right(path.clone())
                    } else {
                        different(path, "holds nothing")
                    }
                }
            });
        }
        wrong.retain(|file| !matches!(file, BootFile::Right(_)));
        Ok(wrong)
    }

    /// A file of the ESP, compared with the one of the store that it is a copy of.
    fn compare(&mut self, path: &str, store: &str) -> Result<BootFile, Fault> {
        let key = (path.to_owned(), store.to_owned());
        if let Some(known) = self.compared.get(&key) {
            return Ok(known.clone());
        }
        let judged = match (open_esp(self.esp, path)?, self.original(store)?) {
            (OnEsp::Absent, _) => BootFile::Missing(path.to_owned()),
            (OnEsp::Irregular, _) => different(path, "is a directory"),
            (OnEsp::File(_), None) => BootFile::Elsewhere(format!(
                "{store} is not in the target store, {path} is on the ESP"
            )),
            (OnEsp::File(file), Some(original)) => {
                let (found, bytes) = target_root::digest(&format!("{path} on the ESP"), file)?;
                if (found, bytes) == original {
                    BootFile::Right(path.to_owned())
                } else {
                    let (_, original) = original;
                    different(
                        path,
                        format!("({bytes} bytes) differs from {store} ({original} bytes)"),
                    )
                }
            }
        };
        self.compared.insert(key, judged.clone());
        Ok(judged)
    }

    /// The initrds of an entry. The first begins with the store's; secrets are appended where the system has some.
    fn initrd(&mut self, entry: &Entry, boot: &Boot) -> Result<BootFile, Fault> {
        let original = match &boot.initrd {
            Some(store) => self.original(store)?.map(|sum| (store.clone(), sum)),
            None => None,
        };
        let named = entry.initrd.join(" ");
        let Some((store, wanted)) = original else {
            return Ok(match (entry.initrd.is_empty(), &boot.initrd) {
                (true, _) => BootFile::Right("no initrd".into()),
                (false, Some(store)) => BootFile::Elsewhere(format!(
                    "{named} is on the ESP, {store} is not in the target store"
                )),
                (false, None) => {
                    BootFile::Elsewhere(format!("{} names {named}, the system has no initrd", entry.file))
                }
            });
        };
        let key = (named.clone(), store.clone());
        if let Some(known) = self.compared.get(&key) {
            return Ok(known.clone());
        }
        let judged = self.initrd_of(entry, boot, &store, wanted)?;
        self.compared.insert(key, judged.clone());
        Ok(judged)
    }

    fn initrd_of(&self, entry: &Entry, boot: &Boot, store: &str, wanted: Sum) -> Result<BootFile, Fault> {
        let Some(first) = entry.initrd.first() else {
            return Ok(BootFile::Missing(format!("initrd line of {}", entry.file)));
        };
        let mut chain: Box<dyn Read> = Box::new(std::io::empty());
        for path in &entry.initrd {
            match open_esp(self.esp, path)? {
                OnEsp::File(file) => chain = Box::new(chain.chain(file)),
                OnEsp::Absent => return Ok(BootFile::Missing(path.clone())),
                OnEsp::Irregular => return Ok(different(path, "is a directory")),
            }
        }
        let what = format!("{} on the ESP", entry.initrd.join(" "));
        let (_, length) = wanted;
        let mut head = chain.take(length);
        if target_root::digest(&what, &mut head)? != wanted || length == 0 {
            return Ok(different(
                first,
                format!("does not begin with {store} ({length} bytes)"),
            ));
        }
        let mut behind = vec![];
        head.into_inner()
            .take(APPENDED_BYTES_MAX + 1)
            .read_to_end(&mut behind)
            .map_err(|e| target_root::io_fault(&what, &e))?;
        let more = entry.initrd.len() > 1;
        // What is too long to be judged has something in it.
        let appended = if behind.len() as u64 > APPENDED_BYTES_MAX {
            Appended::Whole
        } else {
            initrd::judge(&behind, length)
        };
        Ok(match (boot.secrets, appended) {
            (Some(true), Appended::Nothing) => {
                different(first, "lacks the secrets that the system appends to its initrd")
            }
            (Some(true), Appended::Torn(how)) if !more => different(
                first,
                format!("{how}: the secrets that the system appends to its initrd are incomplete"),
            ),
            (Some(false), Appended::Whole | Appended::Torn(_)) if !more => {
                different(first, format!("has something after {store} ({length} bytes)"))
            }
            (Some(_) | None, _) => BootFile::Right(entry.initrd.join(" ")),
        })
    }
}

/// Whether anything but zeros is still to be read.
fn holds_something(reader: &mut impl Read) -> std::io::Result<bool> {
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            return Ok(false);
        }
        if buffer.iter().take(n).any(|b| *b != 0) {
            return Ok(true);
        }
    }
}
