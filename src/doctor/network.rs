//! The checks of the installer's network, from the cable to the binary caches.
//!
//! The first failing check names the first cause. An install that needs no network is not checked for it.
//!
//! `remote` checks the repository.

use super::http::{self, Answer};
use super::signature::NarInfo;
use super::{Outcome, Scene};
use crate::config::{Config, SystemConfig};
use crate::real::fs::target_root::{self, Root};
use crate::real::process::command::Program;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::quoted;
use landfall_states::plan::RepositorySource;
use landfall_states::utc::span;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// The cache that Nix has when nobody says another.
const CACHE_BY_DEFAULT: &str = "https://cache.nixos.org";
/// Its key.
const KEY_BY_DEFAULT: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
/// Largest difference between the clocks of a server and this machine.
const CLOCK_DIFFERENCE_MAX_S: u64 = 3_600;
/// Most store paths that a cache is asked for.
const PATHS_ASKED_MAX: usize = 12;

/// Whether the install fetches anything.
fn needs(config: &Config) -> bool {
    config.repository.bundle.is_none() || matches!(config.system, SystemConfig::Flake)
}

/// The configuration of an install that needs the network.
fn online(scene: &Scene) -> Result<&Config, Outcome> {
    let config = scene.config()?;
    if needs(config) {
        Ok(config)
    } else {
        Err(Outcome::skipped(
            "the installer contains system and repository, so the install needs no network",
        ))
    }
}

/// A network interface as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    has_link: bool,
    is_wireless: bool,
}

fn interfaces(root: &Root) -> Result<Vec<Interface>, Fault> {
    let mut found = Vec::new();
    for name in target_root::names(root, "/sys/class/net")? {
        let dir = format!("/sys/class/net/{name}");
        // Ethernet, and what looks like it (802.11 too); see ARPHRD_ETHER in linux/if_arp.h.
        let kind = target_root::read_text(root, &format!("{dir}/type"))?;
        if kind.as_deref().map(str::trim) != Some("1") {
            continue;
        }
        let state = target_root::read_text(root, &format!("{dir}/operstate"))?;
        found.push(Interface {
            has_link: state.as_deref().map(str::trim) == Some("up"),
            is_wireless: target_root::is_there(root, &format!("{dir}/wireless"))?,
            name,
        });
    }
    Ok(found)
}

/// Whether there is a default route: `/proc/net/route` and `/proc/net/ipv6_route` (`proc_pid_net(5)`).
fn has_route(root: &Root) -> Result<bool, Fault> {
    let v4 = target_root::read_text(root, "/proc/net/route")?.unwrap_or_default();
    let v4 = v4.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000")
    });
    let v6 = target_root::read_text(root, "/proc/net/ipv6_route")?.unwrap_or_default();
    let v6 = v6.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_default =
            words.first().is_some_and(|to| to.bytes().all(|b| b == b'0')) && words.get(1) == Some(&"00");
        is_default && words.last().is_some_and(|interface| *interface != "lo")
    });
    Ok(v4 || v6)
}

pub(super) async fn link(scene: &Scene) -> Outcome {
    if let Err(outcome) = online(scene) {
        return outcome;
    }
    let root = scene.root();
    match interfaces(&root).and_then(|found| Ok((found, has_route(&root)?))) {
        Ok((found, has_route)) => judge_link(&found, &scene.addresses, has_route),
        Err(fault) => fault.into(),
    }
}

fn is_of_the_net(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

fn judge_link(found: &[Interface], addresses: &[(String, IpAddr)], has_route: bool) -> Outcome {
    let wrong = |what: &str, why: &str, next: &str| {
        let list = found.iter().map(|i| {
            let kind = if i.is_wireless { "wireless" } else { "wired" };
            format!(
                "{} ({kind}): {}",
                i.name,
                if i.has_link { "link" } else { "no link" }
            )
        });
        Outcome::wrong_list(FaultClass::Transient, what, why, list.collect(), next)
    };
    if found.is_empty() {
        return wrong(
            "network",
            "the kernel has no network interface",
            "attach a network adapter that Linux supports, or build the image with its driver (extraInitrdKernelModules) or as a prebuilt one",
        );
    }
    let up: Vec<&Interface> = found.iter().filter(|i| i.has_link).collect();
    if up.is_empty() {
        return wrong(
            "network link",
            "no interface has a link",
            "plug the cable in; for a wireless network: nmtui",
        );
    }
    let of_up = |(name, address): &&(String, IpAddr)| {
        is_of_the_net(address) && up.iter().any(|interface| interface.name == *name)
    };
    let Some((name, address)) = addresses.iter().find(of_up) else {
        return wrong(
            "network address",
            "no interface has an address",
            "check the DHCP server and the other end of the cable, then: nmcli device",
        );
    };
    if !has_route {
        return wrong(
            "default route",
            &format!("{name} has the address {address}, but there is no default route"),
            "set a gateway with nmtui, or on the DHCP server (nmcli device show lists the settings)",
        );
    }
    Outcome::fine(format!("{name} has the address {address} and a default route"))
}

/// The server that a remote of Git names, without user and port.
fn server_of_remote(url: &str) -> Option<String> {
    let url = url.strip_prefix("git+").unwrap_or(url);
    if let Some((scheme, rest)) = url.split_once("://") {
        if scheme == "file" {
            return None;
        }
        let server = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
        return Some(http::name_of(server).to_owned());
    }
    // `user@host:path`, as scp has it.
    let (server, _) = url.split_once(':')?;
    (!server.contains('/')).then(|| server.rsplit('@').next().unwrap_or(server).to_owned())
}

pub(super) async fn names(scene: &Scene) -> Outcome {
    let config = match online(scene) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let mut wanted = BTreeSet::new();
    match config.payload().map(|payload| payload.repository.source) {
        Ok(RepositorySource::Remote(url)) => wanted.extend(server_of_remote(url.expose())),
        Ok(RepositorySource::Bundle { .. }) => {}
        Err(error) => return Outcome::skipped(error.to_string()),
    }
    if matches!(config.system, SystemConfig::Flake) {
        for cache in all_caches(scene, config).await.0 {
            wanted.extend(http::parts(&cache).map(|(_, server, _)| http::name_of(server).to_owned()));
        }
    }
    let mut unknown = Vec::new();
    for name in &wanted {
        let found = tokio::time::timeout(
            Duration::from_secs(8),
            tokio::net::lookup_host((name.as_str(), 443)),
        );
        match found.await {
            Ok(Ok(mut addresses)) => {
                if addresses.next().is_none() {
                    unknown.push(format!("{name}: no address"));
                }
            }
            Ok(Err(e)) => unknown.push(format!("{name}: {}", crate::os_error::said(&e))),
            Err(_) => unknown.push(format!("{name}: no answer within 8 s")),
        }
    }
    let all: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if unknown.is_empty() {
        return Outcome::fine(match all.as_slice() {
            [] => "there is no name to resolve".to_owned(),
            all => format!("resolved: {}", all.join(", ")),
        });
    }
    Outcome::wrong_list(
        FaultClass::Transient,
        "names of servers",
        format!("{} of {} do not resolve", unknown.len(), all.len()),
        unknown,
        "set a DNS server with nmtui (resolvectl status shows the current one), or correct the name in repoRemote or substituters",
    )
}

/// Caches and keys of the configuration and of the machine's own Nix.
async fn all_caches(scene: &Scene, config: &Config) -> (Vec<String>, Vec<String>) {
    let caches = nix_setting(scene, "substituters").await;
    let keys = nix_setting(scene, "trusted-public-keys").await;
    let merged = |own: Option<Vec<String>>, default: &str, more: &[String]| {
        let mut all = own.unwrap_or_else(|| vec![default.to_owned()]);
        for one in more {
            if !all
                .iter()
                .any(|known| known.trim_end_matches('/') == one.trim_end_matches('/'))
            {
                all.push(one.clone());
            }
        }
        all
    };
    (
        merged(caches, CACHE_BY_DEFAULT, &config.nix.substituters),
        merged(keys, KEY_BY_DEFAULT, &config.nix.trusted_public_keys),
    )
}

/// What Nix is set to; `None`: it does not say.
async fn nix_setting(scene: &Scene, name: &str) -> Option<Vec<String>> {
    let asked = Program::that_looks("nix")
        .args([
            "--extra-experimental-features",
            "nix-command",
            "config",
            "show",
            name,
        ])
        .dir("/")
        .deadline(Duration::from_secs(15));
    match scene.context.run(asked).await {
        Ok(ended) if ended.success() => Some(ended.stdout.split_whitespace().map(str::to_owned).collect()),
        Ok(_) | Err(_) => None,
    }
}

/// The caches that a web server has, for an install that uses them.
async fn web_caches(scene: &Scene) -> Result<(Vec<String>, Vec<String>, Vec<String>), Outcome> {
    let config = online(scene)?;
    if !matches!(config.system, SystemConfig::Flake) {
        return Err(Outcome::skipped(
            "the installer contains the system, so the install uses no cache",
        ));
    }
    let (caches, keys) = all_caches(scene, config).await;
    let (web, others): (Vec<String>, Vec<String>) =
        caches.into_iter().partition(|url| http::parts(url).is_some());
    if web.is_empty() {
        return Err(Outcome::skipped("no cache uses HTTP"));
    }
    Ok((web, others, keys))
}

fn info_url(cache: &str, scheme: Option<&str>) -> Option<String> {
    let (own, server, path) = http::parts(cache)?;
    match scheme {
        // The port of TLS is not that of plain HTTP.
        Some(scheme) if scheme != own => {
            let name = server.strip_suffix(":443").unwrap_or(server);
            let name = if server.starts_with('[') || !name.contains(':') {
                name
            } else {
                http::name_of(name)
            };
            Some(format!("{scheme}://{name}{path}/nix-cache-info"))
        }
        Some(_) | None => Some(format!("{own}://{server}{path}/nix-cache-info")),
    }
}

/// Whether this is what a cache answers for `/nix-cache-info`.
fn is_cache_info(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.lines().any(|line| line.starts_with("StoreDir:"))
}

/// Where a portal sends to, or that it answers with a page of its own.
fn portal_in(answer: &Answer, server: &str) -> Option<String> {
    if is_cache_info(answer) {
        return None;
    }
    if let Some(to) = &answer.location {
        // To the same server by TLS is what caches do.
        let elsewhere = match http::parts(to) {
            Some((_, other, _)) => http::name_of(other) != http::name_of(server),
            None => false,
        };
        return elsewhere.then(|| format!("sends to {}", quoted(to)));
    }
    let body = answer.body.trim_start().to_ascii_lowercase();
    let is_page = body.starts_with("<!doctype html") || body.starts_with("<html");
    (answer.status == 511 || (answer.status == 200 && is_page))
        .then(|| format!("answers with a web page (status {})", answer.status))
}

pub(super) async fn portal(scene: &Scene) -> Outcome {
    let (caches, _, _) = match web_caches(scene).await {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    // A portal cannot answer for TLS, so it is met by plain HTTP.
    for cache in &caches {
        let (Some(url), Some((_, server, _))) = (info_url(cache, Some("http")), http::parts(cache)) else {
            continue;
        };
        match http::get(&url).await {
            Ok(answer) => {
                return match portal_in(&answer, server) {
                    None => Outcome::fine(format!("{server} itself answers (status {})", answer.status)),
                    Some(how) => Outcome::wrong(
                        FaultClass::NeedsChange,
                        format!("captive portal: {url}"),
                        format!("a device on the way to {server} {how}"),
                        "open that address in a browser on the same network and log in there, or use another network (nmtui)",
                    ),
                };
            }
            Err(why) => tracing::debug!(url, why, "no answer over plain HTTP"),
        }
    }
    Outcome::skipped("no cache answers over plain HTTP; a captive portal would answer")
}

/// What keeps a cache from being used.
fn cache_flaw(answer: &Answer, now_s: u64) -> Option<String> {
    if !is_cache_info(answer) {
        return Some(match (&answer.location, answer.status) {
            (Some(to), status) => format!("it sends to {} (status {status})", quoted(to)),
            (None, 401 | 403) => format!(
                "it requires a password or a token (status {}): set it in netrc",
                answer.status
            ),
            (None, 200) => "its answer is not the description of a cache".to_owned(),
            (None, status) => format!("it answers with status {status}"),
        });
    }
    let store = answer
        .body
        .lines()
        .find_map(|line| line.strip_prefix("StoreDir:"));
    if let Some(store) = store.map(str::trim).filter(|store| *store != "/nix/store") {
        return Some(format!("it is for another store, {}", quoted(store)));
    }
    let date = answer.date.as_deref().and_then(http::date_s)?;
    let difference = date.abs_diff(now_s);
    (difference > CLOCK_DIFFERENCE_MAX_S).then(|| {
        format!(
            "its clock and this one differ by {}: see the check clock",
            span(difference)
        )
    })
}

pub(super) async fn caches(scene: &Scene) -> Outcome {
    let (caches, others, _) = match web_caches(scene).await {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let now_s = super::unix_s(scene.now);
    let mut flaws = Vec::new();
    for cache in &caches {
        let Some(url) = info_url(cache, None) else {
            continue;
        };
        match http::get(&url).await {
            Ok(answer) => {
                flaws.extend(cache_flaw(&answer, now_s).map(|why| format!("{}: {why}", shown(cache))))
            }
            Err(why) => flaws.push(format!("{}: {why}", shown(cache))),
        }
    }
    if flaws.is_empty() {
        let mut found = format!("{} of {} answer", caches.len(), caches.len());
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|url| shown(url)).collect();
            found += &format!(
                "; not checked, because they do not use HTTP: {}",
                others.join(", ")
            );
        }
        return Outcome::fine(found);
    }
    Outcome::wrong_list(
        FaultClass::Transient,
        "binary caches",
        format!("{} of {} cannot be used", flaws.len(), caches.len()),
        flaws,
        "run landfall doctor --check network --check names --check portal; or remove the cache from substituters, and build the image again",
    )
}

/// A cache's URL without what may be a credential in it.
fn shown(url: &str) -> String {
    landfall_states::remote::redact(url)
}

/// Paths of the installer's own system that caches may have, by their hash.
fn asked_paths(root: &Root) -> Result<Vec<String>, Fault> {
    let names = target_root::names(root, "/nix/store")?;
    let is_common = |name: &&String| {
        let name = name.get(33..).unwrap_or_default();
        ["bash-", "glibc-", "coreutils-", "systemd-", "linux-", "hello-"]
            .iter()
            .any(|start| name.starts_with(start))
            && !name.ends_with(".drv")
            && !name.ends_with(".lock")
    };
    let hashes = names.iter().filter(is_common).filter_map(|name| name.get(..32));
    Ok(hashes.take(PATHS_ASKED_MAX).map(str::to_owned).collect())
}

pub(super) async fn cache_keys(scene: &Scene) -> Outcome {
    let (caches, _, keys) = match web_caches(scene).await {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let paths = match asked_paths(&scene.root()) {
        Ok(paths) => paths,
        Err(fault) => return fault.into(),
    };
    let (mut proved, mut unproved, mut flaws) = (Vec::new(), Vec::new(), Vec::new());
    for cache in &caches {
        match first_info(cache, &paths).await {
            None => unproved.push(shown(cache)),
            Some(info) => match info.proved_by(&keys) {
                Some(key) => proved.push(format!("{} by {key}", shown(cache))),
                None => flaws.push(match info.signers().as_slice() {
                    [] => format!("{}: the cache has no signatures", shown(cache)),
                    names => format!("{}: signed by {}", shown(cache), quoted(&names.join(", "))),
                }),
            },
        }
    }
    if !flaws.is_empty() {
        return Outcome::wrong_list(
            FaultClass::NeedsChange,
            "keys of binary caches",
            "no trusted key matches their signatures, so Nix will not use them",
            flaws,
            "add the cache's public key to trustedPublicKeys, or correct it there, and build the image again",
        );
    }
    if proved.is_empty() {
        return Outcome::skipped(format!(
            "no path of this installer is in {}, so there was no signature to check",
            unproved.join(", ")
        ));
    }
    let mut found = format!("proved: {}", proved.join(", "));
    if !unproved.is_empty() {
        found += &format!("; nothing of this installer is in {}", unproved.join(", "));
    }
    Outcome::fine(found)
}

/// What a cache says of the first of these paths that it has.
async fn first_info(cache: &str, paths: &[String]) -> Option<NarInfo> {
    let (scheme, server, path) = http::parts(cache)?;
    for hash in paths {
        let answer = http::get(&format!("{scheme}://{server}{path}/{hash}.narinfo")).await;
        match answer {
            Ok(answer) if answer.status == 200 => {
                if let Some(info) = NarInfo::parse(&answer.body) {
                    return Some(info);
                }
            }
            Ok(_) => {}
            // It does not answer, and will not for the next path.
            Err(why) => {
                tracing::debug!(cache = shown(cache), why, "narinfo");
                return None;
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "network_tests.rs"]
mod tests;
