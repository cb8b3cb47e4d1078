//! The specification's `release_write` exists for locks without data only.
use warded::BaseReadWriteLock;

fn main() {
    let lock = warded::ReadWriteLock::new(7);
    lock.release_write().unwrap();
}
