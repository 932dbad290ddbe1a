//! A repository with a flake, made for each test, and landfall run in it.
//!
//! Nothing of the computer's own settings is used: Git and Nix have a home of the test's.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A repository in a directory of its own.
pub struct Ground {
    keep: tempfile::TempDir,
    /// Folders with programs, in front of the computer's own.
    path: String,
}

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host_new")
}

/// Whether a Nix is there that has flakes (2.4); where it is not, a test says what it leaves out.
pub fn has_nix() -> bool {
    let Ok(output) = Command::new("nix").arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u32> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    output.status.success() && matches!(numbers.as_slice(), [major, minor, ..] if (*major, *minor) >= (2, 4))
}

/// What is said where Nix is missing, as the project's other tests of Nix do.
pub fn without_nix(what: &str) {
    println!("no `nix` of 2.4 or newer in PATH: {what} was not evaluated");
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copied(&path, &to);
        } else {
            fs::write(to, fs::read(path).unwrap()).unwrap();
        }
    }
}

/// What a host's own file says at least.
pub fn host(name: &str) -> String {
    format!("{{ networking.hostName = \"{name}\"; }}\n")
}

impl Ground {
    /// A repository with this flake and the files that it needs.
    pub fn new(flake: &str, files: &[(&str, &str)]) -> Ground {
        let ground = Ground {
            keep: tempfile::tempdir().unwrap(),
            path: std::env::var("PATH").unwrap(),
        };
        copied(&fixtures().join("inputs"), &ground.root().join("inputs"));
        fs::create_dir_all(ground.home()).unwrap();
        fs::write(
            ground.home().join(".gitconfig"),
            "[user]\n\tname = Op\n\temail = op@forge.example\n[init]\n\tdefaultBranch = main\n",
        )
        .unwrap();
        fs::write(ground.root().join("flake.nix"), flake).unwrap();
        for (name, text) in files {
            ground.put(name, text.as_bytes());
        }
        ground.git(&["init", "--quiet"]);
        ground.git(&["remote", "add", "origin", "git@forge.example:ops/nix-config"]);
        ground.git(&["add", "--all"]);
        ground.lock();
        ground.git(&["add", "--all"]);
        ground.git(&["commit", "--quiet", "--message", "before"]);
        if has_nix() { ground } else { ground.without_nix() }
    }

    /// Pins the inputs, as the documents say; a Nix that is older than 2.26 wants that also of folders. A flake that is no flake has none.
    fn lock(&self) {
        if has_nix() {
            let locked = self
                .command("nix", &std::env::var("PATH").unwrap())
                .args([
                    "--extra-experimental-features",
                    "nix-command flakes",
                    "flake",
                    "lock",
                ])
                .output()
                .unwrap();
            println!("nix flake lock: {}", locked.status);
        }
    }

    /// The same without Nix in `PATH`: a folder with nothing but Git and what ssh has.
    pub fn without_nix(mut self) -> Ground {
        let bin = self.keep.path().join("bin");
        if bin.exists() {
            return self; // it has none already
        }
        fs::create_dir_all(&bin).unwrap();
        for program in ["git", "ssh-keygen", "sh"] {
            let found = std::env::split_paths(&self.path)
                .map(|dir| dir.join(program))
                .find(|path| path.exists());
            if let Some(found) = found {
                fs_err::os::unix::fs::symlink(found, bin.join(program)).unwrap();
            }
        }
        self.path = bin.to_str().unwrap().to_owned();
        self
    }

    pub fn root(&self) -> PathBuf {
        self.keep.path().join("repository")
    }

    pub fn home(&self) -> PathBuf {
        self.keep.path().join("home")
    }

    pub fn keys(&self) -> PathBuf {
        self.keep.path().join("keys")
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.root().join(name).exists()
    }

    fn command(&self, program: &str, path: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.root());
        command
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = self
            .command("git", &std::env::var("PATH").unwrap())
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// landfall as a command that is not started yet.
    pub fn landfall(&self, name: &str, args: &[&str]) -> Command {
        self.landfall_with_keys(name, &self.keys(), args)
    }

    /// The same with another folder of keys.
    pub fn landfall_with_keys(&self, name: &str, keys: &Path, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_landfall"), &self.path);
        command.args(["host", "new", name, "--keys"]).arg(keys).args(args);
        if !args.contains(&"--system") {
            command.args(["--system", "x86_64-linux"]);
        }
        command
    }

    pub fn run(&self, name: &str, args: &[&str]) -> Output {
        self.landfall(name, args).output().unwrap()
    }

    /// A line of a shell in the repository, where Nix has flakes.
    pub fn shell(&self, line: &str) -> Output {
        self.command("sh", &self.path)
            .env("NIX_CONFIG", "experimental-features = nix-command flakes")
            .args(["-c", line])
            .output()
            .unwrap()
    }

    /// The run went well; what it said.
    pub fn made(&self, name: &str, args: &[&str]) -> String {
        let output = self.run(name, args);
        assert!(
            output.status.success(),
            "{}{}",
            said(&output.stdout),
            said(&output.stderr)
        );
        said(&output.stdout)
    }

    /// It was refused, and nothing but keys was changed; what it said.
    pub fn refused(&self, name: &str, args: &[&str], code: i32) -> String {
        let before = self.state();
        let output = self.run(name, args);
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{}{text}", said(&output.stdout));
        let says = ["next: ", "try '--help'"].iter().any(|next| text.contains(next));
        assert!(says, "it says what to do: {text}");
        let changed: Vec<String> = self
            .state()
            .into_iter()
            .filter(|entry| !before.contains(entry))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(changed, [""; 0], "nothing was changed: {text}");
        assert_eq!(self.state().len(), before.len(), "nothing is gone: {text}");
        text
    }

    /// Every file of the tree with its bytes, and what Git has.
    pub fn state(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = vec![(
            "index".to_owned(),
            self.git(&["ls-files", "--stage"]).into_bytes(),
        )];
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap() == ".git" {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .strip_prefix(self.root())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    found.push((name, fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    /// What Nix makes of an expression with the flake as `flake`.
    pub fn nix(&self, expression: &str) -> serde_json::Value {
        let flake = format!("builtins.getFlake \"git+file://{}\"", self.root().display());
        let output = self
            .command("nix", &std::env::var("PATH").unwrap())
            .args([
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--json",
                "--impure",
                "--expr",
            ])
            .arg(format!("let flake = {flake}; in {expression}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Names of hosts and of installers, sorted.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let text = "let a = builtins.attrNames; of = o: a (o.x86_64-linux or { }); in [ (a flake.nixosConfigurations) \
                    (of (flake.outputs.packages or { }) ++ of (flake.outputs.legacyPackages or { })) ]";
        serde_json::from_value(self.nix(text)).unwrap()
    }
}

pub fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
