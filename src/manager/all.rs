//! Several names at once: all or nothing.
//!
//! Whoever wants several names takes them one after another in one order, the same for everybody:
//! by hash, then by name. So among those who do so nobody can wait in a circle, whatever order they
//! say the names in; each wait is in a queue, with its bound on overtaking, so nobody starves
//! either. Trying all at once and beginning anew when one is missing would hold nothing while it
//! waits, but could be overtaken for ever by those who want fewer names.

use std::fmt;

use super::handle::{ManagedLock, OwnedManagedGuard};
use crate::{LockError, Wait};

/// Each lock once, in the order in which everybody takes them.
pub(super) fn in_order(mut locks: Vec<ManagedLock>) -> Vec<ManagedLock> {
    // SAFETY: the handles count their entries.
    locks.sort_unstable_by(|one, other| unsafe { one.entry().key().cmp(other.entry().key()) });
    locks.dedup_by(|one, other| one.is(other));
    locks
}

/// Takes all of them for holds without a guard, or none.
pub(super) fn acquire(locks: &[ManagedLock], wait: Wait) -> Result<bool, LockError> {
    let wait = wait.begun();
    let mut acquired = RollBack { locks: &locks[..0] };
    for (place, lock) in locks.iter().enumerate() {
        if !lock.enter_to_stay(wait)? {
            return Ok(false);
        }
        acquired.locks = &locks[..=place];
    }
    std::mem::forget(acquired);
    Ok(true)
}

/// Releases what was taken, if the rest was not to be had.
struct RollBack<'a> {
    locks: &'a [ManagedLock],
}

impl Drop for RollBack<'_> {
    fn drop(&mut self) {
        self.locks.iter().rev().for_each(|lock| lock.entry().leave());
    }
}

/// Takes all of them, or none.
pub(super) fn lock(locks: Vec<ManagedLock>, wait: Wait) -> Result<Option<AllGuard>, LockError> {
    let wait = wait.begun();
    let mut held = Vec::with_capacity(locks.len());
    for lock in locks {
        match lock.try_lock_owned(wait)? {
            Some(guard) => held.push(guard),
            None => return Ok(None),
        }
    }
    Ok(Some(AllGuard { held }))
}

/// Takes all of them, or, if the future is dropped before, none.
pub(super) async fn lock_async(locks: Vec<ManagedLock>) -> Result<AllGuard, LockError> {
    let mut held = Vec::with_capacity(locks.len());
    for lock in locks {
        held.push(lock.lock_owned_async().await?);
    }
    Ok(AllGuard { held })
}

/// Holds several locks of a manager: what [`LockManager::lock_all`](crate::LockManager::lock_all)
/// gives. Dropping it releases them all.
#[must_use = "the locks are released when the guard is dropped"]
pub struct AllGuard {
    held: Vec<OwnedManagedGuard>,
}

impl AllGuard {
    /// The names, each once, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(OwnedManagedGuard::name)
    }
}

impl fmt::Debug for AllGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
