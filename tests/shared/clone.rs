//! A remote with two commits, and a place to clone it to, with real Git, for the tests of the clone.

#![allow(dead_code, clippy::unwrap_used)] // no test file uses all of it; a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::git::command::Access;
use landfall::real::git::pin::standing;
use landfall::real::git::repository::{observe_clone, perform_clone, resolve_with};
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use landfall_states::actions::clone_configuration::{
    CloneConfiguration, CloneFacts, CloneOrder, CloneSight, Standing,
};
use landfall_states::fault::Fault;
use landfall_states::names::Revision;
use landfall_states::plan::{InstallId, Reference, Repository, RepositorySource};
use landfall_states::{Step, Verdict};
use std::process::Command;

pub struct Place {
    _keep: tempfile::TempDir,
    pub dir: Utf8PathBuf,
    pub context: CommandContext,
    pub access: Access,
    pub runtime: tokio::runtime::Runtime,
}

pub fn git(dir: &Utf8Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.invalid",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Place {
    /// A remote `origin` with two commits on `trunk` and a branch `dev`; `None` without Git.
    pub fn new() -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: git is not installed");
            return None;
        }
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let origin = dir.join("origin");
        fs_err::create_dir_all(&origin).unwrap();
        git(&origin, &["init", "-q", "-b", "trunk"]);
        for n in ["one", "two"] {
            fs_err::write(origin.join("flake.nix"), format!("# {n}\n")).unwrap();
            // Bytes that do not compress, from a xorshift generator.
            let mut x = 0x9E37_79B9_7F4A_7C15_u64 + n.len() as u64 + u64::from(n.as_bytes()[0]);
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 32) as u8
            })
            .take(200_000)
            .collect();
            fs_err::write(origin.join(format!("noise-{n}")), noise).unwrap();
            git(&origin, &["add", "-A"]);
            git(&origin, &["commit", "-q", "-m", n]);
        }
        git(&origin, &["branch", "dev", "HEAD~1"]);
        Some(Place {
            _keep: keep,
            dir,
            context: CommandContext::new(Reporter::default(), Stop::never()),
            access: Access {
                token: None,
                key: None,
                known_hosts: None,
                connect_s: 5,
                stall_s: 5,
            },
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        })
    }

    /// Gives the origin a submodule at `sub`, and says where that comes from.
    pub fn with_submodule(&mut self) -> Utf8PathBuf {
        self.context
            .env
            .push(("GIT_ALLOW_PROTOCOL".into(), "file:git".into()));
        let from = self.dir.join("submodule");
        fs_err::create_dir_all(&from).unwrap();
        git(&from, &["init", "-q", "-b", "main"]);
        fs_err::write(from.join("module.nix"), "# module\n").unwrap();
        git(&from, &["add", "-A"]);
        git(&from, &["commit", "-q", "-m", "module"]);
        let url = format!("file://{from}");
        let allowed = "protocol.file.allow=always";
        git(
            &self.origin(),
            &["-c", allowed, "submodule", "-q", "add", &url, "sub"],
        );
        git(&self.origin(), &["commit", "-q", "-m", "with submodule"]);
        from
    }

    pub fn origin(&self) -> Utf8PathBuf {
        self.dir.join("origin")
    }

    pub fn path(&self) -> Utf8PathBuf {
        self.dir.join("mnt/nix-config")
    }

    pub fn repository(&self, url: &str, reference: Reference) -> Repository {
        Repository {
            source: RepositorySource::Remote(url.parse().unwrap()),
            reference,
            clone_path: "/mnt/nix-config".parse().unwrap(),
        }
    }

    pub fn here(&self, reference: Reference) -> Repository {
        self.repository(&format!("file://{}", self.origin()), reference)
    }

    pub fn resolve(&self, repository: &Repository) -> Result<Revision, Fault> {
        let scratch = self.dir.join("run");
        self.runtime
            .block_on(resolve_with(&self.context, &self.access, repository, &scratch))
    }

    pub fn action(&self, repository: Repository, revision: Revision) -> CloneConfiguration {
        CloneConfiguration {
            install: install(),
            repository,
            revision,
            is_wish: false,
        }
    }

    pub fn observe(&self, action: &CloneConfiguration) -> CloneFacts {
        let (context, access) = (&self.context, &self.access);
        self.runtime
            .block_on(observe_clone(context, access, action, &self.path()))
            .unwrap()
    }

    /// As a run looks, which asks the remote where the revision is a wish.
    pub fn sight(&self, action: &CloneConfiguration) -> Result<CloneSight, Fault> {
        let standing = if action.is_wish {
            self.standing(action)?
        } else {
            Standing::NotAsked
        };
        let place = self.observe(action);
        Ok(CloneSight { place, standing })
    }

    pub fn standing(&self, action: &CloneConfiguration) -> Result<Standing, Fault> {
        let scratch = self.dir.join("run");
        self.runtime.block_on(standing(
            &self.context,
            &self.access,
            &action.repository,
            &action.revision,
            &scratch,
        ))
    }

    /// Look, judge, act, look, judge.
    pub fn clone(&self, action: &CloneConfiguration) -> Result<(), Fault> {
        self.clone_beside(action, &[])
    }

    /// The same; `beside` is what is left beside the clone.
    pub fn clone_beside(&self, action: &CloneConfiguration, beside: &[&str]) -> Result<(), Fault> {
        match action.judge(&self.sight(action)?) {
            Verdict::Done(_) => return Ok(()),
            Verdict::Todo(order) => self.perform(&order)?,
            Verdict::Refuse(fault) => return Err(fault),
            Verdict::NeedsConsent(erasure) => panic!("{erasure}"),
        }
        let facts = self.sight(action)?;
        assert!(matches!(action.judge(&facts), Verdict::Done(_)), "{facts:?}");
        let mut there: Vec<String> = fs_err::read_dir(self.path().parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert_eq!(
            there,
            [&["nix-config"], beside].concat(),
            "nothing is left beside"
        );
        Ok(())
    }

    pub fn perform(&self, order: &CloneOrder) -> Result<(), Fault> {
        self.runtime
            .block_on(perform_clone(&self.context, &self.access, order, &self.path()))
    }
}

pub fn install() -> InstallId {
    ron::from_str("\"6c616e64-6661-5c6c-8000-6e69786f7321\"").unwrap()
}

pub fn branch(name: &str) -> Reference {
    Reference::Branch(name.parse().unwrap())
}
