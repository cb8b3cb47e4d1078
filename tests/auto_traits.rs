//! Guards are `Send` and `Sync` exactly when that is sound, and locks `UnwindSafe` as documented;
//! and how large everything is.
#![cfg(not(loom))]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::size_of;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::MutexGuard;

use static_assertions::{assert_impl_all, assert_not_impl_any};
use warded::*;

// Whatever there is in view of threads.

/// May be sent and shared.
type Both = u8;
/// May be sent, not shared.
type SendOnly = Cell<u8>;
/// May be shared, not sent.
type SyncOnly = MutexGuard<'static, u8>;
/// Stays where it is.
type Neither = Rc<u8>;

assert_impl_all!(SendOnly: Send);
assert_not_impl_any!(SendOnly: Sync);
assert_impl_all!(SyncOnly: Sync);
assert_not_impl_any!(SyncOnly: Send);
assert_not_impl_any!(Neither: Send, Sync);

/// One row of the table: for which of the four kinds of data a type is `Send`, and for which `Sync`.
macro_rules! row {
    ($T:ident => $Type:ty: Send for [$($s:ident)*], not [$($ns:ident)*]; Sync for [$($y:ident)*], not [$($ny:ident)*]) => {
        const _: () = {
            type Of<$T> = $Type;
            $(assert_impl_all!(Of<$s>: Send);)*
            $(assert_not_impl_any!(Of<$ns>: Send);)*
            $(assert_impl_all!(Of<$y>: Sync);)*
            $(assert_not_impl_any!(Of<$ny>: Sync);)*
            // Every kind stands in each half of the row.
            assert!(4 == [$(stringify!($s),)* $(stringify!($ns),)*].len());
            assert!(4 == [$(stringify!($y),)* $(stringify!($ny),)*].len());
        };
    };
}

// The primitives: whoever shares a lock may take the data out on its own thread.
row!(T => LocalLock<T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SendOnly], not [SyncOnly Neither]);
row!(T => ReadWriteLock<T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both], not [SendOnly SyncOnly Neither]);
assert_impl_all!(LocalSemaphore: Send, Sync);

// A lock's guard is a `&mut`.
row!(T => LockGuard<'static, T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => MappedLockGuard<'static, T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedLockGuard<T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedMappedLockGuard<Both, T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
// It may be the last to have the lock, and drop all of the data.
row!(T => OwnedMappedLockGuard<T, Both>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SendOnly SyncOnly Neither], not []);

// A reader is a `&`.
row!(T => ReadGuard<'static, T>:
    Send for [Both SyncOnly], not [SendOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => MappedReadGuard<'static, T>:
    Send for [Both SyncOnly], not [SendOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedReadGuard<T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedMappedReadGuard<Both, T>:
    Send for [Both SyncOnly], not [SendOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedMappedReadGuard<T, Both>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SendOnly SyncOnly Neither], not []);

// A writer is a `&mut`, and by a downgrade a `&` beside those of the thread that it came from.
row!(T => WriteGuard<'static, T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedWriteGuard<T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
// A mapped one cannot be downgraded.
row!(T => MappedWriteGuard<'static, T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedMappedWriteGuard<Both, T>:
    Send for [Both SendOnly], not [SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedMappedWriteGuard<T, Both>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SendOnly SyncOnly Neither], not []);

// An upgradable reader is a `&`, and becomes a `&mut`.
row!(T => UpgradableGuard<'static, T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => OwnedUpgradableGuard<T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);
row!(T => UpgradedGuard<'static, T>:
    Send for [Both], not [SendOnly SyncOnly Neither];
    Sync for [Both SyncOnly], not [SendOnly Neither]);

assert_impl_all!(Permit<'static>: Send, Sync);
assert_impl_all!(OwnedPermit: Send, Sync);
assert_impl_all!(Hold<'static>: Send);

/// Futures go to other threads when their guards may.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let lock = std::sync::Arc::new(LocalLock::new(Cell::new(0)));
    is_send(&lock.lock_async());
    is_send(&lock.lock_owned_async());
    let index = std::sync::Arc::new(ReadWriteLock::new(0));
    is_send(&index.read_async());
    is_send(&index.read_owned_async());
    is_send(&index.read_recursive_async());
    is_send(&index.write_async());
    is_send(&index.write_owned_async());
    is_send(&index.upgradable_async());
    is_send(&index.upgradable_owned_async());
    is_send(&UpgradableGuard::upgrade_async(index.upgradable()));
    is_send(&UpgradableGuard::upgraded_async(&mut index.upgradable()));
    let permits = std::sync::Arc::new(LocalSemaphore::new(1));
    is_send(&permits.permit_async());
    is_send(&permits.permits_owned_async(1));
}

// Unwinding. parking_lot says nothing of its own, so its lock is UnwindSafe when the data are, and
// never RefUnwindSafe, because of the cell. Ours is RefUnwindSafe too when the data are UnwindSafe:
// a `&` to the lock gives no more than the lock itself, whose `UnwindSafe` the data have granted.

type Unwinds = u8;
type DoesNot = &'static Cell<u8>;
assert_impl_all!(Unwinds: UnwindSafe);
assert_not_impl_any!(DoesNot: UnwindSafe);

assert_impl_all!(parking_lot::Mutex<Unwinds>: UnwindSafe);
assert_not_impl_any!(parking_lot::Mutex<Unwinds>: RefUnwindSafe);
assert_not_impl_any!(parking_lot::Mutex<DoesNot>: UnwindSafe, RefUnwindSafe);
assert_impl_all!(parking_lot::RwLock<Unwinds>: UnwindSafe);
assert_not_impl_any!(parking_lot::RwLock<Unwinds>: RefUnwindSafe);

assert_impl_all!(LocalLock<Unwinds>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(LocalLock<DoesNot>: UnwindSafe, RefUnwindSafe);
assert_impl_all!(ReadWriteLock<Unwinds>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(ReadWriteLock<DoesNot>: UnwindSafe, RefUnwindSafe);

// The semaphore has no data that a panic could leave half changed.
assert_impl_all!(LocalSemaphore: UnwindSafe, RefUnwindSafe);
assert_impl_all!(Permit<'static>: UnwindSafe, RefUnwindSafe);
assert_impl_all!(OwnedPermit: UnwindSafe, RefUnwindSafe);

// As with parking_lot, and unlike with std, a guard is a `&mut` and does not cross an unwind.
assert_not_impl_any!(parking_lot::MutexGuard<'static, Unwinds>: UnwindSafe);
assert_not_impl_any!(LockGuard<'static, Unwinds>: UnwindSafe);
assert_not_impl_any!(WriteGuard<'static, Unwinds>: UnwindSafe);
assert_not_impl_any!(UpgradedGuard<'static, Unwinds>: UnwindSafe);

/// A cell of a type that is not `UnwindSafe` for a reason of its own.
#[allow(dead_code, reason = "a type for the table")]
struct Marked(PhantomData<UnsafeCell<u8>>);
assert_impl_all!(LocalLock<Marked>: UnwindSafe);

#[test]
fn sizes() {
    assert!(size_of::<LocalLock>() <= 56, "{}", size_of::<LocalLock>());
    assert!(size_of::<LocalSemaphore>() <= 56, "{}", size_of::<LocalSemaphore>());
    assert_eq!(size_of::<ReadWriteLock>(), 64);
    // The data come on top, and nothing else but what fills up a cache line.
    assert_eq!(size_of::<LocalLock<[u64; 4]>>(), size_of::<LocalLock>() + 32);
    assert_eq!(size_of::<ReadWriteLock<[u64; 4]>>(), 128);
    assert_eq!(size_of::<ReadWriteLock<[u64; 8]>>(), 128);
    // A lock is a gate, a name of one word, and a count or two of holds: so a gate is 40 bytes.
    assert_eq!(size_of::<LocalSemaphore>(), 40 + 8 + 8);
}

/// Guards are two words where the build records no places of reads, and no more than four else.
#[test]
fn sizes_of_guards() {
    let word = size_of::<usize>();
    let most = if cfg!(debug_assertions) { 4 * word } else { 2 * word };
    for size in [
        size_of::<LockGuard<'_, u64>>(),
        size_of::<OwnedLockGuard<u64>>(),
        size_of::<MappedLockGuard<'_, u64>>(),
        size_of::<OwnedMappedLockGuard<u64, u8>>(),
        size_of::<ReadGuard<'_, u64>>(),
        size_of::<OwnedReadGuard<u64>>(),
        size_of::<MappedReadGuard<'_, u64>>(),
        size_of::<OwnedMappedReadGuard<u64, u8>>(),
        size_of::<WriteGuard<'_, u64>>(),
        size_of::<OwnedWriteGuard<u64>>(),
        size_of::<MappedWriteGuard<'_, u64>>(),
        size_of::<OwnedMappedWriteGuard<u64, u8>>(),
        size_of::<UpgradableGuard<'_, u64>>(),
        size_of::<OwnedUpgradableGuard<u64>>(),
        size_of::<UpgradedGuard<'_, u64>>(),
    ] {
        assert!(size <= most, "a guard of {size} bytes");
        assert_eq!(size_of::<Option<LockGuard<'_, u64>>>(), size_of::<LockGuard<'_, u64>>());
    }
    assert!(size_of::<Permit<'_>>() <= 2 * word && size_of::<OwnedPermit>() <= 2 * word);
}
