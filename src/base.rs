//! The specification's layer: blocking, object-safe traits with `bool` results, and the guard that
//! they give out.
//!
//! They exist for primitives that carry no data. `release` is safe code that anybody may call, so
//! it must not be able to end the exclusion on which a guard's `&mut T` rests: it ends what
//! `acquire` began, and nothing else.

use std::fmt;

use crate::{LockError, Wait};

/// A lock of any kind: in this process, or across machines.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{BaseLock, LocalLock, Wait};
///
/// fn run_once(lock: &dyn BaseLock) -> Result<bool, warded::LockError> {
///     let Some(_held) = lock.hold(Wait::Never)? else { return Ok(false) };
///     // …the work, alone; the guard releases at the end…
///     Ok(true)
/// }
///
/// assert!(run_once(&LocalLock::named("nightly"))?);
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
pub trait BaseLock: Send + Sync {
    /// Takes the lock and leaves it taken; [`release`](Self::release) ends that. `false` if it was
    /// not to be had within `wait`.
    ///
    /// Not re-entrant: a thread that acquires again what it holds waits for itself.
    ///
    /// # Errors
    /// What the implementation cannot do; never that somebody else holds the lock.
    fn acquire(&self, wait: Wait) -> Result<bool, LockError>;

    /// Ends what [`acquire`](Self::acquire) began, on whichever thread. Never ends a guard.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if no `acquire` is in force.
    fn release(&self) -> Result<(), LockError>;

    /// Whether somebody holds the lock, in whichever way. True only for the moment it was asked.
    ///
    /// # Errors
    /// What the implementation cannot find out.
    fn locked(&self) -> Result<bool, LockError>;

    /// Takes the lock for as long as the guard lives: the specification's context manager. `None`
    /// if it was not to be had within `wait`. [`release`](Self::release) does not end it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError>;
}

/// A semaphore of any kind.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{BaseSemaphore, LocalSemaphore, Wait};
///
/// let workers: Box<dyn BaseSemaphore> = Box::new(LocalSemaphore::new(2));
/// assert!(workers.acquire(Wait::Forever)?);
/// assert_eq!(workers.available()?, 1);
/// workers.release()?;
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
pub trait BaseSemaphore: Send + Sync {
    /// Takes one permit and keeps it; [`release`](Self::release) gives it back. `false` if none was
    /// to be had within `wait`.
    ///
    /// # Errors
    /// [`LockError::Closed`], and what the implementation cannot do.
    fn acquire(&self, wait: Wait) -> Result<bool, LockError>;

    /// Gives back one permit that [`acquire`](Self::acquire) took, on whichever thread.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if `acquire` has no permit out.
    fn release(&self) -> Result<(), LockError>;

    /// How many permits are free. True only for the moment it was asked.
    ///
    /// # Errors
    /// What the implementation cannot find out.
    fn available(&self) -> Result<u32, LockError>;

    /// Takes one permit for as long as the guard lives. `None` if none was to be had within `wait`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError>;
}

/// A read-write lock of any kind.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{BaseReadWriteLock, ReadWriteLock, Wait};
///
/// let index: Box<dyn BaseReadWriteLock> = Box::new(ReadWriteLock::named("index"));
/// assert!(index.acquire_read(Wait::Forever)?);
/// assert!(!index.acquire_write(Wait::Never)?);
/// index.release_read()?;
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
pub trait BaseReadWriteLock: Send + Sync {
    /// Takes the lock for reading, together with other readers; [`release_read`](Self::release_read)
    /// ends that. `false` if it was not to be had within `wait`.
    ///
    /// # Errors
    /// What the implementation cannot do; never that a writer holds the lock.
    fn acquire_read(&self, wait: Wait) -> Result<bool, LockError>;

    /// Takes the lock for writing, alone; [`release_write`](Self::release_write) ends that. `false`
    /// if it was not to be had within `wait`.
    ///
    /// # Errors
    /// What the implementation cannot do; never that others hold the lock.
    fn acquire_write(&self, wait: Wait) -> Result<bool, LockError>;

    /// Ends what one [`acquire_read`](Self::acquire_read) began, on whichever thread.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if no `acquire_read` is in force.
    fn release_read(&self) -> Result<(), LockError>;

    /// Ends what [`acquire_write`](Self::acquire_write) began, on whichever thread.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if no `acquire_write` is in force.
    fn release_write(&self) -> Result<(), LockError>;

    /// Reads for as long as the guard lives. `None` if the lock was not to be had within `wait`.
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    fn hold_read(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError>;

    /// Writes for as long as the guard lives. `None` if the lock was not to be had within `wait`.
    ///
    /// # Errors
    /// As [`acquire_write`](Self::acquire_write).
    fn hold_write(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError>;
}

/// What [`BaseLock::hold`] and its kin give out: a guard of some implementation. Dropping it
/// releases.
///
/// It costs one allocation, since the implementation is not known here; the guards of the
/// primitives' own methods cost none.
#[must_use = "the lock is released when this is dropped"]
pub struct Hold<'a> {
    held: Box<dyn Held + 'a>,
}

impl<'a> Hold<'a> {
    /// Wraps an implementation's own guard. For those who implement the traits.
    pub fn new(held: impl Held + 'a) -> Self {
        Self { held: Box::new(held) }
    }

    /// Releases now, and tells what dropping cannot.
    ///
    /// # Errors
    /// That the implementation's guard was over already, or that nobody knows. In-process guards
    /// never fail.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{BaseLock, LocalLock, Wait};
    ///
    /// let lock = LocalLock::named("jobs");
    /// let held = lock.hold(Wait::Forever)?.expect("nobody else is here");
    /// held.release()?;
    /// # }
    /// # Ok::<(), warded::LockError>(())
    /// ```
    pub fn release(self) -> Result<(), LockError> {
        self.held.release()
    }
}

impl fmt::Debug for Hold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

/// A guard that [`Hold`] can wrap. Its drop releases.
pub trait Held: Send {
    /// Releases, and tells whether there was still something to release.
    ///
    /// # Errors
    /// That the guard was over already, or that nobody knows.
    fn release(self: Box<Self>) -> Result<(), LockError>;
}
