//! Programs of a [`LocalLock`], beside the reference.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use warded::{
    BaseLock, Hold, LocalLock, LockError, LockGuard, MappedLockGuard, OwnedLockGuard,
    OwnedMappedLockGuard, Wait,
};

use super::{Manner, Outcome, Reference, Waiting, budget, pick};
use crate::hand::Task;

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Op {
    Try { owned: bool },
    GiveUpAtOnce { owned: bool },
    Start { owned: bool },
    Poll(u8),
    Cancel(u8),
    Release,
    ReleaseFairly,
    Map,
    Hold,
    Acquire,
    ReleaseAcquired,
    Show,
}

/// Whoever has the lock by a guard.
enum Held<'a> {
    Guard(LockGuard<'a, ()>),
    Owned(OwnedLockGuard<()>),
    Mapped(MappedLockGuard<'a, ()>),
    OwnedMapped(OwnedMappedLockGuard<(), ()>),
    Hold(Hold<'a>),
}

/// Runs a program, with the budget that `choice` picks. Panics where lock and reference differ.
pub fn run(choice: u8, program: impl IntoIterator<Item = Op>) {
    let lock = Arc::new(LocalLock::named("model").with_bypass(budget(choice)));
    let mut reference = Reference::new(1, budget(choice));
    let mut waiting: Vec<Waiting<'_, Held<'_>, ()>> = Vec::new();
    let mut held: Option<Held<'_>> = None;
    let mut acquired = false;
    for op in program {
        match op {
            Op::Try { owned } => {
                let guard = if owned {
                    lock.try_lock_owned().map(Held::Owned)
                } else {
                    lock.try_lock().map(Held::Guard)
                };
                let entered = reference.try_enter(1, Manner::Ordinary) == Outcome::Entered;
                assert_eq!(guard.is_some(), entered, "{op:?}");
                held = guard.or(held);
            }
            Op::GiveUpAtOnce { owned } => {
                let guard = if owned {
                    lock.try_lock_owned_for(Duration::ZERO).map(Held::Owned)
                } else {
                    lock.try_lock_for(Duration::ZERO).map(Held::Guard)
                };
                let outcome = reference.arrive_and_give_up(1, Manner::Ordinary);
                assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                held = guard.or(held);
            }
            Op::Start { owned } => {
                let mut task = if owned {
                    let lock = Arc::clone(&lock);
                    Task::new(async move { Held::Owned(lock.lock_owned_async().await) })
                } else {
                    Task::new(async { Held::Guard(lock.lock_async().await) })
                };
                let guard = task.poll();
                match reference.arrive(1, Manner::Ordinary) {
                    Outcome::Waits(id) => waiting.push(Waiting { id, task, what: () }),
                    outcome => {
                        assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                    }
                }
                held = guard.or(held);
            }
            Op::Poll(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                let guard = waiting[chosen].task.poll();
                let entered = reference.poll(waiting[chosen].id) == Outcome::Entered;
                assert_eq!(guard.is_some(), entered, "{op:?}");
                if entered {
                    waiting.remove(chosen);
                }
                held = guard.or(held);
            }
            Op::Cancel(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                reference.leave(waiting.remove(chosen).id);
            }
            Op::Release => {
                if held.take().is_some() {
                    reference.release(1);
                }
            }
            Op::ReleaseFairly => match held.take() {
                Some(Held::Guard(guard)) => {
                    LockGuard::release_fairly(guard);
                    reference.release_fairly(1);
                }
                other => held = other,
            },
            Op::Map => {
                held = match held {
                    Some(Held::Guard(guard)) => {
                        Some(Held::Mapped(LockGuard::map(guard, |data| data)))
                    }
                    Some(Held::Owned(guard)) => {
                        Some(Held::OwnedMapped(OwnedLockGuard::map(guard, |data| data)))
                    }
                    other => other,
                }
            }
            Op::Hold => {
                let hold = lock.hold(Wait::Never).expect("holding cannot fail");
                let entered = reference.try_enter(1, Manner::Ordinary) == Outcome::Entered;
                assert_eq!(hold.is_some(), entered, "{op:?}");
                held = hold.map(Held::Hold).or(held);
            }
            Op::Acquire => {
                let got = lock.acquire(Wait::Never).expect("acquiring cannot fail");
                assert_eq!(got, reference.try_enter(1, Manner::Ordinary) == Outcome::Entered);
                acquired |= got;
            }
            Op::ReleaseAcquired => {
                let released = lock.release();
                if std::mem::take(&mut acquired) {
                    released.expect("it was acquired");
                    reference.release(1);
                } else {
                    assert!(matches!(released, Err(LockError::NotHeld { .. })), "{op:?}");
                }
            }
            Op::Show => {
                // Looks at the data as a newcomer, if it can.
                let shown = format!("{lock:?}");
                let entered = reference.try_enter(1, Manner::Ordinary) == Outcome::Entered;
                assert_eq!(!shown.contains("<locked>"), entered, "{shown}");
                if entered {
                    reference.release(1);
                }
            }
        }
        assert!(!(acquired && held.is_some()), "{op:?}: two are in");
        assert_eq!(lock.is_locked(), acquired || held.is_some(), "{op:?}");
        assert_eq!(lock.is_locked(), reference.free == 0, "{op:?}");
        for Waiting { id, task, .. } in &waiting {
            assert_eq!(task.wakes(), reference.wakes(*id), "{op:?}: wake-ups of {id:?}");
        }
    }
    drop((waiting, held));
    if acquired {
        lock.release().expect("it was acquired");
    }
    assert!(lock.try_lock().is_some(), "nothing is left behind");
}
