//! **Formatted**: filesystems and swap are ours. Leads on by [`CloneConfiguration`].
//!
//! Law: the clone is whole or absent. It is made beside its place and renamed into it after it is durable; a clone that
//! is not whole is replaced; a directory that is not a clone of ours is never touched.

use crate::cloned::Cloned;
use crate::fault::SourceFault;
use crate::names::{ClonePath, Revision};
use crate::plan::{InstallId, Plan, Repository};
use crate::{Phase, Step, Verdict, Voyage};

/// See the module.
#[derive(Debug)]
pub struct Formatted {
    pub(crate) voyage: Voyage,
}

impl Formatted {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.voyage.plan
    }

    /// What leads on.
    pub fn action(&self) -> CloneConfiguration {
        CloneConfiguration {
            install: self.voyage.plan.install,
            repository: self.voyage.plan.payload.repository.clone(),
            revision: self.voyage.revision.clone(),
        }
    }

    /// The next state.
    pub fn advance(self, _proof: CloneProof) -> Cloned {
        Cloned { voyage: self.voyage }
    }
}

/// Clone the pinned revision of the configuration onto the target.
#[derive(Debug, Clone)]
pub struct CloneConfiguration {
    /// Written into the clone (`landfall.install` in its Git configuration), so that it can be known as ours.
    pub install: InstallId,
    /// Where from and where to.
    pub repository: Repository,
    /// The pinned revision.
    pub revision: Revision,
}

/// What is at the clone's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloneFacts {
    /// Nothing, or an empty directory.
    Absent,
    /// A Git repository.
    Repository {
        /// The commit checked out, if readable.
        head: Option<Revision>,
        /// The `landfall.install` mark.
        mark: Option<String>,
        /// What is missing or differs (`git fsck`, `git status`); empty when whole.
        flaws: Vec<String>,
    },
    /// A repository with settings or files that neither landfall nor its Git writes. No Git was run in it: Git takes orders from
    /// them (`core.fsmonitor`, hooks, filters), and would carry them out as root.
    Unvetted {
        /// The `landfall.install` mark, as landfall itself reads it.
        mark: Option<String>,
        /// What it is.
        why: String,
    },
    /// Something else; described.
    Other(String),
}

/// Clone, beside the place, then rename into it.
#[derive(Debug, Clone)]
pub struct CloneOrder {
    /// See [`CloneConfiguration`].
    pub action: CloneConfiguration,
    /// Whether a clone of ours that is not whole, or of another revision, is replaced.
    pub replace: bool,
}

/// The pinned revision is whole on the target.
#[derive(Debug)]
pub struct CloneProof(());

impl Step for CloneConfiguration {
    const PHASE: Phase = Phase::Formatted;
    type Facts = CloneFacts;
    type Proof = CloneProof;
    type Order = CloneOrder;

    fn judge(&self, facts: &CloneFacts) -> Verdict<CloneProof, CloneOrder> {
        let path: &ClonePath = &self.repository.clone_path;
        let other = |why: String| {
            Verdict::Refuse(
                SourceFault::ForeignClone {
                    path: path.to_string(),
                    found: why,
                }
                .into(),
            )
        };
        match facts {
            CloneFacts::Absent => Verdict::Todo(CloneOrder {
                action: self.clone(),
                replace: false,
            }),
            CloneFacts::Repository { head, mark, flaws } => {
                if mark.as_deref() != Some(self.install.to_string().as_str()) {
                    return other(format!(
                        "a repository is there that is not marked as this install's (mark {})",
                        mark.as_deref().unwrap_or("missing")
                    ));
                }
                if head.as_ref() == Some(&self.revision) && flaws.is_empty() {
                    Verdict::Done(CloneProof(()))
                } else {
                    Verdict::Todo(CloneOrder {
                        action: self.clone(),
                        replace: true,
                    })
                }
            }
            // With our mark it was ours before somebody changed it: it is made anew, and kept aside.
            CloneFacts::Unvetted { mark, why: _ } if mark.as_deref() == Some(&self.install.to_string()) => {
                Verdict::Todo(CloneOrder {
                    action: self.clone(),
                    replace: true,
                })
            }
            CloneFacts::Unvetted { mark: _, why } => other(format!(
                "a repository is there that is not this install's, and no Git was run in it, for it has {why}"
            )),
            CloneFacts::Other(what) => other(format!(
                "something is there that is no clone of this install: {what}"
            )),
        }
    }

    fn describe(&self) -> String {
        format!(
            "clone revision {} to {}",
            self.revision, self.repository.clone_path
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn action() -> CloneConfiguration {
        let voyage = Voyage {
            plan: plan(false, false),
            revision: "a".repeat(40).parse().unwrap(),
            claimed: None,
            unclean: false,
        };
        Formatted { voyage }.action()
    }

    fn found(head: char, flaws: &[&str]) -> CloneFacts {
        CloneFacts::Repository {
            head: Some(head.to_string().repeat(40).parse().unwrap()),
            mark: Some(action().install.to_string()),
            flaws: flaws.iter().map(|f| f.to_string()).collect(),
        }
    }

    #[test]
    fn only_the_pinned_revision_whole_is_done() {
        assert!(matches!(action().judge(&found('a', &[])), Verdict::Done(_)));
        for facts in [found('b', &[]), found('a', &["missing blob 12"])] {
            let Verdict::Todo(order) = action().judge(&facts) else {
                panic!()
            };
            assert!(order.replace);
        }
        let Verdict::Todo(order) = action().judge(&CloneFacts::Absent) else {
            panic!()
        };
        assert!(!order.replace);
    }

    #[test]
    fn a_clone_of_ours_that_somebody_configured_is_replaced() {
        let facts = CloneFacts::Unvetted {
            mark: Some(action().install.to_string()),
            why: "core.fsmonitor".into(),
        };
        assert!(matches!(action().judge(&facts), Verdict::Todo(order) if order.replace));
    }

    #[test]
    fn what_we_did_not_make_is_left_alone() {
        let foreign = CloneFacts::Repository {
            head: None,
            mark: None,
            flaws: vec![],
        };
        let unvetted = CloneFacts::Unvetted {
            mark: Some("another".into()),
            why: "hooks".into(),
        };
        for facts in [foreign, unvetted, CloneFacts::Other("a file".into())] {
            assert!(matches!(action().judge(&facts), Verdict::Refuse(_)));
        }
    }
}
