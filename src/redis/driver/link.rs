//! The connections to the server: one for requests, one for the subscription.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubStream};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};
use tokio::sync::Mutex;

use super::clock;
use crate::redis::client::{CallId, Reply, Request};
use crate::redis::error::RedisError;
use crate::redis::lease::Moment;
use crate::redis::wire::Form;

/// A Redis server to connect to: a `redis::Client`, or a `SentinelClient`, which is asked at each
/// connection where the master is now.
#[derive(Clone)]
pub struct RedisServer(Whereabouts);

#[derive(Clone)]
enum Whereabouts {
    /// Boxed, because it is large.
    Here(Box<Client>),
    Asked(Arc<Mutex<SentinelClient>>),
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

impl RedisServer {
    /// No cluster can be connected to.
    pub(crate) fn is_cluster(&self) -> bool {
        false
    }

    /// A client of the server that is to be connected to now. Small packets are sent at once: a
    /// request is one, and the next one should not wait for its answer.
    async fn client(&self) -> RedisResult<Client> {
        let client = match &self.0 {
            Whereabouts::Here(client) => (**client).clone(),
            Whereabouts::Asked(sentinel) => sentinel.lock().await.async_get_client().await?,
        };
        let info = client.get_connection_info().clone();
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Client::open(info.set_tcp_settings(tcp))
    }

    /// A connection for requests, and the server's time in µs when it answered first.
    pub(crate) async fn connect(
        self,
        within: Duration,
    ) -> Result<(MultiplexedConnection, u64, Moment), RedisError> {
        let connecting = async {
            // Time limits are the client's affair, which sends again what is not answered.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let mut connection =
                self.client().await?.get_multiplexed_async_connection_with_config(&config).await?;
            let sent = clock::now();
            let time = redis::cmd("TIME").query_async(&mut connection).await?;
            let (seconds, micros): (u64, u64) = time;
            Ok((connection, seconds * 1_000_000 + micros, sent))
        };
        match tokio::time::timeout(within, connecting).await {
            Ok(connected) => connected.map_err(RedisError::classify),
            Err(_) => Err(RedisError::Timeout { after: within }),
        }
    }

    /// What is said on `channel`, from now on.
    pub(crate) async fn subscribe(
        self,
        channel: Arc<str>,
        within: Duration,
    ) -> Result<PubSubStream, RedisError> {
        let subscribing = async {
            let mut subscription = self.client().await?.get_async_pubsub().await?;
            subscription.subscribe(&*channel).await?;
            Ok(subscription.into_on_message())
        };
        match tokio::time::timeout(within, subscribing).await {
            Ok(subscribed) => subscribed.map_err(RedisError::classify),
            Err(_) => Err(RedisError::Timeout { after: within }),
        }
    }
}

/// So many requests go out together at most. More would leave the server idle while their answers
/// are read, and this side idle while the server works.
pub(crate) const BATCH: usize = 32;

/// The answers to requests that went out together.
pub(crate) type Answers = Vec<(CallId, Result<Reply, RedisError>)>;

/// Asks the server all of this at once. A server that does not know a script yet is sent it in full.
pub(crate) async fn ask(
    mut connection: MultiplexedConnection,
    requests: Vec<(CallId, Request)>,
    channel: Arc<str>,
) -> Answers {
    let commands = requests.iter().map(|(_, request)| request.command(Form::Digest, &channel));
    let mut answers = send(&mut connection, commands.collect()).await;
    let is_unknown = |answer: &_| matches!(answer, Err(RedisError::NoScript(_)));
    let unknown: Vec<usize> = (0..answers.len()).filter(|&at| is_unknown(&answers[at])).collect();
    if !unknown.is_empty() {
        let commands = unknown.iter().map(|&at| requests[at].1.command(Form::Text, &channel));
        let again = send(&mut connection, commands.collect()).await;
        for (at, answer) in unknown.into_iter().zip(again) {
            answers[at] = answer;
        }
    }
    let read = |((call, request), answer): ((_, Request), Result<Value, _>)| {
        (call, answer.and_then(|value| request.read(&value)))
    };
    requests.into_iter().zip(answers).map(read).collect()
}

async fn send(
    connection: &mut MultiplexedConnection,
    commands: Vec<Cmd>,
) -> Vec<Result<Value, RedisError>> {
    let count = commands.len();
    let mut pipeline = redis::Pipeline::with_capacity(count);
    for command in commands {
        pipeline.add_command(command);
    }
    match connection.req_packed_commands(&pipeline, 0, count).await {
        Ok(values) => values.into_iter().map(answer).collect(),
        Err(error) => vec![Err(RedisError::classify(error)); count],
    }
}

fn answer(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(RedisError::classify(error.into())),
        value => Ok(value),
    }
}
