//! Who holds and who waits: threads, tasks, and whoever was given a label.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::sys;

/// A name for whoever holds locks: a job, a request, a task.
///
/// Without one, a lock is on record under the thread that took it. A task has no such identity: it
/// may go on on another thread. Give it an owner, and [`LockInfo`](crate::LockInfo) names it, and the
/// search for deadlocks knows it (see
/// [`detect_deadlocks`](crate::LockManagerBuilder::detect_deadlocks)).
///
/// Clones are the same owner. Two owners with the same label are not.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{LockManager, LockOwner, Wait};
///
/// let locks = LockManager::local();
/// let job = LockOwner::new("job 17");
/// let lock = locks.get_lock("invoice")?.with_owner(&job);
/// let guard = lock.lock()?;
/// assert_eq!(locks.info("invoice")?.owner.as_deref(), Some("job 17"));
/// # drop(guard);
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
#[derive(Clone)]
pub struct LockOwner(Arc<Registered>);

impl LockOwner {
    /// A new owner.
    pub fn new(label: impl Into<String>) -> Self {
        Self(Arc::new(Registered::new(Label::Given(label.into()))))
    }

    pub(super) fn holder(&self) -> Holder {
        Holder(self.0.0 << Holder::FLAGS)
    }

    pub(super) fn label(&self) -> String {
        self.holder().label(None)
    }
}

impl fmt::Debug for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockOwner").field(&self.label()).finish()
    }
}

/// A holder as one word: whose number, and how it holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Holder(pub(super) u64);

impl Holder {
    pub(super) const NOBODY: Self = Self(0);
    /// The hold was begun by `acquire`, and belongs to no guard.
    const ACQUIRED: u64 = 1;
    /// The hold is a task's that was on that thread: the thread itself may go on without it.
    const TASK: u64 = 2;
    const FLAGS: u32 = 2;

    /// The calling thread.
    #[inline]
    pub(super) fn thread() -> Self {
        Self(thread_number() << Self::FLAGS)
    }

    /// A task on the calling thread.
    #[inline]
    pub(super) fn task() -> Self {
        Self(Self::thread().0 | Self::TASK)
    }

    /// The same, holding without a guard.
    #[inline]
    pub(super) fn acquiring(self) -> Self {
        Self(self.0 | Self::ACQUIRED)
    }

    #[inline]
    pub(super) fn has_acquired(self) -> bool {
        self.0 & Self::ACQUIRED != 0
    }

    /// Who it is, if that is somebody who does one thing after another.
    pub(super) fn identity(self) -> Option<Identity> {
        (self.0 & Self::TASK == 0).then_some(Identity(self.0 >> Self::FLAGS))
    }

    /// For people to read. `manager` stands for those without a label of their own.
    pub(super) fn label(self, manager: Option<&str>) -> String {
        let labels = labels();
        match (labels.get(&(self.0 >> Self::FLAGS)), manager) {
            (Some(Label::Given(label)), _) => label.clone(),
            (_, Some(manager)) => manager.to_owned(),
            (Some(Label::Thread(thread)), None) if self.0 & Self::TASK != 0 => {
                format!("a task on {thread}")
            }
            (Some(Label::Thread(thread)), None) => thread.clone(),
            (None, None) => "somebody who is gone".to_owned(),
        }
    }
}

/// Somebody who does one thing after another: while it waits, it releases nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity(u64);

impl Identity {
    pub(super) fn label(self) -> String {
        Holder(self.0 << Holder::FLAGS).label(None)
    }
}

enum Label {
    Given(String),
    Thread(String),
}

/// What the numbers stand for. A number is never used again.
///
/// std's lock: labels are for people to read, and decide nothing.
static LABELS: LazyLock<Mutex<HashMap<u64, Label>>> = LazyLock::new(Mutex::default);

fn labels() -> MutexGuard<'static, HashMap<u64, Label>> {
    LABELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that has a label for as long as this lives.
struct Registered(u64);

impl Registered {
    fn new(label: Label) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        labels().insert(number, label);
        Self(number)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        labels().remove(&self.0);
    }
}

sys::per_thread! {
    /// The number of this thread, when it has one.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// Ends the label with the thread.
    static LABELLED: Cell<Option<Registered>> = const { Cell::new(None) };
}

#[inline]
fn thread_number() -> u64 {
    match NUMBER.with(Cell::get) {
        0 => number_thread(),
        number => number,
    }
}

#[cold]
fn number_thread() -> u64 {
    let thread = thread::current();
    let id = thread.id();
    let label = thread.name().map_or_else(|| format!("{id:?}"), |name| format!("{name} ({id:?})"));
    let registered = Registered::new(Label::Thread(label));
    let number = registered.0;
    NUMBER.with(|cell| cell.set(number));
    // A thread that is ending already keeps its number, and has no label.
    let _ = LABELLED.try_with(|cell| cell.set(Some(registered)));
    number
}
