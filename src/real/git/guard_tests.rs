//! Tests of what is looked at without Git; what plain Git does of it is in tests/clone_attacked.rs.
use super::*;
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[landfall]\n\tinstall = 6c61\n[remote \"origin\"]\n\turl = /srv/o\n";

/// A clone with a submodule, as Git lays them out.
fn made(keep: &tempfile::TempDir) -> Utf8PathBuf {
    let path = Utf8PathBuf::from_path_buf(keep.path().join("clone")).unwrap();
    for git_dir in [".git", ".git/modules/a/b"] {
        for folder in [
            "objects/info",
            "objects/pack",
            "objects/5c",
            "refs/heads/a",
            "info",
            "logs/refs",
        ] {
            fs::create_dir_all(path.join(git_dir).join(folder)).unwrap();
        }
        for file in [
            "HEAD",
            "index",
            "packed-refs",
            "info/exclude",
            "objects/5c/39",
            "refs/heads/a/b",
            "logs/HEAD",
        ] {
            fs::write(path.join(git_dir).join(file), "x").unwrap();
        }
    }
    fs::write(path.join(".git/config"), CONFIG).unwrap();
    let module =
        "[core]\n\tbare = false\n\tworktree = ../../../../a/b\n[remote \"origin\"]\n\turl = ssh://h/s\n";
    fs::write(path.join(".git/modules/a/b/config"), module).unwrap();
    fs::create_dir_all(path.join("a/b")).unwrap();
    fs::write(path.join("a/b/.git"), "gitdir: ../../.git/modules/a/b\n").unwrap();
    path
}

fn seen(path: &Utf8Path) -> Seen {
    match look_for(path, Some("/srv/o")).unwrap() {
        Found::Repository(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_git_makes_is_ours_with_its_mark() {
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    let found = seen(&path);
    assert!(found.is_ours(), "{found:?}");
    assert_eq!((found.mark.as_deref(), found.tries), (Some("6c61"), 0));
    assert!(is_submodule(&path, &path.join("a/b")).unwrap());
    // Also while somebody works in it, and after a Git was killed in it.
    for file in [
        "COMMIT_EDITMSG",
        "index.lock",
        "MERGE_HEAD",
        "objects/pack/tmp_pack_x",
        "hooks/pre-commit.sample",
        "rebase-merge/git-rebase-todo",
        "modules/a/b/shallow",
    ] {
        let at = path.join(".git").join(file);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, "").unwrap();
    }
    assert!(seen(&path).is_ours());
    assert_eq!(look_for(&path.join("a"), None).unwrap(), Found::None);
}

#[test]
fn whatever_else_git_takes_orders_from_is_strange_and_named() {
    for file in [
        "hooks/post-checkout",
        "config.worktree",
        "commondir",
        "gitdir",
        "shallow",
        "worktrees/x/HEAD",
        "info/grafts",
        "info/attributes",
        "info/sparse-checkout",
        "objects/info/alternates",
        "objects/info/http-alternates",
        "objects/pack/pack-1.promisor",
        "refs/replace/5c39",
        "branches/origin",
        "remotes/origin",
        "reftable/tables.list",
        "sharedindex.5c39",
        "fsmonitor--daemon.ipc",
        "lfs/x",
        "modules/a/b/hooks/post-checkout",
        "modules/a/b/commondir",
        "modules/a/b/objects/info/alternates",
    ] {
        let keep = tempfile::tempdir().unwrap();
        let path = made(&keep);
        let at = path.join(".git").join(file);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, "x").unwrap();
        let told = seen(&path).told();
        let named = [at.file_name(), file.split('/').next()]
            .into_iter()
            .flatten()
            .any(|name| told.contains(name));
        assert!(!seen(&path).is_ours() && named, "{file}: {told}");
    }
}

#[test]
fn a_replacement_among_packed_references_is_strange() {
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    let line = format!("{} refs/replace/{}\n", "1".repeat(40), "2".repeat(40));
    fs::write(path.join(".git/packed-refs"), line).unwrap();
    assert!(!seen(&path).is_ours());
}

/// Nothing hangs, and nothing is written through a link.
#[test]
fn links_and_special_files_are_strange() {
    for file in [
        "HEAD",
        "index",
        "objects/5c/39",
        "logs/HEAD",
        "refs/heads/a/b",
        "modules/a/b/HEAD",
        "info",
    ] {
        let keep = tempfile::tempdir().unwrap();
        let path = made(&keep);
        let at = path.join(".git").join(file);
        for round in 0..2 {
            if at.is_dir() && !at.is_symlink() {
                fs::remove_dir_all(&at).unwrap();
            } else {
                fs::remove_file(&at).unwrap();
            }
            if round == 0 {
                symlink("/etc", &at).unwrap();
            } else {
                nix::unistd::mkfifo(at.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
            assert!(!seen(&path).is_ours(), "{file}");
        }
    }
    // Where the mark is kept nobody can say whose it is.
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    let config = path.join(".git/config");
    fs::remove_file(&config).unwrap();
    nix::unistd::mkfifo(config.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(look_for(&path, None).unwrap(), Found::Other(why) if why.contains("FIFO")));
    fs::remove_file(&config).unwrap();
    fs::write(&config, vec![b'\n'; usize::try_from(BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(matches!(look_for(&path, None).unwrap(), Found::Other(why) if why.contains("bytes")));
}

#[test]
fn a_repository_that_is_elsewhere_is_nobodys() {
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    let git_dir = path.join(".git");
    let to = path.with_file_name("to");
    fs::rename(&git_dir, &to).unwrap();
    symlink(&to, &git_dir).unwrap();
    assert!(matches!(look_for(&path, None).unwrap(), Found::Other(_)));
    fs::remove_file(&git_dir).unwrap();
    fs::write(&git_dir, format!("gitdir: {to}\n")).unwrap();
    assert!(matches!(look_for(&path, None).unwrap(), Found::Other(_)));
}

#[test]
fn a_submodules_files_are_where_they_belong() {
    for worktree in [
        "/etc",
        "../../../../..",
        "../../../..",
        "../../../../.git",
        "../../../../../other",
        "../../../../../../../../../../etc",
    ] {
        let keep = tempfile::tempdir().unwrap();
        let path = made(&keep);
        let config = format!("[core]\n\tworktree = {worktree}\n");
        fs::write(path.join(".git/modules/a/b/config"), config).unwrap();
        assert!(!seen(&path).is_ours(), "{worktree}");
    }
    for link in [
        "gitdir: /etc\n",
        "gitdir: ../../../other\n",
        "gitdir: ../../.git\n",
        "gitdir: ../../.git/modules\n",
        "gitdir: ../../.git/modules/a/b/objects\n",
        "gitdir: ../../.git/modules/a/b/../../../../x\n",
        "../../.git/modules/a/b",
        "",
    ] {
        let keep = tempfile::tempdir().unwrap();
        let path = made(&keep);
        fs::write(path.join("a/b/.git"), link).unwrap();
        assert!(!is_submodule(&path, &path.join("a/b")).unwrap(), "{link:?}");
    }
    // By way of a link it is somewhere else.
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    fs::rename(path.join("a"), path.with_file_name("a")).unwrap();
    symlink(path.with_file_name("a"), path.join("a")).unwrap();
    assert!(!is_submodule(&path, &path.join("a/b")).unwrap());
}

/// A power cut leaves zeros, and that is no reason to keep a clone.
#[test]
fn a_submodules_torn_configuration_is_told_from_somebodys() {
    let keep = tempfile::tempdir().unwrap();
    let path = made(&keep);
    let config = path.join(".git/modules/a/b/config");
    fs::write(&config, [0; 300]).unwrap();
    let found = seen(&path);
    assert!(
        found.strange.is_empty() && found.spoilt.is_some() && !found.is_ours(),
        "{found:?}"
    );
    fs::write(&config, "").unwrap();
    assert!(seen(&path).is_ours(), "Git takes no order from it");
}
