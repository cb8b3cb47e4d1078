//! The models that loom checks: see docs/verification.md for what they show and what they do not.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom` runs the fast tier;
//! `cargo xtask verify` runs it with progress and writes the page.

#[cfg(loom)]
mod checker;
#[cfg(loom)]
mod exclusion;
#[cfg(loom)]
mod harness;
#[cfg(loom)]
mod layer;
#[cfg(loom)]
mod manager;
#[cfg(loom)]
mod permits;
#[cfg(loom)]
mod programs;
#[cfg(loom)]
mod readers;
#[cfg(loom)]
mod reference;
#[cfg(loom)]
mod steps;
#[cfg(loom)]
mod trace;
#[cfg(loom)]
mod wakers;

#[cfg(loom)]
fn main() {
    let mut suite = harness::Suite::new();
    checker::tests(&mut suite);
    exclusion::models(&mut suite);
    manager::models(&mut suite);
    permits::models(&mut suite);
    readers::models(&mut suite);
    programs::models(&mut suite);
    layer::models(&mut suite);
    wakers::models(&mut suite);
    suite.run();
}

#[cfg(not(loom))]
fn main() {}
