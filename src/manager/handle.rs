//! A lock of a manager, as its users have it: the handle and its guards, over either backend.

use std::fmt;
use std::time::{Duration, Instant};

use super::local::LocalHandle;
use super::owner::LockOwner;
use super::remote::{Lease, RemoteHandle};
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
/// In Redis it is a lock with a lease: whoever dies blocks others no longer than that, and whoever
/// is slow can lose the lock while it works. Its guard [tells](ManagedGuard::is_valid), and
/// carries a [fencing token](ManagedGuard::fence).
///
/// # Errors
/// A lock in this process can always be had in the end, or not in time, which is no error. What
/// fails is a wait that would have no end, if the manager
/// [looks for deadlocks](crate::LockManagerBuilder::detect_deadlocks):
/// [`LockError::Deadlock`]. A lock in Redis fails if the server cannot be asked, with
/// `LockError::Redis`.
#[derive(Clone)]
pub struct ManagedLock(Place);

/// Where the lock is. Without the feature `redis`, nowhere but here.
#[derive(Clone)]
enum Place {
    Local(LocalHandle),
    Remote(RemoteHandle),
}

/// A hold that nobody has taken into keeping yet. In Redis it is a lease, which ends when it is
/// dropped; in this process it is nothing but the fact.
pub(super) struct Entered {
    lease: Option<Lease>,
}

impl From<LocalHandle> for ManagedLock {
    #[inline]
    fn from(handle: LocalHandle) -> Self {
        Self(Place::Local(handle))
    }
}

impl From<RemoteHandle> for ManagedLock {
    fn from(handle: RemoteHandle) -> Self {
        Self(Place::Remote(handle))
    }
}

impl From<Lease> for Entered {
    fn from(lease: Lease) -> Self {
        Self { lease: Some(lease) }
    }
}

impl Entered {
    const HERE: Self = Self { lease: None };

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(super) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl ManagedLock {
    /// Puts holds and waits through this handle on record under `owner`. Redis is told the first 256
    /// bytes of its label.
    #[must_use]
    pub fn with_owner(mut self, owner: &LockOwner) -> Self {
        match &mut self.0 {
            Place::Local(lock) => lock.belong_to(owner),
            Place::Remote(lock) => lock.belong_to(owner),
        }
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Local(lock) => lock.name(),
            Place::Remote(lock) => lock.name(),
        }
    }

    /// By this, and then by name, everybody takes several. In Redis by name alone: another process
    /// would have another hash.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        match &self.0 {
            Place::Local(lock) => lock.key().hash,
            Place::Remote(_) => 0,
        }
    }

    pub(super) fn remote(&self) -> Option<&RemoteHandle> {
        match &self.0 {
            Place::Local(_) => None,
            Place::Remote(lock) => Some(lock),
        }
    }

    /// Takes the lock within `wait`, for a hold that ends by [`leave`](Self::leave).
    #[inline]
    pub(super) fn enter(&self, wait: Wait) -> Result<Option<Entered>, LockError> {
        match &self.0 {
            Place::Local(lock) => Ok(lock.enter(wait)?.then_some(Entered::HERE)),
            Place::Remote(lock) => Ok(lock.enter(wait)?.map(Entered::from)),
        }
    }

    /// The same, for as long as it takes.
    #[inline]
    fn enter_patiently(&self) -> Result<Entered, LockError> {
        match &self.0 {
            Place::Local(lock) => lock.enter(Wait::Forever).map(|_| Entered::HERE),
            Place::Remote(lock) => lock.enter_patiently().map(Entered::from),
        }
    }

    /// Takes the lock as a task.
    pub(super) async fn enter_async(&self) -> Result<Entered, LockError> {
        match &self.0 {
            Place::Local(lock) => lock.enter_async().await.map(|()| Entered::HERE),
            Place::Remote(lock) => lock.enter_async().await.map(Entered::from),
        }
    }

    /// Ends a hold that was entered, beside whatever its lease does.
    #[inline]
    pub(super) fn leave(&self) {
        if let Place::Local(lock) = &self.0 {
            lock.entry().leave();
        }
    }

    /// From here on a hold that was entered belongs to nobody, until [`release`](BaseLock::release).
    pub(super) fn stay(&self, entered: Entered) {
        match (&self.0, entered.lease) {
            (Place::Local(lock), _) => lock.stay(),
            (Place::Remote(lock), lease) => lease.into_iter().for_each(|lease| lock.keep(lease)),
        }
    }

    /// Locks, blocking the thread for as long as it takes.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn lock(&self) -> Result<ManagedGuard<'_>, LockError> {
        let entered = self.enter_patiently()?;
        Ok(ManagedGuard { lease: entered.lease, lock: self })
    }

    /// Locks if that is possible at once; in Redis, that takes one round trip. `None` if somebody
    /// holds the lock, or if those that wait for it have been overtaken often enough.
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
        let entered = self.enter(wait)?;
        Ok(entered.map(|entered| ManagedGuard { lease: entered.lease, lock: self }))
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
        let entered = self.enter_async().await?;
        Ok(ManagedGuard { lease: entered.lease, lock: self })
    }

    /// [`try_lock`](Self::try_lock) for tasks: it blocks no thread while Redis is asked. Cancel-safe.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn try_lock_async(&self) -> Result<Option<ManagedGuard<'_>>, LockError> {
        let entered = match &self.0 {
            Place::Local(lock) => lock.try_enter_as_task()?.then_some(Entered::HERE),
            Place::Remote(lock) => lock.try_enter_async().await?.map(Entered::from),
        };
        Ok(entered.map(|entered| ManagedGuard { lease: entered.lease, lock: self }))
    }

    /// [`lock`](Self::lock), with a guard that keeps the lock itself. Clone the handle before, if it
    /// is needed further.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn lock_owned(self) -> Result<OwnedManagedGuard, LockError> {
        let entered = self.enter_patiently()?;
        Ok(OwnedManagedGuard { lease: entered.lease, lock: self })
    }

    /// [`lock_owned`](Self::lock_owned) within `wait`. `None` if the lock was not to be had.
    ///
    /// # Errors
    /// See [above](Self#errors).
    #[inline]
    pub fn try_lock_owned(self, wait: Wait) -> Result<Option<OwnedManagedGuard>, LockError> {
        let entered = self.enter(wait)?;
        Ok(entered.map(|entered| OwnedManagedGuard { lease: entered.lease, lock: self }))
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
        let entered = self.enter_async().await?;
        Ok(OwnedManagedGuard { lease: entered.lease, lock: self })
    }
}

impl BaseLock for ManagedLock {
    fn acquire(&self, wait: Wait) -> Result<bool, LockError> {
        match &self.0 {
            Place::Local(lock) => lock.enter_to_stay(wait),
            Place::Remote(lock) => Ok(lock.enter(wait)?.map(|lease| lock.keep(lease)).is_some()),
        }
    }

    fn release(&self) -> Result<(), LockError> {
        let released = match &self.0 {
            Place::Local(lock) => lock.entry().end_acquired(),
            Place::Remote(lock) => lock.end_acquired()?,
        };
        let not_held = || LockError::NotHeld { name: Some(self.name().to_owned()) };
        released.then_some(()).ok_or_else(not_held)
    }

    fn locked(&self) -> Result<bool, LockError> {
        match &self.0 {
            Place::Local(lock) => Ok(lock.entry().gate.free() == 0),
            Place::Remote(lock) => lock.is_locked(),
        }
    }

    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self.lock_within(wait)?.map(Hold::new))
    }
}

impl fmt::Debug for ManagedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedLock").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// What both guards of a [`ManagedLock`] have.
macro_rules! guard {
    ($(#[$doc:meta])* $guard:ident $(<$life:lifetime>)?, $lock:ty) => {
        $(#[$doc])*
        #[must_use = "the lock is released when the guard is dropped"]
        pub struct $guard $(<$life>)? {
            /// What it has in Redis: it releases itself.
            lease: Option<Lease>,
            lock: $lock,
        }

        impl $(<$life>)? $guard $(<$life>)? {
            /// The name of the lock.
            pub fn name(&self) -> &str {
                self.lock.name()
            }

            /// The fencing token of a lock in Redis: greater than that of every earlier holder of
            /// this name. `None` for a lock in this process, which needs none.
            #[must_use]
            pub fn fence(&self) -> Option<u64> {
                self.lease.as_ref().map(|lease| lease.fence())
            }

            /// Whether the lock is still held, as far as can be known without asking: always, in this
            /// process; in Redis, until shortly before its lease can have ended.
            #[must_use]
            pub fn is_valid(&self) -> bool {
                self.lease.as_ref().is_none_or(|lease| lease.is_valid())
            }

            /// What there is to know and to do about the lease of a lock in Redis: its loss, how
            /// long it lasts, lengthening it. `None` for a lock in this process.
            #[cfg(all(feature = "redis", not(loom)))]
            #[must_use]
            pub fn lease(&self) -> Option<&crate::RedisGuard> {
                self.lease.as_deref()
            }

            /// Releases, and tells what a drop cannot: whether a lock in Redis was held to the end.
            ///
            /// # Errors
            /// None in this process. `LockError::Redis` if the lease was over before, or if the
            /// release could not be confirmed; it goes on by itself then.
            pub fn release(mut self) -> Result<(), LockError> {
                self.lease.take().map_or(Ok(()), |lease| lease.release())
            }

            /// [`release`](Self::release) for tasks. Dropping the future only stops the waiting.
            ///
            /// # Errors
            /// As [`release`](Self::release).
            pub async fn release_async(mut self) -> Result<(), LockError> {
                match self.lease.take() {
                    Some(lease) => Ok(lease.release_async().await?),
                    None => Ok(()),
                }
            }
        }

        impl $(<$life>)? Drop for $guard $(<$life>)? {
            #[inline]
            fn drop(&mut self) {
                self.lock.leave();
            }
        }

        impl $(<$life>)? fmt::Debug for $guard $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guard)).field("name", &self.name()).finish_non_exhaustive()
            }
        }
    };
}

guard! {
    /// Holds a [`ManagedLock`]. Dropping it releases.
    ManagedGuard<'a>, &'a ManagedLock
}

guard! {
    /// Holds a [`ManagedLock`], and keeps it. Dropping it releases.
    OwnedManagedGuard, ManagedLock
}

impl Held for ManagedGuard<'_> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Self::release(*self)
    }
}
