//! The root filesystem from an image, in LUKS: interrupted while it is written, and while it is read back; then it lands and
//! boots.
//!
//! The image is made again in the machine after each interruption, and is the same each time: otherwise the install could not
//! continue.
//!
//! `cargo lab bench closure` has the times.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::install::{CONFIG, Install, PATH, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

const IMAGE: &str = "/run/lab/root.image";
const BUILD_LIMIT: Duration = Duration::from_secs(600);

pub fn root_image(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "root-image", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    let mut digests = Vec::new();
    for (pattern, wait_ms) in [
        ("Format volumes.*: make ext4 .* from the image", 300),
        ("read back .* chunks", 100),
    ] {
        let machine = install.start()?;
        digests.push(carry(&install, &machine)?);
        let job = install.begin(&machine, "install")?;
        wait_for(&machine, pattern)?;
        std::thread::sleep(Duration::from_millis(wait_ms));
        machine.cut_power()?;
        drop(job);
        say(&format!("cut at {pattern:?}"));
    }
    let before = install.identity()?;
    let machine = install.start()?;
    digests.push(carry(&install, &machine)?);
    let ran = install.land(&machine, "resume")?;
    machine.cut_power()?;
    ensure!(
        digests.iter().all(|digest| *digest == digests[0]),
        "the same closure gave other images: {digests:?}"
    );
    ensure!(
        ran.output.contains("register the closure of") && !ran.output.contains("copy the closure of"),
        "the closure did not come with the image:\n{}",
        ran.output
    );
    ensure!(
        before.0 == install.identity()?.0,
        "the table changed behind the first cut"
    );
    say("landed from the image, the closure was registered and not copied");
    install.boot().map(|_| ())
}

/// Makes the image in the machine, and names it in the configuration; gives its digest.
fn carry(install: &Install, machine: &Machine) -> Result<String> {
    let system = &install.kit.system(install.layout)?.toplevel;
    let text = build(machine, system, IMAGE)?;
    let digest = digest_in(&text).to_owned();
    name_image(install, machine, system, IMAGE, Some(&digest))?;
    Ok(digest)
}

/// The digest in what [`build`] gives.
pub fn digest_in(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default()
}

/// What the configuration says of an image.
pub fn named(system: &str, file: &str, digest: Option<&str>) -> String {
    let digest = digest.map_or(String::new(), |digest| format!(", digest: \"{digest}\""));
    format!("Image(system: \"{system}\", file: \"{file}\"{digest})")
}

/// Makes an image in the machine; gives what was printed last.
pub fn build(machine: &Machine, system: &str, file: &str) -> Result<String> {
    let build = format!(
        "export PATH={PATH}; landfall image build --level 1 --system {system} --out {file} | tail -1"
    );
    let text = machine.check(&build, BUILD_LIMIT)?.trim().to_owned();
    ensure!(text.contains("digest "), "landfall image build printed {text:?}");
    Ok(text)
}

/// A configuration with an image instead of a closure; with a digest as `mkInstaller` writes it.
pub fn name_image(
    install: &Install,
    machine: &Machine,
    system: &str,
    file: &str,
    digest: Option<&str>,
) -> Result<()> {
    let carried = &install.kit.system(install.layout)?.toplevel;
    let configuration = install
        .kit
        .configuration(install.layout, &install.mode, &install.more)?
        .replace(&format!("Prebuilt(\"{carried}\")"), &named(system, file, digest));
    ensure!(configuration.contains(file), "the configuration names no image");
    machine.put(CONFIG, configuration.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_with_the_digest_that_was_printed() {
        let printed = "/run/lab/root.image: 1 bytes, 2 plain in 3 chunks, digest 5c39";
        assert_eq!(
            named("/nix/store/x", "/r", Some(digest_in(printed))),
            r#"Image(system: "/nix/store/x", file: "/r", digest: "5c39")"#
        );
        assert_eq!(
            named("/nix/store/x", "/r", None),
            r#"Image(system: "/nix/store/x", file: "/r")"#
        );
    }
}
