//! What the rivals have to do.

pub mod alone;
pub mod queue;
pub mod tasks;
pub mod threads;
