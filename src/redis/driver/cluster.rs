//! A cluster: which server serves which slot, and a connection to each that is needed.
//!
//! The `redis` crate's cluster client would send again by itself what was not answered, and wait in
//! between. When to send again is for the client to decide, so what stands here only finds the way:
//! it follows redirections, which say that nothing was executed, and reports everything else.
//!
//! Messages to waiters need no way to be found: a server passes on to all others what is published
//! on it, so one subscription, at any of them, hears everything.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::task::AtomicWaker;
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, ErrorKind, RedisResult, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::clock;
use super::link::{self, Found, Link};
use crate::redis::client::{CallId, NodeId, Place, Reply, Request};
use crate::redis::error::RedisError;
use crate::redis::keys::slot;
use crate::redis::lease::Moment;

const SLOTS: usize = 16_384;
/// How often one request follows a redirection before it is put off: twice for a slot that moves,
/// and once more for one that moves back.
const REDIRECTIONS: usize = 3;
/// The time between two looks at who serves what.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Host and port.
type Address = (String, u16);

pub(crate) struct Cluster {
    seeds: Arc<[Client]>,
    within: Duration,
    map: Mutex<Map>,
    changed: AtomicBool,
    waker: AtomicWaker,
}

struct Map {
    /// By [`NodeId`]: everybody who was ever heard of.
    addresses: Vec<Address>,
    /// By slot.
    owners: Vec<Option<NodeId>>,
    nodes: HashMap<NodeId, Arc<Node>>,
    /// To whom there has been a connection.
    met: BTreeSet<NodeId>,
    /// On whose connection a request is under way.
    under_way: HashMap<CallId, Arc<Node>>,
    looking: bool,
    looked: Instant,
    looks: usize,
}

/// A connection to one server.
struct Node {
    standing: watch::Sender<Standing>,
}

enum Standing {
    Coming,
    /// It is coming still, but who waits for it has lost patience.
    Slow(RedisError),
    Up(MultiplexedConnection),
    Gone(RedisError),
}

impl Cluster {
    /// Asks one of the seeds who serves what.
    pub(super) async fn find(seeds: Arc<[Client]>, within: Duration) -> Result<Found, RedisError> {
        let mut failure = RedisError::option(
            "nodes",
            "a cluster is found by one of its nodes; name at least one",
        );
        for seed in &*seeds {
            match link::in_time(within, look(seed)).await {
                Ok((slots, time, sent)) => {
                    let mut map = Map::new();
                    let address = address(seed.get_connection_info().addr());
                    let node = map.node(address.clone());
                    map.learn(&slots, &address.0);
                    let cluster = Self {
                        seeds: seeds.clone(),
                        within,
                        map: Mutex::new(map),
                        changed: AtomicBool::new(false),
                        waker: AtomicWaker::new(),
                    };
                    let link = Link::Cluster(Arc::new(cluster));
                    return Ok(Found { link, client: None, node, time, sent });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks whoever serves the request's key, and tells who that was.
    pub(super) async fn ask(
        self: Arc<Self>,
        call: CallId,
        request: Request,
        channel: Arc<str>,
    ) -> (NodeId, Result<Reply, RedisError>) {
        let server = match &request {
            Request::Scan { from, .. } => self.map().servers().get(from.server).copied(),
            request => self.map().owner(request.key().map(|key| usize::from(slot(key)))),
        };
        let request = [(call, request)];
        let Some(mut id) = server else {
            self.look_again();
            let kind = ErrorKind::Server(ServerErrorKind::ClusterDown);
            let nobody = redis::RedisError::from((kind, "nobody is known to serve the slot"));
            return (0, Err(RedisError::ClusterDown(nobody)));
        };
        let (mut asking, mut redirections) = (false, 0);
        loop {
            let node = self.node(id);
            self.map().under_way.insert(call, node.clone());
            let _under_way = UnderWay { cluster: &self, call };
            match node.ask(&request, &channel, asking).await {
                Err(RedisError::Elsewhere(cause)) if redirections < REDIRECTIONS => {
                    asking = cause.kind() == ErrorKind::Server(ServerErrorKind::Ask);
                    let Some(to) = self.redirected(&cause, id, asking) else {
                        return (id, Err(RedisError::Elsewhere(cause)));
                    };
                    id = to;
                    redirections += 1;
                }
                Err(RedisError::Elsewhere(cause)) => {
                    self.look_again();
                    return (id, Err(RedisError::Moving(cause)));
                }
                Err(failure) if failure.is_about_the_link() => {
                    self.lose(id, &node, failure.clone());
                    return (id, Err(failure));
                }
                Err(failure @ RedisError::ClusterDown(_)) => {
                    self.look_again();
                    return (id, Err(failure));
                }
                Ok(Reply::Scanned { keys, next: None }) => {
                    let next = self.after(&request[0].1);
                    return (id, Ok(Reply::Scanned { keys, next }));
                }
                answer => return (id, answer),
            }
        }
    }

    /// Where a walk through all keys goes on when one server has no more.
    fn after(&self, request: &Request) -> Option<Place> {
        let Request::Scan { from, .. } = request else { return None };
        let next = Place { server: from.server + 1, cursor: 0 };
        (next.server < self.map().servers().len()).then_some(next)
    }

    /// Drops the connection that this was sent on, with all that was sent on it.
    pub(super) fn break_off(self: &Arc<Self>, call: CallId, failure: RedisError) {
        let map = self.map();
        let Some(node) = map.under_way.get(&call).cloned() else { return };
        let id = map.nodes.iter().find(|(_, known)| Arc::ptr_eq(known, &node)).map(|(id, _)| *id);
        drop(map);
        let is_up = matches!(*node.standing.borrow(), Standing::Up(_));
        if let Some(id) = id
            && is_up
        {
            return self.lose(id, &node, failure);
        }
        // A connection that is coming may be slow, and a new one would be no quicker: who waits for
        // it is told, and it goes on coming.
        node.standing.send_if_modified(|standing| {
            let coming = matches!(standing, Standing::Coming);
            if coming {
                *standing = Standing::Slow(failure);
            }
            coming
        });
    }

    /// Whether names may have another server now, or one that has lost its data.
    pub(super) fn poll_changed(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Whether it looks who serves what, or connects to somebody: that goes on only while the
    /// driver's runtime is turned, so the driver is busy meanwhile.
    pub(super) fn is_busy(&self) -> bool {
        let map = self.map();
        let is_coming = |node: &Arc<Node>| {
            matches!(*node.standing.borrow(), Standing::Coming | Standing::Slow(_))
        };
        map.looking || map.nodes.values().any(is_coming)
    }

    fn note_change(&self) {
        self.changed.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to a server, which is made if there is none.
    fn node(self: &Arc<Self>, id: NodeId) -> Arc<Node> {
        let mut map = self.map();
        if let Some(node) = map.nodes.get(&id) {
            return node.clone();
        }
        let node = Arc::new(Node { standing: watch::Sender::new(Standing::Coming) });
        map.nodes.insert(id, node.clone());
        let client = self.client(&map.addresses[id as usize]);
        let again = !map.met.insert(id);
        drop(map);
        let (cluster, coming) = (self.clone(), node.clone());
        tokio::spawn(async move {
            let connecting = async { link::connect(&client?).await };
            match link::in_time(cluster.within, connecting).await {
                Ok(connection) => {
                    coming.standing.send_replace(Standing::Up(connection));
                    if again {
                        cluster.note_change();
                    }
                    // It may not be busy any more.
                    cluster.waker.wake();
                }
                Err(failure) => cluster.lose(id, &coming, failure),
            }
        });
        node
    }

    /// The connection is of no use any more, and the server perhaps not either.
    fn lose(self: &Arc<Self>, id: NodeId, node: &Arc<Node>, failure: RedisError) {
        let mut map = self.map();
        if map.nodes.get(&id).is_some_and(|known| Arc::ptr_eq(known, node)) {
            map.nodes.remove(&id);
        }
        drop(map);
        node.standing.send_replace(Standing::Gone(failure));
        self.look_again();
    }

    /// Whom a redirection points to. One that is for good is remembered.
    fn redirected(
        self: &Arc<Self>,
        cause: &redis::RedisError,
        from: NodeId,
        asking: bool,
    ) -> Option<NodeId> {
        let (to, slot) = cause.redirect_node()?;
        let (host, port) = to.rsplit_once(':')?;
        let mut map = self.map();
        // A server that does not know its own name leaves it out.
        let host =
            if host.is_empty() { map.addresses[from as usize].0.clone() } else { host.into() };
        let id = map.node((host, port.parse().ok()?));
        if !asking {
            *map.owners.get_mut(usize::from(slot))? = Some(id);
            drop(map);
            self.note_change();
            self.look_again();
        }
        Some(id)
    }

    /// Looks who serves what, if that is not under way.
    fn look_again(self: &Arc<Self>) {
        let mut map = self.map();
        if map.looking {
            return;
        }
        map.looking = true;
        let at = map.looked + LOOK_EVERY;
        drop(map);
        let cluster = self.clone();
        tokio::spawn(async move {
            sleep_until(at).await;
            for client in cluster.clients() {
                let host = address(client.get_connection_info().addr()).0;
                let Ok((slots, ..)) = link::in_time(cluster.within, look(&client)).await else {
                    continue;
                };
                if cluster.map().learn(&slots, &host) {
                    cluster.note_change();
                }
                break;
            }
            let mut map = cluster.map();
            (map.looking, map.looked) = (false, Instant::now());
            drop(map);
            // It may not be busy any more.
            cluster.waker.wake();
        });
    }

    /// Everybody who may be asked about the cluster, another one first each time; those first to
    /// whom there is a connection.
    pub(super) fn clients(&self) -> Vec<Client> {
        let mut map = self.map();
        map.looks += 1;
        let mut known = map.servers();
        let start = map.looks % known.len().max(1);
        known.rotate_left(start);
        let is_up = |id: &NodeId| {
            let node = map.nodes.get(id);
            node.is_some_and(|node| matches!(*node.standing.borrow(), Standing::Up(_)))
        };
        known.sort_by_key(|id| !is_up(id));
        let known = known.iter().filter_map(|id| self.client(&map.addresses[*id as usize]).ok());
        known.chain(self.seeds.iter().cloned()).collect()
    }

    /// A client of one server, with the login and the settings of the seeds.
    fn client(&self, (host, port): &Address) -> RedisResult<Client> {
        let info = self.seeds[0].get_connection_info().clone();
        let addr = match info.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host.clone(), *port),
        };
        Client::open(info.set_addr(addr))
    }
}

/// Notes that a request is under way no more, also when nobody waits for its answer.
struct UnderWay<'a> {
    cluster: &'a Cluster,
    call: CallId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.cluster.map().under_way.remove(&self.call);
    }
}

impl Node {
    async fn ask(
        &self,
        request: &[(CallId, Request); 1],
        channel: &str,
        asking: bool,
    ) -> Result<Reply, RedisError> {
        let mut standing = self.standing.subscribe();
        let connection = match standing.wait_for(|now| !matches!(now, Standing::Coming)).await {
            Ok(now) => match &*now {
                Standing::Up(connection) => Ok(connection.clone()),
                Standing::Slow(failure) | Standing::Gone(failure) => Err(failure.clone()),
                Standing::Coming => unreachable!("it was waited for"),
            },
            Err(_) => unreachable!("the sender is this node's"),
        }?;
        let asked = pin!(link::ask(connection, request, channel, asking));
        let gone = pin!(standing.wait_for(|now| matches!(now, Standing::Gone(_))));
        match select(asked, gone).await {
            Either::Left((mut answer, _)) => answer.pop().expect("one request has one answer"),
            Either::Right((gone, _)) => match gone.as_deref() {
                Ok(Standing::Gone(failure)) => Err(failure.clone()),
                _ => unreachable!("it was waited for, and the sender is this node's"),
            },
        }
    }
}

impl Map {
    fn new() -> Self {
        Self {
            addresses: Vec::new(),
            owners: vec![None; SLOTS],
            nodes: HashMap::new(),
            met: BTreeSet::new(),
            under_way: HashMap::new(),
            looking: false,
            looked: Instant::now(),
            looks: 0,
        }
    }

    fn node(&mut self, address: Address) -> NodeId {
        let known = self.addresses.iter().position(|known| *known == address);
        let id = known.unwrap_or_else(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        });
        id as NodeId
    }

    /// Everybody who serves a slot.
    fn servers(&self) -> Vec<NodeId> {
        let mut servers: Vec<NodeId> = self.owners.iter().flatten().copied().collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Who serves the slot; anybody serves what is about no key.
    fn owner(&self, slot: Option<usize>) -> Option<NodeId> {
        match slot {
            Some(slot) => self.owners[slot],
            None => self.owners.iter().flatten().next().copied(),
        }
    }

    /// Reads an answer to CLUSTER SLOTS, which came from `host`. Whether a slot has another server
    /// than before.
    fn learn(&mut self, slots: &Value, host: &str) -> bool {
        let mut owners = vec![None; SLOTS];
        for range in items(slots) {
            let [Value::Int(first), Value::Int(last), master, ..] = items(range) else { continue };
            let [name, Value::Int(port), ..] = items(master) else { continue };
            let host = match name {
                Value::BulkString(name) if !name.is_empty() => String::from_utf8_lossy(name),
                // The one that was asked does not know its own name.
                _ => host.into(),
            };
            let id = self.node((host.into_owned(), *port as u16));
            for slot in (*first).max(0)..=(*last).min(SLOTS as i64 - 1) {
                owners[slot as usize] = Some(id);
            }
        }
        let other = |(old, new): (&Option<NodeId>, &Option<NodeId>)| old.is_some() && old != new;
        let changed = self.owners.iter().zip(&owners).any(other);
        self.owners = owners;
        changed
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn address(addr: &ConnectionAddr) -> Address {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            (host.clone(), *port)
        }
        _ => (String::new(), 0),
    }
}

/// Who serves what, by one server's word, and its time.
async fn look(client: &Client) -> RedisResult<(Value, u64, Moment)> {
    let mut connection = link::connect(client).await?;
    let sent = clock::now();
    let time = link::time(&mut connection).await?;
    let slots = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    Ok((slots, time, sent))
}
