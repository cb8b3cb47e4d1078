//! Two locks taken in turn, each let go of as its crate's documentation shows for leaving a scope:
//! with its guard, where that releases. A turn ends when all that was sent has been answered.
//!
//! The guards of rslock and distributed-lock-redis release nothing when they are dropped, so they
//! take no part. redis-lock has a guard for threads; for tasks it has a call that ends with the work.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use redis::Script;
use redis_lock::sync::MultiResourceLock;
use redlock::RedLock;
use tokio::runtime::Runtime;
use warded::{RedisLock, RedisSource};

use super::pairs::{COMPARE_AND_DELETE, TTL, bare, set};
use super::server::{client, url};
use crate::rows::Rival;

/// Of one source, which asks for the next lock while the last one's release is under way.
fn ours(port: u16) -> (RedisSource, [RedisLock; 2]) {
    let source = RedisSource::from(client(port));
    let lock = |name| RedisLock::new(name, source.clone()).expect("the name is one");
    (source.clone(), ["one", "other"].map(lock))
}

/// Who blocks a thread.
pub fn blocking(port: u16, pairs: usize) -> Vec<Rival<f64>> {
    let (source, locks) = ours(port);
    let connection = RefCell::new(client(port).get_connection().expect("the server runs"));
    let release = Script::new(COMPARE_AND_DELETE);
    let redlock = RedLock::new(vec![url(port)]);
    let older = redis_lock_redis::Client::open(url(port)).expect("the address is one");
    redis_lock::sync::setup(&older).expect("the server knows functions");
    let older = RefCell::new(MultiResourceLock::new(&older).expect("the server runs"));
    let names = ["redis-lock one", "redis-lock other"].map(|name| [name.to_owned()]);
    vec![
        rival("warded", pairs, move |turns| {
            turns.for_each(|turn| drop(locks[turn % 2].lock().expect("it is free")));
            source.flush().expect("the server runs");
        }),
        rival("bare", pairs, move |turns| {
            let connection = &mut *connection.borrow_mut();
            for turn in turns {
                let key = ["bare one", "bare other"][turn % 2];
                set(key).exec(connection).expect("the server runs");
                release.key(key).arg("token").invoke::<()>(connection).expect("the server runs");
            }
        }),
        rival("redlock", pairs, move |turns| {
            let ttl = TTL.as_millis() as usize;
            let names: [&[u8]; 2] = [b"redlock one", b"redlock other"];
            for turn in turns {
                drop(redlock.acquire(names[turn % 2], ttl).expect("the server runs"));
            }
        }),
        rival("redis-lock", pairs, move |turns| {
            let lock = &mut *older.borrow_mut();
            for turn in turns {
                let held = lock.try_lock(&names[turn % 2], TTL).expect("the server runs");
                drop(held.expect("it is free"));
            }
        }),
    ]
}

/// Who waits in a task.
pub fn tasks(port: u16, pairs: usize) -> Vec<Rival<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.expect("a runtime can be made"));
    let (source, locks) = ours(port);
    let connect = async { client(port).get_multiplexed_async_connection().await };
    let connection = runtime.block_on(connect).expect("the server runs");
    let release = Arc::new(Script::new(COMPARE_AND_DELETE));
    let older = redis_lock_redis::Client::open(url(port)).expect("the address is one");
    let connect = async move { older.get_multiplexed_async_connection().await };
    let older = runtime.block_on(connect).expect("the server runs");
    let older = [Arc::new(tokio::sync::Mutex::new(older))];
    vec![
        task("warded", pairs, &runtime, move |turns| {
            let (source, locks) = (source.clone(), locks.clone());
            async move {
                for turn in turns {
                    drop(locks[turn % 2].lock_async().await.expect("it is free"));
                }
                source.flush_async().await.expect("the server runs");
            }
        }),
        task("bare", pairs, &runtime, move |turns| {
            let (mut connection, release) = (connection.clone(), release.clone());
            async move {
                for turn in turns {
                    bare(&mut connection, ["bare one", "bare other"][turn % 2], &release).await;
                }
            }
        }),
        task("redis-lock", pairs, &runtime, move |turns| {
            let connections = older.clone();
            async move {
                for turn in turns {
                    let name = ["redis-lock one", "redis-lock other"][turn % 2];
                    let options = redis_lock::LockAcrossOptions { ttl: TTL, ..Default::default() };
                    let done = redis_lock::lock_across(&connections, name, async {}, options);
                    done.await.expect("it is free");
                }
            }
        }),
    ]
}

type Turns = std::ops::Range<usize>;

fn task<F: Future<Output = ()>>(
    name: &str,
    pairs: usize,
    runtime: &Rc<Runtime>,
    take: impl Fn(Turns) -> F + 'static,
) -> Rival<f64> {
    let runtime = runtime.clone();
    rival(name, pairs, move |turns| runtime.block_on(take(turns)))
}

/// Gives the nanoseconds of one pair of so many. `take` returns when all is answered.
fn rival(name: &str, pairs: usize, take: impl Fn(Turns) + 'static) -> Rival<f64> {
    let run = move || {
        take(0..2);
        let began = Instant::now();
        take(0..pairs);
        began.elapsed().as_nanos() as f64 / pairs as f64
    };
    Rival { name: name.to_owned(), run: Box::new(run) }
}
