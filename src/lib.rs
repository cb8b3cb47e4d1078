//! Locks, semaphores and read-write locks.

mod base;
mod error;
mod info;
#[cfg(all(feature = "redis", not(loom)))]
mod redis;
mod wait;

#[cfg(all(feature = "redis", not(loom)))]
pub use self::redis::{
    FencedKey, FencedRegister, Handover, Loss, Lost, Preflight, RedisError, RedisGuard, RedisLock,
    RedisLockBuilder, RedisServer, RedisSource, RedisSourceBuilder, StaleFence,
};
pub use base::{BaseLock, BaseReadWriteLock, BaseSemaphore, Held, Hold};
pub use error::{LockError, PermitError, PermitOverflow};
pub use info::LockInfo;
pub use wait::Wait;
