//! Several names at once: all or nothing.
//!
//! Whoever wants several names takes them one after another in one order, the same for everybody:
//! by hash, then by name; by name in Redis. So among those who do so nobody can wait in a circle,
//! whatever order they say the names in; each wait is in a queue, with its bound on overtaking, so
//! nobody starves either. Trying all at once and beginning anew when one is missing would hold
//! nothing while it waits, but could be overtaken for ever by those who want fewer names.
//!
//! In Redis each name would cost a round trip, and whoever dies in between would hold up the others
//! for a lease. So there one script takes all or none, unless the manager was told to go one by one.
//! Then a lease can end while a later name is waited for, and all begins anew.

use std::cmp::Ordering;
use std::fmt;

use super::handle::{Entered, ManagedLock};
use super::remote::{self, Lease, RemoteHandle};
use crate::{LockError, Wait};

/// One lock of several. Dropping it releases, if it is held; a panic of somebody's waker in the one
/// keeps the others from nothing.
struct Part {
    held: Option<Entered>,
    /// The first thing that they are ordered by: at hand, so that sorting need not look it up.
    hash: u64,
    lock: ManagedLock,
}

impl Part {
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.lock.name().cmp(other.lock.name()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.lock.leave();
        }
    }
}

/// Several locks, each once, in the order in which everybody takes them.
pub(super) struct All {
    parts: Vec<Part>,
}

impl All {
    pub(super) fn with_capacity(locks: usize) -> Self {
        Self { parts: Vec::with_capacity(locks) }
    }

    #[inline]
    pub(super) fn push(&mut self, lock: ManagedLock) {
        self.parts.push(Part { held: None, hash: lock.hash(), lock });
    }

    /// To be called when all have been pushed.
    pub(super) fn put_in_order(&mut self) {
        self.parts.sort_unstable_by(Part::order);
        // What is equal is the same lock.
        self.parts.dedup_by(|one, other| one.order(other).is_eq());
    }

    fn locks(&self) -> impl Iterator<Item = &ManagedLock> {
        self.parts.iter().map(|part| &part.lock)
    }

    /// The locks, if one script takes them.
    fn at_once(&self) -> Option<Vec<&RemoteHandle>> {
        let remote: Option<Vec<_>> = self.locks().map(ManagedLock::remote).collect();
        remote.filter(|locks| locks.first().is_some_and(|lock| !lock.takes_one_by_one()))
    }

    /// Takes all of them for holds without a guard, or none. Nobody else can end a hold before all
    /// are taken: until then they are ours to give back.
    pub(super) fn acquire(mut self, wait: Wait) -> Result<bool, LockError> {
        let entered = self.enter(wait)?;
        if entered {
            for Part { held, lock, .. } in &mut self.parts {
                held.take().into_iter().for_each(|held| lock.stay(held));
            }
        }
        Ok(entered)
    }

    /// Takes all of them, or none.
    pub(super) fn lock(mut self, wait: Wait) -> Result<Option<AllGuard>, LockError> {
        Ok(self.enter(wait)?.then_some(AllGuard { all: self }))
    }

    fn enter(&mut self, wait: Wait) -> Result<bool, LockError> {
        if let Some(locks) = self.at_once() {
            let leases = remote::enter_all(&locks, wait)?;
            return Ok(leases.map(|leases| self.hold(leases)).is_some());
        }
        let wait = wait.begun();
        loop {
            for part in &mut self.parts {
                part.held = part.lock.enter(wait)?;
                if part.held.is_none() {
                    return Ok(false);
                }
            }
            if self.are_valid() {
                return Ok(true);
            }
            if wait.is_over() {
                return Ok(false);
            }
            self.give_back();
        }
    }

    /// Whether no lease has ended. One can while the later ones are waited for.
    fn are_valid(&self) -> bool {
        self.leases().all(|lease| lease.is_valid())
    }

    fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.parts.iter().filter_map(|part| part.held.as_ref()?.lease())
    }

    /// Gives the leases back, of which one has ended.
    fn give_back(&mut self) {
        self.parts.iter_mut().for_each(|part| part.held = None);
    }

    /// Takes all of them, or, if the future is dropped before, none.
    pub(super) async fn lock_async(mut self) -> Result<AllGuard, LockError> {
        if let Some(locks) = self.at_once() {
            let leases = remote::enter_all_async(&locks).await?;
            self.hold(leases);
            return Ok(AllGuard { all: self });
        }
        loop {
            for part in &mut self.parts {
                part.held = Some(part.lock.enter_async().await?);
            }
            if self.are_valid() {
                return Ok(AllGuard { all: self });
            }
            self.give_back();
        }
    }

    fn hold(&mut self, leases: Vec<Lease>) {
        for (part, lease) in self.parts.iter_mut().zip(leases) {
            part.held = Some(lease.into());
        }
    }
}

/// Holds several locks of a manager: what [`LockManager::lock_all`](crate::LockManager::lock_all)
/// gives. Dropping it releases them all.
#[must_use = "the locks are released when the guard is dropped"]
pub struct AllGuard {
    all: All,
}

impl AllGuard {
    /// The names, each once, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.locks().map(ManagedLock::name)
    }

    /// Each name with its fencing token, in the order of [`names`](Self::names):
    /// see [`ManagedGuard::fence`](crate::ManagedGuard::fence).
    pub fn fences(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        let fence = |part: &Part| part.held.as_ref()?.lease()?.fence().into();
        self.all.parts.iter().map(move |part| (part.lock.name(), fence(part)))
    }

    /// Whether all of them are still held: see
    /// [`ManagedGuard::is_valid`](crate::ManagedGuard::is_valid).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.all.are_valid()
    }

    /// What there is to know and to do about the lease of each lock in Redis, in the order of
    /// [`names`](Self::names). None in this process.
    #[cfg(all(feature = "redis", not(loom)))]
    pub fn leases(&self) -> impl Iterator<Item = &crate::RedisGuard> {
        self.all.leases().map(|lease| &**lease)
    }

    /// Releases, and tells what a drop cannot: whether all locks in Redis were held to the end.
    ///
    /// # Errors
    /// As [`ManagedGuard::release`](crate::ManagedGuard::release), for the last of those that failed;
    /// all the others are released.
    pub fn release(mut self) -> Result<(), LockError> {
        remote::end_all(self.take_leases())
    }

    /// [`release`](Self::release) for tasks. Dropping the future only stops the waiting.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_async(mut self) -> Result<(), LockError> {
        remote::end_all_async(self.take_leases()).await
    }

    fn take_leases(&mut self) -> Vec<Lease> {
        self.all.parts.iter_mut().filter_map(|part| part.held.as_mut()?.take_lease()).collect()
    }
}

impl fmt::Debug for AllGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
