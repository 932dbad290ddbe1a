//! Provision secrets (deploy key, age identity, ownership): from **Bootable** to **Provisioned**.
//!
//! A file with a secret is done if its contents, owner and mode are as requested. The world compares the contents; they never
//! come here.

use crate::names::TargetPath;
use crate::phase::Phase;
use crate::state::{Bootable, advances};
use crate::step::{Step, Verdict};

impl Bootable {
    /// What leads on.
    pub fn action(&self) -> ProvisionSecrets {
        ProvisionSecrets {
            host: self.context.plan.host.as_str().to_owned(),
        }
    }
}

advances!(Bootable, SecretsProof, Provisioned with system);

/// Put keys in their places and give the clone to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionSecrets {
    /// The host.
    pub host: String,
}

/// Something on the target that has an owner and a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where, as the target sees it.
    pub path: TargetPath,
    /// What is not as it was asked; empty when right. Holds no contents.
    pub flaws: Vec<String>,
}

impl Placed {
    /// The places of those that are not right.
    pub fn wrong(all: &[Placed]) -> Vec<TargetPath> {
        let wrong = all.iter().filter(|one| !one.flaws.is_empty());
        wrong.map(|one| one.path.clone()).collect()
    }
}

/// What is on the target.
#[derive(Debug, Clone)]
pub struct SecretsFacts {
    /// Everything that was asked for.
    pub placed: Vec<Placed>,
}

/// Place these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsOrder {
    /// Only what is not right.
    pub paths: Vec<TargetPath>,
}

/// Every key and owner is right.
#[derive(Debug)]
pub struct SecretsProof(());

impl Step for ProvisionSecrets {
    const PHASE: Phase = Phase::Bootable;
    type Facts = SecretsFacts;
    type Proof = SecretsProof;
    type Order = SecretsOrder;

    fn judge(&self, facts: &SecretsFacts) -> Verdict<SecretsProof, SecretsOrder> {
        let paths = Placed::wrong(&facts.placed);
        if paths.is_empty() {
            Verdict::Done(SecretsProof(()))
        } else {
            Verdict::Todo(SecretsOrder { paths })
        }
    }

    fn remaining(&self, order: &SecretsOrder) -> String {
        let paths: Vec<&str> = order.paths.iter().map(TargetPath::as_str).collect();
        format!("these are not right yet: {}", paths.join(", "))
    }

    fn describe(&self) -> String {
        format!("install keys and set file owners for {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_placed() {
        let action = ProvisionSecrets { host: "web".into() };
        let placed = |path: &str, flaws: &[&str]| Placed {
            path: path.parse().unwrap(),
            flaws: flaws.iter().map(|f| f.to_string()).collect(),
        };
        let facts = SecretsFacts {
            placed: vec![
                placed("/etc/age/web.agekey", &["mode 0644"]),
                placed("/home/op", &[]),
            ],
        };
        let Verdict::Todo(order) = action.judge(&facts) else {
            panic!()
        };
        assert_eq!(order.paths, [facts.placed[0].path.clone()]);
        assert!(matches!(
            action.judge(&SecretsFacts { placed: vec![] }),
            Verdict::Done(_)
        ));
    }
}
