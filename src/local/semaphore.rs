//! The semaphore: a gate with n permits, which may become more or fewer.

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::{Gate, Refusal, Request, Urgency};
use super::holds::Holds;
use super::name::Name;
use super::teller::Teller;
use super::word;
use crate::sys::const_unless_loom;
use crate::{BaseSemaphore, Held, Hold, LockError, PermitError, PermitOverflow, Wait};

/// A semaphore in this process: so many permits, which threads and tasks take and give back.
///
/// Threads block on it and tasks await it, in one queue. Somebody who wants many permits at once
/// waits in that queue like everybody else, and those who come later and want few cannot keep them
/// from it: permits pile up until its turn comes.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::LocalSemaphore;
///
/// let connections = LocalSemaphore::new(3);
/// let one = connections.permit()?;
/// let two = connections.permits(2)?;
/// assert!(connections.try_permit().is_err());
/// drop(two);
/// assert_eq!(connections.available_permits(), 2);
/// # drop(one);
/// # }
/// # Ok::<(), warded::PermitError>(())
/// ```
///
/// # Fairness
/// A newcomer that finds its permits free may overtake those that wait, but at most B times for each
/// head of the queue: a waiter that found k others before it is overtaken at most (k + 1) · B
/// times. B is the bypass budget, [`DEFAULT_BYPASS`](Self::DEFAULT_BYPASS) unless
/// [`with_bypass`](Self::with_bypass) says otherwise; 0 is strict first come, first served. While
/// the budget is spent, `try_permit` may find permits free and yet shut off, until the head has had
/// its own. Waiters whose turn has come at the same time enter in whichever order they wake.
///
/// # Cancellation
/// Every future of this type is cancel-safe: dropped at any await, it has taken nothing, and
/// whoever's turn comes by its leaving is woken. Poll a future or drop it; about one that is kept
/// and not polled, see [`LocalLock::lock_async`](crate::LocalLock::lock_async).
///
/// # Size
/// 56 bytes.
pub struct LocalSemaphore {
    name: Name,
    acquired: Holds,
    gate: Gate,
}

impl LocalSemaphore {
    /// The most permits that a semaphore can have, free or taken.
    pub const MAX_PERMITS: u32 = word::MAX_PERMITS;

    /// The bypass budget of a semaphore for which none was chosen. Where it comes from is in
    /// docs/performance.md.
    pub const DEFAULT_BYPASS: u16 = 4096;

    /// The largest bypass budget.
    pub const MAX_BYPASS: u16 = word::MAX_BUDGET;

    const_unless_loom! {
        /// A semaphore with so many permits, all free.
        ///
        /// # Panics
        /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS); in a constant, that does not
        /// compile. For a number from outside there is
        /// [`add_permits`](Self::add_permits), which gives an error.
        ///
        /// ```
        /// # #[cfg(not(loom))] {
        /// static WORKERS: warded::LocalSemaphore = warded::LocalSemaphore::new(4);
        /// assert_eq!(WORKERS.available_permits(), 4);
        /// # }
        /// ```
        pub const fn new(permits: u32) -> Self {
            Self {
                gate: Gate::new(permits, Self::DEFAULT_BYPASS),
                acquired: Holds::new(),
                name: Name::none(),
            }
        }
    }

    /// Chooses how often newcomers may overtake the head of the queue: 0 is strict first come, first
    /// served, which costs much of the speed under contention.
    ///
    /// # Panics
    /// If `budget` is more than [`MAX_BYPASS`](Self::MAX_BYPASS); in a constant, that does not
    /// compile.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// static FIFO: warded::LocalSemaphore = warded::LocalSemaphore::new(4).with_bypass(0);
    /// assert!(FIFO.permit().is_ok());
    /// # }
    /// ```
    #[must_use]
    pub const fn with_bypass(mut self, budget: u16) -> Self {
        self.gate.set_budget(budget);
        self
    }

    /// Gives the semaphore a name, for messages.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let workers = warded::LocalSemaphore::new(4).with_name("workers");
    /// assert_eq!(workers.name(), Some("workers"));
    /// # }
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Name::new(name);
        self
    }

    /// The name that the semaphore was given.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(warded::LocalSemaphore::new(4).name(), None);
    /// # }
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.get()
    }

    // Looking and changing

    /// How many permits are free. True only for the moment it was asked.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// assert_eq!(warded::LocalSemaphore::new(4).available_permits(), 4);
    /// # }
    /// ```
    pub fn available_permits(&self) -> u32 {
        self.gate.free()
    }

    /// How many permits there are in all, free or taken. True only for the moment it was asked.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(4);
    /// let permit = semaphore.permit()?;
    /// assert_eq!(semaphore.total_permits(), 4);
    /// # drop(permit);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn total_permits(&self) -> u32 {
        self.gate.max()
    }

    /// Adds free permits; whoever's turn comes by that is woken.
    ///
    /// # Errors
    /// [`PermitOverflow`], with nothing added, if there would be more than
    /// [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// semaphore.add_permits(2)?;
    /// assert_eq!(semaphore.available_permits(), 3);
    /// # }
    /// # Ok::<(), warded::PermitOverflow>(())
    /// ```
    pub fn add_permits(&self, n: u32) -> Result<(), PermitOverflow> {
        self.gate.add(n).map_err(|max| PermitOverflow { max, added: n })
    }

    /// Takes up to `n` free permits away for good, and tells how many those were. It overtakes
    /// everybody who waits. A waiter that needs more than is left in all gets
    /// [`PermitError::TooMany`] when it comes to be the next.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// assert_eq!(semaphore.forget_permits(5), 3);
    /// assert_eq!(semaphore.total_permits(), 0);
    /// # }
    /// ```
    pub fn forget_permits(&self, n: u32) -> u32 {
        self.gate.forget_free(n)
    }

    /// Gives out no permit any more: whoever waits gets [`PermitError::Closed`], and so does whoever
    /// comes. Permits that are out may be given back, to no effect. There is no way to open it
    /// again.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LocalSemaphore, PermitError};
    ///
    /// let semaphore = LocalSemaphore::new(1);
    /// semaphore.close();
    /// assert_eq!(semaphore.permit().err(), Some(PermitError::Closed));
    /// # }
    /// ```
    pub fn close(&self) {
        self.gate.close();
        self.teller().closes();
    }

    /// Whether it is closed.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// semaphore.close();
    /// assert!(semaphore.is_closed());
    /// # }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    // One permit

    /// Takes a permit, blocking the thread for as long as it takes.
    ///
    /// # Errors
    /// [`PermitError::Closed`]; [`PermitError::TooMany`] if there is no permit in all.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// let permit = semaphore.permit()?;
    /// assert_eq!(permit.count(), 1);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    #[inline]
    pub fn permit(&self) -> Result<Permit<'_>, PermitError> {
        self.permits(1)
    }

    /// Takes a permit if that is possible at once.
    ///
    /// # Errors
    /// [`PermitError::Unavailable`], or as [`permit`](Self::permit).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// let permit = semaphore.try_permit()?;
    /// assert_eq!(semaphore.try_permit().err(), Some(warded::PermitError::Unavailable));
    /// # drop(permit);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    #[inline]
    pub fn try_permit(&self) -> Result<Permit<'_>, PermitError> {
        self.try_permits(1)
    }

    /// Takes a permit, blocking the thread for at most this long.
    ///
    /// # Errors
    /// As [`try_permit`](Self::try_permit).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    ///
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// let permit = semaphore.try_permit_for(Duration::from_millis(5))?;
    /// # drop(permit);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permit_for(&self, timeout: Duration) -> Result<Permit<'_>, PermitError> {
        self.try_permits_for(1, timeout)
    }

    /// Takes a permit, blocking the thread until this instant at the latest.
    ///
    /// # Errors
    /// As [`try_permit`](Self::try_permit).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::{Duration, Instant};
    ///
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// let permit = semaphore.try_permit_until(Instant::now() + Duration::from_millis(5))?;
    /// # drop(permit);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permit_until(&self, deadline: Instant) -> Result<Permit<'_>, PermitError> {
        self.try_permits_until(1, deadline)
    }

    /// Takes a permit, on any runtime, when one is free. Cancel-safe.
    ///
    /// # Errors
    /// As [`permit`](Self::permit).
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let semaphore = warded::LocalSemaphore::new(1);
    /// let permit = semaphore.permit_async().await?;
    /// # drop(permit);
    /// # Ok::<(), warded::PermitError>(())
    /// # }).unwrap()
    /// # }
    /// ```
    pub async fn permit_async(&self) -> Result<Permit<'_>, PermitError> {
        self.permits_async(1).await
    }

    // Many permits

    /// Takes `n` permits at once, blocking the thread for as long as it takes. It never holds some
    /// of them while it waits for the others.
    ///
    /// # Errors
    /// [`PermitError::Closed`]; [`PermitError::TooMany`] if there are fewer in all.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LocalSemaphore, PermitError};
    ///
    /// let semaphore = LocalSemaphore::new(3);
    /// assert_eq!(semaphore.permits(2)?.count(), 2);
    /// assert_eq!(semaphore.permits(4).err(), Some(PermitError::TooMany { asked: 4, max: 3 }));
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    #[inline]
    pub fn permits(&self, n: u32) -> Result<Permit<'_>, PermitError> {
        self.gate
            .acquire(request(n), None, self.teller())
            .map_err(|refusal| refused(n, refusal))?;
        Ok(Permit { semaphore: self, count: n })
    }

    /// Takes `n` permits at once if that is possible at once.
    ///
    /// # Errors
    /// [`PermitError::Unavailable`], or as [`permits`](Self::permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// assert_eq!(semaphore.try_permits(2)?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    #[inline]
    pub fn try_permits(&self, n: u32) -> Result<Permit<'_>, PermitError> {
        self.try_take(n)?;
        Ok(Permit { semaphore: self, count: n })
    }

    /// Takes `n` permits at once, blocking the thread for at most this long.
    ///
    /// # Errors
    /// As [`try_permits`](Self::try_permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    ///
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// assert_eq!(semaphore.try_permits_for(2, Duration::from_millis(5))?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permits_for(&self, n: u32, timeout: Duration) -> Result<Permit<'_>, PermitError> {
        self.take(n, timeout.into())?;
        Ok(Permit { semaphore: self, count: n })
    }

    /// Takes `n` permits at once, blocking the thread until this instant at the latest.
    ///
    /// # Errors
    /// As [`try_permits`](Self::try_permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::{Duration, Instant};
    ///
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// let soon = Instant::now() + Duration::from_millis(5);
    /// assert_eq!(semaphore.try_permits_until(2, soon)?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permits_until(&self, n: u32, deadline: Instant) -> Result<Permit<'_>, PermitError> {
        self.take(n, deadline.into())?;
        Ok(Permit { semaphore: self, count: n })
    }

    /// Takes `n` permits at once, on any runtime, when they are free. Cancel-safe.
    ///
    /// # Errors
    /// As [`permits`](Self::permits).
    ///
    /// # Panics
    /// As any `async fn`, if it is polled again when it is over.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// assert_eq!(semaphore.permits_async(2).await?.count(), 2);
    /// # Ok::<(), warded::PermitError>(())
    /// # }).unwrap()
    /// # }
    /// ```
    pub async fn permits_async(&self, n: u32) -> Result<Permit<'_>, PermitError> {
        self.take_async(n).await?;
        Ok(Permit { semaphore: self, count: n })
    }

    // Many permits that keep the semaphore alive

    /// [`permits`](Self::permits) that keep the semaphore alive themselves.
    ///
    /// # Errors
    /// As [`permits`](Self::permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = std::sync::Arc::new(warded::LocalSemaphore::new(3));
    /// let permit = semaphore.permits_owned(1)?;
    /// std::thread::spawn(move || drop(permit)).join().unwrap();
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn permits_owned(self: &Arc<Self>, n: u32) -> Result<OwnedPermit, PermitError> {
        self.take(n, Wait::Forever)?;
        Ok(OwnedPermit { semaphore: Arc::clone(self), count: n })
    }

    /// [`try_permits`](Self::try_permits) that keep the semaphore alive themselves.
    ///
    /// # Errors
    /// As [`try_permits`](Self::try_permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = std::sync::Arc::new(warded::LocalSemaphore::new(3));
    /// assert_eq!(semaphore.try_permits_owned(2)?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permits_owned(self: &Arc<Self>, n: u32) -> Result<OwnedPermit, PermitError> {
        self.try_take(n)?;
        Ok(OwnedPermit { semaphore: Arc::clone(self), count: n })
    }

    /// [`try_permits_for`](Self::try_permits_for), for permits that keep the semaphore alive
    /// themselves.
    ///
    /// # Errors
    /// As [`try_permits`](Self::try_permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    ///
    /// let semaphore = std::sync::Arc::new(warded::LocalSemaphore::new(3));
    /// assert_eq!(semaphore.try_permits_owned_for(2, Duration::from_millis(5))?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permits_owned_for(
        self: &Arc<Self>,
        n: u32,
        timeout: Duration,
    ) -> Result<OwnedPermit, PermitError> {
        self.take(n, timeout.into())?;
        Ok(OwnedPermit { semaphore: Arc::clone(self), count: n })
    }

    /// [`try_permits_until`](Self::try_permits_until), for permits that keep the semaphore alive
    /// themselves.
    ///
    /// # Errors
    /// As [`try_permits`](Self::try_permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::{Duration, Instant};
    ///
    /// let semaphore = std::sync::Arc::new(warded::LocalSemaphore::new(3));
    /// let soon = Instant::now() + Duration::from_millis(5);
    /// assert_eq!(semaphore.try_permits_owned_until(2, soon)?.count(), 2);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    pub fn try_permits_owned_until(
        self: &Arc<Self>,
        n: u32,
        deadline: Instant,
    ) -> Result<OwnedPermit, PermitError> {
        self.take(n, deadline.into())?;
        Ok(OwnedPermit { semaphore: Arc::clone(self), count: n })
    }

    /// [`permits_async`](Self::permits_async), for permits that keep the semaphore alive themselves,
    /// as the future does.
    ///
    /// # Errors
    /// As [`permits`](Self::permits).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let semaphore = std::sync::Arc::new(warded::LocalSemaphore::new(3));
    /// assert_eq!(semaphore.permits_owned_async(2).await?.count(), 2);
    /// # Ok::<(), warded::PermitError>(())
    /// # }).unwrap()
    /// # }
    /// ```
    pub fn permits_owned_async(
        self: &Arc<Self>,
        n: u32,
    ) -> impl Future<Output = Result<OwnedPermit, PermitError>> + use<> {
        let semaphore = Arc::clone(self);
        async move {
            semaphore.take_async(n).await?;
            Ok(OwnedPermit { semaphore, count: n })
        }
    }

    // The permits are the caller's when these are Ok.

    #[inline]
    fn try_take(&self, n: u32) -> Result<(), PermitError> {
        if self.gate.try_acquire(request(n)) {
            Ok(())
        } else {
            Err(refused(n, self.gate.refusal(request(n))))
        }
    }

    fn take(&self, n: u32, wait: Wait) -> Result<(), PermitError> {
        self.gate
            .acquire_within(request(n), wait, self.teller())
            .map_err(|refusal| refused(n, refusal))
    }

    async fn take_async(&self, n: u32) -> Result<(), PermitError> {
        self.gate
            .acquire_async(request(n), self.teller())
            .await
            .map_err(|refusal| refused(n, refusal))
    }

    #[inline]
    fn teller(&self) -> Teller<'_> {
        Teller::of(self.name())
    }

    fn own_name(&self) -> Option<String> {
        self.name.get().map(str::to_owned)
    }
}

#[cfg(loom)]
impl super::taken::Gated for LocalSemaphore {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// Nothing is always free, whoever waits.
#[inline]
const fn request(n: u32) -> Request {
    if n == 0 { Request::urgent(0, Urgency::Recursive) } else { Request::of(n) }
}

#[cold]
fn refused(asked: u32, refusal: Refusal) -> PermitError {
    match refusal {
        Refusal::Unavailable => PermitError::Unavailable,
        Refusal::Closed => PermitError::Closed,
        Refusal::TooMany { max } => PermitError::TooMany { asked, max },
    }
}

impl BaseSemaphore for LocalSemaphore {
    fn acquire(&self, wait: Wait) -> Result<bool, LockError> {
        let permit = self.hold_one(wait)?;
        if let Some(permit) = &permit {
            permit.semaphore.acquired.begin();
        }
        let acquired = permit.is_some();
        mem::forget(permit);
        Ok(acquired)
    }

    fn release(&self) -> Result<(), LockError> {
        if !self.acquired.end() {
            return Err(LockError::NotHeld { name: self.own_name() });
        }
        self.gate.release(1);
        Ok(())
    }

    fn available(&self) -> Result<u32, LockError> {
        Ok(self.available_permits())
    }

    fn hold(&self, wait: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self.hold_one(wait)?.map(Hold::new))
    }
}

impl LocalSemaphore {
    /// A permit, in the specification's terms.
    fn hold_one(&self, wait: Wait) -> Result<Option<Permit<'_>>, LockError> {
        match self.take(1, wait) {
            Ok(()) => Ok(Some(Permit { semaphore: self, count: 1 })),
            Err(PermitError::Closed) => Err(LockError::Closed { name: self.own_name() }),
            Err(PermitError::TooMany { .. }) => Err(LockError::NoPermits { name: self.own_name() }),
            Err(PermitError::Unavailable) => Ok(None),
        }
    }
}

/// One permit, as the specification has it.
impl Default for LocalSemaphore {
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for LocalSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut semaphore = f.debug_struct("LocalSemaphore");
        if let Some(name) = self.name() {
            semaphore.field("name", &name);
        }
        semaphore
            .field("available", &self.available_permits())
            .field("total", &self.total_permits())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Both kinds of permit differ only in how they hold the semaphore.
macro_rules! permit {
    ($(#[$doc:meta])* $Permit:ident $(<$life:lifetime>)?, $semaphore:ty) => {
        $(#[$doc])*
        #[must_use = "the permits are given back when this is dropped"]
        pub struct $Permit $(<$life>)? {
            semaphore: $semaphore,
            count: u32,
        }

        impl $(<$life>)? $Permit $(<$life>)? {
            /// How many permits these are.
            pub fn count(&self) -> u32 {
                self.count
            }

            /// Takes those of `other` in, to be given back together.
            ///
            /// # Errors
            /// `other` as it was, if it belongs to another semaphore.
            pub fn merge(&mut self, other: Self) -> Result<(), Self> {
                if !std::ptr::eq::<LocalSemaphore>(&*self.semaphore, &*other.semaphore) {
                    return Err(other);
                }
                self.count += other.into_count();
                Ok(())
            }

            /// Gives `n` of them into another's keeping. `None` if these are fewer.
            pub fn split(&mut self, n: u32) -> Option<Self> {
                self.count = self.count.checked_sub(n)?;
                Some(Self { semaphore: self.semaphore.clone(), count: n })
            }

            /// Takes them away from the semaphore for good: it has so many fewer in all.
            pub fn forget(self) {
                let semaphore = self.semaphore.clone();
                semaphore.gate.forget_held(self.into_count());
            }

            /// The caller keeps the permits.
            fn into_count(mut self) -> u32 {
                mem::take(&mut self.count)
            }
        }

        impl $(<$life>)? Drop for $Permit $(<$life>)? {
            #[inline]
            fn drop(&mut self) {
                if self.count > 0 {
                    self.semaphore.gate.release(self.count);
                }
            }
        }

        impl $(<$life>)? fmt::Debug for $Permit $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Permit))
                    .field("semaphore", &*self.semaphore)
                    .field("count", &self.count)
                    .finish()
            }
        }
    };
}

permit! {
    /// Permits of a [`LocalSemaphore`], one or many. Dropping this gives them back.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let semaphore = warded::LocalSemaphore::new(3);
    /// let mut permits = semaphore.permits(3)?;
    /// let one = permits.split(1).expect("three are more than one");
    /// assert_eq!((permits.count(), one.count()), (2, 1));
    /// permits.merge(one).expect("the same semaphore");
    /// permits.forget();
    /// assert_eq!(semaphore.total_permits(), 0);
    /// # }
    /// # Ok::<(), warded::PermitError>(())
    /// ```
    Permit<'a>, &'a LocalSemaphore
}

permit! {
    /// Permits of a [`LocalSemaphore`] that they keep alive. Dropping this gives them back.
    OwnedPermit, Arc<LocalSemaphore>
}

impl Held for Permit<'_> {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(())
    }
}
