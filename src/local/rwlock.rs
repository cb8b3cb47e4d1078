//! The read-write lock: a gate with a great many permits, of which a reader takes one, a writer all,
//! and an upgradable reader more than half, so that there is room for readers beside it and for no
//! second one.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::{Gate, Request, Urgency};
use super::guard::{guard, mapped};
use super::holds::Holds;
use super::name::Name;
use super::recursion::tell_of_second_read;
use super::taken::{Gated, OwnedTaken, Taken};
use super::teller::Teller;
use super::ways::{owned_ways, ways};
use super::word;
use crate::sys::const_unless_loom;
use crate::{BaseReadWriteLock, Held, Hold, LockError, Wait};

pub(super) const READER: u32 = 1;
pub(super) const WRITER: u32 = word::MAX_PERMITS;
pub(super) const UPGRADABLE: u32 = WRITER / 2 + 1;
/// What an upgradable reader lacks to be a writer.
pub(super) const REST: u32 = WRITER - UPGRADABLE;

pub(super) const READ: Request = Request::of(READER);
pub(super) const READ_RECURSIVE: Request = Request::urgent(READER, Urgency::Recursive);
pub(super) const WRITE: Request = Request::of_all(WRITER);
pub(super) const READ_UPGRADABLE: Request = Request::of(UPGRADABLE);
pub(super) const UPGRADE: Request = Request::urgent(REST, Urgency::Upgrade);

/// A read-write lock in this process, alone or around the data that it protects: many readers, or
/// one writer.
///
/// Threads block on it and tasks await it, in one queue. When a writer leaves, all readers at the
/// front of the queue start at once. Guards may be sent to other threads, if the data may.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::ReadWriteLock;
///
/// let cache = ReadWriteLock::new(vec![1, 2, 3]);
/// {
///     let (one, two) = (cache.read(), cache.read());
///     assert_eq!(one.len() + two.len(), 6);
/// }
/// cache.write().push(4);
/// # }
/// ```
///
/// # Fairness
/// Neither readers nor writers starve. A newcomer that finds room may overtake those that wait, but
/// at most B times for each head of the queue: a waiter that found k others before it is overtaken
/// at most (k + 1) · B times. B is the bypass budget,
/// [`DEFAULT_BYPASS`](ReadWriteLock::DEFAULT_BYPASS) unless [`with_bypass`](Self::with_bypass) says
/// otherwise; 0 is strict first come, first served. Two kinds come on top, because they may hold
/// what the others wait for: a recursive read ([`read_recursive`](Self::read_recursive)) overtakes
/// everybody and is counted against nothing, so endless recursive reads starve writers; and an
/// upgrade goes before everybody, which delays each waiter by one write and one more budget for each
/// upgrade that comes after it.
///
/// # Reading twice
/// A thread that reads and reads again with [`read`](Self::read) may wait for a writer that waits
/// for the thread's first read: a deadlock. Use [`read_recursive`](Self::read_recursive) for the
/// second one. Builds with debug assertions tell on standard error when it happens, and name both
/// places.
///
/// # Upgrading
/// An upgradable reader ([`upgradable`](Self::upgradable)) reads beside other readers, and may become
/// the writer without letting another writer in between. There is at most one at a time.
///
/// # Panics in a critical section
/// There is no poisoning; see [`LocalLock`](crate::LocalLock). As for the auto traits, the lock is
/// `UnwindSafe` and `RefUnwindSafe` exactly when the data are `UnwindSafe`.
///
/// # Cancellation
/// Every future of this type is cancel-safe: dropped at any await, it has taken nothing, and
/// whoever's turn comes by its leaving is woken. Poll a future or drop it; about one that is kept
/// and not polled, see [`LocalLock::lock_async`](crate::LocalLock::lock_async).
///
/// # Size
/// 64 bytes and the data, in units of 64.
pub struct ReadWriteLock<T: ?Sized = ()> {
    gate: Gate,
    acquired_reads: Holds,
    acquired_writes: Holds,
    name: Name,
    data: Apart<UnsafeCell<T>>,
}

/// In a cache line of its own: the word changes with each reader that comes or goes, and those who
/// read meanwhile would have to fetch the data anew each time.
#[repr(align(64))]
struct Apart<T: ?Sized>(T);

// SAFETY: the lock owns its data, so it goes where they may go.
unsafe impl<T: ?Sized + Send> Send for ReadWriteLock<T> {}
// SAFETY: threads that share it may read the data together, or write them one at a time (I9).
unsafe impl<T: ?Sized + Send + Sync> Sync for ReadWriteLock<T> {}

impl<T: ?Sized + UnwindSafe> UnwindSafe for ReadWriteLock<T> {}
impl<T: ?Sized + UnwindSafe> RefUnwindSafe for ReadWriteLock<T> {}

impl ReadWriteLock {
    /// The bypass budget of a lock for which none was chosen. Where it comes from is in
    /// docs/performance.md.
    pub const DEFAULT_BYPASS: u16 = 4096;

    /// The largest bypass budget.
    pub const MAX_BYPASS: u16 = word::MAX_BUDGET;

    /// The most readers that a lock has at a time, beside an upgradable one. One more waits.
    pub const MAX_READERS: u32 = REST;

    /// A lock that protects nothing but the time that it is held, with a name for messages.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::named("index");
    /// assert_eq!(lock.name(), Some("index"));
    /// # }
    /// ```
    pub fn named(name: impl Into<Box<str>>) -> Self {
        Self::new(()).with_name(name)
    }
}

impl<T> ReadWriteLock<T> {
    const_unless_loom! {
        /// A free lock around `data`.
        ///
        /// ```
        /// # #[cfg(not(loom))] {
        /// static LOCK: warded::ReadWriteLock<Vec<u8>> = warded::ReadWriteLock::new(Vec::new());
        /// LOCK.write().push(1);
        /// # }
        /// ```
        pub const fn new(data: T) -> Self {
            Self {
                gate: Gate::new(WRITER, ReadWriteLock::DEFAULT_BYPASS),
                acquired_reads: Holds::new(),
                acquired_writes: Holds::new(),
                name: Name::none(),
                data: Apart(UnsafeCell::new(data)),
            }
        }
    }

    /// Chooses how often newcomers may overtake the head of the queue: 0 is strict first come, first
    /// served, which costs much of the speed under contention.
    ///
    /// # Panics
    /// If `budget` is more than [`MAX_BYPASS`](ReadWriteLock::MAX_BYPASS); in a constant, that does
    /// not compile.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// static FIFO: warded::ReadWriteLock<u8> = warded::ReadWriteLock::new(7).with_bypass(0);
    /// assert_eq!(*FIFO.read(), 7);
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
    /// let lock = warded::ReadWriteLock::new(7).with_name("lucky number");
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
    /// assert_eq!(warded::ReadWriteLock::new(7).into_inner(), 7);
    /// # }
    /// ```
    pub fn into_inner(self) -> T {
        self.data.0.into_inner()
    }
}

impl<T: ?Sized> ReadWriteLock<T> {
    /// The name that the lock was given.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(warded::ReadWriteLock::new(7).name(), None);
    /// # }
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.get()
    }

    /// The data, without locking: nobody else can have the lock.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let mut lock = warded::ReadWriteLock::new(7);
    /// *lock.get_mut() += 1;
    /// assert_eq!(lock.into_inner(), 8);
    /// # }
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.data.0.get_mut()
    }

    /// Whether somebody reads or writes. True only for the moment it was asked.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// let guard = lock.read();
    /// assert!(lock.is_locked() && !lock.is_write_locked());
    /// # drop(guard);
    /// # }
    /// ```
    pub fn is_locked(&self) -> bool {
        self.gate.free() < WRITER
    }

    /// Whether somebody writes. True only for the moment it was asked.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// let guard = lock.write();
    /// assert!(lock.is_write_locked());
    /// # drop(guard);
    /// # }
    /// ```
    pub fn is_write_locked(&self) -> bool {
        self.gate.free() == 0
    }

    /// [`read`](Self::read), under the specification's name.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(*warded::ReadWriteLock::new(7).reader(), 7);
    /// # }
    /// ```
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn reader(&self) -> ReadGuard<'_, T> {
        self.read()
    }

    /// [`write`](Self::write), under the specification's name.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// *warded::ReadWriteLock::new(7).writer() += 1;
    /// # }
    /// ```
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn writer(&self) -> WriteGuard<'_, T> {
        self.write()
    }

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn tell_of_second_read(&self) {
        tell_of_second_read(&self.gate, self.name());
    }

    // The caller has entered when it makes one of these.

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    fn read_guard(&self) -> ReadGuard<'_, T> {
        ReadGuard::new(Taken::keep_reading(&self.gate), self.data_ptr())
    }

    /// A task may go on on another thread.
    #[inline]
    fn read_guard_of_task(&self) -> ReadGuard<'_, T> {
        ReadGuard::new(Taken::keep(&self.gate), self.data_ptr())
    }

    #[inline]
    fn write_guard(&self) -> WriteGuard<'_, T> {
        WriteGuard::new(Taken::keep(&self.gate), self.data_ptr())
    }

    #[inline]
    fn upgradable_guard(&self) -> UpgradableGuard<'_, T> {
        UpgradableGuard::new(Taken::keep(&self.gate), self.data_ptr())
    }

    #[cfg_attr(debug_assertions, track_caller)]
    fn owned_read_guard(self: &Arc<Self>) -> OwnedReadGuard<T> {
        OwnedReadGuard::new(OwnedTaken::keep_reading(Arc::clone(self)), self.data_ptr())
    }

    fn owned_read_guard_of_task(self: &Arc<Self>) -> OwnedReadGuard<T> {
        OwnedReadGuard::new(OwnedTaken::keep(Arc::clone(self)), self.data_ptr())
    }

    fn owned_write_guard(self: &Arc<Self>) -> OwnedWriteGuard<T> {
        OwnedWriteGuard::new(OwnedTaken::keep(Arc::clone(self)), self.data_ptr())
    }

    fn owned_upgradable_guard(self: &Arc<Self>) -> OwnedUpgradableGuard<T> {
        OwnedUpgradableGuard::new(OwnedTaken::keep(Arc::clone(self)), self.data_ptr())
    }

    #[inline]
    fn data_ptr(&self) -> NonNull<T> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.data.0.get()) }
    }
}

ways! {
    impl ReadWriteLock, READ, thread: read_guard(), task: read_guard_of_task() -> ReadGuard,
    before: tell_of_second_read();

    /// Reads, together with others, blocking the thread for as long as somebody writes, or for the
    /// turn of those that wait.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert_eq!(*lock.read(), 7);
    /// # }
    /// ```
    read;

    /// Reads if that is possible at once. `None` if somebody writes, or if those that wait have been
    /// overtaken often enough.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert_eq!(lock.try_read().as_deref(), Some(&7));
    /// # }
    /// ```
    try_read;

    try_read_for;
    try_read_until;

    /// Reads, on any runtime, when nobody writes. Cancel-safe.
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert_eq!(*lock.read_async().await, 7);
    /// # })
    /// # }
    /// ```
    read_async;
}

ways! {
    impl ReadWriteLock, READ_RECURSIVE,
    thread: read_guard(), task: read_guard_of_task() -> ReadGuard;

    /// Reads, whoever waits: for a thread or task that reads already, and would wait for itself if
    /// it stood behind a writer. It overtakes all that wait and is counted against no budget, so
    /// endless recursive reads starve writers.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// let outer = lock.read();
    /// let inner = lock.read_recursive(); // never waits for a writer that waits for `outer`
    /// assert_eq!(*outer, *inner);
    /// # }
    /// ```
    read_recursive;

    /// Reads, whoever waits, if nobody writes.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert!(lock.try_read_recursive().is_some());
    /// # }
    /// ```
    try_read_recursive;

    try_read_recursive_for;
    try_read_recursive_until;

    /// Reads, whoever waits, on any runtime, when nobody writes. Cancel-safe.
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert_eq!(*lock.read_recursive_async().await, 7);
    /// # })
    /// # }
    /// ```
    read_recursive_async;
}

ways! {
    impl ReadWriteLock, WRITE, thread: write_guard(), task: write_guard() -> WriteGuard;

    /// Writes, alone, blocking the thread for as long as it takes.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// *lock.write() += 1;
    /// # }
    /// ```
    write;

    /// Writes if that is possible at once. `None` if somebody reads or writes, or if those that wait
    /// have been overtaken often enough.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// let reader = lock.read();
    /// assert!(lock.try_write().is_none());
    /// # drop(reader);
    /// # }
    /// ```
    try_write;

    try_write_for;
    try_write_until;

    /// Writes, on any runtime, when nobody else reads or writes. Cancel-safe.
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let lock = warded::ReadWriteLock::new(7);
    /// *lock.write_async().await += 1;
    /// # })
    /// # }
    /// ```
    write_async;
}

ways! {
    impl ReadWriteLock, READ_UPGRADABLE,
    thread: upgradable_guard(), task: upgradable_guard() -> UpgradableGuard;

    /// Reads beside other readers, but alone among those that may become the writer, blocking the
    /// thread for as long as it takes.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{ReadWriteLock, UpgradableGuard};
    ///
    /// let cache = ReadWriteLock::new(Vec::new());
    /// let looking = cache.upgradable();
    /// if looking.is_empty() {
    ///     // Nobody has written in between.
    ///     UpgradableGuard::upgrade(looking).push(7);
    /// }
    /// # }
    /// ```
    upgradable;

    /// Reads upgradably if that is possible at once. `None` if somebody writes or reads upgradably,
    /// or if those that wait have been overtaken often enough.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let lock = warded::ReadWriteLock::new(7);
    /// let first = lock.try_upgradable();
    /// assert!(first.is_some() && lock.try_upgradable().is_none());
    /// # }
    /// ```
    try_upgradable;

    try_upgradable_for;
    try_upgradable_until;

    /// Reads upgradably, on any runtime, when nobody else does and nobody writes. Cancel-safe.
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let lock = warded::ReadWriteLock::new(7);
    /// assert_eq!(*lock.upgradable_async().await, 7);
    /// # })
    /// # }
    /// ```
    upgradable_async;
}

owned_ways! {
    impl ReadWriteLock, READ,
    thread: owned_read_guard(), task: owned_read_guard_of_task() -> OwnedReadGuard,
    before: tell_of_second_read();
    read => read_owned, try_read => try_read_owned, try_read_for => try_read_owned_for,
    try_read_until => try_read_owned_until, read_async => read_owned_async;
}

owned_ways! {
    impl ReadWriteLock, WRITE,
    thread: owned_write_guard(), task: owned_write_guard() -> OwnedWriteGuard;
    write => write_owned, try_write => try_write_owned, try_write_for => try_write_owned_for,
    try_write_until => try_write_owned_until, write_async => write_owned_async;
}

owned_ways! {
    impl ReadWriteLock, READ_UPGRADABLE,
    thread: owned_upgradable_guard(), task: owned_upgradable_guard() -> OwnedUpgradableGuard;
    upgradable => upgradable_owned, try_upgradable => try_upgradable_owned,
    try_upgradable_for => try_upgradable_owned_for,
    try_upgradable_until => try_upgradable_owned_until,
    upgradable_async => upgradable_owned_async;
}

impl<T: ?Sized> Gated for ReadWriteLock<T> {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl BaseReadWriteLock for ReadWriteLock {
    fn acquire_read(&self, wait: Wait) -> Result<bool, LockError> {
        Ok(self.begin(READ, wait, &self.acquired_reads))
    }

    fn acquire_write(&self, wait: Wait) -> Result<bool, LockError> {
        Ok(self.begin(WRITE, wait, &self.acquired_writes))
    }

    fn release_read(&self) -> Result<(), LockError> {
        self.end(READER, &self.acquired_reads)
    }

    fn release_write(&self) -> Result<(), LockError> {
        self.end(WRITER, &self.acquired_writes)
    }

    fn hold_read(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self
            .gate
            .acquire_within(READ, wait, Teller::of(self.name()))
            .ok()
            .map(|()| Hold::new(self.read_guard())))
    }

    fn hold_write(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self
            .gate
            .acquire_within(WRITE, wait, Teller::of(self.name()))
            .ok()
            .map(|()| Hold::new(self.write_guard())))
    }
}

impl ReadWriteLock {
    fn begin(&self, request: Request, wait: Wait, holds: &Holds) -> bool {
        let entered = self.gate.acquire_within(request, wait, Teller::of(self.name())).is_ok();
        if entered {
            holds.begin();
        }
        entered
    }

    fn end(&self, permits: u32, holds: &Holds) -> Result<(), LockError> {
        if !holds.end() {
            return Err(LockError::NotHeld { name: self.name.get().map(str::to_owned) });
        }
        self.gate.release(permits);
        Ok(())
    }
}

impl<T: Default> Default for ReadWriteLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for ReadWriteLock<T> {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

/// Shows the data if they can be read at once, and does not wait for that.
impl<T: ?Sized + fmt::Debug> fmt::Debug for ReadWriteLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("ReadWriteLock");
        if let Some(name) = self.name() {
            lock.field("name", &name);
        }
        match self.try_read() {
            Some(data) => lock.field("data", &&*data),
            None => lock.field("data", &format_args!("<locked>")),
        };
        lock.finish()
    }
}

// Readers

guard! {
    /// Reads a [`ReadWriteLock`], together with others. Dropping it releases.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{ReadGuard, ReadWriteLock};
    ///
    /// let lock = ReadWriteLock::new((1, String::from("one")));
    /// let name = ReadGuard::map(lock.read(), |pair| &pair.1);
    /// assert_eq!(*name, "one");
    /// # }
    /// ```
    ReadGuard['a] => T, shared, Taken<'a, READER>
}

guard! {
    /// Reads a [`ReadWriteLock`] and keeps it alive: what [`ReadWriteLock::read_owned`] gives.
    OwnedReadGuard[] => T, shared, OwnedTaken<ReadWriteLock<T>, READER>
}

guard! {
    /// Reads a part of the data of a [`ReadWriteLock`]: what [`ReadGuard::map`] gives.
    MappedReadGuard['a] => T, shared, Taken<'a, READER>
}

guard! {
    /// Reads a part of the data of a [`ReadWriteLock`] and keeps it alive: what
    /// [`OwnedReadGuard::map`] gives.
    OwnedMappedReadGuard[T] => U, shared, OwnedTaken<ReadWriteLock<T>, READER>
}

mapped!(ReadGuard['a] => T, MappedReadGuard, shared);
mapped!(MappedReadGuard['a] => T, MappedReadGuard, shared);
mapped!(OwnedReadGuard[] => T, OwnedMappedReadGuard, shared);
mapped!(OwnedMappedReadGuard[T] => U, OwnedMappedReadGuard, shared);

// SAFETY: a reader is a `&T` and the right to release, which no thread owns.
unsafe impl<T: ?Sized + Sync> Send for ReadGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for ReadGuard<'_, T> {}
// SAFETY: as `ReadGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send + Sync> Send for OwnedReadGuard<T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedReadGuard<T> {}
// SAFETY: as `ReadGuard`.
unsafe impl<T: ?Sized + Sync> Send for MappedReadGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MappedReadGuard<'_, T> {}
// SAFETY: as `MappedReadGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send + Sync, U: ?Sized + Sync> Send for OwnedMappedReadGuard<T, U> {}
// SAFETY: a shared guard gives no more than `&U`.
unsafe impl<T: ?Sized, U: ?Sized + Sync> Sync for OwnedMappedReadGuard<T, U> {}

impl<T: ?Sized + Sync> Held for ReadGuard<'_, T> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(())
    }
}

// Writers

guard! {
    /// Writes a [`ReadWriteLock`], alone. Dropping it releases.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{ReadWriteLock, WriteGuard};
    ///
    /// let lock = ReadWriteLock::new(7);
    /// let mut writer = lock.write();
    /// *writer += 1;
    /// let reader = WriteGuard::downgrade(writer);
    /// assert_eq!(*reader, 8); // nobody has written in between
    /// # }
    /// ```
    WriteGuard['a] => T, exclusive, Taken<'a, WRITER>
}

guard! {
    /// Writes a [`ReadWriteLock`] and keeps it alive: what [`ReadWriteLock::write_owned`] gives.
    OwnedWriteGuard[] => T, exclusive, OwnedTaken<ReadWriteLock<T>, WRITER>
}

guard! {
    /// Writes a part of the data of a [`ReadWriteLock`]: what [`WriteGuard::map`] gives.
    ///
    /// It cannot be downgraded: the part may be what only a `&mut` of the whole gives, as the inside
    /// of a `Mutex`, which readers of the whole could change under it.
    MappedWriteGuard['a] => T, exclusive, Taken<'a, WRITER>
}

guard! {
    /// Writes a part of the data of a [`ReadWriteLock`] and keeps it alive: what
    /// [`OwnedWriteGuard::map`] gives.
    OwnedMappedWriteGuard[T] => U, exclusive, OwnedTaken<ReadWriteLock<T>, WRITER>
}

mapped!(WriteGuard['a] => T, MappedWriteGuard, exclusive);
mapped!(MappedWriteGuard['a] => T, MappedWriteGuard, exclusive);
mapped!(OwnedWriteGuard[] => T, OwnedMappedWriteGuard, exclusive);
mapped!(OwnedMappedWriteGuard[T] => U, OwnedMappedWriteGuard, exclusive);

// SAFETY: a writer is a `&mut T`, the right to release, which no thread owns, and after a downgrade
// a `&T` beside those of other threads.
unsafe impl<T: ?Sized + Send + Sync> Send for WriteGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for WriteGuard<'_, T> {}
// SAFETY: as `WriteGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send + Sync> Send for OwnedWriteGuard<T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedWriteGuard<T> {}
// SAFETY: as `WriteGuard`, without the downgrade.
unsafe impl<T: ?Sized + Send> Send for MappedWriteGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MappedWriteGuard<'_, T> {}
// SAFETY: as `MappedWriteGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send + Sync, U: ?Sized + Send> Send for OwnedMappedWriteGuard<T, U> {}
// SAFETY: a shared guard gives no more than `&U`.
unsafe impl<T: ?Sized, U: ?Sized + Sync> Sync for OwnedMappedWriteGuard<T, U> {}

impl<T: ?Sized + Send + Sync> Held for WriteGuard<'_, T> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(())
    }
}

impl<'a, T: ?Sized> WriteGuard<'a, T> {
    /// Becomes a reader, with no other writer in between. Readers at the front of the queue start.
    pub fn downgrade(guard: Self) -> ReadGuard<'a, T> {
        let Self { taken, data, .. } = guard;
        ReadGuard::new(taken.downgrade(), data)
    }

    /// Becomes an upgradable reader, with no other writer in between.
    pub fn downgrade_to_upgradable(guard: Self) -> UpgradableGuard<'a, T> {
        let Self { taken, data, .. } = guard;
        UpgradableGuard::new(taken.downgrade(), data)
    }
}

impl<T: ?Sized> OwnedWriteGuard<T> {
    /// Becomes a reader, with no other writer in between. Readers at the front of the queue start.
    pub fn downgrade(guard: Self) -> OwnedReadGuard<T> {
        let Self { taken, data, .. } = guard;
        OwnedReadGuard::new(taken.downgrade(), data)
    }

    /// Becomes an upgradable reader, with no other writer in between.
    pub fn downgrade_to_upgradable(guard: Self) -> OwnedUpgradableGuard<T> {
        let Self { taken, data, .. } = guard;
        OwnedUpgradableGuard::new(taken.downgrade(), data)
    }
}

// Upgradable readers

guard! {
    /// Reads a [`ReadWriteLock`] beside other readers, and may become the writer. Dropping it
    /// releases.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{ReadWriteLock, UpgradableGuard};
    ///
    /// let lock = ReadWriteLock::new(7);
    /// let mut looking = lock.upgradable();
    /// let reader = lock.read();
    /// assert!(UpgradableGuard::try_upgraded(&mut looking).is_none());
    /// drop(reader);
    /// *UpgradableGuard::upgrade(looking) += 1;
    /// # }
    /// ```
    UpgradableGuard['a] => T, shared, Taken<'a, UPGRADABLE>
}

guard! {
    /// Reads a [`ReadWriteLock`] upgradably and keeps it alive: what
    /// [`ReadWriteLock::upgradable_owned`] gives.
    OwnedUpgradableGuard[] => T, shared, OwnedTaken<ReadWriteLock<T>, UPGRADABLE>
}

guard! {
    /// An upgradable reader that writes for a while: what [`UpgradableGuard::upgraded`] gives.
    /// Dropping it goes back to reading upgradably.
    UpgradedGuard['a] => T, exclusive, Taken<'a, REST>
}

// SAFETY: an upgradable reader is a `&T`, a `&mut T` when it has become the writer, and the right to
// release, which no thread owns.
unsafe impl<T: ?Sized + Send + Sync> Send for UpgradableGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for UpgradableGuard<'_, T> {}
// SAFETY: as `UpgradableGuard`; and with the last guard goes the lock, with all its data.
unsafe impl<T: ?Sized + Send + Sync> Send for OwnedUpgradableGuard<T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for OwnedUpgradableGuard<T> {}
// SAFETY: it is a `&mut T`, and the right to release, which no thread owns. The guard under it is
// borrowed for as long.
unsafe impl<T: ?Sized + Send + Sync> Send for UpgradedGuard<'_, T> {}
// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: ?Sized + Sync> Sync for UpgradedGuard<'_, T> {}

/// Both kinds of upgradable guard have the same ways to become the writer.
macro_rules! upgrades {
    ($Guard:ident $(<$life:lifetime>)?, $Write:ident, $Read:ident) => {
        impl<$($life,)? T: ?Sized> $Guard<$($life,)? T> {
            /// Becomes the writer, with no other writer in between, blocking the thread until all
            /// other readers have left. It goes before everybody who waits.
            pub fn upgrade(guard: Self) -> $Write<$($life,)? T> {
                guard.taken.gate().acquire(UPGRADE, None, Teller::of(None)).expect(Gate::PATIENT);
                guard.into_writer()
            }

            /// Becomes the writer if there is no other reader.
            ///
            /// # Errors
            /// The guard as it was, if there is one.
            pub fn try_upgrade(guard: Self) -> Result<$Write<$($life,)? T>, Self> {
                let entered = guard.taken.gate().try_acquire(UPGRADE);
                if entered { Ok(guard.into_writer()) } else { Err(guard) }
            }

            /// Becomes the writer, blocking the thread for at most this long.
            ///
            /// # Errors
            /// The guard, which still reads upgradably, when the time is over.
            pub fn try_upgrade_for(
                guard: Self,
                timeout: Duration,
            ) -> Result<$Write<$($life,)? T>, Self> {
                guard.upgrade_within(timeout.into())
            }

            /// Becomes the writer, blocking the thread until this instant at the latest.
            ///
            /// # Errors
            /// The guard, which still reads upgradably, when it has come.
            pub fn try_upgrade_until(
                guard: Self,
                deadline: Instant,
            ) -> Result<$Write<$($life,)? T>, Self> {
                guard.upgrade_within(deadline.into())
            }

            /// Writes for as long as the guard that this gives lives, and reads upgradably again
            /// after that. Blocks the thread until all other readers have left.
            pub fn upgraded(guard: &mut Self) -> UpgradedGuard<'_, T> {
                guard.taken.gate().acquire(UPGRADE, None, Teller::of(None)).expect(Gate::PATIENT);
                guard.upgraded_guard()
            }

            /// [`upgraded`](Self::upgraded) if there is no other reader.
            pub fn try_upgraded(guard: &mut Self) -> Option<UpgradedGuard<'_, T>> {
                let entered = guard.taken.gate().try_acquire(UPGRADE);
                if entered { Some(guard.upgraded_guard()) } else { None }
            }

            /// [`upgraded`](Self::upgraded), on any runtime. Cancel-safe: a future that is dropped
            /// leaves the guard reading upgradably, which is why this one borrows it.
            pub async fn upgraded_async(guard: &mut Self) -> UpgradedGuard<'_, T> {
                guard.taken.gate().acquire_async(UPGRADE, Teller::of(None)).await.expect(Gate::PATIENT);
                guard.upgraded_guard()
            }

            /// Becomes the writer, with no other writer in between, on any runtime. It goes before
            /// everybody who waits.
            ///
            /// Cancel-safe, but a future that is dropped takes the guard with it; use
            /// [`upgraded_async`](Self::upgraded_async) to keep it.
            pub async fn upgrade_async(guard: Self) -> $Write<$($life,)? T> {
                guard.taken.gate().acquire_async(UPGRADE, Teller::of(None)).await.expect(Gate::PATIENT);
                guard.into_writer()
            }

            /// Becomes an ordinary reader. Another may read upgradably then.
            pub fn downgrade(guard: Self) -> $Read<$($life,)? T> {
                let Self { taken, data, .. } = guard;
                $Read::new(taken.downgrade(), data)
            }

            fn upgrade_within(self, wait: Wait) -> Result<$Write<$($life,)? T>, Self> {
                let entered = self.taken.gate().acquire_within(UPGRADE, wait, Teller::of(None)).is_ok();
                if entered { Ok(self.into_writer()) } else { Err(self) }
            }

            /// The caller has taken the rest.
            fn into_writer(self) -> $Write<$($life,)? T> {
                let Self { taken, data, .. } = self;
                $Write::new(taken.with_rest(), data)
            }

            /// The caller has taken the rest.
            fn upgraded_guard(&mut self) -> UpgradedGuard<'_, T> {
                UpgradedGuard::new(Taken::keep(self.taken.gate()), self.data)
            }
        }
    };
}

upgrades!(UpgradableGuard<'a>, WriteGuard, ReadGuard);
upgrades!(OwnedUpgradableGuard, OwnedWriteGuard, OwnedReadGuard);
