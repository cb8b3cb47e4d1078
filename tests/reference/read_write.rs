//! Programs of a [`ReadWriteLock`], beside the reference.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use warded::{
    BaseReadWriteLock, Hold, LockError, OwnedReadGuard, OwnedUpgradableGuard, OwnedWriteGuard,
    ReadGuard, ReadWriteLock, UpgradableGuard, Wait, WriteGuard,
};

use super::{Manner, Outcome, Reference, Waiting, budget, pick};
use crate::hand::Task;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Mode {
    Read,
    ReadRecursively,
    Write,
    ReadUpgradably,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Op {
    Try { mode: Mode, owned: bool },
    GiveUpAtOnce(Mode),
    Start { mode: Mode, owned: bool },
    Poll(u8),
    Cancel(u8),
    Release(u8),
    Map(u8),
    Downgrade { choice: u8, to_upgradable: bool },
    TryUpgrade(u8),
    UpgradeOrGiveUpAtOnce(u8),
    StartUpgrade(u8),
    TryUpgraded(u8),
    StartUpgradedAndCancel(u8),
    Hold { write: bool },
    Acquire { write: bool },
    ReleaseAcquired { write: bool },
    Show,
}

/// What permits there are, in the reference's terms: so many that nothing here runs out of readers,
/// and that one upgradable reader leaves room for readers and for no second one.
const READER: u32 = 1;
const UPGRADABLE: u32 = 1 << 20;
const WRITER: u32 = 2 * UPGRADABLE - 1;
const REST: u32 = WRITER - UPGRADABLE;

impl Mode {
    fn need(self) -> u32 {
        match self {
            Self::Read | Self::ReadRecursively => READER,
            Self::Write => WRITER,
            Self::ReadUpgradably => UPGRADABLE,
        }
    }

    fn manner(self) -> Manner {
        if self == Self::ReadRecursively { Manner::Recursive } else { Manner::Ordinary }
    }
}

/// Whoever is in by a guard.
enum Held<'a> {
    Read(Reading<'a>),
    Write(Writing<'a>),
    Upgradable(UpgradableGuard<'a, ()>),
    OwnedUpgradable(OwnedUpgradableGuard<()>),
}

#[allow(dead_code, reason = "their drop releases")]
enum Reading<'a> {
    Guard(ReadGuard<'a, ()>),
    Owned(OwnedReadGuard<()>),
    Mapped(warded::MappedReadGuard<'a, ()>),
    Hold(Hold<'a>),
}

#[allow(dead_code, reason = "their drop releases")]
enum Writing<'a> {
    Guard(WriteGuard<'a, ()>),
    Owned(OwnedWriteGuard<()>),
    Mapped(warded::MappedWriteGuard<'a, ()>),
    Hold(Hold<'a>),
}

impl Held<'_> {
    fn permits(&self) -> u32 {
        match self {
            Self::Read(_) => READER,
            Self::Write(_) => WRITER,
            Self::Upgradable(_) | Self::OwnedUpgradable(_) => UPGRADABLE,
        }
    }

    fn is_upgradable(&self) -> bool {
        self.permits() == UPGRADABLE
    }
}

fn try_enter<'a>(lock: &'a Arc<ReadWriteLock>, mode: Mode, owned: bool) -> Option<Held<'a>> {
    match (mode, owned) {
        (Mode::Read, false) => lock.try_read().map(Reading::Guard).map(Held::Read),
        (Mode::Read, true) => lock.try_read_owned().map(Reading::Owned).map(Held::Read),
        (Mode::ReadRecursively, _) => lock.try_read_recursive().map(Reading::Guard).map(Held::Read),
        (Mode::Write, false) => lock.try_write().map(Writing::Guard).map(Held::Write),
        (Mode::Write, true) => lock.try_write_owned().map(Writing::Owned).map(Held::Write),
        (Mode::ReadUpgradably, false) => lock.try_upgradable().map(Held::Upgradable),
        (Mode::ReadUpgradably, true) => lock.try_upgradable_owned().map(Held::OwnedUpgradable),
    }
}

fn enter_or_give_up(lock: &ReadWriteLock, mode: Mode) -> Option<Held<'_>> {
    let at_once = Duration::ZERO;
    match mode {
        // By the specification's name: `try_read_for` would tell of its reading twice.
        Mode::Read => {
            let hold = lock.hold_read(at_once.into()).expect("holding cannot fail");
            hold.map(Reading::Hold).map(Held::Read)
        }
        Mode::ReadRecursively => {
            lock.try_read_recursive_for(at_once).map(Reading::Guard).map(Held::Read)
        }
        Mode::Write => lock.try_write_for(at_once).map(Writing::Guard).map(Held::Write),
        Mode::ReadUpgradably => lock.try_upgradable_for(at_once).map(Held::Upgradable),
    }
}

fn start<'a>(lock: &'a Arc<ReadWriteLock>, mode: Mode, owned: bool) -> Task<'a, Held<'a>> {
    match (mode, owned) {
        (Mode::Read, false) => {
            Task::new(async { Held::Read(Reading::Guard(lock.read_async().await)) })
        }
        (Mode::Read, true) => {
            let future = lock.read_owned_async();
            Task::new(async { Held::Read(Reading::Owned(future.await)) })
        }
        (Mode::ReadRecursively, _) => {
            Task::new(async { Held::Read(Reading::Guard(lock.read_recursive_async().await)) })
        }
        (Mode::Write, false) => {
            Task::new(async { Held::Write(Writing::Guard(lock.write_async().await)) })
        }
        (Mode::Write, true) => {
            let future = lock.write_owned_async();
            Task::new(async { Held::Write(Writing::Owned(future.await)) })
        }
        (Mode::ReadUpgradably, false) => {
            Task::new(async { Held::Upgradable(lock.upgradable_async().await) })
        }
        (Mode::ReadUpgradably, true) => {
            let future = lock.upgradable_owned_async();
            Task::new(async { Held::OwnedUpgradable(future.await) })
        }
    }
}

/// The only upgradable reader, if it is in by a guard.
fn upgradable(held: &[Held<'_>]) -> Option<usize> {
    held.iter().position(Held::is_upgradable)
}

/// Runs a program, with the budget that `choice` picks. Panics where lock and reference differ.
pub fn run(choice: u8, program: impl IntoIterator<Item = Op>) {
    let lock = Arc::new(ReadWriteLock::named("model").with_bypass(budget(choice)));
    let mut reference = Reference::new(WRITER, budget(choice));
    // What a waiter has already, which goes when it is cancelled: an upgrade has its read.
    let mut waiting: Vec<Waiting<'_, Held<'_>, u32>> = Vec::new();
    let mut held: Vec<Held<'_>> = Vec::new();
    let (mut reads, mut writes) = (0, 0);
    for op in program {
        match op {
            Op::Try { mode, owned } => {
                let guard = try_enter(&lock, mode, owned);
                let outcome = reference.try_enter(mode.need(), mode.manner());
                assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                held.extend(guard);
            }
            Op::GiveUpAtOnce(mode) => {
                let guard = enter_or_give_up(&lock, mode);
                let outcome = reference.arrive_and_give_up(mode.need(), mode.manner());
                assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                held.extend(guard);
            }
            Op::Start { mode, owned } => {
                let mut task = start(&lock, mode, owned);
                let guard = task.poll();
                match reference.arrive(mode.need(), mode.manner()) {
                    Outcome::Waits(id) => {
                        assert!(guard.is_none(), "{op:?}: it was to wait");
                        waiting.push(Waiting { id, task, what: 0 });
                    }
                    outcome => {
                        assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                        held.extend(guard);
                    }
                }
            }
            Op::Poll(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                let guard = waiting[chosen].task.poll();
                let entered = reference.poll(waiting[chosen].id) == Outcome::Entered;
                assert_eq!(guard.is_some(), entered, "{op:?}");
                if entered {
                    waiting.remove(chosen);
                }
                held.extend(guard);
            }
            Op::Cancel(choice) => {
                let Some(chosen) = pick(&waiting, choice) else { continue };
                let cancelled = waiting.remove(chosen);
                drop(cancelled.task);
                reference.leave(cancelled.id);
                reference.release(cancelled.what);
            }
            Op::Release(choice) => {
                let Some(chosen) = pick(&held, choice) else { continue };
                reference.release(held.swap_remove(chosen).permits());
            }
            Op::Map(choice) => {
                let Some(chosen) = pick(&held, choice) else { continue };
                let mapped = match held.swap_remove(chosen) {
                    Held::Read(Reading::Guard(guard)) => {
                        Held::Read(Reading::Mapped(ReadGuard::map(guard, |data| data)))
                    }
                    Held::Write(Writing::Guard(guard)) => {
                        Held::Write(Writing::Mapped(WriteGuard::map(guard, |data| data)))
                    }
                    other => other,
                };
                held.push(mapped);
            }
            Op::Downgrade { choice, to_upgradable } => {
                let Some(chosen) = pick(&held, choice) else { continue };
                let before = held[chosen].permits();
                let after = match held.swap_remove(chosen) {
                    Held::Write(Writing::Guard(guard)) if to_upgradable => {
                        Held::Upgradable(WriteGuard::downgrade_to_upgradable(guard))
                    }
                    Held::Write(Writing::Guard(guard)) => {
                        Held::Read(Reading::Guard(WriteGuard::downgrade(guard)))
                    }
                    Held::Write(Writing::Owned(guard)) if to_upgradable => {
                        Held::OwnedUpgradable(OwnedWriteGuard::downgrade_to_upgradable(guard))
                    }
                    Held::Write(Writing::Owned(guard)) => {
                        Held::Read(Reading::Owned(OwnedWriteGuard::downgrade(guard)))
                    }
                    Held::Upgradable(guard) => {
                        Held::Read(Reading::Guard(UpgradableGuard::downgrade(guard)))
                    }
                    Held::OwnedUpgradable(guard) => {
                        Held::Read(Reading::Owned(OwnedUpgradableGuard::downgrade(guard)))
                    }
                    other => other,
                };
                reference.release(before - after.permits());
                held.push(after);
            }
            Op::TryUpgrade(_) | Op::UpgradeOrGiveUpAtOnce(_) => {
                let Some(chosen) = upgradable(&held) else { continue };
                let patient = matches!(op, Op::UpgradeOrGiveUpAtOnce(_));
                let no_time = Duration::ZERO;
                let after = match held.swap_remove(chosen) {
                    Held::Upgradable(guard) => {
                        let upgraded = if patient {
                            UpgradableGuard::try_upgrade_for(guard, no_time)
                        } else {
                            UpgradableGuard::try_upgrade(guard)
                        };
                        upgraded.map_or_else(Held::Upgradable, |guard| {
                            Held::Write(Writing::Guard(guard))
                        })
                    }
                    Held::OwnedUpgradable(guard) => {
                        let upgraded = if patient {
                            OwnedUpgradableGuard::try_upgrade_for(guard, no_time)
                        } else {
                            OwnedUpgradableGuard::try_upgrade(guard)
                        };
                        upgraded.map_or_else(Held::OwnedUpgradable, |guard| {
                            Held::Write(Writing::Owned(guard))
                        })
                    }
                    _ => unreachable!("it is upgradable"),
                };
                let outcome = if patient {
                    reference.arrive_and_give_up(REST, Manner::Upgrade)
                } else {
                    reference.try_enter(REST, Manner::Upgrade)
                };
                assert_eq!(after.permits() == WRITER, outcome == Outcome::Entered, "{op:?}");
                held.push(after);
            }
            Op::StartUpgrade(_) => {
                let Some(chosen) = upgradable(&held) else { continue };
                let mut task = match held.swap_remove(chosen) {
                    Held::Upgradable(guard) => Task::new(async {
                        Held::Write(Writing::Guard(UpgradableGuard::upgrade_async(guard).await))
                    }),
                    Held::OwnedUpgradable(guard) => Task::new(async {
                        let upgraded = OwnedUpgradableGuard::upgrade_async(guard).await;
                        Held::Write(Writing::Owned(upgraded))
                    }),
                    _ => unreachable!("it is upgradable"),
                };
                let guard = task.poll();
                match reference.arrive(REST, Manner::Upgrade) {
                    Outcome::Waits(id) => {
                        assert!(guard.is_none(), "{op:?}: it was to wait");
                        waiting.push(Waiting { id, task, what: UPGRADABLE });
                    }
                    outcome => {
                        assert_eq!(guard.is_some(), outcome == Outcome::Entered, "{op:?}");
                        held.extend(guard);
                    }
                }
            }
            Op::TryUpgraded(_) => {
                let Some(chosen) = upgradable(&held) else { continue };
                let upgraded = match &mut held[chosen] {
                    Held::Upgradable(guard) => UpgradableGuard::try_upgraded(guard),
                    Held::OwnedUpgradable(guard) => OwnedUpgradableGuard::try_upgraded(guard),
                    _ => unreachable!("it is upgradable"),
                };
                let outcome = reference.try_enter(REST, Manner::Upgrade);
                assert_eq!(upgraded.is_some(), outcome == Outcome::Entered, "{op:?}");
                if upgraded.is_some() {
                    assert!(lock.is_write_locked());
                    drop(upgraded);
                    reference.release(REST);
                }
            }
            Op::StartUpgradedAndCancel(_) => {
                let Some(chosen) = upgradable(&held) else { continue };
                let mut task = match &mut held[chosen] {
                    Held::Upgradable(guard) => Task::new(UpgradableGuard::upgraded_async(guard)),
                    Held::OwnedUpgradable(guard) => {
                        Task::new(OwnedUpgradableGuard::upgraded_async(guard))
                    }
                    _ => unreachable!("it is upgradable"),
                };
                let upgraded = task.poll();
                let outcome = reference.arrive(REST, Manner::Upgrade);
                assert_eq!(upgraded.is_some(), outcome == Outcome::Entered, "{op:?}");
                drop(upgraded);
                drop(task);
                match outcome {
                    Outcome::Waits(id) => reference.leave(id),
                    _ => reference.release(REST),
                }
            }
            Op::Hold { write } => {
                let hold = if write {
                    let hold = lock.hold_write(Wait::Never).expect("holding cannot fail");
                    hold.map(Writing::Hold).map(Held::Write)
                } else {
                    let hold = lock.hold_read(Wait::Never).expect("holding cannot fail");
                    hold.map(Reading::Hold).map(Held::Read)
                };
                let need = if write { WRITER } else { READER };
                let outcome = reference.try_enter(need, Manner::Ordinary);
                assert_eq!(hold.is_some(), outcome == Outcome::Entered, "{op:?}");
                held.extend(hold);
            }
            Op::Acquire { write } => {
                let (got, need, count) = if write {
                    (lock.acquire_write(Wait::Never), WRITER, &mut writes)
                } else {
                    (lock.acquire_read(Wait::Never), READER, &mut reads)
                };
                let outcome = reference.try_enter(need, Manner::Ordinary);
                assert_eq!(got.expect("acquiring cannot fail"), outcome == Outcome::Entered);
                *count += u32::from(outcome == Outcome::Entered);
            }
            Op::ReleaseAcquired { write } => {
                let (released, permits, count) = if write {
                    (lock.release_write(), WRITER, &mut writes)
                } else {
                    (lock.release_read(), READER, &mut reads)
                };
                match (released, *count) {
                    (Err(LockError::NotHeld { .. }), 0) => {}
                    (Ok(()), 1..) => {
                        *count -= 1;
                        reference.release(permits);
                    }
                    (result, count) => panic!("{op:?}: {result:?} of {count}"),
                }
            }
            Op::Show => {
                // Reads as a newcomer, if it can.
                let shown = format!("{lock:?}");
                let entered = reference.try_enter(READER, Manner::Ordinary) == Outcome::Entered;
                assert_eq!(!shown.contains("<locked>"), entered, "{shown}");
                if entered {
                    reference.release(READER);
                }
            }
        }
        let count = |permits| held.iter().filter(|held| held.permits() == permits).count();
        // An upgrade that waits reads upgradably all the while.
        let upgrading = waiting.iter().filter(|waiting| waiting.what == UPGRADABLE).count();
        let readers = count(READER) + reads as usize;
        let upgradable = count(UPGRADABLE) + upgrading;
        let writers = count(WRITER) + writes as usize;
        assert!(upgradable <= 1, "{op:?}: two read upgradably");
        assert!(writers == 0 || writers == 1 && readers + upgradable == 0, "{op:?}: exclusion");
        assert_eq!(lock.is_locked(), readers + upgradable + writers > 0, "{op:?}");
        assert_eq!(lock.is_write_locked(), writers > 0, "{op:?}");
        assert_eq!(lock.is_locked(), reference.free < WRITER, "{op:?}");
        for Waiting { id, task, .. } in &waiting {
            assert_eq!(task.wakes(), reference.wakes(*id), "{op:?}: wake-ups of {id:?}");
        }
    }
    drop((waiting, held));
    for _ in 0..reads {
        lock.release_read().expect("it was acquired");
    }
    for _ in 0..writes {
        lock.release_write().expect("it was acquired");
    }
    assert!(lock.try_write().is_some(), "nothing is left behind");
}
