//! The repository as this run reaches it: the key, the token, the wait until the remote takes the key that is made here, and the
//! revision that the configuration asks for.
//!
//! `git` runs Git, and `steps::clone` makes the clone.

use crate::real::Real;
use crate::real::git::command::{self, Access, Token};
use crate::real::git::{foreseen, repository, source};
use crate::real::secrets::made_key::{MadeKey, PAUSE_FIRST, PAUSE_MAX, Wait, of_this_boot, until_let_in};
use crate::safe_open::{self, Links};
use camino::Utf8PathBuf;
use landfall_states::fault::Fault;
use landfall_states::names::Revision;
use landfall_states::plan::{Repository, RepositorySource};
use landfall_states::remote::RemoteUrl;
use std::time::Duration;

impl Real {
    /// How Git reaches the remote, the key put into tmpfs when it came as a credential.
    ///
    /// # Errors
    /// The key or the token cannot be put into tmpfs.
    pub fn git_access(&self) -> Result<Access, Fault> {
        let key = match (self.credentials.ssh_key_file()?, &self.config.ssh.key) {
            (Some(file), _) => Some(file),
            (None, Some(file)) => Some(self.credentials.ssh_key_of(file)?),
            (None, None) => self.made_key()?.map(|made| made.file),
        };
        if let Some(file) = &self.config.ssh.known_hosts
            && let Err(refused) = safe_open::open(file, Links::Follow)
        {
            return Err(refused.of_option("ssh.known_hosts", file));
        }
        let server = self
            .config
            .repository
            .remote
            .as_ref()
            .and_then(command::token_server);
        let token = match server {
            Some(server) => {
                let file = self.credentials.repository_token_file()?;
                file.map(|file| Token { server, file })
            }
            None => None,
        };
        Ok(Access {
            key,
            token,
            known_hosts: self.config.ssh.known_hosts.clone(),
            connect_s: self.config.nix.connect_timeout_s,
            stall_s: self.config.nix.stalled_download_timeout_s,
        })
    }
}

impl Real {
    /// The remote that is asked with a key that is made here: nobody passed one in, and there is no bundle.
    fn remote_for_made_key(&self) -> Option<&RemoteUrl> {
        let (repository, ssh) = (&self.config.repository, &self.config.ssh);
        let is_wanted = ssh.generate_key && ssh.key.is_none() && !self.credentials.has_ssh_key();
        let remote = repository.remote.as_ref().filter(|remote| remote.is_over_ssh())?;
        (is_wanted && repository.bundle.is_none()).then_some(remote)
    }

    /// The key that is made here, where one is used.
    ///
    /// # Errors
    /// It cannot be made or kept.
    pub fn made_key(&self) -> Result<Option<MadeKey>, Fault> {
        self.remote_for_made_key()
            .map(|_| of_this_boot(self.credentials.run_dir(), &self.config.host))
            .transpose()
    }

    /// Waits until the remote takes the key that is made here, where one is used: before anything that talks to it.
    ///
    /// # Errors
    /// The remote does not take it in time, fails otherwise, or the run is to stop.
    pub async fn let_in(&self) -> Result<(), Fault> {
        let (Some(remote), Some(key)) = (self.remote_for_made_key(), self.made_key()?) else {
            return Ok(());
        };
        let (context, access) = (self.context(), self.git_access()?);
        let source = RepositorySource::Remote(remote.clone());
        let wait = Wait {
            key: &key,
            remote,
            // A person who is there waits as long as a question does.
            limit: (self.config.unattended.enable)
                .then(|| Duration::from_secs(self.config.ssh.generate_wait_s)),
            pauses: (PAUSE_FIRST, PAUSE_MAX),
        };
        until_let_in(&context, &wait, async || {
            source::offer(&context, &access, &source).await.map(drop)
        })
        .await
    }
}

impl Real {
    /// The revision that the configuration asks for, as the remote or the bundle has it now.
    ///
    /// # Errors
    /// The remote or the bundle cannot be asked, or has no such reference.
    pub async fn resolve_repository(&self, repository: &Repository) -> Result<Revision, Fault> {
        self.let_in().await?;
        let access = self.git_access()?;
        let scratch = Utf8PathBuf::from(crate::real::RUN_DIR);
        let revision = repository::resolve_with(&self.context(), &access, repository, &scratch).await?;
        let most = foreseen::LOOK_BYTES_MAX;
        foreseen::look(&self.context(), &access, repository, &revision, &scratch, most).await?;
        Ok(revision)
    }
}
