//! A cache that many read and few write, under a read-write lock.
//!
//! What is missing is computed by whoever misses it first, while the others go on reading: an
//! upgradable read looks again, computes, becomes the writer, and goes back to reading. A lock that
//! let a writer in beside others would lose an entry, or compute one twice.

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use warded::{ReadWriteLock, UpgradableGuard, WriteGuard};

use crate::measure::{Outcome, Run, Waits};

const THREADS: usize = 8;
const NUMBERS: u64 = 512;
const FIRST: u64 = 1_000_000_000;

/// One operation in so many throws an entry out.
const EVICTION: u64 = 500;

/// A number and its largest prime factor.
type Factors = HashMap<u64, u64>;

pub fn tour() -> Vec<Outcome> {
    vec![look_up::<ReadWriteLock<Factors>>(), look_up::<RwLock<Factors>>()]
}

/// A lock around the cache.
trait Cache: Sync {
    const LOCK: &'static str;

    fn empty() -> Self;
    fn read<R>(&self, look: impl FnOnce(&Factors) -> R) -> R;
    /// Writes the entry if it is still missing; tells it, and whether it had to be computed.
    fn fill(&self, number: u64, entered: impl FnOnce()) -> (u64, bool);
    fn write<R>(&self, change: impl FnOnce(&mut Factors) -> R) -> R;
}

impl Cache for ReadWriteLock<Factors> {
    const LOCK: &'static str = "warded ReadWriteLock";

    fn empty() -> Self {
        Self::default()
    }

    fn read<R>(&self, look: impl FnOnce(&Factors) -> R) -> R {
        look(&self.read())
    }

    fn fill(&self, number: u64, entered: impl FnOnce()) -> (u64, bool) {
        let looking = self.upgradable();
        entered();
        if let Some(&factor) = looking.get(&number) {
            return (factor, false); // somebody was quicker
        }
        let factor = largest_prime_factor(number); // others read meanwhile
        let mut writing = UpgradableGuard::upgrade(looking);
        writing.insert(number, factor);
        let reading = WriteGuard::downgrade(writing);
        (reading[&number], true) // no other writer has been in between
    }

    fn write<R>(&self, change: impl FnOnce(&mut Factors) -> R) -> R {
        change(&mut self.write())
    }
}

impl Cache for RwLock<Factors> {
    const LOCK: &'static str = "std RwLock";

    fn empty() -> Self {
        Self::default()
    }

    fn read<R>(&self, look: impl FnOnce(&Factors) -> R) -> R {
        look(&self.read().expect("no holder panics"))
    }

    /// std has no upgradable read: nobody reads while this computes.
    fn fill(&self, number: u64, entered: impl FnOnce()) -> (u64, bool) {
        let mut writing = self.write().expect("no holder panics");
        entered();
        if let Some(&factor) = writing.get(&number) {
            return (factor, false);
        }
        let factor = largest_prime_factor(number);
        writing.insert(number, factor);
        (factor, true)
    }

    fn write<R>(&self, change: impl FnOnce(&mut Factors) -> R) -> R {
        change(&mut self.write().expect("no holder panics"))
    }
}

fn largest_prime_factor(mut number: u64) -> u64 {
    let mut largest = 1;
    let mut divisor = 2;
    while divisor * divisor <= number {
        while number.is_multiple_of(divisor) {
            (number, largest) = (number / divisor, divisor);
        }
        divisor += 1;
    }
    largest.max(number)
}

/// What the threads saw, beside their waits.
#[derive(Default)]
struct Sightings {
    answers: AtomicU64,
    wrong: AtomicU64,
    computed: AtomicU64,
    evicted: AtomicU64,
}

fn look_up<C: Cache>() -> Outcome {
    let work = "cache";
    let right: Vec<u64> = (FIRST..FIRST + NUMBERS).map(largest_prime_factor).collect();
    let run = Run::new();
    let cache = C::empty();
    let seen = Sightings::default();

    let mut waits = Waits::default();
    let took = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| reader(&run, &cache, &right, &seen))).collect();
        let took = run.watch(work, C::LOCK);
        for thread in threads {
            waits.merge(thread.join().expect("no reader panics"));
        }
        took
    });

    let checked = seen.check(cache.read(HashMap::len) as u64);
    Outcome { work, lock: C::LOCK, waits, took, checked }
}

fn reader(run: &Run, cache: &impl Cache, right: &[u64], seen: &Sightings) -> Waits {
    let mut waits = Waits::default();
    let (mut answers, mut wrong) = (0, 0);
    while run.goes_on() {
        let index = fastrand::u64(..NUMBERS);
        let number = FIRST + index;
        if fastrand::u64(..EVICTION) == 0 {
            let arrival = run.arrive();
            let evicted = cache.write(|factors| {
                run.enter(&arrival, &mut waits);
                factors.remove(&number).is_some()
            });
            seen.evicted.fetch_add(evicted.into(), Ordering::Relaxed);
            continue;
        }
        let arrival = run.arrive();
        let cached = cache.read(|factors| {
            run.enter(&arrival, &mut waits);
            factors.get(&number).copied()
        });
        let factor = cached.unwrap_or_else(|| {
            let arrival = run.arrive();
            let (factor, computed) = cache.fill(number, || run.enter(&arrival, &mut waits));
            seen.computed.fetch_add(computed.into(), Ordering::Relaxed);
            factor
        });
        answers += 1;
        wrong += u64::from(factor != right[index as usize]);
    }
    seen.answers.fetch_add(answers, Ordering::Relaxed);
    seen.wrong.fetch_add(wrong, Ordering::Relaxed);
    waits
}

impl Sightings {
    /// Every answer was right, and every entry that was computed is there or was thrown out.
    fn check(self, left: u64) -> Result<String, String> {
        let [answers, wrong, computed, evicted] =
            [self.answers, self.wrong, self.computed, self.evicted].map(AtomicU64::into_inner);
        if wrong > 0 || computed != evicted + left {
            return Err(format!(
                "{wrong} of {answers} answers are wrong; {computed} entries computed, but \
                 {evicted} thrown out and {left} left"
            ));
        }
        Ok(format!(
            "{answers} right answers; {computed} entries computed, {evicted} thrown out, {left} left"
        ))
    }
}
