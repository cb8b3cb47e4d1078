//! The gate: the one engine under lock, semaphore and read-write lock.
//!
//! A gate has permits. A lock has one, a semaphore n, and a read-write lock a great many, of which a
//! reader takes one and a writer all. Everything that decides who enters is one word
//! ([`word`](super::word)) and one list ([`waitlist`](super::waitlist)).
//!
//! - **Turns, not hand-offs.** Nothing is ever handed over. A waiter's turn has come when the needs
//!   of all waiters up to and including it fit into the free permits; it is called, and takes its
//!   permits itself. So a waiter that gives up has nothing to give back, and one that was called and
//!   sleeps stalls nobody whose turn has come too.
//! - **Rule D** (liveness): whoever frees the list has called everybody whose turn has come, judged
//!   by the very word that its compare-and-swap replaces.
//! - **The bypass budget** (fairness): newcomers overtake the head of the list so many times; then
//!   the door is shut until the head has entered.
//!
//! The transitions, the numbered invariants I1 to I11 that the comments cite, and the arguments are
//! in docs/design.md. The ancestors are nsync's designated waiter and long-waiter bit (M. Burrows,
//! <https://github.com/google/nsync>) and the permit queue of tokio's batch semaphore.

use std::cell::{Cell, LazyCell};
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use super::order;
use super::parker::{Batch, WakeHandle};
use super::teller::Teller;
use super::waitlist::{ASLEEP, CALLED, DISMISSED, Ends, Node, WaitList};
use super::word::{self, BYPASS_MASK, CLOSED, MAX_PERMITS, QLOCK, QUEUED, free, permits};
use crate::Wait;
use crate::sys::{
    AtomicU32, AtomicU64, Backoff, Pace, Parker, Spin, UnsafeCell, const_unless_loom,
};
use crate::wait::Patience;

/// The state of a primitive.
///
/// In this order, since what a hand-over changes stands at the end: a lock's data come next, and
/// whoever enters has mostly fetched them with the word.
#[repr(C)]
pub(crate) struct Gate {
    ends: UnsafeCell<Ends>,
    called: UnsafeCell<u32>,
    /// All permits, free or taken. Changes under QLOCK only.
    max: AtomicU32,
    /// With how many free permits the next turn comes, as of the last time the list was freed (I4):
    /// a hint that spares releasers the list.
    due: AtomicU32,
    /// How often newcomers may overtake a head.
    budget: u16,
    /// How long the last waits were: a hint that decides how threads wait, and nothing else.
    pace: Pace,
    word: AtomicU64,
}

#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Gate>() == 40 && mem::offset_of!(Gate, word) == 32);

// SAFETY: the list's pointers lead to nodes that stay alive while they are linked (I2), and are
// followed under QLOCK only (I1), on whichever thread. Wake handles are Send.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

// No user code runs while the list is edited, so a panic finds it whole.
impl UnwindSafe for Gate {}
impl RefUnwindSafe for Gate {}

/// What somebody wants of a gate.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// So many permits.
    pub(crate) need: u32,
    /// Enters without regard to the queue, and queues before everybody.
    pub(crate) urgency: Urgency,
    /// It needs all permits that the gate will ever have, so it can only be called as the head
    /// (I8). Such a gate is never closed or resized.
    pub(crate) alone: bool,
}

/// How a request stands to those that wait already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Overtakes them within the budget, and queues behind them.
    None,
    /// Overtakes them whatever the budget says, and queues behind them: a recursive read, whose
    /// thread may hold what they wait for.
    Recursive,
    /// Overtakes them whatever the budget says, and queues before them: an upgrade, which does hold
    /// what they wait for.
    Upgrade,
}

impl Request {
    pub(crate) const fn of(need: u32) -> Self {
        Self { need, urgency: Urgency::None, alone: false }
    }

    pub(crate) const fn of_all(need: u32) -> Self {
        Self { alone: true, ..Self::of(need) }
    }

    pub(crate) const fn urgent(need: u32, urgency: Urgency) -> Self {
        Self { urgency, ..Self::of(need) }
    }

    /// The word after this request has entered as a newcomer, if it may.
    #[inline(always)]
    const fn enter(&self, word: u64, budget: u16) -> Option<u64> {
        match self.urgency {
            Urgency::None => word::enter(word, self.need, budget),
            Urgency::Recursive | Urgency::Upgrade => word::enter_regardless(word, self.need),
        }
    }
}

/// Why somebody who wanted to enter is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not free, or not within the deadline.
    Unavailable,
    /// The gate is closed.
    Closed,
    /// The gate has fewer permits in all.
    TooMany {
        /// So many.
        max: u32,
    },
}

/// How one attempt of a waiter ended.
enum Step {
    Entered,
    /// It is in the list, with its handle registered.
    Asleep,
    Refused(Refusal),
}

impl Gate {
    /// Why [`acquire`](Self::acquire) without a deadline cannot fail at a lock.
    pub(crate) const PATIENT: &str =
        "a gate that is never closed or resized refuses only those with a deadline";

    const_unless_loom! {
        pub(crate) const fn new(permits: u32, budget: u16) -> Self {
            assert!(permits <= MAX_PERMITS, "more permits than MAX_PERMITS");
            assert!(budget <= word::MAX_BUDGET, "a bypass budget above MAX_BYPASS");
            Self {
                ends: UnsafeCell::new(Ends::new()),
                called: UnsafeCell::new(0),
                max: AtomicU32::new(permits),
                due: AtomicU32::new(0),
                budget,
                pace: Pace::new(),
                word: AtomicU64::new(word::permits(permits)),
            }
        }
    }

    /// Chooses another bypass budget.
    pub(crate) const fn set_budget(&mut self, budget: u16) {
        assert!(budget <= word::MAX_BUDGET, "a bypass budget above MAX_BYPASS");
        self.budget = budget;
    }

    // Entering

    /// Enters without waiting.
    #[inline]
    pub(crate) fn try_acquire(&self, request: Request) -> bool {
        let mut word = if request.alone {
            // Whoever needs everything finds this very word, if it finds it free. To guess it costs
            // less than to look, when nobody else is here.
            let whole = permits(request.need);
            match self.word.compare_exchange_weak(whole, 0, order::ENTER.get(), Relaxed) {
                Ok(_) => return true,
                Err(now) => now,
            }
        } else {
            self.word.load(Relaxed)
        };
        while let Some(entered) = request.enter(word, self.budget) {
            match self.word.compare_exchange_weak(word, entered, order::ENTER.get(), Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Why [`try_acquire`](Self::try_acquire) has just failed.
    #[cold]
    pub(crate) fn refusal(&self, request: Request) -> Refusal {
        let max = self.max.load(Relaxed);
        if self.is_closed() {
            Refusal::Closed
        } else if request.need > max {
            Refusal::TooMany { max }
        } else {
            Refusal::Unavailable
        }
    }

    /// Enters, or blocks the thread until it can, until it never can, or until the deadline.
    #[inline]
    pub(crate) fn acquire(
        &self,
        request: Request,
        deadline: Option<Instant>,
        teller: Teller<'_>,
    ) -> Result<(), Refusal> {
        if self.try_acquire(request) {
            Ok(())
        } else {
            self.acquire_slowly(request, deadline, teller)
        }
    }

    /// Enters within the specification's `wait`.
    pub(crate) fn acquire_within(
        &self,
        request: Request,
        wait: Wait,
        teller: Teller<'_>,
    ) -> Result<(), Refusal> {
        match wait.begin() {
            Patience::None if self.try_acquire(request) => Ok(()),
            Patience::None => Err(self.refusal(request)),
            Patience::Endless => self.acquire(request, None, teller),
            Patience::Until(deadline) => self.acquire(request, Some(deadline), teller),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(
        &self,
        request: Request,
        deadline: Option<Instant>,
        teller: Teller<'_>,
    ) -> Result<(), Refusal> {
        let waiter = pin!(Waiter::new(self, request, teller));
        let waiter = waiter.as_ref();
        // Who enters while it spins does without.
        let parker = LazyCell::new(Parker::new);
        loop {
            match waiter.attempt(
                || WakeHandle::Thread(parker.unparker()),
                Spin::blocking(&self.pace, deadline),
            ) {
                Step::Entered => return Ok(()),
                Step::Refused(refusal) => return Err(refusal),
                Step::Asleep => {}
            }
            while waiter.node.state() == ASLEEP {
                if !parker.park(deadline) {
                    return Err(Refusal::Unavailable);
                }
            }
        }
    }

    /// Enters, when it can.
    pub(crate) fn acquire_async<'a>(&'a self, request: Request, teller: Teller<'a>) -> Acquire<'a> {
        Acquire { waiter: Waiter::new(self, request, teller), over: false }
    }

    // Leaving

    /// Gives permits back.
    #[inline]
    pub(crate) fn release(&self, n: u32) {
        let before = self.word.fetch_add(permits(n), order::RELEASE.get());
        if word::may_call(before) {
            self.call();
        }
    }

    /// Gives permits back, and lets no newcomer overtake the head any more.
    pub(crate) fn release_fairly(&self, n: u32) {
        let mut word = self.word.load(Relaxed);
        loop {
            let released = word::shut_door(word + permits(n), self.budget);
            match self.word.compare_exchange_weak(word, released, order::RELEASE.get(), Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word::may_call(word) {
            self.call();
        }
    }

    /// Takes the list, and frees it under rule D, if a turn has come. Whoever else has taken the
    /// list in the meantime does the same.
    #[cold]
    fn call(&self) {
        let mut word = self.word.load(order::LOOK_AGAIN.get());
        while word::may_call(word) && free(word) >= self.due.load(Relaxed) {
            let locked = word | QLOCK;
            match self.word.compare_exchange_weak(word, locked, order::LOCK_TO_CALL.get(), Relaxed)
            {
                Ok(_) => return self.free_list(Change::default()),
                Err(now) => word = now,
            }
        }
    }

    // Looking

    /// The free permits at this moment.
    pub(crate) fn free(&self) -> u32 {
        free(self.word.load(Relaxed))
    }

    /// All permits, free or taken, at this moment.
    pub(crate) fn max(&self) -> u32 {
        self.max.load(Relaxed)
    }
    /// Whether somebody waits, at this moment.
    #[cfg(all(debug_assertions, not(loom)))]
    pub(crate) fn is_queued(&self) -> bool {
        self.word.load(Relaxed) & QUEUED != 0
    }

    /// Whether nobody enters any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Relaxed) & CLOSED != 0
    }

    /// Whether the gate is as new: nobody in, nobody waiting, nothing left over.
    pub(crate) fn is_pristine(&self) -> bool {
        self.word.load(Relaxed) & !CLOSED == permits(self.max())
    }

    // Changing what there is

    /// Lets nobody enter any more. Everybody's turn has come, to leave.
    pub(crate) fn close(&self) {
        self.lock_list();
        self.free_list(Change { set: CLOSED, ..Change::default() });
    }

    /// Adds permits. The maximum grows before they appear.
    pub(crate) fn add(&self, n: u32) -> Result<(), u32> {
        self.lock_list();
        let max = self.max.load(Relaxed);
        let grown = max.checked_add(n).filter(|&grown| grown <= MAX_PERMITS);
        self.max.store(grown.unwrap_or(max), Relaxed);
        let add = if grown.is_some() { permits(n) } else { 0 };
        self.free_list(Change { add, ..Change::default() });
        grown.map(|_| ()).ok_or(max)
    }

    /// Takes up to `n` free permits away for good. The maximum shrinks after they are gone.
    pub(crate) fn forget_free(&self, n: u32) -> u32 {
        self.lock_list();
        let mut word = self.word.load(Relaxed);
        let forgotten = loop {
            let forgotten = n.min(free(word));
            let left = word - permits(forgotten);
            match self.word.compare_exchange_weak(word, left, Relaxed, Relaxed) {
                Ok(_) => break forgotten,
                Err(now) => word = now,
            }
        };
        self.shrink_and_free_list(forgotten);
        forgotten
    }

    /// Takes `n` permits that the caller holds away for good.
    pub(crate) fn forget_held(&self, n: u32) {
        self.lock_list();
        self.shrink_and_free_list(n);
    }

    fn shrink_and_free_list(&self, n: u32) {
        self.max.store(self.max.load(Relaxed) - n, Relaxed);
        self.free_list(Change::default());
    }

    // The list

    fn lock_list(&self) {
        let mut backoff = Backoff::new();
        loop {
            let word = self.word.load(Relaxed);
            if word & QLOCK != 0 {
                backoff.wait();
                continue;
            }
            let locked = word | QLOCK;
            let order = order::LOCK_LIST.get();
            if self.word.compare_exchange_weak(word, locked, order, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// # Safety
    /// The caller has QLOCK.
    unsafe fn with_list<R>(&self, edit: impl FnOnce(&mut WaitList<'_>) -> R) -> R {
        self.ends.with_mut(|ends| {
            self.called.with_mut(|called| {
                // SAFETY: both parts are accessed under QLOCK only (I1).
                let mut list = unsafe { WaitList { ends: &mut *ends, called: &mut *called } };
                edit(&mut list)
            })
        })
    }

    /// Frees the list, with `change` in the same step, and wakes whoever was called: rule D.
    ///
    /// A panic that a waker raises comes out of here, when all others have been woken.
    fn free_list(&self, mut change: Change) {
        let mut batch = Batch::new();
        loop {
            let mut word = self.word.load(Relaxed);
            loop {
                let now = change.apply(word);
                let max = self.max.load(Relaxed);
                // SAFETY: we have QLOCK (I1), and linked nodes are alive (I2).
                let standing = unsafe {
                    self.with_list(|list| list.call(free(now), max, now & CLOSED != 0, &mut batch))
                };
                let full = standing.due.is_none_or(|due| due > max);
                self.due.store(standing.due.unwrap_or(u32::MAX), Relaxed);
                let freed = word::list_freed(now, standing.queued, full);
                let order = order::FREE_LIST.get();
                // Only if the word is still the one that was judged (I5); else judge again.
                match self.word.compare_exchange_weak(word, freed, order, Relaxed) {
                    Ok(_) => break,
                    Err(now) => word = now,
                }
            }
            let more = batch.is_full();
            batch.wake();
            if !more {
                break;
            }
            self.lock_list();
            change = Change::default();
        }
        batch.raise();
    }
}

/// What happens to the word in the step that frees the list.
#[derive(Default)]
struct Change {
    set: u64,
    clear: u64,
    add: u64,
}

impl Change {
    /// Somebody has left the list. The head's leaving clears the budget.
    fn left(was_head: bool) -> Self {
        Self { clear: if was_head { BYPASS_MASK } else { 0 }, ..Self::default() }
    }

    fn apply(&self, word: u64) -> u64 {
        ((word | self.set) & !self.clear) + self.add
    }
}

/// Somebody who may or may not be in the list.
struct Waiter<'a> {
    gate: &'a Gate,
    request: Request,
    /// Whether the node is in the list. The owner's alone.
    queued: Cell<bool>,
    teller: Teller<'a>,
    node: Node,
    _pinned: PhantomPinned,
}

// SAFETY: what others reach is the node, under QLOCK (I1); the rest is the owner's, on whichever
// thread it is.
unsafe impl Send for Waiter<'_> {}

impl<'a> Waiter<'a> {
    fn new(gate: &'a Gate, request: Request, teller: Teller<'a>) -> Self {
        let node = Node::new(request.need);
        Self { gate, request, queued: Cell::new(false), teller, node, _pinned: PhantomPinned }
    }

    /// Enters if it can, else sees to it that `handle` is called when it is worth another attempt.
    ///
    /// `handle` may be user code (a waker's clone), so it is made before QLOCK is taken.
    #[cold]
    #[inline(never)]
    fn attempt(self: Pin<&Self>, handle: impl FnOnce() -> WakeHandle, spin: Spin<'_>) -> Step {
        let step =
            if self.queued.get() { self.answer(handle, spin) } else { self.arrive(handle, spin) };
        if self.teller.has_begun() {
            match step {
                Step::Entered => {
                    self.keep_permits_while(|| self.teller.enters(self.request.need));
                }
                Step::Refused(refusal) => self.teller.is_refused(self.request.need, refusal),
                Step::Asleep => {}
            }
        }
        step
    }

    /// A newcomer enters or queues.
    fn arrive(self: Pin<&Self>, handle: impl FnOnce() -> WakeHandle, mut spin: Spin<'_>) -> Step {
        let gate = self.gate;
        let mut backoff = Backoff::new();
        let mut make = Some(handle);
        let mut made = None;
        loop {
            let word = gate.word.load(Relaxed);
            if word & CLOSED != 0 {
                return Step::Refused(Refusal::Closed);
            }
            if let Some(entered) = self.request.enter(word, gate.budget) {
                let order = order::ENTER.get();
                if gate.word.compare_exchange_weak(word, entered, order, Relaxed).is_ok() {
                    spin.entered();
                    self.keep_permits_while(|| drop(made));
                    return Step::Entered;
                }
                continue;
            }
            // Also when others wait: to join them costs a sleep and a wake-up, and slows the holder,
            // who has to call. Where nobody is overtaken, to stand aside would cost the place.
            if (word & QUEUED == 0 || gate.budget > 0) && spin.again() {
                continue;
            }
            if word & QLOCK != 0 {
                backoff.wait();
                continue;
            }
            if let Some(handle) = make.take() {
                self.teller.begins(self.request.need);
                made = Some(handle());
            }
            let locked = word | QLOCK;
            let order = order::LOCK_TO_QUEUE.get();
            if gate.word.compare_exchange_weak(word, locked, order, Relaxed).is_ok() {
                break;
            }
        }
        let max = gate.max.load(Relaxed);
        if self.request.need > max {
            gate.free_list(Change::default());
            return Step::Refused(Refusal::TooMany { max });
        }
        // SAFETY: we have QLOCK (I1). A newcomer's node has no handle yet that would come back.
        unsafe { self.node.fall_asleep(made) };
        // SAFETY: we have QLOCK (I1). The node is pinned and in no list, and this waiter's drop
        // unlinks it (I2).
        unsafe {
            gate.with_list(|list| match self.request.urgency {
                Urgency::None | Urgency::Recursive => list.push_back(&raw const self.node),
                Urgency::Upgrade => list.push_front(&raw const self.node),
            });
        }
        self.queued.set(true);
        gate.free_list(Change::default());
        Step::Asleep
    }

    /// A waiter that was called, or looks without reason, enters, leaves, or falls asleep again.
    fn answer(self: Pin<&Self>, handle: impl FnOnce() -> WakeHandle, spin: Spin<'_>) -> Step {
        let gate = self.gate;
        if self.request.alone && self.enter_alone(spin) {
            self.keep_permits_while(|| self.leave());
            return Step::Entered;
        }
        let mut handle = Some(handle());
        gate.lock_list();
        loop {
            let word = gate.word.load(Relaxed);
            if word & CLOSED != 0 || self.node.state() == DISMISSED {
                let closed = word & CLOSED != 0;
                // It was dismissed when there were fewer than it needs. There may be more by now.
                let max = gate.max.load(Relaxed).min(self.request.need.saturating_sub(1));
                self.leave();
                let refusal = if closed { Refusal::Closed } else { Refusal::TooMany { max } };
                return Step::Refused(refusal);
            }
            if self.node.state() == CALLED {
                // SAFETY: we have QLOCK (I1), and linked nodes are alive (I2).
                unsafe { gate.with_list(|list| list.recall(free(word))) };
            }
            if self.node.state() != CALLED {
                // SAFETY: we have QLOCK (I1).
                let old = unsafe { self.node.fall_asleep(handle.take()) };
                gate.free_list(Change::default());
                drop(old);
                return Step::Asleep;
            }
            let entered = word - permits(self.request.need);
            let order = order::ENTER_CALLED.get();
            if gate.word.compare_exchange_weak(word, entered, order, Relaxed).is_ok() {
                self.keep_permits_while(|| {
                    self.leave();
                    drop(handle);
                });
                return Step::Entered;
            }
        }
    }

    /// The way in for whoever must be the head when called: permits and QLOCK in one step. When it
    /// gives `true`, the caller has both.
    fn enter_alone(self: Pin<&Self>, mut spin: Spin<'_>) -> bool {
        let gate = self.gate;
        let mut backoff = Backoff::new();
        while self.node.state() == CALLED {
            let word = gate.word.load(Relaxed);
            if word < permits(self.request.need) {
                if !spin.again() {
                    return false;
                }
            } else if word & QLOCK != 0 {
                backoff.wait();
            } else {
                let entered = (word - permits(self.request.need)) | QLOCK;
                let order = order::ENTER_ALONE.get();
                if gate.word.compare_exchange_weak(word, entered, order, Relaxed).is_ok() {
                    return true;
                }
            }
        }
        false
    }

    /// Does what may run user code, a waker's wake or drop or a subscriber, between taking permits
    /// and giving them to the caller. If it panics, they go back.
    fn keep_permits_while(&self, work: impl FnOnce()) {
        let permits = InFlight { gate: self.gate, need: self.request.need };
        work();
        mem::forget(permits);
    }

    /// Leaves the list, whose lock the caller has, and frees it.
    fn leave(&self) {
        // SAFETY: we have QLOCK (I1), and this node is in this list.
        let was_head = unsafe { self.gate.with_list(|list| list.unlink(&raw const self.node)) };
        self.queued.set(false);
        // SAFETY: we have QLOCK (I1).
        let handle = unsafe { self.node.take_handle() };
        self.gate.free_list(Change::left(was_head));
        drop(handle);
    }
}

/// Whoever gives up, or unwinds, leaves the list; rule D passes the turn on.
impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.queued.get() {
            self.gate.lock_list();
            self.leave();
            self.teller.gives_up(self.request.need);
        }
    }
}

/// Permits that were taken and that no guard owns yet.
struct InFlight<'a> {
    gate: &'a Gate,
    need: u32,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.gate.release(self.need);
    }
}

/// The future that enters a gate. Dropped before it is ready, it has taken nothing.
pub(crate) struct Acquire<'a> {
    waiter: Waiter<'a>,
    over: bool,
}

impl Future for Acquire<'_> {
    type Output = Result<(), Refusal>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the waiter is pinned with the future, and neither is moved out of here.
        let this = unsafe { self.get_unchecked_mut() };
        assert!(!this.over, "polled after it was ready");
        // SAFETY: as above.
        let waiter = unsafe { Pin::new_unchecked(&this.waiter) };
        let enters_at_once = !waiter.queued.get() && waiter.gate.try_acquire(waiter.request);
        let step = if enters_at_once {
            Step::Entered
        } else {
            waiter.attempt(|| WakeHandle::Task(cx.waker().clone()), Spin::none())
        };
        let result = match step {
            Step::Asleep => return Poll::Pending,
            Step::Entered => Ok(()),
            Step::Refused(refusal) => Err(refusal),
        };
        this.over = true;
        Poll::Ready(result)
    }
}
