//! Locks, semaphores and read-write locks.

mod base;
mod error;
mod info;
#[cfg(all(feature = "redis", not(loom)))]
mod redis;
mod wait;

pub use base::{BaseLock, BaseReadWriteLock, BaseSemaphore, Held, Hold};
pub use error::{LockError, PermitError, PermitOverflow};
pub use info::LockInfo;
#[cfg(all(feature = "redis", not(loom)))]
pub use self::redis::{
    FencedKey, FencedRegister, Handover, Loss, Lost, RedisError, RedisGuard, RedisLock,
    RedisLockBuilder, RedisSource, RedisSourceBuilder, StaleFence,
};
pub use wait::Wait;
