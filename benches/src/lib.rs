//! What the benchmarks share: the rivals, the scenarios they run in, and what is made of the
//! figures.
#![cfg(not(loom))]

pub mod bars;
pub mod contended;
pub mod figures;
pub mod manager;
pub mod page;
pub mod plots;
mod quiet;
mod record;
#[cfg(feature = "redis")]
pub mod redis;
pub mod rivals;
mod rounds;
pub mod rows;
pub mod scenarios;
pub mod tables;
pub mod uncontended;
