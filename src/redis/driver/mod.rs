//! The driver: one task that does what the sans-IO client says, and nothing else.
//!
//! The task has a runtime of its own, which outlives every future and every guard, so it can finish
//! what they leave behind, and callers need no runtime of their own: they put a message into the
//! driver's inbox and wait for their slot to be filled. Whose thread turns the runtime meanwhile is
//! said in [`desk`].

pub(crate) mod cell;
pub(crate) mod clock;
mod cluster;
mod desk;
mod link;
mod outside;
pub(crate) mod slot;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::PubSubStream;
use tokio::time::Sleep;

use self::cell::Cell;
pub(crate) use self::desk::Crew;
use self::desk::Desk;
pub use self::link::RedisServer;
use self::link::{BATCH, Found, Link};
use self::outside::contain;
use self::slot::{Grant, Open, Outcome};
use super::client::{
    Action, Answer, AskId, CallId, Client, Event, Granted, HoldId, NodeId, Reply, Request, Temper,
};
use super::error::{Loss, RedisError};
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

/// Starts a driver and its keeper, who end when it is closed and everything is cleaned up.
pub(crate) fn start(setup: Setup) -> io::Result<Crew> {
    let [id] = random()?;
    let id = format!("{id:032x}");
    let channel: Arc<str> = format!("{}:c:{id}", setup.prefix).into();
    // 64 bits tell the lanes of one name apart; shorter ones cost the server less.
    let client = Client::new(id[..16].to_owned(), setup.temper, Box::new(entropy()?));
    let desk = Arc::new(Desk::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let driver = Driver {
        client,
        setup,
        channel,
        slots: HashMap::new(),
        cells: HashMap::new(),
        desk: desk.clone(),
        closed: false,
        connecting: None,
        link: None,
        outbox: Vec::new(),
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
        Ok(_) => Ok(Crew { desk, runtime }),
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
type Later<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;
/// The answers to requests that went out together, and who gave them.
type Answers = Vec<(CallId, NodeId, Result<Reply, RedisError>)>;
type Asked = Pin<Box<dyn Future<Output = Answers> + Send>>;

struct Driver {
    client: Client,
    setup: Setup,
    channel: Arc<str>,
    /// Who waits for an answer. Whoever is left when the driver ends is told that it is gone.
    slots: HashMap<AskId, Open>,
    cells: HashMap<HoldId, Arc<Cell>>,
    desk: Arc<Desk>,
    closed: bool,
    connecting: Later<Connected>,
    link: Option<Link>,
    /// The requests that go out next.
    outbox: Vec<(CallId, Request)>,
    /// The requests on this link that are not answered.
    asked: FuturesUnordered<Asked>,
    subscribing: Later<Result<PubSubStream, RedisError>>,
    subscription: Option<PubSubStream>,
    alarm: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl Drop for Driver {
    /// Without the driver nobody looks after the holds. None is left unless it broke.
    fn drop(&mut self) {
        for cell in self.cells.values() {
            cell.lose(Loss::Expired);
        }
        self.desk.leave();
    }
}

impl Driver {
    async fn run(mut self) {
        let mut events = Vec::new();
        let mut actions = Vec::new();
        let mut messages = Vec::new();
        while !(self.closed && self.client.is_idle()) {
            let due = self.set_alarm();
            poll_fn(|cx| {
                let polled = self.poll_events(cx, &mut messages, &mut events);
                if polled.is_pending() {
                    self.desk.rest(self.is_busy(), due);
                }
                polled
            })
            .await;
            for event in events.drain(..) {
                self.client.on(clock::now(), event, &mut actions);
            }
            self.act(&mut actions);
            self.send();
        }
    }

    /// Whether something is under way that goes on only while the runtime is turned.
    fn is_busy(&self) -> bool {
        let link = match &self.link {
            Some(Link::Cluster(cluster)) => cluster.is_busy(),
            Some(Link::One(_)) | None => false,
        };
        link || !self.client.is_idle() || self.connecting.is_some() || self.subscribing.is_some()
    }

    /// What has happened; at least one thing.
    fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        messages: &mut Vec<Message>,
        events: &mut Vec<Event>,
    ) -> Poll<()> {
        let before = events.len();
        self.desk.poll_inbox(cx, messages);
        for message in messages.drain(..) {
            match message {
                Message::Ask { ask, slot, event } => {
                    self.slots.insert(ask, slot);
                    self.forget_cell(&event);
                    events.push(event);
                }
                Message::Tell(event) => {
                    if let Event::Abandon { ask } = event {
                        self.slots.remove(&ask);
                    }
                    self.forget_cell(&event);
                    events.push(event);
                }
                Message::Close => {
                    self.closed = true;
                    events.push(Event::Tick);
                }
            }
        }
        self.poll_link(cx, events);
        self.poll_subscription(cx, events);
        if let Some((_, alarm)) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            events.push(Event::Tick);
        }
        if events.len() > before { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_link(&mut self, cx: &mut Context<'_>, events: &mut Vec<Event>) {
        if let Some(connecting) = &mut self.connecting
            && let Poll::Ready(connected) = connecting.as_mut().poll(cx)
        {
            self.connecting = None;
            match connected {
                Ok(Found { link, node, time, sent }) => {
                    self.link = Some(link);
                    events.push(Event::Up { node, server: time, sent });
                }
                Err(failure) => events.push(Event::Down { failure }),
            }
        }
        while let Poll::Ready(Some(answers)) = self.asked.poll_next_unpin(cx) {
            for (call, node, reply) in answers {
                match (reply, &self.link) {
                    // One broken answer is a broken connection: all others on it are lost, too.
                    (Err(failure), Some(Link::One(_))) if failure.is_about_the_link() => {
                        self.asked.clear();
                        self.link = None;
                        events.push(Event::Down { failure });
                        return;
                    }
                    (reply, _) => events.push(Event::Reply { call, node, reply }),
                }
            }
        }
        if let Some(Link::Cluster(cluster)) = &self.link
            && cluster.poll_changed(cx)
        {
            events.push(Event::Changed);
        }
    }

    fn poll_subscription(&mut self, cx: &mut Context<'_>, events: &mut Vec<Event>) {
        if let Some(subscribing) = &mut self.subscribing
            && let Poll::Ready(subscribed) = subscribing.as_mut().poll(cx)
        {
            self.subscribing = None;
            match subscribed {
                Ok(subscription) => {
                    self.subscription = Some(subscription);
                    events.push(Event::Listening);
                }
                Err(_) => events.push(Event::Deaf),
            }
        }
        while let Some(subscription) = &mut self.subscription {
            match subscription.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    if let Ok(token) = message.get_payload() {
                        events.push(Event::Told { token });
                    }
                }
                Poll::Ready(None) => {
                    self.subscription = None;
                    events.push(Event::Deaf);
                }
                Poll::Pending => break,
            }
        }
    }

    fn act(&mut self, actions: &mut Vec<Action>) {
        // Doing one may lead to more.
        while !actions.is_empty() {
            for action in std::mem::take(actions) {
                match action {
                    Action::Connect => {
                        self.outbox.clear();
                        self.asked.clear();
                        self.link = None;
                        let connect = self.setup.server.clone().connect(self.setup.connect_timeout);
                        self.connecting = Some(Box::pin(connect));
                    }
                    Action::Send { call, request } => self.outbox.push((call, request)),
                    Action::Break { call, failure } => match &self.link {
                        Some(Link::One(_)) => {
                            self.outbox.clear();
                            self.asked.clear();
                            self.link = None;
                            self.client.on(clock::now(), Event::Down { failure }, actions);
                        }
                        Some(Link::Cluster(cluster)) => cluster.break_off(call, failure),
                        None => {}
                    },
                    Action::Listen => {
                        let (server, link) = (self.setup.server.clone(), self.link.clone());
                        let (channel, within) = (self.channel.clone(), self.setup.connect_timeout);
                        let subscribe = server.subscribe(link, channel, within);
                        self.subscription = None;
                        self.subscribing = Some(Box::pin(subscribe));
                    }
                    Action::Answer { ask, answer } => self.answer(ask, answer, actions),
                    Action::Valid { hold, until } => {
                        if let Some(cell) = self.cells.get(&hold) {
                            cell.set_valid_until(until);
                        }
                    }
                    Action::Lost { hold, loss } => {
                        if let Some(cell) = self.cells.get(&hold) {
                            cell.lose(loss);
                        }
                    }
                }
            }
        }
    }

    /// Sends what is in the outbox. Without a link the client knows that it was not sent.
    fn send(&mut self) {
        let mut requests = std::mem::take(&mut self.outbox).into_iter();
        match &self.link {
            None => {}
            Some(Link::One(connection)) => {
                while requests.len() > 0 {
                    let batch: Vec<_> = requests.by_ref().take(BATCH).collect();
                    let (connection, channel) = (connection.clone(), self.channel.clone());
                    self.asked.push(Box::pin(async move {
                        let replies = link::ask(connection, &batch, &channel, false).await;
                        let calls = batch.into_iter().map(|(call, _)| call);
                        calls.zip(replies).map(|(call, reply)| (call, 0, reply)).collect()
                    }));
                }
            }
            // Each goes its own way, and waits for no other.
            Some(Link::Cluster(cluster)) => {
                for (call, request) in requests {
                    let (cluster, channel) = (cluster.clone(), self.channel.clone());
                    self.asked.push(Box::pin(async move {
                        let (node, reply) = cluster.ask(call, request, channel).await;
                        vec![(call, node, reply)]
                    }));
                }
            }
        }
    }

    fn answer(&mut self, ask: AskId, answer: Answer, actions: &mut Vec<Action>) {
        let outcome = match answer {
            Answer::Granted(granted) => {
                let watched = granted.into_iter().map(|granted| self.watch(granted));
                Outcome::Granted(watched.collect())
            }
            answer => Outcome::Other(answer),
        };
        let refused = match self.slots.remove(&ask) {
            Some(slot) => slot.0.fill(outcome),
            None => Some(outcome),
        };
        // Nobody waited for this grant any more.
        if let Some(Outcome::Granted(grants)) = refused {
            for Grant { hold, .. } in grants {
                self.cells.remove(&hold);
                let release = Event::Release { hold, ask: None };
                self.client.on(clock::now(), release, actions);
            }
        }
    }

    fn watch(&mut self, granted: Granted) -> Grant {
        let Granted { hold, fence, valid_until, attempt, generation } = granted;
        let cell = Arc::new(Cell::new(valid_until));
        self.cells.insert(hold, cell.clone());
        Grant { hold, fence, cell, attempt, generation }
    }

    fn forget_cell(&mut self, event: &Event) {
        if let Event::Release { hold, .. } | Event::Leak { hold } = event {
            // Its callbacks, which are dropped with it, may own anything.
            contain(|| drop(self.cells.remove(hold)));
        }
    }

    /// Has [`poll_events`](Self::poll_events) wake up when the client wants to, and says when that
    /// is.
    fn set_alarm(&mut self) -> Option<Moment> {
        let now = clock::now();
        let latest = (!self.cells.is_empty()).then(|| now + LONGEST_SLEEP);
        let at = self.client.due().into_iter().chain(latest).min()?;
        // An alarm that rings early, or for nothing, costs less than setting it anew at each event.
        if !self.alarm.as_ref().is_some_and(|(set, _)| *set <= at && *set > now) {
            self.alarm = Some((at, Box::pin(tokio::time::sleep(at.since(now)))));
        }
        Some(at)
    }
}
