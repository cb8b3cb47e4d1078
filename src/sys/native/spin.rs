//! How a blocking waiter passes the short while in which it looks again before it sleeps.

use std::cell::Cell;
use std::hint;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::thread;
use std::time::Instant;

/// For how long waiters saw the permits taken before they entered, on the average of the last few:
/// what the next ones go by. It pairs with nothing: whatever value is seen is a good one.
pub(crate) struct Pace(AtomicU8);

impl Pace {
    /// What one step of the average stands for.
    const NANOS: u32 = 4;
    /// Above this, sections are long: what is free is worth a trip to the other processor.
    const LONG: u32 = 100 / Self::NANOS;

    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    fn is_long(&self) -> bool {
        u32::from(self.0.load(Relaxed)) > Self::LONG
    }

    /// The caller has just entered, so it has the cache line. An update that is lost to another
    /// does no harm.
    fn learn(&self, nanos: u32) {
        let sample = (nanos / Self::NANOS).min(u8::MAX.into());
        let average = (7 * u32::from(self.0.load(Relaxed)) + sample + 4) / 8;
        self.0.store(average as u8, Relaxed);
    }
}

thread_local! {
    /// How often in a row this thread waited and entered without offering its processor.
    static IN_A_ROW: Cell<u8> = const { Cell::new(0) };
}

/// Waiting in rounds: the thread offers its processor to whoever waits for it, who may be the
/// holder, and then looks again and again. All rounds take about as long as falling asleep and
/// being woken, after which it has lost at most as much as it could have won (A. Karlin et al.,
/// "Empirical studies of competitive spinning", SOSP 1991).
///
/// While sections are short, it is best to stand back at once: the holder goes through dozens of
/// them in the time that it takes to bring the lock to another processor. Where they are long, it is
/// best to look first, and often: two threads that pass the lock on, each on its processor, lose
/// only the way between them. So as not to keep others from running for a whole time slice, a
/// thread does that a few times in a row only. docs/performance.md has the measurements.
pub(crate) struct Spin<'a> {
    /// None: it does not spin.
    pace: Option<&'a Pace>,
    deadline: Option<Instant>,
    /// So many rounds may begin yet.
    rounds: u32,
    /// So many pauses are left of this one.
    left: u32,
    /// So many pauses it has made in this one.
    paused: u32,
    /// So many from one look to the next.
    step: u32,
}

impl<'a> Spin<'a> {
    const ROUNDS: u32 = 10;
    const ROUND_NANOS: u32 = 1500;
    /// From one look to the next where sections are short: each takes the cache line from the holder.
    const STEP_NANOS: u32 = 75;
    const IN_A_ROW: u8 = 16;

    /// A yield may last a time slice, so a deadline is looked at before each.
    pub(crate) fn blocking(pace: &'a Pace, deadline: Option<Instant>) -> Self {
        let pause = pause_nanos();
        let long = pace.is_long();
        let looks_first = long && in_a_row() < Self::IN_A_ROW;
        Self {
            pace: Some(pace),
            deadline,
            rounds: Self::ROUNDS,
            left: if looks_first { Self::ROUND_NANOS / pause } else { 0 },
            paused: 0,
            step: if long { 1 } else { Self::STEP_NANOS.div_ceil(pause) },
        }
    }

    /// A task must not keep its executor's thread.
    pub(crate) const fn none() -> Self {
        Self { pace: None, deadline: None, rounds: 0, left: 0, paused: 0, step: 1 }
    }

    /// Passes a little time; `false` when it is time to sleep instead.
    pub(crate) fn again(&mut self) -> bool {
        if self.left > 0 {
            (0..self.step).for_each(|_| hint::spin_loop());
            self.left = self.left.saturating_sub(self.step);
            self.paused += self.step;
            return true;
        }
        if self.rounds == 0 || self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.rounds = 0;
            return false;
        }
        self.rounds -= 1;
        self.left = Self::ROUND_NANOS / pause_nanos();
        self.paused = 0;
        thread::yield_now();
        true
    }

    /// The waiter has entered, without having slept.
    pub(crate) fn entered(&self) {
        let Some(pace) = self.pace else { return };
        pace.learn(self.paused * pause_nanos());
        let has_yielded = self.rounds < Self::ROUNDS;
        let count = if has_yielded { 0 } else { in_a_row().saturating_add(1) };
        let _ = IN_A_ROW.try_with(|in_a_row| in_a_row.set(count));
    }
}

/// A thread that ends may have no locals any more.
fn in_a_row() -> u8 {
    IN_A_ROW.try_with(Cell::get).unwrap_or(u8::MAX)
}

/// How long a pause takes: from a few nanoseconds to fifty, by the kind of processor.
fn pause_nanos() -> u32 {
    /// Measured once. 0: not yet.
    static NANOS: AtomicU32 = AtomicU32::new(0);

    #[cold]
    fn measure() -> u32 {
        const PAUSES: u32 = 50;
        // There is no clock.
        if cfg!(all(target_family = "wasm", target_os = "unknown")) {
            return 20;
        }
        let series = || {
            let began = Instant::now();
            (0..PAUSES).for_each(|_| hint::spin_loop());
            began.elapsed()
        };
        // A thread may lose its processor meanwhile, but not each time.
        let shortest = (0..4).map(|_| series()).min().unwrap_or_default();
        let nanos = (shortest / PAUSES).subsec_nanos().clamp(1, 200);
        NANOS.store(nanos, Relaxed);
        nanos
    }

    match NANOS.load(Relaxed) {
        0 => measure(),
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SHORT: u32 = 20;
    const LONG: u32 = 400;

    fn pace_of(nanos: u32) -> Pace {
        let pace = Pace::new();
        (0..50).for_each(|_| pace.learn(nanos));
        pace
    }

    /// Whether it looks before it yields.
    fn looks_first(spin: &mut Spin) -> bool {
        assert!(spin.again());
        spin.rounds == Spin::ROUNDS
    }

    #[test]
    fn only_where_sections_are_long_it_looks_first() {
        for (nanos, first) in [(SHORT, false), (LONG, true), (u32::MAX / 8, true)] {
            let pace = pace_of(nanos);
            assert_eq!(looks_first(&mut Spin::blocking(&pace, None)), first, "{nanos} ns");
        }
        let changed = pace_of(LONG);
        (0..50).for_each(|_| changed.learn(SHORT));
        assert!(!looks_first(&mut Spin::blocking(&changed, None)));
    }

    #[test]
    fn now_and_then_it_yields_first_all_the_same() {
        // On a thread of its own, for the count is the thread's.
        let test = || {
            let pace = pace_of(LONG);
            for _ in 0..3 {
                for _ in 0..Spin::IN_A_ROW {
                    let mut spin = Spin::blocking(&pace, None);
                    assert!(looks_first(&mut spin));
                    // As long as it takes to stay with long sections.
                    spin.paused = LONG / pause_nanos();
                    spin.entered();
                }
                let mut spin = Spin::blocking(&pace, None);
                assert!(!looks_first(&mut spin));
                spin.entered();
            }
        };
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn it_ends() {
        for nanos in [SHORT, LONG] {
            let pace = pace_of(nanos);
            let mut spin = Spin::blocking(&pace, None);
            while spin.again() {}
            assert!(!spin.again());
            let mut late = Spin::blocking(&pace, Some(Instant::now()));
            while late.again() {}
            assert_eq!(late.rounds, 0);
        }
        assert!(!Spin::none().again());
    }
}
