//! Whatever else a [`LocalLock`] does: names, data of any shape, guards that map and that own.
#![cfg(not(loom))]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use warded::{LocalLock, LockGuard, MappedLockGuard, OwnedLockGuard, OwnedMappedLockGuard};

static COUNTER: LocalLock<u64> = LocalLock::new(0);
static FIFO: LocalLock = LocalLock::new(()).with_bypass(0);
#[expect(clippy::declare_interior_mutable_const, reason = "a lock for each use is meant")]
const PROTOTYPE: LocalLock<[u8; 2]> = LocalLock::new([1, 2]);

#[test]
fn statics_and_constants() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    *COUNTER.lock() += 1;
                    drop(FIFO.lock());
                }
            });
        }
    });
    assert_eq!(*COUNTER.lock(), 4_000);
    // Each use of a constant is a lock of its own.
    let (one, other) = (PROTOTYPE, PROTOTYPE);
    one.lock()[0] = 9;
    assert_eq!((one.into_inner(), other.into_inner()), ([9, 2], [1, 2]));
}

#[test]
fn names() {
    assert_eq!(LocalLock::named("jobs").name(), Some("jobs"));
    assert_eq!(LocalLock::named(String::from("jobs")).name(), Some("jobs"));
    assert_eq!(LocalLock::new(1).with_name("one").with_name("two").name(), Some("two"));
    assert_eq!(LocalLock::<u8>::default().name(), None);
    let shared: Arc<LocalLock<dyn Debug>> = Arc::new(LocalLock::new(1).with_name("one"));
    assert_eq!(shared.name(), Some("one"));
}

#[test]
fn made_of_data_and_back() {
    let mut lock = LocalLock::from(String::from("a"));
    lock.get_mut().push('b');
    lock.lock().push('c');
    assert_eq!(lock.into_inner(), "abc");
    assert_eq!(LocalLock::<Vec<u8>>::default().into_inner(), []);
    let unit: LocalLock = LocalLock::default();
    assert!(!unit.is_locked());
}

#[test]
fn shown() {
    let lock = LocalLock::new(7).with_name("lucky");
    assert_eq!(format!("{lock:?}"), r#"LocalLock { name: "lucky", data: 7 }"#);
    let guard = lock.lock();
    assert_eq!(format!("{lock:?}"), r#"LocalLock { name: "lucky", data: <locked> }"#);
    assert_eq!(format!("{guard:?} {guard}"), "7 7");
    drop(guard);
    assert!(!lock.is_locked(), "looking has left it locked");
    assert_eq!(format!("{:?}", LocalLock::new('x')), "LocalLock { data: 'x' }");
}

#[test]
fn data_of_any_shape() {
    let slice: Box<LocalLock<[u8]>> = Box::new(LocalLock::new([1, 2, 3]));
    slice.lock()[1] = 9;
    assert_eq!(slice.lock().iter().sum::<u8>(), 13);
    let object: Arc<LocalLock<dyn FnMut() -> u8 + Send>> = {
        let mut n = 0;
        Arc::new(LocalLock::new(move || {
            n += 1;
            n
        }))
    };
    assert_eq!((*object.lock())(), 1);
    assert_eq!((*object.lock_owned())(), 2);
    assert_eq!(pollster::block_on(async { (*object.lock_owned_async().await)() }), 3);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!((*object.lock())(), 4));
    });
}

#[test]
fn mapped_guards() {
    let lock = LocalLock::new((1, vec![10, 20]));
    let vector = LockGuard::map(lock.lock(), |pair| &mut pair.1);
    assert!(lock.try_lock().is_none());
    let mut last = MappedLockGuard::map(vector, |vector| vector.last_mut().unwrap());
    *last += 1;
    assert_eq!(format!("{last:?} {last}"), "21 21");
    drop(last);
    assert_eq!(lock.lock().1, [10, 21]);
    // What is not there gives the guard back.
    let guard = LockGuard::try_map(lock.lock(), |pair| pair.1.get_mut(5)).unwrap_err();
    assert_eq!(guard.0, 1);
    let first = LockGuard::try_map(guard, |pair| pair.1.first_mut()).unwrap();
    let first = MappedLockGuard::try_map(first, |_| None::<&mut u8>).unwrap_err();
    assert_eq!(*first, 10);
    assert!(lock.is_locked());
    drop(first);
    assert!(!lock.is_locked());
}

#[test]
fn owned_guards_keep_the_lock_alive() {
    struct Tells(Arc<()>);
    let alive = Arc::new(());
    let lock = Arc::new(LocalLock::new((Tells(Arc::clone(&alive)), 7)));
    let mut guard = lock.lock_owned();
    drop(lock);
    guard.1 += 1;
    let mut number = OwnedLockGuard::map(guard, |pair| &mut pair.1);
    *number += 1;
    let number = OwnedMappedLockGuard::try_map(number, |_| None::<&mut ()>).unwrap_err();
    assert_eq!((*number, Arc::strong_count(&alive)), (9, 2));
    // The last guard drops the lock, with all that it protects, on whichever thread.
    thread::spawn(move || drop(number)).join().unwrap();
    assert_eq!(Arc::strong_count(&alive), 1);
    let _ = Tells(alive).0;
}

#[test]
fn owned_guards_release() {
    let lock = Arc::new(LocalLock::new(1));
    drop(lock.lock_owned());
    drop(lock.try_lock_owned().unwrap());
    drop(pollster::block_on(lock.lock_owned_async()));
    let guard = OwnedLockGuard::map(lock.lock_owned(), |data| data);
    assert!(lock.try_lock_owned().is_none());
    drop(guard);
    assert!(!lock.is_locked());
    assert_eq!(Arc::strong_count(&lock), 1);
}

/// There is no poisoning, and a panic leaves no lock locked: not in the section, not in a `map`.
#[test]
fn panics() {
    let lock = LocalLock::new(1);
    let section = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = lock.lock();
        *guard = 2;
        panic!("in the section");
    }));
    assert!(section.is_err());
    assert_eq!(*lock.try_lock().expect("it was released"), 2);
    let map = catch_unwind(AssertUnwindSafe(|| {
        drop(LockGuard::map(lock.lock(), |_| -> &mut u8 { panic!("in the map") }));
    }));
    assert!(map.is_err());
    let map = catch_unwind(AssertUnwindSafe(|| {
        drop(LockGuard::try_map(lock.lock(), |_| -> Option<&mut u8> { panic!("in the map") }));
    }));
    assert!(map.is_err());
    assert!(!lock.is_locked());
}

#[test]
fn guards_go_to_other_threads() {
    let lock = LocalLock::new(vec![1]);
    let mut guard = lock.lock();
    thread::scope(|scope| {
        scope.spawn(move || guard.push(2));
    });
    assert_eq!(*lock.try_lock().expect("released over there"), [1, 2]);
}
