//! Locks by name: [`LockManager`].

mod all;
mod backend;
mod deadlock;
mod entry;
mod handle;
mod latch;
mod local;
mod order;
mod owner;
#[cfg(not(all(feature = "redis", not(loom))))]
#[path = "manager/no_remote.rs"]
mod remote;
#[cfg(all(feature = "redis", not(loom)))]
mod remote;
mod table;

use std::fmt;
use std::future::Future;
use std::thread;

use self::all::All;
use self::deadlock::Graph;
use self::entry::Entry;
use self::local::LocalHandle;
use self::remote::Remote;
use self::table::Table;
use crate::sys::Arc;
use crate::{LocalLock, LockError, LockInfo, Wait};

pub use all::AllGuard;
pub use backend::{Backend, ManagerError, UnknownBackend};
pub use deadlock::{Deadlock, DeadlockStep};
pub use handle::{ManagedGuard, ManagedLock, OwnedManagedGuard};
#[cfg(loom)]
pub(crate) use order::ALL as ALL_ORDERINGS;
pub use owner::LockOwner;

/// Locks by name: the same name is the same lock.
///
/// A name costs memory while somebody has a handle or a guard of it, holds it, or waits for it; the
/// last one to go takes it away. So names may be as many as there are customers, files or requests.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::{BaseLock, LockManager, Wait};
///
/// let locks = LockManager::local();
/// let lock = locks.get_lock("customer 17")?;
/// assert!(lock.acquire(Wait::Never)?);
/// assert!(!locks.acquire_all(&["customer 4", "customer 17"], Wait::Never)?);
/// lock.release()?;
///
/// let both = locks.lock_all(&["customer 4", "customer 17"], Wait::Forever)?;
/// drop((both, lock));
/// assert!(locks.is_empty());
/// # }
/// # Ok::<(), warded::LockError>(())
/// ```
///
/// It is shared by reference, in a `static` or in an `Arc`. Handles and guards outlive it.
///
/// Names are hashed as std's maps hash keys, with SipHash under random keys: names often come from
/// outside, and nobody outside is to choose names that all fall into one place.
pub struct LockManager {
    locks: Locks,
    owner: Option<Box<str>>,
}

/// Where they are.
enum Locks {
    Local(Arc<Table>),
    Remote(Remote),
}

impl LockManager {
    /// Locks in this process, with the builder's defaults.
    pub fn local() -> Self {
        LockManagerBuilder::default().build_local()
    }

    /// For a choice of backend and options.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LockManager, ManagerError};
    ///
    /// let backend = "local".parse()?;
    /// let locks = LockManager::builder().backend(backend).shards(16).build()?;
    /// # drop(locks);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> LockManagerBuilder {
        LockManagerBuilder::default()
    }

    /// The lock of this name.
    ///
    /// # Errors
    /// [`LockError::EmptyName`].
    #[inline]
    pub fn get_lock(&self, name: &str) -> Result<ManagedLock, LockError> {
        if name.is_empty() {
            return Err(LockError::EmptyName);
        }
        match &self.locks {
            Locks::Local(table) => Ok(LocalHandle::keep(table.get(name)).into()),
            Locks::Remote(remote) => remote.get(name).map(ManagedLock::from),
        }
    }

    /// Acquires all these names, or none: `false` if they were not all to be had within `wait`. The
    /// time is for all of them together. A name that is said twice counts once.
    ///
    /// Whatever order the names are said in, calls of this kind never wait for one another in a
    /// circle. [`release_all`](Self::release_all) ends the holds, or each name's
    /// [`release`](crate::BaseLock::release).
    ///
    /// # Errors
    /// As [`get_lock`](Self::get_lock) and [`ManagedLock::lock`].
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    ///
    /// let locks = warded::LockManager::local();
    /// assert!(locks.acquire_all(&["from", "to"], Duration::from_secs(1).into())?);
    /// locks.release_all(&["from", "to"])?;
    /// # }
    /// # Ok::<(), warded::LockError>(())
    /// ```
    pub fn acquire_all<N: AsRef<str>>(&self, names: &[N], wait: Wait) -> Result<bool, LockError> {
        self.get_all(names)?.acquire(wait)
    }

    /// Ends the holds that [`acquire_all`](Self::acquire_all), or `acquire`, began on these names.
    ///
    /// # Errors
    /// [`LockError::NotAllHeld`] names those that were not held so. The others are released.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LockError, LockManager, Wait};
    ///
    /// let locks = LockManager::local();
    /// assert!(locks.acquire_all(&["a"], Wait::Never)?);
    /// let Err(LockError::NotAllHeld { names }) = locks.release_all(&["a", "b"]) else { panic!() };
    /// assert_eq!(names, ["b"]);
    /// assert!(locks.is_empty());
    /// # }
    /// # Ok::<(), warded::LockError>(())
    /// ```
    pub fn release_all<N: AsRef<str>>(&self, names: &[N]) -> Result<(), LockError> {
        let names = || names.iter().map(AsRef::as_ref);
        let mut missing = match &self.locks {
            Locks::Local(table) => {
                let release = |lock: LocalHandle| lock.entry().end_acquired();
                let find = |name: &str| table.find(name).map(LocalHandle::keep);
                let not_held = |(_, name): &(usize, &str)| !find(name).is_some_and(release);
                // Of a name that is said twice, the second finds nothing more to release.
                let is_new =
                    |(place, name): &(usize, &str)| !names().take(*place).any(|n| n == *name);
                let missing = names().enumerate().filter(not_held).filter(is_new);
                missing.map(|(_, name)| name.to_owned()).collect::<Vec<_>>()
            }
            Locks::Remote(remote) => remote.release_all(names())?,
        };
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        Err(LockError::NotAllHeld { names: missing })
    }

    /// [`acquire_all`](Self::acquire_all) with a guard that releases all the names when it is
    /// dropped. `None` if they were not all to be had within `wait`.
    ///
    /// # Errors
    /// As [`acquire_all`](Self::acquire_all).
    pub fn lock_all<N: AsRef<str>>(
        &self,
        names: &[N],
        wait: Wait,
    ) -> Result<Option<AllGuard>, LockError> {
        self.get_all(names)?.lock(wait)
    }

    /// [`lock_all`](Self::lock_all) for tasks, when all the names are free.
    ///
    /// Cancel-safe at every await: a future that is dropped gives back what it has taken. It borrows
    /// neither the manager nor the names.
    ///
    /// # Errors
    /// As [`acquire_all`](Self::acquire_all).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let locks = warded::LockManager::local();
    /// let both = locks.lock_all_async(&["from", "to"]).await?;
    /// assert_eq!(both.names().count(), 2);
    /// # Ok::<(), warded::LockError>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub fn lock_all_async<N: AsRef<str>>(
        &self,
        names: &[N],
    ) -> impl Future<Output = Result<AllGuard, LockError>> + Send + use<N> {
        let locks = self.get_all(names);
        async { locks?.lock_async().await }
    }

    /// Each name's lock once, in the order in which everybody takes them.
    fn get_all<N: AsRef<str>>(&self, names: &[N]) -> Result<All, LockError> {
        let mut all = All::with_capacity(names.len());
        for name in names {
            all.push(self.get_lock(name.as_ref())?);
        }
        all.put_in_order();
        Ok(all)
    }

    /// The names in use, in no particular order. True only for the moment it was asked.
    pub fn names(&self) -> Vec<String> {
        match &self.locks {
            Locks::Local(table) => {
                let mut names = Vec::new();
                // SAFETY: the table shows entries under the latch.
                table.for_each(|entry| names.push(unsafe { entry.key().name.clone() }));
                names
            }
            Locks::Remote(remote) => remote.names(),
        }
    }

    /// How many names are in use: somebody has a handle or a guard, holds them, or waits.
    pub fn len(&self) -> usize {
        match &self.locks {
            Locks::Local(table) => table.len(),
            Locks::Remote(remote) => remote.len(),
        }
    }

    /// Whether no name is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who holds this name, and since when. Of a name that nobody holds, or that nobody knows,
    /// nothing but the name.
    ///
    /// The time is the wall clock's when the hold began, to its tick where the system has a quick
    /// clock (4 ms or so, on Linux).
    ///
    /// # Errors
    /// None in this process.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// let locks = warded::LockManager::local();
    /// let lock = locks.get_lock("jobs")?;
    /// let guard = lock.lock()?;
    /// let info = locks.info("jobs")?;
    /// assert!(info.owner.is_some() && info.acquired_at.is_some());
    /// drop(guard);
    /// assert_eq!(locks.info("jobs")?, warded::LockInfo::unheld("jobs"));
    /// # }
    /// # Ok::<(), warded::LockError>(())
    /// ```
    pub fn info(&self, name: &str) -> Result<LockInfo, LockError> {
        match &self.locks {
            Locks::Local(table) => {
                let lock = table.find(name).map(LocalHandle::keep);
                let unheld = || LockInfo::unheld(name);
                Ok(lock.map_or_else(unheld, |lock| self.info_of(name.to_owned(), lock.entry())))
            }
            Locks::Remote(remote) => remote.info(name),
        }
    }

    /// [`info`](Self::info) for tasks: in Redis it waits for the server. Cancel-safe.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// # pollster::block_on(async {
    /// let locks = warded::LockManager::local();
    /// assert_eq!(locks.info_async("jobs").await?, warded::LockInfo::unheld("jobs"));
    /// # Ok::<(), warded::LockError>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub async fn info_async(&self, name: &str) -> Result<LockInfo, LockError> {
        match &self.locks {
            Locks::Local(_) => self.info(name),
            Locks::Remote(remote) => remote.info_async(name).await,
        }
    }

    /// [`info`](Self::info) of every name in use, in no particular order.
    ///
    /// # Errors
    /// None in this process.
    pub fn infos(&self) -> Result<Vec<LockInfo>, LockError> {
        match &self.locks {
            Locks::Local(table) => {
                let mut infos = Vec::new();
                table.for_each(|entry| {
                    // SAFETY: the table shows entries under the latch.
                    let name = unsafe { entry.key().name.clone() };
                    infos.push(self.info_of(name, entry));
                });
                Ok(infos)
            }
            Locks::Remote(remote) => remote.infos(),
        }
    }

    /// [`infos`](Self::infos) for tasks: in Redis it waits for the server. Cancel-safe.
    ///
    /// # Errors
    /// As [`infos`](Self::infos).
    pub async fn infos_async(&self) -> Result<Vec<LockInfo>, LockError> {
        match &self.locks {
            Locks::Local(_) => self.infos(),
            Locks::Remote(remote) => remote.infos_async().await,
        }
    }

    fn info_of(&self, name: String, entry: &Entry) -> LockInfo {
        let mut info = LockInfo::unheld(name);
        if let Some((holder, since)) = entry.hold() {
            info.owner = Some(holder.label(self.owner.as_deref()));
            info.acquired_at = Some(since);
        }
        info
    }

    /// Sweeps what is left over.
    ///
    /// No name that is out of use is kept, so in this process nothing needs this: it gives the memory
    /// of a few vacant entries back.
    ///
    /// In Redis it
    /// 1. forgets holds through [`acquire`](crate::BaseLock::acquire) and
    ///    [`acquire_all`](Self::acquire_all) whose lease has ended;
    /// 2. waits until the releases that are under way, also those that are sent again and again
    ///    because nobody answers, are confirmed, or their leases over;
    /// 3. takes away, for all names of this manager's prefix and group, whoever used them, what is
    ///    over on the server: waiters that died, what is remembered of old attempts, and names that
    ///    nobody has held, waited for, or used for a minute or more. What is held, who waits, and the
    ///    order of fencing tokens is not touched, whenever this runs.
    ///
    /// For the last it walks through all keys of the database (of each server of a cluster), 250 at a
    /// time, and the server serves others in between: on a large database it takes long. Nobody has
    /// to call this: names go from the server by themselves, a day after their last use.
    ///
    /// # Errors
    /// None in this process. In Redis, that a release could not be confirmed
    /// (`RedisError::Unconfirmed`), or that the server could not be asked; then a part may be swept.
    pub fn cleanup(&self) -> Result<Swept, LockError> {
        match &self.locks {
            Locks::Local(table) => Ok(Swept { vacant: table.free_vacant(), ..Swept::default() }),
            Locks::Remote(remote) => remote.cleanup(),
        }
    }

    /// [`cleanup`](Self::cleanup) for tasks: in Redis it waits for the server.
    ///
    /// Cancel-safe: what was swept until then is.
    ///
    /// # Errors
    /// As [`cleanup`](Self::cleanup).
    pub async fn cleanup_async(&self) -> Result<Swept, LockError> {
        match &self.locks {
            Locks::Local(_) => self.cleanup(),
            Locks::Remote(remote) => remote.cleanup_async().await,
        }
    }
}

/// What [`LockManager::cleanup`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Swept {
    /// So many vacant entries were freed.
    pub vacant: usize,
    /// So many holds in Redis were forgotten, whose lease had ended.
    pub expired: usize,
    /// So many releases were under way to Redis, and are confirmed now.
    pub releases: usize,
    /// So many names were taken away on the server, which nobody used any more.
    pub locks: usize,
    /// So many waiters that had died were taken out of queues on the server.
    pub waiters: usize,
    /// So many marks of old attempts, by which the server knows late messages, were taken away.
    pub marks: usize,
}

impl Drop for LockManager {
    fn drop(&mut self) {
        if let Locks::Local(table) = &self.locks {
            Table::abandon(table);
        }
    }
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManager").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Options of a [`LockManager`]: what [`LockManager::builder`] gives.
#[derive(Debug, Clone, Default)]
#[must_use = "build() makes the manager"]
pub struct LockManagerBuilder {
    backend: Option<Backend>,
    owner: Option<Box<str>>,
    shards: Option<usize>,
    bypass: Option<u16>,
    detect_deadlocks: bool,
    remote: remote::Options,
}

impl LockManagerBuilder {
    /// The most shards.
    pub const MAX_SHARDS: usize = 1 << 16;

    /// Where the locks are: in this process, unless this says otherwise, or a client for Redis is
    /// given.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Who holds, in [`LockInfo`], when a handle has no [owner](ManagedLock::with_owner) of its own.
    /// By default the thread, with its name; in Redis the process's number, and the host's name if
    /// that is known.
    pub fn owner(mut self, label: impl Into<Box<str>>) -> Self {
        self.owner = Some(label.into());
        self
    }

    /// Into how many parts the names are divided: threads that look for names in different parts do
    /// not meet. A power of two; by default 16 for each processor, and at least 64. Redis has no use
    /// for it.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How often newcomers may overtake the head of a name's queue: see
    /// [`LocalLock`](LocalLock#fairness). In Redis 16, unless this says otherwise.
    pub fn bypass(mut self, budget: u16) -> Self {
        self.bypass = Some(budget);
        self
    }

    /// Whether a wait that would close a cycle is refused with [`LockError::Deadlock`], which names
    /// everybody in the cycle, instead of having no end. Off by default: each wait then takes a lock
    /// that all of them share. Whoever finds a lock free pays nothing.
    ///
    /// Only locks of one manager are followed. A thread is who it is, and a task without an
    /// [owner](ManagedLock::with_owner) is nobody, so its waits and holds are left out. What a thread
    /// or an owner has taken counts as its own until it is released: whoever passes guards on, or
    /// has others call `release`, gives both sides one owner, or leaves this off. A wait with a
    /// deadline counts until then.
    pub fn detect_deadlocks(mut self, detect: bool) -> Self {
        self.detect_deadlocks = detect;
        self
    }

    /// Makes the manager.
    ///
    /// # Errors
    /// [`ManagerError`] says what is wrong with the options.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{LockManager, ManagerError};
    ///
    /// let refused = LockManager::builder().shards(3).build();
    /// assert!(matches!(refused, Err(ManagerError::Option { option: "shards", .. })));
    /// # }
    /// ```
    pub fn build(self) -> Result<LockManager, ManagerError> {
        let refused = |option, why| Err(ManagerError::Option { option, why });
        let (most_shards, most_bypass) = (Self::MAX_SHARDS, LocalLock::MAX_BYPASS);
        if self.shards.is_some_and(|shards| !shards.is_power_of_two() || shards > most_shards) {
            return refused("shards", format!("it is to be a power of two up to {most_shards}"));
        }
        if self.bypass.is_some_and(|budget| budget > most_bypass) {
            return refused("bypass", format!("it is to be at most {most_bypass}"));
        }
        match self.backend.unwrap_or_else(|| self.remote.backend()) {
            Backend::Local => Ok(self.build_local()),
            Backend::Redis if self.detect_deadlocks => {
                let why = "deadlocks are found among locks in this process only; in Redis, leases end \
                           them";
                refused("detect_deadlocks", why.to_owned())
            }
            Backend::Redis => {
                let Self { owner, bypass, remote, .. } = self;
                let locks = Locks::Remote(remote.build(owner.as_deref(), bypass)?);
                Ok(LockManager { locks, owner })
            }
        }
    }

    fn build_local(self) -> LockManager {
        let shards = self.shards.unwrap_or_else(|| {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            (16 * processors).next_power_of_two().clamp(64, Self::MAX_SHARDS)
        });
        let graph = self.detect_deadlocks.then(Graph::new);
        let budget = self.bypass.unwrap_or(LocalLock::DEFAULT_BYPASS);
        let table = Arc::new(Table::new(shards, budget, graph));
        LockManager { locks: Locks::Local(table), owner: self.owner }
    }
}
