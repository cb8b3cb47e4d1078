//! A timeout around an async lock, by any runtime: race the lock's future against any timer.
//!
//! Futures of warded are cancel-safe: the loser of a race is dropped, has taken nothing, and leaves
//! its place in the queue to the next. With tokio it would be
//! `tokio::time::timeout(limit, lock.lock_async()).await`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::time::Duration;

    use futures_lite::FutureExt;
    use futures_lite::future::block_on;
    use futures_timer::Delay;
    use warded::{LocalLock, LockGuard};

    /// The lock, or nothing when the time is over.
    async fn lock_within<T>(lock: &LocalLock<T>, limit: Duration) -> Option<LockGuard<'_, T>> {
        let locked = async { Some(lock.lock_async().await) };
        let late = async {
            Delay::new(limit).await;
            None
        };
        locked.or(late).await
    }

    block_on(async {
        let lock = LocalLock::new(7);
        let limit = Duration::from_millis(20);

        let guard = lock_within(&lock, limit).await.expect("nobody else is here");
        assert!(lock_within(&lock, limit).await.is_none(), "the lock is held");
        drop(guard);
        assert!(lock_within(&lock, limit).await.is_some(), "who gave up has left nothing behind");
    });
    println!("Gave up once, as it should.");
}
