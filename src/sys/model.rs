//! Loom's versions, with two switches that loom lacks: loads that conflict with everything, and
//! orderings that can be weakened one at a time.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(crate) use loom::sync::Arc;
use loom::sync::Notify;

pub mod log;

use log::Deed;

/// Loom's threads share one of the system's. Its macro does not know the constants of std's.
macro_rules! per_thread {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $init:expr };)*) => {
        loom::thread_local! { $($(#[$attribute])* static $name: $type = $init;)* }
    };
}
pub(crate) use per_thread;

/// Without random keys: an execution must be repeatable.
pub(crate) type NameHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// So few that small models see what happens when there are more.
pub(crate) const WAKES_AT_ONCE: usize = 2;

// Loom runs all threads of a model on the one that checks it, so models that run beside each other
// have switches of their own.
thread_local! {
    static STRONG_LOADS: Cell<bool> = const { Cell::new(false) };
    static WEAKENED: Cell<Option<(&'static str, Ordering)>> = const { Cell::new(None) };
}

/// Whether loads are made as `fetch_or(0)`.
///
/// Loom 0.7's partial-order reduction remembers only the last access to an atomic, so a thread's
/// own load hides another thread's (loom#392, loom#166). A read-modify-write conflicts with every
/// access, so the reduction is complete for interleavings then; stale values are the business of
/// the other mode. Stores are made as `swap` along with it: loom does not know that nothing comes
/// between a read-modify-write's read and its write (loom#282), and would let a plain store be
/// undone by one that came before it.
pub fn strong_loads(on: bool) {
    STRONG_LOADS.set(on);
}

/// Whether they are.
pub fn loads_are_strong() -> bool {
    STRONG_LOADS.get()
}

/// Weakens the ordering of one named site (see `local/order.rs`), or of none.
pub fn weaken(site: Option<(&'static str, Ordering)>) {
    WEAKENED.set(site);
}

pub(crate) fn effective(site: &'static str, ordering: Ordering) -> Ordering {
    match WEAKENED.get() {
        Some((weakened, weaker)) if weakened == site => weaker,
        _ => ordering,
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty, $zero:literal) => {
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code, reason = "each type has the operations of them all")]
        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                let value = if STRONG_LOADS.get() {
                    self.0.fetch_or($zero, ordering)
                } else {
                    self.0.load(ordering)
                };
                log::access(value.into(), None);
                value
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                if STRONG_LOADS.get() {
                    self.0.swap(value, ordering);
                } else {
                    self.0.store(value, ordering);
                }
                log::access(value.into(), Some(value.into()));
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                let before = self.0.swap(value, ordering);
                log::access(before.into(), Some(value.into()));
                before
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let exchanged = self.0.compare_exchange_weak(current, new, success, failure);
                match exchanged {
                    Ok(before) => log::access(before.into(), Some(new.into())),
                    Err(now) => log::failed_exchange(now.into()),
                }
                exchanged
            }
        }
    };
}

atomic!(AtomicU8, u8, 0);
atomic!(AtomicU32, u32, 0);
atomic!(AtomicU64, u64, 0);

impl AtomicU64 {
    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        let before = self.0.fetch_add(value, ordering);
        log::access(before, Some(before.wrapping_add(value)));
        before
    }
}

/// Loom's cell, which also reports an access that comes after its end: loom does not track freed
/// memory.
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    #[track_caller]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }

    #[track_caller]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

impl<T> Drop for UnsafeCell<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.with_mut(|_| ());
        }
    }
}

/// Loom tells if what has one is never dropped.
pub(crate) struct Tracked {
    _track: loom::alloc::Track<()>,
}

impl Tracked {
    pub(crate) fn new() -> Self {
        Self { _track: loom::alloc::Track::new(()) }
    }
}

/// Sleeps on a `Notify` of its own. Loom's `unpark` is no branch point, and breaks the model when
/// its target sleeps elsewhere (loom#249); a `Notify` explores one spurious wake-up besides.
pub(crate) struct Parker(Arc<Notify>);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker(self.0.clone())
    }

    /// There is no time here: whoever has a deadline gives up as soon as it would sleep, so every
    /// interleaving of its leaving is explored.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        if deadline.is_none() {
            log::add(Deed::Sleep);
            self.0.wait();
            log::add(Deed::Awake);
        }
        deadline.is_none()
    }
}

pub(crate) struct Unparker(Arc<Notify>);

impl Unparker {
    pub(crate) fn unpark(self) {
        log::add(Deed::Wake);
        self.0.notify();
    }
}

/// A fruitless round of a spin loop changes nothing, so an execution with many of them adds nothing
/// to the one in which the other thread went first: from the third round on, the branch is given up.
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn wait(&mut self) {
        self.0 += 1;
        if self.0 == 3 {
            loom::skip_branch();
        }
        loom::thread::yield_now();
    }
}

/// Spinning before sleeping is a matter of speed alone; here everybody sleeps at once.
pub(crate) struct Spin<'a>(PhantomData<&'a Pace>);

impl<'a> Spin<'a> {
    pub(crate) fn blocking(_pace: &'a Pace, _deadline: Option<Instant>) -> Self {
        Self(PhantomData)
    }

    pub(crate) fn none() -> Self {
        Self(PhantomData)
    }

    pub(crate) fn again(&mut self) -> bool {
        false
    }

    pub(crate) fn entered(&self) {}
}

/// What spinning would learn from.
pub(crate) struct Pace;

impl Pace {
    pub(crate) fn new() -> Self {
        Self
    }
}

/// Time stands still.
pub(crate) fn wall_clock() -> u64 {
    0
}
