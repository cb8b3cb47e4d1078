//! The lock: a gate with one permit.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::{Gate, Request};
use super::guard::{guard, mapped};
use super::holds::Holds;
use super::name::Name;
use super::taken::{Gated, OwnedTaken, Taken};
use super::teller::Teller;
use super::ways::{owned_ways, ways};
use crate::sys::const_unless_loom;
use crate::{BaseLock, Held, Hold, LockError, Wait};

/// The only permit.
pub(super) const PERMIT: u32 = 1;
pub(super) const LOCK: Request = Request::of_all(PERMIT);

/// A lock in this process, alone or around the data that it protects.
///
/// Threads block on it and tasks await it, in one queue: [`lock`](Self::lock) and
/// [`lock_async`](Self::lock_async) on the same object exclude one another. Guards may be sent to
/// other threads, if the data may. It is not re-entrant: a thread that locks again what it holds
/// waits for itself.
///
/// ```
/// # #[cfg(not(loom))] {
/// use std::thread;
/// use warded::LocalLock;
///
/// static TOTAL: LocalLock<u64> = LocalLock::new(0);
///
/// thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| *TOTAL.lock() += 1);
///     }
/// });
/// assert_eq!(*TOTAL.lock(), 4);
/// # }
/// ```
///
/// # Fairness
/// A newcomer that finds the lock free may overtake those that wait, but at most B times for each
/// head of the queue: a waiter that found k others before it is overtaken at most (k + 1) · B
/// times. B is the bypass budget, [`DEFAULT_BYPASS`](LocalLock::DEFAULT_BYPASS) unless
/// [`with_bypass`](Self::with_bypass) says otherwise; 0 is strict first come, first served. While
/// the budget is spent, `try_lock` may find a free lock shut, until the head has had it.
///
/// # Panics in a critical section
/// There is no poisoning. A panic drops the guard like any other way out, and the next holder sees
/// the data as the panic left them; whoever cannot bear that keeps a flag beside the data. As for
/// the auto traits, the lock is `UnwindSafe` and `RefUnwindSafe` exactly when the data are
/// `UnwindSafe`: a caught panic may let somebody see half-changed data. (std's locks, which poison,
/// are both whatever the data; parking_lot's are `UnwindSafe` like these, and never `RefUnwindSafe`.)
///
/// # Cancellation
/// Every future of this type is cancel-safe: dropped at any await, it has taken nothing, and
/// whoever's turn comes by its leaving is woken. A future that has been polled keeps its place in
/// the queue; see [`lock_async`](Self::lock_async) about one that is kept and not polled.
///
/// # Size
/// 56 bytes and the data.
#[repr(C)]
pub struct LocalLock<T: ?Sized = ()> {
    name: Name,
    acquired: Holds,
    gate: Gate,
    data: UnsafeCell<T>,
}

// The word is the last of the gate, and what it guards comes next.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(
    std::mem::offset_of!(LocalLock<u64>, data)
        == std::mem::offset_of!(LocalLock<u64>, gate) + size_of::<Gate>()
);

// SAFETY: the lock owns its data, so it goes where they may go.
unsafe impl<T: ?Sized + Send> Send for LocalLock<T> {}
// SAFETY: of all that share it, one at a time reaches the data (I9), each perhaps on its own thread.
unsafe impl<T: ?Sized + Send> Sync for LocalLock<T> {}

impl<T: ?Sized + UnwindSafe> UnwindSafe for LocalLock<T> {}
impl<T: ?Sized + UnwindSafe> RefUnwindSafe for LocalLock<T> {}

impl LocalLock {
    /// A lock that protects nothing but the time that it is held, with a name for messages.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::LocalLock::named("jobs");
    /// assert_eq!(lock.name(), Some("jobs"));
    /// # }
    /// ```
    pub fn named(name: impl Into<Box<str>>) -> Self {
        Self::new(()).with_name(name)
    }
}

impl LocalLock {
    /// The bypass budget of a lock for which none was chosen. Where it comes from is in
    /// docs/performance.md.
    pub const DEFAULT_BYPASS: u16 = 4096;

    /// The largest bypass budget.
    pub const MAX_BYPASS: u16 = super::word::MAX_BUDGET;
}

impl<T> LocalLock<T> {
    const_unless_loom! {
        /// A free lock around `data`.
        ///
        /// ```
        /// # #[cfg(not(loom))] {
        /// static LOCK: warded::LocalLock<Vec<u8>> = warded::LocalLock::new(Vec::new());
        /// LOCK.lock().push(1);
        /// # }
        /// ```
        pub const fn new(data: T) -> Self {
            Self {
                gate: Gate::new(PERMIT, LocalLock::DEFAULT_BYPASS),
                acquired: Holds::new(),
                name: Name::none(),
                data: UnsafeCell::new(data),
            }
        }
    }

    /// Chooses how often newcomers may overtake the head of the queue: 0 is strict first come, first
    /// served, which costs much of the speed under contention.
    ///
    /// # Panics
    /// If `budget` is more than [`MAX_BYPASS`](LocalLock::MAX_BYPASS); in a constant, that does not
    /// compile.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// static FIFO: warded::LocalLock<u8> = warded::LocalLock::new(7).with_bypass(0);
    /// assert_eq!(*FIFO.lock(), 7);
    /// # }
    /// ```
    #[must_use]
    pub const fn with_bypass(mut self, budget: u16) -> Self {
        self.gate.set_budget(budget);
        self
    }

    /// Gives the lock a name, for messages.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::LocalLock::new(7).with_name("lucky number");
    /// assert_eq!(lock.name(), Some("lucky number"));
    /// # }
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Name::new(name);
        self
    }

    /// Ends the lock and gives the data back.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(warded::LocalLock::new(7).into_inner(), 7);
    /// # }
    /// ```
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> LocalLock<T> {
    /// The name that the lock was given.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(warded::LocalLock::new(7).name(), None);
    /// # }
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.get()
    }

    /// The data, without locking: nobody else can have the lock.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let mut lock = warded::LocalLock::new(7);
    /// *lock.get_mut() += 1;
    /// assert_eq!(lock.into_inner(), 8);
    /// # }
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Whether somebody holds the lock. True only for the moment it was asked.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::LocalLock::new(7);
    /// let guard = lock.lock();
    /// assert!(lock.is_locked());
    /// # drop(guard);
    /// # }
    /// ```
    pub fn is_locked(&self) -> bool {
        self.gate.free() == 0
    }

    /// The caller has entered.
    #[inline]
    fn guard(&self) -> LockGuard<'_, T> {
        LockGuard::new(Taken::keep(&self.gate), self.data_ptr())
    }

    /// The caller has entered.
    fn owned_guard(self: &Arc<Self>) -> OwnedLockGuard<T> {
        OwnedLockGuard::new(OwnedTaken::keep(Arc::clone(self)), self.data_ptr())
    }

    #[inline]
    fn data_ptr(&self) -> NonNull<T> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.data.get()) }
    }
}

ways! {
    impl LocalLock, LOCK, thread: guard(), task: guard() -> LockGuard;

    /// Locks, blocking the thread for as long as it takes.
    ///
    /// In asynchronous code, use [`lock_async`](Self::lock_async): a blocked thread runs no tasks.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::LocalLock::new(String::new());
    /// lock.lock().push_str("alone");
    /// # }
    /// ```
    lock;

    /// Locks if that is possible at once. `None` if somebody holds the lock, or if those that wait
    /// for it have been overtaken often enough.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::LocalLock::new(7);
    /// let guard = lock.lock();
    /// assert!(lock.try_lock().is_none());
    /// # drop(guard);
    /// # }
    /// ```
    try_lock;

    try_lock_for;
    try_lock_until;

    /// Locks, on any runtime, when the lock is free.
    ///
    /// Cancel-safe: a future that is dropped has taken nothing. It queues when it is first polled,
    /// not before.
    ///
    /// **Poll it or drop it.** A future whose turn has come and that its task keeps without polling
    /// shuts the door when the bypass budget is spent, and everybody waits for it: *futurelock*, as
    /// it was called in [Oxide's RFD 609](https://rfd.shared.oxide.computer/rfd/0609). It takes a
    /// task that goes on to something else while it keeps the future, and then wants the lock again:
    ///
    /// ```no_run
    /// # #[cfg(not(loom))] {
    /// # async fn race(_: impl Future) {}
    /// # async fn work(lock: &warded::LocalLock<u8>) {
    /// let mut first = std::pin::pin!(lock.lock_async());
    /// // Polls `first`, gives up on it, and keeps it…
    /// race(first.as_mut()).await;
    /// // …so this waits for `first` to enter and leave, and nobody polls `first`.
    /// lock.lock_async().await;
    /// # }
    /// # }
    /// ```
    ///
    /// The cure is to drop what lost the race (give `race` the future itself, not a reference to it)
    /// or to poll it in a task of its own.
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let lock = warded::LocalLock::new(7);
    /// *lock.lock_async().await += 1;
    /// # })
    /// # }
    /// ```
    lock_async;
}

owned_ways! {
    impl LocalLock, LOCK, thread: owned_guard(), task: owned_guard() -> OwnedLockGuard;
    lock => lock_owned, try_lock => try_lock_owned, try_lock_for => try_lock_owned_for,
    try_lock_until => try_lock_owned_until, lock_async => lock_owned_async;
}

impl<T: ?Sized> Gated for LocalLock<T> {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl BaseLock for LocalLock {
    fn acquire(&self, wait: Wait) -> Result<bool, LockError> {
        let entered = self.gate.acquire_within(LOCK, wait, Teller::of(self.name())).is_ok();
        if entered {
            self.acquired.begin();
        }
        Ok(entered)
    }

    fn release(&self) -> Result<(), LockError> {
        if !self.acquired.end() {
            return Err(LockError::NotHeld { name: self.name.get().map(str::to_owned) });
        }
        self.gate.release(PERMIT);
        Ok(())
    }

    fn locked(&self) -> Result<bool, LockError> {
        Ok(self.is_locked())
    }

    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self
            .gate
            .acquire_within(LOCK, wait, Teller::of(self.name()))
            .ok()
            .map(|()| Hold::new(self.guard())))
    }
}

impl<T: Default> Default for LocalLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for LocalLock<T> {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

/// Shows the data if the lock is free, and does not wait for it.
impl<T: ?Sized + fmt::Debug> fmt::Debug for LocalLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("LocalLock");
        if let Some(name) = self.name() {
            lock.field("name", &name);
        }
        match self.try_lock() {
            Some(data) => lock.field("data", &&*data),
            None => lock.field("data", &format_args!("<locked>")),
        };
        lock.finish()
    }
}

guard! {
    /// Holds a [`LocalLock`], and gives access to its data. Dropping it releases.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LocalLock, LockGuard};
    ///
    /// let lock = LocalLock::new((1, String::from("one")));
    /// let name = LockGuard::map(lock.lock(), |pair| &mut pair.1);
    /// assert_eq!(*name, "one");
    /// # }
    /// ```
    LockGuard['a] => T, exclusive, Taken<'a, PERMIT>
}

guard! {
    /// Holds a [`LocalLock`] and keeps it alive: what [`LocalLock::lock_owned`] gives.
    OwnedLockGuard[] => T, exclusive, OwnedTaken<LocalLock<T>, PERMIT>
}

guard! {
    /// Holds a [`LocalLock`], and gives access to a part of its data: what [`LockGuard::map`] gives.
    MappedLockGuard['a] => T, exclusive, Taken<'a, PERMIT>
}

guard! {
    /// Holds a [`LocalLock`] and keeps it alive, and gives access to a part of its data: what
    /// [`OwnedLockGuard::map`] gives.
    OwnedMappedLockGuard[T] => U, exclusive, OwnedTaken<LocalLock<T>, PERMIT>
}

mapped!(LockGuard['a] => T, MappedLockGuard, exclusive);
mapped!(MappedLockGuard['a] => T, MappedLockGuard, exclusive);
mapped!(OwnedLockGuard[] => T, OwnedMappedLockGuard, exclusive);
mapped!(OwnedMappedLockGuard[T] => U, OwnedMappedLockGuard, exclusive);

// SAFETY: a guard is a `&mut T` and the right to release, which no thread owns.
unsafe impl<T: ?Sized + Send> Send for LockGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for LockGuard<'_, T> {}
// SAFETY: as `LockGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send> Send for OwnedLockGuard<T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedLockGuard<T> {}
// SAFETY: as `LockGuard`.
unsafe impl<T: ?Sized + Send> Send for MappedLockGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MappedLockGuard<'_, T> {}
// SAFETY: as `MappedLockGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send, U: ?Sized + Send> Send for OwnedMappedLockGuard<T, U> {}
// SAFETY: a shared guard gives no more than `&U`.
unsafe impl<T: ?Sized, U: ?Sized + Sync> Sync for OwnedMappedLockGuard<T, U> {}

impl<'a, T: ?Sized> LockGuard<'a, T> {
    /// Releases, and lets no newcomer overtake the head of the queue any more: for a thread that
    /// would take the lock again at once and knows that others should have it.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LocalLock, LockGuard};
    ///
    /// let lock = LocalLock::new(7);
    /// LockGuard::release_fairly(lock.lock());
    /// # }
    /// ```
    pub fn release_fairly(guard: Self) {
        guard.taken.into_gate().release_fairly(PERMIT);
    }
}

impl<T: ?Sized + Send> Held for LockGuard<'_, T> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(())
    }
}
