//! Promise: from every half-made state that a real tool can leave, the next run continues.
//!
//! Each step of landfall that calls a tool is run below a tracer, with the real tool, and dies at every call that changes
//! something; or it loses power there, and the disk holds what a disk may hold. On what is left the same step is begun again,
//! as the next run does: it looks, judges, acts, and must end in done. Real programs that know nothing of landfall must find
//! the result right (`oracles`).
//!
//! `cargo test` runs a part; `cargo lab halfway` all of it. `cargo test --test halfway -- TOOL --point 117:kill` runs one
//! point.
//!
//! What needs device-mapper, a FAT driver or firmware (`--machine`) is done in the laboratory's machine only. A machine that
//! is faster than its disk is not shown: see docs/develop/laboratory.md.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

/// A line for whoever listens: the laboratory may have ended, and what was made is to be removed all the same.
#[cfg(target_arch = "x86_64")]
macro_rules! println {
    ($($words:tt)*) => {
        crate::ending::say(&mut std::io::stdout(), format_args!($($words)*))
    };
}
/// The same on the other stream.
#[cfg(target_arch = "x86_64")]
macro_rules! eprintln {
    ($($words:tt)*) => {
        crate::ending::say(&mut std::io::stderr(), format_args!($($words)*))
    };
}

#[cfg(target_arch = "x86_64")]
mod calls;
#[cfg(target_arch = "x86_64")]
mod choice;
#[cfg(target_arch = "x86_64")]
mod command;
#[cfg(target_arch = "x86_64")]
mod disk_power;
#[cfg(target_arch = "x86_64")]
mod ending;
#[cfg(target_arch = "x86_64")]
mod fuse;
#[cfg(target_arch = "x86_64")]
mod ground;
#[cfg(target_arch = "x86_64")]
mod image;
#[cfg(target_arch = "x86_64")]
mod machine;
#[cfg(target_arch = "x86_64")]
mod oracles;
#[cfg(target_arch = "x86_64")]
mod oracles_attached;
#[cfg(target_arch = "x86_64")]
mod points;
#[cfg(target_arch = "x86_64")]
mod power;
#[cfg(target_arch = "x86_64")]
mod steps;
#[cfg(target_arch = "x86_64")]
mod tools;
#[cfg(target_arch = "x86_64")]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod tree;

#[cfg(target_arch = "x86_64")]
fn main() -> std::process::ExitCode {
    command::main(&std::env::args().skip(1).collect::<Vec<_>>())
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("skipped: the tracer knows the registers of x86-64 only");
}
