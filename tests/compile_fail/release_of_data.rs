//! The specification's `release` exists for locks without data only.
use warded::BaseLock;

fn main() {
    let lock = warded::LocalLock::new(7);
    lock.release().unwrap();
}
