//! All small programs: every combination of operations in two and three threads, up to renaming the
//! threads. What each execution answers must be what some run of the reference answers.

use std::collections::HashSet;
use std::slice;
use std::sync::{Arc, Mutex};

use loom::thread;
use warded::model::{Pristine, loads_are_strong};
use warded::{LocalLock, LocalSemaphore, LockGuard, ReadWriteLock, UpgradableGuard, WriteGuard};

use crate::harness::{
    About, BUDGETS, Extent, PROGRAMS, Program, Suite, UNBOUNDED, UNBOUNDED_AT_LENGTH,
};
use crate::reference::{Answer, Call, Event, History, Order, Patience, Rules, Urgency, explains};
use crate::steps::{Protected, block_on, poll_and_drop, soon, step};

/// An operation with a name.
type Letter<P> = (&'static str, fn(&Player<P>));

/// What can be done with a primitive.
struct Alphabet<P: 'static> {
    primitive: &'static str,
    with_budget: fn(u16) -> P,
    /// What the reference has in its place.
    permits: u32,
    letters: &'static [Letter<P>],
    /// So many of the letters are in the fast tier, and make words of two.
    core: usize,
}

const ONE: Call = of(1);
const BOTH: Call = of(2);

/// As many permits as the reference's read-write lock needs.
const WRITER: u32 = 99;
const UPGRADABLE: u32 = 50;

const fn of(need: u32) -> Call {
    Call::Acquire { need, urgency: Urgency::None, patience: Patience::Endless }
}

const fn at_once(call: Call) -> Call {
    with_patience(call, Patience::None)
}

const fn not_for_ever(call: Call) -> Call {
    with_patience(call, Patience::Some)
}

const fn with_patience(call: Call, patience: Patience) -> Call {
    match call {
        Call::Acquire { need, urgency, .. } => Call::Acquire { need, urgency, patience },
        other => other,
    }
}

const LOCK: Alphabet<LocalLock> = Alphabet {
    primitive: "lock",
    with_budget: |budget| LocalLock::new(()).with_bypass(budget),
    permits: 1,
    letters: &[
        ("lock", |player| player.write_with(ONE, || Ok(player.by().lock()))),
        ("try_lock", |player| {
            player.write_with(at_once(ONE), || player.by().try_lock().ok_or(Answer::Unavailable));
        }),
        ("try_lock_for", |player| {
            player.write_with(not_for_ever(ONE), || {
                player.by().try_lock_for(soon()).ok_or(Answer::Unavailable)
            });
        }),
        ("lock_async", |player| {
            player.write_with(ONE, || Ok(block_on(player.by().lock_async())));
        }),
        ("lock_async, dropped", |player| {
            player.write_with(not_for_ever(ONE), || {
                poll_and_drop(player.by().lock_async()).ok_or(Answer::Unavailable)
            });
        }),
        ("lock, release_fairly", |player| {
            if let Some(guard) = player.acquire(ONE, || Ok(player.by().lock())) {
                player.shared.data.write();
                player.call(Call::ReleaseFairly(1), || LockGuard::release_fairly(guard));
            }
        }),
    ],
    core: 5,
};

const SEMAPHORE: Alphabet<LocalSemaphore> = Alphabet {
    primitive: "semaphore",
    with_budget: |budget| LocalSemaphore::new(2).with_bypass(budget),
    permits: 2,
    letters: &[
        ("permit", |player| player.read_with(ONE, || Ok(player.by().permit()?))),
        ("permits(2)", |player| player.read_with(BOTH, || Ok(player.by().permits(2)?))),
        ("try_permit", |player| player.read_with(at_once(ONE), || Ok(player.by().try_permit()?))),
        ("try_permits_for(2)", |player| {
            player.read_with(not_for_ever(BOTH), || Ok(player.by().try_permits_for(2, soon())?));
        }),
        ("permit_async, dropped", |player| {
            player.read_with(not_for_ever(ONE), || {
                match poll_and_drop(player.by().permit_async()) {
                    Some(permit) => Ok(permit?),
                    None => Err(Answer::Unavailable),
                }
            });
        }),
        ("close", |player| player.call(Call::Close, || player.by().close())),
        ("permits_async(2)", |player| {
            player.read_with(BOTH, || Ok(block_on(player.by().permits_async(2))?));
        }),
        ("add_permits(1)", |player| {
            let add = || player.by().add_permits(1).expect("a few are not too many");
            player.call(Call::Add(1), add);
        }),
        ("forget_permits(1)", |player| {
            player.note(Event::Begin(Call::Forget(1)));
            let forgotten = player.by().forget_permits(1);
            player.note(Event::End(Answer::Forgotten(forgotten)));
        }),
    ],
    core: 6,
};

const READ_WRITE: Alphabet<ReadWriteLock> = Alphabet {
    primitive: "read-write",
    with_budget: |budget| ReadWriteLock::new(()).with_bypass(budget),
    permits: WRITER,
    letters: &[
        ("read", |player| player.read_with(ONE, || Ok(player.by().read()))),
        ("write", |player| player.write_with(of(WRITER), || Ok(player.by().write()))),
        ("try_write", |player| {
            player.write_with(at_once(of(WRITER)), || {
                player.by().try_write().ok_or(Answer::Unavailable)
            });
        }),
        ("try_read_for", |player| {
            player.read_with(not_for_ever(ONE), || {
                player.by().try_read_for(soon()).ok_or(Answer::Unavailable)
            });
        }),
        ("write_async, dropped", |player| {
            player.write_with(not_for_ever(of(WRITER)), || {
                poll_and_drop(player.by().write_async()).ok_or(Answer::Unavailable)
            });
        }),
        ("upgradable, upgrade", |player| {
            let looking = player.acquire(of(UPGRADABLE), || Ok(player.by().upgradable()));
            let Some(looking) = looking else { return };
            let seen = player.shared.data.read();
            let upgrade = Call::Acquire {
                need: WRITER - UPGRADABLE,
                urgency: Urgency::Upgrade,
                patience: Patience::Endless,
            };
            let writing = player.acquire(upgrade, || Ok(UpgradableGuard::upgrade(looking)));
            let Some(writing) = writing else { return };
            assert_eq!(player.shared.data.read(), seen, "another writer came in between");
            player.shared.data.write();
            player.call(Call::Release(WRITER), || drop(writing));
        }),
        ("write, downgrade", |player| {
            let writing = player.acquire(of(WRITER), || Ok(player.by().write()));
            let Some(writing) = writing else { return };
            player.shared.data.write();
            let mut reading = None;
            player
                .call(Call::Release(WRITER - 1), || reading = Some(WriteGuard::downgrade(writing)));
            player.shared.data.read();
            player.call(Call::Release(1), || drop(reading));
        }),
        ("read_recursive", |player| {
            let call =
                Call::Acquire { need: 1, urgency: Urgency::Recursive, patience: Patience::Endless };
            player.read_with(call, || Ok(player.by().read_recursive()));
        }),
        ("read_async", |player| {
            player.read_with(ONE, || Ok(block_on(player.by().read_async())));
        }),
    ],
    core: 6,
};

/// One thread of a program.
struct Player<P> {
    shared: Arc<Protected<P>>,
    thread: usize,
    // Not loom's, whose threads take turns: that only the models see.
    history: Arc<Mutex<History>>,
}

impl<P> Player<P> {
    fn by(&self) -> &P {
        &self.shared.by
    }

    fn note(&self, event: Event) {
        step(&format!("{event:?}"));
        self.history.lock().expect("no panic under this lock").push((self.thread, event));
    }

    /// A call that has no answer.
    fn call(&self, call: Call, make: impl FnOnce()) {
        self.note(Event::Begin(call));
        make();
        self.note(Event::End(Answer::Done));
    }

    /// A call that gives a guard, or the reason why not.
    fn acquire<G>(&self, call: Call, make: impl FnOnce() -> Result<G, Answer>) -> Option<G> {
        self.note(Event::Begin(call));
        let guard = make();
        self.note(Event::End(guard.as_ref().map_or_else(|why| *why, |_| Answer::Done)));
        guard.ok()
    }

    fn read_with<G>(&self, call: Call, make: impl FnOnce() -> Result<G, Answer>) {
        self.hold(call, make, || {
            self.shared.data.read();
        });
    }

    fn write_with<G>(&self, call: Call, make: impl FnOnce() -> Result<G, Answer>) {
        self.hold(call, make, || self.shared.data.write());
    }

    fn hold<G>(&self, call: Call, make: impl FnOnce() -> Result<G, Answer>, work: impl FnOnce()) {
        let Call::Acquire { need, .. } = call else { unreachable!("nothing else gives a guard") };
        if let Some(guard) = self.acquire(call, make) {
            work();
            self.call(Call::Release(need), || drop(guard));
        }
    }
}

/// The histories that are explained already: many executions have the same one.
type Explained = Mutex<HashSet<(u16, Order, History)>>;

/// Runs one word in each thread, the first one in the main thread.
fn run<P: Pristine + Send + Sync + 'static>(
    alphabet: &Alphabet<P>,
    words: &[Vec<usize>],
    budget: u16,
    explained: &Explained,
) {
    let shared = Protected::new((alphabet.with_budget)(budget));
    let history = Arc::new(Mutex::new(History::new()));
    let in_thread = |thread: usize| {
        let letters: Vec<_> = words[thread].iter().map(|&at| alphabet.letters[at].1).collect();
        let (shared, history) = (Arc::clone(&shared), Arc::clone(&history));
        let player = Player { shared, thread, history };
        move || letters.into_iter().for_each(|letter| letter(&player))
    };
    let others: Vec<_> = (1..words.len()).map(|number| thread::spawn(in_thread(number))).collect();
    in_thread(0)();
    for other in others {
        other.join().expect("a program's threads do not panic");
    }

    let order = if loads_are_strong() { Order::RealTime } else { Order::Program };
    let history = history.lock().expect("no panic under this lock").clone();
    let key = (budget, order, history);
    let mut explained = explained.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !explained.contains(&key) {
        let rules = Rules { permits: alphabet.permits, budget };
        assert!(explains(rules, &key.2, order), "no run of the reference gives these answers");
        explained.insert(key);
    }
    drop(explained);
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
    let all: Vec<_> = (0..alphabet.letters.len()).map(|letter| vec![letter]).collect();
    let core = &all[..alphabet.core];
    let pairs: Vec<_> = core
        .iter()
        .flat_map(|first| core.iter().map(move |second| [&first[..], second].concat()))
        .collect();
    let mut add = |name: &str, operations, words: &[Vec<usize>], threads, extents: &[Extent]| {
        let about = About {
            model: format!("{}/all-programs-{name}", alphabet.primitive),
            claim: "every small program excludes, ends, and is answered as the reference answers",
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
                let explained = Explained::default();
                let run: Arc<dyn Fn(u16) + Send + Sync> =
                    Arc::new(move |budget| run(alphabet, &words, budget, &explained));
                Program { text: Some(spelled.join(" || ")), run }
            })
            .collect();
        suite.programs(about, BUDGETS, extents, programs);
    };
    add("2x1", "one operation each", core, 2, UNBOUNDED);
    add("2x1-more", "one operation each, rare ones too", &all, 2, UNBOUNDED_AT_LENGTH);
    add("3x1", "one operation each", core, 3, PROGRAMS);
    add("2x2", "two operations each", &pairs, 2, PROGRAMS);
}
