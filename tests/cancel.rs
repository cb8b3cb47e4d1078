//! Whoever gives up, by time or by being dropped, has taken nothing and passes its turn on.
//!
//! No test here passes or fails by being quick: times are only ever waited for.
#![cfg(not(loom))]

mod hand;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use warded::{
    BaseLock, BaseReadWriteLock, BaseSemaphore, LocalLock, LocalSemaphore, PermitError,
    ReadWriteLock, UpgradableGuard, Wait,
};

use crate::hand::Task;

const TICK: Duration = Duration::from_millis(20);

/// Runs it, which is to last at least a tick.
fn lasts_a_tick<T>(attempt: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = attempt();
    assert!(begun.elapsed() >= TICK, "it gave up after {:?}", begun.elapsed());
    result
}

#[test]
fn a_lock_waits_for_the_whole_time() {
    let lock = Arc::new(LocalLock::new(()));
    let _guard = lock.lock();
    assert!(lasts_a_tick(|| lock.try_lock_for(TICK)).is_none());
    assert!(lasts_a_tick(|| lock.try_lock_until(Instant::now() + TICK)).is_none());
    assert!(lasts_a_tick(|| lock.try_lock_owned_for(TICK)).is_none());
    assert!(lasts_a_tick(|| lock.try_lock_owned_until(Instant::now() + TICK)).is_none());
    assert!(!lasts_a_tick(|| lock.acquire(Wait::For(TICK))).unwrap());
    assert!(!lasts_a_tick(|| lock.acquire(Wait::Until(Instant::now() + TICK))).unwrap());
    assert!(lasts_a_tick(|| lock.hold(TICK.into())).unwrap().is_none());
}

#[test]
fn a_semaphore_waits_for_the_whole_time() {
    let semaphore = Arc::new(LocalSemaphore::new(2));
    let _permit = semaphore.permit().unwrap();
    let late = Some(PermitError::Unavailable);
    let soon = || Instant::now() + TICK;
    assert_eq!(lasts_a_tick(|| semaphore.try_permits_for(2, TICK)).err(), late);
    assert_eq!(lasts_a_tick(|| semaphore.try_permits_until(2, soon())).err(), late);
    assert_eq!(lasts_a_tick(|| semaphore.try_permits_owned_for(2, TICK)).err(), late);
    assert_eq!(lasts_a_tick(|| semaphore.try_permits_owned_until(2, soon())).err(), late);
    let _other = semaphore.permit().unwrap();
    assert_eq!(lasts_a_tick(|| semaphore.try_permit_for(TICK)).err(), late);
    assert_eq!(lasts_a_tick(|| semaphore.try_permit_until(soon())).err(), late);
    assert!(!lasts_a_tick(|| semaphore.acquire(TICK.into())).unwrap());
}

#[test]
fn a_read_write_lock_waits_for_the_whole_time() {
    let lock = Arc::new(ReadWriteLock::new(()));
    let soon = || Instant::now() + TICK;
    {
        let _writer = lock.write();
        assert!(lasts_a_tick(|| lock.try_read_for(TICK)).is_none());
        assert!(lasts_a_tick(|| lock.try_read_until(soon())).is_none());
        assert!(lasts_a_tick(|| lock.try_read_owned_for(TICK)).is_none());
        assert!(lasts_a_tick(|| lock.try_read_owned_until(soon())).is_none());
        assert!(lasts_a_tick(|| lock.try_read_recursive_for(TICK)).is_none());
        assert!(lasts_a_tick(|| lock.try_read_recursive_until(soon())).is_none());
        assert!(lasts_a_tick(|| lock.try_upgradable_for(TICK)).is_none());
        assert!(lasts_a_tick(|| lock.try_upgradable_until(soon())).is_none());
        assert!(lasts_a_tick(|| lock.try_upgradable_owned_for(TICK)).is_none());
        assert!(lasts_a_tick(|| lock.try_upgradable_owned_until(soon())).is_none());
        assert!(!lasts_a_tick(|| lock.acquire_read(TICK.into())).unwrap());
    }
    let _reader = lock.read();
    assert!(lasts_a_tick(|| lock.try_write_for(TICK)).is_none());
    assert!(lasts_a_tick(|| lock.try_write_until(soon())).is_none());
    assert!(lasts_a_tick(|| lock.try_write_owned_for(TICK)).is_none());
    assert!(lasts_a_tick(|| lock.try_write_owned_until(soon())).is_none());
    assert!(!lasts_a_tick(|| lock.acquire_write(TICK.into())).unwrap());
    let upgradable = lock.upgradable();
    let upgradable = lasts_a_tick(|| UpgradableGuard::try_upgrade_for(upgradable, TICK));
    let upgradable = upgradable.expect_err("somebody reads");
    let upgradable = lasts_a_tick(|| UpgradableGuard::try_upgrade_until(upgradable, soon()));
    assert!(lock.try_upgradable().is_none(), "it still reads upgradably");
    drop(upgradable);
}

/// A deadline that has passed tries, and does not wait.
#[test]
fn a_deadline_in_the_past() {
    let past = Instant::now();
    thread::sleep(Duration::from_millis(1));
    let lock = LocalLock::new(());
    let guard = lock.try_lock_until(past).expect("nobody else is here");
    assert!(lock.try_lock_until(past).is_none());
    assert!(lock.try_lock_for(Duration::ZERO).is_none());
    drop(guard);
    assert!(lock.acquire(Wait::Until(past)).unwrap());
    assert!(!lock.acquire(Wait::Until(past)).unwrap());
    let semaphore = LocalSemaphore::new(1);
    let permit = semaphore.try_permit_until(past).unwrap();
    assert_eq!(semaphore.try_permit_until(past).err(), Some(PermitError::Unavailable));
    assert_eq!(
        semaphore.try_permits_until(2, past).err(),
        Some(PermitError::TooMany { asked: 2, max: 1 })
    );
    drop(permit);
    semaphore.close();
    assert_eq!(semaphore.try_permit_until(past).err(), Some(PermitError::Closed));
}

/// A time beyond the clock's range waits for ever.
#[test]
fn a_huge_time() {
    let lock = Arc::new(LocalLock::new(0));
    let semaphore = Arc::new(LocalSemaphore::new(1));
    let index = Arc::new(ReadWriteLock::new(0));
    let (guard, permit, writer) = (lock.lock(), semaphore.permit().unwrap(), index.write());
    thread::scope(|scope| {
        let waiters = [
            scope.spawn(|| lock.try_lock_for(Duration::MAX).is_some()),
            scope.spawn(|| semaphore.try_permit_for(Duration::MAX).is_ok()),
            scope.spawn(|| index.try_read_for(Duration::MAX).is_some()),
        ];
        thread::sleep(TICK);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "one did not wait");
        drop((guard, permit, writer));
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
    });
}

/// Whoever gives up while it is called passes the turn on, whatever it wanted.
#[test]
fn a_cancelled_waiter_passes_the_turn_on() {
    let lock = ReadWriteLock::new(());
    let writer = lock.write();
    let first = Task::waiting(lock.write_async());
    let mut reader = Task::waiting(lock.read_async());
    let mut other = Task::waiting(lock.read_async());
    drop(writer);
    assert_eq!([first.wakes(), reader.wakes(), other.wakes()], [1, 0, 0]);
    drop(first);
    assert_eq!([reader.wakes(), other.wakes()], [1, 1]);
    assert!(reader.poll().is_some() && other.poll().is_some());
}

/// A large need in front of small ones gives up, and those fit at once.
#[test]
fn a_cancelled_large_need_lets_the_small_in() {
    let semaphore = LocalSemaphore::new(3).with_bypass(0);
    let two = semaphore.permits(2).unwrap();
    let large = Task::waiting(semaphore.permits_async(3));
    let mut small = Task::waiting(semaphore.permit_async());
    assert!(semaphore.try_permit().is_err(), "the door is shut");
    drop(large);
    assert_eq!(small.wakes(), 1);
    drop(small.poll().unwrap().unwrap());
    drop(two);
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn a_cancelled_upgrade_keeps_its_read() {
    let lock = ReadWriteLock::new(1);
    let mut upgradable = lock.upgradable();
    let reader = lock.read();
    let mut writer = Task::waiting(lock.write_async());
    {
        let mut upgrade = Task::waiting(UpgradableGuard::upgraded_async(&mut upgradable));
        assert!(upgrade.poll().is_none());
    }
    assert_eq!(*upgradable, 1);
    assert!(lock.try_upgradable().is_none(), "it still reads upgradably");
    drop(reader);
    assert!(writer.poll().is_none(), "it still reads");
    {
        let mut upgrade = Task::new(UpgradableGuard::upgraded_async(&mut upgradable));
        *upgrade.poll().expect("nobody else reads") += 1;
    }
    assert_eq!(*upgradable, 2);
    drop(upgradable);
    assert!(writer.poll().is_some());
}

fn shuffled<T>(mut items: Vec<T>) -> Vec<T> {
    fastrand::Rng::with_seed(7).shuffle(&mut items);
    items
}

/// Many waiters, cancelled in random order: nothing is left behind, and everybody who stays is
/// served in the order of arrival.
#[test]
fn ten_thousand_cancelled() {
    let lock = LocalLock::new(()).with_bypass(0);
    let guard = lock.lock();
    let queue: Vec<_> = (0..10_000).map(|n| (n, Task::waiting(lock.lock_async()))).collect();
    let mut queue = shuffled(queue);
    let mut rest = queue.split_off(9_990);
    drop(queue);
    rest.sort_by_key(|(n, _)| *n);
    drop(guard);
    for (_, task) in &mut rest {
        assert!(lock.try_lock().is_none());
        assert_eq!(task.wakes(), 1);
        drop(task.poll().expect("its turn has come"));
    }
    // Without a budget, a newcomer enters only if the queue is empty.
    assert!(lock.try_lock().is_some());
}

#[test]
fn ten_thousand_cancelled_of_a_semaphore() {
    let semaphore = LocalSemaphore::new(7).with_bypass(0);
    let all = semaphore.permits(7).unwrap();
    let queue = (0..10_000).map(|n| Task::waiting(semaphore.permits_async(1 + n % 7))).collect();
    let queue: Vec<_> = shuffled(queue);
    let mut all = Some(all);
    for (n, task) in queue.into_iter().enumerate() {
        if n == 5_000 {
            // From here on, some are called when they go.
            all = None;
        }
        drop(task);
    }
    drop(all);
    assert_eq!(semaphore.available_permits(), 7);
    assert_eq!(semaphore.try_permits(7).unwrap().count(), 7);
}

#[test]
fn ten_thousand_cancelled_readers_and_writers() {
    let lock = ReadWriteLock::new(()).with_bypass(0);
    let mut writer = Some(lock.write());
    let queue = (0..10_000).map(|n| {
        if n % 3 == 0 {
            let mut task = Task::new(async { drop(lock.write_async().await) });
            assert!(task.poll().is_none());
            task
        } else {
            let mut task = Task::new(async { drop(lock.read_async().await) });
            assert!(task.poll().is_none());
            task
        }
    });
    let queue = shuffled(queue.collect::<Vec<_>>());
    for (n, task) in queue.into_iter().enumerate() {
        if n == 5_000 {
            writer = None;
        }
        drop(task);
    }
    drop(writer);
    assert!(lock.try_write().is_some());
}

/// Threads whose time is over leave the queue as it should be, while the lock goes from hand to
/// hand.
#[test]
fn timeouts_under_contention() {
    let lock = LocalLock::new(0_u64).with_bypass(1);
    let (mut got, mut total) = (Vec::new(), 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let lock = &lock;
                scope.spawn(move || {
                    let mut got = 0;
                    for i in 0..2_000 {
                        let patience = Duration::from_micros((i * 7 + n * 13) % 50);
                        if let Some(mut guard) = lock.try_lock_for(patience) {
                            *guard += 1;
                            got += 1;
                        }
                    }
                    got
                })
            })
            .collect();
        got.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    total += got.iter().sum::<u64>();
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), total);
}

/// A thread whose time is over calls the next one as it leaves, whose waker panics: the thread
/// unwinds out of its wait, and leaves no node behind.
#[test]
fn a_thread_that_unwinds_out_of_its_wait() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("the waker's panic");
        }
    }
    let semaphore = LocalSemaphore::new(2).with_bypass(0);
    let one = semaphore.permit().unwrap();
    let waker = Waker::from(Arc::new(Panics));
    thread::scope(|scope| {
        loop {
            let large = scope.spawn(|| {
                let attempt = || drop(semaphore.try_permits_for(2, 10 * TICK));
                catch_unwind(AssertUnwindSafe(attempt)).is_err()
            });
            // The free permit is shut off when the thread has queued.
            while semaphore.try_permit().is_ok() && !large.is_finished() {
                thread::yield_now();
            }
            let mut small = Task::new(semaphore.permit_async());
            if small.poll_with(&waker).is_some() {
                // The thread's time was over too soon.
                assert!(!large.join().unwrap());
                continue;
            }
            assert!(large.join().unwrap(), "the one behind is called, and its waker panics");
            drop(small.poll().expect("it was called").unwrap());
            break;
        }
    });
    drop(one);
    assert_eq!(semaphore.available_permits(), 2);
    drop(semaphore.try_permits(2).unwrap());
}
