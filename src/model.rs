//! The door for the verification suite: what models need to switch and to see, and users do not.
//!
//! It is there under `--cfg loom` only, and no part of the crate's promise of stability.

use std::sync::atomic::Ordering;

use crate::local::{self, Gated};
use crate::{LocalLock, LocalSemaphore, ReadWriteLock, manager};

pub use crate::sys::model::{loads_are_strong, log, strong_loads, weaken};

/// What the value of one of the primitives' atomics says, as a person reads it.
pub fn meaning(atomic: &str, value: u64) -> String {
    match atomic {
        "word" => local::describe_word(value),
        "state" => local::describe_state(value).to_owned(),
        _ => value.to_string(),
    }
}

/// Every named memory ordering of the primitives and of the manager.
pub fn orderings() -> impl Iterator<Item = (&'static str, Ordering)> {
    let all = local::ALL_ORDERINGS.iter().chain(manager::ALL_ORDERINGS);
    all.map(|site| (site.name, site.ordering))
}

/// A primitive whose state can be compared with that of a new one.
pub trait Pristine {
    /// Whether nobody is in, nobody waits, and nothing is left over in the state word. That it is
    /// closed does not count.
    fn is_pristine(&self) -> bool;
}

impl<T: ?Sized> Pristine for LocalLock<T> {
    fn is_pristine(&self) -> bool {
        self.gate().is_pristine()
    }
}

impl<T: ?Sized> Pristine for ReadWriteLock<T> {
    fn is_pristine(&self) -> bool {
        self.gate().is_pristine()
    }
}

impl Pristine for LocalSemaphore {
    fn is_pristine(&self) -> bool {
        self.gate().is_pristine()
    }
}
