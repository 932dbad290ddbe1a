//! Extra directories and the user's commands after mounting.
//!
//! Each command is a step of its own, its exit code counts, and it runs once after every mounting of the target: what it
//! mounted there is detached together with the target, and its changes to the live system are gone after a reboot. This is
//! the only shell in landfall.

use crate::real::RUN_DIR;
use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use crate::real::process::command::{OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Ended, Fault, FaultClass, Remedy};
use landfall_states::names::{Digest, TargetPath};
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Longest record of the user's commands that ran; each has one short line.
const MARKER_BYTES_MAX: u64 = 1 << 20;
/// Longest run of one of the user's commands.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// Where it is kept which commands ran since the target was mounted.
///
/// # Errors
/// The id of this boot cannot be read.
pub fn marker() -> Result<Utf8PathBuf, Fault> {
    let boot_id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|e| target_root::io_fault("boot id", &e))?;
    Ok(Utf8PathBuf::from(format!("{RUN_DIR}/hooks-{}", boot_id.trim())))
}

/// The target is about to be mounted, or to be unmounted: no command ran after that.
///
/// # Errors
/// The marker cannot be removed.
pub fn forget() -> Result<(), Fault> {
    forget_at(&marker()?)
}

/// As [`forget`].
///
/// # Errors
/// The marker cannot be removed.
fn forget_at(marker: &Utf8Path) -> Result<(), Fault> {
    match fs_err::remove_file(marker) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(target_root::io_fault(marker.as_str(), &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes directories of the target.
///
/// # Errors
/// Something else has the name, or the target cannot be written.
pub fn make_dirs(context: &CommandContext, root: &Root, dirs: &[TargetPath]) -> Result<(), Fault> {
    for dir in dirs {
        context.reporter.step(format!("make directory {dir}"));
        target_root::ensure_dir(root, dir.as_str(), 0o755)?;
    }
    Ok(())
}

/// What is written down of a command that ran: its place in the list, and a digest over the install and the command.
pub fn ran_line(place: usize, install: &str, command: &str) -> String {
    format!(
        "{place} {}",
        Digest::of(format!("{install}\n{command}").as_bytes())
    )
}

/// Runs each command, unless `marker` says that it ran.
///
/// # Errors
/// A command failed (it is named), or the marker cannot be written.
pub async fn run_commands(
    context: &CommandContext,
    commands: &[String],
    salt: &str,
    marker: &Utf8Path,
) -> Result<(), Fault> {
    let ran = safe_open::read_if_there(marker, Links::Refuse, MARKER_BYTES_MAX)
        .map_err(|refused| refused.fault(marker.as_str()))?
        .unwrap_or_default();
    let ran = String::from_utf8_lossy(&ran);
    for (i, command) in commands.iter().enumerate() {
        let what = format!("extra_post_mount_commands[{i}]");
        let line = ran_line(i, salt, command);
        if ran.lines().any(|l| l == line) {
            continue;
        }
        context.reporter.step(format!("{what}: {command}"));
        let program = Program::new("sh")
            .args(["-c", command.as_str()])
            .dir("/")
            .deadline(DEADLINE)
            .on_stop(OnStop::End)
            // A server that it starts may go on.
            .apart()
            .reported();
        context.run(program).await?.or_fault(|how| {
            Fault::program(
                FaultClass::NeedsChange,
                what,
                Ended {
                    note: Some(format!(" (the command: {command})")),
                    ..how
                },
                Remedy::change("fix the command in the configuration, or the cause of its error"),
            )
        })?;
        if let Some(dir) = marker.parent() {
            fs_err::create_dir_all(dir).map_err(|e| target_root::io_fault(dir.as_str(), &e))?;
        }
        let mut file =
            safe_open::open_own(marker, 0o600, true).map_err(|refused| refused.fault(marker.as_str()))?;
        writeln!(file, "{line}").map_err(|e| target_root::io_fault(marker.as_str(), &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::stop::Stop;

    #[test]
    fn each_command_runs_once_per_boot_and_must_exit_well() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let context = CommandContext::new(Reporter::default(), Stop::never());
        let commands = [
            format!("echo a >> {dir}/log"),
            format!("test -e {dir}/mended && echo b >> {dir}/log"),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let marker = dir.join("run/hooks-1");
        let run = || runtime.block_on(run_commands(&context, &commands, "", &marker));
        let fault = run().unwrap_err();
        assert!(fault.what().contains("[1]"), "{fault}");
        fs_err::write(dir.join("mended"), "").unwrap();
        run().unwrap();
        run().unwrap();
        assert_eq!(fs_err::read_to_string(dir.join("log")).unwrap(), "a\nb\n");
    }

    #[test]
    fn what_a_command_mounted_is_mounted_again_with_the_target() {
        use nix::mount::{MsFlags, mount, umount};
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let (target, marker) = (dir.join("mnt"), dir.join("run/hooks-1"));
        fs_err::create_dir_all(&target).unwrap();
        let attach = || {
            let none = None::<&str>;
            forget_at(&marker).unwrap();
            mount(
                Some("t"),
                target.as_std_path(),
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
        };
        if attach().is_err() {
            return;
        }
        let context = CommandContext::new(Reporter::default(), Stop::never());
        let commands = [format!(
            "mkdir -p {target}/persist && mount -t tmpfs persist {target}/persist && echo >> {dir}/ran"
        )];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mounted = || {
            let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
            table.contains(&format!(" {target}/persist "))
        };
        let mut times = vec![];
        for killed in [true, false] {
            runtime
                .block_on(run_commands(&context, &commands, "i", &marker))
                .unwrap();
            times.push((mounted(), fs_err::read_to_string(dir.join("ran")).unwrap().len()));
            if !killed {
                // The end of a run, and the beginning of the next one.
                umount(target.join("persist").as_std_path()).unwrap();
                umount(target.as_std_path()).unwrap();
                attach().unwrap();
                runtime
                    .block_on(run_commands(&context, &commands, "i", &marker))
                    .unwrap();
                times.push((mounted(), fs_err::read_to_string(dir.join("ran")).unwrap().len()));
            }
        }
        umount(target.join("persist").as_std_path()).unwrap();
        umount(target.as_std_path()).unwrap();
        // Killed, all is mounted still, and nothing runs twice.
        assert_eq!(times, [(true, 1), (true, 1), (true, 2)]);
    }
}
