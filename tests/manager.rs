//! The lock manager through its public API: what lives for how long, what is on record, several
//! names at once, deadlocks; and a state machine against a reference.
#![cfg(not(loom))]

mod names;

use std::collections::BTreeSet;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use static_assertions::assert_impl_all;
use warded::{
    AllGuard, Backend, BaseLock, LockError, LockInfo, LockManager, LockOwner, ManagedGuard,
    ManagedLock, ManagerError, OwnedManagedGuard, Wait,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// So long that a test which waits for it has failed.
const AGES: Duration = Duration::from_secs(60);

assert_impl_all!(LockManager: Send, Sync);
assert_impl_all!(ManagedLock: Send, Sync, Clone);
assert_impl_all!(ManagedGuard<'_>: Send, Sync);
assert_impl_all!(OwnedManagedGuard: Send, Sync);
assert_impl_all!(AllGuard: Send, Sync);

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// What lives for how long

#[test]
fn a_name_lives_while_somebody_has_a_handle() -> Outcome {
    let locks = LockManager::local();
    let lock = locks.get_lock("a")?;
    let clone = lock.clone();
    drop(lock);
    assert_eq!(locks.names(), ["a"]);
    drop(clone);
    assert!(locks.is_empty());
    Ok(())
}

#[test]
fn a_name_lives_while_it_is_acquired() -> Outcome {
    let locks = LockManager::local();
    assert!(locks.get_lock("a")?.acquire(Wait::Never)?);
    assert_eq!(locks.len(), 1);
    assert!(!locks.get_lock("a")?.acquire(Wait::Never)?);
    locks.get_lock("a")?.release()?;
    assert!(locks.is_empty());
    Ok(())
}

#[test]
fn a_name_lives_while_somebody_waits() -> Outcome {
    let locks = LockManager::local();
    let guard = locks.get_lock("a")?.lock_owned()?;
    let mut waits = Box::pin(locks.get_lock("a")?.lock_owned_async());
    assert!(poll(waits.as_mut()).is_pending());
    drop(guard);
    assert_eq!(locks.len(), 1);
    drop(waits);
    assert!(locks.is_empty());
    Ok(())
}

#[test]
fn cleanup_takes_nothing_that_is_in_use() -> Outcome {
    let locks = LockManager::builder().shards(1).build()?;
    drop((locks.get_lock("a")?, locks.get_lock("b")?));
    assert!(locks.is_empty() && locks.names().is_empty());
    let lock = locks.get_lock("a")?;
    assert!(lock.acquire(Wait::Never)?);
    assert_eq!(locks.names(), ["a"]);
    assert_eq!(locks.cleanup()?.vacant, 1);
    assert_eq!(locks.cleanup()?.vacant, 0);
    assert!(locks.get_lock("a")?.locked()?);
    Ok(())
}

/// A guard that is forgotten holds for ever, and so does not let its name go.
#[test]
fn a_forgotten_guard_still_holds() -> Outcome {
    let locks = LockManager::local();
    mem::forget(locks.get_lock("a")?.lock()?);
    assert!(locks.get_lock("a")?.try_lock()?.is_none());
    assert!(matches!(locks.get_lock("a")?.release(), Err(LockError::NotHeld { .. })));
    assert_eq!(locks.len(), 1);
    Ok(())
}

/// A future that is leaked stays in the queue of its name, whose entry nobody else may get.
#[test]
fn a_leaked_waiter_keeps_its_name() -> Outcome {
    let locks = LockManager::builder().shards(1).build()?;
    let held = locks.get_lock("a")?;
    let guard = held.lock()?;
    let lock = locks.get_lock("a")?;
    {
        let mut waits = Box::pin(lock.lock_async());
        assert!(poll(waits.as_mut()).is_pending());
        mem::forget(waits);
    }
    drop(guard);
    drop((lock, held));
    assert_eq!(locks.len(), 1);
    assert!(locks.get_lock("b")?.try_lock()?.is_some());
    Ok(())
}

#[test]
fn handles_and_guards_outlive_the_manager() -> Outcome {
    let locks = LockManager::local();
    let lock = locks.get_lock("a")?;
    let guard = locks.get_lock("b")?.lock_owned()?;
    let both = locks.lock_all(&["c", "d"], Wait::Never)?.ok_or("free")?;
    assert!(locks.get_lock("e")?.acquire(Wait::Never)?);
    drop(locks);
    assert!(lock.clone().try_lock()?.is_some());
    thread::spawn(move || drop((lock, guard, both))).join().map_err(|_| "a panic")?;
    Ok(())
}

/// A million tasks queue for a name that is held, each is dropped, and nothing is left.
#[test]
fn cancelled_waiters_leave_nothing() -> Outcome {
    const WAITERS: usize = 1_000_000;
    const AT_ONCE: usize = 1_000;
    let locks = LockManager::local();
    let guard = locks.get_lock("held")?.lock_owned()?;
    for batch in 0..WAITERS / AT_ONCE {
        let mut waiters = Vec::with_capacity(AT_ONCE);
        for _ in 0..AT_ONCE {
            let mut waits = Box::pin(locks.get_lock("held")?.lock_owned_async());
            assert!(poll(waits.as_mut()).is_pending());
            waiters.push(waits);
        }
        // From the back, from the front.
        if batch % 2 == 0 {
            waiters.reverse();
        }
        drop(waiters);
    }
    // The last ones are dropped when the holder has gone: where others leak.
    let mut last = Box::pin(locks.get_lock("held")?.lock_owned_async());
    assert!(poll(last.as_mut()).is_pending());
    drop(guard);
    drop(last);
    assert_eq!(locks.len(), 0);
    Ok(())
}

#[test]
fn a_million_names_come_and_go() -> Outcome {
    let locks = LockManager::local();
    let name = |number: usize| format!("customer {number}");
    let handles = (0..1_000_000).map(|number| locks.get_lock(&name(number)));
    let handles = handles.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(locks.len(), 1_000_000);
    let _guard = handles[777_777].lock()?;
    assert!(locks.get_lock(&name(777_777))?.locked()?);
    assert!(!locks.get_lock(&name(777_778))?.locked()?);
    drop(_guard);
    drop(handles);
    assert!(locks.is_empty());
    Ok(())
}

/// Threads make, share and take away a few names as fast as they can; each name is one lock.
#[test]
fn a_name_is_one_lock_however_it_comes_and_goes() -> Outcome {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let locks = LockManager::builder().shards(1).build()?;
    let inside = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        for seed in 0..8 {
            let (locks, inside) = (&locks, &inside);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    let pick = random.usize(..3);
                    let lock = locks.get_lock(NAMES[pick]).expect("a name");
                    let guard = match random.u8(..3) {
                        0 => Some(lock.lock_owned().expect("no deadlock")),
                        1 => lock.try_lock_owned(Wait::Never).expect("no deadlock"),
                        _ => pollster::block_on(lock.lock_owned_async()).ok(),
                    };
                    if let Some(guard) = guard {
                        assert_eq!(inside[pick].fetch_add(1, Ordering::Relaxed), 0);
                        inside[pick].fetch_sub(1, Ordering::Relaxed);
                        drop(guard);
                    }
                }
            });
        }
    });
    assert!(locks.is_empty());
    Ok(())
}

// What is on record

#[test]
fn the_record_names_thread_and_time() -> Outcome {
    let locks = Arc::new(LockManager::local());
    let theirs = Arc::clone(&locks);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let holder = thread::Builder::new().name("holder".to_owned()).spawn(move || {
        let _guard = theirs.get_lock("a").expect("a name").lock_owned();
        begin.send(()).expect("the test waits");
        let _ = ended.recv();
    })?;
    begun.recv()?;
    let info = locks.info("a")?;
    let owner = info.owner.ok_or("it is held")?;
    assert!(owner.starts_with("holder (ThreadId("), "{owner}");
    let since = info.acquired_at.ok_or("it is held")?;
    assert!(since.elapsed().is_ok_and(|age| age < AGES), "{since:?}");
    assert_eq!(locks.infos()?.len(), 1);
    drop(end);
    holder.join().map_err(|_| "a panic")?;
    assert_eq!(locks.info("a")?, LockInfo::unheld("a"));
    Ok(())
}

#[test]
fn the_record_names_owners_and_tasks() -> Outcome {
    let locks = LockManager::local();
    let owner = |name: &str| locks.info(name).map(|info| info.owner.unwrap_or_default());
    let job = LockOwner::new("job 17");
    let lock = locks.get_lock("a")?.with_owner(&job);
    let guard = lock.lock()?;
    assert_eq!(owner("a")?, "job 17");
    drop(guard);
    let guard = pollster::block_on(lock.lock_async())?;
    assert_eq!(owner("a")?, "job 17");
    drop(guard);
    let guard = pollster::block_on(locks.get_lock("b")?.lock_owned_async())?;
    assert!(owner("b")?.starts_with("a task on "), "{}", owner("b")?);
    drop(guard);
    // A record outlives whom it names.
    assert!(
        thread::scope(|scope| scope.spawn(|| locks.get_lock("c")?.acquire(Wait::Never)).join())
            .map_err(|_| "a panic")??
    );
    assert_eq!(owner("c")?, "somebody who is gone");
    locks.release_all(&["c"])?;

    let locks = LockManager::builder().owner("billing").build()?;
    let _guard = locks.get_lock("a")?.lock_owned()?;
    assert_eq!(locks.info("a")?.owner.as_deref(), Some("billing"));
    Ok(())
}

// The specification's layer

#[test]
fn release_ends_no_guard() -> Outcome {
    let locks = LockManager::local();
    let lock = locks.get_lock("a")?;
    let guard = lock.lock()?;
    let Err(LockError::NotHeld { name }) = lock.release() else { panic!("it ended a guard") };
    assert_eq!(name.as_deref(), Some("a"));
    assert!(lock.locked()?);
    drop(guard);
    let object: &dyn BaseLock = &lock;
    let hold = object.hold(Wait::Never)?.ok_or("free")?;
    assert!(object.hold(Wait::Never)?.is_none() && object.release().is_err());
    hold.release()?;
    assert!(!object.locked()?);
    Ok(())
}

#[test]
fn nonsense_is_refused() {
    let locks = LockManager::local();
    assert!(matches!(locks.get_lock(""), Err(LockError::EmptyName)));
    assert!(matches!(locks.acquire_all(&["a", ""], Wait::Never), Err(LockError::EmptyName)));
    assert!(locks.is_empty());
    assert_eq!("redis".parse(), Ok(Backend::Redis));
    let message = "zookeeper".parse::<Backend>().expect_err("unknown").to_string();
    assert!(message.contains("\"local\"") && message.contains("\"redis\""), "{message}");
    let build = |backend| LockManager::builder().backend(backend).build();
    assert!(build(Backend::Local).is_ok());
    let message = build(Backend::Redis).expect_err("no client").to_string();
    assert!(message.contains("\"redis\""), "{message}");
    let refused = LockManager::builder().bypass(u16::MAX).build();
    assert!(matches!(refused, Err(ManagerError::Option { option: "bypass", .. })));
}

// Several names

#[test]
fn all_or_nothing() -> Outcome {
    let locks = LockManager::local();
    let guard = locks.get_lock("c")?.lock_owned()?;
    assert!(locks.lock_all(&["a", "b", "c", "d"], Wait::Never)?.is_none());
    assert!(!locks.acquire_all(&["d", "c", "b"], Duration::from_millis(5).into())?);
    assert_eq!(locks.names(), ["c"]);
    drop(guard);
    let all = locks.lock_all(&["a", "b", "a"], Wait::Never)?.ok_or("free")?;
    assert_eq!(all.names().collect::<BTreeSet<_>>(), BTreeSet::from(["a", "b"]));
    drop(all);
    assert!(locks.is_empty());
    assert!(locks.acquire_all::<&str>(&[], Wait::Never)?);
    locks.release_all::<&str>(&[])?;
    Ok(())
}

#[test]
fn nobody_else_ends_a_hold_of_an_acquire_all_that_is_not_done() -> Outcome {
    let locks = LockManager::local();
    let names = ["x", "y"];
    let guard = locks.get_lock("x")?.lock_owned()?;
    let mut all = Box::pin(locks.lock_all_async(&names));
    assert!(poll(all.as_mut()).is_pending());
    // Which of them is taken first is known to the hash alone.
    let (first, second) = if locks.get_lock("y")?.locked()? { ("y", "x") } else { ("x", "y") };
    drop((all, guard));
    let lock = locks.get_lock(first)?;
    let guard = locks.get_lock(second)?.lock_owned()?;
    thread::scope(|scope| -> Outcome {
        let acquiring = scope.spawn(|| locks.acquire_all(&names, AGES.into()));
        while !lock.locked()? {
            thread::yield_now();
        }
        let ended = lock.release();
        drop(guard);
        assert!(acquiring.join().map_err(|_| "a panic")??);
        assert!(matches!(ended, Err(LockError::NotHeld { .. })), "{ended:?}");
        Ok(())
    })?;
    lock.release()?;
    locks.get_lock(second)?.release()?;
    // One permit each is left.
    let _all = locks.lock_all(&names, Wait::Never)?.ok_or("free")?;
    assert!(lock.try_lock()?.is_none() && locks.get_lock(second)?.try_lock()?.is_none());
    Ok(())
}

#[test]
fn release_all_releases_what_is_held_and_names_the_rest() -> Outcome {
    let locks = LockManager::local();
    assert!(locks.acquire_all(&["a", "b"], Wait::Never)?);
    let guard = locks.get_lock("g")?.lock_owned()?;
    let released = locks.release_all(&["x", "b", "g", "a", "x", "b"]);
    let Err(LockError::NotAllHeld { names }) = released else { panic!("{released:?}") };
    assert_eq!(names, ["g", "x"]);
    assert_eq!(locks.names(), ["g"]);
    assert!(locks.get_lock("g")?.locked()?);
    drop(guard);
    Ok(())
}

#[test]
fn dropped_at_every_await_all_gives_back_what_it_took() -> Outcome {
    let locks = LockManager::local();
    let names: Vec<_> = (0..5).map(|number| number.to_string()).collect();
    for held in &names {
        let guard = locks.get_lock(held)?.lock_owned()?;
        let mut all = Box::pin(locks.lock_all_async(&names));
        assert!(poll(all.as_mut()).is_pending());
        drop(all);
        assert_eq!(locks.len(), 1);
        drop(guard);
        assert!(locks.is_empty());
    }
    let all = pollster::block_on(locks.lock_all_async(&names))?;
    assert_eq!(all.names().count(), 5);
    Ok(())
}

#[test]
fn sets_that_overlap_in_any_order_all_get_through() -> Outcome {
    let locks = LockManager::local();
    let inside = [const { AtomicUsize::new(0) }; 6];
    thread::scope(|scope| {
        for seed in 0..6 {
            let (locks, inside) = (&locks, &inside);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..2_000 {
                    let set = random.choose_multiple(0..6_usize, 3);
                    let names: Vec<_> = set.iter().map(usize::to_string).collect();
                    let guard = if random.bool() {
                        locks.lock_all(&names, Wait::Forever).expect("no deadlock").expect("waited")
                    } else {
                        pollster::block_on(locks.lock_all_async(&names)).expect("no deadlock")
                    };
                    for &place in &set {
                        assert_eq!(inside[place].fetch_add(1, Ordering::Relaxed), 0);
                    }
                    for &place in &set {
                        inside[place].fetch_sub(1, Ordering::Relaxed);
                    }
                    drop(guard);
                }
            });
        }
    });
    assert!(locks.is_empty());
    Ok(())
}

/// One waker's panic, while several are released, keeps the others from nothing.
#[test]
fn a_waker_that_panics_holds_up_no_other_name() -> Outcome {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's own panic");
        }
    }
    let locks = LockManager::local();
    let all = locks.lock_all(&["a", "b", "c"], Wait::Never)?.ok_or("free")?;
    let lock = locks.get_lock("b")?;
    let mut waits = pin!(lock.lock_async());
    let waker = Waker::from(Arc::new(Panics));
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(all))).is_err());
    assert!(locks.lock_all(&["a", "c"], Wait::Never)?.is_some());
    assert!(poll(waits.as_mut()).is_ready());
    Ok(())
}

// Deadlocks

#[test]
fn a_cycle_of_three_threads_is_told_to_one_of_them() -> Outcome {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let locks = LockManager::builder().detect_deadlocks(true).build()?;
    let barrier = Barrier::new(3);
    let told: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|place| {
                let (locks, barrier) = (&locks, &barrier);
                let name = format!("thread {place}");
                let work = move || {
                    let outer = locks.get_lock(NAMES[place])?.lock_owned()?;
                    barrier.wait();
                    let inner = locks.get_lock(NAMES[(place + 1) % 3])?.lock_owned();
                    drop(outer);
                    inner.map(drop)
                };
                thread::Builder::new().name(name).spawn_scoped(scope, work).expect("a thread")
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let errors: Vec<_> = told.into_iter().filter_map(Result::err).collect();
    let [LockError::Deadlock(deadlock)] = &*errors else { panic!("{errors:?}") };
    let steps = deadlock.cycle();
    assert_eq!(steps.len(), 3);
    for (place, step) in steps.iter().enumerate() {
        let number = NAMES.iter().position(|name| *name == step.waits_for).ok_or("a name")?;
        // Thread n holds the n-th name, and waits for the next.
        assert!(step.owner.starts_with(&format!("thread {} ", (number + 2) % 3)), "{deadlock}");
        assert_eq!(steps[(place + 1) % 3].waits_for, NAMES[(number + 1) % 3]);
    }
    assert!(errors[0].to_string().contains(r#"waits for "a", which thread 0"#), "{}", errors[0]);
    assert!(locks.is_empty());
    Ok(())
}

#[test]
fn an_owner_that_waits_for_itself_is_told() -> Outcome {
    let locks = LockManager::builder().detect_deadlocks(true).build()?;
    let owner = LockOwner::new("job 1");
    let lock = locks.get_lock("a")?.with_owner(&owner);
    let guard = pollster::block_on(lock.lock_async())?;
    assert!(matches!(pollster::block_on(lock.lock_async()), Err(LockError::Deadlock(_))));
    assert!(matches!(lock.acquire(AGES.into()), Err(LockError::Deadlock(_))));
    assert!(matches!(lock.hold(AGES.into()), Err(LockError::Deadlock(_))));
    // Who does not wait cannot deadlock.
    assert!(lock.try_lock()?.is_none());
    drop(guard);
    assert!(lock.try_lock()?.is_some());
    Ok(())
}

#[test]
fn a_cycle_through_several_names_gives_them_all_back() -> Outcome {
    let locks = LockManager::builder().detect_deadlocks(true).build()?;
    assert!(locks.get_lock("b")?.acquire(Wait::Never)?);
    let refused = locks.acquire_all(&["a", "b", "c"], Wait::Forever);
    assert!(matches!(refused, Err(LockError::Deadlock(_))), "{refused:?}");
    assert_eq!(locks.names(), ["b"]);
    locks.release_all(&["b"])?;
    Ok(())
}

/// Waits that end, and holds whose thread is free to go on, are no deadlock.
#[test]
fn what_is_no_cycle_is_not_told() -> Outcome {
    let locks = LockManager::builder().detect_deadlocks(true).build()?;
    // A task's hold is not its thread's, so this wait may end; here its time does.
    let guard = pollster::block_on(locks.get_lock("a")?.lock_owned_async())?;
    let soon = Duration::from_millis(5);
    assert!(locks.get_lock("a")?.try_lock_for(soon)?.is_none());
    drop(guard);
    // Another owner's hold, though on this very thread.
    let other = LockOwner::new("other");
    let guard = locks.get_lock("a")?.with_owner(&other).lock_owned()?;
    assert!(locks.get_lock("a")?.try_lock_for(soon)?.is_none());
    // A wait that was dropped leads nowhere.
    let ours = locks.get_lock("b")?.lock_owned()?;
    let lock = locks.get_lock("b")?.with_owner(&other);
    {
        let mut waits = pin!(lock.lock_async());
        assert!(poll(waits.as_mut()).is_pending());
        assert!(matches!(locks.get_lock("a")?.lock(), Err(LockError::Deadlock(_))));
    }
    assert!(locks.get_lock("a")?.try_lock_for(soon)?.is_none());
    drop((guard, ours));
    Ok(())
}

/// A wait that was leaked is looked at for ever, also when the manager is gone.
#[test]
fn a_leaked_wait_is_still_looked_at() -> Outcome {
    let locks = LockManager::builder().shards(1).detect_deadlocks(true).build()?;
    let (one, other) = (LockOwner::new("one"), LockOwner::new("other"));
    let held = locks.get_lock("a")?.with_owner(&one);
    let guard = held.lock()?;
    let theirs = locks.get_lock("b")?.with_owner(&other).lock_owned()?;
    {
        let lock = locks.get_lock("a")?.with_owner(&other);
        let mut waits = Box::pin(lock.lock_async());
        assert!(poll(waits.as_mut()).is_pending());
        mem::forget(waits);
    }
    drop(guard);
    drop(held);
    let lock = locks.get_lock("b")?.with_owner(&one);
    drop(locks);
    // `other` waits for "a", which nobody holds: no cycle.
    assert!(lock.try_lock_for(Duration::from_millis(5))?.is_none());
    drop(theirs);
    Ok(())
}

/// Threads that take names in one order wait for each other a lot, and never in a circle.
#[test]
fn one_order_is_never_told() -> Outcome {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let locks = LockManager::builder().detect_deadlocks(true).build()?;
    thread::scope(|scope| {
        for seed in 0..6 {
            let locks = &locks;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..3_000 {
                    let from = random.usize(..3);
                    let to = random.usize(from + 1..4);
                    let lock = |place: usize| {
                        let lock = locks.get_lock(NAMES[place]).expect("a name");
                        if random.bool() {
                            lock.lock_owned().map(Some)
                        } else {
                            lock.try_lock_owned(Duration::from_micros(50).into())
                        }
                    };
                    let guards = [from, to].map(lock);
                    assert!(guards.iter().all(Result::is_ok), "{guards:?}");
                }
            });
        }
    });
    assert!(locks.is_empty());
    Ok(())
}

// Against a reference

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// One shard and a small budget: names share a table, and doors are shut.
    #[test]
    fn it_does_what_the_reference_does(steps in names::steps()) {
        let locks = LockManager::builder().shards(1).bypass(2).build().expect("sound options");
        names::run(locks, &steps, false);
    }
}
