//! One file for each action: it looks at what the action left, and does what is left to do.
//!
//! `states` judges. A step may use every module of `real`; no other module uses a step.

mod anchor;
mod boot_loader;
mod clone;
mod encrypt;
mod format;
mod install;
mod land;
pub(crate) mod partition;
mod provision;
mod realise;
