//! Random operations by real threads and tasks at once. Exclusion is watched by plain counters that
//! only exclusion protects, so that a data race is one for a sanitizer too; permits are counted.
#![cfg(not(loom))]

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use warded::{
    BaseLock, BaseReadWriteLock, BaseSemaphore, LocalLock, LocalSemaphore, LockGuard, PermitError,
    ReadWriteLock, UpgradableGuard, Wait, WriteGuard,
};

const THREADS: u64 = 6;
const ROUNDS: u32 = 3_000;
const BUDGETS: [u16; 4] = [0, 1, 5, LocalLock::DEFAULT_BYPASS];

/// A counter that nothing protects but whoever is inside.
#[derive(Default)]
struct Plain(UnsafeCell<u64>);

// SAFETY: the primitive under test lets in who reads and who writes; that it does is the test.
unsafe impl Sync for Plain {}

impl Plain {
    fn add(&self) {
        // SAFETY: the caller is in alone.
        unsafe { *self.0.get() += 1 };
    }

    fn get(&self) -> u64 {
        // SAFETY: the caller is in, and no writer beside it.
        unsafe { *self.0.get() }
    }
}

/// Runs `round` so often on each of many threads, and gives how often it said `true`.
fn on_threads(seed: u64, round: impl Fn(&mut Rng) -> bool + Sync) -> u64 {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let round = &round;
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed * THREADS + n);
                    (0..ROUNDS).filter(|_| round(&mut rng)).count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn soon(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.u64(0..100))
}

/// Polls a few times, and gives up: `None` if it was not ready by then.
fn impatient<T>(future: impl Future<Output = T>, rng: &mut Rng) -> Option<T> {
    let mut polls = rng.u32(1..4);
    let mut future = std::pin::pin!(future);
    pollster::block_on(std::future::poll_fn(|cx| {
        polls -= 1;
        match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending if polls == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
        }
    }))
}

#[test]
fn lock() {
    for budget in BUDGETS {
        let lock = Arc::new(LocalLock::new(()).with_bypass(budget));
        let plain = Plain::default();
        let entered = on_threads(budget.into(), |rng| match rng.u32(0..8) {
            0 => {
                let _guard = lock.lock();
                plain.add();
                true
            }
            1 => lock.try_lock().map(|_guard| plain.add()).is_some(),
            2 => lock.try_lock_for(soon(rng)).map(|_guard| plain.add()).is_some(),
            3 => {
                let _guard = pollster::block_on(lock.lock_async());
                plain.add();
                true
            }
            4 => impatient(lock.lock_async(), rng).map(|_guard| plain.add()).is_some(),
            5 => impatient(lock.lock_owned_async(), rng).map(|_guard| plain.add()).is_some(),
            6 => {
                let guard = lock.lock();
                plain.add();
                LockGuard::release_fairly(guard);
                true
            }
            _ => {
                let got = lock.acquire(Wait::For(soon(rng))).unwrap();
                if got {
                    plain.add();
                    lock.release().unwrap();
                }
                got
            }
        });
        let _guard = lock.try_lock().expect("nothing is left behind");
        assert_eq!(plain.get(), entered);
    }
}

#[test]
fn semaphore_of_one() {
    for budget in BUDGETS {
        let semaphore = Arc::new(LocalSemaphore::new(1).with_bypass(budget));
        let plain = Plain::default();
        let entered = on_threads(budget.into(), |rng| match rng.u32(0..5) {
            0 => semaphore.permit().map(|_permit| plain.add()).is_ok(),
            1 => semaphore.try_permit().map(|_permit| plain.add()).is_ok(),
            2 => semaphore.try_permit_for(soon(rng)).map(|_permit| plain.add()).is_ok(),
            3 => {
                let permit = impatient(semaphore.permits_owned_async(1), rng);
                permit.map(|permit| permit.map(|_permit| plain.add()).unwrap()).is_some()
            }
            _ => {
                let got = semaphore.acquire(Wait::Forever).unwrap();
                plain.add();
                semaphore.release().unwrap();
                got
            }
        });
        let _permit = semaphore.try_permit().expect("nothing is left behind");
        assert_eq!(plain.get(), entered);
    }
}

/// Permits are taken in all sizes, split, merged, added and forgotten; in the end all are there.
#[test]
fn semaphore_of_many() {
    for budget in BUDGETS {
        let semaphore = Arc::new(LocalSemaphore::new(5).with_bypass(budget));
        on_threads(budget.into(), |rng| {
            let n = rng.u32(1..=5);
            let permits = match rng.u32(0..5) {
                0 => semaphore.permits_owned(n),
                1 => semaphore.try_permits_owned_for(n, soon(rng)),
                2 => pollster::block_on(semaphore.permits_owned_async(n)),
                3 => impatient(semaphore.permits_owned_async(n), rng)
                    .unwrap_or(Err(PermitError::Unavailable)),
                _ => semaphore.try_permits_owned(n),
            };
            match permits {
                Ok(mut permits) => {
                    if rng.bool() {
                        let half = permits.split(n / 2).unwrap();
                        if rng.bool() {
                            permits.merge(half).unwrap();
                        }
                    }
                    if rng.u32(0..8) == 0 {
                        // Away for good, and as many anew.
                        let n = permits.count();
                        permits.forget();
                        semaphore.add_permits(n).unwrap();
                    }
                    true
                }
                // While others have forgotten some and not yet added them, there may be too few.
                Err(PermitError::Unavailable | PermitError::TooMany { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        });
        assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (5, 5));
        drop(semaphore.try_permits(5).expect("nothing is left behind"));
    }
}

#[test]
fn read_write_lock() {
    for budget in BUDGETS {
        let lock = Arc::new(ReadWriteLock::new(()).with_bypass(budget));
        let plain = Plain::default();
        let read = |count: u64| {
            thread::yield_now();
            assert_eq!(plain.get(), count, "somebody wrote beside a reader");
            false
        };
        let writes = on_threads(budget.into(), |rng| match rng.u32(0..12) {
            0 => {
                let _guard = lock.read();
                read(plain.get())
            }
            1 => lock.try_read_for(soon(rng)).is_some_and(|_guard| read(plain.get())),
            2 => {
                let _guard = pollster::block_on(lock.read_async());
                read(plain.get())
            }
            3 => impatient(lock.read_owned_async(), rng).is_some_and(|_guard| read(plain.get())),
            4 => {
                let got = lock.acquire_read(Wait::For(soon(rng))).unwrap();
                if got {
                    read(plain.get());
                    lock.release_read().unwrap();
                }
                false
            }
            5 => {
                let _guard = lock.write();
                plain.add();
                true
            }
            6 => lock.try_write_for(soon(rng)).map(|_guard| plain.add()).is_some(),
            7 => impatient(lock.write_async(), rng).map(|_guard| plain.add()).is_some(),
            8 => {
                let guard = lock.write();
                plain.add();
                let count = plain.get();
                let _guard = WriteGuard::downgrade(guard);
                read(count);
                true
            }
            9 => {
                let guard = lock.upgradable();
                let count = plain.get();
                let _guard = UpgradableGuard::upgrade(guard);
                assert_eq!(plain.get(), count, "somebody wrote before the upgrade");
                plain.add();
                true
            }
            10 => {
                let mut guard = lock.upgradable();
                let count = plain.get();
                let upgraded = impatient(UpgradableGuard::upgraded_async(&mut guard), rng);
                let wrote = upgraded.map(|_guard| plain.add()).is_some();
                read(count + u64::from(wrote));
                wrote
            }
            _ => match UpgradableGuard::try_upgrade_for(lock.upgradable(), soon(rng)) {
                Ok(_guard) => {
                    plain.add();
                    true
                }
                Err(guard) => {
                    read(plain.get());
                    drop(guard);
                    false
                }
            },
        });
        let _guard = lock.try_write().expect("nothing is left behind");
        assert_eq!(plain.get(), writes);
    }
}

/// Closed in the midst of it: everybody comes back, and no permit is missing.
#[test]
fn closing() {
    for round in 0..50 {
        let semaphore = LocalSemaphore::new(2).with_bypass(BUDGETS[round as usize % 4]);
        thread::scope(|scope| {
            for n in 0..4 {
                let semaphore = &semaphore;
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(round * 4 + n);
                    loop {
                        let result = if rng.bool() {
                            semaphore.permits(rng.u32(1..=2))
                        } else {
                            pollster::block_on(semaphore.permits_async(rng.u32(1..=2)))
                        };
                        match result {
                            Ok(permits) => drop(permits),
                            Err(error) => return assert_eq!(error, PermitError::Closed),
                        }
                    }
                });
            }
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(200 * round % 1_700));
                semaphore.close();
            });
        });
        assert_eq!(semaphore.available_permits(), 2);
    }
}
