//! What may be done with a lock manager, and what must come of it, whichever backend it has.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use warded::{AllGuard, BaseLock, LockError, LockManager, ManagedLock, OwnedManagedGuard, Wait};

/// What one may do with a manager, by numbers: of a name, of something that one has.
#[derive(Debug, Clone)]
pub enum Step {
    Get(usize),
    Clone(usize),
    DropHandle(usize),
    TryLock(usize),
    LockOwned(usize),
    DropGuard(usize),
    Acquire(usize),
    Release(usize),
    Queue(usize),
    Poll(usize),
    Cancel(usize),
    AcquireAll(Vec<usize>),
    ReleaseAll(Vec<usize>),
    LockAll(Vec<usize>),
    DropAll(usize),
    Cleanup,
}

pub const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES.len();
    let any = || 0..8_usize;
    let set = || prop::collection::vec(name(), 0..5);
    let step = prop_oneof![
        3 => name().prop_map(Step::Get),
        1 => any().prop_map(Step::Clone),
        2 => any().prop_map(Step::DropHandle),
        2 => any().prop_map(Step::TryLock),
        2 => name().prop_map(Step::LockOwned),
        3 => any().prop_map(Step::DropGuard),
        2 => name().prop_map(Step::Acquire),
        2 => name().prop_map(Step::Release),
        2 => name().prop_map(Step::Queue),
        3 => any().prop_map(Step::Poll),
        1 => any().prop_map(Step::Cancel),
        2 => set().prop_map(Step::AcquireAll),
        2 => set().prop_map(Step::ReleaseAll),
        1 => set().prop_map(Step::LockAll),
        2 => any().prop_map(Step::DropAll),
        1 => Just(Step::Cleanup),
    ];
    prop::collection::vec(step, 1..60)
}

/// How a name is held, in the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    Guard,
    Acquired,
}

type Waits = Pin<Box<dyn Future<Output = Result<OwnedManagedGuard, LockError>>>>;

/// The real manager, and beside it what must be true of it.
struct Both {
    locks: LockManager,
    /// Whether a waiter can have been granted the lock before it is polled again.
    hasty: bool,
    handles: Vec<(usize, ManagedLock)>,
    guards: Vec<(usize, OwnedManagedGuard)>,
    waits: Vec<(usize, Waits)>,
    sets: Vec<(BTreeSet<usize>, AllGuard)>,
    held: BTreeMap<usize, Held>,
}

fn pick<T>(from: &[T], number: usize) -> Option<usize> {
    (!from.is_empty()).then(|| number % from.len())
}

impl Both {
    fn new(locks: LockManager, hasty: bool) -> Self {
        Self {
            locks,
            hasty,
            handles: Vec::new(),
            guards: Vec::new(),
            waits: Vec::new(),
            sets: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    fn get(&self, name: usize) -> ManagedLock {
        self.locks.get_lock(NAMES[name]).expect("a name")
    }

    /// Whether an attempt must succeed, must fail, or may do either: a free lock may be shut while
    /// somebody waits.
    fn expect(&self, name: usize, entered: bool) {
        if self.held.contains_key(&name) {
            assert!(!entered, "{} was held", NAMES[name]);
        } else if !self.waits.iter().any(|(waits, _)| *waits == name) {
            assert!(entered, "{} was free, and nobody waited", NAMES[name]);
        }
    }

    fn expect_all(&self, set: &BTreeSet<usize>, entered: bool) {
        if set.iter().any(|name| self.held.contains_key(name)) {
            assert!(!entered);
        } else if !self.waits.iter().any(|(waits, _)| set.contains(waits)) {
            assert!(entered);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Get(name) => self.handles.push((*name, self.get(*name))),
            Step::Clone(number) => {
                if let Some(place) = pick(&self.handles, *number) {
                    self.handles.push(self.handles[place].clone());
                }
            }
            Step::DropHandle(number) => {
                pick(&self.handles, *number).map(|place| self.handles.swap_remove(place));
            }
            Step::TryLock(number) => {
                let Some(place) = pick(&self.handles, *number) else { return };
                let (name, lock) = &self.handles[place];
                let entered = lock.try_lock().expect("no deadlock").is_some();
                self.expect(*name, entered);
            }
            Step::LockOwned(name) => {
                let guard = self.get(*name).try_lock_owned(Wait::Never).expect("no deadlock");
                self.expect(*name, guard.is_some());
                if let Some(guard) = guard {
                    self.held.insert(*name, Held::Guard);
                    self.guards.push((*name, guard));
                }
            }
            Step::DropGuard(number) => {
                let Some(place) = pick(&self.guards, *number) else { return };
                let (name, _guard) = self.guards.swap_remove(place);
                self.held.remove(&name);
            }
            Step::Acquire(name) => {
                let entered = self.get(*name).acquire(Wait::Never).expect("no deadlock");
                self.expect(*name, entered);
                if entered {
                    self.held.insert(*name, Held::Acquired);
                }
            }
            Step::Release(name) => {
                let released = self.get(*name).release().is_ok();
                assert_eq!(released, self.held.get(name) == Some(&Held::Acquired));
                if released {
                    self.held.remove(name);
                }
            }
            Step::Queue(name) => {
                self.waits.push((*name, Box::pin(self.get(*name).lock_owned_async())));
                self.poll(self.waits.len() - 1);
            }
            Step::Poll(number) => {
                if let Some(place) = pick(&self.waits, *number) {
                    self.poll(place);
                }
            }
            Step::Cancel(number) => {
                pick(&self.waits, *number).map(|place| self.waits.swap_remove(place));
            }
            Step::AcquireAll(list) => {
                let (names, set) = named(list);
                let entered = self.locks.acquire_all(&names, Wait::Never).expect("no deadlock");
                self.expect_all(&set, entered);
                if entered {
                    self.held.extend(set.into_iter().map(|name| (name, Held::Acquired)));
                }
            }
            Step::ReleaseAll(list) => {
                let (names, set) = named(list);
                let acquired = |name: &usize| self.held.get(name) == Some(&Held::Acquired);
                let (there, missing): (Vec<usize>, Vec<usize>) =
                    set.into_iter().partition(acquired);
                let missing: BTreeSet<_> = missing.into_iter().map(|name| NAMES[name]).collect();
                match self.locks.release_all(&names) {
                    Ok(()) => assert!(missing.is_empty()),
                    Err(LockError::NotAllHeld { names }) => {
                        assert_eq!(
                            names.iter().map(String::as_str).collect::<BTreeSet<_>>(),
                            missing
                        );
                    }
                    Err(other) => panic!("{other}"),
                }
                self.held.retain(|name, _| !there.contains(name));
            }
            Step::LockAll(list) => {
                let (names, set) = named(list);
                let guard = self.locks.lock_all(&names, Wait::Never).expect("no deadlock");
                self.expect_all(&set, guard.is_some());
                if let Some(guard) = guard {
                    self.held.extend(set.iter().map(|name| (*name, Held::Guard)));
                    self.sets.push((set, guard));
                }
            }
            Step::DropAll(number) => {
                let Some(place) = pick(&self.sets, *number) else { return };
                let (set, _guard) = self.sets.swap_remove(place);
                self.held.retain(|name, _| !set.contains(name));
            }
            Step::Cleanup => drop(self.locks.cleanup().expect("nothing fails here")),
        }
    }

    fn poll(&mut self, place: usize) {
        let Poll::Ready(guard) = poll(self.waits[place].1.as_mut()) else { return };
        let (name, _) = self.waits.swap_remove(place);
        let others = self.held.insert(name, Held::Guard);
        assert_eq!(others, None, "{} was given out twice", NAMES[name]);
        self.guards.push((name, guard.expect("no deadlock")));
    }

    fn check(&self) {
        let mut in_use: BTreeSet<_> = self.held.keys().copied().collect();
        in_use.extend(self.handles.iter().map(|(name, _)| name));
        in_use.extend(self.waits.iter().map(|(name, _)| name));
        let in_use: BTreeSet<_> = in_use.into_iter().map(|name| NAMES[name]).collect();
        let names = self.locks.names();
        assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), in_use);
        assert_eq!(self.locks.len(), in_use.len());
        for (place, name) in NAMES.iter().enumerate() {
            let info = self.locks.info(name).expect("nothing fails here");
            let waits = self.waits.iter().any(|(waits, _)| *waits == place);
            if !(self.hasty && waits) {
                assert_eq!(info.owner.is_some(), self.held.contains_key(&place), "{name}");
            }
            assert!(info.owner.is_some() || !self.held.contains_key(&place), "{name}");
            assert_eq!(info.acquired_at.is_some(), info.owner.is_some());
        }
    }
}

fn named(list: &[usize]) -> (Vec<&'static str>, BTreeSet<usize>) {
    (list.iter().map(|name| NAMES[*name]).collect(), list.iter().copied().collect())
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Takes the steps, comparing after each of them; and nothing is left at the end. `hasty` says whether
/// a waiter can have been granted the lock before it is polled again.
pub fn run(locks: LockManager, steps: &[Step], hasty: bool) {
    let mut both = Both::new(locks, hasty);
    for step in steps {
        both.take(step);
        both.check();
    }
    let Both { locks, handles, guards, waits, sets, held, .. } = both;
    drop((handles, guards, waits, sets));
    let acquired = held.into_iter().filter(|(_, held)| *held == Held::Acquired);
    let acquired: Vec<_> = acquired.map(|(name, _)| NAMES[name]).collect();
    locks.release_all(&acquired).expect("they are held");
    assert!(locks.is_empty());
    for name in NAMES {
        assert!(!locks.get_lock(name).expect("a name").locked().expect("nothing fails here"));
    }
}
