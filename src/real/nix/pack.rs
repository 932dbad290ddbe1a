//! Makes an image from a closure.
//!
//! The same closure gives the same bytes on every machine. Files are staged without their owners, times, extended attributes
//! and links among each other, in the order of their names. What Nix knows about the origin of a path belongs to the machine
//! and is left out. Ids are fixed. What `mke2fs` still takes over from the machine is removed afterwards
//! (`image::ext4::normalise`). No privilege is needed, and nothing is mounted.
//!
//! Nix's database is not in the image, because it contains times and so differs from copy to copy. The image has the list to
//! be registered ([`REGISTRATION`]), and after landing `nix-store --load-db` makes the target's database from it, in one
//! transaction.

use crate::event::Event;
use crate::image::pack::{Contents, Packed, pack};
use crate::image::{BLOCK_BYTES, ext4};
use crate::real::boot::{bootspec, host_loader};
use crate::real::fs::target_root::{self, Root};
use crate::real::process::command::{OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::real::volume::block_io::tool_fault;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use landfall_states::fault::{ConfigFault, Fault, MachineFault, PlaceFault, Remedy, StoreFault};
use landfall_states::names::StorePath;
use landfall_states::names::quoted;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::Duration;

/// What is to be registered in Nix's database, in the format of `nix-store --dump-db`; a path in the image.
pub const REGISTRATION: &str = "/nix/var/landfall/registration";
/// The ids that every image has until it is given its own; UUIDv8, so that nobody else derives them.
const IMAGE_ID: &str = "6c616e64-6661-8c6c-8000-696d61676531";
const HASH_SEED: &str = "6c616e64-6661-8c6c-8000-696d61676532";
/// The journal's size in MiB: what a filesystem of a few GiB would get; growing keeps it. Small closures, which are those of
/// tests, get the smaller one.
const JOURNAL_MIB: [u64; 2] = [64, 16];
/// Blocks of contents above which the image gets the larger journal: 256 MiB.
const SMALL_BLOCKS_MAX: u64 = 1 << 16;
/// What `mke2fs` goes by, instead of the machine's own configuration: features and their order of later versions would change
/// the bytes. Every size that `mke2fs` has a name for is the same here.
const MKE2FS_CONFIG: &str = "[defaults]
  base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr,has_journal,extent,huge_file,flex_bg,\
metadata_csum,metadata_csum_seed,64bit,dir_nlink,extra_isize
  default_mntopts = acl,user_xattr
  enable_periodic_fsck = 0
  blocksize = 4096
  inode_size = 256
  inode_ratio = 16384
  reserved_ratio = 5.0
[fs_types]
  ext4 = {
    inode_ratio = 16384
  }
  floppy = {
    inode_ratio = 16384
  }
  small = {
    inode_ratio = 16384
  }
  big = {
    inode_ratio = 16384
  }
  huge = {
    inode_ratio = 16384
  }
";
/// Longest run of one program while an image is built.
const DEADLINE: Duration = Duration::from_secs(4 * 3_600);
/// Paths that one call of `nix-store` is asked about; what it prints must stay small.
const BATCH_PATHS: usize = 256;
/// How often the filesystem of an image is made larger if its contents do not fit.
const GROWTHS_MAX: u32 = 4;

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The system.
    pub system: StorePath,
    /// The directory below which `nix/store` lies: `/`, or the root of another store.
    pub store: Utf8PathBuf,
    /// A directory with `store-paths` and `registration`, as `closureInfo` of nixpkgs makes it. Without it, Nix is asked.
    pub closure_info: Option<Utf8PathBuf>,
    /// Further files: where from, and where to in the image.
    pub add: Vec<(Utf8PathBuf, String)>,
    /// Level of compression, 1 to 19.
    pub level: i32,
}

/// The closure: its paths, sorted, and what Nix is to be told of them.
struct Closure {
    paths: Vec<StorePath>,
    registration: Vec<u8>,
}

/// Makes an image file.
///
/// # Errors
/// A program fails, the closure cannot be read, or there is no room.
pub async fn build(context: &CommandContext, source: &Source, out: &Utf8Path) -> Result<Packed, Fault> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        Some(_) | None => Utf8Path::new("."),
    };
    let io = |what: &Utf8Path| {
        let what = what.to_string();
        move |e: io::Error| target_root::io_fault(what, &e)
    };
    let closure = match &source.closure_info {
        Some(info) => read_closure(info)?,
        None => ask_closure(context, source).await?,
    };
    if !closure.paths.contains(&source.system) {
        return Err(StoreFault::NotInClosure {
            system: source.system.to_string(),
            paths: closure.paths.len() as u64,
        }
        .into());
    }
    host_loader::of_system(&Root::at(&source.store), &source.system)?;
    let scratch = tempfile::Builder::new()
        .prefix(".landfall-image-")
        .tempdir_in(folder)
        .map_err(io(folder))?;
    let scratch_path = utf8(scratch.path())?;
    let root = scratch_path.join("root");
    context
        .reporter
        .step(format!("stage {} store paths", closure.paths.len()));
    let staged = stage(source, &closure, &root);
    let packed = match staged {
        Ok(tally) => finish(context, source, &root, tally, &scratch_path, out).await,
        Err(fault) => Err(fault),
    };
    // Directories of a store are read-only, and only root may empty those.
    make_writable(&root)?;
    scratch.close().map_err(io(folder))?;
    packed
}

async fn finish(
    context: &CommandContext,
    source: &Source,
    root: &Utf8Path,
    tally: Tally,
    scratch: &Utf8Path,
    out: &Utf8Path,
) -> Result<Packed, Fault> {
    let io = |what: &Utf8Path| {
        let what = what.to_string();
        move |e: io::Error| target_root::io_fault(what, &e)
    };
    let boot_bytes = bootspec::boot_bytes(&source.system, &Root::at(&source.store))?;
    let filesystem = scratch.join("ext4");
    make_filesystem(context, root, tally, &filesystem).await?;
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&filesystem)
        .map_err(io(&filesystem))?
        .into_parts()
        .0;
    let mut first = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut first, 0).map_err(io(&filesystem))?;
    let image_fault = |e| crate::real::volume::root_image::fault(&format!("image {out}"), e);
    let superblock = ext4::Superblock::decode(&first).map_err(image_fault)?;
    ext4::normalise(&file, &superblock).map_err(image_fault)?;
    // What was changed by hand is proved by somebody else's reading.
    run(
        context,
        Program::that_looks("e2fsck").args(["-f", "-n", filesystem.as_str()]),
    )
    .await?;
    context.reporter.step(format!("pack {out}"));
    let beside = scratch.join("image");
    let image = fs::File::create(&beside).map_err(io(&beside))?.into_parts().0;
    let contents = Contents {
        system: source.system.clone(),
        boot_bytes,
    };
    let packed = pack(&file, &image, &contents, source.level, |done, total| {
        context.reporter.tell(Event::Progress {
            what: "pack the image".into(),
            done,
            total: Some(total),
            unit: "bytes".into(),
        });
    })
    .map_err(image_fault)?;
    fs::rename(&beside, out).map_err(io(out))?;
    Ok(packed)
}

fn utf8(path: &std::path::Path) -> Result<Utf8PathBuf, Fault> {
    Utf8PathBuf::from_path_buf(path.to_owned()).map_err(|path| {
        PlaceFault::NameNotText {
            on: format!("file {}", path.display()),
        }
        .into()
    })
}

async fn run(context: &CommandContext, program: Program<'_>) -> Result<String, Fault> {
    let ended = context
        .run(program.deadline(DEADLINE).on_stop(OnStop::End))
        .await?;
    Ok(ended.or_fault(|how| tool_fault("image", how))?.stdout)
}

/// Longest list of a closure; 100,000 paths take a tenth of it.
const LIST_BYTES_MAX: u64 = 512 << 20;

/// Reads what `closureInfo` made.
fn read_closure(info: &Utf8Path) -> Result<Closure, Fault> {
    let file = |name: &str| {
        let path = info.join(name);
        safe_open::read(&path, Links::Follow, LIST_BYTES_MAX).map_err(|refused| refused.fault(path.as_str()))
    };
    Ok(Closure {
        paths: paths_of(&String::from_utf8_lossy(&file("store-paths")?))?,
        registration: file("registration")?,
    })
}

/// Asks Nix.
async fn ask_closure(context: &CommandContext, source: &Source) -> Result<Closure, Fault> {
    let nix = || {
        let program = Program::new("nix-store");
        if source.store == "/" {
            program
        } else {
            program.args(["--store", source.store.as_str()])
        }
    };
    let text = run(
        context,
        nix().args(["--query", "--requisites", source.system.as_str()]),
    )
    .await?;
    let paths = paths_of(&text)?;
    let mut registration = Vec::new();
    for batch in paths.chunks(BATCH_PATHS) {
        let dump = nix().arg("--dump-db").args(batch.iter().map(ToString::to_string));
        registration.extend_from_slice(without_derivers(&run(context, dump).await?)?.as_bytes());
    }
    Ok(Closure { paths, registration })
}

/// A dump that does not say of a path what it should.
fn unknown(path: &str, reason: String, line: Option<String>, next: &str) -> Fault {
    let unknown = MachineFault::OutputUnknown {
        on: format!("registration of {path}"),
        program: "nix-store --dump-db".into(),
        reason,
        line,
    };
    Fault::of(unknown, Remedy::words(next))
}

/// A dump of Nix's database with the derivers blank, as `closureInfo` has them: a path that was substituted and the same
/// one that was built differ in them. Of every path: path, hash, size, deriver, number of references, references.
fn without_derivers(dump: &str) -> Result<String, Fault> {
    let mut lines = dump.lines();
    let mut clean = String::with_capacity(dump.len());
    while let Some(path) = lines.next() {
        let mut next = || {
            lines.next().ok_or_else(|| {
                unknown(
                    path,
                    "it ends inside the entry of this path".into(),
                    None,
                    "repair the store: nix-store --verify",
                )
            })
        };
        let (hash, size, _deriver, count) = (next()?, next()?, next()?, next()?);
        let references: usize = count.parse().map_err(|e| {
            unknown(
                path,
                format!("the number of references is not a number: {e}"),
                Some(quoted(count)),
                "use a Nix whose nix-store --dump-db prints one",
            )
        })?;
        clean.extend([path, "\n", hash, "\n", size, "\n\n", count, "\n"]);
        for _ in 0..references {
            clean.extend([next()?, "\n"]);
        }
    }
    Ok(clean)
}

fn paths_of(text: &str) -> Result<Vec<StorePath>, Fault> {
    let mut paths = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.parse::<StorePath>().map_err(|e| {
                Fault::from(ConfigFault::bad("closure", e))
                    .with_next(Remedy::words("make the closure's list again"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    paths.dedup();
    Ok(paths)
}

/// What was staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    inodes: u64,
    blocks: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.inodes += 1;
        self.blocks += bytes.div_ceil(BLOCK_BYTES as u64);
    }
}

fn stage(source: &Source, closure: &Closure, root: &Utf8Path) -> Result<Tally, Fault> {
    let mut tally = Tally::default();
    let io = |what: &Utf8Path| {
        let what = what.to_string();
        move |e: io::Error| target_root::io_fault(what, &e)
    };
    let store = root.join("nix/store");
    fs::create_dir_all(&store).map_err(io(&store))?;
    for path in &closure.paths {
        let name = path.as_str().trim_start_matches('/');
        stage_tree(&source.store.join(name), &root.join(name), &mut tally)?;
    }
    let registration = root.join(REGISTRATION.trim_start_matches('/'));
    let folder = registration.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(io(folder))?;
    fs::write(&registration, &closure.registration).map_err(io(&registration))?;
    tally.add(closure.registration.len() as u64);
    for (from, to) in &source.add {
        let to = root.join(to.trim_start_matches('/'));
        if let Some(folder) = to.parent() {
            make_folders(folder, &mut tally).map_err(io(folder))?;
        }
        stage_tree(from, &to, &mut tally)?;
    }
    // Made by us, under whatever mask we were started with.
    for folder in ["", "nix", "nix/store", "nix/var", "nix/var/landfall"] {
        let folder = root.join(folder);
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).map_err(io(&folder))?;
    }
    let mode = PermissionsExt::from_mode(0o644);
    fs::set_permissions(&registration, mode).map_err(io(&registration))?;
    // Names in the store's own directory: at most 8 bytes and 255 more.
    tally.blocks += (closure.paths.len() as u64 * 264).div_ceil(BLOCK_BYTES as u64) + 16;
    tally.inodes += 16;
    Ok(tally)
}

/// Makes the folders that are not there, with one mode, under whatever mask we were started with.
fn make_folders(folder: &Utf8Path, tally: &mut Tally) -> io::Result<()> {
    let missing: Vec<&Utf8Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
        tally.add(BLOCK_BYTES as u64);
    }
    Ok(())
}

/// Stages one store path: a file, a link or a directory.
fn stage_tree(from: &Utf8Path, to: &Utf8Path, tally: &mut Tally) -> Result<(), Fault> {
    let mut todo = vec![(from.to_owned(), to.to_owned())];
    let mut folders = Vec::new();
    while let Some((from, to)) = todo.pop() {
        let fault = |e: io::Error| target_root::io_fault(from.as_str(), &e);
        let meta = fs::symlink_metadata(&from).map_err(fault)?;
        let kind = meta.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(fault)?;
            symlink(target, &to).map_err(fault)?;
            // Short ones lie in the inode.
            tally.add(if meta.len() < 60 { 0 } else { meta.len() });
        } else if kind.is_dir() {
            fs::create_dir(&to).map_err(fault)?;
            let mut names_bytes = 24;
            for entry in fs::read_dir(&from).map_err(fault)? {
                let entry = entry.map_err(fault)?;
                let name = utf8(std::path::Path::new(&entry.file_name()))?;
                names_bytes += 12 + name.as_str().len() as u64;
                todo.push((from.join(&name), to.join(&name)));
            }
            // A third more: names do not fill the last bytes of a block.
            tally.add(names_bytes + names_bytes / 3);
            folders.push((to, meta.mode()));
        } else if kind.is_file() {
            // A link costs nothing, but files that are linked among each other would stay so in the image, and whether they
            // are depends on the store that they come from.
            let linked = meta.nlink() == 1 && fs::hard_link(&from, &to).is_ok();
            if !linked {
                fs::copy(&from, &to).map_err(fault)?;
            }
            tally.add(meta.len());
        } else {
            return Err(Fault::from(PlaceFault::FileType {
                path: format!("file {from}"),
                expected: "a file, a directory or a link (a store has nothing else)".into(),
            })
            .with_next(Remedy::words(
                "repair the store: nix-store --verify --check-contents",
            )));
        }
    }
    for (folder, mode) in folders.into_iter().rev() {
        fs::set_permissions(&folder, PermissionsExt::from_mode(mode & 0o7777))
            .map_err(|e| target_root::io_fault(folder.as_str(), &e))?;
    }
    Ok(())
}

/// Lets everything be removed by whoever made it.
fn make_writable(root: &Utf8Path) -> Result<(), Fault> {
    if !root.exists() || nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        let fault = |e: io::Error| target_root::io_fault(folder.as_str(), &e);
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).map_err(fault)?;
        for entry in fs::read_dir(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if entry.file_type().map_err(fault)?.is_dir() {
                todo.push(utf8(&entry.path())?);
            }
        }
    }
    Ok(())
}

async fn make_filesystem(
    context: &CommandContext,
    root: &Utf8Path,
    tally: Tally,
    filesystem: &Utf8Path,
) -> Result<(), Fault> {
    // Files of many extents need a block for their tree here and there.
    let contents = tally.blocks + tally.blocks / 100 + 1_024;
    let [usual_mib, small_mib] = JOURNAL_MIB;
    let journal_mib = if contents < SMALL_BLOCKS_MAX {
        small_mib
    } else {
        usual_mib
    };
    let journal_blocks = (journal_mib << 20) / BLOCK_BYTES as u64;
    let mut blocks = (contents + journal_blocks) * 107 / 100 + 4_096;
    let config = filesystem.with_file_name("mke2fs.conf");
    fs::write(&config, MKE2FS_CONFIG).map_err(|e| target_root::io_fault(config.as_str(), &e))?;
    for growth in 0.. {
        // One inode for four blocks, as mke2fs would give; the grown filesystem keeps the density.
        let inodes = (tally.inodes + tally.inodes / 50 + 64).max(blocks / 4);
        context.reporter.step(format!("mke2fs of {blocks} blocks"));
        match fs::remove_file(filesystem) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(target_root::io_fault(filesystem.as_str(), &e));
            }
            Ok(()) | Err(_) => {}
        }
        let journal = format!("size={journal_mib}");
        let extended = format!(
            "hash_seed={HASH_SEED},lazy_itable_init=1,lazy_journal_init=1,nodiscard,no_copy_xattrs,root_owner=0:0"
        );
        let make = Program::new("mke2fs")
            .args([
                "-F", "-q", "-t", "ext4", "-b", "4096", "-I", "256", "-J", &journal,
            ])
            .args(["-O", "metadata_csum,metadata_csum_seed,64bit,^orphan_file"])
            .args(["-E", &extended, "-L", "landfall", "-U", IMAGE_ID])
            .args(["-N", &inodes.to_string(), "-d", root.as_str()])
            .args([filesystem.as_str(), &blocks.to_string()])
            // Both are needed: versions of mke2fs differ in which one they obey, and for what.
            .env("E2FSPROGS_FAKE_TIME", ext4::TIME_S.to_string())
            .env("SOURCE_DATE_EPOCH", ext4::TIME_S.to_string())
            .env("MKE2FS_CONFIG", config.as_str())
            .deadline(DEADLINE)
            .on_stop(OnStop::End);
        let ended = context.run(make).await?;
        if ended.success() {
            break;
        }
        let full = ["No space", "no space", "Could not allocate", "full"];
        if growth == GROWTHS_MAX || !full.iter().any(|text| ended.stderr.contains(text)) {
            return Err(tool_fault("filesystem of the image", ended.how()));
        }
        blocks += blocks / 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths_are_sorted_and_checked() {
        let path = |c: char| format!("/nix/store/{}-x", c.to_string().repeat(32));
        let text = format!("{}\n{}\n{}\n", path('b'), path('a'), path('b'));
        let paths: Vec<String> = paths_of(&text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(paths, [path('a'), path('b')]);
        assert!(paths_of("/etc/passwd\n").is_err());
    }

    #[test]
    fn where_a_path_came_from_is_left_out_of_its_registration() {
        let dump = |deriver: &str| {
            format!(
                "/nix/store/a\nhash-a\n120\n{deriver}\n2\n/nix/store/a\n/nix/store/b\n/nix/store/b\nhash-b\n7\n\n0\n"
            )
        };
        let clean = without_derivers(&dump("/nix/store/x.drv")).unwrap();
        assert_eq!(clean, dump(""));
        assert_eq!(without_derivers(&clean).unwrap(), clean);
        assert_eq!(without_derivers("").unwrap(), "");
        for wrong in ["/nix/store/a\nhash\n1\n\n1\n", "/nix/store/a\nhash\n1\n\nmany\n"] {
            assert!(without_derivers(wrong).is_err(), "{wrong:?}");
        }
    }
}
