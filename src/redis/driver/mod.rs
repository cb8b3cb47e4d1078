//! The driver: one task that does what the sans-IO client says, and nothing else.
//!
//! The task has a runtime of its own, which outlives every future and every guard, so it can finish
//! what they leave behind, and callers need no runtime of their own: they put a message into the
//! driver's inbox and wait for their slot to be filled. Whose thread turns the runtime meanwhile is
//! said in [`desk`]; who may do without the driver, in [`core`](self::core).

pub(crate) mod cell;
pub(crate) mod clock;
mod cluster;
mod core;
mod desk;
mod express;
mod link;
mod outside;
pub(crate) mod slot;

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::PubSubStream;
use tokio::time::Sleep;

use self::core::{Core, Later, Task};
use self::desk::{Crew, Desk};
use self::express::{Express, MOST_REQUESTS};
pub use self::link::RedisServer;
use self::link::{BATCH, Found, Link};
use self::slot::Open;
use super::client::{AskId, CallId, Client, Event, NodeId, Reply, Temper};
use super::error::RedisError;
use super::lease::Moment;

/// A sleep longer than this is cut while there are holds: the runtime's timers stand still during
/// a suspend, and who holds is to be told of a loss within this time after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What callers put into the inbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// A question, and where its answer goes.
    Ask { ask: AskId, slot: Open, event: Event },
    /// Something that is not answered.
    Tell(Event),
    /// No caller is left.
    Close,
}

/// How a driver is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) server: RedisServer,
    pub(crate) temper: Temper,
    pub(crate) connect_timeout: Duration,
    pub(crate) prefix: String,
}

/// A driver as those see it who use it.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    crew: Crew,
}

/// What the driver shares with those who ask.
struct Shared {
    core: Mutex<Core>,
    /// Whether the driver waits for the core, which nobody else takes then: a thread that asks again
    /// and again would let it wait for long.
    is_wanted: AtomicBool,
}

impl Handle {
    /// Asks, from somebody whom this waker wakes. The message is given back if there is no driver any
    /// more.
    pub(crate) fn ask(&self, message: Message, asker: &Waker) -> Result<(), Message> {
        let mut left = Some(message);
        let asked = panic::catch_unwind(AssertUnwindSafe(|| {
            // Relaxed: a hint. What is decided is decided under the lock.
            if self.shared.is_wanted.load(Ordering::Relaxed) {
                return Later::default();
            }
            let Ok(mut core) = self.shared.core.try_lock() else { return Later::default() };
            core.ask(&self.crew.desk, &mut left, asker)
        }));
        // A panic is a mistake of ours. It has poisoned the core, and the driver ends when it sees that.
        let later = asked.unwrap_or_else(|_| {
            left = Some(left.take().unwrap_or(Message::Tell(Event::Tick)));
            Later::default()
        });
        later.run();
        left.map_or(Ok(()), |message| self.send(message))
    }

    /// Leaves a message. Given back if there is no driver any more.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        self.crew.send(message)
    }

    /// A number that is above those of all protected writes up to now.
    pub(crate) fn next_write(&self) -> u64 {
        let core = self.shared.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.client.next_write(clock::now())
    }

    /// Waits for a future that asks this driver, on this thread, and leads meanwhile if it can.
    pub(crate) fn lead<F: Future>(&self, future: F) -> F::Output {
        self.crew.lead(future)
    }

    /// Nobody will use it any more. What is under way is brought to its end.
    pub(crate) fn close(self) {
        self.crew.close();
    }
}

/// Starts a driver and its keeper, who end when it is closed and everything is cleaned up.
pub(crate) fn start(setup: Setup) -> io::Result<Handle> {
    let [id] = random()?;
    let id = format!("{id:032x}");
    let channel: Arc<str> = format!("{}:c:{id}", setup.prefix).into();
    // 64 bits tell the lanes of one name apart; shorter ones cost the server less.
    let client = Client::new(id[..16].to_owned(), setup.temper, Box::new(entropy()?));
    let desk = Arc::new(Desk::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let core = Mutex::new(Core::new(client, channel.clone()));
    let shared = Arc::new(Shared { core, is_wanted: AtomicBool::new(false) });
    let driver = Driver {
        shared: shared.clone(),
        setup,
        channel,
        desk: desk.clone(),
        connecting: None,
        link: None,
        client: None,
        boarding: None,
        asked: FuturesUnordered::new(),
        subscribing: None,
        subscription: None,
        alarm: None,
    };
    runtime.spawn(driver.run());
    let runtime = Arc::new(runtime);
    let keeper = Crew { desk: desk.clone(), runtime: runtime.clone() };
    let keeper =
        thread::Builder::new().name("warded-redis".to_owned()).spawn(move || keeper.keep());
    match keeper {
        Ok(_) => Ok(Handle { shared, crew: Crew { desk, runtime } }),
        Err(error) => {
            // A task must not drop a runtime in the usual way, and the caller may be one.
            Arc::into_inner(runtime)
                .into_iter()
                .for_each(tokio::runtime::Runtime::shutdown_background);
            Err(error)
        }
    }
}

fn random<const N: usize>() -> io::Result<[u128; N]> {
    let mut bytes = [[0; 16]; N];
    let filled = getrandom::fill(bytes.as_flattened_mut());
    filled.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.map(u128::from_ne_bytes))
}

/// Random bits from the system, which is asked for many at a time. Should it refuse later what it
/// gave at the start, numbers from a generator that was seeded then stand in: unique still, which is
/// all that is needed.
fn entropy() -> io::Result<impl FnMut() -> u128 + Send> {
    let mut spare = random::<1>()?[0];
    let mut drawn = Vec::new();
    Ok(move || {
        spare = spare.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        if drawn.is_empty()
            && let Ok(fresh) = random::<32>()
        {
            drawn.extend(fresh);
        }
        drawn.pop().unwrap_or(spare)
    })
}

type Connected = Result<Found, RedisError>;
type Coming<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;
/// The answers to requests that went out together then, and who gave them.
type Answers = (Moment, Vec<(CallId, NodeId, Result<Reply, RedisError>)>);
type Answering = Pin<Box<dyn Future<Output = Answers> + Send>>;

struct Driver {
    shared: Arc<Shared>,
    setup: Setup,
    channel: Arc<str>,
    desk: Arc<Desk>,
    connecting: Coming<Connected>,
    link: Option<Link>,
    /// What made the link, if that is to one server.
    client: Option<redis::Client>,
    /// The express connection that is being made beside the link.
    boarding: Coming<Option<Express>>,
    /// The requests on this link that are not answered.
    asked: FuturesUnordered<Answering>,
    subscribing: Coming<Result<PubSubStream, RedisError>>,
    subscription: Option<PubSubStream>,
    alarm: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl Drop for Driver {
    /// Without the driver nobody looks after the holds. None is left unless it broke.
    fn drop(&mut self) {
        let later = self.shared.core.lock().unwrap_or_else(PoisonError::into_inner).end();
        later.run();
        self.desk.leave();
    }
}

impl Driver {
    async fn run(mut self) {
        let mut messages = Vec::new();
        poll_fn(|cx| self.poll(cx, &mut messages)).await;
    }

    /// Turns for as long as there is something to do.
    fn poll(&mut self, cx: &mut Context<'_>, messages: &mut Vec<Message>) -> Poll<()> {
        let shared = self.shared.clone();
        loop {
            shared.is_wanted.store(true, Ordering::Relaxed);
            // Whoever broke it has broken the driver.
            let Ok(mut core) = shared.core.lock() else { return Poll::Ready(()) };
            shared.is_wanted.store(false, Ordering::Relaxed);
            let turned = self.turn(&mut core, cx, messages) || self.look_at_clock(&mut core, cx);
            let is_over = core.closed && core.client.is_idle();
            if !turned {
                self.desk.rest(core.is_busy(), self.is_linking(), core.due());
            }
            let later = core.later();
            drop(core);
            later.run();
            if is_over {
                return Poll::Ready(());
            }
            if !turned {
                return Poll::Pending;
            }
        }
    }

    /// Whether a connection is being made, which goes on only while the runtime is turned.
    fn is_linking(&self) -> bool {
        let link = match &self.link {
            Some(Link::Cluster(cluster)) => cluster.is_busy(),
            Some(Link::One(_)) | None => false,
        };
        link || self.connecting.is_some() || self.boarding.is_some() || self.subscribing.is_some()
    }

    /// Does what has come up; whether that was anything.
    fn turn(&mut self, core: &mut Core, cx: &mut Context<'_>, messages: &mut Vec<Message>) -> bool {
        // Others may have left some since.
        let mut turned = self.work(core);
        // Who waits for an answer is woken before anything else is done.
        if self.poll_link(core, cx) || self.poll_express(core, cx) {
            return true;
        }
        self.desk.poll_inbox(cx, messages);
        turned |= !messages.is_empty();
        messages.drain(..).for_each(|message| core.take(message));
        turned |= self.poll_subscription(core, cx);
        turned |= self.work(core);
        turned | self.send(core)
    }

    fn poll_link(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let mut turned = false;
        if let Some(connecting) = &mut self.connecting
            && let Poll::Ready(connected) = connecting.as_mut().poll(cx)
        {
            self.connecting = None;
            turned = true;
            match connected {
                Ok(Found { link, client, node, time, sent }) => {
                    (self.link, self.client) = (Some(link), client);
                    self.board();
                    core.on(Event::Up { node, server: time, sent });
                }
                Err(failure) => core.on(Event::Down { failure }),
            }
        }
        while let Poll::Ready(Some((sent, answers))) = self.asked.poll_next_unpin(cx) {
            turned = true;
            if answers.len() <= MOST_REQUESTS
                && let Some(express) = &mut core.express
            {
                express.note(clock::now().since(sent));
            }
            for (call, node, reply) in answers {
                match (reply, &self.link) {
                    // One broken answer is a broken connection: all others on it are lost, too.
                    (Err(failure), Some(Link::One(_))) if failure.is_about_the_link() => {
                        core.broken(failure);
                        self.work(core);
                        return true;
                    }
                    (reply, _) => core.on(Event::Reply { call, node, reply }),
                }
            }
        }
        if let Some(Link::Cluster(cluster)) = &self.link
            && cluster.poll_changed(cx)
        {
            core.on(Event::Changed);
            turned = true;
        }
        turned
    }

    fn poll_express(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let mut turned = false;
        if let Some(boarding) = &mut self.boarding
            && let Poll::Ready(express) = boarding.as_mut().poll(cx)
        {
            self.boarding = None;
            core.express = express;
            turned = true;
        }
        if let Some(express) = &mut core.express
            && let Poll::Ready(answers) = express.poll(cx)
        {
            match answers {
                Ok(answers) => core.answered(answers),
                Err(_) if express.is_idle() => core.board(),
                Err(failure) => core.broken(failure),
            }
            turned = true;
        }
        turned
    }

    fn poll_subscription(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let mut turned = false;
        if let Some(subscribing) = &mut self.subscribing
            && let Poll::Ready(subscribed) = subscribing.as_mut().poll(cx)
        {
            self.subscribing = None;
            turned = true;
            match subscribed {
                Ok(subscription) => {
                    self.subscription = Some(subscription);
                    core.on(Event::Listening);
                }
                Err(_) => core.on(Event::Deaf),
            }
        }
        while let Some(subscription) = &mut self.subscription {
            match subscription.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    if let Ok(token) = message.get_payload() {
                        core.on(Event::Told { token });
                    }
                }
                Poll::Ready(None) => {
                    self.subscription = None;
                    core.on(Event::Deaf);
                }
                Poll::Pending => break,
            }
            turned = true;
        }
        turned
    }

    /// Does what only it can do; whether that was anything.
    fn work(&mut self, core: &mut Core) -> bool {
        let mut worked = false;
        // Doing one may lead to more.
        while !core.tasks.is_empty() {
            worked = true;
            for task in std::mem::take(&mut core.tasks) {
                match task {
                    Task::HangUp => self.hang_up(),
                    Task::Connect => {
                        self.hang_up();
                        let connect = self.setup.server.clone().connect(self.setup.connect_timeout);
                        self.connecting = Some(Box::pin(connect));
                    }
                    Task::Break { call, failure } => match &self.link {
                        Some(Link::One(_)) => {
                            self.hang_up();
                            core.broken(failure);
                        }
                        Some(Link::Cluster(cluster)) => cluster.break_off(call, failure),
                        None => {}
                    },
                    Task::Board => self.board(),
                    Task::Listen => {
                        let (server, link) = (self.setup.server.clone(), self.link.clone());
                        let (channel, within) = (self.channel.clone(), self.setup.connect_timeout);
                        let subscribe = server.subscribe(link, channel, within);
                        self.subscription = None;
                        self.subscribing = Some(Box::pin(subscribe));
                    }
                }
            }
        }
        worked
    }

    /// Makes the express connection.
    fn board(&mut self) {
        if let (Some(Link::One(link)), Some(client)) = (&self.link, &self.client) {
            let boarding = Express::connect(client.clone(), link.clone());
            let boarding = tokio::time::timeout(self.setup.connect_timeout, boarding);
            self.boarding = Some(Box::pin(async { boarding.await.ok().flatten() }));
        }
    }

    fn hang_up(&mut self) {
        self.asked.clear();
        self.link = None;
        self.boarding = None;
    }

    /// Sends what is to be sent; whether that was anything. Without a link the client knows that it
    /// was not.
    fn send(&mut self, core: &mut Core) -> bool {
        let has_sent = core.send();
        let mut requests = core.left().into_iter();
        let has_sent = has_sent || requests.len() > 0;
        let now = clock::now();
        match &self.link {
            None => {}
            Some(Link::One(connection)) => {
                while requests.len() > 0 {
                    let batch: Vec<_> = requests.by_ref().take(BATCH).collect();
                    let (connection, channel) = (connection.clone(), self.channel.clone());
                    self.asked.push(Box::pin(async move {
                        let replies = link::ask(connection, &batch, &channel, false).await;
                        let calls = batch.into_iter().map(|(call, _)| call);
                        (now, calls.zip(replies).map(|(call, reply)| (call, 0, reply)).collect())
                    }));
                }
            }
            // Each goes its own way, and waits for no other.
            Some(Link::Cluster(cluster)) => {
                for (call, request) in requests {
                    let (cluster, channel) = (cluster.clone(), self.channel.clone());
                    self.asked.push(Box::pin(async move {
                        let (node, reply) = cluster.ask(call, request, channel).await;
                        (now, vec![(call, node, reply)])
                    }));
                }
            }
        }
        has_sent
    }

    /// Whether time has come for something; if not, the driver is woken when it has.
    fn look_at_clock(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let Some(due) = core.due() else { return false };
        let now = clock::now();
        if due <= now {
            core.on(Event::Tick);
            return true;
        }
        // An alarm that rings early, or for nothing, costs less than setting it anew at each event.
        // One whose time has come without its ringing was set before a suspend.
        if !self.alarm.as_ref().is_some_and(|(set, _)| *set <= due && *set > now) {
            self.alarm = Some((due, Box::pin(tokio::time::sleep(due.since(now)))));
        }
        let rings =
            self.alarm.as_mut().is_some_and(|(_, alarm)| alarm.as_mut().poll(cx).is_ready());
        if rings {
            self.alarm = None;
        }
        rings
    }
}
