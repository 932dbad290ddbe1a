//! The environment variables that replace options, for the service and the command line.
//!
//! A variable follows the same rule as its option. An empty variable counts as not set, because service managers pass empty ones. No
//! other variable is read.

use super::{Config, ConfigError, Problem, mistyped, refused};
use camino::Utf8PathBuf;
use landfall_states::remote::RemoteUrl;
use std::ffi::OsString;

/// Longest name of a device.
const DEVICE_BYTES_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `REPO_REMOTE`: replaces `repository.remote`, and then nothing is taken from the bundle.
    pub repo_remote: Option<RemoteUrl>,
    /// `INSTALL_DISK`: a block device, for the choice of the disk. It gives no consent.
    pub install_disk: Option<Utf8PathBuf>,
}

impl Overrides {
    /// From the process's environment.
    ///
    /// # Errors
    /// A variable whose value breaks the rule of what it replaces.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// From any source of variables.
    ///
    /// # Errors
    /// A variable whose value breaks the rule of what it replaces.
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let text = |name: &str, problems: &mut Vec<Problem>| {
            let value = get(name).filter(|value| !value.is_empty())?;
            match value.into_string() {
                Ok(text) => Some(text),
                Err(raw) => {
                    problems.push(problem(
                        name,
                        format!("{} is not UTF-8", refused::shown(name, &raw.to_string_lossy())),
                    ));
                    None
                }
            }
        };
        let repo_remote =
            text("REPO_REMOTE", &mut problems).and_then(|value| match mistyped::of_text(&value) {
                None => value.parse::<RemoteUrl>().ok(),
                Some((shown, refused)) => {
                    problems.push(Problem {
                        fix: Some(refused.fix),
                        ..problem(
                            "REPO_REMOTE",
                            format!("remote {shown} is not allowed: {}", refused.why),
                        )
                    });
                    None
                }
            });
        let install_disk = text("INSTALL_DISK", &mut problems).and_then(|value| {
            let path = Utf8PathBuf::from(&value);
            let plain = path.components().all(|part| part.as_str() != "..");
            let short = value.len() <= DEVICE_BYTES_MAX;
            if path.starts_with("/dev") && path.components().count() > 2 && plain && short {
                Some(path)
            } else {
                problems.push(problem(
                    "INSTALL_DISK",
                    format!(
                        "device {} is not allowed: it must be a path below /dev of at most {DEVICE_BYTES_MAX} bytes, preferably in /dev/disk/by-id",
                        refused::shown("INSTALL_DISK", &value)
                    ),
                ));
                None
            }
        });
        if problems.is_empty() {
            Ok(Overrides {
                repo_remote,
                install_disk,
            })
        } else {
            Err(ConfigError::of(problems))
        }
    }

    pub(super) fn apply(&self, config: &mut Config) {
        let Overrides {
            repo_remote,
            install_disk: _, // for the choice of the disk, no option of the file
        } = self;
        if let Some(remote) = repo_remote {
            config.repository.remote = Some(remote.clone());
            config.repository.bundle = None;
        }
    }
}

fn problem(name: &str, why: String) -> Problem {
    Problem {
        option: format!("environment variable {name}"),
        at: None,
        why,
        fix: Some(match name {
            "INSTALL_DISK" => {
                "set INSTALL_DISK to a path such as /dev/disk/by-id/NAME (ls -l /dev/disk/by-id shows the disk of each link), or unset it; a name that landfall disks prints belongs in unattended.disk"
                    .to_owned()
            }
            name => format!("correct {name}, or unset it"),
        }),
    }
}
