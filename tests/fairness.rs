//! Who overtakes whom, and how often: in one thread, so that every count is exact.
#![cfg(not(loom))]

mod hand;

use std::sync::Arc;

use warded::{
    LocalLock, LocalSemaphore, LockGuard, PermitError, ReadWriteLock, UpgradableGuard, WriteGuard,
};

use crate::hand::Task;

const BUDGETS: [u16; 4] = [0, 1, 5, 64];

/// The worst newcomer there is enters as often as it can, and the waiter with k before it is
/// overtaken (k + 1) · B times, no more and no less.
#[test]
fn the_bound_of_a_lock() {
    for budget in BUDGETS {
        for before in 0..6 {
            let lock = LocalLock::new(()).with_bypass(budget);
            let first = lock.lock();
            let mut queue: Vec<_> =
                (0..=before).map(|_| Task::waiting(lock.lock_async())).collect();
            drop(first);
            let mut overtakings = 0;
            for task in &mut queue {
                // The called one looks only when the door is shut.
                while let Some(newcomer) = lock.try_lock() {
                    overtakings += 1;
                    assert!(overtakings <= 100_000, "there is no bound");
                    drop(newcomer);
                }
                drop(task.poll().expect("the door is shut for everybody but it"));
            }
            assert_eq!(overtakings, (before + 1) * usize::from(budget));
        }
    }
}

/// The same when the waiter looks as soon as it is woken, and always too late.
#[test]
fn the_bound_of_a_lock_whose_waiter_is_quick() {
    for budget in BUDGETS {
        let lock = LocalLock::new(()).with_bypass(budget);
        let mut holder = Some(lock.lock());
        let mut task = Task::waiting(lock.lock_async());
        let mut overtakings = 0;
        let entered = loop {
            drop(holder.take());
            holder = lock.try_lock();
            overtakings += usize::from(holder.is_some());
            if let Some(guard) = task.poll() {
                break guard;
            }
        };
        assert_eq!(overtakings, usize::from(budget));
        drop(entered);
    }
}

#[test]
fn the_bound_of_readers_and_writers() {
    for budget in BUDGETS {
        for before in 0..4 {
            // Readers overtake writers, as long as they may.
            let lock = ReadWriteLock::new(()).with_bypass(budget);
            let mut reader = Some(lock.read());
            let mut queue: Vec<_> =
                (0..=before).map(|_| Task::waiting(lock.write_async())).collect();
            let mut overtakings = 0;
            for task in &mut queue {
                while let Some(newcomer) = lock.try_read() {
                    overtakings += 1;
                    assert!(overtakings <= 100_000, "there is no bound");
                    reader = Some(newcomer);
                    assert!(task.poll().is_none(), "somebody reads");
                }
                drop(reader.take());
                drop(task.poll().expect("the door is shut for everybody but it"));
            }
            assert_eq!(overtakings, (before + 1) * usize::from(budget));
            // Writers overtake a reader.
            let mut writer = Some(lock.write());
            let mut task = Task::waiting(lock.read_async());
            let mut overtakings = 0;
            loop {
                drop(writer.take());
                writer = lock.try_write();
                if writer.is_none() {
                    break;
                }
                overtakings += 1;
                assert!(task.poll().is_none());
            }
            assert_eq!(overtakings, usize::from(budget));
            drop(task.poll().expect("the door is shut for everybody but it"));
        }
    }
}

/// Somebody who wants all the permits gets them, although one permit is free and asked for all the
/// time.
#[test]
fn many_permits_are_not_starved_by_few() {
    for budget in BUDGETS {
        for many in 2..5 {
            let semaphore = LocalSemaphore::new(4).with_bypass(budget);
            let mut out: Vec<_> = (0..4).map(|_| semaphore.permit().unwrap()).collect();
            let mut task = Task::waiting(semaphore.permits_async(many));
            let mut overtakings = 0;
            // Each time a permit comes back, a newcomer takes it if it may.
            let permits = loop {
                drop(out.pop().expect("they pile up before all have come back"));
                match semaphore.try_permit() {
                    Ok(permit) => {
                        overtakings += 1;
                        assert!(overtakings <= 100_000, "there is no bound");
                        out.insert(0, permit);
                    }
                    Err(error) => assert_eq!(error, PermitError::Unavailable),
                }
                if let Some(permits) = task.poll() {
                    break permits.unwrap();
                }
            };
            assert_eq!(permits.count(), many);
            assert_eq!(overtakings, usize::from(budget));
        }
    }
}

/// Without a budget, the order of arrival is the order of entry, even when all are woken and the
/// last look first.
#[test]
fn first_come_first_served() {
    let lock = LocalLock::new(Vec::new()).with_bypass(0);
    let first = lock.lock();
    let mut queue: Vec<_> = (0..10).map(|_| Task::waiting(lock.lock_async())).collect();
    drop(first);
    for turn in 0..10 {
        assert!(lock.try_lock().is_none(), "a newcomer overtakes");
        let entered: Vec<_> = (turn..10).rev().filter(|&who| queue[who].wakes() > 0).collect();
        assert_eq!(entered, [turn], "only the head is called");
        for who in (turn + 1..10).rev() {
            assert!(queue[who].poll().is_none(), "{who} overtakes {turn}");
        }
        queue[turn].poll().expect("its turn has come").push(turn);
    }
    drop(queue);
    assert_eq!(lock.into_inner(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_semaphore_serves_in_order_of_arrival() {
    let semaphore = LocalSemaphore::new(2).with_bypass(0);
    let two = semaphore.permits(2).unwrap();
    let mut first = Task::waiting(semaphore.permits_async(2));
    let mut second = Task::waiting(semaphore.permit_async());
    let mut third = Task::waiting(semaphore.permit_async());
    drop(two);
    assert_eq!([first.wakes(), second.wakes(), third.wakes()], [1, 0, 0]);
    assert!(third.poll().is_none() && second.poll().is_none());
    drop(first.poll().unwrap().unwrap());
    assert_eq!([second.wakes(), third.wakes()], [1, 1], "both fit beside one another");
    // Whose turn has come at the same time enter as they wake.
    let (third, second) = (third.poll().unwrap(), second.poll().unwrap());
    assert!(second.is_ok() && third.is_ok());
}

#[test]
fn all_readers_at_the_front_start_when_the_writer_leaves() {
    for budget in BUDGETS {
        let lock = ReadWriteLock::new(()).with_bypass(budget);
        let writer = lock.write();
        let mut readers: Vec<_> = (0..100).map(|_| Task::waiting(lock.read_async())).collect();
        let mut behind = Task::waiting(lock.write_async());
        let mut last = Task::waiting(lock.read_async());
        drop(writer);
        assert!(readers.iter().all(|reader| reader.wakes() == 1));
        assert_eq!((behind.wakes(), last.wakes()), (0, 0));
        // In whichever order, and all together.
        let guards: Vec<_> =
            readers.iter_mut().rev().map(|reader| reader.poll().expect("called")).collect();
        assert!(behind.poll().is_none() && last.poll().is_none());
        drop(guards);
        assert_eq!((behind.wakes(), last.wakes()), (1, 0));
        drop(behind.poll().expect("called"));
        drop(last.poll().expect("called"));
    }
}

/// A downgrade lets the readers at the front in, and no writer.
#[test]
fn a_downgrade_starts_readers() {
    let lock = ReadWriteLock::new(());
    let writer = lock.write();
    let mut reader = Task::waiting(lock.read_async());
    let mut other = Task::waiting(lock.write_async());
    let downgraded = WriteGuard::downgrade(writer);
    assert_eq!((reader.wakes(), other.wakes()), (1, 0));
    let read = reader.poll().expect("called");
    drop((downgraded, read));
    assert!(other.poll().is_some());
}

#[test]
fn an_upgrade_goes_before_everybody() {
    for budget in BUDGETS {
        let lock = ReadWriteLock::new(()).with_bypass(budget);
        let upgradable = lock.upgradable();
        let reader = lock.read();
        let mut writer = Task::waiting(lock.write_async());
        let mut late = Task::waiting(lock.upgradable_async());
        let mut upgrade = Task::waiting(UpgradableGuard::upgrade_async(upgradable));
        drop(reader);
        assert_eq!((writer.wakes(), late.wakes(), upgrade.wakes()), (0, 0, 1));
        let upgraded = upgrade.poll().expect("called");
        assert!(lock.is_write_locked());
        drop(upgraded);
        assert_eq!((writer.wakes(), late.wakes()), (1, 0));
        drop(writer.poll().expect("called"));
        drop(late.poll().expect("called"));
        assert!(!lock.is_locked());
    }
}

/// An upgrade at once does not wait for the door either, which is shut for others.
#[test]
fn an_upgrade_passes_a_shut_door() {
    let lock = ReadWriteLock::new(()).with_bypass(0);
    let upgradable = lock.upgradable();
    let mut writer = Task::waiting(lock.write_async());
    assert!(lock.try_read().is_none());
    let upgraded = UpgradableGuard::try_upgrade(upgradable).expect("nobody else is in");
    drop(upgraded);
    assert!(writer.poll().is_some());
}

#[test]
fn a_recursive_read_passes_a_shut_door() {
    let lock = ReadWriteLock::new(()).with_bypass(0);
    let outer = lock.read();
    let mut writer = Task::waiting(lock.write_async());
    assert!(lock.try_read().is_none(), "the door is shut");
    let inner = [lock.read_recursive(), lock.try_read_recursive().unwrap()];
    let task = Task::new(lock.read_recursive_async()).poll().expect("it passes too");
    drop(outer);
    assert!(writer.poll().is_none());
    drop(inner);
    assert!(writer.poll().is_none());
    drop(task);
    assert!(writer.poll().is_some());
    // It does not pass a writer that is in.
    let writer = lock.write();
    assert!(lock.try_read_recursive().is_none());
    let mut recursive = Task::waiting(lock.read_recursive_async());
    drop(writer);
    assert!(recursive.poll().is_some());
}

/// Recursive reads are counted against nothing.
#[test]
fn recursive_reads_leave_the_budget_alone() {
    let lock = ReadWriteLock::new(()).with_bypass(1);
    let outer = lock.read();
    let _writer = Task::waiting(lock.write_async());
    for _ in 0..100 {
        drop(lock.read_recursive());
    }
    drop(lock.try_read().expect("one newcomer may pass"));
    assert!(lock.try_read().is_none(), "and only one");
    drop(outer);
}

#[test]
fn a_fair_release_shuts_the_door() {
    let lock = LocalLock::new(()).with_bypass(64);
    LockGuard::release_fairly(lock.lock());
    drop(lock.try_lock().expect("nobody waits"));
    let guard = lock.lock();
    let mut head = Task::waiting(lock.lock_async());
    let mut second = Task::waiting(lock.lock_async());
    LockGuard::release_fairly(guard);
    assert_eq!(head.wakes(), 1);
    assert!(lock.try_lock().is_none(), "a newcomer overtakes");
    let guard = head.poll().expect("called");
    // The next head has its own budget again.
    drop(guard);
    assert!(lock.try_lock().is_some());
    assert!(second.poll().is_some());
}

/// A head that gives up takes the overtakings that it has suffered with it.
#[test]
fn a_new_head_has_a_budget_of_its_own() {
    let lock = LocalLock::new(()).with_bypass(2);
    let guard = lock.lock();
    let head = Task::waiting(lock.lock_async());
    let mut second = Task::waiting(lock.lock_async());
    drop(guard);
    drop(lock.try_lock().unwrap());
    drop(lock.try_lock().unwrap());
    assert!(lock.try_lock().is_none());
    drop(head);
    drop(lock.try_lock().unwrap());
    drop(lock.try_lock().unwrap());
    assert!(lock.try_lock().is_none());
    assert!(second.poll().is_some());
}

/// A waiter that was called and does not look holds up nobody whose turn has come too.
#[test]
fn a_called_waiter_that_does_not_look_stalls_nobody_else_that_is_called() {
    let semaphore = Arc::new(LocalSemaphore::new(2).with_bypass(0));
    let both = semaphore.permits(2).unwrap();
    let idle = Task::waiting(semaphore.permit_async());
    let mut second = Task::waiting(semaphore.permit_async());
    let mut third = Task::waiting(semaphore.permit_async());
    drop(both);
    assert_eq!([idle.wakes(), second.wakes(), third.wakes()], [1, 1, 0]);
    drop(second.poll().unwrap().unwrap());
    assert_eq!(third.wakes(), 1);
    drop(third.poll().unwrap().unwrap());
    drop(idle);
    assert_eq!(semaphore.available_permits(), 2);
}

#[test]
#[should_panic(expected = "a bypass budget above MAX_BYPASS")]
fn a_budget_that_is_too_large_for_a_lock() {
    let _ = LocalLock::new(()).with_bypass(LocalLock::MAX_BYPASS + 1);
}

#[test]
#[should_panic(expected = "a bypass budget above MAX_BYPASS")]
fn a_budget_that_is_too_large_for_a_semaphore() {
    let _ = LocalSemaphore::new(1).with_bypass(u16::MAX);
}

#[test]
#[should_panic(expected = "a bypass budget above MAX_BYPASS")]
fn a_budget_that_is_too_large_for_a_read_write_lock() {
    let _ = ReadWriteLock::new(()).with_bypass(u16::MAX);
}

/// The largest budget is counted to its end, and does not run over into the permits.
#[test]
fn the_largest_budget() {
    let lock = LocalLock::new(()).with_bypass(LocalLock::MAX_BYPASS);
    let first = lock.lock();
    let mut task = Task::waiting(lock.lock_async());
    drop(first);
    for _ in 0..LocalLock::MAX_BYPASS {
        drop(lock.try_lock().expect("within the budget"));
    }
    assert!(lock.try_lock().is_none());
    assert!(!lock.is_locked());
    assert!(task.poll().is_some());
}
