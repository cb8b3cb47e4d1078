//! How a sleeping thread or a pending task is woken, when waking may run anybody's code.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;
use std::{mem, thread};

use crate::sys::{Unparker, WAKES_AT_ONCE};

/// What wakes one waiter. Cloning, waking and dropping a waker is user code: it may panic, and it
/// may come back into the very lock, so none of it happens under QLOCK.
pub(crate) enum WakeHandle {
    Thread(Unparker),
    Task(Waker),
}

/// A handful of handles, taken under QLOCK and woken after it.
pub(crate) struct Batch {
    handles: [Option<WakeHandle>; Batch::CAPACITY],
    len: usize,
    panic: Option<Box<dyn Any + Send>>,
}

impl Batch {
    const CAPACITY: usize = WAKES_AT_ONCE;

    pub(crate) const fn new() -> Self {
        Self { handles: [const { None }; Self::CAPACITY], len: 0, panic: None }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// Room is the caller's business.
    pub(crate) fn push(&mut self, handle: WakeHandle) {
        self.handles[self.len] = Some(handle);
        self.len += 1;
    }

    /// Wakes them all, in turn. A panic in one keeps none of the others asleep.
    pub(crate) fn wake(&mut self) {
        for slot in 0..mem::take(&mut self.len) {
            match self.handles[slot].take() {
                Some(WakeHandle::Thread(thread)) => thread.unpark(),
                Some(WakeHandle::Task(waker)) => {
                    let woken = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
                    if let Err(payload) = woken {
                        self.keep(payload);
                    }
                }
                None => {}
            }
        }
    }

    /// The first panic is the one that is raised. A payload's own drop may panic in turn, so the
    /// others are leaked.
    fn keep(&mut self, payload: Box<dyn Any + Send>) {
        if self.panic.is_none() {
            self.panic = Some(payload);
        } else {
            mem::forget(payload);
        }
    }

    /// Goes on with the first panic that a waker raised, unless the thread unwinds already, which a
    /// second panic would turn into an abort.
    pub(crate) fn raise(self) {
        match self.panic {
            Some(payload) if thread::panicking() => mem::forget(payload),
            Some(payload) => panic::resume_unwind(payload),
            None => {}
        }
    }
}
