//! Where an answer meets the caller who waits for it, sync or async.
//!
//! A slot is filled once by the driver and emptied once by its caller. Whichever side goes away
//! first leaves a mark, under the slot's lock, so that a grant is never lost between them: either
//! the caller takes it, or somebody releases it.

use std::future::Future;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::cell::Cell;
use super::outside::contain;
use crate::redis::client::{Answer, Attempt, Event, HoldId};

/// An answer, with what belongs to a grant.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A hold of each name.
    Granted(Vec<Grant>),
    /// Anything but a grant.
    Other(Answer),
    /// The driver is gone.
    Gone,
}

/// A hold that somebody has to release.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) hold: HoldId,
    pub(crate) fence: u64,
    pub(crate) cell: Arc<Cell>,
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) generation: u64,
}

impl Grant {
    /// What becomes of it if nobody takes it.
    pub(crate) fn decline(self) -> Event {
        Event::decline(self.hold, self.generation)
    }
}

#[derive(Debug)]
enum State {
    Empty,
    Waiting(Waker),
    Full(Outcome),
    /// The caller is gone.
    Left,
}

#[derive(Debug)]
pub(crate) struct Slot(Mutex<State>);

impl Slot {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Empty)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver's answer, and whom to wake for it. Given back if nobody is there to take it.
    pub(crate) fn fill(&self, outcome: Outcome) -> Result<Option<Waker>, Outcome> {
        let mut state = self.state();
        match &*state {
            State::Left => return Err(outcome),
            State::Full(_) => return Ok(None),
            State::Empty | State::Waiting(_) => {}
        }
        match mem::replace(&mut *state, State::Full(outcome)) {
            State::Waiting(waker) => Ok(Some(waker)),
            State::Empty | State::Full(_) | State::Left => Ok(None),
        }
    }

    /// The caller's look.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        // Cloning and dropping a waker is somebody's code: it runs before and after the lock is held.
        let waiting = State::Waiting(cx.waker().clone());
        let mut state = self.state();
        let before = match &*state {
            State::Empty | State::Waiting(_) => mem::replace(&mut *state, waiting),
            State::Full(_) | State::Left => mem::replace(&mut *state, State::Left),
        };
        drop(state);
        match before {
            State::Full(outcome) => Poll::Ready(outcome),
            State::Left => Poll::Ready(Outcome::Gone),
            State::Empty | State::Waiting(_) => Poll::Pending,
        }
    }

    /// The caller leaves. What had been answered by then is given back.
    pub(crate) fn leave(&self) -> Option<Outcome> {
        // A statement of its own: the waker is dropped when the lock is free.
        let before = mem::replace(&mut *self.state(), State::Left);
        match before {
            State::Full(outcome) => Some(outcome),
            State::Empty | State::Waiting(_) | State::Left => None,
        }
    }
}

/// A slot that is to be filled. When that cannot be any more, its caller is told that the driver is
/// gone.
#[derive(Debug)]
pub(crate) struct Open(pub(crate) Arc<Slot>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Ok(Some(waker)) = self.0.fill(Outcome::Gone) {
            contain(|| waker.wake());
        }
    }
}

/// Waits for a future on this thread, whatever runtime the thread belongs to or none.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn unpark() -> Waker {
        Waker::from(Arc::new(Unpark(thread::current())))
    }
    thread_local! {
        static WAKER: Waker = unpark();
    }
    // A thread that ends, in whose locals guards are dropped, may have dropped this one before.
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| unpark());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // A wake-up that is left over from before is one more look, no more.
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic;
    use std::sync::mpsc;

    use super::*;

    /// Tells, when it is dropped, whether the slot's lock was free then: a waker may own anything,
    /// also what comes back to this slot.
    struct Looks(Arc<Slot>, mpsc::Sender<bool>);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.1.send(self.0.0.try_lock().is_ok()).unwrap();
        }
    }

    #[test]
    fn wakers_are_dropped_while_the_slot_is_free() {
        let ways: [fn(&Slot); 4] = [
            |slot| assert!(slot.poll(&Context::from_waker(Waker::noop())).is_pending()),
            |slot| assert!(slot.leave().is_none()),
            |slot| assert!(slot.fill(Outcome::Gone).is_ok()),
            |slot| {
                assert!(slot.leave().is_none());
                assert!(slot.fill(Outcome::Gone).is_err());
            },
        ];
        for way in ways {
            let (tell, told) = mpsc::channel();
            let slot = Slot::new();
            let waker = Waker::from(Arc::new(Looks(slot.clone(), tell)));
            assert!(slot.poll(&Context::from_waker(&waker)).is_pending());
            drop(waker);
            way(&slot);
            assert!(told.recv().unwrap(), "a waker was dropped under the lock");
        }
    }

    /// Waits when it is dropped, and tells whether that went well.
    struct Waits(mpsc::Sender<bool>);

    impl Drop for Waits {
        fn drop(&mut self) {
            let waited = panic::catch_unwind(|| wait(async {}));
            self.0.send(waited.is_ok()).unwrap();
        }
    }

    #[test]
    fn a_thread_that_ends_may_wait() {
        thread_local! {
            static LOCAL: RefCell<Option<Waits>> = const { RefCell::new(None) };
        }
        let (tell, told) = mpsc::channel();
        let ending = thread::spawn(move || {
            // The thread's locals are dropped in the reverse order of their first use.
            LOCAL.with(|local| *local.borrow_mut() = Some(Waits(tell)));
            wait(async {});
        });
        assert!(told.recv().unwrap());
        ending.join().unwrap();
    }
}
