//! One lock, taken and released again and again with nobody in the way.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed_lock_core::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_redis::RedisLockProvider;
use redis::Script;
use redis::aio::MultiplexedConnection;
use redlock::RedLock;
use rslock::LockManager;
use tokio::runtime::Runtime;
use warded::RedisLock;

use super::python::Python;
use super::server::{client, url};
use crate::figures::Median;
use crate::rows::Rival;

/// What the lock of a library without fences and queues does on release.
pub const COMPARE_AND_DELETE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
    return redis.call('del', KEYS[1]) end return 0";

/// For how long each lock is asked for.
pub const TTL: Duration = Duration::from_secs(30);

/// Who blocks a thread. The second is the least that a lock has to ask.
pub fn blocking(port: u16, pairs: usize, python: Option<&Rc<Python>>) -> Vec<Rival<f64>> {
    let lock = RedisLock::new("pair", client(port)).expect("the name is one");
    let connection = RefCell::new(client(port).get_connection().expect("the server runs"));
    let release = Script::new(COMPARE_AND_DELETE);
    let redlock = RedLock::new(vec![url(port)]);
    let mut rivals = vec![
        rival("warded", pairs, move || {
            lock.lock().expect("it is free").release().expect("it was held");
        }),
        rival("bare", pairs, move || {
            let connection = &mut *connection.borrow_mut();
            set("bare").exec(connection).expect("the server runs");
            release.key("bare").arg("token").invoke::<()>(connection).expect("the server runs");
        }),
        rival("redlock", pairs, move || {
            let ttl = TTL.as_millis() as usize;
            drop(redlock.acquire(b"redlock", ttl).expect("the server runs"));
        }),
    ];
    for name in Python::LOCKS.into_iter().filter(|_| python.is_some()) {
        let python = python.cloned().expect("there is one");
        rivals.push(Rival {
            name: if name == "bare" { "bare redis-py".to_owned() } else { name.to_owned() },
            run: Box::new(move || python.pair(name, port, pairs).expect("Python works")),
        });
    }
    rivals
}

/// Who waits in a task.
pub fn tasks(port: u16, pairs: usize) -> Vec<Rival<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.expect("a runtime can be made"));
    let ours = RedisLock::new("pair", client(port)).expect("the name is one");
    let connect = async { client(port).get_multiplexed_async_connection().await };
    let connection = runtime.block_on(connect).expect("the server runs");
    let release = Arc::new(Script::new(COMPARE_AND_DELETE));
    let rslock = LockManager::new(vec![url(port)]);
    let older = redis_lock_redis::Client::open(url(port)).expect("the address is one");
    let connect = async move { older.get_multiplexed_async_connection().await };
    let older = runtime.block_on(connect).expect("the server runs");
    let older = [Arc::new(tokio::sync::Mutex::new(older))];
    let provider = RedisLockProvider::builder().url(url(port));
    let provider = runtime.block_on(provider.build()).expect("the server runs");
    let distributed = Rc::new(provider.create_lock("distributed"));
    let options = || redis_lock::LockAcrossOptions { ttl: TTL, ..Default::default() };
    vec![
        task("warded", pairs, &runtime, move || {
            let lock = ours.clone();
            async move {
                let held = lock.lock_async().await.expect("it is free");
                held.release_async().await.expect("it was held");
            }
        }),
        task("bare", pairs, &runtime, move || {
            let (mut connection, release) = (connection.clone(), release.clone());
            async move { bare(&mut connection, "bare", &release).await }
        }),
        task("rslock", pairs, &runtime, move || {
            let manager = rslock.clone();
            async move {
                let held = manager.acquire("rslock", TTL).await.expect("it is free");
                held.release().await;
            }
        }),
        task("redis-lock", pairs, &runtime, move || {
            let connections = older.clone();
            async move {
                let done = redis_lock::lock_across(&connections, "pair", async {}, options());
                done.await.expect("it is free");
            }
        }),
        task("distributed-lock-redis", pairs, &runtime, move || {
            let lock = distributed.clone();
            async move {
                let held = lock.acquire(None).await.expect("it is free");
                held.release().await.expect("it was held");
            }
        }),
    ]
}

/// The least that a lock has to ask.
pub async fn bare(connection: &mut MultiplexedConnection, key: &str, release: &Script) {
    set(key).exec_async(connection).await.expect("the server runs");
    let release = release.key(key).arg("token").invoke_async::<()>(connection).await;
    release.expect("the server runs");
}

/// The one half of it.
pub fn set(key: &str) -> redis::Cmd {
    let ttl = TTL.as_millis() as u64;
    redis::cmd("SET").arg(key).arg("token").arg("NX").arg("PX").arg(ttl).to_owned()
}

fn task<F: Future<Output = ()>>(
    name: &str,
    pairs: usize,
    runtime: &Rc<Runtime>,
    pair: impl Fn() -> F + 'static,
) -> Rival<f64> {
    let runtime = runtime.clone();
    rival(name, pairs, move || runtime.block_on(pair()))
}

/// Gives the nanoseconds of one pair, the median of so many, the first of which is not counted.
fn rival(name: &str, pairs: usize, pair: impl Fn() + 'static) -> Rival<f64> {
    let run = move || {
        pair();
        let times = (0..pairs).map(|_| {
            let began = Instant::now();
            pair();
            began.elapsed().as_nanos() as f64
        });
        Median::of(times).value
    };
    Rival { name: name.to_owned(), run: Box::new(run) }
}
