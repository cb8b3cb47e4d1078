//! A handle of a lock in this process: a pointer to its entry, and one count of it.

use std::ptr::NonNull;
use std::time::Instant;

use super::deadlock::{Edge, Graph};
use super::entry::{Entry, Key, LOCK};
use super::owner::{Holder, LockOwner};
use super::table;
use crate::local::{Gate, Teller};
use crate::wait::Patience;
use crate::{LockError, Wait};

/// The lock of one name in this process.
pub(super) struct LocalHandle {
    /// Counted once by this handle.
    entry: NonNull<Entry>,
    owner: Option<LockOwner>,
}

// SAFETY: what others reach of an entry is made for many threads, and a count belongs to none.
unsafe impl Send for LocalHandle {}
// SAFETY: as above.
unsafe impl Sync for LocalHandle {}

impl LocalHandle {
    /// The caller has counted the entry, and gives the count into this one's keeping.
    #[inline]
    pub(super) fn keep(entry: NonNull<Entry>) -> Self {
        Self { entry, owner: None }
    }

    /// Puts holds and waits through this handle on record under `owner`.
    pub(super) fn belong_to(&mut self, owner: &LockOwner) {
        self.owner = Some(owner.clone());
    }

    pub(super) fn name(&self) -> &str {
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

    /// The same, for a hold that belongs to nobody from its beginning: others may end it.
    #[inline]
    pub(super) fn enter_to_stay(&self, wait: Wait) -> Result<bool, LockError> {
        self.enter_as(self.thread().acquiring(), wait)
    }

    /// The hold that was [entered](Self::enter) belongs to nobody from here on.
    pub(super) fn stay(&self) {
        self.entry().record_acquired(self.thread());
    }

    /// Enters the gate as a task, if that is possible at once.
    pub(super) fn try_enter_as_task(&self) -> Result<bool, LockError> {
        self.enter_as(self.task(), Wait::Never)
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
}

/// Another handle of the same lock, with the same owner.
impl Clone for LocalHandle {
    fn clone(&self) -> Self {
        // SAFETY: this handle counts the entry.
        unsafe { table::count_again(self.entry) };
        Self { entry: self.entry, owner: self.owner.clone() }
    }
}

impl Drop for LocalHandle {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle counts the entry, and ends here.
        unsafe { table::give_up(self.entry) };
    }
}
