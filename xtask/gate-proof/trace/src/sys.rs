//! In the place of the engine's `sys`: every access is one step under a global mutex, and is written
//! down; threads are made to lose the processor, compare-and-swaps to fail and sleepers to wake for
//! no reason.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{self, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

/// So few that full batches are common.
pub(crate) const WAKES_AT_ONCE: usize = 2;

/// Who, what, and two values.
pub(crate) static LOG: Mutex<Vec<(usize, &'static str, u64, u64)>> = Mutex::new(Vec::new());

thread_local! {
    static ME: Cell<usize> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = const { Cell::new(1) };
}

pub(crate) fn begin(me: usize, seed: u64) {
    ME.set(me);
    RANDOM.set((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (me as u64 + 1));
    for _ in 0..8 {
        random(2);
    }
}

/// Less than `n`.
pub(crate) fn random(n: u64) -> u64 {
    let mut x = RANDOM.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    RANDOM.set(x);
    (x >> 11) % n
}

fn step<R>(access: impl FnOnce() -> (R, &'static str, u64, u64)) -> R {
    match random(8) {
        0 | 1 => thread::yield_now(),
        2 => (0..random(200)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
    let mut log = LOG.lock().unwrap();
    let (result, what, a, b) = access();
    log.push((ME.get(), what, a, b));
    result
}

/// Something that the model must know and that is no access.
pub(crate) fn mark(what: &'static str, value: u64) {
    step(|| ((), what, value, 0));
}

pub(crate) const fn effective(_site: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

macro_rules! const_unless_loom {
    ($($function:tt)*) => { $($function)* };
}
pub(crate) use const_unless_loom;

/// The word.
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, _: Ordering) -> u64 {
        step(|| {
            let word = self.0.load(Ordering::SeqCst);
            (word, "load", word, 0)
        })
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        current: u64,
        new: u64,
        _: Ordering,
        _: Ordering,
    ) -> Result<u64, u64> {
        let fails = random(10) == 0;
        step(|| {
            let word = self.0.load(Ordering::SeqCst);
            if fails || word != current {
                return (Err(word), "miss", word, 0);
            }
            self.0.store(new, Ordering::SeqCst);
            (Ok(word), "change", word, new)
        })
    }

    pub(crate) fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
        step(|| {
            let word = self.0.fetch_add(value, Ordering::SeqCst);
            (word, "change", word, word + value)
        })
    }
}

/// `due` or the maximum: their addresses tell.
pub(crate) struct AtomicU32(atomic::AtomicU32);

impl AtomicU32 {
    pub(crate) const fn new(value: u32) -> Self {
        Self(atomic::AtomicU32::new(value))
    }

    pub(crate) fn load(&self, _: Ordering) -> u32 {
        step(|| {
            let value = self.0.load(Ordering::SeqCst);
            (value, "read", value.into(), std::ptr::from_ref(self).addr() as u64)
        })
    }

    pub(crate) fn store(&self, value: u32, _: Ordering) {
        step(|| {
            self.0.store(value, Ordering::SeqCst);
            ((), "write", value.into(), std::ptr::from_ref(self).addr() as u64)
        });
    }
}

/// A node's state.
pub(crate) struct AtomicU8(atomic::AtomicU8);

impl AtomicU8 {
    pub(crate) const fn new(value: u8) -> Self {
        Self(atomic::AtomicU8::new(value))
    }

    pub(crate) fn load(&self, _: Ordering) -> u8 {
        step(|| {
            let value = self.0.load(Ordering::SeqCst);
            (value, "look", value.into(), std::ptr::from_ref(self).addr() as u64)
        })
    }

    pub(crate) fn store(&self, value: u8, _: Ordering) {
        step(|| {
            self.0.store(value, Ordering::SeqCst);
            ((), "set", value.into(), std::ptr::from_ref(self).addr() as u64)
        });
    }
}

pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

pub(crate) struct Parker(Thread);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(thread::current())
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker(self.0.clone())
    }

    /// Whoever has a deadline finds it over sometimes. No clock is looked at.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        if deadline.is_some() && random(3) == 0 {
            mark("cancel", 0);
            return false;
        }
        if random(4) == 0 || deadline.is_some() {
            thread::yield_now();
        } else {
            thread::park();
        }
        true
    }
}

pub(crate) struct Unparker(Thread);

impl Unparker {
    pub(crate) fn unpark(self) {
        mark("wake", 0);
        self.0.unpark();
    }
}

pub(crate) struct Backoff;

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) fn wait(&mut self) {
        thread::yield_now();
    }
}

pub(crate) struct Pace;

impl Pace {
    pub(crate) const fn new() -> Self {
        Self
    }
}

pub(crate) struct Spin<'a> {
    pace: Option<&'a Pace>,
}

impl<'a> Spin<'a> {
    pub(crate) const fn blocking(pace: &'a Pace, _deadline: Option<Instant>) -> Self {
        Self { pace: Some(pace) }
    }

    pub(crate) const fn none() -> Self {
        Self { pace: None }
    }

    pub(crate) fn again(&mut self) -> bool {
        self.pace.is_some() && random(3) == 0
    }

    pub(crate) fn entered(&self) {}
}
