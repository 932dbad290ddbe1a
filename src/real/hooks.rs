//! Extra directories and the user's commands after mounting. Law: each command is a step of its own, its exit code counts,
//! and it runs once per boot; after a reboot it runs again, because what it did to the live system is gone.
//!
//! Absent: a shell anywhere else in landfall.

use crate::real::command::{OnStop, Program};
use crate::real::hands::Hands;
use crate::real::{MOUNT_ROOT, RUN_DIR, Real, rooted};
use camino::Utf8Path;
use landfall_states::fault::{Ended, Fault, FaultClass, Remedy};
use landfall_states::names::{Digest, TargetPath};
use std::io::{ErrorKind, Write};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(3_600);

/// Makes the extra directories and runs the commands that have not run in this boot.
pub async fn after_mounting(real: &Real) -> Result<(), Fault> {
    let hands = real.hands();
    let boot_id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|e| rooted::io_fault("boot id", &e))?;
    let marker = format!("{RUN_DIR}/hooks-{}", boot_id.trim());
    let salt = real
        .plan
        .as_ref()
        .map_or_else(String::new, |plan| plan.install.to_string());
    make_dirs(&hands, Utf8Path::new(MOUNT_ROOT), &real.config.extra_mount_dirs)?;
    run_commands(
        &hands,
        &real.config.extra_post_mount_commands,
        &salt,
        Utf8Path::new(&marker),
    )
    .await
}

/// Makes directories of the target.
pub fn make_dirs(hands: &Hands, root: &Utf8Path, dirs: &[TargetPath]) -> Result<(), Fault> {
    for dir in dirs {
        hands.reporter.step(format!("make directory {dir}"));
        rooted::ensure_dir(root, dir.as_str(), 0o755)?;
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
pub async fn run_commands(
    hands: &Hands,
    commands: &[String],
    salt: &str,
    marker: &Utf8Path,
) -> Result<(), Fault> {
    let ran = match fs_err::read_to_string(marker) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => return Err(rooted::io_fault(marker.as_str(), &e)),
    };
    for (i, command) in commands.iter().enumerate() {
        let what = format!("extra_post_mount_commands[{i}]");
        let line = ran_line(i, salt, command);
        if ran.lines().any(|l| l == line) {
            continue;
        }
        hands.reporter.step(format!("{what}: {command}"));
        let program = Program::new("sh")
            .args(["-c", command.as_str()])
            .dir("/")
            .deadline(DEADLINE)
            .on_stop(OnStop::End)
            // A server that it starts may go on.
            .apart()
            .reported();
        hands.run(program).await?.or_fault(|how| {
            Fault::program(
                FaultClass::NeedsChange,
                what,
                Ended {
                    note: Some(format!(" (the command: {command})")),
                    ..how
                },
                Remedy::change("mend the command in the configuration, or its cause"),
            )
        })?;
        if let Some(dir) = marker.parent() {
            fs_err::create_dir_all(dir).map_err(|e| rooted::io_fault(dir.as_str(), &e))?;
        }
        let appended = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(marker)
            .and_then(|mut file| writeln!(file, "{line}"));
        appended.map_err(|e| rooted::io_fault(marker.as_str(), &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::stop::Stop;

    #[test]
    fn each_command_runs_once_per_boot_and_must_exit_well() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let hands = Hands::new(Reporter::default(), Stop::never());
        let commands = [
            format!("echo a >> {dir}/log"),
            format!("test -e {dir}/mended && echo b >> {dir}/log"),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let marker = dir.join("run/hooks-1");
        let run = || runtime.block_on(run_commands(&hands, &commands, "", &marker));
        let fault = run().unwrap_err();
        assert!(fault.what().contains("[1]"), "{fault}");
        fs_err::write(dir.join("mended"), "").unwrap();
        run().unwrap();
        run().unwrap();
        assert_eq!(fs_err::read_to_string(dir.join("log")).unwrap(), "a\nb\n");
    }
}
