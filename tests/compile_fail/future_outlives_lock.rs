//! A future borrows its lock.
fn main() {
    let future = {
        let lock = warded::ReadWriteLock::new(7);
        lock.read_async()
    };
    drop(future);
}
