//! A reader does not write.
fn main() {
    let lock = warded::ReadWriteLock::new(7);
    *lock.read() += 1;
}
