//! Wakers that panic, or come back into the primitive that wakes them.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use warded::model::Pristine;
use warded::{BaseSemaphore, LocalLock, LocalSemaphore, ReadWriteLock, Wait};

use crate::harness::{About, BUDGETS, Suite, TWO_THREADS};
use crate::steps::{Protected, beside, block_on, poll};

/// Panics when it wakes, without a word on standard error.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic::resume_unwind(Box::new("a waker panics"));
    }
}

/// Takes the lock that wakes it, if it is free.
struct Reentrant {
    shared: Arc<Protected<LocalLock>>,
    wakes: AtomicU32,
}

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        if let Some(_guard) = self.shared.by.try_lock() {
            self.shared.data.write();
        }
        // Queues, and leaves again.
        if let Some(_guard) = crate::steps::poll_and_drop(self.shared.by.lock_async()) {
            self.shared.data.write();
        }
    }
}

/// Runs `attempt` again when another's waker panics in it; `true` if that happened. The panic comes
/// out of whoever frees the list: the one that releases, or one that arrives or leaves.
fn despite_panic(mut attempt: impl FnMut()) -> bool {
    let panicked = panic::catch_unwind(AssertUnwindSafe(&mut attempt)).is_err();
    if panicked {
        attempt();
    }
    panicked
}

fn panicking(budget: u16) {
    let by = ReadWriteLock::new(()).with_bypass(budget);
    let shared = Arc::new((Protected::new(by), AtomicU32::new(0)));
    let (primitive, panics) = (&shared.0.by, &shared.1);
    let writing = primitive.write();
    let mut first = Box::pin(primitive.read_async());
    let waker = Waker::from(Arc::new(Panicking));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    beside(
        &shared,
        &[|shared| {
            for _ in 0..2 {
                let panicked = despite_panic(|| {
                    block_on(async {
                        let _guard = shared.0.by.read_async().await;
                        shared.0.data.read();
                    });
                });
                shared.1.fetch_add(panicked.into(), Ordering::Relaxed);
            }
        }],
        |shared| {
            shared.0.data.write();
            let mut writing = Some(writing);
            let panicked = despite_panic(|| drop(writing.take()));
            shared.1.fetch_add(panicked.into(), Ordering::Relaxed);
        },
    );
    assert_eq!(panics.load(Ordering::Relaxed), 1, "the panic went nowhere, or came out twice");
    assert!(poll(first.as_mut()).is_ready(), "the panic cost the first its turn");
    drop(first);
    assert!(primitive.try_write().is_some(), "nobody is in, and nobody waits");
    assert!(primitive.is_pristine(), "something is left over in the state word");
}

/// The head enters, and by its leaving the list calls one whose waker panics.
fn panic_on_the_way_in(budget: u16) {
    let shared = Protected::new(LocalSemaphore::new(2).with_bypass(budget));
    for _ in 0..2 {
        assert!(shared.by.acquire(Wait::Never).expect("it is not closed"));
    }
    let mut head = Box::pin(shared.by.permit_async());
    assert!(poll(head.as_mut()).is_pending());
    let mut second = Box::pin(shared.by.permit_async());
    let waker = Waker::from(Arc::new(Panicking));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    beside(
        &shared,
        &[|shared| {
            for _ in 0..2 {
                let release = || shared.by.release().expect("main has acquired twice");
                // The hold is over when the panic comes out.
                let _ = panic::catch_unwind(AssertUnwindSafe(release));
            }
        }],
        |_| {
            for _ in 0..2 {
                // A panic on the way in takes the head out of the list, with empty hands; one on
                // the way out leaves them empty, too.
                let enter_and_leave = || poll(head.as_mut()).map(drop);
                let polled = panic::catch_unwind(AssertUnwindSafe(enter_and_leave));
                if !matches!(polled, Ok(Poll::Pending)) {
                    break;
                }
            }
        },
    );
    // If it still waits, its leaving may be what calls the second.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(head)));
    assert!(poll(second.as_mut()).is_ready(), "the panic cost the second its turn");
    drop(second);
    let both = shared.by.try_permits(2).expect("the panic cost a permit");
    drop(both);
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

fn reentrant(budget: u16) {
    let shared = Protected::new(LocalLock::new(()).with_bypass(budget));
    let held = shared.by.lock();
    let waker = Arc::new(Reentrant { shared: Arc::clone(&shared), wakes: AtomicU32::new(0) });
    let mut head = Box::pin(shared.by.lock_async());
    let task = Waker::from(Arc::clone(&waker));
    assert!(head.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
    beside(
        &shared,
        &[|shared| {
            for _ in 0..2 {
                if let Some(_guard) = shared.by.try_lock() {
                    shared.data.write();
                }
            }
        }],
        |shared| {
            shared.data.write();
            drop(held);
        },
    );
    assert!(waker.wakes.load(Ordering::Relaxed) >= 1, "its turn came, and it was not woken");
    let guard = block_on(head.as_mut());
    shared.data.write();
    drop(guard);
    drop(head);
    assert!(shared.by.try_lock().is_some(), "nobody is in, and nobody waits");
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

pub fn models(suite: &mut Suite) {
    let about = About {
        model: "read-write/panicking-waker".to_owned(),
        claim: "a waker that panics costs nobody a turn, and the panic comes out",
        threads: 2,
        operations: "a writer leaves before a future whose waker panics; read awaited, twice",
        adversary: "a waker that panics",
    };
    suite.model(about, BUDGETS, TWO_THREADS, panicking);
    let about = About {
        model: "semaphore/panic-on-the-way-in".to_owned(),
        claim: "a waker that panics costs nobody a turn, and the panic comes out",
        threads: 2,
        operations: "1 given back, twice; a future before one whose waker panics, polled twice",
        adversary: "a waker that panics",
    };
    suite.model(about, BUDGETS, TWO_THREADS, panic_on_the_way_in);
    let about = About {
        model: "lock/reentrant-waker".to_owned(),
        claim: "a waker may come back into the lock that wakes it",
        threads: 2,
        operations: "unlock before a future whose waker locks; try_lock twice",
        adversary: "a waker that re-enters",
    };
    suite.model(about, BUDGETS, TWO_THREADS, reentrant);
}
