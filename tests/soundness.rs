//! Safe code cannot break the exclusion of a live guard: `release*` ends what `acquire*` began, and
//! nothing else.
#![cfg(not(loom))]

use std::sync::Arc;
use std::thread;

use warded::{
    BaseLock, BaseReadWriteLock, BaseSemaphore, LocalLock, LocalSemaphore, LockError,
    ReadWriteLock, UpgradableGuard, Wait, WriteGuard,
};

#[track_caller]
fn assert_not_held(result: Result<(), LockError>, expected: Option<&str>) {
    match result {
        Err(LockError::NotHeld { name }) => assert_eq!(name.as_deref(), expected),
        other => panic!("expected NotHeld, got {other:?}"),
    }
}

// Locks

#[test]
fn releasing_a_lock_ends_no_guard() {
    let lock = Arc::new(LocalLock::named("jobs"));
    let guard = lock.lock();
    assert_not_held(lock.release(), Some("jobs"));
    assert!(lock.is_locked() && lock.try_lock().is_none());
    drop(guard);
    let guard = lock.lock_owned();
    assert_not_held(lock.release(), Some("jobs"));
    assert!(lock.is_locked());
    drop(guard);
    let guard = pollster::block_on(lock.lock_async());
    assert_not_held(lock.release(), Some("jobs"));
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn releasing_a_lock_ends_no_hold() {
    let lock: Box<dyn BaseLock> = Box::new(LocalLock::named("jobs"));
    let hold = lock.hold(Wait::Forever).unwrap().unwrap();
    assert_not_held(lock.release(), Some("jobs"));
    assert!(lock.locked().unwrap());
    assert!(lock.hold(Wait::Never).unwrap().is_none());
    drop(hold);
    assert!(!lock.locked().unwrap());
}

#[test]
fn a_hold_ends_no_acquisition() {
    let lock = LocalLock::named("jobs");
    let object: &dyn BaseLock = &lock;
    // An earlier hold that is gone leaves no right behind.
    object.hold(Wait::Never).unwrap().unwrap().release().unwrap();
    assert!(object.acquire(Wait::Never).unwrap());
    assert!(object.hold(Wait::Never).unwrap().is_none());
    assert!(object.locked().unwrap());
    object.release().unwrap();
    assert_not_held(object.release(), Some("jobs"));
}

#[test]
fn one_release_an_acquisition() {
    let lock = LocalLock::default();
    assert_not_held(lock.release(), None);
    for _ in 0..3 {
        assert!(lock.acquire(Wait::Forever).unwrap());
        lock.release().unwrap();
        assert_not_held(lock.release(), None);
    }
    // A guard after an acquisition that is over.
    let guard = lock.lock();
    assert_not_held(lock.release(), None);
    drop(guard);
}

#[test]
fn a_failed_acquisition_gives_no_right_to_release() {
    let lock = LocalLock::named("jobs");
    let guard = lock.lock();
    assert!(!lock.acquire(Wait::Never).unwrap());
    assert!(!lock.acquire(Wait::For(std::time::Duration::ZERO)).unwrap());
    assert_not_held(lock.release(), Some("jobs"));
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn acquired_on_one_thread_and_released_on_another() {
    let lock = LocalLock::named("jobs");
    let permits = LocalSemaphore::new(1);
    let index = ReadWriteLock::named("index");
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(lock.acquire(Wait::Forever).unwrap());
            assert!(permits.acquire(Wait::Forever).unwrap());
            assert!(index.acquire_write(Wait::Forever).unwrap());
        });
    });
    assert!(lock.is_locked() && index.is_write_locked() && permits.available_permits() == 0);
    lock.release().unwrap();
    permits.release().unwrap();
    index.release_write().unwrap();
    assert!(!lock.is_locked() && !index.is_locked() && permits.available_permits() == 1);
}

#[test]
fn a_hold_of_an_acquisition_that_waited() {
    let lock: Arc<dyn BaseLock> = Arc::new(LocalLock::named("jobs"));
    let hold = lock.hold(Wait::Forever).unwrap().unwrap();
    let other = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || lock.acquire(Wait::Forever).unwrap())
    };
    // A hold may end on any thread.
    thread::scope(|scope| {
        scope.spawn(move || drop(hold));
    });
    assert!(other.join().unwrap());
    lock.release().unwrap();
}

// Semaphores

#[test]
fn releasing_a_semaphore_ends_no_permit() {
    let semaphore = Arc::new(LocalSemaphore::new(3).with_name("workers"));
    let two = semaphore.permits(2).unwrap();
    let owned = semaphore.permits_owned(1).unwrap();
    assert_not_held(semaphore.release(), Some("workers"));
    assert_eq!(semaphore.available_permits(), 0);
    drop((two, owned));
    let hold = BaseSemaphore::hold(&*semaphore, Wait::Never).unwrap().unwrap();
    assert_not_held(semaphore.release(), Some("workers"));
    assert_eq!(semaphore.available_permits(), 2);
    hold.release().unwrap();
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn releases_count_acquisitions() {
    let semaphore: Box<dyn BaseSemaphore> = Box::new(LocalSemaphore::new(3));
    let hold = semaphore.hold(Wait::Forever).unwrap().unwrap();
    assert!(semaphore.acquire(Wait::Forever).unwrap());
    assert!(semaphore.acquire(Wait::Forever).unwrap());
    assert!(!semaphore.acquire(Wait::Never).unwrap());
    semaphore.release().unwrap();
    semaphore.release().unwrap();
    assert_not_held(semaphore.release(), None);
    assert_eq!(semaphore.available().unwrap(), 2);
    drop(hold);
    assert_eq!(semaphore.available().unwrap(), 3);
}

#[test]
fn a_closed_semaphore_takes_acquisitions_back() {
    let semaphore = LocalSemaphore::new(1).with_name("workers");
    assert!(semaphore.acquire(Wait::Forever).unwrap());
    semaphore.close();
    let closed = semaphore.acquire(Wait::Forever).unwrap_err();
    assert!(matches!(&closed, LockError::Closed { name: Some(name) } if name == "workers"));
    semaphore.release().unwrap();
    assert_not_held(semaphore.release(), Some("workers"));
}

// Readers and writers

#[test]
fn releasing_a_read_ends_no_reader() {
    let lock = Arc::new(ReadWriteLock::named("index"));
    let (guard, owned, recursive) = (lock.read(), lock.read_owned(), lock.read_recursive());
    let hold = lock.hold_read(Wait::Never).unwrap().unwrap();
    let upgradable = lock.upgradable();
    assert_not_held(lock.release_read(), Some("index"));
    assert_not_held(lock.release_write(), Some("index"));
    drop((guard, owned, recursive));
    assert!(lock.try_write().is_none());
    drop(hold);
    assert!(lock.try_write().is_none());
    drop(upgradable);
    assert!(!lock.is_locked());
}

#[test]
fn releasing_a_write_ends_no_writer() {
    let lock = Arc::new(ReadWriteLock::named("index"));
    let guard = lock.write();
    assert_not_held(lock.release_write(), Some("index"));
    assert_not_held(lock.release_read(), Some("index"));
    assert!(lock.is_write_locked());
    // Nor what a writer becomes.
    let reader = WriteGuard::downgrade(guard);
    assert_not_held(lock.release_write(), Some("index"));
    assert_not_held(lock.release_read(), Some("index"));
    drop(reader);
    let upgraded = UpgradableGuard::upgrade(lock.upgradable());
    assert_not_held(lock.release_write(), Some("index"));
    drop(upgraded);
    let owned = lock.write_owned();
    assert_not_held(lock.release_write(), Some("index"));
    drop(owned);
    let hold = lock.hold_write(Wait::Never).unwrap().unwrap();
    assert_not_held(lock.release_write(), Some("index"));
    assert!(lock.is_write_locked());
    drop(hold);
    assert!(!lock.is_locked());
}

#[test]
fn reads_and_writes_are_counted_apart() {
    let lock: Box<dyn BaseReadWriteLock> = Box::new(ReadWriteLock::named("index"));
    assert!(lock.acquire_read(Wait::Forever).unwrap());
    assert_not_held(lock.release_write(), Some("index"));
    assert!(lock.acquire_read(Wait::Forever).unwrap());
    lock.release_read().unwrap();
    assert!(!lock.acquire_write(Wait::Never).unwrap());
    lock.release_read().unwrap();
    assert_not_held(lock.release_read(), Some("index"));
    assert!(lock.acquire_write(Wait::Forever).unwrap());
    assert_not_held(lock.release_read(), Some("index"));
    lock.release_write().unwrap();
    assert_not_held(lock.release_write(), Some("index"));
}

#[test]
fn errors_name_what_they_are_about() {
    let nameless = LocalLock::default().release().unwrap_err().to_string();
    assert!(nameless.starts_with("this lock is not held"), "{nameless}");
    let named = LocalLock::named("jobs").release().unwrap_err().to_string();
    assert!(named.starts_with("lock \"jobs\" is not held"), "{named}");
    let index = ReadWriteLock::named("index").release_write().unwrap_err().to_string();
    assert!(index.contains("\"index\""), "{index}");
    let semaphore = LocalSemaphore::new(0).with_name("workers");
    let none = semaphore.acquire(Wait::Forever).unwrap_err().to_string();
    assert!(none.starts_with("semaphore \"workers\" has no permits in all"), "{none}");
    semaphore.close();
    let closed = semaphore.acquire(Wait::Forever).unwrap_err().to_string();
    assert!(closed.starts_with("semaphore \"workers\" is closed"), "{closed}");
}

/// What the traits promise to those who implement them elsewhere: the guard that `hold` gives is
/// the implementation's own.
#[test]
fn a_hold_wraps_any_guard() {
    struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);
    impl warded::Held for Counted<'_> {
        fn release(self: Box<Self>) -> Result<(), LockError> {
            Err(LockError::NotHeld { name: Some("lost".to_owned()) })
        }
    }
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let drops = std::sync::atomic::AtomicUsize::new(0);
    drop(warded::Hold::new(Counted(&drops)));
    assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_not_held(warded::Hold::new(Counted(&drops)).release(), Some("lost"));
    assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 2);
}
