//! What models are made of.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::thread;
pub use warded::model::log::step;

/// Data under a lock. Loom reports two accesses that are not ordered by it.
pub struct Data(UnsafeCell<u32>);

// SAFETY: loom's cell checks each access itself; that is what the models are for.
unsafe impl Sync for Data {}

impl Data {
    pub fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    pub fn write(&self) {
        step("writes the data");
        // SAFETY: loom's cell would report an access beside this one.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    pub fn read(&self) -> u32 {
        step("reads the data");
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}

/// Something shared, with data that it protects.
pub struct Protected<P> {
    pub by: P,
    pub data: Data,
}

impl<P> Protected<P> {
    pub fn new(by: P) -> Arc<Self> {
        // Not loom's Arc, whose counting would be explored too: the main thread outlives the others.
        Arc::new(Self { by, data: Data::new() })
    }
}

/// Runs each of `others` on a thread of its own beside `main`, and waits for all.
pub fn beside<S: Send + Sync + 'static>(shared: &Arc<S>, others: &[fn(&S)], main: impl FnOnce(&S)) {
    let others: Vec<_> = others
        .iter()
        .map(|&other| {
            let shared = Arc::clone(shared);
            thread::spawn(move || other(&shared))
        })
        .collect();
    main(shared);
    for other in others {
        other.join().expect("a model's threads do not panic");
    }
}

/// The same twice: what the first time leaves behind meets the second.
pub fn twice<S>(shared: &S, once: impl Fn(&S)) {
    once(shared);
    once(shared);
}

/// A timeout that will never do for a sleeper: under loom whoever has one gives up as soon as it
/// would sleep.
pub fn soon() -> Duration {
    Duration::from_secs(3600)
}

/// Drives `future` to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    loom::future::block_on(future)
}

/// Polls `future` once, with a waker that wakes nobody.
pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls `future` once, with that waker.
pub fn poll_with<F: Future + ?Sized>(
    future: Pin<&mut F>,
    waker: &Arc<CountingWaker>,
) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
}

/// Counts how often it is woken.
pub struct CountingWaker(AtomicU32);

impl CountingWaker {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(0)))
    }

    pub fn wakes(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls `future` once and drops it: a task that is cancelled.
pub fn poll_and_drop<F: Future>(future: F) -> Option<F::Output> {
    match poll(pin!(future)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
