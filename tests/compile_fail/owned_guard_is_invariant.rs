//! Nor is an owned guard.
fn shorten<'b>(
    guard: warded::OwnedLockGuard<&'static str>,
    _short: &'b str,
) -> warded::OwnedLockGuard<&'b str> {
    guard
}

fn main() {
    let _ = shorten;
}
