//! Every way to wait, on real threads at once: what Miri and ThreadSanitizer watch.
//!
//! `threads ROUNDS` runs each scenario for so many rounds in each thread. Each checks its own result;
//! the tools find what no result shows: accesses that nothing orders, and memory that is gone.

use std::env;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use warded::{
    BaseLock, LocalLock, LocalSemaphore, LockManager, PermitError, ReadWriteLock, UpgradableGuard,
    Wait, WriteGuard,
};

const THREADS: u64 = 3;
const SOON: Duration = Duration::from_micros(50);

fn main() {
    let rounds = env::args().nth(1).and_then(|rounds| rounds.parse().ok()).expect("threads ROUNDS");
    lock(rounds);
    moved_future(rounds);
    semaphore(rounds);
    closed(rounds);
    readers(rounds);
    manager(rounds);
    println!("all scenarios passed, {rounds} rounds in each of {THREADS} threads");
}

/// Runs `work` in each round of each thread; it is told which round, counted through all threads.
fn everywhere(rounds: u64, work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || (0..rounds).for_each(|round| work(round * THREADS + number)));
        }
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polled once, and dropped if that was not enough.
fn cancelled<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn lock(rounds: u64) {
    let lock = Arc::new(LocalLock::new(0).with_bypass(1));
    let entered = AtomicU32::new(0);
    everywhere(rounds, |round| {
        let guard = match round % 5 {
            0 => Some(lock.lock()),
            1 => lock.try_lock(),
            2 => lock.try_lock_for(SOON),
            3 => Some(block_on(lock.lock_async())),
            _ => cancelled(lock.lock_async()),
        };
        if let Some(mut guard) = guard {
            *guard += 1;
            entered.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(*lock.lock(), entered.into_inner());
    // A guard ends on another thread.
    let mut guard = Arc::clone(&lock).lock_owned();
    thread::spawn(move || *guard += 1).join().expect("it does not panic");
}

/// First polled on one thread, and then on another.
fn moved_future(rounds: u64) {
    for _ in 0..rounds {
        let lock = Arc::new(LocalLock::new(0));
        let held = lock.lock();
        let mut future: Pin<Box<_>> = Box::pin(Arc::clone(&lock).lock_owned_async());
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let other = thread::spawn(move || *block_on(future) += 1);
        drop(held);
        other.join().expect("it does not panic");
        assert_eq!(*lock.lock(), 1);
    }
}

fn semaphore(rounds: u64) {
    let semaphore = LocalSemaphore::new(3).with_bypass(1);
    let inside = AtomicU32::new(0);
    everywhere(rounds, |round| {
        let permits = match round % 5 {
            0 => semaphore.permits(2).ok(),
            1 => semaphore.permit().ok(),
            2 => semaphore.try_permits_for(3, SOON).ok(),
            3 => block_on(semaphore.permits_async(3)).ok(),
            _ => cancelled(semaphore.permits_async(2)).and_then(Result::ok),
        };
        if let Some(permits) = permits {
            let count = permits.count();
            let most = 3 + THREADS as u32;
            assert!(inside.fetch_add(count, Relaxed) + count <= most, "more than there are");
            inside.fetch_sub(count, Relaxed);
        }
        if round % 7 == 0 {
            semaphore.add_permits(1).expect("a few are not too many");
            let permit = semaphore.permit().expect("it is not closed");
            permit.forget();
        }
    });
    assert_eq!(semaphore.available_permits(), semaphore.total_permits());
}

fn closed(rounds: u64) {
    for _ in 0..rounds {
        let semaphore = LocalSemaphore::new(1);
        thread::scope(|scope| {
            for _ in 1..THREADS {
                scope.spawn(|| {
                    while semaphore.permit().is_ok() {
                        thread::yield_now();
                    }
                });
            }
            semaphore.close();
        });
        assert_eq!(semaphore.try_permit().err(), Some(PermitError::Closed));
    }
}

fn readers(rounds: u64) {
    let lock = ReadWriteLock::new((0, 0)).with_bypass(1);
    let write = |both: &mut (u64, u64)| {
        both.0 += 1;
        both.1 += 1;
    };
    let read = |both: &(u64, u64)| assert_eq!(both.0, both.1, "a write came in between");
    everywhere(rounds, |round| match round % 8 {
        0 => read(&lock.read()),
        1 => write(&mut lock.write()),
        2 => read(&block_on(lock.read_async())),
        3 => drop(cancelled(lock.write_async()).map(|mut guard| write(&mut guard))),
        4 => {
            let looking = lock.upgradable();
            read(&looking);
            write(&mut UpgradableGuard::upgrade(looking));
        }
        5 => {
            let mut writing = lock.write();
            write(&mut writing);
            read(&WriteGuard::downgrade(writing));
        }
        6 => drop(lock.try_read_for(SOON).map(|guard| read(&guard))),
        _ => {
            let outer = lock.read();
            read(&lock.read_recursive());
            drop(outer);
        }
    });
    read(&lock.read());
}

fn manager(rounds: u64) {
    let locks = LockManager::builder().shards(1).build().expect("sound options");
    let get = |name| locks.get_lock(name).expect("a name");
    everywhere(rounds, |round| match round % 6 {
        0 => drop(get("a").lock_owned().expect("no deadlocks are looked for")),
        1 => drop(get("b").try_lock().expect("no deadlocks are looked for")),
        2 => {
            let order = if round % 4 == 0 { ["a", "b"] } else { ["b", "a"] };
            drop(locks.lock_all(&order, Wait::Forever).expect("no deadlocks are looked for"));
        }
        3 => {
            let lock = get("a");
            assert!(lock.acquire(Wait::Forever).expect("no deadlocks are looked for"));
            lock.release().expect("it is held");
        }
        4 => drop(cancelled(get("b").lock_owned_async())),
        _ => drop(locks.cleanup().expect("nothing fails here")),
    });
    assert_eq!(locks.len(), 0, "a name is left over");
}
