//! Whatever else a [`ReadWriteLock`] does: guards that map, own, become others, and what it says.
#![cfg(not(loom))]

mod hand;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use warded::{
    MappedReadGuard, MappedWriteGuard, OwnedMappedReadGuard, OwnedMappedWriteGuard, OwnedReadGuard,
    OwnedUpgradableGuard, OwnedWriteGuard, ReadGuard, ReadWriteLock, UpgradableGuard, WriteGuard,
};

use crate::hand::Task;

const TIME: Duration = Duration::from_millis(5);

static CACHE: ReadWriteLock<u64> = ReadWriteLock::new(0);

#[test]
fn a_static_one() {
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let before = *CACHE.read();
                    *CACHE.write() += 1;
                    assert!(*CACHE.read() > before);
                }
            });
        }
    });
    assert_eq!(*CACHE.read(), 3_000);
}

#[test]
fn names_and_data() {
    assert_eq!(ReadWriteLock::named("index").name(), Some("index"));
    assert_eq!(ReadWriteLock::new(1).with_name("one").name(), Some("one"));
    let mut lock = ReadWriteLock::from(vec![1]);
    assert_eq!(lock.name(), None);
    lock.get_mut().push(2);
    assert_eq!(lock.into_inner(), [1, 2]);
    assert_eq!(ReadWriteLock::<String>::default().into_inner(), "");
    let slice: Box<ReadWriteLock<[u8]>> = Box::new(ReadWriteLock::new([1, 2, 3]));
    slice.write()[0] = 7;
    assert_eq!(slice.read().first(), Some(&7));
    let object: Arc<ReadWriteLock<dyn Debug + Send + Sync>> = Arc::new(ReadWriteLock::new('x'));
    assert_eq!(format!("{:?}", &*object.read_owned()), "'x'");
    assert_eq!(format!("{:?}", &*UpgradableGuard::upgrade(object.upgradable())), "'x'");
}

#[test]
fn shown() {
    let lock = ReadWriteLock::new(7).with_name("lucky");
    assert_eq!(format!("{lock:?}"), r#"ReadWriteLock { name: "lucky", data: 7 }"#);
    let reader = lock.read();
    assert_eq!(format!("{lock:?} {reader:?}"), r#"ReadWriteLock { name: "lucky", data: 7 } 7"#);
    drop(reader);
    let writer = lock.write();
    assert_eq!(format!("{lock:?}"), r#"ReadWriteLock { name: "lucky", data: <locked> }"#);
    drop(writer);
    assert!(!lock.is_locked());
}

/// Who may be in beside whom, by every way to ask.
#[test]
fn who_excludes_whom() {
    let lock = Arc::new(ReadWriteLock::new(0));
    {
        let _readers = (lock.reader(), lock.read_owned(), lock.read_recursive());
        assert!(lock.is_locked() && !lock.is_write_locked());
        assert!(lock.try_read().is_some() && lock.try_read_owned().is_some());
        assert!(lock.try_write().is_none() && lock.try_write_owned().is_none());
        let upgradable = lock.try_upgradable().expect("beside readers");
        assert!(lock.try_upgradable().is_none() && lock.try_upgradable_owned().is_none());
        assert!(lock.try_read().is_some(), "readers beside an upgradable one");
        assert!(!lock.is_write_locked());
        drop(upgradable);
        assert!(lock.try_upgradable_owned().is_some());
    }
    let writer = lock.writer();
    assert!(lock.is_write_locked());
    assert!(lock.try_read().is_none() && lock.try_read_recursive().is_none());
    assert!(lock.try_write().is_none() && lock.try_upgradable().is_none());
    drop(writer);
    assert!(!lock.is_locked());
}

/// Every way in gives a guard of the kind that it says.
#[test]
fn all_the_ways() {
    let lock = Arc::new(ReadWriteLock::new(1));
    let soon = || Instant::now() + TIME;
    assert_eq!(*lock.try_read_for(TIME).unwrap(), 1);
    assert_eq!(*lock.try_read_until(soon()).unwrap(), 1);
    assert_eq!(*lock.try_read_owned_for(TIME).unwrap(), 1);
    assert_eq!(*lock.try_read_owned_until(soon()).unwrap(), 1);
    assert_eq!(*lock.try_read_recursive_for(TIME).unwrap(), 1);
    assert_eq!(*lock.try_read_recursive_until(soon()).unwrap(), 1);
    *lock.try_write_for(TIME).unwrap() += 1;
    *lock.try_write_until(soon()).unwrap() += 1;
    *lock.try_write_owned_for(TIME).unwrap() += 1;
    *lock.try_write_owned_until(soon()).unwrap() += 1;
    *lock.write_owned() += 1;
    assert_eq!(*lock.try_upgradable_for(TIME).unwrap(), 6);
    assert_eq!(*lock.try_upgradable_until(soon()).unwrap(), 6);
    assert_eq!(*lock.try_upgradable_owned_for(TIME).unwrap(), 6);
    assert_eq!(*lock.try_upgradable_owned_until(soon()).unwrap(), 6);
    pollster::block_on(async {
        *lock.write_async().await += 1;
        *lock.write_owned_async().await += 1;
        assert_eq!(*lock.read_async().await, 8);
        assert_eq!(*lock.read_owned_async().await, 8);
        assert_eq!(*lock.read_recursive_async().await, 8);
        assert_eq!(*lock.upgradable_async().await, 8);
        assert_eq!(*lock.upgradable_owned_async().await, 8);
    });
    assert!(!lock.is_locked());
}

#[test]
fn mapped_readers() {
    let lock = ReadWriteLock::new((1, vec![10, 20]));
    let vector = ReadGuard::map(lock.read(), |pair| &pair.1);
    let last = MappedReadGuard::map(vector, |vector| vector.last().unwrap());
    assert_eq!((*last, format!("{last:?} {last}").as_str()), (20, "20 20"));
    assert!(lock.try_read().is_some() && lock.try_write().is_none());
    let last = MappedReadGuard::try_map(last, |_| None::<&u8>).unwrap_err();
    drop(last);
    let guard = ReadGuard::try_map(lock.read(), |pair| pair.1.get(5)).unwrap_err();
    assert_eq!(*ReadGuard::try_map(guard, |pair| pair.1.first()).unwrap(), 10);
    assert!(!lock.is_locked());
}

#[test]
fn mapped_writers() {
    let lock = ReadWriteLock::new((1, vec![10, 20]));
    let vector = WriteGuard::map(lock.write(), |pair| &mut pair.1);
    let mut last = MappedWriteGuard::map(vector, |vector| vector.last_mut().unwrap());
    *last += 1;
    let last = MappedWriteGuard::try_map(last, |_| None::<&mut u8>).unwrap_err();
    assert!(lock.is_write_locked());
    drop(last);
    let guard = WriteGuard::try_map(lock.write(), |pair| pair.1.get_mut(5)).unwrap_err();
    assert_eq!(*WriteGuard::try_map(guard, |pair| pair.1.last_mut()).unwrap(), 21);
    assert!(!lock.is_locked());
}

/// A mapped writer cannot become a reader: readers could change its part through a cell of it. If
/// it had a `downgrade`, these would call that, and not compile.
#[test]
fn mapped_writers_do_not_downgrade() {
    trait Absent: Sized {
        fn downgrade(_guard: Self) -> &'static str {
            "absent"
        }
        fn downgrade_to_upgradable(_guard: Self) -> &'static str {
            "absent"
        }
    }
    impl<T> Absent for MappedWriteGuard<'_, T> {}
    impl<T, U> Absent for OwnedMappedWriteGuard<T, U> {}
    let lock = Arc::new(ReadWriteLock::new(std::sync::Mutex::new(7)));
    let inside = || WriteGuard::map(lock.write(), |mutex| mutex.get_mut().unwrap());
    assert_eq!(MappedWriteGuard::downgrade(inside()), "absent");
    assert_eq!(MappedWriteGuard::downgrade_to_upgradable(inside()), "absent");
    let inside = || OwnedWriteGuard::map(lock.write_owned(), |mutex| mutex.get_mut().unwrap());
    assert_eq!(OwnedMappedWriteGuard::downgrade(inside()), "absent");
    assert_eq!(OwnedMappedWriteGuard::downgrade_to_upgradable(inside()), "absent");
}

#[test]
fn owned_guards_keep_the_lock_alive() {
    let lock = Arc::new(ReadWriteLock::new((1, 2)));
    let weak = Arc::downgrade(&lock);
    let mut writer = lock.write_owned();
    writer.0 = 7;
    let reader = OwnedWriteGuard::downgrade(writer);
    let other = lock.read_owned();
    drop(lock);
    let first = OwnedReadGuard::map(reader, |pair| &pair.0);
    let first = OwnedMappedReadGuard::map(first, |first| first);
    let second = OwnedReadGuard::try_map(other, |pair| Some(&pair.1)).unwrap();
    assert_eq!((*first, *second), (7, 2));
    drop(first);
    assert!(weak.upgrade().is_some());
    let owned = weak.upgrade().unwrap();
    assert!(owned.try_write().is_none());
    drop(second);
    let upgradable = owned.upgradable_owned();
    drop(owned);
    let mut writer = OwnedUpgradableGuard::upgrade(upgradable);
    writer.1 = 9;
    let upgradable = OwnedWriteGuard::downgrade_to_upgradable(writer);
    let reader = OwnedUpgradableGuard::downgrade(upgradable);
    assert_eq!(*reader, (7, 9));
    let part = OwnedReadGuard::map(reader, |pair| &pair.1);
    thread::spawn(move || drop(part)).join().unwrap();
    assert!(weak.upgrade().is_none());
}

#[test]
fn mapped_owned_writers() {
    let lock = Arc::new(ReadWriteLock::new((1, 2)));
    let mut second = OwnedWriteGuard::map(lock.write_owned(), |pair| &mut pair.1);
    *second += 1;
    assert!(lock.is_write_locked());
    drop(second);
    let whole = OwnedWriteGuard::try_map(lock.write_owned(), |_| None::<&mut u8>).unwrap_err();
    assert_eq!(*whole, (1, 3));
    drop(whole);
    assert!(!lock.is_locked() && Arc::strong_count(&lock) == 1);
}

#[test]
fn downgrades() {
    let lock = ReadWriteLock::new(1);
    let mut writer = lock.write();
    *writer = 2;
    let upgradable = WriteGuard::downgrade_to_upgradable(writer);
    assert!(lock.try_read().is_some() && lock.try_upgradable().is_none());
    let mut writer = UpgradableGuard::upgrade(upgradable);
    *writer += 1;
    let reader = WriteGuard::downgrade(writer);
    assert!(lock.try_upgradable().is_some() && lock.try_write().is_none());
    assert_eq!(*reader, 3);
    drop(reader);
    let reader = UpgradableGuard::downgrade(lock.upgradable());
    assert!(lock.try_upgradable().is_some() && lock.try_write().is_none());
    drop(reader);
    assert!(!lock.is_locked());
}

#[test]
fn upgrades_that_fail_keep_their_read() {
    let lock = Arc::new(ReadWriteLock::new(1));
    let reader = lock.read();
    let upgradable = UpgradableGuard::try_upgrade(lock.upgradable()).unwrap_err();
    let upgradable = UpgradableGuard::try_upgrade_for(upgradable, TIME).unwrap_err();
    let soon = Instant::now() + TIME;
    let mut upgradable = UpgradableGuard::try_upgrade_until(upgradable, soon).unwrap_err();
    assert!(UpgradableGuard::try_upgraded(&mut upgradable).is_none());
    assert_eq!(*upgradable, 1);
    assert!(lock.try_upgradable().is_none());
    drop(upgradable);
    let owned = OwnedUpgradableGuard::try_upgrade(lock.upgradable_owned()).unwrap_err();
    let owned = OwnedUpgradableGuard::try_upgrade_for(owned, TIME).unwrap_err();
    let mut owned = OwnedUpgradableGuard::try_upgrade_until(owned, soon).unwrap_err();
    assert!(OwnedUpgradableGuard::try_upgraded(&mut owned).is_none());
    drop(reader);
    *OwnedUpgradableGuard::try_upgrade_for(owned, TIME).unwrap() += 1;
    assert_eq!(*lock.read(), 2);
    assert!(!lock.is_locked());
}

#[test]
fn upgraded_for_a_while() {
    let lock = Arc::new(ReadWriteLock::new(1));
    let mut upgradable = lock.upgradable();
    *UpgradableGuard::upgraded(&mut upgradable) += 1;
    assert!(lock.try_read().is_some(), "it reads again");
    {
        let mut upgraded = UpgradableGuard::try_upgraded(&mut upgradable).unwrap();
        assert!(lock.is_write_locked() && lock.try_read().is_none());
        *upgraded += 1;
        assert_eq!(format!("{upgraded:?} {upgraded}"), "3 3");
    }
    *pollster::block_on(UpgradableGuard::upgraded_async(&mut upgradable)) += 1;
    assert_eq!(*upgradable, 4);
    drop(upgradable);
    let mut owned = lock.upgradable_owned();
    *OwnedUpgradableGuard::upgraded(&mut owned) += 1;
    *pollster::block_on(OwnedUpgradableGuard::upgraded_async(&mut owned)) += 1;
    assert_eq!(*pollster::block_on(OwnedUpgradableGuard::upgrade_async(owned)), 6);
    assert!(!lock.is_locked());
}

/// After a forgotten upgraded guard nobody can write any more, and that is all.
#[test]
fn a_forgotten_upgraded_guard() {
    let lock = ReadWriteLock::new(1);
    let mut upgradable = lock.upgradable();
    std::mem::forget(UpgradableGuard::upgraded(&mut upgradable));
    assert_eq!(*upgradable, 1);
    assert!(lock.try_write().is_none());
    assert!(UpgradableGuard::try_upgraded(&mut upgradable).is_none());
    drop(upgradable);
    assert!(lock.is_locked() && lock.try_write().is_none());
    assert!(UpgradableGuard::try_upgrade(lock.upgradable()).is_err());
    assert_eq!(*lock.read(), 1);
}

/// The upgrade blocks while others read, and nobody writes in between.
#[test]
fn an_upgrade_waits_for_readers() {
    let lock = ReadWriteLock::new(1);
    let reader = lock.read();
    thread::scope(|scope| {
        let upgradable = lock.upgradable();
        let seen = *upgradable;
        let writer = scope.spawn(|| *lock.write() = 100);
        let upgrade = scope.spawn(move || {
            let mut writer = UpgradableGuard::upgrade(upgradable);
            assert_eq!(*writer, seen, "somebody wrote in between");
            *writer += 1;
        });
        thread::sleep(TIME);
        assert!(!upgrade.is_finished() && !writer.is_finished());
        drop(reader);
    });
    assert_eq!(lock.into_inner(), 100);
}

/// An upgrade by a future that is dropped takes its guard with it.
#[test]
fn a_dropped_upgrade_that_owns_its_guard() {
    let lock = ReadWriteLock::new(1);
    let reader = lock.read();
    let upgrade = Task::waiting(UpgradableGuard::upgrade_async(lock.upgradable()));
    let mut other = Task::waiting(lock.upgradable_async());
    drop(upgrade);
    assert_eq!(other.wakes(), 1);
    drop(other.poll().expect("called"));
    drop(reader);
    assert!(!lock.is_locked());
}

#[test]
fn panics() {
    let lock = ReadWriteLock::new(1);
    let attempts: [&dyn Fn() -> u8; 5] = [
        &|| {
            let _guard = lock.write();
            panic!("in the section");
        },
        &|| {
            let _guard = (lock.read(), lock.upgradable());
            panic!("in the section");
        },
        &|| *ReadGuard::map(lock.read(), |_| -> &u8 { panic!("in the map") }),
        &|| *WriteGuard::map(lock.write(), |_| -> &mut u8 { panic!("in the map") }),
        &|| {
            let mut upgradable = lock.upgradable();
            let _upgraded = UpgradableGuard::upgraded(&mut upgradable);
            panic!("in the section");
        },
    ];
    for attempt in attempts {
        assert!(catch_unwind(AssertUnwindSafe(attempt)).is_err());
        assert!(!lock.is_locked());
    }
}

#[test]
fn the_largest_number_of_readers() {
    // A reader and an upgradable one at least, and no more than the permits can count.
    const { assert!(ReadWriteLock::MAX_READERS >= 1_000_000_000) };
}
