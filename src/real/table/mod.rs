//! Partition tables as bytes: GPT in both copies and the classic MBR. Pure; writing them to the locked disk is a step.

pub mod gpt;
pub mod mbr;
