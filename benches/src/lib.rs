//! What the benchmarks share: the rivals, the scenarios they run in, and what is made of the
//! figures.
#![cfg(not(loom))]

pub mod contended;
pub mod figures;
mod quiet;
pub mod rivals;
pub mod rows;
pub mod scenarios;
pub mod tables;
