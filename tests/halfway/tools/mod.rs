//! What is killed: steps of landfall with the real tools in them.
//!
//! A step is landfall's own code, with the real programs, on a file that stands for a device or on a folder that stands for
//! the target.
//!
//! `points` kills it, and `sim::model::leftovers` has what the simulation knows of the states that are left.

pub mod attached;
pub mod clone;
pub mod installed;
pub mod store;
pub mod volumes;
mod whole;

pub use whole::ESP_END;

use crate::choice::Watch;
use camino::Utf8Path;
use landfall::event::Reporter;
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;

/// What a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One file: a partition.
    Image,
    /// A folder: the root filesystem of the target.
    Tree,
    /// A whole disk, what of it is attached, and the firmware: in the laboratory's machine.
    Machine,
}

/// The file, in a step's place, with the system that is installed in the machine.
pub const SYSTEM: &str = "installed-system";

/// A way to damage what a step left, by its name.
pub type Damage = (&'static str, fn(&Utf8Path) -> Result<(), String>);

/// A step with a tool in it.
pub trait Tool {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// Programs that it starts, without which it cannot be tried.
    fn programs(&self) -> &'static [&'static str];
    /// What it changes.
    fn subject(&self) -> Subject;
    /// Makes what it needs in `place`, and the subject as it is before the step, at `subject`.
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String>;
    /// The step, in a first run or in a later one.
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String>;
    /// A short name for what is there. May change the subject.
    fn state(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<String, String>;
    /// What real programs and the bytes say of what a later run left, when it says that it is done (`oracles`).
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String>;
    /// What its calls change.
    fn watch(&self, subject: &Utf8Path) -> Watch {
        Watch::folder(subject.as_str())
    }
    /// Damage to what is done, from which a later run must go on too: it has no other way to know than to ask the tool.
    fn damages(&self) -> &'static [Damage] {
        &[]
    }
    /// Whether power cuts of the whole disk are tried too.
    fn loses_power(&self) -> bool {
        false
    }
}

/// Every tool, in the order of an install.
pub fn all() -> Vec<Box<dyn Tool>> {
    vec![
        Box::new(volumes::Esp),
        Box::new(volumes::Luks),
        Box::new(volumes::Root),
        Box::new(volumes::Swap),
        Box::new(clone::Clone),
        Box::new(store::Store::Copy),
        Box::new(store::Store::Load),
        Box::new(store::Store::Repair),
        Box::new(store::Store::Forget),
    ]
}

/// Every tool that needs the laboratory's machine, likewise.
pub fn machine() -> Vec<Box<dyn Tool>> {
    vec![
        Box::new(attached::Attached::Activate),
        Box::new(attached::Attached::Mount),
        Box::new(installed::Install),
        Box::new(installed::Firmware),
    ]
}

/// What must fail.
pub fn controls() -> Vec<Box<dyn Tool>> {
    vec![Box::new(volumes::Hasty), Box::new(installed::Untidy)]
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?
        .block_on(future))
}

/// What runs programs for a step.
pub fn context(env: &[(&str, String)]) -> CommandContext {
    let mut context = CommandContext::new(Reporter::default(), Stop::never());
    context
        .env
        .extend(env.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    context
}
