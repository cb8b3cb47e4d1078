//! Locks by name in Redis: the names that this process uses, and what it holds of them.
//!
//! As in this process, a name is in use while it has a handle, or is held without a guard; a guard
//! and a waiter have handles of their own. The count of them is a plain integer under one lock:
//! beside a round trip that costs nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::backend::{Backend, ManagerError};
use super::owner::LockOwner;
use super::{LockManagerBuilder, Swept};
use crate::redis::{Total, lock_all, patience};
use crate::{
    BaseLock, LockError, LockInfo, LockManager, RedisError, RedisGuard, RedisLock,
    RedisLockBuilder, RedisSource, Wait,
};

/// A hold in Redis. Boxed, so that the guards of this process do not carry room for it.
pub(super) type Lease = Box<RedisGuard>;

/// The most bytes of an owner's label that the server keeps.
const LONGEST_LABEL: usize = 256;

/// Options for Redis.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    source: Option<RedisSource>,
    ttl: Option<Duration>,
    retry_delay: Option<Duration>,
    prefix: Option<String>,
    group: Option<String>,
    max_hold: Option<Duration>,
    one_by_one: bool,
}

impl Options {
    /// What is meant if nothing is said.
    pub(super) fn backend(&self) -> Backend {
        if self.source.is_some() { Backend::Redis } else { Backend::Local }
    }

    pub(super) fn build(
        self,
        owner: Option<&str>,
        bypass: Option<u16>,
    ) -> Result<Remote, ManagerError> {
        let source = self.source.ok_or(ManagerError::NoClient)?;
        let mut lock = RedisLock::builder("a name", source.clone());
        if let Some(ttl) = self.ttl {
            lock = lock.ttl(ttl);
        }
        if let Some(delay) = self.retry_delay {
            lock = lock.retry_delay(delay);
        }
        if let Some(prefix) = self.prefix {
            lock = lock.prefix(prefix);
        }
        if let Some(group) = self.group {
            lock = lock.group(group);
        }
        if let Some(max_hold) = self.max_hold {
            lock = lock.renew(max_hold);
        }
        if let Some(owner) = owner {
            lock = lock.owner(owner);
        }
        if let Some(budget) = bypass {
            lock = lock.bypass(budget.into());
        }
        // What one name is refused for, all are.
        lock.clone().build().map_err(|error| match error {
            RedisError::Option { option, why } => ManagerError::Option { option, why },
            other => ManagerError::Option { option: "redis", why: other.to_string() },
        })?;
        let names = Mutex::default();
        Ok(Remote(Arc::new(Shared { source, lock, one_by_one: self.one_by_one, names })))
    }
}

/// # With the feature `redis`
impl LockManager {
    /// Locks in Redis, with the builder's defaults: leases of 30 s that are not renewed. Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// None with these defaults.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LockManager, Wait};
    ///
    /// let locks = LockManager::redis(redis::Client::open("redis://127.0.0.1")?)?;
    /// let lock = locks.get_lock("customer 17")?;
    /// # let with_a_server = || -> Result<(), warded::LockError> {
    /// let guard = lock.lock()?;
    /// println!("alone on all machines, with fencing token {:?}", guard.fence());
    /// guard.release()?; // or drop it
    /// let both = locks.lock_all(&["customer 4", "customer 17"], Wait::Forever)?;
    /// # drop(both);
    /// # Ok(()) };
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redis(client: impl Into<RedisSource>) -> Result<Self, ManagerError> {
        Self::builder().redis(client).build()
    }

    /// Locks where a configuration says they are, with the builder's defaults. The client is for
    /// [`Backend::Redis`] only.
    ///
    /// # Errors
    /// [`ManagerError::NoClient`] for Redis without a client.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LockManager, ManagerError};
    ///
    /// let locks = LockManager::new("local".parse()?, None)?;
    /// # drop(locks);
    /// let refused = LockManager::new("redis".parse()?, None);
    /// assert!(matches!(refused, Err(ManagerError::NoClient)));
    /// let client = redis::Client::open("redis://127.0.0.1")?;
    /// let locks = LockManager::new("redis".parse()?, Some(client.into()))?;
    /// # drop(locks);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(backend: Backend, client: Option<RedisSource>) -> Result<Self, ManagerError> {
        let mut builder = Self::builder().backend(backend);
        builder.remote.source = client;
        builder.build()
    }
}

/// # With the feature `redis`
/// Locks in this process have no use for these.
impl LockManagerBuilder {
    /// The server for [`Backend::Redis`], which is the backend then, unless
    /// [`backend`](Self::backend) says otherwise. A `redis::Client`, Sentinel settings, or a
    /// [`RedisSource`] that is shared with other managers and locks.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    /// use warded::LockManager;
    ///
    /// let client = redis::Client::open("redis://127.0.0.1")?;
    /// let locks = LockManager::builder()
    ///     .redis(client)
    ///     .ttl(Duration::from_secs(10))
    ///     .group("orders")
    ///     .owner("billing on host 7")
    ///     .build()?;
    /// # drop(locks);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redis(mut self, client: impl Into<RedisSource>) -> Self {
        self.remote.source = Some(client.into());
        self
    }

    /// As [`RedisLockBuilder::ttl`], for every name.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.remote.ttl = Some(ttl);
        self
    }

    /// As [`RedisLockBuilder::retry_delay`], for every name.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.remote.retry_delay = Some(delay);
        self
    }

    /// As [`RedisLockBuilder::prefix`], for every name.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.remote.prefix = Some(prefix.into());
        self
    }

    /// As [`RedisLockBuilder::group`], for every name: all of them lie in one slot of a cluster then,
    /// so that any of them can be taken at once.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.remote.group = Some(group.into());
        self
    }

    /// As [`RedisLockBuilder::renew`], for every name, also for what is held through
    /// [`acquire`](BaseLock::acquire) and [`acquire_all`](LockManager::acquire_all).
    pub fn renew(mut self, max_hold: Duration) -> Self {
        self.remote.max_hold = Some(max_hold);
        self
    }

    /// Has several names be taken one after another, in one order, instead of all at once by one
    /// script: with a round trip for each, one deadline for all, and all given back if one is not to
    /// be had.
    ///
    /// For names in several slots of a cluster; and for many names that are in great demand, which
    /// the script may wait for long: it holds nothing while it waits, so that those who want fewer
    /// names go first again and again. One after another, each wait has a place in a queue; the
    /// price is that a call holds some names while it waits for others. If the lease of one ends
    /// meanwhile, all are given back, and the call begins anew, unless its time is over: choose a
    /// [`ttl`](Self::ttl) that is longer than such waits, or [`renew`](Self::renew).
    pub fn one_by_one(mut self) -> Self {
        self.remote.one_by_one = true;
        self
    }
}

/// The locks of one manager in Redis.
pub(super) struct Remote(Arc<Shared>);

struct Shared {
    source: RedisSource,
    /// The options of each lock.
    lock: RedisLockBuilder,
    one_by_one: bool,
    names: Mutex<HashMap<String, Name>>,
}

/// A name in use.
struct Name {
    handles: usize,
    /// The lock, with what is held of it without a guard.
    lock: RedisLock,
}

impl Name {
    fn is_in_use(&self) -> bool {
        self.handles > 0 || self.lock.has_acquired()
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, name: &str) -> Result<RedisLock, LockError> {
        if name.is_empty() {
            return Err(LockError::EmptyName);
        }
        Ok(self.lock.clone().named(name).build()?)
    }
}

impl Remote {
    pub(super) fn get(&self, name: &str) -> Result<RemoteHandle, LockError> {
        let mut names = self.0.names();
        let lock = match names.get_mut(name) {
            Some(known) => {
                known.handles += 1;
                known.lock.clone()
            }
            None => {
                let lock = self.0.lock(name)?;
                names.insert(name.to_owned(), Name { handles: 1, lock: lock.clone() });
                lock
            }
        };
        Ok(RemoteHandle { shared: self.0.clone(), lock })
    }

    /// A handle of the name, if it is in use.
    fn find(&self, name: &str) -> Option<RemoteHandle> {
        let mut names = self.0.names();
        let known = names.get_mut(name)?;
        known.handles += 1;
        Some(RemoteHandle { shared: self.0.clone(), lock: known.lock.clone() })
    }

    /// Ends the holds of all of these that belong to no guard, in one go. The names of which there was
    /// none, or whose lease was over before.
    pub(super) fn release_all<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<String>, LockError> {
        let names: BTreeSet<&str> = names.collect();
        let handles: Vec<_> = names.iter().map(|name| self.find(name)).collect();
        let release = async |handle: &Option<RemoteHandle>| match handle {
            Some(handle) => handle.lock.release_async().await,
            None => Err(LockError::NotHeld { name: None }),
        };
        let released = self.0.source.wait(join_all(handles.iter().map(release)));
        let mut not_held = Vec::new();
        let mut failure = None;
        for (name, released) in names.into_iter().zip(released) {
            match released {
                Ok(()) => {}
                Err(LockError::NotHeld { .. } | LockError::Redis(RedisError::Lost { .. })) => {
                    not_held.push(name.to_owned());
                }
                Err(other) => failure = Some(other),
            }
        }
        failure.map_or(Ok(not_held), Err)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.names().keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.names().len()
    }

    pub(super) fn info(&self, name: &str) -> Result<LockInfo, LockError> {
        self.0.source.wait(self.info_async(name))
    }

    /// Asks the server, who may know of holders elsewhere.
    pub(super) async fn info_async(&self, name: &str) -> Result<LockInfo, LockError> {
        Ok(self.0.lock(name)?.info_async().await?)
    }

    pub(super) fn infos(&self) -> Result<Vec<LockInfo>, LockError> {
        self.0.source.wait(self.infos_async())
    }

    pub(super) async fn infos_async(&self) -> Result<Vec<LockInfo>, LockError> {
        let locks: Vec<_> = self.0.names().values().map(|name| name.lock.clone()).collect();
        let infos = join_all(locks.iter().map(RedisLock::info_async)).await;
        Ok(infos.into_iter().collect::<Result<_, _>>()?)
    }

    pub(super) fn cleanup(&self) -> Result<Swept, LockError> {
        self.0.source.wait(self.cleanup_async())
    }

    pub(super) async fn cleanup_async(&self) -> Result<Swept, LockError> {
        let mut expired = 0;
        self.0.names().retain(|_, name| {
            expired += usize::from(name.lock.forget_expired());
            name.is_in_use()
        });
        let releases = self.0.source.settle().await?;
        let Total { locks, waiters, marks } = self.0.lock.sweep().await?;
        Ok(Swept { expired, releases, locks, waiters, marks, ..Swept::default() })
    }
}

/// A handle of a lock in Redis.
pub(super) struct RemoteHandle {
    shared: Arc<Shared>,
    lock: RedisLock,
}

impl RemoteHandle {
    pub(super) fn belong_to(&mut self, owner: &LockOwner) {
        let mut label = owner.label();
        let fits = (0..=LONGEST_LABEL).rev().find(|end| label.is_char_boundary(*end));
        label.truncate(fits.unwrap_or_default());
        self.lock = self.lock.with_owner(label);
    }

    pub(super) fn name(&self) -> &str {
        self.lock.name()
    }

    pub(super) fn takes_one_by_one(&self) -> bool {
        self.shared.one_by_one
    }

    pub(super) fn enter(&self, time: Wait) -> Result<Option<Lease>, LockError> {
        Ok(self.shared.source.wait(self.lock.take(patience(time)))?.map(Box::new))
    }

    pub(super) fn enter_patiently(&self) -> Result<Lease, LockError> {
        Ok(self.lock.lock()?.into())
    }

    pub(super) async fn enter_async(&self) -> Result<Lease, LockError> {
        Ok(self.lock.lock_async().await?.into())
    }

    pub(super) async fn try_enter_async(&self) -> Result<Option<Lease>, LockError> {
        Ok(self.lock.try_lock_async().await?.map(Box::new))
    }

    /// Holds until [`end_acquired`](Self::end_acquired).
    #[expect(clippy::boxed_local, reason = "guards have their leases boxed")]
    pub(super) fn keep(&self, lease: Lease) {
        self.lock.keep(*lease);
    }

    /// Ends a hold that belongs to no guard. `false` if there is none.
    pub(super) fn end_acquired(&self) -> Result<bool, LockError> {
        match self.lock.release() {
            Ok(()) => Ok(true),
            Err(LockError::NotHeld { .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(super) fn is_locked(&self) -> Result<bool, LockError> {
        self.lock.locked()
    }
}

/// Takes all of these for a lease of each, or none, in one script.
pub(super) fn enter_all(
    locks: &[&RemoteHandle],
    time: Wait,
) -> Result<Option<Vec<Lease>>, LockError> {
    let [first, ..] = locks else { return Ok(Some(Vec::new())) };
    let source = &first.shared.source;
    let locks: Vec<_> = locks.iter().map(|handle| &handle.lock).collect();
    Ok(source.wait(lock_all(&locks, patience(time)))?.map(boxed))
}

/// The same for tasks, for as long as it takes.
pub(super) async fn enter_all_async(locks: &[&RemoteHandle]) -> Result<Vec<Lease>, LockError> {
    let locks: Vec<_> = locks.iter().map(|handle| &handle.lock).collect();
    // Without a deadline there is no other answer.
    Ok(lock_all(&locks, patience(Wait::Forever)).await?.map(boxed).unwrap_or_default())
}

fn boxed(guards: Vec<RedisGuard>) -> Vec<Lease> {
    guards.into_iter().map(Box::new).collect()
}

/// Releases all of these in one go.
pub(super) fn end_all(leases: Vec<Lease>) -> Result<(), LockError> {
    let Some(first) = leases.first() else { return Ok(()) };
    let source = first.source().clone();
    source.wait(end_all_async(leases))
}

/// The same for tasks.
pub(super) async fn end_all_async(leases: Vec<Lease>) -> Result<(), LockError> {
    let released = join_all(leases.into_iter().map(|lease| lease.release_async())).await;
    Ok(released.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))?)
}

/// Another handle of the same lock, with the same owner.
impl Clone for RemoteHandle {
    fn clone(&self) -> Self {
        if let Some(known) = self.shared.names().get_mut(self.name()) {
            known.handles += 1;
        }
        Self { shared: self.shared.clone(), lock: self.lock.clone() }
    }
}

impl Drop for RemoteHandle {
    fn drop(&mut self) {
        let mut names = self.shared.names();
        let Some(known) = names.get_mut(self.lock.name()) else { return };
        known.handles -= 1;
        if !known.is_in_use() {
            names.remove(self.lock.name());
        }
    }
}
