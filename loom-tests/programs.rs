//! All small programs: every combination of operations in two and three threads, up to renaming the
//! threads, each held against what the primitive does when nobody is in the way.

use std::slice;
use std::sync::{Arc, Mutex};

use loom::thread;
use warded::model::{Pristine, loads_are_strong};
use warded::{LocalLock, LocalSemaphore, ReadWriteLock, UpgradableGuard};

use crate::harness::{About, BUDGETS, Extent, PROGRAMS, Program, SMALL_PROGRAMS, Suite};
use crate::steps::{Protected, block_on, poll_and_drop, soon};

/// An operation with a name; `false` if it went away with empty hands.
type Letter<P> = (&'static str, fn(&Protected<P>) -> bool);

/// What can be done with a primitive.
struct Alphabet<P: 'static> {
    primitive: &'static str,
    with_budget: fn(u16) -> P,
    letters: &'static [Letter<P>],
}

const LOCK: Alphabet<LocalLock> = Alphabet {
    primitive: "lock",
    with_budget: |budget| LocalLock::new(()).with_bypass(budget),
    letters: &[
        ("lock", |shared| {
            let _guard = shared.by.lock();
            written(shared)
        }),
        ("try_lock", |shared| shared.by.try_lock().is_some_and(|_guard| written(shared))),
        ("try_lock_for", |shared| {
            shared.by.try_lock_for(soon()).is_some_and(|_guard| written(shared))
        }),
        ("lock_async", |shared| {
            block_on(async {
                let _guard = shared.by.lock_async().await;
                written(shared)
            })
        }),
        ("lock_async, dropped", |shared| {
            poll_and_drop(shared.by.lock_async()).is_some_and(|_guard| written(shared))
        }),
    ],
};

const SEMAPHORE: Alphabet<LocalSemaphore> = Alphabet {
    primitive: "semaphore",
    with_budget: |budget| LocalSemaphore::new(2).with_bypass(budget),
    letters: &[
        ("permit", |shared| {
            let _permit = shared.by.permit().expect("it is not closed");
            read(shared)
        }),
        ("permits(2)", |shared| {
            let _permits = shared.by.permits(2).expect("there are two");
            written(shared)
        }),
        ("try_permit", |shared| shared.by.try_permit().is_ok_and(|_permit| read(shared))),
        ("try_permits_for(2)", |shared| {
            shared.by.try_permits_for(2, soon()).is_ok_and(|_permits| written(shared))
        }),
        ("permits_async(2)", |shared| {
            block_on(async {
                let _permits = shared.by.permits_async(2).await.expect("there are two");
                written(shared)
            })
        }),
        ("permit_async, dropped", |shared| {
            poll_and_drop(shared.by.permit_async())
                .is_some_and(|permit| permit.is_ok_and(|_permit| read(shared)))
        }),
    ],
};

const READ_WRITE: Alphabet<ReadWriteLock> = Alphabet {
    primitive: "read-write",
    with_budget: |budget| ReadWriteLock::new(()).with_bypass(budget),
    letters: &[
        ("read", |shared| {
            let _guard = shared.by.read();
            read(shared)
        }),
        ("write", |shared| {
            let _guard = shared.by.write();
            written(shared)
        }),
        ("try_write", |shared| shared.by.try_write().is_some_and(|_guard| written(shared))),
        ("try_read_for", |shared| {
            shared.by.try_read_for(soon()).is_some_and(|_guard| read(shared))
        }),
        ("write_async, dropped", |shared| {
            poll_and_drop(shared.by.write_async()).is_some_and(|_guard| written(shared))
        }),
        ("upgradable, upgrade", |shared| {
            let looking = shared.by.upgradable();
            let seen = shared.data.read();
            let _guard = UpgradableGuard::upgrade(looking);
            assert_eq!(shared.data.read(), seen, "another writer came in between");
            written(shared)
        }),
    ],
};

fn written<P>(shared: &Protected<P>) -> bool {
    shared.data.write();
    true
}

fn read<P>(shared: &Protected<P>) -> bool {
    shared.data.read();
    true
}

/// When an operation began and ended, in steps of the execution's own clock.
struct Call {
    thread: usize,
    began: u32,
    ended: u32,
    went_empty: bool,
}

/// The calls of one execution. Not loom's, whose threads take turns: that only the models see.
#[derive(Default)]
struct History {
    now: u32,
    calls: Vec<Call>,
}

impl History {
    fn tick(&mut self) -> u32 {
        self.now += 1;
        self.now
    }

    /// In a sequence nobody goes away with empty hands: who does has met another thread's call.
    fn check(&self) {
        for call in self.calls.iter().filter(|call| call.went_empty) {
            let met = self.calls.iter().any(|other| {
                other.thread != call.thread && other.began < call.ended && call.began < other.ended
            });
            assert!(met, "an attempt failed, and nobody was in the way");
        }
    }
}

/// Runs one word in each thread, the first one in the main thread.
fn run<P: Pristine + Send + Sync + 'static>(
    alphabet: &Alphabet<P>,
    words: &[Vec<usize>],
    budget: u16,
) {
    let shared = Protected::new((alphabet.with_budget)(budget));
    let history = Arc::new(Mutex::new(History::default()));
    let in_thread = |number: usize| {
        let letters: Vec<_> = words[number].iter().map(|&at| alphabet.letters[at].1).collect();
        let (shared, history) = (Arc::clone(&shared), Arc::clone(&history));
        move || {
            let history = |call: &mut dyn FnMut(&mut History)| {
                call(&mut history.lock().expect("no panic under this lock"));
            };
            for letter in letters {
                let mut began = 0;
                history(&mut |history| began = history.tick());
                let went_empty = !letter(&shared);
                history(&mut |history| {
                    let ended = history.tick();
                    history.calls.push(Call { thread: number, began, ended, went_empty });
                });
            }
        }
    };
    let others: Vec<_> = (1..words.len()).map(|number| thread::spawn(in_thread(number))).collect();
    in_thread(0)();
    for other in others {
        other.join().expect("a program's threads do not panic");
    }
    // With stale loads, what came first on a clock may still be unseen.
    if loads_are_strong() {
        history.lock().expect("no panic under this lock").check();
    }
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

/// All programs of `threads` words from `words`, up to renaming the threads.
fn up_to_symmetry(words: &[Vec<usize>], threads: usize) -> Vec<Vec<Vec<usize>>> {
    if threads == 0 {
        return vec![Vec::new()];
    }
    let mut programs = Vec::new();
    for (first, word) in words.iter().enumerate() {
        for rest in up_to_symmetry(&words[first..], threads - 1) {
            programs.push([slice::from_ref(word), &rest[..]].concat());
        }
    }
    programs
}

pub fn models(suite: &mut Suite) {
    all_of(suite, &LOCK);
    all_of(suite, &SEMAPHORE);
    all_of(suite, &READ_WRITE);
}

fn all_of<P: Pristine + Send + Sync + 'static>(suite: &mut Suite, alphabet: &'static Alphabet<P>) {
    let singles: Vec<_> = (0..alphabet.letters.len()).map(|letter| vec![letter]).collect();
    let pairs: Vec<_> = singles
        .iter()
        .flat_map(|first| singles.iter().map(move |second| [&first[..], second].concat()))
        .collect();
    let mut add = |name: &str, operations, words: &[Vec<usize>], threads, extents: &[Extent]| {
        let about = About {
            model: format!("{}/all-programs-{name}", alphabet.primitive),
            claim: "every small program excludes, ends, and fails only where it meets another",
            threads,
            operations,
            adversary: "timeouts and dropped futures among the operations",
        };
        let programs = up_to_symmetry(words, threads)
            .into_iter()
            .map(|words| {
                let spelled: Vec<_> = words
                    .iter()
                    .map(|word| {
                        let word: Vec<_> = word.iter().map(|&at| alphabet.letters[at].0).collect();
                        word.join("; ")
                    })
                    .collect();
                let run: Arc<dyn Fn(u16) + Send + Sync> =
                    Arc::new(move |budget| run(alphabet, &words, budget));
                Program { text: Some(spelled.join(" || ")), run }
            })
            .collect();
        suite.programs(about, BUDGETS, extents, programs);
    };
    add("2x1", "one operation each", &singles, 2, SMALL_PROGRAMS);
    add("3x1", "one operation each", &singles, 3, PROGRAMS);
    add("2x2", "two operations each", &pairs, 2, PROGRAMS);
}
