//! The connections to the server: one for requests, one for the subscription.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubStream};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};
use tokio::sync::Mutex;

use super::clock;
use super::cluster::Cluster;
use crate::redis::client::{CallId, NodeId, Reply, Request};
use crate::redis::error::RedisError;
use crate::redis::lease::Moment;
use crate::redis::wire::Form;

/// A Redis server to connect to: a `redis::Client`; or a `SentinelClient`, which is asked at each
/// connection where the master is now; or a [`cluster`](Self::cluster).
#[derive(Clone)]
pub struct RedisServer(Whereabouts);

#[derive(Clone)]
enum Whereabouts {
    /// Boxed, because it is large.
    Here(Box<Client>),
    Asked(Arc<Mutex<SentinelClient>>),
    Cluster(Arc<[Client]>),
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").finish_non_exhaustive()
    }
}

impl From<Client> for RedisServer {
    fn from(client: Client) -> Self {
        Self(Whereabouts::Here(Box::new(client)))
    }
}

impl From<SentinelClient> for RedisServer {
    fn from(client: SentinelClient) -> Self {
        Self(Whereabouts::Asked(Arc::new(Mutex::new(client))))
    }
}

/// What was connected to, and one server's time in µs, asked for at `sent`.
pub(crate) struct Found {
    pub(crate) link: Link,
    pub(crate) node: NodeId,
    pub(crate) time: u64,
    pub(crate) sent: Moment,
}

/// What requests are sent on.
#[derive(Clone)]
pub(crate) enum Link {
    One(MultiplexedConnection),
    Cluster(Arc<Cluster>),
}

impl Link {
    /// Asks, and tells who answered.
    pub(super) async fn ask(
        self,
        call: CallId,
        request: Request,
        channel: Arc<str>,
    ) -> (CallId, NodeId, Result<Reply, RedisError>) {
        let (node, reply) = match self {
            Self::One(connection) => (0, ask(connection, &request, &channel, false).await),
            Self::Cluster(cluster) => cluster.ask(call, request, channel).await,
        };
        (call, node, reply)
    }
}

impl RedisServer {
    /// A cluster, which is found by some of its nodes: the first one that answers tells where the
    /// others are. Login, protocol and TLS are those of the first client given, for all nodes.
    ///
    /// These are clients of single servers, since `redis::cluster::ClusterClient` keeps its
    /// settings to itself, and sends commands again by rules of its own.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use warded::{RedisServer, RedisSource};
    ///
    /// let nodes = ["redis://10.0.0.1", "redis://10.0.0.2"].map(redis::Client::open);
    /// let nodes: Vec<_> = nodes.into_iter().collect::<Result<_, _>>()?;
    /// let source = RedisSource::from(RedisServer::cluster(nodes));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cluster(nodes: impl IntoIterator<Item = Client>) -> Self {
        Self(Whereabouts::Cluster(nodes.into_iter().collect()))
    }

    /// A connection for requests.
    pub(crate) async fn connect(self, within: Duration) -> Result<Found, RedisError> {
        let client = match self.0 {
            Whereabouts::Here(client) => *client,
            Whereabouts::Asked(sentinel) => in_time(within, master(&sentinel)).await?,
            Whereabouts::Cluster(nodes) => return Cluster::find(nodes, within).await,
        };
        let connecting = async {
            let mut connection = connect(&client).await?;
            let sent = clock::now();
            let time = time(&mut connection).await?;
            Ok(Found { link: Link::One(connection), node: 0, time, sent })
        };
        in_time(within, connecting).await
    }

    /// What is said on `channel`, from now on. In a cluster every server passes on to the others
    /// what is published on it, so the first one that listens will do.
    pub(crate) async fn subscribe(
        self,
        link: Option<Link>,
        channel: Arc<str>,
        within: Duration,
    ) -> Result<PubSubStream, RedisError> {
        let clients = match (self.0, link) {
            (Whereabouts::Here(client), _) => vec![*client],
            (Whereabouts::Asked(sentinel), _) => vec![in_time(within, master(&sentinel)).await?],
            (Whereabouts::Cluster(_), Some(Link::Cluster(cluster))) => cluster.clients(),
            (Whereabouts::Cluster(nodes), _) => nodes.to_vec(),
        };
        let mut failure = RedisError::Timeout { after: within };
        for client in clients {
            let subscribing = async {
                let mut subscription = at_once(&client)?.get_async_pubsub().await?;
                subscription.subscribe(&*channel).await?;
                Ok(subscription.into_on_message())
            };
            match in_time(within, subscribing).await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

async fn master(sentinel: &Mutex<SentinelClient>) -> RedisResult<Client> {
    sentinel.lock().await.async_get_client().await
}

pub(super) async fn in_time<T>(
    within: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, RedisError> {
    match tokio::time::timeout(within, work).await {
        Ok(done) => done.map_err(RedisError::classify),
        Err(_) => Err(RedisError::Timeout { after: within }),
    }
}

/// The same client, which sends small packets at once: a request is one, and the next one should
/// not wait for its answer.
fn at_once(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Client::open(info.set_tcp_settings(tcp))
}

/// A connection to one server. Time limits are the client's affair, which sends again what is not
/// answered.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    at_once(client)?.get_multiplexed_async_connection_with_config(&config).await
}

/// The server's time in µs.
pub(super) async fn time(connection: &mut MultiplexedConnection) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(seconds * 1_000_000 + micros)
}

/// Asks a server. One that does not know the script yet is sent it in full. `asking` says that the
/// request was redirected to it while the slot is still another's.
pub(super) async fn ask(
    mut connection: MultiplexedConnection,
    request: &Request,
    channel: &str,
    asking: bool,
) -> Result<Reply, RedisError> {
    let answer = send(&mut connection, &request.command(Form::Digest, channel), asking).await;
    let answer = match answer {
        Err(RedisError::NoScript(_)) => {
            send(&mut connection, &request.command(Form::Text, channel), asking).await
        }
        answer => answer,
    };
    request.read(&answer?)
}

async fn send(
    connection: &mut MultiplexedConnection,
    cmd: &Cmd,
    asking: bool,
) -> Result<Value, RedisError> {
    let answer = if asking {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(cmd.clone());
        let answers = connection.req_packed_commands(&both, 1, 1).await;
        answers.map(|mut answers| answers.pop().unwrap_or(Value::Nil))
    } else {
        connection.req_packed_command(cmd).await
    };
    match answer {
        Ok(Value::ServerError(error)) => Err(RedisError::classify(error.into())),
        Ok(value) => Ok(value),
        Err(error) => Err(RedisError::classify(error)),
    }
}
