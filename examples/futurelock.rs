//! Futurelock: a future that waits for a lock, that its task keeps, and that nobody polls.
//!
//! Its turn comes and it does not enter, because only a poll lets it enter. With a fair lock, all
//! others wait for it then. Here they overtake it until the bypass budget is spent; this lock has a
//! budget of 0, so that it shows at once. The cure is to drop what lost a race.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::pin::pin;
    use std::time::Duration;

    use futures_lite::FutureExt;
    use futures_lite::future::{block_on, poll_once};
    use futures_timer::Delay;
    use warded::LocalLock;

    let lock = LocalLock::new(7).with_bypass(0);
    let patience = || Delay::new(Duration::from_millis(20));

    block_on(async {
        // The trap: the race is given a reference to the future, so the loser stays alive.
        let mut kept = pin!(lock.lock_async());
        let held = lock.lock();
        async { drop(kept.as_mut().await) }.or(patience()).await;
        drop(held);
        assert!(lock.try_lock().is_none(), "free, but it is the turn of `kept`");
        assert!(poll_once(kept).await.is_some(), "a poll was all that was missing");
    });

    block_on(async {
        // The cure: the race owns the future, and drops it when it has lost.
        let held = lock.lock();
        async { drop(lock.lock_async().await) }.or(patience()).await;
        drop(held);
        assert!(lock.try_lock().is_some(), "nobody stands in the way");
    });
    println!("Kept and not polled, a future held the lock up; dropped, it did not.");
}
