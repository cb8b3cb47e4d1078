//! What a guard gives access to is borrowed from the guard.
fn main() {
    let lock = warded::LocalLock::new(7);
    let guard = lock.lock();
    let data: &u8 = &guard;
    drop(guard);
    assert_eq!(*data, 7);
}
