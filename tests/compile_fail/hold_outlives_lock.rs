//! The guard of the specification's `hold` borrows the lock too.
use warded::{BaseLock, Wait};

fn main() {
    let hold = {
        let lock: Box<dyn BaseLock> = Box::new(warded::LocalLock::named("jobs"));
        lock.hold(Wait::Forever).unwrap()
    };
    drop(hold);
}
