//! Where messages to the driver are left, and who drives.
//!
//! The driver is a task of a runtime that whoever likes can turn, one thread at a time. A caller
//! who blocks turns it itself until its own answer is there, so that neither its question nor the
//! answer has to change threads: it *leads*. Only one does at a time: if many block at once, a lead
//! that goes from one to the next costs more than a thread that stays. For everybody else there is
//! the *keeper*, such a thread, which sleeps as long as there is nothing to do, or somebody who leads.
//!
//! 1. Whenever the driver has something to do, somebody leads or the keeper is awake: whoever
//!    leaves a message looks for that, and so does whoever stops leading.
//! 2. The keeper wakes up by itself when the driver wants to look again.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime, TryCurrentError};

use super::slot::wait;
use super::{LONGEST_SLEEP, Message, clock};
use crate::redis::lease::Moment;

/// For so long the keeper stays awake after a question of somebody who does not lead, since the next
/// one is likely to follow soon, and waking up takes longer than most answers.
const LINGER: Duration = Duration::from_millis(10);

/// The inbox, and what has to be known of the driver and the keeper to decide who wakes whom.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// Wakes the keeper.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inbox: Vec<Message>,
    /// The driver's, while it waits for a message.
    driver: Option<Waker>,
    /// Whether something is under way that must not be left alone.
    busy: bool,
    /// Whether a connection is being made, which must not be left alone either.
    linking: bool,
    /// When the driver wants to look again.
    due: Option<Moment>,
    /// Whether somebody leads, or will as soon as the keeper goes to sleep.
    led: bool,
    /// Whether somebody has asked who does not lead, since the keeper looked.
    asked: bool,
    keeper: Keeper,
    /// The driver has ended.
    gone: bool,
    /// No handle is left.
    closed: bool,
}

#[derive(Debug)]
enum Keeper {
    /// It goes to sleep when the driver has nothing to do; then this wakes it.
    Awake(Option<Waker>),
    /// Until then, or until the bell rings.
    Asleep(Option<Moment>),
}

impl Default for Keeper {
    fn default() -> Self {
        Self::Awake(None)
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.busy || self.linking
    }

    /// Whether the keeper has to drive.
    fn is_needed(&self) -> bool {
        !self.led && !self.gone && (self.is_busy() || !self.inbox.is_empty())
    }

    /// Whether the driver wanted to look by now, and has not.
    fn is_due(&self) -> bool {
        !self.led && self.due.is_some_and(|due| due <= clock::now())
    }

    /// Whether the keeper sleeps and should not.
    fn must_ring(&self) -> bool {
        let Keeper::Asleep(until) = self.keeper else { return false };
        let late = self.due.is_some_and(|due| until.is_none_or(|until| due < until));
        self.is_needed() || self.closed || !self.led && late
    }

    /// What wakes a keeper that is awake for nothing.
    fn send_to_bed(&mut self) -> Option<Waker> {
        let idle = self.led || !self.is_busy();
        match &mut self.keeper {
            Keeper::Awake(waker) if idle => waker.take(),
            _ => None,
        }
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message. Given back if there is no driver any more.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state();
        if state.gone {
            return Err(message);
        }
        state.asked |= matches!(message, Message::Ask { .. }) && !LEADS.get();
        state.inbox.push(message);
        let driver = state.driver.take();
        let ring = state.must_ring();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        if ring {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Gives the driver what was left for it; if that is nothing, wakes it when there is more.
    pub(super) fn poll_inbox(&self, cx: &Context<'_>, messages: &mut Vec<Message>) {
        let mut state = self.state();
        if state.inbox.is_empty() {
            // Only ever the driver's own, so no code of others runs here.
            state.driver = Some(cx.waker().clone());
        } else {
            mem::swap(&mut state.inbox, messages);
        }
    }

    /// The driver says what it is about, before it waits for something to happen.
    pub(super) fn rest(&self, busy: bool, linking: bool, due: Option<Moment>) {
        let mut state = self.state();
        (state.busy, state.linking, state.due) = (busy, linking, due);
        let keeper = state.send_to_bed();
        drop(state);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// What was left for the driver, for somebody who does its work meanwhile.
    pub(super) fn take(&self) -> Vec<Message> {
        mem::take(&mut self.state().inbox)
    }

    /// Somebody who has done the driver's work says what is left of it: whether there is some to be
    /// done now, and when to look again.
    pub(super) fn resume(&self, busy: bool, now: bool, due: Option<Moment>) {
        let mut state = self.state();
        state.busy = busy;
        state.asked |= now && !LEADS.get();
        let is_earlier = due.is_some_and(|due| state.due.is_none_or(|known| due < known));
        if is_earlier {
            state.due = due;
        }
        // Its alarm is set for later.
        let driver = (now || is_earlier).then(|| state.driver.take()).flatten();
        let ring = state.must_ring();
        let keeper = state.send_to_bed();
        drop(state);
        for waker in [driver, keeper].into_iter().flatten() {
            waker.wake();
        }
        if ring {
            self.bell.notify_one();
        }
    }

    /// The driver has ended. What it was not given is dropped.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        (state.gone, state.busy, state.linking, state.due) = (true, false, false, None);
        let left = (mem::take(&mut state.inbox), state.driver.take());
        let keeper = state.send_to_bed();
        drop(state);
        drop(left);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// Nobody, if somebody leads already.
    fn lead(&self) -> Option<Leading<'_>> {
        let before = mem::replace(&mut self.state().led, true);
        (!before).then(|| Leading { desk: self, led: LEADS.replace(true) })
    }

    /// Lets the keeper sleep until it is needed; false when it is not, for ever.
    fn sleep(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.closed && state.gone {
                return false;
            }
            if state.is_needed() || state.is_due() {
                state.keeper = Keeper::Awake(None);
                return true;
            }
            let now = clock::now();
            // Who leads looks after everything, and rings if it leaves something that is due
            // earlier than this. Not to have it ring at each hold, a keeper looks now and then.
            let until = if state.led { Some(now + LONGEST_SLEEP) } else { state.due };
            state.keeper = Keeper::Asleep(until);
            state = match until {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let woken = self.bell.wait_timeout(state, until.since(now));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits until the keeper may sleep.
    async fn keep(&self) {
        loop {
            poll_fn(|cx| {
                let mut state = self.state();
                if !state.is_needed() && !state.is_due() {
                    return Poll::Ready(());
                }
                state.keeper = Keeper::Awake(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            if !mem::take(&mut self.state().asked) {
                return;
            }
            tokio::time::sleep(LINGER).await;
        }
    }
}

thread_local! {
    /// Whether this thread leads.
    static LEADS: Cell<bool> = const { Cell::new(false) };
    /// Whether the runtime has made its locals of this thread.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
    /// Made after those, and so dropped before them: the latest goes first.
    static LIVES: Lives = const { Lives };
}

struct Lives;

impl Drop for Lives {
    /// Having one is what makes it go.
    fn drop(&mut self) {}
}

/// Somebody who leads, or will.
struct Leading<'a> {
    desk: &'a Desk,
    /// Whether the thread leads elsewhere, too.
    led: bool,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        LEADS.set(self.led);
        let mut state = self.desk.state();
        state.led = false;
        let ring = state.must_ring();
        drop(state);
        if ring {
            self.desk.bell.notify_one();
        }
    }
}

/// A driver as those see it who use it. The keeper is the last one to have the runtime, since a
/// runtime must not be dropped by a task.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(super) desk: Arc<Desk>,
    pub(super) runtime: Arc<Runtime>,
}

impl Crew {
    /// Leaves a message. Given back if there is no driver any more.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        self.desk.send(message)
    }

    /// Waits for a future that asks this driver, on this thread, and leads meanwhile if it can.
    pub(crate) fn lead<F: Future>(&self, future: F) -> F::Output {
        match self.may_lead().then(|| self.desk.lead()).flatten() {
            Some(_leading) => self.runtime.block_on(future),
            None => wait(future),
        }
    }

    /// A thread of another runtime cannot turn this one, nor can one that ends and whose locals are
    /// going.
    fn may_lead(&self) -> bool {
        let is_free = |error: TryCurrentError| error.is_missing_context();
        if !Handle::try_current().is_err_and(is_free) {
            return false;
        }
        if !PREPARED.get() {
            // Makes all that turning a runtime may need of the thread, unless that is gone already.
            let ready = || self.runtime.handle().block_on(async {});
            if panic::catch_unwind(AssertUnwindSafe(ready)).is_err() {
                return false;
            }
            PREPARED.set(true);
        }
        LIVES.try_with(|_| {}).is_ok()
    }

    /// What the keeper's thread does.
    pub(super) fn keep(&self) {
        while self.desk.sleep() {
            self.runtime.block_on(self.desk.keep());
        }
    }

    /// Nobody will use it any more. What is under way is brought to its end.
    pub(crate) fn close(self) {
        let Self { desk, runtime } = self;
        drop(runtime);
        // If the driver is gone, there is nothing to close.
        let _ = desk.send(Message::Close);
        desk.state().closed = true;
        desk.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::{self, JoinHandle};

    use super::super::slot::{Open, Outcome, Slot};
    use super::*;
    use crate::redis::client::Event;

    const MS: Duration = Duration::from_millis(1);
    /// So long that a test which waits for it has failed.
    const AGES: Duration = Duration::from_secs(20);

    /// A driver that answers questions, each some time after it was asked, and counts what it is
    /// told. While it holds something, it looks again after a while.
    struct Toy {
        desk: Arc<Desk>,
        delay: fn(u64) -> Duration,
        counts: Arc<Counts>,
    }

    #[derive(Default)]
    struct Counts {
        told: AtomicUsize,
        looks: AtomicUsize,
    }

    impl Toy {
        async fn run(self) {
            let (mut messages, mut open, mut closed) = (Vec::new(), Vec::new(), false);
            let mut look = None;
            while !(closed && open.is_empty()) {
                let next = open.iter().map(|(at, _)| *at).chain(look).min();
                self.desk.rest(!open.is_empty(), false, next);
                let alarm = async {
                    match next {
                        Some(next) => tokio::time::sleep(next.since(clock::now())).await,
                        None => std::future::pending().await,
                    }
                };
                let mut alarm = pin!(alarm);
                poll_fn(|cx| {
                    self.desk.poll_inbox(cx, &mut messages);
                    if messages.is_empty() { alarm.as_mut().poll(cx) } else { Poll::Ready(()) }
                })
                .await;
                let now = clock::now();
                for message in messages.drain(..) {
                    match message {
                        Message::Ask { ask, slot, .. } => {
                            open.push((now + (self.delay)(ask), slot))
                        }
                        // Something is held from now on.
                        Message::Tell(_) => {
                            self.counts.told.fetch_add(1, Ordering::Relaxed);
                            look = Some(now + 5 * MS);
                        }
                        Message::Close => closed = true,
                    }
                }
                if look.take_if(|at| *at <= now).is_some() {
                    self.counts.looks.fetch_add(1, Ordering::Relaxed);
                }
                for (_, slot) in open.extract_if(.., |(at, _)| *at <= now) {
                    drop(slot);
                }
            }
            self.desk.leave();
        }
    }

    fn start(delay: fn(u64) -> Duration) -> (Arc<Crew>, JoinHandle<()>, Arc<Counts>) {
        let desk = Arc::new(Desk::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counts = Arc::new(Counts::default());
        runtime.spawn(Toy { desk: desk.clone(), delay, counts: counts.clone() }.run());
        let runtime = Arc::new(runtime);
        let keeper = Crew { desk: desk.clone(), runtime: runtime.clone() };
        let keeper = thread::spawn(move || keeper.keep());
        (Arc::new(Crew { desk, runtime }), keeper, counts)
    }

    fn close(crew: Arc<Crew>, keeper: JoinHandle<()>) {
        Arc::into_inner(crew).unwrap().close();
        until("the keeper ends", || keeper.is_finished());
        keeper.join().unwrap();
    }

    fn until(what: &str, is: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !is() {
            assert!(began.elapsed() < AGES, "{what}: not within {AGES:?}");
            thread::sleep(MS);
        }
    }

    /// Does it on a thread of its own, so that who is never answered fails the test.
    fn in_time(crew: &Arc<Crew>, work: fn(&Crew)) {
        let crew = crew.clone();
        let thread = thread::spawn(move || work(&crew));
        until("it is answered", || thread.is_finished());
        thread.join().unwrap();
    }

    async fn ask(crew: &Crew, ask: u64) {
        let slot = Slot::new();
        let open = Open(slot.clone());
        let question = Message::Ask { ask, slot: open, event: Event::Info { ask } };
        crew.send(question).unwrap();
        poll_fn(|cx| slot.poll(cx)).await;
    }

    #[test]
    fn everybody_is_answered_whoever_leads() {
        // Most answers come at once, some later than the keeper lingers.
        let delay = |ask| if ask % 64 == 0 { LINGER + MS } else { MS / 8 * (ask % 3) as u32 };
        let (crew, keeper, counts) = start(delay);
        let done = Arc::new(AtomicUsize::new(0));
        let asks = |thread: u64| {
            let (crew, done) = (crew.clone(), done.clone());
            move || {
                for round in 0..1_000_u64 {
                    match (round * 7 + thread) % 5 {
                        0 => wait(ask(&crew, round)),
                        1 => crew.send(Message::Tell(Event::Tick)).unwrap(),
                        _ => crew.lead(ask(&crew, round)),
                    }
                }
                drop(crew);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| thread::spawn(asks(thread))).collect();
        until("all are answered", || done.load(Ordering::Relaxed) == threads.len());
        until("all is read", || counts.told.load(Ordering::Relaxed) == 4 * 200);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        close(crew, keeper);
    }

    #[test]
    fn who_stops_leading_leaves_nobody_alone() {
        let (crew, keeper, _) = start(|ask| 20 * MS * ask as u32);
        for _ in 0..5 {
            // Nobody but this thread has a reason to wake the keeper, as soon as it leads.
            let (begun, begins) = std::sync::mpsc::channel();
            let leader = thread::spawn({
                let crew = crew.clone();
                move || {
                    crew.lead(async {
                        begun.send(()).unwrap();
                        ask(&crew, 1).await;
                    });
                }
            });
            begins.recv().unwrap();
            let other = thread::spawn({
                let crew = crew.clone();
                move || wait(ask(&crew, 3))
            });
            until("the leader is answered", || leader.is_finished());
            until("the other one is answered", || other.is_finished());
        }
        close(crew, keeper);
    }

    #[test]
    fn the_driver_looks_again_though_nobody_leads() {
        let (crew, keeper, counts) = start(|_| Duration::ZERO);
        for looks in 1..=3 {
            // The keeper sleeps for ever by now, and who leads leaves something that is due.
            in_time(&crew, |crew| {
                crew.lead(async {
                    crew.send(Message::Tell(Event::Tick)).unwrap();
                    ask(crew, 0).await;
                });
            });
            until("it looks", || counts.looks.load(Ordering::Relaxed) == looks);
        }
        close(crew, keeper);
    }

    #[test]
    fn a_thread_that_ends_does_not_lead_without_its_locals() {
        struct AtEnd(Arc<Crew>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                self.0.lead(ask(&self.0, 1));
            }
        }
        thread_local! {
            static END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        }
        let (crew, keeper, _) = start(|ask| MS * ask as u32);
        in_time(&crew, |crew| crew.lead(ask(crew, 0)));
        let ends = thread::spawn({
            let crew = crew.clone();
            move || {
                crew.lead(ask(&crew, 0));
                END.set(Some(AtEnd(crew.clone())));
                // The keeper turns the runtime from here on, beyond the end of this thread.
                let asks = {
                    let crew = crew.clone();
                    move || wait(ask(&crew, 300))
                };
                let other = thread::spawn(asks);
                until("the keeper is awake", || {
                    matches!(crew.desk.state().keeper, Keeper::Awake(Some(_)))
                });
                crew.lead(ask(&crew, 1));
                drop(crew);
                other
            }
        });
        until("the thread ends", || ends.is_finished());
        let other = ends.join().unwrap();
        until("the other one is answered", || other.is_finished());
        close(crew, keeper);
    }

    #[test]
    fn who_asks_a_driver_that_is_gone_is_told() {
        let desk = Desk::default();
        let slot = Slot::new();
        let open = Open(slot.clone());
        desk.send(Message::Ask { ask: 1, slot: open, event: Event::Info { ask: 1 } }).unwrap();
        desk.leave();
        let waits = thread::spawn(move || wait(poll_fn(|cx| slot.poll(cx))));
        until("it is told", || waits.is_finished());
        assert!(matches!(waits.join().unwrap(), Outcome::Gone));
    }

    #[test]
    fn a_thread_of_another_runtime_only_waits() {
        let (crew, keeper, _) = start(|_| Duration::ZERO);
        in_time(&crew, |crew| {
            let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
            other.block_on(async { crew.lead(ask(crew, 0)) });
        });
        close(crew, keeper);
    }

    #[test]
    fn the_keeper_sleeps_while_there_is_nothing_to_do() {
        let (crew, keeper, _) = start(|_| Duration::ZERO);
        let desk = crew.desk.clone();
        in_time(&crew, |crew| crew.lead(ask(crew, 0)));
        until("it sleeps", || matches!(desk.state().keeper, Keeper::Asleep(None)));
        // It wakes up for a task, lingers, and sleeps again.
        in_time(&crew, |crew| wait(ask(crew, 0)));
        until("it sleeps", || matches!(desk.state().keeper, Keeper::Asleep(None)));
        close(crew, keeper);
    }
}
