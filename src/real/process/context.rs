//! What every step needs to run programs and report on them.
//!
//! A step's inner functions take this and a root directory, so that they run on any directory. It has no plan, no disk and no
//! secrets.

use crate::event::{Event, Reporter};
use crate::real::process::command::{Ended, Program};
use crate::real::process::stop::Stop;
use crate::real::secret::Secret;
use landfall_states::fault::Fault;

/// Variables of our own environment that the network tools need where a distribution or a person has set them.
const PASSED_THROUGH: [&str; 12] = [
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "NIX_CONF_DIR",
];

/// Runs programs and tells events.
#[derive(Debug, Clone)]
pub struct CommandContext {
    /// Where events go.
    pub reporter: Reporter,
    /// The wish to stop.
    pub stop: Stop,
    /// Given to every program that is run through [`CommandContext::run`].
    pub env: Vec<(String, String)>,
}

impl CommandContext {
    /// CommandContext that tell here and stop so.
    pub fn new(reporter: Reporter, stop: Stop) -> Self {
        let mut env: Vec<(String, String)> = PASSED_THROUGH
            .iter()
            .filter_map(|key| std::env::var(key).ok().map(|value| ((*key).to_owned(), value)))
            .collect();
        // A system service has none; Git and Nix want one.
        if std::env::var_os("HOME").is_none() {
            env.push(("HOME".into(), "/root".into()));
        }
        CommandContext { reporter, stop, env }
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn run(&self, program: Program<'_>) -> Result<Ended, Fault> {
        self.with_env(program).run(&self.reporter, &self.stop).await
    }

    /// As [`CommandContext::run`], where what it prints is a secret.
    ///
    /// # Errors
    /// As [`Program::run_for_secret`].
    pub async fn run_for_secret(&self, program: Program<'_>) -> Result<(Ended, Secret), Fault> {
        self.with_env(program)
            .run_for_secret(&self.reporter, &self.stop)
            .await
    }

    fn with_env<'p>(&self, mut program: Program<'p>) -> Program<'p> {
        for (key, value) in &self.env {
            program = program.env(key, value);
        }
        program
    }

    /// Tells of real counts.
    pub fn progress(&self, what: &str, done: u64, total: Option<u64>, unit: &str) {
        self.reporter.tell(Event::Progress {
            what: what.to_owned(),
            done,
            total,
            unit: unit.to_owned(),
        });
    }
}
