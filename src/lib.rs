//! Locks, semaphores and read-write locks.

mod base;
mod error;
mod info;
mod wait;

pub use base::{BaseLock, BaseReadWriteLock, BaseSemaphore, Held, Hold};
pub use error::{LockError, PermitError, PermitOverflow};
pub use info::LockInfo;
pub use wait::Wait;
