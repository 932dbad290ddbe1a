//! Asking a person.
