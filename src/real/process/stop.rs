//! The request to stop a run.
//!
//! It takes effect at a safe point: between phases, while waiting, or while a program runs that can be started again; never
//! between two writes that belong together.

use landfall_states::fault::{Fault, Kind, Remedy};
use tokio::sync::watch;

/// A handle on the stop request.
#[derive(Debug, Clone)]
pub struct Stop {
    wish: watch::Receiver<Option<&'static str>>,
}

impl Stop {
    /// A sender, for the signal handler, and the handle.
    pub fn new() -> (watch::Sender<Option<&'static str>>, Stop) {
        let (sender, wish) = watch::channel(None);
        (sender, Stop { wish })
    }

    /// A handle that never asks to stop.
    pub fn never() -> Stop {
        Stop::new().1
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.wish.borrow().is_some()
    }

    /// Waits until somebody asks.
    pub async fn requested(&self) {
        let mut wish = self.wish.clone();
        if wish.wait_for(Option::is_some).await.is_err() {
            // The sender is gone: nobody will ever ask.
            std::future::pending::<()>().await;
        }
    }

    /// The fault that stands for it.
    pub fn fault(&self) -> Fault {
        let by = self.wish.borrow().unwrap_or("a stop request");
        Fault::of(
            Kind::Stopped {
                by: Some(by.to_owned()),
            },
            Remedy::resume(),
        )
    }
}
