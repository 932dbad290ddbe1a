//! `landfall check`: checks a configuration file.
//!
//! It reads one file and nothing else, also not the environment, so the same file gives the same answer at build time and on the
//! installer.
//!
//! What depends on the disk is shown by `landfall plan`.

use super::{CheckArgs, Failure, print_error};
use crate::config::Config;
use crate::exit::Exit;
use landfall_states::plan::Machine;
use std::io::Write;

pub(super) fn command(args: &CheckArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let CheckArgs { file, print } = args;
    let config = Config::read(file)?;
    // Both halves are made here too, so that a file that passes cannot fail on them later.
    config.layout(Machine::native())?;
    config.payload()?;
    for warning in config.warnings() {
        print_error(&format!("warning: {warning}"));
    }
    if *print {
        let text = config.to_ron().map_err(|e| {
            Failure::new(
                Exit::Internal,
                format!("{file}: it cannot be written as RON: {e}"),
            )
        })?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{file}: the configuration of host {} is valid", config.host)?;
    }
    Ok(Exit::Ok)
}
