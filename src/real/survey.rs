//! Looking at every disk: what the driver takes for evidence, and which disk is chosen. It writes nothing.

use crate::real::Real;
use crate::real::disk::scan;
use crate::real::disk::{choose, evidence, is_evidence, labels};
use crate::world::Survey;
use landfall_states::fault::Fault;

/// Looks at every disk. Writes nothing.
///
/// # Errors
/// The disks cannot be looked at, or a recovery rule stops the run.
#[expect(
    clippy::indexing_slicing,
    reason = "`choose` gives the place of one of these disks"
)]
pub async fn survey(real: &mut Real) -> Result<Survey, Fault> {
    let gathered = scan::gather(Some(&real.config), &real.reporter, &real.stop).await?;
    let choice = choose(&gathered, real.install_disk.as_deref(), Some(&real.config))
        .map(|choice| gathered.disks[choice.index].block.identity.clone())
        .and_then(|disk| real.credentials.refuse_as_target(&disk).map(|()| disk));
    let disks = gathered
        .disks
        .iter()
        .filter(|d| is_evidence(d))
        .filter_map(evidence)
        .collect();
    real.labels = labels::seen(&gathered);
    let named = real.install_disk.is_some() || real.config.unattended.disk.is_some();
    Ok(Survey { disks, choice, named })
}
