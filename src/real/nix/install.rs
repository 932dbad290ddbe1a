//! Runs `nixos-install`.
//!
//! landfall writes the trace of a finished activation after the program ended well and the filesystem was synced. Without the
//! trace the program is run again from its beginning.
//!
//! `boot::files` checks the boot loader.

use crate::real::boot::{activation, host_loader, leftovers};
use crate::real::fs::target_root::Root;
use crate::real::fs::{marks, skeleton, target_root};
use crate::real::nix::client::SCRATCH;
use crate::real::process::command::{Ended, OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::real::process::limits::Memory;
use crate::real::tool_errors::{self, Places};
use landfall_states::actions::install_system::InstallFacts;
use landfall_states::actions::provision_secrets::Placed;
use landfall_states::fault::{Fault, StoreFault};
use landfall_states::names::StorePath;
use std::time::Duration;

const PROFILE: &str = "/nix/var/nix/profiles/system";
/// Longest run of `nixos-install`.
const DEADLINE: Duration = Duration::from_secs(2 * 3_600);
/// Longest silence of `nixos-install`.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

/// What the target says of its system.
///
/// # Errors
/// The target cannot be read.
pub fn observe_install(root: &Root, system: &StorePath, first: Vec<Placed>) -> Result<InstallFacts, Fault> {
    let activated = target_root::read_text(root, marks::ACTIVATED)?;
    // A trace says nothing of what a later activation did, which the boot loader's installer brings with it.
    let accounts = leftovers::accounts_are_whole(root)?;
    Ok(InstallFacts {
        profile: match leftovers::profile_is_in_the_making(root)? {
            true => None,
            false => target_root::follow_to_store(root, PROFILE)?,
        },
        marked: target_root::open_file(root, "/etc/NIXOS")?.is_some(),
        activated: accounts && activated.is_some_and(|text| marks::is_activated(&text, system)),
        first,
    })
}

/// Runs it, and makes what it wrote durable.
///
/// # Errors
/// `nixos-install` or the activation fails, or the target cannot be written.
pub async fn perform_install(context: &CommandContext, root: &Root, system: &StorePath) -> Result<(), Fault> {
    host_loader::of_system(root, system)?;
    skeleton::refuse_links(root)?;
    target_root::ensure_dir(root, "/tmp", 0o1777)?;
    target_root::ensure_dir(root, "/var/tmp", 0o1777)?;
    target_root::ensure_dir(root, SCRATCH, 0o755)?;
    // Its own former runs, cut off, are in its way.
    for path in leftovers::clear_esp(&root.esp())? {
        context.reporter.step(format!(
            "delete {path}, which a boot loader installer left on the ESP"
        ));
    }
    skeleton::clear_profile(context, root)?;
    for (name, why) in leftovers::clear_generations(root)? {
        context
            .reporter
            .step(format!("remove {name} among the target's profiles: {why}"));
    }
    target_root::flush_boot(root)?;
    // The closure must be on the disk before a profile points at it (Law of `states::actions::install_system`).
    target_root::sync_filesystem(root)?;
    let program = Program::new("nixos-install")
        .memory(Memory::Nix)
        .args(["--root", &root.as_arg(), "--system", system.as_str()])
        .args(["--no-root-passwd", "--no-channel-copy", "--cores", "0"])
        .args(["--option", "fsync-store-paths", "true"])
        .env("TMPDIR", root.told(SCRATCH))
        .deadline(DEADLINE)
        .silence_max(SILENCE_MAX)
        .on_stop(OnStop::End)
        .enters_target()
        .reported();
    let ended = context.run(program).await?;
    if !ended.success() {
        return Err(failed(root, system, &ended));
    }
    let failed_parts = activation::keep(&context.reporter, root, &ended, activation::Kept::Only)?;
    if failed_parts.iter().any(|part| part == activation::USERS) {
        return Err(StoreFault::ActivationIncomplete {
            system: system.to_string(),
            part: activation::USERS.into(),
            lacks: "users".into(),
            said: ended.tail(),
        }
        .into());
    }
    target_root::sync_filesystem(root)?;
    target_root::flush_boot(root)?;
    // Caches of the build may hold private sources: they do not stay on the target.
    target_root::remove(root, SCRATCH)?;
    let text = marks::activated(system);
    target_root::write(
        root,
        marks::ACTIVATED,
        text.as_bytes(),
        target_root::Access::root(0o644),
    )?;
    target_root::sync_filesystem(root)
}

pub(crate) fn failed(root: &Root, system: &StorePath, ended: &Ended) -> Fault {
    let what = format!("nixos-install of {system}");
    tool_errors::install(&what, ended.how(), &ended.said(), Places(&[&root.as_arg()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::MOUNT_ROOT;
    use camino::Utf8Path;

    #[test]
    fn each_trace_is_seen() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(keep.path()).unwrap();
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        let bare = observe_install(&Root::at(root), &system, vec![]).unwrap();
        assert_eq!((bare.profile, bare.marked, bare.activated), (None, false, false));
        fs_err::create_dir_all(root.join("nix/var/nix/profiles")).unwrap();
        fs_err::create_dir_all(root.join("etc")).unwrap();
        fs_err::os::unix::fs::symlink("system-1-link", root.join("nix/var/nix/profiles/system")).unwrap();
        fs_err::os::unix::fs::symlink(system.as_str(), root.join("nix/var/nix/profiles/system-1-link"))
            .unwrap();
        fs_err::write(root.join("etc/NIXOS"), "").unwrap();
        target_root::write(
            &Root::at(root),
            marks::ACTIVATED,
            format!("{system}\n").as_bytes(),
            target_root::Access::root(0o644),
        )
        .unwrap();
        let whole = observe_install(&Root::at(root), &system, vec![]).unwrap();
        assert_eq!(whole.profile.as_deref(), Some(system.as_str()));
        assert!(whole.marked && whole.activated);
        let other: StorePath = "/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-b".parse().unwrap();
        assert!(
            !observe_install(&Root::at(root), &other, vec![])
                .unwrap()
                .activated
        );
    }

    /// `nixos-enter` activates again while the boot loader is installed; a cut there, behind the trace.
    #[test]
    fn a_trace_counts_for_nothing_where_the_accounts_are_spoilt() {
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        for (path, bytes) in [
            ("etc/passwd", &[0_u8; 400][..]),
            ("etc/group", b""),
            ("etc/shadow", b"root:!:1\n\0"),
            ("var/lib/nixos/uid-map", b"{"),
        ] {
            let keep = tempfile::tempdir().unwrap();
            let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
            let trace = || {
                let text = marks::activated(&system);
                target_root::write(
                    root,
                    marks::ACTIVATED,
                    text.as_bytes(),
                    target_root::Access::root(0o644),
                )
                .unwrap();
            };
            let activated = || observe_install(root, &system, vec![]).unwrap().activated;
            trace();
            assert!(activated(), "control");
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), bytes).unwrap();
            assert!(!activated(), "{path}");
            assert_eq!(
                leftovers::clear_root(root, MOUNT_ROOT, &[]).unwrap(),
                [format!("/{path}")]
            );
            assert!(!activated(), "{path}: cleared, and not made again yet");
            trace();
            assert!(activated(), "{path}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_and_only_success_leaves_the_trace() {
        use std::os::unix::fs::PermissionsExt;
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let root = dir.join("mnt");
        fs_err::create_dir_all(root.join("boot")).unwrap();
        let program = dir.join("nixos-install");
        let script = "#!/bin/sh\nset -e\ntest -d $TMPDIR\necho \"$@\" > $TMPDIR/../../../args; echo $PATH > $TMPDIR/../../../path\n\
            if ! test -e $TMPDIR/../../../ok; then echo no luck >&2; exit 1; fi\n";
        fs_err::write(&program, script).unwrap();
        let mut mode = fs_err::metadata(&program).unwrap().permissions();
        mode.set_mode(0o755);
        fs_err::set_permissions(&program, mode).unwrap();
        let mut context = CommandContext::new(
            crate::event::Reporter::default(),
            crate::real::process::stop::Stop::never(),
        );
        let path = std::env::var("PATH").unwrap();
        context.env.push(("PATH".into(), format!("{dir}:{path}")));
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let run = || runtime.block_on(perform_install(&context, &Root::at(&root), &system));
        let fault = run().unwrap_err();
        assert_eq!(fault.class, landfall_states::fault::FaultClass::Transient);
        assert!(fault.why().contains("no luck"), "{fault}");
        assert!(
            !observe_install(&Root::at(&root), &system, vec![])
                .unwrap()
                .activated
        );
        fs_err::write(root.join("ok"), "").unwrap();
        run().unwrap();
        assert!(
            observe_install(&Root::at(&root), &system, vec![])
                .unwrap()
                .activated
        );
        let args = fs_err::read_to_string(root.join("args")).unwrap();
        assert!(
            args.starts_with(&format!(
                "--root {root} --system {system} --no-root-passwd --no-channel-copy --cores 0"
            )),
            "{args}"
        );
        let path = fs_err::read_to_string(root.join("path")).unwrap();
        assert!(path.ends_with(":/run/current-system/sw/bin\n"), "{path}");
        assert!(!root.join("var/tmp/landfall").exists());
    }

    #[test]
    fn an_activation_without_users_is_no_success() {
        use std::os::unix::fs::PermissionsExt;
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let root = dir.join("mnt");
        fs_err::create_dir_all(root.join("boot/loader")).unwrap();
        fs_err::write(root.join("boot/loader/loader.tmp"), "").unwrap();
        let program = dir.join("nixos-install");
        // Exit code 0, as nixos-enter leaves it.
        let script = format!(
            "#!/bin/sh\ntest ! -e {root}/boot/loader/loader.tmp || exit 1\n\
             echo \"Activation script snippet 'users' failed (255)\"\n"
        );
        fs_err::write(&program, script).unwrap();
        let mut mode = fs_err::metadata(&program).unwrap().permissions();
        mode.set_mode(0o755);
        fs_err::set_permissions(&program, mode).unwrap();
        let mut context = CommandContext::new(
            crate::event::Reporter::default(),
            crate::real::process::stop::Stop::never(),
        );
        let path = std::env::var("PATH").unwrap();
        context.env.push(("PATH".into(), format!("{dir}:{path}")));
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fault = runtime
            .block_on(perform_install(&context, &Root::at(&root), &system))
            .unwrap_err();
        assert!(fault.why().contains("the target does not have users"), "{fault}");
        assert!(
            !observe_install(&Root::at(&root), &system, vec![])
                .unwrap()
                .activated
        );
    }
}
