//! Tests of what is ours; that it is read as Git reads it is in tests/settings_read.rs.
use super::*;
use proptest::prelude::*;

const INSTALL: &str = "6c616e64-6661-5c6c-8000-6e69786f7321";
const ORIGIN: &str = "https://forge.example/ops/nix-config";

/// What Git 2.47.3 wrote for `git init`, `git config` and `git submodule update --init` of a clone by landfall.
const WRITTEN: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
    [landfall]\n\tinstall = 6c616e64-6661-5c6c-8000-6e69786f7321\n\
    [remote \"origin\"]\n\turl = https://forge.example/ops/nix-config\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
    [branch \"trunk\"]\n\tremote = origin\n\tmerge = refs/heads/trunk\n\
    [submodule \"sub\"]\n\tactive = true\n\turl = https://forge.example/ops/sub\n";

fn strange(text: &str) -> Vec<String> {
    let of = Of::Clone { origin: Some(ORIGIN) };
    let settings = read(text.as_bytes()).unwrap();
    let strange = settings.iter().filter(|s| judge(s, of) == Judged::Strange);
    strange.map(|s| s.name.clone()).collect()
}

#[test]
fn what_landfall_and_its_git_write_is_ours() {
    assert_eq!(strange(WRITTEN), [] as [&str; 0]);
    assert_eq!(
        value(&read(WRITTEN.as_bytes()).unwrap(), CLONE_KEY),
        Some(INSTALL)
    );
    let sha256 = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n\trefstorage = files\n";
    assert_eq!(strange(sha256), [] as [&str; 0]);
    // What Git wrote in `.git/modules/sub/config`.
    let module = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
        \tworktree = ../../../sub\n[remote \"origin\"]\n\turl = file:///tmp/submodule\n\
        \tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n";
    let judged: Vec<Judged> = read(module.as_bytes())
        .unwrap()
        .iter()
        .map(|setting| judge(setting, Of::Submodule))
        .filter(|judged| *judged != Judged::Ours)
        .collect();
    assert_eq!(judged, [Judged::Worktree("../../../sub".into())]);
}

/// Every way in which a configuration makes Git run a program, read another file, write elsewhere or ask somebody else.
const STRANGE: [&str; 80] = [
    "[core]\n fsmonitor = /tmp/x",
    "[core] fsmonitor = /tmp/x",
    "[CORE]\nFsMonitor = /tmp/x",
    "[core]\n fsmonitor",
    "[core]\n fsmo\\\nnitor = x\n[core]\n hooksPath = /tmp",
    "[core]\n hooksPath = /tmp",
    "[core]\n sshCommand = x",
    "[core]\n gitProxy = x",
    "[core]\n askPass = x",
    "[core]\n editor = x",
    "[core]\n pager = x",
    "[core]\n alternateRefsCommand = x",
    "[core]\n worktree = /etc",
    "[core]\n bare = true",
    "[core]\n attributesFile = x",
    "[core]\n excludesFile = x",
    "[core]\n repositoryformatversion = 2",
    "[include]\n path = x",
    "[includeIf \"gitdir:/\"]\n path = x",
    "[include.x]\n path = x",
    "[filter \"lfs\"]\n clean = x",
    "[filter \"lfs\"]\n smudge = x",
    "[filter \"lfs\"]\n process = x",
    "[filter \"lfs\"]\n required",
    "[diff]\n external = x",
    "[diff \"x\"]\n textconv = x",
    "[diff \"x\"]\n command = x",
    "[merge \"x\"]\n driver = x",
    "[url \"ext::sh -c x\"]\n insteadOf = https://",
    "[url \"x\"]\n pushInsteadOf = y",
    "[credential]\n helper = !x",
    "[credential \"https://forge.example\"]\n helper = !x",
    "[gpg]\n program = x",
    "[gpg \"ssh\"]\n program = x",
    "[uploadpack]\n packObjectsHook = x",
    "[alias]\n status = !x",
    "[remote \"origin\"]\n uploadpack = x",
    "[remote \"origin\"]\n vcs = x",
    "[remote \"origin\"]\n proxy = x",
    "[remote \"origin\"]\n promisor = true",
    "[remote \"origin\"]\n pushurl = x",
    "[remote \"origin\"]\n url = ext::sh -c x",
    "[remote \"origin\"]\n url = --upload-pack=x",
    "[remote \"origin\"]\n fetch = +refs/*:refs/*",
    "[remote \"x\"]\n url = https://forge.example/x",
    "[remotes]\n x = y",
    "[extensions]\n worktreeConfig = true",
    "[extensions]\n partialClone = origin",
    "[extensions]\n refStorage = reftable",
    "[extensions]\n preciousObjects = true",
    "[submodule \"x\"]\n update = !x",
    "[submodule \"x\"]\n url = ext::sh -c x",
    "[submodule \"x\"]\n url = -u./x",
    "[submodule \"x\"]\n active",
    "[submodule]\n recurse = true",
    "[branch \"x\"]\n remote = ext::sh -c x",
    "[branch \"x\"]\n remote = .",
    "[branch \"x\"]\n merge = refs/heads/y",
    "[branch \"x\"]\n rebase = true",
    "[http]\n proxy = x",
    "[http]\n sslVerify = false",
    "[http \"https://forge.example\"]\n extraHeader = x",
    "[protocol \"ext\"]\n allow = always",
    "[safe]\n directory = *",
    "[sequence]\n editor = x",
    "[fsck]\n skipList = x",
    "[trailer \"x\"]\n command = x",
    "[user]\n name = somebody",
    "[landfall]\n tries = -1",
    "[landfall]\n other = 1",
    "[a \"b\"]\n c = d",
    "[init]\n templateDir = x",
    "[gc]\n recentObjectsHook = x",
    "[maintenance]\n auto = true",
    "[receive]\n procReceiveRefs = x",
    "[interactive]\n diffFilter = x",
    "[man \"x\"]\n cmd = x",
    "[browser \"x\"]\n cmd = x",
    "[lfs]\n url = x",
    "[lfs \"customtransfer.x\"]\n path = x",
];

#[test]
fn everything_else_is_strange() {
    for line in STRANGE {
        let text = format!("{WRITTEN}{line}\n");
        assert!(
            read(text.as_bytes()).is_err() || !strange(&text).is_empty(),
            "{line}"
        );
    }
}

#[test]
fn another_remote_is_no_reason_to_keep_git_away() {
    let of = Of::Clone { origin: Some(ORIGIN) };
    let text = "[remote \"origin\"]\n\turl = https://forge.example/other\n";
    let settings = read(text.as_bytes()).unwrap();
    assert_eq!(judge(&settings[0], of), Judged::OtherRemote);
}

#[test]
fn foreign_text_is_shown_cut_and_without_what_may_be_secret() {
    let setting = |value: &str| Setting {
        name: "core.fsmonitor".into(),
        value: Some(value.into()),
    };
    assert_eq!(
        shown(&setting("https://canary@forge.example/\u{1b}[2J")),
        r#""core.fsmonitor" = "https://[REDACTED]@forge.example/\u{1b}[2J""#
    );
    assert!(shown(&setting(&"x".repeat(9_999))).len() < 200);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(settings) = read(&bytes) {
            for setting in &settings {
                shown(setting);
                judge(setting, Of::Submodule);
            }
        }
    }
}
