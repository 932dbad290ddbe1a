//! Running programs: started at one place, with limits on time, silence and memory, and stopped at safe points. What they said is judged in `tool_errors`.

pub mod command;
pub mod context;
pub mod limits;
pub mod stop;
pub mod terminal;
