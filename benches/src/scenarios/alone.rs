//! One thread at one primitive: what a pair of calls costs when nobody is in the way.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cpu_time::ThreadTime;

use crate::rivals::{AsyncLock, Lock, Make, ReadWrite, Semaphore};

/// So that no rival has the luck of a better place in its cache line.
#[repr(align(128))]
struct Aligned<T>(T);

/// Nanoseconds for each of `pairs` of lock and unlock.
pub fn lock<L: Lock>(pairs: u64) -> f64 {
    let lock = Aligned(L::make(Make::default()));
    timed(pairs, || black_box(&lock.0).with(|data| *data += 1))
}

/// Nanoseconds for each of `pairs` of read and unlock.
pub fn read<L: ReadWrite>(pairs: u64) -> f64 {
    let lock = Aligned(L::make(Make::default()));
    timed(pairs, || {
        black_box(black_box(&lock.0).read(|data| *data));
    })
}

/// Nanoseconds for each of `pairs` of write and unlock.
pub fn write<L: ReadWrite>(pairs: u64) -> f64 {
    let lock = Aligned(L::make(Make::default()));
    timed(pairs, || black_box(&lock.0).write(|data| *data += 1))
}

/// Nanoseconds for each of `pairs` of permit and release.
pub fn permit<S: Semaphore>(pairs: u64) -> f64 {
    let semaphore = Aligned(S::make(2, Make::default()));
    timed(pairs, || black_box(&semaphore.0).with(|| ()))
}

/// Nanoseconds for each of `pairs` of a lock's future, ready when it is first polled, and unlock.
pub fn lock_async<L: AsyncLock>(pairs: u64) -> f64 {
    let lock = Aligned(L::make(Make::default()));
    let mut context = Context::from_waker(Waker::noop());
    timed(pairs, || {
        let locked = pin!(black_box(&lock.0).with(|data| *data += 1));
        assert_eq!(locked.poll(&mut context), Poll::Ready(()), "nobody else is here");
    })
}

/// By the thread's own processor time: nothing here waits, and whoever interrupts it is no part of it.
#[inline(always)]
fn timed(pairs: u64, mut pair: impl FnMut()) -> f64 {
    let began = ThreadTime::now();
    for _ in 0..pairs {
        pair();
    }
    began.elapsed().as_secs_f64() * 1e9 / pairs as f64
}
