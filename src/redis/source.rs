//! A server to lock on: the handle that owns connections, the driver and the channel.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::{Answer, AskId, Event, Temper};
use super::driver::slot::{Open, Outcome, Slot, wait};
use super::driver::{self, Handle, Message, RedisServer, Setup};
use super::error::RedisError;

/// A Redis server to lock on, with the connections to it.
///
/// A source is a handle: clones share three connections (two for commands, of which one is for a
/// request that is alone, and one for wake-ups, which is made when somebody waits first), one thread
/// and one pub/sub channel, however many locks are made from it. Sources that are made separately share nothing, also for the same `redis::Client`. So
/// make one a server and pass clones of it around; a [`RedisLock`](crate::RedisLock) that is made
/// from a `redis::Client` has a source of its own.
///
/// Nothing is connected before the first use. The thread ends when the last handle, lock and guard
/// is gone and what they left behind is released. A process that forks must not use a source of
/// before the fork in the child.
///
/// Address, login, database, protocol (RESP2 or RESP3) and TLS come from the client. TLS needs the
/// `redis` crate's feature `tokio-rustls-comp` or `tokio-native-tls-comp`.
///
/// A `SentinelClient` is asked where the master is whenever a connection is made, so a failover is
/// followed. A [cluster](RedisServer::cluster) has a connection for commands to each server that is
/// needed, and follows slots that move and replicas that take over.
///
/// ```no_run
/// # #[cfg(not(loom))] {
/// use warded::{RedisLock, RedisSource};
///
/// let source = RedisSource::from(redis::Client::open("redis://127.0.0.1")?);
/// let invoices = RedisLock::new("invoices", source.clone())?;
/// let mails = RedisLock::new("mails", source.clone())?; // the same connection
/// drop(invoices.lock()?);
/// source.flush()?; // the release has reached the server
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisSource {
    inner: Arc<Inner>,
}

struct Inner {
    setup: Setup,
    driver: OnceLock<Handle>,
    /// Held by whoever starts the driver. What could not be started is tried again the next time.
    starting: Mutex<()>,
    last_ask: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.close();
        }
    }
}

impl fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSource").finish_non_exhaustive()
    }
}

impl From<redis::Client> for RedisSource {
    fn from(client: redis::Client) -> Self {
        Self::builder(client).build_unchecked()
    }
}

impl From<RedisServer> for RedisSource {
    fn from(server: RedisServer) -> Self {
        Self::builder(server).build_unchecked()
    }
}

impl From<redis::sentinel::SentinelClient> for RedisSource {
    fn from(client: redis::sentinel::SentinelClient) -> Self {
        Self::builder(client).build_unchecked()
    }
}

impl RedisSource {
    /// A source with options.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    /// use warded::RedisSource;
    ///
    /// let client = redis::Client::open("redis://127.0.0.1")?;
    /// let source = RedisSource::builder(client).patience(Duration::from_secs(2)).build()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(server: impl Into<RedisServer>) -> RedisSourceBuilder {
        RedisSourceBuilder {
            server: server.into(),
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            channel_prefix: "warded".to_owned(),
        }
    }

    /// Waits until every release that is under way has been answered: those of guards that were
    /// dropped, and those of acquisitions that were given up. Call it before the process ends.
    ///
    /// # Errors
    /// [`RedisError::Unconfirmed`] if one of them could not be confirmed in time. While the server does
    /// not answer, a release is tried until its lease is over, and for the
    /// [patience](RedisSourceBuilder::patience) if that is longer; that of an acquisition which was given
    /// up, and may still arrive, for its lease and 30 s more.
    pub fn flush(&self) -> Result<(), RedisError> {
        self.wait(self.flush_async())
    }

    /// As [`flush`](Self::flush). Dropping the future only stops the waiting.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_async(&self) -> Result<(), RedisError> {
        self.settle().await.map(drop)
    }

    /// As [`flush_async`](Self::flush_async); says how many releases were under way.
    pub(crate) async fn settle(&self) -> Result<usize, RedisError> {
        match self.ask(|ask| Event::Flush { ask }).await? {
            Outcome::Other(Answer::Flushed(releases)) => Ok(releases),
            other => Err(failure(other)),
        }
    }

    /// Whether keys lie in slots, so that one script reaches those of one slot only.
    pub(crate) fn has_slots(&self) -> bool {
        self.inner.setup.server.is_cluster()
    }

    /// Asks the driver; the event is made for the question's number. That happens in the first poll; if
    /// it is dropped after that, the question is taken back, with all that comes of it.
    pub(crate) async fn ask(
        &self,
        event: impl FnOnce(AskId) -> Event,
    ) -> Result<Outcome, RedisError> {
        let driver = self.driver()?;
        let ask = self.inner.last_ask.fetch_add(1, Ordering::Relaxed) + 1;
        let slot = Slot::new();
        let message = Message::Ask { ask, slot: Open(slot.clone()), event: event(ask) };
        let mut message = Some(message);
        let gives_way = AT_ONCE.get() >= MOST_AT_ONCE;
        let asking = Asking { source: self, ask, slot, gives_way, done: false };
        let asked = poll_fn(|cx| {
            let message = message.take().expect("it is asked once");
            Poll::Ready(driver.ask(message, cx.waker()))
        });
        asked.await.map_err(|_| gone())?;
        Ok(asking.await)
    }

    /// Tells the driver. It is gone only if it broke, and then nobody is left who could be told.
    pub(crate) fn tell(&self, event: Event) {
        if let Ok(driver) = self.driver() {
            let _ = driver.send(Message::Tell(event));
        }
    }

    /// A number that is above those of all protected writes up to now.
    pub(crate) fn next_write(&self) -> u64 {
        self.inner.driver.get().map_or(0, Handle::next_write)
    }

    /// Waits, on this thread, for a future that asks this source.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        // The last handle may be dropped with the future, but not while this thread leads.
        let source = self.clone();
        match source.driver() {
            Ok(driver) => driver.lead(future),
            // So will the future be told.
            Err(_) => wait(future),
        }
    }

    fn driver(&self) -> Result<&Handle, RedisError> {
        let Inner { setup, driver, starting, .. } = &*self.inner;
        if let Some(driver) = driver.get() {
            return Ok(driver);
        }
        let _starting = starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = driver.get() {
            return Ok(driver);
        }
        let started = driver::start(setup.clone());
        let started = started.map_err(|error| RedisError::Driver(Arc::new(error)))?;
        Ok(driver.get_or_init(|| started))
    }
}

fn gone() -> RedisError {
    RedisError::Driver(Arc::new(io::Error::other("the driver has ended")))
}

/// What an answer that is not the wanted one means.
pub(crate) fn failure(outcome: Outcome) -> RedisError {
    match outcome {
        Outcome::Other(Answer::Failed(failure)) => failure,
        Outcome::Gone | Outcome::Granted(_) | Outcome::Other(_) => gone(),
    }
}

/// After so many answers that were there at once, whoever asks gives way to others: it may be a task
/// that would never be pending else, on a thread that has more of them.
const MOST_AT_ONCE: u32 = 16;

thread_local! {
    /// How many answers were there at once on this thread, since one was not.
    static AT_ONCE: Cell<u32> = const { Cell::new(0) };
}

/// A question that is under way. Dropping it takes it back.
#[must_use]
struct Asking<'a> {
    source: &'a RedisSource,
    ask: AskId,
    slot: Arc<Slot>,
    /// Whether others are to have their turn before the answer is looked at.
    gives_way: bool,
    done: bool,
}

impl Future for Asking<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if mem::take(&mut self.gives_way) {
            AT_ONCE.set(0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.slot.poll(cx);
        AT_ONCE.set(if polled.is_ready() { AT_ONCE.get() + 1 } else { 0 });
        self.done |= polled.is_ready();
        polled
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        match self.slot.leave() {
            Some(Outcome::Granted(grants)) => {
                grants.into_iter().for_each(|grant| self.source.tell(grant.decline()));
            }
            Some(_) => {}
            None => self.source.tell(Event::Abandon { ask: self.ask }),
        }
    }
}

/// Options of a [`RedisSource`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisSourceBuilder {
    server: RedisServer,
    connect_timeout: Duration,
    answer_timeout: Duration,
    patience: Duration,
    channel_prefix: String,
}

impl RedisSourceBuilder {
    /// How long making a connection may take, login included. 2 s unless set; at least 1 ms.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// After how long without an answer the connection counts as dead and is made anew. All that
    /// was not answered is sent again then, which is safe. 1 s unless set; at least 1 ms.
    ///
    /// Locks with auto-renewal want this to be well below a third of their ttl.
    pub fn answer_timeout(mut self, time: Duration) -> Self {
        self.answer_timeout = time;
        self
    }

    /// For how long an operation is tried while the server cannot be reached or cannot serve it
    /// (it restarts, loads, fails over), before the operation fails. 5 s unless set; at least 1 ms.
    /// The caller's own deadline goes first.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// The beginning of the pub/sub channel's name, which is `<prefix>:c:<32 hex digits>`. `warded`
    /// unless set. For users whose ACL names channels.
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.channel_prefix = prefix.into();
        self
    }

    /// The source. Connects to nothing yet.
    ///
    /// # Errors
    /// [`RedisError::Option`] for a time under 1 ms.
    pub fn build(self) -> Result<RedisSource, RedisError> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("answer_timeout", self.answer_timeout),
            ("patience", self.patience),
        ];
        for (option, time) in times {
            if time < Duration::from_millis(1) {
                let why = format!("{time:?} is under 1 ms, in which no server answers");
                return Err(RedisError::option(option, why));
            }
        }
        Ok(self.build_unchecked())
    }

    fn build_unchecked(self) -> RedisSource {
        let temper = Temper { answer_timeout: self.answer_timeout, patience: self.patience };
        let setup = Setup {
            server: self.server,
            temper,
            connect_timeout: self.connect_timeout,
            prefix: self.channel_prefix,
        };
        let (driver, starting) = (OnceLock::new(), Mutex::default());
        let inner = Inner { setup, driver, starting, last_ask: AtomicU64::new(0) };
        RedisSource { inner: Arc::new(inner) }
    }
}
