//! The parameters that distinguish one system from another.
//!
//! Values are checked before they reach Nix or a shell. The defaults here are for tests.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Where root lies when it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Luks {
    /// Partition name and LUKS2 header label.
    pub label: String,
    /// Name under which stage 1 opens it: `/dev/mapper/<mapper>`.
    pub mapper: String,
}

/// The account that the installed system has besides root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number that `activate` writes into the target's `/etc/passwd`: deliberately not 1000 in [`ClosureParams::plain`].
    pub uid: u32,
}

/// Where the account's password comes from, as agenix and its like have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordFile {
    /// What the activation writes and reads the password's hash from: below `/run`.
    pub path: String,
    /// The key that it is decrypted with, on the target.
    pub identity: String,
    /// What is decrypted, by its path from `system.nix`.
    pub encrypted: String,
}

/// [`PasswordFile::encrypted`] among the expressions: encrypted by age to [`SECRET_IDENTITY`] alone.
pub const ENCRYPTED: &str = "password.age";
/// Whoever can decrypt [`ENCRYPTED`].
pub const SECRET_IDENTITY: &str =
    "AGE-SECRET-KEY-166X0LFVAA80LFDE242NSAH7C7J5403VQCE2T0KJTPL820TFS022SSZQUTH\n";
/// What [`ENCRYPTED`] holds.
pub const PASSWORD_HASH: &str = "$6$laboratory$of.a.secret.that.age.decrypted";

/// Names of devices, as a host's own configuration has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Of the LUKS container.
    pub container: String,
    /// Lines of its fstab: name, mount point, type and options; root's first.
    pub fstab: Vec<String>,
}

/// Everything that tells one system from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureParams {
    /// Name of the host, part of the store path's name.
    pub host: String,
    /// NixOS's version as the store path and the loader's menu tell it.
    pub version: String,
    /// Revision of the configuration that the marker reports; empty when there is none.
    pub revision: String,
    /// FAT label of the ESP.
    pub esp_label: String,
    /// ext4 label of root.
    pub root_label: String,
    /// The container around root.
    pub luks: Option<Luks>,
    /// Label of the swap area.
    pub swap_label: Option<String>,
    /// The account besides root.
    pub user: Option<User>,
    /// Where the installed system finds the clone of its configuration, as in `/nix-config`.
    pub clone_path: Option<String>,
    /// Other systems that this one carries, each with a boot loader entry of its own.
    pub specialisations: Vec<String>,
    /// How often an entry may be tried before the loader passes it over; none: boots are not counted.
    pub boot_counting: Option<u8>,
    /// A file of the target that the boot loader's installer appends to the initrd on the ESP.
    pub initrd_secret: Option<String>,
    /// The account's password, from a file that the activation decrypts before it makes the accounts.
    pub password_file: Option<PasswordFile>,
    /// Whether a snippet of the activation fails.
    pub broken_snippet: bool,
    /// Whether the boot loader's installer may write the firmware's variables.
    pub can_touch_efi_variables: bool,
    /// A host's own names for its devices, for a system that stays; none: the labels above.
    pub devices: Option<Devices>,
    /// How many store paths the closure has beyond the ones it needs.
    pub filler: u32,
    /// Size of each of them, in KiB.
    pub filler_kib: u32,
}

impl ClosureParams {
    /// An ESP `ESP`, a root `nixos`, neither LUKS nor swap, and the user `operator` with uid 1234.
    pub fn plain(host: &str) -> Self {
        ClosureParams {
            host: host.to_owned(),
            version: "26.05.landfall".to_owned(),
            revision: String::new(),
            esp_label: "ESP".to_owned(),
            root_label: "nixos".to_owned(),
            luks: None,
            swap_label: None,
            user: Some(User {
                name: "operator".to_owned(),
                uid: 1234,
            }),
            clone_path: Some("/nix-config".to_owned()),
            specialisations: Vec::new(),
            boot_counting: None,
            initrd_secret: None,
            password_file: None,
            broken_snippet: false,
            can_touch_efi_variables: true,
            devices: None,
            filler: 0,
            filler_kib: 4,
        }
    }

    /// The same with root in a LUKS2 container.
    #[must_use]
    pub fn with_luks(mut self, label: &str, mapper: &str) -> Self {
        self.luks = Some(Luks {
            label: label.to_owned(),
            mapper: mapper.to_owned(),
        });
        self
    }

    /// The same with a swap area.
    #[must_use]
    pub fn with_swap(mut self, label: &str) -> Self {
        self.swap_label = Some(label.to_owned());
        self
    }

    /// The same with `count` more store paths of `kib` KiB each.
    #[must_use]
    pub fn with_filler(mut self, count: u32, kib: u32) -> Self {
        self.filler = count;
        self.filler_kib = kib;
        self
    }

    /// What `system.nix` takes as `params`, as JSON.
    ///
    /// # Errors
    /// A value that cannot stand in single quotes, where the scripts of the system will have it.
    pub fn to_json(&self) -> Result<String> {
        let ClosureParams {
            host,
            version,
            revision,
            esp_label,
            root_label,
            luks,
            swap_label,
            user,
            clone_path,
            specialisations,
            boot_counting,
            initrd_secret,
            password_file,
            broken_snippet,
            can_touch_efi_variables,
            devices,
            filler,
            filler_kib,
        } = self;
        let tries = boot_counting.map_or_else(String::new, |tries| tries.to_string());
        let file = password_file.as_ref();
        let flag = |on: bool| if on { "1" } else { "" };
        let texts = [
            ("host", host.as_str()),
            ("version", version),
            ("revision", revision),
            ("espLabel", esp_label),
            ("rootLabel", root_label),
            ("luksLabel", luks.as_ref().map_or("", |luks| &luks.label)),
            ("luksMapper", luks.as_ref().map_or("", |luks| &luks.mapper)),
            ("swapLabel", swap_label.as_deref().unwrap_or("")),
            ("user", user.as_ref().map_or("", |user| &user.name)),
            ("clonePath", clone_path.as_deref().unwrap_or("")),
            ("bootCounting", &tries),
            ("initrdSecret", initrd_secret.as_deref().unwrap_or("")),
            ("passwordFile", file.map_or("", |file| &file.path)),
            ("identity", file.map_or("", |file| &file.identity)),
            ("encrypted", file.map_or("", |file| &file.encrypted)),
            ("brokenSnippet", flag(*broken_snippet)),
            ("canTouchEfiVariables", flag(*can_touch_efi_variables)),
            ("container", devices.as_ref().map_or("", |names| &names.container)),
        ];
        let numbers = [
            ("uid", user.as_ref().map_or(0, |user| user.uid)),
            ("filler", *filler),
            ("fillerKib", *filler_kib),
        ];
        let mut json = serde_json::Map::new();
        let children = specialisations
            .iter()
            .map(|name| ("specialisations", name.as_str()));
        let lines: &[String] = devices.as_ref().map_or(&[], |names| &names.fstab);
        let fields = lines
            .iter()
            .flat_map(|line| line.split(' '))
            .map(|field| ("devices", field));
        for (name, text) in texts.iter().copied().chain(children).chain(fields) {
            ensure!(
                text.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-/+=,".contains(c)),
                "the closure's {name} is {text:?}: use letters, digits and ._-/+=, alone"
            );
        }
        for (name, text) in texts {
            json.insert(name.to_owned(), text.into());
        }
        json.insert("specialisations".to_owned(), specialisations.clone().into());
        json.insert("devices".to_owned(), lines.to_vec().into());
        for (name, number) in numbers {
            json.insert(name.to_owned(), number.into());
        }
        serde_json::to_string_pretty(&json).context("the closure's parameters as JSON")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_that_would_leave_its_quotes_is_refused() {
        let mut params = ClosureParams::plain("box");
        assert!(params.to_json().is_ok());
        params.root_label = "a'b".to_owned();
        let message = params.to_json().unwrap_err().to_string();
        assert!(
            message.contains("rootLabel") && message.contains("a'b"),
            "{message}"
        );
    }
}
