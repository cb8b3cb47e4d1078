//! One deadline for several steps: each waits for what is left, and no step adds to the whole.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::thread;
    use std::time::{Duration, Instant};

    use warded::{LocalLock, LocalSemaphore};

    static CONNECTIONS: LocalSemaphore = LocalSemaphore::new(2);
    static LEDGER: LocalLock<Vec<&str>> = LocalLock::new(Vec::new());

    /// A connection and the ledger, both before the deadline, or neither.
    fn record(entry: &'static str, deadline: Instant) -> Result<(), &'static str> {
        let _connection =
            CONNECTIONS.try_permit_until(deadline).map_err(|_| "no connection in time")?;
        let mut ledger = LEDGER.try_lock_until(deadline).ok_or("the ledger was busy")?;
        ledger.push(entry);
        Ok(())
    }

    let in_time = || Instant::now() + Duration::from_millis(50);
    assert_eq!(record("first", in_time()), Ok(()));

    thread::scope(|scope| {
        let ledger = LEDGER.lock();
        let late = scope.spawn(|| record("second", in_time()));
        assert_eq!(late.join().expect("it does not panic"), Err("the ledger was busy"));
        drop(ledger);
    });
    assert_eq!(CONNECTIONS.available_permits(), 2, "its connection went back");
    println!("Recorded: {:?}", LEDGER.lock());
}
