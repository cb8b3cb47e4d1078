//! What excludes: the lock, a semaphore of one, a writer, and an upgradable reader among its like,
//! by the same models.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use warded::model::Pristine;
use warded::{
    LocalLock, LocalSemaphore, LockGuard, Permit, ReadWriteLock, UpgradableGuard, WriteGuard,
};

use crate::harness::{
    AT_LENGTH, About, BESIDE_A_FUTURE, BUDGETS, CROWDED, Extent, Suite, THREE_THREADS, TWO_THREADS,
    UNBOUNDED,
};
use crate::steps::{Protected, beside, block_on, poll, poll_and_drop, soon, step, twice};

/// A primitive, used in a way that excludes everybody else who uses it so.
pub trait Exclusive: Pristine + Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// How far two others behind a holder are explored.
    const BEHIND_A_HOLDER: &'static [Extent];
    type Guard<'a>;

    fn with_budget(budget: u16) -> Self;
    fn lock(&self) -> Self::Guard<'_>;
    fn try_lock(&self) -> Option<Self::Guard<'_>>;
    fn lock_for(&self) -> Option<Self::Guard<'_>>;
    fn lock_async(&self) -> impl Future<Output = Self::Guard<'_>>;
}

impl Exclusive for LocalLock {
    const NAME: &'static str = "lock";
    const BEHIND_A_HOLDER: &'static [Extent] = THREE_THREADS;
    type Guard<'a> = LockGuard<'a, ()>;

    fn with_budget(budget: u16) -> Self {
        LocalLock::new(()).with_bypass(budget)
    }

    fn lock(&self) -> LockGuard<'_, ()> {
        self.lock()
    }

    fn try_lock(&self) -> Option<LockGuard<'_, ()>> {
        self.try_lock()
    }

    fn lock_for(&self) -> Option<LockGuard<'_, ()>> {
        self.try_lock_for(soon())
    }

    fn lock_async(&self) -> impl Future<Output = LockGuard<'_, ()>> {
        self.lock_async()
    }
}

impl Exclusive for LocalSemaphore {
    const NAME: &'static str = "semaphore";
    const BEHIND_A_HOLDER: &'static [Extent] = CROWDED;
    type Guard<'a> = Permit<'a>;

    fn with_budget(budget: u16) -> Self {
        LocalSemaphore::new(1).with_bypass(budget)
    }

    fn lock(&self) -> Permit<'_> {
        self.permit().expect("it is not closed")
    }

    fn try_lock(&self) -> Option<Permit<'_>> {
        self.try_permit().ok()
    }

    fn lock_for(&self) -> Option<Permit<'_>> {
        self.try_permit_for(soon()).ok()
    }

    async fn lock_async(&self) -> Permit<'_> {
        self.permit_async().await.expect("it is not closed")
    }
}

impl Exclusive for ReadWriteLock {
    const NAME: &'static str = "writer";
    const BEHIND_A_HOLDER: &'static [Extent] = THREE_THREADS;
    type Guard<'a> = WriteGuard<'a, ()>;

    fn with_budget(budget: u16) -> Self {
        ReadWriteLock::new(()).with_bypass(budget)
    }

    fn lock(&self) -> WriteGuard<'_, ()> {
        self.write()
    }

    fn try_lock(&self) -> Option<WriteGuard<'_, ()>> {
        self.try_write()
    }

    fn lock_for(&self) -> Option<WriteGuard<'_, ()>> {
        self.try_write_for(soon())
    }

    fn lock_async(&self) -> impl Future<Output = WriteGuard<'_, ()>> {
        self.write_async()
    }
}

/// A read-write lock whose users all read upgradably.
pub struct Upgradable(ReadWriteLock);

impl Pristine for Upgradable {
    fn is_pristine(&self) -> bool {
        self.0.is_pristine()
    }
}

impl Exclusive for Upgradable {
    const NAME: &'static str = "upgradable";
    const BEHIND_A_HOLDER: &'static [Extent] = CROWDED;
    type Guard<'a> = UpgradableGuard<'a, ()>;

    fn with_budget(budget: u16) -> Self {
        Self(ReadWriteLock::new(()).with_bypass(budget))
    }

    fn lock(&self) -> UpgradableGuard<'_, ()> {
        self.0.upgradable()
    }

    fn try_lock(&self) -> Option<UpgradableGuard<'_, ()>> {
        self.0.try_upgradable()
    }

    fn lock_for(&self) -> Option<UpgradableGuard<'_, ()>> {
        self.0.try_upgradable_for(soon())
    }

    fn lock_async(&self) -> impl Future<Output = UpgradableGuard<'_, ()>> {
        self.0.upgradable_async()
    }
}

type Shared<L> = Protected<L>;

/// Every model's end: the primitive still works, and nothing is left over in it.
fn finish<L: Exclusive>(shared: &Shared<L>) {
    let guard = shared.by.try_lock().expect("nobody is in, and nobody waits");
    shared.data.write();
    drop(guard);
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

fn blocking<L: Exclusive>(shared: &Shared<L>) {
    step("locks");
    let _guard = shared.by.lock();
    shared.data.write();
}

fn blocking_twice<L: Exclusive>(shared: &Shared<L>) {
    twice(shared, blocking);
}

fn trying<L: Exclusive>(shared: &Shared<L>) {
    step("tries to lock");
    if let Some(_guard) = shared.by.try_lock() {
        shared.data.write();
    }
}

fn timed<L: Exclusive>(shared: &Shared<L>) {
    step("locks within a time");
    if let Some(_guard) = shared.by.lock_for() {
        shared.data.write();
    }
}

fn awaiting<L: Exclusive>(shared: &Shared<L>) {
    step("awaits the lock");
    block_on(async {
        let _guard = shared.by.lock_async().await;
        shared.data.write();
    });
}

fn cancelled<L: Exclusive>(shared: &Shared<L>) {
    step("polls for the lock once");
    if let Some(_guard) = poll_and_drop(shared.by.lock_async()) {
        shared.data.write();
    }
}

fn one_cycle<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[blocking], blocking);
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

fn one_timeout<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    let held = shared.by.lock();
    beside(&shared, &[timed], |shared| {
        shared.data.write();
        drop(held);
    });
    finish(&shared);
}

fn one_cancelled<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    let held = shared.by.lock();
    beside(&shared, &[cancelled], |shared| {
        shared.data.write();
        drop(held);
    });
    finish(&shared);
}

fn one_awaited<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[awaiting], blocking);
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

fn two_cycles<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[blocking_twice], blocking_twice);
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn three_threads<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[blocking, blocking], blocking);
    assert_eq!(shared.data.read(), 3);
    finish(&shared);
}

fn three_threads_twice<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[blocking_twice, blocking_twice], blocking_twice);
    assert_eq!(shared.data.read(), 6);
    finish(&shared);
}

fn try_against_lock<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[|shared| twice(shared, trying)], blocking_twice);
    finish(&shared);
}

fn timeout_against_release<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[|shared| twice(shared, timed)], blocking_twice);
    finish(&shared);
}

fn timeout_before_waiter<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    let held = shared.by.lock();
    beside(&shared, &[|shared| twice(shared, timed), blocking_twice], |shared| {
        shared.data.write();
        drop(held);
        blocking(shared);
    });
    finish(&shared);
}

fn cancel_against_grant<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[|shared| twice(shared, cancelled)], blocking_twice);
    finish(&shared);
}

fn cancel_before_waiter<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    let held = shared.by.lock();
    beside(&shared, &[|shared| twice(shared, cancelled), blocking_twice], |shared| {
        shared.data.write();
        drop(held);
        blocking(shared);
    });
    finish(&shared);
}

fn async_against_sync<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[|shared| twice(shared, awaiting)], blocking_twice);
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

/// The first poll registers a waker that wakes nobody; another polls again later.
fn another_waker<L: Exclusive>(budget: u16) {
    let shared = Protected::new(L::with_budget(budget));
    beside(&shared, &[blocking_twice], |shared| {
        for _ in 0..2 {
            let mut future = pin!(shared.by.lock_async());
            let guard = match poll(future.as_mut()) {
                Poll::Ready(guard) => guard,
                Poll::Pending => block_on(future),
            };
            shared.data.write();
            drop(guard);
        }
    });
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

/// Somebody waits at the head, and two threads try to get past.
fn overtaking<L: Exclusive>(budget: u16) {
    let shared = Arc::new((Protected::new(L::with_budget(budget)), AtomicU32::new(0)));
    let held = shared.0.by.lock();
    let mut head = pin!(shared.0.by.lock_async());
    assert!(poll(head.as_mut()).is_pending());

    let overtake = |shared: &(Arc<Shared<L>>, AtomicU32)| {
        for _ in 0..2 {
            if let Some(_guard) = shared.0.by.try_lock() {
                shared.0.data.write();
                shared.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    beside(&shared, &[overtake], |shared| {
        drop(held);
        overtake(shared);
    });
    let overtaken = shared.1.load(Ordering::Relaxed);
    assert!(overtaken <= budget.into(), "overtaken {overtaken} times with a budget of {budget}");

    let guard = block_on(head);
    shared.0.data.write();
    drop(guard);
    finish(&shared.0);
}

/// The same, and somebody queues behind the head, and leaves again.
fn overtaking_and_leaving<L: Exclusive>(budget: u16) {
    let shared = Arc::new((Protected::new(L::with_budget(budget)), AtomicU32::new(0)));
    let held = shared.0.by.lock();
    let mut head = pin!(shared.0.by.lock_async());
    assert!(poll(head.as_mut()).is_pending());

    let overtake = |shared: &(Arc<Shared<L>>, AtomicU32)| {
        for _ in 0..2 {
            if let Some(_guard) = poll_and_drop(shared.0.by.lock_async()) {
                shared.0.data.write();
                shared.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    beside(&shared, &[overtake], |shared| {
        drop(held);
        overtake(shared);
    });
    let overtaken = shared.1.load(Ordering::Relaxed);
    assert!(overtaken <= budget.into(), "overtaken {overtaken} times with a budget of {budget}");

    drop(block_on(head));
    finish(&shared.0);
}

/// Two wait. However often the first one was overtaken, the second begins with a budget of its own.
fn second_head<L: Exclusive>(budget: u16) {
    let shared = Arc::new((Protected::new(L::with_budget(budget)), AtomicU32::new(0)));
    let held = shared.0.by.lock();
    let mut first = pin!(shared.0.by.lock_async());
    let mut second = pin!(shared.0.by.lock_async());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());

    beside(
        &shared,
        &[|shared: &(Arc<Shared<L>>, AtomicU32)| {
            for _ in 0..2 {
                if let Some(_guard) = shared.0.by.try_lock() {
                    shared.1.fetch_add(1, Ordering::Relaxed);
                }
            }
        }],
        |shared| {
            drop(held);
            drop(shared.0.by.try_lock());
            drop(block_on(first));
        },
    );
    // Of the other thread's, any may have overtaken the second.
    let left = u32::from(budget).saturating_sub(shared.1.load(Ordering::Relaxed));
    for _ in 0..left {
        assert!(shared.0.by.try_lock().is_some(), "the first one's budget is the second one's");
    }
    drop(block_on(second));
    finish(&shared.0);
}

/// Two wait, and the second looks without having been called.
fn in_turn<L: Exclusive>(budget: u16) {
    let shared = Arc::new((Protected::new(L::with_budget(budget)), AtomicBool::new(false)));
    let held = shared.0.by.lock();
    let mut first = pin!(shared.0.by.lock_async());
    assert!(poll(first.as_mut()).is_pending());

    beside(
        &shared,
        &[|shared: &(Arc<Shared<L>>, AtomicBool)| {
            for _ in 0..2 {
                let mut second = pin!(shared.0.by.lock_async());
                let guard = match poll(second.as_mut()) {
                    Poll::Ready(overtaking) => overtaking,
                    Poll::Pending => {
                        let guard = match poll(second.as_mut()) {
                            Poll::Ready(guard) => guard,
                            Poll::Pending => block_on(second),
                        };
                        let in_turn = shared.1.load(Ordering::Relaxed);
                        assert!(in_turn, "the second went in before the first");
                        guard
                    }
                };
                shared.0.data.write();
                drop(guard);
            }
        }],
        |shared| {
            shared.0.data.write();
            drop(held);
            let guard = block_on(first);
            shared.1.store(true, Ordering::Relaxed);
            shared.0.data.write();
            drop(guard);
        },
    );
    finish(&shared.0);
}

pub fn models(suite: &mut Suite) {
    all_of::<LocalLock>(suite);
    all_of::<LocalSemaphore>(suite);
    all_of::<ReadWriteLock>(suite);
    all_of::<Upgradable>(suite);
}

fn all_of<L: Exclusive>(suite: &mut Suite) {
    let mut add = |name: &str, claim, threads, operations, adversary, bounds, model| {
        let model_name = format!("{}/{name}", L::NAME);
        let about = About { model: model_name, claim, threads, operations, adversary };
        suite.model(about, BUDGETS, bounds, model);
    };
    const ALONE: &str = "at most one is in, and each sees what the earlier ones did";
    const LIVE: &str = "nobody waits for ever, and nothing is left over";
    const BOUND: &str = "a waiter with k before it is overtaken at most (k + 1) * B times";
    add("one-cycle", ALONE, 2, "lock; lock", "none", UNBOUNDED, one_cycle::<L>);
    add(
        "one-timeout",
        LIVE,
        2,
        "held, unlock; lock within a time",
        "timeout",
        UNBOUNDED,
        one_timeout::<L>,
    );
    add(
        "one-cancelled",
        LIVE,
        2,
        "held, unlock; lock polled once",
        "cancelled future",
        UNBOUNDED,
        one_cancelled::<L>,
    );
    add("one-awaited", ALONE, 2, "lock; lock awaited", "none", UNBOUNDED, one_awaited::<L>);
    add("two-cycles", ALONE, 2, "lock twice each", "none", TWO_THREADS, two_cycles::<L>);
    add("three-threads", ALONE, 3, "lock each", "none", THREE_THREADS, three_threads::<L>);
    add(
        "three-threads-twice",
        ALONE,
        3,
        "lock twice each",
        "none",
        AT_LENGTH,
        three_threads_twice::<L>,
    );
    add(
        "attempts",
        ALONE,
        2,
        "lock twice; try_lock twice",
        "newcomers",
        TWO_THREADS,
        try_against_lock::<L>,
    );
    add(
        "timeout",
        LIVE,
        2,
        "lock twice; lock within a time, twice",
        "timeout",
        TWO_THREADS,
        timeout_against_release::<L>,
    );
    add(
        "timeout-before-a-waiter",
        LIVE,
        3,
        "held, unlock, lock; lock within a time, twice; lock twice",
        "timeout",
        L::BEHIND_A_HOLDER,
        timeout_before_waiter::<L>,
    );
    add(
        "cancel",
        LIVE,
        2,
        "lock twice; lock polled once, twice",
        "cancelled future",
        TWO_THREADS,
        cancel_against_grant::<L>,
    );
    add(
        "cancel-before-a-waiter",
        LIVE,
        3,
        "held, unlock, lock; lock polled once, twice; lock twice",
        "cancelled future",
        L::BEHIND_A_HOLDER,
        cancel_before_waiter::<L>,
    );
    add(
        "async",
        ALONE,
        2,
        "lock twice; lock awaited twice",
        "none",
        TWO_THREADS,
        async_against_sync::<L>,
    );
    add(
        "another-waker",
        LIVE,
        2,
        "lock polled with two wakers, twice; lock twice",
        "a waker that wakes nobody",
        TWO_THREADS,
        another_waker::<L>,
    );
    add(
        "overtaking",
        BOUND,
        2,
        "a future at the head; try_lock twice each",
        "newcomers",
        TWO_THREADS,
        overtaking::<L>,
    );
    add(
        "overtaking-and-leaving",
        BOUND,
        2,
        "a future at the head; lock polled once, twice each",
        "newcomers that queue and leave",
        BESIDE_A_FUTURE,
        overtaking_and_leaving::<L>,
    );
    add(
        "second-head",
        "each head may be overtaken B times, whatever the one before it was",
        2,
        "two futures wait, try_lock, the first locks; try_lock twice",
        "newcomers",
        TWO_THREADS,
        second_head::<L>,
    );
    add(
        "in-turn",
        "of two that wait, the first enters first",
        2,
        "a future at the head locks; lock polled twice, and awaited; twice",
        "polls without reason",
        BESIDE_A_FUTURE,
        in_turn::<L>,
    );
}
