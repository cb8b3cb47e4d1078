//! Holding a lock in Redis: the guard, the signal of its loss, and passing it on.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::{Answer, Event, HoldId, Passed, WRITES};
use super::driver::cell::Cell;
use super::driver::clock;
use super::driver::slot::{Grant, Outcome};
use super::error::{Loss, RedisError};
use super::source::{RedisSource, failure};
use crate::{Held, LockError};

/// A [`RedisLock`](crate::RedisLock) that is held, for as long as its lease lasts. Dropping it
/// releases.
///
/// A guard belongs to whoever has it: it may be sent to other threads and tasks. It is not bound to
/// the lock object it came from.
///
/// Dropping it never blocks: the driver sends the release, again if need be, until it is answered
/// or the lease is over. [`RedisSource::flush`](crate::RedisSource::flush) waits for that.
///
/// The guard says the truth about a lease, which can end while it is held: check
/// [`is_valid`](Self::is_valid) before each step that must not overlap with another holder's, and
/// give the [`fence`](Self::fence) to whatever the lock protects.
#[must_use = "the lock is released when this is dropped"]
pub struct RedisGuard {
    name: Arc<str>,
    source: RedisSource,
    grant: Grant,
    /// Whether somebody else is responsible now: the guard is leaked or passed on.
    disowned: bool,
}

impl fmt::Debug for RedisGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGuard")
            .field("name", &self.name)
            .field("fence", &self.grant.fence)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

impl RedisGuard {
    pub(crate) fn new(name: Arc<str>, source: RedisSource, grant: Grant) -> Self {
        Self { name, source, grant, disowned: false }
    }

    /// What is needed to speak about the hold without borrowing the guard.
    pub(crate) fn handle(&self) -> Handle {
        Handle { source: self.source.clone(), hold: self.grant.hold }
    }

    pub(crate) fn token(&self) -> &str {
        &self.grant.attempt.token
    }

    pub(crate) fn source(&self) -> &RedisSource {
        &self.source
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater than that of every earlier holder of this name, also after the
    /// server has lost its data (unless its clock steps back by more than the time between two
    /// grants). A resource that refuses smaller tokens than it has seen sees one holder after
    /// another, whatever happens to leases.
    pub fn fence(&self) -> u64 {
        self.grant.fence
    }

    /// Whether the lock is still held, as far as can be known here without asking. It turns false
    /// *before* the lease can have ended on the server, if the clocks of both run at rates within
    /// 1 % of each other and the server's is not set forward. Costs one atomic load and one look at
    /// the clock; that clock goes on while the machine is suspended.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.grant.cell.is_valid()
    }

    /// How long [`is_valid`](Self::is_valid) stays true if the lease is not extended.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.grant.cell.valid_until().since(clock::now())
    }

    /// Resolves when the lock is lost, and never before that: not while it is held, nor after it is
    /// released.
    ///
    /// A lease that runs out is told shortly before its validity ends, if the process runs then. A
    /// loss from outside (the key is deleted, the server has lost its data) is told within a third
    /// of the ttl and a round trip. After a suspend of the machine it may take a second.
    ///
    /// ```no_run
    /// # #[cfg(not(loom))] {
    /// # async fn example(lock: warded::RedisLock) -> Result<(), warded::RedisError> {
    /// let held = lock.lock_async().await?;
    /// let loss = held.lost().await;
    /// eprintln!("stop at once: {loss}");
    /// # Ok(()) }
    /// # }
    /// ```
    pub fn lost(&self) -> Lost<'_> {
        Lost { cell: &self.grant.cell, number: self.grant.cell.join() }
    }

    /// Calls `callback` when the lock is lost, on a thread of its own; at once and on this thread if
    /// it is lost already. Never after a release. A panic in a callback on that other thread is
    /// reported by the panic hook, and keeps nobody else from being called.
    pub fn on_lost(&self, callback: impl FnOnce(Loss) + Send + 'static) {
        self.grant.cell.on_lost(Box::new(callback));
    }

    /// Lengthens the lease by `more`, at least a millisecond.
    ///
    /// # Errors
    /// [`RedisError::Lost`] if it is too late; nothing is changed then. Other errors say why it is
    /// not known whether the lease is longer; it never gets shorter.
    pub fn extend(&self, more: Duration) -> Result<(), RedisError> {
        self.source.wait(self.extend_async(more))
    }

    /// As [`extend`](Self::extend). If the future is dropped, the lease may be longer or not.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub async fn extend_async(&self, more: Duration) -> Result<(), RedisError> {
        self.handle().extend(more).await
    }

    /// Releases, and tells what became of it. Ok also if it was released already, by an earlier
    /// sending of the same release.
    ///
    /// # Errors
    /// [`RedisError::Lost`] if the lease was over: the work may have overlapped with another
    /// holder's. [`RedisError::Unconfirmed`] if no answer came within the source's patience, or if
    /// the server takes no writes now; the release is sent again until it is answered or the lease is over.
    pub fn release(self) -> Result<(), RedisError> {
        let source = self.source.clone();
        source.wait(self.release_async())
    }

    /// As [`release`](Self::release). Dropping the future only stops the waiting: the lock is
    /// released all the same.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_async(mut self) -> Result<(), RedisError> {
        self.grant.cell.end();
        let hold = self.grant.hold;
        self.disowned = true;
        match self.source.ask(|ask| Event::Release { hold, ask: Some(ask) }).await? {
            Outcome::Other(Answer::Released) => Ok(()),
            other => Err(failure(other)),
        }
    }

    /// Leaves the lock taken until its lease ends. Renewal stops.
    pub fn leak(mut self) {
        self.disown();
    }

    /// Gives the lock to another process, which takes it over with
    /// [`RedisLock::take_over`](crate::RedisLock::take_over). Renewal stops here; whoever takes it
    /// over has what is left of the lease then. If nobody does, it ends with its lease.
    ///
    /// # Errors
    /// [`RedisError::Lost`] if there is nothing left to give.
    ///
    /// ```no_run
    /// # #[cfg(not(loom))] {
    /// # fn example(lock: warded::RedisLock) -> Result<(), Box<dyn std::error::Error>> {
    /// let text = lock.lock()?.hand_over()?.to_string();
    /// // …to another process, which says:
    /// let held = lock.take_over(text.parse()?)?;
    /// # Ok(()) }
    /// # }
    /// ```
    pub fn hand_over(mut self) -> Result<Handover, RedisError> {
        if !self.is_valid() {
            return Err(RedisError::Lost { loss: self.loss() });
        }
        self.disown();
        let Grant { fence, attempt, generation, .. } = &self.grant;
        let passed = Passed {
            token: attempt.token.clone(),
            written: self.source.next_write(),
            generation: generation + 1,
        };
        Ok(Handover { fence: *fence, passed })
    }

    /// Runs `work` under the lock. If the lock is lost, the work is dropped and
    /// [`RedisError::Lost`] is returned, before validity ends if the process runs then. Also what is
    /// finished is thrown away if the lock was not valid to the end.
    ///
    /// The work can only be dropped where it awaits: a long computation between two awaits is not
    /// interrupted.
    ///
    /// # Errors
    /// [`RedisError::Lost`], as said.
    ///
    /// ```no_run
    /// # #[cfg(not(loom))] {
    /// # async fn example(lock: warded::RedisLock) -> Result<(), warded::RedisError> {
    /// # async fn copy_all_files() -> u32 { 7 }
    /// let held = lock.lock_async().await?;
    /// let copied = held.run(copy_all_files()).await?;
    /// held.release_async().await?;
    /// # Ok(()) }
    /// # }
    /// ```
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, RedisError> {
        let mut work = pin!(work);
        let mut lost = self.lost();
        poll_fn(|cx| {
            if let Poll::Ready(loss) = Pin::new(&mut lost).poll(cx) {
                return Poll::Ready(Err(RedisError::Lost { loss }));
            }
            if !self.is_valid() {
                return Poll::Ready(Err(RedisError::Lost { loss: self.loss() }));
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(_) if !self.is_valid() => {
                    Poll::Ready(Err(RedisError::Lost { loss: self.loss() }))
                }
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// How it was lost; if nobody has said so yet, the lease has run out.
    fn loss(&self) -> Loss {
        self.grant.cell.loss().unwrap_or(Loss::Expired)
    }

    fn disown(&mut self) {
        self.disowned = true;
        self.grant.cell.end();
        self.source.tell(Event::Leak { hold: self.grant.hold });
    }
}

impl Drop for RedisGuard {
    fn drop(&mut self) {
        if !self.disowned {
            self.grant.cell.end();
            self.source.tell(Event::Release { hold: self.grant.hold, ask: None });
        }
    }
}

impl Held for RedisGuard {
    fn release(self: Box<Self>) -> Result<(), LockError> {
        Ok(Self::release(*self)?)
    }
}

/// A hold, to be spoken about.
pub(crate) struct Handle {
    source: RedisSource,
    hold: HoldId,
}

impl Handle {
    pub(crate) async fn extend(self, more: Duration) -> Result<(), RedisError> {
        if more < Duration::from_millis(1) || more > super::lock::LONGEST_TTL {
            let why = format!("{more:?} is not between 1 ms and 30 days");
            return Err(RedisError::option("more", why));
        }
        let hold = self.hold;
        match self.source.ask(|ask| Event::Extend { hold, ask, more }).await? {
            Outcome::Other(Answer::Extended) => Ok(()),
            other => Err(failure(other)),
        }
    }
}

/// Resolves when a lock is lost: [`RedisGuard::lost`]. Cancel-safe.
#[must_use = "futures do nothing unless awaited"]
pub struct Lost<'a> {
    cell: &'a Cell,
    number: u64,
}

impl fmt::Debug for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").finish_non_exhaustive()
    }
}

impl Future for Lost<'_> {
    type Output = Loss;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Loss> {
        self.cell.poll_lost(self.number, cx)
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.cell.leave(self.number);
    }
}

/// A lock on its way from one process to another: [`RedisGuard::hand_over`].
///
/// It is text by `to_string` and back by `parse`. Whoever has the text can take the lock over, so
/// treat it as a password for as long as the lease lasts. Only one process may take it over; that
/// is not checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Handover {
    fence: u64,
    pub(crate) passed: Passed,
}

impl Handover {
    /// The fencing token, which stays the same.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }
}

impl fmt::Debug for Handover {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passed { token, written, generation } = &self.passed;
        write!(f, "{}/{token}/{written}/{generation}", self.fence)
    }
}

impl FromStr for Handover {
    type Err = RedisError;

    fn from_str(text: &str) -> Result<Self, RedisError> {
        let parse = || {
            let mut parts = text.split('/');
            let fence = parts.next()?.parse().ok()?;
            let token = parts.next().filter(|token| is_hex(token, 32))?.to_owned();
            let written = parts.next()?.parse().ok().filter(|written| *written < WRITES)?;
            let generation: u64 = parts.next()?.parse().ok()?;
            // What a script can still number exactly.
            if !(1..1 << 20).contains(&generation) || parts.next().is_some() {
                return None;
            }
            let passed = Passed { token, written, generation };
            Some(Self { fence, passed })
        };
        parse().ok_or(RedisError::BadHandover)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_is_the_same_after_text_and_back() {
        let passed = Passed {
            token: "0123456789abcdef0123456789abcdef".to_owned(),
            written: 1_764_000_000_000_000,
            generation: 2,
        };
        let handover = Handover { fence: 7, passed };
        assert_eq!(handover.to_string().parse::<Handover>().unwrap(), handover);
    }

    #[test]
    fn other_text_is_no_handover() {
        let token = "0123456789abcdef0123456789abcdef";
        let texts = ["", "7", "7/x/1/1", &format!("7/{token}/1"), &format!("7/{token}/1/1/1")];
        for text in texts {
            assert!(matches!(text.parse::<Handover>(), Err(RedisError::BadHandover)), "{text:?}");
        }
    }
}
