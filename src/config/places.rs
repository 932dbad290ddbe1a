//! Checks the places that a configuration names: on the target, on the installer, and by label.
//!
//! Nothing goes to a place that the system or another option uses. One function decides this for every option
//! (`landfall_states::reserved_paths`). A path means exactly what it says.
//!
//! Home directories and links of the target are known only on the target (`real::steps::provision`).

use super::path_text::{KNOWN_HOSTS, begins_as_path, has_public_key};
use super::{Config, Keys, Problem, SshConfig, SystemConfig, problem::problem, refused};
use camino::Utf8Path;
use landfall_states::names::quoted;
use landfall_states::remote::redacted;
use landfall_states::reserved_paths::{Put, taken_on_target};

/// Label of the medium that carries keys: a disk with it gives secrets, and what was installed would be taken for one.
pub const MEDIUM_LABEL: &str = "LF-KEYS";

pub(super) fn problems(config: &Config, found: &mut Vec<Problem>) {
    mount_dirs(config, found);
    age_identity(config, &config.keys, found);
    clone(config, found);
    on_installer(config, found);
    labels(config, found);
}

/// Where the clone is, as the target names it.
fn clone_on_target(config: &Config) -> &str {
    let path = config.repository.clone_path.as_str();
    path.strip_prefix("/mnt").unwrap_or(path)
}

/// Where the deploy key goes, as far as the configuration knows it: homes are in `/home` unless the target says otherwise.
fn deploy_key(config: &Config) -> Option<String> {
    let home = match &config.target_user {
        Some(user) => format!("/home/{user}"),
        None => "/root".to_owned(),
    };
    config.keys.deploy_key.then(|| format!("{home}/.ssh/id_ed25519"))
}

/// A path of the target as it is seen while installing: on the target it is another one, and below /mnt of the target nobody looks.
fn seen_while_installing(option: &str, path: &str) -> Option<Problem> {
    let there = Utf8Path::new(path).strip_prefix("/mnt").ok()?;
    let fix = match there.as_str() {
        "" => "leave it out, because it is the root of the target itself".to_owned(),
        there => format!("write \"/{there}\""),
    };
    Some(problem(
        option,
        format!(
            "target path \"{path}\" is not allowed: it must be the path on the installed system, without /mnt"
        ),
        fix,
    ))
}

fn mount_dirs(config: &Config, found: &mut Vec<Problem>) {
    let clone = clone_on_target(config);
    let key = deploy_key(config);
    for (index, dir) in config.extra_mount_dirs.iter().enumerate() {
        let path = Utf8Path::new(dir.as_str());
        let below_clone = dir.as_str() != clone && path.starts_with(clone);
        let why = if let Some(problem) =
            seen_while_installing(&format!("extra_mount_dirs[{index}]"), dir.as_str())
        {
            found.push(problem);
            continue;
        } else if let Some(why) = taken_on_target(dir.as_str(), Put::Directory) {
            why.to_owned()
        } else if below_clone {
            format!("the clone goes to {clone}, and nothing else can be there")
        } else if key.as_ref().is_some_and(|key| path.starts_with(key)) {
            "keys.deploy_key puts a file there".to_owned()
        } else {
            continue;
        };
        found.push(problem(
            format!("extra_mount_dirs[{index}]"),
            format!("target path \"{dir}\" is not allowed: {why}"),
            "leave it out, or choose another directory",
        ));
    }
}

/// A place for a file of root's, where nothing else that is asked for is put.
fn age_identity(config: &Config, keys: &Keys, found: &mut Vec<Problem>) {
    let Keys {
        deploy_key: _,
        age_identity,
        age_identity_path,
    } = keys;
    if !age_identity && age_identity_path.is_none() {
        return;
    }
    let path = keys.age_identity_at(&config.host);
    if let Some(problem) = seen_while_installing("keys.age_identity_path", &path) {
        found.push(problem);
        return;
    }
    let file = Utf8Path::new(&path);
    let clone = clone_on_target(config);
    let key = deploy_key(config);
    let key = key.as_deref().map(Utf8Path::new);
    let why = if let Some(why) = taken_on_target(&path, Put::File) {
        why.to_owned()
    } else if file.starts_with(clone) {
        format!("the clone is at {clone}, and belongs to its user")
    } else if Utf8Path::new(clone).starts_with(file) {
        format!("the clone is below it, at {clone}")
    } else if key.is_some_and(|key| key.starts_with(file) || file.starts_with(key)) {
        "keys.deploy_key puts a file there".to_owned()
    } else if config
        .extra_mount_dirs
        .iter()
        .any(|dir| Utf8Path::new(dir.as_str()).starts_with(file))
    {
        "extra_mount_dirs makes a directory there".to_owned()
    } else {
        return;
    };
    found.push(problem(
        "keys.age_identity_path",
        format!("target path \"{path}\" is not allowed: {why}"),
        "choose another file, such as /var/lib/age/host.agekey",
    ));
}

/// What its type does not know: what else this configuration puts there.
fn clone(config: &Config, found: &mut Vec<Problem>) {
    let clone = clone_on_target(config);
    if deploy_key(config)
        .is_some_and(|key| Utf8Path::new(&key).starts_with(clone) || Utf8Path::new(clone).starts_with(&key))
    {
        found.push(problem(
            "repository.clone_path",
            format!("clone path \"/mnt{clone}\" is not allowed: keys.deploy_key puts a file there"),
            "choose another directory, such as /mnt/etc/nixos",
        ));
    }
}

const ABSOLUTE: &str = "write the absolute path of that file on the installer";

/// What to do about a text that is no path on the installer.
fn way_of_path(option: &str, text: &str) -> String {
    if option == "ssh.known_hosts" && !begins_as_path(text) && !refused::is_file_name(text) {
        return KNOWN_HOSTS.to_owned();
    }
    if !refused::may_be_secret(option, text) {
        let of_root = ["~/", "$HOME/", "${HOME}/"]
            .iter()
            .find_map(|head| text.strip_prefix(head));
        return match of_root {
            Some(rest) => format!(
                "write {}: landfall runs as root on the installer, and /root is the home directory",
                quoted(&format!("/root/{rest}"))
            ),
            None => ABSOLUTE.to_owned(),
        };
    }
    refused::way_of(option).unwrap_or_else(|| ABSOLUTE.to_owned())
}

/// Paths of files on the installer.
fn on_installer(config: &Config, found: &mut Vec<Problem>) {
    let SshConfig {
        key,
        known_hosts,
        generate_key: _,
        generate_wait_s: _,
    } = &config.ssh;
    let image = match &config.system {
        SystemConfig::Image { file, .. } => Some(file),
        SystemConfig::Prebuilt(_) | SystemConfig::Flake => None,
    };
    for (option, path) in [
        ("repository.bundle", config.repository.bundle.as_ref()),
        ("system.Image.file", image),
        ("ssh.key", key.as_ref()),
        ("ssh.known_hosts", known_hosts.as_ref()),
    ] {
        let Some(path) = path else { continue };
        let path = path.as_str();
        // A URL may have been meant, with what nobody else shall see.
        let shown = refused::shown(option, &redacted(path));
        if has_public_key(path) {
            let fix = match option {
                "ssh.known_hosts" => KNOWN_HOSTS.to_owned(),
                _ => way_of_path(option, path),
            };
            found.push(problem(
                option,
                "it has a public key in it, and the path of a file is allowed",
                fix,
            ));
        } else if !path.starts_with('/') {
            found.push(problem(
                option,
                format!("path {shown} is not allowed: it must be an absolute path on the installer"),
                way_of_path(option, path),
            ));
        } else if path.len() > 4_095
            || path
                .split('/')
                .skip(1)
                .any(|part| matches!(part, "" | "." | ".."))
        {
            found.push(problem(
                option,
                format!(
                    "path {shown} is not allowed: it has . or .. or an empty part, or more than 4095 bytes"
                ),
                "write the path of the file itself, such as /run/keys/file",
            ));
        } else if option == "ssh.key" && Utf8Path::new(path).starts_with("/nix/store") {
            found.push(problem(
                option,
                format!("path {shown} is not allowed: every user and every cache can read the Nix store"),
                "provide the key as credential landfall.ssh-key, or put it on a medium outside the store",
            ));
        }
    }
}

/// Labels that mean something to landfall itself.
fn labels(config: &Config, found: &mut Vec<Problem>) {
    let labels = &config.labels;
    for (option, label) in [
        ("labels.efi", Some(labels.efi.as_str())),
        ("labels.root", Some(labels.root.as_str())),
        ("labels.luks", labels.luks.as_ref().map(|label| label.as_str())),
        ("labels.swap", labels.swap.as_ref().map(|label| label.as_str())),
    ] {
        if label.is_some_and(|label| label.eq_ignore_ascii_case(MEDIUM_LABEL)) {
            found.push(problem(
                option,
                format!("label {MEDIUM_LABEL} is not allowed: it is the label of the key medium"),
                "choose another label",
            ));
        }
    }
}
