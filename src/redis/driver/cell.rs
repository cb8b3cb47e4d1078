//! What a guard and the driver share about one hold.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::clock;
use super::outside::contain;
use crate::redis::error::Loss;
use crate::redis::lease::Moment;

type Callback = Box<dyn FnOnce(Loss) + Send>;

#[derive(Default)]
struct Watch {
    loss: Option<Loss>,
    /// Who waits for a loss, by the number of the future.
    wakers: Vec<(u64, Waker)>,
    callbacks: Vec<Callback>,
    last_future: u64,
}

/// The state of one hold.
pub(crate) struct Cell {
    /// Zero from the loss or the release on, for ever.
    valid_until: AtomicU64,
    watch: Mutex<Watch>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("valid_until", &self.valid_until).finish_non_exhaustive()
    }
}

impl Cell {
    pub(crate) fn new(valid_until: Moment) -> Self {
        Self { valid_until: AtomicU64::new(valid_until.0), watch: Mutex::default() }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the holder may believe that it holds.
    pub(crate) fn valid_until(&self) -> Moment {
        // Relaxed: the number is all there is to know; what is protected by the lock is in another
        // process and does not travel through this memory.
        Moment(self.valid_until.load(Ordering::Relaxed))
    }

    pub(crate) fn is_valid(&self) -> bool {
        clock::now() < self.valid_until()
    }

    /// The driver learned of another end. Comes too late after [`end`](Self::end).
    pub(crate) fn set_valid_until(&self, until: Moment) {
        let change = |old| if old == 0 { None } else { Some(until.0) };
        let _ = self.valid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// The holder has given the lock up.
    pub(crate) fn end(&self) {
        self.valid_until.store(0, Ordering::Relaxed);
    }

    /// The lock is lost: everybody who wants to know is told.
    pub(crate) fn lose(&self, loss: Loss) {
        self.end();
        let mut watch = self.watch();
        watch.loss.get_or_insert(loss);
        let wakers = mem::take(&mut watch.wakers);
        let callbacks = mem::take(&mut watch.callbacks);
        drop(watch);
        for (_, waker) in wakers {
            contain(|| waker.wake());
        }
        if !callbacks.is_empty() {
            // Not on the driver's thread: what a callback does may wait for the driver. A panic in
            // one keeps none of the others from being called.
            let call = move |callback: Callback| contain(|| callback(loss));
            let run = move || callbacks.into_iter().for_each(call);
            let thread = thread::Builder::new().name("warded-on-lost".to_owned());
            // Without a thread there is nobody left who could call; `lost` and `is_valid` tell.
            contain(|| drop(thread.spawn(run)));
        }
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        self.watch().loss
    }

    /// Calls back at the loss, or now if that was before.
    pub(crate) fn on_lost(&self, callback: Callback) {
        let mut watch = self.watch();
        match watch.loss {
            None => watch.callbacks.push(callback),
            Some(loss) => {
                drop(watch);
                callback(loss);
            }
        }
    }

    /// A number for a future that waits for the loss.
    pub(crate) fn join(&self) -> u64 {
        let mut watch = self.watch();
        watch.last_future += 1;
        watch.last_future
    }

    pub(crate) fn poll_lost(&self, future: u64, cx: &Context<'_>) -> Poll<Loss> {
        // Cloning and dropping a waker is somebody's code: it runs before the lock is taken, and
        // after it is freed, which is in the reverse order of these two.
        let mut waker = cx.waker().clone();
        let mut watch = self.watch();
        if let Some(loss) = watch.loss {
            return Poll::Ready(loss);
        }
        match watch.wakers.iter_mut().find(|(number, _)| *number == future) {
            Some((_, known)) => mem::swap(known, &mut waker),
            None => watch.wakers.push((future, waker)),
        }
        Poll::Pending
    }

    pub(crate) fn leave(&self, future: u64) {
        let mut watch = self.watch();
        let place = watch.wakers.iter().position(|(number, _)| *number == future);
        let left = place.map(|place| watch.wakers.swap_remove(place));
        drop(watch);
        // Somebody's code.
        drop(left);
    }
}
