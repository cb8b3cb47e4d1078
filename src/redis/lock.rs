//! The lock in Redis that users touch.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::client::{Answer, Event, Patience, Status, Terms, grace_of};
use super::driver::clock;
use super::driver::slot::{Grant, Outcome};
use super::error::RedisError;
use super::guard::{Handover, RedisGuard};
use super::keys::Keys;
use super::source::{RedisSource, failure};
use super::sweep::{Total, sweep};
use crate::{BaseLock, Hold, LockError, LockInfo, Wait};

const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(3600);
const SHORTEST_TTL: Duration = Duration::from_millis(10);
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// A lock across machines: whoever asks the same Redis for the same name excludes one another, for
/// as long as a lease lasts.
///
/// The lease is what makes it different from a lock in process: a holder that dies blocks the others
/// for no longer than `ttl` and `grace`, and a holder that is slow **can lose the lock while it
/// works**. No lock with a lease can prevent that. This one tells: [`RedisGuard::is_valid`] turns
/// false before the lease can have ended, [`RedisGuard::lost`] wakes whoever listens, and
/// [`RedisGuard::fence`] lets the protected resource refuse a holder of before.
///
/// Every wait has a blocking and an async form. Neither needs a runtime: the thread that blocks does
/// the work itself, for tasks a thread of the [`RedisSource`] does it, and any executor can poll the
/// futures. Every future may be dropped at any time; what it began is cleaned up.
///
/// Not re-entrant: a thread that locks again what it holds waits for its own lease to end.
///
/// A lock is a handle; clones are the same lock, with the same hold through
/// [`acquire`](BaseLock::acquire).
///
/// ```no_run
/// # #[cfg(not(loom))] {
/// use warded::RedisLock;
///
/// let client = redis::Client::open("redis://127.0.0.1")?;
/// let lock = RedisLock::new("jobs", client)?;
/// let held = lock.lock()?;
/// println!("alone, with fencing token {}", held.fence());
/// held.release()?; // or drop it
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisLock {
    inner: Arc<Inner>,
    terms: Arc<Terms>,
}

struct Inner {
    name: Arc<str>,
    source: RedisSource,
    /// What `acquire` took and `release` is to end.
    held: Mutex<Option<RedisGuard>>,
}

impl fmt::Debug for RedisLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLock").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl RedisLock {
    /// The lock of this name, with a ttl of 30 s and the other options as they are unless set.
    /// Connects to nothing yet.
    ///
    /// A `redis::Client` gives the lock a connection and a thread of its own; to share them, pass
    /// clones of one [`RedisSource`].
    ///
    /// # Errors
    /// [`RedisError::EmptyName`].
    pub fn new(
        name: impl Into<String>,
        client: impl Into<RedisSource>,
    ) -> Result<Self, RedisError> {
        Self::builder(name, client).build()
    }

    /// A lock with options.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    /// use warded::RedisLock;
    ///
    /// let client = redis::Client::open("redis://127.0.0.1")?;
    /// let lock = RedisLock::builder("jobs", client)
    ///     .ttl(Duration::from_secs(10))
    ///     .renew(Duration::from_secs(3600))
    ///     .owner("importer on host 7")
    ///     .build()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(name: impl Into<String>, client: impl Into<RedisSource>) -> RedisLockBuilder {
        RedisLockBuilder {
            name: name.into(),
            source: client.into(),
            ttl: Duration::from_secs(30),
            grace: None,
            retry_delay: Duration::from_millis(100),
            owner: None,
            prefix: "warded".to_owned(),
            group: None,
            bypass: 16,
            waiter_ttl: Duration::from_secs(3),
            polling: false,
            max_hold: None,
        }
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The source that it talks through.
    pub fn source(&self) -> &RedisSource {
        &self.inner.source
    }

    /// Waits for the lock, for as long as it takes.
    ///
    /// # Errors
    /// Why the server could not be asked, for longer than the source's patience; never that
    /// somebody else holds the lock.
    pub fn lock(&self) -> Result<RedisGuard, RedisError> {
        self.inner.source.wait(self.lock_async())
    }

    /// As [`lock`](Self::lock). Cancel-safe: when the future is dropped, a grant that is on its way
    /// is given back.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn lock_async(&self) -> Result<RedisGuard, RedisError> {
        // Without a deadline there is no other answer.
        match self.take(Patience::Endless).await? {
            Some(held) => Ok(held),
            None => Err(failure(Outcome::Gone)),
        }
    }

    /// Takes the lock if it is free: one round trip. It goes behind the release of a guard of the same
    /// source that was dropped before; if it is refused while that is under way, it is made again, up to
    /// three times.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<Option<RedisGuard>, RedisError> {
        self.inner.source.wait(self.try_lock_async())
    }

    /// As [`try_lock`](Self::try_lock). Cancel-safe.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn try_lock_async(&self) -> Result<Option<RedisGuard>, RedisError> {
        self.take(Patience::Try).await
    }

    /// Waits for the lock for at most `time`. A time beyond the clock's range waits for ever.
    ///
    /// # Errors
    /// As [`lock`](Self::lock). Also if the time is over before the server could be asked.
    pub fn try_lock_for(&self, time: Duration) -> Result<Option<RedisGuard>, RedisError> {
        self.inner.source.wait(self.try_lock_for_async(time))
    }

    /// As [`try_lock_for`](Self::try_lock_for). Cancel-safe. The time begins with the first poll.
    ///
    /// # Errors
    /// As [`try_lock_for`](Self::try_lock_for).
    pub async fn try_lock_for_async(
        &self,
        time: Duration,
    ) -> Result<Option<RedisGuard>, RedisError> {
        self.take(patience(Wait::For(time))).await
    }

    /// Waits for the lock until `deadline` at the latest. One that has passed already makes this a
    /// [`try_lock`](Self::try_lock).
    ///
    /// # Errors
    /// As [`try_lock_for`](Self::try_lock_for).
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Option<RedisGuard>, RedisError> {
        self.inner.source.wait(self.try_lock_until_async(deadline))
    }

    /// As [`try_lock_until`](Self::try_lock_until). Cancel-safe.
    ///
    /// # Errors
    /// As [`try_lock_for`](Self::try_lock_for).
    pub async fn try_lock_until_async(
        &self,
        deadline: Instant,
    ) -> Result<Option<RedisGuard>, RedisError> {
        self.take(patience(Wait::Until(deadline))).await
    }

    /// Takes over what another process handed over, with what is left of its lease. This lock must
    /// have the same name, prefix, group and server.
    ///
    /// # Errors
    /// [`RedisError::Lost`] if the lease is over by now, and as [`lock`](Self::lock).
    pub fn take_over(&self, handover: Handover) -> Result<RedisGuard, RedisError> {
        self.inner.source.wait(self.take_over_async(handover))
    }

    /// As [`take_over`](Self::take_over). If the future is dropped, the handover is as good as
    /// before.
    ///
    /// # Errors
    /// As [`take_over`](Self::take_over).
    pub async fn take_over_async(&self, handover: Handover) -> Result<RedisGuard, RedisError> {
        let terms = self.terms.clone();
        let passed = handover.passed;
        let asked = self.inner.source.ask(|ask| Event::TakeOver { ask, terms, passed });
        match self.outcome(asked.await?)? {
            Some(held) => Ok(held),
            None => Err(failure(Outcome::Gone)),
        }
    }

    /// Lengthens the lease of what [`acquire`](BaseLock::acquire) took by `additional`. False if
    /// nothing is acquired, or not any more.
    ///
    /// # Errors
    /// [`RedisError::Option`] for a time under 1 ms or over 30 days, and as [`lock`](Self::lock).
    pub fn extend(&self, additional: Duration) -> Result<bool, RedisError> {
        self.inner.source.wait(self.extend_async(additional))
    }

    /// As [`extend`](Self::extend). If the future is dropped, the lease may be longer or not.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub async fn extend_async(&self, additional: Duration) -> Result<bool, RedisError> {
        let Some(handle) = self.held().as_ref().map(RedisGuard::handle) else { return Ok(false) };
        match handle.extend(additional).await {
            Ok(()) => Ok(true),
            Err(RedisError::Lost { .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Whether this lock holds what it acquired, by the server's word and by this process's clock.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn owned(&self) -> Result<bool, RedisError> {
        self.inner.source.wait(self.owned_async())
    }

    /// As [`owned`](Self::owned). Cancel-safe.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn owned_async(&self) -> Result<bool, RedisError> {
        if self.valid_token().is_none() {
            return Ok(false);
        }
        let status = self.status().await?;
        // Asked again afterwards: the lock may have been released or have run out meanwhile.
        Ok(self.valid_token().is_some_and(|token| !status.left.is_zero() && status.token == token))
    }

    /// Who holds the lock, since when, and how long its lease still lasts, without the grace.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn info(&self) -> Result<LockInfo, RedisError> {
        self.inner.source.wait(self.info_async())
    }

    /// As [`info`](Self::info). Cancel-safe.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn info_async(&self) -> Result<LockInfo, RedisError> {
        let status = self.status().await?;
        let mut info = LockInfo::unheld(self.name());
        if !status.left.is_zero() {
            let grace = grace_of(&status.info).unwrap_or_default();
            info.owner = status.info.splitn(3, ' ').nth(2).map(str::to_owned);
            info.acquired_at = UNIX_EPOCH.checked_add(Duration::from_micros(status.fence));
            info.ttl = Some(status.left.saturating_sub(grace));
        }
        Ok(info)
    }

    /// As [`BaseLock::acquire`]. Cancel-safe.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn acquire_async(&self, wait: Wait) -> Result<bool, LockError> {
        let Some(held) = self.take(patience(wait)).await? else { return Ok(false) };
        self.keep(held);
        Ok(true)
    }

    /// Holds what was taken until [`BaseLock::release`].
    pub(crate) fn keep(&self, held: RedisGuard) {
        let mut kept = self.held();
        // Two grants of one lock follow one another, so the other one has run out. That is this one
        // if nobody looked at it for longer than its lease. The drop of its guard sends a release,
        // which finds another's token and changes nothing.
        let is_late =
            kept.as_ref().is_some_and(|kept| kept.is_valid() && kept.fence() > held.fence());
        let over = if is_late { Some(held) } else { kept.replace(held) };
        drop(kept);
        drop(over);
    }

    /// Gives up what was acquired if its lease is over by now. Whether it was.
    pub(crate) fn forget_expired(&self) -> bool {
        self.held().take_if(|held| !held.is_valid()).is_some()
    }

    /// Whether something is acquired, with a lease that lasts or one that is over.
    pub(crate) fn has_acquired(&self) -> bool {
        self.held().is_some()
    }

    /// The same lock, with the same hold through `acquire`, in the name of another.
    pub(crate) fn with_owner(&self, owner: String) -> Self {
        let terms = Arc::new(Terms { owner, ..(*self.terms).clone() });
        Self { inner: self.inner.clone(), terms }
    }

    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// As [`BaseLock::release`]. Dropping the future only stops the waiting.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if no `acquire` is in force, and as [`RedisGuard::release`].
    pub async fn release_async(&self) -> Result<(), LockError> {
        let held = self.held().take();
        match held {
            Some(held) => Ok(held.release_async().await?),
            None => Err(LockError::NotHeld { name: Some(self.name().to_owned()) }),
        }
    }

    /// As [`BaseLock::locked`]. Cancel-safe.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn locked_async(&self) -> Result<bool, LockError> {
        Ok(!self.status().await?.left.is_zero())
    }

    pub(crate) async fn take(&self, patience: Patience) -> Result<Option<RedisGuard>, RedisError> {
        let terms = self.terms.clone();
        let asked = self.inner.source.ask(|ask| Event::Lock { ask, terms, patience });
        self.outcome(asked.await?)
    }

    fn outcome(&self, outcome: Outcome) -> Result<Option<RedisGuard>, RedisError> {
        match outcome {
            Outcome::Granted(grants) => {
                Ok(grants.into_iter().next().map(|grant| self.guard(grant)))
            }
            Outcome::Other(Answer::Busy) => Ok(None),
            other => Err(failure(other)),
        }
    }

    pub(crate) fn guard(&self, grant: Grant) -> RedisGuard {
        RedisGuard::new(self.inner.name.clone(), self.inner.source.clone(), grant)
    }

    async fn status(&self) -> Result<Status, RedisError> {
        let terms = self.terms.clone();
        match self.inner.source.ask(|ask| Event::Status { ask, terms }).await? {
            Outcome::Other(Answer::Status(status)) => Ok(status),
            other => Err(failure(other)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<RedisGuard>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token of what was acquired, while that is valid.
    fn valid_token(&self) -> Option<String> {
        let held = self.held();
        held.as_ref().filter(|held| held.is_valid()).map(|held| held.token().to_owned())
    }
}

/// What a wait that begins now means to the driver, whose clock is another.
pub(crate) fn patience(wait: Wait) -> Patience {
    use crate::wait::Patience as Begun;
    match wait.begin() {
        Begun::None => Patience::Try,
        Begun::Endless => Patience::Endless,
        Begun::Until(deadline) => {
            Patience::Until(clock::now() + deadline.saturating_duration_since(Instant::now()))
        }
    }
}

impl BaseLock for RedisLock {
    /// Takes the lock and leaves it taken until [`release`](BaseLock::release), or until its lease
    /// ends: [`RedisLock::owned`] tells, and [`RedisLock::extend`] lengthens it. It is released with the
    /// last clone of this lock, too.
    fn acquire(&self, patience: Wait) -> Result<bool, LockError> {
        self.inner.source.wait(self.acquire_async(patience))
    }

    fn release(&self) -> Result<(), LockError> {
        self.inner.source.wait(self.release_async())
    }

    fn locked(&self) -> Result<bool, LockError> {
        self.inner.source.wait(self.locked_async())
    }

    fn hold(&self, time: Wait) -> Result<Option<Hold<'_>>, LockError> {
        Ok(self.inner.source.wait(self.take(patience(time)))?.map(Hold::new))
    }
}

/// Options of a [`RedisLock`].
///
/// Processes that share a lock must agree on name, prefix and group; the other options may differ.
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisLockBuilder {
    name: String,
    source: RedisSource,
    ttl: Duration,
    grace: Option<Duration>,
    retry_delay: Duration,
    owner: Option<String>,
    prefix: String,
    group: Option<String>,
    bypass: u32,
    waiter_ttl: Duration,
    polling: bool,
    max_hold: Option<Duration>,
}

impl RedisLockBuilder {
    /// The same options for another name.
    /// Takes away what is over of all locks that have this prefix and group.
    pub(crate) async fn sweep(&self) -> Result<Total, RedisError> {
        sweep(&self.source, &self.prefix, self.group.as_deref()).await
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// How long a hold lasts unless it is extended, and for how long a dead holder blocks others.
    /// 30 s unless set; from 10 ms to 30 days. Counted in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How much longer than its ttl the server keeps the lock from others: what lies between the end
    /// of validity here and the next grant, for messages of the holder that are still under way. A
    /// tenth of the ttl unless set, at most 1 s; up to the ttl. Counted in whole milliseconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// After how long a waiter asks again that is told nothing; with wake-ups by pub/sub this
    /// doubles up to 1 s, with polling it stays (with a quarter of jitter). 100 ms unless set; more
    /// than zero, up to 1 h. A waiter also asks whenever a third of its `waiter_ttl` is over.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// Who holds, for [`LockInfo::owner`]. The process's number and the host's name, if that is
    /// known, unless set; up to 256 bytes.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The beginning of the lock's keys. `warded` unless set; without braces.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Puts the lock's keys into one cluster slot with those of all names of this group. The same
    /// name in another group, or in none, is another lock.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// How often newcomers may overtake the first waiter before they are refused. 16 unless set; 0
    /// is strictly first come, first served, which is slower. (Not where several names are taken at once:
    /// see `LockManager::lock_all` in docs/manager.md.)
    pub fn bypass(mut self, budget: u32) -> Self {
        self.bypass = budget;
        self
    }

    /// For how long a waiter that died keeps its place in the queue. 3 s unless set; from 100 ms to
    /// 1 h. A waiter asks again three times in it.
    pub fn waiter_ttl(mut self, time: Duration) -> Self {
        self.waiter_ttl = time;
        self
    }

    /// Has waiters only ask again and again, without a subscription: for users without a right to
    /// channels, or behind a proxy that has none.
    pub fn polling(mut self) -> Self {
        self.polling = true;
        self
    }

    /// Renews the lease every third of the ttl while the guard lives, for at most `max_hold` after
    /// the lock was taken. Not done unless set: a process that hangs would hold for ever, and that
    /// a lock ends with its lease is what a lease is for. It is to be more than the ttl. The last renewal
    /// lasts for a ttl, too, so a hold may outlast `max_hold` by as much.
    pub fn renew(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// The lock. Connects to nothing yet.
    ///
    /// # Errors
    /// [`RedisError::EmptyName`], and [`RedisError::Option`] for a value out of its limits.
    pub fn build(self) -> Result<RedisLock, RedisError> {
        let ms = |time: Duration| Duration::from_millis(time.as_millis() as u64);
        let keys = Keys::new(&self.prefix, self.group.as_deref(), &self.name)?;
        if self.ttl < SHORTEST_TTL || self.ttl > LONGEST_TTL {
            let why = format!("{:?} is not between 10 ms and 30 days", self.ttl);
            return Err(RedisError::option("ttl", why));
        }
        if self.retry_delay.is_zero() || self.retry_delay > LONGEST_RETRY_DELAY {
            let why = format!("{:?} is not more than zero and at most 1 h", self.retry_delay);
            return Err(RedisError::option("retry_delay", why));
        }
        let ttl = ms(self.ttl);
        let grace = ms(self.grace.unwrap_or_else(|| (ttl / 10).min(Duration::from_secs(1))));
        if grace > ttl {
            let why = format!("{grace:?} is more than the ttl of {ttl:?}");
            return Err(RedisError::option("grace", why));
        }
        if self.waiter_ttl < Duration::from_millis(100)
            || self.waiter_ttl > Duration::from_secs(3600)
        {
            let why = format!("{:?} is not between 100 ms and 1 h", self.waiter_ttl);
            return Err(RedisError::option("waiter_ttl", why));
        }
        if let Some(most) = self.max_hold
            && most <= ttl
        {
            let why =
                format!("{most:?} is not more than the ttl of {ttl:?}, which a hold lasts anyway");
            return Err(RedisError::option("renew", why));
        }
        let owner = self.owner.unwrap_or_else(this_process);
        if owner.len() > 256 {
            return Err(RedisError::option("owner", "it is longer than 256 bytes"));
        }
        let terms = Terms {
            keys,
            parts: Box::default(),
            ttl,
            grace,
            owner,
            bypass: self.bypass,
            waiter_ttl: ms(self.waiter_ttl),
            retry_delay: self.retry_delay,
            polling: self.polling,
            max_hold: self.max_hold,
        };
        let (name, held) = (self.name.into(), Mutex::new(None));
        let inner = Inner { name, source: self.source, held };
        Ok(RedisLock { inner: Arc::new(inner), terms: Arc::new(terms) })
    }
}

/// "pid 17 on host", for people to read.
fn this_process() -> String {
    let pid = std::process::id();
    match std::env::var("HOSTNAME") {
        Ok(host) if !host.is_empty() && host.len() <= 200 => format!("pid {pid} on {host}"),
        _ => format!("pid {pid}"),
    }
}
