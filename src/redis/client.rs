//! The client that decides, without any I/O: `on(now, event)` changes its state and says what to do.
//!
//! It knows no socket, no thread, no clock and no source of chance of its own: all of that is given
//! to it, by the driver or by a test. What it guarantees:
//!
//! 1. An attempt that ends without a grant that somebody took is ended on the server, too: by a
//!    release that is sent again until it is answered, or until the lease would be over anyway.
//! 2. A request is sent again only on a connection that is younger than its last sending, so that
//!    an answer always belongs to the sending from which validity is counted.
//! 3. A hold whose release was asked for is never extended again: renewal ends in the same step.
//! 4. One attempt at a time has a lane of a name, and stamps only grow.
//! 5. However many callers wait for the same lock, one of their attempts stands in the queue of the
//!    server.
//! 6. One extension of a hold at a time is under way: one that passed another would make it look
//!    like a repeat, which changes nothing.
//! 7. An attempt at several names is granted as one hold of each name, or not at all.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Loss, RedisError};
use super::keys::Keys;
use super::lease::{Lease, Moment, Trip};

/// How long a message may be under way and still take effect.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// For how long the server remembers a release at least, as in the scripts.
const FORGET: Duration = Duration::from_secs(60);
/// So many attempts of one question may be in vain, and one more is made.
const MOST_IN_VAIN: u32 = 3;
/// The longest pause between two tries of a waiter that is not told anything.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries to connect, to subscribe or to have a request answered.
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// The lost signal comes this much before validity ends, or a twentieth of the ttl if that is
/// less: the time it takes to wake whoever listens.
const NOTICE: Duration = Duration::from_millis(5);
/// A server clock that differs from what was expected by more than this was set.
const CLOCK_STEP: Duration = Duration::from_millis(250);

/// A caller's question; numbers grow in the order of asking.
pub(crate) type AskId = u64;
pub(crate) type HoldId = u64;
pub(crate) type CallId = u64;
/// A server of a cluster; zero if there is only one.
pub(crate) type NodeId = u32;

/// On which terms a lock is asked for. Callers with equal terms share one waiter on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Of the first name, if there are several.
    pub(crate) keys: Keys,
    /// The terms of each name, if several are asked for at once; else none.
    pub(crate) parts: Box<[Arc<Terms>]>,
    pub(crate) ttl: Duration,
    pub(crate) grace: Duration,
    pub(crate) owner: String,
    pub(crate) bypass: u32,
    pub(crate) waiter_ttl: Duration,
    pub(crate) retry_delay: Duration,
    /// Whether waiters only poll.
    pub(crate) polling: bool,
    /// For how long a hold is renewed, if at all.
    pub(crate) max_hold: Option<Duration>,
}

impl Hash for Terms {
    /// Few terms differ in anything but the name.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.lock.hash(state);
    }
}

impl Terms {
    /// All these names at once, on the terms of the first: at least one, and none twice.
    pub(crate) fn all(parts: Vec<Arc<Self>>) -> Arc<Self> {
        match &*parts {
            [one] => one.clone(),
            [first, ..] => Arc::new(Self { parts: parts.clone().into(), ..(**first).clone() }),
            [] => unreachable!("there is no set without names"),
        }
    }

    /// The terms of each name.
    pub(crate) fn each(self: &Arc<Self>) -> &[Arc<Self>] {
        if self.parts.is_empty() { slice::from_ref(self) } else { &self.parts }
    }

    /// What the server keeps the lock for.
    fn lease(&self) -> Duration {
        self.ttl + self.grace
    }
}

/// One try to get a lock. Exclusion rests on the token alone; lane and stamp keep late messages
/// out.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) terms: Arc<Terms>,
    pub(crate) token: String,
    pub(crate) lane: String,
    /// The lane's number among this client's.
    number: u32,
    pub(crate) stamp: u64,
    /// Whether another process acquired it, so that no acquire in this lane is ever sent.
    pub(crate) taken_over: bool,
}

impl Attempt {
    /// What each name has of it: once it is granted, each is held, and released, by itself.
    fn each(self: &Arc<Self>) -> Vec<Arc<Self>> {
        if self.terms.parts.is_empty() {
            return vec![self.clone()];
        }
        let part = |terms: &Arc<Terms>| {
            let (token, lane) = (self.token.clone(), self.lane.clone());
            let (terms, number, stamp) = (terms.clone(), self.number, self.stamp);
            Arc::new(Self { terms, token, lane, number, stamp, taken_over: self.taken_over })
        };
        self.terms.parts.iter().map(part).collect()
    }
}

/// What a request asks the server.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Take the lock, or all locks; `wait` joins a queue.
    Acquire { attempt: Arc<Attempt>, wait: bool },
    /// End the attempt.
    Release { attempt: Arc<Attempt> },
    /// Lengthen the lease.
    Extend { attempt: Arc<Attempt>, by: Extension, seq: u64 },
    /// Who holds the lock.
    Status { terms: Arc<Terms> },
    /// Write a protected value.
    Write { key: Arc<str>, fence: u64, writer: String, seq: u64, value: Arc<[u8]> },
    /// Read a protected value.
    Read { key: Arc<str> },
    /// What the server says about itself.
    Info,
    /// Some of the keys that look so, from there on.
    Scan { pattern: Arc<str>, from: Place },
    /// Take away what is over of one lock.
    Sweep { keys: Keys },
}

/// Where a walk through all keys has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Which server of a cluster.
    pub(crate) server: usize,
    pub(crate) cursor: u64,
}

/// By how much a lease is lengthened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    /// So much more than it had.
    Add(Duration),
    /// At least so much from now on (without grace).
    AtLeast(Duration),
}

/// The server's answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The fence of each name.
    Granted {
        fences: Vec<u64>,
        left: Duration,
        now: u64,
    },
    Busy {
        left: Duration,
        now: u64,
    },
    Over {
        now: u64,
    },
    /// Now or before.
    Released {
        now: u64,
    },
    Extended {
        left: Duration,
        now: u64,
    },
    /// The lease ran out, and nobody was granted the lock since.
    Expired {
        now: u64,
    },
    /// The attempt holds nothing, and the last grant that the server knows of has this fence.
    Gone {
        last: u64,
        now: u64,
    },
    Status(Status),
    Written {
        written: bool,
        now: u64,
    },
    /// The last write was another writer's, and has this number: this one's is to be above it.
    Outnumbered {
        last: u64,
        now: u64,
    },
    Read {
        value: Option<(u64, Vec<u8>)>,
        now: u64,
    },
    Info(String),
    /// Some keys, and where there are more.
    Scanned {
        keys: Vec<String>,
        next: Option<Place>,
    },
    Swept {
        swept: Swept,
        now: u64,
    },
}

/// What was over of one lock, and is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    /// The lock itself.
    pub(crate) lock: bool,
    pub(crate) waiters: usize,
    pub(crate) lanes: usize,
}

impl Reply {
    /// The server's time in µs, if it says that.
    fn now(&self) -> Option<u64> {
        match self {
            Self::Info(_) | Self::Scanned { .. } => None,
            Self::Granted { now, .. }
            | Self::Busy { now, .. }
            | Self::Over { now }
            | Self::Released { now }
            | Self::Extended { now, .. }
            | Self::Expired { now }
            | Self::Gone { now, .. }
            | Self::Written { now, .. }
            | Self::Outnumbered { now, .. }
            | Self::Read { now, .. }
            | Self::Swept { now, .. }
            | Self::Status(Status { now, .. }) => Some(*now),
        }
    }
}

/// What the server knows about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) now: u64,
    pub(crate) fence: u64,
    /// With grace; zero if nobody holds it.
    pub(crate) left: Duration,
    pub(crate) token: String,
    /// "grace ttl owner".
    pub(crate) info: String,
}

/// A hold as another process wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) token: String,
    /// A number above those of the former holder's protected writes: the next one's begin there.
    pub(crate) written: u64,
    /// How often it was passed on. Each generation numbers its extensions above the last one's, and so does
    /// each who takes over in the same one, so that an earlier one that arrives late changes nothing.
    pub(crate) generation: u64,
}

/// Protected writes have numbers below this one: µs, for a century.
pub(crate) const WRITES: u64 = 1 << 52;

/// How many extensions a generation can number. A script reads numbers exactly up to 2^53.
const EXTENSIONS: u64 = 1 << 32;

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Try,
    Until(Moment),
    Endless,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody wants the lock.
    Lock { ask: AskId, terms: Arc<Terms>, patience: Patience },
    /// Nobody waits for the answer to this any more.
    Abandon { ask: AskId },
    /// A hold ends. Without `ask` nobody wants to know what became of it.
    Release { hold: HoldId, ask: Option<AskId> },
    /// A hold is left to itself, or to another process.
    Leak { hold: HoldId },
    /// A hold was passed on to here.
    TakeOver { ask: AskId, terms: Arc<Terms>, passed: Passed },
    /// Somebody wants to hold for longer.
    Extend { hold: HoldId, ask: AskId, more: Duration },
    /// Somebody wants to know who holds the lock.
    Status { ask: AskId, terms: Arc<Terms> },
    /// A holder with this token wants to write.
    Write { ask: AskId, key: Arc<str>, fence: u64, value: Arc<[u8]> },
    /// Somebody wants to read.
    Read { ask: AskId, key: Arc<str> },
    /// Somebody wants to know what server this is.
    Info { ask: AskId },
    /// Somebody wants to know which keys there are.
    Scan { ask: AskId, pattern: Arc<str>, from: Place },
    /// Somebody cleans up.
    Sweep { ask: AskId, keys: Keys },
    /// Somebody waits for the releases that are under way.
    Flush { ask: AskId },
    /// The connection stands; the server's time in µs is this.
    Up { node: NodeId, server: u64, sent: Moment },
    /// The connection broke, or could not be made.
    Down { failure: RedisError },
    /// Some names of a cluster may have another server now, or one that has lost its data.
    Changed,
    /// A request was answered, or was lost with its connection to one server of a cluster.
    Reply { call: CallId, node: NodeId, reply: Result<Reply, RedisError> },
    /// The subscription stands.
    Listening,
    /// The subscription broke, or could not be made.
    Deaf,
    /// The server says that this attempt may enter.
    Told { token: String },
    /// Time has passed.
    Tick,
}

impl Event {
    /// What becomes of a hold that nobody takes. One that was passed on to here is still somebody's:
    /// whoever has its text may take it over again. Any other is nobody's.
    pub(crate) fn decline(hold: HoldId, generation: u64) -> Self {
        if generation > 0 { Self::Leak { hold } } else { Self::Release { hold, ask: None } }
    }
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Make a new connection; drop the old one and what was sent on it.
    Connect,
    /// Send this on the connection.
    Send { call: CallId, request: Request },
    /// The connection that this was sent on is dead: drop it, and all that was sent on it.
    Break { call: CallId, failure: RedisError },
    /// Subscribe to the client's channel; drop the old subscription.
    Listen,
    /// Tell the caller.
    Answer { ask: AskId, answer: Answer },
    /// The hold is valid until then.
    Valid { hold: HoldId, until: Moment },
    /// The hold is lost.
    Lost { hold: HoldId, loss: Loss },
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A hold of each name.
    Granted(Vec<Granted>),
    /// Not within the time that the caller had.
    Busy,
    Released,
    Extended,
    Status(Status),
    Written(bool),
    Read(Option<(u64, Vec<u8>)>),
    Info(String),
    Scanned {
        keys: Vec<String>,
        next: Option<Place>,
    },
    Swept(Swept),
    /// So many releases were under way.
    Flushed(usize),
    Failed(RedisError),
}

/// A hold that has begun.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) hold: HoldId,
    pub(crate) fence: u64,
    pub(crate) valid_until: Moment,
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) generation: u64,
}

/// How patient the client is with the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// After this the connection counts as dead.
    pub(crate) answer_timeout: Duration,
    /// For so long an operation is tried before it fails.
    pub(crate) patience: Duration,
}

#[derive(Debug)]
enum Link {
    Off,
    Connecting,
    Up,
    /// Until the timer [`Timer::Connect`] rings.
    Resting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ear {
    Deaf,
    Asked,
    Listening,
    /// Until the timer [`Timer::Listen`] rings, whoever waits.
    Resting,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connect,
    Listen,
    /// The caller's own deadline.
    Deadline(AskId),
    /// A question that cannot even be sent yet fails.
    GiveUp(AskId),
    /// A request that the server could not serve is sent again.
    Resend(CallId),
    /// Nothing is left to clean up by now.
    Moot(CallId),
    /// The waiter of this line tries again.
    Poll(u64),
    /// The hold is renewed, or looked after.
    Check(HoldId),
    /// The hold's validity is about to end.
    End(HoldId),
}

/// Where the answer to a question will come from.
#[derive(Debug)]
enum Origin {
    /// The server's time is not known yet, so nothing can be stamped. Asked at that time.
    Early(Event, Moment),
    Line(u64),
    Call(CallId),
    Flush,
}

#[derive(Debug)]
struct Asked {
    origin: Origin,
    /// When one of its timers rings: its deadline, or when it gives up.
    timer: Option<(Moment, Timer)>,
}

#[derive(Debug)]
enum Purpose {
    Try {
        ask: AskId,
        /// How many attempts of this question were in vain before.
        before: u32,
        /// Whether a release of the same name was under way when it was sent.
        behind: bool,
    },
    Line(u64),
    Release {
        ask: Option<AskId>,
        /// Of the hold; zero if there was none.
        fence: u64,
        /// Whether the hold was lost, as far as that was known here.
        lost: Option<Loss>,
    },
    Extend {
        hold: HoldId,
        ask: Option<AskId>,
    },
    Check(HoldId),
    /// Somebody wants to know something, or writes.
    Look(AskId),
    TakeOver {
        ask: AskId,
        passed: Passed,
    },
}

#[derive(Debug)]
struct Call {
    request: Request,
    purpose: Purpose,
    first: Moment,
    /// On the connection that stands now.
    sent: Option<Moment>,
    tries: u32,
    failure: Option<RedisError>,
    timers: Vec<(Moment, Timer)>,
}

/// The callers who want the same lock on the same terms, first come, first served, and when each came.
#[derive(Debug)]
struct Line {
    terms: Arc<Terms>,
    callers: BTreeMap<AskId, Moment>,
    /// How many grants in a row came too late.
    in_vain: u32,
    waiter: Option<Waiter>,
}

/// The attempt that stands in the server's queue for a line.
#[derive(Debug)]
struct Waiter {
    attempt: Arc<Attempt>,
    call: Option<CallId>,
    /// Whether to try once more when the call is answered.
    again: bool,
    pause: Duration,
    poll: Option<Moment>,
}

#[derive(Debug)]
struct Hold {
    attempt: Arc<Attempt>,
    fence: u64,
    lease: Lease,
    since: Moment,
    /// The last extension's sequence number.
    seq: u64,
    /// The extensions that are not answered, in the order of their numbers; only the first is sent.
    extensions: VecDeque<CallId>,
    lost: Option<Loss>,
    /// The renewal or the check that is under way.
    care: Option<CallId>,
    check: Option<Moment>,
    end: Option<Moment>,
}

/// Somebody who waits for releases.
#[derive(Debug)]
struct Flush {
    ask: AskId,
    calls: BTreeSet<CallId>,
    releases: usize,
    failure: Option<RedisError>,
}

/// Random bits, new ones at each call.
pub(crate) type Entropy = Box<dyn FnMut() -> u128 + Send>;

pub(crate) struct Client {
    /// The beginning of its lanes; at least two letters or digits first, so that no lane is taken
    /// for a field of the lock.
    id: String,
    temper: Temper,
    entropy: Entropy,
    link: Link,
    connects: u32,
    /// Why the link is down, until it is up again.
    trouble: Option<RedisError>,
    ear: Ear,
    listens: u32,
    /// Each server's time in µs, and when it was that.
    servers: HashMap<NodeId, (Moment, u64)>,
    last_stamp: u64,
    /// The number of the last protected write.
    last_write: u64,
    last_number: u64,
    asks: HashMap<AskId, Asked>,
    /// Boxed, because a tree moves its entries about.
    calls: BTreeMap<CallId, Box<Call>>,
    /// Calls in the order of their (last) sending and of their beginning. Those that are over are
    /// skipped.
    sendings: VecDeque<(Moment, CallId)>,
    beginnings: VecDeque<(Moment, CallId)>,
    lines: HashMap<u64, Line>,
    line_of: HashMap<Arc<Terms>, u64>,
    /// The attempts that stand in a queue.
    waiting: HashMap<String, u64>,
    holds: HashMap<HoldId, Hold>,
    lanes: HashMap<String, BTreeSet<u32>>,
    /// The releases of a name that are under way.
    releases: HashMap<String, Vec<CallId>>,
    /// Lanes of holds that were passed on or leaked, until their leases are over.
    lent: VecDeque<(Moment, Arc<Attempt>)>,
    flushes: Vec<Flush>,
    timers: BTreeSet<(Moment, Timer)>,
}

impl Client {
    /// A client of this random id, which knows nothing yet.
    pub(crate) fn new(id: String, temper: Temper, entropy: Entropy) -> Self {
        Self {
            id,
            temper,
            entropy,
            link: Link::Off,
            connects: 0,
            trouble: None,
            ear: Ear::Deaf,
            listens: 0,
            servers: HashMap::new(),
            last_stamp: 0,
            last_write: 0,
            last_number: 0,
            asks: HashMap::new(),
            calls: BTreeMap::new(),
            sendings: VecDeque::new(),
            beginnings: VecDeque::new(),
            lines: HashMap::new(),
            line_of: HashMap::new(),
            waiting: HashMap::new(),
            holds: HashMap::new(),
            lanes: HashMap::new(),
            releases: HashMap::new(),
            lent: VecDeque::new(),
            flushes: Vec::new(),
            timers: BTreeSet::new(),
        }
    }

    /// A number that is above those of all protected writes up to now, also of those that are on their way
    /// to here.
    pub(crate) fn next_write(&self, now: Moment) -> u64 {
        self.last_write.max(self.server_time(now)) + 1_000_000
    }

    /// Whether nothing is under way: no question, no request. Holds do not count.
    pub(crate) fn is_idle(&self) -> bool {
        self.asks.is_empty() && self.calls.is_empty()
    }

    /// How many requests are not answered.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// When to come back with a [`Event::Tick`] at the latest.
    pub(crate) fn due(&mut self) -> Option<Moment> {
        while self.sendings.front().is_some_and(|&(at, call)| !self.awaits(call, at)) {
            self.sendings.pop_front();
        }
        while self.beginnings.front().is_some_and(|(_, call)| !self.calls.contains_key(call)) {
            self.beginnings.pop_front();
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let answer = self.sendings.front().map(|(at, _)| *at + self.temper.answer_timeout);
        let begun = self.beginnings.front().map(|(at, _)| *at + self.temper.patience);
        [timer, answer, begun].into_iter().flatten().min()
    }

    /// Takes note of what happened and says what to do about it.
    pub(crate) fn on(&mut self, now: Moment, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Lock { ask, terms, patience } => self.lock(now, ask, terms, patience, out),
            Event::Abandon { ask } => self.abandon(now, ask, out),
            Event::Release { hold, ask } => self.release(now, hold, ask, out),
            Event::Leak { hold } => self.leak(hold, out),
            Event::TakeOver { ask, terms, passed } => self.take_over(now, ask, terms, passed, out),
            Event::Extend { hold, ask, more } => self.extend(now, hold, ask, more, out),
            Event::Status { ask, terms } => self.look(now, ask, Request::Status { terms }, out),
            Event::Write { ask, key, fence, value } => {
                self.write(now, ask, key, fence, value, out);
            }
            Event::Read { ask, key } => self.look(now, ask, Request::Read { key }, out),
            Event::Info { ask } => self.look(now, ask, Request::Info, out),
            Event::Scan { ask, pattern, from } => {
                self.look(now, ask, Request::Scan { pattern, from }, out);
            }
            Event::Sweep { ask, keys } => self.look(now, ask, Request::Sweep { keys }, out),
            Event::Flush { ask } => self.flush(ask, out),
            Event::Up { node, server, sent } => self.up(now, node, server, sent, out),
            Event::Changed => self.check_all(now, out),
            Event::Down { failure } => self.down(now, failure, out),
            Event::Reply { call, node, reply } => self.reply(now, call, node, reply, out),
            Event::Listening => self.listening(now, out),
            Event::Deaf => self.deaf(now),
            Event::Told { token } => {
                if let Some(&line) = self.waiting.get(&token) {
                    self.poll(now, line, out);
                }
            }
            Event::Tick => {}
        }
        self.ring(now, out);
    }

    // ---- questions -----------------------------------------------------------------------------

    fn lock(
        &mut self,
        now: Moment,
        ask: AskId,
        terms: Arc<Terms>,
        patience: Patience,
        out: &mut Vec<Action>,
    ) {
        let patience = match patience {
            Patience::Until(deadline) if deadline <= now => Patience::Try,
            other => other,
        };
        if self.servers.is_empty() {
            let deadline = match patience {
                Patience::Until(deadline) => Some(deadline),
                Patience::Try | Patience::Endless => None,
            };
            let event = Event::Lock { ask, terms, patience };
            return self.come_later(now, ask, event, deadline, out);
        }
        if patience == Patience::Try {
            let call = self.try_once(now, terms, ask, 0, out);
            self.asks.insert(ask, Asked { origin: Origin::Call(call), timer: None });
            return;
        }
        let timer = match patience {
            Patience::Until(deadline) => Some((deadline, Timer::Deadline(ask))),
            Patience::Try | Patience::Endless => None,
        };
        self.timers.extend(timer.clone());
        let line = match self.line_of.entry(terms) {
            Entry::Occupied(line) => *line.get(),
            Entry::Vacant(vacant) => {
                self.last_number += 1;
                let terms = vacant.key().clone();
                let line = Line { terms, callers: BTreeMap::new(), in_vain: 0, waiter: None };
                self.lines.insert(self.last_number, line);
                *vacant.insert(self.last_number)
            }
        };
        self.asks.insert(ask, Asked { origin: Origin::Line(line), timer });
        self.lines.get_mut(&line).expect("it was just found").callers.insert(ask, now);
        self.join(now, line, out);
    }

    fn write(
        &mut self,
        now: Moment,
        ask: AskId,
        key: Arc<str>,
        fence: u64,
        value: Arc<[u8]>,
        out: &mut Vec<Action>,
    ) {
        if self.servers.is_empty() {
            let event = Event::Write { ask, key, fence, value };
            return self.come_later(now, ask, event, None, out);
        }
        // Grows here, and also when the lock is handed over to another process. Stamps do not count:
        // they are ahead of the server's time, and the other process knows none of them.
        self.last_write = self.server_time(now).max(self.last_write + 1);
        let (writer, seq) = (self.id.clone(), self.last_write);
        let request = Request::Write { key, fence, writer, seq, value };
        self.look(now, ask, request, out);
    }

    /// Asks the server what a caller wants to know of it.
    fn look(&mut self, now: Moment, ask: AskId, request: Request, out: &mut Vec<Action>) {
        let call = self.call(now, request, Purpose::Look(ask), out);
        self.asks.insert(ask, Asked { origin: Origin::Call(call), timer: None });
    }

    /// Keeps a question until the server's time is known.
    fn come_later(
        &mut self,
        now: Moment,
        ask: AskId,
        event: Event,
        deadline: Option<Moment>,
        out: &mut Vec<Action>,
    ) {
        let give_up = now + self.temper.patience;
        let timer = match deadline {
            Some(deadline) if deadline < give_up => (deadline, Timer::Deadline(ask)),
            _ => (give_up, Timer::GiveUp(ask)),
        };
        self.timers.insert(timer.clone());
        self.asks.insert(ask, Asked { origin: Origin::Early(event, now), timer: Some(timer) });
        self.need_link(out);
    }

    fn try_once(
        &mut self,
        now: Moment,
        terms: Arc<Terms>,
        ask: AskId,
        before: u32,
        out: &mut Vec<Action>,
    ) -> CallId {
        let behind = terms.each().iter().any(|part| self.releases.contains_key(&part.keys.lock));
        let attempt = self.attempt(now, terms);
        let purpose = Purpose::Try { ask, before, behind };
        self.call(now, Request::Acquire { attempt, wait: false }, purpose, out)
    }

    /// Puts an attempt into the server's queue for the line, if there is none and somebody waits.
    fn join(&mut self, now: Moment, number: u64, out: &mut Vec<Action>) {
        let Some(line) = self.lines.get(&number) else { return };
        if line.waiter.is_some() {
            return;
        }
        let terms = line.terms.clone();
        if line.callers.is_empty() {
            self.lines.remove(&number);
            self.line_of.remove(&terms);
            return;
        }
        let pause = terms.retry_delay;
        let attempt = self.attempt(now, terms);
        self.waiting.insert(attempt.token.clone(), number);
        let request = Request::Acquire { attempt: attempt.clone(), wait: true };
        let call = self.call(now, request, Purpose::Line(number), out);
        if let Some(line) = self.lines.get_mut(&number) {
            line.waiter =
                Some(Waiter { attempt, call: Some(call), again: false, pause, poll: None });
        }
    }

    /// Has the line's attempt try again: now, or as soon as its last try is answered.
    fn poll(&mut self, now: Moment, number: u64, out: &mut Vec<Action>) {
        let Some(waiter) = self.lines.get_mut(&number).and_then(|line| line.waiter.as_mut()) else {
            return;
        };
        if waiter.call.is_some() {
            waiter.again = true;
            return;
        }
        if let Some(at) = waiter.poll.take() {
            self.timers.remove(&(at, Timer::Poll(number)));
        }
        let attempt = waiter.attempt.clone();
        let request = Request::Acquire { attempt, wait: true };
        let call = self.call(now, request, Purpose::Line(number), out);
        if let Some(waiter) = self.lines.get_mut(&number).and_then(|line| line.waiter.as_mut()) {
            waiter.call = Some(call);
        }
    }

    /// Nobody waits for the answer any more. A grant that may be on its way is given back.
    fn abandon(&mut self, now: Moment, ask: AskId, out: &mut Vec<Action>) {
        let Some(asked) = self.close(ask) else { return };
        match asked.origin {
            Origin::Early(..) => {}
            Origin::Line(line) => self.step_out(now, line, ask, out),
            Origin::Call(call) => self.disown(now, call, out),
            Origin::Flush => self.flushes.retain(|flush| flush.ask != ask),
        }
    }

    fn step_out(&mut self, now: Moment, number: u64, ask: AskId, out: &mut Vec<Action>) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        line.callers.remove(&ask);
        if line.callers.is_empty() {
            self.withdraw(now, number, out);
        }
    }

    /// Takes the line's attempt out of the server's queue, and ends the line if nobody waits.
    fn withdraw(&mut self, now: Moment, number: u64, out: &mut Vec<Action>) {
        if let Some(waiter) = self.take_waiter(number) {
            if let Some(call) = waiter.call {
                self.forget_call(call);
            }
            self.call_off(now, &waiter.attempt, out);
        }
        self.join(now, number, out);
    }

    fn take_waiter(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.lines.get_mut(&number)?.waiter.take()?;
        if let Some(at) = waiter.poll {
            self.timers.remove(&(at, Timer::Poll(number)));
        }
        self.waiting.remove(&waiter.attempt.token);
        Some(waiter)
    }

    /// A call whose caller is gone: what cannot be left alone is cleaned up.
    fn disown(&mut self, now: Moment, id: CallId, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match &mut call.purpose {
            // A release goes on, an extension may have happened: their answers count.
            Purpose::Release { ask, .. } | Purpose::Extend { ask, .. } => *ask = None,
            Purpose::Look(_) | Purpose::Check(_) | Purpose::Line(_) => {
                self.forget_call(id);
            }
            Purpose::Try { .. } | Purpose::TakeOver { .. } => {
                let call = self.forget_call(id);
                // A hold that was passed on to here and is not taken is still somebody's: whoever
                // has its text may take it over again. An own attempt is nobody's.
                if let Some(Call { request: Request::Acquire { attempt, .. }, .. }) = call {
                    self.call_off(now, &attempt, out);
                }
            }
        }
    }

    fn release(&mut self, now: Moment, id: HoldId, ask: Option<AskId>, out: &mut Vec<Action>) {
        let Some(hold) = self.drop_hold(id, out) else {
            // It was passed on or leaked before.
            if let Some(ask) = ask {
                self.answer(ask, Answer::Released, out);
            }
            return;
        };
        let terms = hold.attempt.terms.clone();
        let over = hold.lease.over();
        let expired = (hold.lease.valid_until() <= now).then_some(Loss::Expired);
        let purpose = Purpose::Release { ask, fence: hold.fence, lost: hold.lost.or(expired) };
        let call = self.end_attempt(now, hold.attempt, purpose, out);
        self.moot_at(call, over.max(now + self.temper.patience));
        if let Some(ask) = ask {
            self.asks.insert(ask, Asked { origin: Origin::Call(call), timer: None });
        }
        // Who waits here may be the next one. Asking at once, right behind the release, saves the
        // way of the server's message.
        if let Some(&line) = self.line_of.get(&terms) {
            self.poll(now, line, out);
        }
    }

    /// Stops everything that was done for a hold.
    fn drop_hold(&mut self, id: HoldId, out: &mut Vec<Action>) -> Option<Hold> {
        let mut hold = self.holds.remove(&id)?;
        if let Some(at) = hold.check {
            self.timers.remove(&(at, Timer::Check(id)));
        }
        if let Some(at) = hold.end {
            self.timers.remove(&(at, Timer::End(id)));
        }
        // A renewal under way is not sent again, and its answer does not matter any more. One that
        // arrives after the release finds the token gone.
        if let Some(call) = hold.care {
            self.forget_call(call);
        }
        // Those that were not sent yet never will be.
        for call in hold.extensions.drain(..).skip(1) {
            if let Some(Call { purpose: Purpose::Extend { ask: Some(ask), .. }, .. }) =
                self.forget_call(call)
            {
                let loss = hold.lost.unwrap_or(Loss::Expired);
                self.answer(ask, Answer::Failed(RedisError::Lost { loss }), out);
            }
        }
        Some(hold)
    }

    /// Ends an attempt that nobody wants any more, at every name.
    fn call_off(&mut self, now: Moment, attempt: &Arc<Attempt>, out: &mut Vec<Action>) {
        for part in attempt.each() {
            let purpose = Purpose::Release { ask: None, fence: 0, lost: None };
            self.end_attempt(now, part, purpose, out);
        }
    }

    /// The server says that an attempt is over. Of several names it may still hold some, if others
    /// were deleted there.
    fn is_over(&mut self, now: Moment, attempt: &Arc<Attempt>, out: &mut Vec<Action>) {
        if attempt.terms.parts.is_empty() {
            self.free_lane(attempt);
        } else {
            self.call_off(now, attempt, out);
        }
    }

    /// Sends the release of an attempt at one name, in whatever state that is.
    fn end_attempt(
        &mut self,
        now: Moment,
        attempt: Arc<Attempt>,
        purpose: Purpose,
        out: &mut Vec<Action>,
    ) -> CallId {
        let moot = now + MAX_DELAY + attempt.terms.lease();
        let key = attempt.terms.keys.lock.clone();
        let call = self.call(now, Request::Release { attempt }, purpose, out);
        self.releases.entry(key).or_default().push(call);
        self.moot_at(call, moot);
        call
    }

    /// Until when a release is worth sending again.
    fn moot_at(&mut self, id: CallId, moot: Moment) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        for timer in call.timers.extract_if(.., |(_, timer)| matches!(timer, Timer::Moot(_))) {
            self.timers.remove(&timer);
        }
        call.timers.push((moot, Timer::Moot(id)));
        self.timers.insert((moot, Timer::Moot(id)));
    }

    fn leak(&mut self, id: HoldId, out: &mut Vec<Action>) {
        if let Some(hold) = self.drop_hold(id, out) {
            self.lend(hold.lease.over(), hold.attempt);
        }
    }

    /// The lane stays in use until nobody can release the attempt any more.
    fn lend(&mut self, until: Moment, attempt: Arc<Attempt>) {
        let place = self.lent.partition_point(|(other, _)| *other <= until);
        self.lent.insert(place, (until, attempt));
    }

    fn take_over(
        &mut self,
        now: Moment,
        ask: AskId,
        terms: Arc<Terms>,
        passed: Passed,
        out: &mut Vec<Action>,
    ) {
        let purpose = Purpose::TakeOver { ask, passed };
        let call = self.call(now, Request::Status { terms }, purpose, out);
        self.asks.insert(ask, Asked { origin: Origin::Call(call), timer: None });
    }

    fn extend(
        &mut self,
        now: Moment,
        id: HoldId,
        ask: AskId,
        more: Duration,
        out: &mut Vec<Action>,
    ) {
        let Some(hold) = self.holds.get_mut(&id) else {
            let answer = Answer::Failed(RedisError::Lost { loss: Loss::Deleted });
            return self.answer(ask, answer, out);
        };
        if let Some(loss) = hold.lost {
            return self.answer(ask, Answer::Failed(RedisError::Lost { loss }), out);
        }
        hold.seq += 1;
        let by = Extension::Add(more);
        let request = Request::Extend { attempt: hold.attempt.clone(), by, seq: hold.seq };
        let call = self.call(now, request, Purpose::Extend { hold: id, ask: Some(ask) }, out);
        self.asks.insert(ask, Asked { origin: Origin::Call(call), timer: None });
    }

    fn flush(&mut self, ask: AskId, out: &mut Vec<Action>) {
        let calls: BTreeSet<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| matches!(call.purpose, Purpose::Release { .. }))
            .map(|(id, _)| *id)
            .collect();
        if calls.is_empty() {
            return self.answer(ask, Answer::Flushed(0), out);
        }
        self.asks.insert(ask, Asked { origin: Origin::Flush, timer: None });
        let releases = calls.len();
        self.flushes.push(Flush { ask, calls, releases, failure: None });
    }

    /// Forgets a question and its timer.
    fn close(&mut self, ask: AskId) -> Option<Asked> {
        let asked = self.asks.remove(&ask)?;
        if let Some(timer) = &asked.timer {
            self.timers.remove(timer);
        }
        Some(asked)
    }

    fn answer(&mut self, ask: AskId, answer: Answer, out: &mut Vec<Action>) {
        self.close(ask);
        out.push(Action::Answer { ask, answer });
    }

    // ---- attempts ------------------------------------------------------------------------------

    fn attempt(&mut self, now: Moment, terms: Arc<Terms>) -> Arc<Attempt> {
        let token = format!("{:032x}", (self.entropy)());
        self.attempt_as(now, terms, token, false)
    }

    fn attempt_as(
        &mut self,
        now: Moment,
        terms: Arc<Terms>,
        token: String,
        taken_over: bool,
    ) -> Arc<Attempt> {
        while self.lent.front().is_some_and(|(until, _)| *until <= now) {
            let (_, attempt) = self.lent.pop_front().expect("it was just looked at");
            self.free_lane(&attempt);
        }
        let taken = |number: &u32| {
            let lanes = |part: &Arc<Terms>| self.lanes.get(&part.keys.lock);
            terms.each().iter().filter_map(lanes).any(|lanes| lanes.contains(number))
        };
        let number = (0..).find(|number| !taken(number)).expect("lanes are few");
        for part in terms.each() {
            self.lanes.entry(part.keys.lock.clone()).or_default().insert(number);
        }
        let latest = self.server_time(now) + MAX_DELAY.as_micros() as u64;
        self.last_stamp = latest.max(self.last_stamp + 1);
        Arc::new(Attempt {
            terms,
            token,
            lane: format!("{}:{number}", self.id),
            number,
            stamp: self.last_stamp,
            taken_over,
        })
    }

    /// The attempt is over on the server: another one may use its lane.
    fn free_lane(&mut self, attempt: &Attempt) {
        for part in attempt.terms.each() {
            if let Some(lanes) = self.lanes.get_mut(&part.keys.lock) {
                lanes.remove(&attempt.number);
                if lanes.is_empty() {
                    self.lanes.remove(&part.keys.lock);
                }
            }
        }
    }

    /// The time of the server whose clock is ahead of all others: what is stamped with it is in
    /// time at each of them.
    fn server_time(&self, now: Moment) -> u64 {
        let time = |&(then, us): &(Moment, u64)| us + now.since(then).as_micros() as u64;
        self.servers.values().map(time).max().unwrap_or(0)
    }

    // ---- calls ---------------------------------------------------------------------------------

    fn call(
        &mut self,
        now: Moment,
        request: Request,
        purpose: Purpose,
        out: &mut Vec<Action>,
    ) -> CallId {
        self.last_number += 1;
        let id = self.last_number;
        if let Purpose::Extend { hold, .. } = &purpose
            && let Some(hold) = self.holds.get_mut(hold)
        {
            hold.extensions.push_back(id);
        }
        let (tries, failure, timers) = (0, None, Vec::new());
        let call = Call { request, purpose, first: now, sent: None, tries, failure, timers };
        self.calls.insert(id, Box::new(call));
        self.beginnings.push_back((now, id));
        self.transmit(now, id, out);
        id
    }

    /// Sends a call, if the link is up; else it is sent as soon as that is. An extension also waits
    /// for the one before it.
    fn transmit(&mut self, now: Moment, id: CallId, out: &mut Vec<Action>) {
        if !matches!(self.link, Link::Up) {
            return self.need_link(out);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let (Purpose::Extend { hold, .. }, Request::Extend { by, .. }) =
            (&call.purpose, &call.request)
            && let Some(hold) = self.holds.get_mut(hold)
        {
            if hold.extensions.front() != Some(&id) {
                return;
            }
            match by {
                Extension::AtLeast(time) => {
                    hold.lease.ask_at_least(now, *time + hold.attempt.terms.grace);
                }
                // A repeat adds nothing.
                Extension::Add(more) if call.tries == 0 => hold.lease.ask_to_add(*more),
                Extension::Add(_) => {}
            }
        }
        call.sent = Some(now);
        call.tries += 1;
        self.sendings.push_back((now, id));
        out.push(Action::Send { call: id, request: call.request.clone() });
    }

    fn awaits(&self, id: CallId, sent: Moment) -> bool {
        self.calls.get(&id).is_some_and(|call| call.sent == Some(sent))
    }

    fn forget_call(&mut self, id: CallId) -> Option<Call> {
        let call = *self.calls.remove(&id)?;
        for timer in &call.timers {
            self.timers.remove(timer);
        }
        Some(call)
    }

    /// An extension is over. The next one is sent, if this was the one under way.
    fn end_extension(&mut self, now: Moment, id: HoldId, call: CallId, out: &mut Vec<Action>) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        let was_first = hold.extensions.front() == Some(&call);
        hold.extensions.retain(|other| *other != call);
        if was_first && let Some(&next) = hold.extensions.front() {
            self.transmit(now, next, out);
        }
    }

    /// The call has taken too long for whoever waits for it. Releases go on without them.
    fn give_up(&mut self, now: Moment, id: CallId, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get(&id) else { return };
        let failure = call.failure.clone().or_else(|| self.trouble.clone());
        let failure = after_trying(failure, now.since(call.first));
        match call.purpose {
            Purpose::Line(number) => self.give_up_in_line(now, id, number, &failure, out),
            _ => self.fail(now, id, failure, out),
        }
    }

    /// The call has failed for good, as far as those are concerned who wait for it.
    fn fail(&mut self, now: Moment, id: CallId, failure: RedisError, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match &mut call.purpose {
            Purpose::Line(number) => {
                let number = *number;
                self.fail_line(now, number, &failure, out);
            }
            Purpose::Release { ask, .. } => {
                let ask = ask.take();
                let failure = RedisError::Unconfirmed(Box::new(failure));
                if let Some(ask) = ask {
                    self.answer(ask, Answer::Failed(failure), out);
                }
            }
            // The extension may still happen, which hurts nobody. A renewal comes again by itself.
            Purpose::Extend { hold, ask } => {
                let (hold, ask) = (*hold, *ask);
                self.forget_call(id);
                if let Some(ask) = ask {
                    self.answer(ask, Answer::Failed(failure), out);
                }
                self.end_extension(now, hold, id, out);
            }
            // Checks come again by themselves.
            Purpose::Check(_) => {
                self.forget_call(id);
            }
            Purpose::Try { ask, .. } | Purpose::Look(ask) | Purpose::TakeOver { ask, .. } => {
                let ask = *ask;
                self.answer(ask, Answer::Failed(failure), out);
                self.disown(now, id, out);
            }
        }
    }

    /// All who wait in line fail.
    fn fail_line(&mut self, now: Moment, number: u64, failure: &RedisError, out: &mut Vec<Action>) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let callers = std::mem::take(&mut line.callers);
        for ask in callers.into_keys() {
            self.answer(ask, Answer::Failed(failure.clone()), out);
        }
        self.withdraw(now, number, out);
    }

    /// A line's call has taken too long for those who came before it, or with it. For those who came later it
    /// goes on, until it has for the first of them.
    fn give_up_in_line(
        &mut self,
        now: Moment,
        id: CallId,
        number: u64,
        failure: &RedisError,
        out: &mut Vec<Action>,
    ) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let by = now.before(self.temper.patience);
        let (late, still): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut line.callers).into_iter().partition(|(_, came)| *came <= by);
        let Some(first) = still.values().min().copied() else {
            line.callers = late;
            return self.fail_line(now, number, failure, out);
        };
        line.callers = still;
        for ask in late.into_keys() {
            self.answer(ask, Answer::Failed(failure.clone()), out);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.first = first;
            let place = self.beginnings.partition_point(|(at, _)| *at <= first);
            self.beginnings.insert(place, (first, id));
        }
    }

    /// A release has come to its end. Frees its lane, and tells those who wait for it.
    fn settle(
        &mut self,
        id: CallId,
        attempt: &Attempt,
        failure: Option<RedisError>,
        out: &mut Vec<Action>,
    ) {
        self.free_lane(attempt);
        let key = &attempt.terms.keys.lock;
        if let Some(releases) = self.releases.get_mut(key) {
            releases.retain(|other| *other != id);
            if releases.is_empty() {
                self.releases.remove(key);
            }
        }
        for flush in &mut self.flushes {
            if flush.calls.remove(&id) && failure.is_some() {
                flush.failure.clone_from(&failure);
            }
        }
        let done: Vec<Flush> =
            self.flushes.extract_if(.., |flush| flush.calls.is_empty()).collect();
        for Flush { ask, releases, failure, .. } in done {
            let answer = failure.map_or(Answer::Flushed(releases), |cause| {
                Answer::Failed(RedisError::Unconfirmed(Box::new(cause)))
            });
            self.answer(ask, answer, out);
        }
    }

    // ---- answers -------------------------------------------------------------------------------

    fn reply(
        &mut self,
        now: Moment,
        id: CallId,
        node: NodeId,
        reply: Result<Reply, RedisError>,
        out: &mut Vec<Action>,
    ) {
        // A call that is forgotten was cleaned up when it was.
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(sent) = call.sent.take() else { return };
        self.connects = 0;
        let is_release = matches!(call.purpose, Purpose::Release { .. });
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) if failure.passes() => return self.put_off(now, id, failure),
            // Who releases is told at once, and the release goes on for as long as the lease does.
            Err(failure)
                if is_release && (failure.refuses_writes() || failure.is_about_the_link()) =>
            {
                self.fail(now, id, failure.clone(), out);
                return self.put_off(now, id, failure);
            }
            Err(failure) => {
                self.fail(now, id, failure.clone(), out);
                if let Some(Call { request: Request::Release { attempt }, .. }) =
                    self.forget_call(id)
                {
                    self.settle(id, &attempt, Some(failure), out);
                }
                return;
            }
        };
        let trip = Trip { sent, received: now };
        if let Some(us) = reply.now() {
            self.observe(node, trip, us);
        }
        let call = self.forget_call(id).expect("it was just found");
        match (call.purpose, call.request, reply) {
            (Purpose::Try { ask, before, behind }, Request::Acquire { attempt, .. }, reply) => {
                self.tried(now, trip, ask, (before, behind), attempt, &reply, out);
            }
            (Purpose::Line(line), Request::Acquire { .. }, reply) => {
                self.polled(now, trip, line, &reply, out);
            }
            (Purpose::Release { ask, fence, lost: known }, Request::Release { attempt }, reply) => {
                if let Some(ask) = ask {
                    let lost = |loss| Answer::Failed(RedisError::Lost { loss });
                    let answer = match reply {
                        Reply::Expired { .. } => lost(Loss::Expired),
                        // An earlier sending may have done it, and the server has forgotten that.
                        Reply::Gone { .. } if call.tries > 1 && now > call.first + FORGET => {
                            let cause = RedisError::Timeout { after: now.since(call.first) };
                            Answer::Failed(RedisError::Unconfirmed(Box::new(cause)))
                        }
                        Reply::Gone { last, .. } => match gone(fence, last) {
                            // What has expired may have been swept since.
                            Loss::Deleted => lost(known.unwrap_or(Loss::Deleted)),
                            loss => lost(loss),
                        },
                        _ => Answer::Released,
                    };
                    self.answer(ask, answer, out);
                }
                self.settle(id, &attempt, None, out);
            }
            (Purpose::Extend { hold, ask }, Request::Extend { by, .. }, reply) => {
                self.extended(now, trip, hold, ask, by, &reply, out);
                self.end_extension(now, hold, id, out);
            }
            (Purpose::Check(hold), _, Reply::Status(status)) => {
                self.checked(now, trip, hold, &status, out);
            }
            (Purpose::Look(ask), _, Reply::Status(status)) => {
                self.answer(ask, Answer::Status(status), out);
            }
            (Purpose::Look(ask), _, Reply::Written { written, .. }) => {
                self.answer(ask, Answer::Written(written), out);
            }
            // Whoever numbered those writes may have had a clock that is ahead of this one.
            (
                Purpose::Look(ask),
                Request::Write { key, fence, value, .. },
                Reply::Outnumbered { last, .. },
            ) => {
                if last >= WRITES {
                    let failure = RedisError::Garbled { request: "a fenced write" };
                    return self.answer(ask, Answer::Failed(failure), out);
                }
                self.last_write = self.last_write.max(last);
                self.write(now, ask, key, fence, value, out);
            }
            (Purpose::Look(ask), _, Reply::Read { value, .. }) => {
                self.answer(ask, Answer::Read(value), out);
            }
            (Purpose::Look(ask), _, Reply::Info(text)) => {
                self.answer(ask, Answer::Info(text), out);
            }
            (Purpose::Look(ask), _, Reply::Scanned { keys, next }) => {
                self.answer(ask, Answer::Scanned { keys, next }, out);
            }
            (Purpose::Look(ask), _, Reply::Swept { swept, .. }) => {
                self.answer(ask, Answer::Swept(swept), out);
            }
            (
                Purpose::TakeOver { ask, passed },
                Request::Status { terms },
                Reply::Status(status),
            ) => {
                self.taken_over(now, trip, ask, terms, passed, &status, out);
            }
            // The driver reads an answer by its request, so there is no other combination.
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a call was about, taken apart")]
    fn tried(
        &mut self,
        now: Moment,
        trip: Trip,
        ask: AskId,
        (before, behind): (u32, bool),
        attempt: Arc<Attempt>,
        reply: &Reply,
        out: &mut Vec<Action>,
    ) {
        let terms = attempt.terms.clone();
        match reply {
            Reply::Granted { fences, left, .. } => {
                match self.hold(now, trip, &attempt, fences, *left, out) {
                    Some(granted) => return self.answer(ask, granted, out),
                    None if before < MOST_IN_VAIN => {}
                    None => {
                        let after = now.since(trip.sent);
                        let failure = RedisError::Timeout { after };
                        return self.answer(ask, Answer::Failed(failure), out);
                    }
                }
            }
            Reply::Over { .. } => {
                self.is_over(now, &attempt, out);
                if before == MOST_IN_VAIN {
                    let failure = Answer::Failed(RedisError::UnsteadyClock);
                    return self.answer(ask, failure, out);
                }
            }
            _ => {
                self.free_lane(&attempt);
                // It may have passed the release before it: one that had to be sent again, since
                // the server did not know the script, say.
                if !behind || before == MOST_IN_VAIN {
                    return self.answer(ask, Answer::Busy, out);
                }
                self.hurry_releases(now, &terms, out);
            }
        }
        let call = self.try_once(now, terms, ask, before + 1, out);
        if let Some(asked) = self.asks.get_mut(&ask) {
            asked.origin = Origin::Call(call);
        }
    }

    /// The server answers again: what was put off until it does goes ahead of the next attempt.
    fn hurry_releases(&mut self, now: Moment, terms: &Arc<Terms>, out: &mut Vec<Action>) {
        let of = |part: &Arc<Terms>| self.releases.get(&part.keys.lock);
        let releases: Vec<CallId> = terms.each().iter().filter_map(of).flatten().copied().collect();
        for id in releases {
            self.resend(now, id, out);
        }
    }

    fn polled(
        &mut self,
        now: Moment,
        trip: Trip,
        number: u64,
        reply: &Reply,
        out: &mut Vec<Action>,
    ) {
        let Some(waiter) = self.lines.get_mut(&number).and_then(|line| line.waiter.as_mut()) else {
            return;
        };
        waiter.call = None;
        match reply {
            Reply::Granted { fences, left, .. } => {
                let Some(waiter) = self.take_waiter(number) else { return };
                let granted = self.hold(now, trip, &waiter.attempt, fences, *left, out);
                if let Some(line) = self.lines.get_mut(&number) {
                    line.in_vain = if granted.is_none() { line.in_vain + 1 } else { 0 };
                    // As for one who tries.
                    let failure = || {
                        let after = now.since(trip.sent);
                        let failed = Answer::Failed(RedisError::Timeout { after });
                        (line.in_vain > MOST_IN_VAIN).then_some(failed)
                    };
                    if let Some(answer) = granted.or_else(failure)
                        && let Some((ask, _)) = line.callers.pop_first()
                    {
                        line.in_vain = 0;
                        self.answer(ask, answer, out);
                    }
                }
                // The next one takes its place in the queue at once, not when this one is done.
                self.join(now, number, out);
            }
            Reply::Busy { left, .. } => self.wait(now, number, *left, out),
            _ => {
                // It may still stand in the queue, in everybody's way.
                if let Some(waiter) = self.take_waiter(number) {
                    self.call_off(now, &waiter.attempt, out);
                }
                self.join(now, number, out);
            }
        }
    }

    /// The line's attempt stands in the queue: when does it try again, if nobody tells it to?
    fn wait(&mut self, now: Moment, number: u64, left: Duration, out: &mut Vec<Action>) {
        let jitter = 75 + ((self.entropy)() % 51) as u32;
        let Some(line) = self.lines.get_mut(&number) else { return };
        let terms = &line.terms;
        let Some(waiter) = line.waiter.as_mut() else { return };
        if waiter.again {
            waiter.again = false;
            return self.poll(now, number, out);
        }
        let pause = (waiter.pause * jitter / 100).min(terms.waiter_ttl / 3);
        if !terms.polling {
            waiter.pause = (waiter.pause * 2).min(LONGEST_PAUSE.max(terms.retry_delay));
            if self.ear == Ear::Deaf {
                self.ear = Ear::Asked;
                out.push(Action::Listen);
            }
        }
        let at = now + pause.min(left + Duration::from_millis(1));
        waiter.poll = Some(at);
        self.timers.insert((at, Timer::Poll(number)));
    }

    // ---- holds ---------------------------------------------------------------------------------

    /// Begins a hold of each name. None if the grant came too late to be of use; it is given back
    /// then.
    fn hold(
        &mut self,
        now: Moment,
        trip: Trip,
        attempt: &Arc<Attempt>,
        fences: &[u64],
        left: Duration,
        out: &mut Vec<Action>,
    ) -> Option<Answer> {
        let terms = &attempt.terms;
        let lease = Lease::granted(trip, left, terms.lease(), terms.grace);
        if end_notice(&lease, terms) <= now {
            self.call_off(now, attempt, out);
            return None;
        }
        let each = attempt.each().into_iter().zip(fences);
        let begin = |(part, fence): (_, &u64)| {
            self.begin_hold(now, trip, part, *fence, lease.clone(), (0, 0))
        };
        Some(Answer::Granted(each.map(begin).collect()))
    }

    fn begin_hold(
        &mut self,
        now: Moment,
        trip: Trip,
        attempt: Arc<Attempt>,
        fence: u64,
        lease: Lease,
        (generation, seq): (u64, u64),
    ) -> Granted {
        self.last_number += 1;
        let id = self.last_number;
        let valid_until = lease.valid_until();
        let check = now + attempt.terms.ttl / 3;
        let end = end_notice(&lease, &attempt.terms);
        self.timers.insert((check, Timer::Check(id)));
        self.timers.insert((end, Timer::End(id)));
        let (since, lost, care) = (trip.sent, None, None);
        let (check, end) = (Some(check), Some(end));
        let (seq, extensions) = (generation * EXTENSIONS + seq, VecDeque::new());
        let held = attempt.clone();
        self.holds.insert(
            id,
            Hold { attempt: held, fence, lease, since, seq, extensions, lost, care, check, end },
        );
        Granted { hold: id, fence, valid_until, attempt, generation }
    }

    #[expect(clippy::too_many_arguments, reason = "what a call was about, taken apart")]
    fn extended(
        &mut self,
        now: Moment,
        trip: Trip,
        id: HoldId,
        ask: Option<AskId>,
        by: Extension,
        reply: &Reply,
        out: &mut Vec<Action>,
    ) {
        let answer = match (self.holds.get_mut(&id), reply) {
            (Some(hold), Reply::Extended { left, .. }) => {
                match by {
                    Extension::Add(more) => hold.lease.added(trip, *left, more),
                    Extension::AtLeast(time) => {
                        let asked = time + hold.attempt.terms.grace;
                        hold.lease.at_least(trip, *left, asked);
                    }
                }
                match hold.lost {
                    Some(loss) => Answer::Failed(RedisError::Lost { loss }),
                    None => {
                        self.valid(id, out);
                        Answer::Extended
                    }
                }
            }
            (Some(hold), Reply::Expired { .. } | Reply::Gone { .. }) => {
                let loss = match reply {
                    Reply::Gone { last, .. } => gone(hold.fence, *last),
                    _ => Loss::Expired,
                };
                self.lose(id, loss, out);
                Answer::Failed(RedisError::Lost { loss })
            }
            // Released while the extension was under way.
            _ => Answer::Failed(RedisError::Lost { loss: Loss::Expired }),
        };
        if ask.is_none()
            && let Some(hold) = self.holds.get_mut(&id)
        {
            hold.care = None;
            self.check_at(id, now);
        }
        if let Some(ask) = ask {
            self.answer(ask, answer, out);
        }
    }

    fn checked(
        &mut self,
        now: Moment,
        trip: Trip,
        id: HoldId,
        status: &Status,
        out: &mut Vec<Action>,
    ) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        hold.care = None;
        if !status.left.is_zero() && status.token == hold.attempt.token {
            hold.lease.seen(trip, status.left);
            self.valid(id, out);
            self.check_at(id, now);
        } else {
            let is_last = status.fence == hold.fence;
            let loss = if is_last { Loss::Expired } else { gone(hold.fence, status.fence) };
            self.lose(id, loss, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a call was about, taken apart")]
    fn taken_over(
        &mut self,
        now: Moment,
        trip: Trip,
        ask: AskId,
        terms: Arc<Terms>,
        passed: Passed,
        status: &Status,
        out: &mut Vec<Action>,
    ) {
        let Passed { token, written, generation } = passed;
        let answer = if status.left.is_zero() {
            Answer::Failed(RedisError::Lost { loss: Loss::Expired })
        } else if status.token != token {
            Answer::Failed(RedisError::Lost { loss: Loss::TakenOver })
        } else {
            self.last_write = self.last_write.max(written);
            let grace = grace_of(&status.info).unwrap_or(terms.grace);
            // In a lane of this client's: the former holder's may be in use again before this hold ends.
            let attempt = self.attempt_as(now, terms, token, true);
            let lease = Lease::adopted(trip, status.left, grace);
            // Whoever took over in this generation before, and gave up, has extended it less often than
            // once in a millisecond since the grant.
            let seq = (status.now.saturating_sub(status.fence) / 1_000).min(EXTENSIONS / 2);
            let numbers = (generation, seq);
            let held = self.begin_hold(now, trip, attempt, status.fence, lease, numbers);
            Answer::Granted(vec![held])
        };
        self.answer(ask, answer, out);
    }

    /// Passes on until when the hold is valid, and sets the timer for its end.
    fn valid(&mut self, id: HoldId, out: &mut Vec<Action>) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        if hold.lost.is_some() {
            return;
        }
        if let Some(at) = hold.end.take() {
            self.timers.remove(&(at, Timer::End(id)));
        }
        let end = end_notice(&hold.lease, &hold.attempt.terms);
        hold.end = Some(end);
        self.timers.insert((end, Timer::End(id)));
        out.push(Action::Valid { hold: id, until: hold.lease.valid_until() });
    }

    fn lose(&mut self, id: HoldId, loss: Loss, out: &mut Vec<Action>) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        if hold.lost.is_some() {
            return;
        }
        hold.lost = Some(loss);
        if let Some(at) = hold.check.take() {
            self.timers.remove(&(at, Timer::Check(id)));
        }
        if let Some(at) = hold.end.take() {
            self.timers.remove(&(at, Timer::End(id)));
        }
        out.push(Action::Lost { hold: id, loss });
    }

    /// Sets the time of the next renewal or check: a third of the ttl after `from`.
    fn check_at(&mut self, id: HoldId, from: Moment) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        if hold.lost.is_some() {
            return;
        }
        if let Some(at) = hold.check.take() {
            self.timers.remove(&(at, Timer::Check(id)));
        }
        let at = from + hold.attempt.terms.ttl / 3;
        hold.check = Some(at);
        self.timers.insert((at, Timer::Check(id)));
    }

    /// Renews the hold, or looks whether it is still there.
    fn check(&mut self, now: Moment, id: HoldId, out: &mut Vec<Action>) {
        self.check_at(id, now);
        let Some(hold) = self.holds.get_mut(&id) else { return };
        // One that is under way says it all. With the link down there is nothing to be asked:
        // all holds are checked when it is up again.
        if hold.lost.is_some() || hold.care.is_some_and(|call| self.calls.contains_key(&call)) {
            return;
        }
        if !matches!(self.link, Link::Up) {
            return self.need_link(out);
        }
        let terms = hold.attempt.terms.clone();
        let renewed = terms.max_hold.is_some_and(|most| now < hold.since + most);
        let (request, purpose) = if renewed {
            hold.seq += 1;
            let (attempt, by) = (hold.attempt.clone(), Extension::AtLeast(terms.ttl));
            let request = Request::Extend { attempt, by, seq: hold.seq };
            (request, Purpose::Extend { hold: id, ask: None })
        } else {
            (Request::Status { terms }, Purpose::Check(id))
        };
        let call = self.call(now, request, purpose, out);
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.care = Some(call);
        }
    }

    /// Checks all holds now: the server may not be the one it was.
    fn check_all(&mut self, now: Moment, out: &mut Vec<Action>) {
        let holds: Vec<HoldId> = self.holds.keys().copied().collect();
        for id in holds {
            self.check(now, id, out);
        }
    }

    // ---- the link ------------------------------------------------------------------------------

    fn need_link(&mut self, out: &mut Vec<Action>) {
        if matches!(self.link, Link::Off) {
            self.link = Link::Connecting;
            out.push(Action::Connect);
        }
    }

    /// Gives the connection up and makes a new one.
    fn reconnect(&mut self, out: &mut Vec<Action>) {
        self.link = Link::Connecting;
        for call in self.calls.values_mut() {
            call.sent = None;
        }
        self.sendings.clear();
        out.push(Action::Connect);
    }

    fn up(&mut self, now: Moment, node: NodeId, server: u64, sent: Moment, out: &mut Vec<Action>) {
        self.link = Link::Up;
        self.trouble = None;
        // All connections are new, and so may the servers be.
        self.servers.clear();
        self.observe(node, Trip { sent, received: now }, server);
        // In the order of their beginnings.
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for id in calls {
            self.transmit(now, id, out);
        }
        self.check_all(now, out);
        // Whatever has cut this connection may have cut that of the messages, too, which nobody would see.
        if matches!(self.ear, Ear::Listening | Ear::Asked) {
            self.ear = Ear::Asked;
            out.push(Action::Listen);
        }
        let mut early: Vec<AskId> = self
            .asks
            .iter()
            .filter(|(_, asked)| matches!(asked.origin, Origin::Early(..)))
            .map(|(ask, _)| *ask)
            .collect();
        early.sort_unstable();
        for ask in early {
            if let Some(Asked { origin: Origin::Early(event, _), .. }) = self.close(ask) {
                self.on(now, event, out);
            }
        }
    }

    fn down(&mut self, now: Moment, failure: RedisError, out: &mut Vec<Action>) {
        let was_up = matches!(self.link, Link::Up);
        for call in self.calls.values_mut() {
            call.sent = None;
        }
        self.sendings.clear();
        if !failure.passes() {
            let calls: Vec<CallId> = self.calls.keys().copied().collect();
            self.link = Link::Resting;
            for id in calls {
                self.fail(now, id, failure.clone(), out);
            }
            let early: Vec<AskId> = self
                .asks
                .iter()
                .filter(|(_, asked)| matches!(asked.origin, Origin::Early(..)))
                .map(|(ask, _)| *ask)
                .collect();
            for ask in early {
                self.answer(ask, Answer::Failed(failure.clone()), out);
            }
        }
        self.trouble = Some(failure);
        if self.asks.is_empty() && self.calls.is_empty() && self.holds.is_empty() {
            self.link = Link::Off;
            return;
        }
        self.link = Link::Resting;
        // At once, if it was of use.
        let rest = match self.connects {
            0 if was_up => Duration::ZERO,
            connects => backoff(connects),
        };
        self.connects += 1;
        self.timers.insert((now + rest, Timer::Connect));
    }

    /// A call met a failure that passes: it is sent again a little later.
    fn put_off(&mut self, now: Moment, id: CallId, failure: RedisError) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let at = now + backoff(call.tries.saturating_sub(1));
        call.failure = Some(failure);
        call.timers.push((at, Timer::Resend(id)));
        self.timers.insert((at, Timer::Resend(id)));
    }

    fn resend(&mut self, now: Moment, id: CallId, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        for timer in call.timers.extract_if(.., |(_, timer)| matches!(timer, Timer::Resend(_))) {
            self.timers.remove(&timer);
        }
        if call.sent.is_some() || !matches!(self.link, Link::Up) {
            return;
        }
        // A master that has become a replica stays one: the new master is at another address.
        if matches!(call.failure, Some(RedisError::ReadOnly(_))) {
            return self.reconnect(out);
        }
        self.transmit(now, id, out);
    }

    fn listening(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.ear = Ear::Listening;
        self.listens = 0;
        // What was said before the subscription stood was not heard.
        let lines: Vec<u64> = self.waiting.values().copied().collect();
        for line in lines {
            self.poll(now, line, out);
        }
    }

    fn deaf(&mut self, now: Moment) {
        self.ear = Ear::Resting;
        self.timers.insert((now + backoff(self.listens), Timer::Listen));
        self.listens += 1;
    }

    /// Learns a server's time, and notices when its clock was set.
    fn observe(&mut self, node: NodeId, trip: Trip, us: u64) {
        // Marks that the server leaves in this client's lanes may be its time.
        self.last_stamp = self.last_stamp.max(us);
        if let Some(&(then, known)) = self.servers.get(&node) {
            let expected = known + trip.received.since(then).as_micros() as u64;
            let step = CLOCK_STEP.as_micros() as u64;
            let way = trip.received.since(trip.sent).as_micros() as u64;
            if us > expected + step || us + way + step < expected {
                for (id, hold) in &mut self.holds {
                    if let Some(at) = hold.check {
                        self.timers.remove(&(at, Timer::Check(*id)));
                        hold.check = Some(trip.received);
                        self.timers.insert((trip.received, Timer::Check(*id)));
                    }
                }
            }
        }
        self.servers.insert(node, (trip.received, us));
    }

    // ---- time ----------------------------------------------------------------------------------

    fn ring(&mut self, now: Moment, out: &mut Vec<Action>) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let (_, timer) = self.timers.pop_first().expect("it was just looked at");
            match timer {
                Timer::Connect => {
                    if matches!(self.link, Link::Resting) {
                        self.link = Link::Connecting;
                        out.push(Action::Connect);
                    }
                }
                Timer::Listen => {
                    if self.ear == Ear::Resting {
                        if self.waiting.is_empty() {
                            self.ear = Ear::Deaf;
                        } else {
                            self.ear = Ear::Asked;
                            out.push(Action::Listen);
                        }
                    }
                }
                Timer::Deadline(ask) => self.too_late(now, ask, out),
                Timer::GiveUp(ask) => {
                    let failure = self.why_down(self.temper.patience);
                    self.answer(ask, Answer::Failed(failure), out);
                }
                Timer::Resend(call) => self.resend(now, call, out),
                Timer::Moot(call) => self.moot(now, call, out),
                Timer::Poll(line) => {
                    if let Some(found) = self.lines.get_mut(&line)
                        && let Some(waiter) = found.waiter.as_mut()
                    {
                        waiter.poll = None;
                    }
                    self.poll(now, line, out);
                }
                Timer::Check(hold) => self.check(now, hold, out),
                Timer::End(hold) => self.lose(hold, Loss::Expired, out),
            }
        }
        while let Some(&(at, call)) = self.sendings.front() {
            if self.awaits(call, at) {
                if at + self.temper.answer_timeout > now {
                    break;
                }
                let failure = RedisError::Timeout { after: now.since(at) };
                out.push(Action::Break { call, failure });
            }
            self.sendings.pop_front();
        }
        while let Some(&(at, call)) = self.beginnings.front() {
            if self.calls.contains_key(&call) && at + self.temper.patience > now {
                break;
            }
            self.beginnings.pop_front();
            self.give_up(now, call, out);
        }
    }

    /// The caller's deadline has come.
    fn too_late(&mut self, now: Moment, ask: AskId, out: &mut Vec<Action>) {
        let Some(asked) = self.close(ask) else { return };
        let answer = match asked.origin {
            Origin::Line(line) => {
                let unanswered = self.unanswered(now, line, ask);
                self.step_out(now, line, ask, out);
                unanswered.map_or(Answer::Busy, Answer::Failed)
            }
            Origin::Early(_, since) => Answer::Failed(self.why_down(now.since(since))),
            // These have no deadline.
            Origin::Call(_) | Origin::Flush => Answer::Failed(self.why_down(self.temper.patience)),
        };
        out.push(Action::Answer { ask, answer });
    }

    /// Why it cannot be said that somebody else holds the line's lock, if it cannot.
    fn unanswered(&self, now: Moment, line: u64, ask: AskId) -> Option<RedisError> {
        let line = self.lines.get(&line)?;
        let call = self.calls.get(&line.waiter.as_ref()?.call?)?;
        let since = *line.callers.get(&ask)?;
        let after = now.since(since);
        match &call.failure {
            Some(failure) => Some(after_trying(Some(failure.clone()), after)),
            None => call.sent.is_none().then(|| self.why_down(after)),
        }
    }

    /// Why nothing has come of what was tried for so long.
    fn why_down(&self, after: Duration) -> RedisError {
        after_trying(self.trouble.clone(), after)
    }

    /// There is nothing left to release.
    fn moot(&mut self, now: Moment, id: CallId, out: &mut Vec<Action>) {
        let Some(call) = self.forget_call(id) else { return };
        let failure = call.failure.or_else(|| self.trouble.clone());
        let failure = after_trying(failure, now.since(call.first));
        if let Purpose::Release { ask: Some(ask), .. } = call.purpose {
            let failure = RedisError::Unconfirmed(Box::new(failure.clone()));
            self.answer(ask, Answer::Failed(failure), out);
        }
        if let Request::Release { attempt } = &call.request {
            self.settle(id, attempt, Some(failure), out);
        }
    }
}

/// What became of a grant with this fence of which the server knows nothing any more.
fn gone(fence: u64, last: u64) -> Loss {
    if last > fence { Loss::TakenOver } else { Loss::Deleted }
}

/// Why nothing has come of what was tried for so long. That a single connection or answer took too long
/// is no news then.
fn after_trying(failure: Option<RedisError>, after: Duration) -> RedisError {
    match failure {
        None | Some(RedisError::Timeout { .. }) => RedisError::Timeout { after },
        Some(failure) => failure,
    }
}

/// When the holder is told that its lease ends: a little before validity does.
fn end_notice(lease: &Lease, terms: &Terms) -> Moment {
    lease.valid_until().before(NOTICE.min(terms.ttl / 20))
}

fn backoff(tries: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << tries.min(8)).min(LONGEST_BACKOFF)
}

/// The grace in an info "grace ttl owner".
pub(crate) fn grace_of(info: &str) -> Option<Duration> {
    info.split(' ').next()?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod exploration;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
