//! Random sequences of everything that can be done to a few locks, against a reference that says
//! what may come of it.
//!
//! The reference knows who holds, by name of the guard, and who must be refused. What is decided by
//! time (an expiry, a loss) is made definite: short leases are slept out, long ones never end here.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use warded::{LockManager, RedisError, RedisGuard, RedisLock, RedisSource};

use super::server::Server;

const MS: Duration = Duration::from_millis(1);
const LOCKS: usize = 4;

#[derive(Debug, Clone)]
enum Act {
    /// Take without waiting. A short lease can be slept out.
    Try {
        lock: usize,
        short: bool,
    },
    /// Take within a time in which nothing changes.
    Timed {
        lock: usize,
    },
    /// Wait for as long as it takes, when it is free.
    Lock {
        lock: usize,
    },
    Release {
        lock: usize,
    },
    Drop {
        lock: usize,
    },
    Extend {
        lock: usize,
    },
    /// The handle's process dies: nothing is released.
    Crash {
        lock: usize,
    },
    /// Sleep a short lease out.
    Expire,
    FlushAll,
    ScriptFlush,
    KillClients,
    /// Sweep; perhaps as if nothing had happened for minutes.
    Cleanup {
        aged: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    None,
    /// It holds; whether its lease is a short one.
    Valid {
        short: bool,
    },
    /// Its guard is still there, and the lock is lost: run out, or flushed.
    Over,
}

#[derive(Debug, Clone)]
struct Reference {
    holds: [Hold; LOCKS],
    /// Somebody who crashed holds still, until a short lease is slept out.
    orphan: bool,
}

impl Reference {
    fn taken(&self) -> bool {
        self.orphan || self.holds.iter().any(|hold| matches!(hold, Hold::Valid { .. }))
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { holds: [Hold::None; LOCKS], orphan: false }).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Act> {
        let lock = 0..LOCKS;
        let taken = state.taken();
        prop_oneof![
            4 => (lock.clone(), any::<bool>()).prop_map(|(lock, short)| Act::Try { lock, short }),
            1 => lock.clone().prop_map(|lock| Act::Timed { lock }),
            // Waiting for a lock that nobody gives back would not end.
            2 => lock.clone().prop_map(move |lock| {
                if taken { Act::Timed { lock } } else { Act::Lock { lock } }
            }),
            3 => lock.clone().prop_map(|lock| Act::Release { lock }),
            2 => lock.clone().prop_map(|lock| Act::Drop { lock }),
            2 => lock.clone().prop_map(|lock| Act::Extend { lock }),
            1 => lock.prop_map(|lock| Act::Crash { lock }),
            1 => Just(Act::Expire),
            1 => Just(Act::FlushAll),
            1 => Just(Act::ScriptFlush),
            1 => Just(Act::KillClients),
            2 => any::<bool>().prop_map(|aged| Act::Cleanup { aged }),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, act: &Act) -> bool {
        match act {
            // One guard a handle, so that they can be told apart.
            Act::Try { lock, .. } | Act::Timed { lock } => state.holds[*lock] == Hold::None,
            Act::Lock { lock } => state.holds[*lock] == Hold::None && !state.taken(),
            Act::Release { lock } | Act::Drop { lock } | Act::Extend { lock } => {
                state.holds[*lock] != Hold::None
            }
            // Only what ends soon may be left behind.
            Act::Crash { lock } => state.holds[*lock] == (Hold::Valid { short: true }),
            Act::Expire
            | Act::FlushAll
            | Act::ScriptFlush
            | Act::KillClients
            | Act::Cleanup { .. } => true,
        }
    }

    fn apply(mut state: Self, act: &Act) -> Self {
        let taken = state.taken();
        match act {
            Act::Try { lock, short } if !taken => {
                state.holds[*lock] = Hold::Valid { short: *short }
            }
            Act::Timed { lock } | Act::Lock { lock } if !taken => {
                state.holds[*lock] = Hold::Valid { short: false };
            }
            Act::Release { lock } | Act::Drop { lock } => state.holds[*lock] = Hold::None,
            Act::Crash { lock } => {
                state.holds[*lock] = Hold::None;
                state.orphan = true;
            }
            // An extended lease is not a short one any more.
            Act::Extend { lock } if matches!(state.holds[*lock], Hold::Valid { .. }) => {
                state.holds[*lock] = Hold::Valid { short: false };
            }
            Act::Expire => {
                state.orphan = false;
                for hold in &mut state.holds {
                    if *hold == (Hold::Valid { short: true }) {
                        *hold = Hold::Over;
                    }
                }
            }
            Act::FlushAll => {
                state.orphan = false;
                for hold in &mut state.holds {
                    if *hold != Hold::None {
                        *hold = Hold::Over;
                    }
                }
            }
            _ => {}
        }
        state
    }
}

struct Real {
    server: Server,
    /// Two sources, two handles each.
    sources: [RedisSource; 2],
    guards: [Option<RedisGuard>; LOCKS],
    last_fence: u64,
    /// When the first of the short leases began that are not slept out yet.
    short_since: Option<Instant>,
    /// The machine was so slow that a short lease may have ended by itself: from then on the
    /// reference knows nothing, and nothing is claimed.
    late: bool,
}

/// Long enough that everything else in between is done, on a busy machine too.
const SHORT: Duration = Duration::from_millis(1_200);

impl Real {
    fn lock(&self, lock: usize, short: bool) -> RedisLock {
        let builder = RedisLock::builder("jobs", self.sources[lock % 2].clone());
        let ttl = if short { SHORT } else { Duration::from_secs(600) };
        builder.ttl(ttl).build().unwrap()
    }

    /// Whether what is decided by time is still as the reference has it.
    fn in_time(&mut self) -> bool {
        self.late |= self.short_since.is_some_and(|since| since.elapsed() > SHORT * 3 / 4);
        !self.late
    }

    fn took(&mut self, lock: usize, taken: Option<RedisGuard>, wanted: bool) {
        if !self.in_time() {
            self.guards[lock] = None;
            return;
        }
        assert_eq!(taken.is_some(), wanted, "by handle {lock}");
        if let Some(held) = &taken {
            assert!(held.is_valid() && held.fence() > self.last_fence);
            self.last_fence = held.fence();
        }
        if taken.is_some() {
            self.guards[lock] = taken;
        }
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Self {
        let server = Server::start();
        let sources = [server.source(), server.source()];
        Self {
            server,
            sources,
            guards: [const { None }; LOCKS],
            last_fence: 0,
            short_since: None,
            late: false,
        }
    }

    fn apply(mut real: Self, after: &Reference, act: Act) -> Self {
        if matches!(act, Act::Expire) {
            // Before it is slept out, all was in time or it was not.
            let _ = real.in_time();
            real.short_since = None;
        }
        if real.late {
            return real;
        }
        let valid = |lock: usize| matches!(after.holds[lock], Hold::Valid { .. });
        match act {
            Act::Try { lock, short } => {
                let began = Instant::now();
                let taken = real.lock(lock, short).try_lock().unwrap();
                if short && taken.is_some() {
                    real.short_since.get_or_insert(began);
                }
                real.took(lock, taken, valid(lock));
            }
            Act::Timed { lock } => {
                let taken = real.lock(lock, false).try_lock_for(20 * MS);
                // A killed connection may take longer than that to replace, which is an error.
                let taken = match taken {
                    Err(RedisError::Unreachable(_) | RedisError::Timeout { .. }) => {
                        real.lock(lock, false).try_lock()
                    }
                    taken => taken,
                };
                // A waiter whose time was over while the answer came is refused, rightly; so ask.
                let taken = taken.unwrap().or_else(|| real.lock(lock, false).try_lock().unwrap());
                real.took(lock, taken, valid(lock));
            }
            Act::Lock { lock } => {
                let taken = real.lock(lock, false).lock().unwrap();
                real.took(lock, Some(taken), true);
            }
            Act::Release { lock } => {
                let was_valid = real.server.look().fence("jobs") == fence_of(&real, lock)
                    && real.server.look().token("jobs").is_some();
                let released = real.guards[lock].take().unwrap().release();
                match released {
                    Ok(()) => {
                        assert!(was_valid || !real.in_time(), "what was not held was released")
                    }
                    Err(RedisError::Lost { .. }) => {}
                    Err(failure) => panic!("{failure}"),
                }
            }
            Act::Drop { lock } => {
                real.guards[lock] = None;
                // So that the next step finds it done.
                real.sources[lock % 2].flush().unwrap();
            }
            Act::Extend { lock } => {
                let extended = real.guards[lock].as_ref().unwrap().extend(Duration::from_secs(600));
                match extended {
                    Ok(()) => assert!(valid(lock), "an extension brought a lost lock back"),
                    Err(RedisError::Lost { .. }) => assert!(!valid(lock) || !real.in_time()),
                    Err(failure) => panic!("{failure}"),
                }
            }
            Act::Crash { lock } => real.guards[lock].take().unwrap().leak(),
            Act::Expire => std::thread::sleep(SHORT + SHORT / 10 + 30 * MS),
            Act::FlushAll => {
                real.server.look().run("FLUSHALL");
            }
            Act::ScriptFlush => {
                real.server.look().run("SCRIPT FLUSH");
            }
            Act::Cleanup { aged } => {
                if aged {
                    real.server.look().age("jobs");
                }
                let locks = LockManager::builder().redis(real.sources[0].clone());
                locks.build().unwrap().cleanup().unwrap();
            }
            Act::KillClients => {
                real.server.look().run("CLIENT KILL TYPE normal SKIPME yes");
            }
        }
        real
    }

    fn check_invariants(real: &Self, state: &Reference) {
        let free = real.server.look().token("jobs").is_none_or(|_| left(&real.server) <= 0);
        // Asked when that is known, since looking takes time, too.
        let slow = real.short_since.is_some_and(|since| since.elapsed() > SHORT * 3 / 4);
        if real.late || slow {
            return;
        }
        assert_eq!(free, !state.taken(), "{state:?}");
        for (lock, guard) in real.guards.iter().enumerate() {
            // One that is flushed away is told of it later, but a valid one is never told so.
            if matches!(state.holds[lock], Hold::Valid { .. }) {
                assert!(guard.as_ref().unwrap().is_valid());
            }
        }
    }
}

fn fence_of(real: &Real, lock: usize) -> u64 {
    real.guards[lock].as_ref().unwrap().fence()
}

fn left(server: &Server) -> i64 {
    let end: i64 = server.look().field("jobs", "x").unwrap().parse().unwrap();
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query(&mut server.look().0).unwrap();
    end - seconds * 1_000 - micros / 1_000
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, .. ProptestConfig::default() })]

    #[test]
    fn locks_do_what_the_reference_says(sequential 1..40 => Real);
}
