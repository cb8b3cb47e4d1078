//! The futures on several runtimes, alone and in the combinators that poll many at a time.
#![cfg(not(loom))]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_executor::Executor;
use futures::future::{Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use warded::{LocalLock, LocalSemaphore, ReadWriteLock, UpgradableGuard};

const TASKS: u32 = 8;
const ROUNDS: u32 = 200;

/// Passes the thread on once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// What all runtimes are to do: `TASKS` tasks that count together.
struct Work {
    lock: LocalLock<u32>,
    permits: LocalSemaphore,
    index: ReadWriteLock<u32>,
}

impl Work {
    fn new(budget: u16) -> Arc<Self> {
        Arc::new(Self {
            lock: LocalLock::new(0).with_bypass(budget),
            permits: LocalSemaphore::new(3).with_bypass(budget),
            index: ReadWriteLock::new(0).with_bypass(budget),
        })
    }

    async fn task(self: Arc<Self>, n: u32) {
        for round in 0..ROUNDS {
            {
                let mut guard = self.lock.lock_async().await;
                let before = *guard;
                yield_now().await;
                *guard = before + 1;
            }
            let permits = self.permits.permits_async(1 + (n + round) % 3).await.unwrap();
            yield_now().await;
            drop(permits);
            match (n + round) % 4 {
                0 => {
                    let mut guard = self.index.write_async().await;
                    let before = *guard;
                    yield_now().await;
                    *guard = before + 1;
                }
                1 => {
                    let looking = self.index.upgradable_async().await;
                    let before = *looking;
                    yield_now().await;
                    *UpgradableGuard::upgrade_async(looking).await = before + 1;
                }
                _ => {
                    let guard = self.index.read_async().await;
                    let before = *guard;
                    yield_now().await;
                    assert_eq!(*guard, before, "somebody wrote beside a reader");
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(*self.lock.try_lock().unwrap(), TASKS * ROUNDS);
        assert_eq!(self.permits.available_permits(), 3);
        assert_eq!(*self.index.try_write().unwrap(), TASKS * ROUNDS / 2);
    }
}

fn budgets() -> impl Iterator<Item = u16> {
    [0, 1, LocalLock::DEFAULT_BYPASS].into_iter()
}

#[test]
fn tokio_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    for budget in budgets() {
        let work = Work::new(budget);
        runtime.block_on(async {
            let tasks = (0..TASKS).map(|n| tokio::spawn(Arc::clone(&work).task(n)));
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        work.check();
    }
}

#[test]
fn tokio_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for budget in budgets() {
        let work = Work::new(budget);
        runtime.block_on(join_all((0..TASKS).map(|n| Arc::clone(&work).task(n))));
        work.check();
    }
}

#[test]
fn async_executor_on_threads() {
    for budget in budgets() {
        let work = Work::new(budget);
        let executor = Executor::new();
        let tasks: Vec<_> = (0..TASKS).map(|n| executor.spawn(Arc::clone(&work).task(n))).collect();
        std::thread::scope(|scope| {
            let (stop, stopped) = futures::channel::oneshot::channel::<()>();
            let stopped = futures::FutureExt::shared(stopped);
            for _ in 0..3 {
                let (executor, stopped) = (&executor, stopped.clone());
                scope.spawn(move || pollster::block_on(executor.run(stopped)));
            }
            pollster::block_on(join_all(tasks));
            stop.send(()).unwrap();
        });
        work.check();
    }
}

#[test]
fn pollster_on_threads() {
    for budget in budgets() {
        let work = Work::new(budget);
        std::thread::scope(|scope| {
            for n in 0..TASKS {
                let work = Arc::clone(&work);
                scope.spawn(move || pollster::block_on(work.task(n)));
            }
        });
        work.check();
    }
}

/// Tasks of two runtimes and threads that block, on the same locks.
#[test]
fn everybody_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for budget in budgets() {
        let lock = Arc::new(LocalLock::new(0).with_bypass(budget));
        let count = |lock: Arc<LocalLock<u32>>| async move {
            for _ in 0..ROUNDS {
                let mut guard = lock.lock_async().await;
                let before = *guard;
                yield_now().await;
                *guard = before + 1;
            }
        };
        let tasks: Vec<_> = (0..3).map(|_| runtime.spawn(count(Arc::clone(&lock)))).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pollster::block_on(count(Arc::clone(&lock))));
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        *lock.lock() += 1;
                    }
                });
            }
        });
        runtime.block_on(join_all(tasks));
        assert_eq!(*lock.lock(), 7 * ROUNDS);
    }
}

/// Hundreds of futures of one task, which are woken one by one and polled out of order.
fn unordered(run: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>)) {
    for budget in budgets() {
        let lock = Arc::new(LocalLock::new(0).with_bypass(budget));
        let semaphore = Arc::new(LocalSemaphore::new(5).with_bypass(budget));
        let (inner, permits) = (Arc::clone(&lock), Arc::clone(&semaphore));
        run(Box::pin(async move {
            let guard = inner.lock_owned_async().await;
            let mut futures = FuturesUnordered::new();
            for n in 0..300_u32 {
                let (lock, semaphore) = (Arc::clone(&inner), Arc::clone(&permits));
                futures.push(async move {
                    let _permits = semaphore.permits_async(1 + n % 5).await.unwrap();
                    *lock.lock_async().await += 1;
                });
            }
            // Polled, and nobody gets on, until the guard goes.
            let waits = select(futures.next(), Box::pin(yield_now())).await;
            assert!(matches!(waits, Either::Right(_)));
            drop(guard);
            while futures.next().await.is_some() {}
        }));
        assert_eq!(*lock.lock(), 300);
        assert_eq!(semaphore.available_permits(), 5);
    }
}

#[test]
fn futures_unordered_on_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    unordered(|future| runtime.block_on(runtime.spawn(future)).unwrap());
}

#[test]
fn futures_unordered_on_async_executor() {
    unordered(|future| {
        let executor = Executor::new();
        let task = executor.spawn(future);
        pollster::block_on(executor.run(task));
    });
}

#[test]
fn futures_unordered_on_pollster() {
    unordered(pollster::block_on);
}

/// `select` drops the loser, which has been called in about half of the races, and nothing is lost.
#[test]
fn losers_of_a_race() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_time().build();
    let runtime = runtime.unwrap();
    let (one, other) = (Arc::new(LocalLock::new(0_u32)), Arc::new(LocalLock::new(0_u32)));
    runtime.block_on(async {
        let tasks = (0..6).map(|_| {
            let (one, other) = (Arc::clone(&one), Arc::clone(&other));
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    tokio::select! {
                        mut guard = one.lock_async() => {
                            *guard += 1;
                            yield_now().await;
                        }
                        mut guard = other.lock_async() => {
                            *guard += 1;
                            yield_now().await;
                        }
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    assert_eq!(*one.try_lock().unwrap() + *other.try_lock().unwrap(), 6 * ROUNDS);
}

/// A runtime's time-out drops the future that waits; a task that is aborted likewise.
#[test]
fn time_outs_and_aborts() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lock = Arc::new(LocalLock::new(0));
        let guard = lock.lock_async().await;
        let wait = tokio::time::timeout(Duration::from_millis(5), lock.lock_async()).await;
        assert!(wait.is_err(), "it was locked all the time");
        let task = tokio::spawn({
            let lock = Arc::clone(&lock);
            async move { *lock.lock_async().await += 1 }
        });
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drop(guard);
        assert_eq!(*lock.try_lock().expect("nothing is left behind"), 0);
    });
}

#[test]
fn joined_in_one_task() {
    pollster::block_on(async {
        let lock = ReadWriteLock::new(0).with_bypass(0);
        let writer = lock.write_async().await;
        let readers = join_all((0..50).map(|_| async { *lock.read_async().await }));
        let release = async {
            yield_now().await;
            drop(writer);
        };
        let (read, ()) = futures::join!(readers, release);
        assert_eq!(read, [0; 50]);
    });
}
