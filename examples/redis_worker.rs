//! A worker of which several may run, on several machines, and one at a time works: it counts
//! through a job in portions, and whoever takes over goes on where the last one stopped.
//!
//! With a server, in two terminals at once; stop one with Ctrl-Z, and see the other take over within
//! the ttl of 2 s and a grace; `fg` it, and see it stop, with nothing written:
//!
//! ```sh
//! cargo run --release --package warded-examples --features redis --example redis_worker -- \
//!     redis://127.0.0.1:6379
//! ```

#[cfg(not(all(not(loom), feature = "redis")))]
fn main() {
    eprintln!("this example needs a Redis server, and the feature redis; see its first lines");
}

#[cfg(all(not(loom), feature = "redis"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::env;
    use std::time::Duration;

    use futures_lite::future::block_on;
    use futures_timer::Delay;
    use warded::{FencedKey, RedisError, RedisGuard, RedisLock, RedisSource};

    const PORTIONS: u64 = 20;

    /// Which portion is next, as the last one who was allowed to write said.
    async fn next(position: &FencedKey) -> Result<u64, Box<dyn std::error::Error>> {
        let known = position.read_async().await?;
        Ok(known.map_or(Ok(0), |(_, text)| String::from_utf8_lossy(&text).parse())?)
    }

    /// Works until all is done. `false` if a later holder has been here.
    async fn work(
        held: &RedisGuard,
        position: &FencedKey,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        for portion in next(position).await?..PORTIONS {
            Delay::new(Duration::from_millis(100)).await; // as if it were work
            // Between two looks at the lock a process can be stopped for longer than any lease. So
            // the resource refuses who is late, and not this process.
            if !position.write_async(held.fence(), (portion + 1).to_string()).await? {
                return Ok(false);
            }
            println!("portion {portion} is done, by the holder with the token {}", held.fence());
        }
        Ok(true)
    }

    let Some(url) = env::args().nth(1) else {
        eprintln!("usage: redis_worker <url of a Redis server>");
        return Ok(());
    };
    // One source for the lock and what it protects: they share its connection.
    let source = RedisSource::from(redis::Client::open(url)?);
    let position = FencedKey::new("worker example: position", source.clone());
    // A short lease, so that a dead worker is soon replaced, and renewed, so that a live one is not;
    // but not for ever, in case it hangs.
    let lock = RedisLock::builder("worker example", source.clone())
        .ttl(Duration::from_secs(2))
        .renew(Duration::from_secs(60))
        .build()?;

    block_on(async {
        let held = lock.lock_async().await?;
        println!("it is this worker's turn");
        // When the lock is lost, the work is dropped where it awaits.
        match held.run(work(&held, &position)).await {
            Ok(Ok(true)) => println!("all {PORTIONS} portions are done"),
            Ok(Ok(false)) => println!("somebody else has taken over; nothing was written"),
            Ok(Err(failure)) => return Err(failure),
            Err(RedisError::Lost { loss }) => println!("stopped in the middle: {loss}"),
            Err(failure) => return Err(failure.into()),
        }
        match held.release_async().await {
            // The next one waits no longer than it takes to tell it.
            Ok(()) => {}
            Err(RedisError::Lost { loss }) => println!("there was nothing to release: {loss}"),
            Err(failure) => return Err(failure.into()),
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    // A process that ends does not wait for releases by itself, such as those of dropped guards.
    source.flush()?;
    Ok(())
}
