//! Who waits for whom: finds the wait that closes a cycle, and refuses it.
//!
//! The graph has an edge for each wait, from who waits to the name that it waits for; from the name,
//! the entry's record leads to who holds it. Nobody who waits releases anything, so a cycle can only
//! be closed by a new wait, and each wait looks for one when it begins, after those before it have
//! told of themselves: all under one lock. Whoever holds without waiting, and every task without an
//! owner of its own, ends the search: no wait is refused on a guess.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::ptr::NonNull;
use std::time::Instant;

use super::entry::Entry;
use super::local::LocalHandle;
use super::owner::Identity;
use crate::LocalLock;

/// Waiting would have had no end: everybody named here waits for the next.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{LockError, LockManager};
///
/// let locks = LockManager::builder().detect_deadlocks(true).build()?;
/// let lock = locks.get_lock("jobs")?;
/// let held = lock.lock()?;
/// // The lock is not re-entrant: this would wait for itself.
/// let Err(LockError::Deadlock(deadlock)) = lock.lock() else { panic!("not found") };
/// assert_eq!(deadlock.cycle()[0].waits_for, "jobs");
/// # drop(held);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlock {
    cycle: Vec<DeadlockStep>,
}

/// One of those that wait for one another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlockStep {
    /// Who waits: a thread, or a [`LockOwner`](crate::LockOwner).
    pub owner: String,
    /// The name that it waits for. The next one in the cycle holds it.
    pub waits_for: String,
}

impl Deadlock {
    /// Everybody in the cycle, beginning with the one whose wait was refused. The last one waits for
    /// a name that the first one holds.
    pub fn cycle(&self) -> &[DeadlockStep] {
        &self.cycle
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a deadlock: ")?;
        let next = self.cycle.iter().cycle().skip(1);
        for (place, (DeadlockStep { owner, waits_for }, next)) in
            self.cycle.iter().zip(next).enumerate()
        {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{owner} waits for {waits_for:?}, which {} holds", next.owner)?;
        }
        Ok(())
    }
}

impl Error for Deadlock {}

/// The waits of one manager.
pub(super) struct Graph {
    waits: LocalLock<Waits>,
}

type Waits = HashMap<Identity, Vec<Wait>>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Wait {
    /// Alive: the edge counts it.
    entry: NonNull<Entry>,
    deadline: Option<Instant>,
}

// SAFETY: entries may be reached from any thread by those who count them.
unsafe impl Send for Wait {}

impl Wait {
    /// A wait whose time is over holds up nobody any more, even if its thread has not noticed yet.
    fn goes_on(&self) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }
}

impl Graph {
    pub(super) fn new() -> Self {
        Self { waits: LocalLock::new(HashMap::new()) }
    }

    /// Tells that `waiter` waits for the lock from now on.
    ///
    /// The edge counts the lock's entry itself: a future that is leaked while it waits leaves its
    /// edge here for ever.
    ///
    /// # Errors
    /// The cycle that this wait would close.
    pub(super) fn wait(
        &self,
        waiter: Identity,
        lock: LocalHandle,
        deadline: Option<Instant>,
    ) -> Result<Edge<'_>, Deadlock> {
        let wait = Wait { entry: NonNull::from(lock.entry()), deadline };
        let mut waits = self.waits.lock();
        let mut path = vec![(waiter, wait.entry)];
        if wait.goes_on() && closes_cycle(&waits, waiter, &mut path, &mut Vec::new()) {
            return Err(Deadlock { cycle: path.into_iter().map(step).collect() });
        }
        waits.entry(waiter).or_default().push(wait);
        Ok(Edge { graph: self, waiter, wait, _lock: lock })
    }
}

/// Whether the last wait of `path` leads back to `first`; then `path` is the way.
fn closes_cycle(
    waits: &Waits,
    first: Identity,
    path: &mut Vec<(Identity, NonNull<Entry>)>,
    visited: &mut Vec<Identity>,
) -> bool {
    let Some((_, entry)) = path.last() else { return false };
    // SAFETY: the edge counts the entry, and goes on doing so until it has been taken out of the
    // graph, whose lock we have.
    let holder = unsafe { entry.as_ref().holder() };
    let Some(holder) = holder.and_then(|holder| holder.identity()) else { return false };
    if holder == first {
        return true;
    }
    if visited.contains(&holder) {
        return false;
    }
    visited.push(holder);
    for wait in waits.get(&holder).into_iter().flatten().filter(|wait| wait.goes_on()) {
        path.push((holder, wait.entry));
        if closes_cycle(waits, first, path, visited) {
            return true;
        }
        path.pop();
    }
    false
}

fn step((waiter, entry): (Identity, NonNull<Entry>)) -> DeadlockStep {
    // SAFETY: as in `closes_cycle`.
    let waits_for = unsafe { entry.as_ref().key().name.clone() };
    DeadlockStep { owner: waiter.label(), waits_for }
}

/// A wait that others can see, for as long as this lives.
pub(super) struct Edge<'a> {
    graph: &'a Graph,
    waiter: Identity,
    wait: Wait,
    /// Given up when the graph does not know the edge any more.
    _lock: LocalHandle,
}

impl Drop for Edge<'_> {
    fn drop(&mut self) {
        let mut waits = self.graph.waits.lock();
        let Some(theirs) = waits.get_mut(&self.waiter) else { return };
        if let Some(place) = theirs.iter().position(|wait| *wait == self.wait) {
            theirs.swap_remove(place);
        }
        if theirs.is_empty() {
            waits.remove(&self.waiter);
        }
    }
}
