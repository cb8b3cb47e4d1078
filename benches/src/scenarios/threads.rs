//! Threads that contend for one primitive, for a while.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::figures::{Round, Served};
use crate::rivals::{Lock, Make, ReadWrite, Semaphore};

/// What each thread does, over and over.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many threads.
    pub threads: usize,
    /// Steps of work inside the lock, of two to three nanoseconds each.
    pub inside: u32,
    /// Steps of work between two sections.
    pub outside: u32,
    /// So many sections in a row without any work between them, and their work after that.
    pub burst: u32,
    /// How much longer than the others' the sections of the first thread are. It works inside only.
    pub hog: u32,
    /// Of 100 sections, so many write. Of no meaning where nobody reads.
    pub writes: u32,
}

/// One in so many acquisitions is timed, so that the clock does not slow the lock down.
const TIMED: u64 = 16;

/// The lock's bystanders stay out of its cache lines.
#[repr(align(128))]
struct Apart<T>(T);

/// Threads that lock.
pub fn lock<L: Lock>(load: &Load, make: Make, time: Duration) -> Round {
    let lock = Apart(L::make(make));
    run(load, time, |worker, stopwatch| {
        lock.0.with(|data| {
            let waited = stopwatch.read();
            *data = work(*data, worker.inside);
            waited
        })
    })
}

/// Threads that read and write.
pub fn read_write<L: ReadWrite>(load: &Load, make: Make, time: Duration) -> Round {
    let lock = Apart(L::make(make));
    run(load, time, |worker, stopwatch| {
        if worker.random() % 100 < u64::from(load.writes) {
            lock.0.write(|data| {
                let waited = stopwatch.read();
                *data = work(*data, worker.inside);
                waited
            })
        } else {
            lock.0.read(|data| {
                let waited = stopwatch.read();
                black_box(work(*data, worker.inside));
                waited
            })
        }
    })
}

/// Threads that share two permits.
pub fn semaphore<S: Semaphore>(load: &Load, make: Make, time: Duration) -> Round {
    let semaphore = Apart(S::make(2, make));
    run(load, time, |worker, stopwatch| {
        semaphore.0.with(|| {
            let waited = stopwatch.read();
            black_box(work(0, worker.inside));
            waited
        })
    })
}

/// A chain of multiplications, which no compiler shortens and no processor overlaps.
#[inline]
pub fn work(seed: u64, steps: u32) -> u64 {
    (0..steps).fold(seed, |x, _| black_box(x).wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 1)
}

/// Measures the wait, for the few acquisitions for which it runs.
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// Started for the `nth` acquisition, or not.
    #[inline]
    pub fn for_nth(nth: u64) -> Self {
        Self(nth.is_multiple_of(TIMED).then(Instant::now))
    }

    /// The time since it was started.
    #[inline]
    pub fn read(&self) -> Option<Duration> {
        self.0.map(|start| start.elapsed())
    }
}

/// A thread's own part.
struct Worker {
    inside: u32,
    seed: u64,
}

impl Worker {
    /// Marsaglia's xorshift, enough to mix reads and writes.
    #[inline]
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

/// Runs `section`, which tells how long it waited, on all threads until the time is over.
fn run(
    load: &Load,
    time: Duration,
    section: impl Fn(&mut Worker, Stopwatch) -> Option<Duration> + Sync,
) -> Round {
    let stop = Apart(AtomicBool::new(false));
    let start = Barrier::new(load.threads + 1);
    let thread = |number: usize| {
        let hogs = load.hog > 1 && number == 0;
        let weight = if hogs { load.hog } else { 1 };
        let outside = if hogs { 0 } else { load.outside * load.burst };
        let seed = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1);
        let mut worker = Worker { inside: load.inside * weight, seed };
        start.wait();
        let mut served = Served::begin(weight);
        while !stop.0.load(Relaxed) {
            if let Some(waited) = section(&mut worker, Stopwatch::for_nth(served.sections)) {
                served.waits.saturating_record(waited.as_nanos() as u64);
            }
            served.sections += 1;
            if served.sections.is_multiple_of(u64::from(load.burst)) {
                black_box(work(served.sections, outside));
            }
        }
        served
    };
    thread::scope(|scope| {
        let thread = &thread;
        let threads: Vec<_> =
            (0..load.threads).map(|number| scope.spawn(move || thread(number))).collect();
        start.wait();
        thread::sleep(time);
        stop.0.store(true, Relaxed);
        let stopped = Instant::now();
        let served: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("no section panics")).collect();
        Round::of(stopped, &served)
    })
}
