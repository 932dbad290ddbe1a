//! `landfall doctor`: prints the problems of this machine and the command that fixes each.
//!
//! Every result is printed as soon as it is known. The exit code is that of the worst problem. A check that could not run is listed
//! as skipped, never as fine.
//!
//! The checks themselves are in `doctor`. Nothing is written.

use super::next_step::Told;
use super::{CONFIG_FILES, DoctorArgs, Failure, failure, report, words};
use crate::config::{Config, Overrides};
use crate::doctor::{self, CHECKS, Check, Finding, LastRun, Outcome, Place, Scene};
use crate::event::Reporter;
use crate::exit::Exit;
use crate::real::disk::usage::shell;
use crate::real::process::context::CommandContext;
use crate::real::process::stop::Stop;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// A name of a check, for the command line.
pub(super) fn check_name(text: &str) -> Result<&'static Check, String> {
    doctor::by_name(text).ok_or_else(|| {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        format!("there is no such check; the checks are {}", names.join(", "))
    })
}

/// A name of a place, for the command line.
pub(super) fn place_name(text: &str) -> Result<Place, String> {
    Place::ALL
        .into_iter()
        .find(|place| place.name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = Place::ALL.iter().map(|place| place.name()).collect();
            format!("one of {}", names.join(", "))
        })
}

pub(super) fn command(args: &DoctorArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let ended = looked(args, run_dir, out);
    failure::told(args.json, ended, out)
}

fn looked(args: &DoctorArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    if args.list {
        return list(args.json, out);
    }
    let flake = flake(args.flake.as_deref())?;
    let (place, why) = place(args, flake.as_deref())?;
    let scene = Arc::new(scene(args, place, flake, run_dir)?);
    let chosen: Vec<&'static Check> = CHECKS
        .iter()
        .filter(|check| check.place == place)
        .filter(|check| args.check.is_empty() || args.check.iter().any(|named| named.name == check.name))
        .collect();
    let mut printer = Printer::new(args.json, out);
    printer.place(place, &why)?;
    for check in chosen {
        let outcome = as_typed(check.run(&scene), &scene, run_dir);
        printer.result(check, &outcome)?;
    }
    printer.end()
}

/// A result whose next step is typed as it must be here: with the configuration and the run directory that were named, and with
/// `install` where no run of this boot has begun what `resume` would continue. `install` continues as well.
fn as_typed(outcome: Outcome, scene: &Scene, run_dir: &Utf8Path) -> Outcome {
    let Outcome::Finding(mut finding) = outcome else {
        return outcome;
    };
    let began = matches!(
        scene.last_run,
        Some(LastRun::Running | LastRun::Landed | LastRun::Stopped(_) | LastRun::Gone)
    );
    if !began {
        finding.next = finding.next.replace("landfall resume", "landfall install");
    }
    let config = scene.config.as_ref().map(|(file, _)| file.as_path());
    finding.next = Told::of(config, run_dir).in_words(&finding.next);
    Outcome::Finding(finding)
}

/// The flake that is meant: the one that was named, or the one that lies here.
fn flake(named: Option<&Utf8Path>) -> Result<Option<Utf8PathBuf>, Failure> {
    let dir = named.unwrap_or(Utf8Path::new("."));
    let unread = |error: std::io::Error| {
        let fault = crate::os_error::fault(format!("--flake {dir}"), &error);
        Failure::new(
            Exit::Usage,
            format!(
                "{}: {}\n    next: name the directory that has the flake",
                fault.what(),
                fault.why()
            ),
        )
    };
    if !dir.join("flake.nix").try_exists().map_err(unread)? {
        return match named {
            None => Ok(None),
            Some(dir) => Err(Failure::new(
                Exit::Usage,
                format!(
                    "--flake {dir}: there is no flake.nix in it\n    next: name the directory that has it"
                ),
            )),
        };
    }
    Ok(Some(dir.canonicalize_utf8().map_err(unread)?))
}

/// Where this is, and by what that was seen.
fn place(args: &DoctorArgs, flake: Option<&Utf8Path>) -> Result<(Place, String), Failure> {
    let named = args
        .check
        .first()
        .map(|check| (check.place, format!("--check {}", check.name)));
    if let Some((place, _)) = &named
        && let Some(other) = args.check.iter().find(|check| check.place != *place)
    {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--check {}: this check is for {}, and the one before it is for {place}\n    next: run them one after the other",
                other.name, other.place
            ),
        ));
    }
    let said = args.place.map(|place| (place, format!("--at {}", place.name())));
    if let (Some((said, _)), Some((named, by))) = (&said, &named)
        && said != named
    {
        return Err(Failure::new(
            Exit::Usage,
            format!("{by}: it is for {named}, and --at names {said}\n    next: leave one of them out"),
        ));
    }
    let by_options = if args.flake.is_some() || args.host.is_some() {
        Some((Place::Operator, "--flake or --host is given".to_owned()))
    } else {
        args.config
            .config
            .as_ref()
            .map(|file| (Place::Installer, format!("--config {file} is given")))
    };
    if let Some(found) = said.or(named).or(by_options) {
        return Ok(found);
    }
    doctor::place_of(Utf8Path::new("/"), flake)?.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "this machine is not an installer and not a NixOS host, and this directory has no flake\n    next: landfall doctor --flake DIR --host NAME",
        )
    })
}

fn scene(
    args: &DoctorArgs,
    place: Place,
    flake: Option<Utf8PathBuf>,
    run_dir: &Utf8Path,
) -> Result<Scene, Failure> {
    let context = CommandContext::new(Reporter::default(), Stop::never());
    let mut scene = Scene::new("/", context, SystemTime::now());
    if place == Place::Installer {
        scene.overrides = Overrides::from_environment()?;
        let file = match &args.config.config {
            Some(file) => Some(file.clone()),
            None => super::first_of(&CONFIG_FILES.map(Utf8PathBuf::from))?,
        };
        scene.config = file.map(|file| {
            let read = Config::read_with(&file, &scene.overrides).map_err(|error| error.to_string());
            (file, read)
        });
        scene.last_run = report::last_run(run_dir)?;
        scene.addresses = addresses()?;
    }
    scene.flake = flake;
    scene.host.clone_from(&args.host);
    scene.identities.clone_from(&args.identity);
    scene.ssh_key.clone_from(&args.ssh_key);
    scene.image.clone_from(&args.image);
    scene.command = same(args);
    Ok(scene)
}

/// The same command, as a shell reads it.
fn same(args: &DoctorArgs) -> String {
    let DoctorArgs {
        config,
        flake,
        host,
        identity,
        ssh_key,
        image,
        check,
        place,
        list: _,
        json,
    } = args;
    let mut words = vec!["landfall doctor".to_owned()];
    let mut option = |name: &str, value: &str| words.push(format!("{name} {}", shell(value)));
    let files = [
        ("--config", config.config.as_ref()),
        ("--flake", flake.as_ref()),
        ("--ssh-key", ssh_key.as_ref()),
        ("--image", image.as_ref()),
    ];
    for (name, file) in files
        .into_iter()
        .chain(identity.iter().map(|file| ("--identity", Some(file))))
    {
        if let Some(file) = file {
            option(name, file.as_str());
        }
    }
    if let Some(host) = host {
        option("--host", host.as_str());
    }
    for check in check {
        option("--check", check.name);
    }
    if let Some(place) = place {
        option("--at", place.name());
    }
    if *json {
        words.push("--json".to_owned());
    }
    words.join(" ")
}

/// The addresses of this machine's interfaces.
fn addresses() -> Result<Vec<(String, IpAddr)>, Failure> {
    let all = nix::ifaddrs::getifaddrs().map_err(std::io::Error::from)?;
    Ok(all
        .filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
            Some((one.interface_name, v4.or(v6)?))
        })
        .collect())
}

fn list(as_json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    for check in &CHECKS {
        if as_json {
            let line =
                json!({ "check": check.name, "place": check.place.name(), "looks_at": check.looks_at });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{:<12} {:<10} {}",
                check.name,
                check.place.name(),
                check.looks_at
            )?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints results, and counts them.
struct Printer<'o> {
    as_json: bool,
    out: &'o mut dyn Write,
    fine: usize,
    wrong: usize,
    skipped: usize,
    worst: Exit,
}

impl<'o> Printer<'o> {
    fn new(as_json: bool, out: &'o mut dyn Write) -> Self {
        Printer {
            as_json,
            out,
            fine: 0,
            wrong: 0,
            skipped: 0,
            worst: Exit::Ok,
        }
    }

    fn place(&mut self, place: Place, why: &str) -> std::io::Result<()> {
        if self.as_json {
            writeln!(self.out, "{}", json!({ "place": place.name(), "because": why }))
        } else {
            writeln!(self.out, "checking {place} ({})", words::one_line(why))?;
            self.out.flush()
        }
    }

    fn result(&mut self, check: &Check, outcome: &Outcome) -> std::io::Result<()> {
        match outcome {
            Outcome::Fine(_) => self.fine += 1,
            Outcome::Skipped(_) => self.skipped += 1,
            Outcome::Finding(finding) => {
                self.wrong += 1;
                self.worst = self.worst.max(finding.class.into());
            }
        }
        if self.as_json {
            writeln!(self.out, "{}", as_json(check, outcome))?;
        } else {
            self.text(check, outcome)?;
        }
        self.out.flush()
    }

    fn text(&mut self, check: &Check, outcome: &Outcome) -> std::io::Result<()> {
        let name = check.name;
        match outcome {
            Outcome::Fine(found) => writeln!(self.out, "fine     {name:<12} {}", words::one_line(found)),
            Outcome::Skipped(why) => writeln!(self.out, "skipped  {name:<12} {}", words::one_line(why)),
            Outcome::Finding(Finding {
                what,
                why,
                list,
                next,
                class,
            }) => {
                let colon = if list.is_empty() { "" } else { ":" };
                writeln!(
                    self.out,
                    "WRONG    {name:<12} {}: {} ({class}){colon}",
                    words::one_line(what),
                    words::one_line(why)
                )?;
                for line in list {
                    writeln!(self.out, "           {}", words::one_line(line))?;
                }
                writeln!(self.out, "    next: {}", words::one_line(next))
            }
        }
    }

    fn end(self) -> Result<Exit, Failure> {
        let Printer {
            as_json,
            out,
            fine,
            wrong,
            skipped,
            worst,
        } = self;
        if as_json {
            let counts = json!({ "fine": fine, "wrong": wrong, "skipped": skipped, "exit": worst.code() });
            writeln!(out, "{}", json!({ "end": counts }))?;
        } else {
            writeln!(out, "{fine} fine, {wrong} wrong, {skipped} skipped")?;
        }
        Ok(worst)
    }
}

fn as_json(check: &Check, outcome: &Outcome) -> serde_json::Value {
    let name = check.name;
    match outcome {
        Outcome::Fine(found) => json!({ "check": name, "result": "fine", "found": found }),
        Outcome::Skipped(why) => json!({ "check": name, "result": "skipped", "why": why }),
        Outcome::Finding(Finding {
            what,
            why,
            list,
            next,
            class,
        }) => json!({
            "check": name, "result": "finding", "what": what, "why": why, "list": list, "next": next,
            "class": class, "exit": Exit::from(*class).code(),
        }),
    }
}
