//! Clone the configuration: from **Formatted** to **Cloned**.
//!
//! The clone is complete or absent. It is made beside its place, made durable, and renamed into its place. An incomplete
//! clone is replaced; a directory that is not a clone of ours is never touched.
//!
//! A revision that only a record asks for is an unproved request. It counts if it is what the reference names now, or an
//! ancestor of that. Until the remote was asked, it has no effect, even if the clone has been complete for long.

use crate::fault::{Fault, SourceFault};
use crate::names::{ClonePath, Revision};
use crate::phase::Phase;
use crate::plan::{InstallId, Repository};
use crate::state::{Formatted, advances};
use crate::step::{Step, Verdict};

impl Formatted {
    /// What leads on.
    pub fn action(&self) -> CloneConfiguration {
        CloneConfiguration {
            install: self.context.plan.install,
            repository: self.context.plan.payload.repository.clone(),
            revision: self.context.revision.clone(),
            is_wish: self.context.is_wish,
        }
    }
}

advances!(Formatted, CloneProof, Cloned);

/// Clone the pinned revision of the configuration onto the target.
#[derive(Debug, Clone)]
pub struct CloneConfiguration {
    /// Written into the clone (`landfall.install` in its Git configuration), so that it can be known as ours.
    pub install: InstallId,
    /// Where from and where to.
    pub repository: Repository,
    /// The pinned revision.
    pub revision: Revision,
    /// Whether nothing but a record that nobody proved asks for it. Otherwise this run resolved it, the configuration names it, or it
    /// is proved that a former run resolved it.
    pub is_wish: bool,
}

/// How a revision stands to what the reference names now, as the remote or the bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked.
    NotAsked,
    /// The reference names it, or a descendant of it.
    Named,
    /// It is not in the history of what the reference names.
    Elsewhere {
        /// What the reference names now.
        now: Revision,
        /// A reference that names it, if one does.
        named_by: Option<String>,
    },
}

/// What was looked at.
#[derive(Debug, Clone)]
pub struct CloneSight {
    /// What is at the clone's place.
    pub place: CloneFacts,
    /// How the revision stands; asked where it is a wish.
    pub standing: Standing,
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

impl CloneConfiguration {
    /// Why a wish is not granted.
    fn not_granted(&self, standing: &Standing) -> Option<Fault> {
        if !self.is_wish {
            return None;
        }
        let (now, named_by) = match standing {
            Standing::Named => return None,
            Standing::NotAsked => (None, None),
            Standing::Elsewhere { now, named_by } => (Some(now.to_string()), named_by.clone()),
        };
        Some(
            SourceFault::PinNotNamed {
                revision: self.revision.to_string(),
                reference: self.repository.reference.to_string(),
                repository: self.repository.source.to_string(),
                now,
                named_by,
            }
            .into(),
        )
    }
}

impl Step for CloneConfiguration {
    const PHASE: Phase = Phase::Formatted;
    type Facts = CloneSight;
    type Proof = CloneProof;
    type Order = CloneOrder;

    fn judge(&self, facts: &CloneSight) -> Verdict<CloneProof, CloneOrder> {
        let CloneSight { place, standing } = facts;
        if let Some(fault) = self.not_granted(standing) {
            return Verdict::Refuse(fault);
        }
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
        match place {
            CloneFacts::Absent => Verdict::Todo(CloneOrder {
                action: self.clone(),
                replace: false,
            }),
            CloneFacts::Repository { head, mark, flaws } => {
                if mark.as_deref() != Some(self.install.to_string().as_str()) {
                    return other(format!(
                        "it has a repository without the mark of this install (mark: {})",
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
            // With our mark it was ours before somebody changed it: it is made again, and kept aside.
            CloneFacts::Unvetted { mark, why: _ } if mark.as_deref() == Some(&self.install.to_string()) => {
                Verdict::Todo(CloneOrder {
                    action: self.clone(),
                    replace: true,
                })
            }
            CloneFacts::Unvetted { mark: _, why } => other(format!(
                "it has a repository that is not this install's; landfall ran no Git in it, because it has {why}"
            )),
            CloneFacts::Other(what) => other(format!(
                "it has something that is not a clone of this install: {what}"
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
    use crate::state::RunContext;

    fn action() -> CloneConfiguration {
        let context = RunContext {
            plan: plan(false, false),
            revision: "a".repeat(40).parse().unwrap(),
            claimed: None,
            unclean: false,
            is_wish: false,
            vouched: None,
        };
        Formatted { context }.action()
    }

    fn sight(place: CloneFacts) -> CloneSight {
        CloneSight {
            place,
            standing: Standing::NotAsked,
        }
    }

    fn found(head: char, flaws: &[&str]) -> CloneSight {
        sight(CloneFacts::Repository {
            head: Some(head.to_string().repeat(40).parse().unwrap()),
            mark: Some(action().install.to_string()),
            flaws: flaws.iter().map(|f| f.to_string()).collect(),
        })
    }

    /// The smallest attack on the pin: the clone is whole at a revision that a record on the disk asks for, and that no branch of the
    /// remote has. The control: without the rule for wishes it is done.
    #[test]
    fn a_wish_is_granted_only_when_the_reference_names_it() {
        let elsewhere = |named_by: Option<&str>| Standing::Elsewhere {
            now: "b".repeat(40).parse().unwrap(),
            named_by: named_by.map(str::to_owned),
        };
        let wish = CloneConfiguration {
            is_wish: true,
            ..action()
        };
        for place in [found('a', &[]).place, found('b', &[]).place, CloneFacts::Absent] {
            for standing in [
                Standing::NotAsked,
                elsewhere(None),
                elsewhere(Some("refs/heads/evil")),
            ] {
                let sight = CloneSight {
                    place: place.clone(),
                    standing: standing.clone(),
                };
                let Verdict::Refuse(fault) = wish.judge(&sight) else {
                    panic!("{sight:?}")
                };
                assert_eq!(fault.class, crate::fault::FaultClass::Unsafe);
                let said = fault.to_string();
                assert!(
                    said.contains(&"a".repeat(40)) && said.contains("the default branch"),
                    "{said}"
                );
                assert_eq!(fault.next().to_string(), "landfall resume --repin");
                if let Standing::Elsewhere { named_by, .. } = &standing {
                    assert!(said.contains(&"b".repeat(40)), "{said}");
                    assert_eq!(said.contains("refs/heads/evil"), named_by.is_some(), "{said}");
                }
                assert!(
                    !matches!(action().judge(&sight), Verdict::Refuse(_)),
                    "the control: {sight:?}"
                );
            }
        }
        let named = |place| CloneSight {
            place,
            standing: Standing::Named,
        };
        assert!(matches!(
            wish.judge(&named(found('a', &[]).place)),
            Verdict::Done(_)
        ));
        assert!(matches!(wish.judge(&named(CloneFacts::Absent)), Verdict::Todo(_)));
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
        let Verdict::Todo(order) = action().judge(&sight(CloneFacts::Absent)) else {
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
        assert!(matches!(action().judge(&sight(facts)), Verdict::Todo(order) if order.replace));
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
            assert!(matches!(action().judge(&sight(facts)), Verdict::Refuse(_)));
        }
    }
}
