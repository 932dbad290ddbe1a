//! The install as a typed state machine.
