//! The manager: names that come and go while others look for them, holds without guards, several
//! names at once, and the search for deadlocks.
//!
//! Each name has data of its own, which loom watches: were two entries of one name in use at once,
//! two threads would be in, and loom would see their accesses.

use std::sync::Arc;

use loom::thread;
use warded::{BaseLock, LockError, LockManager, LockOwner, ManagedLock, OwnedManagedGuard, Wait};

use crate::harness::{
    About, BESIDE_A_FUTURE, BUDGETS, CROWDED, Suite, THREE_THREADS, TWO_THREADS, UNBOUNDED,
};
use crate::steps::{Data, beside, block_on, poll, poll_and_drop, soon, step, twice};

struct Shared {
    locks: LockManager,
    a: Data,
    b: Data,
}

impl Shared {
    fn new(budget: u16) -> Arc<Self> {
        Self::with(LockManager::builder().bypass(budget))
    }

    /// One shard, so that all names meet.
    fn with(builder: warded::LockManagerBuilder) -> Arc<Self> {
        let locks = builder.shards(1).build().expect("sound options");
        Arc::new(Self { locks, a: Data::new(), b: Data::new() })
    }

    fn get(&self, name: &str) -> ManagedLock {
        self.locks.get_lock(name).expect("a name")
    }

    /// Every model's end: no name is left, and a new entry works.
    fn finish(&self) {
        assert_eq!(self.locks.len(), 0, "a name is left over");
        let lock = self.get("a");
        let guard = lock.try_lock().expect("no deadlock").expect("nobody is in");
        self.a.write();
        drop(guard);
        drop(lock);
        assert_eq!(self.locks.len(), 0, "the last handle left the name behind");
        self.locks.cleanup().expect("nothing fails here");
    }
}

fn lock(shared: &Shared) {
    step("gets and locks a");
    let _guard = shared.get("a").lock_owned().expect("no deadlocks are looked for");
    shared.a.write();
}

fn lock_twice(shared: &Shared) {
    twice(shared, lock);
}

/// Looks the name up, and gives it up.
fn look(shared: &Shared) {
    step("gets a");
    drop(shared.get("a"));
}

fn try_lock(shared: &Shared) {
    step("gets and tries a");
    let lock = shared.get("a");
    if let Some(_guard) = lock.try_lock().expect("no deadlock") {
        shared.a.write();
    }
}

/// Two threads try one name twice each; entries are made, shared and taken away in every order.
fn come_and_go(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[|shared| twice(shared, try_lock)], |shared| twice(shared, try_lock));
    shared.finish();
}

fn lockers(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[lock_twice], lock_twice);
    assert_eq!(shared.a.read(), 4);
    shared.finish();
}

fn three_look(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[|shared| twice(shared, look), |shared| twice(shared, look)], |shared| {
        twice(shared, try_lock);
    });
    shared.finish();
}

/// Two names come and go, of which each takes over the entry that the other left behind.
fn two_names(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[|shared| named(shared, ["a", "b"])], |shared| named(shared, ["b", "a"]));
    shared.finish();
}

fn named(shared: &Shared, names: [&str; 2]) {
    for name in names {
        step("gets and tries one of the names");
        let lock = shared.get(name);
        assert_eq!(lock.name(), name);
        if let Some(_guard) = lock.try_lock().expect("no deadlock") {
            let data = if name == "a" { &shared.a } else { &shared.b };
            data.write();
        }
    }
}

/// Vacant entries are freed while names come and go, and while somebody counts and reads them.
fn cleanup(budget: u16) {
    let shared = Shared::new(budget);
    let sweep = |shared: &Shared| {
        shared.locks.cleanup().expect("nothing fails here");
        assert!(shared.locks.len() <= 1);
        shared.locks.info("a").expect("nothing fails here");
        shared.locks.cleanup().expect("nothing fails here");
    };
    beside(&shared, &[sweep], |shared| {
        try_lock(shared);
        try_lock(shared);
    });
    shared.finish();
}

/// A clone is given up on one thread while the original is on another.
fn clones(budget: u16) {
    let shared = Shared::new(budget);
    let lock = shared.get("a");
    let clone = lock.clone();
    let other = thread::spawn(move || drop(clone));
    drop(lock);
    try_lock(&shared);
    other.join().expect("a model's threads do not panic");
    shared.finish();
}

fn cancelled(shared: &Shared) {
    step("polls for a once");
    let guard: Option<Result<OwnedManagedGuard, LockError>> =
        poll_and_drop(shared.get("a").lock_owned_async());
    if guard.is_some() {
        shared.a.write();
    }
}

/// A task queues for a name that is held, and is dropped, while the holder goes.
fn cancelled_waiter(budget: u16) {
    let shared = Shared::new(budget);
    let guard = shared.get("a").lock_owned().expect("no deadlock");
    beside(&shared, &[cancelled], |shared| {
        shared.a.write();
        drop(guard);
    });
    shared.finish();
}

/// The same with two tasks, one after the other, and a holder that comes back.
fn cancelled_waiters(budget: u16) {
    let shared = Shared::new(budget);
    let guard = shared.get("a").lock_owned().expect("no deadlock");
    beside(&shared, &[|shared| twice(shared, cancelled)], |shared| {
        shared.a.write();
        drop(guard);
        lock(shared);
    });
    shared.finish();
}

fn cancelled_before_waiter(budget: u16) {
    let shared = Shared::new(budget);
    let guard = shared.get("a").lock_owned().expect("no deadlock");
    beside(&shared, &[|shared| twice(shared, cancelled), lock_twice], |shared| {
        shared.a.write();
        drop(guard);
        lock(shared);
    });
    shared.finish();
}

/// One acquires, and another releases as soon as that can be: it sees what the first did before.
fn release_elsewhere(budget: u16) {
    let shared = Shared::new(budget);
    // Handles from before, so that nothing but the lock orders the two.
    let (ours, theirs) = (shared.get("a"), shared.get("a"));
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let released = theirs.release().is_ok();
            if released {
                shared.a.write();
            }
            released
        })
    };
    shared.a.write();
    assert!(ours.acquire(Wait::Never).expect("no deadlock"));
    let released = other.join().expect("a model's threads do not panic");
    assert_eq!(ours.release().is_ok(), !released);
    drop(ours);
    shared.finish();
}

/// One acquires, and both release, over and over: each hold is ended once.
fn releases_elsewhere(budget: u16) {
    let shared = Shared::new(budget);
    let release = |shared: &Shared| u32::from(shared.get("a").release().is_ok());
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || release(&shared) + release(&shared))
    };
    let (mut acquired, mut released) = (0, 0);
    for _ in 0..2 {
        acquired += u32::from(shared.get("a").acquire(Wait::Never).expect("no deadlock"));
        released += release(&shared);
    }
    released += other.join().expect("a model's threads do not panic");
    assert!(acquired >= 1, "nobody else acquires");
    assert_eq!(released, acquired, "a hold was ended twice, or not at all");
    shared.finish();
}

/// Two release what one has acquired: one of them does.
fn double_release(budget: u16) {
    let shared = Shared::new(budget);
    assert!(shared.get("a").acquire(Wait::Never).expect("no deadlock"));
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || shared.get("a").release().is_ok())
    };
    let here = shared.get("a").release().is_ok();
    let there = other.join().expect("a model's threads do not panic");
    assert!(here != there, "one hold was ended twice, or not at all");
    shared.finish();
}

/// A name is held without a handle while another comes and goes: it stays, and stays held.
fn held_without_handles(budget: u16) {
    let shared = Shared::new(budget);
    fn other_name(shared: &Shared) {
        let lock = shared.get("b");
        let guard = lock.try_lock().expect("no deadlock").expect("nobody else wants b");
        shared.b.write();
        drop(guard);
    }
    beside(&shared, &[|shared| twice(shared, other_name)], |shared| {
        for _ in 0..2 {
            assert!(shared.get("a").acquire(Wait::Never).expect("no deadlock"));
            assert!(shared.get("a").try_lock().expect("no deadlock").is_none(), "a is not held");
            shared.a.write();
            shared.get("a").release().expect("it is held");
        }
    });
    assert_eq!((shared.a.read(), shared.b.read()), (2, 2));
    shared.finish();
}

fn acquire_both(shared: &Shared, names: [&str; 2]) {
    step("acquires both");
    assert!(shared.locks.acquire_all(&names, Wait::Forever).expect("no deadlock"));
    shared.a.write();
    shared.b.write();
    shared.locks.release_all(&names).expect("they are held");
}

fn opposite_orders(budget: u16) {
    let shared = Shared::new(budget);
    fn backwards(shared: &Shared) {
        acquire_both(shared, ["b", "a"]);
    }
    beside(&shared, &[|shared| twice(shared, backwards)], |shared| {
        twice(shared, |shared| acquire_both(shared, ["a", "b"]));
    });
    assert_eq!((shared.a.read(), shared.b.read()), (4, 4));
    shared.finish();
}

fn lock_both_within_time(shared: &Shared) {
    step("locks both within a time");
    let wait = Wait::For(soon());
    if let Some(_both) = shared.locks.lock_all(&["b", "a"], wait).expect("no deadlock") {
        shared.a.write();
        shared.b.write();
    }
}

fn lock_one_after_another(shared: &Shared) {
    lock(shared);
    step("gets and locks b");
    let _guard = shared.get("b").lock_owned().expect("no deadlock");
    shared.b.write();
}

/// Whoever gives up gives back what it has taken.
fn roll_back(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[lock_both_within_time], lock_one_after_another);
    shared.finish();
}

fn roll_back_twice(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[|shared| twice(shared, lock_both_within_time)], |shared| {
        twice(shared, lock_one_after_another);
    });
    shared.finish();
}

/// One acquires both, while another has the second and tries to release the first: it ends nothing
/// before both are acquired, and whoever gives up gives back no hold but its own.
fn release_unfinished(budget: u16) {
    let shared = Shared::new(budget);
    let (mine, second) = if a_comes_first(&shared) { ("a", "b") } else { ("b", "a") };
    let guard = shared.get(second).lock_owned().expect("no deadlock");
    let enter = move |shared: &Shared| {
        if let Some(_guard) = shared.get(mine).try_lock().expect("no deadlock") {
            shared.a.write();
        }
    };
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            step("acquires both");
            let names = ["a", "b"];
            if shared.locks.acquire_all(&names, Wait::For(soon())).expect("no deadlock") {
                // The first may have been released meanwhile.
                let _ = shared.locks.release_all(&names);
            } else {
                enter(&shared);
            }
        })
    };
    step("releases the first");
    assert!(shared.get(mine).release().is_err(), "a hold was ended that is not complete");
    enter(&shared);
    drop(guard);
    let _ = shared.get(mine).release();
    other.join().expect("a model's threads do not panic");
    shared.finish();
}

/// Which of the two everybody takes first: the hash knows.
fn a_comes_first(shared: &Shared) -> bool {
    let _guard = shared.get("b").lock_owned().expect("no deadlock");
    let mut all = Box::pin(shared.locks.lock_all_async(&["a", "b"]));
    assert!(poll(all.as_mut()).is_pending());
    shared.get("a").locked().expect("nothing fails here")
}

fn await_both(shared: &Shared) {
    step("awaits both");
    let both = block_on(shared.locks.lock_all_async(&["a", "b"]));
    let _both = both.expect("no deadlock");
    shared.a.write();
    shared.b.write();
}

fn cancelled_both(shared: &Shared) {
    step("polls for both once");
    if let Some(both) = poll_and_drop(shared.locks.lock_all_async(&["b", "a"])) {
        let _both = both.expect("no deadlock");
        shared.a.write();
        shared.b.write();
    }
}

fn cancelled_all(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[cancelled_both], await_both);
    shared.finish();
}

fn cancelled_all_twice(budget: u16) {
    let shared = Shared::new(budget);
    beside(&shared, &[|shared| twice(shared, cancelled_both)], |shared| {
        twice(shared, await_both);
    });
    shared.finish();
}

/// The manager goes while others have handles, of which one is held for ever: loom tells if the
/// table is freed too early or never.
fn abandoned(budget: u16) {
    let locks = LockManager::builder().shards(1).bypass(budget).build().expect("sound options");
    let get = |name| locks.get_lock(name).expect("a name");
    assert!(get("held").acquire(Wait::Never).expect("no deadlock"));
    let (first, second) = (get("a"), get("a"));
    let other = thread::spawn(move || drop(first));
    drop(locks);
    drop(second);
    other.join().expect("a model's threads do not panic");
}

/// The manager goes while the last handle of a name does: loom tells if the entry is never freed.
fn abandoned_at_once(budget: u16) {
    let locks = LockManager::builder().shards(1).bypass(budget).build().expect("sound options");
    let handle = locks.get_lock("a").expect("a name");
    let other = thread::spawn(move || drop(handle));
    drop(locks);
    other.join().expect("a model's threads do not panic");
}

fn deadlock(budget: u16) {
    opposite_order_each(budget, 1);
}

fn deadlock_twice(budget: u16) {
    opposite_order_each(budget, 2);
}

/// Of two that would wait for each other, at least one is told, and nobody waits for ever.
fn opposite_order_each(budget: u16, cycles: u32) {
    let shared = Shared::with(LockManager::builder().bypass(budget).detect_deadlocks(true));
    // How often it was told.
    let both = move |shared: &Shared, first, second| {
        let owner = LockOwner::new(first);
        let mut told = 0;
        for _ in 0..cycles {
            let outer = shared.get(first).with_owner(&owner).lock_owned();
            let outer = outer.expect("it holds nothing");
            let inner = shared.get(second).with_owner(&owner).lock_owned();
            told += u32::from(inner.is_err());
            drop(inner);
            drop(outer);
        }
        told
    };
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || both(&shared, "b", "a"))
    };
    let here = both(&shared, "a", "b");
    let there = other.join().expect("a model's threads do not panic");
    // Whoever is told leaves the other to wait, and to get what it waits for.
    let without_need = (here == cycles && there > 0) || (there == cycles && here > 0);
    assert!(!without_need, "both were told, so one was told without need");
    shared.finish();
}

fn lock_both_in_order(shared: &Shared) {
    let owner = LockOwner::new("one of two");
    let outer = shared.get("a").with_owner(&owner).lock_owned().expect("no deadlock");
    let inner = shared.get("b").with_owner(&owner).lock_owned().expect("no deadlock");
    drop((outer, inner));
}

/// The same order is no deadlock, whatever the timing.
fn no_deadlock(budget: u16) {
    let shared = Shared::with(LockManager::builder().bypass(budget).detect_deadlocks(true));
    beside(&shared, &[lock_both_in_order], lock_both_in_order);
    shared.finish();
}

fn no_deadlock_twice(budget: u16) {
    let shared = Shared::with(LockManager::builder().bypass(budget).detect_deadlocks(true));
    beside(&shared, &[|shared| twice(shared, lock_both_in_order)], |shared| {
        twice(shared, lock_both_in_order);
    });
    shared.finish();
}

/// One has waited for what the other holds, and holds what the other waits for, but not both at a
/// time.
fn wait_is_over(budget: u16) {
    let shared = Shared::with(LockManager::builder().bypass(budget).detect_deadlocks(true));
    let get = |shared: &Shared, name, owner: &LockOwner| {
        let guard = shared.get(name).with_owner(owner).lock_owned();
        guard.expect("no deadlock")
    };
    let both = LockOwner::new("both at a time");
    let held = get(&shared, "a", &both);
    let one = LockOwner::new("one after the other");
    let mut waiting = Box::pin(shared.get("a").with_owner(&one).lock_owned_async());
    assert!(poll(waiting.as_mut()).is_pending());
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            drop(held);
            let outer = get(&shared, "a", &both);
            let inner = get(&shared, "b", &both);
            drop((outer, inner));
        })
    };
    drop(block_on(waiting).expect("no deadlock"));
    drop(get(&shared, "b", &one));
    other.join().expect("a model's threads do not panic");
    shared.finish();
}

pub fn models(suite: &mut Suite) {
    let mut add = |name: &str, claim, threads, operations, adversary, bounds, model| {
        let model_name = format!("manager/{name}");
        let about = About { model: model_name, claim, threads, operations, adversary };
        suite.model(about, BUDGETS, bounds, model);
    };
    let one_entry = "a name is one lock, however it comes and goes, and nothing is left over";
    let record = "a hold without a guard is ended once, after it began";
    let all = "all or nothing, never in a circle, and nothing is left over";
    add(
        "come-and-go",
        one_entry,
        2,
        "get, try, drop; twice each",
        "none",
        TWO_THREADS,
        come_and_go,
    );
    add("two-names", one_entry, 2, "get, try, drop; of two names", "none", TWO_THREADS, two_names);
    add("lockers", one_entry, 2, "get, lock, drop; twice each", "none", TWO_THREADS, lockers);
    add(
        "three-look",
        one_entry,
        3,
        "get, drop · get, drop · get, try, drop; twice each",
        "none",
        THREE_THREADS,
        three_look,
    );
    add("cleanup", one_entry, 2, "get, try, drop; twice", "cleanup, info", TWO_THREADS, cleanup);
    add("clones", one_entry, 2, "drop of two clones; get, try, drop", "none", UNBOUNDED, clones);
    add("cancelled-waiter", one_entry, 2, "release", "cancel", UNBOUNDED, cancelled_waiter);
    add(
        "cancelled-waiters",
        one_entry,
        2,
        "release, get, lock, drop",
        "cancel, twice",
        BESIDE_A_FUTURE,
        cancelled_waiters,
    );
    add(
        "cancelled-before-waiter",
        one_entry,
        3,
        "release, get, lock, drop · get, lock, drop, twice",
        "cancel, twice",
        THREE_THREADS,
        cancelled_before_waiter,
    );
    add("release-elsewhere", record, 2, "acquire · release", "none", UNBOUNDED, release_elsewhere);
    add(
        "releases-elsewhere",
        record,
        2,
        "acquire, release, twice · release twice",
        "none",
        TWO_THREADS,
        releases_elsewhere,
    );
    add("double-release", record, 2, "release · release", "none", UNBOUNDED, double_release);
    add(
        "held-without-handles",
        record,
        2,
        "acquire, try, release; get, try, drop of another name; twice each",
        "a name that comes and goes",
        TWO_THREADS,
        held_without_handles,
    );
    add(
        "opposite-orders",
        all,
        2,
        "acquire_all, release_all; twice each",
        "none",
        THREE_THREADS,
        opposite_orders,
    );
    add("roll-back", all, 2, "lock_all · get, lock; twice", "timeout", TWO_THREADS, roll_back);
    add(
        "release-unfinished",
        record,
        2,
        "acquire_all, try · release, try, release",
        "timeout",
        TWO_THREADS,
        release_unfinished,
    );
    add("cancelled-all", all, 2, "lock_all_async", "cancel", TWO_THREADS, cancelled_all);
    add(
        "cancelled-all-twice",
        all,
        2,
        "lock_all_async, twice",
        "cancel, twice",
        THREE_THREADS,
        cancelled_all_twice,
    );
    add(
        "roll-back-twice",
        all,
        2,
        "lock_all, twice · get, lock, four times",
        "timeout",
        THREE_THREADS,
        roll_back_twice,
    );
    let outlived = "handles outlive the manager, and the table goes with the last of them";
    add("abandoned", outlived, 2, "drop of two handles", "the manager's end", UNBOUNDED, abandoned);
    add(
        "abandoned-at-once",
        outlived,
        2,
        "drop of the only handle",
        "the manager's end",
        UNBOUNDED,
        abandoned_at_once,
    );
    let told = "a cycle is told to one of those in it, and to nobody else";
    add("deadlock", told, 2, "lock two, in opposite orders", "none", TWO_THREADS, deadlock);
    add("no-deadlock", told, 2, "lock two, in one order", "none", TWO_THREADS, no_deadlock);
    add(
        "deadlock-twice",
        told,
        2,
        "lock two, in opposite orders, twice each",
        "none",
        THREE_THREADS,
        deadlock_twice,
    );
    add(
        "no-deadlock-twice",
        told,
        2,
        "lock two, in one order, twice each",
        "none",
        THREE_THREADS,
        no_deadlock_twice,
    );
    add(
        "wait-is-over",
        told,
        2,
        "a future waits for a, then lock b · unlock a, lock a and b",
        "none",
        CROWDED,
        wait_is_over,
    );
}
