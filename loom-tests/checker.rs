//! Loom itself: what it sees and what it misses, as it is, so that a repaired loom shows up as a
//! changed table.
//!
//! Each test names the outcomes that the language allows, and asserts exactly which of them loom
//! reaches. One that is allowed and not reached is a blind spot, and stands in docs/verification.md.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc as LoomArc, Notify};
use loom::thread;

use crate::harness::{Bound, Counts, Loads, Suite, explore};

/// What happened in the executions of a test: what the threads read, or the panic that ended it.
type Seen = BTreeSet<String>;

struct Test {
    name: &'static str,
    /// What the language allows, and for the last ones what the program does wrong.
    allowed: &'static [&'static str],
    /// What loom sees with loads as they are.
    weak: &'static [&'static str],
    /// What loom sees with loads as read-modify-writes.
    strong: &'static [&'static str],
    run: fn(Loads) -> Seen,
}

/// A load in the given mode, as `warded::model::strong_loads` makes them.
fn load(atomic: &AtomicU32, loads: Loads, ordering: Ordering) -> u32 {
    match loads {
        Loads::Weak => atomic.load(ordering),
        Loads::Strong => atomic.fetch_or(0, ordering),
    }
}

/// A store likewise.
fn store(atomic: &AtomicU32, value: u32, loads: Loads, ordering: Ordering) {
    match loads {
        Loads::Weak => atomic.store(value, ordering),
        Loads::Strong => {
            atomic.swap(value, ordering);
        }
    }
}

/// Runs `program` in every execution, and collects what it gives.
fn outcomes(program: impl Fn() -> String + Send + Sync + 'static) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::new()));
    let kept = Arc::clone(&seen);
    let explored = explore(Bound::None, &Arc::new(Counts::default()), move || {
        let outcome = program();
        kept.lock().expect("no panic under this lock").insert(outcome);
    });
    let mut seen = seen.lock().expect("no panic under this lock").clone();
    if let Some(panic) = explored.panic {
        // The first words say what loom found; the rest are places in its source.
        seen.insert(panic.split([';', '.', ':']).next().unwrap_or_default().to_owned());
    }
    seen
}

/// Two threads; each returns what it read.
fn two(
    left: impl Fn(&[AtomicU32; 2]) -> u32 + Send + Sync + Clone + 'static,
    right: impl Fn(&[AtomicU32; 2]) -> u32 + Send + Sync + 'static,
) -> Seen {
    outcomes(move || {
        let cells = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let (others, left) = (Arc::clone(&cells), left.clone());
        let other = thread::spawn(move || left(&others));
        let second = right(&cells);
        let first = other.join().expect("it does not panic");
        format!("{first}{second}")
    })
}

/// <https://github.com/tokio-rs/loom/issues/392>: both threads load before they store.
fn load_then_store(loads: Loads) -> Seen {
    let side = move |cells: &[AtomicU32; 2]| {
        let seen = load(&cells[0], loads, Relaxed);
        store(&cells[0], 1, loads, Relaxed);
        seen
    };
    two(side, side)
}

/// <https://github.com/tokio-rs/loom/issues/166>: a load whose value nobody uses hides executions.
fn redundant_load(loads: Loads) -> Seen {
    two(
        move |cells| {
            store(&cells[0], 1, loads, SeqCst);
            store(&cells[1], 1, loads, SeqCst);
            store(&cells[1], 0, loads, SeqCst);
            load(&cells[0], loads, SeqCst);
            store(&cells[0], 0, loads, SeqCst);
            0
        },
        move |cells| load(&cells[1], loads, SeqCst) * 10 + load(&cells[0], loads, SeqCst),
    )
}

/// <https://github.com/tokio-rs/loom/issues/282>: nothing comes between the read and the write of a
/// read-modify-write, so a store that it has read cannot come after it.
fn swap_against_store(loads: Loads) -> Seen {
    outcomes(move || {
        let cell = Arc::new(AtomicU32::new(0));
        let (one, two) = (Arc::clone(&cell), Arc::clone(&cell));
        let one = thread::spawn(move || store(&one, 1, loads, Relaxed));
        let two = thread::spawn(move || two.swap(2, Relaxed));
        one.join().expect("it does not panic");
        let swapped = two.join().expect("it does not panic");
        format!("{swapped}{}", load(&cell, loads, Relaxed))
    })
}

fn store_buffering(loads: Loads, ordering: [Ordering; 2], fenced: bool) -> Seen {
    let side = move |mine: usize| {
        move |cells: &[AtomicU32; 2]| {
            store(&cells[mine], 1, loads, ordering[0]);
            if fenced {
                fence(SeqCst);
            }
            load(&cells[1 - mine], loads, ordering[1])
        }
    };
    two(side(0), side(1))
}

fn message_passing(loads: Loads, ordering: [Ordering; 2]) -> Seen {
    two(
        move |cells| {
            store(&cells[0], 1, loads, Relaxed);
            store(&cells[1], 1, loads, ordering[0]);
            0
        },
        move |cells| {
            let flag = load(&cells[1], loads, ordering[1]);
            flag * 10 + load(&cells[0], loads, Relaxed)
        },
    )
}

fn load_buffering(loads: Loads) -> Seen {
    let side = move |mine: usize| {
        move |cells: &[AtomicU32; 2]| {
            let seen = load(&cells[mine], loads, Relaxed);
            store(&cells[1 - mine], 1, loads, Relaxed);
            seen
        }
    };
    two(side(0), side(1))
}

/// The weak compare-exchange may fail without reason.
fn spurious_failure(_: Loads) -> Seen {
    two(
        |cells| u32::from(cells[0].compare_exchange_weak(0, 1, AcqRel, Acquire).is_ok()),
        |cells| {
            cells[1].store(1, Release);
            0
        },
    )
}

fn deadlock(_: Loads) -> Seen {
    outcomes(|| {
        Notify::new().wait();
        "woken".to_owned()
    })
}

fn leak(_: Loads) -> Seen {
    outcomes(|| {
        std::mem::forget(LoomArc::new(()));
        "ends".to_owned()
    })
}

fn race(_: Loads) -> Seen {
    /// Loom's cell checks accesses itself.
    struct Cell(UnsafeCell<u32>);
    // SAFETY: the point of the test: loom reports the race, and nothing is read or written.
    unsafe impl Sync for Cell {}
    outcomes(|| {
        let cell = Arc::new(Cell(UnsafeCell::new(0)));
        let other = Arc::clone(&cell);
        let thread = thread::spawn(move || other.0.with_mut(|_| ()));
        cell.0.with_mut(|_| ());
        thread.join().expect("it does not panic");
        "ends".to_owned()
    })
}

const TESTS: &[Test] = &[
    Test {
        name: "load, then store (loom#392)",
        allowed: &["00", "01", "10"],
        weak: &["00", "10"],
        strong: &["00", "01", "10"],
        run: load_then_store,
    },
    Test {
        name: "redundant load (loom#166)",
        allowed: &["00", "01", "010", "011"],
        weak: &["00", "01", "011"],
        strong: &["00", "01", "010", "011"],
        run: redundant_load,
    },
    Test {
        name: "swap against store (loom#282)",
        allowed: &["01", "12"],
        weak: &["01", "02", "12"],
        strong: &["01", "12"],
        run: swap_against_store,
    },
    Test {
        name: "store buffering, relaxed",
        allowed: &["00", "01", "10", "11"],
        weak: &["00", "01", "10", "11"],
        strong: &["01", "10", "11"],
        run: |loads| store_buffering(loads, [Relaxed, Relaxed], false),
    },
    Test {
        name: "store buffering, sequentially consistent",
        allowed: &["01", "10", "11"],
        weak: &["00", "01", "10", "11"],
        strong: &["01", "10", "11"],
        run: |loads| store_buffering(loads, [SeqCst, SeqCst], false),
    },
    Test {
        name: "store buffering, with fence(SeqCst)",
        allowed: &["01", "10", "11"],
        weak: &["01", "10", "11"],
        strong: &["01", "10", "11"],
        run: |loads| store_buffering(loads, [Relaxed, Relaxed], true),
    },
    Test {
        name: "message passing, relaxed",
        allowed: &["00", "01", "010", "011"],
        weak: &["00", "01", "010", "011"],
        strong: &["00", "01", "011"],
        run: |loads| message_passing(loads, [Relaxed, Relaxed]),
    },
    Test {
        name: "message passing, release and acquire",
        allowed: &["00", "01", "011"],
        weak: &["00", "01", "011"],
        strong: &["00", "01", "011"],
        run: |loads| message_passing(loads, [Release, Acquire]),
    },
    Test {
        name: "load buffering, relaxed",
        allowed: &["00", "01", "10", "11"],
        weak: &["00", "01", "10"],
        strong: &["00", "01", "10"],
        run: load_buffering,
    },
    Test {
        name: "compare_exchange_weak that fails without reason",
        allowed: &["00", "10"],
        weak: &["10"],
        strong: &["10"],
        run: spurious_failure,
    },
    Test {
        name: "a deadlock",
        allowed: &["deadlock"],
        weak: &["deadlock"],
        strong: &["deadlock"],
        run: deadlock,
    },
    Test {
        name: "a leak",
        allowed: &["Arc leaked", "ends"],
        weak: &["Arc leaked", "ends"],
        strong: &["Arc leaked", "ends"],
        run: leak,
    },
    Test {
        name: "a data race",
        allowed: &["Causality violation"],
        weak: &["Causality violation"],
        strong: &["Causality violation"],
        run: race,
    },
];

pub fn tests(suite: &mut Suite) {
    for test in TESTS {
        for (loads, expected) in [(Loads::Weak, test.weak), (Loads::Strong, test.strong)] {
            let run = test.run;
            suite.self_test(test.name, test.allowed, loads, expected, move || run(loads));
        }
    }
}
