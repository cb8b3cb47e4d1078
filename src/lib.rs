//! Locks, semaphores and read-write locks on which threads block and tasks wait, in one queue.
//!
//! Whatever decides who holds a lock has been model-checked, and the code that was checked is the
//! code that ships: `--cfg loom` swaps the atomics under it, and nothing else. What was checked, how,
//! and what that does not show, is in the repository's `docs/verification.md`.
//!
//! # The primitives
//! - [`LocalLock`] is a mutual exclusion lock, with or without data.
//! - [`LocalSemaphore`] gives out permits, one or many at once.
//! - [`ReadWriteLock`] has many readers or one writer, and upgradable readers.
//!
//! Each can be waited for in every way: blocking (`lock`), not at all (`try_lock`), for a time
//! (`try_lock_for`), until a deadline (`try_lock_until`), and in asynchronous code on any runtime
//! (`lock_async`). Each of these also gives guards that own an [`Arc`](std::sync::Arc) of the lock
//! (`lock_owned`). All constructors that need no name are `const`.
//!
//! ```
//! # #[cfg(not(loom))] {
//! use std::thread;
//! use std::time::Duration;
//! use warded::{LocalLock, LocalSemaphore, ReadWriteLock};
//!
//! static JOURNAL: LocalLock<Vec<String>> = LocalLock::new(Vec::new());
//! static WORKERS: LocalSemaphore = LocalSemaphore::new(2);
//! static LIMIT: ReadWriteLock<usize> = ReadWriteLock::new(10);
//!
//! fn work(job: &str) {
//!     let _permit = WORKERS.permit().expect("nobody closes it");
//!     let mut journal = JOURNAL.lock();
//!     if journal.len() < *LIMIT.read() {
//!         journal.push(job.to_owned());
//!     }
//! }
//!
//! thread::scope(|scope| {
//!     scope.spawn(|| work("sweep"));
//!     scope.spawn(|| work("dust"));
//! });
//! // A task waits in the same queue as the threads.
//! # pollster::block_on(async {
//! assert_eq!(JOURNAL.lock_async().await.len(), 2);
//! # });
//! // Or only for so long.
//! assert!(JOURNAL.try_lock_for(Duration::from_millis(5)).is_some());
//! # }
//! ```
//!
//! A guard can be narrowed to a part of the data ([`LockGuard::map`]), a writer can go back to
//! reading ([`WriteGuard::downgrade`]), and an upgradable reader can become the writer
//! ([`UpgradableGuard::upgrade`]), with no other writer in between.
//!
//! # The specification's traits
//! [`BaseLock`], [`BaseSemaphore`] and [`BaseReadWriteLock`] are for code that does not care which
//! kind of lock it is given: `acquire` and `release`, blocking, object-safe, with `bool` results and
//! one argument for the patience, [`Wait`]. They are implemented for primitives without data, and
//! `release` ends only what `acquire` began: safe code cannot pull a lock from under a guard.
//!
//! # Fairness
//! A newcomer that finds the lock free may overtake those that wait for it, because making it queue
//! would leave the lock idle while somebody wakes. But it may do so only so many times for each head
//! of the queue: a waiter that found k others before it is overtaken at most (k + 1) · B times from
//! when it stands in the queue. B is the bypass budget, an argument (`with_bypass`) with a measured
//! default: 0 is strict first come, first served, and slow under contention; where sections are long,
//! small budgets cost little. No clock is involved. The documentation of each primitive says what is
//! counted apart.
//!
//! # Panics and poisoning
//! There is no poisoning: a panic in a critical section drops the guard like any other way out, and
//! the next holder sees what it left. See [`LocalLock`](LocalLock#panics-in-a-critical-section). No
//! method panics for anything that another thread or task does; a waker that panics is let through
//! when everybody else has been woken.
//!
//! # Asynchronous code
//! All futures are cancel-safe at every await. They wait for nothing in `poll`, except for a thread
//! that is in the middle of editing the list of waiters, which takes a few instructions. A future
//! that has been polled keeps its place in the queue, so **poll it or drop it**: about futurelock,
//! see [`LocalLock::lock_async`].
//!
//! # In your own loom models
//! Under `--cfg loom` the primitives work inside [`loom`](https://docs.rs/loom) models, so code that
//! uses them can be model-checked with them. Loom is then asked for by a feature, which does nothing
//! in any other build:
//!
//! ```toml
//! [target.'cfg(loom)'.dev-dependencies]
//! loom = "0.7"
//! warded = { version = "0.1", features = ["loom"] }
//! ```
//!
//! Constructors are not `const` there, and who waits with a deadline gives up as soon as it would
//! have to sleep: loom has no time, and explores every interleaving of the giving up.
//!
//! # Features
//! The default build depends on nothing.
//! - `redis`: `RedisLock`, a lock across machines, and [`LockManager`] over Redis. Empty under
//!   `--cfg loom`.
//! - `serde`: [`LockInfo`] can be serialised.
//! - `lock_api`: the lock and the read-write lock behind the traits of `lock_api` 0.4, in the module
//!   of that name. Empty under `--cfg loom`, whose atomics cannot be made in a constant.
//! - `tracing`: whoever has to wait tells a [`tracing`](https://docs.rs/tracing) subscriber when the
//!   wait begins and how it ends, with the name of the primitive, if it has one, and the permits
//!   asked for. Whoever enters at once tells nothing. A subscriber that locks what it is told of
//!   waits for itself.
//! - `loom`: see above.
//!
//! # Platforms
//! The state of a primitive is one 64-bit atomic. Targets without one are refused when compiling.

#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

mod base;
mod error;
mod info;
mod local;
mod manager;
#[cfg(loom)]
pub mod model;
#[cfg(all(feature = "redis", not(loom)))]
mod redis;
mod sys;
mod wait;

#[cfg(all(feature = "redis", not(loom)))]
pub use self::redis::{
    FencedKey, FencedRegister, Handover, Loss, Lost, Preflight, RedisError, RedisGuard, RedisLock,
    RedisLockBuilder, RedisServer, RedisSource, RedisSourceBuilder, StaleFence,
};
pub use base::{BaseLock, BaseReadWriteLock, BaseSemaphore, Held, Hold};
pub use error::{LockError, PermitError, PermitOverflow};
pub use info::LockInfo;
#[cfg(all(feature = "lock_api", not(loom)))]
pub use local::lock_api;
pub use local::{
    LocalLock, LocalSemaphore, LockGuard, MappedLockGuard, MappedReadGuard, MappedWriteGuard,
    OwnedLockGuard, OwnedMappedLockGuard, OwnedMappedReadGuard, OwnedMappedWriteGuard, OwnedPermit,
    OwnedReadGuard, OwnedUpgradableGuard, OwnedWriteGuard, Permit, ReadGuard, ReadWriteLock,
    UpgradableGuard, UpgradedGuard, WriteGuard,
};
pub use manager::{
    AllGuard, Backend, Deadlock, DeadlockStep, LockManager, LockManagerBuilder, LockOwner,
    ManagedGuard, ManagedLock, ManagerError, OwnedManagedGuard, Swept, UnknownBackend,
};
pub use wait::Wait;

/// The README's example is compiled and run with the documentation tests.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../README.md")]
struct Readme;
