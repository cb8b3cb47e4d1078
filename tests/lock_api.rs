//! The locks behind the traits of `lock_api`, with the guards that it brings.
#![cfg(not(loom))]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lock_api::{
    ArcMutexGuard, ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard,
    MappedMutexGuard, RawMutex, RawMutexFair, RawMutexTimed, RawRwLock,
    RwLockReadGuard as AnyReadGuard, RwLockUpgradableReadGuard as AnyUpgradable,
    RwLockWriteGuard as AnyWriteGuard,
};
use static_assertions::assert_impl_all;
use warded::lock_api::{
    Mutex, MutexGuard, RawLock, RawReadWriteLock, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

const TICK: Duration = Duration::from_millis(5);

static TOTAL: Mutex<u64> = Mutex::new(0);
static CACHE: RwLock<u64> = RwLock::new(0);

assert_impl_all!(MutexGuard<'static, u8>: Send, Sync);
assert_impl_all!(RwLockReadGuard<'static, u8>: Send, Sync);
assert_impl_all!(RwLockWriteGuard<'static, u8>: Send, Sync);
assert_impl_all!(RwLockUpgradableReadGuard<'static, u8>: Send, Sync);

/// Code that knows nothing of this crate.
fn count<R: RawMutex + RawMutexFair + RawMutexTimed>(mutex: &lock_api::Mutex<R, u64>) -> u64 {
    *mutex.lock() += 1;
    lock_api::MutexGuard::unlock_fair(mutex.lock());
    let mut guard = mutex.lock();
    lock_api::MutexGuard::bump(&mut guard);
    lock_api::MutexGuard::unlocked(&mut guard, || assert!(!mutex.is_locked()));
    *guard
}

#[test]
fn generic_code() {
    let mutex = Mutex::new(0);
    assert_eq!(count(&mutex), 1);
    assert_eq!(count(&mutex), 2);
    assert_eq!(mutex.into_inner(), 2);
}

#[test]
fn statics_between_threads() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    *TOTAL.lock() += 1;
                    let before = *CACHE.read();
                    let looking = CACHE.upgradable_read();
                    *AnyUpgradable::upgrade(looking) += 1;
                    assert!(*CACHE.read_recursive() > before);
                }
            });
        }
    });
    assert_eq!((*TOTAL.lock(), *CACHE.read()), (4_000, 4_000));
}

#[test]
fn a_mutex() {
    let mutex = Arc::new(Mutex::new((1, 2)));
    let guard = mutex.lock();
    assert!(mutex.is_locked() && mutex.try_lock().is_none());
    let begun = Instant::now();
    assert!(mutex.try_lock_for(TICK).is_none() && begun.elapsed() >= TICK);
    assert!(mutex.try_lock_until(Instant::now() + TICK).is_none());
    let second = MutexGuard::map(guard, |pair| &mut pair.1);
    assert_eq!(*second, 2);
    MappedMutexGuard::unlock_fair(second);
    let owned: ArcMutexGuard<RawLock, (i32, i32)> = mutex.lock_arc();
    assert!(mutex.try_lock_arc().is_none());
    assert!(mutex.try_lock_arc_for(TICK).is_none());
    thread::spawn(move || drop(owned)).join().unwrap();
    assert!(!mutex.is_locked());
    assert!(mutex.try_lock_for(TICK).is_some());
}

#[test]
fn a_read_write_lock() {
    let lock = Arc::new(RwLock::new(1));
    {
        let readers = (lock.read(), lock.try_read().unwrap(), lock.try_read_for(TICK).unwrap());
        assert!(lock.is_locked() && !lock.is_locked_exclusive());
        assert!(lock.try_write().is_none() && lock.try_write_for(TICK).is_none());
        assert!(lock.try_write_until(Instant::now() + TICK).is_none());
        let upgradable = lock.upgradable_read();
        assert!(lock.try_upgradable_read().is_none());
        assert!(lock.try_upgradable_read_for(TICK).is_none());
        let upgradable = AnyUpgradable::try_upgrade(upgradable).unwrap_err();
        let upgradable = AnyUpgradable::try_upgrade_for(upgradable, TICK).unwrap_err();
        drop(readers);
        let mut writer = AnyUpgradable::try_upgrade_for(upgradable, TICK).ok().unwrap();
        assert!(lock.is_locked_exclusive());
        *writer += 1;
        let upgradable = AnyWriteGuard::downgrade_to_upgradable(writer);
        assert!(lock.try_read().is_some() && lock.try_upgradable_read().is_none());
        let reader = AnyUpgradable::downgrade(upgradable);
        assert!(lock.try_upgradable_read().is_some() && lock.try_write().is_none());
        AnyReadGuard::unlock_fair(reader);
    }
    assert!(!lock.is_locked());
    let writer = lock.write();
    assert!(lock.try_read().is_none() && lock.try_read_for(TICK).is_none());
    assert!(lock.try_read_recursive().is_none() && lock.try_read_recursive_for(TICK).is_none());
    let reader = AnyWriteGuard::downgrade(writer);
    assert_eq!(*reader, 2);
    assert!(lock.try_read_recursive().is_some() && lock.try_write().is_none());
    drop(reader);
    AnyWriteGuard::unlock_fair(lock.write());
    AnyUpgradable::unlock_fair(lock.upgradable_read());
    assert!(!lock.is_locked());
}

#[test]
fn owned_guards_of_a_read_write_lock() {
    let lock = Arc::new(RwLock::new(1));
    let looking: ArcRwLockUpgradableReadGuard<RawReadWriteLock, i32> = lock.upgradable_read_arc();
    let reader: ArcRwLockReadGuard<RawReadWriteLock, i32> = lock.read_arc();
    assert_eq!(*reader, 1);
    drop(reader);
    let mut writer: ArcRwLockWriteGuard<RawReadWriteLock, i32> =
        ArcRwLockUpgradableReadGuard::upgrade(looking);
    *writer += 1;
    assert!(lock.try_read_arc().is_none());
    let reader = ArcRwLockWriteGuard::downgrade(writer);
    thread::spawn(move || assert_eq!(*reader, 2)).join().unwrap();
    assert!(lock.try_write_arc().is_some());
}

/// A recursive read does not wait for a writer that waits.
#[test]
fn a_recursive_read() {
    let lock = RwLock::new(1);
    let outer = lock.read();
    thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write() += 1);
        // However many newcomers may overtake the writer, the inner reads come in.
        for _ in 0..3_000 {
            drop(lock.read_recursive());
        }
        assert!(!writer.is_finished());
        drop(outer);
    });
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn raw_ones_are_small_and_shown() {
    assert_eq!((size_of::<RawLock>(), size_of::<RawReadWriteLock>()), (40, 40));
    assert_eq!(format!("{:?}", RawLock::INIT), "RawLock { locked: false }");
    let raw = RawReadWriteLock::INIT;
    raw.lock_exclusive();
    assert_eq!(format!("{raw:?}"), "RawReadWriteLock { locked: true, write_locked: true }");
}
