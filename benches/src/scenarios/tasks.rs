//! Tasks that contend for one lock on tokio's multi-threaded runtime, with a worker for each core.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task;

use super::threads::{Stopwatch, work};
use crate::figures::{Round, Served};
use crate::rivals::{AsyncLock, Make};

/// What each task does, over and over.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// How many tasks.
    pub tasks: usize,
    /// Steps of work inside the lock.
    pub inside: u32,
    /// Steps of work between two sections.
    pub outside: u32,
    /// Whether it goes back to the runtime after each section, as one does that waits for input.
    /// Else it does so when the runtime's budget for it is spent.
    pub yields: bool,
}

/// Tasks that lock.
pub fn lock<L: AsyncLock>(crowd: &Crowd, make: Make, time: Duration) -> Round {
    let runtime = Builder::new_multi_thread().build().expect("threads can be had");
    let lock = Arc::new(L::make(make));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..crowd.tasks)
        .map(|_| runtime.spawn(locks_often(lock.clone(), *crowd, stop.clone())))
        .collect();
    thread::sleep(time);
    stop.store(true, Relaxed);
    let stopped = Instant::now();
    let served: Vec<_> =
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no section panics")).collect();
    Round::of(stopped, &served)
}

async fn locks_often<L: AsyncLock>(lock: Arc<L>, crowd: Crowd, stop: Arc<AtomicBool>) -> Served {
    let mut served = Served::begin(1);
    while !stop.load(Relaxed) {
        let stopwatch = Stopwatch::for_nth(served.sections);
        let waited = lock.with(|data| {
            let waited = stopwatch.read();
            *data = work(*data, crowd.inside);
            waited
        });
        if let Some(waited) = waited.await {
            served.waits.saturating_record(waited.as_nanos() as u64);
        }
        served.sections += 1;
        black_box(work(served.sections, crowd.outside));
        if crowd.yields {
            task::yield_now().await;
        } else {
            task::coop::consume_budget().await;
        }
    }
    served
}
