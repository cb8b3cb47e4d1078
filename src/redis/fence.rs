//! Resources that refuse a holder of before: what a fencing token is for.
//!
//! A lease lock alone cannot keep a holder that was paused for too long from writing: it checks its
//! lock, is paused, another one gets the lock and writes, and then the first one writes over it. A
//! resource that remembers the greatest token it has seen, and refuses smaller ones, can.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::{Answer, Event};
use super::driver::slot::Outcome;
use super::error::RedisError;
use super::source::{RedisSource, failure};

/// A value in memory that refuses writes of earlier holders. For a service that owns the value and
/// is told fencing tokens by its clients.
///
/// In SQL the same is a condition: `UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND
/// fence <= $2`, which has changed no row if the token is stale.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::FencedRegister;
///
/// let balance = FencedRegister::new(100);
/// balance.write(8, 90)?;
/// assert!(balance.write(7, 110).is_err()); // an earlier holder, late
/// assert_eq!(balance.read(|balance| *balance), 90);
/// # }
/// # Ok::<(), warded::StaleFence>(())
/// ```
#[derive(Debug, Default)]
pub struct FencedRegister<T> {
    state: Mutex<(u64, T)>,
}

impl<T> FencedRegister<T> {
    /// A register that nobody has written to.
    pub const fn new(value: T) -> Self {
        Self { state: Mutex::new((0, value)) }
    }

    fn state(&self) -> MutexGuard<'_, (u64, T)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, for the holder with this fencing token.
    ///
    /// # Errors
    /// [`StaleFence`] if a later holder has been here; nothing is written then.
    pub fn write(&self, fence: u64, value: T) -> Result<(), StaleFence> {
        self.update(fence, |old| *old = value)
    }

    /// Changes the value, for the holder with this fencing token.
    ///
    /// # Errors
    /// [`StaleFence`] if a later holder has been here; `change` is not called then.
    pub fn update<R>(&self, fence: u64, change: impl FnOnce(&mut T) -> R) -> Result<R, StaleFence> {
        let mut state = self.state();
        if fence < state.0 {
            return Err(StaleFence { fence, seen: state.0 });
        }
        state.0 = fence;
        Ok(change(&mut state.1))
    }

    /// Looks at the value.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.state().1)
    }
}

/// A write was refused because a later holder of the lock has been here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleFence {
    /// The token of the write.
    pub fence: u64,
    /// The greatest token seen.
    pub seen: u64,
}

impl fmt::Display for StaleFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fence, seen } = self;
        write!(f, "fencing token {fence} is stale, {seen} was here since; the lock was lost")
    }
}

impl Error for StaleFence {}

/// A value in Redis that refuses writes of earlier holders, in one script.
///
/// Late and repeated messages change nothing, also not between writes of the same holder.
///
/// ```no_run
/// # #[cfg(not(loom))] {
/// use warded::{FencedKey, RedisLock, RedisSource};
///
/// let source = RedisSource::from(redis::Client::open("redis://127.0.0.1")?);
/// let balance = FencedKey::new("balance", source.clone());
/// let held = RedisLock::new("account", source)?.lock()?;
/// if !balance.write(held.fence(), "90")? {
///     eprintln!("somebody else has the lock by now");
/// }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FencedKey {
    key: Arc<str>,
    source: RedisSource,
}

impl FencedKey {
    /// The value at this key, which must be used for nothing else: it is a hash of `f`, the token of
    /// the last holder that wrote, `s`, the number of the last write, `w`, the numbers of the sources that
    /// wrote with this token, and `v`, the value.
    pub fn new(key: impl Into<String>, client: impl Into<RedisSource>) -> Self {
        Self { key: key.into().into(), source: client.into() }
    }

    /// Writes, for the holder with this fencing token. False if a later holder has been here;
    /// nothing is written then.
    ///
    /// The writes with one token happen in the order in which they are made, also by several sources one
    /// after another, as after a handover. One that has failed may still happen later; not after a later
    /// one of the same source, nor of the one that took the lock over, if the key and the lock have the same
    /// source on either side.
    ///
    /// # Errors
    /// [`RedisError::Option`] for a fence of 2^53 or more, which no lock gives and a script cannot tell
    /// from its neighbours. Else why the server could not be asked; the value may be written then, or not.
    pub fn write(&self, fence: u64, value: impl Into<Vec<u8>>) -> Result<bool, RedisError> {
        self.source.wait(self.write_async(fence, value))
    }

    /// As [`write`](Self::write). If the future is dropped, the value may be written or not.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_async(
        &self,
        fence: u64,
        value: impl Into<Vec<u8>>,
    ) -> Result<bool, RedisError> {
        if fence >= 1 << 53 {
            let why = format!("{fence} is no fencing token of a lock's: those are below 2^53");
            return Err(RedisError::option("fence", why));
        }
        let (key, value) = (self.key.clone(), value.into().into());
        match self.source.ask(|ask| Event::Write { ask, key, fence, value }).await? {
            Outcome::Other(Answer::Written(written)) => Ok(written),
            other => Err(failure(other)),
        }
    }

    /// The value and the token of its writer, if somebody has written.
    ///
    /// # Errors
    /// Why the server could not be asked.
    pub fn read(&self) -> Result<Option<(u64, Vec<u8>)>, RedisError> {
        self.source.wait(self.read_async())
    }

    /// As [`read`](Self::read). Cancel-safe.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self) -> Result<Option<(u64, Vec<u8>)>, RedisError> {
        let key = self.key.clone();
        match self.source.ask(|ask| Event::Read { ask, key }).await? {
            Outcome::Other(Answer::Read(value)) => Ok(value),
            other => Err(failure(other)),
        }
    }
}
