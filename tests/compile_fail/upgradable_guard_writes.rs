//! An upgradable reader writes when it is upgraded, not before.
fn main() {
    let lock = warded::ReadWriteLock::new(7);
    *lock.upgradable() += 1;
}
