//! The specification's layer: holds that one thread begins and another ends, and the fair release.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use warded::model::Pristine;
use warded::{
    BaseLock, BaseReadWriteLock, BaseSemaphore, LocalLock, LocalSemaphore, LockError, LockGuard,
    ReadWriteLock, Wait,
};

use crate::harness::{About, BUDGETS, Suite, TWO_LOOKING_BACK, TWO_THREADS, UNBOUNDED};
use crate::steps::{Protected, beside, block_on, poll, soon};

/// A primitive of which the specification's layer makes a lock.
trait Layer: Pristine + Send + Sync + Sized + 'static {
    const NAME: &'static str;

    fn with_budget(budget: u16) -> Self;
    fn acquire(&self, wait: Wait) -> bool;
    fn release(&self) -> Result<(), LockError>;
}

impl Layer for LocalLock {
    const NAME: &'static str = "lock";

    fn with_budget(budget: u16) -> Self {
        LocalLock::new(()).with_bypass(budget)
    }

    fn acquire(&self, wait: Wait) -> bool {
        BaseLock::acquire(self, wait).expect("a lock in this process has no error")
    }

    fn release(&self) -> Result<(), LockError> {
        BaseLock::release(self)
    }
}

impl Layer for LocalSemaphore {
    const NAME: &'static str = "semaphore";

    fn with_budget(budget: u16) -> Self {
        LocalSemaphore::new(1).with_bypass(budget)
    }

    fn acquire(&self, wait: Wait) -> bool {
        BaseSemaphore::acquire(self, wait).expect("it is not closed")
    }

    fn release(&self) -> Result<(), LockError> {
        BaseSemaphore::release(self)
    }
}

impl Layer for ReadWriteLock {
    const NAME: &'static str = "writer";

    fn with_budget(budget: u16) -> Self {
        ReadWriteLock::new(()).with_bypass(budget)
    }

    fn acquire(&self, wait: Wait) -> bool {
        self.acquire_write(wait).expect("a lock in this process has no error")
    }

    fn release(&self) -> Result<(), LockError> {
        self.release_write()
    }
}

fn finish<L: Layer>(shared: &Protected<L>) {
    assert!(shared.by.acquire(Wait::Never), "nobody is in, and nobody waits");
    shared.data.write();
    shared.by.release().expect("it is held");
    assert!(shared.by.release().is_err(), "a hold was ended twice");
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

fn ended_elsewhere<L: Layer>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    assert!(shared.by.acquire(Wait::Forever));
    shared.data.write();
    beside(
        &shared,
        &[|shared| {
            // Whoever ends it now takes its end over, by an agreement of their own.
            shared.by.release().expect("main holds it");
            assert!(shared.by.acquire(Wait::Forever));
            shared.data.write();
            shared.by.release().expect("it is held");
        }],
        |shared| {
            assert!(shared.by.acquire(Wait::Forever));
            shared.data.write();
            shared.by.release().expect("it is held");
        },
    );
    assert_eq!(shared.data.read(), 3);
    finish(&shared);
}

fn release_without_hold<L: Layer>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(
        &shared,
        &[|shared| {
            for _ in 0..2 {
                if shared.by.acquire(soon().into()) {
                    // Anybody may have ended it already, so the data are not ours to touch.
                    let _ = shared.by.release();
                }
            }
        }],
        |shared| {
            for _ in 0..2 {
                shared.by.acquire(Wait::Never);
                let _ = shared.by.release();
            }
        },
    );
    finish(&shared);
}

/// Whoever ends another's hold sees what that one did before: its permits are taken by then.
fn handed_over<L: Layer>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(
        &shared,
        &[|shared| {
            if shared.by.release().is_ok() || shared.by.release().is_ok() {
                shared.data.read();
            }
        }],
        |shared| {
            shared.data.write();
            assert!(shared.by.acquire(Wait::Forever));
        },
    );
    // Both attempts may have come too early.
    let _ = shared.by.release();
    finish(&shared);
}

fn fair_release(budget: u16) {
    let shared = Protected::new(LocalLock::new(()).with_bypass(budget));
    fn twice_fairly(shared: &Protected<LocalLock>) {
        for _ in 0..2 {
            let guard = shared.by.lock();
            shared.data.write();
            LockGuard::release_fairly(guard);
        }
    }
    beside(&shared, &[twice_fairly], twice_fairly);
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

/// Somebody waits when the lock is released fairly: no newcomer goes before it, whatever the budget.
fn fair_door(budget: u16) {
    let by = LocalLock::new(()).with_bypass(budget);
    let shared = Arc::new((Protected::new(by), AtomicBool::new(false)));
    let held = shared.0.by.lock();
    let mut head = pin!(shared.0.by.lock_async());
    assert!(poll(head.as_mut()).is_pending());
    beside(
        &shared,
        &[|shared: &(Arc<Protected<LocalLock>>, AtomicBool)| {
            for _ in 0..2 {
                if let Some(_guard) = shared.0.by.try_lock() {
                    assert!(shared.1.load(Ordering::Relaxed), "a newcomer went through the door");
                    shared.0.data.write();
                }
            }
        }],
        |shared| {
            shared.0.data.write();
            LockGuard::release_fairly(held);
            let _guard = block_on(head);
            shared.1.store(true, Ordering::Relaxed);
            shared.0.data.write();
        },
    );
    finish(&shared.0);
}

pub fn models(suite: &mut Suite) {
    all_of::<LocalLock>(suite);
    all_of::<LocalSemaphore>(suite);
    all_of::<ReadWriteLock>(suite);
    let about = About {
        model: "lock/fair-release".to_owned(),
        claim: "at most one is in, and each sees what the earlier ones did",
        threads: 2,
        operations: "lock, release_fairly, twice each",
        adversary: "none",
    };
    suite.model(about, BUDGETS, TWO_LOOKING_BACK, fair_release);
    let about = About {
        model: "lock/fair-door".to_owned(),
        claim: "a fair release gives the head the next turn",
        threads: 2,
        operations: "release_fairly, a future at the head locks; try_lock twice",
        adversary: "newcomers",
    };
    suite.model(about, BUDGETS, TWO_THREADS, fair_door);
}

fn all_of<L: Layer>(suite: &mut Suite) {
    let elsewhere = About {
        model: format!("{}/ended-elsewhere", L::NAME),
        claim: "at most one is in, and each sees what the earlier ones did",
        threads: 2,
        operations: "acquire, acquire, release; release, acquire, release",
        adversary: "a hold that another thread ends",
    };
    suite.model(elsewhere, BUDGETS, TWO_THREADS, ended_elsewhere::<L>);
    let over = About {
        model: format!("{}/handed-over", L::NAME),
        claim: "whoever ends a hold sees what its beginner did before it began",
        threads: 2,
        operations: "acquire; try to release, twice",
        adversary: "a hold that another thread ends",
    };
    suite.model(over, BUDGETS, UNBOUNDED, handed_over::<L>);
    let without = About {
        model: format!("{}/release-without-hold", L::NAME),
        claim: "release ends a hold that acquire began, once, and nothing else",
        threads: 2,
        operations: "try to acquire, release, twice; acquire within a time, release, twice",
        adversary: "stray releases",
    };
    suite.model(without, BUDGETS, TWO_THREADS, release_without_hold::<L>);
}
