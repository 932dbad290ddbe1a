//! The configuration repository: Git as landfall runs it, what is looked at without Git, cloning, and the proof that a revision is the one named.

pub mod clone;
pub mod command;
pub mod foreseen;
pub mod guard;
pub mod head;
pub mod lfs;
pub mod pin;
pub mod repository;
pub mod settings;
pub mod soundness;
pub mod source;
pub mod work;
