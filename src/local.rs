//! What works in one process: what loom checks. No dependency, no I/O, no clock in a decision.

mod gate;
mod guard;
mod holds;
mod lock;
#[cfg(all(feature = "lock_api", not(loom)))]
pub mod lock_api;
mod name;
mod order;
mod parker;
mod recursion;
mod rwlock;
mod semaphore;
mod taken;
mod teller;
mod waitlist;
mod ways;
mod word;

#[cfg(loom)]
pub(crate) use {
    order::ALL as ALL_ORDERINGS, taken::Gated, waitlist::describe as describe_state,
    word::describe as describe_word,
};

pub(crate) use gate::{Gate, Request};
pub use lock::{LocalLock, LockGuard, MappedLockGuard, OwnedLockGuard, OwnedMappedLockGuard};
pub(crate) use order::{Site, sites};
pub use rwlock::{
    MappedReadGuard, MappedWriteGuard, OwnedMappedReadGuard, OwnedMappedWriteGuard, OwnedReadGuard,
    OwnedUpgradableGuard, OwnedWriteGuard, ReadGuard, ReadWriteLock, UpgradableGuard,
    UpgradedGuard, WriteGuard,
};
pub use semaphore::{LocalSemaphore, OwnedPermit, Permit};
pub(crate) use teller::Teller;
