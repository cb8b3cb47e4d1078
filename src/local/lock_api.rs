//! The lock and the read-write lock behind the traits of the crate
//! [`lock_api`](https://docs.rs/lock_api/0.4), for code that is generic over them. Feature
//! `lock_api`.
//!
//! The types of that crate bring guards of their own; these are its type aliases over the same gate
//! as [`LocalLock`](crate::LocalLock) and [`ReadWriteLock`](crate::ReadWriteLock), with the default
//! bypass budgets. Guards may be sent to other threads, as there. What `lock_api` has no traits for,
//! waiting in asynchronous code, is to be had from the crate's own types.
//!
//! ```
//! # #[cfg(not(loom))] {
//! use warded::lock_api::{Mutex, RwLock};
//!
//! static TOTAL: Mutex<u64> = Mutex::new(0);
//! static CACHE: RwLock<Vec<u8>> = RwLock::new(Vec::new());
//!
//! *TOTAL.lock() += 1;
//! let looking = CACHE.upgradable_read();
//! if looking.is_empty() {
//!     lock_api::RwLockUpgradableReadGuard::upgrade(looking).push(1);
//! }
//! assert_eq!(CACHE.read().len(), 1);
//! # }
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use ::lock_api::{
    GuardSend, RawMutex, RawMutexFair, RawMutexTimed, RawRwLockDowngrade, RawRwLockFair,
    RawRwLockRecursive, RawRwLockRecursiveTimed, RawRwLockTimed, RawRwLockUpgrade,
    RawRwLockUpgradeDowngrade, RawRwLockUpgradeFair, RawRwLockUpgradeTimed,
};

use super::gate::Gate;
use super::lock::{LOCK, PERMIT};
use super::rwlock::{
    READ, READ_RECURSIVE, READ_UPGRADABLE, READER, REST, UPGRADABLE, UPGRADE, WRITE, WRITER,
};
use super::teller::Teller;
use crate::{LocalLock, ReadWriteLock};

/// A mutex around data.
pub type Mutex<T> = ::lock_api::Mutex<RawLock, T>;
/// What [`Mutex::lock`](::lock_api::Mutex::lock) gives.
pub type MutexGuard<'a, T> = ::lock_api::MutexGuard<'a, RawLock, T>;
/// A read-write lock around data.
pub type RwLock<T> = ::lock_api::RwLock<RawReadWriteLock, T>;
/// What [`RwLock::read`](::lock_api::RwLock::read) gives.
pub type RwLockReadGuard<'a, T> = ::lock_api::RwLockReadGuard<'a, RawReadWriteLock, T>;
/// What [`RwLock::write`](::lock_api::RwLock::write) gives.
pub type RwLockWriteGuard<'a, T> = ::lock_api::RwLockWriteGuard<'a, RawReadWriteLock, T>;
/// What [`RwLock::upgradable_read`](::lock_api::RwLock::upgradable_read) gives.
pub type RwLockUpgradableReadGuard<'a, T> =
    ::lock_api::RwLockUpgradableReadGuard<'a, RawReadWriteLock, T>;

/// A [`LocalLock`] without its data: 40 bytes.
pub struct RawLock {
    gate: Gate,
}

impl fmt::Debug for RawLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawLock").field("locked", &self.is_locked()).finish()
    }
}

// SAFETY: the gate has one permit, which whoever has locked has (I9).
unsafe impl RawMutex for RawLock {
    const INIT: Self = Self { gate: Gate::new(PERMIT, LocalLock::DEFAULT_BYPASS) };

    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        self.gate.acquire(LOCK, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.gate.try_acquire(LOCK)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.gate.release(PERMIT);
    }

    fn is_locked(&self) -> bool {
        self.gate.free() == 0
    }
}

// SAFETY: as for `RawMutex`.
unsafe impl RawMutexFair for RawLock {
    unsafe fn unlock_fair(&self) {
        self.gate.release_fairly(PERMIT);
    }
}

// SAFETY: as for `RawMutex`.
unsafe impl RawMutexTimed for RawLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(LOCK, timeout.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(LOCK, deadline.into(), Teller::of(None)).is_ok()
    }
}

/// A [`ReadWriteLock`] without its data: 40 bytes.
pub struct RawReadWriteLock {
    gate: Gate,
}

impl fmt::Debug for RawReadWriteLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ::lock_api::RawRwLock;
        f.debug_struct("RawReadWriteLock")
            .field("locked", &self.is_locked())
            .field("write_locked", &self.is_locked_exclusive())
            .finish()
    }
}

// SAFETY: a reader has a permit, and a writer all of them (I9).
unsafe impl ::lock_api::RawRwLock for RawReadWriteLock {
    const INIT: Self = Self { gate: Gate::new(WRITER, ReadWriteLock::DEFAULT_BYPASS) };

    type GuardMarker = GuardSend;

    #[inline]
    fn lock_shared(&self) {
        self.gate.acquire(READ, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    #[inline]
    fn try_lock_shared(&self) -> bool {
        self.gate.try_acquire(READ)
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.gate.release(READER);
    }

    #[inline]
    fn lock_exclusive(&self) {
        self.gate.acquire(WRITE, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        self.gate.try_acquire(WRITE)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.gate.release(WRITER);
    }

    fn is_locked(&self) -> bool {
        self.gate.free() < WRITER
    }

    fn is_locked_exclusive(&self) -> bool {
        self.gate.free() == 0
    }
}

// SAFETY: as for `RawRwLock`.
unsafe impl RawRwLockFair for RawReadWriteLock {
    unsafe fn unlock_shared_fair(&self) {
        self.gate.release_fairly(READER);
    }

    unsafe fn unlock_exclusive_fair(&self) {
        self.gate.release_fairly(WRITER);
    }
}

// SAFETY: the writer keeps a reader's permit of its own.
unsafe impl RawRwLockDowngrade for RawReadWriteLock {
    unsafe fn downgrade(&self) {
        self.gate.release(WRITER - READER);
    }
}

// SAFETY: as for `RawRwLock`.
unsafe impl RawRwLockTimed for RawReadWriteLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(READ, timeout.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_shared_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(READ, deadline.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(WRITE, timeout.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_exclusive_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(WRITE, deadline.into(), Teller::of(None)).is_ok()
    }
}

// SAFETY: as for `RawRwLock`. A recursive read passes whoever waits.
unsafe impl RawRwLockRecursive for RawReadWriteLock {
    fn lock_shared_recursive(&self) {
        self.gate.acquire(READ_RECURSIVE, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    fn try_lock_shared_recursive(&self) -> bool {
        self.gate.try_acquire(READ_RECURSIVE)
    }
}

// SAFETY: as for `RawRwLockRecursive`.
unsafe impl RawRwLockRecursiveTimed for RawReadWriteLock {
    fn try_lock_shared_recursive_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(READ_RECURSIVE, timeout.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_shared_recursive_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(READ_RECURSIVE, deadline.into(), Teller::of(None)).is_ok()
    }
}

// SAFETY: an upgradable reader has more than half of the permits, so there is one at most, and
// with the rest it has all.
unsafe impl RawRwLockUpgrade for RawReadWriteLock {
    fn lock_upgradable(&self) {
        self.gate.acquire(READ_UPGRADABLE, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    fn try_lock_upgradable(&self) -> bool {
        self.gate.try_acquire(READ_UPGRADABLE)
    }

    unsafe fn unlock_upgradable(&self) {
        self.gate.release(UPGRADABLE);
    }

    unsafe fn upgrade(&self) {
        self.gate.acquire(UPGRADE, None, Teller::of(None)).expect(Gate::PATIENT);
    }

    unsafe fn try_upgrade(&self) -> bool {
        self.gate.try_acquire(UPGRADE)
    }
}

// SAFETY: as for `RawRwLockUpgrade`.
unsafe impl RawRwLockUpgradeFair for RawReadWriteLock {
    unsafe fn unlock_upgradable_fair(&self) {
        self.gate.release_fairly(UPGRADABLE);
    }
}

// SAFETY: what was an upgradable reader keeps a reader's permit; what was a writer keeps an
// upgradable reader's.
unsafe impl RawRwLockUpgradeDowngrade for RawReadWriteLock {
    unsafe fn downgrade_upgradable(&self) {
        self.gate.release(UPGRADABLE - READER);
    }

    unsafe fn downgrade_to_upgradable(&self) {
        self.gate.release(REST);
    }
}

// SAFETY: as for `RawRwLockUpgrade`. An upgrade that fails keeps what it had.
unsafe impl RawRwLockUpgradeTimed for RawReadWriteLock {
    fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(READ_UPGRADABLE, timeout.into(), Teller::of(None)).is_ok()
    }

    fn try_lock_upgradable_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(READ_UPGRADABLE, deadline.into(), Teller::of(None)).is_ok()
    }

    unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        self.gate.acquire_within(UPGRADE, timeout.into(), Teller::of(None)).is_ok()
    }

    unsafe fn try_upgrade_until(&self, deadline: Instant) -> bool {
        self.gate.acquire_within(UPGRADE, deadline.into(), Teller::of(None)).is_ok()
    }
}
