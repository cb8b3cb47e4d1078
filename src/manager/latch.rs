//! The lock of a shard: held for a look into a table, and safe to free by whoever takes it next.

use std::sync::atomic::Ordering::Relaxed;

use super::order;
use crate::sys::{AtomicU32, Backoff, UnsafeCell};

/// A lock that spins, and yields to others when that does not help.
///
/// A gate would not do here: its release looks at the word a second time, when the next holder may
/// have freed the memory. **Freeing the latch is its last access** (M5). It is held for a few
/// instructions, and for an allocation now and then; no user code runs under it.
pub(super) struct Latch<T> {
    taken: AtomicU32,
    data: UnsafeCell<T>,
}

// SAFETY: of all that share it, one at a time reaches the data, perhaps each on its own thread.
unsafe impl<T: Send> Sync for Latch<T> {}
// SAFETY: it owns its data.
unsafe impl<T: Send> Send for Latch<T> {}

impl<T> Latch<T> {
    pub(super) fn new(data: T) -> Self {
        Self { taken: AtomicU32::new(0), data: UnsafeCell::new(data) }
    }

    /// Shows the data to `look`, alone.
    #[inline]
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        let mut backoff = Backoff::new();
        let order = order::TAKE_LATCH.get();
        while self.taken.compare_exchange_weak(0, 1, order, Relaxed).is_err() {
            backoff.wait();
        }
        let _taken = Taken(&self.taken);
        self.data.with_mut(|data| {
            // SAFETY: the latch is taken, and freed after this.
            look(unsafe { &mut *data })
        })
    }
}

/// Freed on every way out.
struct Taken<'a>(&'a AtomicU32);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(0, order::FREE_LATCH.get());
    }
}
