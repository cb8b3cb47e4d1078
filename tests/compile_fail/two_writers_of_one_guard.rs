//! Two `&mut` of one guard do not live together.
fn main() {
    let lock = warded::LocalLock::new(7);
    let mut guard = lock.lock();
    let (one, other) = (&mut *guard, &mut *guard);
    std::mem::swap(one, other);
}
