//! The specification's distributed surface, as code that must compile and pass against a real server (as part of tests/spec/).
use std::time::Duration;

use warded::{BaseLock, LockError, RedisLock, Wait};

/// `client` is a `redis::Client`: credentials, TLS and database come from it.
pub fn surface(client: redis::Client) -> Result<(), Box<dyn std::error::Error>> {
    let ttl = Duration::from_secs(5);
    let ours = RedisLock::builder("jobs", client.clone()).ttl(ttl).retry_delay(Duration::from_millis(50)).build()?;
    let theirs = RedisLock::new("jobs", client.clone())?; // ttl 30 s

    assert!(!ours.locked()? && !ours.owned()?);
    assert!(ours.acquire(Wait::Forever)?);
    assert!(ours.locked()? && ours.owned()?);
    assert!(theirs.locked()? && !theirs.owned()?);
    assert!(!theirs.acquire(Wait::Never)?);
    assert!(!theirs.acquire(Duration::from_millis(120).into())?);
    assert!(matches!(theirs.release(), Err(LockError::NotHeld { .. })));
    assert!(ours.locked()?, "a release by another changes nothing");
    assert!(ours.extend(Duration::from_secs(10))?);
    assert!(!theirs.extend(Duration::from_secs(10))?);

    let info = theirs.info()?;
    assert_eq!(info.name, "jobs");
    assert!(info.owner.is_some() && info.acquired_at.is_some());
    assert!(info.ttl.is_some_and(|left| left > Duration::from_secs(10) && left <= Duration::from_secs(15)));
    ours.release()?;
    assert!(!theirs.locked()?);

    // Guards carry the fencing token, and it grows.
    let first = ours.lock()?;
    let token = first.fence();
    assert!(first.is_valid());
    drop(first);
    let second = theirs.try_lock_for(Duration::from_secs(2))?.expect("released on drop");
    assert!(second.fence() > token);
    second.release()?;
    Ok(())
}
