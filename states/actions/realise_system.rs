//! Realise the system: from **Cloned** to **Realised**.
//!
//! After an unclean stop the store's contents are verified before they are trusted. The store's database is not enough,
//! because a power cut can leave paths that are registered as valid and whose files are empty. A database that Nix cannot
//! read is a fact, and the next order puts it aside: it is scratch, made again by copying or building.
//!
//! What the target says about the system of a revision is an unproved request as well. It counts if the configuration names
//! that system, if this run's own evaluation does, or if a proved record does. Otherwise the revision is evaluated again.

use crate::fault::{Fault, Kind, Remedy};
use crate::names::{HostName, Revision, StorePath};
use crate::phase::Phase;
use crate::plan::{Repository, SystemSource};
use crate::state::{Cloned, Realised};
use crate::step::{Step, Verdict};

impl Cloned {
    /// What leads on.
    pub fn action(&self) -> RealiseSystem {
        RealiseSystem {
            host: self.context.plan.host.clone(),
            source: self.context.plan.payload.system.clone(),
            repository: self.context.plan.payload.repository.clone(),
            revision: self.context.revision.clone(),
            verify: self.context.unclean,
            vouched: self.context.vouched.clone(),
        }
    }

    /// The next state.
    pub fn advance(self, proof: SystemProof) -> Realised {
        Realised {
            context: self.context,
            system: proof.system,
        }
    }
}

/// Bring the system's closure onto the target store: copy it, or build it from the clone.
#[derive(Debug, Clone)]
pub struct RealiseSystem {
    /// The host, which is the name of the flake's configuration.
    pub host: HostName,
    /// Carried along, or to be built.
    pub source: SystemSource,
    /// The clone to build from.
    pub repository: Repository,
    /// Its revision.
    pub revision: Revision,
    /// Whether contents are verified even when the database says that they are valid.
    pub verify: bool,
    /// The system that a proved record says the revision comes to.
    pub vouched: Option<StorePath>,
}

/// What is known of the contents of a closure on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Not looked at in this run.
    NotVerified,
    /// Every file hashed and equal to what the store's database says.
    Verified,
    /// These paths differ.
    Corrupt(Vec<String>),
    /// Every file is as it ought to be, and these have an owner or permissions that nothing in a store may have.
    Permissions(Vec<String>),
}

/// The database of the target store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// There is none yet.
    Absent,
    /// Nix reads every entry of it.
    Usable,
    /// It is there and Nix cannot read it: cut off while it was made, damaged, or of another kind. The reason, for people.
    Unusable(String),
}

/// What is on the target store.
#[derive(Debug, Clone)]
pub struct SystemFacts {
    /// The system path: given by the plan, or recorded on the target by the build of this revision.
    pub system: Option<StorePath>,
    /// Whether the record names this system. It is written last, when everything else was synced: the commit mark of the
    /// store and its database.
    pub recorded: bool,
    /// The store's database.
    pub database: Database,
    /// Whether the target store's database has the whole closure.
    pub registered: bool,
    /// The system that an evaluation of this revision in this run came to.
    pub evaluated: Option<StorePath>,
    /// What was verified. A world verifies when the action says so, and after every copy it makes itself cannot vouch for.
    pub contents: Contents,
}

/// Copy or build.
#[derive(Debug, Clone)]
pub struct RealiseOrder {
    /// See [`RealiseSystem`].
    pub action: RealiseSystem,
    /// Paths whose contents are wrong and are to be replaced first.
    pub corrupt: Vec<String>,
    /// The database is to be put aside first.
    pub put_aside: Option<PutAside>,
    /// Everything is there. Which system it has to be is evaluated again, and nothing else is to do.
    pub only_evaluate: bool,
}

/// A database that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAside {
    /// What is wrong with it.
    pub why: String,
    /// Whether it had been finished once, as the record says. Then it is kept beside its place, and a person is told.
    /// Otherwise it was cut off while it was made, and nothing of worth is in it.
    pub finished: bool,
}

/// The closure is valid on the target.
#[derive(Debug)]
pub struct SystemProof {
    system: StorePath,
}

impl RealiseSystem {
    /// Whether something else than the target says that this is the system.
    fn is_named(&self, system: &StorePath, facts: &SystemFacts) -> bool {
        [
            self.source.known(),
            self.vouched.as_ref(),
            facts.evaluated.as_ref(),
        ]
        .into_iter()
        .flatten()
        .any(|named| named == system)
    }
}

impl Step for RealiseSystem {
    const PHASE: Phase = Phase::Cloned;
    type Facts = SystemFacts;
    type Proof = SystemProof;
    type Order = RealiseOrder;

    fn judge(&self, facts: &SystemFacts) -> Verdict<SystemProof, RealiseOrder> {
        let put_aside = match &facts.database {
            Database::Absent | Database::Usable => None,
            Database::Unusable(why) => Some(PutAside {
                why: why.clone(),
                finished: facts.recorded,
            }),
        };
        let unusable = put_aside.is_some();
        let todo = |corrupt: Vec<String>| {
            Verdict::Todo(RealiseOrder {
                action: self.clone(),
                corrupt,
                put_aside: put_aside.clone(),
                only_evaluate: false,
            })
        };
        let Some(system) = &facts.system else {
            return todo(vec![]);
        };
        if let Some(planned) = self.source.known()
            && planned != system
        {
            return Verdict::Refuse(Fault::of(
                Kind::OtherPlan {
                    on: format!("system {system}"),
                    detail: format!("the plan says {planned}"),
                },
                Remedy::report(),
            ));
        }
        match &facts.contents {
            Contents::NotVerified | Contents::Verified | Contents::Corrupt(_) | Contents::Permissions(_)
                if unusable =>
            {
                todo(vec![])
            }
            Contents::Permissions(_) => todo(vec![]),
            Contents::Corrupt(paths) => todo(paths.clone()),
            Contents::NotVerified if self.verify => todo(vec![]),
            Contents::NotVerified | Contents::Verified
                if facts.registered && self.is_named(system, facts) =>
            {
                Verdict::Done(SystemProof {
                    system: system.clone(),
                })
            }
            Contents::NotVerified | Contents::Verified if facts.registered => Verdict::Todo(RealiseOrder {
                action: self.clone(),
                corrupt: vec![],
                put_aside: None,
                only_evaluate: true,
            }),
            Contents::NotVerified | Contents::Verified => todo(vec![]),
        }
    }

    fn remaining(&self, order: &RealiseOrder) -> String {
        let what = self.describe();
        if order.only_evaluate {
            return format!(
                "evaluate again which system revision {} builds, because only the target states it",
                self.revision
            );
        }
        match order.corrupt.as_slice() {
            [] => what,
            [one] => format!("{what}; {one} is damaged"),
            [one, more @ ..] => format!("{what}; {one} and {} more are damaged", more.len()),
        }
    }

    fn describe(&self) -> String {
        match &self.source {
            SystemSource::Prebuilt(system) => format!("copy the closure of {system} to the target store"),
            SystemSource::Image(image) => {
                format!("register the closure of {} in the target store", image.system)
            }
            SystemSource::Flake => {
                format!(
                    "build {}#{} at revision {} into the target store",
                    self.repository.clone_path, self.host, self.revision
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;
    use crate::state::RunContext;

    fn action(unclean: bool) -> RealiseSystem {
        let context = RunContext {
            plan: plan(false, false),
            revision: "a".repeat(40).parse().unwrap(),
            claimed: None,
            unclean,
            is_wish: false,
            vouched: None,
        };
        RealiseSystem {
            vouched: Some(SYSTEM.parse().unwrap()),
            ..Cloned { context }.action()
        }
    }

    const SYSTEM: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";

    fn facts(registered: bool, contents: Contents) -> SystemFacts {
        SystemFacts {
            system: Some(SYSTEM.parse().unwrap()),
            recorded: registered,
            database: Database::Usable,
            registered,
            evaluated: None,
            contents,
        }
    }

    #[test]
    fn an_unusable_database_is_put_aside_whatever_else_is_claimed() {
        let unusable = |facts: SystemFacts| SystemFacts {
            database: Database::Unusable("no tables".into()),
            ..facts
        };
        for unclean in [false, true] {
            for contents in [
                Contents::NotVerified,
                Contents::Verified,
                Contents::Corrupt(vec!["p".into()]),
            ] {
                for registered in [false, true] {
                    let facts = unusable(facts(registered, contents.clone()));
                    let Verdict::Todo(order) = action(unclean).judge(&facts) else {
                        panic!("{facts:?}")
                    };
                    assert_eq!(order.corrupt, Vec::<String>::new());
                    let aside = order.put_aside.unwrap();
                    assert_eq!((aside.why.as_str(), aside.finished), ("no tables", registered));
                }
            }
        }
        let unknown = SystemFacts {
            system: None,
            ..unusable(facts(false, Contents::NotVerified))
        };
        assert!(matches!(action(true).judge(&unknown), Verdict::Todo(order) if order.put_aside.is_some()));
        for database in [Database::Absent, Database::Usable] {
            let facts = SystemFacts {
                database,
                ..facts(false, Contents::NotVerified)
            };
            assert!(matches!(action(true).judge(&facts), Verdict::Todo(order) if order.put_aside.is_none()));
        }
    }

    /// What only the target says of the system is evaluated again; what the configuration, this run or a proved record says is not.
    #[test]
    fn a_system_that_only_the_target_names_is_evaluated_again() {
        let facts = facts(true, Contents::Verified);
        let system = facts.system.clone();
        let other = || {
            Some(
                "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-evil"
                    .parse()
                    .unwrap(),
            )
        };
        let bare = || RealiseSystem {
            vouched: None,
            ..action(false)
        };
        let evaluated = |evaluated| SystemFacts {
            evaluated,
            ..facts.clone()
        };
        for named in [None, other()] {
            let vouched = RealiseSystem {
                vouched: named.clone(),
                ..bare()
            };
            for (step, facts) in [(&bare(), evaluated(named.clone())), (&vouched, evaluated(None))] {
                let Verdict::Todo(order) = step.judge(&facts) else {
                    panic!("{facts:?}")
                };
                assert!(order.only_evaluate && order.corrupt.is_empty(), "{order:?}");
                assert!(step.remaining(&order).contains("evaluate again"));
            }
        }
        assert!(matches!(
            bare().judge(&evaluated(system.clone())),
            Verdict::Done(_)
        ));
        let vouched = RealiseSystem {
            vouched: system,
            ..bare()
        };
        assert!(matches!(vouched.judge(&evaluated(None)), Verdict::Done(_)));
        // What has to be made anyway is made, and so evaluated.
        let missing = SystemFacts {
            registered: false,
            ..facts
        };
        assert!(matches!(bare().judge(&missing), Verdict::Todo(order) if !order.only_evaluate));
    }

    #[test]
    fn after_an_unclean_stop_the_database_is_not_trusted() {
        assert!(matches!(
            action(false).judge(&facts(true, Contents::NotVerified)),
            Verdict::Done(_)
        ));
        assert!(matches!(
            action(true).judge(&facts(true, Contents::NotVerified)),
            Verdict::Todo(_)
        ));
        assert!(matches!(
            action(true).judge(&facts(true, Contents::Verified)),
            Verdict::Done(_)
        ));
        let Verdict::Todo(order) = action(false).judge(&facts(true, Contents::Corrupt(vec!["p".into()])))
        else {
            panic!()
        };
        assert_eq!(order.corrupt, ["p"]);
        // Nothing of it has to be copied again.
        let facts = facts(true, Contents::Permissions(vec!["p".into()]));
        assert!(matches!(action(true).judge(&facts), Verdict::Todo(order) if order.corrupt.is_empty()));
    }

    #[test]
    fn unregistered_or_unknown_is_todo_and_another_system_is_refused() {
        assert!(matches!(
            action(false).judge(&facts(false, Contents::Verified)),
            Verdict::Todo(_)
        ));
        let unknown = SystemFacts {
            system: None,
            ..facts(true, Contents::Verified)
        };
        assert!(matches!(action(false).judge(&unknown), Verdict::Todo(_)));
        let prebuilt = RealiseSystem {
            source: SystemSource::Prebuilt("/nix/store/1123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap()),
            ..action(false)
        };
        assert!(matches!(
            prebuilt.judge(&facts(true, Contents::Verified)),
            Verdict::Refuse(_)
        ));
        let system = facts(true, Contents::Verified).system.unwrap();
        let planned = RealiseSystem {
            source: SystemSource::Prebuilt(system.clone()),
            ..action(false)
        };
        let Verdict::Done(proof) = planned.judge(&facts(true, Contents::Verified)) else {
            panic!("the planned one")
        };
        assert_eq!(proof.system, system);
    }
}
