//! Debian's packages, unpacked by mmdebstrap.
//!
//! Nothing of it outlives the laboratory. As root it is started in namespaces of its own: its mounts are in no other table
//! and end with its last process, and the kernel kills all its processes when the first one ends. Its temporary folders are
//! in the folder that is being made, and its processes hold the lock of that folder, so that nobody removes it while one of
//! them lives.
//!
//! As another user than root, mmdebstrap makes namespaces itself, and chooses the place of its temporary folders
//! (`/tmp/mmdebstrap.*`): they belong to subordinate users, who cannot reach the cache.

use anyhow::Result;
use fs_err as fs;

use crate::cache::Making;
use crate::command::Program;

/// In a mount and a process namespace: the first process is killed with `unshare`, all others with the first.
const APART: [&str; 6] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// mmdebstrap, for a folder that is being made.
///
/// # Errors
/// The folder for temporary files cannot be made.
pub fn mmdebstrap(making: &Making) -> Result<Program> {
    let root = nix::unistd::geteuid().is_root();
    let apart = root
        && Program::new("unshare")
            .args(APART)
            .arg("true")
            .output()
            .is_ok_and(|output| output.status == 0);
    let program = if apart {
        Program::new("unshare").args(APART).arg("mmdebstrap")
    } else {
        Program::new("mmdebstrap")
    };
    let program = program.holding(making.lock()?);
    if !root {
        return Ok(program);
    }
    let temporary = making.temporary();
    fs::create_dir_all(&temporary)?;
    Ok(program.env("TMPDIR", temporary))
}
