//! The plans that this configuration can have had for a disk. An interrupted install is recognised by their ids.
//!
//! Pure, and ids only: no id depends on the payload.

use crate::config::Config;
use landfall_states::plan::{
    DiskIdentity, Machine, Payload, Plan, Reference, Repository, RepositorySource, SystemSource,
};
use landfall_states::recovery::NONCE_MAX;

/// One plan for each number of re-installs.
pub fn all(config: &Config, disk: &DiskIdentity) -> Vec<Plan> {
    // Labels that are missing were refused when the configuration was read.
    let Ok(layout) = config.layout(Machine::native()) else {
        return vec![];
    };
    let payload = Payload {
        repository: Repository {
            source: RepositorySource::Bundle {
                file: String::new(),
                origin: None,
            },
            reference: Reference::Default,
            clone_path: config.repository.clone_path.clone(),
        },
        system: SystemSource::Flake,
    };
    // A disk that is too small or nameless has no plan, and so nothing of ours.
    (0..=NONCE_MAX)
        .filter_map(|nonce| Plan::derive(&config.host, &layout, &payload, disk, nonce).ok())
        .collect()
}
