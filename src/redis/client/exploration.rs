//! Every order of events, at small scope: the shipped client against the shipped scripts.
//!
//! Two clients carry out short programs over a network that delivers, loses, repeats and delays,
//! while time goes on to whatever is due next, or later: then the processes were paused. Every choice is tried in every state, and a state that was seen before is not searched
//! again. Where the choices end, the network heals, and all must come to rest: nobody waits for ever,
//! and nothing is left behind. A failure prints the choices that lead to it.
//!
//! What is bounded is said by each [`Scope`]; within that the search is complete, or the test fails.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::DefaultHasher;
use std::{mem, thread};

use super::simulation::Server;
use super::*;

const MS: u64 = 1_000_000;
/// The server's wall clock in the beginning, in µs.
const EPOCH: u64 = 1_700_000_000_000_000;

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Asks for the lock, for as long as it takes.
    Lock,
    /// Asks for the lock, if it is to be had at once.
    Try,
    /// Asks for the lock, for half a second.
    Timed,
    /// Drops the future of the last question, answered or not.
    Abandon,
    Extend,
    Release,
    /// Passes the hold on.
    HandOver,
    /// Takes over what was passed on last, by whomever.
    TakeOver,
}

/// What a search goes through.
#[derive(Clone, Copy)]
struct Scope {
    name: &'static str,
    /// What the callers of each client do, one after another.
    programs: [&'static [Step]; 2],
    /// What those ask for, each time: one name, or several at once.
    names: [&'static [&'static str]; 2],
    /// How often time goes on before all comes to rest.
    jumps: u32,
    /// How many connections break.
    breaks: u32,
    /// How many requests are delivered a second time, or only after their connection broke.
    copies: u32,
    /// How many messages of the server to a waiter are lost.
    unheard: u32,
    /// Parts in a thousand by which the second client's clock is faster.
    rate: i64,
    /// Which requests of those that are alone go beside the link, on another connection: the first
    /// one by the lowest bit, and so on.
    express: u32,
    max_hold: Option<Duration>,
}

const PLAIN: Scope = Scope {
    name: "",
    programs: [&[], &[]],
    names: [&["x"], &["x"]],
    jumps: 1,
    breaks: 0,
    copies: 0,
    unheard: 0,
    rate: 0,
    express: 0,
    max_hold: None,
};

const TTL: Duration = Duration::from_millis(600);

/// Which of a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Link,
    Express,
}

const WAYS: [Way; 2] = [Way::Link, Way::Express];

/// What is under way on a connection, where requests and answers stay in order.
#[derive(Debug, Default)]
struct Connection {
    requests: VecDeque<(CallId, Request)>,
    answers: VecDeque<(CallId, Result<Reply, RedisError>)>,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.answers.is_empty()
    }
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The caller of this client goes on.
    Call(usize),
    /// The next request of this client reaches the server, on this connection.
    Arrive(usize, Way),
    /// The next answer reaches this client, on this connection.
    Return(usize, Way),
    /// The connection that is being made stands.
    Up(usize),
    /// A message of the server reaches this client.
    Hear(usize),
    /// A message of the server is lost.
    Miss(usize),
    /// The subscription of this client stands.
    Listening(usize),
    /// The connections of this client break, and what is under way is lost.
    Break(usize),
    /// The same, but its next request on this one arrives all the same, some time.
    BreakLate(usize, Way),
    /// The next request of this client on this connection will arrive twice.
    Copy(usize, Way),
    /// A copy reaches the server.
    Ghost(usize),
    /// This client looks at its timers, one of which is due.
    Tick(usize),
    /// Time goes on to then, when something is due. What was due before is late: nobody looked.
    Jump(u64),
}

struct Held {
    hold: HoldId,
    /// Of the lock.
    key: String,
    valid_until: Moment,
    fence: u64,
    token: String,
    generation: u64,
}

struct Node {
    client: Client,
    channel: String,
    rate: i64,
    terms: Arc<Terms>,
    program: &'static [Step],
    ask: Option<AskId>,
    /// What it is about to take over.
    taking: Option<Passed>,
    held: Vec<Held>,
    connections: [Connection; 2],
    /// How many requests have been alone.
    alone: u32,
    /// Whether a connection is being made, and since when.
    connecting: Option<Moment>,
    subscribing: bool,
    listening: bool,
    told: VecDeque<String>,
}

impl Node {
    fn clock(&self, now: u64) -> Moment {
        Moment(1_000 * MS + (now as i64 + now as i64 / 1_000 * self.rate) as u64)
    }

    /// When its clock will show `moment`.
    fn when(&self, moment: Moment) -> u64 {
        let ours = i128::from(moment.0) - i128::from(1_000 * MS);
        let near = ours * 1_000 / i128::from(1_000 + self.rate);
        let near = u64::try_from(near).unwrap_or_default().saturating_sub(2_000);
        (near..).step_by(500).find(|now| self.clock(*now) >= moment).expect("time goes on")
    }
}

struct World {
    scope: Scope,
    now: u64,
    server: Server,
    nodes: [Node; 2],
    ghosts: Vec<(usize, Request)>,
    last_ask: AskId,
    /// By the key of the lock.
    last_fences: BTreeMap<String, u64>,
    passed: Option<Passed>,
    /// The token of each grant, and whether it was released.
    released: BTreeMap<(String, String), bool>,
    grants: usize,
}

impl World {
    fn new(scope: Scope, server: Server) -> Self {
        let terms = |name: &&str| {
            Arc::new(Terms {
                keys: Keys::new("w", None, name).unwrap(),
                parts: Box::default(),
                ttl: TTL,
                grace: TTL / 10,
                owner: "somebody".to_owned(),
                bypass: 1,
                waiter_ttl: Duration::from_secs(1),
                retry_delay: Duration::from_millis(400),
                polling: false,
                max_hold: scope.max_hold,
            })
        };
        let node = |number: usize| {
            let mut bits = (number as u128 + 1) << 100;
            let entropy = Box::new(move || {
                bits += 1;
                bits
            });
            let temper =
                Temper { answer_timeout: Duration::from_secs(1), patience: Duration::from_secs(5) };
            Node {
                client: Client::new(format!("node{number:012}"), temper, entropy),
                channel: format!("w:c:{number}"),
                rate: if number == 1 { scope.rate } else { 0 },
                terms: Terms::all(scope.names[number].iter().map(terms).collect()),
                program: scope.programs[number],
                ask: None,
                taking: None,
                held: Vec::new(),
                connections: Default::default(),
                alone: 0,
                connecting: None,
                subscribing: false,
                listening: false,
                told: VecDeque::new(),
            }
        };
        let mut world = Self {
            scope,
            now: 0,
            server,
            nodes: [node(0), node(1)],
            ghosts: Vec::new(),
            last_ask: 0,
            last_fences: BTreeMap::new(),
            passed: None,
            released: BTreeMap::new(),
            grants: 0,
        };
        // Both are connected and know the server's time.
        for node in 0..2 {
            let sent = world.nodes[node].clock(0);
            world.tell(node, Event::Up { node: 0, server: EPOCH, sent });
        }
        world
    }

    fn server_us(&self) -> u64 {
        EPOCH + self.now / 1_000
    }

    fn tell(&mut self, node: usize, event: Event) {
        let mut actions = Vec::new();
        let now = self.nodes[node].clock(self.now);
        self.nodes[node].client.on(now, event, &mut actions);
        let sends = actions.iter().filter(|action| matches!(action, Action::Send { .. })).count();
        let Node { client, connections, .. } = &self.nodes[node];
        // As the driver has it.
        let is_alone = client.calls() == sends && connections[Way::Express as usize].is_idle();
        let mut way = Way::Link;
        if is_alone && sends > 0 {
            let node = &mut self.nodes[node];
            if self.scope.express.rotate_right(node.alone) & 1 == 1 {
                way = Way::Express;
            }
            node.alone += 1;
        }
        actions.into_iter().for_each(|action| self.act(node, action, way));
    }

    fn act(&mut self, number: usize, action: Action, way: Way) {
        let now = self.now;
        let node = &mut self.nodes[number];
        match action {
            Action::Connect => {
                node.connections = Default::default();
                node.connecting = Some(node.clock(now));
            }
            Action::Send { call, request } => {
                node.connections[way as usize].requests.push_back((call, request));
            }
            Action::Break { .. } => self.disconnect(number),
            Action::Listen => {
                node.listening = false;
                node.subscribing = true;
                node.told.clear();
            }
            Action::Answer { ask, answer } => {
                let known = node.ask == Some(ask);
                if known {
                    node.ask = None;
                    node.taking = None;
                }
                let Answer::Granted(grants) = answer else { return };
                for Granted { hold, fence, valid_until, attempt, generation } in grants {
                    if !known {
                        // Its caller had gone, and the driver declines it.
                        self.tell(number, Event::decline(hold, generation));
                        continue;
                    }
                    self.grants += 1;
                    let (key, token) = (attempt.terms.keys.lock.clone(), attempt.token.clone());
                    let held = Held { hold, key, valid_until, fence, token, generation };
                    self.nodes[number].held.push(held);
                }
            }
            Action::Valid { hold, until } => {
                if let Some(held) = node.held.iter_mut().find(|held| held.hold == hold) {
                    assert!(held.valid_until.0 > 0, "a lost hold came back");
                    held.valid_until = until;
                }
            }
            Action::Lost { hold, .. } => {
                if let Some(held) = node.held.iter_mut().find(|held| held.hold == hold) {
                    held.valid_until = Moment(0);
                }
            }
        }
    }

    fn disconnect(&mut self, node: usize) {
        self.nodes[node].connections = Default::default();
        self.nodes[node].connecting = None;
        self.tell(node, Event::Down { failure: RedisError::Timeout { after: Duration::ZERO } });
    }

    fn execute(
        &mut self,
        node: usize,
        request: &Request,
        is_heard: bool,
    ) -> Result<Reply, RedisError> {
        let us = self.server_us();
        let holds = match request {
            Request::Release { attempt } => {
                self.server.field(&attempt.terms.keys.lock, "t").as_ref() == Some(&attempt.token)
            }
            _ => false,
        };
        let value = self.server.run(us, request, &self.nodes[node].channel);
        let reply = request.read(&value);
        if let (Request::Release { attempt }, Ok(reply)) = (request, &reply) {
            let grant = (attempt.terms.keys.lock.clone(), attempt.token.clone());
            if let Some(released) = self.released.get_mut(&grant) {
                *released |= holds;
                // A copy's answer goes nowhere, and its lane may be in use again by then.
                let lie = is_heard && matches!(reply, Reply::Released { .. }) && !*released;
                assert!(!lie, "a release is said to have been done, and the lock was lost");
            }
        }
        if let (Request::Acquire { attempt, .. }, Ok(Reply::Granted { fences, .. })) =
            (request, &reply)
        {
            for (terms, fence) in attempt.terms.each().iter().zip(fences) {
                let key = &terms.keys.lock;
                assert_eq!(self.server.field(key, "t").as_ref(), Some(&attempt.token), "not all");
                self.released.entry((key.clone(), attempt.token.clone())).or_default();
                let last = self.last_fences.insert(key.clone(), *fence);
                assert!(last.is_none_or(|last| last <= *fence), "a fence after a greater one");
            }
        }
        if let (
            Request::Release { attempt } | Request::Extend { attempt, .. },
            Ok(Reply::Gone { last, .. }),
        ) = (request, &reply)
        {
            let known = self.last_fences.get(&attempt.terms.keys.lock).copied();
            assert_eq!(*last, known.unwrap_or(0), "another fence than that of the last grant");
        }
        for (channel, token) in self.server.take_said() {
            let to = self.nodes.iter_mut().find(|node| node.channel == channel);
            to.into_iter()
                .filter(|to| to.listening)
                .for_each(|to| to.told.push_back(token.clone()));
        }
        reply
    }

    /// When something is due: a timer rings, or something ends.
    fn times(&mut self) -> BTreeSet<u64> {
        let now = self.now;
        let mut times = Vec::new();
        for node in &mut self.nodes {
            let due = node.client.due();
            times.extend(due.map(|due| node.when(due)));
            for held in node.held.iter().filter(|held| held.valid_until.0 > 0) {
                // The claim is sharpest at the last moment of validity.
                let end = node.when(held.valid_until);
                times.extend([end.saturating_sub(1_000), end]);
            }
        }
        let ends = self.server.ends().into_iter();
        times.extend(ends.filter_map(|ms| Some((ms * 1_000).checked_sub(EPOCH)? * 1_000)));
        times.into_iter().filter(|at| *at > now).collect()
    }

    fn choices(&mut self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for number in 0..2 {
            let now = self.nodes[number].clock(self.now);
            let node = &mut self.nodes[number];
            let goes_on = match node.program.first() {
                None => false,
                Some(Step::Abandon) => true,
                Some(Step::Extend | Step::Release | Step::HandOver) => node.ask.is_none(),
                Some(Step::TakeOver) => {
                    node.ask.is_none() && node.held.is_empty() && self.passed.is_some()
                }
                Some(Step::Lock | Step::Try | Step::Timed) => {
                    node.ask.is_none() && node.held.is_empty()
                }
            };
            let can_break =
                self.scope.breaks > 0 && !node.connections.iter().all(Connection::is_idle);
            let possible = [
                (Choice::Call(number), goes_on),
                (Choice::Up(number), node.connecting.is_some()),
                (Choice::Hear(number), !node.told.is_empty()),
                (Choice::Miss(number), !node.told.is_empty() && self.scope.unheard > 0),
                (Choice::Listening(number), node.subscribing),
                (Choice::Break(number), can_break),
                (Choice::Tick(number), node.client.due().is_some_and(|due| due <= now)),
            ];
            choices.extend(possible.iter().filter(|(_, is)| *is).map(|(choice, _)| *choice));
            for way in WAYS {
                let Connection { requests, answers } = &node.connections[way as usize];
                let copies = self.scope.copies > 0 && !requests.is_empty();
                let possible = [
                    (Choice::Arrive(number, way), !requests.is_empty()),
                    (Choice::Return(number, way), !answers.is_empty()),
                    (Choice::BreakLate(number, way), copies && self.scope.breaks > 0),
                    (Choice::Copy(number, way), copies),
                ];
                choices.extend(possible.iter().filter(|(_, is)| *is).map(|(choice, _)| *choice));
            }
        }
        choices.extend((0..self.ghosts.len()).map(Choice::Ghost));
        if self.scope.jumps > 0 {
            choices.extend(self.times().into_iter().map(Choice::Jump));
        }
        choices
    }

    fn take(&mut self, choice: Choice) {
        match choice {
            Choice::Call(node) => self.call(node),
            Choice::Arrive(node, way) => {
                let connection = &mut self.nodes[node].connections[way as usize];
                let (call, request) = connection.requests.pop_front().expect("a request");
                let reply = self.execute(node, &request, true);
                self.nodes[node].connections[way as usize].answers.push_back((call, reply));
            }
            Choice::Return(node, way) => {
                let connection = &mut self.nodes[node].connections[way as usize];
                let (call, reply) = connection.answers.pop_front().expect("an answer");
                self.tell(node, Event::Reply { call, node: 0, reply });
            }
            Choice::Up(node) => {
                let sent = self.nodes[node].connecting.take().expect("it is being made");
                let server = self.server_us();
                self.tell(node, Event::Up { node: 0, server, sent });
            }
            Choice::Hear(node) => {
                let token = self.nodes[node].told.pop_front().expect("a message");
                self.tell(node, Event::Told { token });
            }
            Choice::Miss(node) => {
                self.scope.unheard -= 1;
                self.nodes[node].told.pop_front();
            }
            Choice::Listening(node) => {
                self.nodes[node].subscribing = false;
                self.nodes[node].listening = true;
                self.tell(node, Event::Listening);
            }
            Choice::Break(node) => {
                self.scope.breaks -= 1;
                self.disconnect(node);
            }
            Choice::BreakLate(node, way) => {
                self.scope.breaks -= 1;
                self.copy(node, way);
                self.disconnect(node);
            }
            Choice::Copy(node, way) => self.copy(node, way),
            Choice::Ghost(index) => {
                let (node, request) = self.ghosts.remove(index);
                // Nobody waits for the answer.
                let _ = self.execute(node, &request, false);
            }
            Choice::Tick(node) => self.tell(node, Event::Tick),
            Choice::Jump(to) => {
                self.scope.jumps -= 1;
                self.now = to;
            }
        }
        self.check();
    }

    fn copy(&mut self, node: usize, way: Way) {
        self.scope.copies -= 1;
        let connection = &self.nodes[node].connections[way as usize];
        let (_, request) = connection.requests.front().expect("a request").clone();
        self.ghosts.push((node, request));
    }

    fn call(&mut self, number: usize) {
        let now = self.nodes[number].clock(self.now);
        let node = &mut self.nodes[number];
        let (step, rest) = node.program.split_first().expect("a step");
        node.program = rest;
        self.last_ask += 1;
        let ask = self.last_ask;
        let patience = match step {
            Step::Lock => Patience::Endless,
            Step::Try => Patience::Try,
            Step::Timed => Patience::Until(now + Duration::from_millis(500)),
            Step::Abandon => {
                if let Some(ask) = node.ask.take() {
                    // Who has the text may use it again.
                    self.passed = node.taking.take().or(self.passed.take());
                    self.tell(number, Event::Abandon { ask });
                }
                return self.release(number);
            }
            Step::Extend => {
                let Some(hold) = node.held.first().map(|held| held.hold) else { return };
                node.ask = Some(ask);
                return self.tell(number, Event::Extend { hold, ask, more: TTL });
            }
            Step::Release => return self.release(number),
            Step::HandOver => {
                let valid = node.held.first().is_some_and(|held| now < held.valid_until);
                let Some(Held { hold, token, generation, .. }) = valid.then(|| node.held.remove(0))
                else {
                    return;
                };
                let (written, generation) = (node.client.next_write(now), generation + 1);
                self.passed = Some(Passed { token, written, generation });
                return self.tell(number, Event::Leak { hold });
            }
            Step::TakeOver => {
                node.ask = Some(ask);
                node.taking = self.passed.take();
                let passed = node.taking.clone().expect("it was passed on");
                let terms = node.terms.clone();
                return self.tell(number, Event::TakeOver { ask, terms, passed });
            }
        };
        node.ask = Some(ask);
        let terms = node.terms.clone();
        self.tell(number, Event::Lock { ask, terms, patience });
    }

    fn release(&mut self, node: usize) {
        for held in mem::take(&mut self.nodes[node].held) {
            self.tell(node, Event::Release { hold: held.hold, ask: None });
        }
    }

    /// At most one holder of a name believes that it holds, and the server agrees with it.
    fn check(&self) {
        let mut valid = BTreeMap::new();
        for node in &self.nodes {
            let clock = node.clock(self.now);
            for held in node.held.iter().filter(|held| clock < held.valid_until) {
                if let Some(other) = valid.insert(&held.key, held) {
                    let fences = (other.fence, held.fence);
                    panic!("both believe to hold {}, with the fences {fences:?}", held.key);
                }
            }
        }
        for (key, held) in valid {
            let token = self.server.field(key, "t");
            assert_eq!(token.as_ref(), Some(&held.token), "the server disagrees");
            let end: u64 = self.server.field(key, "x").expect("held").parse().unwrap();
            assert!(end * 1_000 > self.server_us(), "the lease had ended");
        }
    }

    /// The network heals, and whoever holds releases: all who wait get the lock, nothing is left.
    fn come_to_rest(&mut self) {
        (self.scope.breaks, self.scope.copies, self.scope.unheard) = (0, 0, 0);
        let end = self.now + 60_000 * MS;
        loop {
            for node in 0..2 {
                self.release(node);
            }
            self.scope.jumps = 0;
            if let Some(choice) = self.choices().first() {
                self.take(*choice);
                continue;
            }
            if self.nodes.iter().all(|node| node.ask.is_none() && node.client.is_idle()) {
                break;
            }
            let next = self.times().first().copied().filter(|next| *next < end);
            self.now = next.expect("somebody waits for ever, or a client does not come to rest");
            self.check();
        }
        for Node { client, .. } in &self.nodes {
            // Until the leases are over of what was passed on.
            let lanes: usize = client.lanes.values().map(BTreeSet::len).sum();
            assert_eq!(lanes, client.lent.len(), "lanes are left: {:?}", client.lanes);
            assert!(client.holds.is_empty() && client.lines.is_empty(), "holds or lines are left");
            assert!(client.waiting.is_empty() && client.line_of.is_empty(), "waiters are left");
        }
        assert!(!self.server.has_queues(), "somebody who is gone stands in a queue");
        let passed = self.passed.as_ref().map(|passed| &passed.token);
        for terms in self.nodes.iter().flat_map(|node| node.terms.each()) {
            if passed.is_some() && self.server.field(&terms.keys.lock, "t").as_ref() == passed {
                // Nobody took it over.
                continue;
            }
            let end = self.server.field(&terms.keys.lock, "x").map(|ms| ms.parse::<u64>().unwrap());
            assert!(end.is_none_or(|ms| ms * 1_000 <= self.server_us()), "a lock is left held");
        }
    }

    /// All that decides what can happen from here on.
    fn fingerprint(&self) -> u64 {
        fn unordered<T: Debug>(all: impl IntoIterator<Item = T>) -> Vec<String> {
            let mut all: Vec<_> = all.into_iter().map(|one| format!("{one:?}")).collect();
            all.sort_unstable();
            all
        }
        let mut hasher = DefaultHasher::new();
        let scope = self.scope;
        (self.now, scope.jumps, scope.breaks, scope.copies, scope.unheard).hash(&mut hasher);
        (self.last_ask, &self.last_fences, &self.released).hash(&mut hasher);
        let taking = [&self.nodes[0].taking, &self.nodes[1].taking];
        format!("{:?}{taking:?}", self.passed).hash(&mut hasher);
        unordered(&self.ghosts).hash(&mut hasher);
        self.server.dump().hash(&mut hasher);
        for node in &self.nodes {
            let held = node.held.iter().map(|held| (held.hold, held.valid_until.0));
            (node.program.len(), node.ask, node.alone, held.collect::<Vec<_>>()).hash(&mut hasher);
            (node.subscribing, node.listening, &node.told).hash(&mut hasher);
            format!("{:?}{:?}", node.connections, node.connecting).hash(&mut hasher);
            let client = &node.client;
            format!(
                "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
                client.link,
                client.connects,
                client.trouble,
                client.ear,
                client.listens,
                client.last_stamp,
                client.last_number,
                client.calls,
                client.sendings,
                client.beginnings,
                client.lent,
                client.flushes,
                client.timers
            )
            .hash(&mut hasher);
            unordered(&client.servers).hash(&mut hasher);
            unordered(&client.asks).hash(&mut hasher);
            unordered(&client.lines).hash(&mut hasher);
            unordered(&client.waiting).hash(&mut hasher);
            unordered(&client.holds).hash(&mut hasher);
            unordered(&client.lanes).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The way to the state that is looked at. A panic prints it.
struct Path {
    scope: Scope,
    choices: Vec<Choice>,
}

impl Drop for Path {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}, after these choices, and then at rest:", self.scope.name);
            self.choices.iter().for_each(|choice| eprintln!("    {choice:?}"));
        }
    }
}

impl Path {
    /// The world at its end.
    fn walk(&self, mut server: Server) -> World {
        server.forget_all();
        let mut world = World::new(self.scope, server);
        self.choices.iter().for_each(|choice| world.take(*choice));
        world
    }
}

/// Searches all there is in `scope`.
fn explore(scope: Scope) {
    let mut seen = HashSet::new();
    let (mut ends, mut grants, mut deepest) = (0_u64, 0, 0);
    let mut path = Path { scope, choices: Vec::new() };
    // What is still to be tried in each state on the way.
    let mut open: Vec<Vec<Choice>> = Vec::new();
    let mut world = path.walk(Server::new());
    loop {
        let choices = if seen.insert(world.fingerprint()) { world.choices() } else { Vec::new() };
        deepest = deepest.max(path.choices.len());
        if choices.is_empty() && world.choices().is_empty() {
            ends += 1;
            grants += world.grants;
            world.come_to_rest();
        }
        open.push(choices);
        // Back to the last state in which something is to be tried.
        let mut back = false;
        let next = loop {
            match open.last_mut() {
                None => break None,
                Some(rest) => match rest.pop() {
                    Some(choice) => break Some(choice),
                    None => {
                        open.pop();
                        path.choices.pop();
                        back = true;
                    }
                },
            }
        };
        let Some(choice) = next else { break };
        if back {
            world = path.walk(world.server);
        }
        path.choices.push(choice);
        world.take(choice);
    }
    mem::forget(path);
    eprintln!(
        "{}: {} states, {ends} ends, {grants} grants, at most {deepest} choices deep",
        scope.name,
        seen.len()
    );
    assert!(grants > 0, "{}: nothing was ever granted", scope.name);
}

macro_rules! scopes {
    ($($test:ident: $programs:expr, $scope:expr;)*) => {
        $(
            #[test]
            fn $test() {
                explore(Scope { name: stringify!($test), programs: $programs, ..$scope });
            }
        )*
    };
}

use Step::{Abandon, Extend, HandOver, Lock, Release, TakeOver, Timed, Try};

scopes! {
    two_lockers: [&[Lock, Release], &[Lock, Release]], PLAIN;
    holders_that_never_release: [&[Lock], &[Lock]], PLAIN;
    tries: [&[Try, Release], &[Try, Release]], PLAIN;
    a_try_that_is_called_off: [&[Try, Abandon], &[Try]], Scope { copies: 1, ..PLAIN };
    a_wait_that_is_called_off: [&[Lock, Abandon], &[Lock]], PLAIN;
    a_wait_that_ends: [&[Timed], &[Lock, Release]], PLAIN;
    a_connection_that_breaks: [&[Try, Release], &[Try]], Scope { breaks: 1, ..PLAIN };
    a_request_that_arrives_twice: [&[Try, Release], &[Try]], Scope { copies: 1, ..PLAIN };
    a_message_that_is_lost: [&[Lock, Release], &[Lock]], Scope { unheard: 1, ..PLAIN };
    a_lease_that_is_extended: [&[Try, Extend], &[Try]], Scope { copies: 1, ..PLAIN };
    a_lease_that_is_renewed: [&[Try, Release], &[Try]], RENEWED;
    several_names: [&[Lock, Release], &[Lock]], BOTH_AND_ONE;
    several_names_in_opposite_orders: [&[Try], &[Try]], OPPOSITE;
    several_names_that_are_called_off: [&[Try, Abandon], &[Lock]], BOTH_AND_ONE;
    a_clock_that_is_fast: [&[Try, Release], &[Try]], Scope { rate: 9, ..PLAIN };
    a_clock_that_is_slow: [&[Try, Release], &[Try]], Scope { rate: -9, ..PLAIN };
}

// A hold goes from one client to the other, which may be slow, give up, or begin anew.
scopes! {
    a_hold_that_is_passed_on: [&[Try, HandOver, Try], &[TakeOver, Release]], LATE;
    a_hold_that_is_passed_on_and_renewed: [&[Try, HandOver], &[TakeOver, Release]], RENEWED;
    a_hold_that_is_passed_on_and_back: [&[Try, HandOver, TakeOver, Release], &[TakeOver, HandOver, Try]], BROKEN;
    a_takeover_that_is_called_off: [&[Try, HandOver, Try], &[TakeOver, Abandon, TakeOver, Extend, Release]], BROKEN;
    a_hold_that_is_passed_on_by_express: [&[Try, HandOver, Try], &[TakeOver, Release]], Scope { express: ALL, ..TWICE };
}

// What is alone goes beside the link, where what follows may pass it.
scopes! {
    two_lockers_by_express: [&[Lock, Release], &[Lock, Release]], EXPRESS;
    a_try_that_is_called_off_by_express: [&[Try, Abandon], &[Try]], Scope { copies: 1, ..EXPRESS };
    a_wait_that_is_called_off_by_express: [&[Lock, Abandon], &[Lock]], EXPRESS;
    tries_that_follow_one_another: [&[Try, Abandon, Try], &[Try]], EXPRESS;
    tries_that_follow_one_another_by_turns: [&[Try, Abandon, Try], &[Try]], BY_TURNS;
    a_request_that_arrives_after_its_connection_broke: [&[Try], &[Try]], LATE;
    a_request_that_arrives_after_its_express_broke: [&[Try], &[Try]], Scope { express: ALL, ..LATE };
    a_connection_that_breaks_by_express: [&[Try, Release], &[Try]], Scope { breaks: 1, ..EXPRESS };
    a_lease_that_is_extended_by_express: [&[Try, Extend, Abandon], &[Try]], EXPRESS;
    several_names_by_express: [&[Try, Abandon], &[Lock]], Scope { express: ALL, ..BOTH_AND_ONE };
}

/// Which is as many as there are in any scope.
const ALL: u32 = u32::MAX;
const EXPRESS: Scope = Scope { express: ALL, ..PLAIN };
const BY_TURNS: Scope = Scope { express: 0xAAAA_AAAA, ..PLAIN };
const BROKEN: Scope = Scope { breaks: 1, ..PLAIN };
const TWICE: Scope = Scope { copies: 1, ..PLAIN };
const LATE: Scope = Scope { breaks: 1, copies: 1, ..PLAIN };
const RENEWED: Scope = Scope { max_hold: Some(Duration::from_secs(2)), ..PLAIN };
/// The one wants two names, the other that of them which is not the first.
const BOTH_AND_ONE: Scope = Scope { names: [&["x", "y"], &["y"]], ..PLAIN };
const OPPOSITE: Scope = Scope { names: [&["x", "y"], &["y", "x"]], ..PLAIN };
