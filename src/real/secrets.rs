//! Secrets: where they come from, and that they go nowhere else.

use secrecy::SecretString;

/// Secrets at hand. (Stand-in until the system branch is merged.)
#[derive(Debug, Default)]
pub struct Vault {
    passphrase: Option<SecretString>,
}

impl Vault {
    /// The passphrase of the container.
    pub fn passphrase(&self) -> Option<&SecretString> {
        self.passphrase.as_ref()
    }
}
