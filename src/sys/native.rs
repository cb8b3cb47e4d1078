//! The real thing: std's atomics and parking.

use std::hint;
use std::sync::atomic::Ordering;
use std::thread::{self, Thread};
use std::time::Instant;

pub(crate) use std::hash::RandomState as NameHasher;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
pub(crate) use std::thread_local as per_thread;

mod spin;

pub(crate) use spin::{Pace, Spin};

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
