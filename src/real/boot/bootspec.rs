//! What a system says about its own boot (`boot.json`, NixOS RFC 125).
//!
//! Pure, except for one bounded read. Unknown fields are ignored. A document of another version counts as absent, and a file
//! that is not such a document is reported by name.
//!
//! Nothing is guessed: without a document, the system's links to its kernel, initrd and init say the same.

use crate::real::fs::target_root::{self, Root};
use landfall_states::fault::Fault;
use landfall_states::names::StorePath;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;

/// Longest `boot.json`; that of a host with a hundred specialisations has some 200 KiB.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
const V1: &str = "org.nixos.bootspec.v1";
const SPECIALISATIONS: &str = "org.nixos.specialisation.v1";
const SYSTEMD_BOOT: &str = "org.nixos.systemd-boot";
const EXTRA_INITRD: &str = "org.nixos.extra-initrd.v1";

/// How one system is booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Its `init`, a path of the store.
    pub init: String,
    /// Its kernel.
    pub kernel: String,
    /// Its initrd, if it has one.
    pub initrd: Option<String>,
    /// What is added to the kernel's command line after `init=`.
    pub params: Vec<String>,
    /// Whether secrets are appended to the copy of the initrd on the ESP. `None`: nobody says.
    pub secrets: Option<bool>,
    /// Further initrds, from the ESP's top.
    pub extra_initrds: Vec<String>,
    /// Its device tree, a path of the store.
    pub devicetree: Option<String>,
}

impl Boot {
    /// As the links in the system's top level say.
    pub fn guessed(system: &StorePath) -> Self {
        Boot {
            init: format!("{system}/init"),
            kernel: format!("{system}/kernel"),
            initrd: Some(format!("{system}/initrd")),
            params: vec![],
            secrets: None,
            extra_initrds: vec![],
            devicetree: None,
        }
    }

    /// The words that an entry's options hold.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.params.iter().flat_map(|param| param.split_whitespace())
    }
}

/// A system and its specialisations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The system.
    pub boot: Boot,
    /// Its specialisations, by name.
    pub specialisations: BTreeMap<String, Boot>,
}

impl Spec {
    /// As the links in the system's top level say.
    pub fn guessed(system: &StorePath) -> Self {
        Spec {
            boot: Boot::guessed(system),
            specialisations: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct V1Document {
    init: String,
    kernel: Option<String>,
    initrd: Option<String>,
    kernel_params: Option<Vec<String>>,
    initrd_secrets: Option<String>,
}

#[derive(Deserialize, Default)]
struct ExtraInitrd {
    paths: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct SystemdBoot {
    devicetree: Option<String>,
}

/// A member of an object; `null` is none.
fn member<'a>(document: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    document.get(name).filter(|value| !value.is_null())
}

fn boot(document: &serde_json::Value) -> Result<Option<Boot>, String> {
    let Some(v1) = member(document, V1) else {
        return Ok(None);
    };
    let v1 = V1Document::deserialize(v1).map_err(|e| format!("{V1}: {e}"))?;
    let extra = match member(document, EXTRA_INITRD) {
        Some(extra) => ExtraInitrd::deserialize(extra).map_err(|e| format!("{EXTRA_INITRD}: {e}"))?,
        None => ExtraInitrd::default(),
    };
    let own = match member(document, SYSTEMD_BOOT) {
        Some(own) => SystemdBoot::deserialize(own).map_err(|e| format!("{SYSTEMD_BOOT}: {e}"))?,
        None => SystemdBoot::default(),
    };
    // A system without a kernel (a container's) has nothing that a boot loader could start.
    Ok(v1.kernel.map(|kernel| Boot {
        init: v1.init,
        kernel,
        initrd: v1.initrd,
        params: v1.kernel_params.unwrap_or_default(),
        secrets: Some(v1.initrd_secrets.is_some()),
        extra_initrds: extra.paths.unwrap_or_default(),
        devicetree: own.devicetree,
    }))
}

/// Reads a document; `None`: it is of a version that is not known here, or its system has no kernel.
///
/// # Errors
/// The document is damaged, or says what cannot be.
pub fn parse(text: &str) -> Result<Option<Spec>, String> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let Some(of_system) = boot(&document)? else {
        return Ok(None);
    };
    let mut specialisations = BTreeMap::new();
    if let Some(all) = member(&document, SPECIALISATIONS) {
        let all = all
            .as_object()
            .ok_or_else(|| format!("{SPECIALISATIONS}: no object"))?;
        for (name, one) in all {
            if let Some(one) = boot(one).map_err(|why| format!("{name}: {why}"))? {
                specialisations.insert(name.clone(), one);
            }
        }
    }
    Ok(Some(Spec {
        boot: of_system,
        specialisations,
    }))
}

/// The system's own words, or what its links say; or what is wrong with the document.
///
/// # Errors
/// The target cannot be read.
pub fn read(root: &Root, system: &StorePath) -> Result<Result<Spec, String>, Fault> {
    let path = format!("{system}/boot.json");
    let Some(file) = target_root::open_file(root, &path)? else {
        return Ok(Ok(Spec::guessed(system)));
    };
    let mut bytes = vec![];
    file.take(DOCUMENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| target_root::io_fault(format!("{path} on the target"), &e))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Ok(Err(format!("{path} has more than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let parsed = std::str::from_utf8(&bytes)
        .map_err(|e| e.to_string())
        .and_then(parse);
    Ok(match parsed {
        Ok(spec) => Ok(spec.unwrap_or_else(|| Spec::guessed(system))),
        Err(why) => Err(format!("landfall does not understand {path}: {why}")),
    })
}

/// Bytes of kernel and initrd of a system in the store below a root directory.
///
/// # Errors
/// The store cannot be read, or the system has no kernel.
pub fn boot_bytes(system: &StorePath, live: &Root) -> Result<u64, Fault> {
    let mut bytes = 0_u64;
    for name in ["kernel", "initrd"] {
        if let Some(file) = target_root::open_file(live, &format!("{system}/{name}"))? {
            let length = file
                .metadata()
                .map_err(|e| target_root::io_fault(format!("{system}/{name}"), &e))?
                .len();
            bytes = bytes.saturating_add(length);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;

    const DOCUMENT: &str = r#"{
        "org.nixos.bootspec.v1": {
            "init": "/nix/store/x-nixos-system-web/init",
            "initrd": "/nix/store/i-initrd/initrd",
            "initrdSecrets": "/nix/store/a-append/bin/append-initrd-secrets",
            "kernel": "/nix/store/k-linux/bzImage",
            "kernelParams": ["root=fstab", "loglevel=4", "lsm=landlock,yama,bpf"],
            "label": "NixOS Yarara 26.05 (Linux 6.12.9)",
            "system": "x86_64-linux",
            "toplevel": "/nix/store/x-nixos-system-web",
            "later": 1
        },
        "org.nixos.specialisation.v1": {
            "rescue": { "org.nixos.bootspec.v1": {
                "init": "/nix/store/y-nixos-system-web/init", "kernel": "/nix/store/k-linux/bzImage", "kernelParams": [],
                "label": "x", "system": "x86_64-linux", "toplevel": "/nix/store/y-nixos-system-web" } }
        },
        "org.nixos.systemd-boot": { "sortKey": "nixos" },
        "org.nixos.extra-initrd.v1": { "paths": ["EFI/ucode.img"] }
    }"#;

    #[test]
    fn a_document_is_read_and_a_strange_one_is_named() {
        let spec = parse(DOCUMENT).unwrap().unwrap();
        assert_eq!(spec.boot.kernel, "/nix/store/k-linux/bzImage");
        assert_eq!(spec.boot.secrets, Some(true));
        assert_eq!(spec.boot.extra_initrds, ["EFI/ucode.img"]);
        let words: Vec<&str> = spec.boot.words().collect();
        assert_eq!(words, ["root=fstab", "loglevel=4", "lsm=landlock,yama,bpf"]);
        let rescue = &spec.specialisations["rescue"];
        assert_eq!((rescue.initrd.as_deref(), rescue.secrets), (None, Some(false)));
        assert_eq!(parse("{\"org.nixos.bootspec.v2\": {}}"), Ok(None));
        assert_eq!(parse("{\"org.nixos.bootspec.v1\": null}"), Ok(None));
        let nulls = DOCUMENT.replace(
            "[\"root=fstab\", \"loglevel=4\", \"lsm=landlock,yama,bpf\"]",
            "null",
        );
        let nulls = parse(&nulls.replace("[\"EFI/ucode.img\"]", "null"))
            .unwrap()
            .unwrap();
        assert_eq!((nulls.boot.params, nulls.boot.extra_initrds), (vec![], vec![]));
        for strange in [
            "",
            "[",
            "{\"org.nixos.bootspec.v1\": {}}",
            "{\"org.nixos.bootspec.v1\": 1}",
        ] {
            assert!(parse(strange).is_err(), "{strange}");
        }
        assert!(parse(&DOCUMENT.replace("{ \"paths\"", "[ \"paths\"")).is_err());
    }

    #[test]
    fn without_a_document_the_links_say_it() {
        let keep = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        let spec = read(root, &system).unwrap().unwrap();
        assert_eq!(spec.boot, Boot::guessed(&system));
        let top = root.join(system.as_str().trim_start_matches('/'));
        fs_err::create_dir_all(&top).unwrap();
        fs_err::write(top.join("boot.json"), "{").unwrap();
        let why = read(root, &system).unwrap().unwrap_err();
        assert!(why.contains("does not understand"), "{why}");
        fs_err::write(top.join("boot.json"), vec![b' '; (4 << 20) + 1]).unwrap();
        assert!(
            read(root, &system)
                .unwrap()
                .unwrap_err()
                .contains("more than 4194304 bytes")
        );
    }
}
