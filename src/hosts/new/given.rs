//! Reads the existing flake.
//!
//! The flake must be a file at the top of a repository, tracked by Git, with landfall among its inputs. An error says how to get
//! there. `place` reads its hosts.

use super::{FLAKE, Work, contents};
use crate::hosts::error::HostError;
use crate::hosts::place::Outline;
use crate::hosts::syntax;
use crate::real::disk::usage::shell;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

impl Work<'_> {
    pub(super) fn flake_text(&self) -> Result<String, HostError> {
        let root = &self.repository.root;
        let no_flake = self.no_flake();
        let bytes = contents(root, Utf8Path::new(FLAKE))?.ok_or(HostError::NoFlake {
            path: root.join(FLAKE),
            reason: no_flake.0,
            next: no_flake.1,
        })?;
        let is_tracked = self
            .programs
            .tracked(root)?
            .iter()
            .any(|tracked| tracked.path == FLAKE);
        if !is_tracked {
            return Err(HostError::NoFlake {
                path: root.join(FLAKE),
                reason: "Git does not track it, and a flake sees only files that Git tracks".to_owned(),
                next: format!(
                    "git -C {} add flake.nix, with the files that it names, and git commit",
                    shell(root.as_str())
                ),
            });
        }
        String::from_utf8(bytes).map_err(|_| HostError::Parse {
            path: root.join(FLAKE),
            reason: "it is not text in UTF-8".to_owned(),
        })
    }

    /// There is none at the top; the folder that was named may have one.
    fn no_flake(&self) -> (String, String) {
        let root = &self.repository.root;
        let start = fs::canonicalize(&self.request.start)
            .ok()
            .and_then(|start| Utf8PathBuf::from_path_buf(start).ok());
        match start.filter(|start| start != root && start.join(FLAKE).is_file()) {
            Some(start) => (
                format!(
                    "it does not exist, but {} does: an installer uses the flake at the top of its repository",
                    start.join(FLAKE)
                ),
                "move it to the top (git mv), or make that directory a repository".to_owned(),
            ),
            None => (
                "it is not there".to_owned(),
                "make one: nix flake init --template git+https://…/landfall (where landfall comes from; docs/install/getting-started.md)"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn outline(&self, text: &str) -> Result<Outline, HostError> {
        let path = self.repository.root.join(FLAKE);
        syntax::parse(text).map_err(|reason| HostError::Parse {
            path: path.clone(),
            reason,
        })?;
        let outline = Outline::of(text).map_err(|reason| self.declined(None, reason))?;
        if !outline.inputs.iter().any(|input| input == "landfall") {
            return Err(HostError::NoFlake {
                path,
                reason: "it has no input `landfall`, which makes the installer".to_owned(),
                next: "add inputs.landfall.url = \"git+https://…/landfall\"; (where landfall comes from) and inputs.landfall.inputs.nixpkgs.follows = \"nixpkgs\"; to it, then: nix flake lock".to_owned(),
            });
        }
        Ok(outline)
    }
}
