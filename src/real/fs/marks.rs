//! The small texts that landfall writes on the target to record what was finished there.
//!
//! Pure. Each text has one form, which is a format of its own (docs/design/formats.md). A text of another form counts for
//! nothing.
//!
//! The modules that write them know their places: `git::repository`, `nix::store` and `nix::install`, through
//! `fs::target_root`.

use landfall_states::names::{HostName, Revision, StorePath};

/// Where the target keeps what landfall knows of it.
pub const STATE_DIR: &str = "/nix/var/landfall";

/// Git's configuration key of our mark in a clone; its value is the install id.
pub const CLONE_KEY: &str = "landfall.install";
/// Its key of the revision that the clone was made of, which may be on no branch.
pub const REVISION_KEY: &str = "landfall.revision";
/// Its key of how often a clone beside its place was gone on with. A clone at its place has none.
pub const TRIES_KEY: &str = "landfall.tries";
/// The first line of the record of the realised system.
const SYSTEM_FIRST_LINE: &str = "landfall-system-1";

/// The record of the realised system: which system was made of which revision for which host.
pub fn system_record(revision: &Revision, host: &HostName, system: &StorePath) -> String {
    format!(
        "{SYSTEM_FIRST_LINE}\nrevision {}\nhost {}\nsystem {}\nend\n",
        revision.as_str(),
        host.as_str(),
        system.as_str()
    )
}

/// The system that a record names, when it is of this revision and host.
pub fn recorded_system(text: &str, revision: &Revision, host: &HostName) -> Option<StorePath> {
    let mut lines = text.lines();
    let is = |line: Option<&str>, key: &str, value: &str| {
        line.and_then(|l| l.strip_prefix(key)).map(str::trim) == Some(value)
    };
    if lines.next() != Some(SYSTEM_FIRST_LINE)
        || !is(lines.next(), "revision ", revision.as_str())
        || !is(lines.next(), "host ", host.as_str())
    {
        return None;
    }
    let system = lines.next()?.strip_prefix("system ")?.parse().ok();
    // The last line shows that nothing was cut off.
    if lines.next() == Some("end") { system } else { None }
}

/// Where the trace of a finished activation lies on the target.
pub const ACTIVATED: &str = "/nix/var/landfall/activated";

/// The trace of a finished activation: the system's path, on a line.
pub fn activated(system: &StorePath) -> String {
    format!("{}\n", system.as_str())
}

/// How often a clone was gone on with, as the value of [`TRIES_KEY`].
pub fn tries(times: u32) -> String {
    times.to_string()
}

/// What such a value says; a text of another form counts for nothing.
pub fn tries_of(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

/// Whether a trace says that this system was activated.
pub fn is_activated(text: &str, system: &StorePath) -> bool {
    text.trim_end() == system.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_counts_for_its_revision_and_host_only() {
        let revision: Revision = "a".repeat(40).parse().unwrap();
        let host: HostName = "web".parse().unwrap();
        let path = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
        let text = system_record(&revision, &host, &path.parse().unwrap());
        assert_eq!(recorded_system(&text, &revision, &host).unwrap().as_str(), path);
        assert_eq!(
            recorded_system(&text, &"b".repeat(40).parse().unwrap(), &host),
            None
        );
        assert_eq!(recorded_system(&text, &revision, &"db".parse().unwrap()), None);
        for cut in 0..text.len() - 1 {
            assert_eq!(
                recorded_system(&text[..cut], &revision, &host),
                None,
                "torn at {cut}"
            );
        }
    }

    #[test]
    fn a_trace_is_of_one_system() {
        let system: StorePath = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap();
        let text = activated(&system);
        assert!(is_activated(&text, &system));
        assert!(!is_activated(&text[..text.len() - 2], &system), "torn");
        assert!(!is_activated("", &system));
    }

    proptest! {
        #[test]
        fn any_record_is_read_without_panic(text in "(?s).*") {
            recorded_system(&text, &"a".repeat(40).parse().unwrap(), &"web".parse().unwrap());
            prop_assert!(text.parse::<u32>().is_ok() || tries_of(&text) == 0);
        }
    }
}
