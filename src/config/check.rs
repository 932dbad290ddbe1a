//! Checks whether the values of a configuration fit together.
//!
//! Everything that the configuration alone can show is checked before the machine is examined, and all problems are reported
//! together, each with its fix.
//!
//! The types check single values; `Plan::derive` checks what depends on the disk.

use super::edges::edges;
use super::problem::problem;
use super::{
    Config, KeyMedium, Luks, NixConfig, Problem, RepositoryConfig, Swap, SystemConfig, Unattended, advice,
    mistyped, places, ranges, refused, remote, text, url,
};
use landfall_states::disk_name::never_agrees;
use landfall_states::fault::Budget;
use landfall_states::names::{HostName, Revision, Size, quoted};
use landfall_states::plan::ESP_BYTES_MIN;
use landfall_states::recovery::NONCE_MAX;
use landfall_states::remote::RemoteUrl;
use landfall_states::remote::redacted;

/// Memory that `libcryptsetup` is asked to use for one guess at the passphrase; it never takes more.
const LUKS_MEMORY_MAX: u64 = 1 << 30;

pub(super) fn label_missing(what: &str) -> Problem {
    problem(
        format!("labels.{what}"),
        format!("it is missing, and {what}.enable is true"),
        format!("add labels.{what}, or set {what}.enable to false"),
    )
}

pub(super) fn repository_missing() -> Problem {
    problem(
        "repository",
        "neither a remote nor a bundle is given, so there is nothing to clone",
        "set repository.remote, or put the repository into the installer with repository.bundle, or set REPO_REMOTE",
    )
}

pub(super) fn two_references() -> Problem {
    problem(
        "repository.revision",
        "branch and revision are both given, and they can name different commits",
        "keep revision to install exactly that commit, or branch to install its latest commit",
    )
}

/// Everything that is wrong.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let Config {
        host,
        labels: _,
        esp_size,
        luks,
        swap,
        repository,
        system: _,
        extra_mount_dirs: _,
        extra_post_mount_commands,
        on_success: _,
        can_touch_efi_variables: _,
        target_user: _,
        keys: _,
        unattended,
        key_medium,
        reinstall,
        nix,
        retry,
        ssh,
    } = config;
    let mut found = Vec::new();
    host_name(host, &mut found);
    labels(config, &mut found);
    esp(*esp_size, &mut found);
    encryption(luks, &mut found);
    range(
        "reinstall",
        u64::from(*reinstall),
        0,
        u64::from(NONCE_MAX),
        &mut found,
    );
    let Swap { enable: _, size: _ } = swap;
    from_where(repository, &mut found);
    places::problems(config, &mut found);
    text::problems(config, &mut found);
    post_mount(extra_post_mount_commands, &mut found);
    let KeyMedium {
        consent: _,
        luks_passphrase: _,
        record_key: _,
    } = key_medium;
    let Unattended { enable: _, disk } = unattended;
    unattended_disk(disk.as_deref(), &mut found);
    nix_settings(nix, &mut found);
    budget(retry, &mut found);
    range(
        "ssh.generate_wait_s",
        ssh.generate_wait_s,
        1,
        7 * 86_400,
        &mut found,
    );
    found
}

/// A name in nixosConfigurations.
fn host_name(host: &HostName, found: &mut Vec<Problem>) {
    if host.as_str().split('.').any(str::is_empty) {
        found.push(problem(
            "host",
            format!("host name \"{host}\" is not allowed: a part of it between dots is empty"),
            "write the name that the host has in nixosConfigurations, without a dot at its end or two in a row",
        ));
    }
}

fn esp(size: Size, found: &mut Vec<Problem>) {
    if size.bytes() < ESP_BYTES_MIN {
        found.push(problem(
            "esp_size",
            format!(
                "size \"{size}\" is not allowed: it must be at least {}M, the least for FAT32",
                ESP_BYTES_MIN >> 20
            ),
            "leave it out (the default is 1G), or set at least 260M",
        ));
    }
}

fn encryption(luks: &Luks, found: &mut Vec<Problem>) {
    let Luks {
        enable: _,
        mapper_name: _,
        iteration_time_ms,
        memory_min,
    } = luks;
    if let Some(least) = memory_min
        && least.bytes() > LUKS_MEMORY_MAX
    {
        found.push(problem(
            "luks.memory_min",
            format!("size \"{least}\" is not allowed: it must be at most 1G (landfall asks for 1G)"),
            "leave it out, or set at most 1G",
        ));
    }
    range(
        "luks.iteration_time_ms",
        u64::from(*iteration_time_ms),
        100,
        60_000,
        found,
    );
}

/// Commands that run when the target is mounted.
fn post_mount(commands: &[String], found: &mut Vec<Problem>) {
    for (index, command) in commands.iter().enumerate() {
        if command.trim().is_empty() || command.contains('\0') {
            found.push(problem(
                format!("extra_post_mount_commands[{index}]"),
                format!(
                    "command {} is not allowed: it must be a shell command that is not empty and has no NUL",
                    // A command may have a password in it.
                    match command.trim() {
                        "" => quoted(command),
                        _ => "…".to_owned(),
                    }
                ),
                "leave it out",
            ));
        }
    }
}

fn unattended_disk(disk: Option<&str>, found: &mut Vec<Problem>) {
    if let Some(disk) = disk
        && let Some(why) = disk_name_objection(disk)
    {
        found.push(problem(
            "unattended.disk",
            format!(
                "disk name {} is not allowed: {why}; allowed is a serial number, a WWN, a bus address, or the name of a link in /dev/disk/by-id or by-path, without the path",
                refused::shown("unattended.disk", disk)
            ),
            "use the name that `landfall disks` prints on that machine",
        ));
    }
}

/// Whether a text can name a disk for good.
pub fn is_disk_name(text: &str) -> bool {
    disk_name_objection(text).is_none()
}

/// Why a text cannot name a disk for good.
pub fn disk_name_objection(text: &str) -> Option<&'static str> {
    if text.contains('/') {
        return Some("it has a slash");
    }
    if !(1..=256).contains(&text.len()) || text.trim() != text || text.chars().any(char::is_control) {
        return Some("it must be one line of 1 to 256 characters without spaces at its ends");
    }
    never_agrees(text)
}

/// Labels that are used: present where needed, and all different, since /dev/disk/by-label and by-partlabel know no
/// roles.
fn labels(config: &Config, found: &mut Vec<Problem>) {
    let mut used: Vec<(&str, &str)> = vec![
        ("labels.efi", config.labels.efi.as_str()),
        ("labels.root", config.labels.root.as_str()),
    ];
    match (config.luks.enable, &config.labels.luks) {
        (false, _) => {}
        (true, None) => found.push(label_missing("luks")),
        (true, Some(label)) => used.push(("labels.luks", label.as_str())),
    }
    match (config.swap.enable, &config.labels.swap) {
        (false, _) => {}
        (true, None) => found.push(label_missing("swap")),
        (true, Some(label)) => used.push(("labels.swap", label.as_str())),
    }
    for (index, (option, label)) in used.iter().enumerate() {
        for (earlier, other) in used.iter().take(index) {
            if label == other {
                found.push(problem(
                    *option,
                    format!("label \"{label}\" is not allowed: {earlier} already has it, and each label must be unique"),
                    format!("choose another label for {option} or {earlier}"),
                ));
            }
        }
    }
}

fn from_where(repository: &RepositoryConfig, found: &mut Vec<Problem>) {
    let RepositoryConfig {
        remote,
        bundle,
        branch,
        revision,
        clone_path: _,
    } = repository;
    if remote.is_none() && bundle.is_none() {
        found.push(repository_missing());
    }
    if branch.is_some() && revision.is_some() {
        found.push(two_references());
    }
    if let Some((shown, refused)) = remote
        .as_ref()
        .and_then(|remote| mistyped::of_text(remote.expose()))
    {
        found.push(problem(
            "repository.remote",
            format!("remote {shown} is not allowed: {}", refused.why),
            refused.fix,
        ));
    }
    if let Some(name) = branch
        && let Some((why, fix)) = advice::of_branch(name)
    {
        // The id of a commit may be a token as well.
        let shown = match name.as_str().parse::<Revision>() {
            Ok(id) => format!("of {} hexadecimal digits (not repeated here)", id.as_str().len()),
            Err(_) => refused::shown("repository.branch", name.as_str()),
        };
        found.push(problem(
            "repository.branch",
            format!("branch {shown} is not allowed: {why}"),
            fix,
        ));
    }
    if revision
        .as_ref()
        .is_some_and(|revision| revision.as_str().bytes().all(|b| b == b'0'))
    {
        found.push(problem(
            "repository.revision",
            "revision 000… is not allowed: Git writes zeros where there is no commit",
            advice::REVISION,
        ));
    }
}

/// Why a text is not the public key of a cache.
fn key_objection(key: &str) -> String {
    match edges(key) {
        Some((edge, _)) => edge,
        None if key.split_whitespace().count() > 1 => {
            "it has spaces in it, and an entry is one key".to_owned()
        }
        None => "it must be NAME:KEY, where KEY is 32 bytes in base64 (43 characters and a =)".to_owned(),
    }
}

fn nix_settings(nix: &NixConfig, found: &mut Vec<Problem>) {
    let NixConfig {
        substituters,
        trusted_public_keys,
        stalled_download_timeout_s,
        connect_timeout_s,
        deadline_s,
    } = nix;
    for (index, cache) in substituters.iter().enumerate() {
        if let Some((why, fix)) = url::cache_objection(cache) {
            found.push(problem(format!("nix.substituters[{index}]"), why, fix));
        }
    }
    for (index, key) in trusted_public_keys.iter().enumerate() {
        let right = key.split_once(':').is_some_and(|(name, text)| {
            !name.is_empty() && !name.chars().any(char::is_whitespace) && url::is_public_key(text)
        });
        if right {
            continue;
        }
        // What stands behind the colon may be a secret key, and so may a text without one.
        let (name, text) = key.split_once(':').unwrap_or((key, key));
        let shown = match key.contains(':') {
            true if refused::may_be_secret("", name) => "…:…".to_owned(),
            true => format!("{}:…", redacted(name)),
            false if refused::may_be_secret("nix.trusted_public_keys", name) => "…".to_owned(),
            false => redacted(name),
        };
        let option = format!("nix.trusted_public_keys[{index}]");
        found.push(if text.len() == 88 {
            problem(
                option,
                format!("public key {} is not allowed: it has the length of a secret key", quoted(&shown)),
                "use the public key (nix key convert-secret-to-public prints it); make a new secret key if anybody else saw this one",
            )
        } else {
            problem(
                option,
                format!("public key {} is not allowed: {}", quoted(&shown), key_objection(key)),
                if edges(key).is_some() {
                    "remove the spaces before and after it"
                } else if key.split_whitespace().count() > 1 {
                    "write each key as a separate entry"
                } else {
                    "copy the complete key that the cache publishes, such as cache.example-1:KEY"
                },
            )
        });
    }
    let seconds = |option, value, max, found: &mut Vec<Problem>| range(option, value, 1, max, found);
    seconds(
        "nix.stalled_download_timeout_s",
        u64::from(*stalled_download_timeout_s),
        3_600,
        found,
    );
    seconds(
        "nix.connect_timeout_s",
        u64::from(*connect_timeout_s),
        3_600,
        found,
    );
    seconds("nix.deadline_s", *deadline_s, 7 * 86_400, found);
}

fn budget(retry: &Budget, found: &mut Vec<Problem>) {
    let Budget {
        phase_attempts_max,
        total_attempts_max,
        retries_per_run_max,
        backoff_first_ms,
        backoff_max_ms,
    } = *retry;
    range(
        "retry.phase_attempts_max",
        u64::from(phase_attempts_max),
        1,
        10_000,
        found,
    );
    range(
        "retry.total_attempts_max",
        u64::from(total_attempts_max),
        1,
        100_000,
        found,
    );
    range(
        "retry.retries_per_run_max",
        u64::from(retries_per_run_max),
        0,
        1_000,
        found,
    );
    range("retry.backoff_first_ms", backoff_first_ms, 1, 3_600_000, found);
    range("retry.backoff_max_ms", backoff_max_ms, 1, 3_600_000, found);
    if backoff_first_ms > backoff_max_ms {
        found.push(problem(
            "retry.backoff_first_ms",
            format!(
                "{backoff_first_ms} is not allowed: it must be at most retry.backoff_max_ms, which is {backoff_max_ms}"
            ),
            "lower it, or raise retry.backoff_max_ms",
        ));
    }
}

fn range(option: &str, value: u64, min: u64, max: u64, found: &mut Vec<Problem>) {
    if !(min..=max).contains(&value) {
        found.push(problem(
            option,
            format!("{value} is not allowed: it must be {}", ranges::from_to(min, max)),
            ranges::advice(min, max),
        ));
    }
}

/// What is allowed and yet deserves a word.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut words = Vec::new();
    if config.host.as_str().eq_ignore_ascii_case("localhost") {
        words.push(
            "host is localhost, which every machine uses for itself: choose another name in nixosConfigurations"
                .to_owned(),
        );
    }
    if config.unattended.enable && config.unattended.disk.is_none() {
        words.push(
            "unattended.enable is set without unattended.disk: a new install starts only if the credential landfall.consent names the disk"
                .to_owned(),
        );
    }
    for (what, enabled, label) in [
        ("luks", config.luks.enable, config.labels.luks.is_some()),
        ("swap", config.swap.enable, config.labels.swap.is_some()),
    ] {
        if label && !enabled {
            words.push(format!(
                "labels.{what} has no effect, because {what}.enable is false"
            ));
        }
    }
    if let SystemConfig::Image {
        system,
        file,
        digest: None,
    } = &config.system
    {
        words.push(format!(
            "system.Image has no digest: landfall writes any image that claims to hold {system}, no matter who made it; set it to the digest that `landfall image info {file}` prints on the computer that made the image"
        ));
    }
    let RepositoryConfig {
        remote,
        bundle,
        revision,
        ..
    } = &config.repository;
    words.extend(remote.as_ref().and_then(remote::warning));
    if let (Some(remote), None) = (remote, bundle) {
        let url = remote.expose();
        if revision.is_none() && (url.starts_with("http://") || url.starts_with("git://")) {
            words.push(
                "repository.remote is neither encrypted nor authenticated, and repository.revision is not set: an attacker in the network can decide what is installed"
                    .to_owned(),
            );
        }
        if remote.is_over_ssh() && config.ssh.known_hosts.is_none() {
            words.push(
                "repository.remote uses ssh and ssh.known_hosts is not set: landfall refuses a server whose host key the installer does not know"
                    .to_owned(),
            );
        }
        if !matches!(config.system, SystemConfig::Flake)
            && !url.starts_with('/')
            && !url.starts_with("file://")
        {
            words.push(
                "the system is prebuilt, but the repository is cloned over the network; set repository.bundle to install offline"
                    .to_owned(),
            );
        }
    }
    let is_asked = bundle.is_none() && remote.as_ref().is_some_and(RemoteUrl::is_over_ssh);
    if config.ssh.generate_key && !is_asked {
        words.push(
            "ssh.generate_key has no effect, because the repository is not fetched over ssh (for an https remote, provide a token as credential landfall.repository-token)"
                .to_owned(),
        );
    }
    if config.ssh.generate_key && config.ssh.key.is_some() {
        words.push("ssh.generate_key has no effect, because ssh.key names a key".to_owned());
    }
    if config.nix.substituters.is_empty() != config.nix.trusted_public_keys.is_empty() {
        words.push(
            "only one of nix.substituters and nix.trusted_public_keys is set: Nix does not use a cache without a trusted key".to_owned(),
        );
    }
    words
}
