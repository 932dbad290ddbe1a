//! What is simulated: disk, machine, what lies on them, and the case that decides them.
//!
//! ```text
//! case      a case, as text                             setting   everything that it decides, worked out
//! disk      volatile and durable contents               machine   disks, tmpfs, attachments
//! crash     kill and power cut; what a cut keeps        contents  what a finished disk holds
//! image     an image of the root filesystem             leftovers what real tools leave when they are killed
//! evidence  what a disk shows                           facts     what steps and checks both use
//! trap      machines that must not be trusted           environment  network and machine around landfall
//! text      places, as text
//! ```

pub mod case;
pub mod contents;
pub mod crash;
pub mod disk;
pub mod environment;
pub mod evidence;
pub mod facts;
pub mod image;
pub mod leftovers;
pub mod machine;
pub mod setting;
pub mod text;
pub mod trap;
