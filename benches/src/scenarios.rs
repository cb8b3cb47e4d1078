//! What the rivals have to do.

pub mod threads;
