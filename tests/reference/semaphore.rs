//! Programs of a [`LocalSemaphore`], beside the reference.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use warded::{
    BaseSemaphore, Hold, LocalSemaphore, LockError, OwnedPermit, Permit, PermitError,
    PermitOverflow, Wait,
};

use super::{Manner, Outcome, Reference, Waiting, budget, pick};
use crate::hand::Task;

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Op {
    Try {
        need: u8,
        owned: bool,
    },
    GiveUpAtOnce {
        need: u8,
        owned: bool,
    },
    Start {
        need: u8,
        owned: bool,
    },
    Poll(u8),
    Cancel(u8),
    Release(u8),
    Split {
        choice: u8,
        off: u8,
    },
    Merge {
        into: u8,
        from: u8,
    },
    ForgetHeld(u8),
    ForgetFree(u8),
    Add(u8),
    AddTooMany,
    /// Closes, but seldom: nothing much happens after it.
    Close(u8),
    Hold,
    Acquire,
    ReleaseAcquired,
}

/// Permits that somebody has.
enum Held<'a> {
    Permit(Permit<'a>),
    Owned(OwnedPermit),
    Hold(#[allow(dead_code, reason = "its drop releases")] Hold<'a>),
}

impl Held<'_> {
    fn count(&self) -> u32 {
        match self {
            Self::Permit(permit) => permit.count(),
            Self::Owned(permit) => permit.count(),
            Self::Hold(_) => 1,
        }
    }
}

fn manner(need: u32) -> Manner {
    // No permits at all are always free.
    if need == 0 { Manner::Recursive } else { Manner::Ordinary }
}

fn outcome(result: &Result<Held<'_>, PermitError>) -> Outcome {
    match *result {
        Ok(_) => Outcome::Entered,
        Err(PermitError::Unavailable) => Outcome::Unavailable,
        Err(PermitError::Closed) => Outcome::Closed,
        Err(PermitError::TooMany { max, .. }) => Outcome::TooMany { max },
        Err(error) => panic!("an error that the reference does not know: {error}"),
    }
}

/// Runs a program, with the budget and the permits that `choice` picks. Panics where semaphore and
/// reference differ.
pub fn run(choice: u8, program: impl IntoIterator<Item = Op>) {
    let permits = u32::from(choice / 5 % 5);
    let semaphore = Arc::new(LocalSemaphore::new(permits).with_bypass(budget(choice)));
    let mut reference = Reference::new(permits, budget(choice));
    let mut waiting: Vec<Waiting<'_, Result<Held<'_>, PermitError>, u32>> = Vec::new();
    let mut held: Vec<Held<'_>> = Vec::new();
    let mut acquired = 0_u32;
    for op in program {
        match op {
            Op::Try { need, owned } => {
                let need = u32::from(need % 6);
                let result = if owned {
                    semaphore.try_permits_owned(need).map(Held::Owned)
                } else {
                    semaphore.try_permits(need).map(Held::Permit)
                };
                assert_eq!(outcome(&result), reference.try_enter(need, manner(need)), "{op:?}");
                held.extend(result);
            }
            Op::GiveUpAtOnce { need, owned } => {
                let need = u32::from(need % 6);
                let result = if owned {
                    semaphore.try_permits_owned_for(need, Duration::ZERO).map(Held::Owned)
                } else {
                    semaphore.try_permits_for(need, Duration::ZERO).map(Held::Permit)
                };
                let expected = reference.arrive_and_give_up(need, manner(need));
                assert_eq!(outcome(&result), expected, "{op:?}");
                held.extend(result);
            }
            Op::Start { need, owned } => {
                let need = u32::from(need % 6);
                let mut task = if owned {
                    let future = semaphore.permits_owned_async(need);
                    Task::new(async move { future.await.map(Held::Owned) })
                } else {
                    let semaphore = &semaphore;
                    Task::new(async move { semaphore.permits_async(need).await.map(Held::Permit) })
                };
                let result = task.poll();
                match (reference.arrive(need, manner(need)), result) {
                    (Outcome::Waits(id), None) => waiting.push(Waiting { id, task, what: need }),
                    (expected, Some(result)) => {
                        assert_eq!(outcome(&result), expected, "{op:?}");
                        held.extend(result);
                    }
                    (expected, None) => panic!("{op:?}: waits, but {expected:?} was expected"),
                }
            }
            Op::Poll(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                let result = waiting[chosen].task.poll();
                match (reference.poll(waiting[chosen].id), result) {
                    (Outcome::Waits(_), None) => {}
                    (expected, Some(result)) => {
                        assert_eq!(outcome(&result), expected, "{op:?}");
                        let need = waiting.remove(chosen).what;
                        assert!(result.as_ref().map_or(need, Held::count) == need);
                        held.extend(result);
                    }
                    (expected, None) => panic!("{op:?}: waits, but {expected:?} was expected"),
                }
            }
            Op::Cancel(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                reference.leave(waiting.remove(chosen).id);
            }
            Op::Release(choice) => {
                let Some(chosen) = pick(&held, choice) else { continue };
                reference.release(held.swap_remove(chosen).count());
            }
            Op::Split { choice, off } => {
                let Some(chosen) = pick(&held, choice) else { continue };
                let before = held[chosen].count();
                let off = u32::from(off % 6);
                let split = match &mut held[chosen] {
                    Held::Permit(permit) => permit.split(off).map(Held::Permit),
                    Held::Owned(permit) => permit.split(off).map(Held::Owned),
                    Held::Hold(_) => continue,
                };
                assert_eq!(split.is_some(), off <= before, "{op:?}");
                let after = held[chosen].count() + split.as_ref().map_or(0, Held::count);
                assert_eq!(after, before, "{op:?}");
                held.extend(split);
            }
            Op::Merge { into, from } => {
                let Some(from) = pick(&held, from) else { continue };
                let from = held.swap_remove(from);
                let chosen = pick(&held, into);
                let before = from.count() + chosen.map_or(0, |chosen| held[chosen].count());
                match (chosen.map(|chosen| &mut held[chosen]), from) {
                    (Some(Held::Permit(into)), Held::Permit(from)) => into.merge(from).unwrap(),
                    (Some(Held::Owned(into)), Held::Owned(from)) => into.merge(from).unwrap(),
                    (_, from) => {
                        held.push(from);
                        continue;
                    }
                }
                assert_eq!(chosen.map(|chosen| held[chosen].count()), Some(before), "{op:?}");
            }
            Op::ForgetHeld(choice) => {
                let Some(chosen) = pick(&held, choice) else { continue };
                let forgotten = held.swap_remove(chosen);
                let count = forgotten.count();
                match forgotten {
                    Held::Permit(permit) => permit.forget(),
                    Held::Owned(permit) => permit.forget(),
                    hold @ Held::Hold(_) => {
                        held.push(hold);
                        continue;
                    }
                }
                reference.forget_held(count);
            }
            Op::ForgetFree(n) => {
                let n = u32::from(n % 6);
                assert_eq!(semaphore.forget_permits(n), reference.forget_free(n), "{op:?}");
            }
            Op::Add(n) => {
                let n = u32::from(n % 4);
                semaphore.add_permits(n).expect("these are few");
                assert!(reference.add(n, LocalSemaphore::MAX_PERMITS));
            }
            Op::AddTooMany => {
                let (max, added) = (reference.total, LocalSemaphore::MAX_PERMITS);
                let result = semaphore.add_permits(added);
                if reference.add(added, LocalSemaphore::MAX_PERMITS) {
                    // There were none before. Not so many, please.
                    result.expect("they fit");
                    assert_eq!(semaphore.forget_permits(added), reference.forget_free(added));
                } else {
                    assert_eq!(result, Err(PermitOverflow { max, added }), "{op:?}");
                }
            }
            Op::Close(chance) => {
                if chance < 16 {
                    semaphore.close();
                    reference.close();
                }
            }
            Op::Hold => {
                match (semaphore.hold(Wait::Never), reference.try_enter(1, Manner::Ordinary)) {
                    (Ok(Some(hold)), Outcome::Entered) => held.push(Held::Hold(hold)),
                    (Ok(None), Outcome::Unavailable)
                    | (Err(LockError::Closed { .. }), Outcome::Closed)
                    | (Err(LockError::NoPermits { .. }), Outcome::TooMany { .. }) => {}
                    (result, expected) => panic!("{op:?}: {result:?}, but expected {expected:?}"),
                }
            }
            Op::Acquire => {
                match (semaphore.acquire(Wait::Never), reference.try_enter(1, Manner::Ordinary)) {
                    (Ok(true), Outcome::Entered) => acquired += 1,
                    (Ok(false), Outcome::Unavailable)
                    | (Err(LockError::Closed { .. }), Outcome::Closed)
                    | (Err(LockError::NoPermits { .. }), Outcome::TooMany { .. }) => {}
                    (result, expected) => panic!("{op:?}: {result:?}, but expected {expected:?}"),
                }
            }
            Op::ReleaseAcquired => match (semaphore.release(), acquired) {
                (Err(LockError::NotHeld { .. }), 0) => {}
                (Ok(()), 1..) => {
                    acquired -= 1;
                    reference.release(1);
                }
                (result, _) => panic!("{op:?}: {result:?} of {acquired}"),
            },
        }
        let out = held.iter().map(Held::count).sum::<u32>() + acquired;
        assert_eq!(semaphore.available_permits() + out, semaphore.total_permits(), "{op:?}");
        assert_eq!(semaphore.available_permits(), reference.free, "{op:?}");
        assert_eq!(semaphore.total_permits(), reference.total, "{op:?}");
        assert_eq!(semaphore.is_closed(), reference.closed, "{op:?}");
        for Waiting { id, task, .. } in &waiting {
            assert_eq!(task.wakes(), reference.wakes(*id), "{op:?}: wake-ups of {id:?}");
        }
    }
    drop((waiting, held));
    for _ in 0..acquired {
        semaphore.release().expect("it was acquired");
    }
    assert_eq!(semaphore.available_permits(), semaphore.total_permits(), "nothing is left behind");
}
