//! The actions, one file each: facts, order, judging, proof, and which state leads to which.
//!
//! ```text
//!  Planned ─partition_disk→ Partitioned ─anchor_checkpoint→ Anchored ─encrypt_volumes→ Encrypted ─format_volumes→
//!  Formatted ─clone_configuration→ Cloned ─realise_system→ Realised ─install_system→ Installed ─install_boot_loader→
//!  Bootable ─provision_secrets→ Provisioned ─land→ Landed
//! ```

pub mod anchor_checkpoint;
pub mod clone_configuration;
pub mod encrypt_volumes;
pub mod format_volumes;
pub mod install_boot_loader;
pub mod install_system;
pub mod land;
pub mod partition_disk;
pub mod provision_secrets;
pub mod realise_system;
