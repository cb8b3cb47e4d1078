//! The connections to the server: one for requests, one for the subscription.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubStream};
use redis::io::tcp::TcpSettings;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};
use socket2::TcpKeepalive;
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
    /// Of the server, if there is only one.
    pub(crate) client: Option<Client>,
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

    /// Whether names in several slots are out of one script's reach.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.0, Whereabouts::Cluster(_))
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
            let link = Link::One(connection);
            Ok(Found { link, client: Some(client.clone()), node: 0, time, sent })
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
                let mut subscription = set_up(&client)?.get_async_pubsub().await?;
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

/// No connection is idle for longer: what is on its way may forget one that is.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How the client wants its connections, but that small packets are sent at once: a request is one, and
/// the next one should not wait for its answer; and that connections are kept alive, also if the client
/// does not ask for that: one for messages would not be missed.
pub(super) fn settings(client: &Client) -> TcpSettings {
    let settings = client.get_connection_info().tcp_settings().clone().set_nodelay(true);
    match settings.keepalive() {
        Some(_) => settings,
        None => settings.set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE)),
    }
}

/// The same client, with these settings.
fn set_up(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    Client::open(info.set_tcp_settings(settings(client)))
}

/// A connection to one server. Time limits are the client's affair, which sends again what is not
/// answered.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    set_up(client)?.get_multiplexed_async_connection_with_config(&config).await
}

/// The server's time in µs.
pub(super) async fn time(connection: &mut MultiplexedConnection) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(seconds * 1_000_000 + micros)
}

/// So many requests go out together at most. More would leave the server idle while their answers
/// are read, and this side idle while the server works.
pub(crate) const BATCH: usize = 32;

/// Asks one server all of this at once. A server that does not know a script yet is sent it in full.
/// `asking` says that the requests were redirected to it while their slot is still another's.
pub(super) async fn ask(
    mut connection: MultiplexedConnection,
    requests: &[(CallId, Request)],
    channel: &str,
    asking: bool,
) -> Vec<Result<Reply, RedisError>> {
    let commands = requests.iter().map(|(_, request)| request.command(Form::Digest, channel));
    let mut answers = send(&mut connection, commands.collect(), asking).await;
    let is_unknown = |answer: &_| matches!(answer, Err(RedisError::NoScript(_)));
    let unknown: Vec<usize> = (0..answers.len()).filter(|&at| is_unknown(&answers[at])).collect();
    if !unknown.is_empty() {
        let commands = unknown.iter().map(|&at| requests[at].1.command(Form::Text, channel));
        let again = send(&mut connection, commands.collect(), asking).await;
        for (at, answer) in unknown.into_iter().zip(again) {
            answers[at] = answer;
        }
    }
    let read = |((_, request), answer): (&(_, Request), Result<Value, _>)| {
        answer.and_then(|value| request.read(&value))
    };
    requests.iter().zip(answers).map(read).collect()
}

async fn send(
    connection: &mut MultiplexedConnection,
    commands: Vec<Cmd>,
    asking: bool,
) -> Vec<Result<Value, RedisError>> {
    let (count, each) = (commands.len(), 1 + usize::from(asking));
    let mut pipeline = redis::Pipeline::with_capacity(count * each);
    for command in commands {
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command);
    }
    match connection.req_packed_commands(&pipeline, 0, count * each).await {
        Ok(values) => values.into_iter().skip(each - 1).step_by(each).map(answer).collect(),
        Err(error) => vec![Err(RedisError::classify(error)); count],
    }
}

fn answer(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(RedisError::classify(error.into())),
        value => Ok(value),
    }
}
