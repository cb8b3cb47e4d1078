//! Locks, semaphores and read-write locks.

mod base;
mod error;
mod info;
mod local;
#[cfg(loom)]
pub mod model;
mod sys;
mod wait;

pub use base::{BaseLock, BaseReadWriteLock, BaseSemaphore, Held, Hold};
pub use error::{LockError, PermitError, PermitOverflow};
pub use info::LockInfo;
pub use local::{
    LocalLock, LocalSemaphore, LockGuard, MappedLockGuard, MappedReadGuard, MappedWriteGuard,
    OwnedLockGuard, OwnedMappedLockGuard, OwnedMappedReadGuard, OwnedMappedWriteGuard, OwnedPermit,
    OwnedReadGuard, OwnedUpgradableGuard, OwnedWriteGuard, Permit, ReadGuard, ReadWriteLock,
    UpgradableGuard, UpgradedGuard, WriteGuard,
};
pub use wait::Wait;
