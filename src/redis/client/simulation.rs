//! The shipped client against the shipped scripts, over a network that does what it likes.
//!
//! Several clients, each with a clock of its own rate, a small Redis in memory that runs the Lua in
//! Lua 5.1 as Redis does, and virtual time. Messages are delayed, lost with their connection, sent
//! twice, and arrive up to 40 s late; processes are paused; callers come, go, and drop their
//! futures. A seed decides all of it, so a failure can be repeated: it is printed. This is chance,
//! not exhaustion: tests/redis-check searches the scripts at small scope, and says what it cut.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Value as LuaValue};
use redis::{Arg, Value};

use super::*;
use crate::redis::wire::Form;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// The server's wall clock when a simulation begins, in µs.
const EPOCH: u64 = 1_700_000_000_000_000;

// ---- chance ------------------------------------------------------------------------------------

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

// ---- a small Redis -----------------------------------------------------------------------------

#[derive(Debug, Default)]
struct Store {
    us: u64,
    hashes: BTreeMap<String, BTreeMap<String, String>>,
    sets: BTreeMap<String, BTreeMap<String, f64>>,
    ends: BTreeMap<String, u64>,
    said: Vec<(String, String)>,
}

impl Store {
    fn expire(&mut self) {
        let us = self.us;
        let gone: Vec<String> =
            self.ends.iter().filter(|(_, at)| **at <= us).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) {
        self.hashes.remove(key);
        self.sets.remove(key);
        self.ends.remove(key);
    }

    fn sorted(&self, key: &str) -> Vec<String> {
        let Some(set) = self.sets.get(key) else { return Vec::new() };
        let mut members: Vec<_> = set.iter().collect();
        members.sort_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        members.into_iter().map(|(member, _)| member.clone()).collect()
    }

    /// A command, with the answer as a script sees it.
    fn call(&mut self, lua: &Lua, args: &[String]) -> mlua::Result<LuaValue> {
        let text = |text: &str| Ok(LuaValue::String(lua.create_string(text)?));
        let number = |number: u64| Ok(LuaValue::Number(number as f64));
        let nothing = Ok(LuaValue::Boolean(false));
        let (command, key) = (args[0].as_str(), args.get(1).cloned().unwrap_or_default());
        match command {
            "TIME" => {
                let parts = [self.us / 1_000_000, self.us % 1_000_000].map(|part| part.to_string());
                Ok(LuaValue::Table(lua.create_sequence_from(parts)?))
            }
            "HGET" => match self.hashes.get(&key).and_then(|hash| hash.get(&args[2])) {
                Some(value) => text(value),
                None => nothing,
            },
            "HMGET" => {
                let hash = self.hashes.get(&key);
                let table = lua.create_table()?;
                for (index, field) in args[2..].iter().enumerate() {
                    match hash.and_then(|hash| hash.get(field)) {
                        Some(value) => table.set(index + 1, value.as_str())?,
                        None => table.set(index + 1, false)?,
                    }
                }
                Ok(LuaValue::Table(table))
            }
            "HSET" => {
                let hash = self.hashes.entry(key).or_default();
                for pair in args[2..].chunks(2) {
                    hash.insert(pair[0].clone(), pair[1].clone());
                }
                number(1)
            }
            "HDEL" => {
                let Some(hash) = self.hashes.get_mut(&key) else { return number(0) };
                let gone = args[2..].iter().filter(|field| hash.remove(*field).is_some()).count();
                if hash.is_empty() {
                    self.remove(&key);
                }
                number(gone as u64)
            }
            "HINCRBY" => {
                let hash = self.hashes.entry(key).or_default();
                let value = hash.get(&args[2]).map_or(0, |value| value.parse::<u64>().unwrap()) + 1;
                hash.insert(args[2].clone(), value.to_string());
                number(value)
            }
            "HRANDFIELD" => {
                let count: usize = args[2].parse().unwrap();
                let pairs = self.hashes.get(&key).into_iter().flatten().take(count);
                let flat = pairs.flat_map(|(field, value)| [field.clone(), value.clone()]);
                Ok(LuaValue::Table(lua.create_sequence_from(flat)?))
            }
            "PEXPIRE" => {
                let ms: f64 = args[2].parse().unwrap();
                self.ends.insert(key, self.us + ms as u64 * 1_000);
                number(1)
            }
            "PTTL" => {
                let exists = self.hashes.contains_key(&key) || self.sets.contains_key(&key);
                let left = self.ends.get(&key).map(|end| (end - self.us) as f64 / 1_000.0);
                Ok(LuaValue::Number(left.unwrap_or(if exists { -1.0 } else { -2.0 }).floor()))
            }
            "ZADD" => {
                let score = args[2].parse().unwrap();
                self.sets.entry(key).or_default().insert(args[3].clone(), score);
                number(1)
            }
            "ZREM" => {
                let Some(set) = self.sets.get_mut(&key) else { return number(0) };
                let gone = set.remove(&args[2]).is_some();
                if set.is_empty() {
                    self.remove(&key);
                }
                number(u64::from(gone))
            }
            "ZSCORE" => match self.sets.get(&key).and_then(|set| set.get(&args[2])) {
                Some(score) => text(&score.to_string()),
                None => nothing,
            },
            "ZCARD" => number(self.sets.get(&key).map_or(0, BTreeMap::len) as u64),
            "ZRANK" => match self.sorted(&key).iter().position(|member| *member == args[2]) {
                Some(rank) => number(rank as u64),
                None => nothing,
            },
            "ZRANGE" => {
                let [from, to]: [usize; 2] = [2, 3].map(|at: usize| args[at].parse().unwrap());
                let range = self.sorted(&key).into_iter().skip(from).take(to + 1 - from);
                Ok(LuaValue::Table(lua.create_sequence_from(range)?))
            }
            "PUBLISH" => {
                self.said.push((key, args[2].clone()));
                number(1)
            }
            other => Err(mlua::Error::runtime(format!("the small Redis has no {other}"))),
        }
    }
}

/// The server: its data, and the scripts as it has read them.
pub(super) struct Server {
    lua: Lua,
    store: Rc<RefCell<Store>>,
    scripts: HashMap<String, mlua::Function>,
}

impl Server {
    pub(super) fn new() -> Self {
        let lua = Lua::new();
        let store = Rc::new(RefCell::new(Store::default()));
        let redis = lua.create_table().unwrap();
        for name in ["call", "pcall"] {
            let store = store.clone();
            let call = lua.create_function(move |lua, args: MultiValue| {
                let args: Vec<String> = args
                    .iter()
                    .map(|arg| match arg {
                        LuaValue::Number(number) => format!("{number:.0}"),
                        LuaValue::Integer(number) => number.to_string(),
                        other => other.to_string().unwrap(),
                    })
                    .collect();
                store.borrow_mut().call(lua, &args)
            });
            redis.set(name, call.unwrap()).unwrap();
        }
        lua.globals().set("redis", redis).unwrap();
        Self { lua, store, scripts: HashMap::new() }
    }

    pub(super) fn run(&mut self, us: u64, request: &Request, channel: &str) -> Value {
        let mut store = self.store.borrow_mut();
        store.us = us;
        store.expire();
        drop(store);
        let cmd = request.command(Form::Text, channel);
        let args: Vec<String> = cmd
            .args_iter()
            .map(|arg| match arg {
                Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                _ => panic!("a request has plain arguments"),
            })
            .collect();
        let keys: usize = args[2].parse().unwrap();
        let lua = &self.lua;
        let script = self.scripts.entry(args[1].clone()).or_insert_with_key(|text| {
            let text = format!("return function(KEYS, ARGV)\n{text}\nend");
            lua.load(text).eval().unwrap()
        });
        let (keys, rest) = args[3..].split_at(keys);
        let keys = lua.create_sequence_from(keys.iter().cloned()).unwrap();
        let rest = lua.create_sequence_from(rest.iter().cloned()).unwrap();
        let answer: LuaValue = script.call((keys, rest)).unwrap();
        value_of(&answer)
    }

    pub(super) fn field(&self, key: &str, field: &str) -> Option<String> {
        self.store.borrow().hashes.get(key)?.get(field).cloned()
    }

    pub(super) fn forget_all(&mut self) {
        *self.store.borrow_mut() = Store::default();
    }

    /// What was published since the last look: channels and messages.
    pub(super) fn take_said(&mut self) -> Vec<(String, String)> {
        mem::take(&mut self.store.borrow_mut().said)
    }

    /// When leases and waiters end, in ms of the server's clock.
    pub(super) fn ends(&self) -> Vec<u64> {
        let store = self.store.borrow();
        let leases = store.hashes.values().filter_map(|hash| hash.get("x")?.parse().ok());
        let waiters = store.hashes.iter().filter(|(key, _)| key.ends_with(":w"));
        let waiters = waiters.flat_map(|(_, hash)| hash.values());
        let waiters = waiters.filter_map(|waiter| waiter.split(' ').next()?.parse().ok());
        leases.chain(waiters).collect()
    }

    /// Whether anybody waits.
    pub(super) fn has_queues(&self) -> bool {
        !self.store.borrow().sets.is_empty()
    }

    /// All that it knows.
    pub(super) fn dump(&self) -> String {
        let store = self.store.borrow();
        format!("{:?}{:?}{:?}", store.hashes, store.sets, store.ends)
    }
}

fn value_of(value: &LuaValue) -> Value {
    match value {
        LuaValue::Integer(number) => Value::Int(*number),
        LuaValue::Number(number) => Value::Int(*number as i64),
        LuaValue::String(text) => Value::BulkString(text.as_bytes().to_vec()),
        LuaValue::Table(table) => {
            Value::Array(table.sequence_values().map(|item| value_of(&item.unwrap())).collect())
        }
        LuaValue::Boolean(false) | LuaValue::Nil => Value::Nil,
        other => panic!("no script answers {other:?}"),
    }
}

// ---- the world ---------------------------------------------------------------------------------

/// What is on its way.
enum Packet {
    Request {
        node: usize,
        epoch: u64,
        call: CallId,
        request: Request,
    },
    /// A copy whose answer nobody waits for.
    Ghost {
        node: usize,
        request: Request,
    },
    Reply {
        node: usize,
        epoch: u64,
        call: CallId,
        reply: Result<Reply, RedisError>,
    },
    Connected {
        node: usize,
        epoch: u64,
        sent: Moment,
    },
    Refused {
        node: usize,
        epoch: u64,
    },
    Broken {
        node: usize,
        epoch: u64,
    },
    Listening {
        node: usize,
    },
    Told {
        node: usize,
        token: String,
    },
}

struct Held {
    hold: HoldId,
    /// Of the lock.
    key: String,
    valid_until: Moment,
    fence: u64,
    token: String,
}

struct Node {
    client: Client,
    channel: String,
    /// Of its clock: parts in a thousand faster than the server's, and what it began with.
    rate: i64,
    offset: u64,
    epoch: u64,
    listening: bool,
    /// Requests and answers stay in order on a connection.
    last_arrival: u64,
    last_return: u64,
    paused_until: u64,
    asks: Vec<AskId>,
    held: Vec<Held>,
}

impl Node {
    fn clock(&self, now: u64) -> Moment {
        Moment(self.offset + (now as i64 + now as i64 / 1_000 * self.rate) as u64)
    }

    /// When its clock will show `moment`, or a few microseconds later.
    fn when(&self, moment: Moment) -> u64 {
        let ours = u128::from(moment.0.saturating_sub(self.offset));
        (ours * 1_000 / (1_000 + self.rate) as u128) as u64 + 2_000
    }

    /// The last moment at which one of its holds is still valid, if that is to come.
    fn last_valid(&self, now: u64) -> Option<u64> {
        let ends = self.held.iter().filter(|held| held.valid_until.0 > 0);
        ends.map(|held| self.when(held.valid_until) - 10_000).filter(|at| *at > now).min()
    }
}

/// How unkind the world is.
#[derive(Clone, Copy)]
struct World {
    faults: bool,
    flushes: bool,
    /// Whether there are two names, taken one at a time and both at once.
    several: bool,
    /// Whether somebody sweeps now and then, and time goes by so quickly that there is something to
    /// be swept.
    sweeps: bool,
    /// One step of the server's clock, in s.
    step: i64,
}

struct Simulation {
    chance: Chance,
    world: World,
    now: u64,
    server: Server,
    server_step: i64,
    nodes: Vec<Node>,
    packets: BTreeMap<(u64, u64), Packet>,
    last_packet: u64,
    last_ask: AskId,
    /// What callers may ask for.
    terms: Vec<Arc<Terms>>,
    /// Whether holders rarely release, so that leases run out.
    lazy: bool,
    /// By the key of the lock.
    last_fences: HashMap<String, u64>,
    grants: u64,
    disturbed: bool,
}

impl Simulation {
    fn new(seed: u64, world: World, ttl: Duration) -> Self {
        let mut chance = Chance(seed);
        let one = Terms {
            keys: Keys::new("w", None, "x").unwrap(),
            parts: Box::default(),
            ttl,
            grace: ttl / 10,
            owner: "somebody".to_owned(),
            bypass: chance.below(3) as u32,
            waiter_ttl: Duration::from_secs(3),
            retry_delay: Duration::from_millis(100),
            polling: chance.one_in(4),
            max_hold: chance.one_in(2).then_some(Duration::from_secs(20)),
        };
        let other = Terms { keys: Keys::new("w", None, "y").unwrap(), ..one.clone() };
        let (one, other) = (Arc::new(one), Arc::new(other));
        let terms = if world.several {
            vec![one.clone(), other.clone(), Terms::all(vec![one, other])]
        } else {
            vec![one]
        };
        let lazy = chance.one_in(2);
        let nodes = (0..3)
            .map(|number| {
                let mut bits = Chance(chance.next());
                let temper = Temper {
                    answer_timeout: Duration::from_secs(1),
                    patience: Duration::from_secs(5),
                };
                let entropy =
                    Box::new(move || (u128::from(bits.next()) << 64) | u128::from(bits.next()));
                Node {
                    client: Client::new(format!("node{number:012}"), temper, entropy),
                    channel: format!("w:c:{number}"),
                    rate: chance.below(19) as i64 - 9,
                    offset: chance.below(1_000 * SECOND) + SECOND,
                    epoch: 0,
                    listening: false,
                    last_arrival: 0,
                    last_return: 0,
                    paused_until: 0,
                    asks: Vec::new(),
                    held: Vec::new(),
                }
            })
            .collect();
        Self {
            chance,
            world,
            now: 0,
            server: Server::new(),
            server_step: 0,
            nodes,
            packets: BTreeMap::new(),
            last_packet: 0,
            last_ask: 0,
            terms,
            lazy,
            last_fences: HashMap::new(),
            grants: 0,
            disturbed: false,
        }
    }

    fn server_us(&self) -> u64 {
        (EPOCH + self.now / 1_000).wrapping_add_signed(self.server_step * 1_000_000)
    }

    fn post(&mut self, at: u64, packet: Packet) {
        self.last_packet += 1;
        self.packets.insert((at, self.last_packet), packet);
    }

    /// How long a message takes: mostly a little, sometimes long.
    fn way(&mut self) -> u64 {
        if self.world.faults && self.chance.one_in(50) {
            self.chance.below(3 * SECOND)
        } else {
            100_000 + self.chance.below(3 * MS)
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        let mut actions = Vec::new();
        let now = self.nodes[node].clock(self.now);
        self.nodes[node].client.on(now, event, &mut actions);
        for action in actions {
            self.act(node, action);
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Connect => {
                self.nodes[node].epoch += 1;
                let epoch = self.nodes[node].epoch;
                let sent = self.nodes[node].clock(self.now);
                let at = self.now + self.way();
                self.nodes[node].last_arrival = at;
                let packet = if self.world.faults && self.chance.one_in(8) {
                    Packet::Refused { node, epoch }
                } else {
                    Packet::Connected { node, epoch, sent }
                };
                self.post(at, packet);
            }
            Action::Send { call, request } => {
                let epoch = self.nodes[node].epoch;
                if self.world.faults && self.chance.one_in(20) {
                    let at = self.now + self.chance.below(40 * SECOND);
                    self.post(at, Packet::Ghost { node, request: request.clone() });
                }
                let at = (self.now + self.way()).max(self.nodes[node].last_arrival);
                if self.world.faults && self.chance.one_in(40) {
                    // The connection breaks before this arrives; it may arrive much later.
                    if self.chance.one_in(2) {
                        let at = self.now + self.chance.below(40 * SECOND);
                        self.post(at, Packet::Ghost { node, request });
                    }
                    // Nobody may notice, either.
                    if self.chance.one_in(2) {
                        self.post(at, Packet::Broken { node, epoch });
                    }
                    return;
                }
                self.nodes[node].last_arrival = at;
                self.post(at, Packet::Request { node, epoch, call, request });
            }
            Action::Break { .. } => {
                let epoch = self.nodes[node].epoch;
                self.post(self.now, Packet::Broken { node, epoch });
            }
            Action::Listen => {
                self.nodes[node].listening = false;
                let at = self.now + self.way();
                self.post(at, Packet::Listening { node });
            }
            Action::Answer { ask, answer } => {
                let known = self.nodes[node].asks.iter().position(|known| *known == ask);
                if let Some(index) = known {
                    self.nodes[node].asks.swap_remove(index);
                }
                let Answer::Granted(grants) = answer else { return };
                for Granted { hold, fence, valid_until, attempt, .. } in grants {
                    if known.is_none() {
                        // Its caller had gone: the driver gives it back.
                        self.tell(node, Event::Release { hold, ask: None });
                        continue;
                    }
                    let (key, token) = (attempt.terms.keys.lock.clone(), attempt.token.clone());
                    self.grants += 1;
                    self.nodes[node].held.push(Held { hold, key, valid_until, fence, token });
                }
            }
            Action::Valid { hold, until } => {
                if let Some(held) = self.nodes[node].held.iter_mut().find(|h| h.hold == hold) {
                    assert!(held.valid_until.0 > 0, "a lost hold came back");
                    held.valid_until = until;
                }
            }
            Action::Lost { hold, .. } => {
                if let Some(held) = self.nodes[node].held.iter_mut().find(|h| h.hold == hold) {
                    held.valid_until = Moment(0);
                }
            }
        }
    }

    fn execute(&mut self, node: usize, request: &Request) -> Result<Reply, RedisError> {
        let channel = self.nodes[node].channel.clone();
        let us = self.server_us();
        let value = self.server.run(us, request, &channel);
        if let (Request::Acquire { attempt, .. }, Ok(Reply::Granted { fences, .. })) =
            (request, request.read(&value))
        {
            for (terms, granted) in attempt.terms.each().iter().zip(fences) {
                let key = &terms.keys.lock;
                let fence = self.server.field(key, "n").map(|fence| fence.parse().unwrap());
                assert_eq!(Some(granted), fence);
                assert_eq!(self.server.field(key, "t").as_ref(), Some(&attempt.token), "not all");
                let last = self.last_fences.insert(key.clone(), granted).unwrap_or_default();
                assert!(granted >= last, "fence {granted} after {last}");
            }
        }
        let said = self.server.take_said();
        for (channel, token) in said {
            let to = self.nodes.iter().position(|node| node.channel == channel).unwrap();
            // Messages may be lost.
            if self.nodes[to].listening && !(self.world.faults && self.chance.one_in(5)) {
                let at = self.now + self.way();
                self.post(at, Packet::Told { node: to, token });
            }
        }
        request.read(&value)
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Request { node, epoch, call, request } => {
                let reply = self.execute(node, &request);
                let at = (self.now + self.way()).max(self.nodes[node].last_return);
                self.nodes[node].last_return = at;
                self.post(at, Packet::Reply { node, epoch, call, reply });
            }
            Packet::Ghost { node, request } => {
                let _ = self.execute(node, &request);
            }
            Packet::Reply { node, epoch, call, reply } => {
                if self.nodes[node].epoch == epoch {
                    self.tell(node, Event::Reply { call, node: 0, reply });
                }
            }
            Packet::Connected { node, epoch, sent } => {
                if self.nodes[node].epoch == epoch {
                    let server = self.server_us();
                    self.tell(node, Event::Up { node: 0, server, sent });
                }
            }
            Packet::Refused { node, epoch } | Packet::Broken { node, epoch } => {
                if self.nodes[node].epoch == epoch {
                    // Its answers under way are lost with it.
                    self.nodes[node].epoch += 1;
                    let failure = RedisError::Timeout { after: Duration::ZERO };
                    self.tell(node, Event::Down { failure });
                }
            }
            Packet::Listening { node } => {
                self.nodes[node].listening = true;
                self.tell(node, Event::Listening);
            }
            Packet::Told { node, token } => self.tell(node, Event::Told { token }),
        }
    }

    /// One thing that a caller does.
    fn caller(&mut self) {
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        let now = self.nodes[node].clock(self.now);
        match self.chance.below(10) {
            0..=3 if self.nodes[node].asks.len() < 4 => {
                self.last_ask += 1;
                let ask = self.last_ask;
                let patience = match self.chance.below(3) {
                    0 => Patience::Try,
                    1 => Patience::Endless,
                    _ => {
                        let time = Duration::from_millis(self.chance.below(4_000));
                        Patience::Until(now + time)
                    }
                };
                self.nodes[node].asks.push(ask);
                let what = self.chance.below(self.terms.len() as u64) as usize;
                let terms = self.terms[what].clone();
                self.tell(node, Event::Lock { ask, terms, patience });
            }
            4 if !self.nodes[node].asks.is_empty() => {
                let ask = self.nodes[node].asks.swap_remove(0);
                self.tell(node, Event::Abandon { ask });
            }
            5..=7
                if !self.nodes[node].held.is_empty() && (!self.lazy || self.chance.one_in(20)) =>
            {
                let held = self.nodes[node].held.swap_remove(0);
                self.tell(node, Event::Release { hold: held.hold, ask: None });
            }
            8 if !self.nodes[node].held.is_empty() => {
                let hold = self.nodes[node].held[0].hold;
                self.last_ask += 1;
                let more = Duration::from_millis(1 + self.chance.below(1_000));
                self.tell(node, Event::Extend { hold, ask: self.last_ask, more });
            }
            9 if self.world.faults && self.chance.one_in(2) => {
                self.nodes[node].paused_until = self.now + self.chance.below(6 * SECOND);
            }
            _ => {}
        }
    }

    /// Takes the next thing that is due, if that is before `until`.
    fn step(&mut self, until: u64) -> bool {
        let mut next: Option<(u64, Option<usize>)> =
            self.packets.first_key_value().map(|((at, _), _)| (*at, None));
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if let Some(due) = node.client.due() {
                let at = node.when(due).max(node.paused_until).max(self.now);
                if next.is_none_or(|(earliest, _)| at < earliest) {
                    next = Some((at, Some(index)));
                }
            }
        }
        // The claim is sharpest at the last moment of validity: it is looked at then.
        let last = self.nodes.iter().filter_map(|node| node.last_valid(self.now)).min();
        if let Some(last) = last.filter(|last| next.is_none_or(|(at, _)| *last < at))
            && last <= until
        {
            self.now = last;
            return true;
        }
        let Some((at, node)) = next.filter(|(at, _)| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        match node {
            Some(node) => self.tell(node, Event::Tick),
            None => {
                let (_, packet) = self.packets.pop_first().unwrap();
                let to = match &packet {
                    Packet::Request { .. } | Packet::Ghost { .. } => None,
                    Packet::Reply { node, .. }
                    | Packet::Connected { node, .. }
                    | Packet::Refused { node, .. }
                    | Packet::Broken { node, .. }
                    | Packet::Listening { node }
                    | Packet::Told { node, .. } => Some(*node),
                };
                match to.map(|node| self.nodes[node].paused_until) {
                    // A paused process looks at nothing.
                    Some(paused) if paused > self.now => self.post(paused, packet),
                    _ => self.deliver(packet),
                }
            }
        }
        true
    }

    /// At most one holder believes that it holds, and the server agrees with it.
    fn check(&self) {
        if self.disturbed {
            return;
        }
        let mut valid = HashMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let clock = node.clock(self.now);
            for held in node.held.iter().filter(|held| clock < held.valid_until) {
                let other = valid.insert(&held.key, (number, held.fence, &held.token));
                assert!(other.is_none(), "both believe to hold: {other:?}, {:?}", valid[&held.key]);
            }
        }
        for (key, (_, _, token)) in valid {
            assert_eq!(self.server.field(key, "t").as_ref(), Some(token), "the server disagrees");
            let end: u64 = self.server.field(key, "x").expect("held").parse().unwrap();
            assert!(end * 1_000 > self.server_us(), "the lease had ended");
        }
    }

    fn run(mut self) -> u64 {
        let longest = if self.world.sweeps { 2 * SECOND } else { 200 * MS };
        for round in 0..400 {
            let until = self.now + self.chance.below(longest);
            while self.step(until) {
                self.check();
            }
            self.check();
            self.caller();
            self.check();
            if self.world.sweeps && self.chance.one_in(8) {
                let node = self.chance.below(self.nodes.len() as u64) as usize;
                let what = self.chance.below(self.terms.len() as u64) as usize;
                let (ask, keys) = (self.last_ask + 1, self.terms[what].keys.clone());
                self.last_ask = ask;
                self.tell(node, Event::Sweep { ask, keys });
                self.check();
            }
            if self.world.flushes && self.chance.one_in(60) {
                let mut store = self.server.store.borrow_mut();
                store.hashes.clear();
                store.sets.clear();
                store.ends.clear();
                self.disturbed = true;
            }
            if round == 200 && self.world.step != 0 {
                self.server_step = self.world.step;
                self.disturbed = true;
            }
        }
        self.come_to_rest();
        self.grants
    }

    /// The network heals and every holder gives up: everybody who waits gets the lock, and nothing
    /// is left.
    fn come_to_rest(&mut self) {
        self.world.faults = false;
        let end = self.now + 300 * SECOND;
        loop {
            for node in 0..self.nodes.len() {
                while let Some(held) = self.nodes[node].held.pop() {
                    self.tell(node, Event::Release { hold: held.hold, ask: None });
                }
            }
            let idle = self.nodes.iter().all(|node| node.asks.is_empty() && node.client.is_idle());
            if idle && self.packets.is_empty() {
                break;
            }
            assert!(self.now < end, "callers wait for ever, or a client does not come to rest");
            let until = self.now + 20 * MS;
            while self.step(until) {
                self.check();
            }
        }
        for node in &self.nodes {
            let client = &node.client;
            assert!(client.lanes.is_empty(), "lanes are left: {:?}", client.lanes);
            assert!(client.holds.is_empty() && client.lines.is_empty());
            assert!(client.waiting.is_empty() && client.line_of.is_empty());
        }
        // Ghosts of acquires may have been granted: they end with their leases, and no later.
        for terms in &self.terms {
            let end = self.server.field(&terms.keys.lock, "x");
            let longest = terms.lease().as_millis() as u64 + 1_000 * 400;
            assert!(end.is_none_or(|end| {
                end.parse::<u64>().unwrap() < self.server_us() / 1_000 + longest
            }));
        }
    }
}

fn simulate(name: &str, world: World, ttl: Duration) {
    let seeds = std::env::var("WARDED_SIMULATIONS").map_or(60, |text| text.parse().unwrap());
    let only: Option<u64> = std::env::var("WARDED_SEED").ok().map(|text| text.parse().unwrap());
    let mut grants = 0;
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let run = || Simulation::new(seed, world, ttl).run();
        match std::panic::catch_unwind(run) {
            Ok(granted) => grants += granted,
            Err(cause) => {
                eprintln!("{name}: seed {seed}; repeat it alone with WARDED_SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    // A world in which nothing is ever granted would show nothing.
    assert!(only.is_some() || grants > seeds * 10, "{name}: {grants} grants only");
    eprintln!("{name}: {grants} grants in {seeds} simulations");
}

const TTL: Duration = Duration::from_secs(4);
const FAULTS: World =
    World { faults: true, flushes: false, several: false, sweeps: false, step: 0 };

#[test]
fn a_kind_world() {
    simulate("kind", World { faults: false, ..FAULTS }, TTL);
}

#[test]
fn a_world_of_faults() {
    simulate("faults", FAULTS, TTL);
}

#[test]
fn a_world_of_faults_and_leases_longer_than_messages_live() {
    simulate("long", FAULTS, Duration::from_secs(45));
}

#[test]
fn a_world_of_faults_and_very_short_leases() {
    simulate("short", FAULTS, Duration::from_millis(60));
}

#[test]
fn a_world_of_faults_and_flushes() {
    simulate("flushes", World { flushes: true, ..FAULTS }, TTL);
}

#[test]
fn failure_11_the_servers_clock_is_set_forward_or_a_little_back() {
    for step in [5, 100, 10_000] {
        simulate("step", World { step, ..FAULTS }, TTL);
    }
}

#[test]
fn a_world_in_which_somebody_sweeps() {
    for ttl in [Duration::from_millis(60), TTL, Duration::from_secs(45)] {
        simulate("sweeps", World { sweeps: true, ..FAULTS }, ttl);
        simulate("several, sweeps", World { sweeps: true, several: true, ..FAULTS }, ttl);
    }
}

#[test]
fn several_names_in_a_kind_world() {
    simulate("several, kind", World { faults: false, several: true, ..FAULTS }, TTL);
}

#[test]
fn several_names_in_a_world_of_faults() {
    simulate("several", World { several: true, ..FAULTS }, TTL);
}

#[test]
fn several_names_in_a_world_of_flushes_and_very_short_leases() {
    let world = World { several: true, flushes: true, ..FAULTS };
    simulate("several, flushes", world, Duration::from_millis(60));
}
