//! A guard borrows its lock.
fn main() {
    let guard = {
        let lock = warded::LocalLock::new(7);
        lock.lock()
    };
    assert_eq!(*guard, 7);
}
