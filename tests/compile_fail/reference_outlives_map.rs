//! `map` cannot smuggle out what it is shown.
fn main() {
    let lock = warded::LocalLock::new((1, 2));
    let mut kept = None;
    let guard = warded::LockGuard::map(lock.lock(), |pair| {
        kept = Some(&mut pair.0);
        &mut pair.1
    });
    drop(guard);
    drop(kept);
}
