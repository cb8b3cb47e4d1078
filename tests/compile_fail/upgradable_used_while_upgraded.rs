//! While it writes, the upgradable reader that it comes from is borrowed.
use warded::UpgradableGuard;

fn main() {
    let lock = warded::ReadWriteLock::new(7);
    let mut looking = lock.upgradable();
    let upgraded = UpgradableGuard::upgraded(&mut looking);
    assert_eq!(*looking, 7);
    drop(upgraded);
}
