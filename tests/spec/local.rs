//! The specification's in-process surface, as code that must compile and pass (as tests/spec/local.rs).
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use warded::{
    BaseLock, BaseReadWriteLock, BaseSemaphore, LocalLock, LocalSemaphore, LockError,
    ReadWriteLock, Wait,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;
const TICK: Duration = Duration::from_millis(30);

#[test]
fn local_lock() -> Outcome {
    let lock = LocalLock::named("jobs"); // LocalLock<()>; LocalLock::new(data) carries data
    assert_eq!(lock.name(), Some("jobs"));
    assert!(!lock.locked()?);
    assert!(lock.acquire(Wait::Forever)?);
    assert!(lock.locked()?);
    assert!(!lock.acquire(Wait::Never)?);
    let began = Instant::now();
    assert!(!lock.acquire(TICK.into())?);
    assert!(began.elapsed() >= TICK);
    assert!(!lock.acquire(Wait::Until(Instant::now() + TICK))?);
    lock.release()?;
    assert!(matches!(lock.release(), Err(LockError::NotHeld { .. })));

    // The spec's (blocking, timeout) pair.
    assert!(lock.acquire(Wait::new(true, None)?)?);
    assert!(!lock.acquire(Wait::new(false, None)?)?);
    assert!(!lock.acquire(Wait::new(true, Some(TICK))?)?);
    assert!(Wait::new(false, Some(TICK)).is_err());
    lock.release()?;

    // The context manager: released on drop, also through a trait object.
    let object: &dyn BaseLock = &lock;
    {
        let held = object.hold(Wait::Forever)?;
        assert!(held.is_some());
        assert!(object.hold(Wait::Never)?.is_none());
    }
    assert!(!object.locked()?);
    Ok(())
}

#[test]
fn data_and_threads() -> Outcome {
    static TOTAL: LocalLock<u64> = LocalLock::new(0); // const
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    *TOTAL.lock() += 1;
                }
            });
        }
    });
    assert_eq!(*TOTAL.lock(), 4_000);
    let held = TOTAL.lock();
    assert!(TOTAL.try_lock().is_none());
    assert!(TOTAL.try_lock_for(TICK).is_none());
    drop(held);
    assert!(TOTAL.try_lock_until(Instant::now() + TICK).is_some());
    let shared = Arc::new(LocalLock::new(1_u8));
    let owned = shared.clone().lock_owned();
    assert_eq!(*owned, 1);
    Ok(())
}

#[test]
fn semaphore() -> Outcome {
    assert_eq!(LocalSemaphore::default().available()?, 1);
    let permits = LocalSemaphore::new(2).with_name("workers");
    assert!(permits.acquire(Wait::Forever)?);
    assert!(permits.acquire(Wait::Never)?);
    assert_eq!(permits.available()?, 0);
    assert!(!permits.acquire(Wait::Never)?);
    assert!(!permits.acquire(TICK.into())?);
    permits.release()?;
    permits.release()?;
    assert_eq!(permits.available()?, 2);
    Ok(())
}

#[test]
fn read_write() -> Outcome {
    let lock = ReadWriteLock::named("index");
    assert!(lock.acquire_read(Wait::Forever)?);
    assert!(lock.acquire_read(Wait::Never)?);
    assert!(!lock.acquire_write(Wait::Never)?);
    assert!(!lock.acquire_write(TICK.into())?);
    lock.release_read()?;
    lock.release_read()?;
    assert!(lock.acquire_write(Wait::Forever)?);
    assert!(!lock.acquire_read(TICK.into())?);
    lock.release_write()?;
    assert!(matches!(lock.release_write(), Err(LockError::NotHeld { .. })));
    {
        let _first = lock.reader();
        let _second = lock.reader();
    }
    let _only = lock.writer();
    Ok(())
}
