//! The real thing: std's atomics and parking.

use std::hint;
use std::sync::atomic::Ordering;
use std::thread::{self, Thread};
use std::time::Instant;

pub(crate) use std::hash::RandomState as NameHasher;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
pub(crate) use std::thread_local as per_thread;

/// How many waiters are taken out of one hold of the list lock before they are woken.
pub(crate) const WAKES_AT_ONCE: usize = 8;

/// The ordering that a named site uses. Loom's side can weaken one.
#[inline(always)]
pub(crate) const fn effective(_site: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

/// [`std::cell::UnsafeCell`] with loom's interface.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Nothing. Loom's side tells if what has one is never dropped.
pub(crate) struct Tracked;

impl Tracked {
    pub(crate) const fn new() -> Self {
        Self
    }
}

/// Puts the thread that made it to sleep.
pub(crate) struct Parker(Thread);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(thread::current())
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker(self.0.clone())
    }

    /// Sleeps until unparked, until the deadline, or for no reason at all. `false`: the deadline had
    /// passed before the call, and it did not sleep.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            thread::park();
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
        !left.is_zero()
    }
}

/// Wakes the thread of a [`Parker`], now or, if it does not sleep yet, when it is about to.
pub(crate) struct Unparker(Thread);

impl Unparker {
    pub(crate) fn unpark(self) {
        self.0.unpark();
    }
}

/// Waiting for whoever edits the wait list, which takes a few instructions, unless its thread lost
/// the processor in between.
pub(crate) struct Backoff(u32);

impl Backoff {
    const SPINS: u32 = 6;

    pub(crate) const fn new() -> Self {
        Self(0)
    }

    pub(crate) fn wait(&mut self) {
        if self.0 < Self::SPINS {
            self.0 += 1;
            (0..1 << self.0).for_each(|_| hint::spin_loop());
        } else {
            thread::yield_now();
        }
    }
}

/// The short while in which a blocking waiter looks again before it sleeps.
///
/// In rounds: it offers its processor to whoever waits for it, who may be the holder, and then looks
/// as often as it can, since a busy lock is free for a fraction of a microsecond only. All rounds
/// take about as long as falling asleep and being woken, after which it has lost at most as much as
/// it could have won (A. Karlin et al., "Empirical studies of competitive spinning", SOSP 1991).
/// docs/performance.md has the measurements.
pub(crate) struct Spin {
    left: u32,
    deadline: Option<Instant>,
}

impl Spin {
    const ROUNDS: u32 = 10;
    const LOOKS: u32 = 20;
    const PAUSES: u32 = 4;

    /// A yield may last a time slice, so a deadline is looked at before each.
    pub(crate) const fn blocking(deadline: Option<Instant>) -> Self {
        Self { left: Self::ROUNDS * Self::LOOKS, deadline }
    }

    /// A task must not keep its executor's thread.
    pub(crate) const fn none() -> Self {
        Self { left: 0, deadline: None }
    }

    /// Passes a little time; `false` when it is time to sleep instead.
    pub(crate) fn again(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        if !self.left.is_multiple_of(Self::LOOKS) {
            (0..Self::PAUSES).for_each(|_| hint::spin_loop());
        } else if self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            thread::yield_now();
        } else {
            self.left = 0;
            return false;
        }
        self.left -= 1;
        true
    }
}

/// The wall clock, in nanoseconds since 1970, for people to read.
///
/// Linux has one for a sixth of the price that knows the time as of the last tick. A look at the
/// exact one takes as long as seven atomic operations, and an uncontended lock needs four.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
pub(crate) fn wall_clock() -> u64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    // SAFETY: as POSIX declares it, for the layout above.
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const REALTIME_COARSE: i32 = 5;

    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: std links the C library, whose `timespec` is two 64-bit integers on these targets.
    // Where the clock is not there, the time stays 1970.
    unsafe { clock_gettime(REALTIME_COARSE, &raw mut time) };
    (time.seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds as u64)
}

/// The wall clock, in nanoseconds since 1970, for people to read.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn wall_clock() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
