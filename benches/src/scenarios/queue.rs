//! A great many waiters at one primitive: what each of them costs when they are woken, give up, or
//! start together.
//!
//! They are futures that this thread polls itself, so no executor is measured. Only the process.s own
//! processor time counts: a turn is long enough to be interrupted, and nothing in it waits.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use cpu_time::ProcessTime;

use crate::rivals::{AsyncLock, AsyncReadWrite, Make};

/// The lock is released, and each waiter in turn enters and releases. Nanoseconds for each.
pub fn wake<L: AsyncLock>(waiters: usize) -> f64 {
    let lock = L::make(Make::default());
    let mut queue = Queue((0..waiters).map(|_| Box::pin(lock.with(drop_number)) as _).collect());
    let released = pollster::block_on(lock.with(|_| {
        queue.fill();
        ProcessTime::now()
    }));
    queue.drain();
    per_waiter(released, waiters)
}

/// All waiters give up, in no order, while the lock is held. Nanoseconds for each.
pub fn cancel<L: AsyncLock>(waiters: usize) -> f64 {
    let lock = L::make(Make::default());
    let mut queue = Queue((0..waiters).map(|_| Box::pin(lock.with(drop_number)) as _).collect());
    pollster::block_on(lock.with(|_| {
        queue.fill();
        queue.shuffle();
        let began = ProcessTime::now();
        queue.0.clear();
        per_waiter(began, waiters)
    }))
}

/// The writer releases, and the readers behind it start. Nanoseconds for each.
pub fn readers<L: AsyncReadWrite>(waiters: usize) -> f64 {
    let lock = L::make(Make::default());
    let mut queue = Queue((0..waiters).map(|_| Box::pin(lock.read(|_| ())) as _).collect());
    let released = pollster::block_on(lock.write(|_| {
        queue.fill();
        ProcessTime::now()
    }));
    queue.drain();
    per_waiter(released, waiters)
}

fn drop_number(_: &mut u64) {}

fn per_waiter(began: ProcessTime, waiters: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e9 / waiters as f64
}

/// Futures in the order in which they wait.
struct Queue<'a>(Vec<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>);

impl Queue<'_> {
    /// All begin to wait.
    fn fill(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for waiter in &mut self.0 {
            assert!(waiter.as_mut().poll(&mut context).is_pending(), "the lock is held");
        }
    }

    /// All enter. Once through suffices where the order of arrival counts.
    fn drain(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut finished = vec![false; self.0.len()];
        while finished.contains(&false) {
            for (waiter, finished) in self.0.iter_mut().zip(&mut finished) {
                *finished = *finished || waiter.as_mut().poll(&mut context) == Poll::Ready(());
            }
        }
    }

    /// A fixed order that has nothing to do with that of arrival.
    fn shuffle(&mut self) {
        let mut random = 1_u64;
        for place in (1..self.0.len()).rev() {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.0.swap(place, (random >> 33) as usize % (place + 1));
        }
    }
}
