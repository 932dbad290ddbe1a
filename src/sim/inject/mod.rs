//! What goes wrong, and when.
//!
//! ```text
//! faults    what can go wrong at a point                point     where, and what can go wrong there
//! schedule  which faults happen at which points         random    schedules by chance
//! operator  what people do between two runs             planted   bugs, to see that the checks notice
//! ```

pub mod faults;
pub mod operator;
pub mod planted;
pub mod point;
pub mod random;
pub mod schedule;
