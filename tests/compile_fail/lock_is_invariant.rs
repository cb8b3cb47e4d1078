//! A lock of long references is no lock of short ones, into which one could be put.
fn shorten<'a, 'b>(
    lock: &'a warded::LocalLock<&'static str>,
    _short: &'b str,
) -> &'a warded::LocalLock<&'b str> {
    lock
}

fn main() {
    let _ = shorten;
}
