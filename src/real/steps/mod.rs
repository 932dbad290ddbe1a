//! One file for each action: looking at what it left, judging by `states`, and doing what is left to do. A step may use every room of `real`; no room uses a step.

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
