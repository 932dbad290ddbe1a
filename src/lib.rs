//! landfall: a NixOS installer that never has to start over.

// Tests beside the code may have helpers of any kind.
#![cfg_attr(not(test), warn(unreachable_pub))]

pub mod checkpoint_store;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod event;
pub mod exit;
pub mod flash;
pub mod formats;
pub mod hosts;
pub mod image;
pub mod lock;
pub mod os_error;
pub mod qr;
pub mod real;
pub mod relabel;
pub mod safe_open;
pub mod sim;
pub mod world;
