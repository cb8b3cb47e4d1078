//! A lock of a manager, as its users have it: the handle and its guards.

use std::fmt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::deadlock::{Edge, Graph};
use super::entry::{Entry, Key, LOCK};
use super::owner::{Holder, LockOwner};
use super::table;
use crate::local::{Gate, Teller};
use crate::wait::Patience;
use crate::{BaseLock, Held, Hold, LockError, Wait};

/// The lock of one name, which [`LockManager::get_lock`](crate::LockManager::get_lock) gives.
///
/// It is cheap: a pointer and a count. All handles of a name are the same lock, also when the
/// manager is gone. Threads block on it and tasks await it, in one queue. Like
/// [`LocalLock`](crate::LocalLock), it is not re-entrant.
///
/// ```
/// # #[cfg(not(loom))] {
/// use std::time::Duration;
/// use warded::LockManager;
///
/// let locks = LockManager::local();
/// let lock = locks.get_lock("invoice 17")?;
/// let guard = lock.lock()?;
/// assert!(lock.try_lock_for(Duration::from_millis(5))?.is_none());
/// drop(guard);
/// // A guard that keeps the lock itself needs no handle beside it.
/// let guard = locks.get_lock("invoice 17")?.lock_owned()?;
/// # drop(guard);
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
///
/// # Errors
/// A lock in this process can always be had in the end, or not in time, which is no error. What
/// fails is a wait that would have no end, if the manager
/// [looks for deadlocks](crate::LockManagerBuilder::detect_deadlocks):
/// [`LockError::Deadlock`]. Other backends have errors of their own.
pub struct ManagedLock {
    /// Counted once by this handle.
    entry: NonNull<Entry>,
    owner: Option<LockOwner>,
}

// SAFETY: what others reach of an entry is made for many threads, and a count belongs to none.
unsafe impl Send for ManagedLock {}
// SAFETY: as above.
unsafe impl Sync for ManagedLock {}

impl ManagedLock {
    /// The caller has counted the entry, and gives the count into this one's keeping.
    #[inline]
    pub(super) fn keep(entry: NonNull<Entry>) -> Self {
        Self { entry, owner: None }
    }

    /// Puts holds and waits through this handle on record under `owner`.
    #[must_use]
    pub fn with_owner(mut self, owner: &LockOwner) -> Self {
        self.owner = Some(owner.clone());
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.key().name
    }

    #[inline]
    pub(super) fn key(&self) -> &Key {
        // SAFETY: this handle counts the entry.
        unsafe { self.entry().key() }
    }

    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        // SAFETY: this handle counts it, so it is alive.
        unsafe { self.entry.as_ref() }
    }

    /// Whether they are handles of one lock.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.entry == other.entry
    }

    fn graph(&self) -> Option<&Graph> {
        // SAFETY: the shard lives as long as the entry.
        unsafe { (*self.entry().shard).graph.as_deref() }
    }

    fn teller(&self) -> Teller<'_> {
        Teller::of(Some(self.name()))
    }

    #[inline]
    fn thread(&self) -> Holder {
        self.owner.as_ref().map_or_else(Holder::thread, LockOwner::holder)
    }

    #[inline]
    fn task(&self) -> Holder {
        self.owner.as_ref().map_or_else(Holder::task, LockOwner::holder)
    }

    /// Enters the gate within `wait`, and says so in the record.
    #[inline]
    pub(super) fn enter(&self, wait: Wait) -> Result<bool, LockError> {
        self.enter_as(self.thread(), wait)
    }

    /// The same, for a hold that belongs to no guard.
    #[inline]
    pub(super) fn enter_to_stay(&self, wait: Wait) -> Result<bool, LockError> {
        self.enter_as(self.thread().acquiring(), wait)
    }

    #[inline]
    fn enter_as(&self, holder: Holder, wait: Wait) -> Result<bool, LockError> {
        let entered = self.entry().gate.try_acquire(LOCK) || self.enter_slowly(holder, wait)?;
        if entered {
            self.entry().record(holder);
        }
        Ok(entered)
    }

    #[cold]
    fn enter_slowly(&self, holder: Holder, wait: Wait) -> Result<bool, LockError> {
        let deadline = match wait.begin() {
            Patience::None => return Ok(false),
            Patience::Endless => None,
            Patience::Until(deadline) => Some(deadline),
        };
        let _edge = self.tell_of_wait(holder, deadline)?;
        Ok(self.entry().gate.acquire(LOCK, deadline, self.teller()).is_ok())
    }

    /// Enters the gate as a task, when that is possible, and says so in the record.
    pub(super) async fn enter_async(&self) -> Result<(), LockError> {
        if !self.entry().gate.try_acquire(LOCK) {
            let _edge = self.tell_of_wait(self.task(), None)?;
            let entered = self.entry().gate.acquire_async(LOCK, self.teller()).await;
            entered.expect(Gate::PATIENT);
        }
        self.entry().record(self.task());
        Ok(())
    }

    fn tell_of_wait(
        &self,
        waiter: Holder,
        deadline: Option<Instant>,
    ) -> Result<Option<Edge<'_>>, LockError> {
        let (Some(graph), Some(waiter)) = (self.graph(), waiter.identity()) else {
            return Ok(None);
        };
        graph.wait(waiter, self.clone(), deadline).map(Some).map_err(LockError::Deadlock)
    }

    /// Locks, blocking the thread for as long as it takes.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn lock(&self) -> Result<ManagedGuard<'_>, LockError> {
        self.enter(Wait::Forever)?;
        Ok(ManagedGuard { lock: self })
    }

    /// Locks if that is possible at once. `None` if somebody holds the lock, or if those that wait
    /// for it have been overtaken often enough.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn try_lock(&self) -> Result<Option<ManagedGuard<'_>>, LockError> {
        self.lock_within(Wait::Never)
    }

    /// [`lock`](Self::lock), blocking the thread for at most this long. `None` when the time is
    /// over.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<Option<ManagedGuard<'_>>, LockError> {
        self.lock_within(timeout.into())
    }

    /// [`lock`](Self::lock), blocking the thread until this instant at the latest. `None` when it
    /// has come.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Option<ManagedGuard<'_>>, LockError> {
        self.lock_within(deadline.into())
    }

    #[inline]
    fn lock_within(&self, wait: Wait) -> Result<Option<ManagedGuard<'_>>, LockError> {
        Ok(self.enter(wait)?.then(|| ManagedGuard { lock: self }))
    }

    /// Locks, on any runtime, when the lock is free.
    ///
    /// Cancel-safe: a future that is dropped has taken nothing, and is in nobody's way. It queues
    /// when it is first polled. Poll it or drop it: see
    /// [`LocalLock::lock_async`](crate::LocalLock::lock_async).
    ///
    /// # Errors
    /// See [above](Self#errors); a task's wait takes part in the search for deadlocks if it has an
    /// [owner](Self::with_owner).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let locks = warded::LockManager::local();
    /// let lock = locks.get_lock("invoice 17")?;
    /// let guard = lock.lock_async().await?;
    /// # drop(guard);
    /// # Ok::<(), warded::LockError>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub async fn lock_async(&self) -> Result<ManagedGuard<'_>, LockError> {
        self.enter_async().await?;
        Ok(ManagedGuard { lock: self })
    }

    /// [`lock`](Self::lock), with a guard that keeps the lock itself. Clone the handle before, if it
    /// is needed further.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn lock_owned(self) -> Result<OwnedManagedGuard, LockError> {
        self.enter(Wait::Forever)?;
        Ok(OwnedManagedGuard { lock: self })
    }

    /// [`lock_owned`](Self::lock_owned) within `wait`. `None` if the lock was not to be had.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn try_lock_owned(self, wait: Wait) -> Result<Option<OwnedManagedGuard>, LockError> {
        Ok(self.enter(wait)?.then(|| OwnedManagedGuard { lock: self }))
    }

    /// [`lock_async`](Self::lock_async), with a guard that keeps the lock itself, so that it can go
    /// where the manager cannot.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let locks = warded::LockManager::local();
    /// let guard = locks.get_lock("invoice 17")?.lock_owned_async().await?;
    /// assert_eq!(guard.name(), "invoice 17");
    /// # Ok::<(), warded::LockError>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub async fn lock_owned_async(self) -> Result<OwnedManagedGuard, LockError> {
        self.enter_async().await?;
        Ok(OwnedManagedGuard { lock: self })
    }
}

impl BaseLock for ManagedLock {
    fn acquire(&self, wait: Wait) -> Result<bool, LockError> {
        self.enter_to_stay(wait)
    }

    fn release(&self) -> Result<(), LockError> {
        if self.entry().end_acquired() {
            Ok(())
        } else {
            Err(LockError::NotHeld { name: Some(self.name().to_owned()) })
        }
    }

    fn locked(&self) -> Result<bool, LockError> {
        Ok(self.entry().gate.free() == 0)
    }

    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self.lock_within(wait)?.map(Hold::new))
    }
}

/// Another handle of the same lock, with the same owner.
impl Clone for ManagedLock {
    fn clone(&self) -> Self {
        // SAFETY: this handle counts the entry.
        unsafe { table::count_again(self.entry) };
        Self { entry: self.entry, owner: self.owner.clone() }
    }
}

impl Drop for ManagedLock {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle counts the entry, and ends here.
        unsafe { table::give_up(self.entry) };
    }
}

impl fmt::Debug for ManagedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedLock").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Holds a [`ManagedLock`]. Dropping it releases.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ManagedGuard<'a> {
    lock: &'a ManagedLock,
}

impl ManagedGuard<'_> {
    /// The name of the lock.
    pub fn name(&self) -> &str {
        self.lock.name()
    }
}

impl Drop for ManagedGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.entry().leave();
    }
}

impl Held for ManagedGuard<'_> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(())
    }
}

impl fmt::Debug for ManagedGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedGuard").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Holds a [`ManagedLock`], and keeps it. Dropping it releases.
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedManagedGuard {
    lock: ManagedLock,
}

impl OwnedManagedGuard {
    /// The name of the lock.
    pub fn name(&self) -> &str {
        self.lock.name()
    }
}

impl Drop for OwnedManagedGuard {
    #[inline]
    fn drop(&mut self) {
        self.lock.entry().leave();
    }
}

impl fmt::Debug for OwnedManagedGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedManagedGuard").field("name", &self.name()).finish_non_exhaustive()
    }
}
