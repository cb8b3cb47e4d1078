//! Several names at once: all or nothing.
//!
//! Whoever wants several names takes them one after another in one order, the same for everybody:
//! by hash, then by name. So among those who do so nobody can wait in a circle, whatever order they
//! say the names in; each wait is in a queue, with its bound on overtaking, so nobody starves
//! either. Trying all at once and beginning anew when one is missing would hold nothing while it
//! waits, but could be overtaken for ever by those who want fewer names.

use std::fmt;

use super::handle::ManagedLock;
use crate::{LockError, Wait};

/// One lock of several. Dropping it releases, if it is held; a panic of somebody's waker in the one
/// keeps the others from nothing.
struct Part {
    lock: ManagedLock,
    held: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.held {
            self.lock.entry().leave();
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

    pub(super) fn push(&mut self, lock: ManagedLock) {
        self.parts.push(Part { lock, held: false });
    }

    /// To be called when all have been pushed.
    pub(super) fn in_order(mut self) -> Self {
        self.parts.sort_unstable_by(|one, other| one.lock.key().cmp(other.lock.key()));
        self.parts.dedup_by(|one, other| one.lock.is(&other.lock));
        self
    }

    pub(super) fn locks(&self) -> impl Iterator<Item = &ManagedLock> {
        self.parts.iter().map(|part| &part.lock)
    }

    /// Takes all of them for holds without a guard, or none.
    pub(super) fn acquire(mut self, wait: Wait) -> Result<bool, LockError> {
        let entered = self.enter(wait, ManagedLock::enter_to_stay)?;
        if entered {
            // What is held stays so.
            self.parts.iter_mut().for_each(|part| part.held = false);
        }
        Ok(entered)
    }

    /// Takes all of them, or none.
    pub(super) fn lock(mut self, wait: Wait) -> Result<Option<AllGuard>, LockError> {
        Ok(self.enter(wait, ManagedLock::enter)?.then_some(AllGuard { all: self }))
    }

    fn enter(
        &mut self,
        wait: Wait,
        enter: impl Fn(&ManagedLock, Wait) -> Result<bool, LockError>,
    ) -> Result<bool, LockError> {
        let wait = wait.begun();
        for part in &mut self.parts {
            part.held = enter(&part.lock, wait)?;
            if !part.held {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes all of them, or, if the future is dropped before, none.
    pub(super) async fn lock_async(mut self) -> Result<AllGuard, LockError> {
        for part in &mut self.parts {
            part.lock.enter_async().await?;
            part.held = true;
        }
        Ok(AllGuard { all: self })
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
}

impl fmt::Debug for AllGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
